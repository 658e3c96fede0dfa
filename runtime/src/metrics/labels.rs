//! The closed sets that labels take their values from. A value that comes from outside (a path, a kind nobody registered) is
//! turned into one of them here, or into [`OTHER`]; none is ever passed through. Read [`super::table`] for who uses which.

use crate::ledger::{Ended, LedgerError};

/// A process's part, which decides what series it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It serves the HTTP API.
    Api,
    /// It runs attempts.
    Worker,
    /// It may lead the agents: every process.
    Agents,
}

impl Role {
    /// Its word in the documentation.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Worker => "worker",
            Self::Agents => "both",
        }
    }
}

/// What is outside of a set. No kind and no route is written like it.
pub const OTHER: &str = "_OTHER";

/// How attempts end in their worker's hands, and how the rescuer ends them.
pub const OUTCOMES: [&str; 10] =
    ["done", "error", "timeout", "panic", "fatal", "canceled", "yielded", "lost", "crashed", "drained"];
/// Why another attempt is made; `lost`: it went with its worker, whether somebody saw how or not.
pub const RETRY_CAUSES: [&str; 4] = ["error", "timeout", "panic", "lost"];
/// Why a job is a dead letter; `lost`: it took too many workers with it.
pub const DEATH_CAUSES: [&str; 5] = ["error", "timeout", "panic", "fatal", "lost"];
/// What became of a submit.
pub const RESULTS: [&str; 3] = ["accepted", "refused", "unavailable"];
/// What became of a try to deliver a webhook; `forbidden`: its address may not be reached.
pub const WEBHOOK_OUTCOMES: [&str; 6] = ["delivered", "refused", "gone", "late", "unreachable", "forbidden"];
/// What became of a span.
pub const SPAN_RESULTS: [&str; 2] = ["exported", "dropped"];
/// How a ledger fails.
pub const LEDGER_ERRORS: [&str; 3] = ["unavailable", "refused", "unstorable"];
/// Answers, by the hundred.
pub const STATUS_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What a call is for. Durations are told by it and not by route: a target is set for submits or for reads, never for one of many
/// routes, and each route would cost fifteen series.
pub const WORKS: [&str; 7] = ["submit", "read", "change", "follow", "transfer", "page", OTHER];

