//! Who asks, and whether he may: before a handler runs, its call's one scope is held against the caller's. A handler learns for
//! whom it acts from [`Caller`] alone, and one that takes none sees nobody's jobs. What each call needs is in [`needs`], which keys
//! are good in [`keyring`], which tokens in [`oidc`], who may come without either in [`anonymous`]. It decides nothing about jobs.

pub(super) mod anonymous;
pub(super) mod keyring;
pub(super) mod needs;
pub(crate) mod oidc;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use jiff::Timestamp;
use longshore_sdk::executor::seconds;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::anonymous::{Address, Peer};
use self::keyring::Keyring;
use self::needs::Need;
use self::oidc::{Issuer, OidcSettings, Refused};
use super::Api;
use super::audit::Refusals;
use super::problem::{Answer, Fault, Refusal};
use super::request::Asked;
use crate::clock;
use crate::keys::{PREFIX, Scope, Scopes, Shown};
use crate::ledger::trail::Actor;
use crate::tenant::Tenant;

/// Who may call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// Who may come without a key. Default: callers on the server's own machine.
    pub anonymous: Anonymous,
    /// Whether everybody who reaches a server that listens to other machines may be trusted without a key. Default: no.
    pub trusted_network: bool,
    /// Whether `/metrics` of the API needs no key, though it counts the work of all tenants together. Default: yes.
    pub open_metrics: bool,
    /// A key's row is looked at again after so long: a revoke takes effect within it. Default 5 s.
    #[serde(with = "seconds")]
    pub key_cache: Duration,
    /// How long the old key stays good beside the new one when a key is rotated. Default 24 h.
    #[serde(with = "seconds")]
    pub rotation_overlap: Duration,
    /// So many refused calls a minute are noted in the audit log, by each process. Default 60.
    pub noted_refusals: u32,
    /// Whose tokens are taken beside keys. Default: nobody's.
    pub oidc: OidcSettings,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            anonymous: Anonymous::Loopback,
            trusted_network: false,
            open_metrics: true,
            key_cache: Duration::from_secs(4),
            rotation_overlap: Duration::from_secs(24 * 3600),
            noted_refusals: 60,
            oidc: OidcSettings::default(),
        }
    }
}

/// Who may come without a key, and then acts for the house with every scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anonymous {
    /// A caller on the same machine, of a server that listens to no other.
    Loopback,
    /// Nobody.
    Never,
    /// Anybody.
    Always,
}

/// Whoever asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// For whom.
    pub(super) tenant: Tenant,
    pub(super) scopes: Scopes,
    pub(super) who: Who,
    /// From then on no more; `None`: as long as its key is good.
    pub(super) until: Option<Timestamp>,
    pub(super) origin: Origin,
}

/// Where a call comes from, as the audit log has it.
#[derive(Debug, Clone, Default)]
pub(super) struct Origin {
    address: Option<String>,
    request_id: Option<String>,
}

impl Origin {
    fn of(request: &Request) -> Self {
        let address = request.extensions().get::<Address>().map(|Address(ip)| ip.to_string());
        Self { address, request_id: request.extensions().get::<Asked>().map(|asked| asked.id.clone()) }
    }

    fn actor(&self, name: String) -> Actor {
        Actor { name, address: self.address.clone(), request_id: self.request_id.clone() }
    }
}

/// How the caller is named where people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Anonymous,
    Key(String),
    /// The issuer's word for it.
    Subject(String),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("anonymous"),
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Subject(subject) => write!(f, "subject:{subject}"),
        }
    }
}

impl Caller {
    fn anonymous() -> Self {
        Self {
            tenant: Tenant::default(),
            scopes: Scopes::all(),
            who: Who::Anonymous,
            until: None,
            origin: Origin::default(),
        }
    }

    /// Whose keys it may see and end: the house's operators everybody's.
    pub(super) fn governs(&self) -> Option<&Tenant> {
        (!self.tenant.is_default()).then_some(&self.tenant)
    }

    /// Whoever does what this call does.
    pub(super) fn actor(&self) -> Actor {
        self.origin.actor(self.who.to_string())
    }

