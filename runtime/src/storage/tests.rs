//! The storage over a directory.

use std::io;
use std::path::Path;

use futures_util::stream;
use longshore_sdk::{Failure, Result as Answer, Source};

use super::*;

const HELLO_SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

struct Place {
    directory: tempfile::TempDir,
    storage: Storage,
}

fn place_with(change: impl FnOnce(&Path, &mut StorageSettings)) -> Place {
    let directory = tempfile::tempdir().unwrap();
    let location = directory.path().join("storage").display().to_string();
    let mut settings = StorageSettings { location, ..StorageSettings::default() };
    change(directory.path(), &mut settings);
    Place { storage: Storage::open(settings).unwrap(), directory }
}

fn place() -> Place {
    place_with(|_, _| ())
}

fn body(parts: &[&'static str]) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    stream::iter(parts.iter().map(|part| Ok(Bytes::from_static(part.as_bytes()))).collect::<Vec<_>>())
}

async fn read(content: Content) -> String {
    let chunks: Vec<Bytes> = content.try_collect().await.unwrap();
    String::from_utf8(chunks.concat()).unwrap()
}

fn fatal<T: std::fmt::Debug>(answer: Answer<T>) -> String {
    match answer {
        Err(Failure::Fatal(report)) => report.code,
        other => panic!("not fatal: {other:?}"),
    }
}

impl Place {
    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn stored_files(&self) -> usize {
        std::fs::read_dir(self.directory.path().join("storage/files")).unwrap().count()
    }

    async fn stage(&self, job: JobId, attempt: u32, path: &Path) -> Answer<Stored> {
        self.storage.stage_artifact(job, attempt, "out.txt", path).await
    }

    async fn artifact(&self, job: JobId, attempt: u32, range: Option<Range<u64>>) -> Result<Content, StorageError> {
        self.storage.open_artifact(job, attempt, "out.txt", range).await
    }

    async fn fetch(&self, source: Source) -> Answer<longshore_sdk::context::Input> {
        self.storage.fetch_to(&Tenant::default(), &source, self.directory.path()).await
    }
}

#[tokio::test]
async fn an_upload_is_hashed_and_is_an_input_where_it_lies() {
    let place = place();
    let id = Uuid::now_v7();
    let stored = place.storage.put_file(&Tenant::default(), id, body(&["he", "llo"]), 5).await.unwrap();
    assert_eq!(stored, Stored { bytes: 5, sha256: HELLO_SHA256.into() });
    let input = place.fetch(Source::file(id.to_string())).await.unwrap();
    assert_eq!((input.bytes, std::fs::read_to_string(&input.path).unwrap().as_str()), (5, "hello"));
    assert!(input.path.starts_with(place.directory.path().canonicalize().unwrap().join("storage/files")));
}

#[tokio::test]
async fn an_upload_past_its_limit_or_broken_off_leaves_nothing() {
    let place = place();
    let large = place.storage.put_file(&Tenant::default(), Uuid::now_v7(), body(&["hell", "o!"]), 5).await;
    assert!(matches!(large, Err(StorageError::TooLarge { limit: 5 })));
    let broken = body(&["hell"]).chain(stream::iter([Err(io::Error::other("gone"))]));
    let broken = place.storage.put_file(&Tenant::default(), Uuid::now_v7(), broken, 5).await;
    assert!(matches!(broken, Err(StorageError::Interrupted(_))));
    assert_eq!(place.stored_files(), 0);
}

#[tokio::test]
async fn a_forgotten_upload_is_missing() {
    let place = place();
    let id = Uuid::now_v7();
    place.storage.put_file(&Tenant::default(), id, body(&["hello"]), 5).await.unwrap();
    place.storage.delete_file(&Tenant::default(), id).await.unwrap();
    assert_eq!(fatal(place.fetch(Source::file(id.to_string())).await), "source_missing");
    for odd in ["../files/x", "", "x"] {
        assert_eq!(fatal(place.fetch(Source::file(odd)).await), "source_missing", "{odd:?}");
    }
}

#[tokio::test]
async fn an_upload_is_read_by_its_own_tenants_jobs_alone() {
    let place = place();
    let [north, south]: [Tenant; 2] = ["north", "south"].map(|name| name.parse().unwrap());
    let house = Tenant::default();
    let id = Uuid::now_v7();
    place.storage.put_file(&north, id, body(&["hello"]), 5).await.unwrap();
    let source = Source::file(id.to_string());
    let read = async |whose| place.storage.fetch_to(whose, &source, place.directory.path()).await;
    assert_eq!(read(&north).await.unwrap().bytes, 5);
    for foreign in [&south, &house] {
        assert_eq!(fatal(read(foreign).await), "source_missing", "{foreign}");
    }
    assert!(place.storage.delete_file(&south, id).await.is_err());
    place.storage.delete_file(&north, id).await.unwrap();
    assert_eq!(fatal(read(&north).await), "source_missing");
}

#[tokio::test]
async fn a_staged_artifact_is_read_whole_or_in_part() {
    let place = place();
    let job = JobId::fresh();
    let stored = place.stage(job, 2, &place.file("result", "hello")).await.unwrap();
    assert_eq!(stored, Stored { bytes: 5, sha256: HELLO_SHA256.into() });
    assert_eq!(read(place.artifact(job, 2, None).await.unwrap()).await, "hello");
    assert_eq!(read(place.artifact(job, 2, Some(1..3)).await.unwrap()).await, "el");
    assert!(matches!(place.artifact(job, 1, None).await, Err(StorageError::Missing)));
}

#[tokio::test]
async fn an_artifact_is_linked_when_it_lies_on_the_same_file_system() {
    use std::os::unix::fs::MetadataExt;
    let place = place();
    let job = JobId::fresh();
    let path = place.file("result", "hello");
    place.stage(job, 1, &path).await.unwrap();
    assert_eq!(path.metadata().unwrap().nlink(), 2);
    // A lost reply makes the worker stage again.
    assert_eq!(place.stage(job, 1, &path).await.unwrap().bytes, 5);
}

#[tokio::test]
async fn an_operators_file_is_copied_because_it_may_change_later() {
    let place = place_with(|base, settings| settings.allowed_roots = vec![base.to_owned()]);
    let job = JobId::fresh();
    let path = place.file("theirs", "hello");
    place.stage(job, 1, &path).await.unwrap();
    std::fs::write(&path, "other").unwrap();
    assert_eq!(read(place.artifact(job, 1, None).await.unwrap()).await, "hello");
}

#[tokio::test]
async fn a_symlink_a_directory_or_a_bad_name_is_no_artifact() {
    let place = place();
    let link = place.directory.path().join("link");
    std::os::unix::fs::symlink(place.file("secret", "hello"), &link).unwrap();
    assert_eq!(fatal(place.stage(JobId::fresh(), 1, &link).await), "artifact_not_a_file");
    assert_eq!(fatal(place.stage(JobId::fresh(), 1, place.directory.path()).await), "artifact_not_a_file");
    let path = place.file("result", "hello");
    let climbing = place.storage.stage_artifact(JobId::fresh(), 1, "../x", &path).await;
    assert_eq!(fatal(climbing), "artifact_name");
}

#[tokio::test]
async fn a_dead_attempts_files_go_and_the_living_ones_stay() {
    let place = place();
    let job = JobId::fresh();
    let path = place.file("result", "hello");
    for attempt in [1, 2] {
        place.stage(job, attempt, &path).await.unwrap();
    }
    place.storage.delete_attempt(job, 1).await.unwrap();
    place.storage.delete_attempt(job, 1).await.unwrap();
    assert!(matches!(place.artifact(job, 1, None).await, Err(StorageError::Missing)));
    assert!(place.artifact(job, 2, None).await.is_ok());
}

#[tokio::test]
async fn a_path_under_a_root_is_an_input_up_to_the_limit() {
    let place = place_with(|base, settings| {
        settings.allowed_roots = vec![base.to_owned()];
        settings.max_input_bytes = 5;
    });
    let input = |name: &str, content: &str| Source::path(place.file(name, content).display().to_string());
    assert_eq!(place.fetch(input("in", "hello")).await.unwrap().bytes, 5);
    assert_eq!(fatal(place.fetch(input("large", "hello!")).await), "source_too_large");
    let upload = place.directory.path().join("storage/files/x").display().to_string();
    assert_eq!(fatal(place.fetch(Source::path(upload)).await), "source_missing");
}

#[tokio::test]
async fn by_default_paths_and_addresses_are_forbidden() {
    let place = place();
    let path = place.file("in", "hello").display().to_string();
    assert_eq!(fatal(place.fetch(Source::path(path)).await), "source_forbidden");
    for address in ["http://127.0.0.1/", "https://example.org/", "s3://bucket/key", "file:///etc/passwd"] {
        assert_eq!(fatal(place.fetch(Source::Url(address.into())).await), "source_forbidden", "{address}");
    }
}

#[test]
fn a_location_that_cannot_be_used_is_named() {
    for odd in ["", "ftp://host/x", "file://host/x", "s3://"] {
        let settings = StorageSettings { location: odd.into(), ..StorageSettings::default() };
        assert!(Storage::open(settings).unwrap_err().to_string().contains("location"), "{odd:?}");
    }
}

#[tokio::test]
async fn what_an_attempt_keeps_is_recalled_by_the_next_until_the_job_is_settled() {
    let (place, job, other) = (place(), JobId::fresh(), JobId::fresh());
    let scratch = tempfile::tempdir().unwrap();
    let kept = |attempt| longshore_sdk::context::Kept { attempt, name: "part.nut".into() };
    for (job, content) in [(job, "one"), (other, "two")] {
        place.storage.keep(job, 1, "part.nut", &place.file(content, content)).await.unwrap();
    }
    let recalled = place.storage.recall(job, &kept(1), scratch.path()).await.unwrap().unwrap();
    assert_eq!((std::fs::read_to_string(recalled.path).unwrap().as_str(), recalled.bytes), ("one", 3));
    assert!(place.storage.recall(job, &kept(2), scratch.path()).await.unwrap().is_none(), "attempt 2 kept nothing");
    let outside = longshore_sdk::context::Kept { attempt: 1, name: "../1/part.nut".into() };
    assert!(place.storage.recall(job, &outside, scratch.path()).await.unwrap().is_none());
    assert!(place.storage.keeps_for(job));
    place.storage.forget_kept(job).await.unwrap();
    assert!(!place.storage.keeps_for(job));
    assert!(place.storage.recall(job, &kept(1), scratch.path()).await.unwrap().is_none());
    assert!(place.storage.recall(other, &kept(1), scratch.path()).await.unwrap().is_some(), "another job's");
}
