//! Measures a function and its peer by turns: first the peer, then the function, again and again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::database::Database;
use crate::function::{Cores, Function, Memory, on_its_core};
use crate::load::Load;
use crate::requests::Requests;

/// The numbers of keep-alive connections with which loads are measured.
pub(crate) const CONNECTIONS: [usize; 3] = [1, 32, 256];
/// How many deletes warm up the server before each round. Replays repeat the deletes of the warm-up.
const WARM_UP: usize = 500;
/// The maximum number of deletes in a load of first deletes.
const DELETES: usize = 1500;

/// The kind of a load's requests.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    FirstDelete,
    Replay,
    Refusal,
    NotFound,
    /// A delete with a DynamoDB that accepts every write immediately.
    InstantDelete,
}

/// The kinds of loads, in the order in which they are measured. After [`Kind::InstantDelete`], a side needs a
/// new database.
pub(crate) const KINDS: [Kind; 5] =
    [Kind::FirstDelete, Kind::Replay, Kind::Refusal, Kind::NotFound, Kind::InstantDelete];

/// How often and how long the benchmark measures.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    /// How many times each server is started.
    pub(crate) starts: usize,
    /// How many loads each server gets for each pair of a kind and a number of connections.
    pub(crate) rounds: usize,
    /// How long a load lasts.
    pub(crate) time: Duration,
}

impl Effort {
    pub(crate) const FULL: Self = Self { starts: 20, rounds: 5, time: Duration::from_secs(2) };
    pub(crate) const QUICK: Self = Self { starts: 3, rounds: 1, time: Duration::from_millis(500) };

    /// How many resources a side may need. Each start needs one resource, and the start of the server that
    /// gets the loads needs one more. A round needs one resource for each of its deletes.
    pub(crate) fn resources(self) -> usize {
        (self.starts + 1).max(WARM_UP + CONNECTIONS.len() * DELETES)
    }
}

/// The function or the peer: how to start it, and its own DynamoDB.
pub(crate) struct Side {
    pub(crate) command: Vec<PathBuf>,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) cores: Option<Cores>,
    pub(crate) database: Database,
}

/// The measurements of the function or of the peer.
#[derive(Clone)]
pub(crate) struct Figures {
    /// For each start, the time from before the server's spawn until its first 204.
    pub(crate) starts: Vec<Duration>,
    /// The server's memory after its first request.
    pub(crate) at_rest: Memory,
    pub(crate) after_load: Memory,
    pub(crate) loads: Vec<Measured>,
}

/// The measurements of a load.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) kind: Kind,
    pub(crate) connections: usize,
    /// Requests a second.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The server's CPU time per request.
    pub(crate) cpu: Duration,
}

impl Side {
    /// Starts the server on its core. Returns the server, and how long it took to start and answer this
    /// delete.
    fn start(&self, request: &str) -> anyhow::Result<(Function, Duration)> {
        let (binary, arguments) = self.command.split_first().context("a command has a name")?;
        let (mut function, began) = on_its_core(self.cores, || {
            let began = Instant::now();
            let started = Function::start_with_arguments(binary, arguments, &self.environment)?;
            Ok((started, began))
        })?;
        let mut connection = function.wait_until_it_listens()?;
        connection.send(request, 204)?;
        Ok((function, began.elapsed()))
    }
}

/// The running server of a function or of its peer.
struct Running<'a> {
    server: Function,
    database: Database,
    figures: Figures,
    requests: &'a Requests,
    /// How many of the deletes were already sent in this round.
    deleted: usize,
}

/// Measures the sides by turns, in the order of `sides`.
pub(crate) fn by_turns<const N: usize>(
    sides: [Side; N],
    requests: &Requests,
    effort: Effort,
) -> anyhow::Result<[Figures; N]> {
    let mut starts = [const { Vec::new() }; N];
    for request in &requests.deletes[..effort.starts] {
        for (side, starts) in sides.iter().zip(&mut starts) {
            starts.push(side.start(request).context("the starts")?.1);
        }
    }
    let mut running = Vec::new();
    for (side, starts) in sides.into_iter().zip(starts) {
        let (server, _) = side.start(&requests.deletes[effort.starts])?;
        let at_rest = server.memory()?;
        let figures = Figures { starts, at_rest, after_load: at_rest, loads: Vec::new() };
        running.push(Running { server, database: side.database, figures, requests, deleted: 0 });
    }
    for round in 0..=effort.rounds {
        for side in &mut running {
            side.begin_round().context("the beginning of a round")?;
        }
        for kind in KINDS {
            if kind == Kind::InstantDelete {
                for side in &mut running {
                    side.make_instant().context("the change to an instant DynamoDB")?;
                }
            }
            for connections in CONNECTIONS {
                for side in &mut running {
                    let measured = side.load(kind, connections, effort.time)?;
                    // The first round only warms up the servers, so its measurements are dropped.
                    if round > 0 {
                        side.figures.loads.push(measured);
                    }
                }
            }
        }
    }
    let ended = running.into_iter().map(Running::end).collect::<anyhow::Result<Vec<_>>>()?;
    ended.try_into().ok().context("as many as there were")
}

