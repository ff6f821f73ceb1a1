//! The command line of `teardown check`, which checks any provider's backend.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use teardown::clock::Clock;

use super::settings;
use crate::check::{
    self, GROUPS, ISSUER, Needs, Options, PATIENCE, Product, Report, Row, Selection, Signer,
    Supply, keys, report,
};
use crate::issuer::Issuer;
use crate::terminal::{note, print};

/// Checks a provider's backend, in any language, against what Vercel documents about deletion
///
/// The command simulates Vercel: it signs tokens, serves the keys that verify the tokens, makes
/// installations and resources, deletes them and checks the answers. Run the command only against
/// a test backend: a faulty backend may delete too much.
///
/// The backend must read its keys from this command's JWKS document. If the backend does not, the
/// command skips the checks that need a valid token, and the report says what you must set.
///
/// Exit status: 0 if no check fails; 1 if a check fails; 2 if nothing could be checked, the run
/// was stopped, or the command line is wrong.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown check http://127.0.0.1:3000 --integration-id oac_123
  teardown check http://127.0.0.1:3000 --integration-id oac_123 --only delete-resource
  teardown check https://staging.example.com --read-only
  teardown check --list"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(super) struct Args {
    /// The part of the backend's URL before /v1/installations
    #[arg(required_unless_present_any = ["list", "print_jwks"])]
    base_url: Option<String>,
    /// The tokens' `aud`, `oac_…` [default: `INTEGRATION_ID`]. Without an id, the command skips the
    /// checks with a good token
    #[arg(long, value_name = "ID")]
    integration_id: Option<String>,
    /// The `iss` of tokens
    #[arg(long, value_name = "URL", default_value = ISSUER)]
    issuer: String,
    /// The `account_id` of tokens
    #[arg(long, value_name = "ID", default_value = "acc_check")]
    account: String,
    /// The file of the key that signs tokens. If there is no such file, the command creates it
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The port of the JWKS document, at /.well-known/jwks
    #[arg(long, value_name = "N", default_value_t = 7676)]
    jwks_port: u16,
    /// The address that the JWKS document is served on; 0.0.0.0 for backends in containers
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    jwks_host: IpAddr,
    /// Prints the JWKS document, and nothing else
    #[arg(long)]
    print_jwks: bool,
    /// The `productId` of the resources that the command provisions
    #[arg(long, value_name = "ID", default_value = "default")]
    product: String,
    /// The `billingPlanId` of the resources that the command provisions
    #[arg(long, value_name = "ID", default_value = "default")]
    plan: String,
    /// The `metadata` of the resources that the command provisions
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = json)]
    metadata: Value,
    /// An existing installation. The command deletes it, and makes no installation
    #[arg(long, value_name = "ID")]
    installation: Option<String>,
    /// A resource of the --installation, which the command deletes; can be repeated
    #[arg(long = "resource", value_name = "ID", requires = "installation")]
    resources: Vec<String>,
    /// Sends only requests that must be refused, and Get Resource
    #[arg(long)]
    read_only: bool,
    /// The secret that signs webhooks [default: `CLIENT_SECRET`]
    #[arg(long, value_name = "SECRET")]
    client_secret: Option<String>,
    /// The path or the address of the webhook [default: /api/webhook, or else /webhook]
    #[arg(long, value_name = "PATH")]
    webhook_path: Option<String>,
    /// Makes only the checks of this group, or only this check; can be repeated
    #[arg(long, value_name = "GROUP|ID")]
    only: Vec<String>,
    /// A check whose failure is reported but does not count; can be repeated
    #[arg(long, value_name = "ID")]
    accept: Vec<String>,
    /// Prints the report as JSON
    #[arg(long)]
    json: bool,
    /// Also writes the report to this file, in `JUnit`'s format
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Lists the checks
    #[arg(long)]
    list: bool,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// How long all checks together may take
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
    limit: Duration,
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

pub(super) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.list {
        print(&list())?;
        return Ok(ExitCode::SUCCESS);
    }
    match checked(args).await {
        Ok(status) => Ok(ExitCode::from(status)),
        Err(error) => {
            super::fail(&error);
            Ok(ExitCode::from(2))
        }
    }
}

