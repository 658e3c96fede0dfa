//! Two tenants on one Longshore, and everybody who is neither: no call shows one of them anything of the other's, or does anything to
//! it. The calls come from the API's own description, so that a new one without a row here fails. What is asked here is asked as it
//! should be; in [`fuzzed`] it is asked by chance.

mod estate;
mod fuzzed;
mod keys;

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use longshore_sdk::client::{Client, EventFilter, Told};
use longshore_tests::http::{Answer, Http, send};
use longshore_tests::issuer::{Issuer, Signer};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::until::poll;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::oidc::AUDIENCE;
use crate::cli::longshore;

/// In everything that the north has; it must be in nothing that others are shown.
const CANARY: &str = "canary-of-the-north";

/// What a call is to do for the other tenant, asked for something of the north's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Whoever asks is answered.
    Open,
    /// There is no such thing for it.
    NotFound,
    /// It is answered of its own, with this status.
    Own(u16),
    /// It is for the house's keys alone.
    House,
}
use Row::{House, NotFound, Open, Own};

const ROWS: &[(&str, &str, Row)] = &[
    ("POST", "/v1/jobs", Own(202)),
    ("GET", "/v1/jobs", Own(200)),
    ("POST", "/v1/jobs/batch", Own(200)),
    ("GET", "/v1/dead-letters", Own(200)),
    ("POST", "/v1/dead-letters/replay", Own(200)),
    ("POST", "/v1/dead-letters/purge", Own(200)),
    ("GET", "/v1/jobs/{id}", NotFound),
    ("GET", "/v1/jobs/{id}/events", NotFound),
    ("GET", "/v1/jobs/{id}/deliveries", NotFound),
    // Asked for wrongly, for a good answer has no end; what it tells has a story of its own.
    ("GET", "/v1/events", Own(400)),
    ("POST", "/v1/jobs/{id}/cancel", NotFound),
    ("POST", "/v1/jobs/{id}/replay", NotFound),
    ("GET", "/v1/jobs/{id}/artifacts/{name}", NotFound),
    ("POST", "/v1/files", Own(201)),
    ("GET", "/v1/files/{id}", NotFound),
    // The storage is a directory here.
    ("POST", "/v1/files/direct", Own(409)),
    ("POST", "/v1/files/{id}/complete", NotFound),
    ("GET", "/v1/files/{id}/content", NotFound),
    ("POST", "/v1/uploads", Own(201)),
    ("OPTIONS", "/v1/uploads", Own(200)),
    ("GET", "/v1/uploads/{id}", NotFound),
    ("PATCH", "/v1/uploads/{id}", NotFound),
    ("POST", "/v1/uploads/{id}", NotFound),
    ("DELETE", "/v1/uploads/{id}", NotFound),
    ("GET", "/v1/kinds", Own(200)),
    ("GET", "/v1/queues", House),
    ("GET", "/v1/workers", House),
    ("POST", "/v1/webhooks", Own(201)),
    ("GET", "/v1/webhooks", Own(200)),
    ("GET", "/v1/webhooks/{id}", NotFound),
    ("DELETE", "/v1/webhooks/{id}", NotFound),
    ("POST", "/v1/webhooks/{id}/rotate", NotFound),
    ("POST", "/v1/webhooks/{id}/test", NotFound),
    ("POST", "/v1/webhooks/{id}/enable", NotFound),
    ("POST", "/v1/webhooks/{id}/disable", NotFound),
    ("GET", "/v1/webhooks/{id}/deliveries", NotFound),
    ("POST", "/v1/webhooks/deliveries/{id}/replay", NotFound),
    ("POST", "/v1/keys", Own(201)),
    ("GET", "/v1/keys", Own(200)),
    ("POST", "/v1/keys/{id}/rotate", NotFound),
    ("DELETE", "/v1/keys/{id}", NotFound),
    ("GET", "/v1/audit", Own(200)),
    ("GET", "/openapi.json", Open),
    ("GET", "/asyncapi.json", Open),
    ("GET", "/docs", Open),
    ("GET", "/healthz", Open),
    ("GET", "/readyz", Open),
    ("GET", "/metrics", Open),
];

