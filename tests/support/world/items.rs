//! The items of a test's table. The functions here call DynamoDB directly, without the endpoints and the
//! proxy.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use serde_json::{Map, Value, json};

use super::World;

impl World {
    /// This item, as plain JSON.
    pub async fn item(&self, pk: &str, sk: &str) -> Option<Value> {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let request = self
            .database
            .client
            .get_item()
            .table_name(&self.database.table)
            .key("pk", key(pk))
            .key("sk", key(sk));
        request.consistent_read(true).send().await.unwrap().item.as_ref().map(plain)
    }

    /// All items of an installation, by sort key.
    pub async fn items(&self, installation: &str) -> BTreeMap<String, Value> {
        let mut items = self
            .database
            .client
            .query()
            .table_name(&self.database.table)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(&format!("installation#{installation}")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = plain(&item.unwrap());
            found.insert(item["sk"].as_str().unwrap().to_owned(), item);
        }
        found
    }

    /// The sort keys of all items of an installation.
    pub async fn sort_keys(&self, installation: &str) -> Vec<String> {
        self.items(installation).await.into_keys().collect()
    }

    /// All items of the table, by partition and sort key.
    pub async fn all(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut pages = self
            .database
            .client
            .scan()
            .table_name(&self.database.table)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut table = BTreeMap::<_, BTreeMap<_, _>>::new();
        while let Some(item) = pages.next().await {
            let item = plain(&item.unwrap());
            let key = |name: &str| item[name].as_str().unwrap().to_owned();
            table.entry(key("pk")).or_default().insert(key("sk"), item.clone());
        }
        table
    }

    /// Whether any job is due. This function scans the index once, while a sweep queries each shard of the
    /// index.
    pub(super) async fn is_due(&self) -> bool {
        let scan = self.database.client.scan().table_name(&self.database.table).index_name("due");
        let now = AttributeValue::N(self.clock.timestamp().as_secs().to_string());
        let scan = scan.filter_expression("dueAt <= :now").expression_attribute_values(":now", now);
        let mut due = scan.into_paginator().items().send();
        due.try_next().await.unwrap().is_some()
    }

    /// Writes an item from plain JSON, without any check.
    pub async fn put(&self, item: Value) {
        let put = self
            .database
            .client
            .put_item()
            .table_name(&self.database.table)
            .set_item(Some(attributes(item)));
        put.send().await.unwrap();
    }

    /// Writes items from plain JSON, without any check.
    pub async fn put_all(&self, items: Vec<Value>) {
        let put = |item| {
            let put = PutRequest::builder().set_item(Some(attributes(item))).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        };
        let puts: Vec<_> = items.into_iter().map(put).collect();
        for batch in puts.chunks(25) {
            let write = self
                .database
                .client
                .batch_write_item()
                .request_items(&self.database.table, batch.to_vec());
            assert!(write.send().await.unwrap().unprocessed_items.unwrap_or_default().is_empty());
        }
    }

    /// Removes an item, as the TTL does.
    pub async fn remove(&self, pk: &str, sk: &str) {
        let request = self.database.client.delete_item().table_name(&self.database.table);
        request.key("pk", s(pk)).key("sk", s(sk)).send().await.unwrap();
    }

    /// Whether a resource is live: its item exists, and its installation is active.
    pub async fn is_live(&self, installation: &str, resource: &str) -> bool {
        let items = self.items(installation).await;
        let active = items.get("#installation").is_some_and(|item| item["state"] == "active");
        active && items.contains_key(&format!("resource#{resource}"))
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// The attributes of an item, from plain JSON: strings, numbers, booleans, and maps of these.
fn attributes(item: Value) -> HashMap<String, AttributeValue> {
    let attribute = |value: Value| match value {
        Value::String(text) => AttributeValue::S(text),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bool(flag) => AttributeValue::Bool(flag),
        Value::Object(_) => AttributeValue::M(attributes(value)),
        other => panic!("no attribute: {other}"),
    };
    let Value::Object(item) = item else { panic!("no item: {item}") };
    item.into_iter().map(|(name, value)| (name, attribute(value))).collect()
}

fn plain(item: &HashMap<String, AttributeValue>) -> Value {
    let value = |attribute: &AttributeValue| match attribute {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap(),
        AttributeValue::Bool(flag) => json!(flag),
        AttributeValue::M(map) => plain(map),
        AttributeValue::Ss(texts) => json!(texts),
        other => panic!("no plain attribute: {other:?}"),
    };
    let sorted: BTreeMap<_, _> = item.iter().map(|(name, it)| (name.clone(), value(it))).collect();
    Value::Object(Map::from_iter(sorted))
}
