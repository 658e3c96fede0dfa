//! The test kit under test: what it shows must be what the executor did. It checks no rule of an attempt, those are in
//! `attempt/tests.rs`; read [`super`] for the kit.

use super::*;
use crate::outcome::{Failure, Outcome, Result};
use crate::source::Source;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Copy {
    from: Source,
    lines: u32,
}

impl Payload for Copy {
    const KIND: &'static str = "test.copy";
    type Output = String;
}

/// Copies its input line by line, with a checkpoint and a report per line.
struct Copier;

impl Executor for Copier {
    type Payload = Copy;
    async fn run(&self, copy: Copy, context: &Context) -> Result<String> {
        let input = context.fetch(&copy.from).await?;
        for line in context.checkpoint().unwrap_or(0)..copy.lines {
            context.save_checkpoint(&(line + 1)).await?;
            context.progress(Progress::of(u64::from(line) + 1, copy.lines.into(), "lines"));
            context.check()?;
            if context.should_yield() {
                return Err(Failure::Yielded);
            }
        }
        let content = tokio::fs::read(&input.path).await?;
        let artifact = context.publish_bytes("copy.txt", "text/plain", &content).await?;
        Ok(artifact.sha256)
    }
}

const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

struct Inbox(tempfile::TempDir);

impl Inbox {
    fn with(name: &str, content: &str) -> Self {
        let inbox = Self(tempfile::tempdir().unwrap());
        std::fs::write(inbox.path(name), content).unwrap();
        inbox
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn copy(from: Source) -> TestRun {
    TestRun::of(Copier).payload(&Copy { from, lines: 4 })
}

fn copy_upload(inbox: &Inbox) -> TestRun {
    copy(Source::file("f1")).file("f1", inbox.path("in"))
}

fn halfway(progress: &Progress) -> bool {
    progress.fraction >= Some(0.5)
}

#[tokio::test]
async fn an_upload_is_fetched_and_a_staged_file_can_be_read() {
    let inbox = Inbox::with("in", "abc");
    let report = copy_upload(&inbox).run().await;
    assert_eq!(report.output::<String>(), ABC);
    let staged = report.expect_done().artifact("copy.txt");
    assert_eq!((staged.text().as_str(), staged.artifact.bytes), ("abc", 3));
    assert_eq!((report.progress.len(), report.checkpoint::<u32>()), (4, Some(4)));
    assert_eq!(report.scratch_left, Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_path_outside_the_allowed_roots_is_forbidden_and_a_link_does_not_lead_out() {
    let (inbox, outside) = (Inbox::with("in", "abc"), Inbox::with("secret", "x"));
    std::os::unix::fs::symlink(outside.path("secret"), inbox.path("link")).unwrap();
    let path = |inbox: &Inbox, name: &str| Source::path(inbox.path(name).to_str().unwrap());
    let run = |source| copy(source).allow_paths(inbox.0.path()).run();
    run(path(&inbox, "in")).await.expect_done();
    run(path(&outside, "secret")).await.expect_fatal("source_forbidden");
    run(path(&inbox, "link")).await.expect_fatal("source_forbidden");
    run(path(&inbox, "none")).await.expect_fatal("source_missing");
    run(Source::Url("https://example.org/a".into())).await.expect_fatal("source_forbidden");
    run(Source::file("never uploaded")).await.expect_fatal("source_missing");
}

#[tokio::test]
async fn a_cancellation_comes_at_its_moment_and_not_before() {
    let inbox = Inbox::with("in", "abc");
    let report = copy_upload(&inbox).cancel_when(halfway).run().await;
    assert!(matches!(report.outcome, Outcome::Canceled), "{:?}", report.outcome);
    assert_eq!(report.progress.len(), 2);
}

#[tokio::test]
async fn the_second_attempt_goes_on_where_the_first_yielded() {
    let inbox = Inbox::with("in", "abc");
    let (first, second) = copy_upload(&inbox).drain_when(halfway).run_twice().await;
    assert!(matches!(first.outcome, Outcome::Yielded), "{:?}", first.outcome);
    assert_eq!((first.progress.len(), second.expect_done().progress.len()), (2, 2));
}

#[tokio::test]
async fn an_attempt_that_lost_its_lease_saves_no_more_checkpoints() {
    let inbox = Inbox::with("in", "abc");
    let run = copy_upload(&inbox).stop_when(CancelReason::LeaseLost, halfway);
    let (first, second) = run.run_twice().await;
    assert!(matches!(first.outcome, Outcome::LeaseLost), "{:?}", first.outcome);
    assert_eq!((first.checkpoint::<u32>(), second.progress.len()), (Some(2), 2));
    second.expect_done();
}

#[tokio::test]
async fn both_attempts_of_a_run_keep_their_own_files() {
    let inbox = Inbox::with("in", "abc");
    let (first, second) = copy_upload(&inbox).attempt(3).run_twice().await;
    let paths = [&first, &second].map(|report| report.artifact("copy.txt").path.clone());
    assert!(paths[0].ends_with("3/copy.txt") && paths[1].ends_with("4/copy.txt"), "{paths:?}");
    drop(second);
    assert_eq!(first.artifact("copy.txt").text(), "abc");
}

#[tokio::test]
#[should_panic(expected = "not fatal with \"source_missing\"")]
async fn an_expectation_that_fails_says_how_the_attempt_ended() {
    copy(Source::Url("s3://b/k".into())).run().await.expect_fatal("source_missing");
}

#[tokio::test]
#[should_panic(expected = "call `payload`")]
async fn a_run_without_a_payload_names_what_is_missing() {
    TestRun::of(Copier).run().await;
}

/// What an executor writes elsewhere, with or without a fence.
struct Till {
    sold: std::sync::Mutex<Vec<(JobId, u32)>>,
    fenced: bool,
}

struct Seller(Arc<Till>);

impl Executor for Seller {
    type Payload = Copy;
    async fn run(&self, copy: Copy, context: &Context) -> Result<String> {
        context.fetch(&copy.from).await?;
        {
            let mut sold = self.0.sold.lock().unwrap();
            let before = sold.iter().any(|(job, _)| *job == context.job_id());
            if !(self.0.fenced && before) {
                sold.push((context.job_id(), context.attempt()));
            }
        }
        context.progress(0.5);
        context.publish_bytes("receipt.txt", "text/plain", b"sold").await?;
        Ok("sold".to_owned())
    }
}

async fn most_sold(fenced: bool) -> (u32, usize) {
    let inbox = Inbox::with("in", "abc");
    let till = Arc::new(Till { sold: std::sync::Mutex::default(), fenced });
    let payload = Copy { from: Source::file("f1"), lines: 0 };
    let run = || {
        till.sold.lock().unwrap().clear();
        TestRun::of(Seller(Arc::clone(&till))).payload(&payload).file("f1", inbox.path("in"))
    };
    let mut most = 0;
    let steps = kill_at_every_step(run, async |_, report| {
        assert_eq!(
            (report.expect_done().artifacts.len(), report.artifact("receipt.txt").text()),
            (1, "sold".to_owned())
        );
        most = most.max(till.sold.lock().unwrap().len());
    });
    (steps.await, most)
}

#[tokio::test]
async fn an_executor_is_killed_before_and_after_each_step_and_a_missing_fence_shows() {
    // Before and after the fetch, at the progress, before and after the artifact.
    assert_eq!(most_sold(true).await, (5, 1));
    assert_eq!(most_sold(false).await, (5, 2));
}
