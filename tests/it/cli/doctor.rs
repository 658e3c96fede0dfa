//! `doctor`, and the worker that refuses to start, on real servers that are not as they should be: each fault is named with what
//! to change, and may be taken upon oneself.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use longshore_tests::longshore::{Longshore, Ready};
use longshore_tests::postgres::{Postgres, connect};
use longshore_tests::rabbitmq::RabbitMq;
use longshore_tests::scratch;
use serde_json::Value;
use tempfile::TempDir;

use super::{Said, longshore};

/// Servers, and a place for files.
struct Ward {
    database: String,
    broker: String,
    dir: TempDir,
}

impl Ward {
    /// On the shared servers, with a schema.
    async fn open() -> Result<Ward> {
        Ward::of(Postgres::shared().await?.database().await?).await
    }

    async fn of(database: String) -> Result<Ward> {
        let broker = RabbitMq::shared().await?.vhost().await?;
        let migrated = longshore(&["migrate", "--database-url", &database], &[], "").await?;
        ensure!(migrated.code == Some(0), "{migrated:?}");
        Ok(Ward { database, broker, dir: scratch::dir("doctor")? })
    }

    async fn run(&self, command: &str, more: &[&str]) -> Result<Said> {
        let data = self.dir.path().to_string_lossy().into_owned();
        let args = [command, "--database-url", &self.database, "--amqp-url", &self.broker, "--data-dir", &data];
        longshore(&[&args[..], more].concat(), &[], "").await
    }

    /// The findings of this check, and the exit code.
    async fn finds(&self, check: &str) -> Result<(Vec<Value>, Option<i32>)> {
        let said = self.run("doctor", &["--json"]).await?;
        let all = said.json()?;
        let findings = all["findings"].as_array().context("no list of findings")?;
        Ok((findings.iter().filter(|finding| finding["check"] == check).cloned().collect(), said.code))
    }

    async fn sql(&self, sql: &str) -> Result<()> {
        Ok(connect(&self.database).await?.batch_execute(sql).await?)
    }

    /// A worker does not start over it, and says what it is and how to start all the same.
    async fn refuses(&self, check: &str, words: &str) -> Result<()> {
        let refused = self.run("worker", &[]).await?;
        ensure!(refused.code == Some(1), "{refused:?}");
        for told in [check, words, "change: ", &format!("--set preflight.override={check}")] {
            ensure!(refused.err.contains(told), "{told:?} is missing: {refused:?}");
        }
        Ok(())
    }
}

fn name_of(database_url: &str) -> &str {
    database_url.rsplit('/').next().unwrap_or_default()
}

#[tokio::test]
async fn servers_that_are_as_they_should_be_pass() -> Result<()> {
    let ward = Ward::open().await?;
    let said = ward.run("doctor", &[]).await?;
    ensure!(said.code == Some(0) && !said.out.contains("FAIL"), "{said:?}");
    for told in ["PostgreSQL 1", "RabbitMQ 3.", "fsync is on", "longshore.jobs.csv.import", "a publish is confirmed"] {
        ensure!(said.out.contains(told), "{told:?} is missing: {}", said.out);
    }
    ensure!(said.out.trim_end().ends_with("0 to change"), "{said:?}");
    // It made no queue: the next look finds none either.
    let (queues, code) = ward.finds("broker.queue").await?;
    let missing = |queue: &Value| queue["what"].as_str().is_some_and(|what| what.contains("not there yet"));
    ensure!(code == Some(0) && queues.len() >= 2 && queues.iter().all(missing), "{queues:?}");
    Ok(())
}

