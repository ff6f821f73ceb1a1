//! Conditions that more than one transaction demands.

use super::attr::{n, s, time};
use super::keys::{self};
use super::transaction::Expression;
use crate::clock::Timestamp;
use crate::deletion::Stage;

/// There is no such item.
pub(super) fn absent() -> Expression {
    Expression::new("attribute_not_exists(pk)")
}

/// By the clock, and not by when DynamoDB's TTL gets to it (F1).
pub(super) fn absent_or_expired(now: Timestamp) -> Expression {
    Expression::new("attribute_not_exists(pk) OR expiresAt <= :now").value(":now", time(now))
}

/// The installation is active.
pub(super) fn active() -> Expression {
    Expression::new("#state = :active")
        .name("#state", "state")
        .value(":active", s(keys::state(None)))
}

/// The installation is deleted.
pub(super) fn deleted() -> Expression {
    let state = |stage| s(keys::state(Some(stage)));
    Expression::new("#state IN (:deleting, :purged, :finalized)")
        .name("#state", "state")
        .value(":deleting", state(Stage::Deleting))
        .value(":purged", state(Stage::Purged))
        .value(":finalized", state(Stage::Finalized))
}

/// The installation is this account's.
pub(super) fn of_account(account: &str) -> Expression {
    Expression::new("accountId = :account").value(":account", s(account))
}

/// The fencing token is this one: a holder with another one has lost its lease (F5).
pub(super) fn fence_is(fence: i64) -> Expression {
    Expression::new("fence = :held").value(":held", n(fence))
}
