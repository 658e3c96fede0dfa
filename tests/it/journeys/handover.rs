//! A drain in the middle of long work: it moves to another worker at once, costs no attempt, and next to nothing of the work is done
//! twice. The output is held against that of a run which nobody disturbed.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use anyhow::{Context as _, Result, bail, ensure};
use longshore_tests::media;
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::process::run;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::{PATIENCE, Stage};
use rustix::fs::OFlags;
use rustix::pty::{self, OpenptFlags};
use serde_json::{Value, json};

const ROLLS: usize = 10;
/// How long the video is.
const SECONDS: u32 = 120;
/// What all attempts together may encode, beside one run that nobody disturbs.
const MOST_WORK: f64 = 1.15;
/// From one attempt's end to the next one's start, on a busy machine.
const SOON_SECONDS: f64 = 10.0;

/// Counts the frames that are encoded, on a terminal: there an ffmpeg writes the line of each frame at once, while one that is killed
/// as it writes into a file takes its last lines with it.
struct Counter {
    terminal: File,
    place: PathBuf,
    counts: Receiver<usize>,
}

impl Counter {
    const LOOK: &str = "look";

    fn start() -> Result<Counter> {
        let ours = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        pty::grantpt(&ours)?;
        pty::unlockpt(&ours)?;
        let place = PathBuf::from(pty::ptsname(&ours, vec![])?.into_string()?);
        // Held open, or there would be no terminal any more between two ffmpegs.
        let terminal =
            File::options().read(true).write(true).custom_flags(OFlags::NOCTTY.bits().cast_signed()).open(&place)?;
        let (counted, counts) = channel();
        std::thread::spawn(move || {
            let mut frames = 0;
            for line in BufReader::new(File::from(ours)).lines().map_while(Result::ok) {
                frames += usize::from(line.contains("frame="));
                if line.trim() == Counter::LOOK && counted.send(std::mem::take(&mut frames)).is_err() {
                    return;
                }
            }
        });
        Ok(Counter { terminal, place, counts })
    }

    /// An ffmpeg that is counted.
    fn ffmpeg(&self, dir: &Path) -> Result<String> {
        let program = dir.join("counting-ffmpeg");
        let script = format!("#!/bin/sh\nexec ffmpeg -vstats_file '{}' \"$@\"\n", self.place.display());
        std::fs::write(&program, script)?;
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
        Ok(program.to_string_lossy().into_owned())
    }

    /// The frames encoded since the last look: all that was written before this line.
    fn frames(&self) -> Result<usize> {
        writeln!(&self.terminal, "{}", Counter::LOOK)?;
        self.counts.recv_timeout(PATIENCE).context("the terminal does not answer")
    }
}

/// The video's frames with their times, the first the first.
async fn frames(file: &Path) -> Result<Vec<String>> {
    let mut command = std::process::Command::new("ffprobe");
    command
        .args(["-v", "error", "-select_streams", "v", "-show_entries", "frame=pts_time", "-of", "csv=p=0"])
        .arg(file);
    let said = run("ffprobe", command, PATIENCE).await?;
    // What an encoder says of itself beside a frame (x264 does at each start) is an empty line here.
    Ok(said.lines().map(|line| line.trim_matches(',').to_owned()).filter(|line| !line.is_empty()).collect())
}

/// The length of each track.
async fn lengths(file: &Path) -> Result<Value> {
    let mut command = std::process::Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", "stream=codec_name,start_time,duration", "-of", "json"]).arg(file);
    let said: Value = serde_json::from_str(&run("ffprobe", command, PATIENCE).await?)?;
    Ok(said["streams"].clone())
}

/// How alike two videos look, from 0 to 1.
async fn ssim(one: &Path, other: &Path) -> Result<f64> {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ffmpeg -nostdin -hide_banner -i \"$0\" -i \"$1\" -lavfi ssim -f null - 2>&1"])
        .arg(one)
        .arg(other);
    let said = run("ssim", command, PATIENCE).await?;
    let (_, all) = said.rsplit_once("All:").context("no SSIM")?;
    Ok(all.split_whitespace().next().context("no SSIM")?.parse()?)
}

fn fraction(job: &Value) -> f64 {
    job["progress"]["fraction"].as_f64().unwrap_or(0.0)
}

