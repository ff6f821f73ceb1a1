//! The plan of a history: what clients do and what goes wrong meanwhile, all of it from the seed.

use std::time::Duration;

use fastrand::Rng;

use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;

/// How many resources an installation can have.
pub const RESOURCES: u8 = 2;

/// How many idempotency keys there are: few, so that they are used again.
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
    /// Provision Resource, through the front, at a backend that names it so. A key is of one resource.
    Provision {
        resource: u8,
        key: Option<u8>,
    },
    Settle,
}

impl Op {
    /// The operation that an idempotency key belongs to (F1).
    pub fn keyed(&self) -> Option<(&'static str, u8)> {
        match self {
            Self::DeleteResource { key, .. } => key.map(|key| ("delete_resource", key)),
            Self::DeleteInstallation { key, .. } => key.map(|key| ("delete_installation", key)),
            Self::DeleteConfiguration { key, .. } => key.map(|key| ("delete_configuration", key)),
            _ => None,
        }
    }

    /// Another of its kind, under the same key if it has one.
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

/// By whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum By {
    User,
    System,
    /// The system, with a token that names the account alone.
    Account,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Billing {
    Settled,
    Open,
}

/// A client's next step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Asks this of the installation of this number.
    Ask(usize, Op),
    /// Sends a sweep.
    Sweep,
    /// Moves the clock: retries are due, and leases end.
    Wait(Duration),
}

/// Where a worker is slow.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// Before this call to DynamoDB.
    Before(&'static str),
    /// On the way to Vercel.
    ToVercel,
    /// On the way to Vercel, which then has no use for the request.
    ToVercelInVain,
    /// On the way back from Vercel.
    FromVercel,
    /// On the way to the backend.
    ToBackend,
}

/// How a worker is overtaken: what leases are for.
#[derive(Clone, Debug)]
pub struct Overtaken {
    pub at: At,
    /// The time that passes meanwhile.
    pub time: Duration,
    /// Whether it lets go on first whom it has overtaken itself.
    pub lets_go: bool,
    /// The steps that others take meanwhile.
    pub by: Vec<Turn>,
    /// Whether it does not go on after that, but has died there.
    pub dies: bool,
}

/// A step, and what goes with it.
#[derive(Clone, Debug)]
pub struct Turn {
    pub step: Step,
    /// How often the client lets others go first.
    pub yields: u8,
    pub overtaken: Option<Overtaken>,
    /// When it hangs up; what it asked for dies where it is.
    pub hangs_up: Option<Duration>,
    /// The faults of the next writes.
    pub writes: Vec<Fault>,
    /// The fault of the next call of this kind.
    pub call: Option<(&'static str, Fault)>,
    pub vercel: Vec<Answer>,
    pub provider: Vec<Answer>,
}

impl Turn {
    /// A turn in which nothing goes wrong.
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

/// How an installation is at first; none where it is unknown.
#[derive(Clone, Debug)]
pub struct Installed {
    pub billing: Billing,
    pub with_token: bool,
    /// Which resources there are, and whether each is being provisioned.
    pub resources: Vec<Option<bool>>,
}

/// A history to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub installations: Vec<Option<Installed>>,
    pub clients: Vec<Vec<Turn>>,
}

impl Plan {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let installations = (0..rng.usize(1..=2)).map(|_| installed(&mut rng)).collect::<Vec<_>>();
        // Some go smoothly: they are the fastest, and meet the most.
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
        0..82 => Step::Ask(rng.usize(0..installations), op(rng)),
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
        Step::Ask(_, Op::DeleteConfiguration { .. } | Op::Provision { .. }) => 2,
        Step::Sweep => 3,
        Step::Ask(..) => 10,
        Step::Wait(_) => return turn,
    };
    if rng.u8(0..often) == 0 {
        turn.overtaken = Some(overtaken(&mut turn, installations, rng, 0));
    }
    turn
}

/// How a turn is overtaken by others, which may be overtaken themselves: `depth` is how deep it is in
/// those.
fn overtaken(turn: &mut Turn, installations: usize, rng: &mut Rng, depth: u8) -> Overtaken {
    let saga = matches!(turn.step, Step::Ask(_, Op::DeleteConfiguration { .. }));
    let vercel = [At::FromVercel, At::ToVercel, At::ToVercelInVain, At::ToVercelInVain];
    let calls = ["TransactWriteItems", "UpdateItem", "TransactGetItems"];
    let at = match turn.step {
        Step::Ask(_, Op::Provision { .. }) if rng.u8(0..4) > 0 => At::ToBackend,
        Step::Ask(..) if !saga => At::Before("TransactWriteItems"),
        _ if rng.bool() => vercel[rng.usize(0..vercel.len())],
        _ => At::Before(calls[rng.usize(0..calls.len())]),
    };
    let by = (0..rng.u8(u8::from(depth == 0)..=2)).map(|_| {
        let mut by = Turn::of(match (rng.u8(0..8), &turn.step) {
            (0 | 1, _) => Step::Sweep,
            (2, _) => Step::Ask(rng.usize(0..installations), op(rng)),
            (3, Step::Ask(at, op)) => Step::Ask(*at, op.another()),
            (4 | 5, Step::Ask(at, Op::Provision { .. })) => {
                let (key, by) = (None, By::User);
                Step::Ask(*at, Op::DeleteInstallation { cascade: true, reason: false, key, by })
            }
            // The same again: it takes over.
            (_, step) => step.clone(),
        });
        if depth < 2 && rng.u8(0..3) == 0 {
            by.overtaken = Some(overtaken(&mut by, installations, rng, depth + 1));
        }
        by
    });
    let by = by.collect();
    if saga && rng.bool() {
        // Who overtakes leaves it open, or withdraws it, and what Vercel did unknown.
        let answers = [
            &[Answer::EffectThen(500), Answer::Reset, Answer::Reset][..],
            &[Answer::EffectThen(500), Answer::Status(422)],
            &[Answer::Status(422)],
            &[Answer::Refusal(400)],
            &[Answer::Refusal(400), Answer::EffectThen(500), Answer::Reset, Answer::Reset],
        ];
        turn.vercel = answers[rng.usize(0..answers.len())].to_vec();
    }
    // Longer than the leases of a request, of what follows an answer, and of a sweep.
    let time = Duration::from_secs([31, 46, 100][rng.usize(0..3)]);
    Overtaken { at, time, by, lets_go: rng.bool(), dies: rng.u8(0..4) == 0 }
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
            // A read outside of a transaction meets none.
            if ["GetItem", "Query"].contains(&call) { Fault::Late } else { Fault::Conflict },
            Fault::Throttle,
            Fault::ServerError,
            Fault::ResetBefore,
            Fault::ResetAfter,
        ];
        turn.call = Some((call, faults[rng.usize(0..faults.len())]));
    }
    let saga = matches!(turn.step, Step::Ask(_, Op::DeleteConfiguration { .. }));
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
        // A call is given up after 3.
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
