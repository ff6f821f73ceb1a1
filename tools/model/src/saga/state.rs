//! The table and Vercel, and what is seen of them.

use std::time::Duration;

use teardown::clock::Timestamp;
use teardown::deletion::configuration::{self as real, ConfigurationDeletion, Team};
use teardown::deletion::{self, Billing, Recorded};
use teardown::grant::{Actor, Grant, Scope};
use teardown::ids::{IdempotencyKey, InstallationId};
use teardown::secret::Secret;

use super::process::{At, NOBODY, Process, SWEEP};

/// The stages of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Stage {
    Active,
    Deleting,
    Purged,
    Finalized,
}

/// An installation's own deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Deletion {
    pub(super) finalized: bool,
    /// Whether its configuration was deleted too.
    pub(super) gone: bool,
}

/// The installation's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Installation {
    pub(super) stage: Stage,
    pub(super) deletion: Option<Deletion>,
    pub(super) settled: bool,
    /// Whether the uninstall is 24 hours ago.
    pub(super) over: bool,
    pub(super) unclear: bool,
}

/// The intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Intent {
    pub(super) fence: u8,
    pub(super) leased: bool,
    pub(super) unclear: bool,
    /// Whether who sees it has that lease; never so in the table.
    pub(super) own: bool,
}

/// What a process saw: `teardown`'s `Snapshot`, in small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Seen {
    /// Which request is recorded under the key.
    pub(super) recorded: Option<u8>,
    pub(super) installation: Installation,
    pub(super) token: bool,
    pub(super) intent: Option<Intent>,
}

/// The table, Vercel and the processes; and what only the properties look at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) installation: Installation,
    pub(super) token: bool,
    pub(super) intent: Option<Intent>,
    pub(super) outcome: Option<u8>,
    pub(super) processes: [Process; 3],
    /// Whether the configuration is there at Vercel.
    pub(super) exists: bool,
    /// Whether Vercel was asked, has not answered, and may yet do it.
    pub(super) in_flight: bool,
    /// Whether Vercel was asked under a mark that is known to anybody.
    pub(super) sent: bool,
    /// Whether our side was deleted alone, since there was no token to ask with.
    pub(super) alone: bool,
    /// How often the configuration, and the installation, was deleted here.
    pub(super) commits: u8,
    pub(super) uninstalls: u8,
    /// Whether nobody may hear of what Vercel did: its asker died, it came after the call, or Vercel
    /// refused somebody meanwhile.
    pub(super) untold: bool,
    /// What must never happen has.
    pub(super) wrong: Option<&'static str>,
}

/// Who had lost its lease changed what another holds.
pub(super) const OVERWROTE: &str = "overwrote";
/// An intent was begun while invoices were open.
pub(super) const INVOICES: &str = "invoices";
/// Our side was deleted alone though there was a token to ask with.
pub(super) const UNASKED: &str = "unasked";

