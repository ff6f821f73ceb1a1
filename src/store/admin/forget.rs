//! `forget` deletes an installation in the table without a call to Vercel. Operators use `forget` if teardown
//! can no longer delete the installation at Vercel (E6).

use std::time::Duration;

use super::Act;
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::InstallationId;
use crate::store::Store;
use crate::store::configuration::{Committer, Holder};
use crate::store::work::LeaseWrite;

/// Whether, and when, the provider is notified of the deletions that an operator makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The notice is sent immediately, and the `deleted` event after this time, in whole seconds. If this
    /// time is zero, only the `deleted` event is sent.
    After(Duration),
    /// The provider is not notified.
    Never,
}

/// The effect of `forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// The installation is deleted in the table. Vercel was not called.
    Now {
        /// Whether the installation was already uninstalled. `forget` does not change the announcements of an
        /// earlier uninstall.
        uninstalled: bool,
    },
    /// The installation and its configuration were deleted before. Nothing was written.
    Before,
    /// The installation is not in the table. Nothing was written.
    Unknown,
}

impl Store {
    /// Deletes an installation in the table as Delete Configuration does, but does not call Vercel. Even if
    /// invoices are open, `forget` erases the access token, and Vercel is not called to finalize the
    /// installation.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn forget(
        &self,
        id: &InstallationId,
        act: &Act,
        announced: Announced,
    ) -> Result<Forgotten, Error> {
        self.in_time(async {
            // If an item has changed since it was read, the loop reads the items again and tries a new
            // transaction.
            loop {
                let now = self.clock.timestamp();
                let snapshot = self.load(id, None, now).await?;
                let Some(loaded) = snapshot.loaded() else { return Ok(Forgotten::Unknown) };
                if loaded.installation.is_gone_on_both_sides() {
                    return Ok(Forgotten::Before);
                }
                let account = loaded.installation.account.clone().unwrap_or_default();
                let by = Actor::System { account };
                let provenance = Provenance { by, at: now, reason: Some(act.reason.clone()) };
                let teardown_at = match announced {
                    Announced::After(grace) => Some(now + grace),
                    Announced::Never => None,
                };
                let committer = Committer::Operator { by: &act.by, teardown_at };
                let holder = Holder::of(&snapshot);
                let commit = self.commit_configuration(id, &provenance, loaded, holder, committer);
                if commit.await? == LeaseWrite::Written {
                    let uninstalled = loaded.installation.deletion.is_some();
                    return Ok(Forgotten::Now { uninstalled });
                }
            }
        })
        .await
    }
}
