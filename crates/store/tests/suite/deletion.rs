//! Turns a deletion into nothing: no row, no part, and no byte left in SQLite's files.

use myriad_store::{Change, Document, Kind, Query};

use crate::harness::Place;

const SECRET: &str = "the-words-that-must-go-away";

#[tokio::test]
async fn parts_go_with_what_they_are_parts_of() {
    for place in Place::all().await {
        let store = place.open().await;
        let whole = Document::new(Kind::Conversation, "me", "conv_1", 1);
        let part = |id: &str, owner: &str| Document {
            parent: "conv_1".into(),
            ..Document::new(Kind::Item, owner, id, 1)
        };
        let change = Change::new().insert(whole.clone()).insert(part("mine", "me"));
        store.commit(change.insert(part("theirs", "you"))).await.unwrap();
        assert_eq!(store.count_parts(Kind::Item, "conv_1").await.unwrap(), 2);
        store.commit(Change::new().delete(&whole)).await.unwrap();
        let parts = Query::parts(Kind::Item, "me", "conv_1");
        assert!(store.list(&parts).await.unwrap().unwrap().documents.is_empty());
        let theirs = store.document(Kind::Item, "you", "theirs").await.unwrap();
        assert!(theirs.is_some(), "whatever others called their parent");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn what_was_deleted_is_in_no_file() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let body = SECRET.repeat(1000);
    let document = Document { body, ..Document::new(Kind::Chat, "me", "chat_1", 1) };
    store.commit(Change::new().insert(document.clone())).await.unwrap();
    assert!(is_there(&place), "the search finds it while it is there");
    let overwritten = Document { body: "{}".into(), ..document };
    store.commit(Change::new().update(overwritten.clone())).await.unwrap();
    assert!(!is_there(&place), "overwritten is gone too");
    let again = Document { id: "chat_2".into(), body: SECRET.into(), ..overwritten };
    store.commit(Change::new().insert(again.clone())).await.unwrap();
    assert!(is_there(&place));
    store.commit(Change::new().delete(&again)).await.unwrap();
    assert!(!is_there(&place), "with the store still open");
    store.close().await;
    assert!(!is_there(&place));
}

fn is_there(place: &Place) -> bool {
    std::fs::read_dir(place.folder.path()).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
    })
}
