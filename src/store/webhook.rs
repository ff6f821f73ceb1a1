//! The changes that Vercel's webhooks make: a transfer replaces an installation's account and team, and a
//! removal uninstalls the installation (K2, K3).
//!
//! A transfer is one update. The first attempt demands that the team changes, which is the common case:
//!
//! ```text
//!   Update  #installation   if it is active, what is stored is older, and its team is another
//!                           else, if it is unknown, deleted, or not older: nothing
//!                           else, if the team is the same: an update that keeps the slug
//! ```

use super::attr::{self, n, s};
use super::conditions::active;
use super::keys::{self, Item};
use super::transaction::{Committed, Expression, Part, Transaction};
use super::{Done, Malformed, Store};
use crate::clock::Timestamp;
use crate::deletion::{Belief, Installation};
use crate::error::Error;
use crate::webhook::{Removal, Transfer};

/// The attribute with the time at which Vercel reported the installation's account and team, in milliseconds
/// since the Unix epoch.
const AS_OF: &str = "accountAsOf";

/// How the transfer of an installation to another account changes the installation's stored team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TeamChange {
    /// The team changes to another team, whose slug is not known.
    Changes,
    /// The team is the same as the stored team and does not change.
    Stays,
}

impl Store {
    /// Replaces the account and the team of an active installation, if the stored values are older than the
    /// transfer.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub(crate) async fn transfer(&self, transfer: &Transfer) -> Result<(), Error> {
        self.in_time(async {
            let mut team = TeamChange::Changes;
            loop {
                let mut transaction = Transaction::on(&self.table);
                let (change, condition) = update(transfer, team);
                let key = keys::installation(&transfer.installation);
                transaction.update(Part::Installation, key, change, condition);
                let evidence = match transaction.commit(&self.client).await? {
                    Committed::Yes => return Ok(()),
                    Committed::No(evidence) => evidence,
                };
                let stored = evidence.into_iter().next().and_then(|(_, item)| item);
                match stored {
                    Some(item) if is_older(&item, transfer)? => {
                        let same = attr::str(&item, "teamId") == transfer.team.as_deref();
                        team = if same { TeamChange::Stays } else { TeamChange::Changes };
                    }
                    // The installation is unknown or deleted, or its stored values are not older than the
                    // transfer.
                    _ => return Ok(()),
                }
            }
        })
        .await
    }

    /// Uninstalls an installation that was removed at Vercel, as [`Store::delete`] does. This call reads the
    /// installation first, because the uninstall's receipt contains the stored account.
    ///
    /// # Errors
    ///
    /// The errors of [`Store::delete`].
    pub(crate) async fn uninstall(&self, removal: &Removal, at: Timestamp) -> Result<Done, Error> {
        self.in_time(async {
            let installation = self.installation(&removal.installation).await?;
            let account = match &installation {
                Installation::Active { account, .. } | Installation::Deleted { account, .. } => {
                    account.clone()
                }
                Installation::Assumed | Installation::Absent => None,
            };
            let deletion = removal.uninstall(account.as_deref(), at);
            let belief = Belief { installation, ..Belief::default() };
            self.plan_and_commit(&deletion, belief).await
        })
        .await
    }
}

/// The change that a transfer makes, and the condition of this change.
fn update(transfer: &Transfer, team: TeamChange) -> (Expression, Expression) {
    let mut change = Expression::new("SET accountId = :account, accountAsOf = :asOf")
        .value(":account", s(&transfer.account))
        .value(":asOf", n(transfer.as_of));
    let older = Expression::new("attribute_not_exists(accountAsOf) OR accountAsOf < :asOf");
    let in_team = match (team, &transfer.team) {
        (TeamChange::Changes, Some(id)) => {
            change = change.set("teamId = :team").value(":team", s(id)).remove("teamSlug");
            Expression::new("attribute_not_exists(teamId) OR teamId <> :team")
        }
        (TeamChange::Changes, None) => {
            change = change.remove("teamId, teamSlug");
            Expression::new("attribute_exists(teamId)")
        }
        (TeamChange::Stays, Some(id)) => Expression::new("teamId = :team").value(":team", s(id)),
        (TeamChange::Stays, None) => Expression::new("attribute_not_exists(teamId)"),
    };
    (change, active().and(older).and(in_team))
}

/// Whether an installation is active, and its stored account is older than the transfer.
fn is_older(item: &Item, transfer: &Transfer) -> Result<bool, Error> {
    let malformed = || Malformed::error(item, "`accountAsOf` is no whole number");
    let as_of = item.contains_key(AS_OF).then(|| attr::i64(item, AS_OF).ok_or_else(malformed));
    let as_of = as_of.transpose()?;
    let is_active = keys::stage(item)?.is_none();
    Ok(is_active && as_of.is_none_or(|as_of| as_of < transfer.as_of))
}
