//! Turns what was used into sums that stay right, whoever adds to them at the same time.

use myriad_store::{
    By, Change, Document, KeySecret, Keys, Kind, NewKey, NewUser, Role, Span, Used, UsedBy, Users,
};

use tokio::task::JoinSet;

use crate::harness::Place;

fn by(day: i64, owner: &str, key: &str, model: &str) -> UsedBy {
    UsedBy { day, owner: owner.into(), key: key.into(), model: model.into() }
}

fn used(requests: i64, prompt_tokens: i64, generated_tokens: i64) -> Used {
    Used { requests, prompt_tokens, cached_tokens: prompt_tokens / 2, generated_tokens }
}

#[tokio::test]
async fn sums_grow_and_are_put_together() {
    for place in Place::all().await {
        let store = place.open().await;
        let add = |by, used| store.commit(Change::new().add_usage(by, used));
        add(by(10, "anna", "", "small"), used(1, 100, 10)).await.unwrap();
        // Two servers, or two turns of one, at the same time.
        let mut tasks = JoinSet::new();
        for _ in 0..20 {
            let store = store.clone();
            let change = Change::new().add_usage(by(10, "anna", "", "small"), used(1, 2, 3));
            tasks.spawn(async move { store.commit(change).await });
        }
        for done in tasks.join_all().await {
            done.unwrap();
        }
        add(by(11, "anna", "key_1", "large"), used(1, 0, 1000)).await.unwrap();
        add(by(11, "ben", "key_2", "small"), used(5, 50, 5)).await.unwrap();
        let span = |owner| Span { owner, from: 10, to: 11 };
        let sums = async |owner, by| store.usage(span(owner), by).await.unwrap();
        let named = |name: &str, used| (name.to_owned(), used);
        let first = used(21, 140, 70);
        assert_eq!(first.cached_tokens, 70, "50 and twenty times 1");
        assert_eq!(
            sums(Some("anna"), By::Day).await,
            [named("10", first), named("11", used(1, 0, 1000))]
        );
        let owners = sums(None, By::Owner).await;
        assert_eq!(owners[0].0, "anna", "whoever used most");
        assert_eq!(owners[1], named("ben", used(5, 50, 5)));
        let models: Vec<String> =
            sums(None, By::Model).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(models, ["large", "small"]);
        let keys: Vec<String> =
            sums(Some("anna"), By::Key).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(keys, ["key_1", ""]);
        let rows = store.usage_rows(Span { from: 11, ..span(None) }).await.unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[1], (by(11, "ben", "key_2", "small"), used(5, 50, 5)));
        store.commit(Change::new().delete_usage("anna", 11)).await.unwrap();
        assert_eq!(sums(None, By::Day).await.len(), 1);
        assert_eq!(sums(Some("nobody"), By::Day).await, []);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn usage_and_holdings_belong_to_their_owner() {
    for place in Place::all().await {
        let store = place.open().await;
        let secret = KeySecret::load(&place.file("secret")).unwrap();
        let users = Users::new(store.clone(), secret.clone());
        let keys = Keys::new(store.clone(), secret);
        let blob = Some("00".repeat(32));
        let file = Document { blob, bytes: 500, ..Document::new(Kind::File, "default", "f", 1) };
        let body = "{\"ä\":1}".to_owned();
        let chat = Document::new(Kind::AppChat, "default", "default:c", 2);
        let message = Document::new(Kind::AppMessage, "default", "default:c:m", 3);
        let message = Document { parent: "default:c".into(), body: body.clone(), ..message };
        let other = Document { body, ..Document::new(Kind::Response, "ben", "r", 4) };
        let change = [file, chat, message, other]
            .into_iter()
            .fold(Change::new(), |change, document| change.insert(document));
        store.commit(change.add_usage(by(1, "default", "", "m"), used(1, 1, 1))).await.unwrap();
        keys.create(NewKey { owner: "default", name: "k", expires_at: None }, 1).await.unwrap();
        let mine = store.holdings(Some("default")).await.unwrap();
        let told: Vec<_> = mine.iter().map(|it| (it.kind, it.count, it.bytes)).collect();
        let right = [(Kind::AppChat, 1, 0), (Kind::AppMessage, 1, 8), (Kind::File, 1, 500)];
        assert_eq!(told, right, "{}: bytes, and not letters", place.name);
        assert_eq!(store.holdings(None).await.unwrap().len(), 4);
        let page = store.documents_of("default", "", 2).await.unwrap();
        assert_eq!(
            page.iter().map(|it| it.id.as_str()).collect::<Vec<_>>(),
            ["default:c", "default:c:m"]
        );
        let rest = store.documents_of("default", "default:c:m", 2).await.unwrap();
        assert_eq!((rest.len(), rest[0].id.as_str()), (1, "f"));
        // The first account takes over what was everyone's, and leaves nothing when it goes.
        let new = |name| NewUser {
            name,
            display_name: name,
            password: Some("x"),
            role: Role::Admin,
            subject: None,
        };
        let anna = users.create_first(new("anna"), "default", 1).await.unwrap();
        let span = Span { owner: Some(&anna.id), from: 0, to: 9 };
        assert_eq!(store.usage_rows(span).await.unwrap()[0].0.owner, anna.id);
        users.create(new("eve"), 2).await.unwrap();
        users.delete(&anna.id).await.unwrap();
        assert_eq!(store.usage_rows(Span { owner: None, ..span }).await.unwrap(), []);
        assert_eq!(store.holdings(None).await.unwrap().len(), 1);
        store.close().await;
        place.end().await;
    }
}
