//! Turns folders and files into the models that a server may load besides its own.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use myriad_server::runtime::scripted::Script;
use myriad_server::{Description, Download, Loader, Runtime};
use tracing::warn;

use crate::download::{self, Keep, Source, Watch};
use crate::load::{self, Holding, Opened};
use crate::models;
use crate::screen::{advise, one_text};
use crate::sizes::{self, Sizes, Wishes};

/// How test doubles are told from files.
pub const SCRIPT: &str = "script:";

/// Steps in which a test double pretends to be loaded.
const STEPS: u32 = 20;

/// All models that may be loaded, and how.
pub struct Library {
    /// The cache folder; none where only what is named counts.
    pub cache: Option<PathBuf>,
    /// Further folders and files.
    pub places: Vec<PathBuf>,
    /// What is loaded already, and not to be loaded twice.
    pub loaded: Vec<PathBuf>,
    /// How weights are held.
    pub holding: Holding,
    /// What each engine should have.
    pub wishes: Wishes,
    /// Whether answers guess.
    pub speculate: bool,
    /// Whether they do by the layer that some models have for it.
    pub mtp: bool,
    /// Threads that compute.
    pub threads: usize,
    /// Bytes that are left for models beside those that stay loaded.
    pub memory_bytes: u64,
    /// Headers that were read, with what tells that their file has changed.
    pub read: Mutex<HashMap<PathBuf, (Stamp, Option<Description>)>>,
}

/// Size and time of the last change of a file.
type Stamp = (u64, Option<SystemTime>);

/// A model that is there.
struct Found {
    name: String,
    /// A file, a folder, or `script:FILE`.
    path: PathBuf,
    deletable: bool,
}

impl Library {
    /// All that is there; of equal names the first counts.
    fn found(&self) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        if let Some(cache) = &self.cache {
            let cached = models::list(cache).into_iter();
            all.extend(cached.map(|it| Found { name: it.name, path: it.path, deletable: true }));
        }
        for path in self.places.iter().flat_map(|place| within(place)) {
            let name = match script_of(&path) {
                Some(script) => script.file_stem().unwrap_or_default().to_string_lossy().into(),
                None => models::name_of(&path),
            };
            all.push(Found { name, path, deletable: false });
        }
        let mut kept: Vec<Found> = Vec::new();
        for found in all {
            let is_new = !kept.iter().any(|other| other.name == found.name);
            if is_new && !self.loaded.contains(&whole(&found.path)) {
                kept.push(found);
            }
        }
        kept
    }

    /// What a model is; none where its header cannot be read, which is told once.
    fn describe(&self, found: &Found) -> Option<Description> {
        let stamp = stamp(&found.path);
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, about)) = read.get(&found.path)
            && *known == stamp
        {
            return about.clone();
        }
        let about = match script_of(&found.path) {
            Some(script) => of_script(&found.name, script),
            None => self.of_file(found),
        };
        let about = about.map_err(|error| {
            let error = one_text(&error);
            warn!(path = %found.path.display(), error, "not a model that can be served");
        });
        let about = about.ok();
        read.insert(found.path.clone(), (stamp, about.clone()));
        about
    }

    fn of_file(&self, found: &Found) -> Result<Description> {
        let opened = load::open(Some(&found.path), self.holding)?.with_draft(None, self.mtp)?;
        let held = opened.held_bytes();
        let memory_bytes = match self.sizes(&opened) {
            Ok(sizes) => sizes.memory_bytes(held),
            // It will never fit; what it takes at least is told.
            Err(_) => held.max(self.memory_bytes.saturating_add(1)),
        };
        let about = opened.describe(&found.name, memory_bytes);
        Ok(Description { deletable: found.deletable, ..about })
    }

    /// The sizes of an engine, always the same ones: half of the memory that its weights leave, so
    /// that there is room for other models; all of it where half is too little.
    fn sizes(&self, opened: &Opened) -> Result<Sizes> {
        let held = opened.held_bytes();
        let room = self.memory_bytes.saturating_sub(held);
        let within = |budget: u64| {
            let (free, wishes) = (sizes::free_of(budget), opened.wishes(self.wishes));
            sizes::plan(&opened.config, held, Some(free), wishes)
        };
        let mut sizes =
            within(held.saturating_add(room / 2)).or_else(|_| within(self.memory_bytes))?;
        sizes.engine.speculate &= self.speculate;
        Ok(sizes)
    }

    fn one(&self, name: &str) -> Result<Found> {
        let found = self.found().into_iter().find(|found| found.name == name);
        found.with_context(|| format!("there is no model `{name}` any more"))
    }

    fn start(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>> {
        let found = self.one(name)?;
        if let Some(script) = script_of(&found.path) {
            return start_script(script, name, progress);
        }
        let opened = load::open(Some(&found.path), self.holding)?.with_draft(None, self.mtp)?;
        let sizes = self.sizes(&opened)?;
        opened.start_with(self.threads, &sizes, vec![name.to_owned()], |compute| {
            opened.model_telling(compute, progress)
        })
    }

    fn get(&self, source: &str, download: &dyn Download) -> Result<String> {
        let source = parse(source).map_err(anyhow::Error::msg)?;
        let Some(folder) = &self.cache else { bail!("this server has no cache folder") };
        let keep = Keep { folder, name: None, force: false, watch: &Told(download) };
        let pulled = download::pull(&source, &keep)?;
        load::open(Some(&pulled.path), self.holding)?;
        Ok(models::name_of(&pulled.path))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let found = self.one(name)?;
        if !found.deletable {
            bail!("only files of the cache folder are deleted");
        }
        fs::remove_file(&found.path).with_context(|| found.path.display().to_string())
    }
}

