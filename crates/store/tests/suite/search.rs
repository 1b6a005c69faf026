//! Turns words into the documents that have them: whole, folded, owned, and gone with them.

use myriad_store::{Change, Document, Found, Kind, Store};

use crate::harness::Place;

/// Indexes a chat and its messages.
async fn keep(store: &Store, owner: &str, id: &str, position: i64, texts: &[&str]) -> Document {
    let whole = Document::new(Kind::AppChat, owner, id, position);
    let change = Change::new().insert(whole.clone()).index(&whole, texts[0]);
    let change = texts[1..].iter().zip(1..).fold(change, |change, (text, number)| {
        let part = Document {
            parent: id.to_owned(),
            ..Document::new(Kind::AppMessage, owner, format!("{id}.{number}"), number)
        };
        change.insert(part.clone()).index(&part, text)
    });
    store.commit(change).await.unwrap();
    whole
}

async fn found(store: &Store, owner: &str, text: &str) -> Vec<(String, Option<String>)> {
    let found = store.search(owner, text, 10).await.unwrap();
    found.into_iter().map(|Found { whole, part }| (whole, part)).collect()
}

fn hits(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<String>)> {
    let owned = |(whole, part): &(&str, Option<&str>)| (whole.to_string(), part.map(str::to_owned));
    pairs.iter().map(owned).collect()
}

#[tokio::test]
async fn all_words_are_found_in_one_text_in_any_language() {
    for place in Place::all().await {
        let store = place.open().await;
        keep(&store, "me", "a", 1, &["Été à Paris", "Where to go?", "To the Louvre, 100%."]).await;
        keep(&store, "me", "b", 2, &["注意力", "请解释注意力机制", "用中文回答。"]).await;
        keep(&store, "me", "c", 3, &["A_b c:\\temp", "Where is the LOUVRE?"]).await;
        keep(&store, "you", "d", 4, &["Louvre", "注意力机制"]).await;
        for (text, right) in [
            ("louvre", hits(&[("c", Some("c.1")), ("a", Some("a.2"))])),
            ("  Louvre   THE to", hits(&[("a", Some("a.2"))])),
            ("ete", hits(&[("a", None)])),
            ("paris louvre", hits(&[])),
            ("注意力机", hits(&[("b", Some("b.1"))])),
            ("机制", hits(&[("b", Some("b.1"))])),
            ("中", hits(&[("b", Some("b.2"))])),
            ("100%", hits(&[("a", Some("a.2"))])),
            ("louvre%100", hits(&[])),
            ("a_b", hits(&[("c", None)])),
            ("lo_vre", hits(&[])),
            (":\\t", hits(&[("c", None)])),
            ("where is the louvre please tell", hits(&[])),
            ("' OR 1=1 --", hits(&[])),
            ("\0", hits(&[])),
            ("", hits(&[])),
        ] {
            assert_eq!(found(&store, "me", text).await, right, "{text} in {}", place.name);
        }
        assert_eq!(found(&store, "you", "louvre").await, hits(&[("d", None)]));
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn what_was_deleted_or_rewritten_is_found_no_more() {
    for place in Place::all().await {
        let store = place.open().await;
        let whole = keep(&store, "me", "a", 1, &["zebra", "giraffe", "okapi"]).await;
        let other = keep(&store, "me", "b", 2, &["zebra crossing"]).await;
        store.commit(Change::new().index(&whole, "lion")).await.unwrap();
        assert_eq!(found(&store, "me", "zebra").await, hits(&[("b", None)]));
        let part = store.document(Kind::AppMessage, "me", "a.2").await.unwrap().unwrap();
        store.commit(Change::new().delete(&part)).await.unwrap();
        assert_eq!(found(&store, "me", "okapi").await, hits(&[]));
        assert_eq!(found(&store, "me", "giraffe").await, hits(&[("a", Some("a.1"))]));
        store.commit(Change::new().delete(&whole)).await.unwrap();
        for gone in ["giraffe", "lion"] {
            assert_eq!(found(&store, "me", gone).await, hits(&[]), "{}", place.name);
        }
        store.commit(Change::new().index(&other, "")).await.unwrap();
        assert_eq!(found(&store, "me", "zebra").await, hits(&[]));
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn pieces_of_deleted_texts_are_in_no_file() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let whole = keep(&store, "me", "a", 1, &["xqj"]).await;
    let there = || {
        std::fs::read_dir(place.folder.path()).unwrap().any(|entry| {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            bytes.windows(3).any(|window| window == b"xqj")
        })
    };
    assert!(there());
    store.commit(Change::new().delete(&whole)).await.unwrap();
    assert!(!there(), "with the store still open");
    store.close().await;
    assert!(!there());
}
