//! The clients in Python and TypeScript: their shapes are what the generators make of the server's description today, and each goes
//! on a whole journey. `make clients` writes the shapes anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::longshore::Longshore;
use longshore_tests::process::run;
use longshore_tests::tools::beside;
use longshore_tests::{house, scratch};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::python;

/// Said by `make clients`: the shapes are written and not compared.
const WRITE: &str = "WRITE_CLIENTS";
/// Its first line.
const HEAD: &str = "Written by `make clients`. Longer than 400 lines because it is all that the API says of itself.";
const PATIENCE: Duration = Duration::from_secs(120);
const IMPORT: &str =
    r#"{"table": "people", "columns": [{"name": "id", "type": "integer"}, {"name": "email", "type": "text"}]}"#;

async fn dev(dir: &TempDir) -> Result<Longshore> {
    Longshore::dev(&dir.path().join("data"))?.start().await
}

/// The description, where the generators read it.
async fn described(dir: &TempDir) -> Result<PathBuf> {
    let document = dev(dir).await?.http()?.get("/openapi.json").await?.expect(200)?;
    let path = dir.path().join("openapi.json");
    // One order of the keys and one line for each: what is generated differs only where the description does.
    std::fs::write(&path, serde_json::to_string_pretty(&document.json()?)?)?;
    Ok(path)
}

/// Holds what was generated against what lies in the repository.
fn same_or_written(generated: &Path, kept: &str, comment: &str) -> Result<()> {
    let kept = house::root()?.join(kept);
    let generated = format!("{comment} {HEAD}\n{}", std::fs::read_to_string(generated)?);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&kept, &generated)?;
    }
    ensure!(
        std::fs::read_to_string(&kept)? == generated,
        "{} is not what the API says of itself today; run `make clients`",
        kept.display()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_clients_shapes_are_those_of_the_description() -> Result<()> {
    let dir = scratch::dir("python-shapes")?;
    let (document, out) = (described(&dir).await?, dir.path().join("api.py"));
    let mut command = Command::new(beside("python-tools/bin/datamodel-codegen")?);
    command.current_dir(dir.path()).arg("--input").arg(document).arg("--output").arg(&out);
    command.args(["--input-file-type", "openapi", "--output-model-type", "typing.TypedDict"]);
    command.args(["--target-python-version", "3.11", "--disable-timestamp", "--use-schema-description"]);
    command.args(["--formatters", "builtin"]);
    run("datamodel-codegen", command, PATIENCE).await?;
    same_or_written(&out, "sdk/python/longshore/api.py", "#")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_typescript_clients_shapes_are_those_of_the_description() -> Result<()> {
    let dir = scratch::dir("typescript-shapes")?;
    let (document, out) = (described(&dir).await?, dir.path().join("api.ts"));
    let mut command = Command::new("node");
    command.arg(beside("node-tools/node_modules/openapi-typescript/bin/cli.js")?);
    command.current_dir(dir.path()).arg(document).arg("-o").arg(&out);
    run("openapi-typescript", command, PATIENCE).await?;
    same_or_written(&out, "sdk/typescript/src/api.ts", "//")
}

/// What both callers are to be told.
fn right(told: &str) -> Result<()> {
    let told: Value = serde_json::from_str(told.lines().last().context("it says nothing")?)?;
    ensure!(told["same"] == true, "{told}");
    ensure!(told["told"] == json!(["accepted", "started", "completed"]), "{told}");
    ensure!(told["refused"] == json!({"status": 422, "pointer": "/kind"}), "{told}");
    ensure!(told["result"]["rows_imported"] == 2, "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_python_goes_the_whole_way() -> Result<()> {
    let dir = scratch::dir("python-client")?;
    let server = dev(&dir).await?;
    let mut command = Command::new(python()?);
    command.arg("-B").arg(house::root()?.join("tests/it/peers/client.py"));
    command.env("PYTHONPATH", house::root()?.join("sdk/python")).args([&server.url(), "csv.import", IMPORT]);
    right(&run("client.py", command, PATIENCE).await?)?;
    // Its shapes can be read by the interpreter as well.
    let mut command = Command::new(python()?);
    command.env("PYTHONPATH", house::root()?.join("sdk/python")).args(["-B", "-c", "import longshore.api"]);
    run("api.py", command, PATIENCE).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_typescript_goes_the_whole_way() -> Result<()> {
    let dir = scratch::dir("typescript-client")?;
    let server = dev(&dir).await?;
    let root = house::root()?;
    let mut command = Command::new("node");
    command.arg(beside("node-tools/node_modules/typescript/bin/tsc")?).arg("--outDir").arg(dir.path().join("js"));
    command.args(["--rootDir"]).arg(&root).args(["--strict", "--target", "ES2022", "--module", "CommonJS"]);
    command.args(["--lib", "ES2022,DOM,DOM.Iterable"]).arg(root.join("tests/it/peers/client.ts"));
    run("tsc", command, PATIENCE).await?;
    let mut command = Command::new("node");
    command.arg(dir.path().join("js/tests/it/peers/client.js")).args([&server.url(), "csv.import", IMPORT]);
    right(&run("client.js", command, PATIENCE).await?)
}
