//! `teardown keep`: makes sure that a deleted resource is never torn down.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use teardown::ids::{InstallationId, ResourceId};
use teardown::store::admin::keep::Kept;
use teardown::store::admin::teardown_state::TeardownState;

use super::destination::Destination;
use super::operator::{self, LeaseWait};
use crate::phrases::teardown_state as describe;
use crate::terminal::print;

/// Keeps a deleted resource permanently
///
/// The resource stays deleted, but your endpoint never gets the event to destroy its data. The
/// command cancels the events of the deletion that are not sent yet, the notice too. You cannot
/// undo `keep`, and `keep` does not restore the access that your backend revoked at the notice. A
/// hold is not needed. After `keep`, you can register the resource under another installation. If
/// a worker may be announcing the deletion, the command waits until that worker's lease ends, 80
/// seconds at most.
///
/// Exit status: 0 if the resource is kept; 1 if it is not kept; 2 for wrong use.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown keep icfg_open1 db_1 --reason 'the customer came back, ticket 42'"
)]
pub(super) struct Args {
    /// The installation from which the resource was deleted
    #[arg(value_name = "INSTALLATION", value_parser = operator::installation)]
    installation: InstallationId,
    /// The deleted resource
    #[arg(value_name = "RESOURCE", value_parser = operator::resource)]
    resource: ResourceId,
    #[command(flatten)]
    operator: operator::Args,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let Args { installation, resource, .. } = args;
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    let what = format!("{resource} of {installation}");
    let mut lease = LeaseWait::default();
    let done = loop {
        let kept = store.keep(installation, resource, &act).await;
        match kept.with_context(|| format!("{what} may not be kept"))? {
            Kept::Now => {
                break format!("{what} is kept by {} at {}\n", act.by, destination.place());
            }
            Kept::Before => break format!("{what} was kept before: nothing was changed\n"),
            Kept::LeasedUntil(until) => lease.wait(destination.clock(), until).await,
            Kept::No(TeardownState::Live) => {
                bail!("{what} is not deleted: hold it, or move it")
            }
            Kept::No(TeardownState::InDoubt) => {
                bail!("{what} is not kept: the provider may have heard that it is deleted")
            }
            Kept::No(state) => bail!("{what} is not kept: {}", describe(&state)),
        }
    };
    print(&done)?;
    Ok(ExitCode::SUCCESS)
}
