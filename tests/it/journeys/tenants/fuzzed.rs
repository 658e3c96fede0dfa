//! Two tenants and everybody who is neither ask for everything by chance: every call of the description, as each caller, for what is the
//! caller's own, the other's, nobody's or no id at all, with whatever queries, bodies and headers come to mind. No answer has anything of
//! the other tenant's in it, the other's is answered exactly as nobody's, and afterwards everything is as it was, for its owner to read.
//!
//! `LONGSHORE_SEED` repeats a run by the seed that it printed. What is the caller's own may be undone by him: of that he has a spare set.

use std::collections::BTreeMap;

use longshore_sdk::JobId;
use longshore_tests::chaos::chance::Chance;
use longshore_tests::issuer::now;
use longshore_tests::receiver::{Receiver, Reply};

use super::estate::Estate;
use super::*;

/// Somebody who calls.
struct Caller {
    name: String,
    http: Http,
    /// Whose he is, by his place in the pair; nobody's if he is not let in.
    of: Option<usize>,
    scope: &'static str,
}

/// For what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Own,
    Foreign,
    Nobodys,
    Nonsense,
}

/// What is asked beside the call; `{id}` stands for the one asked for.
#[derive(Debug)]
struct Wish {
    query: String,
    body: Option<String>,
    headers: Vec<(&'static str, String)>,
}

const NONSENSE: [&str; 7] = ["x", "%00", "..%2F..", "%27%20or%201%3D1", "%FF", "01890a5d-ac96-774b-bcce", "*"];

/// Everybody who calls.
async fn callers(stage: &Stage, pair: &[Estate; 2], issuer: &Issuer, signer: &Signer) -> Result<Vec<Caller>> {
    let mut callers = vec![];
    let http = |credential: &str| stage.http.clone().with_key(credential);
    for (of, estate) in pair.iter().enumerate() {
        for scope in ["submit", "read", "cancel", "admin"] {
            let (_, key) = make_key(&estate.admin, json!({"name": estate.canary, "scopes": [scope]})).await?;
            callers.push(Caller {
                name: format!("{} of the {}", scope, estate.name),
                http: http(&key),
                of: Some(of),
                scope,
            });
        }
        let token = signer.token(&issuer.claims(AUDIENCE, estate.name, "admin"))?;
        callers.push(Caller {
            name: format!("token of the {}", estate.name),
            http: http(&token),
            of: Some(of),
            scope: "admin",
        });
        let short = json!({"name": estate.canary, "scopes": ["admin"], "expires_in_seconds": 0});
        let (_, expired) = make_key(&estate.admin, short).await?;
        callers.push(Caller {
            name: format!("expired of the {}", estate.name),
            http: http(&expired),
            of: None,
            scope: "",
        });
    }
    callers.push(Caller { name: "nobody".to_owned(), http: stage.http.clone(), of: None, scope: "" });
    callers.push(Caller { name: "garbage".to_owned(), http: http("lsk_garbage"), of: None, scope: "" });
    Ok(callers)
}

/// What comes to mind.
fn wish(chance: &mut Chance, call: &Call, own: &Estate, other: &Estate) -> Wish {
    let queries = [
        "wait=0".to_owned(),
        "wait=x".to_owned(),
        "state=failed".to_owned(),
        format!("kind={}", other.kind),
        "limit=1".to_owned(),
        "limit=-1".to_owned(),
        format!("before={}", other.watched.job),
        "via=link".to_owned(),
        "name=a".to_owned(),
        format!("tenant={}", other.name),
        "kind=%00".to_owned(),
        "before=9999".to_owned(),
    ];
    let mut query: Vec<String> = (0..chance.below(3)).map(|_| queries[chance.place(queries.len())].clone()).collect();
    if call.path == "/v1/events" {
        // Asked for wrongly, for a good answer has no end; what it tells is listened to all the while.
        query.insert(0, "state=x".to_owned());
    }
    let work = json!({"kind": "trial.work", "payload": {}, "metadata": {"of": own.canary}});
    let mut theirs = work.clone();
    theirs["tenant"] = other.name.into();
    let resize = json!({"kind": "image.resize", "payload": {"source": {"file": "{id}"}, "renditions": [{"name": "a", "width": 8}]}});
    let proper = match call.path.as_str() {
        "/v1/jobs" => work.clone(),
        "/v1/jobs/batch" => json!({"jobs": [work, resize]}),
        "/v1/dead-letters/replay" | "/v1/dead-letters/purge" => json!({"ids": ["{id}"]}),
        "/v1/keys" => json!({"name": own.canary, "scopes": ["read"]}),
        "/v1/files/direct" => json!({"bytes": 5}),
        "/v1/webhooks" => json!({"url": "http://127.0.0.1:9/of", "kinds": ["csv.import"]}),
        _ => json!({}),
    };
    let bodies = [
        proper.to_string(),
        proper.to_string(),
        proper.to_string(),
        resize.to_string(),
        theirs.to_string(),
        "null".to_owned(),
        json!({"kind": "\0"}).to_string(),
        json!({"kind": other.kind}).to_string(),
        json!({"kind": other.kind, "limit": 1}).to_string(),
        "{".to_owned(),
        json!({"ids": ["{id}", JobId::fresh()]}).to_string(),
        "{}".to_owned(),
        json!({"name": own.canary, "scopes": ["admin"], "tenant": other.name}).to_string(),
    ];
    let headers = [
        ("x-tenant", other.name.to_owned()),
        ("x-http-method-override", "DELETE".to_owned()),
        ("last-event-id", "{id}.1".to_owned()),
        ("range", "bytes=0-3".to_owned()),
        ("if-none-match", "*".to_owned()),
        ("tus-resumable", "1.0.0".to_owned()),
        ("upload-length", "5".to_owned()),
        ("upload-offset", "0".to_owned()),
        ("prefer", "wait=0".to_owned()),
        ("content-type", "application/offset+octet-stream".to_owned()),
        ("x-forwarded-for", "10.0.0.1".to_owned()),
    ];
    let mut headers: BTreeMap<_, _> =
        (0..chance.below(4)).map(|_| headers[chance.place(headers.len())].clone()).collect();
    let has_body = call.method != "GET" && call.method != "OPTIONS";
    let body = has_body.then(|| bodies[chance.place(bodies.len())].clone());
    if body.is_some() && !call.path.starts_with("/v1/uploads") {
        headers.insert("content-type", "application/json".to_owned());
    }
    Wish { query: query.join("&"), body, headers: headers.into_iter().collect() }
}

impl Wish {
    /// Whether it matters which id is asked for.
    fn names_it(&self, call: &Call) -> bool {
        let named = |text: &str| text.contains("{id}");
        named(&call.path) || self.body.as_deref().is_some_and(named)
    }

