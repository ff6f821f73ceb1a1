//! `teardown forget`: deletes an installation in the table, but not at Vercel.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use clap::error::ErrorKind;
use teardown::ids::InstallationId;
use teardown::store::admin::forget::{Announced, Forgotten};

use super::destination::Destination;
use super::{Cli, operator, settings};
use crate::attributes::{Item, named, number, text};
use crate::terminal::print;

/// Deletes an installation only in the table; its data is destroyed after the grace period
///
/// Use this command if teardown can no longer call Vercel for the installation, because access was
/// lost or the access token is no longer valid. The command deletes the installation, and
/// everything that belongs to it, in the table. After the grace period, your endpoint gets the
/// event to destroy the data, unless a hold stops the event. The command erases the access token,
/// so you can send no final invoice after this command. At Vercel, nothing changes.
///
/// If the installation was uninstalled before, --grace and --unannounced do not change how that
/// uninstall is announced: use `hold` or `keep`. If your deployment has no `PROVIDER_URL`, use
/// --unannounced, because there is no endpoint to notify.
///
/// Exit status: 0 if the installation is deleted, now or before; 1 if it is not; 2 for wrong use.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown forget icfg_open1 --reason 'our access to Vercel was revoked'
  teardown forget icfg_open1 --reason 'a test' --unannounced --yes"
)]
pub(super) struct Args {
    /// The installation
    #[arg(value_name = "ID", value_parser = operator::installation)]
    id: InstallationId,
    #[command(flatten)]
    operator: operator::Args,
    /// The time until your endpoint gets the event to destroy the data [default: `GRACE_PERIOD`, or `7d`]
    #[arg(long, value_name = "DURATION", value_parser = settings::grace, conflicts_with = "unannounced")]
    grace: Option<Duration>,
    /// Does not notify your endpoint: the data stays
    #[arg(long)]
    unannounced: bool,
    /// Does not ask for confirmation
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let Args { id, .. } = args;
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    if !args.yes && !can_ask {
        let unconfirmed = "without a terminal to ask back on, --yes is needed";
        Cli::command().error(ErrorKind::MissingRequiredArgument, unconfirmed).exit();
    }
    let announced = match args.grace {
        _ if args.unannounced => Announced::Never,
        Some(grace) => Announced::After(grace),
        None => Announced::After(settings::grace_period(None)?),
    };
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let act = args.operator.act(&destination).await?;
    if !args.yes {
        let items = store.items(id).await.context("the installation cannot be read")?;
        if !items.is_empty() && !operator::agreed(&question(id, &items), id.as_str())? {
            bail!("{id} is not forgotten");
        }
    }
    let forgotten = store.forget(id, &act, announced).await;
    match forgotten.with_context(|| format!("{id} may not be forgotten: repeat this"))? {
        Forgotten::Now { uninstalled } => {
            let then = match announced {
                _ if uninstalled => "its uninstall is announced as before".to_owned(),
                Announced::Never => "nothing is announced".to_owned(),
                Announced::After(grace) => {
                    format!("torn down in {}", humantime::format_duration(grace))
                }
            };
            let (by, place) = (&act.by, destination.place());
            print(&format!(
                "{id} is forgotten by {by} at {place}; {then}; Vercel was not called\n"
            ))?;
        }
        Forgotten::Before => print(&format!("{id} was gone before, with its configuration\n"))?,
        Forgotten::Unknown => bail!("{id} is not known at {}", destination.place()),
    }
    Ok(ExitCode::SUCCESS)
}

/// The question to the operator, which names the reasons against the act: live resources and open invoices.
fn question(id: &InstallationId, items: &[Item]) -> String {
    let find = |name: &str| items.iter().find(|item| named(item, name) == Some(""));
    let installation = find("#installation");
    let say = |name| installation.and_then(|item| text(item, name)).unwrap_or("unknown");
    let live = installation.and_then(|item| number(item, "resources")).unwrap_or("0");
    let open = if say("billing") == "settled" {
        ""
    } else {
        " Its invoices are open: no final invoice can be sent after this."
    };
    format!(
        "{id} is {} here, with {live} resources.{open}\n\
         Forget it, without asking Vercel? Type its id to go on: ",
        say("state")
    )
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue::{N, S};

    use super::*;

    /// E6: if the invoices are open, the question to the operator says so. If the invoices are settled, the
    /// question does not mention invoices.
    #[test]
    fn the_question_names_open_invoices() {
        let id = InstallationId::parse("icfg_1").unwrap();
        let item = |billing: &str| {
            let attributes = [
                ("sk", S("#installation".to_owned())),
                ("state", S("active".to_owned())),
                ("billing", S(billing.to_owned())),
                ("resources", N("3".to_owned())),
            ];
            attributes.map(|(name, value)| (name.to_owned(), value)).into()
        };
        let open = question(&id, &[item("open")]);
        assert!(open.starts_with("icfg_1 is active here, with 3 resources. Its invoices are open"));
        assert!(!question(&id, &[item("settled")]).contains("invoices"));
    }
}
