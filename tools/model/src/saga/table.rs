//! The table's items, and a process's copy of the items that it read.

use std::time::Duration;

use teardown::clock::Timestamp;
use teardown::deletion::configuration::{self as real, ConfigurationDeletion, Team};
use teardown::deletion::{self, Billing, Recorded};
use teardown::secret::Secret;

/// The states of an installation.
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
    /// Whether the installation's configuration was deleted, too.
    pub(super) gone: bool,
}

/// The installation's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Installation {
    pub(super) stage: Stage,
    pub(super) deletion: Option<Deletion>,
    pub(super) settled: bool,
    /// Whether 24 hours have passed since the uninstall.
    pub(super) over: bool,
    pub(super) in_doubt: bool,
}

/// The intent's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Intent {
    pub(super) fence: u8,
    pub(super) leased: bool,
    pub(super) in_doubt: bool,
    /// Whether the process that read the intent has the intent's lease. The value is always `false` in the
    /// table.
    pub(super) own: bool,
}

/// The items that a process read: a small copy of `teardown`'s `Snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Seen {
    /// The index of the request whose outcome is recorded under the key.
    pub(super) recorded: Option<u8>,
    pub(super) installation: Installation,
    /// The stored team, by its number.
    pub(super) team: u8,
    pub(super) token: bool,
    pub(super) intent: Option<Intent>,
}

/// The teams, by their numbers.
pub(super) const TEAMS: [&str; 2] = ["team_1", "team_2"];

pub(super) fn now() -> Timestamp {
    Timestamp::from_secs(NOW)
}

const NOW: u64 = 1_800_000_000;
const HOUR: u64 = 3600;

impl Seen {
    /// These items as a value of `teardown`'s own type.
    pub(super) fn real(&self, requests: &[ConfigurationDeletion]) -> real::Snapshot {
        let Installation { stage, deletion, settled, over, in_doubt } = self.installation;
        let recorded = self.recorded.map(|request| Recorded {
            account: Some("acc_1".to_owned()),
            fingerprint: requests[usize::from(request)].fingerprint(),
            answer: deletion::Answer::Deleted,
        });
        let installation = real::InstallationState {
            account: Some("acc_1".to_owned()),
            team: Team { id: Some(TEAMS[usize::from(self.team)].to_owned()), slug: None },
            billing: if settled { Billing::Settled } else { Billing::Open },
            in_doubt,
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
            in_doubt: intent.in_doubt,
            is_ours: intent.own,
        });
        let token = self.token.then(|| Secret::new("token".to_owned()));
        real::Snapshot { recorded, installation: Some(installation), token, intent }
    }
}
