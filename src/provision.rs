//! What is recorded of a Provision that passes through: decisions alone, without I/O (J2, J4).
//!
//! The mirror of a deletion. [`begin`] decides before the backend is asked, [`plan`] after it made a
//! resource; each given what is believed of the store. They begin with the common case, commit under the
//! conditions that make the belief true. If a condition fails, they decide again with the item it returned.
//!
//! An intent counts the attempts under it that have no definite answer: each has an id of its own, and takes
//! it out when it ends. So no attempt ends the intent of another.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::deletion::{Installation, Presence, Receipt};
use crate::grant::{Membership, Scope};

/// How long after its last attempt an intent is due: nobody came back to it (J4).
pub const RECONCILED_AFTER: Duration = Duration::from_mins(15);

/// What to do before the backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Write the intent, and the installation if it is absent.
    WriteIntent(Presence),
    /// Ask the backend, and record nothing: the token does not vouch for this installation.
    ForwardUnrecorded,
    /// Refuse: the installation is deleted.
    Refuse,
}

/// Says what to do before the backend is asked, given what is believed of the installation. The write's
/// conditions are that it is active, and of the token's account if the token names no installation; or
/// that it is absent.
#[must_use]
pub fn begin(membership: &Membership, installation: &Installation) -> Begin {
    let is_anothers = |account: &Option<String>| {
        membership.scope == Scope::Account && account.as_ref() != Some(&membership.account)
    };
    match installation {
        Installation::Active { account, .. } | Installation::Deleted { account, .. }
            if is_anothers(account) =>
        {
            Begin::ForwardUnrecorded
        }
        Installation::Assumed | Installation::Active { .. } => {
            Begin::WriteIntent(Presence::Present)
        }
        Installation::Absent if membership.scope == Scope::Installation => {
            Begin::WriteIntent(Presence::Absent)
        }
        Installation::Absent => Begin::ForwardUnrecorded,
        Installation::Deleted { .. } => Begin::Refuse,
    }
}

/// Whether an attempt that began at `begun` may still ask the backend: the call, `time` long at most, has to
/// end before a sweep may end the intent. A process that was frozen in between may not.
#[must_use]
pub fn may_ask(begun: Timestamp, now: Timestamp, time: Duration) -> bool {
    now + time <= begun + RECONCILED_AFTER
}

/// What is believed of an attempt's intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// It has this attempt and no other.
    #[default]
    OnlyThisAttempt,
    /// It has others besides.
    OtherAttemptsToo,
    /// It is gone, or of others alone: a sweep has ended this attempt's.
    WithoutThisAttempt,
}

/// What is believed of the store once the backend has made a resource. Until something is read, the common
/// case is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The installation.
    pub installation: Installation,
    /// Whether the resource's item is there.
    pub is_registered: bool,
    /// The resource's receipt, or the announcement of its deletion.
    pub receipt: Receipt,
    /// The attempt's intent.
    pub intent: Intent,
}

/// What to commit once the backend has made a resource. Each also ends the attempt, as its intent is
/// believed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Add the resource, and the installation if it is absent.
    Register(Presence),
    /// Update the resource, which is there: the backend answers a retry.
    Update,
    /// Announce the resource's deletion: its installation was deleted meanwhile (J4).
    Announce,
    /// Record nothing: the resource was deleted before, and the backend has said again what it said then.
    DeletedBefore {
        /// Whether it went with its installation, which is deleted too.
        with_installation: bool,
    },
}

