//! A ledger that answers and refuses us: somebody has taken a right away. That says nothing of the jobs, which must not pay for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::Stage;
use longshore_tests::until::poll;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// Tries to record, a quarter of a second apart: for longer than three heartbeats, of which two may hand back what nobody runs.
const TRIES: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_revoked_while_a_job_runs_costs_it_nothing_once_it_is_granted_again() -> Result<()> {
    let owner = Postgres::shared().await?.database().await?;
    let name = owner.rsplit('/').next().context("a database has a name")?;
    let role = format!("quay_{name}");
    let admin = connect(&owner).await?;
    let ours =
        format!("create role {role} login; alter database {name} owner to {role}; alter schema public owner to {role}");
    admin.batch_execute(&ours).await?;
    let broker = RabbitMq::shared().await?.vhost().await?;
    let stage = Stage::on(&owner.replace("longshore@", &format!("{role}@")), &broker).await?;

    let id = stage.submit("trial.work", json!({"log": stage.note_file(), "work_ms": 1_500})).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    admin.batch_execute(&format!("revoke insert on attempts from {role}")).await?;
    let refused = || async {
        let log = std::fs::read_to_string(stage.worker().process().log()).ok()?;
        (log.matches("permission denied for table attempts").count() >= TRIES).then_some(())
    };
    poll("the end to be refused again and again", SOON, refused).await?;
    let job = stage.job(&id).await?;
    ensure!(job["state"] == "running" && job["attempt"] == 1, "it is not the job's fault: {job}");

    admin.batch_execute(&format!("grant insert on attempts to {role}")).await?;
    let job = stage.settled(&id).await?;
    ensure!(job["state"] == "completed" && job["attempt"] == 1 && job["charged"] == 0, "{job}");
    let notes = stage.notes();
    ensure!(notes.len() == 2, "it was run once: {notes:?}");
    Ok(())
}
