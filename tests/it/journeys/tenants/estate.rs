//! What a tenant can have, one of each and once more, and how it looks to its owner. It calls nothing for anybody else.

use std::collections::BTreeMap;

use longshore_sdk::JobId;

use super::*;

/// One of each.
pub(super) struct Things {
    pub(super) job: String,
    file: String,
    upload: String,
    webhook: String,
    delivery: String,
    key: String,
}

/// A tenant with all that one can have.
pub(super) struct Estate {
    pub(super) name: &'static str,
    /// Of its dead letters; the other's may be asked for by kind, and are of another.
    pub(super) kind: &'static str,
    /// In everything that it has.
    pub(super) canary: String,
    pub(super) admin: Http,
    pub(super) client: Client,
    /// Only looked at.
    pub(super) watched: Things,
    /// For its own calls to change and remove.
    pub(super) spare: Things,
}

impl Things {
    async fn make(by: &Http, kind: &str, canary: &str, receiver: &str) -> Result<Things> {
        let upload = by.request(Method::POST, &format!("/v1/files?name={canary}")).body(canary.to_owned());
        let file = id(&send(upload).await?.expect(201)?)?;
        let upload = resumable(by.request(Method::POST, "/v1/uploads")).header("Upload-Metadata", "filename Y2FuYXJ5");
        let upload = id(&send(upload).await?.expect(201)?)?;
        let payload = match kind {
            "trial.work" => json!({"fatal": true}),
            _ => json!({"source": {"file": JobId::fresh()}, "renditions": [{"name": "a", "width": 8}]}),
        };
        let request = json!({"kind": kind, "payload": payload, "metadata": {"of": canary}, "correlation_id": canary});
        let job = id(&by.post("/v1/jobs", &request).await?.expect(202)?)?;
        let hook = json!({"url": format!("{receiver}/{canary}"), "kinds": ["csv.import"]});
        let webhook = id(&by.post("/v1/webhooks", &hook).await?.expect(201)?)?;
        let test = by.post(&format!("/v1/webhooks/{webhook}/test"), &json!({})).await?;
        let delivery = id(&test.expect(202)?)?;
        let (key, _) = make_key(by, json!({"name": canary, "scopes": ["read"]})).await?;
        let things = Things { job, file, upload, webhook, delivery, key };
        let settled = || async {
            let job = by.get(&things.path("jobs")).await.ok()?.json().ok()?;
            let told = by.get(&format!("{}/deliveries", things.path("webhooks"))).await.ok()?.json().ok()?;
            (job["state"] == "failed" && told["deliveries"][0]["state"] == "completed").then_some(())
        };
        poll("what a tenant has to come to rest", PATIENCE, settled).await?;
        Ok(things)
    }

    fn path(&self, what: &str) -> String {
        format!("/v1/{what}/{}", self.of(&format!("/v1/{what}/{{id}}")))
    }

    /// The one that this call is about.
    pub(super) fn of(&self, path: &str) -> &str {
        match path.split('/').nth(2) {
            Some("files") => &self.file,
            Some("uploads") => &self.upload,
            Some("keys") => &self.key,
            Some("webhooks") if path.contains("/deliveries/") => &self.delivery,
            Some("webhooks") => &self.webhook,
            // Its payload may name one.
            _ if matches!(path, "/v1/jobs" | "/v1/jobs/batch") => &self.file,
            _ => &self.job,
        }
    }

    pub(super) fn ids(&self) -> [&str; 6] {
        [&self.job, &self.file, &self.upload, &self.webhook, &self.delivery, &self.key]
    }
}

impl Estate {
    pub(super) async fn settle(
        stage: &Stage,
        house: &Http,
        receiver: &str,
        name: &'static str,
        kind: &'static str,
    ) -> Result<Estate> {
        let canary = format!("canary-of-the-{name}");
        let (_, key) = make_key(house, json!({"name": canary, "tenant": name, "scopes": ["admin"]})).await?;
        let admin = stage.http.clone().with_key(&key);
        let client = Client::new(&stage.api().url())?.with_api_key(&key)?;
        let watched = Things::make(&admin, kind, &canary, receiver).await?;
        let spare = Things::make(&admin, kind, &canary, receiver).await?;
        Ok(Estate { name, kind, canary, admin, client, watched, spare })
    }

    /// All that is watched, as its owner is shown it.
    pub(super) async fn looks(&self) -> Result<BTreeMap<&'static str, Value>> {
        let get = async |path: String| self.admin.get(&path).await?.expect(200);
        let things = &self.watched;
        let mut looks = BTreeMap::new();
        for what in ["jobs", "files", "uploads", "webhooks"] {
            looks.insert(what, get(things.path(what)).await?.json()?);
        }
        looks.insert("content", get(format!("{}/content", things.path("files"))).await?.text.into());
        looks.insert("deliveries", get(format!("{}/deliveries", things.path("webhooks"))).await?.json()?);
        let mut stream = Stream::open(&self.admin, &format!("{}/events", things.path("jobs")), None).await?;
        looks.insert("events", stream.rest().await?.into());
        let keys = get("/v1/keys".to_owned()).await?.json()?;
        let ours = keys["keys"].as_array().into_iter().flatten().find(|key| key["id"] == things.key.as_str());
        looks.insert("key", ours.context("the key is gone")?.clone());
        Ok(looks)
    }

    /// Its audit log, line by line.
    pub(super) async fn trail(&self) -> Result<BTreeMap<i64, String>> {
        let (mut lines, mut query) = (BTreeMap::new(), String::new());
        loop {
            let page = self.admin.get(&format!("/v1/audit{query}")).await?.expect(200)?.json()?;
            for line in page["lines"].as_array().context("no lines")? {
                lines.insert(line["id"].as_i64().context("no number")?, line.to_string());
            }
            let Some(next) = page["next"].as_i64() else { return Ok(lines) };
            query = format!("?before={next}");
        }
    }
}
