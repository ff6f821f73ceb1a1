//! The steps of a call that teardown passes on to the provider's backend (J). teardown tries to verify the
//! call's token, then sends the call.

use std::time::Instant;

use bytes::Bytes;
use http::{Method, request};

use super::line::RequestLog;
use super::{App, Handled, HostTime, Panicked};
use crate::auth::AuthError;
use crate::backend::MAX_PASSING;
use crate::error::Error;
use crate::front::{Call, Operation};
use crate::grant::Membership;
use crate::http::{Ids, Reply, idempotency_key, read_body};
use crate::ids::InvalidId;
use crate::telemetry;

/// No call can be passed on, because no backend is configured.
#[derive(Debug, thiserror::Error)]
#[error("BACKEND_URL is not set")]
struct NoBackend;

impl App {
    /// Passes a call on to the provider's backend. The call is completed even if the caller closes the
    /// connection (J4).
    pub(super) async fn pass<B>(
        &self,
        ids: Option<Ids>,
        head: request::Parts,
        body: B,
        line: &mut RequestLog,
    ) -> Result<Handled, Error>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let front = self.front.clone().ok_or_else(|| Error::Internal(NoBackend.into()))?;
        // The time that the host grants for a call begins before the call's body arrives.
        let host_ends = head.extensions.get().map(|HostTime(time)| Instant::now() + *time);
        let recorded = self.recorded(ids, &head, line).await?;
        let body = read_body(body, MAX_PASSING, self.limits.passing_body).await?;
        let call = Call { head, body, recorded, host_ends };
        let passing = async move { front.pass(call).await };
        let passed = tokio::spawn(telemetry::counting_dynamodb_calls(passing)).await;
        let (answer, dynamodb_calls) = passed.map_err(|_| Error::Internal(Panicked.into()))?;
        telemetry::add_dynamodb_calls(dynamodb_calls);
        Ok(Handled { reply: Reply::Passed(answer?), jobs: None })
    }

    /// What teardown records of a call that it passes on to the backend (J2). `None` if the call has no valid
    /// token for its installation, or no valid ids.
    ///
    /// # Errors
    ///
    /// [`Error::KeysUnavailable`] if the token's key cannot be looked up, and the call may create something.
    /// teardown must record such a call, and the caller can send the call again.
    async fn recorded(
        &self,
        ids: Option<Ids>,
        head: &request::Parts,
        line: &mut RequestLog,
    ) -> Result<Option<(Membership, Operation)>, Error> {
        let route = line.route();
        let creates = [Method::PUT, Method::POST].contains(&head.method);
        let caller = match self.verifier.authenticate(&head.headers).await {
            Ok(caller) => caller,
            Err(error @ AuthError::KeysUnavailable { .. }) if creates => return Err(error.into()),
            Err(error) => {
                tracing::warn!(route, reason = %error, "passed on, not recorded");
                return Ok(None);
            }
        };
        line.authenticated(caller.kind(), ids.as_ref());
        let Some(ids) = ids else {
            tracing::warn!(route, reason = %InvalidId::Id, "passed on, not recorded");
            return Ok(None);
        };
        let operation = match &ids {
            Ids::Resource(_, resource) => Operation::Resource(resource.clone()),
            Ids::Installation(_) | Ids::Configuration(_) if head.method == Method::PUT => {
                Operation::Upsert
            }
            Ids::Installation(_) | Ids::Configuration(_) if head.method == Method::POST => {
                // A malformed `Idempotency-Key` counts as absent in the front, because the backend decides
                // whether to refuse the key.
                Operation::Provision(idempotency_key(&head.headers).unwrap_or_default())
            }
            Ids::Installation(_) | Ids::Configuration(_) => Operation::UpdateInstallation,
        };
        let membership = Membership::of(caller, ids.installation().clone());
        if membership.is_none() {
            let reason = Error::OtherInstallation;
            tracing::warn!(route, %reason, "passed on, not recorded");
        }
        Ok(membership.map(|membership| (membership, operation)))
    }
}
