//! Every call of the API as a table: what it takes, what it answers, how it refuses. Words and shapes only; how they become a
//! document is [`super`]'s.

mod operation;
mod webhooks;

use longshore_sdk::api::{
    BatchAnswer, BatchRequest, DeadLetterChoice, FileView, JobList, JobView, KindList, PurgedMany, QueueList,
    ReplayedMany, SubmitRequest, WorkerList,
};

use super::{Shape, shape};

/// A call.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// Its name in generated clients.
    pub(super) id: &'static str,
    pub(super) tag: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// The media type and shape of its body.
    pub(super) body: Option<(&'static str, Shape)>,
    pub(super) answers: &'static [Told],
    /// The statuses of its problems, beside [`ALWAYS`].
    pub(super) refusals: &'static [u16],
}

/// Something a call may be told outside of path and body.
pub(super) struct Parameter {
    pub(super) place: &'static str,
    pub(super) name: &'static str,
    pub(super) says: &'static str,
    /// Its JSON type, or its schema as JSON.
    pub(super) sort: &'static str,
    pub(super) required: bool,
}

/// A good answer.
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) says: &'static str,
    pub(super) body: Option<(&'static str, Shape)>,
    pub(super) headers: &'static [(&'static str, &'static str)],
}

/// Problems that any call may answer.
pub(super) const ALWAYS: [u16; 2] = [500, 503];

pub(super) const TAGS: [(&str, &str); 7] = [
    ("jobs", "Submit a job, ask where it stands, cancel it."),
    ("files", "Inputs to upload and outputs to download."),
    ("dead letters", "Jobs that failed for good, kept with their evidence: replay or purge them."),
    ("webhooks", "Addresses that are told of jobs, signed, and what became of each telling."),
    ("fleet", "What can be asked for, what waits, and who works."),
    ("keys", "Who may call: made, rotated and revoked by administrators."),
    ("operation", "Probes, metrics and this description."),
];

pub(super) const JSON: &str = "application/json";
const BYTES: &str = "application/octet-stream";

pub(super) const fn query(name: &'static str, sort: &'static str, says: &'static str) -> Parameter {
    Parameter { place: "query", name, says, sort, required: false }
}

pub(super) const fn header(name: &'static str, says: &'static str) -> Parameter {
    Parameter { place: "header", name, says, sort: "string", required: false }
}

pub(super) const COUNT: &str = r#"{"type": "integer", "minimum": 1, "maximum": 200}"#;
const SECONDS: &str = r#"{"type": "integer", "minimum": 0, "maximum": 86400}"#;
const JOB: &str = r#"{"type": "string", "format": "uuid"}"#;
const STATE: &str = r#"{"type": "string", "enum": ["pending", "running", "completed", "failed", "canceled"]}"#;

pub(super) const fn told(status: u16, says: &'static str, shape: Shape) -> Told {
    Told { status, says, body: Some((JSON, shape)), headers: &[] }
}

pub(super) const fn bare(status: u16, says: &'static str) -> Told {
    Told { status, says, body: None, headers: &[] }
}

fn bytes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({})
}

pub(super) fn some_bytes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "minLength": 1})
}

fn text(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string"})
}

fn object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "object"})
}

const KEY: Parameter = Parameter {
    sort: r#"{"type": "string", "pattern": "^[!-~]{1,255}$"}"#,
    ..header(
        "Idempotency-Key",
        "Any text of 1 to 255 visible ASCII characters. A repeat with the same key and body finds the first one's job instead of making another.",
    )
};
const REQUEST_ID: Parameter = Parameter {
    sort: r#"{"type": "string", "pattern": "^[!-~]{1,128}$"}"#,
    ..header("X-Request-Id", "Follows the job through logs and events, unless the body has a correlation_id.")
};
const TRACE: Parameter =
    header("traceparent", "The job's place in a distributed trace, with `tracestate`: W3C Trace Context.");
const KNOWN: Parameter =
    header("If-None-Match", "An entity tag known already: the same version is answered 304, without a body.");
