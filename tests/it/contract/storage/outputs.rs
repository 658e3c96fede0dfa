//! What attempts stage and keep.

use std::ops::Range;

use longshore_sdk::JobId;
use longshore_sdk::context::Kept;

use super::*;

pub(super) async fn a_staged_artifact_is_read_whole_or_in_part(place: Place) {
    // More than one part of a multipart upload.
    let (job, content) = (JobId::fresh(), noise(6 * MIB + 3, 7));
    let staged = place.storage.stage_artifact(job, 2, "out.bin", &place.file("out", &content)).await.unwrap();
    assert_eq!(staged.bytes, content.len() as u64);
    let open = async |range: Option<Range<u64>>| {
        read(place.storage.open_artifact(job, 2, "out.bin", range).await.unwrap()).await
    };
    assert!(open(None).await == content);
    let end = content.len() as u64;
    for range in [0..1, 1..3, 5 * MIB as u64 - 2..5 * MIB as u64 + 2, end - 1..end, 0..end] {
        let wanted = &content[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        assert!(open(Some(range.clone())).await == wanted, "{range:?}");
    }
    for (attempt, name) in [(1, "out.bin"), (2, "other"), (2, "../2/out.bin")] {
        let none = place.storage.open_artifact(job, attempt, name, None).await;
        assert!(matches!(none, Err(StorageError::Missing)), "{attempt} {name}");
    }
    // A lost reply makes the worker stage again.
    let again = place.storage.stage_artifact(job, 2, "out.bin", &place.file("again", b"other")).await.unwrap();
    assert_eq!((again.bytes, open(None).await.as_slice()), (5, &b"other"[..]));
}

pub(super) async fn a_dead_attempts_files_go_and_the_living_ones_stay(place: Place) {
    let job = JobId::fresh();
    for (attempt, name) in [(1, "a"), (1, "b"), (2, "a"), (11, "a")] {
        place.storage.stage_artifact(job, attempt, name, &place.file("out", b"hello")).await.unwrap();
    }
    for _ in 0..2 {
        place.storage.delete_attempt(job, 1).await.unwrap();
    }
    assert_eq!(place.names().await.len(), 2);
    for attempt in [2, 11] {
        assert!(place.storage.open_artifact(job, attempt, "a", None).await.is_ok(), "{attempt}");
    }
}

pub(super) async fn what_an_attempt_keeps_is_recalled_until_the_job_is_settled(place: Place) {
    let (job, other) = (JobId::fresh(), JobId::fresh());
    for job in [job, other] {
        place.storage.keep(job, 1, "part.nut", &place.file("part", b"hello")).await.unwrap();
    }
    let kept = Kept { attempt: 1, name: "part.nut".into() };
    let recalled = place.storage.recall(job, &kept, place.home.path()).await.unwrap().unwrap();
    assert_eq!((recalled.bytes, std::fs::read(recalled.path).unwrap().as_slice()), (5, &b"hello"[..]));
    place.storage.forget_kept(job).await.unwrap();
    assert!(place.storage.recall(job, &kept, place.home.path()).await.unwrap().is_none());
    let another = scratch::dir("other").unwrap();
    assert!(place.storage.recall(other, &kept, another.path()).await.unwrap().is_some());
}