    async fn ask(&self, by: &Http, call: &Call, id: &str) -> Result<Answer> {
        let path = call.path.replace("{id}", id).replace("{name}", "trial.txt");
        let path = if self.query.is_empty() { path } else { format!("{path}?{}", self.query) };
        let request = by.request(call.method.parse()?, &path).header("x-request-id", "by-chance");
        let headers = self.headers.iter().map(|(name, value)| (*name, value.replace("{id}", id)));
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        send(self.body.iter().fold(request, |request, body| request.body(body.replace("{id}", id)))).await
    }
}

/// An answer with the id that was asked for struck out: a refusal word for word, and of anything else all but its texts.
fn without(answer: &Answer, id: &str) -> String {
    let text = match answer.json() {
        Ok(body) if answer.status < 400 => textless(body).to_string(),
        _ => answer.text.replace(id, "{id}"),
    };
    format!("{} {text}", answer.status)
}

fn textless(value: Value) -> Value {
    match value {
        Value::String(_) => "".into(),
        Value::Array(items) => items.into_iter().map(textless).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, textless(value))).collect(),
        other => other,
    }
}

/// Whether this caller may make this call at all, and the status if not.
fn barred(caller: &Caller, call: &Call) -> Option<u16> {
    let scope = call.scope.as_deref()?;
    match caller.of {
        None => Some(401),
        Some(_) if call.row == House || (caller.scope != scope && caller.scope != "admin") => Some(403),
        Some(_) => None,
    }
}