#[tokio::test]
async fn a_queue_that_a_worker_made_is_ours() -> Result<()> {
    let ward = Ward::open().await?;
    let worker = Longshore::worker(&ward.database, &ward.broker, &["csv.import"], 1)?;
    let worker = worker.arg("--data-dir").arg(&ward.dir.path().to_string_lossy());
    let worker = worker.ready(Ready::Says("working".to_owned())).start().await?;
    let ours = || async {
        let (queues, _) = ward.finds("broker.queue").await.ok()?;
        let known = "longshore.jobs.csv.import has our type and arguments, and answers";
        queues.iter().any(|queue| queue["what"] == known).then_some(())
    };
    longshore_tests::until::until("the queue to be made and known as ours", Duration::from_secs(60), ours).await;
    ensure!(worker.drain(Duration::from_secs(60)).await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_database_without_fsync_is_refused_unless_somebody_takes_it_upon_himself() -> Result<()> {
    let server = Postgres::start_with(&["fsync=off"]).await?;
    let ward = Ward::of(server.database().await?).await?;
    let (found, code) = ward.finds("database.fsync").await?;
    ensure!(code == Some(1) && found[0]["level"] == "fail" && found[0]["what"] == "fsync is off", "{found:?}");
    ward.refuses("database.fsync", "fsync is off").await?;
    let worker = Longshore::worker(&ward.database, &ward.broker, &["csv.import"], 1)?;
    let worker = worker.arg("--data-dir").arg(&ward.dir.path().to_string_lossy());
    let worker = worker.arg("--set").arg("preflight.override=database.fsync");
    let worker = worker.ready(Ready::Says("working".to_owned())).start().await?;
    ensure!(std::fs::read_to_string(worker.process().log())?.contains("fsync is off (overridden)"), "it is told");
    ensure!(worker.drain(Duration::from_secs(60)).await? == 0);
    Ok(())
}

#[tokio::test]
async fn a_database_that_answers_before_the_disk_does_is_refused() -> Result<()> {
    let ward = Ward::open().await?;
    ward.sql(&format!("alter database {} set synchronous_commit = off", name_of(&ward.database))).await?;
    ward.refuses("database.synchronous_commit", "synchronous_commit is off").await
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_refused() -> Result<()> {
    let ward = Ward::open().await?;
    ward.sql(&format!("alter database {} set default_transaction_read_only = on", name_of(&ward.database))).await?;
    ward.refuses("database.read_only", "set to read only").await
}

#[tokio::test]
async fn a_schema_of_another_version_is_refused() -> Result<()> {
    let ward = Ward::open().await?;
    ward.sql("insert into longshore_schema (version) values (999)").await?;
    ward.refuses("database.schema", "version 999").await?;
    ward.sql("delete from longshore_schema where version > 1").await?;
    ward.refuses("database.schema", "longshore migrate").await
}

#[tokio::test]
async fn a_missing_permission_is_named() -> Result<()> {
    let mut ward = Ward::open().await?;
    let role = format!("reader_{}", name_of(&ward.database));
    ward.sql(&format!(
        "create role {role} login; grant select on all tables in schema public to {role}; \
         grant insert, delete on jobs to {role}"
    ))
    .await?;
    ward.database = ward.database.replace("longshore@", &format!("{role}@"));
    let (found, code) = ward.finds("database.permissions").await?;
    let what = found[0]["what"].as_str().unwrap_or_default();
    ensure!(code == Some(1) && what.contains("update on jobs") && what.contains("insert on attempts"), "{found:?}");
    ensure!(!what.contains("insert on jobs") && !what.contains("select on"), "what it may do is not named: {what}");
    ward.refuses("database.permissions", &role).await
}

/// All that the migrations made, by the server's own word.
async fn tables(database: &str) -> Result<Vec<String>> {
    let sql =
        "select relname::text from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace order by 1";
    Ok(connect(database).await?.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}

#[tokio::test]
async fn a_right_that_is_revoked_from_any_table_is_named() -> Result<()> {
    let mut ward = Ward::open().await?;
    let (owner, role) = (ward.database.clone(), format!("writer_{}", name_of(&ward.database)));
    let tables = tables(&owner).await?;
    ensure!(tables.len() > 12, "{tables:?}");
    ward.sql(&format!(
        "create role {role} login; grant select, insert, update, delete on all tables in schema public to {role}"
    ))
    .await?;
    ward.database = owner.replace("longshore@", &format!("{role}@"));
    let (found, code) = ward.finds("database.permissions").await?;
    ensure!(code == Some(0) && found[0]["level"] == "ok", "{found:?}");
    let admin = connect(&owner).await?;
    for table in &tables {
        // The schema's version is read alone; what was written into the audit log is not changed, and may be kept from being.
        let rights: &[&str] = match table.as_str() {
            "longshore_schema" => &["select"],
            "audit_log" => &["select", "insert", "delete"],
            _ => &["select", "insert", "update", "delete"],
        };
        admin.batch_execute(&format!("revoke all on {table} from {role}")).await?;
        let (found, code) = ward.finds("database.permissions").await?;
        let what = found[0]["what"].as_str().unwrap_or_default();
        let named =
            what.rsplit_once("may not: ").map(|(_, list)| list.split(", ").collect::<Vec<_>>()).unwrap_or_default();
        let mut wanted: Vec<String> = rights.iter().map(|right| format!("{right} on {table}")).collect();
        wanted.sort();
        ensure!(code == Some(1) && named == wanted, "{table}: {found:?}");
        admin.batch_execute(&format!("grant select, insert, update, delete on {table} to {role}")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_classic_queue_in_a_kinds_place_is_named() -> Result<()> {
    let ward = Ward::open().await?;
    let connection = Connection::connect(&ward.broker, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare("longshore.jobs.csv.import".into(), durable, FieldTable::default()).await?;
    let (queues, code) = ward.finds("broker.queue").await?;
    let failed: Vec<&Value> = queues.iter().filter(|queue| queue["level"] == "fail").collect();
    ensure!(code == Some(1) && failed.len() == 1, "{queues:?}");
    let what = failed[0]["what"].as_str().unwrap_or_default();
    ensure!(what.contains("longshore.jobs.csv.import") && what.contains("x-queue-type"), "{what}");
    ward.refuses("broker.queue", "longshore.jobs.csv.import").await
}

#[tokio::test]
async fn servers_that_are_away_are_failures_with_a_way_out() -> Result<()> {
    let args = ["doctor", "--database-url", "postgres://a@127.0.0.1:1/b", "--amqp-url", "amqp://127.0.0.1:1"];
    let dir = scratch::dir("doctor")?;
    let data = dir.path().to_string_lossy().into_owned();
    let said = longshore(&[&args[..], &["--data-dir", &data]].concat(), &[], "").await?;
    ensure!(said.code == Some(1), "{said:?}");
    for told in ["FAIL  database.reachable", "FAIL  broker.reachable", "check database.url", "127.0.0.1:1"] {
        ensure!(said.out.contains(told), "{told:?} is missing: {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn without_servers_it_looks_at_the_machine_alone() -> Result<()> {
    let dir = scratch::dir("doctor")?;
    let data = dir.path().to_string_lossy().into_owned();
    let said = longshore(&["doctor", "--data-dir", &data], &[], "").await?;
    ensure!(
        said.code == Some(0) && said.out.contains("machine.storage") && !said.out.contains("database."),
        "{said:?}"
    );
    // A storage below a file is none, also for root.
    std::fs::write(dir.path().join("file"), "")?;
    let place = format!("storage.location={}/file/storage", data);
    let said = longshore(&["doctor", "--json", "--data-dir", &data, "--set", &place], &[], "").await?;
    ensure!(said.code == Some(1) && said.json()?["level"] == "fail", "{said:?}");
    Ok(())
}

#[tokio::test]
async fn a_check_that_is_none_cannot_be_overridden() -> Result<()> {
    let said = longshore(&["doctor", "--set", "preflight.override=database.fsnc"], &[], "").await?;
    ensure!(said.code == Some(2) && said.err.contains("did you mean database.fsync?"), "{said:?}");
    Ok(())
}
