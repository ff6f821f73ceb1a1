//! Whether a resource is still being provisioned (C2): as the condition that a deletion demands, and as
//! the reading of the item that failed it. The two say the same, item for item.

use aws_sdk_dynamodb::types::AttributeValue;

use super::Store;
use super::attr::{self, s, time};
use super::keys::Item;
use super::transaction::Expression;
use crate::clock::Timestamp;

/// What is stored of a resource that is being provisioned, and what Vercel calls such a resource.
const BUSY: [&str; 2] = ["provisioning", "pending"];

/// What a deletion takes for being provisioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provisioning {
    /// Nothing is: `PROVISIONING_LIMIT` is `0s`.
    Never,
    /// A resource whose item was last written after this time.
    After(Timestamp),
}

impl Store {
    /// What counts as being provisioned at this time.
    pub(super) fn provisioning(&self, now: Timestamp) -> Provisioning {
        match self.provisioning_limit.as_secs() {
            0 => Provisioning::Never,
            limit => Provisioning::After(Timestamp::from_secs(now.as_secs().saturating_sub(limit))),
        }
    }
}

impl Provisioning {
    /// Condition: the resource is there, and is not being provisioned.
    pub(super) fn deletable(self) -> Expression {
        let there = Expression::new("attribute_exists(pk)");
        let Self::After(limit) = self else { return there };
        let [provisioning, pending] = BUSY;
        there
            .and(Expression::new(
                "attribute_not_exists(#status) \
                 OR (#status <> :provisioning AND #status <> :pending) \
                 OR attribute_not_exists(updatedAt) OR NOT attribute_type(updatedAt, :number) \
                 OR updatedAt <= :limit",
            ))
            .name("#status", "status")
            .value(":provisioning", s(provisioning))
            .value(":pending", s(pending))
            .value(":number", s("N"))
            .value(":limit", time(limit))
    }

    /// Whether this item, which is there, fails [`Provisioning::deletable`].
    pub(super) fn is_of(self, item: &Item) -> bool {
        let Self::After(limit) = self else { return false };
        let is_busy = attr::str(item, "status").is_some_and(|status| BUSY.contains(&status));
        is_busy && last_write(item).is_some_and(|at| at > seconds(limit))
    }
}

/// When an item was last written.
fn last_write(item: &Item) -> Option<f64> {
    number(item, "updatedAt")
}

/// A time of an item, in whole seconds: the fraction that a backend may have written is left out.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the ends saturate")]
pub(super) fn written(item: &Item, name: &str) -> Option<Timestamp> {
    number(item, name).map(|seconds| Timestamp::from_secs(seconds as u64))
}

/// A number of an item. Backends write it: it may have a fraction.
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

    /// C2: what is read of an item is what the condition says of it; `what_is_busy_and_what_is_not` in
    /// the tests through HTTP has the same items for the condition.
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
