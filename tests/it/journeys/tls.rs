//! TLS on every wire: a PostgreSQL and a RabbitMQ that speak nothing else, an API that is called over https, jobs through all of it;
//! and servers that are not who they should be, which nobody talks to.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::certificates::Authority;
use longshore_tests::http::Http;
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::scratch;
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::cli::{Said, longshore};

/// Servers that speak TLS alone, who signed for them, and who did not.
struct Harbour {
    authority: Authority,
    other: Authority,
    database: Postgres,
    broker: RabbitMq,
    dir: TempDir,
}

impl Harbour {
    async fn open() -> Result<Harbour> {
        let (authority, other) = (Authority::new("ours")?, Authority::new("another")?);
        let (database, broker) = tokio::try_join!(Postgres::start_tls(&authority), RabbitMq::start_tls(&authority))?;
        Ok(Harbour { authority, other, database, broker, dir: scratch::dir("tls")? })
    }

    /// The file of an authority, as an operator names it in a setting.
    fn file(&self, of: &Authority, name: &str) -> Result<String> {
        let dir = self.dir.path().join(name);
        std::fs::create_dir_all(&dir)?;
        Ok(of.write(&dir)?.to_string_lossy().into_owned())
    }

    async fn migrate(&self, url: &str, ca: &str) -> Result<Said> {
        longshore(&["migrate", "--database-url", url], &[("LONGSHORE_DATABASE_TLS_CA", ca)], "").await
    }
}

async fn done(http: &Http, id: &str) -> Result<Value> {
    let look = || async {
        let job = http.get(&format!("/v1/jobs/{id}")).await.ok()?.json().ok()?;
        (!matches!(job["state"].as_str(), Some("pending" | "running"))).then_some(job)
    };
    poll(&format!("job {id} to be settled"), PATIENCE, look).await
}

async fn submit(http: &Http, kind: &str, payload: Value) -> Result<String> {
    let answer = http.post("/v1/jobs", &json!({"kind": kind, "payload": payload})).await?.expect(202)?;
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

/// Everything at once, for its servers take a while to start.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_through_https_and_servers_that_speak_tls_alone() -> Result<()> {
    let harbour = Harbour::open().await?;
    let ca = harbour.file(&harbour.authority, "ours")?;
    let url = harbour.database.tls_url("127.0.0.1", "verify-full");
    let (amqp, _) = harbour.broker.tls_url()?;
    let migrated = harbour.migrate(&url, &ca).await?;
    ensure!(migrated.code == Some(0), "{migrated:?}");

    let shown = harbour.dir.path().join("shown");
    std::fs::create_dir_all(&shown)?;
    let issued = harbour.authority.issue(&["127.0.0.1"], &shown)?;
    let launch = Stage::dressed(Longshore::all(&url, &amqp)?, &harbour.dir)?
        .env("LONGSHORE_WORKER_GUARD", "false")
        .env("LONGSHORE_DATABASE_TLS_CA", &ca)
        .env("LONGSHORE_BROKER_TLS_CA", &ca)
        .env("LONGSHORE_API_TLS_CERT", &issued.cert.to_string_lossy())
        .env("LONGSHORE_API_TLS_KEY", &issued.key.to_string_lossy())
        .ready(Ready::Says("working".to_owned()));
    let running = launch.start().await?;
    let https = format!("https://{}", running.address());
    let http = Http::trusting(&https, &harbour.authority.pem())?;

    let job = submit(&http, "trial.work", json!({})).await?;
    ensure!(done(&http, &job).await?["state"] == "completed");
    std::fs::write(harbour.dir.path().join("inbox/rows.csv"), "name\nanna\nbert\n")?;
    let source = json!({"path": harbour.dir.path().join("inbox/rows.csv")});
    let columns = json!([{"name": "name", "type": "text"}]);
    let import = submit(&http, "csv.import", json!({"source": source, "table": "rows", "columns": columns})).await?;
    let imported = done(&http, &import).await?;
    ensure!(imported["result"]["rows_imported"] == 2, "{imported}");

    callers_are_told(&running, &https, &ca).await?;
    a_rotated_certificate_is_served(&harbour, &https, &shown).await?;
    let (url, ca) = (url.as_str(), ca.as_str());
    nobody_talks_to_who_is_not_believed(&harbour, url, &amqp, ca).await
}

