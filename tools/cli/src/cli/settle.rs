//! `teardown settle`: marks an installation's invoices as settled.

use anyhow::{Context as _, bail};
use teardown::ids::InstallationId;
use teardown::store::admin::operations::Settled;

use super::destination::Destination;
use super::operator;
use crate::terminal::print;

/// Marks an installation's invoices as settled
///
/// After this command, an uninstall is final immediately. If the installation was uninstalled
/// before, its finalization at Vercel is now due, and the next sweep calls Vercel. If the
/// installation is not registered, the command fails.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown settle icfg_open1
  AWS_PROFILE=production teardown settle icfg_9bceb8ccT32d3U417ezb5c8p"
)]
pub(super) struct Args {
    /// The installation
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    operator: operator::Maybe,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let id = InstallationId::parse(&args.id).context("ID")?;
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    let settled = store.settle_invoices_by(&id, act.as_ref()).await;
    let outcome = match settled.context("the invoices were not settled")? {
        Some(Settled::Active) => "an uninstall will be final at once",
        Some(Settled::Due) => "its finalization at Vercel is due now",
        Some(Settled::Finalized) => "no finalization is outstanding",
        None => bail!("{id} is not registered at {}", destination.place()),
    };
    Ok(print(&format!("the invoices of {id} are settled: {outcome}\n"))?)
}