/// An id of the right form that nobody has.
fn nobodys(call: &Call) -> String {
    let fresh = JobId::fresh().to_string().replace('-', "");
    if call.path.starts_with("/v1/keys/") { fresh[16..].to_owned() } else { JobId::fresh().to_string() }
}

/// One call, held against all that must be true of it.
async fn asked(chance: &mut Chance, pair: &[Estate; 2], caller: &Caller, call: &Call, what: For) -> Result<()> {
    let at = caller.of.unwrap_or_else(|| chance.place(2));
    let (own, other) = (&pair[at], &pair[1 - at]);
    let wish = wish(chance, call, own, other);
    let is_safe = call.method == "GET";
    let fresh = nobodys(call);
    let id: &str = match what {
        For::Own if is_safe => own.watched.of(&call.path),
        For::Own => own.spare.of(&call.path),
        For::Foreign if chance.below(2) == 0 => other.watched.of(&call.path),
        For::Foreign => other.spare.of(&call.path),
        For::Nobodys => &fresh,
        For::Nonsense => NONSENSE[chance.place(NONSENSE.len())],
    };
    let answer = wish.ask(&caller.http, call, id).await?;
    let named =
        || format!("{} asks {} {} for {what:?} ({id}) with {wish:?}: {answer:?}", caller.name, call.method, call.path);
    ensure!(answer.status < 500, "{}", named());
    let shown = shown(&answer);
    let hidden: &[&Estate] = if caller.of.is_some() { &[other] } else { &[own, other] };
    for estate in hidden {
        ensure!(!shown.contains(&estate.canary), "the {} is shown: {}", estate.name, named());
        let ids = estate.watched.ids().into_iter().chain(estate.spare.ids());
        let ids = ids.filter(|secret| !wish.query.contains(secret));
        ensure!(ids.into_iter().all(|secret| !shown.contains(secret)), "an id of the {}: {}", estate.name, named());
    }
    if let Some(status) = barred(caller, call) {
        ensure!(answer.status == status, "not {status}: {}", named());
    } else if call.path.contains("{id}") && what != For::Own {
        ensure!((400..500).contains(&answer.status), "it is there: {}", named());
    }
    if what == For::Foreign && wish.names_it(call) {
        let nobodys = wish.ask(&caller.http, call, &fresh).await?;
        ensure!(without(&answer, id) == without(&nobodys, &fresh), "not as nobody's, {nobodys:?}: {}", named());
    }
    Ok(())
}

/// Every call, as everybody, for everything, in any order.
async fn all_at_random(chance: &mut Chance, stage: &Stage, pair: &[Estate; 2], callers: &[Caller]) -> Result<()> {
    let calls = calls(&stage.http).await?;
    let all = [For::Own, For::Foreign, For::Foreign, For::Nobodys, For::Nonsense];
    let cases =
        calls.iter().flat_map(|call| callers.iter().flat_map(move |caller| all.map(|what| (call, caller, what))));
    let mut cases: Vec<_> = cases.collect();
    chance.shuffle(&mut cases);
    for (call, caller, what) in cases {
        asked(chance, pair, caller, call, what).await?;
    }
    Ok(())
}

/// Whoever is to be let in is, so that what he is refused is not refused for his key.
async fn let_in(pair: &[Estate; 2], caller: &Caller) -> Result<()> {
    let Some(own) = caller.of.map(|of| &pair[of]) else { return Ok(()) };
    let stop = format!("/v1/jobs/{}/cancel", own.watched.job);
    let work = json!({"kind": "trial.work", "payload": {}, "metadata": {"of": own.canary}});
    let answer = match caller.scope {
        "submit" => caller.http.post("/v1/jobs", &work).await?.expect(202)?,
        // It has ended, and whoever is told so has been let in.
        "cancel" => caller.http.post(&stop, &json!({})).await?.expect(409)?,
        "read" => caller.http.get("/v1/jobs").await?.expect(200)?,
        _ => caller.http.get("/v1/keys").await?.expect(200)?,
    };
    ensure!(answer.status == 409 || answer.text.contains(&own.canary), "{}: {answer:?}", caller.name);
    Ok(())
}