    fn may(&self, need: Need) -> Answer<()> {
        let (Need::Scope(scope) | Need::House(scope)) = need else { return Ok(()) };
        if !self.scopes.allow(scope) {
            let detail = format!("this call needs the scope {}; the key has {}", scope.word(), self.scopes);
            return Err(Refusal::forbidden(scope, detail));
        }
        if matches!(need, Need::House(_)) && !self.tenant.is_default() {
            let detail =
                format!("this call shows what all tenants share; it needs a key of the tenant {}", Tenant::DEFAULT);
            return Err(Refusal::forbidden(scope, detail));
        }
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Answer<Self> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Refusal::internal("a call acts for somebody and was never asked for whom"))
    }
}

/// A stream's key is looked up so often, mostly in memory.
const LOOKS: Duration = Duration::from_secs(1);

/// What authentication needs beside the request.
pub(super) struct Auth {
    pub(super) settings: AuthSettings,
    pub(super) keyring: Keyring,
    pub(super) issuer: Option<Arc<Issuer>>,
    pub(super) refusals: Refusals,
}

/// Lets in who may.
pub(super) async fn admit(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    let template = request.extensions().get::<MatchedPath>().cloned();
    // A path or a method that there is not is nobody's secret, and no handler runs.
    let Some(need) = template.as_ref().and_then(|path| needs::of(method(&request), path.as_str())) else {
        return next.run(request).await;
    };
    let need = match need {
        Need::Figures if api.auth.settings.open_metrics => Need::Nothing,
        Need::Figures => Need::House(Scope::Read),
        need => need,
    };
    if need == Need::Nothing {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().copied();
    let origin = Origin::of(&request);
    let caller = match api.caller(request.headers(), peer).await {
        Ok(caller) => Caller { origin, ..caller },
        Err(refusal) => {
            if refusal.fault() == Fault::Unauthenticated {
                api.note_refusal(
                    origin.actor("unknown".to_owned()),
                    Tenant::default(),
                    called(&request, template.as_ref()),
                );
            }
            return refusal.into_response();
        }
    };
    if let Err(refusal) = caller.may(need) {
        api.note_refusal(caller.actor(), caller.tenant.clone(), called(&request, template.as_ref()));
        return refusal.into_response();
    }
    let left = match api.limits.take(&caller) {
        Ok(left) => left,
        Err(refusal) => return refusal.into_response(),
    };
    request.extensions_mut().insert(caller.clone());
    let mut answer = next.run(request).await;
    answer.headers_mut().extend(left);
    while_welcome(answer, api, caller)
}

/// The call by its name, for the audit log.
fn called(request: &Request, template: Option<&MatchedPath>) -> String {
    format!("{} {}", method(request), template.map_or("", MatchedPath::as_str))
}

fn method(request: &Request) -> &str {
    // A HEAD is answered by what answers the GET.
    if request.method() == Method::HEAD { "GET" } else { request.method().as_str() }
}

impl Api {
    async fn caller(&self, headers: &HeaderMap, peer: Option<Peer>) -> Answer<Caller> {
        match credentials(headers)? {
            Some(token) => match &self.auth.issuer {
                Some(issuer) if !token.starts_with(PREFIX) => self.bearer(issuer, token).await,
                _ => self.holder(token).await,
            },
            None if anonymous::is_welcome(self.auth.settings.anonymous, peer, headers) => Ok(Caller::anonymous()),
            None => Err(Refusal::unauthenticated(
                "this call needs an API key in the header Authorization: Bearer; `longshore keys create` makes one",
                false,
            )),
        }
    }

    /// Of a key. Why one is not taken is not told: who has it knows, and nobody else needs to.
    async fn holder(&self, token: &str) -> Answer<Caller> {
        let refused = || Refusal::unauthenticated("the API key is unknown, revoked or expired", true);
        let shown = Shown::read(token).ok_or_else(refused)?;
        let found = self.ask(self.auth.keyring.find(&shown.id)).await?;
        let key = found.filter(|key| shown.is(&key.hash) && key.is_good()).ok_or_else(refused)?;
        self.note_use(&key);
        Ok(Caller {
            tenant: key.tenant.clone(),
            scopes: key.scopes,
            who: Who::Key(shown.id),
            until: None,
            origin: Origin::default(),
        })
    }

    /// Of a token. What a real one lacks is told, for its bearer cannot know what we look at.
    async fn bearer(&self, issuer: &Arc<Issuer>, token: &str) -> Answer<Caller> {
        let judged = issuer.judge(token, &self.stop).await.map_err(|refused| match refused {
            Refused::Token(why) => Refusal::bad_token(&why.to_string()),
            Refused::Away => {
                Refusal::new(Fault::Unavailable, "the identity provider does not answer, and none of its keys is known")
            }
        })?;
        let (who, until) = (Who::Subject(judged.subject), Some(judged.until));
        Ok(Caller { tenant: judged.tenant, scopes: judged.scopes, who, until, origin: Origin::default() })
    }

    fn note_use(&self, key: &keyring::Known) {
        if key.is_due() {
            let (ledger, id) = (Arc::clone(&self.ledger), key.id.clone());
            self.stop.spawn_quiet(async move {
                if let Err(error) = ledger.use_key(&id).await {
                    tracing::debug!(key = id, %error, "a key's use is not noted");
                }
            });
        }
    }

    /// Whether the caller could come in again now.
    async fn is_welcome_still(&self, caller: &Caller) -> bool {
        let Who::Key(id) = &caller.who else { return caller.until.is_none_or(|until| clock::now() < until) };
        // A ledger that does not answer is no reason to send anybody away.
        let found = self.ask(self.auth.keyring.find_every(id, LOOKS)).await;
        found.map_or(true, |found| found.is_some_and(|key| key.is_good()))
    }
}

/// The token of the request's `Authorization`, if it has one.
fn credentials(headers: &HeaderMap) -> Answer<Option<&str>> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer") && given.next().is_none());
    let wrong = || Refusal::unauthenticated("Authorization must be one `Bearer` and a key", true);
    token.map(|(_, token)| Some(token.trim())).ok_or_else(wrong)
}

