//! What the API says of itself, before public judges: a linter of both documents, a validator of OpenAPI, AsyncAPI's own schema, and a
//! tester that makes requests out of the description and holds every answer against it. What is announced is held against it in
//! [`super::events`].

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

/// Each with a fault that a rule of its own is to find: the one is still valid, and nobody could call it.
const PLANTED: [(&str, &str, &str, &str); 4] = [
    ("openapi.json", "\"operationId\":\"listJobs\"", "\"operationId\":\"submitJob\"", "operation-operationId-unique"),
    ("openapi.json", "{\"key\":[", "{\"kee\":[", "security-is-a-scheme-of-ours"),
    ("asyncapi.json", "\"parameters\":{\"event\"", "\"parameters\":{\"evnt\"", "asyncapi-channel-parameters"),
    ("asyncapi.json", "\"action\":\"send\"", "\"action\":\"shout\"", "asyncapi-3-document-resolved"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_public_linter_finds_nothing_in_either_document() -> Result<()> {
    let dir = scratch::dir("lint")?;
    let server = Longshore::dev(&dir.path().join("data"))?.start().await?;
    for name in ["openapi.json", "asyncapi.json"] {
        let document = server.http()?.get(&format!("/{name}")).await?.expect(200)?;
        let found = lint(name, &document.text, &dir).await?;
        ensure!(found.is_empty(), "{found}");
        for (_, right, wrong, rule) in PLANTED.iter().filter(|(of, ..)| *of == name) {
            let broken = document.text.replace(right, wrong);
            ensure!(broken != document.text, "{name} has no {right}");
            let found = lint(name, &broken, &dir).await?;
            ensure!(found.contains(rule), "{wrong} is to break {rule}: {found}");
        }
    }
    Ok(())
}

/// What it finds, a line each. That it read the document at all is for the planted faults to show.
async fn lint(name: &str, document: &str, dir: &tempfile::TempDir) -> Result<String> {
    let (path, found) = (dir.path().join(name), dir.path().join("found"));
    std::fs::write(&path, document)?;
    std::fs::write(&found, "")?;
    let mut command = Command::new("node");
    command.arg(beside("node-tools/node_modules/@stoplight/spectral-cli/dist/index.js")?);
    command.arg("lint").arg("--ruleset").arg(house::root()?.join("tests/it/peers/spectral.yaml"));
    command.args(["--fail-severity", "warn", "--display-only-failures", "--format", "text", "--output"]);
    command.arg(&found).arg(path);
    let ended = run("spectral", command, Duration::from_secs(120)).await;
    let found = std::fs::read_to_string(found)?;
    ensure!(ended.is_ok() == found.is_empty(), "{ended:?}, and yet it found {found:?}");
    Ok(found)
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
