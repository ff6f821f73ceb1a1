//! The rules for one installation, if its operations run one after another.
//!
//! This model of the operations follows the contract. The model calls none of the functions in which
//! teardown decides, because it would share their faults. An operation that is not atomic by design has
//! several parts, and each part is atomic:
//!
//! - Delete Configuration **calls** Vercel, once invoices allow it. After that, the deletion is
//!   **committed** by the request, by a request that takes the deletion over, or by the sweep. The
//!   deletion may also be withdrawn, which no answer shows. So these two parts may come at any time after
//!   the request began. The request's own answer is atomic. The answer may be `request_in_progress` for
//!   the request's own deletion, if its lease has ended and somebody has taken the deletion over.
//! - A Provision **begins**, which registers an unknown installation, and is answered later.
//! - A sweep **finalizes** while it runs. No answer shows what else the sweep does.

mod answers;

use std::collections::{BTreeMap, BTreeSet};

use super::end::End;
use super::plan::{Billing, Installed, Op};

/// An answer: its status and code, or another text that distinguishes the answer from other answers.
pub type Answer = &'static str;

/// All possible answers, each of which occurs in a run with the default number of histories.
pub const ANSWERS: [Answer; 24] = [
    "204",
    "200 finalized",
    "200 open",
    "200 provisioned",
    "200 upserted",
    "403 forbidden",
    "404 not_found",
    "409 idempotency_key_reused",
    "409 installation_deleted",
    "409 invoices_open",
    "409 made and deleted",
    "409 request_in_progress",
    "409 resource_busy",
    "409 resources_remain 1",
    "409 resources_remain 2",
    "409 upstream_refused",
    "registered",
    "refused: the installation is not registered",
    "refused: the installation was deleted",
    "refused: the resource was deleted",
    "settled: Active",
    "settled: Due",
    "settled: Finalized",
    "settled: nothing",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Life {
    Unknown,
    Active,
    Deleted { finalized: bool },
}

#[expect(clippy::struct_excessive_bools, reason = "a state is what is so and what is not")]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    life: Life,
    settled: bool,
    /// Whether the installation's `billing` was ever set.
    billed: bool,
    token: bool,
    /// Whether the installation's team is stored.
    team: bool,
    /// The live resources, and whether each is being provisioned.
    live: BTreeMap<u8, bool>,
    /// The resources that were deleted alone, and not with the installation.
    receipts: BTreeSet<u8>,
    /// The resources that were deleted with the installation.
    taken: BTreeSet<u8>,
    /// Whether the pending finalization is due. `None` if no finalization is pending.
    finalization: Option<bool>,
    /// Whether Vercel may have been called to delete the configuration.
    called: bool,
    configuration_gone: bool,
    /// Whether the installation was uninstalled before its configuration was deleted.
    uninstalled: bool,
    /// Whether the configuration must be gone at Vercel at the end.
    gone_at_vercel: bool,
    /// Whether the installation must be finalized at Vercel at the end. `None` if the installation may, but
    /// need not, be finalized at Vercel.
    finalized_at_vercel: Option<bool>,
    /// The recorded request and its answer, for each operation and key.
    outcomes: BTreeMap<(&'static str, u8), (Op, Answer)>,
}

/// An atomic part of a history. A part is legal in some states only.
#[derive(Clone, Debug)]
pub enum Part {
    /// A request that got this answer. `gone` says whether the configuration was gone at Vercel when the
    /// request ended. `rivals` says whether another step that may delete the configuration began before the
    /// request ended.
    Answered { op: Op, answer: Answer, gone: bool, rivals: bool },
    /// A request that got no answer, or an answer that does not say whether the request took effect.
    Unanswered(Op),
    /// A Provision's intent is written.
    Begins,
    /// Vercel is called to delete the configuration.
    Calls,
    /// The configuration's deletion, which this request began, is committed.
    Commits(Op),
    /// A sweep finalizes the installation.
    Finalizes,
    /// The end of the history, and the state at that end.
    Ends(End),
}

impl State {
    pub fn new(installed: Option<&Installed>) -> Self {
        let resources = installed.into_iter().flat_map(|it| it.resources.iter().zip(0_u8..));
        let live = resources.filter_map(|(there, resource)| Some((resource, (*there)?)));
        Self {
            life: if installed.is_some() { Life::Active } else { Life::Unknown },
            settled: installed.is_some_and(|it| it.billing == Billing::Settled),
            billed: installed.is_some(),
            token: installed.is_some_and(|it| it.with_token),
            team: installed.is_some(),
            live: live.collect(),
            receipts: BTreeSet::new(),
            taken: BTreeSet::new(),
            finalization: None,
            called: false,
            configuration_gone: false,
            uninstalled: false,
            gone_at_vercel: false,
            finalized_at_vercel: Some(false),
            outcomes: BTreeMap::new(),
        }
    }

    /// The states that this part may lead to. The list is empty if the part is not legal, or if the part
    /// changes nothing and may be left out.
    pub fn after(&self, part: &Part) -> Vec<Self> {
        let changed = |states: Vec<Self>| {
            states.into_iter().filter(|state| state != self).collect::<Vec<_>>()
        };
        match part {
            Part::Answered { op, answer, gone, rivals } => {
                let all = self.clone().answers(op).into_iter();
                let right = all.filter(|(state, given)| {
                    given == answer
                        && (*rivals || *answer != "409 request_in_progress")
                        && (*gone || *answer != "204" || !state.gone_at_vercel)
                });
                right.map(|(state, _)| state).collect()
            }
            Part::Unanswered(op) => {
                changed(self.clone().answers(op).into_iter().map(|(state, _)| state).collect())
            }
            Part::Begins if self.life == Life::Unknown => {
                vec![Self { life: Life::Active, ..self.clone() }]
            }
            Part::Begins => Vec::new(),
            Part::Calls => {
                let calls = self.usable_token() && (self.settled || self.called);
                changed(vec![Self { called: self.called || calls, ..self.clone() }])
            }
            Part::Commits(op) => {
                // If the configuration is gone already, the commit records only the answer.
                let gone = self.configuration_gone.then(|| self.clone());
                let Some(committed) = self.clone().committed().or(gone) else { return vec![] };
                let mut recorded = committed.clone();
                recorded.record(op, "204");
                changed(vec![committed, recorded])
            }
            Part::Finalizes => {
                let finalizes = self.finalization == Some(true);
                if finalizes { vec![self.clone().finalized()] } else { Vec::new() }
            }
            Part::Ends(end) => {
                let (must, end) = (self.end(), end.clone());
                // If more than one state at Vercel is allowed, the state that Vercel actually has counts as
                // right.
                let may_be_gone = self.configuration_gone || (self.called && end.contradicted);
                let gone = may_be_gone && end.at_vercel.0;
                let gone = if self.gone_at_vercel { true } else { gone };
                let finalized = must.1.unwrap_or(end.at_vercel.1);
                let at_vercel = (gone, finalized);
                let must = End { at_vercel, contradicted: end.contradicted, ..must.0 };
                if must == end { vec![self.clone()] } else { Vec::new() }
            }
        }
    }

    /// E3: whether a token is stored that can still be used to call Vercel.
    fn usable_token(&self) -> bool {
        let finalized = self.life == Life::Deleted { finalized: true };
        self.life != Life::Unknown && self.token && !finalized
    }

    /// E2, E5: the state after the commit of a configuration's deletion. `None` if the deletion cannot be
    /// committed.
    fn committed(mut self) -> Option<Self> {
        let usable = self.usable_token();
        if self.life == Life::Unknown || self.configuration_gone || (usable && !self.called) {
            return None;
        }
        self.gone_at_vercel = usable;
        if self.life == Life::Active {
            self.die(true);
        } else if self.finalization.is_some() {
            // Vercel may have finalized the installation, and its answer may have been lost.
            self.finalized_at_vercel = None;
            self = self.finalized();
        }
        self.configuration_gone = true;
        self.token = false;
        Some(self)
    }

    fn die(&mut self, finalized: bool) {
        self.life = Life::Deleted { finalized };
        self.taken = std::mem::take(&mut self.live).into_keys().collect();
        self.token &= !finalized;
    }

    fn finalized(mut self) -> Self {
        self.life = Life::Deleted { finalized: true };
        self.finalization = None;
        self.token = false;
        self
    }

    fn record(&mut self, op: &Op, answer: Answer) {
        if let Some(key) = op.keyed() {
            self.outcomes.entry(key).or_insert_with(|| (op.clone(), answer));
        }
    }

    /// The end that the installation must have once no job is left, and whether it must be finalized at
    /// Vercel. `None` if the installation may, but need not, be finalized at Vercel.
    pub fn end(&self) -> (End, Option<bool>) {
        let deleted = matches!(self.life, Life::Deleted { .. });
        let announced = self.receipts.union(&self.taken).map(|it| (format!("r{it}"), 1));
        let mut receipts: BTreeSet<_> =
            self.receipts.iter().map(|it| format!("resource#r{it}")).collect();
        receipts.extend(deleted.then(|| "installation".to_owned()));
        let both = self.configuration_gone && self.uninstalled;
        receipts.extend(both.then(|| "configuration".to_owned()));
        let end = End {
            state: match self.life {
                Life::Unknown => String::new(),
                Life::Active => "active".to_owned(),
                Life::Deleted { .. } => "finalized".to_owned(),
            },
            settled: (self.life == Life::Active).then_some(self.settled),
            finalized: deleted,
            configuration_gone: self.configuration_gone,
            token: self.token && !deleted,
            resources: self.live.len(),
            live: self.live.clone(),
            receipts,
            work: BTreeSet::new(),
            outcomes: self.outcomes.keys().copied().collect(),
            announced: announced.chain(deleted.then(|| ("itself".to_owned(), 1))).collect(),
            at_vercel: (self.gone_at_vercel, self.finalized_at_vercel == Some(true)),
            contradicted: false,
        };
        (end, self.finalized_at_vercel)
    }
}
