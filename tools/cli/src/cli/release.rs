//! `teardown release`: a hold ends.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::destination::Destination;
use super::operator::{self, On, name};
use crate::terminal::print;

/// Ends a hold
///
/// What it held up is due at its `teardownAt`, or at once if that is over: the next sweep announces it.
/// Where another hold stands, on the installation or on the resource, that goes on to hold it. If this
/// was cut off, the same again does the rest.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown release icfg_open1 --reason 'the customer confirmed'
  teardown release icfg_open1 db_1 --reason 'the customer confirmed'"
)]
pub(super) struct Args {
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    operator: operator::Args,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let subject = args.on.subject();
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    let released = store.release_hold(&subject, &act).await;
    let released = released.context("the hold may stand: repeat this")?;
    if !released.was_held && released.due_again == 0 {
        bail!("no hold stands on {} at {}", name(&subject), destination.place());
    }
    let due = match released.due_again {
        0 => "nothing was due meanwhile".to_owned(),
        due => format!("due again: {due}"),
    };
    print(&format!("{} is released by {}; {due}\n", name(&subject), act.by))?;
    Ok(ExitCode::SUCCESS)
}