/// The stage with nobody let in, and what the north has on it.
struct North {
    stage: Stage,
    /// Vouches for callers with tokens.
    issuer: Issuer,
    signer: Signer,
    house: Http,
    /// A dead letter, so that every call on jobs would find something to do.
    job: String,
    file: String,
    upload: String,
    key: String,
    webhook: String,
    delivery: String,
    http: Http,
}

/// One call of the description.
struct Call {
    method: String,
    path: String,
    scope: Option<String>,
    row: Row,
}

/// With the key of the first start.
fn operator(stage: &Stage) -> Result<Http> {
    let key = std::fs::read_to_string(stage.dir.path().join("data/api-key"))?;
    Ok(stage.http.clone().with_key(key.trim()))
}

/// A key: its id and its text.
async fn make_key(by: &Http, request: Value) -> Result<(String, String)> {
    let made = by.post("/v1/keys", &request).await?.expect(201)?.json()?;
    let text = |field: &str| made[field].as_str().map(str::to_owned).context("no text");
    Ok((text("id")?, text("key")?))
}

async fn key_of(by: &Http, tenant: &str, scopes: &[&str]) -> Result<String> {
    Ok(make_key(by, json!({"name": format!("of {tenant}"), "tenant": tenant, "scopes": scopes})).await?.1)
}

impl North {
    async fn settle() -> Result<North> {
        let signer = Signer::ec("one")?;
        let issuer = Issuer::start(&[&signer]).await?;
        let stage = super::oidc::stage(&issuer).await?;
        let house = operator(&stage)?;
        let request = json!({"name": CANARY, "tenant": "north", "scopes": ["admin"]});
        let (key, text) = make_key(&house, request).await?;
        let http = stage.http.clone().with_key(&text);
        let upload = http.request(Method::POST, &format!("/v1/files?name={CANARY}")).body(CANARY);
        let file = id(&send(upload).await?.expect(201)?)?;
        let upload = resumable(http.request(Method::POST, "/v1/uploads"));
        let upload = id(&send(upload.header("Upload-Metadata", "filename Y2FuYXJ5")).await?.expect(201)?)?;
        let request = json!({"kind": "trial.work", "payload": {"fatal": true}, "metadata": {"of": CANARY},
            "correlation_id": CANARY, "unique_key": CANARY});
        let job = id(&http.post("/v1/jobs", &request).await?.expect(202)?)?;
        let webhook = json!({"url": format!("http://127.0.0.1:9/{CANARY}")});
        let webhook = id(&http.post("/v1/webhooks", &webhook).await?.expect(201)?)?;
        let test = http.post(&format!("/v1/webhooks/{webhook}/test"), &json!({})).await?;
        let delivery = id(&test.expect(202)?)?;
        let north = North { stage, issuer, signer, house, job, file, upload, key, webhook, delivery, http };
        let failed = || async { north.looks().await.ok().filter(|job| job["state"] == "failed") };
        poll("the north's job to fail", PATIENCE, failed).await?;
        Ok(north)
    }

    /// The south's administrator, by a key and by a token.
    async fn souths(&self) -> Result<[Http; 2]> {
        let key = key_of(&self.house, "south", &["admin"]).await?;
        let token = self.signer.token(&self.issuer.claims(AUDIENCE, "south", "admin"))?;
        Ok([key, token].map(|credential| self.stage.http.clone().with_key(&credential)))
    }

    async fn looks(&self) -> Result<Value> {
        self.http.get(&format!("/v1/jobs/{}", self.job)).await?.expect(200)?.json()
    }