/// Every call of the API: a test compares it with the router.
pub const CALLS: [(&str, &str); 50] = [
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs"),
    ("POST", "/v1/jobs/batch"),
    ("GET", "/v1/dead-letters"),
    ("POST", "/v1/dead-letters/replay"),
    ("POST", "/v1/dead-letters/purge"),
    ("GET", "/v1/jobs/{id}"),
    ("GET", "/v1/jobs/{id}/events"),
    ("GET", "/v1/events"),
    ("POST", "/v1/jobs/{id}/cancel"),
    ("POST", "/v1/jobs/{id}/replay"),
    ("GET", "/v1/jobs/{id}/artifacts/{name}"),
    ("POST", "/v1/files"),
    ("GET", "/v1/files/{id}"),
    ("POST", "/v1/files/direct"),
    ("POST", "/v1/files/{id}/complete"),
    ("GET", "/v1/files/{id}/content"),
    ("POST", "/v1/uploads"),
    ("OPTIONS", "/v1/uploads"),
    ("GET", "/v1/uploads/{id}"),
    ("PATCH", "/v1/uploads/{id}"),
    ("POST", "/v1/uploads/{id}"),
    ("DELETE", "/v1/uploads/{id}"),
    ("GET", "/v1/jobs/{id}/deliveries"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/webhooks"),
    ("GET", "/v1/webhooks/{id}"),
    ("DELETE", "/v1/webhooks/{id}"),
    ("POST", "/v1/webhooks/{id}/rotate"),
    ("POST", "/v1/webhooks/{id}/test"),
    ("POST", "/v1/webhooks/{id}/enable"),
    ("POST", "/v1/webhooks/{id}/disable"),
    ("GET", "/v1/webhooks/{id}/deliveries"),
    ("POST", "/v1/webhooks/deliveries/{id}/replay"),
    ("GET", "/v1/kinds"),
    ("GET", "/v1/queues"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/keys"),
    ("GET", "/v1/keys"),
    ("POST", "/v1/keys/{id}/rotate"),
    ("DELETE", "/v1/keys/{id}"),
    ("GET", "/v1/audit"),
    ("GET", "/openapi.json"),
    ("GET", "/asyncapi.json"),
    ("GET", "/docs"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    // What HEAD asks of a GET route, and what no route answers.
    ("HEAD", OTHER),
    (OTHER, OTHER),
];

/// The call that a request is: its method and the router's template, of which a path that no route has has none.
pub fn call(method: &str, template: Option<&str>) -> usize {
    let is = |(m, route): &(&str, &str)| *m == method && (Some(*route) == template || *route == OTHER);
    CALLS.iter().position(is).unwrap_or(CALLS.len() - 1)
}

/// The place of what the call of this place is for.
pub fn work(call: usize) -> usize {
    let (method, route) = CALLS[call];
    let transfers = |route: &str| route.starts_with("/v1/files") || route.contains("/artifacts/");
    let word = match (method, route) {
        (OTHER, _) => OTHER,
        ("POST", "/v1/jobs" | "/v1/jobs/batch") => "submit",
        (_, route) if route.ends_with("/events") => "follow",
        (_, route) if transfers(route) => "transfer",
        (_, route) if !route.starts_with("/v1/") && route != OTHER => "page",
        ("GET" | "HEAD", _) => "read",
        _ => "change",
    };
    WORKS.iter().position(|work| *work == word).expect("the words are of the set")
}

/// The place of an answer's hundred; what is none of them is a failure of ours.
pub fn status_class(status: u16) -> usize {
    match status {
        200..=299 => 0,
        300..=399 => 1,
        400..=499 => 2,
        _ => 3,
    }
}

/// What became of a submit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Submit {
    /// It is a job now.
    Accepted,
    /// It can never be one as it is: an unknown kind, a wrong payload.
    Refused,
    /// The ledger did not take it now.
    Unavailable,
}

/// The place of an ending among the [`OUTCOMES`]; an attempt that its worker never ran is none.
pub fn outcome(ended: Ended) -> Option<usize> {
    OUTCOMES.iter().position(|word| *word == ended.word())
}

/// The place of an ending among the [`RETRY_CAUSES`]; what costs no attempt is none.
pub fn retry_cause(ended: Ended) -> Option<usize> {
    RETRY_CAUSES.iter().position(|word| *word == cause(ended))
}

/// The place of an ending among the [`DEATH_CAUSES`].
pub fn death_cause(ended: Ended) -> Option<usize> {
    DEATH_CAUSES.iter().position(|word| *word == cause(ended))
}

fn cause(ended: Ended) -> &'static str {
    let with_its_worker = ended == Ended::Crashed;
    if with_its_worker { Ended::Lost.word() } else { ended.word() }
}

/// The place of an error among the [`LEDGER_ERRORS`].
pub fn ledger_error(error: &LedgerError) -> usize {
    match error {
        LedgerError::Unavailable(_) => 0,
        LedgerError::Refused(_) => 1,
        LedgerError::Unstorable(_) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_but_one_that_never_began_is_an_outcome() {
        for ended in Ended::ALL {
            assert_eq!(outcome(ended).is_none(), ended == Ended::HandedBack, "{ended:?}");
        }
        assert_eq!(outcome(Ended::Done), Some(0));
        assert_eq!((retry_cause(Ended::Yielded), death_cause(Ended::Canceled)), (None, None));
        assert_eq!(retry_cause(Ended::Crashed), retry_cause(Ended::Lost));
        assert!(death_cause(Ended::Crashed).is_some_and(|place| DEATH_CAUSES[place] == "lost"));
    }

    #[test]
    fn a_path_or_method_of_somebodys_own_is_no_label() {
        assert_eq!(CALLS[call("GET", Some("/v1/jobs/{id}"))], ("GET", "/v1/jobs/{id}"));
        assert_eq!(CALLS[call("HEAD", Some("/v1/jobs/{id}"))], ("HEAD", OTHER));
        for (method, template) in [("BREW", Some("/v1/jobs")), ("GET", None), ("GET", Some("/v1/new"))] {
            assert_eq!(CALLS[call(method, template)], (OTHER, OTHER));
        }
    }

    #[test]
    fn what_a_call_is_for_is_told_by_its_method_and_route() {
        let words = [
            (("POST", "/v1/jobs"), "submit"),
            (("POST", "/v1/jobs/batch"), "submit"),
            (("GET", "/v1/jobs"), "read"),
            (("HEAD", OTHER), "read"),
            (("POST", "/v1/jobs/{id}/cancel"), "change"),
            (("DELETE", "/v1/keys/{id}"), "change"),
            (("GET", "/v1/jobs/{id}/events"), "follow"),
            (("GET", "/v1/jobs/{id}/artifacts/{name}"), "transfer"),
            (("POST", "/v1/files"), "transfer"),
            (("GET", "/docs"), "page"),
            ((OTHER, OTHER), OTHER),
        ];
        for (call, word) in words {
            let place = CALLS.iter().position(|one| *one == call).unwrap();
            assert_eq!(WORKS[work(place)], word, "{call:?}");
        }
        (0..CALLS.len()).for_each(|call| assert!(work(call) < WORKS.len()));
    }

    #[test]
    fn what_is_no_hundred_of_http_counts_as_a_failure_of_ours() {
        assert_eq!([200, 304, 499, 503, 101].map(status_class), [0, 1, 2, 3, 3]);
    }

    /// Each `.route("…", …)` of the router, with its methods.
    fn routed(source: &str) -> Vec<(String, String)> {
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split_once("\","));
        let mut found = vec![];
        for (path, rest) in routes {
            // Up to the next route: an argument list may hold brackets of its own.
            let handlers = rest.split(".route(").next().unwrap_or(rest).lines().take(6).collect::<String>();
            for method in ["get", "post", "put", "patch", "delete", "options"] {
                let named = [format!(" {method}("), format!(".{method}(")];
                if named.iter().any(|name| handlers.contains(name)) {
                    found.push((method.to_uppercase(), path.to_owned()));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_of_the_api_is_a_call() {
        let source = [include_str!("../api.rs"), include_str!("../api/health.rs")].concat();
        let mut routed = routed(&source);
        let mut calls: Vec<_> = CALLS.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
        calls.truncate(CALLS.len() - 2);
        routed.sort();
        calls.sort();
        assert_eq!(routed, calls, "add the route to CALLS, or take it out");
    }
}
