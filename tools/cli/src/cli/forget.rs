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

/// Deletes an installation here, and has its data destroyed after the grace period; Vercel is not called
///
/// Use this command if Vercel's side can no longer be reached: access was lost, or the access token is no
/// longer valid. The installation and everything that belongs to it are deleted here. Your endpoint is told
/// to destroy the data after the grace period, unless a hold stops that. At Vercel, nothing changes. The
/// access token is erased, so no final invoice can be sent after that.
///
/// If the installation was uninstalled before, --grace and --unannounced do not change what that uninstall announces:
/// use `hold` or `keep`. A deployment without a `PROVIDER_URL` has nobody to notify: use --unannounced.
///
/// Exit status: 0 it is forgotten, or was gone before, 1 it is not, 2 wrong use.
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
    /// How long until your endpoint is told to destroy the data; else the `GRACE_PERIOD` of this shell, else
    /// `7d`
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
