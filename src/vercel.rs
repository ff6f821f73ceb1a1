//! Vercel's REST API, as far as a deletion needs it: the configuration and the final invoices.
//!
//! It sends, repeats what may pass, and says what it heard; what that means is decided elsewhere.
//! What Vercel says stays apart from what we say: its code is never one of ours, and its words are
//! told as its own.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use crate::config::Secret;
use crate::ids::InstallationId;
use crate::outbound::{self, Outbound, jitter};
use crate::telemetry;

/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take with all of its attempts: the caller of Delete Configuration waits.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);

/// How often a call is attempted. What fails longer is taken up again by the sweep.
const ATTEMPTS: u32 = 3;

/// The longest wait before the second attempt; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_millis(200);

/// The longest answer that is read, in bytes: errors are under 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// How much of Vercel's message is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// The client. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Vercel {
    api: Url,
    outbound: Outbound,
}

/// What was heard of Vercel in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The last answer.
    pub heard: Heard,
    /// Whether an attempt got no definite answer: none at all, or a 5xx. It may have taken effect.
    pub unclear: bool,
}

/// An answer, or what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Vercel answered.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Vercel's `error.code` and `error.message`, where there are any.
        said: Option<Said>,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that could be understood; and why.
    Nothing(String),
}

/// Vercel's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Said {
    /// `error.code`.
    #[serde(default)]
    pub code: String,
    /// `error.message`.
    #[serde(default)]
    pub message: String,
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => f.write_str("it gives no reason"),
            (code, "") => f.write_str(code),
            ("", message) => f.write_str(message),
            (code, message) => write!(f, "{message} ({code})"),
        }
    }
}

impl Heard {
    fn is_unclear(&self) -> bool {
        match self {
            Self::Answer { status, .. } => *status >= 500,
            Self::Nothing(_) => true,
        }
    }

    /// Whether the same request may be answered otherwise in a moment.
    fn may_pass(&self) -> bool {
        self.is_unclear() || matches!(self, Self::Answer { status: 429, .. })
    }

    /// Vercel's own words.
    pub(crate) fn said(self) -> Option<Said> {
        match self {
            Self::Answer { said, .. } => said,
            Self::Nothing(_) => None,
        }
    }

    /// When Vercel wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            Self::Nothing(_) => None,
        }
    }
}

/// Says what was heard, for a log and for what is stored of an attempt.
impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { status, said: Some(said), .. } => {
                write!(f, "Vercel answered {status}: {said}")
            }
            Self::Answer { status, .. } => write!(f, "Vercel answered {status}"),
            Self::Nothing(why) => write!(f, "Vercel did not answer: {why}"),
        }
    }
}

impl Vercel {
    /// A client for the API at `api`, which may have a path of its own.
    pub(crate) fn new(api: Url, outbound: Outbound) -> Self {
        Self { api, outbound }
    }

    /// `DELETE /v1/integrations/configuration/{id}` (E2).
    pub(crate) async fn delete_configuration(
        &self,
        id: &InstallationId,
        team: Option<&str>,
        token: &Secret,
    ) -> Reply {
        let mut url = self.at(&["v1", "integrations", "configuration", id.as_str()]);
        if let Some(team) = team {
            url.query_pairs_mut().append_pair("teamId", team);
        }
        self.call(Method::DELETE, url, token).await
    }

    /// `POST /v1/installations/{id}/billing/finalize` (G3).
    pub(crate) async fn finalize(&self, id: &InstallationId, token: &Secret) -> Reply {
        let url = self.at(&["v1", "installations", id.as_str(), "billing", "finalize"]);
        self.call(Method::POST, url, token).await
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        // An http or https address always has a path to extend.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    async fn call(&self, method: Method, url: Url, token: &Secret) -> Reply {
        let end = Instant::now() + CALL_TIMEOUT;
        let (mut unclear, mut backoff) = (false, FIRST_BACKOFF);
        for attempt in 1.. {
            let left = end.saturating_duration_since(Instant::now());
            let heard = self.attempt(&method, &url, token, left.min(ATTEMPT_TIMEOUT)).await;
            unclear |= heard.is_unclear();
            let wait = jitter(backoff).max(heard.retry_after().unwrap_or_default());
            let again = heard.may_pass() && attempt < ATTEMPTS;
            if !again || Instant::now() + wait >= end {
                return Reply { heard, unclear };
            }
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        unreachable!("attempts are counted")
    }

    async fn attempt(&self, method: &Method, url: &Url, token: &Secret, time: Duration) -> Heard {
        let asked = async {
            let request = self.outbound.client(url)?.request(method.clone(), url.clone());
            request.bearer_auth(token.expose()).timeout(time).send().await
        };
        match asked.await {
            Ok(response) => {
                let status = response.status();
                let retry_after = outbound::retry_after(response.headers());
                Heard::Answer { status: status.as_u16(), said: said(response).await, retry_after }
            }
            Err(error) => Heard::Nothing(telemetry::chain(&error.without_url())),
        }
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    error: Said,
}

/// What an error says, if it can be understood: the status alone decides what it means.
async fn said(response: reqwest::Response) -> Option<Said> {
    if response.status() == StatusCode::NO_CONTENT {
        return None;
    }
    let body = outbound::read(response, MAX_ANSWER).await.ok()?;
    let Said { code, message } = serde_json::from_slice::<ErrorBody>(&body).ok()?.error;
    Some(Said { code: shown(&code), message: shown(&message) })
}

/// A line of bounded length: it goes into an answer, a log and the table.
fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
