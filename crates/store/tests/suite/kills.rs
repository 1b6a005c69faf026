//! Turns `kill -9` at any moment into no loss: what was acknowledged is there when it opens again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use myriad_store::{Change, Document, Kind, Query, Store};

use crate::harness::Place;

const KILLS: u64 = 50;

/// Tells the child where to write; without it, it does nothing.
const PLACE: &str = "MYRIAD_TEST_KILL_PLACE";
const ROUND: &str = "MYRIAD_TEST_KILL_ROUND";

#[tokio::test]
async fn fifty_kills_lose_no_acknowledged_row() {
    for place in Place::all().await {
        // The delays before a kill: spread from before the first row to well into the run.
        let mut seen = 0;
        let mut acknowledged = Vec::new();
        for round in 0..KILLS {
            let mut child = begin(&place.address, round);
            let out = BufReader::new(child.stdout.take().unwrap());
            let reader = std::thread::spawn(move || {
                let lines = out.lines().map_while(Result::ok);
                lines.filter_map(|line| Some(line.strip_prefix("row ")?.to_owned())).collect()
            });
            tokio::time::sleep(Duration::from_millis(40 + round * 7919 % 160)).await;
            child.kill().unwrap();
            child.wait().unwrap();
            let rows: Vec<String> = reader.join().unwrap();
            acknowledged.extend(rows);
            if round % 10 == 9 {
                seen = check(&place, &acknowledged).await;
            }
        }
        println!("{}: {} rows acknowledged, {seen} found", place.name, acknowledged.len());
        assert!(acknowledged.len() > 1000, "{}: killed in mid-write", acknowledged.len());
        place.end().await;
    }
}

/// Every acknowledged row is there, each with its two halves.
async fn check(place: &Place, acknowledged: &[String]) -> usize {
    let store = place.open().await;
    let mut found = std::collections::HashSet::new();
    let mut after: Option<String> = None;
    loop {
        let query = Query { after: after.as_deref(), ..Query::of(Kind::Chat, "me") };
        let page = store.list(&query).await.unwrap().unwrap();
        found.extend(page.documents.iter().map(|document| document.id.clone()));
        after = page.documents.last().map(|document| document.id.clone());
        if !page.more {
            break;
        }
    }
    for id in acknowledged {
        assert!(found.contains(id), "{}: {id} was acknowledged, and is lost", place.name);
        assert!(found.contains(&format!("{id}-half")), "{}: half of {id} is lost", place.name);
    }
    store.close().await;
    found.len()
}

fn begin(address: &str, round: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child", "--nocapture"])
        .env(PLACE, address)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The process that is killed: eight writers who say each row once it is acknowledged.
#[tokio::test]
async fn child() {
    let (Ok(address), Ok(round)) = (std::env::var(PLACE), std::env::var(ROUND)) else { return };
    let store = Arc::new(Store::open(&address).await.unwrap());
    let writers = (0..8).map(|writer| {
        let (store, round) = (Arc::clone(&store), round.clone());
        tokio::spawn(async move {
            for row in 0..1_000_000 {
                let id = format!("{round}-{writer}-{row}");
                let half = |id: String| Document {
                    body: "x".repeat(500),
                    ..Document::new(Kind::Chat, "me", id, row)
                };
                let change = Change::new().insert(half(id.clone()));
                store.commit(change.insert(half(format!("{id}-half")))).await.unwrap();
                println!("row {id}");
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
}
