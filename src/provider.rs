//! Sends events, in the form of Standard Webhooks, to the provider's own endpoint. Announcements tell the
//! provider what to destroy (G1). Reports tell the provider what its operators have to fix (L3).

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use reqwest::Url;
use serde::Serialize;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};

use crate::clock::Timestamp;
use crate::config;
use crate::grant::{Actor, Provenance};
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::job::incident::Incident;
use crate::outbound::{self, Outbound};
use crate::secret::Secret;
use crate::telemetry;

/// How long the provider may take to answer an event. If the provider's own deletion takes longer than
/// `ATTEMPT_TIMEOUT`, the provider answers 202 before the deletion ends.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);

/// The wait before an announcement is sent again after a 202, if the `Retry-After` of the 202 cannot be read.
const STILL_AT_IT: Duration = Duration::from_mins(1);

/// The client for the provider's endpoint. Clones of the client share its connections.
#[derive(Clone)]
pub(crate) struct Provider {
    url: Url,
    /// The secrets that sign events, the newest first.
    secrets: Vec<Secret>,
    outbound: Outbound,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `Debug` does not show the provider's address, because the address may contain a password.
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

/// An event that announces a deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// `webhook-id`, which is the same in every attempt to send the event.
    pub(crate) id: String,
    /// `type`.
    pub(crate) event: &'static str,
    /// The event's `timestamp`. The notice has the time of the deletion, and the `deleted` event has
    /// `teardownAt`.
    pub(crate) at: Timestamp,
    pub(crate) installation: InstallationId,
    /// The resource that was deleted. `None` if the installation was deleted.
    pub(crate) resource: Option<ResourceId>,
    pub(crate) provenance: Provenance,
    /// When the `deleted` event is sent. `None` if the announcement is the `deleted` event itself.
    pub(crate) teardown_at: Option<Timestamp>,
    /// When the installation will be finalized at Vercel. `None` if there is no finalization.
    pub(crate) finalizes_at: Option<Timestamp>,
}

/// The report of an incident, for the provider (L3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    pub(crate) incident: Incident,
    pub(crate) installation: &'a InstallationId,
    pub(crate) job: &'a Job,
    /// The resource that the job is about. `None` if the job is about the installation.
    pub(crate) resource: Option<&'a ResourceId>,
    /// What went wrong, as text for people.
    pub(crate) reason: &'a str,
    /// The time at which the job's attempt ended.
    pub(crate) at: Timestamp,
}

/// The provider's answer to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// The provider is done with the event.
    Done,
    /// The provider is not done with the event yet. The variant contains the wait before the event must be
    /// sent again.
    InProgress(Duration),
    /// The delivery failed. The variant contains the reason and the provider's `Retry-After`.
    Failed(String, Option<Duration>),
}

#[derive(Serialize)]
struct WebhookEvent<T> {
    r#type: &'static str,
    timestamp: String,
    data: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<'a> {
    installation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
    deleted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    teardown_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finalizes_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    by: By<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct By<'a> {
    kind: &'static str,
    account_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IncidentData<'a> {
    installation_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    work: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_at: Option<String>,
}