    /// Asks for what is the north's, or for what is nobody's.
    async fn ask(&self, by: &Http, call: &Call, theirs: bool) -> Result<Answer> {
        let nobody = "01890a5d-ac96-774b-bcce-b302099a8057";
        let id = match call.path.split('/').nth(2) {
            _ if !theirs => nobody,
            Some("files") => &self.file,
            Some("uploads") => &self.upload,
            Some("keys") => &self.key,
            Some("webhooks") if call.path.contains("/deliveries/") => &self.delivery,
            Some("webhooks") => &self.webhook,
            _ => &self.job,
        };
        let path =
            call.path.replace("{id}", id).replace("{name}", "out.txt").replace("/v1/events", "/v1/events?state=x");
        let body = match call.path.as_str() {
            "/v1/jobs" => json!({"kind": "trial.work", "payload": {}}),
            "/v1/jobs/batch" => json!({"jobs": [{"kind": "trial.work", "payload": {}}]}),
            "/v1/dead-letters/replay" | "/v1/dead-letters/purge" => json!({"ids": [self.job]}),
            "/v1/keys" => json!({"name": "theirs", "scopes": ["read"]}),
            "/v1/files/direct" => json!({"bytes": 5}),
            "/v1/webhooks" => json!({"url": "http://127.0.0.1:9/theirs"}),
            _ => json!({}),
        };
        let method: Method = call.method.parse()?;
        let request = by.request(method.clone(), &path);
        let request = if path.starts_with("/v1/uploads") { resumable(request) } else { request };
        send(if method == Method::POST { request.json(&body) } else { request }).await
    }
}

/// The calls that the description has, each with its row.
async fn calls(http: &Http) -> Result<Vec<Call>> {
    let document = http.get("/openapi.json").await?.expect(200)?.json()?;
    let mut calls = vec![];
    for (path, methods) in document["paths"].as_object().context("no paths")? {
        for (method, described) in methods.as_object().context("no methods")? {
            let method = method.to_uppercase();
            let row = ROWS.iter().find(|(m, p, _)| *m == method && p == path);
            let (.., row) = row.with_context(|| format!("{method} {path} has no row: who may call it?"))?;
            let scope = described["security"][0]["key"][0].as_str().map(str::to_owned);
            ensure!(scope.is_none() == (*row == Open), "{method} {path} needs {scope:?}, and its row is {row:?}");
            calls.push(Call { method, path: path.clone(), scope, row: *row });
        }
    }
    ensure!(calls.len() == ROWS.len(), "a row is of no call");
    Ok(calls)
}

