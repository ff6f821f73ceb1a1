//! The changes that make the table agree with Vercel, at an operator's request (L1).

use super::Act;
use super::forget::Announced;
use crate::deletion::configuration::Team;
use crate::deletion::{Belief, Resource};
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::{InstallationId, ResourceId};
use crate::job::Job;
use crate::reconcile;
use crate::store::Store;
use crate::store::attr::{n, s};
use crate::store::conditions::active;
use crate::store::configuration::{set_team, still_in_team};
use crate::store::evidence::learn;
use crate::store::keys;
use crate::store::transaction::{Committed, Expression, Part, Transaction};
use crate::store::work::LeaseWrite;

/// The effect of deleting a resource that Vercel does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// This call deleted the resource.
    Deleted,
    /// The table has no live resource of this id. Nothing was written.
    Gone,
    /// The resource is still being provisioned (C2). Nothing was written.
    Busy,
}

impl Store {
    /// Returns a store for the same table, whose deletions are announced as `announced` says.
    #[must_use]
    pub fn announcing(self, announced: Announced) -> Self {
        match announced {
            Announced::After(grace) => Self { announces: true, grace, ..self },
            Announced::Never => Self { announces: false, ..self },
        }
    }

    /// Stores the team that an installation has at Vercel, if the stored team is still `from`. Returns
    /// whether the team was stored.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn follow_to_team(
        &self,
        id: &InstallationId,
        from: &Team,
        to: Option<String>,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::on(&self.table);
        let (key, to) = (keys::installation(id), from.named(to));
        transaction.update(Part::Installation, key, set_team(&to), still_in_team(from));
        Ok(self.in_time(self.commit_leased(transaction)).await? == LeaseWrite::Written)
    }

    /// Uninstalls an installation whose configuration was removed at Vercel. The receipt says that the system
    /// deleted the installation, not a user (K3).
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn uninstall_removed(
        &self,
        id: &InstallationId,
        account: Option<&str>,
    ) -> Result<(), Error> {
        let account = account.unwrap_or_default().to_owned();
        let removal = reconcile::removal(id.clone(), account, self.clock.timestamp());
        self.delete(&removal).await.map(|_| ())
    }

    /// Deletes a resource that Vercel does not have, in the same way as Delete Resource. The resource's
    /// receipt has the operator's name.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn delete_missing(
        &self,
        id: &InstallationId,
        account: Option<&str>,
        resource: &ResourceId,
        act: &Act,
    ) -> Result<Missing, Error> {
        let at = self.clock.timestamp();
        let by = Actor::System { account: account.unwrap_or_default().to_owned() };
        let provenance = Provenance { by, at, reason: Some(act.reason.clone()) };
        let provisioning = self.provisioning(at);
        let mut transaction = Transaction::on(&self.table);
        let count = Expression::new("ADD resources :minus_one").value(":minus_one", n(-1));
        transaction.update(Part::Installation, keys::installation(id), count, active());
        let (key, deletable) = (keys::resource(id, resource), provisioning.deletable());
        transaction.delete(Part::Resource, key, Some(deletable));
        // A live resource has a receipt only if the receipt has expired, or if a writer of the table broke
        // the rules. This transaction replaces the receipt.
        let mut receipt = self.receipt(keys::resource_receipt(id, resource), &provenance, None);
        let teardown_at = self.teardown_at(at);
        receipt.extend(self.schedule_attributes(at, teardown_at));
        receipt.insert("reconciledBy".to_owned(), s(&act.by));
        transaction.put(Part::Receipt, receipt, None);
        if let Some(teardown_at) = teardown_at {
            let job = Job::AnnounceResource(resource.clone());
            let item = self.announcement(&job, id, &provenance, teardown_at, None);
            transaction.put(Part::Announcement, item, None);
        }
        let Committed::No(evidence) = self.in_time(transaction.commit(&self.client)).await? else {
            return Ok(Missing::Deleted);
        };
        let mut belief = Belief::default();
        for (part, item) in evidence {
            learn(&mut belief, part, item, provisioning)?;
        }
        Ok(match belief.resource {
            Resource::Provisioning => Missing::Busy,
            Resource::Ready | Resource::Absent => Missing::Gone,
        })
    }
}
