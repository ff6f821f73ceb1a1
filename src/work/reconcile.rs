//! Ends a Provision whose end nobody recorded (J4). The worker compares the installation with Vercel, and
//! registers the resources that the table lacks. If the installation is deleted, the worker instead announces
//! the deletion of the resources that the table lacks.

use super::{AttemptResult, Worker, failed};
use crate::error::Error;
use crate::ids::InstallationId;
use crate::job::JobResult;
use crate::reconcile::{Listing, missing_here};
use crate::store::comparison::Added;
use crate::store::registry::RegisterError;
use crate::store::work::{JobFailure, Lease, LeaseWrite};
use crate::vercel::ListedResource;

impl Worker {
    /// Ends a Provision's intent. If a new attempt has joined the intent since the worker claimed it, the
    /// intent stays, because the attempt has raised the fence.
    pub(super) async fn reconcile(&self, lease: &Lease) -> Result<AttemptResult, Error> {
        let id = &lease.installation;
        let Some(stored) = self.store.stored(id).await? else {
            return Ok(failed("its installation is not known", None));
        };
        let is_active = stored.installation.deletion.is_none();
        let Some(token) = self.store.token(id).await? else {
            let failure = JobFailure::new("no access token is stored to call Vercel with", None);
            // The token of a deleted installation is erased for good: no later attempt can read a token.
            let failure = if is_active { failure } else { failure.permanent() };
            return Ok(AttemptResult::Failed(failure));
        };
        let reply = self.vercel.list_resources(id, &token, &mut self.vercel.call_time()).await;
        let (reason, retry_after) = (reply.answer.to_string(), reply.answer.retry_after());
        let Listing::Known(list) = Listing::of(reply) else {
            return Ok(failed(reason, retry_after));
        };
        let found = if is_active {
            self.register_listed(id, missing_here(&stored, &list).cloned().collect()).await?
        } else {
            let missing = |resource: &&_| {
                !stored.resources.contains_key(*resource) && !stored.deleted.contains(*resource)
            };
            let missing: Vec<_> = list.resources.keys().filter(missing).collect();
            let mut announced = 0_usize;
            for resource in missing {
                announced += usize::from(self.store.announce_listed(id, resource).await?);
            }
            Some(announced)
        };
        let Some(found) = found else {
            return Ok(failed("the installation was deleted meanwhile", None));
        };
        if found == 0 {
            tracing::warn!(
                installation = %id,
                "a Provision whose end was not recorded: Vercel lists no new resource; its backend may have one"
            );
        }
        Ok(AttemptResult::Ended(match self.store.complete(lease).await? {
            LeaseWrite::Written => JobResult::Done,
            LeaseWrite::LeaseLost => JobResult::Lost,
        }))
    }

    /// Registers the resources that Vercel has and the table lacks. Returns how many resources were
    /// registered. `None` if the installation was deleted after the table was read.
    async fn register_listed(
        &self,
        id: &InstallationId,
        missing: Vec<ListedResource>,
    ) -> Result<Option<usize>, Error> {
        let mut registered = 0;
        for listed in missing {
            match self.store.add_listed_resource(id, &listed).await {
                Ok(Added::Now) => registered += 1,
                // If the resource was registered after the table was read, nothing is left to do. If the
                // resource was deleted, it has its own receipt or announcement.
                Ok(Added::Before)
                | Err(RegisterError::ResourceDeleted | RegisterError::ResourceUnannounced) => {}
                Err(
                    RegisterError::InstallationDeleted
                    | RegisterError::InstallationFinalized
                    | RegisterError::InstallationUnknown,
                ) => return Ok(None),
                Err(RegisterError::Store(error)) => return Err(error),
            }
        }
        Ok(Some(registered))
    }
}
