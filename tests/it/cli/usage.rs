//! What is refused before any server is asked: exit code 2, nothing on stdout, and the way out on stderr.

use anyhow::Result;

use super::longshore;

async fn refused(args: &[&str], variables: &[(&str, &str)], told: &[&str]) -> Result<()> {
    let said = longshore(args, variables, "").await?;
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?} {said:?}");
    for told in told {
        assert!(said.err.contains(told), "{told:?} is missing: {said:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_command_that_is_none_is_refused_with_a_guess() -> Result<()> {
    refused(&["sbumit"], &[], &["sbumit", "submit"]).await?;
    refused(&["dev", "--lisen", "127.0.0.1:1"], &[], &["--lisen", "--listen"]).await?;
    refused(&[], &[], &["Usage"]).await
}

#[tokio::test]
async fn api_worker_and_migrate_say_which_server_they_miss() -> Result<()> {
    let both = ["--database-url", "LONGSHORE_DATABASE_URL", "--amqp-url", "LONGSHORE_AMQP_URL", "longshore dev"];
    refused(&["worker", "--kinds", "image.resize"], &[], &both).await?;
    refused(&["api", "--listen", "127.0.0.1:0"], &[], &both).await?;
    refused(&["migrate"], &[], &["--database-url", "LONGSHORE_DATABASE_URL"]).await?;
    let said = longshore(&["worker", "--database-url", "postgres://db"], &[], "").await?;
    assert!(
        said.code == Some(2) && said.err.contains("--amqp-url") && !said.err.contains("--database-url"),
        "{said:?}"
    );
    Ok(())
}

#[tokio::test]
async fn mistakes_in_the_settings_are_all_told_at_once_with_a_guess() -> Result<()> {
    let dir = longshore_tests::scratch::dir("cli")?;
    let file = dir.path().join("longshore.toml");
    std::fs::write(&file, "[worker]\nslot = 4\nlease = 0\n")?;
    let config = file.to_string_lossy().into_owned();
    let told = [
        "no such setting worker.slot; did you mean worker.slots?",
        "worker.lease: must be at least 1 second",
        "LONGSHORE_STORAGE_ALLOW_HTPP: no such setting; did you mean LONGSHORE_STORAGE_ALLOW_HTTP?",
        "LONGSHORE_LISTEN: invalid",
        "--set log.level: ",
    ];
    let variables = [("LONGSHORE_STORAGE_ALLOW_HTPP", "true"), ("LONGSHORE_LISTEN", "7070")];
    refused(&["dev", "--config", &config, "--set", "log.level=loud=very"], &variables, &told).await
}

#[tokio::test]
async fn a_kind_that_nothing_runs_is_refused_with_a_guess() -> Result<()> {
    let told = ["--kinds: nothing here runs image.resise", "did you mean image.resize?"];
    let dir = longshore_tests::scratch::dir("cli")?;
    let data = dir.path().to_string_lossy().into_owned();
    refused(&["dev", "--kinds", "image.resise", "--data-dir", &data], &[], &told).await
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_refused_by_name() -> Result<()> {
    refused(&["submit", "a.b", "{not json"], &[], &["PAYLOAD is no JSON", "@FILE"]).await?;
    refused(&["submit", "a.b", "@/nowhere.json"], &[], &["PAYLOAD: /nowhere.json"]).await?;
    refused(&["submit", "a.b", "[1]", "--file", "source=x"], &[], &["--file needs a payload that is a JSON object"])
        .await?;
    refused(&["submit", "a.b", "--delay", "soon"], &[], &["--delay", "10s"]).await?;
    refused(&["list", "--state", "dead"], &[], &["--state", "failed"]).await?;
    refused(&["dlq", "purge"], &[], &["<ID>"]).await?;
    refused(&["status", "17"], &[], &["<ID>"]).await?;
    refused(&["kinds", "--server", "ftp://host"], &[], &["--server", "http://"]).await
}

#[tokio::test]
async fn a_server_that_is_away_is_a_failure_that_says_what_to_do() -> Result<()> {
    // Nothing listens on port 1.
    let said = longshore(&["kinds"], &[("LONGSHORE_SERVER", "http://127.0.0.1:1")], "").await?;
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.err.contains("http://127.0.0.1:1") && said.err.contains("--server"), "{said:?}");
    Ok(())
}

#[tokio::test]
async fn help_and_version_are_answers() -> Result<()> {
    let help = longshore(&["--help"], &[], "").await?;
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for command in [
        "dev",
        "api",
        "worker",
        "migrate",
        "submit",
        "upload",
        "status",
        "watch",
        "cancel",
        "list",
        "dlq",
        "kinds",
        "queues",
        "workers",
        "config",
        "completions",
        "doctor",
        "all",
        "demo",
        "verify",
    ] {
        assert!(help.out.lines().any(|line| line.trim_start().starts_with(command)), "{command}: {}", help.out);
    }
    let version = longshore(&["--version"], &[], "").await?;
    assert!(version.code == Some(0) && version.out.starts_with("longshore "), "{version:?}");
    Ok(())
}
