//! Turns a model file into a model in memory with tokenizer, template and a running engine.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use myriad_engine::{Draft, EngineConfig};
use myriad_kernels::{BlockType, Compute, Kernels};
use myriad_model::{Config, Model, Precision};
use myriad_server::{Description, LoadedModel, Runtime};
use myriad_token::{ChatTemplate, Tokenizer};

use crate::file::ModelFile;
use crate::memory;
use crate::models;
use crate::packed;
use crate::screen::{advise, note, size, steps_bar};
use crate::sizes::{self, Sizes, Wishes};

/// How weights are held.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holding {
    /// As which types.
    pub precision: Precision,
    /// In a mapped file, instead of in memory.
    pub mmap: bool,
}

/// A model file whose header is read and found good; no weight has been touched.
pub struct Opened {
    /// Where the file is.
    pub path: PathBuf,
    /// Its header, and its weights where they lie.
    pub file: ModelFile,
    /// What the model is.
    pub config: Config,
    holding: Holding,
    /// Bytes of weights, held so.
    weight_bytes: u64,
    draft: Option<DraftFile>,
}

/// Where what guesses comes from.
enum DraftFile {
    /// A smaller model.
    Model(Box<Opened>),
    /// The file itself, which has a layer for it of so many bytes.
    Mtp(u64),
}

/// Reads the header of a model: a path, or a name from the cache.
pub fn open(model: Option<&Path>, holding: Holding) -> Result<Opened> {
    let path = models::find(model)?;
    let file = ModelFile::open(&path)?;
    let read = || {
        let config = Config::read(file.source())?;
        let weight_bytes = config.weight_bytes(file.source(), holding.precision)?;
        anyhow::Ok((config, weight_bytes))
    };
    let (config, weight_bytes) = read().with_context(|| format!("{}", path.display()))?;
    Ok(Opened { path, file, config, holding, weight_bytes, draft: None })
}

impl Opened {
    /// The same with a draft model, if one is asked for; else with the layer that the file itself
    /// has to guess further tokens, if it has one and `mtp` allows it. Weights that stay on the
    /// disk are those of models larger than the memory: none of it is taken for guesses.
    ///
    /// # Errors
    /// Where a draft model cannot guess for this one.
    pub fn with_draft(self, draft: Option<&Path>, mtp: bool) -> Result<Opened> {
        let draft = match draft {
            Some(draft) => {
                let draft = open(Some(draft), self.holding)?;
                self.check_draft(&draft)?;
                Some(DraftFile::Model(Box::new(draft)))
            }
            None if mtp && self.config.mtp.is_some() && !self.holding.mmap => {
                let (source, precision) = (self.file.source(), self.holding.precision);
                let bytes = self.config.mtp_weight_bytes(source, precision);
                Some(DraftFile::Mtp(bytes.with_context(|| format!("{}", self.path.display()))?))
            }
            None => None,
        };
        Ok(Opened { draft, ..self })
    }

    /// What is quick to find wrong, before weights are loaded.
    fn check_draft(&self, draft: &Opened) -> Result<()> {
        for opened in [self, draft] {
            opened.check_answers()?;
        }
        if sizes::state_bytes(&draft.config) > 0 {
            return Err(advise(
                format!(
                    "--draft {} has recurrent layers, whose state cannot be taken back",
                    draft.path.display()
                ),
                "take a smaller model without such layers, or none",
            ));
        }
        let (own, others) = (self.file.vocab()?.tokens, draft.file.vocab()?.tokens);
        // Models of one family differ by a few control tokens, and by padding at the end; a guess
        // that means something else is only a wrong guess.
        let differ = own.iter().zip(&others).filter(|(own, other)| own != other).count();
        if differ > own.len().min(others.len()) / 100 {
            let (draft, model) = (draft.path.display(), self.path.display());
            return Err(advise(
                format!("--draft {draft} has another vocabulary than {model}"),
                "take a smaller model of the same family, or none",
            ));
        }
        Ok(())
    }

