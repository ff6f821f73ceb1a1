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
/// It lists what needs attention: parked jobs, late finalizations, jobs that hang, holds. It finds an
/// installation and shows its history. It can retry, hold, release, keep and settle, each with a reason, as
/// the commands of these names do. It never makes a request as Vercel. It is on 127.0.0.1 alone, at an
/// address with a secret in it: everybody who has the address can act in your name. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown console
  AWS_PROFILE=production AWS_REGION=eu-central-1 teardown console"
)]
pub(super) struct Args {
    /// The port that the page is on; 0 is any that is free. (--port is that of a `teardown dev`)
    #[arg(long, value_name = "N", default_value_t = 0)]
    listen: u16,
    /// Your name for the record; else the AWS caller's ARN, or the user's name
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