/// Says what to commit once the backend has made a resource, given what is believed of the store. Nothing
/// depends on whether the intent is there.
#[must_use]
pub fn plan(belief: &Belief) -> Commit {
    match (&belief.installation, belief.receipt) {
        (Installation::Deleted { .. }, Receipt::Present) => {
            Commit::DeletedBefore { with_installation: true }
        }
        (Installation::Deleted { .. }, Receipt::None) => Commit::Announce,
        // A receipt beside a resource was left by a writer that broke the rules.
        (Installation::Assumed | Installation::Active { .. }, _) if belief.is_registered => {
            Commit::Update
        }
        (_, Receipt::Present) => Commit::DeletedBefore { with_installation: false },
        (Installation::Assumed | Installation::Active { .. }, Receipt::None) => {
            Commit::Register(Presence::Present)
        }
        (Installation::Absent, Receipt::None) => Commit::Register(Presence::Absent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deletion::Billing;
    use crate::ids::InstallationId;

    const MINE: &str = "acc_1";

    fn membership(scope: Scope) -> Membership {
        let installation = InstallationId::parse("icfg_1").unwrap();
        Membership { installation, account: MINE.to_owned(), scope }
    }

    fn active(account: Option<&str>) -> Installation {
        let account = account.map(str::to_owned);
        Installation::Active { account, billing: Billing::Open, resources: 0 }
    }

    fn deleted(account: Option<&str>) -> Installation {
        Installation::Deleted { account: account.map(str::to_owned), finalized: false }
    }

    /// J2, J4: a token of one installation vouches for it, known or not; a token of an account for those
    /// that are known as the account's.
    #[test]
    fn an_intent_is_written_where_the_token_permits_it() {
        let named = membership(Scope::Installation);
        for (installation, expected) in [
            (Installation::Assumed, Begin::WriteIntent(Presence::Present)),
            (active(Some("acc_2")), Begin::WriteIntent(Presence::Present)),
            (Installation::Absent, Begin::WriteIntent(Presence::Absent)),
            (deleted(Some("acc_2")), Begin::Refuse),
        ] {
            assert_eq!(begin(&named, &installation), expected, "{installation:?}");
        }
        let of_account = membership(Scope::Account);
        for (installation, expected) in [
            (Installation::Assumed, Begin::WriteIntent(Presence::Present)),
            (active(Some(MINE)), Begin::WriteIntent(Presence::Present)),
            (active(Some("acc_2")), Begin::ForwardUnrecorded),
            (active(None), Begin::ForwardUnrecorded),
            (Installation::Absent, Begin::ForwardUnrecorded),
            (deleted(Some(MINE)), Begin::Refuse),
            (deleted(Some("acc_2")), Begin::ForwardUnrecorded),
        ] {
            assert_eq!(begin(&of_account, &installation), expected, "{installation:?}");
        }
    }

    /// J4: an attempt that was stopped asks the backend only while its intent is sure to stay.
    #[test]
    fn an_attempt_asks_while_its_intent_stays() {
        let begun = Timestamp::from_secs(1000);
        let after =
            |seconds| may_ask(begun, begun + Duration::from_secs(seconds), Duration::from_secs(50));
        assert_eq!([0, 850, 851, 900, 9000].map(after), [true, true, false, false, false]);
    }

    /// J4: what is made is registered or announced, unless it was deleted before; whether the intent is
    /// there changes nothing.
    #[test]
    fn what_is_made_is_registered_or_announced() {
        let at = |installation: &Installation, is_registered, receipt, intent| {
            plan(&Belief { installation: installation.clone(), is_registered, receipt, intent })
        };
        for intent in
            [Intent::OnlyThisAttempt, Intent::OtherAttemptsToo, Intent::WithoutThisAttempt]
        {
            for installation in [Installation::Assumed, active(None)] {
                let at = |there, receipt| at(&installation, there, receipt, intent);
                assert_eq!(at(false, Receipt::None), Commit::Register(Presence::Present));
                assert_eq!(at(true, Receipt::None), Commit::Update);
                assert_eq!(at(true, Receipt::Present), Commit::Update);
                let before = Commit::DeletedBefore { with_installation: false };
                assert_eq!(at(false, Receipt::Present), before);
            }
            for there in [false, true] {
                let at = |installation, receipt| at(installation, there, receipt, intent);
                let (unknown, deleted) = (Installation::Absent, deleted(None));
                assert_eq!(at(&unknown, Receipt::None), Commit::Register(Presence::Absent));
                assert_eq!(at(&deleted, Receipt::None), Commit::Announce);
                let before = Commit::DeletedBefore { with_installation: true };
                assert_eq!(at(&deleted, Receipt::Present), before);
            }
        }
    }
}
