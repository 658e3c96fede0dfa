//! Uploads that come at once.

use super::*;

pub(super) async fn what_is_written_is_read_and_gone_when_it_is_tried_out(place: Place) {
    place.storage.try_out().await.unwrap();
    assert_eq!(place.names().await, [] as [String; 0]);
}

pub(super) async fn an_upload_of_any_size_is_hashed_and_is_an_input(place: Place) {
    // Less than a part, a part, and parts with a rest.
    for bytes in [5, 5 * MIB, 11 * MIB + 7] {
        let (id, whose, content) = (Uuid::now_v7(), Tenant::default(), noise(bytes, bytes as u64));
        let chunks: Vec<&[u8]> = content.chunks(700_001).collect();
        let stored = place.storage.put_file(&whose, id, body(&chunks), bytes as u64).await.unwrap();
        assert_eq!((stored.bytes, stored.sha256.len()), (bytes as u64, 64));
        assert!(place.content(&whose, id).await == content, "{bytes} bytes came back as others");
    }
    let hello = place.storage.put_file(&Tenant::default(), Uuid::now_v7(), body(&[b"hel", b"lo"]), 5).await.unwrap();
    assert_eq!(hello.sha256, "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824");
}

pub(super) async fn an_upload_past_its_limit_or_broken_off_leaves_nothing(place: Place) {
    let whose = Tenant::default();
    let large = place.storage.put_file(&whose, Uuid::now_v7(), body(&[&noise(6 * MIB, 1), b"!"]), 6 * MIB as u64).await;
    assert!(matches!(large, Err(StorageError::TooLarge { .. })), "{large:?}");
    let broken = body(&[&noise(6 * MIB, 2)]).chain(stream::iter([Err(std::io::Error::other("gone"))]));
    let broken = place.storage.put_file(&whose, Uuid::now_v7(), broken, 64 * MIB as u64).await;
    assert!(matches!(broken, Err(StorageError::Interrupted(_))), "{broken:?}");
    assert_eq!(place.names().await, [] as [String; 0]);
}

pub(super) async fn an_upload_is_its_own_tenants_alone_and_missing_when_it_is_forgotten(place: Place) {
    let [north, south]: [Tenant; 2] = ["north", "south"].map(|name| name.parse().unwrap());
    let id = Uuid::now_v7();
    place.storage.put_file(&north, id, body(&[b"hello"]), 5).await.unwrap();
    for foreign in [&south, &Tenant::default()] {
        assert!(missing(place.fetch(foreign, id).await), "{foreign}");
    }
    // A bucket says of what is not there that it is removed.
    let _ = place.storage.delete_file(&south, id).await;
    assert_eq!(place.content(&north, id).await, b"hello");
    place.storage.delete_file(&north, id).await.unwrap();
    assert!(missing(place.fetch(&north, id).await));
    assert!(missing(place.fetch(&north, Uuid::now_v7()).await));
}
