//! Talking to a running Longshore: its address, a client for it, and its refusals in words.
//! It tries nothing again; `watch` does, within the client's patience. Read [`super::jobs`] for the calls.

use clap::Args;
use longshore_sdk::client::{Client, ClientError};

use super::{Done, Ending};
use crate::config::{LogConfig, LogFormat};
use crate::telemetry;

/// Which server, and how to answer.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// The server's address
    #[arg(
        long,
        env = "LONGSHORE_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:7070",
        value_name = "URL"
    )]
    server: String,
    /// The API key; none is needed on the server's own machine
    #[arg(long, env = "LONGSHORE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Server {
    pub(super) fn client(&self) -> Result<Client, Ending> {
        let client = Client::new(&self.server)
            .map_err(|error| Ending::Usage(format!("--server: {error}; write e.g. http://127.0.0.1:7070")))?;
        match self.api_key.as_deref().filter(|key| !key.is_empty()) {
            Some(key) => client.with_api_key(key).map_err(|error| Ending::Usage(format!("--api-key: {error}"))),
            None => Ok(client),
        }
    }

    /// The same where a file of the caller's was named in this place.
    pub(super) fn explain_file(&self, place: &str, error: ClientError) -> Ending {
        match error {
            ClientError::File { path, error } => {
                let path = path.display();
                Ending::Failure(anyhow::anyhow!("{place}: cannot read {path} ({error}); name a file that is here"))
            }
            other => self.explain(other),
        }
    }

    /// What a caller can do about it.
    pub(super) fn explain(&self, error: ClientError) -> Ending {
        Ending::Failure(anyhow::Error::msg(words(&self.server, &error)))
    }
}

fn words(server: &str, error: &ClientError) -> String {
    match error {
        ClientError::Unreachable(why) => format!(
            "no answer from {server} ({why})\n  is `longshore dev` running there? Name another server with --server or LONGSHORE_SERVER"
        ),
        // Something else than a Longshore answers there, or a proxy in its place: its page is of no use here.
        ClientError::Problem(problem) if problem.problem_type == "about:blank" => format!(
            "{server} answers with status {}, but not as a Longshore does\n  is that its address, and is what stands before it well? Name another with --server or LONGSHORE_SERVER",
            problem.status
        ),
        ClientError::Protocol(why) => {
            format!("{server}: {why}\n  is that a Longshore's address? Name another with --server or LONGSHORE_SERVER")
        }
        ClientError::Problem(problem) => {
            let fields = problem.errors.iter().map(|field| format!("\n  {}: {}", field.pointer, field.message));
            let kinds = problem.kinds.iter().map(|kinds| format!("\n  kinds there are: {}", kinds.join(", ")));
            format!("{}{}", problem.detail, fields.chain(kinds).collect::<String>())
        }
        other => other.to_string(),
    }
}

/// Runs a caller's command: one thread is enough, and the main one, for children live as long as their thread.
pub(super) fn block_on(work: impl Future<Output = Done>) -> Done {
    telemetry::init(&LogConfig { format: LogFormat::Text, level: "error".into() })?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use longshore_sdk::api::{FieldError, Problem};

    use super::*;

    #[test]
    fn a_refusal_names_the_field_and_the_kinds_there_are() {
        let problem = Problem {
            problem_type: "urn:x".into(),
            title: "x".into(),
            status: 422,
            detail: "no such kind".into(),
            instance: None,
            errors: vec![FieldError { pointer: "/kind".into(), message: "is unknown".into() }],
            kinds: Some(vec!["a.b".into(), "c.d".into()]),
        };
        let told = words("http://here", &ClientError::Problem(Box::new(problem)));
        assert_eq!(told, "no such kind\n  /kind: is unknown\n  kinds there are: a.b, c.d");
    }

    #[test]
    fn an_address_where_something_else_answers_is_named_without_its_page() {
        let problem = Problem {
            problem_type: "about:blank".into(),
            title: "Not Found".into(),
            status: 404,
            detail: "<!DOCTYPE HTML>".into(),
            instance: None,
            errors: vec![],
            kinds: None,
        };
        let told = words("http://here", &ClientError::Problem(Box::new(problem)));
        assert!(told.contains("http://here answers with status 404") && told.contains("--server"), "{told}");
        assert!(!told.contains("DOCTYPE"), "{told}");
        let told = words("http://here", &ClientError::Protocol("no JSON".into()));
        assert!(told.starts_with("http://here: no JSON") && told.contains("--server"), "{told}");
    }

    #[test]
    fn a_server_that_is_away_is_named_with_the_way_out() {
        let told = words("http://here", &ClientError::Unreachable("refused".into()));
        assert!(told.contains("http://here (refused)") && told.contains("--server"), "{told}");
    }
}