/// Drains the worker that runs the job and starts another, ten times over. Answers how many frames were encoded by then.
async fn roll(stage: &mut Stage, counter: &Counter, id: &str, whole: usize) -> Result<usize> {
    let (mut reached, mut worked) = (0.0, 0);
    for attempt in 1..=ROLLS {
        let further = |job: &Value| {
            job["attempt"] == attempt && job["state"] == "running" && fraction(job) > reached + 0.01
                || job["state"] == "completed"
        };
        let job = stage.when(id, "to get on", further).await?;
        ensure!(job["state"] == "running", "it was done before all workers were rolled: {job}");
        ensure!(fraction(&job) >= reached, "it seems to go back from {reached}: {job}");
        reached = fraction(&job);
        let done = worked as f64 / whole as f64;
        ensure!(reached > 0.8 * done, "it shows {reached} when {done} of the work is done: {job}");
        ensure!(stage.drain_worker().await? == 0);
        worked += counter.frames()?;
        stage.start_worker().await?;
    }
    Ok(worked)
}

fn moved_at_once(job: &Value) -> Result<()> {
    let attempts = job["attempts"].as_array().context("no attempts")?;
    ensure!(attempts.len() == ROLLS + 1 && job["charged"] == 0, "{job}");
    let at = |attempt: &Value, what: &str| -> Result<jiff::Timestamp> {
        Ok(attempt[what].as_str().context("no time")?.parse()?)
    };
    for pair in attempts.windows(2) {
        ensure!(pair[0]["outcome"] == "yielded", "{job}");
        let waited = at(&pair[1], "started_at")?.duration_since(at(&pair[0], "finished_at")?).as_secs_f64();
        ensure!(waited < SOON_SECONDS, "{waited} s between two attempts: {job}");
    }
    Ok(())
}

/// One more worker, which the ledger knows beside the one that runs the job.
async fn another_stands_by(stage: &mut Stage) -> Result<()> {
    stage.start_worker().await?;
    let workers = stage.http.get("/v1/workers").await?.expect(200)?.json()?;
    ensure!(workers["workers"].as_array().map(Vec::len) == Some(2), "{workers}");
    Ok(())
}

/// Rows of the import, and of one of its chunks.
const ROWS: usize = 20_000;
const CHUNK: usize = 500;
/// A table that takes a quarter of a second for each chunk, and counts those that it was given, also the ones that were taken back.
const SLOW_TABLE: &str = "create schema imports; create table imports.orders (id bigint not null); create sequence imports.chunks; \
     create function imports.slow() returns trigger language plpgsql as \
     $$ begin perform nextval('imports.chunks'); perform pg_sleep(0.25); return null; end $$; \
     create trigger slow before insert on imports.orders for each statement execute function imports.slow()";

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_import_goes_on_at_the_other_worker_within_seconds_of_the_sigterm() -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?.vhost().await?, Postgres::shared().await?.database().await?);
    let client = connect(&database).await?;
    client.batch_execute(SLOW_TABLE).await?;
    let chunk_rows = CHUNK.to_string();
    let mut stage = Stage::on_with(&database, &broker, |launch, _| {
        Ok(launch.env("LONGSHORE_CSV_IMPORT_LIMITS_CHUNK_ROWS", &chunk_rows))
    })
    .await?;
    let csv = stage.dir.path().join("orders.csv");
    let rows: String = (1..=ROWS).map(|order| format!("{order}\n")).collect();
    std::fs::write(&csv, format!("id\n{rows}"))?;
    let columns = json!([{"name": "id", "type": "integer", "required": true}]);
    let payload = json!({"source": {"file": stage.upload(&csv).await?}, "table": "orders", "columns": columns});
    let id = stage.submit("csv.import", payload).await?;
    let begun = |job: &Value| job["state"] == "running" && fraction(job) > 0.1;
    stage.when(&id, "to have committed some of its chunks", begun).await?;
    another_stands_by(&mut stage).await?;

    let sigterm = longshore_runtime::clock::now();
    ensure!(stage.drain_worker().await? == 0);
    let job = stage.settled(&id).await?;
    ensure!(job["state"] == "completed" && job["charged"] == 0 && job["attempt"] == 2, "{job}");
    ensure!(job["attempts"][0]["outcome"] == "yielded", "{job}");
    let again: jiff::Timestamp = job["attempts"][1]["started_at"].as_str().context("no time")?.parse()?;
    let waited = again.duration_since(sigterm).as_secs_f64();
    ensure!((0.0..SOON_SECONDS).contains(&waited), "it went on {waited} s after the SIGTERM: {job}");
    let row = client.query_one("select count(*), count(distinct id), sum(id)::bigint from imports.orders", &[]).await?;
    let (count, distinct, sum): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
    ensure!(
        (count, distinct, sum) == (20_000, 20_000, 200_010_000),
        "{count} rows, {distinct} of them distinct: {sum}"
    );
    let chunks: i64 = client.query_one("select last_value from imports.chunks", &[]).await?.get(0);
    ensure!(usize::try_from(chunks)? <= ROWS / CHUNK + 2, "{chunks} chunks: it began anew");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_drain_takes_away_goes_on_at_the_other_worker_at_once() -> Result<()> {
    let mut stage = Stage::servers().await?;
    let id = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 9_000})).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    another_stands_by(&mut stage).await?;
    ensure!(stage.drain_worker().await? == 0);
    let job = stage.settled(&id).await?;
    ensure!(job["state"] == "completed" && job["charged"] == 0 && job["attempt"] == 2, "{job}");
    let [first, second] = &job["attempts"].as_array().context("no attempts")?[..] else { bail!("{job}") };
    ensure!(first["outcome"] == "drained", "{job}");
    let at = |what: &Value| -> Result<jiff::Timestamp> { Ok(what.as_str().context("no time")?.parse()?) };
    let waited = at(&second["started_at"])?.duration_since(at(&first["finished_at"])?).as_secs_f64();
    ensure!(waited < SOON_SECONDS, "{waited} s between the two: {job}");
    Ok(())
}

