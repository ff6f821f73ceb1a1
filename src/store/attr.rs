//! Converts values into DynamoDB's attributes, and attributes back into values.

use aws_sdk_dynamodb::types::AttributeValue;

use super::keys::Item;
use crate::clock::Timestamp;

/// Makes an item's attribute from a string.
pub(crate) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// Makes an item's attribute from a whole number.
pub(crate) fn n(number: impl Into<i64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// Makes an item's attribute from a timestamp: in seconds since the Unix epoch, as DynamoDB's TTL needs it.
pub(crate) fn time(at: Timestamp) -> AttributeValue {
    AttributeValue::N(at.as_secs().to_string())
}

/// Makes an item's attribute from a truth value.
pub(crate) fn truth(is: bool) -> AttributeValue {
    AttributeValue::Bool(is)
}

/// The string in the item's attribute `name`.
pub(crate) fn str<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The whole number in the item's attribute `name`.
pub(crate) fn i64(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// The timestamp in the item's attribute `name`.
pub(crate) fn timestamp(item: &Item, name: &str) -> Option<Timestamp> {
    i64(item, name)?.try_into().ok().map(Timestamp::from_secs)
}

/// The truth value in the item's attribute `name`; false if the item does not have it.
pub(crate) fn bool(item: &Item, name: &str) -> bool {
    matches!(item.get(name), Some(AttributeValue::Bool(true)))
}
