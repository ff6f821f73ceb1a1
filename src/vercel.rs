//! Vercel's REST API, as far as a deletion needs it: the configuration and the final invoices.
//!
//! The client sends requests, retries failures that may pass, and returns Vercel's answer; `saga` and `work`
//! decide what it means. Vercel's error codes never become ours, and its messages are passed on as Vercel's.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::ids::{AttachmentId, InstallationId};
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

/// What was heard of a configuration that Vercel was asked for (E7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupResult {
    /// The last answer.
    pub heard: VercelAnswer,
    /// The configuration, if the answer has one that can be understood.
    pub configuration: Option<VercelConfiguration>,
}

/// A configuration as Vercel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VercelConfiguration {
    /// `teamId`.
    pub team: Option<String>,
    /// Whether it has a `deletedAt`.
    pub is_deleted: bool,
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
    /// Nothing was sent.
    fn unreached(why: String) -> Self {
        Self { heard: VercelAnswer::Unreached(why), in_doubt: false }
    }

    /// Nothing was sent, since the request could not be built.
    fn unbuilt(error: reqwest::Error) -> Self {
        Self::unreached(telemetry::chain(&error.without_url()))
    }
}

impl VercelConfiguration {
    /// Reads an answer's body; none where it is not an object, or its team is not an id.
    fn parse(body: &[u8]) -> Option<Self> {
        let fields: Map<String, Value> = json::from_slice(body).ok()?;
        let team = match fields.get("teamId") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) => Some(AttachmentId::parse(id).ok()?.to_string()),
            Some(_) => return None,
        };
        let is_deleted = fields.get("deletedAt").is_some_and(|at| !at.is_null());
        Some(Self { team, is_deleted })
    }
}

/// The time that one worker's calls to Vercel have together.
#[derive(Debug)]
pub(crate) struct CallTime {
    end: Instant,
}

impl CallTime {
    /// Does something between two calls that does not count as their time.
    pub(crate) async fn apart<T>(&mut self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.end += began.elapsed();
        done
    }

