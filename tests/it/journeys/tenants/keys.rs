//! Keys at their ends: the first one, which a start makes for its owner alone, and a revoked one, which is soon good for nothing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::*;

/// So long at most a revoked key is good, and a stream that it opened goes on.
const WITHIN: Duration = Duration::from_secs(5);

async fn guarded() -> Result<(Stage, Http)> {
    let stage = Stage::embedded_with(&[("LONGSHORE_AUTH_ANONYMOUS", "never")]).await?;
    let house = operator(&stage)?;
    Ok((stage, house))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoke_takes_effect_within_five_seconds_and_ends_the_streams_of_its_key() -> Result<()> {
    let (stage, house) = guarded().await?;
    let data = stage.dir.path().join("data");
    let place = data.to_string_lossy();
    let made = longshore(&["keys", "create", "--name", "ci", "--data-dir", &place, "--json"], &[], "").await?;
    let made: Value = serde_json::from_str(&made.out).with_context(|| format!("{made:?}"))?;
    let (id, key) = (made["id"].as_str().context("no id")?, made["key"].as_str().context("no key")?);
    let caller = stage.http.clone().with_key(key);
    let job = json!({"kind": "trial.work", "payload": {"work_ms": 60_000}});
    let job = self::id(&caller.post("/v1/jobs", &job).await?.expect(202)?)?;
    let mut stream = Stream::open(&caller, &format!("/v1/jobs/{job}/events"), None).await?;
    ensure!(stream.status == 200 && stream.next().await?.is_some());
    // In another process, which tells this one nothing. How long the command takes to start is not counted, for nothing is revoked yet.
    let ended = longshore(&["keys", "revoke", id, "--data-dir", &place], &[], "").await?;
    let revoked = Instant::now();
    ensure!(ended.code == Some(0), "{ended:?}");
    let refused = async {
        let look = || async { caller.get("/v1/jobs").await.ok().filter(|answer| answer.status == 401) };
        poll("the revoked key to be refused", WITHIN, look).await?;
        anyhow::Ok(revoked.elapsed())
    };
    let streamed = async {
        while timeout_at((revoked + WITHIN).into(), stream.next()).await.context("the stream goes on")??.is_some() {}
        anyhow::Ok(revoked.elapsed())
    };
    let (refused, streamed) = tokio::try_join!(refused, streamed)?;
    ensure!(refused < WITHIN && streamed < WITHIN, "{refused:?}, {streamed:?}");
    send(house.request(Method::POST, &format!("/v1/jobs/{job}/cancel"))).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_first_start_is_its_owners_alone_and_is_in_no_log() -> Result<()> {
    let (stage, house) = guarded().await?;
    house.get("/v1/keys").await?.expect(200)?;
    let path = stage.dir.path().join("data/api-key");
    ensure!(std::fs::metadata(&path)?.permissions().mode() & 0o777 == 0o600);
    let key = std::fs::read_to_string(&path)?;
    let secret = key.trim().rsplit('_').next().context("a key has parts")?.as_bytes();
    let data = |name: &str| stage.dir.path().join("data").join(name);
    let metrics = stage.http.get("/metrics").await?.expect(200)?.text.into_bytes();
    let told = [data("ledger.db"), data("ledger.db-wal"), stage.worker().process().log().to_owned()];
    let told: Vec<Vec<u8>> = told.iter().map(|path| std::fs::read(path).unwrap_or_default()).chain([metrics]).collect();
    ensure!(told.iter().filter(|bytes| !bytes.is_empty()).count() >= 3, "a place was not looked at");
    let holds = |bytes: &Vec<u8>| bytes.windows(secret.len()).any(|part| part == secret);
    ensure!(!told.iter().any(holds), "the key is told somewhere");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_that_are_closed_are_an_operators_alone() -> Result<()> {
    let closed = [("LONGSHORE_AUTH_ANONYMOUS", "never"), ("LONGSHORE_AUTH_OPEN_METRICS", "false")];
    let stage = Stage::embedded_with(&closed).await?;
    let house = operator(&stage)?;
    let key = async |request: Value| {
        let made = house.post("/v1/keys", &request).await?.expect(201)?.json()?;
        Ok::<_, anyhow::Error>(stage.http.clone().with_key(made["key"].as_str().context("no key")?))
    };
    let tenants = key(json!({"name": "north", "tenant": "north", "scopes": ["admin"]})).await?;
    let writers = key(json!({"name": "ci", "scopes": ["submit"]})).await?;
    let prometheus = key(json!({"name": "prometheus", "scopes": ["read"]})).await?;
    stage.http.get("/metrics").await?.expect(401)?;
    for other in [&tenants, &writers] {
        let refused = other.get("/metrics").await?.expect(403)?;
        ensure!(!refused.text.contains("longshore_jobs"), "{refused:?}");
    }
    ensure!(prometheus.get("/metrics").await?.expect(200)?.text.contains("longshore_"));
    // What keeps a load balancer going is open still.
    stage.http.get("/healthz").await?.expect(200)?;
    Ok(())
}
