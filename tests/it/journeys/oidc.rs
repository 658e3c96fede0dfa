//! Callers with tokens of an identity provider: taken when they are real, for us and in their time, and refused when anything of that is
//! forged; with the provider's keys changed under us, and with the provider away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use longshore_tests::http::Http;
use longshore_tests::issuer::{Issuer, Signer, encoded, now};
use longshore_tests::stage::{PATIENCE, Stage};
use longshore_tests::stream::Stream;
use longshore_tests::until::poll;
use ring::hmac;
use serde_json::{Value, json};

use crate::cli::longshore;

/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "longshore";

/// A stage that takes nobody but whom this issuer vouches for.
pub(crate) async fn stage(issuer: &Issuer) -> Result<Stage> {
    Stage::embedded_with(&variables(issuer)).await
}

/// What such a stage is told.
pub(crate) fn variables(issuer: &Issuer) -> [(&str, &str); 5] {
    [
        ("LONGSHORE_AUTH_ANONYMOUS", "never"),
        ("LONGSHORE_AUTH_OIDC_ISSUER", issuer.url()),
        ("LONGSHORE_AUTH_OIDC_AUDIENCE", AUDIENCE),
        ("LONGSHORE_AUTH_OIDC_LEEWAY", "2"),
        ("LONGSHORE_AUTH_OIDC_REFETCH", "2"),
    ]
}

struct House {
    issuer: Issuer,
    rsa: Signer,
    ec: Signer,
    stage: Stage,
}

impl House {
    async fn open() -> Result<House> {
        let (rsa, ec) = (Signer::rsa("one")?, Signer::ec("two")?);
        let issuer = Issuer::start(&[&rsa, &ec]).await?;
        let stage = stage(&issuer).await?;
        Ok(House { issuer, rsa, ec, stage })
    }

