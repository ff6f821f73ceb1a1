//! Keys and attributes of the table: what is where, and how it is read back.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;

use crate::clock::Timestamp;
use crate::deletion::{Actor, Deletion};
use crate::ids::{InstallationId, ResourceId};

/// An item, or the key of one.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// A text attribute.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A number attribute.
pub(crate) fn n(number: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// A moment, in seconds since the Unix epoch, as DynamoDB's TTL wants it.
pub(crate) fn time(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_secs().to_string())
}

/// The text of an attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The whole number of an attribute.
pub(crate) fn number(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Who deleted, as a map attribute.
pub(crate) fn actor(by: &Actor) -> AttributeValue {
    let mut map = HashMap::from([("accountId".to_owned(), s(by.account()))]);
    match by {
        Actor::User { user, .. } => {
            map.insert("kind".to_owned(), s("user"));
            map.insert("userId".to_owned(), s(user));
            // Nobody else may delete (A5).
            map.insert("role".to_owned(), s("ADMIN"));
        }
        Actor::System { .. } => {
            map.insert("kind".to_owned(), s("system"));
        }
    }
    AttributeValue::M(map)
}

/// The partition of an installation.
pub(crate) fn partition(installation: &InstallationId) -> String {
    format!("installation#{installation}")
}

fn key(pk: String, sk: String) -> Item {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// `#installation`: the installation itself.
pub(crate) fn installation(id: &InstallationId) -> Item {
    key(partition(id), "#installation".to_owned())
}

/// `#token`: its access token, alone (D6).
pub(crate) fn token(id: &InstallationId) -> Item {
    key(partition(id), "#token".to_owned())
}

/// `resource#…`: a resource.
pub(crate) fn resource(id: &InstallationId, resource: &ResourceId) -> Item {
    key(partition(id), format!("resource#{resource}"))
}

/// `receipt#installation`: the receipt of its deletion.
pub(crate) fn installation_receipt(id: &InstallationId) -> Item {
    key(partition(id), "receipt#installation".to_owned())
}

/// `receipt#resource#…`: the receipt of a resource's deletion, and its tombstone (C4).
pub(crate) fn resource_receipt(id: &InstallationId, resource: &ResourceId) -> Item {
    key(partition(id), format!("receipt#resource#{resource}"))
}

/// `work#…`: a thing that is owed.
pub(crate) fn work(id: &InstallationId, what: &str) -> Item {
    key(partition(id), format!("work#{what}"))
}

/// Something else of the configuration: `webhook#…`, `drain#…`, `env#…`.
pub(crate) fn belonging(id: &InstallationId, sort_key: String) -> Item {
    key(partition(id), sort_key)
}

/// `key#…`: the outcome recorded under an idempotency key (F1).
pub(crate) fn outcome(deletion: &Deletion, key_sha256: &str) -> Item {
    let id = &deletion.grant.installation;
    key(format!("key#{id}#{}#{key_sha256}", deletion.operation()), "outcome".to_owned())
}