impl Running<'_> {
    fn begin_round(&mut self) -> anyhow::Result<()> {
        self.database.renew()?;
        self.warm_up()?;
        self.deleted = WARM_UP;
        Ok(())
    }

    fn make_instant(&mut self) -> anyhow::Result<()> {
        self.database.make_instant()?;
        self.warm_up()
    }

    /// Makes the server open all the connections to its DynamoDB that it will need.
    fn warm_up(&self) -> anyhow::Result<()> {
        let requests = &self.requests.deletes[..WARM_UP];
        let load = Load { requests, again: false, status: 204, time: Duration::MAX };
        load.run(self.server.address(), CONNECTIONS[CONNECTIONS.len() - 1])?;
        Ok(())
    }

    fn load(&mut self, kind: Kind, connections: usize, time: Duration) -> anyhow::Result<Measured> {
        let (requests, again, status) = match kind {
            Kind::FirstDelete => (&self.requests.deletes[self.deleted..][..DELETES], false, 204),
            Kind::Replay => (&self.requests.deletes[..WARM_UP], true, 204),
            Kind::Refusal => (self.requests.refused.as_slice(), true, 403),
            Kind::NotFound => (self.requests.not_found.as_slice(), true, 404),
            Kind::InstantDelete => (self.requests.deletes.as_slice(), true, 204),
        };
        let load = Load { requests, again, status, time };
        let before = self.server.cpu()?;
        let mut run = load
            .run(self.server.address(), connections)
            .with_context(|| format!("{} at {connections} connections", kind.name()))?;
        let (user, system) = self.server.cpu()?.since(before);
        let count = run.latencies.len();
        ensure!(count > 0, "nothing was answered");
        if kind == Kind::FirstDelete {
            self.deleted += count;
        }
        let count = u32::try_from(count)?;
        Ok(Measured {
            kind,
            connections,
            rate: f64::from(count) / run.elapsed.as_secs_f64(),
            p50: quantile(&mut run.latencies, 0.5),
            p99: quantile(&mut run.latencies, 0.99),
            cpu: (user + system) / count,
        })
    }

    fn end(self) -> anyhow::Result<Figures> {
        Ok(Figures { after_load: self.server.memory()?, ..self.figures })
    }
}

impl Kind {
    /// Whether the requests of this kind are deletes that are new to DynamoDB.
    pub(crate) fn deletes(self) -> bool {
        matches!(self, Self::FirstDelete | Self::InstantDelete)
    }

    /// The name of the kind, in the plural.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FirstDelete => "first deletes",
            Self::Replay => "replays",
            Self::Refusal => "refusals, 403",
            Self::NotFound => "unknown paths, 404",
            Self::InstantDelete => "deletes, instant DynamoDB",
        }
    }
}

impl Figures {
    pub(crate) fn start(&self) -> Duration {
        quantile(&mut self.starts.clone(), 0.5)
    }

    /// The measurements of the loads of this kind and number of connections, in the order of the rounds.
    fn of(&self, kind: Kind, connections: usize) -> impl Iterator<Item = &Measured> {
        let of_these = move |load: &&Measured| load.kind == kind && load.connections == connections;
        self.loads.iter().filter(of_these)
    }

    /// The median of the ratios of one side's figure to the other side's, with one ratio for each round. If
    /// the machine is slower during a round, it is slower for both sides of this round.
    pub(crate) fn times_of(
        &self,
        other: &Self,
        (kind, connections): (Kind, usize),
        part: fn(&Measured) -> f64,
    ) -> f64 {
        let rounds = self.of(kind, connections).zip(other.of(kind, connections));
        median(rounds.map(|(own, other)| part(own) / part(other)).collect())
    }

    /// The medians of the loads of this kind and number of connections, with a median for each figure.
    pub(crate) fn load(&self, kind: Kind, connections: usize) -> Measured {
        let loads: Vec<_> = self.of(kind, connections).collect();
        let middle = |part: fn(&Measured) -> Duration| {
            quantile(&mut loads.iter().map(|load| part(load)).collect::<Vec<_>>(), 0.5)
        };
        Measured {
            kind,
            connections,
            rate: median(loads.iter().map(|load| load.rate).collect()),
            p50: middle(|load| load.p50),
            p99: middle(|load| load.p99),
            cpu: middle(|load| load.cpu),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A quantile of the values: the share 0 gives the least value, 0.5 the median, and 1 the greatest value.
pub(crate) fn quantile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = u32::try_from(values.len().saturating_sub(1)).unwrap_or(u32::MAX);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to the last")]
    let index = (f64::from(last) * share).round() as usize;
    values.get(index).copied().unwrap_or_default()
}
