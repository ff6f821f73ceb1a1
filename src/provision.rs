//! Decides, without I/O, what to record of a Provision that the front passes on (J2, J4).
//!
//! [`begin`] decides before the backend is called, and [`plan`] decides after the backend made a resource.
//! [`begin`] and [`plan`] decide from what is believed of the store. Before anything is read, the belief is
//! the common case: an active installation, and a resource that is not registered. The transaction that
//! follows a decision has the conditions that make the belief true. If a condition fails, DynamoDB returns
//! the item that failed it. The store corrects the belief by this item, and calls the same function again.
//!
//! An intent lists its attempts that have no definite answer. Each attempt has its own id, and removes the id
//! from the intent when the attempt ends. No attempt ends the intent of another attempt.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::deletion::{Installation, Presence, Receipt};
use crate::grant::{Membership, Scope};

/// An intent that no attempt ended is due this long after its last attempt began (J4).
pub const RECONCILED_AFTER: Duration = Duration::from_mins(15);

/// What to do before the backend is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Write the intent. If the installation is absent, write the installation, too.
    WriteIntent(Presence),
    /// Call the backend, and record nothing: the token does not vouch for this installation.
    ForwardUnrecorded,
    /// Refuse: the installation is deleted.
    Refuse,
}

/// Says what to do before the backend is called, from what is believed of the installation. The write demands
/// that the installation is absent or active. If the token names only an account, the write also demands that
/// the active installation has this account.
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

/// Whether an attempt that began at `begun` may still call the backend. The call takes `time` at most, and
/// must end before a sweep may end the intent. If the process was frozen after the attempt began, it may be
/// too late for the call.
#[must_use]
pub fn may_call(begun: Timestamp, now: Timestamp, time: Duration) -> bool {
    now + time <= begun + RECONCILED_AFTER
}

/// What is believed of an attempt's intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// The intent has this attempt and no other.
    #[default]
    OnlyThisAttempt,
    /// The intent has this attempt and other attempts.
    OtherAttemptsToo,
    /// The intent does not exist, or has only other attempts, because a sweep has ended the intent of this
    /// attempt.
    WithoutThisAttempt,
}

/// What is believed of the store after the backend made a resource. Until the store is read, the belief
/// assumes the common case: an active installation, and a resource that is not registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The installation.
    pub installation: Installation,
    /// Whether the resource's item exists.
    pub is_registered: bool,
    /// Whether the resource has a receipt, or an announcement of its deletion.
    pub receipt: Receipt,
    /// The attempt's intent.
    pub intent: Intent,
}

/// What to commit after the backend made a resource. Each commit also ends the attempt in its intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// Add the resource. If the installation is absent, add the installation, too.
    Register(Presence),
    /// Update the resource, which is already registered: the backend has answered a retry.
    Update,
    /// Announce the resource's deletion, because its installation was deleted while the backend made the
    /// resource (J4).
    Announce,
    /// Record nothing: the resource was deleted before, and the backend has repeated an old answer.
    DeletedBefore {
        /// Whether the resource's installation is deleted, too.
        with_installation: bool,
    },
}

/// Says what to commit after the backend made a resource, from what is believed of the store. The decision
/// does not depend on the state of the intent.
#[must_use]
pub fn plan(belief: &Belief) -> Commit {
    match (&belief.installation, belief.receipt) {
        (Installation::Deleted { .. }, Receipt::Present) => {
            Commit::DeletedBefore { with_installation: true }
        }
        (Installation::Deleted { .. }, Receipt::None) => Commit::Announce,
        // If a registered resource has a receipt, a writer broke the rules, and the resource is updated
        // anyway.
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

    /// J2, J4: a token that names an installation vouches for it, even if the installation is unknown. A
    /// token that names only an account vouches only for installations that the table stores with this
    /// account.
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

    /// J4: an attempt whose process was frozen calls the backend only if the intent stays until the call
    /// ends.
    #[test]
    fn an_attempt_asks_while_its_intent_stays() {
        let begun = Timestamp::from_secs(1000);
        let after = |seconds| {
            may_call(begun, begun + Duration::from_secs(seconds), Duration::from_secs(50))
        };
        assert_eq!([0, 850, 851, 900, 9000].map(after), [true, true, false, false, false]);
    }

    /// J4: a resource that the backend made is registered or announced, unless it was deleted before. The
    /// state of the intent does not change what is committed.
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
