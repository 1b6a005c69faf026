//! Turns keys into owners: only whole, valid ones, and nothing of them is kept.

use std::time::Duration;

use myriad_store::{KeySecret, Keys, NewKey, StoreError};

use crate::harness::Place;

const NEW: NewKey<'_> = NewKey { owner: "me", name: "laptop", expires_at: None };

#[tokio::test]
async fn a_key_opens_until_it_is_revoked_or_over() {
    for place in Place::all().await {
        let store = place.open().await;
        let keys = Keys::new(store.clone(), KeySecret::load(&place.file("secret")).unwrap());
        assert!(!keys.any().await.unwrap());
        let (key, text) = keys.create(NEW, 100).await.unwrap();
        assert!(keys.any().await.unwrap());
        assert!(text.starts_with(&key.prefix) && text.len() == 50, "{text}");
        assert_eq!(keys.find(&text, 101).await.unwrap().as_ref(), Some(&key), "{}", place.name);
        for wrong in ["", "sk-myriad-", &text[..49], &format!("{text}x"), &text.to_lowercase()] {
            assert_eq!(keys.find(wrong, 101).await.unwrap(), None, "{wrong}");
        }
        let (short, other) =
            keys.create(NewKey { expires_at: Some(200), ..NEW }, 101).await.unwrap();
        assert!(keys.find(&other, 199).await.unwrap().is_some());
        assert!(keys.find(&other, 200).await.unwrap().is_none(), "over, though remembered");
        assert_eq!(keys.list().await.unwrap(), [key.clone(), short]);

        assert!(keys.revoke(&key.id, 150).await.unwrap());
        assert!(!keys.revoke(&key.id, 151).await.unwrap(), "once");
        assert!(!keys.revoke("key_nobody", 151).await.unwrap());
        assert_eq!(keys.find(&text, 152).await.unwrap(), None);
        assert_eq!(keys.list().await.unwrap()[0].revoked_at, Some(150));
        assert!(keys.any().await.unwrap(), "revoking the last key does not open the doors");
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn other_servers_learn_of_a_revocation_soon() {
    for place in Place::all().await {
        let store = place.open().await;
        let secret = KeySecret::load(&place.file("secret")).unwrap();
        let (here, there) =
            (Keys::new(store.clone(), secret.clone()), Keys::new(store.clone(), secret));
        let (key, text) = here.create(NEW, 100).await.unwrap();
        assert!(there.find(&text, 101).await.unwrap().is_some());
        assert!(here.revoke(&key.id, 102).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(there.find(&text, 103).await.unwrap(), None);
        store.close().await;
        place.end().await;
    }
}

#[tokio::test]
async fn the_database_alone_lets_nobody_in() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let keys = Keys::new(store.clone(), KeySecret::load(&place.file("secret")).unwrap());
    let (_, text) = keys.create(NEW, 100).await.unwrap();
    let elsewhere = Keys::new(store.clone(), KeySecret::load(&place.file("another")).unwrap());
    assert_eq!(elsewhere.find(&text, 101).await.unwrap(), None, "another secret, another hash");
    store.close().await;
    for entry in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let random = &text.as_bytes()[14..];
        assert!(!bytes.windows(random.len()).any(|window| window == random), "{path:?}");
    }
}

#[test]
fn a_secret_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            std::thread::spawn(move || KeySecret::load(&path).map(drop))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap().unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), 64);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    for wrong in ["", "short", &"g".repeat(64), &"ü".repeat(32)] {
        std::fs::write(&path, wrong).unwrap();
        let error = KeySecret::load(&path).unwrap_err();
        assert!(matches!(error, StoreError::Secret(_)), "{error}");
    }
}
