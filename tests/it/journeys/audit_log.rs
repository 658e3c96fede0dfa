//! What administrators read afterwards: who did what to their tenant's keys, webhooks and jobs, by which request and from where; and who
//! was not let in, up to a number.

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::{Http, send};
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::until::poll;
use reqwest::Method;
use serde_json::{Value, json};

async fn lines(by: &Http, query: &str) -> Result<Vec<Value>> {
    let page = by.get(&format!("/v1/audit{query}")).await?.expect(200)?.json()?;
    Ok(page["lines"].as_array().context("no lines")?.clone())
}

async fn done(by: &Http, method: Method, path: &str, request: &str, body: Value, status: u16) -> Result<Value> {
    let asked = by.request(method, path).header("x-request-id", request).json(&body);
    let answer = send(asked).await?.expect(status)?;
    Ok(answer.json().unwrap_or_default())
}

fn text(value: &Value, field: &str) -> Result<String> {
    value[field].as_str().map(str::to_owned).with_context(|| format!("no {field}: {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_says_who_did_what_by_which_request_to_its_own_tenant_alone() -> Result<()> {
    let never = [("LONGSHORE_AUTH_ANONYMOUS", "never"), ("LONGSHORE_AUTH_NOTED_REFUSALS", "3")];
    let stage = Stage::embedded_with(&never).await?;
    let key = std::fs::read_to_string(stage.dir.path().join("data/api-key"))?;
    let house = stage.http.clone().with_key(key.trim());
    let admin = json!({"name": "n", "tenant": "north", "scopes": ["admin"]});
    let made = done(&house, Method::POST, "/v1/keys", "r-key", admin, 201).await?;
    let (key, id) = (text(&made, "key")?, text(&made, "id")?);
    let north = stage.http.clone().with_key(&key);
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let hook = json!({"url": receiver.url()});
    let hook = text(&done(&north, Method::POST, "/v1/webhooks", "r-hook", hook, 201).await?, "id")?;
    done(&north, Method::POST, &format!("/v1/webhooks/{hook}/rotate"), "r-turn", json!({}), 200).await?;
    let sent = done(&north, Method::POST, &format!("/v1/webhooks/{hook}/test"), "r-test", json!({}), 202).await?;
    let sent = text(&sent, "id")?;
    let told = || async {
        let page = north.get(&format!("/v1/webhooks/{hook}/deliveries")).await.ok()?.json().ok()?;
        (page["deliveries"][0]["state"] == "completed").then_some(())
    };
    poll("the test to be told", PATIENCE, told).await?;
    done(&north, Method::POST, &format!("/v1/webhooks/deliveries/{sent}/replay"), "r-again", json!({}), 202).await?;
    done(&north, Method::DELETE, &format!("/v1/webhooks/{hook}"), "r-gone", json!({}), 204).await?;
    let later = json!({"kind": "trial.work", "payload": {}, "delay_seconds": 3600});
    let job = text(&done(&north, Method::POST, "/v1/jobs", "r-job", later, 202).await?, "id")?;
    done(&north, Method::POST, &format!("/v1/jobs/{job}/cancel"), "r-stop", json!({}), 200).await?;
    let (norths, found) = (format!("key:{id}"), lines(&north, "").await?);
    let told: Vec<_> = found.iter().rev().map(|line| [&line["deed"], &line["object"], &line["request_id"]]).collect();
    let expected = json!([
        ["key.created", id, "r-key"],
        ["webhook.created", hook, "r-hook"],
        ["webhook.rotated", hook, "r-turn"],
        ["webhook.tested", hook, "r-test"],
        ["delivery.replayed", sent, "r-again"],
        ["webhook.removed", hook, "r-gone"],
        ["job.canceled", job, "r-stop"],
    ]);
    ensure!(json!(told) == expected, "{found:#?}");
    ensure!(found.iter().all(|line| line["tenant"] == "north" && line["address"] == "127.0.0.1"), "{found:#?}");
    ensure!(found[0]["actor"] == norths.as_str() && found[6]["actor"] != norths.as_str(), "{found:#?}");
    let page = lines(&north, &format!("?limit=2&before={}", found[1]["id"])).await?;
    ensure!(page == found[2..4], "{page:#?}");
    let houses = lines(&house, "").await?;
    ensure!(houses.iter().all(|line| line["tenant"] == "default"), "{houses:#?}");

    for _ in 0..10 {
        stage.http.clone().with_key("lsk_none").get("/v1/jobs").await?.expect(401)?;
    }
    let refused = || async {
        let all = lines(&house, "?limit=200").await.ok()?;
        let refused: Vec<_> = all.into_iter().filter(|line| line["deed"] == "access.refused").collect();
        (refused.len() >= 3).then_some(refused)
    };
    let refused = poll("three refusals in the log", PATIENCE, refused).await?;
    ensure!(refused.len() == 3 && refused[0]["object"] == "GET /v1/jobs" && refused[0]["outcome"] == "refused");
    Ok(())
}
