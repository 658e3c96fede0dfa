//! Uploads that come in pieces. What is acknowledged is a draft and a number of bytes, which the story keeps as the ledger would: as text.

use std::time::Duration;

use longshore_runtime::storage::draft::{Draft, Which, Writer};
use longshore_tests::until::until;

use super::*;

struct Coming<'a> {
    place: &'a Place,
    which: Which<'a>,
    draft: Draft,
    at: usize,
}

impl<'a> Coming<'a> {
    async fn begin(place: &'a Place, tenant: &'a Tenant, bytes: usize) -> Self {
        let which = Which { tenant, id: Uuid::now_v7(), bytes: bytes as u64 };
        let draft = place.storage.begin_draft(which).await.unwrap();
        Self { place, which, draft, at: 0 }
    }

    /// One request: these bytes behind those that are there, acknowledged or not.
    async fn append(&mut self, piece: &[u8], acknowledged: bool) {
        // A writer that was dropped in the middle of a write lets go when that has ended.
        let opened = || async { self.open().await.ok() };
        let (mut writer, mut rest) = (until("the upload to be free", Duration::from_secs(20), opened).await, piece);
        while !rest.is_empty() {
            let (next, behind) = rest.split_at(rest.len().min(writer.room()).min(1_000_003));
            writer.write(Bytes::copy_from_slice(next)).await.unwrap();
            rest = behind;
        }
        if acknowledged {
            self.at += piece.len();
            let draft = writer.settle(self.at as u64 == self.which.bytes).await.unwrap();
            self.draft = serde_json::from_str(&serde_json::to_string(&draft).unwrap()).unwrap();
            writer.tidy(&self.draft).await;
        }
    }

    async fn open(&self) -> Result<Writer, StorageError> {
        self.place.storage.open_draft(self.which, &self.draft, self.at as u64).await
    }

    async fn finish(&self) -> Result<(), StorageError> {
        self.place.storage.finish_draft(self.which, &self.draft).await
    }

    async fn content(&self) -> Vec<u8> {
        self.place.content(self.which.tenant, self.which.id).await
    }
}

pub(super) async fn an_upload_in_pieces_of_any_size_is_a_file_when_it_is_whole(place: Place) {
    let north: Tenant = "north".parse().unwrap();
    // Parts have 8 MiB: pieces smaller and larger than one, up to its end exactly, and of one byte.
    let sizes = [3 * MIB, 4 * MIB + 1, MIB - 1, 1, 17 * MIB, 2];
    let content = noise(sizes.iter().sum(), 3);
    let mut coming = Coming::begin(&place, &north, content.len()).await;
    for bytes in sizes {
        let piece = &content[coming.at..coming.at + bytes];
        coming.append(piece, true).await;
        assert!(missing(place.fetch(&north, coming.which.id).await), "a part of it can be read");
    }
    coming.finish().await.unwrap();
    assert!(coming.content().await == content);
    assert_eq!(place.names().await.len(), 1, "more is left than the file: {:?}", place.names().await);
    assert!(missing(place.fetch(&Tenant::default(), coming.which.id).await));
    let mut small = Coming::begin(&place, &north, 5).await;
    small.append(b"hello", true).await;
    small.finish().await.unwrap();
    assert_eq!(small.content().await, b"hello");
}

pub(super) async fn what_was_not_acknowledged_is_nobodys(place: Place) {
    let house = Tenant::default();
    let content = noise(20 * MIB, 4);
    let mut coming = Coming::begin(&place, &house, content.len()).await;
    coming.append(&noise(9 * MIB, 5), false).await;
    coming.append(&content[..9 * MIB], true).await;
    // Its process dies when it has written more, and also when it wrote a part's rest.
    coming.append(&noise(11 * MIB, 6), false).await;
    coming.append(&noise(100, 7), false).await;
    coming.append(&content[9 * MIB..10 * MIB], true).await;
    let mut refused = coming.open().await.unwrap();
    refused.write(Bytes::from(noise(100, 8))).await.unwrap();
    refused.take_back(coming.at as u64).await;
    drop(refused);
    coming.append(&content[10 * MIB..], true).await;
    coming.finish().await.unwrap();
    assert!(coming.content().await == content, "bytes that nobody acknowledged are in the file");
    assert_eq!(place.names().await.len(), 1, "{:?}", place.names().await);
}

pub(super) async fn a_whole_upload_becomes_a_file_however_often_it_is_told_to(place: Place) {
    let house = Tenant::default();
    let mut coming = Coming::begin(&place, &house, 9 * MIB).await;
    let content = noise(9 * MIB, 9);
    coming.append(&content[..6 * MIB], true).await;
    assert!(coming.finish().await.is_err(), "it is not whole");
    coming.append(&content[6 * MIB..], true).await;
    for _ in 0..3 {
        coming.finish().await.unwrap();
    }
    assert!(coming.content().await == content);
}

pub(super) async fn an_upload_that_is_dropped_leaves_nothing(place: Place) {
    let north: Tenant = "north".parse().unwrap();
    let mut coming = Coming::begin(&place, &north, 20 * MIB).await;
    coming.append(&noise(9 * MIB, 1), true).await;
    assert!(!place.names().await.is_empty());
    for _ in 0..2 {
        place.storage.drop_draft(coming.which, &coming.draft).await.unwrap();
    }
    assert_eq!(place.names().await, [] as [String; 0]);
    assert!(coming.open().await.is_err() && coming.finish().await.is_err());
}

pub(super) async fn of_two_who_append_at_once_no_bytes_are_mixed(place: Place) {
    let house = Tenant::default();
    let mut coming = Coming::begin(&place, &house, 9 * MIB).await;
    let (ours, theirs) = (noise(9 * MIB, 11), noise(9 * MIB, 12));
    let mut stale = coming.open().await.unwrap();
    let next = coming.open().await;
    // In a directory the lock is the process's: whoever stands still keeps others out. In a bucket nobody can.
    assert_eq!(matches!(next, Err(StorageError::Busy)), place.bucket.is_none(), "{next:?}");
    if next.is_err() {
        drop(stale);
        coming.append(&ours, true).await;
        coming.finish().await.unwrap();
        assert!(coming.content().await == ours);
        return;
    }
    drop(next);
    coming.append(&ours, true).await;
    // The ledger knows of ours, and the other one goes on with what it had in hand.
    for piece in [&theirs[..8 * MIB], &theirs[8 * MIB..]] {
        stale.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    stale.settle(true).await.unwrap();
    let finished = coming.finish().await;
    assert!(finished.is_err(), "parts of another request are in the file");
    assert!(missing(place.fetch(&house, coming.which.id).await));
}
