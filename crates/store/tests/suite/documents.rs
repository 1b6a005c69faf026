//! Turns documents into rows and back: equal, in order, owned, and never half changed.

use std::sync::Arc;

use myriad_store::{Change, Document, Kind, Query, StoreError};

use crate::harness::Place;

fn document(id: &str, position: i64) -> Document {
    Document {
        body: format!("{{\"n\":{position}}}"),
        ..Document::new(Kind::Chat, "me", id, position)
    }
}

#[tokio::test]
async fn a_document_comes_back_as_it_was() {
    for place in Place::all().await {
        let store = place.open().await;
        let whole = Document {
            parent: "conv_1".into(),
            state: "done".into(),
            expires_at: Some(77),
            blob: Some("ab".into()),
            bytes: 1 << 40,
            body: "{\"text\":\"Grüße, 世界 \\u0000 '; DROP TABLE documents; --\"}".into(),
            ..Document::new(Kind::Item, "me", "item_1", -3)
        };
        let bare = Document::new(Kind::File, "", "file_1", i64::MAX - 1);
        for document in [whole, bare] {
            store.commit(Change::new().insert(document.clone())).await.unwrap();
            let found = store.document(document.kind, &document.owner, &document.id).await;
            assert_eq!(found.unwrap().as_ref(), Some(&document), "{}", place.name);
            let elsewhere = store.document(document.kind, "you", &document.id).await.unwrap();
            assert_eq!(elsewhere, None, "others do not see it");
            let other = store.document(Kind::Batch, &document.owner, &document.id).await.unwrap();
            assert_eq!(other, None, "nor is it of another kind");
        }
        store.close().await;
        let error = store.commit(Change::new().insert(document("x", 1))).await.unwrap_err();
        assert!(matches!(error, StoreError::Closed), "{error}");
        let store = place.open().await;
        assert!(store.document(Kind::Item, "me", "item_1").await.unwrap().is_some(), "kept");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn a_change_happens_whole_or_not_at_all() {
    for place in Place::all().await {
        let store = place.open().await;
        store.commit(Change::new().insert(document("a", 1))).await.unwrap();
        let twice = Change::new().insert(document("b", 2)).insert(document("a", 3));
        let error = store.commit(twice).await.unwrap_err();
        assert!(matches!(&error, StoreError::Conflict(id) if id == "a"), "{error}");
        assert_eq!(store.document(Kind::Chat, "me", "b").await.unwrap(), None, "{}", place.name);

        let read = store.document(Kind::Chat, "me", "a").await.unwrap().unwrap();
        let changed = Document { body: "1".into(), ..read.clone() };
        store.commit(Change::new().update(changed)).await.unwrap();
        let late = Document { body: "2".into(), ..read };
        let error = store.commit(Change::new().update(late.clone())).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "whoever read before must read again");
        let found = store.document(Kind::Chat, "me", "a").await.unwrap().unwrap();
        assert_eq!((found.body.as_str(), found.revision), ("1", 1));

        store.commit(Change::new().delete(&found)).await.unwrap();
        let error = store.commit(Change::new().delete(&found)).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict(_)), "it is gone");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn one_wrong_change_hurts_no_other_of_its_batch() {
    for place in Place::all().await {
        let store = place.open().await;
        store.commit(Change::new().insert(document("taken", 0))).await.unwrap();
        let tasks: Vec<_> = (0..300)
            .map(|index| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let wrong = index % 7 == 3;
                    let id = if wrong { "taken".to_owned() } else { format!("row{index}") };
                    let result = store.commit(Change::new().insert(document(&id, index))).await;
                    (wrong, result)
                })
            })
            .collect();
        for task in tasks {
            let (wrong, result) = task.await.unwrap();
            assert_eq!(wrong, result.is_err(), "{result:?}");
        }
        let page = store.list(&Query::of(Kind::Chat, "me")).await.unwrap().unwrap();
        assert_eq!(page.documents.len(), 1 + (0..300).filter(|index| index % 7 != 3).count());
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn lists_go_page_by_page_in_both_directions() {
    for place in Place::all().await {
        let store = place.open().await;
        // Equal positions are told apart by their ids.
        let ids: Vec<String> = (0..10).map(|index| format!("chat_{index}")).collect();
        for (index, id) in ids.iter().enumerate() {
            let change = Change::new().insert(document(id, index as i64 / 2));
            store.commit(change).await.unwrap();
        }
        for other in [
            Document::new(Kind::Chat, "you", "theirs", 3),
            Document::new(Kind::File, "me", "file", 3),
            Document { parent: "chat_1".into(), ..Document::new(Kind::Chat, "me", "part", 3) },
        ] {
            store.commit(Change::new().insert(other)).await.unwrap();
        }
        for descending in [false, true] {
            let mut right = ids.clone();
            if descending {
                right.reverse();
            }
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let query = Query {
                    limit: 3,
                    descending,
                    after: after.as_deref(),
                    ..Query::of(Kind::Chat, "me")
                };
                let page = store.list(&query).await.unwrap().unwrap();
                found.extend(page.documents.into_iter().map(|document| document.id));
                after = found.last().cloned();
                if !page.more {
                    break;
                }
            }
            assert_eq!(found, right, "{} descending {descending}", place.name);
            let (first, last) = (right[2].as_str(), right[6].as_str());
            let (after, before) = (Some(first), Some(last));
            let query = Query { after, before, descending, ..Query::of(Kind::Chat, "me") };
            let page = store.list(&query).await.unwrap().unwrap();
            let found: Vec<_> = page.documents.into_iter().map(|document| document.id).collect();
            assert_eq!(found, right[3..6]);
        }
        for wrong in ["nobody", "theirs", "file", "part", "", "a\0", "'", "\u{10ffff}"] {
            let query = Query { after: Some(wrong), ..Query::of(Kind::Chat, "me") };
            assert_eq!(store.list(&query).await.unwrap(), None, "{wrong} is not in this list");
        }
        let parts = store.list(&Query::parts(Kind::Chat, "me", "chat_1")).await.unwrap().unwrap();
        assert_eq!(parts.documents.len(), 1);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn queues_and_clocks_find_theirs() {
    for place in Place::all().await {
        let store = place.open().await;
        for (index, (state, expires_at)) in
            [("waiting", Some(10)), ("done", None), ("waiting", Some(5)), ("waiting", Some(11))]
                .into_iter()
                .enumerate()
        {
            let batch = Document {
                state: state.into(),
                expires_at,
                ..Document::new(Kind::Batch, "me", format!("batch_{index}"), index as i64)
            };
            store.commit(Change::new().insert(batch)).await.unwrap();
        }
        let ids = |found: Vec<Document>| -> Vec<String> {
            found.into_iter().map(|document| document.id).collect()
        };
        let waiting = store.in_state(Kind::Batch, "waiting").await.unwrap();
        assert_eq!(ids(waiting), ["batch_0", "batch_2", "batch_3"]);
        assert_eq!(ids(store.expired(10, 100).await.unwrap()), ["batch_2", "batch_0"]);
        assert_eq!(ids(store.expired(10, 1).await.unwrap()), ["batch_2"]);
        assert!(store.expired(4, 100).await.unwrap().is_empty());
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn parts_are_counted_summed_and_deleted_without_their_parent() {
    for place in Place::all().await {
        let store = place.open().await;
        let batch = Document::new(Kind::Batch, "me", "batch_1", 1);
        let line = |number: i64, state: &str, owner: &str| Document {
            parent: "batch_1".into(),
            state: state.into(),
            blob: (number % 2 == 0).then(|| format!("digest {}", number % 4)),
            bytes: number,
            ..Document::new(Kind::BatchLine, owner, format!("{owner} {number}"), number)
        };
        let lines = [
            line(1, "completed", "me"),
            line(2, "failed", "me"),
            line(6, "completed", "me"),
            line(i64::from(u32::MAX) * 4, "completed", "me"),
        ];
        let change = lines.iter().cloned().fold(Change::new(), Change::insert);
        store.commit(change.insert(batch.clone())).await.unwrap();
        let mut states = store.count_states(Kind::BatchLine, "batch_1").await.unwrap();
        states.sort();
        assert_eq!(states, [("completed".to_owned(), 3), ("failed".to_owned(), 1)]);
        let mut positions = store.positions(Kind::BatchLine, "batch_1").await.unwrap();
        positions.sort_unstable();
        assert_eq!(positions, [1, 2, 6, i64::from(u32::MAX) * 4]);
        let mut contents = store.contents(&batch).await.unwrap();
        contents.sort();
        assert_eq!(contents, ["digest 0", "digest 2"], "{}", place.name);
        assert_eq!(store.bytes_of("me").await.unwrap(), 9 + u64::from(u32::MAX) * 4);
        assert_eq!(store.bytes_of("you").await.unwrap(), 0);
        store.commit(Change::new().delete_parts(&batch)).await.unwrap();
        assert!(store.count_states(Kind::BatchLine, "batch_1").await.unwrap().is_empty());
        assert!(store.document(Kind::Batch, "me", "batch_1").await.unwrap().is_some());
        store.close().await;
        place.end().await;
    }
}
