//! `teardown console`: serves a web page on which operators see and change the table.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::destination::Destination;
use super::operator;
use crate::console::{Console, Parts};
use crate::terminal::{HEADING, print};
use crate::web::table::Table;

/// Serves a page for operators on this machine
///
/// The page lists what needs an operator: parked jobs, late finalizations, holds, and jobs that
/// have been due for over 15 minutes. The page finds an installation and shows its history. You
/// can retry a job, hold, release, keep and settle, each with a reason. The page never sends a
/// request in Vercel's name. Only this machine can open the page, and its address contains a
/// secret: everybody who has the address can act in your name. Ctrl-C ends the command.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown console
  AWS_PROFILE=production AWS_REGION=eu-central-1 teardown console"
)]
pub(super) struct Args {
    /// The port of the page; 0 means any free port. (--port is the port of a `teardown dev`)
    #[arg(long, value_name = "N", default_value_t = 0)]
    listen: u16,
    /// Your name, which is recorded [default: the AWS caller's ARN, or your user name]
    #[arg(long, value_name = "WHO", value_parser = operator::one_line_text)]
    by: Option<String>,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let destination = Destination::find(port).await?;
    let by = operator::by(args.by.as_deref(), &destination).await?;
    let parts = Parts {
        store: destination.store()?,
        table: Table::new(destination.client().clone(), destination.table().to_owned()),
        clock: destination.clock().clone(),
        place: destination.place().to_owned(),
        table_name: destination.table().to_owned(),
        by,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.listen)).await;
    let listener = listener.with_context(|| format!("--listen {}", args.listen))?;
    let address = listener.local_addr()?;
    let console = Console::new(parts)?;
    print(&format!(
        "{HEADING}The console of {} is at http://{address}{}{HEADING:#}\nCtrl-C ends it.\n",
        destination.place(),
        console.path(),
    ))?;
    Ok(axum::serve(listener, console.router(address.port())).await?)
}
