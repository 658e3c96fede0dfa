//! The calls that stream events, for [`super::calls`].

use longshore_sdk::api::Event;

use super::calls::{Call, Told, bare, header, query};
use super::shape;

const STREAM: Told = Told {
    status: 200,
    says: "A stream of Server-Sent Events; `data` is an event as described here, `event` its word, `id` its id.",
    body: Some(("text/event-stream", shape::<Event>)),
    headers: &[],
};

const LIST: &str = r#"{"type": "string", "pattern": "^[^,]+(,[^,]+)*$"}"#;
const STATES: &str = r#"{"type": "string", "pattern": "^(pending|running|completed|failed|canceled)(,(pending|running|completed|failed|canceled)){0,4}$"}"#;

pub(super) const CALLS: &[Call] = &[
    Call {
        method: "GET",
        path: "/v1/jobs/{id}/events",
        id: "followJob",
        tag: "jobs",
        summary: "Everything that happens to a job, as Server-Sent Events: what was, what comes, and an end after the last.",
        parameters: &[header("Last-Event-ID", "The last event that is known: the stream goes on after it.")],
        body: None,
        answers: &[STREAM, bare(204, "The job has ended and nothing came after the event that is known.")],
        refusals: &[400, 404],
    },
    Call {
        method: "GET",
        path: "/v1/events",
        id: "followAll",
        tag: "jobs",
        summary: "Everything that happens to all jobs from now on, as Server-Sent Events: at least once, without a hole that is not told.",
        parameters: &[
            query("kind", LIST, "Only of these kinds, with commas between them."),
            query("state", STATES, "Only where the job is in one of these states after it, with commas between them."),
            header(
                "Last-Event-ID",
                "The id of the last frame: the stream goes on after it, at any API process. Begins now without.",
            ),
        ],
        body: None,
        answers: &[Told {
            says: "As a job's stream, but a frame's `id` is a place in this stream; the event's own is in `data`. A frame of the word \
                `gap` (its `data`: `reason`, `since`, `detail`) says that not everything from `since` on was told.",
            ..STREAM
        }],
        refusals: &[400],
    },
];
