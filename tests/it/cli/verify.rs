//! `verify` on a real ledger: nothing is wrong until a hand in the database breaks something, and then it is named.

use anyhow::{Result, ensure};
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::stage::Stage;
use serde_json::json;

use super::{Said, longshore};

/// How each check is broken. The first job has completed, the second waits for its time.
const HARM: [(&str, &str); 10] = [
    ("state", "update jobs set state = 9 where state = 0"),
    ("columns", "update jobs set result = null where state = 2"),
    ("history", "delete from attempts"),
    ("attempts", "update attempts set attempt = 7"),
    ("completion", "update attempts set ended = 'error'"),
    (
        "lease",
        "update jobs set state = 1, attempt = 1, version = 3, worker = gen_random_uuid(), due_at = null, started_at = now(), \
         changed_at = now() - interval '1 hour' where state = 0",
    ),
    ("road", "update jobs set due_at = null where state = 0"),
    ("announcement", "update jobs set unannounced = true, changed_at = now() - interval '1 hour' where state = 2"),
    ("artifacts", "update jobs set artifacts = '[]' where state = 0"),
    (
        "idempotency",
        "insert into idempotency values ('k', decode(repeat('00', 32), 'hex'), gen_random_uuid(), now() + interval '1 hour')",
    ),
];

async fn verify(database: &str) -> Result<Said> {
    longshore(&["verify", "--database-url", database, "--json"], &[], "").await
}

/// Which checks found something.
fn broken(said: &Said) -> Result<Vec<String>> {
    let told = said.json()?;
    let checks = told["checks"].as_array().into_iter().flatten();
    let broken = checks.filter(|check| check["violations"] != 0).filter_map(|check| check["check"].as_str());
    Ok(broken.map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_thing_that_must_never_be_is_found_by_its_check() -> Result<()> {
    let server = Postgres::shared().await?;
    let broker = longshore_tests::rabbitmq::RabbitMq::shared().await?.vhost().await?;
    let database = server.database().await?;
    let stage = Stage::on(&database, &broker).await?;
    let job = stage.submit("trial.work", json!({})).await?;
    stage.settled(&job).await?;
    let later = json!({"kind": "trial.work", "payload": {}, "run_at": "2099-01-01T00:00:00Z"});
    stage.submit_with(later).await?;
    drop(stage);
    let well = verify(&database).await?;
    ensure!(well.code == Some(0) && broken(&well)?.is_empty(), "{well:?}");
    for (check, sql) in HARM {
        let copy = copy_of(server, &database, check).await?;
        connect(&copy).await?.batch_execute(sql).await?;
        let ill = verify(&copy).await?;
        ensure!(ill.code == Some(1) && broken(&ill)?.contains(&check.to_owned()), "{check}: {ill:?}");
    }
    Ok(())
}

async fn copy_of(server: &Postgres, database: &str, name: &str) -> Result<String> {
    let (base, original) = database.rsplit_once('/').ok_or_else(|| anyhow::anyhow!("{database}"))?;
    let copied = format!("CREATE DATABASE {original}_{name} TEMPLATE {original}");
    let client = connect(&server.url()).await?;
    // A connection that has just been let go counts for a moment longer.
    let copying = || async { client.batch_execute(&copied).await.ok() };
    longshore_tests::until::poll("a copy of the database", super::PATIENCE, copying).await?;
    Ok(format!("{base}/{original}_{name}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_of_a_running_dev_is_verified_beside_it() -> Result<()> {
    let stage = Stage::embedded().await?;
    let job = stage.submit("trial.work", json!({})).await?;
    stage.settled(&job).await?;
    let data = stage.note_file().with_file_name("data").to_string_lossy().into_owned();
    let said = longshore(&["verify", "--data-dir", &data], &[], "").await?;
    ensure!(said.code == Some(0) && said.out.ends_with("1 jobs, 0 violations\n"), "{said:?}");
    let nowhere = longshore(&["verify", "--data-dir", "/nowhere"], &[], "").await?;
    ensure!(nowhere.code == Some(1) && nowhere.err.contains("there is no ledger"), "{nowhere:?}");
    Ok(())
}
