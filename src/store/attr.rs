//! Attributes: values into DynamoDB's types and back.

use aws_sdk_dynamodb::types::AttributeValue;

use super::keys::Item;
use crate::clock::Timestamp;

/// A string, for an item.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A whole number, for an item.
pub(crate) fn n(number: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// A timestamp, for an item: in seconds since the Unix epoch, as DynamoDB's TTL takes it.
pub(crate) fn time(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_secs().to_string())
}

/// A truth value, for an item.
pub(crate) fn truth(is: bool) -> AttributeValue {
    AttributeValue::Bool(is)
}

/// An item's string of this name.
pub(crate) fn str<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// An item's whole number of this name.
pub(crate) fn i64(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// An item's timestamp of this name.
pub(crate) fn timestamp(item: &Item, name: &str) -> Option<Timestamp> {
    i64(item, name)?.try_into().ok().map(Timestamp::from_secs)
}

/// An item's truth value of this name; false if it has none.
pub(crate) fn bool(item: &Item, name: &str) -> bool {
    matches!(item.get(name), Some(AttributeValue::Bool(true)))
}
