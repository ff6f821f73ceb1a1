//! The client for Vercel's REST API. A deletion, and the comparison of the table with Vercel, need Vercel's
//! configurations, resources and final invoices.
//!
//! The client sends requests, retries temporary failures, and returns Vercel's answer. `saga`, `work` and
//! [`crate::reconcile`] decide what Vercel's answer means. teardown's answers have teardown's own error
//! codes, and mark a message from Vercel as Vercel's. The module `calls` sends requests. `configuration` and
//! `resources` read Vercel's answers.

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

/// The client for Vercel's API. Clones of the client share its connections.
#[derive(Clone, Debug)]
pub struct Vercel {
    api: Url,
    outbound: Outbound,
    limits: Limits,
    /// The largest number of attempts for one call.
    attempts: u32,
}

/// Vercel's last answer to a call, and whether the call is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallResult {
    /// Vercel's last answer.
    pub answer: VercelAnswer,
    /// Whether an attempt of the call may have taken effect, because the attempt got no definite answer (E2).
    pub in_doubt: bool,
}

/// The result of a look-up of a configuration at Vercel (E7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupResult {
    /// Vercel's last answer.
    pub answer: VercelAnswer,
    /// The configuration at Vercel. `None` if the answer's body is not a configuration that can be read.
    pub configuration: Option<VercelConfiguration>,
}

/// The result of a request for an installation's resources at Vercel (L1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListResult {
    /// Vercel's last answer.
    pub answer: VercelAnswer,
    /// The resources that Vercel has. `None` if the answer does not say which resources Vercel has.
    pub resources: Option<ResourceList>,
}

/// Vercel's answer to a request, or the reason why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VercelAnswer {
    /// Vercel answered the request.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Vercel's `error.code` and `error.message`, if there are any.
        error: Option<VercelError>,
        /// The time in the `Retry-After` header of Vercel's answer.
        retry_after: Option<Duration>,
    },
    /// The request may have reached Vercel, but no HTTP answer arrived. The text says why no answer arrived.
    Nothing(String),
    /// No byte of the request was sent. The text says why nothing was sent.
    Unreached(String),
}

/// The code and the message of Vercel's error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct VercelError {
    /// `error.code` of Vercel's answer.
    #[serde(default)]
    pub code: String,
    /// `error.message` of Vercel's answer.
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
    /// The result of a call if nothing was sent to Vercel.
    fn unreached(why: String) -> Self {
        Self { answer: VercelAnswer::Unreached(why), in_doubt: false }
    }

    /// The result of a call if the request could not be built.
    fn unbuilt(error: reqwest::Error) -> Self {
        Self::unreached(telemetry::chain(&error.without_url()))
    }
}

impl VercelAnswer {
    /// Whether the request is in doubt. A request is in doubt after a 5xx, an undocumented 2xx, or no answer
    /// (E2).
    fn is_in_doubt(&self) -> bool {
        match self {
            Self::Answer { status: 200 | 204, .. } | Self::Unreached(_) => false,
            Self::Answer { status, .. } => *status >= 500 || (200..300).contains(status),
            Self::Nothing(_) => true,
        }
    }

    /// Whether Vercel may give another answer if the same request is sent again soon.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        self.is_in_doubt() || matches!(self, Self::Answer { status: 429, .. } | Self::Unreached(_))
    }

    /// The code and the message of Vercel's error.
    pub(crate) fn error(self) -> Option<VercelError> {
        match self {
            Self::Answer { error, .. } => error,
            Self::Nothing(_) | Self::Unreached(_) => None,
        }
    }

    /// How long Vercel wants the client to wait before it sends the request again.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Answer { retry_after, .. } => *retry_after,
            Self::Nothing(_) | Self::Unreached(_) => None,
        }
    }
}

/// The text that describes Vercel's answer in logs and in the stored reason of a job's failure.
impl std::fmt::Display for VercelAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Answer { status, error: Some(error), .. } => {
                write!(f, "Vercel answered {status}: {error}")
            }
            Self::Answer { status, .. } => write!(f, "Vercel answered {status}"),
            Self::Nothing(why) => write!(f, "Vercel did not answer: {why}"),
            Self::Unreached(why) => write!(f, "Vercel was not called: {why}"),
        }
    }
}

impl Vercel {
    /// A client for the API at the address `api`, which may have a path.
    #[must_use]
    pub fn new(api: Url, outbound: Outbound, limits: Limits) -> Self {
        Self { api, outbound, limits, attempts: ATTEMPTS }
    }

    /// Returns a client that attempts each call only once, for code that counts its own requests.
    #[must_use]
    pub fn attempting_once(self) -> Self {
        Self { attempts: 1, ..self }
    }

    /// Sends `DELETE /v1/integrations/configuration/{id}` (E2). `before_sending` runs when the connection to
    /// Vercel is open, before the client sends the request.
    ///
    /// # Errors
    ///
    /// The error with which `before_sending` failed. If `before_sending` fails, nothing is sent to Vercel.
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

    /// Sends `DELETE /v1/integrations/configuration/{id}` again, for the team that has the configuration at
    /// Vercel (E7).
    pub(crate) async fn delete_configuration_there(
        &self,
        id: &InstallationId,
        team: Option<&str>,
        token: &Secret,
        time: &mut CallTime,
    ) -> CallResult {
        self.send(Method::DELETE, self.configuration(id, team), token, time, SHORT_ANSWER).await.0
    }

    /// Sends `GET /v1/integrations/configuration/{id}` without a team, because any team may have the
    /// configuration (E7).
    pub async fn look_up_configuration(
        &self,
        id: &InstallationId,
        token: &Secret,
        time: &mut CallTime,
    ) -> LookupResult {
        let url = self.configuration(id, None);
        let (result, body) = self.send(Method::GET, url, token, time, SHORT_ANSWER).await;
        LookupResult { answer: result.answer, configuration: VercelConfiguration::parse(&body) }
    }

    /// Sends `GET /v1/installations/{id}/resources`, to list the resources that Vercel has for an
    /// installation (L1). If Vercel does not know the installation, the list of resources is empty.
    pub async fn list_resources(
        &self,
        id: &InstallationId,
        token: &Secret,
        time: &mut CallTime,
    ) -> ListResult {
        let url = self.at(&["v1", "installations", id.as_str(), "resources"]);
        let (result, body) = self.send(Method::GET, url, token, time, LONG_ANSWER).await;
        let resources = match result.answer {
            VercelAnswer::Answer { status: 200, .. } => ResourceList::parse(&body),
            VercelAnswer::Answer { status: 404 | 410, .. } => Some(ResourceList::default()),
            _ => None,
        };
        ListResult { answer: result.answer, resources }
    }

    /// Sends `POST /v1/installations/{id}/billing/finalize` (G3).
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