/// Runs the checks, and returns the exit status.
async fn checked(args: &Args) -> anyhow::Result<u8> {
    let signer = Arc::new(Signer::new(Arc::new(key(args)?))?);
    if args.print_jwks {
        print(&format!("{}\n", signer.jwks()))?;
        return Ok(0);
    }
    let selection = selection(args)?;
    let mut options = options(args, &signer)?;
    let address = SocketAddr::new(args.jwks_host, args.jwks_port);
    let served = keys::serve(address, &signer, &args.issuer).await;
    let urls = served.with_context(|| format!("{address}: see --jwks-port and --jwks-host"))?;
    announce(&options, &selection, &urls.own);
    options.keys = Some(urls);
    let bar = progress(&selection);
    let print_row = |row: &Row| {
        bar.set_message(row.check.id);
        bar.inc(1);
    };
    let stop = async {
        // If no handler for Ctrl-C can be installed, `stop` never ends, and the signal itself ends the
        // process.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let report =
        check::run(options, &selection, print_row, stop).await.map_err(|why| anyhow!(why))?;
    bar.finish_and_clear();
    if let Some(file) = &args.junit {
        tokio::fs::write(file, report::junit(&report))
            .await
            .with_context(|| file.display().to_string())?;
    }
    let printed =
        if args.json { format!("{:#}\n", report::json(&report)) } else { report::text(&report) };
    print(&printed)?;
    Ok(status(&report))
}

/// The exit status, which is 1 if a check failed. If no check failed, it is 2 if no check was run, the backend
/// did not accept the run's tokens, or the run was stopped. It is 0 in all other cases.
fn status(report: &Report) -> u8 {
    let made = ["pass", "warn", "accepted"].iter().any(|name| report.count(name) > 0);
    match (report.count("fail"), report.stopped.is_some() || report.untrusted || !made) {
        (0, false) => 0,
        (0, true) => 2,
        _ => 1,
    }
}

fn key(args: &Args) -> anyhow::Result<Issuer> {
    match &args.key {
        Some(file) => Issuer::in_file(file).context("--key"),
        None => settings::issuer(),
    }
}

fn selection(args: &Args) -> anyhow::Result<Selection> {
    for id in &args.accept {
        if !check::all().any(|check| check.id == id) {
            bail!("--accept: there is no check {id}; --list has them all");
        }
    }
    for only in &args.only {
        if !check::all().any(|check| check.id == only || check.group() == only) {
            bail!("--only: there is no check or group {only}; --list has them all");
        }
    }
    let chosen = |id: &str, group: &str| {
        args.only.is_empty() || args.only.iter().any(|only| only == id || only == group)
    };
    let checks = check::all().filter(|check| chosen(check.id, check.group())).collect();
    Ok(Selection { checks, accepted: args.accept.iter().cloned().collect::<BTreeSet<_>>() })
}

fn options(args: &Args, signer: &Arc<Signer>) -> anyhow::Result<Options> {
    let base_url = args.base_url.as_deref().unwrap_or_default().trim_end_matches('/');
    let url =
        reqwest::Url::parse(base_url).with_context(|| format!("{base_url:?} is not an address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() {
        bail!("{base_url}: an http or https address without a query is needed");
    }
    let supply = match &args.installation {
        None => Supply::Made,
        Some(installation) => {
            Supply::Given { installation: installation.clone(), resources: args.resources.clone() }
        }
    };
    let given =
        |argument: &Option<String>, name| argument.clone().or_else(|| settings::variable(name));
    let run: u64 = rand()?;
    Ok(Options {
        base_url: base_url.to_owned(),
        // If `INTEGRATION_ID` has several ids, tokens are for the first id.
        integration: given(&args.integration_id, "INTEGRATION_ID")
            .map(|ids| ids.split(',').next().unwrap_or_default().trim().to_owned()),
        issuer: args.issuer.clone(),
        account: args.account.clone(),
        signer: Arc::clone(signer),
        keys: None,
        supply,
        product: Product {
            id: args.product.clone(),
            plan: args.plan.clone(),
            metadata: args.metadata.clone(),
        },
        read_only: args.read_only,
        client_secret: given(&args.client_secret, "CLIENT_SECRET"),
        webhook: args.webhook_path.clone(),
        timeout: args.timeout,
        patience: PATIENCE,
        limit: args.limit,
        clock: Clock::system(),
        run: format!("{:010}", run % 10_000_000_000),
    })
}

/// A random number, so that the ids of this run differ from those of other runs.
fn rand() -> anyhow::Result<u64> {
    getrandom::u64().map_err(|error| anyhow!("no randomness: {error}"))
}

/// Prints what the run will make and delete, before the run begins.
fn announce(options: &Options, selection: &Selection, keys: &str) {
    let Needs { installations, resources, trust, .. } = selection.needs();
    note(&format!("checking {}; its keys are at {keys}", options.base_url));
    let text = match &options.supply {
        _ if options.read_only => "it makes and deletes nothing: --read-only".to_owned(),
        _ if options.integration.is_none() || !trust => "it makes nothing".to_owned(),
        Supply::Made => format!(
            "it makes, and deletes again, some {installations} installations (icfg_check{}…) and {resources} \
             resources (teardown-check-…), or more if checks fail",
            options.run,
        ),
        Supply::Given { installation, resources } => {
            format!(
                "it DELETES the installation {installation} and its resources {}",
                resources.join(", ")
            )
        }
    };
    note(&text);
}

fn progress(selection: &Selection) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(selection.checks.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len}  {msg}") {
        bar.set_style(style.progress_chars("##-"));
    }
    bar
}

/// The list of checks, with one line for each check.
fn list() -> String {
    let mut list = String::new();
    for (group, _) in GROUPS {
        for check in check::all().filter(|check| check.group() == group) {
            let weight = if check.basis.is_binding() { "fail" } else { "warn" };
            let _ = writeln!(list, "{:<52} {weight}  {}", check.id, check.title);
        }
    }
    list
}
