//! Measures the functions `delete_resource` and `sweep` as whole processes. `bench/run` says what and
//! how.

mod function;
mod lambda;
mod load;
mod purge;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::AttributeValue::{N, S};
use aws_sdk_dynamodb::types::builders::PutRequestBuilder;
use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};
use rustix::time::{ClockId, clock_gettime};
use teardown::auth::jws::Jws;
use teardown::auth::keys::KeySet;
use teardown::clock::{Clock, Timestamp};
use teardown::store::table;
use teardown_dev::embedded::{Embedded, local_client};
use teardown_dev::issuer::{Issuer, Subject, Token};

use crate::function::{Cores, Function, Memory, on_its_core};
use crate::load::Run;
use crate::purge::Purge;

/// How often the function is started.
const STARTS: usize = 20;
/// Deletes before the function is measured under load.
const WARM_UP: usize = 1000;
/// Keep-alive connections of a round.
const CONNECTIONS: usize = 32;
/// Rounds of load.
const ROUNDS: usize = 5;
/// Deletes in a round.
const ROUND: usize = 2000;
/// Deletes over one connection.
const ALONE: usize = 1000;
/// Installations that the resources are spread over.
const INSTALLATIONS: usize = 100;

const TABLE: &str = "teardown-bench";
const INTEGRATION: &str = "oac_bench";
const ISSUER: &str = "https://issuer.example";
const ACCOUNT: &str = "account_bench";

fn main() -> anyhow::Result<()> {
    let mut binaries = std::env::args_os().skip(1).map(PathBuf::from);
    let binary = binaries.next().context("usage: teardown-bench DELETE_RESOURCE [SWEEP]")?;
    let sweep = binaries.next();
    let cores = Cores::take()?;
    let machine = machine(cores)?;
    if let Some(cores) = cores {
        cores.pin_others()?;
    }
    // Its one worker serves the embedded DynamoDB from now on.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let issuer = Issuer::generate()?;
    let dynamodb = runtime.block_on(Embedded::start(None))?.url();
    let deletes = STARTS + 1 + WARM_UP + ROUNDS * ROUND + ALONE;
    let requests =
        runtime.block_on(runtime.spawn(seed(dynamodb.clone(), deletes, INSTALLATIONS)))??;
    let requests = sign(&issuer, &requests);
    let environment = environment(&issuer, dynamodb);

    let verification = on_its_core(cores, || verification(&issuer))?;
    let bench = Bench { binary: &binary, environment: &environment, cores };
    let figures = bench.measure(verification, requests.into_iter())?;
    print_table(&binary, &machine, &figures)?;
    let mut starts = lambda::starts(&runtime, &binary, &issuer, cores)?;
    row("start to first 204, by Lambda's runtime API", &start_time(&mut starts), "≤ 25 ms");
    if let Some(sweep) = sweep {
        print_purges(&sweep, &purge::measure(&runtime, &sweep, &issuer, cores)?);
    }
    Ok(())
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

/// A live resource: its number, and the number of its installation.
type Resource = (usize, usize);

/// Makes the table and writes installations with live resources into it, as registration would.
async fn seed(
    dynamodb: String,
    resources: usize,
    installations: usize,
) -> anyhow::Result<Vec<Resource>> {
    let client = local_client(&dynamodb).await?;
    table::create(&client, TABLE).await.map_err(|error| anyhow!(error))?;
    let resources: Vec<_> = (0..resources).map(|id| (id, id % installations)).collect();
    let count = resources.len().div_ceil(installations).to_string();
    let installations = (0..installations).map(|id| {
        let put = put(id, "#installation".to_owned()).item("state", S("active".to_owned()));
        put.item("accountId", S(ACCOUNT.to_owned())).item("resources", N(count.clone()))
    });
    let puts = installations.chain(resources.iter().map(|(id, owner)| {
        put(*owner, format!("resource#resource-{id}")).item("status", S("ready".to_owned()))
    }));
    let writes = puts.map(|put| Ok(WriteRequest::builder().put_request(put.build()?).build()));
    for batch in writes.collect::<Result<Vec<_>, BuildError>>()?.chunks(25) {
        let written = client.batch_write_item().request_items(TABLE, batch.to_vec()).send().await?;
        ensure!(written.unprocessed_items.unwrap_or_default().is_empty(), "not all was written");
    }
    Ok(resources)
}

fn put(owner: usize, sort_key: String) -> PutRequestBuilder {
    let partition = format!("installation#{}", installation(owner));
    PutRequest::builder().item("pk", S(partition)).item("sk", S(sort_key))
}

fn installation(id: usize) -> String {
    format!("icfg_bench{id}")
}

/// The deletes of these resources, each under a key of its own.
fn sign(issuer: &Issuer, resources: &[Resource]) -> Vec<String> {
    let tokens: Vec<_> = (0..INSTALLATIONS).map(|id| issuer.sign(&token(id).claims())).collect();
    let request = |(id, owner): &Resource| {
        format!(
            "DELETE /v1/installations/{}/resources/resource-{id} HTTP/1.1\r\n\
             Host: 127.0.0.1\r\n\
             Authorization: Bearer {}\r\n\
             X-Vercel-Auth: user\r\n\
             Idempotency-Key: key-{id}\r\n\r\n",
            installation(*owner),
            tokens[*owner],
        )
    };
    resources.iter().map(request).collect()
}

fn token(installation: usize) -> Token {
    Token {
        issuer: ISSUER.to_owned(),
        audience: INTEGRATION.to_owned(),
        account: ACCOUNT.to_owned(),
        installation: Some(self::installation(installation)),
        subject: Subject::User { role: "ADMIN".to_owned() },
        expires: Duration::from_hours(1),
    }
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

/// How to start the function.
struct Bench<'a> {
    binary: &'a Path,
    environment: &'a [(&'a str, String)],
    cores: Option<Cores>,
}

