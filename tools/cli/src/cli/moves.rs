//! `teardown move`: moves a live resource to another installation, or out of the marketplace.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use teardown::ids::{InstallationId, ResourceId};
use teardown::store::admin::moves::{Moved, Target};

use super::destination::Destination;
use super::{Cli, operator};
use crate::terminal::print;

/// Moves a live resource to another installation, or out of the marketplace
///
/// After the move, the resource belongs to the target: a deletion under the source no longer
/// affects it. If you move a resource out, teardown never tears it down. Nothing changes at
/// Vercel. Both installations must be active, and neither the source nor the resource may have a
/// hold.
///
/// Exit status: 0 if the resource is at the target; 1 if it was not moved; 2 for wrong use.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown move icfg_open1 db_1 --to icfg_settled1 --reason 'transfer tr_1'
  teardown move icfg_open1 db_1 --out --reason 'billed by ourselves from now on'"
)]
pub(super) struct Args {
    /// The installation that has the resource now
    #[arg(value_name = "SOURCE", value_parser = operator::installation)]
    source: InstallationId,
    /// The resource to move
    #[arg(value_name = "RESOURCE", value_parser = operator::resource)]
    resource: ResourceId,
    /// The installation that gets the resource. Without --to, you must give --out
    #[arg(long, value_name = "TARGET", value_parser = operator::installation,
          required_unless_present = "out")]
    to: Option<InstallationId>,
    /// Moves the resource out of the marketplace
    #[arg(long, conflicts_with = "to")]
    out: bool,
    #[command(flatten)]
    operator: operator::Args,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let Args { source, resource, .. } = args;
    let target = args.to.clone().map_or(Target::Out, Target::Installation);
    if args.to.as_ref() == Some(source) {
        let same = "the source and the target are the same installation";
        Cli::command().error(ErrorKind::ValueValidation, same).exit();
    }
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    let what = format!("{resource} of {source}");
    let moved = store.move_resource(source, resource, &target, &act).await;
    let place = match &target {
        Target::Installation(target) => format!("to {target}"),
        Target::Out => "out of the marketplace".to_owned(),
    };
    match moved.with_context(|| format!("{what} may not be moved: repeat this"))? {
        Moved::Now => {
            print(&format!("{what} is moved {place} by {} at {}\n", act.by, destination.place()))?;
        }
        Moved::Before => print(&format!("{what} was moved {place} before\n"))?,
        Moved::No(obstacle) => bail!("{what} is not moved: {obstacle}"),
    }
    Ok(ExitCode::SUCCESS)
}
