//! Callers who ask again, all at once: one job, run once, and everybody is told of it.

use anyhow::Result;
use futures_util::future::try_join_all;
use longshore_tests::http::send;
use longshore_tests::stage::Stage;
use reqwest::Method;
use serde_json::json;

const CALLERS: usize = 64;

super::on_both_stages!(
    of_64_clients_with_one_key_at_once_one_makes_the_job_and_all_get_it,
    a_caller_who_prefers_to_wait_gets_the_result_in_the_answer,
);

async fn of_64_clients_with_one_key_at_once_one_makes_the_job_and_all_get_it(stage: Stage) -> Result<()> {
    let ask = async |payload: serde_json::Value| {
        let request = stage.http.request(Method::POST, "/v1/jobs").header("idempotency-key", "order-17");
        send(request.json(&json!({"kind": "trial.work", "payload": payload}))).await
    };
    let answers = try_join_all((0..CALLERS).map(|_| ask(json!({"log": stage.note_file()})))).await?;
    let mut ids = Vec::new();
    for answer in &answers {
        ids.push(answer.clone().expect(202)?.json()?["id"].as_str().unwrap_or_default().to_owned());
    }
    let first = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(first, 1, "one call made it");
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let job = stage.settled(&ids[0]).await?;
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)), "{job}");
    assert_eq!(stage.notes().iter().filter(|note| note.starts_with("start ")).count(), 1, "{:?}", stage.notes());
    assert_eq!(stage.http.get("/v1/jobs").await?.json()?["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(ask(json!({"fail_attempts": 1})).await?.status, 422, "another body");
    Ok(())
}

async fn a_caller_who_prefers_to_wait_gets_the_result_in_the_answer(stage: Stage) -> Result<()> {
    let request = stage.http.request(Method::POST, "/v1/jobs").header("prefer", "wait=30");
    let answer = send(request.json(&json!({"kind": "trial.work", "payload": {}}))).await?.expect(200)?;
    assert_eq!(answer.header("preference-applied"), Some("wait=30"));
    let job = answer.json()?;
    assert!(job["state"] == "completed" && !job["result"].is_null(), "{job}");
    Ok(())
}
