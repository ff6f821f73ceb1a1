//! Items as text: an item's attributes, and the changes between two states of an item.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use teardown::clock::Timestamp;

use crate::attributes::Item;

/// The names of the attributes that hold seconds since the Unix epoch.
const TIMES: [&str; 14] = [
    "at",
    "configurationDeletedAt",
    "deletedAt",
    "dueAt",
    "expiresAt",
    "failingSince",
    "finalizesAt",
    "heldAt",
    "leaseUntil",
    "movedAt",
    "releasedAt",
    "teardownAt",
    "until",
    "updatedAt",
];

/// What happened to an attribute or an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Same,
    Changed,
    New,
    Gone,
}

impl Change {
    /// The change as one word, which is empty if nothing changed.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Same => "",
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }

    fn of<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> Self {
        match (before, after) {
            (Some(before), Some(after)) if before == after => Self::Same,
            (Some(_), None) => Self::Gone,
            (None, Some(_)) => Self::New,
            _ => Self::Changed,
        }
    }
}

/// An attribute before and after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: String,
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) change: Change,
}

/// An item before and after a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ItemChange {
    pub(crate) pk: String,
    pub(crate) sk: String,
    pub(crate) change: Change,
    pub(crate) attributes: Vec<Attribute>,
}

impl ItemChange {
    /// The change that a write made to the item with this key. `None` if the write changed nothing.
    pub(crate) fn between(
        pk: String,
        sk: String,
        before: Option<&Item>,
        after: Option<&Item>,
    ) -> Option<Self> {
        let change = Change::of(before, after);
        if change == Change::Same || (before.is_none() && after.is_none()) {
            return None;
        }
        let names: BTreeSet<_> = before.into_iter().chain(after).flat_map(Item::keys).collect();
        let attributes = names.into_iter().filter(|name| !["pk", "sk"].contains(&name.as_str()));
        let attributes = attributes.map(|name| {
            let value = |item: Option<&Item>| item.and_then(|item| item.get(name)).cloned();
            let (before, after) = (value(before), value(after));
            let text =
                |value: &Option<_>| value.as_ref().map(|it| shown(name, it)).unwrap_or_default();
            Attribute {
                name: name.clone(),
                before: text(&before),
                after: text(&after),
                change: Change::of(before.as_ref(), after.as_ref()),
            }
        });
        Some(Self { change, attributes: attributes.collect(), pk, sk })
    }

    /// The installation that the item belongs to.
    pub(crate) fn installation(&self) -> Option<&str> {
        match self.pk.strip_prefix("key#") {
            Some(rest) => rest.split('#').next(),
            None => self.pk.strip_prefix("installation#"),
        }
    }

