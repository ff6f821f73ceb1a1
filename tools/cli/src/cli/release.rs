//! `teardown release`: ends a hold.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use super::destination::Destination;
use super::operator::{self, On};
use super::typed;
use crate::phrases::subject as name;
use crate::terminal::print;

/// Ends a hold
///
/// WARNING: for each deletion that is past its `teardownAt`, the next sweep sends the `deleted`
/// event, and your endpoint destroys the data. For each other deletion, a sweep sends the event at
/// its `teardownAt`. Before you release a hold, `keep` the resources that must stay. If the
/// resource or its installation has another hold, that hold stays in force. If this command was
/// interrupted, run it again.
///
/// Exit status: 0 if the hold is released; 1 if there is no such hold, or if the table cannot be
/// reached; 2 for wrong use.
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
    let released = released.context("it is not known whether the hold is released: repeat this")?;
    if !released.was_held && released.due_again == 0 {
        let (what, place) = (name(&subject), destination.place());
        bail!("there is no hold on {what} at {place}: `{}` lists the holds", typed("held"));
    }
    let due = match released.due_again {
        0 => "nothing was held up yet".to_owned(),
        due => format!("held up until now: {due}"),
    };
    let (what, place) = (name(&subject), destination.place());
    print(&format!("{what} is released by {} at {place}; {due}\n", act.by))?;
    Ok(ExitCode::SUCCESS)
}
