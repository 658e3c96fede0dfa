//! What the storage owes its callers wherever it lies, told once and held against a directory and against an S3 server that others wrote.
//!
//! It looks through the storage alone, and at the end into the place itself, for what should be gone.

mod drafts;
mod outputs;
mod uploads;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use longshore_runtime::storage::{Content, Storage, StorageError, StorageSettings};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::context::Input;
use longshore_sdk::{Failure, Result as Answer, Source};
use longshore_tests::s3::S3;
use longshore_tests::scratch;
use tempfile::TempDir;
use uuid::Uuid;

/// A part of a multipart upload has at least 5 MiB on every S3.
const MIB: usize = 1024 * 1024;

/// A storage of a story's own.
struct Place {
    storage: Storage,
    home: TempDir,
    bucket: Option<(&'static S3, String)>,
}

impl Place {
    fn new(location: String, bucket: Option<(&'static S3, String)>, home: TempDir) -> Self {
        let settings = StorageSettings { location, max_input_bytes: 64 * MIB as u64, ..StorageSettings::default() };
        let variables = bucket.as_ref().map(|(server, _)| server.variables()).unwrap_or_default();
        Self { storage: Storage::open_with(settings, variables.into()).unwrap(), home, bucket }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// An upload, as a job of its tenant reads it.
    async fn fetch(&self, whose: &Tenant, id: Uuid) -> Answer<Input> {
        let scratch = self.home.path().join(Uuid::now_v7().to_string());
        std::fs::create_dir(&scratch).unwrap();
        self.storage.fetch_to(whose, &Source::file(id.to_string()), &scratch).await
    }

    async fn content(&self, whose: &Tenant, id: Uuid) -> Vec<u8> {
        std::fs::read(self.fetch(whose, id).await.unwrap().path).unwrap()
    }

    /// What lies there, by name, with what is not yet whole and cannot be read.
    async fn names(&self) -> Vec<String> {
        let mut names = match &self.bucket {
            Some((server, bucket)) => {
                let (objects, open) = server.names(bucket).await.unwrap();
                objects.into_iter().chain(open).collect()
            }
            None => files(&self.home.path().join("storage")),
        };
        names.sort();
        names
    }
}

fn files(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path.display().to_string()] }).collect()
}

fn body(parts: &[&[u8]]) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
    stream::iter(parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect::<Vec<_>>())
}

async fn read(content: Content) -> Vec<u8> {
    let chunks: Vec<Bytes> = content.try_collect().await.unwrap();
    chunks.concat()
}

/// So many bytes that no part of them is another's.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(next).flatten().take(bytes).collect()
}

fn missing<T: std::fmt::Debug>(answer: Answer<T>) -> bool {
    matches!(answer, Err(Failure::Fatal(report)) if report.code == "source_missing")
}

async fn in_a_directory<F: Future<Output = ()>>(story: impl FnOnce(Place) -> F) {
    let home = scratch::dir("storage").unwrap();
    story(Place::new(home.path().join("storage").display().to_string(), None, home)).await;
}

async fn in_a_bucket<F: Future<Output = ()>>(story: impl FnOnce(Place) -> F) {
    let (home, server) = (scratch::dir("storage").unwrap(), S3::shared().await.unwrap());
    let bucket = server.bucket().await.unwrap();
    story(Place::new(format!("s3://{bucket}/some/prefix"), Some((server, bucket)), home)).await;
}

macro_rules! stories {
    ($($room:ident { $($sentence:ident)+ })+) => {
        mod directory {
            $(mod $room { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sentence() {
                    super::super::in_a_directory(super::super::$room::$sentence).await;
                }
            )+ })+
        }
        mod s3 {
            $(mod $room { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $sentence() {
                    super::super::in_a_bucket(super::super::$room::$sentence).await;
                }
            )+ })+
        }
    };
}

// A story that is not named here would be dead code, which the compiler reports.
stories! {
    uploads {
        what_is_written_is_read_and_gone_when_it_is_tried_out
        an_upload_of_any_size_is_hashed_and_is_an_input
        an_upload_past_its_limit_or_broken_off_leaves_nothing
        an_upload_is_its_own_tenants_alone_and_missing_when_it_is_forgotten
    }
    outputs {
        a_staged_artifact_is_read_whole_or_in_part
        a_dead_attempts_files_go_and_the_living_ones_stay
        what_an_attempt_keeps_is_recalled_until_the_job_is_settled
    }
    drafts {
        an_upload_in_pieces_of_any_size_is_a_file_when_it_is_whole
        what_was_not_acknowledged_is_nobodys
        a_whole_upload_becomes_a_file_however_often_it_is_told_to
        an_upload_that_is_dropped_leaves_nothing
        of_two_who_append_at_once_no_bytes_are_mixed
    }
}
