//! `forget`: deletes teardown's side of an installation alone, if Vercel's can no longer be reached (E6).

use std::time::Duration;

use super::Act;
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::InstallationId;
use crate::store::Store;
use crate::store::configuration::{Asked, Holder};
use crate::store::work::LeaseWrite;

/// Whether, and when, the provider is notified of the deletions of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The notice is sent at once, and the `deleted` event after this time, in whole seconds. After no time, the
    /// `deleted` event alone is sent.
    After(Duration),
    /// The provider is not notified.
    Never,
}

/// The effect of `forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Teardown's side is deleted. Vercel was not asked.
    Now {
        /// Whether the installation was uninstalled before. If so, that uninstall's announcements do not
        /// change.
        uninstalled: bool,
    },
    /// The installation and its configuration were deleted before. Nothing was written.
    Before,
    /// The installation is not known. Nothing was written.
    Unknown,
}

impl Store {
    /// Deletes teardown's side of an installation, as Delete Configuration does, without asking Vercel. It
    /// does so even if invoices are open: the access token is erased, and no finalization is called.
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
            // Repeated if something has changed since it was read.
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
                let asked = Asked::Operator { by: &act.by, teardown_at };
                let holder = Holder::of(&snapshot);
                let commit = self.commit_configuration(id, &provenance, loaded, holder, asked);
                if commit.await? == LeaseWrite::Written {
                    let uninstalled = loaded.installation.deletion.is_some();
                    return Ok(Forgotten::Now { uninstalled });
                }
            }
        })
        .await
    }
}
