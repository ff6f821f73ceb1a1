//! Measures what `front` costs: calls a backend directly, and through `front`. The comment in
//! `tools/bench/run` describes this measurement.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use teardown_cli::issuer::Issuer;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::database::Database;
use crate::function::{Cores, Function, on_its_core};
use crate::load::Load;
use crate::measure::quantile;
use crate::report::{micros, ms};
use crate::requests::token;
use crate::seed::installation;

const CONNECTIONS: [usize; 2] = [1, 32];
/// The time that `front` may add to a call's p50, without the time of its calls to DynamoDB.
const GOAL: Duration = Duration::from_millis(1);
/// The memory, in MiB, that `front` may need while it forwards 32 bodies of 1 MiB at the same time.
const MEMORY_GOAL: f64 = 128.0;
/// The time that may pass from the spawn of a `front` process to its first answer.
const START_GOAL: Duration = Duration::from_millis(15);

/// How often and how long the benchmark measures.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    starts: usize,
    rounds: usize,
    time: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self { starts: 20, rounds: 5, time: Duration::from_secs(2) };
    pub(crate) const QUICK: Self = Self { starts: 3, rounds: 1, time: Duration::from_millis(500) };
}

/// A row of the table: a call, and its measurements.
struct Row {
    name: &'static str,
    address: SocketAddr,
    request: String,
    /// How many calls to DynamoDB one such call causes.
    calls: u32,
    /// Whether the call goes through the function `front`.
    is_passed: bool,
    /// The measurements for each number of connections.
    found: [Found; 2],
}

/// The measurements of a call over one number of connections, with one value for each round.
#[derive(Clone, Default)]
struct Found {
    p50: Vec<Duration>,
    p99: Vec<Duration>,
    cpu: Vec<Duration>,
}

