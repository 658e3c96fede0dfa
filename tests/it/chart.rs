//! The Helm chart, rendered by real helm 3 and helm 4 and held against its promises; no cluster is asked.
//! It brings no tool: `make test` does, and a missing one fails these stories. The promises themselves are told in
//! `helm/tests/stories.py`; what only the program can say, whether it accepts what its pods are given, is told here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_runtime::config::{Config, LogFormat, Sources};
use longshore_tests::process::run;
use longshore_tests::{house, scratch};
use serde::Deserialize;

/// Several times what it takes on two cores: 15 to 30 seconds, most of it helm's.
const PATIENCE: Duration = Duration::from_secs(240);

/// What a pod gives its program.
#[derive(Debug, Deserialize)]
struct Program {
    name: String,
    args: Vec<String>,
    /// The settings file, where one is mounted.
    file: Option<String>,
    /// Variables by value.
    variables: BTreeMap<String, String>,
    /// Variables from Secrets.
    secrets: Vec<String>,
}

/// Where `helm/tests/install` put helm and its Python: beside what cargo built.
fn tools() -> Result<PathBuf> {
    let us = std::env::current_exe()?;
    let found = us.ancestors().map(|dir| dir.join("chart-tools")).find(|dir| dir.join("bin/helm4").exists());
    found.context("no helm: run `helm/tests/install target/chart-tools`, or `make test`, which does")
}

async fn check(what: &str) -> Result<String> {
    let tools = tools()?;
    let mut command = Command::new(tools.join("venv/bin/python"));
    command.arg("-B").arg(house::root()?.join("helm/tests/check.py")).arg(tools.join("bin")).arg(what);
    run("check-chart", command, PATIENCE).await
}

#[tokio::test]
async fn the_chart_keeps_its_promises_under_helm_3_and_helm_4() -> Result<()> {
    check("stories").await.map(|_| ())
}

#[tokio::test]
async fn every_fault_planted_into_the_chart_is_noticed() -> Result<()> {
    check("faults").await.map(|_| ())
}

async fn programs() -> Result<Vec<Program>> {
    Ok(serde_json::from_str(&check("pods").await?)?)
}

impl Program {
    /// The settings as the program itself reads them, with the Secrets' variables filled in.
    fn config(&self) -> Result<Config> {
        let room = scratch::dir("chart")?;
        let file = room.path().join("config.toml");
        if let Some(text) = &self.file {
            std::fs::write(&file, text)?;
        }
        let secret = |name: &String| (name.clone(), "postgres://user:password@server/name".to_owned());
        let literal = self.variables.iter().map(|(name, value)| (name.clone(), value.clone()));
        let environment = literal.chain(self.secrets.iter().map(secret)).collect();
        let sources = Sources { file: self.file.is_some().then_some(file), environment, ..Sources::default() };
        Config::load(&sources).with_context(|| format!("{} does not accept what its pod gives it", self.name))
    }
}

#[tokio::test]
async fn the_program_accepts_what_every_pod_gives_it() -> Result<()> {
    let mut served: Vec<String> = vec![];
    for program in programs().await? {
        let config = program.config()?;
        ensure!(config.database.url.is_some(), "{}: no ledger", program.name);
        ensure!(config.log.format == LogFormat::Text, "{}: config.log is not heard", program.name);
        ensure!(config.broker.urls.is_empty() == (program.args == ["migrate"]), "{}: broker", program.name);
        let endpoint = if program.args == ["migrate"] { "" } else { "http://collector:4318/v1/traces" };
        ensure!(config.traces.endpoint == endpoint, "{}: {:?}", program.name, config.traces);
        served.extend(program.args);
    }
    served.sort();
    ensure!(served == ["api", "migrate", "worker", "worker"], "{served:?}");
    Ok(())
}

#[tokio::test]
async fn a_pools_values_are_its_workers_settings() -> Result<()> {
    let programs = programs().await?;
    let worker = |pool: &str| {
        let found = programs.iter().find(|program| program.name.ends_with(&format!("-worker-{pool}")));
        found.with_context(|| format!("no pool {pool}"))?.config()
    };
    let (on, one) = (worker("on")?, worker("1")?);
    ensure!(on.worker.kinds == ["image.resize", "csv.import"] && one.worker.kinds == ["media.transcode"]);
    ensure!((on.worker.limits.slots, on.worker.limits.prefetch_extra) == (4, 0), "{:?}", on.worker);
    ensure!((one.worker.limits.slots, one.worker.limits.prefetch_extra) == (3, 2), "{:?}", one.worker);
    ensure!(one.worker.limits.drain_grace == Duration::from_secs(7200), "{:?}", one.worker);
    ensure!(on.worker.limits.lease == Duration::from_millis(7500), "{:?}", on.worker);
    ensure!(on.worker.listen == "0.0.0.0:7071".parse().ok(), "its probes are not answered");
    ensure!(on.storage.location == "s3://jobs/prod" && on.storage.max_input_bytes == 10_737_418_240);
    ensure!(on.csv_import.schema == "im\"ports\\" && on.csv_import.database_url.is_some());
    ensure!(on.transcode.limits.max_memory_bytes.is_none(), "0 means no limit");
    Ok(())
}
