//! The door: a proxy in front of the embedded DynamoDB. All DynamoDB requests of the endpoints and of other
//! programs pass through the door. The door records each write, with the items before and after the write.
//!
//! The database is in this process, so the door reads items directly. Like the database, the door handles
//! only one write at a time. If an item differs between the door's reads before and after a write, this write
//! changed the item.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context as _;
use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse as _;
use dynoxide::Database;
use dynoxide::actions::get_item::GetItemRequest;
use dynoxide::types::AttributeValue as Stored;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::entry::Writer;
use super::journal::Journal;
use crate::attributes::Item;
use crate::embedded::this_machine;
use crate::web::items::ItemChange;

/// The path for DynamoDB requests of other programs: commands of the tool, and backends that write the table.
const OTHERS: &str = "/others";

/// The longest request that DynamoDB takes, in bytes.
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// The addresses of the door.
pub(crate) struct Addresses {
    /// The address for the endpoints.
    pub(crate) endpoints: String,
    /// The address for other programs.
    pub(crate) others: String,
}

struct Door {
    database: Database,
    /// The address on which the database listens.
    url: String,
    http: reqwest::Client,
    table: String,
    journal: Journal,
    turn: Mutex<()>,
}

/// Opens a door to a database that listens at `url`.
pub(crate) async fn open(
    database: Database,
    url: String,
    table: String,
    journal: Journal,
) -> anyhow::Result<Addresses> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free")?;
    let door = format!("http://{}", listener.local_addr()?);
    let http = this_machine().build()?;
    let state = Arc::new(Door { database, url, http, table, journal, turn: Mutex::new(()) });
    let router = Router::new().fallback(pass).with_state(state);
    tokio::spawn(async { axum::serve(listener, router).await });
    Ok(Addresses { others: format!("{door}{OTHERS}"), endpoints: door })
}

async fn pass(State(door): State<Arc<Door>>, request: Request) -> Response<Body> {
    let writer = if request.uri().path() == OTHERS { Writer::Others } else { Writer::Endpoints };
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_REQUEST).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let Some(keys) = door.written(&head.headers, &body) else {
        return door.forward(head.headers, body).await;
    };
    let turn = door.turn.lock().await;
    let before = door.read(&keys);
    let answer = door.forward(head.headers, body).await;
    let after = door.read(&keys);
    let pairs = keys.into_iter().zip(before.into_iter().zip(after));
    let changes = pairs.filter_map(|((pk, sk), (before, after))| {
        ItemChange::between(pk, sk, before.as_ref(), after.as_ref()).map(|change| (change, after))
    });
    door.journal.written(writer, changes.collect());
    drop(turn);
    answer
}

impl Door {
    async fn forward(&self, headers: HeaderMap, body: Bytes) -> Response<Body> {
        let sent = self.http.post(&self.url).headers(headers).body(body).send().await;
        let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
        let (status, headers) = (answer.status(), answer.headers().clone());
        let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
        (status, headers, body).into_response()
    }

    /// The keys of the items that a request may write. `None` if the request only reads.
    fn written(&self, headers: &HeaderMap, body: &[u8]) -> Option<Vec<(String, String)>> {
        let target = headers.get("x-amz-target")?.to_str().ok()?;
        let operation = target.rsplit('.').next()?;
        let writes =
            ["PutItem", "UpdateItem", "DeleteItem", "TransactWriteItems", "BatchWriteItem"];
        if !writes.contains(&operation) {
            return None;
        }
        let request: Value = serde_json::from_slice(body).ok()?;
        let parts: Vec<&Value> = match operation {
            "TransactWriteItems" => request["TransactItems"].as_array()?.iter().collect(),
            "BatchWriteItem" => request["RequestItems"][&self.table].as_array()?.iter().collect(),
            _ => vec![&request],
        };
        Some(parts.into_iter().filter_map(|part| self.key(part)).collect())
    }

    /// The key of the item that a part of a request writes, if the item is in teardown's table.
    fn key(&self, part: &Value) -> Option<(String, String)> {
        // A part of a transaction or a batch has one field, which names the kind of write.
        let write = match part.as_object()?.iter().next() {
            Some((name, inner)) if part.as_object()?.len() == 1 => match name.as_str() {
                "ConditionCheck" => return None,
                _ => inner,
            },
            _ => part,
        };
        let table = write["TableName"].as_str().unwrap_or(&self.table);
        let key = write.get("Item").or_else(|| write.get("Key"))?;
        let text = |name: &str| key[name]["S"].as_str().map(str::to_owned);
        if table == self.table { Some((text("pk")?, text("sk")?)) } else { None }
    }

    /// Reads items directly from the database.
    fn read(&self, keys: &[(String, String)]) -> Vec<Option<Item>> {
        let text = |text: &String| Stored::S(text.clone());
        let read = |(pk, sk): &(String, String)| {
            let key = [("pk".to_owned(), text(pk)), ("sk".to_owned(), text(sk))].into();
            let table_name = self.table.clone();
            let request = GetItemRequest { table_name, key, ..GetItemRequest::default() };
            self.database.get_item(request).ok()?.item.map(of_stored)
        };
        keys.iter().map(read).collect()
    }
}

/// An item of the database as an item of the SDK.
fn of_stored(item: HashMap<String, Stored>) -> Item {
    item.into_iter().map(|(name, value)| (name, value_of_stored(value))).collect()
}

fn value_of_stored(value: Stored) -> AttributeValue {
    match value {
        Stored::S(text) => AttributeValue::S(text),
        Stored::N(number) => AttributeValue::N(number),
        Stored::BOOL(truth) => AttributeValue::Bool(truth),
        Stored::M(map) => AttributeValue::M(of_stored(map)),
        Stored::L(list) => AttributeValue::L(list.into_iter().map(value_of_stored).collect()),
        // All types that teardown does not store, such as bytes and sets, become null.
        _ => AttributeValue::Null(true),
    }
}
