//! Delete Resource and Delete Installation, at the same time as registrations.
//!
//! At the start, there is one installation with one or two resources, or no installation.
//!
//! **Clients**, at most three: each client sends one request out of `requests`, and repeats it until it is
//! answered. The client may repeat the request after the answer too. A request works like the store's
//! `plan_and_commit`: it calls `plan`, and sends the transaction. If conditions fail, DynamoDB reports some
//! of them, and the request calls `plan` again with the corrected belief. If a request dies, before or after
//! a transaction, or if its answer is lost, the client sends the request again.
//!
//! **While the clients send requests**, invoices are settled, resources become ready, the installation is
//! registered, the purge continues, and the first resource is moved to another installation.
//!
//! **Checked:** no deletion is lost or has its effect twice. Each deletion has its outcome, its receipt and
//! its jobs. A repeated request gets the same answer as the first request. No resource is live in a deleted
//! installation, and no deleted resource is registered again. No request changes another account's
//! installation. In every order, the steps come to an end.

mod properties;
mod requests;
mod state;
mod transactions;

use std::collections::HashMap;
use std::sync::Mutex;

use stateright::{Model, Property};
use teardown::deletion::{Commit, Step, plan};

use self::requests::{Planned, requests};
pub use self::state::State;
use self::state::{At, Belief, Client, Installation, Refusal, Reply, Status};
use crate::{ENDS_WELL, Ends, Protocol, Report, Search, check, ends_well};

/// A way to break the model: a condition of a transaction is dropped, or a write is missing or done later.
/// Each flaw's comment says what the broken code does. Tests check which property fails with each flaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Flaw: a request does not check whether an outcome is recorded under its key.
    OutcomeAbsent,
    /// Flaw: Delete Resource does not check that the installation is active.
    ResourceActive,
    /// Flaw: Delete Resource does not check that the installation belongs to the token's account.
    ResourceAccount,
    /// Flaw: Delete Resource does not check that the resource's item exists.
    ResourceThere,
    /// Flaw: Delete Resource does not check whether the resource is being provisioned.
    ResourceReady,
    /// Flaw: Delete Resource does not check whether the resource has a receipt.
    ReceiptAbsent,
    /// Flaw: Delete Resource of an unknown resource does not check that the installation is active.
    UnknownActive,
    /// Flaw: Delete Resource of an unknown resource does not check that the installation belongs to the
    /// token's account.
    UnknownAccount,
    /// Flaw: Delete Resource of an unknown resource does not check that the resource is still unknown.
    UnknownResourceAbsent,
    /// Flaw: Delete Resource in an unknown installation does not check that the installation is still
    /// unknown.
    UnknownInstallationAbsent,
    /// Flaw: Delete Resource of an unknown resource does not check whether the resource has a receipt.
    UnknownReceiptAbsent,
    /// Flaw: Delete Installation does not check that the installation is active.
    UninstallActive,
    /// Flaw: Delete Installation does not check that the installation belongs to the token's account.
    UninstallAccount,
    /// Flaw: Delete Installation does not check that its belief about the billing is true.
    UninstallBilling,
    /// Flaw: Delete Installation without cascade does not check whether a resource is live.
    UninstallNoneLive,
    /// Flaw: Delete Installation of an unknown installation does not check that the installation is still
    /// unknown.
    TombstoneAbsent,
    /// Flaw: a request that only records its outcome does not check that the installation belongs to the
    /// token's account.
    OutcomeAccount,
    /// Flaw: the registration of a resource does not check that the installation is active.
    RegisterActive,
    /// Flaw: the registration of a resource does not check that the resource's item is absent.
    RegisterAbsent,
    /// Flaw: the registration of a resource does not check whether the resource has a receipt.
    RegisterReceipt,
    /// Flaw: the update of a resource does not check that the installation is active.
    UpdateActive,
    /// Flaw: the update of a resource does not check that the resource's item exists.
    UpdateThere,
    /// Flaw: the registration of an installation does not check whether the installation is deleted.
    InstallNotDeleted,
    /// Flaw: the outcome is written after the effect, in a separate write.
    OutcomeApart,
    /// Flaw: the jobs are written after the effect, in a separate write.
    WorkApart,
    /// Flaw: the receipt is written after the effect, in a separate write.
    ReceiptApart,
    /// Flaw: a registration does not count its resource.
    NotCounted,
    /// Flaw: a move does not check that the source installation is active.
    MoveActive,
    /// Flaw: a move does not check whether the resource has an item, and whether it has a receipt.
    MoveThere,
    /// Flaw: a move does not reduce the source's count of resources.
    MoveNotCounted,
    /// Flaw: a move's receipt is written after the move, in a separate write.
    MoveReceiptApart,
}

