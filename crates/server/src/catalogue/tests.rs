//! Turns models that alternate, fail and vanish into what the catalogue must do with them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use super::*;
use crate::runtime::scripted::Script;

const PATIENCE: Duration = Duration::from_secs(20);

fn scripted(name: &str) -> Arc<Runtime> {
    let script = Script::parse(r#"{"answers": [{"text": "Yes."}]}"#).unwrap();
    Runtime::start_scripted(script, vec![name.to_owned()]).unwrap()
}

/// Models of one byte each, but for `large`, which takes 9; `slow` takes its time and `broken`
/// fails until it is mended.
#[derive(Default)]
struct Shop {
    loads: Mutex<HashMap<String, usize>>,
    alive: Mutex<Vec<Weak<Runtime>>>,
    most_alive: AtomicUsize,
    mended: AtomicUsize,
}

impl Shop {
    fn loads(&self, name: &str) -> usize {
        self.loads.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

impl Loader for Shop {
    fn list(&self) -> Vec<Description> {
        let about = |(name, memory_bytes): (&str, u64)| Description {
            name: name.to_owned(),
            memory_bytes,
            embeds: name == "vectors",
            ..Description::default()
        };
        let all = [("a", 1), ("b", 1), ("broken", 1), ("large", 9), ("slow", 1), ("vectors", 1)];
        all.map(about).to_vec()
    }

    fn load(&self, name: &str, progress: &mut dyn FnMut(f32)) -> Result<Arc<Runtime>, String> {
        *self.loads.lock().unwrap().entry(name.to_owned()).or_default() += 1;
        progress(0.5);
        if name == "slow" {
            std::thread::sleep(Duration::from_millis(300));
        }
        if name == "broken" && self.mended.load(Ordering::Relaxed) == 0 {
            return Err("its file is cut off".to_owned());
        }
        let runtime = scripted(name);
        let mut alive = self.alive.lock().unwrap();
        alive.push(Arc::downgrade(&runtime));
        let now = alive.iter().filter(|it| it.strong_count() > 0).count();
        self.most_alive.fetch_max(now, Ordering::Relaxed);
        Ok(runtime)
    }

    fn check_source(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn pull(&self, source: &str, download: &dyn Download) -> Result<String, String> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            download.at("file.gguf", 3, Some(10));
            match source {
                "good" => return Ok("pulled".to_owned()),
                "bad" => return Err("no such file".to_owned()),
                _ if download.is_cancelled() => return Err("given up".to_owned()),
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        Err("nobody cancelled it".to_owned())
    }

    fn delete(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// A catalogue whose budget leaves so much beside the model that stays.
fn catalogue(room: u64) -> (Arc<Shop>, Arc<Catalogue>) {
    let shop = Arc::new(Shop::default());
    let about = Description { memory_bytes: 4, ..Description::default() };
    let main = Served { runtime: scripted("main"), about };
    let loader: Arc<dyn Loader> = shop.clone();
    let others = Some(Others { loader, memory_bytes: 4 + room, on_request: true });
    let catalogue = Arc::new(Catalogue::new(Models { main, embedder: None, others }));
    catalogue.look();
    (shop, catalogue)
}

async fn lease(catalogue: &Catalogue, name: &str) -> Result<Lease, ApiError> {
    let asked = catalogue.ask(Some(name), Purpose::Answers)?.expect("a known model");
    tokio::time::timeout(PATIENCE, asked.lease()).await.expect("no deadlock")
}

fn state(catalogue: &Catalogue, name: &str) -> State {
    catalogue.show(name).expect("a known model").state
}

/// Waits until it is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_cold_model_load_it_once() {
    let (shop, catalogue) = catalogue(1);
    assert_eq!(state(&catalogue, "slow"), State::Cold);
    let asks = (0..8).map(|_| lease(&catalogue, "slow"));
    let leases: Result<Vec<_>, _> =
        futures_util::future::join_all(asks).await.into_iter().collect();
    assert!(leases.unwrap().iter().all(|lease| lease.name() == "slow"));
    assert_eq!(shop.loads("slow"), 1);
    assert_eq!(state(&catalogue, "slow"), State::Ready);
    assert_eq!(lease(&catalogue, "main").await.unwrap().name(), "main");
    assert!(catalogue.ask(Some("nobody"), Purpose::Answers).unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_alternate_in_room_for_one_serve_everyone() {
    let (shop, catalogue) = catalogue(1);
    let asks = (0..40).map(|number| {
        let catalogue = Arc::clone(&catalogue);
        tokio::spawn(async move {
            let name = if number % 2 == 0 { "a" } else { "b" };
            for _ in 0..5 {
                let lease = lease(&catalogue, name).await.unwrap();
                assert_eq!(lease.name(), name);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    });
    for done in futures_util::future::join_all(asks).await {
        done.unwrap();
    }
    assert_eq!(shop.most_alive.load(Ordering::Relaxed), 1, "never two at once");
    assert!(shop.loads("a") >= 1 && shop.loads("b") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_in_use_ends_its_requests_before_it_goes() {
    let (shop, catalogue) = catalogue(1);
    let first = lease(&catalogue, "a").await.unwrap();
    let Asked::Coming(mut other) = catalogue.ask(Some("b"), Purpose::Answers).unwrap().unwrap()
    else {
        panic!("b is not loaded");
    };
    until("a drains", || state(&catalogue, "a") == State::Unloading);
    assert!(other.wait(Duration::from_millis(50)).await.unwrap().is_none());
    // Whoever comes meanwhile waits, and has it loaded again.
    let Asked::Coming(mut again) = catalogue.ask(Some("a"), Purpose::Answers).unwrap().unwrap()
    else {
        panic!("a takes no more requests");
    };
    assert_eq!(first.name(), "a");
    drop(first);
    let held = other.wait(PATIENCE).await.unwrap().expect("b");
    assert!(shop.alive.lock().unwrap()[0].upgrade().is_none(), "the engine of a is dropped");
    drop(held);
    assert_eq!(again.wait(PATIENCE).await.unwrap().expect("a").name(), "a");
    assert_eq!((shop.loads("a"), shop.loads("b")), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_one_used_longest_ago_goes_first_and_idle_ones_before_busy_ones() {
    let (_, catalogue) = catalogue(2);
    let busy = lease(&catalogue, "a").await.unwrap();
    drop(lease(&catalogue, "b").await.unwrap());
    drop(lease(&catalogue, "slow").await.unwrap());
    assert_eq!(state(&catalogue, "b"), State::Cold, "a is older, but in use");
    drop(busy);
    drop(lease(&catalogue, "b").await.unwrap());
    assert_eq!(state(&catalogue, "slow"), State::Cold);
    assert_eq!(state(&catalogue, "a"), State::Ready, "its last use ended after that of slow");
    assert_eq!(catalogue.memory(), (6, 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_fits_is_refused_with_both_figures() {
    let (shop, catalogue) = catalogue(8);
    let error = lease(&catalogue, "large").await.err().unwrap();
    assert_eq!((error.status.as_u16(), error.code), (400, Some("model_too_large")));
    assert_eq!(catalogue.load("large").err().unwrap().code, Some("model_too_large"));
    assert_eq!((shop.loads("large"), state(&catalogue, "large")), (0, State::Cold));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_to_everyone_and_tried_anew() {
    let (shop, catalogue) = catalogue(1);
    let asks = (0..4).map(|_| lease(&catalogue, "broken"));
    for result in futures_util::future::join_all(asks).await {
        assert_eq!(result.err().unwrap().code, Some("model_load_failed"));
    }
    assert_eq!(state(&catalogue, "broken"), State::Failed("its file is cut off".to_owned()));
    let failed = shop.loads("broken");
    shop.mended.store(1, Ordering::Relaxed);
    assert_eq!(lease(&catalogue, "broken").await.unwrap().name(), "broken");
    assert_eq!(shop.loads("broken"), failed + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_gone_is_not_loaded_for() {
    let (shop, catalogue) = catalogue(1);
    let first = catalogue.ask(Some("slow"), Purpose::Answers).unwrap();
    until("slow is begun", || shop.loads("slow") == 1);
    let second = catalogue.ask(Some("b"), Purpose::Answers).unwrap();
    drop(second);
    drop(first);
    until("slow is there", || state(&catalogue, "slow") == State::Ready);
    until("b is given up", || state(&catalogue, "b") == State::Cold);
    assert_eq!(shop.loads("b"), 0);
    // The lease that nobody took has ended: it can go.
    assert_eq!(lease(&catalogue, "a").await.unwrap().name(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_load_and_unload_but_not_what_stays() {
    let (_, catalogue) = catalogue(2);
    catalogue.load("a").unwrap();
    until("a is there", || state(&catalogue, "a") == State::Ready);
    catalogue.unload("a").unwrap();
    until("a is gone", || state(&catalogue, "a") == State::Cold);
    catalogue.unload("a").unwrap();
    assert_eq!(catalogue.unload("main").err().unwrap().status.as_u16(), 409);
    assert_eq!(catalogue.load("nobody").err().unwrap().status.as_u16(), 404);
    let error = lease(&catalogue, "vectors").await.err().unwrap();
    assert_eq!(error.code, Some("model_not_supported"));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_requests_load_nothing_only_loaded_models_answer() {
    let shop = Arc::new(Shop::default());
    let others = Some(Others { loader: shop, memory_bytes: 100, on_request: false });
    let models = Models { others, ..scripted("main").into() };
    let catalogue = Catalogue::new(models);
    catalogue.look();
    assert_eq!(lease(&catalogue, "a").await.err().unwrap().code, Some("model_not_loaded"));
    catalogue.load("a").unwrap();
    until("a is there", || state(&catalogue, "a") == State::Ready);
    assert_eq!(lease(&catalogue, "a").await.unwrap().name(), "a");
}

#[test]
fn one_download_at_a_time_and_each_ends_as_it_does() {
    let shop: Arc<dyn Loader> = Arc::new(Shop::default());
    let pulls = Pulls::default();
    let state = || pulls.latest().map(|pull| pull.state);
    assert_eq!(state(), None);
    pulls.begin(Arc::clone(&shop), "good", || ()).unwrap();
    until("good is there", || state() == Some(PullState::Done("pulled".to_owned())));
    pulls.begin(Arc::clone(&shop), "bad", || ()).unwrap();
    until("bad fails", || state() == Some(PullState::Failed("no such file".to_owned())));
    pulls.begin(Arc::clone(&shop), "endless", || ()).unwrap();
    let error = pulls.begin(Arc::clone(&shop), "good", || ()).err().unwrap();
    assert_eq!((error.status.as_u16(), error.code), (409, Some("pull_running")));
    until("it comes", || pulls.latest().is_some_and(|pull| pull.total == Some(10)));
    pulls.cancel();
    until("it is cancelled", || state() == Some(PullState::Cancelled));
}