/// The command line over https, and plain HTTP to the same port.
async fn callers_are_told(running: &Longshore, https: &str, ca: &str) -> Result<()> {
    let workers = longshore(&["workers", "--server", https], &[("SSL_CERT_FILE", ca)], "").await?;
    ensure!(workers.code == Some(0), "{workers:?}");
    let unbelieved = longshore(&["workers", "--server", https], &[], "").await?;
    ensure!(unbelieved.code == Some(1) && unbelieved.err.contains("certificate"), "{unbelieved:?}");
    let mut plain = TcpStream::connect(running.address()).await?;
    plain.write_all(b"GET /v1/jobs HTTP/1.1\r\nhost: here\r\n\r\n").await?;
    plain.shutdown().await?;
    let mut told = String::new();
    tokio::time::timeout(PATIENCE, plain.read_to_string(&mut told)).await??;
    ensure!(told.starts_with("HTTP/1.1 400 ") && told.contains("call it as https://"), "{told}");
    Ok(())
}

async fn a_rotated_certificate_is_served(harbour: &Harbour, https: &str, shown: &Path) -> Result<()> {
    harbour.other.issue(&["127.0.0.1"], shown)?;
    let new = Http::trusting(https, &harbour.other.pem())?;
    let served = || async { new.get("/healthz").await.ok().filter(|answer| answer.status == 200) };
    poll("the new certificate to be served", PATIENCE, served).await?;
    // A client of its own, for the other one keeps its connection.
    let old = Http::trusting(https, &harbour.authority.pem())?;
    ensure!(old.get("/healthz").await.is_err(), "the old certificate is served");
    Ok(())
}

async fn nobody_talks_to_who_is_not_believed(harbour: &Harbour, url: &str, amqp: &str, ca: &str) -> Result<()> {
    let wrong = harbour.file(&harbour.other, "another")?;
    let by_name = |sslmode| harbour.database.tls_url("localhost", sslmode);
    let plain = Postgres::shared().await?.url();
    let refused = [
        (url.to_owned(), wrong.as_str(), "database.tls_ca"),
        (by_name("verify-full"), ca, "database.tls_ca"),
        (harbour.database.tls_url("127.0.0.1", "require"), wrong.as_str(), "database.tls_ca"),
        (harbour.database.tls_url("127.0.0.1", "disable"), "", "no encryption"),
        (harbour.database.tls_url("127.0.0.1", "prefer"), ca, "add sslmode=verify-full"),
        (format!("{plain}?sslmode=verify-full"), ca, "TLS"),
        (url.to_owned(), "nowhere.pem", "database.tls_ca: nowhere.pem"),
    ];
    for (url, ca, told) in refused {
        let said = harbour.migrate(&url, ca).await?;
        ensure!(said.code == Some(1) && said.err.contains(told), "{url} {ca}: {said:?}");
        ensure!(!said.err.contains("quay"), "it shows the password: {said:?}");
    }
    for url in [by_name("verify-ca"), by_name("require")] {
        let said = harbour.migrate(&url, ca).await?;
        ensure!(said.code == Some(0), "{url}: {said:?}");
    }
    ensure!(connect(&harbour.database.url()).await.is_err(), "the database talks in the clear");
    broker_must_be_believed(harbour, url, amqp, ca, &wrong).await
}

async fn broker_must_be_believed(harbour: &Harbour, url: &str, amqp: &str, ca: &str, wrong: &str) -> Result<()> {
    let (_, port) = harbour.broker.tls_url()?;
    let by_name = amqp.replace("127.0.0.1", "localhost");
    let in_the_clear = format!("amqp://guest:guest@127.0.0.1:{port}/%2f");
    let plain = RabbitMq::shared().await?.url().replace("amqp://", "amqps://");
    let refused = [
        (amqp, wrong, "broker.tls_ca"),
        (by_name.as_str(), ca, "broker.tls_ca"),
        (in_the_clear.as_str(), "", "broker.reachable"),
        (in_the_clear.as_str(), ca, "write amqps://"),
        (plain.as_str(), ca, "broker.reachable"),
        (amqp, "nowhere.pem", "broker.tls_ca: nowhere.pem"),
    ];
    let data = harbour.dir.path().join("doctor").to_string_lossy().into_owned();
    for (amqp, broker_ca, told) in refused {
        let args = ["doctor", "--database-url", url, "--amqp-url", amqp, "--data-dir", &data];
        let variables = [("LONGSHORE_DATABASE_TLS_CA", ca), ("LONGSHORE_BROKER_TLS_CA", broker_ca)];
        let said = longshore(&args, &variables, "").await?;
        let all = format!("{}{}", said.out, said.err);
        ensure!(said.code == Some(1) && all.contains(told), "{amqp} {broker_ca}: {said:?}");
    }
    Ok(())
}