/// One thread of a slow machine, beside other stories.
const LONG: std::time::Duration = std::time::Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn a_transcode_outlives_ten_rolls_of_all_workers_and_hardly_a_frame_is_encoded_twice() -> Result<()> {
    let (broker, database) = (RabbitMq::shared().await?.vhost().await?, Postgres::shared().await?.database().await?);
    let counter = Counter::start()?;
    let mut stage = Stage::on_with(&database, &broker, |launch, dir| {
        let launch = launch.env("LONGSHORE_TRANSCODE_FFMPEG", &counter.ffmpeg(dir)?);
        // On one thread, so that the machine is not faster than ten rolls.
        Ok(launch.env("LONGSHORE_TRANSCODE_SEGMENT_SECONDS", "2").env("LONGSHORE_TRANSCODE_THREADS", "1"))
    })
    .await?;
    let clip = media::clip(stage.dir.path(), SECONDS, (1280, 720)).await?;
    let payload = json!({"source": {"file": stage.upload(&clip).await?}, "video": {"preset": "h264_720p"}});

    let clean = stage.submit("media.transcode", payload.clone()).await?;
    let job = stage.settled_within(&clean, LONG).await?;
    ensure!(job["state"] == "completed", "{job}");
    let clean_work = counter.frames()?;
    ensure!(clean_work == SECONDS as usize * 25, "{clean_work} frames: the count cannot be trusted");

    let rolled = stage.submit("media.transcode", payload).await?;
    let worked = roll(&mut stage, &counter, &rolled, clean_work).await?;
    let job = stage.settled_within(&rolled, LONG).await?;
    ensure!(job["state"] == "completed", "{job}");
    moved_at_once(&job)?;
    let work = (worked + counter.frames()?) as f64 / clean_work as f64;
    ensure!((1.0..=MOST_WORK).contains(&work), "{work} times the work");

    let (clean, rolled) = (stage.download(&clean, "video.mp4").await?, stage.download(&rolled, "video.mp4").await?);
    let (wanted, got) = (frames(&clean).await?, frames(&rolled).await?);
    let apart = wanted.iter().zip(&got).position(|(wanted, got)| wanted != got);
    let around = apart.map(|at| (at, wanted.iter().zip(&got).skip(at.saturating_sub(3)).take(12).collect::<Vec<_>>()));
    ensure!(
        wanted == got,
        "of {} and {} frames these lie elsewhere on the timeline: {around:?}",
        wanted.len(),
        got.len()
    );
    ensure!(lengths(&clean).await? == lengths(&rolled).await?, "picture and sound are not as long as they were");
    let alike = ssim(&clean, &rolled).await?;
    ensure!(alike > 0.98, "SSIM {alike}");
    let left = stage.dir.path().join("data/storage/kept");
    let left = std::fs::read_dir(&left).map(|jobs| jobs.count()).unwrap_or(0);
    ensure!(left == 0, "{left} jobs left their segments behind");
    Ok(())
}
