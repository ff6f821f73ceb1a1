//! The command line `teardown`: its commands, and what it does when a command fails.
//!
//! Each command has its own file. A command prints its result on standard output, and its progress, its logs
//! and the one line of an error on standard error.

mod check;
mod console;
mod destination;
mod forget;
mod held;
mod hold;
pub mod import;
mod keep;
mod lines;
mod logs;
mod moves;
mod operator;
mod parked;
mod reconcile;
mod release;
mod samples;
mod serve;
mod settings;
mod settle;
mod sheet;
mod show;
mod sweeps;
mod table;
mod token;
mod welcome;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};

use crate::terminal::{ERROR, one_line};

/// Runs teardown on this machine, and shows and changes its table.
///
/// All commands except `dev`, `token` and `check` use the DynamoDB that the AWS environment names
/// (`AWS_ENDPOINT_URL_DYNAMODB`, `AWS_REGION`, `AWS_PROFILE`, …). If the environment names no
/// DynamoDB, these commands use the DynamoDB of the `teardown dev` on --port.
///
/// In a checkout, `cargo dev` is `teardown dev`, and `cargo dev COMMAND` is `teardown COMMAND`.
#[derive(Debug, Parser)]
#[command(name = "teardown", verbatim_doc_comment, after_help = EXAMPLES)]
struct Cli {
    /// The port on 127.0.0.1 of the `teardown dev`. For `dev` itself, 0 means any free port
    #[arg(long, value_name = "N", global = true, default_value_t = 3000)]
    port: u16,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  teardown dev                                    start, with samples to delete
  teardown token --installation icfg_open1        a token to call the endpoints with
  teardown show icfg_open1                        what is stored of an installation
  teardown settle icfg_open1                      nothing is left to invoice
  teardown hold icfg_open1 --reason 'ticket 42'   nothing of it is torn down
  teardown reconcile                              does Vercel have what is stored?
  AWS_PROFILE=production teardown table           the table, on AWS";

#[derive(Debug, Subcommand)]
enum Command {
    Dev(Dev),
    #[command(flatten)]
    Other(Other),
}

/// Runs everything on this machine: the endpoints, a DynamoDB and a token issuer on one port
///
/// Stand-ins replace Vercel's REST API and the provider. You need not install or configure
/// anything. Without --data, the data is lost when the command ends. A sweep runs every few
/// seconds. The command reads the same variables as the functions (`INTEGRATION_ID`,
/// `OIDC_ISSUER`, `TABLE_NAME`, …). If these variables are not set, `INTEGRATION_ID` is
/// `oac_local`, `VERCEL_API_URL` and `PROVIDER_URL` are the stand-ins, and `PROVIDER_SECRET`,
/// `CRON_SECRET` and `CLIENT_SECRET` are local secrets.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment, after_help = DEV_EXAMPLES)]
struct Dev {
    #[command(flatten)]
    serve: serve::Args,
    #[command(subcommand)]
    command: Option<Other>,
}

const DEV_EXAMPLES: &str = "\
Examples:
  teardown dev                                    start, with samples to delete
  teardown dev --port 4000 --data dev.db          on another port, kept in a file";

/// The commands except `dev`. Each of them can also follow `dev`: `cargo dev show` is `teardown dev show`.
#[derive(Debug, Subcommand)]
enum Other {
    Token(token::Args),
    Table(table::Args),
    Import(import::Args),
    Show(show::Args),
    Settle(settle::Args),
    Parked(parked::Args),
    Hold(hold::Args),
    Release(release::Args),
    Held(held::Args),
    Keep(keep::Args),
    Move(moves::Args),
    Forget(forget::Args),
    Reconcile(reconcile::Args),
    Console(console::Args),
    Check(Box<check::Args>),
}

/// A command of the tool, as the user types it. If cargo started this process, the text of the command begins
/// with `cargo dev`, else with `teardown`.
pub(crate) fn typed(command: &str) -> String {
    match (std::env::var_os("CARGO"), command) {
        (None, _) => format!("teardown {command}"),
        (Some(_), "dev") => "cargo dev".to_owned(),
        (Some(_), _) => format!("cargo dev {command}"),
    }
}

/// Runs the command that the process's arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let ended = runtime.block_on(cli.run());
    // `shutdown_background` does not wait for a thread that still reads standard input.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| fail(&error))
}

impl Cli {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let Self { port, command } = self;
        let other = match command {
            Command::Other(other) => other,
            Command::Dev(Dev { serve, command: None }) => {
                serve::run(port, &serve).await?;
                return Ok(ExitCode::SUCCESS);
            }
            Command::Dev(Dev { serve, command: Some(other) }) => {
                if let Some(option) = serve.given() {
                    bail!("{option} is for `{}` itself, without a command", typed("dev"));
                }
                other
            }
        };
        match other {
            Other::Token(args) => token::run(port, &args).await?,
            Other::Table(_) => table::run(port).await?,
            Other::Import(args) => return import::run(port, &args).await,
            Other::Show(args) => show::run(port, &args).await?,
            Other::Settle(args) => settle::run(port, &args).await?,
            Other::Parked(args) => parked::run(port, &args).await?,
            Other::Hold(args) => return hold::run(port, &args).await,
            Other::Release(args) => return release::run(port, &args).await,
            Other::Held(args) => held::run(port, &args).await?,
            Other::Keep(args) => return keep::run(port, &args).await,
            Other::Move(args) => return moves::run(port, &args).await,
            Other::Forget(args) => return forget::run(port, &args).await,
            Other::Reconcile(args) => return reconcile::run(port, &args).await,
            Other::Console(args) => console::run(port, &args).await?,
            Other::Check(args) => return check::run(&args).await,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints in one line why a command failed.
fn fail(error: &anyhow::Error) -> ExitCode {
    let message = one_line(&format!("{error:#}"));
    // A write error is ignored, because it means that standard error is closed.
    let _ = writeln!(anstream::stderr(), "{ERROR}error:{ERROR:#} {message}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