/// A stream goes on for hours: it ends when its caller's key does.
fn while_welcome(answer: Response, api: Arc<Api>, caller: Caller) -> Response {
    let streams = answer.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes() == b"text/event-stream");
    if !streams || caller.who == Who::Anonymous {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let mut tick = interval_at(Instant::now() + LOOKS, LOOKS);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let told = (body.into_data_stream(), tick, api, caller);
    let told = futures_util::stream::unfold(told, |(mut body, mut tick, api, caller)| async move {
        loop {
            tokio::select! {
                chunk = body.next() => return chunk.map(|chunk| (chunk, (body, tick, api, caller))),
                _ = tick.tick() => if !api.is_welcome_still(&caller).await { return None },
            }
        }
    });
    Response::from_parts(parts, Body::from_stream(told))
}

/// The scope that a refused caller lacks, as the header `WWW-Authenticate` says it.
pub(super) fn challenge(scope: Option<Scope>, token: bool) -> String {
    match scope {
        Some(scope) => format!("Bearer realm=\"longshore\", error=\"insufficient_scope\", scope=\"{}\"", scope.word()),
        None if token => "Bearer realm=\"longshore\", error=\"invalid_token\"".to_owned(),
        None => "Bearer realm=\"longshore\"".to_owned(),
    }
}

impl Refusal {
    fn unauthenticated(detail: &str, token: bool) -> Self {
        Self::new(Fault::Unauthenticated, detail).challenged(challenge(None, token))
    }

    /// A token that says enough of itself to be told what is wrong with it.
    fn bad_token(why: &str) -> Self {
        let told = format!("{}, error_description=\"{why}\"", challenge(None, true));
        Self::new(Fault::Unauthenticated, why).challenged(told)
    }

    /// The caller is known and may not.
    pub(super) fn forbidden(scope: Scope, detail: String) -> Self {
        Self::new(Fault::Forbidden, detail).challenged(challenge(Some(scope), true))
    }
}
