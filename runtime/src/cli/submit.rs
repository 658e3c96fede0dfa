//! `submit`: a payload from the command line, a file or stdin, with uploads put where they belong, becomes a job.
//! Whether the payload fits its kind is the server's to say. Read [`super::jobs`] for what can be asked afterwards.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use longshore_sdk::Source;
use longshore_sdk::api::Priority;
use longshore_sdk::client::{Client, SubmitOptions};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::server::Server;
use super::{Done, Ending, given, jobs};

/// `longshore submit`
#[derive(Debug, Args)]
pub(super) struct Submit {
    #[command(flatten)]
    server: Server,
    /// What sort of job; `longshore kinds` lists them
    kind: String,
    /// Its input: JSON, @FILE, or - for stdin
    #[arg(default_value = "{}", value_name = "PAYLOAD")]
    payload: String,
    /// Uploads PATH and puts it into the payload's FIELD, e.g. source=photo.jpg; may be repeated
    #[arg(long, value_name = "FIELD=PATH", value_parser = field_and_path)]
    file: Vec<(String, PathBuf)>,
    /// Follow the job to its end; exit code 1 when it fails or is canceled
    #[arg(long)]
    wait: bool,
    /// Not before so much time has passed, e.g. 500ms, 10s, 5m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = given::duration, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Not before this moment, e.g. 2030-01-31T08:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = given::moment)]
    run_at: Option<Timestamp>,
    /// high, normal or low [default: normal]
    #[arg(long, value_name = "LANE", value_parser = given::priority)]
    priority: Option<Priority>,
    /// How many attempts there are at most [default: the kind's]
    #[arg(long, value_name = "N", value_parser = given::count::<u32>)]
    max_attempts: Option<u32>,
    /// How long one attempt may take, e.g. 90s [default: the kind's]
    #[arg(long, value_name = "TIME", value_parser = given::duration)]
    timeout: Option<Duration>,
    /// Your own notes: a JSON object
    #[arg(long, value_name = "JSON", value_parser = notes)]
    metadata: Option<Notes>,
    /// An id of yours that follows the job through logs and events
    #[arg(long, value_name = "ID")]
    correlation_id: Option<String>,
    /// Find the unfinished job of this kind with the same key instead of making another
    #[arg(long, value_name = "KEY")]
    unique_key: Option<String>,
    /// Submits with the same key make one job
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

// clap takes a `Map` for many values.
#[derive(Debug, Clone)]
struct Notes(Map<String, Value>);

impl Submit {
    pub(super) async fn run(mut self) -> Done {
        let payload = read(&self.payload, std::io::stdin())?;
        let payload = RawValue::from_string(payload).map_err(|error| no_json(&error))?;
        let client = self.server.client()?;
        let payload = self.with_uploads(&client, payload).await?;
        let options = self.options();
        let handle = client.submit_json(&self.kind, payload, options).await;
        let id = handle.map_err(|error| self.server.explain(error))?.id();
        if !self.wait {
            let view = client.job(id).await.map_err(|error| self.server.explain(error))?;
            return jobs::answer(&self.server, &view);
        }
        if !self.server.json {
            eprintln!("submitted as {id}");
        }
        let last = jobs::follow(&self.server, &client, id, false).await?;
        jobs::answer(&self.server, &last)?;
        jobs::verdict(&last)
    }

    fn options(&mut self) -> SubmitOptions {
        SubmitOptions {
            delay: self.delay,
            run_at: self.run_at,
            priority: self.priority,
            timeout: self.timeout,
            max_attempts: self.max_attempts,
            metadata: self.metadata.take().map(|notes| notes.0),
            correlation_id: self.correlation_id.take(),
            unique_key: self.unique_key.take(),
            idempotency_key: self.idempotency_key.take(),
            ..SubmitOptions::default()
        }
    }

    async fn with_uploads(&self, client: &Client, payload: Box<RawValue>) -> Result<Box<RawValue>, Ending> {
        if self.file.is_empty() {
            return Ok(payload);
        }
        let mut fields = fields(&payload)?;
        for (field, path) in &self.file {
            let file = client
                .upload(path)
                .await
                .map_err(|error| self.server.explain_file(&format!("--file {field}"), error))?;
            fields.insert(field.clone(), to_raw_value(&Source::file(file.id))?);
        }
        Ok(to_raw_value(&fields)?)
    }
}

/// Fields stay as they are written: a number with twenty digits keeps them.
fn fields(payload: &RawValue) -> Result<BTreeMap<String, Box<RawValue>>, Ending> {
    serde_json::from_str(payload.get())
        .map_err(|_| Ending::Usage("--file needs a payload that is a JSON object, e.g. '{}'".into()))
}

fn read(payload: &str, mut stdin: impl Read) -> Result<String, Ending> {
    let unreadable = |name: &str, error: std::io::Error| Ending::Usage(format!("PAYLOAD: {name}: {error}"));
    if payload == "-" {
        let mut text = String::new();
        return stdin.read_to_string(&mut text).map(|_| text).map_err(|error| unreadable("stdin", error));
    }
    match payload.strip_prefix('@') {
        Some(path) => std::fs::read_to_string(path).map_err(|error| unreadable(path, error)),
        None => Ok(payload.to_owned()),
    }
}

fn no_json(error: &serde_json::Error) -> Ending {
    Ending::Usage(format!("PAYLOAD is no JSON ({error}); give '{{\"field\": 1}}', @FILE, or - for stdin"))
}

fn field_and_path(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((field, path)) if !field.is_empty() && !path.is_empty() => Ok((field.to_owned(), path.into())),
        _ => Err("write FIELD=PATH, e.g. source=photo.jpg".into()),
    }
}

fn notes(text: &str) -> Result<Notes, String> {
    serde_json::from_str(text).map(Notes).map_err(|error| format!("write a JSON object ({error})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_given_here_in_a_file_or_on_stdin() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[2]").unwrap();
        let named = format!("@{}", file.path().display());
        for (given, expected) in [("[1]", "[1]"), (named.as_str(), "[2]"), ("-", "[3]")] {
            assert_eq!(read(given, "[3]".as_bytes()).unwrap(), expected);
        }
        let Err(Ending::Usage(told)) = read("@/nowhere.json", "".as_bytes()) else { panic!("it is not there") };
        assert!(told.starts_with("PAYLOAD: /nowhere.json: "), "{told}");
    }

    #[test]
    fn uploads_leave_the_other_fields_as_they_are_written() {
        let payload = RawValue::from_string(r#"{"big": 12345678901234567890123, "pi": 3.10}"#.into()).unwrap();
        let fields = fields(&payload).unwrap();
        assert_eq!((fields["big"].get(), fields["pi"].get()), ("12345678901234567890123", "3.10"));
        let list = RawValue::from_string("[1]".into()).unwrap();
        assert!(matches!(super::fields(&list), Err(Ending::Usage(told)) if told.contains("--file")));
    }
}
