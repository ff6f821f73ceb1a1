//! Items of the table as the tool reads them.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use teardown::clock::Timestamp;

/// An item, or a map in one.
pub(crate) type Item = HashMap<String, AttributeValue>;

/// The text of an attribute.
pub(crate) fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// The number of an attribute, as it is stored.
pub(crate) fn number<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_n().ok().map(String::as_str)
}

/// The moment of an attribute.
pub(crate) fn time(item: &Item, name: &str) -> Option<Timestamp> {
    number(item, name)?.parse().ok().map(Timestamp::from_secs)
}

/// The truth value of an attribute.
pub(crate) fn truth(item: &Item, name: &str) -> Option<bool> {
    item.get(name)?.as_bool().ok().copied()
}

/// The map of an attribute.
pub(crate) fn map<'a>(item: &'a Item, name: &str) -> Option<&'a Item> {
    item.get(name)?.as_m().ok()
}

/// The rest of an item's sort key after `prefix`. `None` if the key begins otherwise.
pub(crate) fn named<'a>(item: &'a Item, prefix: &str) -> Option<&'a str> {
    text(item, "sk")?.strip_prefix(prefix)
}
