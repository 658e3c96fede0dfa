//! One token (a JWT, signed, in its compact form): what it says of itself, whether it is for us and now, and for whom it lets its bearer
//! act. Pure. It looks at no key but the one it is given, and at nothing a token says about where keys are (`jku`, `x5u`, `jwk`): those
//! are the issuer's to say. Read [`super::keys`] for keys, [`super`] for the order in which all this is asked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::OidcSettings;
use super::keys::Algorithm;
use crate::keys::Scopes;
use crate::tenant::Tenant;

/// No token that anybody means is longer.
const MAX_BYTES: usize = 16 * 1024;
/// Of the subject, which is shown and kept.
const MAX_SUBJECT_BYTES: usize = 255;
/// A token that lives longer is not looked at beyond that.
const MAX_LIFE_SECONDS: f64 = 1e9;

/// Why a token is not taken. What it says is judged after its signature, so that only who has a real one learns what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::api::auth) enum Denied {
    /// No JWT, or one that asks for what is not done here.
    #[error("the token is no JWT signed by an algorithm that is taken here")]
    Malformed,
    /// Nobody's key.
    #[error("the token is signed by a key that its issuer does not have")]
    UnknownKey,
    /// Somebody's key, and not his signature.
    #[error("the token's signature is not its issuer's")]
    Forged,
    /// A claim that is missing or is of another sort.
    #[error("the token lacks a claim that is needed, or has it in another form")]
    Claims,
    /// Another issuer's.
    #[error("the token is another issuer's")]
    Issuer,
    /// For somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Too late.
    #[error("the token has expired")]
    Expired,
    /// Too early.
    #[error("the token is not valid yet")]
    Early,
    /// For no tenant.
    #[error("the token names no tenant")]
    Tenant,
}

/// For whom a token lets its bearer act, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api::auth) struct Identity {
    /// Who it is, in the issuer's words.
    pub(in crate::api::auth) subject: String,
    pub(in crate::api::auth) tenant: Tenant,
    pub(in crate::api::auth) scopes: Scopes,
    /// From then on no more.
    pub(in crate::api::auth) until: Timestamp,
}

/// A token that was read and not believed yet.
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// What was signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: Vec<u8>,
}

/// A field that came twice is refused with the rest of the header.
#[derive(serde::Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// What the reader must understand: we understand none of it.
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Reads a token whose algorithm is among these.
    pub(super) fn read(text: &'a str, taken: &[Algorithm]) -> Result<Self, Denied> {
        let parts: Vec<&str> = text.split('.').collect();
        let ([header, claims, signature], true) = (parts.as_slice(), text.len() <= MAX_BYTES) else {
            return Err(Denied::Malformed);
        };
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::Malformed);
        let message = &text.as_bytes()[..header.len() + 1 + claims.len()];
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| Denied::Malformed)?;
        let algorithm = taken.iter().copied().find(|algorithm| algorithm.name() == header.alg);
        let algorithm = algorithm.filter(|_| header.crit.is_none() && is_ours(header.typ.as_deref()));
        let algorithm = algorithm.ok_or(Denied::Malformed)?;
        Ok(Self { algorithm, kid: header.kid, message, signature: bytes(signature)?, claims: bytes(claims)? })
    }

    /// For whom it is, by its claims. Of a token whose signature was looked at.
    pub(super) fn identity(&self, settings: &OidcSettings, now: Timestamp) -> Result<Identity, Denied> {
        let Claims(claims) = serde_json::from_slice(&self.claims).map_err(|_| Denied::Claims)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).ok_or(Denied::Claims);
        if text("iss")? != settings.issuer {
            return Err(Denied::Issuer);
        }
        if !words(claims.get("aud"), false).contains(&settings.audience.as_str()) {
            return Err(Denied::Audience);
        }
        let until = lifetime(&claims, settings, now)?;
        let subject = text("sub")?;
        let shown = (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && !subject.chars().any(char::is_control);
        let tenant = find(&claims, &settings.tenant_claim).and_then(Value::as_str);
        Ok(Identity {
            subject: shown.then(|| subject.to_owned()).ok_or(Denied::Claims)?,
            tenant: tenant.and_then(|name| name.parse().ok()).ok_or(Denied::Tenant)?,
            scopes: settings.granted(&words(find(&claims, &settings.scope_claim), true)),
            until,
        })
    }
}

