//! Vercel's REST API, as far as a deletion needs it: the configuration and the final invoices.
//!
//! The client sends requests, retries failures that may pass, and returns Vercel's answer; `saga` and `work`
//! decide what it means. Vercel's error codes never become ours, and its messages are passed on as Vercel's.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use reqwest::{StatusCode, Url};
use serde::Deserialize;

use crate::ids::InstallationId;
use crate::json;
use crate::limits::Limits;
use crate::outbound::{self, CONNECT_TIMEOUT, HeldBack, Outbound, jitter};
use crate::secret::Secret;
use crate::telemetry;

/// How long a connection may have waited for leave to send: servers close one on which no request comes.
const FRESH: Duration = Duration::from_secs(1);

/// How often a call is attempted. What fails longer is taken up again by the sweep.
const ATTEMPTS: u32 = 3;

/// The longest answer that is read, in bytes: errors are under 1 KiB.
const MAX_ANSWER: usize = 64 * 1024;

/// How much of Vercel's message is passed on, in characters: it goes into an answer, a log and the
/// table.
const MAX_MESSAGE: usize = 300;

/// The client. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Vercel {
    api: Url,
    outbound: Outbound,
    limits: Limits,
}

/// The result of a call: Vercel's last answer, and whether the call is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// The last answer.
    pub heard: VercelAnswer,
    /// Whether an attempt that was sent got no definite answer: it may have taken effect (E2).
    pub in_doubt: bool,
}

/// An answer, or what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VercelAnswer {
    /// Vercel answered.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Vercel's `error.code` and `error.message`, where there are any.
        said: Option<VercelError>,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// No answer, or none that could be understood; and why.
    Nothing(String),
    /// It was not asked: nothing has left this machine; and why.
    Unreached(String),
}

/// Vercel's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VercelError {
    /// `error.code`.
    #[serde(default)]
    pub code: String,
    /// `error.message`.
    #[serde(default)]
    pub message: String,
}

impl std::fmt::Display for VercelError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => f.write_str("it gives no reason"),
            (code, "") => f.write_str(code),
            ("", message) => f.write_str(message),
            (code, message) => write!(f, "{message} ({code})"),
        }
    }
}

impl CallResult {
    /// Nothing was sent, since the request could not be built.
    fn unreached(error: reqwest::Error) -> Self {
        Self {
            heard: VercelAnswer::Unreached(telemetry::chain(&error.without_url())),
            in_doubt: false,
        }
    }
}

impl VercelAnswer {
    /// Whether the request may have taken effect, and may not: a 5xx, a 2xx that is not documented, or
    /// no answer (E2).
    fn is_in_doubt(&self) -> bool {
        match self {
            Self::Answer { status: 200 | 204, .. } | Self::Unreached(_) => false,
            Self::Answer { status, .. } => *status >= 500 || (200..300).contains(status),
            Self::Nothing(_) => true,
        }
    }

    /// Whether the same request may be answered otherwise in a moment.
    fn may_pass(&self) -> bool {
        self.is_in_doubt() || matches!(self, Self::Answer { status: 429, .. } | Self::Unreached(_))
    }

    /// Vercel's own words.
    pub(crate) fn said(self) -> Option<VercelError> {
        match self {
            Self::Answer { said, .. } => said,
            Self::Nothing(_) | Self::Unreached(_) => None,
        }
    }

    /// When Vercel wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            Self::Nothing(_) | Self::Unreached(_) => None,
        }
    }
}

/// Says what was heard, for a log and for what is stored of an attempt.
impl std::fmt::Display for VercelAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { status, said: Some(said), .. } => {
                write!(f, "Vercel answered {status}: {said}")
            }
            Self::Answer { status, .. } => write!(f, "Vercel answered {status}"),
            Self::Nothing(why) => write!(f, "Vercel did not answer: {why}"),
            Self::Unreached(why) => write!(f, "Vercel was not asked: {why}"),
        }
    }
}

impl Vercel {
    /// A client for the API at `api`, which may have a path of its own.
    pub(crate) fn new(api: Url, outbound: Outbound, limits: Limits) -> Self {
        Self { api, outbound, limits }
    }

    /// `DELETE /v1/integrations/configuration/{id}` (E2). Once a connection is up, and before anything
    /// is sent, `before_sending` is done.
    ///
    /// # Errors
    ///
    /// That of `before_sending`. Vercel was not asked then.
    pub(crate) async fn delete_configuration<E>(
        &self,
        id: &InstallationId,
        team: Option<&str>,
        token: &Secret,
        before_sending: impl Future<Output = Result<(), E>> + Send,
    ) -> Result<CallResult, E> {
        let mut url = self.at(&["v1", "integrations", "configuration", id.as_str()]);
        if let Some(team) = team {
            url.query_pairs_mut().append_pair("teamId", team);
        }
        let held_back = match HeldBack::new(&url) {
            Ok(held_back) => held_back,
            Err(error) => return Ok(CallResult::unreached(error)),
        };
        let client = held_back.client();
        let request = match client.delete(url).bearer_auth(token.expose()).build() {
            Ok(request) => request,
            Err(error) => return Ok(CallResult::unreached(error)),
        };
        let mut first = Some((&held_back, Box::pin(before_sending)));
        self.call(token, (client, &request), &mut first).await
    }

