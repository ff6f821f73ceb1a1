//! Vercel's REST API, as far as a deletion and the comparison with Vercel need it: the configuration, the
//! resources and the final invoices.
//!
//! The client sends requests, retries failures that may pass, and returns Vercel's answer; `saga`, `work`
//! and [`crate::reconcile`] decide what it means. Vercel's error codes never become teardown's, and its
//! messages are passed on as Vercel's. `calls` sends, `configuration` and `resources` read what Vercel has.

mod calls;
mod configuration;
mod resources;

use std::time::Duration;

use reqwest::{Method, Url};
use serde::Deserialize;

pub use self::calls::CallTime;
use self::calls::{ATTEMPTS, LONG_ANSWER, Request, SHORT_ANSWER};
pub use self::configuration::{Disabled, VercelConfiguration};
pub use self::resources::{ListedResource, ResourceList};
use crate::ids::InstallationId;
use crate::limits::Limits;
use crate::outbound::{HeldBack, Outbound};
use crate::secret::Secret;
use crate::telemetry;

/// The client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Vercel {
    api: Url,
    outbound: Outbound,
    limits: Limits,
    /// How often a call is attempted.
    attempts: u32,
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

/// What was heard of an installation's resources that Vercel was asked for (L1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListResult {
    /// The last answer.
    pub heard: VercelAnswer,
    /// The resources that Vercel has, if it said so.
    pub resources: Option<ResourceList>,
}

/// An answer, or what came instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VercelAnswer {
    /// Vercel answered.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Vercel's `error.code` and `error.message`, if there are any.
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
    #[must_use]
    pub fn may_pass(&self) -> bool {
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
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
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
    #[must_use]
    pub fn new(api: Url, outbound: Outbound, limits: Limits) -> Self {
        Self { api, outbound, limits, attempts: ATTEMPTS }
    }

    /// The same client, which attempts each call once: for a caller that counts its requests.
    #[must_use]
    pub fn attempting_once(self) -> Self {
        Self { attempts: 1, ..self }
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
        let request = Request { client, inner: &request, most: SHORT_ANSWER };
        let (result, _) = self.call(token, request, &mut first, time).await?;
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
        self.send(Method::DELETE, self.configuration(id, team), token, time, SHORT_ANSWER).await.0
    }

    /// `GET /v1/integrations/configuration/{id}`, in whichever team it is (E7).
    pub async fn look_up_configuration(
        &self,
        id: &InstallationId,
        token: &Secret,
        time: &mut CallTime,
    ) -> LookupResult {
        let url = self.configuration(id, None);
        let (result, body) = self.send(Method::GET, url, token, time, SHORT_ANSWER).await;
        LookupResult { heard: result.heard, configuration: VercelConfiguration::parse(&body) }
    }

    /// `GET /v1/installations/{id}/resources`: what Vercel has of an installation (L1). If it does not
    /// know the installation, these are none.
    pub async fn list_resources(
        &self,
        id: &InstallationId,
        token: &Secret,
        time: &mut CallTime,
    ) -> ListResult {
        let url = self.at(&["v1", "installations", id.as_str(), "resources"]);
        let (result, body) = self.send(Method::GET, url, token, time, LONG_ANSWER).await;
        let resources = match result.heard {
            VercelAnswer::Answer { status: 200, .. } => ResourceList::parse(&body),
            VercelAnswer::Answer { status: 404 | 410, .. } => Some(ResourceList::default()),
            _ => None,
        };
        ListResult { heard: result.heard, resources }
    }

    /// `POST /v1/installations/{id}/billing/finalize` (G3).
    pub(crate) async fn finalize(&self, id: &InstallationId, token: &Secret) -> CallResult {
        let url = self.at(&["v1", "installations", id.as_str(), "billing", "finalize"]);
        self.send(Method::POST, url, token, &mut self.call_time(), SHORT_ANSWER).await.0
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
}
