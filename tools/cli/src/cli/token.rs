//! `teardown token`: prints a token of the local issuer, and nothing else.

use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use teardown::ids::InstallationId;

use super::destination::clock_of;
use super::samples::ACCOUNT;
use super::settings;
use crate::issuer::{Subject, Token};
use crate::terminal::print;

/// Prints a token that the local issuer signs
///
/// The token is valid for every `teardown dev` of this checkout that has the same `INTEGRATION_ID`
/// and `OIDC_ISSUER`. If `INTEGRATION_ID` has several ids, the token is for the first id.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown token --installation icfg_open1
  teardown token --installation icfg_open1 --role USER --expires 12h
  teardown token --system --account acc_local
  curl -X DELETE http://127.0.0.1:3000/v1/installations/icfg_open1 \\
    -H \"Authorization: Bearer $(teardown token --installation icfg_open1)\""
)]
pub(super) struct Args {
    /// The installation that the token names. With --system, a token may name only an account
    #[arg(long, value_name = "ID", required_unless_present = "system")]
    installation: Option<String>,
    /// The user's role
    #[arg(long, value_enum, ignore_case = true, default_value_t = Role::Admin)]
    role: Role,
    /// Makes a token of Vercel itself, not of a user
    #[arg(long, conflicts_with = "role")]
    system: bool,
    /// The account that the token is for [default with --installation: `acc_local`, the samples' account]
    #[arg(long, value_name = "ID")]
    account: Option<String>,
    /// How long the token is valid, such as 30s, 10m or 12h
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = expiry)]
    expires: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    #[value(name = "ADMIN")]
    Admin,
    #[value(name = "USER")]
    User,
}

/// The longest time that a token may be valid. The limit prevents an overflow after a typing error.
const MAX_EXPIRY: Duration = Duration::from_hours(10 * 366 * 24);

fn expiry(text: &str) -> Result<Duration, &'static str> {
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_secs(1)..=MAX_EXPIRY).contains(&time) => Ok(time),
        Ok(_) => Err("must be 1 second to 10 years"),
        Err(_) => Err("is no time such as 30s, 10m or 12h"),
    }
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<()> {
    let config = settings::of_tokens()?;
    let account = match (&args.account, &args.installation) {
        (Some(account), _) => account.as_str(),
        (None, Some(_)) => ACCOUNT,
        // A token without an installation is valid for every installation of its account, so the user must
        // name the account.
        (None, None) => bail!("--system without --installation needs --account"),
    };
    if let Some(id) = &args.installation {
        InstallationId::parse(id).context("--installation")?;
    }
    let token = Token {
        issuer: config.oidc_issuer,
        audience: config.integration_ids.first().to_owned(),
        account: account.to_owned(),
        installation: args.installation.clone(),
        subject: match (args.system, args.role) {
            (true, _) => Subject::System,
            (false, Role::Admin) => Subject::User { role: "ADMIN".to_owned() },
            (false, Role::User) => Subject::User { role: "USER".to_owned() },
        },
        expires: args.expires,
    };
    // The token is issued at the time of the `teardown dev`'s clock, because a user may have moved this clock
    // forward.
    let now = clock_of(port).await.now();
    let signed = settings::issuer()?.sign(&token.claims_at(now));
    Ok(print(&format!("{signed}\n"))?)
}