/// Hears whatever the stream of all jobs tells this tenant.
async fn listen(estate: &Estate) -> Result<tokio::sync::mpsc::UnboundedReceiver<Value>> {
    let mut events = estate.client.events(EventFilter::default());
    events.open().await?;
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Told::Event(event)) = events.next().await {
            if told.send(json!(event)).is_err() {
                return;
            }
        }
    });
    Ok(heard)
}

async fn nothing_crosses(stage: Stage, house: Http, issuer: Issuer, signer: Signer) -> Result<()> {
    let receiver = Receiver::start(|_, _| Reply::of(204)).await?;
    let north = Estate::settle(&stage, &house, &receiver.url(), "north", "trial.work").await?;
    let south = Estate::settle(&stage, &house, &receiver.url(), "south", "image.resize").await?;
    let pair = [north, south];
    let callers = callers(&stage, &pair, &issuer, &signer).await?;
    for caller in &callers {
        let_in(&pair, caller).await?;
    }
    let mut before = vec![];
    for estate in &pair {
        before.push((listen(estate).await?, estate.looks().await?, estate.trail().await?));
    }
    let seed = match std::env::var("LONGSHORE_SEED") {
        Ok(seed) => seed.parse()?,
        Err(_) => u64::from(std::process::id()) ^ now().unsigned_abs(),
    };
    println!("LONGSHORE_SEED={seed}");
    let chance = &mut Chance::of(seed);
    all_at_random(chance, &stage, &pair, &callers)
        .await
        .with_context(|| format!("LONGSHORE_SEED={seed} repeats it"))?;
    for (at, (mut heard, looks, trail)) in before.into_iter().enumerate() {
        let (estate, other) = (&pair[at], &pair[1 - at]);
        assert_eq!(
            estate.looks().await?,
            looks,
            "LONGSHORE_SEED={seed}: something was done to what the {} has",
            estate.name
        );
        let after = estate.trail().await?;
        ensure!(
            trail.iter().all(|line| after.get(line.0) == Some(line.1)),
            "LONGSHORE_SEED={seed}: a line was changed"
        );
        ensure!(after.values().all(|line| !line.contains(&other.canary)), "LONGSHORE_SEED={seed}: {after:?}");
        let mut events = 0;
        while let Ok(event) = heard.try_recv() {
            ensure!(event["tenant"] == estate.name && !event.to_string().contains(&other.canary), "{event}");
            events += 1;
        }
        ensure!(events > 0, "the {} heard nothing", estate.name);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_by_chance_nothing_crosses_between_tenants_in_one_process() -> Result<()> {
    let signer = Signer::ec("one")?;
    let issuer = Issuer::start(&[&signer]).await?;
    let stage = crate::journeys::oidc::stage(&issuer).await?;
    let house = operator(&stage)?;
    nothing_crosses(stage, house, issuer, signer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_by_chance_nothing_crosses_between_tenants_on_servers() -> Result<()> {
    let signer = Signer::ec("one")?;
    let issuer = Issuer::start(&[&signer]).await?;
    let stage = Stage::servers_with(&crate::journeys::oidc::variables(&issuer)).await?;
    let database = stage.database_url.clone().context("a server stage has a database")?;
    let made =
        longshore(&["keys", "create", "--name", "house", "--json", "--database-url", &database], &[], "").await?;
    let made: Value = serde_json::from_str(&made.out).with_context(|| format!("{made:?}"))?;
    let house = stage.http.clone().with_key(made["key"].as_str().context("no key")?);
    nothing_crosses(stage, house, issuer, signer).await
}