/// Measures a `front`, and prints the result.
pub(crate) fn run(
    binary: &Path,
    runtime: &Runtime,
    cores: Option<Cores>,
    effort: Effort,
) -> anyhow::Result<()> {
    let issuer = Issuer::generate()?;
    let jwks = crate::serve_jwks(issuer.jwks().to_string());
    let backend = runtime.block_on(runtime.spawn(backend()))??;
    let (mut database, _) = Database::start(1, false)?;
    database.make_instant()?;
    let mut environment = crate::environment(&issuer, database.url());
    environment.push(("OIDC_JWKS_URL", runtime.block_on(runtime.spawn(jwks))??));
    environment.push(("BACKEND_URL", format!("http://{backend}")));
    let token = issuer.sign(&token(0).claims());
    let provision = request("POST", "/resources", Some(&token), r#"{"name":"bench"}"#);
    let mut starts = Vec::new();
    for _ in 0..effort.starts {
        let (mut function, began) = on_its_core(cores, || {
            let began = Instant::now();
            Ok((Function::start(binary, &environment)?, began))
        })?;
        function.wait_until_it_listens()?.send(&provision, 200)?;
        starts.push(began.elapsed());
    }
    let mut function = on_its_core(cores, || Function::start(binary, &environment))?;
    function.wait_until_it_listens()?.send(&provision, 200)?;
    let at_rest = function.memory()?;
    let database_address: SocketAddr = database.url().trim_start_matches("http://").parse()?;
    let row = |name, address, request, calls, is_passed| Row {
        name,
        address,
        request,
        calls,
        is_passed,
        found: Default::default(),
    };
    let front = function.address();
    let upsert = request("PUT", "", Some(&token), r#"{"credentials":{"access_token":"t"}}"#);
    let mut rows = [
        row("the instant DynamoDB, called directly", database_address, write(), 0, false),
        row("the backend, called directly", backend, provision.clone(), 0, false),
        row("not recorded: without a token", front, request("PATCH", "", None, "{}"), 0, true),
        row("Upsert", front, upsert, 1, true),
        row("Provision", front, provision, 2, true),
    ];
    for round in 0..=effort.rounds {
        for (place, connections) in CONNECTIONS.into_iter().enumerate() {
            for row in &mut rows {
                let found = row.load(&function, connections, effort.time)?;
                // The first round only warms up the servers, so its measurements are dropped.
                if round > 0 {
                    row.found[place].p50.push(found.0);
                    row.found[place].p99.push(found.1);
                    row.found[place].cpu.push(found.2);
                }
            }
        }
    }
    print(&rows);
    let body = "x".repeat(1 << 20);
    let large = [request("PATCH", "", None, &body)];
    let load = Load { requests: &large, again: true, status: 200, time: effort.time };
    load.run(front, 32).context("the large bodies")?;
    let peak = function.peak()?;
    let start = quantile(&mut starts, 0.5);
    println!();
    println!(
        "Start to first answer: {} ms; ≤ {} ms: {}. Memory: RSS {:.1} MiB after the first call, {peak:.1} \
         MiB at most with 32 bodies of 1 MiB at once; ≤ {MEMORY_GOAL:.0} MiB: {}.",
        ms(start),
        START_GOAL.as_millis(),
        met(start <= START_GOAL),
        at_rest.rss,
        met(peak <= MEMORY_GOAL),
    );
    Ok(())
}

impl Row {
    /// Measures a call. Returns its p50, its p99, and the function's CPU time per call.
    fn load(
        &self,
        function: &Function,
        connections: usize,
        time: Duration,
    ) -> anyhow::Result<(Duration, Duration, Duration)> {
        let requests = std::slice::from_ref(&self.request);
        let load = Load { requests, again: true, status: 200, time };
        let before = function.cpu()?;
        let mut run = load
            .run(self.address, connections)
            .with_context(|| format!("{} at {connections} connections", self.name))?;
        let (user, system) = function.cpu()?.since(before);
        let count = u32::try_from(run.latencies.len())?;
        ensure!(count > 0, "nothing was answered");
        let quantile = |share, of: &mut [Duration]| quantile(of, share);
        let p50 = quantile(0.5, &mut run.latencies);
        Ok((p50, quantile(0.99, &mut run.latencies), (user + system) / count))
    }

    fn p50(&self, place: usize) -> Duration {
        quantile(&mut self.found[place].p50.clone(), 0.5)
    }
}

fn print(rows: &[Row]) {
    println!("| | connections | p50 | p99 | CPU per call | beyond DynamoDB and backend, p50 |");
    println!("|---|---|---|---|---|---|");
    let [database, backend, ..] = rows else { return };
    for row in rows {
        for (place, connections) in CONNECTIONS.into_iter().enumerate() {
            let p50 = row.p50(place);
            let p99 = quantile(&mut row.found[place].p99.clone(), 0.5);
            let cpu = quantile(&mut row.found[place].cpu.clone(), 0.5);
            let (cpu, added) = if row.is_passed {
                let calls = database.p50(place) * row.calls;
                let added = p50.saturating_sub(backend.p50(place) + calls);
                let goal = match connections {
                    1 => format!("; ≤ {} ms: {}", GOAL.as_millis(), met(added <= GOAL)),
                    _ => String::new(),
                };
                (format!("{:.0} µs", micros(cpu)), format!("{} ms{goal}", ms(added)))
            } else {
                (String::new(), String::new())
            };
            let (p50, p99) = (ms(p50), ms(p99));
            println!("| {} | {connections} | {p50} ms | {p99} ms | {cpu} | {added} |", row.name);
        }
    }
}

fn met(is: bool) -> &'static str {
    if is { "met" } else { "not met" }
}

/// Starts a backend that answers every request with the same resource. Returns the backend's address.
async fn backend() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let answer = async |_: Bytes| {
        let resource = r#"{"id":"db_bench","name":"bench","status":"ready","secrets":[]}"#;
        ([(CONTENT_TYPE, "application/json")], resource)
    };
    let router = Router::new().fallback(answer);
    let router = router.layer(axum::extract::DefaultBodyLimit::disable());
    tokio::spawn(axum::serve(listener, router).into_future());
    Ok(address)
}

fn request(method: &str, under: &str, token: Option<&str>, body: &str) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    format!(
        "{method} /v1/installations/{}{under} HTTP/1.1\r\n\
         Host: 127.0.0.1\r\n\
         {}\
         Idempotency-Key: bench\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        installation(0),
        authorization.unwrap_or_default(),
        body.len(),
    )
}

/// A request that writes to the instant DynamoDB.
fn write() -> String {
    let (target, body) = ("DynamoDB_20120810.TransactWriteItems", "x".repeat(1500));
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Amz-Target: {target}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len(),
    )
}