    /// Refuses a model that answers nothing.
    ///
    /// # Errors
    /// Says what to do with it instead.
    pub fn check_answers(&self) -> Result<()> {
        match self.config.encoder {
            Some(_) => Err(advise(
                format!(
                    "{} is an encoder: it makes embeddings of texts and answers nothing",
                    self.path.display()
                ),
                format!("serve it:  myriad serve {}", self.path.display()),
            )),
            None => Ok(()),
        }
    }

    /// What the model is, for who lists it.
    pub fn describe(&self, name: &str, memory_bytes: u64) -> Description {
        let mut kinds: HashMap<&str, u64> = HashMap::new();
        let mut parameters = 0;
        for view in self.file.tensors().tensor_views() {
            parameters += view.shape.iter().product::<usize>() as u64;
            if let Some(kind) = view.kind.block_type() {
                *kinds.entry(kind.name()).or_default() += view.bytes.len() as u64;
            }
        }
        let most = kinds.into_iter().max_by_key(|(_, bytes)| *bytes);
        Description {
            name: name.to_owned(),
            architecture: self.config.family.name().to_owned(),
            weights: most.map_or_else(String::new, |(kind, _)| kind.to_owned()),
            parameters: Some(parameters),
            file_bytes: self.file.file_bytes(),
            memory_bytes,
            context: Some(self.config.context_length),
            embeds: self.config.encoder.is_some(),
            deletable: false,
        }
    }

