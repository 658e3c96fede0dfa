//! What a caller reads of a refusal, and what only the log does.

use super::*;

async fn body(answer: Response) -> Problem {
    let bytes = axum::body::to_bytes(answer.into_body(), 1 << 16).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn every_fault_is_an_error_with_a_published_type_of_its_own() {
    let mut words = Vec::new();
    for fault in Fault::ALL {
        let (status, word, _) = fault.table();
        assert!(status.is_client_error() || status.is_server_error(), "{fault:?}");
        assert!(problem::ALL.contains(&word), "{word}");
        words.push(word);
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Fault::ALL.len());
}

#[tokio::test]
async fn a_caller_never_reads_what_the_log_reads() {
    let answer = Refusal::from(LedgerError::Refused("SELECT secret FROM /var/lib".into())).into_response();
    assert_eq!(answer.status(), 500);
    let text = format!("{:?}", body(answer).await);
    assert!(!text.contains("SELECT") && !text.contains("/var"), "{text}");
}

#[tokio::test]
async fn a_ledger_that_does_not_answer_is_a_503_that_says_when_to_ask_again() {
    let answer = Refusal::from(LedgerError::Unavailable("connection refused".into())).into_response();
    assert_eq!((answer.status().as_u16(), answer.headers()[RETRY_AFTER].to_str().unwrap()), (503, "2"));
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/problem+json");
}

#[tokio::test]
async fn the_field_at_fault_is_named_twice_for_people_and_for_programs() {
    let problem = body(Refusal::of_field(Fault::Invalid, "/kind", "is missing").into_response()).await;
    assert_eq!(problem.detail, "/kind is missing");
    assert_eq!(problem.errors, [FieldError { pointer: "/kind".into(), message: "is missing".into() }]);
}
