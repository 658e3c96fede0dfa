//! What happens between two transactions at the end of a lease, made to happen. That takes SQL, so it is told of PostgreSQL alone.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use longshore_runtime::ledger::postgres::Postgres as PostgresLedger;
use longshore_runtime::ledger::{Claim, Claimed, Ledger, NewJob, Priority, WorkerCard};
use longshore_runtime::tenant::Tenant;
use longshore_sdk::JobId;
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::until::poll;
use serde_json::value::RawValue;
use uuid::Uuid;

const SOON: Duration = Duration::from_secs(20);

fn job() -> Result<NewJob> {
    Ok(NewJob {
        tenant: Tenant::default(),
        id: JobId::fresh(),
        kind: "demo.greet".into(),
        payload: RawValue::from_string("{}".to_owned())?,
        priority: Priority::Normal,
        max_attempts: 5,
        timeout: Duration::from_secs(60),
        run_at: None,
        metadata: None,
        correlation_id: None,
        trace: None,
        idempotency: None,
        unique_key: None,
        webhook: None,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_meets_the_rescue_of_its_own_worker_runs_nothing() -> Result<()> {
    let url = Postgres::shared().await?.database().await?;
    let ledger = Arc::new(PostgresLedger::connect(&url, 4)?);
    ledger.migrate().await?;
    let card = WorkerCard { id: Uuid::now_v7(), host: "quay-1".into(), kinds: vec!["demo.greet".into()], slots: 1 };
    ledger.enlist(&card, Duration::from_secs(3600)).await?;
    let job = job()?;
    ledger.submit(std::slice::from_ref(&job)).await?;
    let (rescuer, onlooker) = (connect(&url).await?, connect(&url).await?);
    // As the rescuer does: the row is removed, and the removal is not yet committed.
    rescuer.batch_execute("begin").await?;
    rescuer.execute("delete from workers where id = $1", &[&card.id]).await?;
    let claiming = Arc::clone(&ledger);
    let claims = [Claim { job: job.id, alone: false }];
    let claim = tokio::spawn(async move { claiming.round(card.id, &claims, &[]).await });
    let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    let met = || async {
        let waiting: i64 = onlooker.query_one(waits, &[]).await.ok()?.get(0);
        (claim.is_finished() || waiting > 0).then_some(())
    };
    poll("the claim to meet the rescue", SOON, met).await?;
    rescuer.batch_execute("commit").await?;
    let answer = claim.await??;
    assert!(matches!(answer.claims[..], [Claimed::NoLease]), "a job runs without a lease: {:?}", answer.claims);
    Ok(())
}
