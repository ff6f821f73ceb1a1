//! Conditions that more than one transaction demands.

use super::attr::{n, s, time};
use super::keys::{self};
use super::transaction::Expression;
use crate::clock::Timestamp;
use crate::deletion::Stage;

/// Condition: the item does not exist.
pub(super) fn absent() -> Expression {
    Expression::new("attribute_not_exists(pk)")
}

/// Condition: the item does not exist, or has expired by the clock. DynamoDB's TTL may remove an expired item
/// later (F1).
pub(super) fn absent_or_expired(now: Timestamp) -> Expression {
    Expression::new("attribute_not_exists(pk) OR expiresAt <= :now").value(":now", time(now))
}

/// Condition: the installation is active.
pub(super) fn active() -> Expression {
    Expression::new("#state = :active")
        .name("#state", "state")
        .value(":active", s(keys::state(None)))
}

/// Condition: the installation is deleted.
pub(super) fn deleted() -> Expression {
    let state = |stage| s(keys::state(Some(stage)));
    Expression::new("#state IN (:deleting, :purged, :finalized)")
        .name("#state", "state")
        .value(":deleting", state(Stage::Deleting))
        .value(":purged", state(Stage::Purged))
        .value(":finalized", state(Stage::Finalized))
}

/// Condition: the installation belongs to this account.
pub(super) fn of_account(account: &str) -> Expression {
    Expression::new("accountId = :account").value(":account", s(account))
}

/// Condition: the job's item has this fence. If the fence has changed, the worker has lost its lease (F5).
pub(super) fn fence_is(fence: i64) -> Expression {
    Expression::new("fence = :held").value(":held", n(fence))
}