/// The model of Delete Resource and Delete Installation.
#[derive(Debug)]
pub struct Deletions {
    /// How many clients there are, at most 3.
    clients: usize,
    flaw: Option<Flaw>,
    requests: &'static [Planned],
    decisions: Mutex<HashMap<(u8, Belief), Decision>>,
    ends: Ends,
}

/// The next step of a request.
#[derive(Clone, Copy, Debug)]
enum Decision {
    /// The request is answered or refused.
    End(At),
    /// The request reads the installation.
    Look,
    /// The request sends this transaction.
    Commit(Commit<'static>),
    /// The request is a registration, and sends its transaction.
    Register,
}

/// A step of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client sends its next transaction or read. The bits are the items whose failed conditions DynamoDB
    /// reports.
    Send(usize, u8),
    /// A client sends its request again: the request died, its answer was lost, or the client repeats it.
    Anew(usize),
    /// The installation is registered.
    Install,
    /// The installation's invoices are settled.
    Settle,
    /// A resource becomes ready.
    Ready(usize),
    /// The purge takes its next step.
    Purge,
    /// The first resource is moved to another installation.
    Move,
    /// A move's missing receipt is written. Only a flaw writes the receipt in a separate step.
    MoveOn,
}

impl Deletions {
    /// The model with `clients` clients, at most 3. If `flaw` is `Some`, the model has this flaw.
    #[must_use]
    pub fn new(clients: usize, flaw: Option<Flaw>) -> Self {
        let (requests, decisions) = (requests(clients), Mutex::default());
        Self { clients, flaw, requests, decisions, ends: Ends::default() }
    }

    /// Visits the states, and reports the properties that failed.
    #[must_use]
    pub fn check(self, search: Search) -> Report {
        check(self, search)
    }

