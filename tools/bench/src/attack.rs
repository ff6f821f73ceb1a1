//! Measures an honest client during an attack with forged tokens, and during an attack with requests that get
//! a 404. The rate of both attacks is half of the rate at which the function's core can refuse forged tokens.
//! The comment in `tools/bench/run` describes this measurement.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use teardown_cli::embedded::Embedded;
use teardown_cli::issuer::Issuer;

use crate::function::{Cores, Function, on_its_core};
use crate::load::{Load, Pace};
use crate::measure::quantile;
use crate::report::{micros, ms};
use crate::requests::{INSTALLATIONS, Requests};
use crate::seed::seed;

/// The number of connections of the load that measures how many tokens the core refuses.
const CONNECTIONS: usize = 32;
/// The number of connections of the attack. With so many connections, a due request seldom waits for the
/// answer to an earlier request.
const ATTACK_CONNECTIONS: usize = 128;
/// The maximum number of the honest client's deletes in one turn.
const DELETES: usize = 2000;
/// How many deletes the honest client sends before it is measured.
const WARM_UP: usize = 500;
/// The goal: during an attack with forged tokens, the honest client's p99 is at most this many times as long
/// as during an attack with 404s.
const GOAL: f64 = 3.0;

/// How often and how long the benchmark measures.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    rounds: usize,
    /// How long a turn lasts.
    time: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self { rounds: 5, time: Duration::from_secs(3) };
    pub(crate) const QUICK: Self = Self { rounds: 1, time: Duration::from_secs(1) };
}

/// An attack, or no attack, and the honest client's measurements during this time.
struct Side<'a> {
    name: &'static str,
    requests: &'a [String],
    status: u16,
    /// The honest client's latencies.
    latencies: Vec<Duration>,
    sent: usize,
    /// How long the attacker sent requests.
    elapsed: Duration,
    /// The function's CPU time during the attack.
    cpu: Duration,
}

impl<'a> Side<'a> {
    fn new(name: &'static str, requests: &'a [String], status: u16) -> Self {
        let (elapsed, cpu) = (Duration::ZERO, Duration::ZERO);
        Self { name, requests, status, latencies: Vec::new(), sent: 0, elapsed, cpu }
    }

    fn honest(&self, share: f64) -> Duration {
        quantile(&mut self.latencies.clone(), share)
    }
}

/// Measures the binary of a `delete_resource` function under attack, and prints the result.
pub(crate) fn run(
    binary: &Path,
    runtime: &tokio::runtime::Runtime,
    cores: Option<Cores>,
    effort: Effort,
) -> anyhow::Result<()> {
    let issuer = Issuer::generate()?;
    let jwks = crate::serve_jwks(issuer.jwks().to_string());
    let dynamodb = runtime.block_on(Embedded::start(None))?.url();
    let resources = 1 + WARM_UP + 3 * effort.rounds * DELETES;
    let seed = seed(dynamodb.clone(), resources, INSTALLATIONS);
    let resources = runtime.block_on(runtime.spawn(seed))??;
    let mut environment = crate::environment(&issuer, dynamodb);
    environment.push(("OIDC_JWKS_URL", runtime.block_on(runtime.spawn(jwks))??));
    let requests = Requests::sign(&issuer, &resources)?;
    let mut function = on_its_core(cores, || Function::start(binary, &environment))?;
    function.wait_until_it_listens()?.send(&requests.deletes[0], 204)?;
    let address = function.address();
    let mut deletes = requests.deletes[1..].iter();

    let refuse = |time| Load { requests: &requests.forged, again: true, status: 403, time };
    refuse(effort.time).run(address, CONNECTIONS).context("the warm-up")?;
    let before = function.cpu()?;
    let refused = refuse(effort.time).run(address, CONNECTIONS).context("the refusals")?;
    let (user, system) = function.cpu()?.since(before);
    let count = u32::try_from(refused.latencies.len())?;
    ensure!(count > 0, "nothing was refused");
    let reached = f64::from(count) / refused.elapsed.as_secs_f64();
    let cpu = (user + system) / count;
    let pace = Pace { rate: 0.5 / cpu.as_secs_f64(), connections: ATTACK_CONNECTIONS };

    let mut honest = |most: usize, time| {
        let next: Vec<_> = deletes.by_ref().take(most).cloned().collect();
        let load = Load { requests: &next, again: false, status: 204, time };
        load.run(address, 1).context("the honest client")
    };
    honest(WARM_UP, Duration::MAX)?;
    let mut sides = [
        Side::new("nobody", &[], 0),
        Side::new("unknown paths, 404", &requests.not_found, 404),
        Side::new("forged tokens, 403", &requests.forged, 403),
    ];
    for _ in 0..effort.rounds {
        for side in &mut sides {
            let before = function.cpu()?;
            let attack = Load {
                requests: side.requests,
                again: true,
                status: side.status,
                time: Duration::MAX,
            };
            let (run, sent) = attack.at_pace(address, pace, || honest(DELETES, effort.time))?;
            let run = run?;
            let (user, system) = function.cpu()?.since(before);
            side.cpu += user + system;
            side.elapsed += run.elapsed;
            side.sent += sent;
            side.latencies.extend(run.latencies);
        }
    }
    print(cpu, reached, pace, &sides);
    Ok(())
}

fn print(cpu: Duration, reached: f64, pace: Pace, sides: &[Side<'_>]) {
    println!(
        "A forged token is refused in {:.0} µs of CPU: a core refuses {:.0} a second (this load had \
         {reached:.0}), and half of it is {:.0}/s.",
        micros(cpu),
        2.0 * pace.rate,
        pace.rate
    );
    println!();
    println!("| an honest client's deletes, beside | sent | p50 | p99 | the function's core |");
    println!("|---|---|---|---|---|");
    for side in sides {
        #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^53 requests")]
        let rate = side.sent as f64 / side.elapsed.as_secs_f64();
        println!(
            "| {} | {rate:.0}/s | {} ms | {} ms | {:.0} % |",
            side.name,
            ms(side.honest(0.5)),
            ms(side.honest(0.99)),
            100.0 * side.cpu.as_secs_f64() / side.elapsed.as_secs_f64(),
        );
    }
    let [_, plain, forged] = sides else { return };
    let ratio = forged.honest(0.99).as_secs_f64() / plain.honest(0.99).as_secs_f64();
    let met = if ratio <= GOAL { "met" } else { "not met" };
    println!();
    println!("p99 beside forged tokens is {ratio:.1} times that beside 404s; ≤ {GOAL:.0}: {met}.");
}
