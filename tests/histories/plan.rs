//! The plan of a history: what the clients do, and which faults occur. The seed of the random numbers decides
//! the whole plan.

use std::time::Duration;

use fastrand::Rng;

use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;

/// The number of resources that an installation can have.
pub const RESOURCES: u8 = 2;

/// The number of idempotency keys. The number of keys is small, so that clients use keys again.
pub const KEYS: u8 = 2;

/// A request or a registration, for one installation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Op {
    DeleteResource {
        resource: u8,
        key: Option<u8>,
        by: By,
    },
    DeleteInstallation {
        cascade: bool,
        reason: bool,
        key: Option<u8>,
        by: By,
    },
    DeleteConfiguration {
        with_team: bool,
        key: Option<u8>,
        by: By,
    },
    RegisterInstallation {
        billing: Option<Billing>,
        with_token: bool,
    },
    RegisterResource {
        resource: u8,
        provisioning: bool,
    },
    /// Upsert Installation, through the front.
    Upsert,
    /// Provision Resource, through the front. The backend gives this id to the resource that it makes. Each
    /// key of a Provision belongs to one resource.
    Provision {
        resource: u8,
        key: Option<u8>,
    },
    Settle,
}

impl Op {
    /// The operation that the request's idempotency key belongs to, and the key (F1).
    pub fn keyed(&self) -> Option<(&'static str, u8)> {
        match self {
            Self::DeleteResource { key, .. } => key.map(|key| ("delete_resource", key)),
            Self::DeleteInstallation { key, .. } => key.map(|key| ("delete_installation", key)),
            Self::DeleteConfiguration { key, .. } => key.map(|key| ("delete_configuration", key)),
            _ => None,
        }
    }

    /// A request of the same kind and with the same key, and with another argument if this kind has one.
    fn another(&self) -> Self {
        let mut another = self.clone();
        match &mut another {
            Self::DeleteResource { resource, .. }
            | Self::RegisterResource { resource, .. }
            | Self::Provision { resource, .. } => {
                *resource = (*resource + 1) % RESOURCES;
            }
            Self::DeleteInstallation { cascade: it, .. }
            | Self::DeleteConfiguration { with_team: it, .. }
            | Self::RegisterInstallation { with_token: it, .. } => *it = !*it,
            Self::Upsert | Self::Settle => {}
        }
        another
    }

    /// Whether two requests are the same, apart from their callers (F2).
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::DeleteResource { resource: one, .. },
                Self::DeleteResource { resource: other, .. },
            ) => one == other,
            (
                Self::DeleteInstallation { cascade, reason, .. },
                Self::DeleteInstallation { cascade: other, reason: why, .. },
            ) => cascade == other && reason == why,
            (
                Self::DeleteConfiguration { with_team: one, .. },
                Self::DeleteConfiguration { with_team: other, .. },
            ) => one == other,
            _ => false,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    User,
    System,
    /// The system, with a token that names only the account.
    Account,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Billing {
    Settled,
    Open,
}

/// One step that a client takes.
#[derive(Clone, Debug)]
pub enum Step {
    /// Sends this request for the installation of this number.
    Send(usize, Op),
    Sweep,
    /// Moves the clock, so that retries become due and leases end.
    Wait(Duration),
}

/// The place where a worker has to wait.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// Before the worker's next call of this operation to DynamoDB.
    Before(&'static str),
    /// On the request's way to Vercel.
    ToVercel,
    /// On the request's way to Vercel. After the wait, Vercel answers 422 without an effect.
    ToVercelInVain,
    /// On the way of Vercel's answer, after the request took effect.
    FromVercel,
    /// On the request's way to the backend.
    ToBackend,
}

/// How other steps overtake a worker that has to wait for longer than its lease.
#[derive(Clone, Debug)]
pub struct Overtaken {
    pub at: At,
    /// The time that passes while the worker waits.
    pub time: Duration,
    /// If this worker itself overtakes another worker that waits: whether that other worker resumes and ends
    /// before the turns in `by`.
    pub resumes_first: bool,
    /// The turns that are taken while the worker waits.
    pub by: Vec<Turn>,
    /// Whether the worker dies at the place where it waits, and does not resume.
    pub dies: bool,
}

