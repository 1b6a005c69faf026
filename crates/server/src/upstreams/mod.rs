//! Turns models of other servers into models that requests here can name.
//!
//! In reading order: [`config`] reads which servers there are, this file finds whose model a
//! request names, [`chat`] answers it: a dialect ([`openai`], [`anthropic`]) makes the request,
//! [`exchange`] sends it, and the dialect makes our answer of theirs. What goes wrong is a
//! [`failure`].

mod anthropic;
mod anthropic_answer;
mod chat;
mod config;
mod count;
mod exchange;
mod failure;
mod openai;
mod shape;

pub(crate) use chat::{Asked, answer};
pub use config::UpstreamsError;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::errors::ApiError;
use crate::outbound::Outbound;
use config::Upstream;
use count::Counts;

/// Time between two looks at which models a server has.
const REFRESH_EVERY: Duration = Duration::from_secs(300);

/// Time before the next look where one failed.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);

/// All other servers.
#[derive(Debug, Default)]
pub struct Upstreams {
    list: Vec<Arc<Place>>,
    outbound: Outbound,
    counts: Counts,
}

/// One other server, with what is known of its models.
#[derive(Debug)]
pub(crate) struct Place {
    pub about: Upstream,
    /// None: nobody has told yet.
    models: RwLock<Option<Arc<Vec<String>>>>,
}

/// A model, and the server that has it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub place: Arc<Place>,
    /// As its server calls it.
    pub model: String,
    /// As the request called it.
    pub asked_as: String,
}

impl Upstreams {
    /// Those that a file describes.
    ///
    /// # Errors
    /// [`UpstreamsError`] naming the entry and the field that is wrong.
    pub fn read(path: &Path) -> Result<Upstreams, UpstreamsError> {
        Ok(Upstreams::new(config::read(path)?))
    }

    /// These.
    fn new(list: Vec<Upstream>) -> Upstreams {
        let place = |about: Upstream| {
            let models = RwLock::new(about.models.clone().map(Arc::new));
            Arc::new(Place { about, models })
        };
        Upstreams { list: list.into_iter().map(place).collect(), ..Upstreams::default() }
    }

