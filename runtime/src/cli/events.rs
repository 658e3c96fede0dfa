//! `longshore events`: what happens to all jobs, line by line, until it is stopped. A broken line is taken up again by the client;
//! what cannot be told is said. It keeps nothing. Read [`super::jobs`] to follow a single job.

use clap::Args;
use longshore_sdk::api::{Event, JobState};
use longshore_sdk::client::{EventFilter, Told};
use serde_json::json;

use super::server::Server;
use super::{Done, given, jobs, tell};

/// `longshore events`
#[derive(Debug, Args)]
pub(super) struct Events {
    #[command(flatten)]
    server: Server,
    /// Only of these kinds, with commas between them
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    kind: Vec<String>,
    /// Only those after which the job is in one of these states, with commas between them
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = given::state)]
    state: Vec<JobState>,
    /// Stop after so many
    #[arg(long, value_name = "N", value_parser = given::count::<usize>)]
    limit: Option<usize>,
}

impl Events {
    pub(super) async fn run(self) -> Done {
        let filter = EventFilter { kinds: self.kind, states: self.state, after: None };
        let mut events = self.server.client()?.events(filter);
        events.open().await.map_err(|error| self.server.explain(error))?;
        eprintln!("following; what happens from now on is told");
        let mut left = self.limit.unwrap_or(usize::MAX);
        while left > 0 {
            match events.next().await.map_err(|error| self.server.explain(error))? {
                Told::Event(event) => {
                    tell(&if self.server.json { jobs::json(&event)? } else { line(&event) })?;
                    left -= 1;
                }
                Told::Gap(gap) if self.server.json => tell(&jobs::json(&json!({"gap": gap}))?)?,
                Told::Gap(gap) => eprintln!("gap: {}", gap.detail),
            }
        }
        Ok(())
    }
}

/// An event for people.
fn line(event: &Event) -> String {
    let data = &event.data;
    let attempt = (data.attempt > 0).then(|| format!("attempt {}", data.attempt));
    let error = data.error.as_ref().map(|error| format!("{}: {}", error.code, error.message));
    let progress = data.progress.as_ref().map(|progress| {
        let percent = progress.fraction.map(|fraction| format!("{:.0}%", fraction * 100.0));
        percent.into_iter().chain(progress.message.clone()).collect::<Vec<_>>().join(" ")
    });
    let head = [event.time.to_string(), data.job.to_string(), data.kind.clone(), data.event.word().to_owned()];
    head.into_iter().chain(attempt).chain(error).chain(progress).collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_line_with_what_people_ask_for_first() {
        let event: Event = serde_json::from_value(json!({
            "specversion": "1.0", "id": "01890a5d-ac96-774b-bcce-b302099a8057.2.1", "source": "/longshore",
            "type": "longshore.job.progressed", "subject": "01890a5d-ac96-774b-bcce-b302099a8057",
            "time": "2026-01-02T03:04:05Z", "datacontenttype": "application/json",
            "data": {"job": "01890a5d-ac96-774b-bcce-b302099a8057", "kind": "a.b", "event": "progressed", "state": "running",
                "sequence": 2, "attempt": 1, "progress": {"fraction": 0.5, "message": "half"}}
        }))
        .unwrap();
        let told = "2026-01-02T03:04:05Z  01890a5d-ac96-774b-bcce-b302099a8057  a.b  progressed  attempt 1  50% half";
        assert_eq!(line(&event), told);
    }
}
