//! A distinct secret through everything that takes one, with errors provoked all along and every process told to log all it can: and then
//! each is looked for in everything that is shown to anybody. What nobody looks for could not be found, so the same look must find what is
//! no secret.

use anyhow::{Context as _, Result, ensure};
use longshore_sdk::webhook::Secret;
use longshore_tests::http::{Answer, Http, send};
use longshore_tests::issuer::{Issuer, Signer, encoded};
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::postgres::Postgres;
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::scratch;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::until::poll;
use reqwest::Method;
use serde_json::{Value, json};

use super::oidc::AUDIENCE;
use crate::cli::longshore;

const DATABASE: &str = "canary-of-the-database";
const BROKER: &str = "canary-of-the-broker";
const BUCKET: &str = "canary-of-the-bucket";
const BASIC: &str = "canary-of-another-scheme";
const MISTYPED: &str = "lsk_canary-of-a-mistyped-key";
const PAYLOAD: &str = "canary-of-a-payload";

/// What was shown, with the place where.
#[derive(Default)]
struct Shown(Vec<(String, String)>);

impl Shown {
    fn add(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn answer(&mut self, place: &str, answer: &Answer) {
        self.add(place, format!("{:?}\n{}", answer.headers, answer.text));
    }

    /// Every line that holds it.
    fn lines<'a>(&'a self, text: &'a str) -> impl Iterator<Item = String> + 'a {
        let lines = self.0.iter().flat_map(|(place, shown)| shown.lines().map(move |line| (place, line)));
        lines.filter(move |(_, line)| line.contains(text)).map(move |(place, line)| {
            let at = line.find(text).unwrap_or(0);
            let from = line.floor_char_boundary(at.saturating_sub(200));
            format!("{place}: {}", &line[from..line.ceil_char_boundary(at + text.len() + 20)])
        })
    }
}

/// The processes and what they were given.
struct Hideout {
    api: Longshore,
    worker: Longshore,
    database: String,
    amqp: String,
    variables: Vec<(&'static str, String)>,
    key: String,
    key_id: String,
    token: String,
}

impl Hideout {
    async fn open(issuer: &Issuer, signer: &Signer, bucket: &Receiver, dir: &tempfile::TempDir) -> Result<Hideout> {
        let database =
            Postgres::shared().await?.database().await?.replace("longshore@", &format!("longshore:{DATABASE}@"));
        let amqp = hidden_vhost().await?;
        let migrated = longshore(&["migrate", "--database-url", &database], &[], "").await?;
        ensure!(migrated.code == Some(0), "{migrated:?}");
        let create = ["keys", "create", "--name", "hidden", "--json", "--database-url", &database];
        let made: Value = serde_json::from_str(&longshore(&create, &[], "").await?.out)?;
        let text = |field: &str| made[field].as_str().map(str::to_owned).context("no text");
        let variables = vec![
            ("LONGSHORE_LOG_LEVEL", "trace".to_owned()),
            ("LONGSHORE_AUTH_ANONYMOUS", "never".to_owned()),
            ("LONGSHORE_AUTH_OIDC_ISSUER", issuer.url().to_owned()),
            ("LONGSHORE_AUTH_OIDC_AUDIENCE", AUDIENCE.to_owned()),
            ("AWS_ACCESS_KEY_ID", "nobody".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", BUCKET.to_owned()),
            ("AWS_REGION", "here".to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ENDPOINT", bucket.url()),
        ];
        let dress = |launch| -> Result<_> {
            let launch = Stage::dressed(launch, dir)?;
            Ok(variables.iter().fold(launch, |launch, (name, value)| launch.env(name, value)))
        };
        let api = dress(Longshore::api(&database, &amqp)?)?.env("LONGSHORE_STORAGE_LOCATION", "s3://hidden/x");
        let api = api.start().await?;
        let worker = dress(Longshore::worker(&database, &amqp, &[], 2)?)?.ready(Ready::Says("working".to_owned()));
        let token = signer.token(&issuer.claims(AUDIENCE, "default", "admin"))?;
        let (key, key_id) = (text("key")?, text("id")?);
        Ok(Hideout { api, worker: worker.start().await?, database, amqp, variables, key, key_id, token })
    }

    /// What a command of the line shows, with the same settings.
    async fn command(&self, args: &[&str], shown: &mut Shown) -> Result<()> {
        let variables: Vec<(&str, &str)> = self.variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let said = longshore(args, &variables, "").await?;
        shown.add(&format!("longshore {}", args[0]), format!("{}\n{}", said.out, said.err));
        Ok(())
    }
}

/// A virtual host of the shared broker, with an account of its own.
async fn hidden_vhost() -> Result<String> {
    let broker = RabbitMq::shared().await?;
    let url = broker.vhost().await?;
    let vhost = url.rsplit('/').next().context("a vhost")?.to_owned();
    broker.ctl(&["add_user", "hidden", BROKER]).await?;
    broker.ctl(&["set_permissions", "-p", &vhost, "hidden", ".*", ".*", ".*"]).await?;
    Ok(url.replace("guest:guest", &format!("hidden:{BROKER}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_log_answer_metric_event_or_setting_that_is_shown() -> Result<()> {
    let (signer, dir) = (Signer::ec("one")?, scratch::dir("hideout")?);
    let issuer = Issuer::start(&[&signer]).await?;
    // Lets nobody in, so that what it is asked fails.
    let bucket = Receiver::start(|_, _| Reply::of(403)).await?;
    let told = Receiver::start(|at, _| Reply::of(if at == 0 { 500 } else { 204 })).await?;
    let hideout = Hideout::open(&issuer, &signer, &bucket, &dir).await?;
    let (mut shown, http) = (Shown::default(), hideout.api.http()?);
    let (by_key, by_token) = (http.clone().with_key(&hideout.key), http.clone().with_key(&hideout.token));

    let (own, job) = a_job_that_fails_once(&by_key, &told, &dir, &mut shown).await?;
    let made = by_token.post("/v1/webhooks", &json!({"url": told.url()})).await?.expect(201)?.json()?;
    let (webhook, first) = (text(&made, "id")?, text(&made, "secret")?);
    let rotated = by_token.post(&format!("/v1/webhooks/{webhook}/rotate"), &json!({})).await?.expect(200)?;
    let second = text(&rotated.json()?, "secret")?;
    provoke(&http, &by_key, &by_token, &hideout, &mut shown).await?;
    for path in ["/metrics", "/v1/webhooks", "/v1/keys", "/v1/jobs", "/readyz", "/openapi.json"] {
        shown.answer(path, &by_token.get(path).await?.expect(200)?);
    }
    shown.answer("its job", &by_key.get(&format!("/v1/jobs/{job}")).await?.expect(200)?);
    let deliveries = format!("/v1/webhooks/{webhook}/deliveries");
    shown.answer("its deliveries", &by_key.get(&deliveries).await?.expect(200)?);
    let mut events = Stream::open(&by_key, &format!("/v1/jobs/{job}/events"), None).await?;
    shown.add("its events", json!(events.rest().await?).to_string());
    hideout.api.drain(PATIENCE).await?;
    hideout.worker.drain(PATIENCE).await?;
    for process in [&hideout.api, &hideout.worker] {
        shown.add("a log", std::fs::read_to_string(process.process().log())?);
    }

    for known in ["DEBUG", &job, &hideout.key_id, told.url().as_str(), "hidden", "# TYPE longshore_"] {
        ensure!(shown.lines(known).next().is_some(), "{known} is shown nowhere: what was looked at?");
    }
    let own = json!(own).as_str().context("a text")?.trim_start_matches("whsec_").to_owned();
    let secret = hideout.key.rsplit('_').next().context("a key has parts")?;
    let signature = hideout.token.rsplit('.').next().context("a token has parts")?;
    let secrets = [secret, signature, &own, first.trim_start_matches("whsec_"), second.trim_start_matches("whsec_")];
    let basic = encoded(BASIC);
    for secret in [DATABASE, BROKER, BUCKET, BASIC, &basic, MISTYPED, PAYLOAD].into_iter().chain(secrets) {
        let found: Vec<String> = shown.lines(secret).take(5).collect();
        ensure!(found.is_empty(), "{secret} is shown:\n{}", found.join("\n"));
    }
    Ok(())
}

fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("no {field}"))
}

/// With a secret in its payload and one to sign with; done when it has been told of.
async fn a_job_that_fails_once(
    http: &Http,
    told: &Receiver,
    dir: &tempfile::TempDir,
    shown: &mut Shown,
) -> Result<(Secret, String)> {
    let own = Secret::fresh();
    let log = dir.path().join(PAYLOAD);
    let job = json!({"kind": "trial.work", "payload": {"log": log, "fail_attempts": 1, "panic_attempts": 0},
        "webhook": {"url": told.url(), "secret": own}});
    let answer = http.post("/v1/jobs", &job).await?.expect(202)?;
    shown.answer("an accepted job", &answer);
    let id = text(&answer.json()?, "id")?;
    let done = || async {
        let job = http.get(&format!("/v1/jobs/{id}")).await.ok()?.json().ok()?;
        (job["state"] == "completed").then_some(())
    };
    poll("the job to be completed", PATIENCE, done).await?;
    told.until(2, PATIENCE).await?;
    Ok((own, id))
}

/// All that can go wrong with a secret in hand.
async fn provoke(http: &Http, by_key: &Http, by_token: &Http, hideout: &Hideout, shown: &mut Shown) -> Result<()> {
    let basic = http.request(Method::GET, "/v1/jobs").header("authorization", format!("Basic {}", encoded(BASIC)));
    shown.answer("another scheme", &send(basic).await?.expect(401)?);
    for wrong in [MISTYPED, BASIC, &format!("{}0", hideout.key), &format!("{}x", hideout.token)] {
        shown.answer("a wrong key", &http.clone().with_key(wrong).get("/v1/jobs").await?.expect(401)?);
    }
    for by in [by_key, by_token] {
        let upload = send(by.request(Method::POST, "/v1/files?name=a").body("a")).await?;
        ensure!(upload.status >= 500, "the bucket lets nobody in: {upload:?}");
        shown.answer("an upload", &upload);
        let unknown = json!({"kind": "no.such.kind", "payload": {"password": PAYLOAD}});
        shown.answer("an unknown kind", &by.post("/v1/jobs", &unknown).await?.expect(422)?);
        let unexpected = json!({"kind": "trial.work", "payload": {"password": PAYLOAD}});
        shown.answer("an unexpected field", &by.post("/v1/jobs", &unexpected).await?.expect(422)?);
    }
    let nowhere = hideout.amqp.replace("127.0.0.1", "127.0.0.2");
    let stranger = hideout.amqp.replace("hidden:", "stranger:");
    let (database, amqp) = (hideout.database.as_str(), hideout.amqp.as_str());
    for amqp in [amqp, &nowhere, &stranger] {
        hideout.command(&["doctor", "--database-url", database, "--amqp-url", amqp], shown).await?;
    }
    let broken = database.replace("127.0.0.1:", "127.0.0.1:no-port");
    let closed = database.replace("127.0.0.1", "127.0.0.2");
    for database in [&broken, &closed] {
        hideout.command(&["migrate", "--database-url", database], shown).await?;
    }
    for json in [&["--json"][..], &[]] {
        let args = ["config", "show", "--database-url", database, "--amqp-url", amqp];
        hideout.command(&[&args[..], json].concat(), shown).await?;
    }
    hideout.command(&["keys", "list", "--database-url", database], shown).await
}