/// A client's step, with its delays and faults.
#[derive(Clone, Debug)]
pub struct Turn {
    pub step: Step,
    /// How often the client lets other clients run before the step.
    pub yields: u8,
    pub overtaken: Option<Overtaken>,
    /// The time after which the client hangs up. When the client hangs up, the handling of its request stops
    /// immediately.
    pub hangs_up: Option<Duration>,
    /// The faults of the next writes to DynamoDB.
    pub writes: Vec<Fault>,
    /// The fault of the next call of this kind to DynamoDB.
    pub call: Option<(&'static str, Fault)>,
    pub vercel: Vec<Answer>,
    pub provider: Vec<Answer>,
}

impl Turn {
    /// A turn without delays and faults.
    fn of(step: Step) -> Self {
        Self {
            step,
            yields: 0,
            overtaken: None,
            hangs_up: None,
            writes: Vec::new(),
            call: None,
            vercel: Vec::new(),
            provider: Vec::new(),
        }
    }
}

/// The state of an installation at the start of a history.
#[derive(Clone, Debug)]
pub struct Installed {
    pub billing: Billing,
    pub with_token: bool,
    /// For each resource, whether it is being provisioned. `None` if the resource does not exist.
    pub resources: Vec<Option<bool>>,
}

/// The plan of a history: its installations (`None` if unknown), and the turns of each client.
#[derive(Clone, Debug)]
pub struct Plan {
    pub installations: Vec<Option<Installed>>,
    pub clients: Vec<Vec<Turn>>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let installations = (0..rng.usize(1..=2)).map(|_| installed(&mut rng)).collect::<Vec<_>>();
        // With a probability of 1/4, a plan injects no faults. The clients of a plan without faults are the
        // fastest, and overlap the most.
        let faulty = rng.u8(0..4) > 0;
        let clients = (0..rng.usize(3..=4))
            .map(|_| {
                let turns = rng.usize(3..=4);
                (0..turns).map(|_| turn(&mut rng, installations.len(), faulty)).collect()
            })
            .collect();
        Self { installations, clients }
    }
}

fn installed(rng: &mut Rng) -> Option<Installed> {
    let billing = if rng.bool() { Billing::Settled } else { Billing::Open };
    let resource = |rng: &mut Rng| (rng.u8(0..4) > 0).then(|| rng.u8(0..5) == 0);
    let installed = Installed {
        billing,
        with_token: rng.u8(0..4) > 0,
        resources: (0..RESOURCES).map(|_| resource(rng)).collect(),
    };
    (rng.u8(0..6) > 0).then_some(installed)
}

fn turn(rng: &mut Rng, installations: usize, faulty: bool) -> Turn {
    let step = match rng.u8(0..100) {
        0..82 => Step::Send(rng.usize(0..installations), op(rng)),
        82..92 => Step::Sweep,
        _ => Step::Wait(Duration::from_secs([16, 31, 100][rng.usize(0..3)])),
    };
    let mut turn = Turn { yields: rng.u8(0..12), ..Turn::of(step) };
    if rng.u8(0..4) == 0 {
        turn.writes.push(Fault::Late);
    }
    if faulty {
        add_faults(&mut turn, rng);
    }
    let often = match turn.step {
        Step::Send(_, Op::DeleteConfiguration { .. } | Op::Provision { .. }) => 2,
        Step::Sweep => 3,
        Step::Send(..) => 10,
        Step::Wait(_) => return turn,
    };
    if rng.u8(0..often) == 0 {
        turn.overtaken = Some(overtaken(&mut turn, installations, rng, 0));
    }
    turn
}

/// Plans the turns that overtake the given turn. A turn that overtakes may be overtaken, too. `depth` counts
/// how many turns the given turn is nested in.
fn overtaken(turn: &mut Turn, installations: usize, rng: &mut Rng, depth: u8) -> Overtaken {
    let saga = matches!(turn.step, Step::Send(_, Op::DeleteConfiguration { .. }));
    let vercel = [At::FromVercel, At::ToVercel, At::ToVercelInVain, At::ToVercelInVain];
    let calls = ["TransactWriteItems", "UpdateItem", "TransactGetItems"];
    let at = match turn.step {
        Step::Send(_, Op::Provision { .. }) if rng.u8(0..4) > 0 => At::ToBackend,
        Step::Send(..) if !saga => At::Before("TransactWriteItems"),
        _ if rng.bool() => vercel[rng.usize(0..vercel.len())],
        _ => At::Before(calls[rng.usize(0..calls.len())]),
    };
    let by = (0..rng.u8(u8::from(depth == 0)..=2)).map(|_| {
        let mut by = Turn::of(match (rng.u8(0..8), &turn.step) {
            (0 | 1, _) => Step::Sweep,
            (2, _) => Step::Send(rng.usize(0..installations), op(rng)),
            (3, Step::Send(at, op)) => Step::Send(*at, op.another()),
            (4 | 5, Step::Send(at, Op::Provision { .. })) => {
                let (key, by) = (None, By::User);
                Step::Send(*at, Op::DeleteInstallation { cascade: true, reason: false, key, by })
            }
            // The same step as the step that waits. This step takes over the work of the step that waits.
            (_, step) => step.clone(),
        });
        if depth < 2 && rng.u8(0..3) == 0 {
            by.overtaken = Some(overtaken(&mut by, installations, rng, depth + 1));
        }
        by
    });
    let by = by.collect();
    if saga && rng.bool() {
        // With these answers of Vercel's, the request that overtakes leaves the deletion open or withdraws
        // it. After some of these answers, nobody knows what Vercel did.
        let answers = [
            &[Answer::EffectThen(500), Answer::Reset, Answer::Reset][..],
            &[Answer::EffectThen(500), Answer::Status(422)],
            &[Answer::Status(422)],
            &[Answer::Refusal(400)],
            &[Answer::Refusal(400), Answer::EffectThen(500), Answer::Reset, Answer::Reset],
        ];
        turn.vercel = answers[rng.usize(0..answers.len())].to_vec();
    }
    // The first time is longer than a request's lease. The second is longer than the lease of a job after an
    // answer. The third is longer than a sweep's lease.
    let time = Duration::from_secs([31, 46, 100][rng.usize(0..3)]);
    Overtaken { at, time, by, resumes_first: rng.bool(), dies: rng.u8(0..4) == 0 }
}

