//! One POST: to an address that may be reached, signed for this moment, answered in bounded time with bounded bytes. It follows no
//! redirect, uses no proxy and keeps no cookie: each would lead where nothing was judged. Whether it is sent again is
//! [`super`]'s.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use longshore_sdk::Trace;
use longshore_sdk::webhook::{self, Secret};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, redirect};

use super::WebhookSettings;
use super::address::{Guard, Refused, check, refusal};
use crate::storage::install_tls;

/// What is kept of an answer's body.
const KEPT_BYTES: usize = 1024;
/// A longer body is not read to its end, and its connection is given up.
const READ_BYTES: usize = 64 * 1024;

/// Sends.
pub(super) struct Post {
    client: Client,
    settings: WebhookSettings,
}

/// The receiver took it.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) text: Option<String>,
}

/// Why it was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// The URL itself may not be used.
    #[error("the address {0}")]
    Url(Refused),
    /// Its name leads, at the moment, where it may not go.
    #[error("its name {0}")]
    Name(Refused),
    #[error("the receiver did not answer within {0:?}")]
    Late(Duration),
    #[error("the receiver cannot be reached: {0}")]
    Unreachable(String),
    #[error("the receiver answered {status}{}", unfollowed(*status))]
    Refused {
        status: u16,
        text: Option<String>,
        /// The wait that it asks for.
        after: Option<Duration>,
    },
}

fn unfollowed(status: u16) -> &'static str {
    if (300..400).contains(&status) { "; redirects are not followed" } else { "" }
}

impl Trouble {
    /// Its word in metrics.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Name(_) => "forbidden",
            Self::Late(_) => "late",
            Self::Unreachable(_) => "unreachable",
            Self::Refused { status: 410, .. } => "gone",
            Self::Refused { .. } => "refused",
        }
    }

    /// Its word with the attempt.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Name(_) => "address_refused",
            Self::Late(_) => "receiver_late",
            Self::Unreachable(_) => "receiver_unreachable",
            Self::Refused { .. } => "receiver_refused",
        }
    }

    /// The receiver's status, and how its body begins.
    pub(super) fn answer(&self) -> (Option<u16>, Option<String>) {
        match self {
            Self::Refused { status, text, .. } => (Some(*status), text.clone()),
            _ => (None, None),
        }
    }

    /// The wait that the receiver asks for.
    pub(super) fn after(&self) -> Option<Duration> {
        match self {
            Self::Refused { after, .. } => *after,
            _ => None,
        }
    }
}

impl Post {
    pub(super) fn new(settings: &WebhookSettings) -> reqwest::Result<Self> {
        install_tls();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Arc::new(Guard { allowed: settings.allow_private.clone() }))
            .timeout(settings.timeout)
            .pool_idle_timeout(Duration::from_secs(30))
            // Most deliveries go to few receivers: each of them may keep the connection it has.
            .pool_max_idle_per_host(usize::try_from(settings.concurrency).unwrap_or(usize::MAX))
            .build()?;
        Ok(Self { client, settings: settings.clone() })
    }

    pub(super) async fn send(
        &self,
        url: &str,
        secrets: &[Secret],
        id: &str,
        at: Timestamp,
        body: Vec<u8>,
        here: Option<&Trace>,
    ) -> Result<Answered, Trouble> {
        // Again before each try: what is allowed may have changed since it was taken.
        let url = check(url, &self.settings).map_err(Trouble::Url)?;
        let mut request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .header(webhook::ID, id)
            .header(webhook::TIMESTAMP, at.as_second());
        // So that a receiver that traces goes on in the same trace. It is not signed, and nothing depends on it.
        if let Some(here) = here {
            request = request.header("traceparent", here.traceparent());
        }
        if let Some(state) = here.and_then(Trace::tracestate) {
            request = request.header("tracestate", state);
        }
        if !secrets.is_empty() {
            request = request.header(webhook::SIGNATURE, webhook::sign(secrets, id, at, &body));
        }
        let answer = request.body(body).send().await.map_err(|error| self.unsent(error))?;
        read(answer).await
    }

    fn unsent(&self, error: reqwest::Error) -> Trouble {
        if let Some(refused) = refusal(&error) {
            return Trouble::Name(refused);
        }
        if error.is_timeout() {
            return Trouble::Late(self.settings.timeout);
        }
        let error = error.without_url();
        let mut text = error.to_string();
        let mut next = std::error::Error::source(&error);
        while let Some(cause) = next {
            text = format!("{text}: {cause}");
            next = cause.source();
        }
        Trouble::Unreachable(text)
    }
}

/// The answer is its status. That the body breaks off or takes too long changes nothing.
async fn read(mut answer: Response) -> Result<Answered, Trouble> {
    let (status, after) = (answer.status(), after(&answer, crate::clock::now()));
    let (mut kept, mut read) = (vec![], 0);
    while let Ok(Some(chunk)) = answer.chunk().await {
        kept.extend_from_slice(&chunk[..chunk.len().min(KEPT_BYTES - kept.len())]);
        read += chunk.len();
        if read > READ_BYTES {
            break;
        }
    }
    let (text, status, good) = (text(&kept), status.as_u16(), status.is_success());
    if good { Ok(Answered { status, text }) } else { Err(Trouble::Refused { status, text, after }) }
}

/// No NUL, which PostgreSQL's text cannot hold, and no half character at its end.
fn text(kept: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(kept).replace('\0', "\u{fffd}");
    let text = text[..text.floor_char_boundary(KEPT_BYTES)].trim_end_matches('\u{fffd}').to_owned();
    (!text.is_empty()).then_some(text)
}

/// `Retry-After` in seconds or as a date.
fn after(answer: &Response, now: Timestamp) -> Option<Duration> {
    wait(answer.headers().get(RETRY_AFTER)?.to_str().ok()?, now)
}

fn wait(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_seconds_or_as_a_date() {
        let now: Timestamp = "2015-10-21T07:27:00Z".parse().unwrap();
        assert_eq!(wait("120", now), Some(Duration::from_secs(120)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(wait("Wed, 21 Oct 2015 07:26:00 GMT", now), Some(Duration::ZERO));
        for none in ["", "soon", "-1", "1.5"] {
            assert_eq!(wait(none, now), None, "{none}");
        }
    }

    #[test]
    fn what_is_kept_of_an_answer_is_text_of_at_most_a_kibibyte() {
        assert_eq!(text(b""), None);
        assert_eq!(text(b"a\0b").as_deref(), Some("a\u{fffd}b"));
        assert_eq!(text("ä".repeat(600).as_bytes()[..1023].as_ref()).map(|text| text.len()), Some(1022));
        assert!(text(&[0xff; 1024]).is_none_or(|text| text.len() <= KEPT_BYTES));
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_not_connected_to() {
        let post = Post::new(&WebhookSettings { allow_http: true, ..WebhookSettings::default() }).unwrap();
        // By the client itself: the URL alone would have been refused before.
        let error = post.client.post("http://localhost:9/").send().await.unwrap_err();
        let trouble = post.unsent(error);
        assert!(matches!(trouble, Trouble::Name(Refused::Private(_))), "{trouble:?}");
        assert!(trouble.to_string().starts_with("its name leads to "), "{trouble}");
    }

    #[test]
    fn a_redirect_says_that_it_is_not_followed() {
        let answered = |status| Trouble::Refused { status, text: None, after: None }.to_string();
        assert_eq!(answered(302), "the receiver answered 302; redirects are not followed");
        assert_eq!(answered(500), "the receiver answered 500");
    }
}