/// A token for a caller, by either name; not one of a logout or of a proof.
fn is_ours(typ: Option<&str>) -> bool {
    let short = typ.map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    short.is_none_or(|typ| ["jwt", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known)))
}

/// Until when it is good, if it is now.
fn lifetime(claims: &Map<String, Value>, settings: &OidcSettings, now: Timestamp) -> Result<Timestamp, Denied> {
    let seconds = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(Denied::Claims)).transpose();
    let (leeway, at) = (settings.leeway.as_secs_f64(), now.as_duration().as_secs_f64());
    let (ends, begins) = (seconds("exp")?.ok_or(Denied::Claims)?, seconds("nbf")?);
    if at >= ends + leeway {
        return Err(Denied::Expired);
    }
    if begins.is_some_and(|begins| begins > at + leeway) {
        return Err(Denied::Early);
    }
    let left = std::time::Duration::from_secs_f64((ends + leeway - at).min(MAX_LIFE_SECONDS));
    now.checked_add(left).map_err(|_| Denied::Claims)
}

/// A claim by its name, or by the path to it: names of claims may have dots themselves.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let mut path = name.split('.');
        let first = claims.get(path.next()?)?;
        path.try_fold(first, |value, part| value.as_object()?.get(part))
    })
}

/// A claim that is a text or a list of texts; of words, where a text may be several.
fn words(claim: Option<&Value>, several: bool) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) if several => text.split(' ').filter(|word| !word.is_empty()).collect(),
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    }
}