    fn request(&self, client: &Client) -> &Planned {
        &self.requests[usize::from(client.request)]
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// The next step of a client with this belief, as `plan` decides. The result is cached, because it
    /// depends only on the request and the belief.
    fn decide(&self, request: u8, belief: Belief) -> Decision {
        let Ok(mut decisions) = self.decisions.lock() else { return Decision::Look };
        *decisions.entry((request, belief)).or_insert_with(|| {
            let planned = &self.requests[usize::from(request)];
            let Some(deletion) = &planned.deletion else { return Decision::Register };
            match plan(deletion, &belief.real(self)) {
                Step::Answer(answer) => Decision::End(At::Answered(Reply::of(answer))),
                Step::Refuse(error) => Decision::End(At::Refused(Refusal::of(&error))),
                Step::ReadInstallation => Decision::Look,
                Step::Commit(commit) => Decision::Commit(commit),
            }
        })
    }

    /// The step that a client with this belief has reached. If the next step is an answer, the client gets it
    /// immediately, because the time of an answer does not affect other clients.
    fn believing(&self, request: u8, belief: Belief) -> At {
        match self.decide(request, belief) {
            Decision::End(at) => at,
            _ => At::Asking(belief),
        }
    }

    /// The items of a client's next transaction whose conditions fail, as bits.
    fn rows_that_fail(&self, state: &State, client: &Client) -> u8 {
        let planned = self.request(client);
        match client.at {
            At::Asking(belief) => match self.decide(client.request, belief) {
                Decision::Commit(commit) => self.failed(state, planned, belief, commit),
                Decision::Register => self.registration_fails(state, planned),
                Decision::Look | Decision::End(_) => 0,
            },
            At::Updating => self.update_fails(state, planned),
            _ => 0,
        }
    }

    /// Sends a client's next transaction or read. `failed_rows` has the items whose failed conditions
    /// DynamoDB reports, as bits.
    fn send(&self, state: &mut State, index: usize, failed_rows: u8) {
        let client = state.clients[index];
        let planned = self.request(&client);
        match client.at {
            At::Incomplete(answer, pending) => {
                self.write(state, planned, answer, pending);
                state.clients[index].at = At::Answered(answer);
            }
            At::Asking(belief) => match self.decide(client.request, belief) {
                Decision::Register => self.register(state, index, failed_rows),
                Decision::End(at) => state.clients[index].at = at,
                Decision::Look => {
                    let belief = Belief { installation: Some(state.installation), ..belief };
                    state.clients[index].at = self.believing(client.request, belief);
                }
                Decision::Commit(commit) if failed_rows == 0 => {
                    self.apply(state, index, belief, commit);
                }
                Decision::Commit(_) => {
                    let learned = belief.learn(state, planned, failed_rows);
                    state.clients[index].at = if learned == belief {
                        At::Contradicted
                    } else {
                        self.believing(client.request, learned)
                    };
                }
            },
            At::Updating => self.update(state, index, failed_rows),
            At::Answered(_) | At::Refused(_) | At::Contradicted => {}
        }
    }
}

impl Model for Deletions {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        State::all(self.clients, self.requests)
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.fair(state, actions);
        for (index, client) in state.clients().enumerate() {
            let anew = match client.at {
                At::Answered(_) | At::Updating | At::Incomplete(..) => true,
                At::Asking(belief) => belief != Belief::default(),
                At::Refused(_) | At::Contradicted => false,
            };
            if anew {
                actions.push(Action::Anew(index));
            }
        }
        if state.installation == Installation::Absent || self.has(Flaw::InstallNotDeleted) {
            actions.push(Action::Install);
        }
        if let Installation::Active { settled: false, .. } = state.installation {
            actions.push(Action::Settle);
        }
        if self.may_move(state) {
            actions.push(Action::Move);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Send(index, failed_rows) => self.send(&mut state, index, failed_rows),
            Action::Anew(index) => state.clients[index].at = At::default(),
            Action::Install => {
                if let Installation::Absent | Installation::Deleted { .. } = state.installation {
                    state.installation = Installation::Active { settled: false, live: 0 };
                }
            }
            Action::Settle => {
                let Installation::Active { settled, .. } = &mut state.installation else {
                    return None;
                };
                *settled = true;
            }
            Action::Ready(resource) => state.resources[resource] = Some(Status::Ready),
            Action::Purge => state.purge_on(),
            Action::Move => self.move_out(&mut state),
            Action::MoveOn => {
                state.receipts[0] = true;
                state.moving = false;
            }
        }
        state.clients[..].sort_unstable();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = properties::properties();
        properties.extend(properties::possibilities());
        properties.push(Property::always(ENDS_WELL, ends_well));
        properties
    }
}

impl Protocol for Deletions {
    fn fair(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, client) in state.clients().enumerate() {
            match client.at {
                At::Asking(_) | At::Updating | At::Incomplete(..) => {
                    match self.rows_that_fail(state, client) {
                        0 => actions.push(Action::Send(index, 0)),
                        // DynamoDB reports at least one of the failed conditions, but perhaps not all.
                        failed => actions.extend(
                            (1..16)
                                .filter(|failed_rows| failed_rows & !failed == 0)
                                .map(|failed_rows| Action::Send(index, failed_rows)),
                        ),
                    }
                }
                // A client that got `resource_busy` repeats its request when the resource is ready.
                At::Refused(Refusal::Busy) if !state.provisioning(self.request(client)) => {
                    actions.push(Action::Anew(index));
                }
                At::Answered(_) | At::Refused(_) | At::Contradicted => {}
            }
        }
        for (index, status) in state.resources.iter().enumerate() {
            if *status == Some(Status::Provisioning) {
                actions.push(Action::Ready(index));
            }
        }
        if state.purge {
            actions.push(Action::Purge);
        }
        if state.moving {
            actions.push(Action::MoveOn);
        }
    }

    /// No purge is left, and each client has a final answer that fits its request: a 2xx, or a refusal that
    /// the contract demands.
    fn is_well(&self, state: &State) -> bool {
        !state.purge
            && state
                .clients()
                .all(|client| client.at.may_be_the_end_of(self.request(client).request))
    }

    fn ends(&self) -> &Ends {
        &self.ends
    }

    fn describe(&self, state: &State, action: &Action) -> String {
        match action {
            Action::Send(index, _) | Action::Anew(index) => {
                format!("{action:?} {:?}", self.request(&state.clients[*index]).request)
            }
            _ => format!("{action:?}"),
        }
    }
}
