//! `media.transcode` with the real ffmpeg on real clips, run as a worker runs it: through JSON and `attempt::run`.
//! Nothing is mocked but the store that artifacts go to. Read `outputs` for what is made, `stops` for how it ends early,
//! `hostile` for what must be refused.

mod hostile;
mod outputs;
mod stops;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use longshore_sdk::context::{AttemptInfo, Host, Input, Kept};
use longshore_sdk::{Cancellation, Context, ErrorReport, JobId, Outcome, Progress, Source, attempt, erase};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;

/// A worker's surroundings in one directory: `clips`, `scratch`, `staged`.
struct World {
    dir: tempfile::TempDir,
    settings: TranscodeSettings,
    cancellation: Cancellation,
    progress: watch::Sender<Vec<Progress>>,
}

struct Surroundings {
    dir: PathBuf,
    scratch: PathBuf,
    progress: watch::Sender<Vec<Progress>>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        ["clips", "scratch", "staged"].iter().for_each(|room| std::fs::create_dir(dir.path().join(room)).unwrap());
        let progress = watch::Sender::new(Vec::new());
        Self { dir, settings: TranscodeSettings::default(), cancellation: Cancellation::default(), progress }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("clips").join(name)
    }

    /// Has ffmpeg make a clip; `args` are split at spaces.
    fn clip(&self, name: &str, args: &str) -> PathBuf {
        let file = self.path(name);
        let mut ffmpeg = Command::new("ffmpeg");
        ffmpeg.args(["-nostdin", "-v", "error", "-y"]).args(args.split_whitespace());
        let made = ffmpeg.arg(argv::file_url(&file)).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        file
    }

    /// Pictures of `size` and a stereo tone, `seconds` long.
    fn talkie(&self, name: &str, size: &str, seconds: f64) -> PathBuf {
        let pictures = format!("-f lavfi -i testsrc2=size={size}:rate=25");
        let sound = "-f lavfi -i sine=frequency=440:sample_rate=44100";
        let codecs = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac -ac 2 -movflags +faststart";
        self.clip(name, &format!("{pictures} {sound} -t {seconds} {codecs}"))
    }

    fn context(&self) -> Context {
        let policy = Transcoder::default().policy();
        let info = AttemptInfo {
            job: JobId::fresh(),
            kind: "media.transcode".into(),
            attempt: 1,
            charged: 0,
            max_attempts: policy.max_attempts,
            timeout: policy.timeout,
            cancel_grace: policy.cancel_grace,
            correlation_id: None,
            trace: None,
            checkpoint: None,
        };
        let dir = self.dir.path().to_owned();
        let host = Surroundings { scratch: dir.join("scratch"), dir, progress: self.progress.clone() };
        Context::new(info, Arc::new(host), self.cancellation.clone())
    }

    /// One attempt at transcoding `source` into `outputs`, an object of JSON.
    async fn attempt(&self, source: &Path, outputs: Value) -> Outcome {
        let mut payload = outputs;
        payload["source"] = json!({"path": source});
        let payload: Box<RawValue> = to_raw_value(&payload).unwrap();
        let executor = erase(Transcoder::new(self.settings.clone()));
        attempt::run(executor.as_ref(), &payload, &self.context()).await
    }

    async fn done(&self, source: &Path, outputs: Value) -> Transcoded {
        match self.attempt(source, outputs).await {
            Outcome::Done { result, .. } => serde_json::from_str(result.get()).unwrap(),
            other => panic!("not done: {other:?}"),
        }
    }

    /// The report of an attempt that must be given up, leaving nothing behind.
    async fn fatal(&self, source: &Path, outputs: Value) -> ErrorReport {
        match self.attempt(source, outputs).await {
            Outcome::Fatal(report) => {
                assert!(!report.message.contains(self.dir.path().to_str().unwrap()), "a local path: {report}");
                assert_eq!((self.files("staged"), self.files("scratch")), (vec![], vec![]));
                report
            }
            other => panic!("not given up: {other:?}"),
        }
    }

    fn staged(&self, name: &str) -> PathBuf {
        self.dir.path().join("staged").join(name)
    }

    fn files(&self, room: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join(room)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn fractions(&self) -> Vec<f64> {
        self.progress.borrow().iter().filter_map(|progress| progress.fraction).collect()
    }
}

#[async_trait]
impl Host for Surroundings {
    fn scratch_root(&self) -> &Path {
        &self.scratch
    }

    fn progress(&self, progress: Progress) {
        self.progress.send_modify(|seen| seen.push(progress));
    }

    async fn save_checkpoint(&self, _: Box<RawValue>) -> Result<()> {
        Ok(())
    }

    async fn keep(&self, _: &str, file: &Path) -> Result<()> {
        assert!(file.exists(), "{file:?}");
        Ok(())
    }

    async fn recall(&self, _: &Kept, _: &Path) -> Result<Option<Input>> {
        Ok(None)
    }

    async fn fetch(&self, source: &Source, _: &Path) -> Result<Input> {
        let Source::Path(path) = source else { panic!("only paths here: {source:?}") };
        Ok(Input { path: path.into(), bytes: std::fs::metadata(path)?.len() })
    }

    async fn stage(&self, name: &str, content_type: &str, file: &Path) -> Result<Artifact> {
        let bytes = std::fs::metadata(file)?.len();
        std::fs::rename(file, self.dir.join("staged").join(name))?;
        Ok(Artifact { name: name.into(), content_type: content_type.into(), bytes, sha256: String::new() })
    }
}
