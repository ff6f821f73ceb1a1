//! The front: passes calls on to the provider's backend, and records what the backend accepts (J).
//!
//! ```text
//!   Provision   intent → backend → commit: the resource, and the end of the intent, in one transaction
//!   other calls          backend → record of what its answer says
//! ```
//!
//! The front sends a call on once, and returns the backend's answer byte for byte. If the backend answers
//! 2xx, the front records what the answer says, as far as the verified token vouches for it. If the backend
//! answers anything else, the front records nothing. If a process dies during a Provision, the intent stays,
//! and the sweep compares the installation with Vercel.

mod reading;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Response, request};

use crate::backend::Backend;
use crate::error::Error;
use crate::grant::Membership;
use crate::ids::{IdempotencyKey, ResourceId};
use crate::store::Store;
use crate::store::front::Upserted;
use crate::store::provision::{Attempt, Provisioned};
use crate::telemetry;

/// Passes calls on to the backend. All clones share the same connections.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    store: Store,
    backend: Backend,
    /// How long the backend may take to answer.
    time: Duration,
}

/// A call to pass on. `Call` has no `Debug`, because a call's token and body are secrets.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) body: Bytes,
    /// What to record if the backend accepts the call. `None` if nothing of the call is recorded.
    pub(crate) recorded: Option<(Membership, Operation)>,
    /// When the host ends the call. `None` if the host does not say when.
    pub(crate) host_ends: Option<Instant>,
}

/// The process was frozen for too long between the write of a Provision's intent and the call to the backend.
#[derive(Debug, thiserror::Error)]
#[error("the backend was not called: the call's intent may be reconciled before it answers")]
struct CalledTooLate;

/// The operation of a call, which decides what the front records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Upsert Installation (J3).
    Upsert,
    /// Update Installation. Only the fact that the installation exists is recorded (J2).
    UpdateInstallation,
    /// Provision Resource (J4). `None` if the request has no idempotency key.
    Provision(Option<IdempotencyKey>),
    /// Get or Update Resource (J5).
    Resource(ResourceId),
}

impl Front {
    pub(crate) fn new(store: Store, backend: Backend) -> Self {
        let time = store.limits().backend;
        Self { store, backend, time }
    }

    /// Passes a call on, and returns the backend's answer.
    ///
    /// # Errors
    ///
    /// [`Error::BackendUnavailable`] if the backend does not answer, or may no longer be called.
    /// [`Error::InstallationDeleted`] if the call is a Provision and the installation was deleted. The
    /// store's errors if the backend was not called, and if an Upsert could not be recorded.
    pub(crate) async fn pass(&self, call: Call) -> Result<Response<Bytes>, Error> {
        let Call { head, body, recorded, host_ends } = call;
        match recorded {
            Some((membership, Operation::Provision(key))) => {
                let attempt = self.store.begin_provision(membership, key.as_ref()).await?;
                if attempt.as_ref().is_some_and(|it| !self.store.may_call(it, self.time)) {
                    return Err(Error::BackendUnavailable(CalledTooLate.into()));
                }
                let answer = self.call_backend(&head, body, host_ends).await?;
                if let Some(attempt) = attempt {
                    self.record_provision(&attempt, answer).await
                } else {
                    tracing::warn!(
                        "passed on, not recorded: the installation is not known as the account's"
                    );
                    Ok(answer)
                }
            }
            Some((membership, operation)) => {
                let answer = self.call_backend(&head, body.clone(), host_ends).await?;
                if answer.status().is_success() {
                    self.record(&membership, &operation, &body, &answer).await?;
                }
                Ok(answer)
            }
            None => self.call_backend(&head, body, host_ends).await,
        }
    }

    async fn call_backend(
        &self,
        head: &request::Parts,
        body: Bytes,
        host_ends: Option<Instant>,
    ) -> Result<Response<Bytes>, Error> {
        let until = Instant::now() + self.time;
        let until = host_ends.map_or(until, |end| until.min(end));
        let answer = self.backend.call(head, body, until).await;
        answer.map_err(|error| Error::BackendUnavailable(error.into()))
    }

    /// Records what the backend's 2xx answer says. If the write fails, an Upsert fails too, because its token
    /// is stored nowhere else and Vercel can send the same call again (J3). A call that is not an Upsert
    /// succeeds even if the write fails, because a later call reports the same values.
    async fn record(
        &self,
        membership: &Membership,
        operation: &Operation,
        body: &[u8],
        answer: &Response<Bytes>,
    ) -> Result<(), Error> {
        let installation = &membership.installation;
        let recorded = match operation {
            Operation::Upsert => {
                let token = reading::access_token(body);
                let is_free = reading::is_free(answer);
                match self.store.upsert(membership, token.as_ref(), is_free).await? {
                    Upserted::Recorded => {}
                    Upserted::Deleted => tracing::warn!(
                        %installation,
                        "not recorded: the backend has accepted a deleted installation"
                    ),
                    Upserted::NotVouched => tracing::warn!(
                        %installation, "not recorded: the token does not vouch for the installation"
                    ),
                }
                Ok(())
            }
            Operation::Resource(resource) => {
                let reported = reading::reported(answer);
                let name = reported.name.as_deref();
                self.store.update_reported(membership, resource, name, reported.status).await
            }
            Operation::UpdateInstallation | Operation::Provision(_) => {
                self.store.ensure_known(membership).await
            }
        };
        if let Err(error) = recorded {
            let cause = telemetry::chain(&error);
            tracing::warn!(%installation, cause, "not recorded: the next call says it again");
        }
        Ok(())
    }

    /// Records what the backend answered to a Provision (J4). After a 3xx or a 5xx, it is not known whether
    /// the resource exists, so the intent stays.
    async fn record_provision(
        &self,
        attempt: &Attempt,
        answer: Response<Bytes>,
    ) -> Result<Response<Bytes>, Error> {
        let installation = &attempt.membership.installation;
        if answer.status().is_client_error() {
            if let Err(error) = self.store.end_refused(attempt).await {
                let cause = telemetry::chain(&error);
                tracing::warn!(%installation, cause, "a refused Provision's intent stays");
            }
            return Ok(answer);
        }
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let Some(made) = reading::made(installation, &answer) else {
            tracing::error!(
                %installation,
                "the backend's 2xx to a Provision has no usable id: the intent stays"
            );
            return Ok(answer);
        };
        let resource = &made.id;
        match self.store.record_provisioned(attempt, &made).await {
            Ok(Provisioned::Registered) => Ok(answer),
            Ok(Provisioned::DeletedBefore) => {
                tracing::warn!(
                    %installation, %resource,
                    "not registered: the backend names a resource that was deleted before"
                );
                Ok(answer)
            }
            Ok(Provisioned::Uninstalled { announced }) => {
                if announced {
                    tracing::warn!(%installation, %resource, "made in a deleted installation");
                } else {
                    tracing::error!(
                        %installation, %resource,
                        "made in a deleted installation, and announced to nobody"
                    );
                }
                Err(Error::InstallationDeleted)
            }
            Err(error) => {
                let cause = telemetry::chain(&error);
                tracing::error!(
                    %installation, %resource, cause,
                    "made, and not recorded: the intent stays"
                );
                Ok(answer)
            }
        }
    }
}