impl Report<'_> {
    fn body(&self) -> String {
        let mut data = IncidentData {
            installation_id: self.installation.as_str(),
            resource_id: None,
            work: None,
            until: None,
            reason: self.reason,
            failing_since: None,
            parked_at: None,
        };
        match self.incident {
            Incident::WorkParked { failing_since } => {
                data.resource_id = self.resource.map(ResourceId::as_str);
                data.work = Some(self.job.to_string());
                data.failing_since = Some(failing_since.to_string());
                data.parked_at = Some(self.at.to_string());
            }
            Incident::FinalizationLate { until } => data.until = Some(until.to_string()),
        }
        let (r#type, timestamp) = (self.incident.event(), self.at.to_string());
        // An event contains only strings, so its serialization never fails.
        serde_json::to_string(&WebhookEvent { r#type, timestamp, data }).unwrap_or_default()
    }
}

impl Announcement {
    /// The body of the request that sends the announcement. Every attempt sends the same bytes, because the
    /// body depends only on what was deleted, when, by whom and why.
    fn body(&self) -> String {
        let Provenance { by, at, reason } = &self.provenance;
        let (user_id, role) = match by {
            // The role of the user is always `ADMIN`, because only an `ADMIN` may delete (A5).
            Actor::User { user, .. } => (Some(user.as_str()), Some("ADMIN")),
            Actor::System { .. } => (None, None),
        };
        let event = WebhookEvent {
            r#type: self.event,
            timestamp: self.at.to_string(),
            data: Data {
                installation_id: self.installation.as_str(),
                resource_id: self.resource.as_ref().map(ResourceId::as_str),
                deleted_at: at.to_string(),
                teardown_at: self.teardown_at.map(|at| at.to_string()),
                finalizes_at: self.finalizes_at.map(|at| at.to_string()),
                reason: reason.as_deref(),
                by: By { kind: by.kind(), account_id: by.account(), user_id, role },
            },
        };
        // An event contains only strings, so its serialization never fails.
        serde_json::to_string(&event).unwrap_or_default()
    }
}

impl Provider {
    /// A client for the provider's endpoint.
    pub(crate) fn new(provider: &config::ProviderConfig, outbound: Outbound) -> Self {
        Self { url: provider.url.clone(), secrets: provider.secrets.clone(), outbound }
    }

    /// Sends an announcement, in one attempt.
    pub(crate) async fn announce(&self, announcement: &Announcement, now: Timestamp) -> Delivery {
        match self.post(&announcement.id, announcement.body(), now).await {
            Ok(response) => delivery(&response),
            Err(reason) => Delivery::Failed(reason, None),
        }
    }

    /// Sends the report of an incident, in one attempt. Any 2xx means that the provider has received the
    /// report, so a report is not sent again after a 202.
    ///
    /// # Errors
    ///
    /// A text that says why the provider did not receive the report.
    pub(crate) async fn send_report(
        &self,
        report: &Report<'_>,
        now: Timestamp,
    ) -> Result<(), String> {
        let id = report.incident.webhook_id(report.installation, report.job);
        match delivery(&self.post(&id, report.body(), now).await?) {
            Delivery::Done | Delivery::InProgress(_) => Ok(()),
            Delivery::Failed(reason, _) => Err(reason),
        }
    }

    /// Signs with each secret, and returns the signatures in the order of the secrets, with spaces between
    /// them. During a rotation of secrets, the provider may know only the older secret (G1).
    fn sign(&self, id: &str, sent_at: i64, body: &[u8]) -> Result<String, String> {
        let sign = |secret: &Secret| Webhook::new(secret.expose())?.sign(id, sent_at, body);
        let signatures: Result<Vec<_>, _> = self.secrets.iter().map(sign).collect();
        // The signing library's error is dropped, because its text may reveal a part of the secret.
        Ok(signatures.map_err(|_| "PROVIDER_SECRET does not sign".to_owned())?.join(" "))
    }

    async fn post(
        &self,
        id: &str,
        body: String,
        now: Timestamp,
    ) -> Result<reqwest::Response, String> {
        let sent_at = now.as_secs().cast_signed();
        let signature = self.sign(id, sent_at, body.as_bytes())?;
        let silence = |error: reqwest::Error| {
            format!("no answer: {}", telemetry::chain(&error.without_url()))
        };
        let request = self.outbound.client(&self.url).map_err(silence)?.post(self.url.clone());
        request
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, sent_at)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .timeout(ATTEMPT_TIMEOUT)
            .body(body)
            .send()
            .await
            .map_err(silence)
    }
}

/// What the provider's answer to an event means. teardown does not read the body of the provider's answer.
/// The `Retry-After` of a 202 counts as at least 1 s, because no provider finishes in less than 1 s.
fn delivery(response: &reqwest::Response) -> Delivery {
    let wait = outbound::retry_after(response.headers());
    match response.status().as_u16() {
        202 if response.headers().contains_key(http::header::RETRY_AFTER) => {
            let wait = wait.unwrap_or(STILL_AT_IT);
            Delivery::InProgress(wait.max(Duration::from_secs(1)))
        }
        200..=299 => Delivery::Done,
        status => Delivery::Failed(format!("answered {status}"), wait),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announcement(resource: Option<&str>, reason: Option<&str>, by: Actor) -> Announcement {
        let at = Timestamp::from_secs(1_763_769_600);
        Announcement {
            id: "msg_1".to_owned(),
            event: if resource.is_some() { "resource.deleted" } else { "installation.deleted" },
            at,
            installation: InstallationId::parse("icfg_1").unwrap(),
            resource: resource.map(|id| ResourceId::parse(id).unwrap()),
            provenance: Provenance { by, at, reason: reason.map(str::to_owned) },
            teardown_at: None,
            finalizes_at: None,
        }
    }

    /// G1: the whole body of a `deleted` event says what was deleted, when and by whom.
    #[test]
    fn an_announcement_says_what_when_and_by_whom() {
        let user = Actor::User { account: "acc_1".to_owned(), user: "user_1".to_owned() };
        let system = Actor::System { account: "acc_1".to_owned() };
        insta::assert_snapshot!(announcement(Some("db_1"), None, user).body(), @r#"{"type":"resource.deleted","timestamp":"2025-11-22T00:00:00Z","data":{"installationId":"icfg_1","resourceId":"db_1","deletedAt":"2025-11-22T00:00:00Z","by":{"kind":"user","accountId":"acc_1","userId":"user_1","role":"ADMIN"}}}"#);
        insta::assert_snapshot!(announcement(None, Some("too \"dear\""), system).body(), @r#"{"type":"installation.deleted","timestamp":"2025-11-22T00:00:00Z","data":{"installationId":"icfg_1","deletedAt":"2025-11-22T00:00:00Z","reason":"too \"dear\"","by":{"kind":"system","accountId":"acc_1"}}}"#);
    }

    /// L3: the whole body of each report says what fails, and since when.
    #[test]
    fn an_incident_says_what_fails_and_since_when() {
        let installation = InstallationId::parse("icfg_1").unwrap();
        let resource = ResourceId::parse("db_1").unwrap();
        let body = |job: &Job, incident| {
            let resource = Some(&resource).filter(|_| *job != Job::Finalize);
            let at = Timestamp::from_secs(1_763_852_400);
            let reason = "Vercel answered 500";
            Report { incident, installation: &installation, job, resource, reason, at }.body()
        };
        let time = Timestamp::from_secs(1_763_769_600);
        let announcement = Job::AnnounceResource(resource.clone());
        insta::assert_snapshot!(body(&announcement, Incident::WorkParked { failing_since: time }), @r#"{"type":"operation.work_parked","timestamp":"2025-11-22T23:00:00Z","data":{"installationId":"icfg_1","resourceId":"db_1","work":"announce#resource#db_1","reason":"Vercel answered 500","failingSince":"2025-11-22T00:00:00Z","parkedAt":"2025-11-22T23:00:00Z"}}"#);
        insta::assert_snapshot!(body(&Job::Finalize, Incident::WorkParked { failing_since: time }), @r#"{"type":"operation.work_parked","timestamp":"2025-11-22T23:00:00Z","data":{"installationId":"icfg_1","work":"finalize","reason":"Vercel answered 500","failingSince":"2025-11-22T00:00:00Z","parkedAt":"2025-11-22T23:00:00Z"}}"#);
        insta::assert_snapshot!(body(&Job::Finalize, Incident::FinalizationLate { until: time }), @r#"{"type":"operation.finalization_late","timestamp":"2025-11-22T23:00:00Z","data":{"installationId":"icfg_1","until":"2025-11-22T00:00:00Z","reason":"Vercel answered 500"}}"#);
    }

    /// H1, H4: a notice says when the `deleted` event will be sent, and when the installation will be
    /// finalized.
    #[test]
    fn a_notice_says_what_comes() {
        let system = Actor::System { account: "acc_1".to_owned() };
        let notice = Announcement {
            event: "installation.deletion_scheduled",
            teardown_at: Some(Timestamp::from_secs(1_764_374_400)),
            finalizes_at: Some(Timestamp::from_secs(1_763_848_800)),
            ..announcement(None, None, system)
        };
        insta::assert_snapshot!(notice.body(), @r#"{"type":"installation.deletion_scheduled","timestamp":"2025-11-22T00:00:00Z","data":{"installationId":"icfg_1","deletedAt":"2025-11-22T00:00:00Z","teardownAt":"2025-11-29T00:00:00Z","finalizesAt":"2025-11-22T22:00:00Z","by":{"kind":"system","accountId":"acc_1"}}}"#);
    }
}
