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
        "LONGSHORE_LISTEN: write an IP address and a port, e.g. 127.0.0.1:7070",
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
    for (args, told) in WRONG {
        refused(args, &[], told).await?;
    }
    Ok(())
}

/// Each names the argument and says what to write.
const WRONG: [(&[&str], &[&str]); 20] = [
    (&["submit", "a.b", "{not json"], &["PAYLOAD is no JSON", "@FILE"]),
    (&["submit", "a.b", "@/nowhere.json"], &["PAYLOAD: /nowhere.json"]),
    (&["submit", "a.b", "[1]", "--file", "source=x"], &["--file needs a payload that is a JSON object"]),
    (&["submit", "a.b", "--file", "x"], &["--file", "source=photo.jpg"]),
    (&["submit", "a.b", "--delay", "soon"], &["--delay", "10s"]),
    (&["submit", "a.b", "--timeout", "1e300d"], &["--timeout", "10s"]),
    (&["submit", "a.b", "--run-at", "tomorrow"], &["--run-at", "2030-01-31T08:00:00Z"]),
    (&["submit", "a.b", "--max-attempts", "0"], &["--max-attempts", "a whole number from 1"]),
    (&["submit", "a.b", "--priority", "urgent"], &["--priority", "high, normal or low"]),
    (&["submit", "a.b", "--metadata", "[1]"], &["--metadata", "a JSON object"]),
    (&["list", "--state", "dead"], &["--state", "failed"]),
    (&["list", "--limit", "many"], &["--limit", "a whole number from 1"]),
    (&["list", "--before", "q"], &["--before", "a job's id", "longshore list"]),
    (&["dlq", "purge"], &["<ID>"]),
    (&["dlq", "replay", "17"], &["[ID]...", "a job's id"]),
    (&["status", "17"], &["<ID>", "a job's id", "longshore list"]),
    (&["dev", "--slots", "many"], &["--slots", "a whole number"]),
    (&["dev", "--listen", "localhost"], &["--listen", "127.0.0.1:7070"]),
    (&["kinds", "--server", "ftp://host"], &["--server", "http://127.0.0.1:7070"]),
    (&["kinds", "--server", "host"], &["--server", "http://127.0.0.1:7070"]),
];

#[tokio::test]
async fn what_cannot_be_done_is_a_failure_that_names_the_setting() -> Result<()> {
    let server = "http://127.0.0.1:1";
    let database = "postgres://a@127.0.0.1:1/b";
    let failures: [(&[&str], &[&str]); 6] = [
        (&["upload", "/nowhere", "--server", server], &["PATH", "/nowhere"]),
        (&["submit", "a.b", "--file", "source=/nowhere", "--server", server], &["--file source", "/nowhere"]),
        (&["migrate", "--database-url", "nonsense"], &["database.url", "postgres://user:password@host"]),
        (&["migrate", "--database-url", database], &["does not answer", "database.url"]),
        (
            &["worker", "--database-url", database, "--amqp-url", "nonsense"],
            &["broker.urls[0]", "amqps://user:password"],
        ),
        (&["dev", "--data-dir", "/proc/nowhere"], &["/proc/nowhere", "--data-dir"]),
    ];
    for (args, told) in failures {
        let said = longshore(args, &[], "").await?;
        assert!(said.code == Some(1) && said.out.is_empty(), "{args:?} {said:?}");
        assert!(told.iter().all(|told| said.err.contains(told)), "{told:?}: {said:?}");
    }
    Ok(())
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
    assert!(help.out.contains("longshore demo") && help.out.contains("Exit codes: 0 done"), "{}", help.out);
    let version = longshore(&["--version"], &[], "").await?;
    assert!(version.code == Some(0) && version.out.starts_with("longshore "), "{version:?}");
    Ok(())
}
