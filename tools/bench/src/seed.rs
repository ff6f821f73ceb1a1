//! The tables: a function's table with live resources, and the table that its peer needs in addition.

use anyhow::{anyhow, ensure};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_sdk_dynamodb::types::builders::PutRequestBuilder;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    WriteRequest,
};
use teardown::store::admin::table;
use teardown_cli::embedded::local_client;

pub(crate) const TABLE: &str = "teardown-bench";
pub(crate) const IDEMPOTENCY_TABLE: &str = "teardown-bench-idempotency";
pub(crate) const ACCOUNT: &str = "account_bench";

/// A live resource: its number, and the number of its installation.
pub(crate) type Resource = (usize, usize);

pub(crate) fn installation(id: usize) -> String {
    format!("icfg_bench{id}")
}

/// Makes the table, and writes installations with live resources into it, as a registration would.
pub(crate) async fn seed(
    dynamodb: String,
    resources: usize,
    installations: usize,
) -> anyhow::Result<Vec<Resource>> {
    let client = local_client(&dynamodb).await?;
    table::create(&client, TABLE).await.map_err(|error| anyhow!(error))?;
    let resources: Vec<_> = (0..resources).map(|id| (id, id % installations)).collect();
    let count = resources.len().div_ceil(installations).to_string();
    let installations = (0..installations).map(|id| {
        let put = put(id, "#installation".to_owned()).item("state", S("active".to_owned()));
        put.item("accountId", S(ACCOUNT.to_owned())).item("resources", N(count.clone()))
    });
    let puts = installations.chain(resources.iter().map(|(id, owner)| {
        put(*owner, format!("resource#resource-{id}")).item("status", S("ready".to_owned()))
    }));
    let writes = puts.map(|put| Ok(WriteRequest::builder().put_request(put.build()?).build()));
    for batch in writes.collect::<Result<Vec<_>, BuildError>>()?.chunks(25) {
        let written = client.batch_write_item().request_items(TABLE, batch.to_vec()).send().await?;
        ensure!(written.unprocessed_items.unwrap_or_default().is_empty(), "not all was written");
    }
    Ok(resources)
}

fn put(owner: usize, sort_key: String) -> PutRequestBuilder {
    let partition = format!("installation#{}", installation(owner));
    PutRequest::builder().item("pk", S(partition)).item("sk", S(sort_key))
}

/// Makes the table that the peer's Powertools needs, in addition to a seeded table.
pub(crate) async fn make_idempotency_table(dynamodb: String) -> anyhow::Result<()> {
    let attribute = AttributeDefinition::builder()
        .attribute_name("id")
        .attribute_type(ScalarAttributeType::S)
        .build()?;
    let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build()?;
    let client = local_client(&dynamodb).await?;
    let table = client.create_table().table_name(IDEMPOTENCY_TABLE);
    let table = table.billing_mode(BillingMode::PayPerRequest);
    table.attribute_definitions(attribute).key_schema(key).send().await?;
    Ok(())
}