    /// Their names with their addresses, for the operator.
    pub fn places(&self) -> impl Iterator<Item = (&str, String)> {
        self.list.iter().map(|place| (&*place.about.name, place.about.address.to_string()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All models that are known, as requests name them, each with its server's name.
    pub(crate) fn models(&self) -> Vec<(String, &str)> {
        let of_place = |place: &'_ Arc<Place>| {
            let prefix = place.about.prefix.clone();
            let known = place.known();
            let ids: Vec<_> = known.iter().map(|model| format!("{prefix}{model}")).collect();
            ids
        };
        let all = self.list.iter().flat_map(|place| {
            let name = &*place.about.name;
            of_place(place).into_iter().map(move |id| (id, name))
        });
        all.collect()
    }

    /// Whose model this is: `NAME/MODEL`, the name that lists show, or the model's own name where
    /// one server alone has it. None: nobody's.
    ///
    /// # Errors
    /// 400 where several have it.
    pub(crate) fn find(&self, asked: &str) -> Result<Option<Target>, ApiError> {
        let target = |place: &Arc<Place>, model: &str| Target {
            place: Arc::clone(place),
            model: model.to_owned(),
            asked_as: asked.to_owned(),
        };
        for place in &self.list {
            let named = asked.strip_prefix(&*place.about.name);
            let named = named.and_then(|rest| rest.strip_prefix('/'));
            // Before a server has told its models, it is asked for whichever is named so.
            if let Some(model) = named.filter(|model| place.may_have(model)) {
                return Ok(Some(target(place, model)));
            }
            let listed = asked.strip_prefix(&place.about.prefix);
            if let Some(model) = listed.filter(|model| {
                !place.about.prefix.is_empty() && place.known().iter().any(|known| known == model)
            }) {
                return Ok(Some(target(place, model)));
            }
        }
        let has = |place: &&Arc<Place>| place.known().iter().any(|model| model == asked);
        let having: Vec<_> = self.list.iter().filter(has).collect();
        match having[..] {
            [] => Ok(None),
            [place] => Ok(Some(target(place, asked))),
            _ => {
                let names: Vec<_> =
                    having.iter().map(|place| format!("{}/{asked}", place.about.name)).collect();
                Err(ApiError::ambiguous_model(asked, &names))
            }
        }
    }

    /// Metrics of all requests that went out.
    pub(crate) fn metrics(&self) -> Option<String> {
        (!self.is_empty()).then(|| self.counts.encode())
    }

    /// Keeps the lists of models fresh; ends with the set.
    pub(crate) fn refresh(self: &Arc<Upstreams>, tasks: &mut JoinSet<()>) {
        for place in self.list.iter().filter(|place| place.about.models.is_none()) {
            let (upstreams, place) = (Arc::clone(self), Arc::clone(place));
            tasks.spawn(async move {
                loop {
                    tokio::time::sleep(upstreams.look(&place).await).await;
                }
            });
        }
    }

    /// Asks a server for its models. Returns how long to wait before the next time.
    async fn look(&self, place: &Place) -> Duration {
        match exchange::models(&self.outbound, place).await {
            Ok(models) => {
                let mut known = place.models.write().unwrap_or_else(PoisonError::into_inner);
                *known = Some(Arc::new(models));
                REFRESH_EVERY
            }
            Err(failure) => {
                let name = &*place.about.name;
                tracing::warn!(upstream = name, outcome = failure.outcome(), "no list of models");
                REFRESH_AGAIN
            }
        }
    }
}

impl Place {
    /// The models that it is known to have.
    fn known(&self) -> Arc<Vec<String>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.clone().unwrap_or_default()
    }

    fn may_have(&self, model: &str) -> bool {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let known = |models: &Arc<Vec<String>>| models.iter().any(|known| known == model);
        !model.is_empty() && models.as_ref().is_none_or(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstreams(entries: &str) -> Upstreams {
        Upstreams::new(config::parse(entries, Path::new("/"), &|_| None).expect("a right file"))
    }

    #[test]
    fn models_are_found_by_server_by_prefix_and_alone() {
        let upstreams = upstreams(
            r#"
            [[upstream]]
            name = "one"
            kind = "openai"
            url = "http://localhost:1/v1"
            models = ["alpha", "both", "org/deep"]
            [[upstream]]
            name = "two"
            kind = "anthropic"
            url = "http://localhost:2/v1"
            models = ["beta", "both"]
            prefix = "Cloud: "
            [[upstream]]
            name = "open"
            kind = "openai"
            url = "http://localhost:3/v1"
            "#,
        );
        let found = |asked: &str| {
            let target = upstreams.find(asked).expect("not ambiguous")?;
            Some((target.place.about.name.clone(), target.model))
        };
        let is = |name: &str, model: &str| Some((name.to_owned(), model.to_owned()));
        assert_eq!(found("one/alpha"), is("one", "alpha"));
        assert_eq!(found("alpha"), is("one", "alpha"));
        assert_eq!(found("org/deep"), is("one", "org/deep"));
        assert_eq!(found("one/org/deep"), is("one", "org/deep"));
        assert_eq!(found("Cloud: beta"), is("two", "beta"));
        assert_eq!(found("two/both"), is("two", "both"));
        assert_eq!(found("open/whatever"), is("open", "whatever"));
        for nobody in ["one/beta", "Cloud: alpha", "gamma", "open/", "", "three/alpha"] {
            assert_eq!(found(nobody), None, "{nobody}");
        }
        let error = upstreams.find("both").unwrap_err();
        assert_eq!(error.status.as_u16(), 400);
        assert!(error.message.contains("one/both, two/both"), "{}", error.message);
        let listed: Vec<_> = upstreams.models();
        assert_eq!(listed[0], ("one/alpha".to_owned(), "one"));
        assert_eq!(listed[3], ("Cloud: beta".to_owned(), "two"));
        assert_eq!(listed.len(), 5);
    }
}
