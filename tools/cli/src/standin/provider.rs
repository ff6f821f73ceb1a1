//! A stand-in for the provider's own endpoint. The stand-in accepts every announcement with a good signature.

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook, WebhookError,
};
use teardown::clock::Clock;
use teardown::secret::Secret;

use super::backend::Backend;
use super::{PROVIDER_PATH, say};

/// How many seconds an announcement's time may differ from the clock. Standard Webhooks recommends this
/// number.
const TOLERANCE: u64 = 5 * 60;

/// An endpoint that verifies announcements.
struct Receiver {
    webhook: Webhook,
    clock: Clock,
    backend: Option<Backend>,
}

impl Receiver {
    /// Verifies an announcement by the system's clock. If the announcement's time is in the future, verifies
    /// the announcement by the clock of `teardown dev`, which a user may have moved forward.
    fn verify(&self, body: &[u8], headers: &HeaderMap) -> Result<(), WebhookError> {
        let verified = self.webhook.verify(body, headers);
        if !matches!(verified, Err(WebhookError::FutureTimestampError)) {
            return verified;
        }
        let text = |name| headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let sent: i64 = text(HEADER_WEBHOOK_TIMESTAMP).parse().unwrap_or_default();
        if self.clock.timestamp().as_secs().abs_diff(sent.unsigned_abs()) > TOLERANCE {
            return verified;
        }
        let signature = self.webhook.sign(text(HEADER_WEBHOOK_ID), sent, body)?;
        let mut signatures = text(HEADER_WEBHOOK_SIGNATURE).split(' ');
        signatures.any(|it| it == signature).then_some(()).ok_or(WebhookError::InvalidSignature)
    }
}

/// The endpoint at [`PROVIDER_PATH`]. The endpoint verifies announcements with the first of these secrets
/// (`whsec_…`) and with this clock. If there is a sample backend, the endpoint passes the events on to it.
///
/// # Errors
///
/// If there is no secret, or the first secret is not valid.
pub fn router(
    secrets: &[Secret],
    clock: Clock,
    backend: Option<Backend>,
) -> anyhow::Result<Router> {
    let secret = secrets.first().context("PROVIDER_SECRET is missing")?;
    // The library's error may reveal the secret, so this code drops the error.
    let webhook = Webhook::new(secret.expose()).ok().context("PROVIDER_SECRET verifies nothing")?;
    Ok(Router::new().route(PROVIDER_PATH, post(receive)).with_state(Arc::new(Receiver {
        webhook,
        clock,
        backend,
    })))
}

async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if let Err(error) = receiver.verify(&body, &headers) {
        say(&format!("provider  refused: {error}"));
        return StatusCode::UNAUTHORIZED;
    }
    let id = headers.get(HEADER_WEBHOOK_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let event: Value = serde_json::from_slice(&body).unwrap_or_default();
    if let Some(backend) = &receiver.backend {
        backend.receive(&event);
    }
    say(&format!("provider  {}", describe(&event, id)));
    StatusCode::OK
}

/// An event of an announcement, in one line.
fn describe(event: &Value, id: &str) -> String {
    let text = |pointer| event.pointer(pointer).and_then(Value::as_str);
    let at = text("/data/teardownAt").map(|at| format!("torn down at {at}"));
    let parts = [
        text("/type").or(Some("an event without a type")),
        text("/data/installationId"),
        text("/data/resourceId"),
        at.as_deref(),
        Some(id),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_one_line() {
        let describe = |body: &[u8], id| {
            let event = serde_json::from_slice(body).unwrap_or_default();
            describe(&event, id)
        };
        let resource =
            br#"{"type":"resource.deleted","data":{"installationId":"i","resourceId":"r"}}"#;
        assert_eq!(describe(resource, "msg_1"), "resource.deleted  i  r  msg_1");
        let installation = br#"{"type":"installation.deleted","data":{"installationId":"i"}}"#;
        assert_eq!(describe(installation, "msg_2"), "installation.deleted  i  msg_2");
        let scheduled = br#"{"type":"installation.deletion_scheduled",
            "data":{"installationId":"i","teardownAt":"2025-11-29T00:00:00Z"}}"#;
        assert_eq!(
            describe(scheduled, "msg_2"),
            "installation.deletion_scheduled  i  torn down at 2025-11-29T00:00:00Z  msg_2"
        );
        assert_eq!(describe(b"nothing", "msg_3"), "an event without a type  msg_3");
    }
}
