//! Whole journeys of a job, from a caller's first request to what lies on the disk at the end. Each is told on both sorts of stage:
//! everything in one process, and API and worker on RabbitMQ and PostgreSQL.

mod audit_log;
mod callers;
mod correlation;
mod crowd;
mod direct;
mod endings;
mod events;
mod executors;
mod faults;
mod handover;
mod hostile;
mod hostile_callers;
mod oidc;
mod promises;
mod retention;
mod roads;
mod secrets;
mod tenants;
mod tls;
mod traces;
mod uploads;
mod webhook_faults;
mod webhook_tls;
mod webhook_tries;
mod webhook_walls;
mod webhooks;

/// Tells each story on both stages.
macro_rules! on_both_stages {
    ($($story:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() -> anyhow::Result<()> {
                super::$story(longshore_tests::stage::Stage::embedded().await?).await
            })*
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $story() -> anyhow::Result<()> {
                super::$story(longshore_tests::stage::Stage::servers().await?).await
            })*
        }
    };
}
use on_both_stages;
