//! Measures the functions `delete_resource`, `sweep` and `front` as whole processes. `delete_resource` is
//! measured next to a peer in Node.js. `tools/bench/run` says what is measured, and how.

mod attack;
mod database;
mod front;
mod function;
mod lambda;
mod load;
mod measure;
mod purge;
mod report;
mod requests;
mod seed;
mod size;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use rustix::time::{ClockId, clock_gettime};
use teardown::auth::jws::Jws;
use teardown::auth::keys::KeySet;
use teardown::clock::{Clock, Timestamp};
use teardown_cli::issuer::Issuer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::database::Database;
use crate::function::{Awake, Cores, on_its_core};
use crate::measure::{Effort, Side, quantile};
use crate::report::{Report, print_purges};
use crate::requests::{INTEGRATION, ISSUER, Requests, token};
use crate::seed::{IDEMPOTENCY_TABLE, TABLE};
use crate::size::Size;

const USAGE: &str = "usage: teardown-bench [--quick] NODE SERVER DELETE_RESOURCE [SWEEP]\n       \
    teardown-bench [--quick] --attack DELETE_RESOURCE\n       \
    teardown-bench [--quick] --front FRONT";

fn main() -> anyhow::Result<()> {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let is_quick = arguments.first().is_some_and(|first| first.as_os_str() == "--quick");
    arguments.drain(..usize::from(is_quick));
    let cores = Cores::take()?;
    let machine = machine(cores)?;
    if let Some(cores) = cores {
        cores.pin_others()?;
    }
    // The runtime's one worker thread serves the issuer's keys, and each embedded DynamoDB that belongs to no
    // `Side`.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    match &arguments[..] {
        [flag, binary] if flag.as_os_str() == "--attack" => {
            let effort = if is_quick { attack::Effort::QUICK } else { attack::Effort::FULL };
            print_title(binary, &machine);
            attack::run(binary, &runtime, cores, effort)
        }
        [flag, binary] if flag.as_os_str() == "--front" => {
            let effort = if is_quick { front::Effort::QUICK } else { front::Effort::FULL };
            print_title(binary, &machine);
            let _awake = Awake::keep(cores)?;
            front::run(binary, &runtime, cores, effort)
        }
        [node, server, binary, sweep @ ..] if sweep.len() <= 1 => {
            let effort = if is_quick { Effort::QUICK } else { Effort::FULL };
            let peer = [node.clone(), server.clone()];
            beside_peer(binary, peer, sweep.first(), &machine, &runtime, cores, effort)
        }
        _ => bail!(USAGE),
    }
}

fn print_title(binary: &Path, machine: &str) {
    let date = Timestamp::from_secs(Clock::system().timestamp().as_secs());
    println!("`{}`, {date}, {machine}", binary.display());
    println!();
}

/// Measures a `delete_resource` next to its peer, and a `sweep`.
fn beside_peer(
    binary: &Path,
    [node, server]: [PathBuf; 2],
    sweep: Option<&PathBuf>,
    machine: &str,
    runtime: &Runtime,
    cores: Option<Cores>,
    effort: Effort,
) -> anyhow::Result<()> {
    let awake = Awake::keep(cores)?;
    let machine =
        format!("{machine}, {}", if awake.is_some() { "kept awake" } else { "at times halted" });
    let issuer = Issuer::generate()?;
    let jwks_url = runtime.block_on(runtime.spawn(serve_jwks(issuer.jwks().to_string())))??;
    let environment = |dynamodb| {
        let mut environment = environment(&issuer, dynamodb);
        environment.push(("OIDC_JWKS_URL", jwks_url.clone()));
        environment
    };
    let (database, resources) = Database::start(effort.resources(), false)?;
    let variables = environment(database.url());
    let ours = Side { command: vec![binary.to_owned()], environment: variables, cores, database };
    let (database, _) = Database::start(effort.resources(), true)?;
    let mut variables = environment(database.url());
    variables.push(("IDEMPOTENCY_TABLE_NAME", IDEMPOTENCY_TABLE.to_owned()));
    variables.push(("NODE_ENV", "production".to_owned()));
    // `NODE_NO_WARNINGS` turns off warnings. For example, the SDK warns that it will need a newer Node.js one
    // day.
    variables.push(("NODE_NO_WARNINGS", "1".to_owned()));
    let command = vec![node, server.clone()];
    let peer = Side { command, environment: variables, cores, database };
    let requests = Requests::sign(&issuer, &resources)?;

    let verification = on_its_core(cores, || verification(&issuer))?;
    let [peer, ours] = measure::by_turns([peer, ours], &requests, effort)?;
    let functions = sizes(binary)?;
    let folder = server.parent().context("the peer is in a folder")?;
    let report = Report {
        figures: [&ours, &peer],
        lambda_starts: lambda::starts(runtime, binary, effort.starts, &issuer, cores)?,
        verification,
        functions: &functions,
        peer: Size::of(folder)?,
    };
    print_title(binary, &machine);
    report.print();
    if let Some(sweep) = sweep {
        print_purges(sweep, &purge::measure(runtime, sweep, &issuer, cores)?);
    }
    Ok(())
}

/// Serves the issuer's keys to a process that fetches them although `OIDC_JWKS` is set. Returns the address
/// of the keys.
async fn serve_jwks(jwks: String) -> anyhow::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let router = Router::new().fallback(|| async { jwks });
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(format!("http://{address}/"))
}

fn environment(issuer: &Issuer, dynamodb: String) -> Vec<(&'static str, String)> {
    vec![
        ("INTEGRATION_ID", INTEGRATION.to_owned()),
        ("OIDC_ISSUER", ISSUER.to_owned()),
        ("OIDC_JWKS", issuer.jwks().to_string()),
        ("TABLE_NAME", TABLE.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "local".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("RUST_LOG", "info".to_owned()),
    ]
}

/// The sizes of a function and of the functions in its folder, by name.
fn sizes(binary: &Path) -> anyhow::Result<Vec<(String, Size)>> {
    let others = ["delete_installation", "delete_configuration", "sweep", "webhook"];
    let others = others.map(|name| binary.with_file_name(name));
    let functions = std::iter::once(binary).chain(others.iter().map(PathBuf::as_path));
    let sizes = functions.filter(|path| path.exists()).map(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), Size::of(path)?))
    });
    sizes.collect()
}

/// The CPU time of one RS256-2048 verification: the median of 20 batches.
fn verification(issuer: &Issuer) -> anyhow::Result<Duration> {
    const BATCH: u32 = 200;
    let keys = KeySet::parse(issuer.jwks().to_string().as_bytes())?;
    let key = keys.get(issuer.kid()).context("the issuer's key is usable")?;
    let token = issuer.sign(&token(0).claims());
    let token = Jws::parse(&token)?;
    let mut batches = Vec::new();
    for _ in 0..20 {
        let before = thread_cpu()?;
        for _ in 0..BATCH {
            black_box(black_box(&token).verify(key)?);
        }
        batches.push(thread_cpu()?.saturating_sub(before) / BATCH);
    }
    Ok(quantile(&mut batches, 0.5))
}

/// The CPU time that this thread has used.
fn thread_cpu() -> anyhow::Result<Duration> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}

/// The machine, how its cores are shared, and how busy it is. Call this function before any thread is pinned
/// to a core.
fn machine(cores: Option<Cores>) -> anyhow::Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let model = model.trim_start_matches(['\t', ' ', ':']);
    let count = std::thread::available_parallelism()?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let pinned = if cores.is_some() { "a core alone" } else { "the one core shared with the load" };
    Ok(format!("{count} × {model}, {pinned}, load average {load}"))
}
