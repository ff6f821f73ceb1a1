//! `forget`: our side of an installation alone, where Vercel's cannot be reached any more (E6).

use std::time::Duration;

use super::Act;
use crate::error::Error;
use crate::grant::{Actor, Provenance};
use crate::ids::InstallationId;
use crate::store::Store;
use crate::store::configuration::{Asked, Holder};
use crate::store::work::LeaseWrite;

/// Whether, and when, the provider is told of what is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// The provider is told: as scheduled at once, and for good after this time, in whole seconds.
    After(Duration),
    /// The provider is not told.
    Never,
}

/// The effect of `forget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgotten {
    /// Our side is deleted. Vercel was not asked.
    Now {
        /// Whether it was uninstalled before: what that announces stands, as it was decided then.
        uninstalled: bool,
    },
    /// It was gone before, with its configuration. Nothing was written.
    Before,
    /// It was never known. Nothing was written.
    Unknown,
}

impl Store {
    /// Deletes our side of an installation, as Delete Configuration does, without asking Vercel. Open
    /// invoices do not stand in the way: the access token is erased, and no finalization is called.
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
            // Again where something has changed since it was read.
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
