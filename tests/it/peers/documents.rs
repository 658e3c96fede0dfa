//! What the API says of itself, before public judges: a validator of OpenAPI, AsyncAPI's own schema, and a tester that makes
//! requests out of the description and holds every answer against it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use longshore_tests::issuer::{Issuer, Signer};
use longshore_tests::longshore::Longshore;
use longshore_tests::process::run;
use longshore_tests::tools::beside;
use longshore_tests::{house, scratch};

use super::python;

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_of_a_running_server_is_valid() -> Result<()> {
    let dir = scratch::dir("openapi")?;
    let server = Longshore::dev(&dir.path().join("data"))?.start().await?;
    let document = server.http()?.get("/openapi.json").await?.expect(200)?;
    let valid = validate(&document.text, &dir).await?;
    ensure!(valid.contains("OK"), "{valid}");
    // And the validator is no rubber stamp.
    let broken = document.text.replace("\"in\":\"path\"", "\"in\":\"road\"");
    ensure!(broken != document.text && validate(&broken, &dir).await.is_err());
    Ok(())
}

async fn validate(document: &str, dir: &tempfile::TempDir) -> Result<String> {
    let path = dir.path().join("openapi.json");
    std::fs::write(&path, document)?;
    let mut command = Command::new(python()?);
    command.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(path);
    run("validator", command, Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_asyncapi_document_of_a_running_server_is_as_its_schema_wants() -> Result<()> {
    let dir = scratch::dir("asyncapi")?;
    let server = Longshore::dev(&dir.path().join("data"))?.start().await?;
    let document = server.http()?.get("/asyncapi.json").await?.expect(200)?;
    let valid = fits(&document.text, &dir).await?;
    ensure!(valid.contains("OK"), "{valid}");
    let broken = document.text.replace("\"address\":", "\"adress\":");
    ensure!(broken != document.text && fits(&broken, &dir).await.is_err(), "the schema is no rubber stamp");
    Ok(())
}

async fn fits(document: &str, dir: &tempfile::TempDir) -> Result<String> {
    let path = dir.path().join("asyncapi.json");
    std::fs::write(&path, document)?;
    let mut command = Command::new(python()?);
    command.arg("-B").arg(house::root()?.join("tests/it/peers/asyncapi.py"));
    command.arg(beside("node-tools/node_modules/@asyncapi/specs/schemas/3.0.0.json")?).arg(path);
    run("asyncapi", command, Duration::from_secs(60)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_by_the_description_is_answered_by_it() -> Result<()> {
    let dir = scratch::dir("schemathesis")?;
    // It calls with a token, which no call can revoke: a key it would find among the keys, and end.
    let signer = Signer::ec("one")?;
    let issuer = Issuer::start(&[&signer]).await?;
    let token = signer.token(&issuer.claims("longshore", "default", "admin"))?;
    // With nobody let in, so that a call that forgets to ask for a key is found, too.
    let server = Longshore::dev(&dir.path().join("data"))?.env("LONGSHORE_AUTH_ANONYMOUS", "never");
    let server =
        server.env("LONGSHORE_AUTH_OIDC_ISSUER", issuer.url()).env("LONGSHORE_AUTH_OIDC_AUDIENCE", "longshore");
    let server = server.start().await?;
    let mut command = Command::new(beside("python-tools/bin/schemathesis")?);
    let peers = house::root()?.join("tests/it/peers");
    command.env("PYTHONPATH", &peers).env("PYTHONDONTWRITEBYTECODE", "1");
    command.current_dir(dir.path()).arg("--config-file").arg(peers.join("schemathesis.toml"));
    command.args(["run", &format!("{}/openapi.json", server.url()), "--checks", "all", "--seed", "1"]);
    command.args(["--header", &format!("Authorization: Bearer {token}")]);
    // Streams have no end to wait for, and stories elsewhere.
    command.args(["--exclude-path-regex", "/events$"]);
    command.args(["--max-examples", "20", "--request-timeout", "10", "--no-color"]);
    let told = run("schemathesis", command, Duration::from_secs(180)).await?;
    ensure!(told.contains("Test cases") && !told.contains("Failures"), "{told}");
    Ok(())
}