    /// Whether a connection can come up in time after this wait. What has no time to connect could not be
    /// told from what was sent.
    fn is_left_after(&self, wait: Duration) -> bool {
        Instant::now() + wait + CONNECT_TIMEOUT < self.end
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

    /// The time for calls that begin now.
    pub(crate) fn call_time(&self) -> CallTime {
        CallTime { end: Instant::now() + self.limits.vercel_call }
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
        time: &mut CallTime,
        before_sending: impl Future<Output = Result<(), E>> + Send,
    ) -> Result<CallResult, E> {
        let url = self.configuration(id, team);
        let held_back = match HeldBack::new(&url) {
            Ok(held_back) => held_back,
            Err(error) => return Ok(CallResult::unbuilt(error)),
        };
        let client = held_back.client();
        let request = match client.delete(url).bearer_auth(token.expose()).build() {
            Ok(request) => request,
            Err(error) => return Ok(CallResult::unbuilt(error)),
        };
        let mut first = Some((&held_back, Box::pin(before_sending)));
        let (result, _) = self.call(token, (client, &request), &mut first, time).await?;
        Ok(result)
    }

    /// `DELETE /v1/integrations/configuration/{id}` once more, in the team that Vercel has it in (E7).
    pub(crate) async fn delete_configuration_there(
        &self,
        id: &InstallationId,
        team: Option<&str>,
        token: &Secret,
        time: &mut CallTime,
    ) -> CallResult {
        self.send(Method::DELETE, self.configuration(id, team), token, time).await.0
    }

    /// `GET /v1/integrations/configuration/{id}`, in whichever team it is (E7).
    pub(crate) async fn look_up_configuration(
        &self,
        id: &InstallationId,
        token: &Secret,
        time: &mut CallTime,
    ) -> LookupResult {
        let (result, body) =
            self.send(Method::GET, self.configuration(id, None), token, time).await;
        LookupResult { heard: result.heard, configuration: VercelConfiguration::parse(&body) }
    }

    /// `POST /v1/installations/{id}/billing/finalize` (G3).
    pub(crate) async fn finalize(&self, id: &InstallationId, token: &Secret) -> CallResult {
        let url = self.at(&["v1", "installations", id.as_str(), "billing", "finalize"]);
        self.send(Method::POST, url, token, &mut self.call_time()).await.0
    }

    fn configuration(&self, id: &InstallationId, team: Option<&str>) -> Url {
        let mut url = self.at(&["v1", "integrations", "configuration", id.as_str()]);
        if let Some(team) = team {
            url.query_pairs_mut().append_pair("teamId", team);
        }
        url
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        // An http or https address always has a path to extend.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Calls with a request that has no body; what was heard, and the last answer's body.
    async fn send(
        &self,
        method: Method,
        url: Url,
        token: &Secret,
        time: &mut CallTime,
    ) -> (CallResult, Vec<u8>) {
        if !time.is_left_after(Duration::ZERO) {
            return (CallResult::unreached("no time is left for it".to_owned()), Vec::new());
        }
        let client = match self.outbound.client(&url) {
            Ok(client) => client,
            Err(error) => return (CallResult::unbuilt(error), Vec::new()),
        };
        let request = match client.request(method, url).bearer_auth(token.expose()).build() {
            Ok(request) => request,
            Err(error) => return (CallResult::unbuilt(error), Vec::new()),
        };
        let mut nothing: BeforeSending<'_, Ready<Result<(), Infallible>>> = None;
        let heard = self.call(token, (client, &request), &mut nothing, time).await;
        heard.unwrap_or_else(|never| match never {})
    }

    /// Sends a request until it is answered for good, the attempts are over or the time is. What is
    /// done before the first one is sent is not counted as this call's time.
    async fn call<F, E>(
        &self,
        token: &Secret,
        request: Request<'_>,
        before_sending: &mut BeforeSending<'_, F>,
        time: &mut CallTime,
    ) -> Result<(CallResult, Vec<u8>), E>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let (mut in_doubt, mut backoff) = (false, self.limits.vercel_backoff);
        for attempt in 1.. {
            let (heard, body) = self.attempt_once(token, request, before_sending, time).await?;
            in_doubt |= heard.is_in_doubt();
            let wait = jitter(backoff).max(heard.retry_after().unwrap_or_default());
            let again = heard.may_pass() && attempt < ATTEMPTS;
            if !again || !time.is_left_after(wait) {
                return Ok((CallResult { heard, in_doubt }, body));
            }
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        unreachable!("attempts are counted")
    }

    /// Sends a request once; returns Vercel's answer and its body, which is empty if it did not come whole.
    async fn attempt_once<F, E>(
        &self,
        token: &Secret,
        (client, request): Request<'_>,
        before_sending: &mut BeforeSending<'_, F>,
        time: &mut CallTime,
    ) -> Result<(VercelAnswer, Vec<u8>), E>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let unheard = |why: VercelAnswer| Ok((why, Vec::new()));
        // A body that is a stream could not be sent again: there is none.
        let Some(request) = request.try_clone() else {
            return unheard(VercelAnswer::Unreached("the request cannot be repeated".to_owned()));
        };
        let mut sending = pin!(client.execute(request));
        if let Some((held_back, before)) = before_sending {
            // It ends before it is connected only where it cannot be.
            if let Either::Left((Err(error), _)) =
                select(sending.as_mut(), pin!(held_back.connected())).await
            {
                return unheard(silence(error));
            }
            let began = Instant::now();
            time.apart(before).await?;
            held_back.let_go();
            *before_sending = None;
            if began.elapsed() > FRESH {
                // The other end may have closed it by now, which could not be told from a lost answer.
                let why = "the connection was up for too long".to_owned();
                return unheard(VercelAnswer::Unreached(why));
            }
        }
        let left = time.end.saturating_duration_since(Instant::now());
        let over = Instant::now() + left.min(self.limits.vercel_attempt);
        let response = match tokio::time::timeout_at(over.into(), sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return unheard(silence(error)),
            Err(_) => return unheard(VercelAnswer::Nothing("it took too long".to_owned())),
        };
        let status = response.status().as_u16();
        let retry_after = outbound::retry_after(response.headers());
        // Of a deletion the status alone decides: words that do not come are none.
        let body = tokio::time::timeout_at(over.into(), body(response)).await.unwrap_or_default();
        let said = said(&body, token);
        Ok((VercelAnswer::Answer { status, said, retry_after }, body))
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

/// An answer's body; empty where it does not come whole, or is too long.
async fn body(response: reqwest::Response) -> Vec<u8> {
    if response.status() == StatusCode::NO_CONTENT {
        return Vec::new();
    }
    outbound::read(response, MAX_ANSWER).await.unwrap_or_default()
}

#[derive(Deserialize)]
struct VercelErrorBody {
    error: VercelError,
}

/// The words of an error, if they can be understood: the status alone decides what it means. If Vercel
/// repeats the token, it is taken out: the text goes into an answer, a log and the table.
fn said(body: &[u8], token: &Secret) -> Option<VercelError> {
    let body = String::from_utf8_lossy(body);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// E7: a configuration is read where its answer is an object with the id of a team, or without one.
    #[test]
    fn a_configuration_is_read() {
        let read = |body: &str| {
            let read = VercelConfiguration::parse(body.as_bytes());
            read.map(|it| (it.team, it.is_deleted))
        };
        let team = Some("team_2".to_owned());
        for body in [
            r#"{"id":"icfg_1","teamId":"team_2"}"#,
            r#"{"teamId":"team_2","deletedAt":null,"name":"\ud83d"}"#,
        ] {
            assert_eq!(read(body), Some((team.clone(), false)), "{body}");
        }
        let deleted = r#"{"teamId":"team_2","deletedAt":1763769600000}"#;
        assert_eq!(read(deleted), Some((team, true)));
        for body in ["{}", r#"{"teamId":null}"#] {
            assert_eq!(read(body), Some((None, false)), "{body}");
        }
        for body in [
            "",
            "[]",
            "null",
            "<html>",
            r#"{"teamId":1}"#,
            r#"{"teamId":""}"#,
            r#"{"teamId":"a b"}"#,
            r#"{"teamId":"team_2""#,
        ] {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
