//! Decides whether a resource is still being provisioned (C2): in DynamoDB by a deletion's condition, and by
//! `is_of` for an item that failed the condition. The condition and `is_of` agree for every item.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::attr::{self, s, time};
use super::keys::Item;
use super::transaction::Expression;
use crate::clock::Timestamp;

/// The statuses of a resource that is being provisioned: teardown's own `provisioning`, and Vercel's
/// `pending`.
const BUSY: [&str; 2] = ["provisioning", "pending"];

/// Which resources a deletion regards as still being provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provisioning {
    /// No resource counts as being provisioned, because `PROVISIONING_LIMIT` is `0s`.
    Never,
    /// Each resource with the status `provisioning` or `pending` whose item was last written after this time.
    After(Timestamp),
}

impl Store {
    /// Which resources count as being provisioned at `now`.
    pub(super) fn provisioning(&self, now: Timestamp) -> Provisioning {
        match self.provisioning_limit.as_secs() {
            0 => Provisioning::Never,
            limit => Provisioning::After(Timestamp::from_secs(now.as_secs().saturating_sub(limit))),
        }
    }
}

impl Provisioning {
    /// Condition: the resource exists and may be deleted, because it is not being provisioned. All deletions
    /// of a single resource have this condition.
    pub(super) fn deletable(self) -> Expression {
        let exists = Expression::new("attribute_exists(pk)");
        match self {
            Self::Never => exists,
            Self::After(limit) => exists.and(not_provisioning(limit)),
        }
    }

    /// Whether this item, which exists, fails the condition [`Provisioning::deletable`].
    pub(super) fn is_of(self, item: &Item) -> bool {
        let Self::After(limit) = self else { return false };
        let is_busy = attr::str(item, "status").is_some_and(|status| BUSY.contains(&status));
        is_busy && last_write(item).is_some_and(|at| at > seconds(limit))
    }
}

/// Condition: the resource's status is not in [`BUSY`], or its item was last written at `limit` or before.
fn not_provisioning(limit: Timestamp) -> Expression {
    let [provisioning, pending] = BUSY;
    Expression::new(
        "attribute_not_exists(#status) \
         OR (#status <> :provisioning AND #status <> :pending) \
         OR attribute_not_exists(updatedAt) OR NOT attribute_type(updatedAt, :number) \
         OR updatedAt <= :limit",
    )
    .name("#status", "status")
    .value(":provisioning", s(provisioning))
    .value(":pending", s(pending))
    .value(":number", s("N"))
    .value(":limit", time(limit))
}

/// When an item was last written, as its `updatedAt` says.
fn last_write(item: &Item) -> Option<f64> {
    number(item, "updatedAt")
}

/// The time in the item's attribute `name`, in whole seconds. If a backend has written a fraction of a
/// second, the fraction is cut off.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ends saturate")]
pub(super) fn written(item: &Item, name: &str) -> Option<Timestamp> {
    number(item, name).map(|seconds| Timestamp::from_secs(seconds as u64))
}

/// The number in the item's attribute `name`. A backend may have written the number with a fraction.
fn number(item: &Item, name: &str) -> Option<f64> {
    match item.get(name) {
        Some(AttributeValue::N(number)) => number.parse().ok(),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "no time is as late as 2^53 seconds")]
fn seconds(at: Timestamp) -> f64 {
    at.as_secs() as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::attr::n;

    /// C2: `is_of` and the deletion's condition give the same result for each item. The test
    /// `busy_resources_are_recognized` checks the condition with the items of this test, through HTTP.
    #[test]
    fn an_item_is_read_as_the_condition_has_it() {
        let number = |text: &str| Some(AttributeValue::N(text.to_owned()));
        let after = Provisioning::After(Timestamp::from_secs(1000));
        for (status, updated_at, busy) in [
            ("provisioning", number("1001"), true),
            ("pending", number("1001"), true),
            ("provisioning", number("1000.5"), true),
            ("provisioning", number("1000"), false),
            ("provisioning", number("999.5"), false),
            ("provisioning", number("-1"), false),
            ("provisioning", None, false),
            ("provisioning", Some(s("1001")), false),
            ("ready", number("1001"), false),
            ("Pending", number("1001"), false),
        ] {
            let mut item = Item::from([("status".to_owned(), s(status))]);
            item.extend(updated_at.map(|at| ("updatedAt".to_owned(), at)));
            assert_eq!(after.is_of(&item), busy, "{item:?}");
            assert!(!Provisioning::Never.is_of(&item), "{item:?}");
        }
        let without_status = Item::from([("updatedAt".to_owned(), n(1001))]);
        assert!(!after.is_of(&without_status));
    }
}
