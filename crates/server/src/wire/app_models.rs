//! Turns models, downloads and engines into the JSON of the console.

use std::cmp::Reverse;

use serde::Serialize;
use utoipa::ToSchema;

use crate::catalogue::{Catalogue, Listed, Pull, PullState, State};
use crate::runtime::Runtime;

/// Experts of a layer that are named: the busiest.
const EXPERTS_SHOWN: usize = 3;

/// All models that this server can answer with.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppModels {
    /// `list`
    pub object: &'static str,
    /// Those that stay loaded, then the others by name.
    pub data: Vec<AppModel>,
    /// Bytes of memory that models may take together; null: nothing is loaded besides.
    pub memory_bytes_max: Option<u64>,
    /// Bytes that they take.
    pub memory_bytes: u64,
    /// Whether requests load models.
    pub loads_on_request: bool,
    /// The latest download, for administrators.
    pub pull: Option<AppPull>,
}

/// A model with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppModel {
    /// The name that requests give.
    pub id: String,
    /// `model`
    pub object: &'static str,
    /// All its names.
    pub names: Vec<String>,
    /// `cold`, `loading`, `ready`, `unloading` or `failed`.
    pub state: &'static str,
    /// How far it is loaded, from 0 to 1.
    pub progress: Option<f32>,
    /// Why it could not be loaded, for administrators.
    pub error: Option<String>,
    /// Whether it stays loaded.
    pub pinned: bool,
    /// `completion`, or `embedding` where it makes vectors and answers nothing.
    pub capabilities: Vec<&'static str>,
    /// The family of its architecture.
    pub architecture: String,
    /// How its weights are kept.
    pub weights: String,
    /// Its weights, counted.
    pub parameters: Option<u64>,
    /// Bytes of its files.
    pub file_bytes: u64,
    /// Bytes of memory that it takes.
    pub memory_bytes: u64,
    /// Tokens of prompt and answer together.
    pub context: Option<usize>,
    /// When a request asked for it last, in seconds since 1970.
    pub used_at: Option<u64>,
    /// Whether its file may be deleted here.
    pub deletable: bool,
}

/// A download.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppPull {
    /// As it was asked for.
    pub source: String,
    /// The file that comes.
    pub file: Option<String>,
    /// `running`, `done`, `cancelled` or `failed`.
    pub state: &'static str,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of all of it, where they are told.
    pub bytes_total: Option<u64>,
    /// The model that came.
    pub model: Option<String>,
    /// Why it did not come.
    pub error: Option<String>,
}

impl AppModels {
    /// Of a catalogue, for administrators or for others.
    pub fn of(catalogue: &Catalogue, admin: bool) -> AppModels {
        let (budget, used) = catalogue.memory();
        AppModels {
            object: "list",
            data: catalogue.list().iter().map(|listed| AppModel::of(listed, admin)).collect(),
            memory_bytes_max: (budget < u64::MAX).then_some(budget),
            memory_bytes: used,
            loads_on_request: catalogue.loads_on_request(),
            pull: catalogue.pulls.latest().filter(|_| admin).map(AppPull::from),
        }
    }
}

impl AppModel {
    /// Of a model, for administrators or for others.
    pub fn of(listed: &Listed, admin: bool) -> AppModel {
        let about = &listed.about;
        let (state, progress, error) = match &listed.state {
            State::Cold => ("cold", None, None),
            State::Loading(progress) => ("loading", Some(*progress), None),
            State::Ready => ("ready", None, None),
            State::Unloading => ("unloading", None, None),
            State::Failed(why) => ("failed", None, admin.then(|| why.clone())),
        };
        AppModel {
            id: listed.names.first().unwrap_or(&about.name).clone(),
            object: "model",
            names: listed.names.clone(),
            state,
            progress,
            error,
            pinned: listed.pinned,
            capabilities: vec![if listed.embeds { "embedding" } else { "completion" }],
            architecture: about.architecture.clone(),
            weights: about.weights.clone(),
            parameters: about.parameters,
            file_bytes: about.file_bytes,
            memory_bytes: about.memory_bytes,
            context: about.context,
            used_at: listed.used_at,
            deletable: about.deletable && !listed.pinned,
        }
    }
}

