//! The front: calls that pass through to the provider's backend, and what is recorded of them (J).
//!
//! ```text
//!   Provision   intent → backend → commit: the resource, and the end of the intent, in one transaction
//!   the others           backend → what its answer says
//! ```
//!
//! A call is sent on once, and its answer comes back byte for byte. What a verified token vouches for is
//! recorded if the backend answers 2xx; everything else passes unrecorded. A process that dies leaves a
//! Provision's intent, and the sweep compares the installation with Vercel.

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

/// Passes calls on. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    store: Store,
    backend: Backend,
    /// How long the backend may take.
    time: Duration,
}

/// A call to pass on. It has no `Debug`: its token and its body are secrets.
pub(crate) struct Call {
    pub(crate) head: request::Parts,
    pub(crate) body: Bytes,
    /// What is to be recorded of it. `None` if it passes unrecorded.
    pub(crate) recorded: Option<(Membership, Operation)>,
    /// When the host's time for it ends, if it says so.
    pub(crate) host_ends: Option<Instant>,
}

/// The process was frozen for too long between the write of a Provision's intent and the call to the backend.
#[derive(Debug, thiserror::Error)]
#[error("the backend was not asked: the call's intent may be reconciled before it answers")]
struct AskedTooLate;

/// What a call asks for, as far as it matters for what is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Upsert Installation (J3).
    Upsert,
    /// Update Installation: nothing but that there is one (J2).
    UpdateInstallation,
    /// Provision Resource, under this idempotency key (J4).
    Provision(Option<IdempotencyKey>),
    /// Get or Update Resource (J5).
    Resource(ResourceId),
}

impl Front {
    pub(crate) fn new(store: Store, backend: Backend) -> Self {
        let time = store.limits().backend;
        Self { store, backend, time }
    }

    /// Passes a call on, and gives the backend's answer.
    ///
    /// # Errors
    ///
    /// [`Error::BackendUnavailable`]; [`Error::InstallationDeleted`] for a Provision; and the store's
    /// errors, if nothing was sent on or if the same call can be sent again.
    pub(crate) async fn pass(&self, call: Call) -> Result<Response<Bytes>, Error> {
        let Call { head, body, recorded, host_ends } = call;
        match recorded {
            Some((membership, Operation::Provision(key))) => {
                let attempt = self.store.begin_provision(membership, key.as_ref()).await?;
                if attempt.as_ref().is_some_and(|it| !self.store.may_ask(it, self.time)) {
                    return Err(Error::BackendUnavailable(AskedTooLate.into()));
                }
                let answer = self.ask(&head, body, host_ends).await?;
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
                let answer = self.ask(&head, body.clone(), host_ends).await?;
                if answer.status().is_success() {
                    self.record(&membership, &operation, &body, &answer).await?;
                }
                Ok(answer)
            }
            None => self.ask(&head, body, host_ends).await,
        }
    }

    async fn ask(
        &self,
        head: &request::Parts,
        body: Bytes,
        host_ends: Option<Instant>,
    ) -> Result<Response<Bytes>, Error> {
        let until = Instant::now() + self.time;
        let until = host_ends.map_or(until, |end| until.min(end));
        let answer = self.backend.ask(head, body, until).await;
        answer.map_err(|error| Error::BackendUnavailable(error.into()))
    }

    /// Records what the backend's 2xx says. Only an Upsert fails if it cannot be recorded: its token is
    /// nowhere else, and the same call can be sent again (J3). What the others say, the next ones say again.
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
                let said = reading::said(answer);
                let name = said.name.as_deref();
                self.store.update_reported(membership, resource, name, said.status).await
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

    /// Records what the backend answered to a Provision (J4). A 3xx and a 5xx say nothing definite: the intent
    /// stays.
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