    /// `POST /v1/installations/{id}/billing/finalize` (G3).
    pub(crate) async fn finalize(&self, id: &InstallationId, token: &Secret) -> CallResult {
        let url = self.at(&["v1", "installations", id.as_str(), "billing", "finalize"]);
        let client = match self.outbound.client(&url) {
            Ok(client) => client,
            Err(error) => return CallResult::unreached(error),
        };
        let request = match client.post(url).bearer_auth(token.expose()).build() {
            Ok(request) => request,
            Err(error) => return CallResult::unreached(error),
        };
        let sent = (client, &request);
        let reply = self.call::<Ready<Result<(), Infallible>>, _>(token, sent, &mut None).await;
        reply.unwrap_or_else(|never| match never {})
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        // An http or https address always has a path to extend.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Sends a request until it is answered for good, the attempts are over or the time is. What is
    /// done before the first one is sent is not counted as this call's time.
    async fn call<F, E>(
        &self,
        token: &Secret,
        request: Request<'_>,
        before_sending: &mut BeforeSending<'_, F>,
    ) -> Result<CallResult, E>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let mut end = Instant::now() + self.limits.vercel_call;
        let (mut in_doubt, mut backoff) = (false, self.limits.vercel_backoff);
        for attempt in 1.. {
            let heard = self.attempt_once(token, request, before_sending, &mut end).await?;
            in_doubt |= heard.is_in_doubt();
            let wait = jitter(backoff).max(heard.retry_after().unwrap_or_default());
            let again = heard.may_pass() && attempt < ATTEMPTS;
            // What has no time to connect could not be told from what was sent.
            if !again || Instant::now() + wait + CONNECT_TIMEOUT >= end {
                return Ok(CallResult { heard, in_doubt });
            }
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        unreachable!("attempts are counted")
    }

    async fn attempt_once<F, E>(
        &self,
        token: &Secret,
        (client, request): Request<'_>,
        before_sending: &mut BeforeSending<'_, F>,
        end: &mut Instant,
    ) -> Result<VercelAnswer, E>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        // A body that is a stream could not be sent again: there is none.
        let Some(request) = request.try_clone() else {
            return Ok(VercelAnswer::Unreached("the request cannot be repeated".to_owned()));
        };
        let mut sending = pin!(client.execute(request));
        if let Some((held_back, before)) = before_sending {
            // It ends before it is connected only where it cannot be.
            if let Either::Left((Err(error), _)) =
                select(sending.as_mut(), pin!(held_back.connected())).await
            {
                return Ok(silence(error));
            }
            let began = Instant::now();
            before.await?;
            let took = began.elapsed();
            *end += took;
            held_back.let_go();
            *before_sending = None;
            if took > FRESH {
                // The other end may have closed it by now, which could not be told from a lost answer.
                return Ok(VercelAnswer::Unreached(
                    "the connection was up for too long".to_owned(),
                ));
            }
        }
        let left = end.saturating_duration_since(Instant::now()).min(self.limits.vercel_attempt);
        let over = Instant::now() + left;
        let response = match tokio::time::timeout_at(over.into(), sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Ok(silence(error)),
            Err(_) => return Ok(VercelAnswer::Nothing("it took too long".to_owned())),
        };
        let status = response.status().as_u16();
        let retry_after = outbound::retry_after(response.headers());
        // The status alone decides: words that do not come are none.
        let said = tokio::time::timeout_at(over.into(), said(response, token)).await;
        Ok(VercelAnswer::Answer { status, said: said.ok().flatten(), retry_after })
    }
}

/// A request that can be sent again, and the client to send it with.
type Request<'a> = (&'a reqwest::Client, &'a reqwest::Request);

/// The future to await once a connection is up, and before a request is sent over it; none once it has
/// ended.
type BeforeSending<'a, F> = Option<(&'a HeldBack, Pin<Box<F>>)>;

fn silence(error: reqwest::Error) -> VercelAnswer {
    let was_not_sent = outbound::was_not_sent(&error);
    let why = telemetry::chain(&error.without_url());
    if was_not_sent { VercelAnswer::Unreached(why) } else { VercelAnswer::Nothing(why) }
}

#[derive(Deserialize)]
struct VercelErrorBody {
    error: VercelError,
}

/// The words of an error, if they can be understood: the status alone decides what it means. If Vercel
/// repeats the token, it is taken out: the text goes into an answer, a log and the table.
async fn said(response: reqwest::Response, token: &Secret) -> Option<VercelError> {
    if response.status() == StatusCode::NO_CONTENT {
        return None;
    }
    let body = outbound::read(response, MAX_ANSWER).await.ok()?;
    let body = String::from_utf8_lossy(&body);
    let VercelError { code, message } =
        json::from_slice::<VercelErrorBody>(body.as_bytes()).ok()?.error;
    let shown = |text: &str| shown(&token.redact(text));
    Some(VercelError { code: shown(&code), message: shown(&message) })
}

/// A line of bounded length.
fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