    fn good(&self) -> Value {
        self.issuer.claims(AUDIENCE, "north", "submit read")
    }

    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.good();
        claims[name] = value;
        claims
    }

    fn without(&self, name: &str) -> Value {
        let mut claims = self.good();
        claims.as_object_mut().map(|claims| claims.remove(name));
        claims
    }

    fn http(&self, token: &str) -> Http {
        self.stage.http.clone().with_key(token)
    }

    async fn status(&self, token: &str) -> Result<u16> {
        Ok(self.http(token).get("/v1/jobs").await?.status)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_acts_for_its_tenant_with_its_scopes_and_no_forged_one_does() -> Result<()> {
    let house = House::open().await?;
    for signer in [&house.rsa, &house.ec] {
        let http = house.http(&signer.token(&house.good())?);
        let job = http.post("/v1/jobs", &json!({"kind": "trial.work", "payload": {}})).await?.expect(202)?.json()?;
        let id = job["id"].as_str().context("no id")?;
        http.get(&format!("/v1/jobs/{id}")).await?.expect(200)?;
        let south = house.http(&signer.token(&house.with("tenant", json!("south")))?);
        south.get(&format!("/v1/jobs/{id}")).await?.expect(404)?;
        let refused = http.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await?.expect(403)?;
        ensure!(
            refused.header("www-authenticate").is_some_and(|told| told.contains("scope=\"cancel\"")),
            "{refused:?}"
        );
    }
    let forged = forged(&house)?;
    ensure!(forged.len() >= 35, "{}", forged.len());
    for (attack, token) in &forged {
        let answer = house.http(token).get("/v1/jobs").await.with_context(|| attack.clone())?;
        ensure!(answer.status == 401, "{attack}: {answer:?}");
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        ensure!(
            challenge.starts_with("Bearer ") && challenge.contains("error=\"invalid_token\""),
            "{attack}: {answer:?}"
        );
        ensure!(token.is_empty() || !answer.text.contains(token.as_str()), "{attack}: it is echoed: {answer:?}");
    }
    let told = house.http(&house.rsa.token(&house.with("exp", json!(now() - 60)))?).get("/v1/jobs").await?;
    ensure!(told.header("www-authenticate").is_some_and(|told| told.contains("the token has expired")), "{told:?}");
    Ok(())
}

/// Each with its name; every one of them is to be refused.
fn forged(house: &House) -> Result<Vec<(String, String)>> {
    let (rsa, ec) = (&house.rsa, &house.ec);
    let good = house.good().to_string();
    let token = rsa.token(&house.good())?;
    let parts: Vec<&str> = token.split('.').collect();
    let (stranger, strange_ec) = (Signer::rsa("one")?, Signer::ec("two")?);
    let mut all = vec![
        ("signed by another key of the same name".to_owned(), stranger.token(&house.good())?),
        ("signed by another curve's key of the same name".to_owned(), strange_ec.token(&house.good())?),
        ("no signature".to_owned(), format!("{}.{}.", parts[0], parts[1])),
        ("two parts".to_owned(), format!("{}.{}", parts[0], parts[1])),
        ("four parts".to_owned(), format!("{token}.{}", parts[2])),
        ("a signature cut short".to_owned(), token[..token.len() - 8].to_owned()),
        (
            "claims of another token".to_owned(),
            format!("{}.{}.{}", parts[0], encoded(house.with("tenant", json!("default")).to_string()), parts[2]),
        ),
        ("a signature of zeros".to_owned(), format!("{}.{}.{}", parts[0], parts[1], encoded([0; 256]))),
        ("an EC signature of zeros".to_owned(), {
            let header = encoded(json!({"alg": "ES256", "kid": "two"}).to_string());
            format!("{header}.{}.{}", parts[1], encoded([0; 64]))
        }),
        ("no token at all".to_owned(), "x.y.z".to_owned()),
        ("far too long".to_owned(), rsa.token(&house.with("pad", json!("x".repeat(20_000))))?),
        ("claims twice".to_owned(), {
            let twice = good.replacen('{', "{\"tenant\":\"default\",", 1);
            rsa.token_as(json!({"alg": "RS256", "kid": "one"}), &twice)?
        }),
        ("claims that are no object".to_owned(), rsa.token_as(json!({"alg": "RS256", "kid": "one"}), "[1]")?),
    ];
    for alg in ["none", "None", "NONE", "", "HS256", "HS384", "RS384", "PS256", "ES256", "ES384", "EdDSA"] {
        all.push((format!("alg {alg:?} over RSA"), rsa.token_as(json!({"alg": alg, "kid": "one"}), &good)?));
        let unsigned = format!("{}.{}.", encoded(json!({"alg": alg, "kid": "one"}).to_string()), encoded(&good));
        all.push((format!("alg {alg:?}, unsigned"), unsigned));
    }
    // What everybody can read as the secret of a signature that needs one.
    for (what, secret) in [("bytes", rsa.public()), ("key", rsa.jwk().to_string().into_bytes()), ("point", ec.public())]
    {
        let message = format!("{}.{}", encoded(json!({"alg": "HS256", "kid": "one"}).to_string()), encoded(&good));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
        all.push((format!("HS256 with the public {what}"), format!("{message}.{}", encoded(tag))));
    }
    for (what, header) in [
        ("an unknown key", json!({"alg": "RS256", "kid": "nobody"})),
        ("a path as key", json!({"alg": "RS256", "kid": "../../../../dev/null"})),
        ("SQL as key", json!({"alg": "RS256", "kid": "' or 1=1 --"})),
        ("a number as key", json!({"alg": "RS256", "kid": 1})),
        ("the other sort of key", json!({"alg": "RS256", "kid": "two"})),
        ("what must be understood", json!({"alg": "RS256", "kid": "one", "crit": ["exp"]})),
        ("another sort of token", json!({"alg": "RS256", "kid": "one", "typ": "logout+jwt"})),
    ] {
        all.push((what.to_owned(), rsa.token_as(header, &good)?));
    }
    let embedded = json!({"alg": "RS256", "kid": "mine", "jwk": stranger.jwk(), "jku": "http://127.0.0.1:9/keys"});
    all.push(("a key of its own".to_owned(), stranger.token_as(embedded, &good)?));
    for (what, claims) in [
        ("another issuer", house.with("iss", json!("https://id.example"))),
        ("an issuer with a slash more", house.with("iss", json!(format!("{}/", house.issuer.url())))),
        ("another audience", house.with("aud", json!("somebody else"))),
        ("other audiences", house.with("aud", json!(["a", "b"]))),
        ("expired", house.with("exp", json!(now() - 60))),
        ("a time of text", house.with("exp", json!("9999999999"))),
        ("in the future", house.with("nbf", json!(now() + 60))),
        ("no tenant's", house.with("tenant", json!("not a tenant"))),
        ("several tenants'", house.with("tenant", json!(["north", "south"]))),
        ("without iss", house.without("iss")),
        ("without aud", house.without("aud")),
        ("without exp", house.without("exp")),
        ("without sub", house.without("sub")),
        ("without tenant", house.without("tenant")),
    ] {
        all.push((what.to_owned(), rsa.token(&claims)?));
    }
    Ok(all)
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_are_fetched_but_not_at_anybodys_bidding_and_known_ones_outlive_an_outage() -> Result<()> {
    let house = House::open().await?;
    let known = house.rsa.token(&house.good())?;
    ensure!(house.status(&known).await? == 200 && house.issuer.asked() == 1);
    let new = Signer::ec("three")?;
    let token = new.token(&house.good())?;
    ensure!(house.status(&token).await? == 401, "nobody has heard of it");
    house.issuer.publish(&[&house.rsa, &new]);
    let taken = || async { house.status(&token).await.ok().filter(|status| *status == 200) };
    poll("the new key to be taken", PATIENCE, taken).await?;
    ensure!(house.status(&house.ec.token(&house.good())?).await? == 401, "a key that was taken back is good");

    let (began, before) = (Instant::now(), house.issuer.asked());
    for number in 0..100 {
        let made_up = new.token_as(json!({"alg": "ES256", "kid": format!("made up {number}")}), "{}")?;
        ensure!(house.status(&made_up).await? == 401);
    }
    let most = usize::try_from(began.elapsed().as_secs() / 2)? + 2;
    let asked = house.issuer.asked() - before;
    ensure!(asked <= most, "100 made-up keys asked the issuer {asked} times in {:?}", began.elapsed());

    house.issuer.be_away(true);
    ensure!(house.status(&known).await? == 200 && house.status(&token).await? == 200);
    let unknown = || async {
        let asked = house.issuer.asked();
        let status = house.status(&house.ec.token(&house.good()).ok()?).await.ok()?;
        (house.issuer.asked() > asked).then_some(status)
    };
    ensure!(poll("the issuer to be asked in vain", PATIENCE, unknown).await? == 401);
    ensure!(house.status(&known).await? == 200, "an issuer that is away stops a known key");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_never_there_is_told_of_and_is_asked_again() -> Result<()> {
    let signer = Signer::ec("one")?;
    let issuer = Issuer::start(&[&signer]).await?;
    issuer.be_away(true);
    let stage = stage(&issuer).await?;
    let http = stage.http.clone().with_key(&signer.token(&issuer.claims(AUDIENCE, "north", "read"))?);
    let refused = http.get("/v1/jobs").await?.expect(503)?;
    ensure!(refused.text.contains("identity provider"), "{refused:?}");
    issuer.be_away(false);
    let taken = || async { http.get("/v1/jobs").await.ok().filter(|answer| answer.status == 200) };
    poll("the issuer to be asked again", PATIENCE, taken).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_opened_it() -> Result<()> {
    let house = House::open().await?;
    let mut claims = house.issuer.claims(AUDIENCE, "north", "submit read cancel");
    let lasting = house.http(&house.ec.token(&claims)?);
    let job = json!({"kind": "trial.work", "payload": {"work_ms": 60_000}});
    let job = lasting.post("/v1/jobs", &job).await?.expect(202)?.json()?["id"].as_str().context("no id")?.to_owned();
    claims["exp"] = json!(now() + 3);
    let short = house.http(&house.ec.token(&claims)?);
    let (began, mut stream) = (Instant::now(), Stream::open(&short, &format!("/v1/jobs/{job}/events"), None).await?);
    ensure!(stream.status == 200 && stream.next().await?.is_some());
    while stream.next().await?.is_some() {}
    // Three seconds, two of leeway, one between two looks, and a busy machine's.
    ensure!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    short.get("/v1/jobs").await?.expect(401)?;
    lasting.post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn settings_that_would_let_others_in_are_refused_with_the_way_out() -> Result<()> {
    let data = longshore_tests::scratch::dir("oidc")?;
    let place = data.path().to_string_lossy().into_owned();
    for (setting, told) in [
        ("auth.oidc.issuer=https://id.example", "auth.oidc.audience"),
        ("auth.oidc.issuer=http://id.example", "https://"),
        ("auth.oidc.jwks_url=http://id.example/keys", "https://"),
        ("auth.oidc.algorithms=HS256", "RS256"),
        ("auth.oidc.algorithms=none", "RS256"),
        ("auth.oidc.algorithms=", "RS256"),
        ("auth.oidc.scopes=root", "WORD=SCOPE"),
        ("auth.oidc.leeway=3600", "300 seconds"),
        ("auth.oidc.refetch=0", "at least 1 second"),
    ] {
        let said =
            longshore(&["dev", "--listen", "127.0.0.1:0", "--data-dir", &place, "--set", setting], &[], "").await?;
        ensure!(said.code.is_some_and(|code| code != 0) && said.err.contains(told), "{setting}: {said:?}");
    }
    Ok(())
}
