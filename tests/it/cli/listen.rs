//! `longshore listen`: a receiver for people, which says in words or in JSON what came and whether to believe it.

use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use longshore_sdk::webhook::{self, Secret};
use longshore_tests::http::{Answer, Http, send};
use longshore_tests::longshore::binary;
use longshore_tests::ports;
use longshore_tests::stage::Stage;
use longshore_tests::until::poll;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{PATIENCE, longshore};

/// A listening `longshore`, which ends with its story.
struct Listening {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
    http: Http,
}

impl Listening {
    /// By these arguments, on a port of its own. Its first line is read: from then on it answers.
    async fn start(args: &[&str]) -> Result<(Self, String)> {
        let port = ports::free()?.to_string();
        let mut listen = Command::new(binary()?);
        listen.args(args).args(["--port", &port]).kill_on_drop(true);
        let mut child = listen.env_remove("LONGSHORE_WEBHOOK_SECRET").stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?).lines();
        let url = format!("http://127.0.0.1:{port}");
        let http = Http::to(&url)?;
        let mut listening = Self { _child: child, lines, url, http };
        let first = listening.line().await?;
        Ok((listening, first))
    }

    async fn line(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.context("it says nothing")??;
        line.context("it ended")
    }

    async fn post(&self, secret: &Secret, signed: &str, body: &str) -> Result<Answer> {
        let now = longshore_runtime::clock::now();
        let signature = webhook::sign(std::slice::from_ref(secret), "job_5", now, signed.as_bytes());
        let request = self.http.request(Method::POST, "/any").header(webhook::ID, "job_5").body(body.to_owned());
        let request = request.header(webhook::TIMESTAMP, now.as_second()).header(webhook::SIGNATURE, signature);
        send(request).await
    }
}

const BODY: &str = r#"{"type":"longshore.job.completed"}"#;

#[tokio::test]
async fn what_came_and_whether_to_believe_it_is_told_in_words() -> Result<()> {
    let secret = Secret::fresh();
    let (mut listening, first) = Listening::start(&["listen", "--secret", &secret.reveal()]).await?;
    ensure!(
        first.starts_with("listening on http://127.0.0.1:") && first.ends_with("(signatures are verified)"),
        "{first}"
    );
    ensure!(listening.line().await?.contains("webhooks.allow_private"), "it says what a server must allow");
    listening.post(&secret, BODY, BODY).await?.expect(204)?;
    assert_eq!(listening.line().await?, "job_5  longshore.job.completed  verified");
    assert_eq!(listening.line().await?.trim(), BODY);
    listening.post(&secret, BODY, r#"{"type":"another"}"#).await?.expect(401)?;
    ensure!(listening.line().await?.starts_with("job_5  another  REFUSED: none of its signatures"));
    Ok(())
}

/// As its first lines tell one to start the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_servers_own_webhooks_are_verified_and_with_another_secret_they_are_not() -> Result<()> {
    let secret = Secret::fresh();
    let (mut listening, _) = Listening::start(&["listen", "--secret", &secret.reveal()]).await?;
    let (mut other, _) = Listening::start(&["listen", "--secret", &Secret::fresh().reveal()]).await?;
    for listening in [&mut listening, &mut other] {
        ensure!(listening.line().await?.contains("webhooks.allow_private"));
    }
    let stage = Stage::embedded().await?;
    let told_at = async |listening: &mut Listening| -> Result<(String, String, Value)> {
        let hook = json!({"url": listening.url, "secret": secret});
        let job = stage.submit_with(json!({"kind": "trial.work", "payload": {}, "webhook": hook})).await?;
        let (said, body) = (listening.line().await?, listening.line().await?);
        Ok((job, said, serde_json::from_str(body.trim())?))
    };
    let (job, said, body) = told_at(&mut listening).await?;
    assert_eq!(said, format!("{job}_3  longshore.job.completed  verified"));
    assert_eq!((&body["subject"], &body["data"]["state"]), (&json!(job), &json!("completed")));
    let (job, said, _) = told_at(&mut other).await?;
    ensure!(said.starts_with(&format!("{job}_3  longshore.job.completed  REFUSED: none of its signatures")), "{said}");
    // And the server knows that it was not believed.
    let refused = || async {
        let page = stage.http.get(&format!("/v1/jobs/{job}/deliveries")).await.ok()?.json().ok()?;
        Some(page["deliveries"][0]["tries"][0].clone()).filter(|tried| tried["status"] == 401)
    };
    poll("a try that was answered 401", PATIENCE, refused).await?;
    Ok(())
}

#[tokio::test]
async fn what_came_is_told_as_json_line_by_line() -> Result<()> {
    let secret = Secret::fresh();
    let (mut listening, first) = Listening::start(&["listen", "--json"]).await?;
    ensure!(serde_json::from_str::<Value>(&first)?["listening"].is_string(), "{first}");
    listening.post(&secret, BODY, BODY).await?.expect(204)?;
    let said: Value = serde_json::from_str(&listening.line().await?)?;
    let body: Value = serde_json::from_str(BODY)?;
    assert_eq!(said, json!({"id": "job_5", "verified": null, "error": null, "body": body}));
    Ok(())
}

#[tokio::test]
async fn a_secret_that_is_none_is_refused() -> Result<()> {
    let refused = longshore(&["listen", "--secret", "hush"], &[], "").await?;
    ensure!(
        refused.code == Some(2) && refused.err.contains("whsec_") && !refused.err.contains("panicked"),
        "{refused:?}"
    );
    Ok(())
}
