//! What the stories take for granted about PostgreSQL.

use anyhow::{Result, ensure};
use longshore_tests::postgres::{Postgres, connect};

use super::all_gone;

#[tokio::test]
async fn a_database_keeps_what_it_committed_through_a_kill_and_leaves_nobody_behind() -> Result<()> {
    let server = Postgres::start().await?;
    let client = connect(&server.url()).await?;
    client.batch_execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)").await?;

    let before = server.pids();
    server.kill9().await?;
    all_gone(&before).await;
    ensure!(client.batch_execute("SELECT 1").await.is_err(), "a killed server answers");

    server.restart().await?;
    let row = connect(&server.url()).await?.query_one("SELECT n FROM kept", &[]).await?;
    ensure!(row.get::<_, i32>(0) == 42, "the row changed");

    let everyone = server.pids();
    drop(server);
    all_gone(&everyone).await;
    Ok(())
}

#[tokio::test]
async fn an_orderly_stop_and_start_again_keeps_everything() -> Result<()> {
    let server = Postgres::start().await?;
    connect(&server.url()).await?.batch_execute("CREATE TABLE kept (n int)").await?;
    server.stop().await?;
    server.restart().await?;
    connect(&server.url()).await?.batch_execute("SELECT n FROM kept").await?;
    Ok(())
}

#[tokio::test]
async fn databases_of_the_shared_server_do_not_see_each_other() -> Result<()> {
    let shared = Postgres::shared().await?;
    let (one, other) = tokio::try_join!(shared.database(), shared.database())?;
    connect(&one).await?.batch_execute("CREATE TABLE mine (n int)").await?;
    ensure!(
        connect(&other).await?.batch_execute("SELECT n FROM mine").await.is_err(),
        "one story sees another's table"
    );
    Ok(())
}

#[tokio::test]
async fn a_commit_waits_for_the_disk() -> Result<()> {
    let shared = Postgres::shared().await?;
    let row = connect(&shared.url()).await?.query_one("SHOW fsync", &[]).await?;
    ensure!(row.get::<_, &str>(0) == "on", "a story about kills proves nothing without fsync");
    Ok(())
}
