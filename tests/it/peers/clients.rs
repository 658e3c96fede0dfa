//! The clients in Python and TypeScript: their shapes are what the generators make of the server's description today, and each goes
//! on a whole journey. `make clients` writes the shapes anew.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use longshore_tests::longshore::Longshore;
use longshore_tests::process::run;
use longshore_tests::receiver::{Receiver, Reply};
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

/// Somebody who sends every caller on, and whom he sends them to.
async fn mover() -> Result<(Receiver, Receiver)> {
    let there = Receiver::start(|_, _| Reply::of(204)).await?;
    let location: &str = format!("location: {}", there.url()).leak();
    let here = Receiver::start(move |_, _| Reply { header: Some(location), ..Reply::of(302) }).await?;
    Ok((here, there))
}

/// The key was for the one and is never shown to the other.
fn stayed(told: &str, here: &Receiver, there: &Receiver) -> Result<()> {
    let told: Value = serde_json::from_str(told.lines().last().context("it says nothing")?)?;
    ensure!(told["moved"] == json!([302, 302, 302]), "{told}");
    let asked = here.received();
    let keyed = asked.iter().filter(|request| request.header("authorization") == Some("Bearer a-secret")).count();
    ensure!(asked.len() == 3 && keyed == 3 && there.count() == 0, "{asked:?}, {:?}", there.received());
    Ok(())
}

/// The package's files where a build may leave its traces.
fn sources(package: &str, dir: &TempDir) -> Result<PathBuf> {
    let (from, to) = (house::root()?.join("sdk").join(package), dir.path().join("source"));
    let named = from.file_name().context("a package has a name")?.to_owned();
    for source in house::files(&from)? {
        let path = to.join(&named).join(&source.path);
        std::fs::create_dir_all(path.parent().context("a file lies in a directory")?)?;
        std::fs::write(path, source.text)?;
    }
    Ok(to.join(named))
}

/// The one file that a build made.
fn only_file(dir: &Path, ending: &str) -> Result<PathBuf> {
    let files = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    let mut files = files.into_iter().filter(|path| path.to_string_lossy().ends_with(ending));
    let (only, more) = (files.next(), files.next());
    ensure!(more.is_none(), "{more:?}");
    only.with_context(|| format!("no {ending} in {}", dir.display()))
}

/// Built as a wheel and installed, as whoever uses it has it; where it is.
async fn installed_python(dir: &TempDir) -> Result<PathBuf> {
    let (wheels, site) = (dir.path().join("wheels"), dir.path().join("site"));
    let mut command = Command::new(python()?);
    command.args(["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]);
    command.arg("--wheel-dir").arg(&wheels).arg(sources("python", dir)?);
    run("pip wheel", command, PATIENCE).await?;
    let mut command = Command::new(python()?);
    command.args(["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check"]);
    command.arg("--target").arg(&site).arg(only_file(&wheels, ".whl")?);
    run("pip install", command, PATIENCE).await?;
    Ok(site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_python_goes_the_whole_way() -> Result<()> {
    let dir = scratch::dir("python-client")?;
    let (server, site, (here, there)) = (dev(&dir).await?, installed_python(&dir).await?, mover().await?);
    let mut command = Command::new(python()?);
    command.arg("-B").arg(house::root()?.join("tests/it/peers/client.py")).env("PYTHONPATH", &site);
    command.args([&server.url(), "csv.import", IMPORT, &here.url()]);
    let told = run("client.py", command, PATIENCE).await?;
    right(&told)?;
    stayed(&told, &here, &there)?;
    // Its shapes can be read by the interpreter as well.
    let mut command = Command::new(python()?);
    command.env("PYTHONPATH", &site).args(["-B", "-c", "import longshore.api"]);
    run("api.py", command, PATIENCE).await.map(drop)
}

/// Compiles what this directory's `tsconfig.json`, or these arguments, name.
async fn tsc(dir: &Path, args: &[&str]) -> Result<()> {
    let mut command = Command::new("node");
    command.arg(beside("node-tools/node_modules/typescript/bin/tsc")?).args(args).current_dir(dir);
    run("tsc", command, PATIENCE).await.map(drop)
}

async fn npm(dir: &Path, args: &[&str]) -> Result<()> {
    let mut command = Command::new("npm");
    command.args(args).args(["--offline", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"]);
    command.current_dir(dir).env("npm_config_cache", dir.join(".npm"));
    run("npm", command, PATIENCE).await.map(drop)
}

/// Built, packed and installed, as whoever uses it has it; the directory of a program beside it.
async fn installed_typescript(dir: &TempDir) -> Result<PathBuf> {
    let (package, app) = (sources("typescript", dir)?, dir.path().join("app"));
    tsc(&package, &[]).await?;
    npm(&package, &["pack"]).await?;
    std::fs::create_dir_all(&app)?;
    std::fs::write(app.join("package.json"), r#"{"private": true}"#)?;
    npm(&app, &["install", &only_file(&package, ".tgz")?.to_string_lossy()]).await?;
    Ok(app)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_in_typescript_goes_the_whole_way() -> Result<()> {
    let dir = scratch::dir("typescript-client")?;
    let (server, app, (here, there)) = (dev(&dir).await?, installed_typescript(&dir).await?, mover().await?);
    std::fs::copy(house::root()?.join("tests/it/peers/client.ts"), app.join("client.ts"))?;
    let target = ["--strict", "--target", "ES2022", "--module", "CommonJS", "--lib", "ES2022,DOM,DOM.Iterable"];
    tsc(&app, &[&target[..], &["client.ts"]].concat()).await?;
    let mut command = Command::new("node");
    command.current_dir(&app).arg("client.js").args([&server.url(), "csv.import", IMPORT, &here.url()]);
    let told = run("client.js", command, PATIENCE).await?;
    right(&told)?;
    stayed(&told, &here, &there)
}