impl Loader for Library {
    fn list(&self) -> Vec<Description> {
        self.found().iter().filter_map(|found| self.describe(found)).collect()
    }

    fn load(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>, String> {
        self.start(name, progress).map_err(|error| one_text(&error))
    }

    fn check_source(&self, source: &str) -> Result<(), String> {
        parse(source).map(drop)
    }

    fn pull(&self, source: &str, download: &dyn Download) -> Result<String, String> {
        self.get(source, download).map_err(|error| one_text(&error))
    }

    fn delete(&self, name: &str) -> Result<(), String> {
        self.remove(name).map_err(|error| one_text(&error))
    }
}

/// A download that the server watches.
struct Told<'a>(&'a dyn Download);

impl Watch for Told<'_> {
    fn at(&self, what: &str, bytes: u64, total: Option<u64>) {
        self.0.at(what, bytes, total);
    }

    fn says(&self, text: &str) {
        tracing::info!("{text}");
    }

    fn done(&self) {}

    fn is_cancelled(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// As `myriad pull` takes it, or as Ollama's clients name repositories: `hf.co/OWNER/REPO:FILE`.
fn parse(source: &str) -> Result<Source, String> {
    let hub = ["hf.co/", "huggingface.co/"].iter().find_map(|host| source.strip_prefix(host));
    match hub {
        Some(rest) => format!("hf:{rest}").parse(),
        None => source.parse(),
    }
}

/// The file of `script:FILE`.
pub fn script_of(model: &Path) -> Option<&Path> {
    model.to_str()?.strip_prefix(SCRIPT).map(Path::new)
}

/// The models of a place: it itself, or what a folder holds.
fn within(place: &Path) -> Vec<PathBuf> {
    if script_of(place).is_some() || place.is_file() || models::is_model_folder(place) {
        return vec![place.to_path_buf()];
    }
    let mut inside: Vec<PathBuf> =
        models::list(place).into_iter().map(|cached| cached.path).collect();
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path()).filter(|path| models::is_model_folder(path));
    inside.extend(folders);
    inside.sort();
    inside
}

/// Refuses a place where nothing can be.
///
/// # Errors
/// Says what would be right.
pub fn check(place: &Path) -> Result<()> {
    match script_of(place).unwrap_or(place).exists() {
        true => Ok(()),
        false => Err(advise(
            format!("--models {}: there is no such file or folder", place.display()),
            "give a folder of models, a GGUF file or a Hugging Face folder",
        )),
    }
}

/// The path that tells whether two are the same file.
pub fn whole(path: &Path) -> PathBuf {
    let path = script_of(path).unwrap_or(path);
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

fn stamp(path: &Path) -> Stamp {
    let path = script_of(path).unwrap_or(path);
    // Of a folder as Hugging Face publishes them, this file changes with the others.
    let inside = path.join("config.json");
    let metadata = fs::metadata(if inside.is_file() { &inside } else { path }).ok();
    let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
    (metadata.map_or(0, |metadata| metadata.len()), changed)
}

/// Reads a test double.
pub fn read_script(path: &Path) -> Result<Script> {
    let shown = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(shown)?;
    Script::parse(&text).with_context(shown)
}

fn of_script(name: &str, path: &Path) -> Result<Description> {
    let script = read_script(path)?;
    Ok(Description {
        name: name.to_owned(),
        architecture: "scripted".to_owned(),
        file_bytes: script.load().bytes,
        memory_bytes: script.load().bytes,
        context: Some(script.context()),
        ..Description::default()
    })
}

fn start_script(path: &Path, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>> {
    let script = read_script(path)?;
    let each = Duration::from_millis(script.load().ms) / STEPS;
    for step in 0..STEPS {
        progress(step as f32 / STEPS as f32);
        sleep(each);
    }
    if let Some(why) = &script.load().fails {
        bail!("{why}");
    }
    Ok(Runtime::start_scripted(script, vec![name.to_owned()])?)
}