/// What was measured.
struct Figures {
    verification: Duration,
    starts: Vec<Duration>,
    at_rest: Memory,
    after_load: Memory,
    /// At [`CONNECTIONS`].
    rounds: Vec<Round>,
    /// At one connection.
    alone: Round,
}

/// A round of load.
struct Round {
    run: Run,
    /// Per delete.
    user: Duration,
    /// Per delete, in the kernel.
    system: Duration,
}

impl Bench<'_> {
    fn measure(
        &self,
        verification: Duration,
        mut requests: impl Iterator<Item = String>,
    ) -> anyhow::Result<Figures> {
        let mut take = |count| requests.by_ref().take(count).collect::<Vec<_>>();
        let mut starts = Vec::new();
        for request in take(STARTS) {
            starts.push(self.start(&request).context("the starts")?.1);
        }
        let function = self.start(&take(1)[0])?.0;
        let at_rest = function.memory()?;
        load::run(function.address(), CONNECTIONS, &take(WARM_UP)).context("the warm-up")?;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(round(&function, CONNECTIONS, &take(ROUND))?);
        }
        let alone = round(&function, 1, &take(ALONE))?;
        let after_load = function.memory()?;
        Ok(Figures { verification, starts, at_rest, after_load, rounds, alone })
    }

    /// Starts the function on its core; says how long it took until it answered this request.
    fn start(&self, request: &str) -> anyhow::Result<(Function, Duration)> {
        let (mut function, began) = on_its_core(self.cores, || {
            let began = Instant::now();
            Ok((Function::start(self.binary, self.environment)?, began))
        })?;
        let mut connection = function.wait_until_it_listens()?;
        connection.send(request)?;
        Ok((function, began.elapsed()))
    }
}

fn round(function: &Function, connections: usize, requests: &[String]) -> anyhow::Result<Round> {
    let before = function.cpu()?;
    let run = load::run(function.address(), connections, requests)
        .with_context(|| format!("the load at {connections} connections"))?;
    let (user, system) = function.cpu()?.since(before);
    let deletes = u32::try_from(requests.len())?;
    Ok(Round { run, user: user / deletes, system: system / deletes })
}