/// The requests: two under one key that differ, and one without a key.
pub(super) fn requests() -> Vec<ConfigurationDeletion> {
    [(true, None), (true, Some("team_1".to_owned())), (false, None)]
        .map(|(keyed, id)| ConfigurationDeletion {
            grant: Grant {
                installation: InstallationId::parse("icfg_1").expect("an id"),
                by: Actor::System { account: "acc_1".to_owned() },
                scope: Scope::Installation,
            },
            team: Team { id, slug: None },
            key: keyed.then(|| IdempotencyKey::parse(b"key").expect("a key")),
            at: now(),
        })
        .into()
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

impl Seen {
    /// As the program has it.
    pub(super) fn real(&self, requests: &[ConfigurationDeletion]) -> real::Snapshot {
        let Installation { stage, deletion, settled, over, unclear } = self.installation;
        let recorded = self.recorded.map(|request| Recorded {
            account: Some("acc_1".to_owned()),
            fingerprint: requests[usize::from(request)].fingerprint(),
            answer: deletion::Answer::Gone,
        });
        let installation = real::InstallationState {
            account: Some("acc_1".to_owned()),
            team: Team { id: Some("team_1".to_owned()), slug: None },
            billing: if settled { Billing::Settled } else { Billing::Open },
            in_doubt: unclear,
            deletion: deletion.map(|deleted| real::Deleted {
                at: Timestamp::from_secs(NOW - if over { 25 * HOUR } else { HOUR }),
                stage: match stage {
                    Stage::Active | Stage::Deleting => deletion::Stage::Deleting,
                    Stage::Purged => deletion::Stage::Purged,
                    Stage::Finalized => deletion::Stage::Finalized,
                },
                finalized: deleted.finalized,
                configuration_gone: deleted.gone,
            }),
        };
        let intent = self.intent.map(|intent| real::Intent {
            fence: intent.fence.into(),
            leased_until: now() + Duration::from_secs(if intent.leased { 9 } else { 0 }),
            in_doubt: intent.unclear,
            own: intent.own,
        });
        let token = self.token.then(|| Secret::new("token".to_owned()));
        real::Snapshot { recorded, installation: Some(installation), token, intent }
    }
}

impl State {
    /// Every state to begin with: each table, with each choice of processes, one sweep among them.
    pub(super) fn all(processes: usize) -> Vec<Self> {
        let kinds = [0, 1, 2, SWEEP];
        let mut choices = vec![[SWEEP, NOBODY, NOBODY]];
        for place in 1..processes {
            let with = |choice: [u8; 3]| {
                let of = |kind| {
                    let mut choice = choice;
                    choice[place] = kind;
                    choice
                };
                kinds.map(of)
            };
            choices = choices.into_iter().flat_map(with).collect();
        }
        for choice in &mut choices {
            choice.sort_unstable();
        }
        choices.sort_unstable();
        choices.dedup();
        let of = |token: bool| {
            choices.iter().map(move |choice| Self {
                installation: Installation {
                    stage: Stage::Active,
                    deletion: None,
                    settled: true,
                    over: false,
                    unclear: false,
                },
                token,
                intent: None,
                outcome: None,
                processes: choice.map(|request| Process {
                    request,
                    at: At::Idle,
                    heard: false,
                    own: None,
                    acted: false,
                }),
                exists: true,
                in_flight: false,
                sent: false,
                alone: false,
                commits: 0,
                uninstalls: 0,
                untold: false,
                wrong: None,
            })
        };
        [true, false].into_iter().flat_map(of).collect()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.request != NOBODY)
    }

    /// What a process sees.
    pub(super) fn seen(&self, keyed: bool, own: Option<u8>) -> Seen {
        let recorded = self.outcome.filter(|_| keyed);
        let Self { installation, token, intent, .. } = *self;
        let intent = intent.map(|intent| Intent { own: own == Some(intent.fence), ..intent });
        Seen { recorded, installation, token, intent }
    }

    /// Every fencing token that is known to anybody.
    pub(super) fn fences(&self) -> Vec<u8> {
        let mut fences: Vec<u8> = self.intent.iter().map(|intent| intent.fence).collect();
        for process in self.processes {
            process.fences(&mut fences);
        }
        fences.sort_unstable();
        fences.dedup();
        fences
    }

    /// What does not matter is always the same. Fencing tokens are only compared: they are numbered by
    /// their order.
    pub(super) fn normalise(&mut self) {
        let fences = self.fences();
        let number = |fence: u8| {
            let place = fences.iter().position(|other| *other == fence);
            place.and_then(|place| place.try_into().ok()).unwrap_or(u8::MAX)
        };
        for process in &mut self.processes {
            process.renumber(number);
        }
        if let Some(intent) = &mut self.intent {
            intent.fence = number(intent.fence);
        }
        self.sent &= self.installation.unclear
            || self.intent.is_some_and(|intent| intent.unclear)
            || self.processes.iter().any(Process::knows_a_doubt);
        // There is nothing to be told, or nothing any more.
        let done_nothing = self.exists && !self.in_flight;
        self.untold &= !done_nothing && !self.is_gone();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.installation.deletion.is_some_and(|deletion| deletion.gone)
    }
}
