//! A state of the deletion model: the table and the clients.

use teardown::deletion::{
    self as real, Answer, Billing, OpenInvoices, Receipt, Recorded, Resource,
};
use teardown::error::Error;

use super::Deletions;
use super::requests::{ACCOUNTS, By, Kind, Planned, Request};

/// The installation's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Installation {
    /// The installation has no item.
    Absent,
    /// The installation is active. `live` is the stored number of the installation's resources.
    Active { settled: bool, live: i8 },
    /// The installation is deleted. `finalized` is true if no finalization is pending.
    Deleted { finalized: bool },
}

/// A resource's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Status {
    Ready,
    Provisioning,
}

/// A 2xx answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Reply {
    Gone,
    Uninstalled { finalized: bool },
    Registered,
}

/// An answer that is not 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Refusal {
    Another,
    KeyReused,
    Busy,
    Remain,
    InvoicesOpen,
    Unregistrable,
    Else,
}

/// The outcome that is recorded under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Outcome {
    /// The index of the request whose outcome this is.
    pub(super) request: u8,
    /// The installation's account, if the request knew it.
    pub(super) account: Option<u8>,
    pub(super) reply: Reply,
}

/// A belief about a resource's item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Item {
    /// The resource is assumed to be ready.
    #[default]
    Assumed,
    Seen(Option<Status>),
}

/// A request's belief about the store: a small copy of `teardown`'s `Belief`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Belief {
    pub(super) recorded: Option<Outcome>,
    /// The belief about the installation. `None` while the common case is assumed.
    pub(super) installation: Option<Installation>,
    /// The belief about the resource's item.
    pub(super) resource: Item,
    pub(super) receipt: bool,
}

/// A write that belongs to a committed transaction, but is missing. Only a flaw leaves a write missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Pending {
    Outcome(Option<u8>),
    Work,
    Receipt,
}

/// The step that a client's request has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum At {
    /// The client's request is in progress, with this belief.
    Asking(Belief),
    /// The client registers a resource whose item exists, so it updates the item.
    Updating,
    /// The client's transaction is committed, and a part of it is still missing. Only a flaw leads to this
    /// step.
    Incomplete(Reply, Pending),
    /// The client was answered with a 2xx.
    Answered(Reply),
    /// The client was refused.
    Refused(Refusal),
    /// A condition failed, but the returned item says that the condition is true.
    Contradicted,
}

impl At {
    /// Whether a request may end at this step (C, D, F).
    pub(super) fn may_be_the_end_of(self, request: Request) -> bool {
        let Request { kind, keyed, by, open_invoices } = request;
        match (self, kind) {
            (At::Answered(reply), Kind::DeleteResource(_)) => {
                by != By::Another && reply == Reply::Gone
            }
            (At::Answered(reply), Kind::Uninstall { .. }) => {
                by != By::Another && reply != Reply::Gone
            }
            (At::Answered(_) | At::Refused(Refusal::Unregistrable), Kind::Register(_)) => true,
            // A token that names only an account is refused too if the installation is unknown (A6).
            (At::Refused(Refusal::Another), _) => by != By::Named,
            (At::Refused(Refusal::KeyReused), _) => keyed,
            (At::Refused(Refusal::Remain), Kind::Uninstall { cascade }) => !cascade,
            (At::Refused(Refusal::InvoicesOpen), Kind::Uninstall { .. }) => {
                open_invoices == OpenInvoices::Refuse
            }
            _ => false,
        }
    }
}

/// A client that sends its request again starts with the default belief: it has read nothing.
impl Default for At {
    fn default() -> Self {
        Self::Asking(Belief::default())
    }
}

/// A client, with its one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Client {
    /// The index of the client's request, or [`NOBODY`].
    pub(super) request: u8,
    pub(super) at: At,
    /// Whether the client's request changed something.
    pub(super) acted: bool,
}