const LIMIT: Parameter = query("limit", COUNT, "The most of them in one answer.");
const BEFORE: Parameter = query("before", JOB, "Only those older than this job: `next` of the page before.");
const KIND: Parameter = query("kind", "string", "Only of this kind.");
const TAG: (&str, &str) = ("ETag", "The version of what is shown.");
const AGAIN: (&str, &str) = ("Retry-After", "Seconds after which asking again may show something new.");
const AT: (&str, &str) = ("Location", "Where the job is shown.");
const REPLAYED: (&str, &str) = ("Idempotent-Replayed", "`true` when an earlier request with this key made the job.");
const HELD: (&str, &str) =
    ("Unique-Key-Held", "`true` when the job is another request's, not finished yet, which holds the `unique_key`.");
const APPLIED: (&str, &str) = ("Preference-Applied", "The wait that was granted.");

pub(super) const DOWNLOAD: &[Parameter] = &[
    header("Range", "`bytes=FROM-TO`: a part of it."),
    header("If-Range", "The part only if the file still has this entity tag, else all of it."),
    query(
        "via",
        r#"{"type": "string", "enum": ["redirect", "link"]}"#,
        "Not the bytes but, where the storage is a bucket, a redirect or a link to them there.",
    ),
    KNOWN,
];
pub(super) const DOWNLOADED: &[Told] = &[
    Told {
        status: 200,
        says: "The file, in its own content type.",
        body: Some((BYTES, bytes)),
        headers: &[TAG, ("Accept-Ranges", "`bytes`.")],
    },
    Told {
        status: 206,
        says: "The part.",
        body: Some((BYTES, bytes)),
        headers: &[TAG, ("Content-Range", "Which part, of how much.")],
    },
    bare(304, "It is the one that is known."),
    bare(307, "Where it lies, for `via=redirect`."),
];

/// Every call.
pub(super) fn all() -> impl Iterator<Item = &'static Call> {
    CALLS.iter().chain(webhooks::CALLS).chain(operation::CALLS)
}

