//! Attempts a call to Vercel until Vercel gives a definite answer, or until the attempts or the [`CallTime`]
//! are used up.

use std::convert::Infallible;
use std::future::Ready;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;

use super::{CallResult, Vercel, VercelAnswer, VercelError};
use crate::json;
use crate::outbound::{self, CONNECT_TIMEOUT, HeldBack, jitter};
use crate::secret::Secret;
use crate::telemetry;

/// How long an open connection may wait for `before_sending`. Servers close connections on which no request
/// arrives.
const FRESH: Duration = Duration::from_secs(1);

/// The largest number of attempts for one call. If all attempts of a job's call fail, a sweep runs the job
/// again later.
pub(super) const ATTEMPTS: u32 = 3;

/// The longest answer that is read, in bytes, except for requests that list resources. Vercel's errors are
/// under 1 KiB.
pub(super) const SHORT_ANSWER: usize = 64 * 1024;

/// The longest list that is read, in bytes: enough for thousands of resources.
pub(super) const LONG_ANSWER: usize = 8 * 1024 * 1024;

/// How many characters of a message from Vercel go into an answer, a log or the table.
const MAX_MESSAGE: usize = 300;

/// The time that a worker's calls to Vercel may take together.
#[derive(Debug)]
pub struct CallTime {
    end: Instant,
}

impl CallTime {
    /// Awaits `work` between two calls. The time that `work` takes does not count as part of the time for
    /// calls.
    pub(crate) async fn apart<T>(&mut self, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.end += began.elapsed();
        done
    }

    /// Whether enough time is left for a wait of `wait` and for opening a connection. If the time for calls
    /// ended before the connection was open, teardown would not know whether the request was sent.
    fn is_left_after(&self, wait: Duration) -> bool {
        Instant::now() + wait + CONNECT_TIMEOUT < self.end
    }
}

impl Vercel {
    /// Starts to measure the time that a worker's calls to Vercel may take together.
    #[must_use]
    pub fn call_time(&self) -> CallTime {
        CallTime { end: Instant::now() + self.limits.vercel_call }
    }

    /// Makes a request without a body, and passes it to `call`, which sends it. Returns the call's result and
    /// the last answer's body, of at most `most` bytes.
    pub(super) async fn send(
        &self,
        method: Method,
        url: Url,
        token: &Secret,
        time: &mut CallTime,
        most: usize,
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
        let request = Request { client, inner: &request, most };
        let answer = self.call(token, request, &mut nothing, time).await;
        answer.unwrap_or_else(|never| match never {})
    }

    /// Sends a request until Vercel gives a definite answer, or until the attempts or the `time` are used up.
    /// The time that `before_sending` takes does not count as part of `time`.
    pub(super) async fn call<F, E>(
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
            let (answer, body) = self.attempt_once(token, request, before_sending, time).await?;
            in_doubt |= answer.is_in_doubt();
            let wait = jitter(backoff).max(answer.retry_after().unwrap_or_default());
            let again = answer.may_pass() && attempt < self.attempts;
            if !again || !time.is_left_after(wait) {
                return Ok((CallResult { answer, in_doubt }, body));
            }
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        unreachable!("attempts are counted")
    }

    /// Sends a request once. Returns Vercel's answer and its body, which is empty if the whole body did not
    /// arrive.
    async fn attempt_once<F, E>(
        &self,
        token: &Secret,
        Request { client, inner, most }: Request<'_>,
        before_sending: &mut BeforeSending<'_, F>,
        time: &mut CallTime,
    ) -> Result<(VercelAnswer, Vec<u8>), E>
    where
        F: Future<Output = Result<(), E>> + Send,
    {
        let without_answer = |why: VercelAnswer| Ok((why, Vec::new()));
        // A request can be cloned unless its body is a stream, and no request to Vercel has a stream as its
        // body.
        let Some(request) = inner.try_clone() else {
            return without_answer(VercelAnswer::Unreached(
                "the request cannot be repeated".to_owned(),
            ));
        };
        let mut sending = pin!(client.execute(request));
        if let Some((held_back, before)) = before_sending {
            // Before the connection is open, `sending` can end only with the error that the client cannot
            // connect.
            if let Either::Left((Err(error), _)) =
                select(sending.as_mut(), pin!(held_back.connected())).await
            {
                return without_answer(silence(error));
            }
            let began = Instant::now();
            time.apart(before).await?;
            held_back.send_now();
            *before_sending = None;
            if began.elapsed() > FRESH {
                // Vercel may have closed the connection. A request on a closed connection fails as if the
                // answer was lost.
                let why = "the connection was up for too long".to_owned();
                return without_answer(VercelAnswer::Unreached(why));
            }
        }
        let left = time.end.saturating_duration_since(Instant::now());
        let over = Instant::now() + left.min(self.limits.vercel_attempt);
        let response = match tokio::time::timeout_at(over.into(), sending).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return without_answer(silence(error)),
            Err(_) => return without_answer(VercelAnswer::Nothing("it took too long".to_owned())),
        };
        let status = response.status().as_u16();
        let retry_after = outbound::retry_after(response.headers());
        // A deletion's result depends on the status alone, so a body that does not arrive counts as empty.
        let body =
            tokio::time::timeout_at(over.into(), body(response, most)).await.unwrap_or_default();
        let error = parse_error(&body, token);
        Ok((VercelAnswer::Answer { status, error, retry_after }, body))
    }
}

/// A request that can be sent several times.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    /// The client to send the request with.
    pub(super) client: &'a reqwest::Client,
    pub(super) inner: &'a reqwest::Request,
    /// How many bytes of the answer are read at most.
    pub(super) most: usize,
}

/// The future to await when a connection is open, before a request is sent over the connection. `None` if
/// nothing has to be awaited, or if the future has ended.
pub(super) type BeforeSending<'a, F> = Option<(&'a HeldBack, Pin<Box<F>>)>;

fn silence(error: reqwest::Error) -> VercelAnswer {
    let was_not_sent = outbound::was_not_sent(&error);
    let why = telemetry::chain(&error.without_url());
    if was_not_sent { VercelAnswer::Unreached(why) } else { VercelAnswer::Nothing(why) }
}

/// An answer's body. The body counts as empty if it does not arrive whole, or is too long.
async fn body(response: reqwest::Response, most: usize) -> Vec<u8> {
    if response.status() == StatusCode::NO_CONTENT {
        return Vec::new();
    }
    outbound::read(response, most).await.unwrap_or_default()
}

#[derive(Deserialize)]
struct VercelErrorBody {
    error: VercelError,
}

/// The code and the message of Vercel's error, if they can be read. What Vercel's answer means depends on the
/// status alone. If Vercel repeats the token in an error, the token is removed, because the error goes into
/// an answer, a log and the table.
fn parse_error(body: &[u8], token: &Secret) -> Option<VercelError> {
    let body = String::from_utf8_lossy(body);
    let VercelError { code, message } =
        json::from_slice::<VercelErrorBody>(body.as_bytes()).ok()?.error;
    let shown = |text: &str| shown(&token.redact(text));
    Some(VercelError { code: shown(&code), message: shown(&message) })
}

/// Turns a text into one line of at most [`MAX_MESSAGE`] characters.
pub(super) fn shown(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).take(MAX_MESSAGE).collect::<String>().trim().to_owned()
}