/// The value of [`Client::request`] for an absent client.
pub(super) const NOBODY: u8 = u8::MAX;

/// A state: the table and the clients. Some fields exist only for the properties.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) installation: Installation,
    pub(super) resources: [Option<Status>; 2],
    pub(super) receipts: [bool; 2],
    pub(super) installation_receipt: bool,
    /// The outcome that is recorded under the key, for each operation.
    pub(super) outcomes: [Option<Outcome>; 2],
    /// How often each resource's announcement was written.
    pub(super) announced: [u8; 2],
    /// How often the installation's announcement was written.
    pub(super) uninstall_announced: u8,
    /// Whether the purge is pending.
    pub(super) purge: bool,
    /// Whether the finalization is pending.
    pub(super) finalize: bool,
    /// Whether the purge has ended.
    pub(super) purged: bool,
    pub(super) clients: [Client; 3],
    /// How often Delete Resource deleted each resource.
    pub(super) deleted: [u8; 2],
    /// How often each resource was deleted by Delete Resource or with the installation.
    pub(super) gone: [u8; 2],
    /// How often the installation was deleted.
    pub(super) uninstalled: u8,
    /// Whether the first resource was moved away, and is live at another installation.
    pub(super) away: bool,
    /// Whether the move's receipt is missing. Only a flaw leaves a move without a receipt.
    pub(super) moving: bool,
    /// The forbidden event that has happened. `None` if nothing forbidden has happened.
    pub(super) wrong: Option<&'static str>,
}

/// Forbidden: a resource was registered in a deleted installation.
pub(super) const LATE: &str = "late";
/// Forbidden: Delete Resource deleted a resource that was being provisioned.
pub(super) const BROKEN: &str = "broken";
/// Forbidden: an uninstall without cascade deleted live resources.
pub(super) const TAKEN: &str = "taken";
/// Forbidden: an uninstall's answer did not match the installation's billing.
pub(super) const BILLED: &str = "billed";

/// Forbidden: an uninstall was accepted, though invoices were open and the deployment refuses uninstalls with
/// open invoices.
pub(super) const INDEBTED: &str = "indebted";

impl Reply {
    pub(super) fn of(answer: Answer) -> Self {
        match answer {
            Answer::Deleted => Self::Gone,
            Answer::Uninstalled { finalized } => Self::Uninstalled { finalized },
        }
    }

    fn real(self) -> Answer {
        match self {
            Self::Gone | Self::Registered => Answer::Deleted,
            Self::Uninstalled { finalized } => Answer::Uninstalled { finalized },
        }
    }
}

impl Refusal {
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::OtherInstallation => Self::Another,
            Error::IdempotencyKeyReused => Self::KeyReused,
            Error::ResourceBusy => Self::Busy,
            Error::ResourcesRemain(_) => Self::Remain,
            Error::UninstallWithOpenInvoices => Self::InvoicesOpen,
            _ => Self::Else,
        }
    }
}

impl Belief {
    /// This belief as a value of `teardown`'s own type.
    pub(super) fn real(self, model: &Deletions) -> real::Belief {
        let account = |index: u8| ACCOUNTS[usize::from(index)].to_owned();
        let recorded = self.recorded.map(|outcome| Recorded {
            account: outcome.account.map(account),
            fingerprint: model.requests[usize::from(outcome.request)].fingerprint(),
            answer: outcome.reply.real(),
        });
        let ours = Some(account(0));
        let installation = match self.installation {
            None => real::Installation::Assumed,
            Some(Installation::Absent) => real::Installation::Absent,
            Some(Installation::Active { settled, live }) => real::Installation::Active {
                account: ours,
                billing: if settled { Billing::Settled } else { Billing::Open },
                resources: u64::try_from(live).unwrap_or(0),
            },
            Some(Installation::Deleted { finalized }) => {
                real::Installation::Deleted { account: ours, finalized }
            }
        };
        let resource = match self.resource {
            Item::Assumed | Item::Seen(Some(Status::Ready)) => Resource::Ready,
            Item::Seen(Some(Status::Provisioning)) => Resource::Provisioning,
            Item::Seen(None) => Resource::Absent,
        };
        let receipt = if self.receipt { Receipt::Present } else { Receipt::None };
        real::Belief { recorded, installation, resource, receipt }
    }
}