fn add_faults(turn: &mut Turn, rng: &mut Rng) {
    if rng.u8(0..10) == 0 {
        turn.hangs_up = Some(Duration::from_micros(rng.u64(0..12_000)));
    }
    if rng.u8(0..3) == 0 {
        let faults = [
            Fault::Throttle,
            Fault::ServerError,
            Fault::Conflict,
            Fault::ItemThrottled,
            Fault::ConflictBesideEvidence,
            Fault::ConflictBesideEvidence,
            Fault::InstallationHidden,
            Fault::InstallationHidden,
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::ResetAfter,
        ];
        turn.writes.extend((0..rng.u8(1..=2)).map(|_| faults[rng.usize(0..faults.len())]));
    }
    if rng.u8(0..4) == 0 {
        let calls = ["TransactGetItems", "UpdateItem", "DeleteItem", "GetItem", "Query"];
        let call = calls[rng.usize(0..calls.len())];
        let faults = [
            Fault::Late,
            Fault::Late,
            // A read outside of a transaction never has a conflict.
            if ["GetItem", "Query"].contains(&call) { Fault::Late } else { Fault::Conflict },
            Fault::Throttle,
            Fault::ServerError,
            Fault::ResetBefore,
            Fault::ResetAfter,
        ];
        turn.call = Some((call, faults[rng.usize(0..faults.len())]));
    }
    let saga = matches!(turn.step, Step::Send(_, Op::DeleteConfiguration { .. }));
    if rng.u8(0..if saga { 2 } else { 4 }) == 0 {
        let answers = [
            Answer::Status(429),
            Answer::Status(500),
            Answer::Reset,
            Answer::NotFound,
            Answer::NotFound,
            Answer::EffectThen(500),
            Answer::EffectThenReset,
            Answer::Refusal(400),
            Answer::Refusal(400),
            Answer::Refusal(409),
            Answer::Refusal(409),
        ];
        let answer = &answers[rng.usize(0..answers.len())];
        // A call to Vercel has at most 3 attempts.
        let times = if rng.bool() { 3 } else { 1 };
        turn.vercel.extend((0..times).map(|_| answer.clone()));
    }
    if rng.u8(0..6) == 0 {
        let answers = [
            Answer::Status(500),
            Answer::RetryAfter(202, "20"),
            Answer::Reset,
            Answer::Status(404),
        ];
        turn.provider.push(answers[rng.usize(0..answers.len())].clone());
    }
}

fn op(rng: &mut Rng) -> Op {
    let key = (rng.u8(0..5) > 1).then(|| rng.u8(0..KEYS));
    let by = [By::User, By::User, By::System, By::Account][rng.usize(0..4)];
    let resource = rng.u8(0..RESOURCES);
    match rng.u8(0..100) {
        0..36 => Op::DeleteResource { resource, key, by },
        36..50 => Op::DeleteInstallation { cascade: rng.u8(0..3) > 0, reason: rng.bool(), key, by },
        50..66 => Op::DeleteConfiguration { with_team: rng.bool(), key, by },
        66..78 => Op::RegisterResource { resource, provisioning: rng.u8(0..4) == 0 },
        78..86 => Op::Provision { resource, key },
        86..88 => Op::Upsert,
        88..94 => {
            let billing = [None, Some(Billing::Settled), Some(Billing::Open)][rng.usize(0..3)];
            Op::RegisterInstallation { billing, with_token: rng.bool() }
        }
        _ => Op::Settle,
    }
}
