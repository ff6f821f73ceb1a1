//! `teardown table`: creates the table, its TTL and its index.

use anyhow::Context as _;
use teardown::store::admin::table::{Created, create};

use super::destination::Destination;
use crate::terminal::print;

/// Creates the table, its TTL and index, if they do not exist
///
/// The command uses the DynamoDB that the AWS environment names. If the environment names no
/// DynamoDB, the command uses the DynamoDB of the `teardown dev` on --port. `TABLE_NAME` names the
/// table. If `TABLE_NAME` is not set, the table's name is `teardown`.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  AWS_PROFILE=production AWS_REGION=eu-central-1 teardown table
  AWS_ENDPOINT_URL_DYNAMODB=http://127.0.0.1:8000 teardown table"
)]
pub(super) struct Args {}

pub(super) async fn run(port: u16) -> anyhow::Result<()> {
    let destination = Destination::find(port).await?;
    let (table, place) = (destination.table(), destination.place());
    let created = create(destination.client(), table)
        .await
        .map_err(anyhow::Error::from_boxed)
        .with_context(|| format!("the table {table} at {place}"))?;
    let text = match created {
        Created::Now => format!("created the table {table} at {place}\n"),
        Created::Before => format!("the table {table} is there, at {place}\n"),
    };
    Ok(print(&text)?)
}
