//! Reads the attributes of the table's items.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use teardown::clock::Timestamp;

/// An item, or a map in an item.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The text of an attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The number of an attribute, in the text form in which DynamoDB returns it.
pub(crate) fn number<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_n().ok().map(String::as_str)
}

/// The time in an attribute, which holds seconds since the Unix epoch.
pub(crate) fn time(item: &Item, name: &str) -> Option<Timestamp> {
    number(item, name)?.parse().ok().map(Timestamp::from_secs)
}

/// The boolean of an attribute.
pub(crate) fn truth(item: &Item, name: &str) -> Option<bool> {
    item.get(name)?.as_bool().ok().copied()
}

/// The map of an attribute.
pub(crate) fn map<'a>(item: &'a Item, name: &str) -> Option<&'a Item> {
    item.get(name)?.as_m().ok()
}

/// The part of an item's sort key after `prefix`. `None` if the key does not begin with `prefix`.
pub(crate) fn named<'a>(item: &'a Item, prefix: &str) -> Option<&'a str> {
    text(item, "sk")?.strip_prefix(prefix)
}