impl From<Pull> for AppPull {
    fn from(pull: Pull) -> AppPull {
        let (state, model, error) = match pull.state {
            PullState::Running => ("running", None, None),
            PullState::Done(model) => ("done", Some(model), None),
            PullState::Cancelled => ("cancelled", None, None),
            PullState::Failed(why) => ("failed", None, Some(why)),
        };
        let (source, file, bytes, bytes_total) = (pull.source, pull.file, pull.bytes, pull.total);
        AppPull { source, file, state, bytes, bytes_total, model, error }
    }
}

/// What the engines do at this moment.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppEngines {
    /// `list`
    pub object: &'static str,
    /// One for each model that is loaded.
    pub data: Vec<AppEngine>,
}

/// What one engine does. Counts are of all since its model was loaded.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AppEngine {
    /// The name of its model.
    pub id: String,
    /// `engine`
    pub object: &'static str,
    /// Requests that are computed.
    pub running: usize,
    /// Requests that wait for a place.
    pub waiting: usize,
    /// Requests that are computed together at most; null: any number.
    pub parallel: Option<usize>,
    /// Pages of keys and values that running requests hold.
    pub pages_used: usize,
    /// Pages that there are.
    pub pages_total: usize,
    /// Prompt tokens that were looked up in the cache.
    pub prefix_queries: u64,
    /// Those that were found there.
    pub prefix_hits: u64,
    /// Tokens of prompts that were computed, in a second, of the last few.
    pub prompt_tokens_per_second: f64,
    /// Tokens of answers, in a second, of the last few.
    pub generation_tokens_per_second: f64,
    /// Tokens of answers.
    pub generation_tokens: u64,
    /// Tokens that answers guessed.
    pub guessed: u64,
    /// Those that were right.
    pub guessed_right: u64,
    /// Requests that were put back to wait.
    pub preemptions: u64,
    /// Layers with experts, and how these are used.
    pub experts: Vec<LayerExperts>,
}

/// How the experts of a layer are used.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct LayerExperts {
    /// The layer.
    pub layer: usize,
    /// How many experts it has.
    pub count: usize,
    /// The busiest, busiest first.
    pub busiest: Vec<BusyExpert>,
    /// Tokens of the busiest, divided by the mean of all; 1: all are even.
    pub imbalance: f64,
}

/// An expert, and its part of the layer's tokens.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct BusyExpert {
    /// Its number.
    pub expert: usize,
    /// Its part, from 0 to 1.
    pub share: f64,
}

impl AppEngine {
    /// Of an engine.
    pub fn of(runtime: &Runtime) -> AppEngine {
        let (stats, metrics) = (runtime.stats(), runtime.metrics());
        let layers = runtime.model().map(|model| model.expert_tokens()).unwrap_or_default();
        AppEngine {
            id: runtime.name().to_owned(),
            object: "engine",
            running: stats.running,
            waiting: stats.waiting,
            parallel: Some(runtime.parallel()).filter(|parallel| *parallel < usize::MAX),
            pages_used: stats.pages_used,
            pages_total: stats.pages_total,
            prefix_queries: stats.prefix_queries,
            prefix_hits: stats.prefix_hits,
            prompt_tokens_per_second: metrics.prompt_rate.per_second(),
            generation_tokens_per_second: metrics.generation_rate.per_second(),
            generation_tokens: metrics.generation_tokens(),
            guessed: stats.guessed,
            guessed_right: stats.guessed_right,
            preemptions: stats.preemptions,
            experts: layers.iter().map(|(layer, counts)| experts_of(*layer, counts)).collect(),
        }
    }
}

fn experts_of(layer: usize, counts: &[u64]) -> LayerExperts {
    let sum = counts.iter().sum::<u64>().max(1) as f64;
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&expert| Reverse(counts[expert]));
    let busiest = order.into_iter().filter(|&expert| counts[expert] > 0).take(EXPERTS_SHOWN);
    let share = |expert: usize| BusyExpert { expert, share: counts[expert] as f64 / sum };
    let (count, imbalance) = (counts.len(), crate::metrics::imbalance(counts));
    LayerExperts { layer, count, busiest: busiest.map(share).collect(), imbalance }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_experts_come_first_and_idle_ones_not_at_all() {
        let busy = |expert, share| BusyExpert { expert, share };
        let (count, imbalance) = (4, 2.4);
        let busiest = vec![busy(2, 0.6), busy(0, 0.4)];
        let right = LayerExperts { layer: 3, count, busiest, imbalance };
        assert_eq!(experts_of(3, &[4, 0, 6, 0]), right);
        assert_eq!(experts_of(0, &[0, 0]).busiest, []);
    }
}