    /// The kind of the item, as the glossary in docs/architecture.md names it.
    pub(crate) fn kind(&self) -> &'static str {
        kind(&self.sk)
    }

    /// A text that says what the change means. If the item is a job, the text says what progress the job
    /// made.
    pub(crate) fn meaning(&self) -> &'static str {
        let attribute = |name| self.attributes.iter().find(|it| it.name == name);
        let changed = |name| attribute(name).filter(|it| it.change != Change::Same);
        let after = |name| changed(name).map_or("", |it| it.after.as_str());
        match (self.sk.starts_with("work#"), self.change) {
            (true, Change::New) => "to be done",
            (true, Change::Gone) => "done",
            (false, _) | (_, Change::Same) => self.change.word(),
            (true, Change::Changed) => match after("dueShard") {
                "parked" => "parked",
                "held" => "held",
                shard if !shard.is_empty() => "due again",
                _ if changed("phase").is_some() => "notice delivered or over",
                _ if !after("lastError").is_empty() || !after("failures").is_empty() => {
                    "failed, to be retried"
                }
                _ if !after("leaseUntil").is_empty() => "leased by a worker",
                _ => "changed",
            },
        }
    }

    /// The attributes that changed, in one line of text: `resources 3 → 2, updatedAt …`.
    pub(crate) fn summary(&self) -> String {
        if self.change != Change::Changed {
            return String::new();
        }
        let changed = self.attributes.iter().filter(|it| it.change != Change::Same);
        let parts = changed.map(|it| match it.change {
            Change::Gone => format!("{} gone", it.name),
            Change::New => format!("{} = {}", it.name, it.after),
            _ => format!("{} {} → {}", it.name, it.before, it.after),
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// The kind of an item with this sort key.
pub(crate) fn kind(sk: &str) -> &'static str {
    let kinds = [
        ("#installation", "installation"),
        ("#token", "access token"),
        ("resource#", "resource"),
        ("receipt#", "receipt"),
        ("hold#", "hold"),
        ("work#announce#", "announcement (a job)"),
        ("work#purge", "purge (a job)"),
        ("work#finalize", "finalization (a job)"),
        ("work#configuration", "intent (a job)"),
        ("work#", "job"),
        ("webhook#", "webhook"),
        ("drain#", "log drain"),
        ("env#", "variable"),
        ("outcome", "outcome"),
    ];
    kinds.into_iter().find(|(prefix, _)| sk.starts_with(prefix)).map_or("item", |(_, kind)| kind)
}

/// The value of an attribute as text. The text does not show an access token.
pub(crate) fn shown(name: &str, value: &AttributeValue) -> String {
    if name == "accessToken" {
        return "(stored, not shown)".to_owned();
    }
    match value {
        AttributeValue::S(text) => text.clone(),
        AttributeValue::N(number) => match number.parse() {
            Ok(seconds) if TIMES.contains(&name) => moment(seconds),
            _ => number.clone(),
        },
        AttributeValue::Bool(truth) => if *truth { "true" } else { "false" }.to_owned(),
        AttributeValue::M(map) => {
            let mut parts: Vec<_> =
                map.iter().map(|(name, value)| format!("{name}: {}", shown(name, value))).collect();
            parts.sort_unstable();
            parts.join(", ")
        }
        AttributeValue::L(list) => {
            list.iter().map(|value| shown("", value)).collect::<Vec<_>>().join(", ")
        }
        AttributeValue::Null(_) => "null".to_owned(),
        _ => "(bytes or a set)".to_owned(),
    }
}

/// A time in seconds since the Unix epoch, as text. For the largest possible time, the text is `never`.
fn moment(seconds: u64) -> String {
    let at = Timestamp::from_secs(seconds);
    if at == Timestamp::from_secs(u64::MAX) { "never".to_owned() } else { at.to_string() }
}

#[cfg(test)]
pub(crate) mod json {
    //! Reads items in the form in which the tests write them.

    use aws_sdk_dynamodb::types::AttributeValue;
    use serde_json::Value;

    use crate::attributes::Item;

    /// Reads an item in DynamoDB's JSON.
    pub(crate) fn of_json(item: &Value) -> Option<Item> {
        let attributes = item.as_object()?.iter();
        attributes.map(|(name, value)| Some((name.clone(), value_of_json(value)?))).collect()
    }

    fn value_of_json(value: &Value) -> Option<AttributeValue> {
        let (kind, value) = value.as_object()?.iter().next()?;
        Some(match (kind.as_str(), value) {
            ("S", Value::String(text)) => AttributeValue::S(text.clone()),
            ("N", Value::String(number)) => AttributeValue::N(number.clone()),
            ("BOOL", Value::Bool(truth)) => AttributeValue::Bool(*truth),
            ("M", map) => AttributeValue::M(of_json(map)?),
            ("L", Value::Array(list)) => {
                AttributeValue::L(list.iter().map(value_of_json).collect::<Option<_>>()?)
            }
            // All types that teardown does not store, such as bytes and sets, become null.
            _ => AttributeValue::Null(true),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::json::of_json;
    use super::*;

    #[test]
    fn what_changed_of_an_item_is_marked() {
        let item = |resources: u64, deleted: bool| {
            let mut item = json!({
                "pk": { "S": "installation#icfg_1" }, "sk": { "S": "#installation" },
                "resources": { "N": resources.to_string() }, "billing": { "S": "open" },
            });
            if deleted {
                item["deletedAt"] = json!({ "N": "1763769600" });
                item["deletedBy"] = json!({ "M": { "kind": { "S": "user" } } });
            }
            of_json(&item).unwrap()
        };
        let between = |before: Option<&Item>, after: Option<&Item>| {
            ItemChange::between("installation#icfg_1".into(), "#installation".into(), before, after)
        };
        let changed = between(Some(&item(2, false)), Some(&item(1, true))).unwrap();
        assert_eq!(
            changed.summary(),
            "deletedAt = 2025-11-22T00:00:00Z, deletedBy = kind: user, resources 2 → 1"
        );
        assert_eq!((changed.installation(), changed.kind()), (Some("icfg_1"), "installation"));
        assert_eq!(changed.meaning(), "changed");
        assert_eq!(between(Some(&item(2, false)), Some(&item(2, false))), None);
        assert_eq!(between(None, None), None);
        assert_eq!(between(None, Some(&item(2, false))).unwrap().change, Change::New);
        assert_eq!(between(Some(&item(2, false)), None).unwrap().change, Change::Gone);
    }

    #[test]
    fn a_job_s_change_is_told_as_how_far_it_got() {
        let job = |attributes: Value| of_json(&attributes).unwrap();
        let meaning = |before: Option<Value>, after: Option<Value>| {
            let (before, after) = (before.map(job), after.map(job));
            let change = ItemChange::between(
                "installation#icfg_1".into(),
                "work#purge".into(),
                before.as_ref(),
                after.as_ref(),
            );
            change.unwrap().meaning()
        };
        let due = json!({ "dueShard": { "S": "3" }, "dueAt": { "N": "1" } });
        let with = |name: &str, value: Value| {
            let mut job = due.clone();
            job[name] = value;
            Some(job)
        };
        let text = |text: &str| json!({ "S": text });
        assert_eq!(meaning(None, Some(due.clone())), "to be done");
        assert_eq!(meaning(Some(due.clone()), None), "done");
        let leased = with("leaseUntil", json!({ "N": "2" }));
        assert_eq!(meaning(Some(due.clone()), leased.clone()), "leased by a worker");
        assert_eq!(meaning(leased, with("lastError", text("500"))), "failed, to be retried");
        assert_eq!(meaning(Some(due.clone()), with("dueShard", text("parked"))), "parked");
        assert_eq!(meaning(Some(due.clone()), with("dueShard", text("held"))), "held");
        assert_eq!(meaning(with("dueShard", text("held")), Some(due.clone())), "due again");
        let notice = with("phase", text("scheduled"));
        assert_eq!(meaning(notice, with("phase", text("deleted"))), "notice delivered or over");
    }

    #[test]
    fn a_token_is_not_shown_and_the_end_of_time_is_never() {
        let secret = AttributeValue::S("s3cret".to_owned());
        assert_eq!(shown("accessToken", &secret), "(stored, not shown)");
        assert_eq!(shown("expiresAt", &AttributeValue::N("253402300799".to_owned())), "never");
    }
}
