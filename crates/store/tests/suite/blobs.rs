//! Turns contents into files: whole, once, and gone with their last document.

use std::time::Duration;

use myriad_store::{Blobs, Change, Document, Kind, StoreError};
use tokio::io::AsyncReadExt;

use crate::harness::Place;

/// SHA-256 of "abc", of FIPS 180-2's example.
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[tokio::test]
async fn equal_contents_are_kept_once_and_go_with_their_last_document() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let folder = place.file("blobs");
    let blobs = Blobs::open(&folder).await.unwrap();
    let mut documents = Vec::new();
    for (id, pieces) in [("one", &["abc"][..]), ("two", &["a", "", "bc"])] {
        let mut writer = blobs.writer(3).await.unwrap();
        for piece in pieces {
            writer.write(piece.as_bytes()).await.unwrap();
        }
        let blob = writer.finish().await.unwrap();
        assert_eq!((blob.digest.as_str(), blob.bytes), (ABC, 3));
        let file = Document::new(Kind::File, "me", id, 1);
        let file = Document { blob: Some(blob.digest.clone()), ..file };
        store.commit(Change::new().insert(file.clone())).await.unwrap();
        documents.push(file);
    }
    assert_eq!(files(&folder), 1);
    for (document, left) in documents.iter().zip([1, 0]) {
        store.commit(Change::new().delete(document)).await.unwrap();
        blobs.remove_unused(&store, ABC).await.unwrap();
        assert_eq!(files(&folder), left);
    }
    blobs.remove_unused(&store, ABC).await.unwrap();
    let error = blobs.read(ABC).await.unwrap_err();
    assert!(matches!(error, StoreError::File { .. }), "{error}");
    store.close().await;
}

#[tokio::test]
async fn a_content_comes_back_in_full() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).await.unwrap();
    let bytes: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut writer = blobs.writer(u64::MAX).await.unwrap();
    for piece in bytes.chunks(70_001) {
        writer.write(piece).await.unwrap();
    }
    let blob = writer.finish().await.unwrap();
    let mut found = Vec::new();
    blobs.read(&blob.digest).await.unwrap().read_to_end(&mut found).await.unwrap();
    assert_eq!(found, bytes);
}

#[tokio::test]
async fn what_is_too_large_or_given_up_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path()).await.unwrap();
    let mut writer = blobs.writer(10).await.unwrap();
    writer.write(&[0; 10]).await.unwrap();
    let error = writer.write(&[0]).await.unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit: 10 }), "{error}");
    drop(writer);
    let mut writer = blobs.writer(10).await.unwrap();
    writer.write(&[1; 4]).await.unwrap();
    drop(writer);
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn contents_without_a_document_are_found_and_removed() {
    let place = Place::all().await.remove(0);
    let store = place.open().await;
    let folder = place.file("blobs");
    let blobs = Blobs::open(&folder).await.unwrap();
    for text in ["abc", "left over", "also"] {
        let mut writer = blobs.writer(99).await.unwrap();
        writer.write(text.as_bytes()).await.unwrap();
        writer.finish().await.unwrap();
    }
    let blob = blobs.hold(ABC).await.unwrap();
    let file = Document::new(Kind::File, "me", "one", 1);
    let file = Document { blob: Some(blob.digest.clone()), ..file };
    store.commit(Change::new().insert(file)).await.unwrap();
    drop(blob);
    blobs.remove_orphans(&store, Duration::from_secs(60)).await.unwrap();
    assert_eq!(files(&folder), 3, "their documents may be on their way");
    blobs.remove_orphans(&store, Duration::ZERO).await.unwrap();
    assert_eq!(files(&folder), 1);
    assert_eq!(blobs.hold(ABC).await.unwrap().bytes, 3);
    assert!(blobs.hold(&"0".repeat(64)).await.is_err());
    store.close().await;
}

/// Files below a folder.
fn files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}
