//! Makes an installation with resources, as a provider's backend does when Vercel installs the integration
//! and provisions resources.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use anyhow::Context as _;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use axum::extract::{Form, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use teardown::ids::InstallationId;
use teardown::store::Store;
use teardown::store::registry::Record;

use super::{DevPage, message, page_of};
use crate::terminal::one_line;

/// The most resources that one form can make.
const MOST: usize = 10_000;

/// How many resources one transaction registers. A transaction has at most 100 parts, and one of the parts
/// updates the installation.
const PER_TRANSACTION: usize = 99;

/// The installation that a form asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    billing: String,
    resources: usize,
}

pub(super) async fn run(State(page): State<DevPage>, Form(wanted): Form<Wanted>) -> Response {
    if wanted.resources > MOST {
        return message(&format!("{MOST} resources are the most that can be made at once."));
    }
    match make(&page, &wanted).await {
        Ok(id) => page_of(id.as_str()),
        Err(error) => message(&one_line(&format!("{error:#}"))),
    }
}

async fn make(page: &DevPage, wanted: &Wanted) -> anyhow::Result<InstallationId> {
    let store = page.operator.store.clone();
    let id = page.unused("icfg_made").await?;
    let account = page.caller.account();
    register(
        &store,
        json!({ "installation": {
            "id": id.as_str(), "accountId": account, "teamId": "team_local", "teamSlug": "local",
            "accessToken": format!("token-of-{id}"), "billing": wanted.billing,
        }}),
    )
    .await?;
    // The resources are made in the background, and the page shows the progress.
    let (page, made, count) = (page.clone(), id.clone(), wanted.resources);
    tokio::spawn(async move {
        for first in (1..=count).step_by(PER_TRANSACTION) {
            let last = count.min(first + PER_TRANSACTION - 1);
            if let Err(error) = provision(&page, made.as_str(), first..=last).await {
                tracing::warn!(%error, "not every resource was made");
                return;
            }
        }
    });
    Ok(id)
}

/// Registers resources in one transaction, in the way that `docs/writing-the-table.md` describes for one
/// resource. The installation is new, so none of its resources was deleted before.
async fn provision(page: &DevPage, id: &str, numbers: RangeInclusive<usize>) -> anyhow::Result<()> {
    let table = &page.table_name;
    let key = |sk: String| {
        let pk = s(format!("installation#{id}"));
        HashMap::from([("pk".to_owned(), pk), ("sk".to_owned(), s(sk))])
    };
    let now = AttributeValue::N(page.clock.timestamp().as_secs().to_string());
    let count = Update::builder()
        .table_name(table)
        .set_key(Some(key("#installation".to_owned())))
        .update_expression("ADD resources :count")
        .condition_expression("#state = :active")
        .expression_attribute_names("#state", "state")
        .expression_attribute_values(
            ":count",
            AttributeValue::N(numbers.clone().count().to_string()),
        )
        .expression_attribute_values(":active", s("active"))
        .build()?;
    let mut request = page.client.transact_write_items();
    request = request.transact_items(TransactWriteItem::builder().update(count).build());
    for n in numbers {
        let mut item = key(format!("resource#db_{n}"));
        item.extend([
            ("name".to_owned(), s(format!("database {n}"))),
            ("productId".to_owned(), s("postgres")),
            ("status".to_owned(), s("ready")),
            ("updatedAt".to_owned(), now.clone()),
        ]);
        let put = Put::builder().table_name(table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk)").build()?;
        request = request.transact_items(TransactWriteItem::builder().put(put).build());
    }
    request.send().await.context("a transaction was refused")?;
    Ok(())
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

async fn register(store: &Store, record: Value) -> anyhow::Result<()> {
    let record: Record = serde_json::from_value(record)?;
    Ok(store.register(&record).await?)
}
