//! Turns people into accounts, their tokens into sessions, and what they leave into nothing.

use std::sync::Arc;

use myriad_store::limits::{
    INVITATION_SECONDS, SESSION_IDLE_SECONDS, SESSION_NOTE_SECONDS, SESSION_SECONDS, SESSIONS_MAX,
};
use myriad_store::{
    Change, Document, KeySecret, Keys, Kind, NewInvitation, NewKey, NewUser, Role, Store,
    StoreError, User, UserState, Users,
};

use crate::harness::Place;

const DAY: i64 = 24 * 3600;

fn new(name: &str) -> NewUser<'_> {
    let (password, role) = (Some("a hash"), Role::User);
    NewUser { name, display_name: "Someone", password, role, subject: None }
}

fn users(place: &Place, store: &Arc<Store>) -> Users {
    Users::new(Arc::clone(store), KeySecret::load(&place.file("secret")).unwrap())
}

async fn first(users: &Users) -> User {
    users.create_first(new("Anna"), "default", 100).await.unwrap()
}

fn conflicts<T: std::fmt::Debug>(result: Result<T, StoreError>, name: &str) {
    let error = result.unwrap_err();
    assert!(matches!(&error, StoreError::Conflict(found) if found == name), "{error}");
}

#[tokio::test]
async fn the_first_account_takes_over_what_was_there() {
    for place in Place::all().await {
        let store = place.open().await;
        let (users, secret) = (users(&place, &store), place.file("secret"));
        let keys = Keys::new(Arc::clone(&store), KeySecret::load(&secret).unwrap());
        let key = NewKey { owner: "default", name: "laptop", expires_at: None };
        let (_, key) = keys.create(key, 1).await.unwrap();
        let chat = |owner: &str, id: &str| Document::new(Kind::Chat, owner, id, 1);
        let change = Change::new().insert(chat("default", "old")).insert(chat("shop", "other"));
        let change = change.index(&chat("default", "old"), "a quiet weekend");
        // Names that are unique for their owner alone begin with it.
        let part = Document { parent: "default:1".into(), ..chat("default", "default:1:2") };
        let change = change.insert(chat("default", "default:1")).insert(part.clone());
        store.commit(change.index(&part, "in the mountains")).await.unwrap();
        assert!(!users.any().await.unwrap());

        let anna = users.create_first(new("Anna"), "default", 100).await.unwrap();
        assert!(users.any().await.unwrap(), "{}", place.name);
        assert_eq!((anna.name.as_str(), anna.role), ("anna", Role::Admin), "the first is admin");
        conflicts(users.create_first(new("Eve"), "default", 101).await, "eve");
        let mine = store.document(Kind::Chat, &anna.id, "old").await.unwrap();
        assert!(mine.is_some(), "the history stays");
        let whole = format!("{}:1", anna.id);
        let part = store.document(Kind::Chat, &anna.id, &format!("{whole}:2")).await.unwrap();
        assert_eq!(part.unwrap().parent, whole, "{}", place.name);
        let found = store.search(&anna.id, "mountains", 9).await.unwrap();
        assert_eq!((found[0].whole.as_str(), found.len()), (whole.as_str(), 1));
        assert_eq!(store.search(&anna.id, "weekend", 9).await.unwrap().len(), 1, "and is found");
        assert!(store.search("default", "weekend", 9).await.unwrap().is_empty());
        assert!(store.document(Kind::Chat, "default", "old").await.unwrap().is_none());
        assert!(store.document(Kind::Chat, "shop", "other").await.unwrap().is_some());
        keys.forget();
        assert_eq!(keys.find(&key, 102).await.unwrap().unwrap().owner, anna.id);
        assert_eq!(users.list().await.unwrap(), [anna]);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn of_many_first_accounts_one_is_made() {
    for place in Place::all().await {
        // Stores of their own, as several servers of one database have them.
        let mut stores = Vec::new();
        for _ in 0..4 {
            stores.push(place.open().await);
        }
        let tasks: Vec<_> = (0..16)
            .map(|number: usize| {
                let users = users(&place, &stores[number % 4]);
                tokio::spawn(async move {
                    let name = format!("user{number}");
                    users.create_first(new(&name), "default", 1).await.is_ok()
                })
            })
            .collect();
        let mut made = 0;
        for task in tasks {
            made += usize::from(task.await.unwrap());
        }
        assert_eq!(made, 1, "{}", place.name);
        assert_eq!(users(&place, &stores[0]).list().await.unwrap().len(), 1);
        for store in stores {
            store.close().await;
        }
        place.end().await;
    }
}

#[tokio::test]
async fn names_are_one_persons_whatever_their_case() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        conflicts(users.create(new("ANNA"), 101).await, "anna");
        let without = NewUser { password: None, ..new("ZOÉ") };
        let zoe = users.create(without, 101).await.unwrap();
        assert_eq!(users.named("zoé").await.unwrap().as_ref(), Some(&zoe));
        assert_eq!(users.named("Anna").await.unwrap().as_ref(), Some(&anna));
        assert_eq!(users.find(&zoe.id).await.unwrap(), Some(zoe.clone()));
        for nobody in ["", "ann", "anna\0", "anna'"] {
            assert_eq!(users.named(nobody).await.unwrap(), None, "{nobody:?}");
        }
        users.set_subject(&zoe.id, "https://id.example zoe").await.unwrap();
        conflicts(users.set_subject(&zoe.id, "https://id.example other").await, &zoe.id);
        let known = users.known_as("https://id.example zoe").await.unwrap().unwrap();
        assert_eq!(known.id, zoe.id);
        conflicts(users.clear_subject(&zoe.id).await, &zoe.id);
        users.set_password(&zoe, Some("hash")).await.unwrap();
        users.clear_subject(&zoe.id).await.unwrap();
        assert_eq!(users.known_as("https://id.example zoe").await.unwrap(), None);
        conflicts(users.clear_subject(&zoe.id).await, &zoe.id);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn the_last_administrator_stays() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        conflicts(users.set(&anna.id, Role::User, UserState::Active).await, &anna.id);
        conflicts(users.set(&anna.id, Role::Admin, UserState::Disabled).await, &anna.id);
        conflicts(users.delete(&anna.id).await, &anna.id);
        let ben = users.create(new("ben"), 101).await.unwrap();
        users.set(&ben.id, Role::Admin, UserState::Disabled).await.unwrap();
        conflicts(users.delete(&anna.id).await, &anna.id);
        users.set(&ben.id, Role::Admin, UserState::Active).await.unwrap();
        users.set(&anna.id, Role::User, UserState::Active).await.unwrap();
        conflicts(users.delete(&ben.id).await, &ben.id);
        conflicts(users.set("user_nobody", Role::User, UserState::Active).await, "user_nobody");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn two_administrators_who_end_each_other_end_one() {
    for place in Place::all().await {
        for _ in 0..8 {
            let (one, two) = (place.open().await, place.open().await);
            let (here, there) = (users(&place, &one), users(&place, &two));
            let name = format!("a{}", here.list().await.unwrap().len());
            let anna = match here.list().await.unwrap().into_iter().find(User::is_admin) {
                Some(admin) => admin,
                None => first(&here).await,
            };
            let ben = here.create(NewUser { role: Role::Admin, ..new(&name) }, 1).await.unwrap();
            let demote = (Role::User, UserState::Active);
            let (left, right) = tokio::join!(
                here.set(&anna.id, demote.0, demote.1),
                there.set(&ben.id, demote.0, demote.1)
            );
            assert!(left.is_ok() != right.is_ok(), "{}: {left:?} {right:?}", place.name);
            let admins = here.list().await.unwrap().into_iter().filter(User::is_admin).count();
            assert_eq!(admins, 1);
            one.close().await;
            two.close().await;
        }
        place.end().await;
    }
}

#[tokio::test]
async fn a_session_goes_on_with_its_use_and_not_for_ever() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        let token = users.begin_session(&anna, None, 0).await.unwrap();
        assert_eq!(token.len(), 43);
        for wrong in ["", "x", &token[..42], &format!("{token}x"), &token.to_lowercase()] {
            assert_eq!(users.find_session(wrong, 1).await.unwrap(), None, "{wrong}");
        }
        let session = users.find_session(&token, 1).await.unwrap().unwrap();
        assert_eq!((session.user.id, session.expires_at), (anna.id.clone(), SESSION_IDLE_SECONDS));
        users.find_session(&token, SESSION_NOTE_SECONDS).await.unwrap().unwrap();
        let seen = users.find(&anna.id).await.unwrap().unwrap().seen_at;
        assert_eq!(seen, Some(SESSION_NOTE_SECONDS), "{}", place.name);
        // Used every 20 days, it lives as long as it may at all.
        for day in [20, 40, 60, 80, 89] {
            assert!(users.find_session(&token, day * DAY).await.unwrap().is_some(), "{day}");
        }
        assert_eq!(users.find_session(&token, SESSION_SECONDS).await.unwrap(), None);
        let idle = users.begin_session(&anna, None, 0).await.unwrap();
        assert_eq!(users.find_session(&idle, SESSION_IDLE_SECONDS).await.unwrap(), None);
        users.sweep(SESSION_SECONDS).await.unwrap();
        assert_eq!(users.find_session(&token, 1).await.unwrap(), None, "swept away");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn sessions_end_at_once() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        let ben = users.create(new("ben"), 1).await.unwrap();
        let open = async |token: &str| users.find_session(token, 2).await.unwrap().is_some();

        let old = users.begin_session(&ben, None, 1).await.unwrap();
        let next = users.begin_session(&ben, Some(&old), 1).await.unwrap();
        assert!(!open(&old).await && open(&next).await, "a new token for each login");
        users.end_session(&next).await.unwrap();
        assert!(!open(&next).await);

        let (one, two) = (
            users.begin_session(&ben, None, 1).await.unwrap(),
            users.begin_session(&anna, None, 1).await.unwrap(),
        );
        assert!(open(&one).await && open(&two).await);
        let new = users.change_password(&ben, "another hash", 2).await.unwrap();
        assert!(!open(&one).await && open(&new).await && open(&two).await);
        let lost = users.change_password(&ben, "a third", 2).await;
        conflicts(lost, &ben.id);

        users.set(&ben.id, Role::User, UserState::Disabled).await.unwrap();
        assert!(!open(&new).await);
        conflicts(users.begin_session(&ben, None, 3).await, &ben.id);
        users.set(&ben.id, Role::User, UserState::Active).await.unwrap();
        assert!(!open(&new).await, "what ended stays ended");

        let mut tokens = Vec::new();
        for at in 0..SESSIONS_MAX as i64 + 3 {
            tokens.push(users.begin_session(&anna, None, 10 + at).await.unwrap());
        }
        let open = async |token: &str| users.find_session(token, 200).await.unwrap().is_some();
        assert!(!open(&tokens[0]).await && !open(&tokens[2]).await && open(&tokens[3]).await);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn an_invitation_makes_one_account() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        let invite = NewInvitation { role: Role::Admin, made_by: &anna.id };
        let (invitation, token) = users.invite(invite.clone(), 100).await.unwrap();
        assert_eq!(users.invited("wrong", 101).await.unwrap(), None);
        assert_eq!(users.invited(&token, 100 + INVITATION_SECONDS).await.unwrap(), None);
        assert_eq!(users.invited(&token, 101).await.unwrap(), Some(invitation.clone()));
        conflicts(users.accept(&invitation, new("Anna"), 101).await, "anna");
        assert!(users.invited(&token, 101).await.unwrap().is_some(), "a taken name costs nothing");
        let ben = users.accept(&invitation, new("Ben"), 102).await.unwrap();
        assert_eq!(ben.role, Role::Admin, "the invitation decides, not the one who comes");
        conflicts(users.accept(&invitation, new("Carl"), 103).await, &invitation.id);
        assert_eq!(users.invited(&token, 103).await.unwrap(), None);
        let listed = users.invitations(103).await.unwrap();
        assert_eq!(listed[0].used_by.as_ref(), Some(&ben.id));

        let (open, token) = users.invite(invite.clone(), 104).await.unwrap();
        assert!(users.withdraw(&open.id).await.unwrap());
        assert!(!users.withdraw(&open.id).await.unwrap() && !users.withdraw("x").await.unwrap());
        assert_eq!(users.invited(&token, 105).await.unwrap(), None);

        // An administrator who is none any more has invited nobody.
        let by_ben = NewInvitation { made_by: &ben.id, ..invite };
        let (_, token) = users.invite(by_ben, 106).await.unwrap();
        users.set(&ben.id, Role::User, UserState::Active).await.unwrap();
        assert_eq!(users.invited(&token, 107).await.unwrap(), None);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn a_link_sets_a_password_once() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let anna = first(&users).await;
        let ben = users.create(new("ben"), 1).await.unwrap();
        let session = users.begin_session(&ben, None, 1).await.unwrap();
        let (_, first) = users.reset_password(&ben, &anna.id, 2).await.unwrap();
        let ben = users.find(&ben.id).await.unwrap().unwrap();
        assert_eq!(ben.password, None, "the old one is over");
        assert_eq!(users.find_session(&session, 3).await.unwrap(), None);
        let (link, second) = users.reset_password(&ben, &anna.id, 3).await.unwrap();
        assert_eq!(users.invited(&first, 4).await.unwrap(), None, "the later link counts");
        assert_eq!(users.invited(&second, 4).await.unwrap().unwrap().user, Some(ben.id.clone()));
        users.renew_password(&link, &ben, "new").await.unwrap();
        conflicts(users.renew_password(&link, &ben, "newer").await, &link.id);
        let ben = users.find(&ben.id).await.unwrap().unwrap();
        assert_eq!(ben.password.as_deref(), Some("new"), "{}", place.name);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn what_a_deleted_account_had_is_gone() {
    for place in Place::all().await {
        let store = place.open().await;
        let users = users(&place, &store);
        let secret = KeySecret::load(&place.file("secret")).unwrap();
        let keys = Keys::new(Arc::clone(&store), secret);
        let anna = first(&users).await;
        let ben = users.create(new("ben"), 1).await.unwrap();
        let key = NewKey { owner: &ben.id, name: "mine", expires_at: None };
        keys.create(key, 1).await.unwrap();
        let session = users.begin_session(&ben, None, 1).await.unwrap();
        let file = |owner: &str, id: &str| Document {
            blob: Some("ab".repeat(32)),
            ..Document::new(Kind::File, owner, id, 1)
        };
        let change = Change::new().insert(file(&ben.id, "his")).insert(file(&anna.id, "hers"));
        let change = change
            .index(&file(&ben.id, "his"), "his words")
            .index(&file(&anna.id, "hers"), "her words");
        store.commit(change).await.unwrap();
        let contents = users.delete(&ben.id).await.unwrap();
        assert_eq!(contents, ["ab".repeat(32)]);
        conflicts(users.delete(&ben.id).await, &ben.id);
        assert_eq!(users.find(&ben.id).await.unwrap(), None);
        assert_eq!(users.find_session(&session, 2).await.unwrap(), None);
        assert!(keys.list_of(&ben.id).await.unwrap().is_empty(), "{}", place.name);
        assert!(store.search(&ben.id, "words", 9).await.unwrap().is_empty(), "nor is it found");
        assert_eq!(store.search(&anna.id, "words", 9).await.unwrap().len(), 1);
        assert!(store.document(Kind::File, &ben.id, "his").await.unwrap().is_none());
        assert!(store.document(Kind::File, &anna.id, "hers").await.unwrap().is_some());
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn no_file_holds_a_token() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let users = users(&place, &store);
    let anna = first(&users).await;
    let session = users.begin_session(&anna, None, 1).await.unwrap();
    let invite = NewInvitation { role: Role::User, made_by: &anna.id };
    let (_, invitation) = users.invite(invite, 1).await.unwrap();
    assert_eq!(users.find_session(&invitation, 2).await.unwrap(), None, "of another sort");
    assert_eq!(users.invited(&session, 2).await.unwrap(), None, "of another sort");
    store.close().await;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        for token in [&session, &invitation] {
            assert!(!bytes.windows(43).any(|window| window == token.as_bytes()), "{path:?}");
        }
    }
}
