//! Creates the table, with string keys, a TTL, the sparse index `due`, and on-demand billing.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, TimeToLiveSpecification, TimeToLiveStatus,
};
use aws_sdk_dynamodb::{Client, error::BuildError};

use crate::error::Cause;
pub use crate::store::keys::DUE_INDEX;

/// The attribute that DynamoDB's TTL uses, in seconds since the Unix epoch.
const TTL_ATTRIBUTE: &str = "expiresAt";

/// The longest wait until a new table is active. On AWS a new table is usually active within seconds.
const CREATION_TIMEOUT: std::time::Duration = std::time::Duration::from_mins(5);

/// Whether the table was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// This call created the table.
    Now,
    /// The table already existed.
    Before,
}

/// Creates the table if it does not exist, and enables its TTL if it is not enabled. On AWS this call takes
/// seconds.
///
/// # Errors
///
/// DynamoDB's error. Also an error if a table of this name exists, but has other keys or no index `due`.
pub async fn create(client: &Client, table: &str) -> Result<Created, Cause> {
    let created = match create_table(client, table).await? {
        Ok(()) => Created::Now,
        Err(error) if is_in_use(&error) => Created::Before,
        Err(error) => return Err(error.into()),
    };
    wait_until_active(client, table).await?;
    enable_ttl(client, table).await?;
    Ok(created)
}

fn is_in_use(error: &SdkError<CreateTableError>) -> bool {
    error.as_service_error().is_some_and(CreateTableError::is_resource_in_use_exception)
}

async fn create_table(
    client: &Client,
    table: &str,
) -> Result<Result<(), SdkError<CreateTableError>>, BuildError> {
    let attribute = |name: &str, kind: ScalarAttributeType| {
        AttributeDefinition::builder().attribute_name(name).attribute_type(kind).build()
    };
    let key = |name: &str, kind: KeyType| {
        KeySchemaElement::builder().attribute_name(name).key_type(kind).build()
    };
    let due = GlobalSecondaryIndex::builder()
        .index_name(DUE_INDEX)
        .key_schema(key("dueShard", KeyType::Hash)?)
        .key_schema(key("dueAt", KeyType::Range)?)
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()?;
    let sent = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(attribute("pk", ScalarAttributeType::S)?)
        .attribute_definitions(attribute("sk", ScalarAttributeType::S)?)
        .attribute_definitions(attribute("dueShard", ScalarAttributeType::S)?)
        .attribute_definitions(attribute("dueAt", ScalarAttributeType::N)?)
        .key_schema(key("pk", KeyType::Hash)?)
        .key_schema(key("sk", KeyType::Range)?)
        .global_secondary_indexes(due)
        .send()
        .await;
    Ok(sent.map(|_| ()))
}

/// The error for an existing table of this name that was not made for teardown.
#[derive(Debug, thiserror::Error)]
#[error("the table {0} is there, but has no keys pk and sk with an index due")]
struct OtherTable(String);

async fn wait_until_active(client: &Client, table: &str) -> Result<(), Cause> {
    use aws_sdk_dynamodb::client::Waiters as _;
    let active = client.wait_until_table_exists().table_name(table).wait(CREATION_TIMEOUT).await?;
    let found = active.into_result()?.table;
    let found = found.ok_or_else(|| OtherTable(table.to_owned()))?;
    let is_key = |key: &KeySchemaElement, name, kind| {
        key.attribute_name() == name && *key.key_type() == kind
    };
    let ours = matches!(found.key_schema(), [pk, sk]
        if is_key(pk, "pk", KeyType::Hash) && is_key(sk, "sk", KeyType::Range))
        && found.global_secondary_indexes().iter().any(|i| i.index_name() == Some(DUE_INDEX));
    if ours { Ok(()) } else { Err(OtherTable(table.to_owned()).into()) }
}

/// Enables the table's TTL. AWS refuses a second `UpdateTimeToLive`, so the current setting is read first.
async fn enable_ttl(client: &Client, table: &str) -> Result<(), Cause> {
    let described = client.describe_time_to_live().table_name(table).send().await?;
    let status = described.time_to_live_description().and_then(|ttl| ttl.time_to_live_status());
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification =
        TimeToLiveSpecification::builder().attribute_name(TTL_ATTRIBUTE).enabled(true).build()?;
    let enabled = client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(specification)
        .send()
        .await;
    match enabled {
        Ok(_) => Ok(()),
        // Another process may have enabled the TTL after this process read the setting.
        Err(error) if error.code() == Some("ValidationException") => {
            let described = client.describe_time_to_live().table_name(table).send().await?;
            let attribute =
                described.time_to_live_description().and_then(|ttl| ttl.attribute_name());
            if attribute == Some(TTL_ATTRIBUTE) { Ok(()) } else { Err(error.into()) }
        }
        Err(error) => Err(error.into()),
    }
}