    /// Text to ids and back.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        let read = || anyhow::Ok(Tokenizer::new(&self.file.vocab()?)?);
        read().with_context(|| format!("{}", self.path.display()))
    }

    /// How a chat becomes a prompt, if the file says so in a way that can be understood.
    pub fn template(&self, tokenizer: &Tokenizer) -> Option<ChatTemplate> {
        let source = self.file.vocab().ok()?.chat_template?;
        match ChatTemplate::new(&source, tokenizer) {
            Ok(template) => Some(template),
            Err(error) => {
                note(format!("warning: {error}; chats are answered without it"));
                None
            }
        }
    }

    /// Packs the weights, with a bar where somebody looks.
    pub fn model(&self, compute: &Compute) -> Result<Model> {
        const STEPS: u64 = 1000;
        self.note_what_stays();
        let bar = steps_bar(STEPS, "loading");
        bar.set_style(
            indicatif::ProgressStyle::with_template("{msg} {bar:28} {percent} %, {eta} left")
                .unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()),
        );
        let mut progress = |share: f32| bar.set_position((share * STEPS as f32) as u64);
        let model = self.model_telling(compute, &mut progress);
        bar.finish_and_clear();
        model
    }

    /// Packs the weights, and tells how far it is, from 0 to 1.
    pub fn model_telling(&self, compute: &Compute, progress: &mut dyn FnMut(f32)) -> Result<Model> {
        self.check_weights_fit()?;
        let model = self.hold(compute, progress);
        model.with_context(|| format!("{}", self.path.display()))
    }

    fn hold(&self, compute: &Compute, progress: &mut dyn FnMut(f32)) -> Result<Model> {
        let (source, precision) = (self.file.source(), self.holding.precision);
        if !self.holding.mmap {
            return Ok(Model::load_as(source, precision, compute, progress)?);
        }
        let bytes = self.weight_bytes;
        let file = packed::map(&self.path, source, precision, bytes, compute, progress)?;
        Ok(Model::load_packed(source, precision, file, compute, progress)?)
    }

    /// Bytes of weights that must fit into memory.
    pub fn held_bytes(&self) -> u64 {
        let own = if self.holding.mmap { 0 } else { self.weight_bytes };
        own + match &self.draft {
            None => 0,
            Some(DraftFile::Model(draft)) => draft.held_bytes(),
            Some(DraftFile::Mtp(bytes)) => *bytes,
        }
    }

    /// Quantised weights are not quantised again without a word.
    fn note_what_stays(&self) {
        let is_quantised = |kind: BlockType| !kind.is_float();
        let kinds = self.file.tensors().tensor_views().filter_map(|view| view.kind.block_type());
        let quantised = kinds.filter(|&kind| is_quantised(kind)).count();
        if self.holding.precision != Precision::AsStored && quantised > 0 {
            note(format!(
                "{quantised} of {} tensors are quantised already and stay as they are",
                self.file.tensors().tensor_count()
            ));
        }
    }

    fn check_weights_fit(&self) -> Result<()> {
        let (weights, free) = (self.held_bytes(), memory::free_bytes());
        match free {
            Some(free) if weights > free => Err(advise(
                format!(
                    "the weights take {}, but only {} of memory are free",
                    size(weights),
                    size(free)
                ),
                "end other programs, take a smaller model, quantise this one (--quantize q4_k), or \
                 leave its weights on the disk (--mmap)",
            )),
            _ => Ok(()),
        }
    }

    /// The engine's sizes in the memory that is free now.
    pub fn sizes(&self, wishes: Wishes) -> Result<Sizes> {
        self.sizes_in(memory::free_bytes(), wishes)
    }

    /// The engine's sizes in so much free memory (none: unknown).
    pub fn sizes_in(&self, free: Option<u64>, wishes: Wishes) -> Result<Sizes> {
        sizes::plan(&self.config, self.held_bytes(), free, self.wishes(wishes))
    }

    /// Wishes with what guesses take.
    pub fn wishes(&self, wishes: Wishes) -> Wishes {
        let Some(draft) = &self.draft else { return wishes };
        let draft_page_bytes = match draft {
            DraftFile::Model(draft) => sizes::page_bytes(&draft.config, wishes.kv),
            DraftFile::Mtp(_) => sizes::mtp_page_bytes(&self.config, wishes.kv),
        };
        Wishes { draft_page_bytes, guess_states: EngineConfig::GUESS_STATES, ..wishes }
    }

    /// Loads everything and starts the engine under these names.
    pub fn start(&self, threads: usize, sizes: &Sizes, names: Vec<String>) -> Result<Arc<Runtime>> {
        self.start_with(threads, sizes, names, |compute| self.model(compute))
    }

    /// As [`Opened::start`], with other means to load the weights.
    pub fn start_with(
        &self,
        threads: usize,
        sizes: &Sizes,
        names: Vec<String>,
        load: impl FnOnce(&Compute) -> Result<Model>,
    ) -> Result<Arc<Runtime>> {
        // What is quick to find wrong comes before what takes long.
        let tokenizer = self.tokenizer()?;
        let template = self.template(&tokenizer);
        let compute = compute(threads)?;
        let model = Arc::new(load(&compute)?);
        let loaded = LoadedModel {
            names,
            draft: self.draft(&model, &compute)?,
            model,
            compute,
            tokenizer: Arc::new(tokenizer),
            template: template.map(Arc::new),
        };
        Ok(Runtime::start(loaded, sizes.engine.clone())?)
    }

    /// Loads what guesses.
    fn draft(&self, model: &Model, compute: &Compute) -> Result<Option<Draft>> {
        Ok(match &self.draft {
            None => None,
            Some(DraftFile::Model(draft)) => Some(Arc::new(draft.model(compute)?).into()),
            Some(DraftFile::Mtp(_)) => {
                let (source, precision) = (self.file.source(), self.holding.precision);
                let head = model.load_mtp(source, precision, compute, &mut |_| ());
                let head = head.with_context(|| format!("{}", self.path.display()))?;
                head.map(|head| Arc::new(head).into())
            }
        })
    }
}

/// The kernels of this processor on so many threads.
pub fn compute(threads: usize) -> Result<Compute> {
    Ok(Compute::new(Kernels::detect()?, threads))
}