const CALLS: &[Call] = &[
    Call {
        method: "POST",
        path: "/v1/jobs",
        id: "submitJob",
        tag: "jobs",
        summary: "Submit a job. It is written down before the answer, whatever happens next.",
        parameters: &[
            KEY,
            header("Prefer", "`wait=N`: answer with the job's end if it comes within so many seconds."),
            REQUEST_ID,
            TRACE,
        ],
        body: Some((JSON, shape::<SubmitRequest>)),
        answers: &[
            Told { headers: &[AT, AGAIN, REPLAYED, HELD], ..told(202, "Accepted.", shape::<JobView>) },
            Told { headers: &[AT, APPLIED, REPLAYED, HELD], ..told(200, "Waited for, and settled.", shape::<JobView>) },
        ],
        refusals: &[400, 408, 413, 415, 422],
    },
    Call {
        method: "GET",
        path: "/v1/jobs",
        id: "listJobs",
        tag: "jobs",
        summary: "List jobs, the newest first, without their attempts.",
        parameters: &[query("state", STATE, "Only in this state."), KIND, LIMIT, BEFORE],
        body: None,
        answers: &[told(200, "One page.", shape::<JobList>)],
        refusals: &[400],
    },
    Call {
        method: "POST",
        path: "/v1/jobs/batch",
        id: "submitJobs",
        tag: "jobs",
        summary: "Submit many jobs at once; each is accepted or refused by itself.",
        parameters: &[KEY, REQUEST_ID, TRACE],
        body: Some((JSON, shape::<BatchRequest>)),
        answers: &[told(200, "One answer per job, in their order.", shape::<BatchAnswer>)],
        refusals: &[400, 408, 413, 415, 422],
    },
    Call {
        method: "GET",
        path: "/v1/jobs/{id}",
        id: "getJob",
        tag: "jobs",
        summary: "Where a job stands, with its attempts, its result or its error. Finished jobs are kept for a while (agents.keep_finished).",
        parameters: &[query("wait", SECONDS, "Answer when it is settled, or after so many seconds."), KNOWN],
        body: None,
        answers: &[
            Told { headers: &[TAG, AGAIN], ..told(200, "The job.", shape::<JobView>) },
            bare(304, "Nothing changed since the version that is known."),
        ],
        refusals: &[400, 404],
    },
    Call {
        method: "POST",
        path: "/v1/jobs/{id}/cancel",
        id: "cancelJob",
        tag: "jobs",
        summary: "Cancel a job: a pending one at once, a running one is asked to stop.",
        parameters: &[],
        body: None,
        answers: &[
            told(200, "Canceled.", shape::<JobView>),
            told(202, "It runs; its worker was asked to stop it.", shape::<JobView>),
        ],
        refusals: &[404, 409],
    },
    Call {
        method: "POST",
        path: "/v1/jobs/{id}/replay",
        id: "replayJob",
        tag: "dead letters",
        summary: "Make a dead letter ready again, with nothing charged.",
        parameters: &[],
        body: None,
        answers: &[told(202, "It is pending again.", shape::<JobView>)],
        refusals: &[404, 409],
    },
    Call {
        method: "GET",
        path: "/v1/jobs/{id}/artifacts/{name}",
        id: "downloadArtifact",
        tag: "files",
        summary: "An output file of a completed job, whole or in part.",
        parameters: DOWNLOAD,
        body: None,
        answers: DOWNLOADED,
        refusals: &[400, 404, 409, 416],
    },
    Call {
        method: "POST",
        path: "/v1/files",
        id: "uploadFile",
        tag: "files",
        summary: "Upload an input: the body is the file itself. A payload names it by the id that is answered.",
        parameters: &[query(
            "name",
            r#"{"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"}"#,
            "What it is called, at most 255 bytes; never used as a path.",
        )],
        body: Some((BYTES, some_bytes)),
        answers: &[Told {
            headers: &[("Location", "Where the file is described.")],
            ..told(201, "Kept.", shape::<FileView>)
        }],
        refusals: &[400, 408, 413, 415],
    },
    Call {
        method: "GET",
        path: "/v1/files/{id}",
        id: "getFile",
        tag: "files",
        summary: "Describe an uploaded file.",
        parameters: &[],
        body: None,
        answers: &[told(200, "The file's name, size and checksum.", shape::<FileView>)],
        refusals: &[404],
    },
    Call {
        method: "GET",
        path: "/v1/dead-letters",
        id: "listDeadLetters",
        tag: "dead letters",
        summary: "List dead letters, the newest first.",
        parameters: &[KIND, LIMIT, BEFORE],
        body: None,
        answers: &[told(200, "One page.", shape::<JobList>)],
        refusals: &[400],
    },
    Call {
        method: "POST",
        path: "/v1/dead-letters/replay",
        id: "replayDeadLetters",
        tag: "dead letters",
        summary: "Replay many: some by their ids, or those of a kind.",
        parameters: &[],
        body: Some((JSON, shape::<DeadLetterChoice>)),
        answers: &[told(200, "How many, and whether there may be more.", shape::<ReplayedMany>)],
        refusals: &[400, 408, 413, 415, 422],
    },
    Call {
        method: "POST",
        path: "/v1/dead-letters/purge",
        id: "purgeDeadLetters",
        tag: "dead letters",
        summary: "Remove many for good, with their attempts.",
        parameters: &[],
        body: Some((JSON, shape::<DeadLetterChoice>)),
        answers: &[told(200, "How many, and whether there may be more.", shape::<PurgedMany>)],
        refusals: &[400, 408, 413, 415, 422],
    },
    Call {
        method: "GET",
        path: "/v1/kinds",
        id: "listKinds",
        tag: "fleet",
        summary: "The kinds of jobs there are, with the JSON Schemas of payload and output.",
        parameters: &[],
        body: None,
        answers: &[told(200, "Every kind, by name.", shape::<KindList>)],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/v1/queues",
        id: "listQueues",
        tag: "fleet",
        summary: "What waits and runs, kind by kind.",
        parameters: &[],
        body: None,
        answers: &[told(200, "Every kind's queues.", shape::<QueueList>)],
        refusals: &[],
    },
    Call {
        method: "GET",
        path: "/v1/workers",
        id: "listWorkers",
        tag: "fleet",
        summary: "The workers whose lease lives.",
        parameters: &[],
        body: None,
        answers: &[told(200, "Every worker.", shape::<WorkerList>)],
        refusals: &[],
    },
];
