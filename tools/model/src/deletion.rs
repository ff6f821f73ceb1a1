//! Delete Resource and Delete Installation, with registrations between them.
//!
//! One installation with two resources; three clients, each with one request out of `requests`,
//! which it repeats until it is answered, and then as often as it likes. A request goes as the
//! store's `settle` does: ask `plan`, send its transaction, learn from any of the conditions that
//! failed, ask again. It may die before and after every transaction, and its answer may be lost: the
//! client asks anew then, and may do so when it was answered, too. Meanwhile invoices are settled,
//! resources get ready, the installation is registered, the purge goes on, and the first resource is
//! moved to another installation.

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

/// A flaw: a condition of a transaction that is dropped, or a write that is done apart from the
/// transaction that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Any: no outcome stands under the key.
    OutcomeAbsent,
    /// Delete Resource: the installation is active.
    ResourceActive,
    /// Delete Resource: the installation is the account's.
    ResourceAccount,
    /// Delete Resource: the resource is there.
    ResourceThere,
    /// Delete Resource: it is not being provisioned.
    ResourceReady,
    /// Delete Resource: no receipt stands.
    ReceiptAbsent,
    /// An unknown resource: the installation is active.
    UnknownActive,
    /// An unknown resource: the installation is the account's.
    UnknownAccount,
    /// An unknown resource: it is not there.
    UnknownResourceAbsent,
    /// An unknown resource of an unknown installation: that one is not there.
    UnknownInstallationAbsent,
    /// An unknown resource: no receipt stands.
    UnknownReceiptAbsent,
    /// Delete Installation: it is active.
    UninstallActive,
    /// Delete Installation: it is the account's.
    UninstallAccount,
    /// Delete Installation: the billing is as believed.
    UninstallBilling,
    /// Delete Installation that spares resources: none is live.
    UninstallNoneLive,
    /// Delete an unknown installation: it is not there.
    TombstoneAbsent,
    /// An outcome alone: the installation is the account's.
    OutcomeAccount,
    /// Registration of a resource: the installation is active.
    RegisterActive,
    /// Registration of a resource: it is not there.
    RegisterAbsent,
    /// Registration of a resource: no receipt stands.
    RegisterReceipt,
    /// Update of a resource: the installation is active.
    UpdateActive,
    /// Update of a resource: it is there.
    UpdateThere,
    /// Registration of an installation: it is not deleted.
    InstallNotDeleted,
    /// The outcome is written after the effect.
    OutcomeApart,
    /// Owed work is written after the effect.
    WorkApart,
    /// The receipt is written after the effect.
    ReceiptApart,
    /// A registration does not count its resource.
    NotCounted,
    /// Move: the source is active.
    MoveActive,
    /// Move: the resource is there.
    MoveThere,
    /// Move: it is not counted at the source any more.
    MoveNotCounted,
    /// Move: its receipt is written after it.
    MoveReceiptApart,
}

/// The model.
#[derive(Debug)]
pub struct Deletions {
    /// How many clients there are, 3 at most.
    clients: usize,
    flaw: Option<Flaw>,
    requests: &'static [Planned],
    decisions: Mutex<HashMap<(u8, Belief), Decision>>,
    ends: Ends,
}

/// The program's next step.
#[derive(Clone, Copy, Debug)]
enum Decision {
    /// It answers or refuses.
    End(At),
    /// It reads the installation.
    Look,
    /// It sends this.
    Commit(Commit<'static>),
    /// It registers.
    Register,
}

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A client's next transaction or read is sent. Of the conditions that fail, DynamoDB tells of
    /// these.
    Send(usize, u8),
    /// A client asks anew: its request died, or the answer was lost, or it only wants to know again.
    Anew(usize),
    /// The installation is registered.
    Install,
    /// Its invoices are settled.
    Settle,
    /// A resource is ready.
    Ready(usize),
    /// The purge goes on.
    Purge,
    /// The first resource is moved to another installation.
    Move,
    /// What a move left to write is written. Only a flaw leaves any.
    MoveOn,
}

impl Deletions {
    /// With so many clients; broken, if it is said how.
    #[must_use]
    pub fn new(clients: usize, flaw: Option<Flaw>) -> Self {
        let (requests, decisions) = (requests(clients), Mutex::default());
        Self { clients, flaw, requests, decisions, ends: Ends::default() }
    }

    /// Goes through the states.
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

    /// The program's next step for a client that believes this. It is asked once for each belief: it
    /// depends on nothing else.
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

    /// Where a client is that believes this. What it does by itself alone it does at once: it makes
    /// no difference to others when.
    fn believing(&self, request: u8, belief: Belief) -> At {
        match self.decide(request, belief) {
            Decision::End(at) => at,
            _ => At::Asking(belief),
        }
    }

    /// The rows of a client's next transaction whose conditions do not hold.
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

    /// A client's next transaction or read. Where conditions fail, DynamoDB tells of these rows.
    fn send(&self, state: &mut State, index: usize, told: u8) {
        let client = state.clients[index];
        let planned = self.request(&client);
        match client.at {
            At::Owing(answer, pending) => {
                self.write(state, planned, answer, pending);
                state.clients[index].at = At::Answered(answer);
            }
            At::Asking(belief) => match self.decide(client.request, belief) {
                Decision::Register => self.register(state, index, told),
                Decision::End(at) => state.clients[index].at = at,
                Decision::Look => {
                    let belief = Belief { installation: Some(state.installation), ..belief };
                    state.clients[index].at = self.believing(client.request, belief);
                }
                Decision::Commit(commit) if told == 0 => self.apply(state, index, belief, commit),
                Decision::Commit(_) => {
                    let learned = belief.learn(state, planned, told);
                    state.clients[index].at = if learned == belief {
                        At::Contradicted
                    } else {
                        self.believing(client.request, learned)
                    };
                }
            },
            At::Updating => self.update(state, index, told),
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
                At::Answered(_) | At::Updating | At::Owing(..) => true,
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
            Action::Send(index, told) => self.send(&mut state, index, told),
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
                At::Asking(_) | At::Updating | At::Owing(..) => {
                    match self.rows_that_fail(state, client) {
                        0 => actions.push(Action::Send(index, 0)),
                        // It may tell of any of them, and tells of one at least.
                        failed => actions.extend(
                            (1..16)
                                .filter(|told| told & !failed == 0)
                                .map(|told| Action::Send(index, told)),
                        ),
                    }
                }
                // A client that was told that it is being provisioned asks again when it is ready.
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

    /// Every client was answered, and with a 2xx unless its request is to be refused; and what was
    /// deleted is purged.
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
