//! The benchmark's report: Markdown tables, in which some figures have a goal.

use std::path::Path;
use std::time::Duration;

use crate::function::Memory;
use crate::measure::{CONNECTIONS, Figures, KINDS, Kind, Measured, quantile};
use crate::purge::Purge;
use crate::size::Size;

/// The number of connections at which the CPU time per request is compared.
const COMPARED: usize = 32;

/// The measurements that the report prints.
pub(crate) struct Report<'a> {
    /// The figures of the function, and of the peer.
    pub(crate) figures: [&'a Figures; 2],
    /// How long each start of the function took on Lambda.
    pub(crate) lambda_starts: Vec<Duration>,
    /// The CPU time of one RS256-2048 verification by the function's own code.
    pub(crate) verification: Duration,
    /// The size of each function whose binary exists, by name. The first entry is the function that was
    /// measured.
    pub(crate) functions: &'a [(String, Size)],
    pub(crate) peer: Size,
}

/// A line of the table: what is measured, the function's figure, the peer's figure, how many times better
/// the function is, and the goals.
type Row = [String; 5];

/// A goal, and whether it is met.
struct Goal {
    text: &'static str,
    met: bool,
}

impl Report<'_> {
    pub(crate) fn print(&self) {
        println!("| | teardown | Node.js peer | times better | goal |");
        println!("|---|---|---|---|---|");
        let rows = [self.start(), self.lambda_start()]
            .into_iter()
            .chain(self.loads())
            .chain(self.cpu())
            .chain(self.memory())
            .chain(self.sizes());
        for row in rows {
            println!("| {} |", row.join(" | "));
        }
    }

    fn start(&self) -> Row {
        let [ours, peers] = self.figures.map(Figures::start);
        let ratio = times(peers, ours);
        let goals = [
            Goal { text: "≤ 15 ms", met: ours <= Duration::from_millis(15) },
            Goal { text: "≥ 20 times", met: ratio >= 20.0 },
        ];
        let measured = [ours, peers].map(|time| format!("{} ms", ms(time)));
        row("start to first 204", measured, tenths(ratio), &goals)
    }

    fn lambda_start(&self) -> Row {
        let start = quantile(&mut self.lambda_starts.clone(), 0.5);
        let goal = Goal { text: "≤ 15 ms", met: start <= Duration::from_millis(15) };
        let measured = [format!("{} ms", ms(start)), String::new()];
        row("start to first 204, by Lambda's runtime API", measured, String::new(), &[goal])
    }

    fn loads(&self) -> impl Iterator<Item = Row> {
        cells().map(|(kind, connections)| {
            let [ours, peers] = self.figures.map(|figures| figures.load(kind, connections));
            let [of_ours, of_peers] = self.figures;
            let cell = (kind, connections);
            let ratios = [
                of_ours.times_of(of_peers, cell, |load| load.rate),
                of_peers.times_of(of_ours, cell, |load| load.p50.as_secs_f64()),
                of_peers.times_of(of_ours, cell, |load| load.p99.as_secs_f64()),
            ];
            let figure = format!("{}, {}", kind.name(), at(connections));
            row(&figure, [ours, peers].map(load), ratios.map(tenths).join(", "), &[])
        })
    }

    fn cpu(&self) -> impl Iterator<Item = Row> {
        let verification = [
            "one RS256 verification".to_owned(),
            format!("{:.1} µs CPU", micros(self.verification)),
            String::new(),
            String::new(),
            String::new(),
        ];
        let compared =
            |(kind, connections): &(Kind, usize)| *connections == COMPARED || kind.deletes();
        let rows = cells().filter(compared).map(|(kind, connections)| {
            let [of_ours, of_peers] = self.figures;
            let ratio =
                of_peers.times_of(of_ours, (kind, connections), |load| load.cpu.as_secs_f64());
            let [ours, peers] = self.figures.map(|figures| figures.load(kind, connections).cpu);
            let goal = (kind.deletes() && connections == COMPARED)
                .then_some(Goal { text: "≥ 10 times", met: ratio >= 10.0 });
            let cpu = |cpu| {
                let verifications = times(cpu, self.verification);
                format!("{:.0} µs, {verifications:.1} verifications", micros(cpu))
            };
            let figure = format!("CPU per request, {}, {}", kind.name(), at(connections));
            row(&figure, [ours, peers].map(cpu), tenths(ratio), goal.as_slice())
        });
        std::iter::once(verification).chain(rows)
    }

    fn memory(&self) -> impl Iterator<Item = Row> {
        let [ours, peers] = self.figures;
        let goal = Goal { text: "≤ 16 MiB", met: ours.at_rest.rss <= 16.0 };
        let compare = |figure, ours: Memory, peers: Memory, goals: &[Goal]| {
            row(figure, [ours, peers].map(memory), tenths(peers.rss / ours.rss), goals)
        };
        [
            compare("memory after the first request", ours.at_rest, peers.at_rest, &[goal]),
            compare("memory after the load", ours.after_load, peers.after_load, &[]),
        ]
        .into_iter()
    }

    fn sizes(&self) -> impl Iterator<Item = Row> {
        self.functions.iter().enumerate().map(|(index, (name, size))| {
            let goal = Goal { text: "≤ 8 MB", met: size.files <= 8_000_000 };
            let figure = format!("`{name}` and its zip");
            if index > 0 {
                return row(&figure, [sizes(*size), String::new()], String::new(), &[goal]);
            }
            let ratios = [mb(self.peer.files) / mb(size.files), mb(self.peer.zip) / mb(size.zip)];
            let ratios = ratios.map(tenths).join(", ");
            row(&figure, [sizes(*size), sizes(self.peer)], ratios, &[goal])
        })
    }
}

fn cells() -> impl Iterator<Item = (Kind, usize)> {
    KINDS.into_iter().flat_map(|kind| CONNECTIONS.map(|connections| (kind, connections)))
}

fn row(figure: &str, [ours, peers]: [String; 2], ratio: String, goals: &[Goal]) -> Row {
    let goals = goals.iter().map(|goal| {
        let met = if goal.met { "met" } else { "not met" };
        format!("{}: {met}", goal.text)
    });
    [figure.to_owned(), ours, peers, ratio, goals.collect::<Vec<_>>().join("; ")]
}

pub(crate) fn print_purges(binary: &Path, purges: &[Purge]) {
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
            "| {} | {} | {rate:.0}/s | {:.0} µs | {} |",
            purge.resources,
            if purge.announced { "yes" } else { "no" },
            micros(purge.cpu / purge.resources),
            memory(purge.memory),
        );
    }
}

fn at(connections: usize) -> String {
    format!("{connections} {}", if connections == 1 { "connection" } else { "connections" })
}

fn load(load: Measured) -> String {
    format!("{:.0}/s, p50 {}, p99 {} ms", load.rate, ms(load.p50), ms(load.p99))
}

fn memory(memory: Memory) -> String {
    let pss = memory.pss.map(|pss| format!(", Pss {pss:.1}")).unwrap_or_default();
    format!("RSS {:.1}{pss} MiB", memory.rss)
}

fn sizes(size: Size) -> String {
    format!("{:.1} MB, {:.1} MB", mb(size.files), mb(size.zip))
}

#[expect(clippy::cast_precision_loss, reason = "nothing here has 2^53 bytes")]
fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The ratio of `one` to `other`.
fn times(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn tenths(ratio: f64) -> String {
    format!("{ratio:.1}")
}

pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 1.0 { format!("{ms:.2}") } else { format!("{ms:.1}") }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