fn print_table(binary: &Path, machine: &str, figures: &Figures) -> anyhow::Result<()> {
    let cpu = |round: &Round| round.user + round.system;
    let median = |part: &dyn Fn(&Round) -> Duration| {
        quantile(&mut figures.rounds.iter().map(part).collect::<Vec<_>>(), 0.5)
    };
    let least = figures.rounds.iter().map(cpu).min().unwrap_or_default();
    let mut starts = figures.starts.clone();
    let median_cpu = median(&cpu);
    let ratio = median_cpu.as_secs_f64() / figures.verification.as_secs_f64();
    let date = Timestamp::from_secs(Clock::system().timestamp().as_secs());

    println!("`{}`, {date}, {machine}", binary.display());
    println!();
    println!("| figure | measured | target |");
    println!("|---|---|---|");
    row("start to first 204, by Vercel's runtime", &start_time(&mut starts), "≤ 25 ms");
    row(
        &format!("CPU per keyed delete, {CONNECTIONS} connections"),
        &format!(
            "{}, min {} µs ({} user, {} kernel)",
            us(median_cpu),
            us(least),
            us(median(&|round| round.user)),
            us(median(&|round| round.system)),
        ),
        "≤ 350 µs",
    );
    row("CPU per keyed delete, 1 connection", &format!("{} µs", us(cpu(&figures.alone))), "");
    row("one RS256-2048 verification", &format!("{:.1} µs", micros(figures.verification)), "");
    row("CPU per keyed delete in verifications", &format!("{ratio:.1}"), "");
    let runs: Vec<_> = figures.rounds.iter().map(|round| &round.run).collect();
    row(&format!("keyed deletes, {CONNECTIONS} connections"), &throughput(&runs), "");
    row("keyed deletes, 1 connection", &throughput(&[&figures.alone.run]), "");
    row("memory after the first request", &memory(figures.at_rest), "≤ 20 MiB");
    row("memory after the load", &memory(figures.after_load), "");
    let bytes = u32::try_from(fs::metadata(binary)?.len())?;
    row("binary", &format!("{:.1} MiB", f64::from(bytes) / 1024.0 / 1024.0), "");
    Ok(())
}

fn print_purges(binary: &Path, purges: &[Purge]) {
    println!();
    println!(
        "`{}`, an installation of so many resources, swept until nothing is due:",
        binary.display()
    );
    println!();
    println!(
        "| resources | provider | resources per second | CPU per resource | memory after it |"
    );
    println!("|---|---|---|---|---|");
    for purge in purges {
        let rate = f64::from(purge.resources) / purge.elapsed.as_secs_f64();
        println!(
            "| {} | {} | {rate:.0}/s | {} µs | {} |",
            purge.resources,
            if purge.announced { "yes" } else { "no" },
            us(purge.cpu / purge.resources),
            memory(purge.memory),
        );
    }
}

fn row(figure: &str, measured: &str, target: &str) {
    println!("| {figure} | {measured} | {target} |");
}

/// The machine, how it is shared, and how busy it is. To be asked before anything is pinned.
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

fn throughput(runs: &[&Run]) -> String {
    let mut latencies: Vec<_> = runs.iter().flat_map(|run| run.latencies.clone()).collect();
    let seconds: Duration = runs.iter().map(|run| run.elapsed).sum();
    let count = u32::try_from(latencies.len()).unwrap_or(u32::MAX);
    format!(
        "{:.0}/s, p50 {}, p99 {} ms",
        f64::from(count) / seconds.as_secs_f64(),
        ms(quantile(&mut latencies, 0.5)),
        ms(quantile(&mut latencies, 0.99)),
    )
}

fn start_time(starts: &mut [Duration]) -> String {
    format!("{}, min {} ms", ms(quantile(starts, 0.5)), ms(quantile(starts, 0.0)))
}

fn memory(memory: Memory) -> String {
    let pss = memory.pss.map(|pss| format!(", Pss {pss:.1}")).unwrap_or_default();
    format!("RSS {:.1}{pss} MiB", memory.rss)
}

/// The value below which this share of the values is; the least for 0.
fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = u32::try_from(values.len().saturating_sub(1)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the last")]
    let index = (f64::from(last) * share).round() as usize;
    values.get(index).copied().unwrap_or_default()
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e3)
}

fn us(time: Duration) -> String {
    format!("{:.0}", micros(time))
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
