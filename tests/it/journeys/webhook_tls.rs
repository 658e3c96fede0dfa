//! Webhooks as production sends them: over https alone, to whoever shows a certificate of an authority that this machine trusts, and
//! straight there, whatever proxy the environment names.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::certificates::Authority;
use longshore_tests::receiver::{Receiver, Reply};
use longshore_tests::scratch;
use longshore_tests::stage::Stage;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::webhooks::{delivery, subscribe, verified};

/// Where a proxy would be; it counts who comes.
async fn trap() -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let (url, came): (_, Arc<AtomicUsize>) = (format!("http://{}", listener.local_addr()?), Arc::default());
    let counted = Arc::clone(&came);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok((url, came))
}

/// The first try of a test event.
async fn first_try(stage: &Stage, id: &str) -> Result<Value> {
    stage.http.post(&format!("/v1/webhooks/{id}/test"), &json!({})).await?.expect(202)?;
    let tried = |newest: &Value| newest["tries"].as_array().is_some_and(|tries| !tries.is_empty());
    Ok(delivery(stage, id, "to be tried", tried).await?["tries"][0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn over_https_who_is_trusted_is_told_and_who_is_not_is_not_and_no_proxy_is_asked() -> Result<()> {
    let dir = scratch::dir("webhook-tls")?;
    let (ours, theirs) = (Authority::new("ours")?, Authority::new("theirs")?);
    let ca = ours.write(dir.path())?.to_string_lossy().into_owned();
    let issued = |authority: &Authority, name: &str, to: &str| {
        let place = dir.path().join(name);
        std::fs::create_dir_all(&place)?;
        authority.issue(&[to], &place)
    };
    let good = Receiver::start_tls(&issued(&ours, "good", "127.0.0.1")?, |_, _| Reply::of(204)).await?;
    let stranger = Receiver::start_tls(&issued(&theirs, "stranger", "127.0.0.1")?, |_, _| Reply::of(204)).await?;
    let misnamed = Receiver::start_tls(&issued(&ours, "misnamed", "example.com")?, |_, _| Reply::of(204)).await?;
    let (proxy, came) = trap().await?;
    let proxies = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"];
    let mut all: Vec<(&str, &str)> = proxies.iter().map(|name| (*name, proxy.as_str())).collect();
    all.extend([("LONGSHORE_WEBHOOKS_ALLOW_HTTP", "false"), ("SSL_CERT_FILE", &ca)]);
    let stage = Stage::servers_with(&all).await?;

    let (id, secret) = subscribe(&stage, json!({"url": good.url()})).await?;
    let told = first_try(&stage, &id).await?;
    assert_eq!((&told["status"], told.get("error")), (&json!(204), None), "{told}");
    verified(&secret, &good.received()[0])?;
    for (receiver, why) in [(&stranger, "UnknownIssuer"), (&misnamed, "certificate not valid for name")] {
        let (id, _) = subscribe(&stage, json!({"url": receiver.url()})).await?;
        let told = first_try(&stage, &id).await?;
        let error = told["error"].as_str().context("it says why")?;
        ensure!(error.starts_with("the receiver cannot be reached: ") && error.contains("certificate"), "{error}");
        ensure!(error.contains(why) && told.get("status").is_none() && receiver.count() == 0, "{error}");
    }
    let plain = json!({"url": good.url().replace("https://", "http://")});
    let problem = stage.http.post("/v1/webhooks", &plain).await?.expect(422)?;
    ensure!(problem.text.contains("must begin with https://"), "{problem:?}");
    assert_eq!(came.load(Ordering::SeqCst), 0, "a proxy was asked");
    Ok(())
}