impl State {
    /// Every first state: each possible table, with each choice of requests.
    pub(super) fn all(clients: usize, requests: &[Planned]) -> Vec<Self> {
        let mut tables = vec![(Installation::Absent, [None, None])];
        {
            let settled = false;
            for first in [None, Some(Status::Ready), Some(Status::Provisioning)] {
                let live = 1 + i8::from(first.is_some());
                let resources = [first, Some(Status::Ready)];
                tables.push((Installation::Active { settled, live }, resources));
            }
        }
        let count = u8::try_from(requests.len()).unwrap_or(NOBODY);
        let mut choices = vec![[NOBODY; 3]];
        for place in 0..clients {
            let with = |choice: [u8; 3]| {
                // The clients' requests are in ascending order, because all clients behave alike.
                let from = if place == 0 { 0 } else { choice[place - 1] };
                (from..count).map(move |request| {
                    let mut choice = choice;
                    choice[place] = request;
                    choice
                })
            };
            choices = choices.into_iter().flat_map(with).collect();
        }
        let of = |(installation, resources): (Installation, [Option<Status>; 2])| {
            choices.iter().map(move |choice| Self {
                installation,
                resources,
                receipts: [false; 2],
                installation_receipt: false,
                outcomes: [None; 2],
                announced: [0; 2],
                uninstall_announced: 0,
                purge: false,
                finalize: false,
                purged: false,
                clients: choice.map(|request| Client { request, ..Client::default() }),
                deleted: [0; 2],
                gone: [0; 2],
                uninstalled: 0,
                away: false,
                moving: false,
                wrong: None,
            })
        };
        tables.into_iter().flat_map(of).collect()
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().take_while(|client| client.request != NOBODY)
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.installation, Installation::Active { .. })
    }

    pub(super) fn is_deleted(&self) -> bool {
        matches!(self.installation, Installation::Deleted { .. })
    }

    /// Whether the resource of a request is being provisioned.
    pub(super) fn provisioning(&self, planned: &Planned) -> bool {
        let status = planned.resource().and_then(|resource| self.resources[resource]);
        status == Some(Status::Provisioning) && self.is_active()
    }

    pub(super) fn is_live(&self, resource: usize) -> bool {
        self.resources[resource].is_some() && self.is_active()
    }

    /// The purge's next step: it replaces a resource by its announcement, or ends.
    pub(super) fn purge_on(&mut self) {
        if let Some(resource) = self.resources.iter().position(Option::is_some) {
            self.resources[resource] = None;
            self.announced[resource] = (self.announced[resource] + 1).min(2);
        } else {
            (self.purge, self.purged) = (false, true);
        }
    }

    /// Whether a 2xx answer to a request is true in this state.
    pub(super) fn holds(&self, planned: &Planned, reply: Reply) -> bool {
        match (planned.request.kind, reply) {
            (Kind::Register(_), _) => true,
            (Kind::DeleteResource(resource), Reply::Gone) => {
                let moved = resource == 0 && self.away;
                let receipt = self.receipts[resource] && (moved || self.announced[resource] > 0);
                let with_installation = self.is_deleted() && self.installation_receipt;
                !self.is_live(resource) && (receipt || with_installation)
            }
            (Kind::Uninstall { .. }, Reply::Uninstalled { finalized }) => {
                self.is_deleted()
                    && self.installation_receipt
                    && self.uninstall_announced > 0
                    && (self.purge || self.purged)
                    && finalized != self.finalize
            }
            _ => false,
        }
    }
}
