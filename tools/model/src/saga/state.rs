//! A state of the model of Delete Configuration: the table, Vercel and the processes.

use teardown::deletion::configuration::{ConfigurationDeletion, Team};
use teardown::grant::{Actor, Grant, Scope};
use teardown::ids::{IdempotencyKey, InstallationId};

use super::process::{At, NOBODY, Process, SWEEP};
use super::table::{Installation, Intent, Seen, Stage, TEAMS, now};

/// A state: the table, Vercel and the processes. Some fields exist only for the properties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) installation: Installation,
    /// The stored team, by its number.
    pub(super) team: u8,
    /// The team that the configuration is in at Vercel, by its number.
    pub(super) team_at_vercel: u8,
    pub(super) token: bool,
    pub(super) intent: Option<Intent>,
    pub(super) outcome: Option<u8>,
    pub(super) processes: [Process; 3],
    /// Whether the configuration exists at Vercel.
    pub(super) exists: bool,
    /// Whether a call to Vercel was not answered, and may still take effect.
    pub(super) in_flight: bool,
    /// Whether a call was sent to Vercel for which the table or a process still has a doubt.
    pub(super) sent: bool,
    /// Whether the commit was made without Vercel's answer that the configuration is gone.
    pub(super) alone: bool,
    /// How often the configuration's deletion was committed.
    pub(super) commits: u8,
    /// How often the installation was uninstalled.
    pub(super) uninstalls: u8,
    /// Whether the model accepts that nobody learns what Vercel did. The process that called Vercel died, its
    /// call took effect late, or Vercel refused a later call before the earlier call took effect.
    pub(super) may_stay_unknown: bool,
    /// The forbidden event that has happened. `None` if nothing forbidden has happened.
    pub(super) wrong: Option<&'static str>,
}

/// Forbidden: a worker that had lost its lease changed the intent of another worker.
pub(super) const OVERWROTE: &str = "overwrote";
/// Forbidden: an intent was begun while invoices were open.
pub(super) const INVOICES: &str = "invoices";
/// Forbidden: the commit was made without a call to Vercel, though there was a usable token.
pub(super) const NOT_CALLED: &str = "not called";

/// The requests: two different requests under one key, and one request without a key.
pub(super) fn requests() -> Vec<ConfigurationDeletion> {
    [(true, None), (true, Some(TEAMS[0].to_owned())), (false, None)]
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

impl State {
    /// Every first state: each possible table, with each choice of processes. At least one process is a
    /// sweep.
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
                    in_doubt: false,
                },
                team: 0,
                team_at_vercel: 0,
                token,
                intent: None,
                outcome: None,
                processes: choice.map(|request| Process {
                    request,
                    at: At::Idle,
                    knows_it_is_gone: false,
                    own: None,
                    acted: false,
                }),
                exists: true,
                in_flight: false,
                sent: false,
                alone: false,
                commits: 0,
                uninstalls: 0,
                may_stay_unknown: false,
                wrong: None,
            })
        };
        [true, false].into_iter().flat_map(of).collect()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.request != NOBODY)
    }

    /// The items that a process finds if it reads the table now.
    pub(super) fn seen(&self, keyed: bool, own: Option<u8>) -> Seen {
        let recorded = self.outcome.filter(|_| keyed);
        let Self { installation, team, token, intent, .. } = *self;
        let intent = intent.map(|intent| Intent { own: own == Some(intent.fence), ..intent });
        Seen { recorded, installation, team, token, intent }
    }

    /// Every fence that the intent or a process has.
    pub(super) fn fences(&self) -> Vec<u8> {
        let mut fences: Vec<u8> = self.intent.iter().map(|intent| intent.fence).collect();
        for process in self.processes {
            process.fences(&mut fences);
        }
        fences.sort_unstable();
        fences.dedup();
        fences
    }

    /// Makes states equal if the same steps follow from them. Resets the fields that no longer matter for
    /// later steps. Numbers the fences by their order, because fences are only compared.
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
        self.sent &= self.installation.in_doubt
            || self.intent.is_some_and(|intent| intent.in_doubt)
            || self.processes.iter().any(Process::knows_a_doubt);
        // If Vercel did nothing, or the commit is made, nobody needs to learn what Vercel did.
        let done_nothing = self.exists && !self.in_flight;
        self.may_stay_unknown &= !done_nothing && !self.is_gone();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.installation.deletion.is_some_and(|deletion| deletion.gone)
    }

    /// Whether Vercel has the configuration in this team.
    pub(super) fn is_in(&self, team: u8) -> bool {
        self.exists && self.team_at_vercel == team
    }
}
