//! A ledger that answers and refuses us: somebody has taken a right away. That says nothing of the jobs, which must not pay for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::stage::Stage;
use longshore_tests::until::poll;
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
/// Tries to record, a quarter of a second apart: for longer than three heartbeats, at two of which what nobody runs is handed back.
const TRIES: usize = 16;

/// A ledger of a role's own, whose rights can be taken away.
struct Ours {
    admin: tokio_postgres::Client,
    role: String,
    url: String,
}

impl Ours {
    async fn open() -> Result<Ours> {
        let url = Postgres::shared().await?.database().await?;
        let (admin, name) = (connect(&url).await?, url.rsplit('/').next().context("a database has a name")?);
        let role = format!("quay_{name}");
        let ours = format!(
            "create role {role} login; alter database {name} owner to {role}; alter schema public owner to {role}"
        );
        admin.batch_execute(&ours).await?;
        let url = url.replace("longshore@", &format!("{role}@"));
        Ok(Ours { admin, role, url })
    }

    async fn sql(&self, sql: &str) -> Result<()> {
        Ok(self.admin.batch_execute(&format!("{sql} {}", self.role)).await?)
    }

    /// Jobs may be changed in all but what came out of them: claimed and handed back, and not recorded.
    async fn grant_all_but_the_result(&self) -> Result<()> {
        let sql = "select string_agg(quote_ident(attname), ', ') from pg_attribute \
             where attrelid = 'jobs'::regclass and attnum > 0 and not attisdropped and attname <> 'result'";
        let columns: String = self.admin.query_one(sql, &[]).await?.get(0);
        self.sql(&format!("grant update ({columns}) on jobs to")).await
    }
}

/// So often has the worker said that the ledger does not take a record.
fn refusals(stage: &Stage) -> usize {
    let log = std::fs::read_to_string(stage.worker().process().log()).unwrap_or_default();
    let of_a_record =
        |line: &&str| line.contains("permission denied for table jobs") && line.contains("while the lease lives");
    log.lines().filter(of_a_record).count()
}

async fn refused_again_and_again(stage: &Stage) -> Result<()> {
    let so_far = refusals(stage);
    let again = || async { (refusals(stage) >= so_far + TRIES).then_some(()) };
    poll("what is to be recorded to be refused again and again", SOON, again).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_revoked_while_a_job_runs_costs_it_nothing_once_it_is_granted_again() -> Result<()> {
    let (ours, broker) = (Ours::open().await?, RabbitMq::shared().await?.vhost().await?);
    let stage = Stage::on(&ours.url, &broker).await?;
    let work = json!({"log": stage.note_file(), "work_ms": 1_500});
    let id = stage.submit("trial.work", work.clone()).await?;
    stage.when(&id, "to run", |job| job["state"] == "running").await?;
    ours.sql("revoke update on jobs from").await?;
    // Its claim is refused, too: from now on the heartbeats look for what is credited to their worker and does not run.
    let later = stage.submit("trial.work", work).await?;
    refused_again_and_again(&stage).await?;
    ours.grant_all_but_the_result().await?;
    refused_again_and_again(&stage).await?;
    let job = stage.job(&id).await?;
    ensure!(job["state"] == "running" && job["attempt"] == 1, "its result waits: {job}");

    ours.sql("grant update on jobs to").await?;
    for id in [&id, &later] {
        let job = stage.settled(id).await?;
        ensure!(job["state"] == "completed" && job["attempt"] == 1 && job["charged"] == 0, "{job}");
    }
    let notes = stage.notes();
    ensure!(notes.len() == 4, "each was run once: {notes:?}");
    Ok(())
}
