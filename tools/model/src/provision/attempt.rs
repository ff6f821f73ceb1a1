//! An attempt's next step, and each condition of the front's transactions.

use teardown::deletion::Presence;
use teardown::provision::{Begin, Commit, begin, plan};

use super::state::{
    At, BEGAN_DELETED, Belief, CONTRADICTED, ENDED_OTHERS, Installation, Intent, Item, Job,
    REGISTERED_DELETED, REVIVED, Receipt, Seen, State,
};
use super::{Flaw, Provisions, Scope};

/// The items of a transaction whose conditions may fail, as bits.
const INSTALLATION: u8 = 1;
const RESOURCE: u8 = 2;
const RECEIPT: u8 = 4;
const ANNOUNCEMENT: u8 = 8;
const INTENT: u8 = 16;

impl Provisions {
    fn begin(&self, seen: Seen) -> Begin {
        let membership = self.membership.as_ref();
        membership.map_or(Begin::ForwardUnrecorded, |membership| begin(membership, &seen.real()))
    }

    /// The items of an attempt's next transaction whose conditions fail, as bits.
    pub(super) fn rows_that_fail(&self, state: &State, index: usize) -> u8 {
        let row = |row, holds: bool, flaw| if holds || self.has(flaw) { 0 } else { row };
        let is_active = matches!(state.installation, Installation::Active { .. });
        match state.attempts[index].at {
            At::Beginning(seen) | At::Late(_, seen) => match self.begin(seen) {
                Begin::WriteIntent(Presence::Present) => {
                    row(INSTALLATION, is_active, Flaw::BeginActive)
                }
                Begin::WriteIntent(Presence::Absent) => {
                    let is_absent = state.installation == Installation::Absent;
                    row(INSTALLATION, is_absent, Flaw::BeginAbsent)
                }
                Begin::ForwardUnrecorded | Begin::Refuse => 0,
            },
            At::Ending(resource, belief) => {
                let stored = state.resources[resource];
                let no_receipt = stored.receipt == Receipt::None;
                let step = plan(&belief.real());
                let rows = match step {
                    Commit::Register(installation) => {
                        let is_as_believed = match installation {
                            Presence::Present => is_active,
                            Presence::Absent => state.installation == Installation::Absent,
                        };
                        row(INSTALLATION, is_as_believed, Flaw::RegisterActive)
                            | row(RESOURCE, !stored.item, Flaw::RegisterAbsent)
                            | row(RECEIPT, no_receipt, Flaw::RegisterReceipt)
                            | row(ANNOUNCEMENT, stored.job == Job::None, Flaw::RegisterAnnouncement)
                    }
                    Commit::Update => {
                        row(INSTALLATION, is_active, Flaw::UpdateActive)
                            | row(RESOURCE, stored.item, Flaw::UpdateThere)
                    }
                    Commit::Announce => {
                        let is_deleted = state.installation == Installation::Deleted;
                        row(INSTALLATION, is_deleted, Flaw::AnnounceDeleted)
                            | row(RECEIPT, no_receipt, Flaw::AnnounceReceipt)
                    }
                    Commit::DeletedBefore { .. } => 0,
                };
                rows | self.end_fails(state, index, belief.intent)
            }
            At::Refusing(intent) => self.end_fails(state, index, intent),
            _ => 0,
        }
    }

    /// [`INTENT`] if the intent's condition fails when an attempt ends, else 0.
    fn end_fails(&self, state: &State, index: usize, intent: Intent) -> u8 {
        let is_mine = state.attempts[index].open;
        let (open, is_there) = (state.open(), state.intent.is_some());
        let holds = match intent {
            Intent::Sole => {
                is_there
                    && (is_mine || self.has(Flaw::EndMine))
                    && (open == 1 || self.has(Flaw::EndSole))
            }
            Intent::Shared => is_there && is_mine && (open > 1 || self.has(Flaw::EndShared)),
            Intent::Gone => true,
        };
        if holds { 0 } else { INTENT }
    }