/// Claims, none of them twice: of two the issuer may have meant the one, and we read the other.
struct Claims(Map<String, Value>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Once;
        impl<'de> Visitor<'de> for Once {
            type Value = Claims;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("claims")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Claims, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = all.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(de::Error::custom("a claim that is there twice"));
                    }
                }
                Ok(Claims(claims))
            }
        }
        from.deserialize_map(Once)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> OidcSettings {
        OidcSettings { issuer: "https://id.example".into(), audience: "us".into(), ..OidcSettings::default() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn judged(claims: &str, settings: &OidcSettings, now: i64) -> Result<Identity, Denied> {
        let text = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#), URL_SAFE_NO_PAD.encode(claims));
        Token::read(&text, &[Algorithm::Rs256])?.identity(settings, at(now))
    }

    fn good() -> Value {
        json!({"iss": "https://id.example", "aud": "us", "sub": "ann", "exp": 1000, "tenant": "north", "scope": "read x"})
    }

    fn changed(name: &str, value: Value) -> String {
        let mut claims = good();
        claims[name] = value;
        claims.to_string()
    }

    #[test]
    fn a_token_lets_its_bearer_act_for_its_tenant_within_its_time() {
        let identity = judged(&good().to_string(), &settings(), 900).unwrap();
        assert_eq!((identity.subject.as_str(), identity.tenant.as_str()), ("ann", "north"));
        assert_eq!((identity.scopes.to_string().as_str(), identity.until), ("read", at(1060)));
        for (claim, now, found) in [
            (changed("exp", json!(1000)), 1059, Ok(())),
            (changed("exp", json!(1000)), 1060, Err(Denied::Expired)),
            (changed("exp", json!(1000.5)), 1060, Ok(())),
            (changed("nbf", json!(960)), 900, Ok(())),
            (changed("nbf", json!(961)), 900, Err(Denied::Early)),
            (changed("exp", json!(1e300)), 900, Ok(())),
            (changed("exp", json!(-1e300)), 900, Err(Denied::Expired)),
        ] {
            assert_eq!(judged(&claim, &settings(), now).map(drop), found, "{claim} at {now}");
        }
    }

    #[test]
    fn a_claim_of_another_sort_is_no_claim() {
        let twice = good().to_string().replacen('{', r#"{"aud":"them","#, 1);
        let huge = good().to_string().replace("1000", "1e400");
        for (claims, found) in [
            (changed("exp", json!("1000")), Denied::Claims),
            (changed("exp", Value::Null), Denied::Claims),
            (changed("nbf", json!("1")), Denied::Claims),
            (changed("iss", json!(["https://id.example"])), Denied::Claims),
            (changed("iss", json!("https://id.example/")), Denied::Issuer),
            (changed("aud", json!(["them", 7])), Denied::Audience),
            (changed("aud", json!("us them")), Denied::Audience),
            (changed("aud", Value::Null), Denied::Audience),
            (changed("sub", json!("")), Denied::Claims),
            (changed("sub", json!("a\nb")), Denied::Claims),
            (changed("sub", json!("x".repeat(256))), Denied::Claims),
            (changed("tenant", json!("North!")), Denied::Tenant),
            (changed("tenant", json!(["north"])), Denied::Tenant),
            (changed("tenant", Value::Null), Denied::Tenant),
            (twice, Denied::Claims),
            (huge, Denied::Claims),
            ("[]".into(), Denied::Claims),
            ("".into(), Denied::Claims),
        ] {
            assert_eq!(judged(&claims, &settings(), 900).unwrap_err(), found, "{claims}");
        }
        assert!(judged(&changed("aud", json!(["them", "us"])), &settings(), 900).is_ok());
    }

    #[test]
    fn claims_may_lie_deeper_and_words_may_be_called_otherwise() {
        let claims = json!({"iss": "https://id.example", "aud": "us", "sub": "ann", "exp": 1000,
            "https://ours.example/tenant": "north", "realm_access": {"roles": ["operator", "read"]}});
        let settings = OidcSettings {
            tenant_claim: "https://ours.example/tenant".into(),
            scope_claim: "realm_access.roles".into(),
            scopes: vec!["operator=admin".into(), "operator=cancel".into()],
            ..settings()
        };
        let identity = judged(&claims.to_string(), &settings, 900).unwrap();
        // What the list does not name grants nothing, though it is one of our own words.
        assert_eq!((identity.tenant.as_str(), identity.scopes.to_string()), ("north", "cancel admin".to_owned()));
    }

    #[test]
    fn what_is_not_read_is_not_taken() {
        let encoded = |header: &str| format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"));
        let taken = [Algorithm::Rs256, Algorithm::Es256];
        for header in
            [r#"{"alg":"RS256"}"#, r#"{"alg":"ES256","typ":"JWT"}"#, r#"{"alg":"ES256","typ":"application/at+JWT"}"#]
        {
            assert!(Token::read(&encoded(header), &taken).is_ok(), "{header}");
        }
        for header in [
            r#"{"alg":"none"}"#,
            r#"{"alg":"None"}"#,
            r#"{"alg":""}"#,
            r#"{}"#,
            r#"{"alg":"HS256"}"#,
            r#"{"alg":"RS384"}"#,
            r#"{"alg":"rs256"}"#,
            r#"{"alg":["RS256"]}"#,
            r#"{"alg":"RS256","alg":"none"}"#,
            r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
            r#"{"alg":"RS256","crit":[]}"#,
            r#"{"alg":"RS256","typ":"logout+jwt"}"#,
            r#"{"alg":"RS256","typ":"dpop+jwt"}"#,
            r#"{"alg":"RS256","kid":7}"#,
            "[]",
            "",
        ] {
            assert!(Token::read(&encoded(header), &taken).is_err(), "{header}");
        }
        let good = encoded(r#"{"alg":"RS256"}"#);
        let long = format!("{}.{}.AA", good.split('.').next().unwrap(), "A".repeat(MAX_BYTES));
        for text in ["", ".", "..", "a.b.c", &good[1..], &good.replace('.', "=."), &format!("{good}.AA"), &long] {
            assert!(Token::read(text, &taken).is_err(), "{text:.60}");
        }
    }
}