/// What tus wants to be told, whatever is asked.
fn resumable(request: RequestBuilder) -> RequestBuilder {
    let told = [
        ("Tus-Resumable", "1.0.0"),
        ("Upload-Length", "5"),
        ("Upload-Offset", "0"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Content-Type", "application/offset+octet-stream"),
    ];
    told.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

/// What an answer shows, but for the address that was asked.
fn shown(answer: &Answer) -> String {
    let text = match answer.json() {
        Ok(mut body) if answer.status >= 400 && body.is_object() => {
            body.as_object_mut().map(|body| body.remove("instance"));
            body.to_string()
        }
        _ => answer.text.clone(),
    };
    format!("{text} {:?}", answer.headers)
}

fn id(answer: &Answer) -> Result<String> {
    Ok(answer.json()?["id"].as_str().context("no id")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_shows_a_tenant_anything_of_anothers_or_does_anything_to_it() -> Result<()> {
    let north = North::settle().await?;
    let before = north.looks().await?;
    let (calls, souths) = (calls(&north.stage.http).await?, north.souths().await?);
    for (call, south) in calls.iter().flat_map(|call| souths.iter().map(move |south| (call, south))) {
        let (theirs, nobodys) = (north.ask(south, call, true).await?, north.ask(south, call, false).await?);
        let named = format!("{} {}: {theirs:?}", call.method, call.path);
        match call.row {
            Open => ensure!(theirs.status == 200, "{named}"),
            Own(status) => ensure!(theirs.status == status, "{named}"),
            House => ensure!(theirs.status == 403, "{named}"),
            NotFound => {
                ensure!(theirs.status == 404 && nobodys.status == 404, "{named}");
                let (one, other) = (theirs.json()?, nobodys.json()?);
                ensure!(one["type"] == other["type"] && one["detail"] == other["detail"], "{named}, {nobodys:?}");
            }
        }
        for secret in [CANARY, &north.job, &north.file, &north.upload, &north.key] {
            ensure!(!shown(&theirs).contains(secret), "shows {secret}: {named}");
        }
    }
    ensure!(north.looks().await? == before, "something was done to the north's job");
    let keys = north.http.get("/v1/keys").await?.expect(200)?.json()?;
    ensure!(keys["keys"].as_array().is_some_and(|keys| keys.len() == 1 && keys[0]["good"] == true), "{keys}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_all_jobs_hears_of_his_own_tenants_alone() -> Result<()> {
    let north = North::settle().await?;
    let key = key_of(&north.house, "south", &["read", "submit"]).await?;
    let south = north.stage.http.clone().with_key(&key);
    let mut events = Client::new(&north.stage.worker().url())?.with_api_key(&key)?.events(EventFilter::default());
    events.open().await?;
    let work = json!({"kind": "trial.work", "payload": {}});
    north.http.post("/v1/jobs", &work).await?.expect(202)?;
    let job = id(&south.post("/v1/jobs", &work).await?.expect(202)?)?;
    loop {
        let Told::Event(event) = events.next().await? else { bail!("a gap") };
        ensure!(event.tenant == "south" && event.subject.to_string() == job, "{event:?}");
        if event.data.state.is_terminal() {
            return Ok(());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_job_cannot_read_anothers_upload() -> Result<()> {
    let north = North::settle().await?;
    let south = north.stage.http.clone().with_key(&key_of(&north.house, "south", &["admin"]).await?);
    let payload = json!({"source": {"file": north.file}, "renditions": [{"name": "a", "width": 8}]});
    let request = json!({"kind": "image.resize", "payload": payload});
    let job = id(&south.post("/v1/jobs", &request).await?.expect(202)?)?;
    let settled = || async {
        let job = south.get(&format!("/v1/jobs/{job}")).await.ok()?.json().ok()?;
        (job["state"] == "failed").then_some(job)
    };
    let failed = poll("the south's job to fail", PATIENCE, settled).await?;
    ensure!(failed["error"]["code"] == "source_missing", "{failed}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_of_the_right_scope_only_what_is_open_is_answered() -> Result<()> {
    let north = North::settle().await?;
    let (revoked, revoked_text) = make_key(&north.http, json!({"name": "revoked", "scopes": ["admin"]})).await?;
    let revoke = north.http.request(Method::DELETE, &format!("/v1/keys/{revoked}"));
    send(revoke).await?.expect(204)?;
    let short = json!({"name": "expired", "scopes": ["admin"], "expires_in_seconds": 0});
    let (_, expired) = make_key(&north.http, short).await?;
    let made_up = format!("lsk_{}_{}", "0".repeat(16), "0".repeat(72));
    let forged = Signer::ec("one")?.token(&north.issuer.claims(AUDIENCE, "north", "admin"))?;
    let plain = &north.stage.http;
    let strangers = [
        ("nobody", plain.clone()),
        ("a mistyped key", plain.clone().with_key(&made_up)),
        ("no key at all", plain.clone().with_key("x")),
        ("a revoked key", plain.clone().with_key(&revoked_text)),
        ("an expired key", plain.clone().with_key(&expired)),
        ("a forged token", plain.clone().with_key(&forged)),
    ];
    let scopes = ["submit", "read", "cancel", "admin"];
    let mut needed = BTreeSet::new();
    for call in calls(&north.stage.http).await? {
        for (who, http) in &strangers {
            let answer = north.ask(http, &call, true).await?;
            let named = format!("{who}: {} {}: {answer:?}", call.method, call.path);
            if call.row == Open {
                ensure!(answer.status == 200, "{named}");
                continue;
            }
            ensure!(answer.status == 401 && !answer.text.contains(CANARY), "{named}");
            ensure!(answer.header("www-authenticate").is_some_and(|text| text.starts_with("Bearer ")), "{named}");
        }
        let Some(scope) = call.scope.clone() else { continue };
        let others: Vec<&str> = scopes.iter().copied().filter(|other| *other != scope && *other != "admin").collect();
        let wrong = plain.clone().with_key(&key_of(&north.house, "north", &others).await?);
        let answer = north.ask(&wrong, &call, true).await?;
        let named = format!("{others:?}: {} {}: {answer:?}", call.method, call.path);
        let told = answer.header("www-authenticate").unwrap_or_default().to_owned();
        ensure!(answer.status == 403 && told.contains(&format!("scope=\"{scope}\"")), "{named}");
        needed.insert(scope);
    }
    ensure!(needed.len() == scopes.len(), "no call needs one of them: {needed:?}");
    Ok(())
}