    /// Takes an attempt's next step. `failed_rows` has the items whose failed conditions DynamoDB reports, as
    /// bits.
    pub(super) fn go(&self, state: &mut State, index: usize, failed_rows: u8) -> Option<()> {
        let at = match state.attempts[index].at {
            At::Beginning(seen) => match self.begin(seen) {
                Begin::WriteIntent(_) if failed_rows != 0 => {
                    At::Beginning(Seen::of(state.installation))
                }
                Begin::WriteIntent(presence) => {
                    self.write_intent(state, index, presence);
                    At::Begun { old: false }
                }
                Begin::ForwardUnrecorded | Begin::Refuse => At::Ended,
            },
            At::Late(resource, seen) => match self.begin(seen) {
                Begin::WriteIntent(_) if failed_rows != 0 => {
                    At::Late(resource, Seen::of(state.installation))
                }
                Begin::WriteIntent(presence) => {
                    self.write_intent(state, index, presence);
                    At::Ending(resource, Belief::default())
                }
                Begin::ForwardUnrecorded | Begin::Refuse => At::Ended,
            },
            // The attempt was delayed for 15 minutes, so it does not call the backend.
            At::Begun { old: true } => At::Ended,
            At::Ending(resource, belief) if failed_rows == 0 => {
                self.commit(state, index, resource, belief)
            }
            At::Ending(resource, belief) => {
                let learned = belief.learn(state, index, resource, failed_rows);
                if learned == belief {
                    state.wrong = Some(CONTRADICTED);
                }
                At::Ending(resource, learned)
            }
            At::Apart(resource) => {
                state.register(resource);
                At::Passing(resource)
            }
            At::Refusing(_) if failed_rows != 0 => At::Refusing(Intent::of(state, index)),
            At::Refusing(intent) => {
                if intent == Intent::Sole && state.open() > 1 {
                    state.wrong = Some(ENDED_OTHERS);
                }
                Self::end_attempt(state, index, intent);
                At::Ended
            }
            At::Passing(resource) => {
                state.resources[resource].listed = true;
                At::Ended
            }
            At::Idle | At::Begun { old: false } | At::Ended => return None,
        };
        state.attempts[index].at = at;
        Some(())
    }

    fn write_intent(&self, state: &mut State, index: usize, installation: Presence) {
        if state.installation == Installation::Deleted {
            state.wrong = Some(BEGAN_DELETED);
        }
        if installation == Presence::Absent {
            if state.installation == Installation::Deleted {
                state.wrong = Some(REVIVED);
            }
            state.installation = Installation::Active { count: 0 };
        }
        let flaw = if state.intent.is_some() { Flaw::BeginFence } else { Flaw::FenceAgain };
        for worker in state.workers.iter_mut().flatten() {
            worker.fence &= self.has(flaw);
            worker.overtaken = true;
        }
        let due = state.intent.is_some_and(|intent| intent.due) && self.has(Flaw::BeginDue);
        state.intent = Some(Item { due, ..Item::default() });
        state.attempts[index].open = true;
    }

    /// The backend makes a resource. If the backend respects the key, it makes only one resource.
    pub(super) fn makes(&self, state: &mut State, index: usize) -> Option<()> {
        let resource = match self.scope {
            Scope::WithoutKeys => state.resources.iter().position(|resource| !resource.made)?,
            Scope::Uninstall | Scope::Deletion => 0,
        };
        state.resources[resource].made = true;
        state.attempts[index].at = if self.has(Flaw::IntentAfter) {
            At::Late(resource, Seen::Assumed)
        } else {
            At::Ending(resource, Belief::default())
        };
        Some(())
    }

    /// Commits what `provision::plan` decides for a belief, and ends the attempt.
    fn commit(&self, state: &mut State, index: usize, resource: usize, belief: Belief) -> At {
        let step = plan(&belief.real());
        Self::end_attempt(state, index, belief.intent);
        match step {
            Commit::Register(_) if self.has(Flaw::RegisterApart) => At::Apart(resource),
            Commit::Register(_) => {
                state.register(resource);
                At::Passing(resource)
            }
            Commit::Update => {
                if state.installation == Installation::Deleted {
                    state.wrong = Some(REGISTERED_DELETED);
                }
                state.resources[resource].item = true;
                At::Passing(resource)
            }
            Commit::Announce => {
                state.resources[resource].item &= self.has(Flaw::AnnounceDeletes);
                if self.has(Flaw::AnnounceWhereNone) {
                    state.announce_anew(resource);
                } else {
                    state.announce(resource);
                }
                At::Ended
            }
            Commit::DeletedBefore { with_installation: true } => At::Ended,
            Commit::DeletedBefore { with_installation: false } => At::Passing(resource),
        }
    }

    fn end_attempt(state: &mut State, index: usize, intent: Intent) {
        match intent {
            Intent::Sole => state.end_intent(),
            Intent::Shared => state.attempts[index].open = false,
            Intent::Gone => {}
        }
    }
}

impl Belief {
    /// The belief after DynamoDB reported that the conditions of these items failed.
    fn learn(self, state: &State, index: usize, resource: usize, failed_rows: u8) -> Self {
        let mut learned = self;
        if failed_rows & INSTALLATION != 0 {
            learned.installation = Seen::of(state.installation);
        }
        if failed_rows & RESOURCE != 0 {
            learned.is_registered = state.resources[resource].item;
        }
        learned.receipt |= failed_rows & (RECEIPT | ANNOUNCEMENT) != 0;
        if failed_rows & INTENT != 0 {
            learned.intent = Intent::of(state, index);
        }
        learned
    }
}
