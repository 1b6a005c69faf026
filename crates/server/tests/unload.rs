//! Holds unloaded models to their word: the memory that they took is free again.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use myriad_engine::EngineConfig;
use myriad_formats::Gguf;
use myriad_kernels::{BlockType, Compute, Kernels, KvType};
use myriad_model::synthetic::{Shape, gguf};
use myriad_model::{Family, Model};
use myriad_server::catalogue::{Catalogue, Models, Others, Purpose, State};
use myriad_server::runtime::scripted::Script;
use myriad_server::{Description, Download, LoadedModel, Loader, Runtime};
use myriad_token::Tokenizer;

/// Weights of about 40 million values: enough that nothing else of the process counts. Made once:
/// what making it leaves behind in the allocator's heaps is not the model's.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let small = Shape::small(Family::Llama, BlockType::F32);
    gguf(&Shape { layers: 8, hidden: 512, feed_forward: 3072, ..small }, 1)
});

struct Files;

impl Loader for Files {
    fn list(&self) -> Vec<Description> {
        ["one", "other"]
            .map(|name| Description {
                name: name.to_owned(),
                memory_bytes: 1,
                ..Description::default()
            })
            .to_vec()
    }

    fn load(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>, String> {
        let file = Gguf::from_bytes(FILE.clone()).map_err(|error| error.to_string())?;
        let compute = Compute::new(Kernels::detect().map_err(|error| error.to_string())?, 1);
        let vocab = file.vocab().map_err(|error| error.to_string())?;
        let tokenizer = Tokenizer::new(&vocab).map_err(|error| error.to_string())?;
        let model = Model::load(&file, &compute, progress).map_err(|error| error.to_string())?;
        let loaded = LoadedModel {
            names: vec![name.to_owned()],
            model: Arc::new(model),
            draft: None,
            compute,
            tokenizer: Arc::new(tokenizer),
            template: None,
        };
        let (context, parallel, step_tokens, pages) = (256, 1, 64, 16);
        let engine = EngineConfig {
            context,
            parallel,
            step_tokens,
            pages,
            kv: KvType::F16,
            snapshots: 0,
            speculate: true,
        };
        Runtime::start(loaded, engine).map_err(|error| error.to_string())
    }

    fn check_source(&self, _: &str) -> Result<(), String> {
        Err("nothing is got here".to_owned())
    }

    fn pull(&self, _: &str, _: &dyn Download) -> Result<String, String> {
        Err("nothing is got here".to_owned())
    }

    fn delete(&self, _: &str) -> Result<(), String> {
        Err("nothing is deleted here".to_owned())
    }
}

/// Bytes of this process that are in memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a size");
    line.split_whitespace().nth(1).and_then(|size| size.parse::<u64>().ok()).expect("kB") * 1024
}

fn wait(catalogue: &Catalogue, name: &str, state: State) {
    let start = Instant::now();
    while catalogue.show(name).expect("it is known").state != state {
        assert!(start.elapsed() < Duration::from_secs(60), "{name} is not {state:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn an_unloaded_models_memory_goes_back() {
    let script = Script::parse(r#"{"answers": [{"text": "Yes."}]}"#).expect("a script");
    let main = Runtime::start_scripted(script, vec!["main".into()]).expect("a runtime");
    let others = Some(Others { loader: Arc::new(Files), memory_bytes: 1, on_request: true });
    let catalogue = Catalogue::new(Models { others, ..main.into() });
    catalogue.look();
    // The first time brings what stays: threads, arenas of the allocator.
    catalogue.load("one").expect("it fits");
    wait(&catalogue, "one", State::Ready);
    catalogue.unload("one").expect("it may go");
    wait(&catalogue, "one", State::Cold);
    let before = resident();
    for name in ["one", "other", "one", "other"] {
        catalogue.load(name).expect("it fits");
        wait(&catalogue, name, State::Ready);
        assert!(catalogue.ask(Some(name), Purpose::Tokens).expect("a model").is_some());
    }
    let loaded = resident();
    catalogue.unload("other").expect("it may go");
    wait(&catalogue, "other", State::Cold);
    let after = resident();
    let megabytes = |bytes: u64| bytes / 1_000_000;
    println!(
        "before {} MB, with one of them {} MB, after {} MB",
        megabytes(before),
        megabytes(loaded),
        megabytes(after)
    );
    let taken = loaded.saturating_sub(before);
    assert!(
        taken > 150_000_000 && after < before + taken / 8,
        "{} MB stay",
        megabytes(after - before)
    );
}
