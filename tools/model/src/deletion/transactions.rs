//! The store's transactions, with each of their conditions.

use teardown::deletion::{Billing, Cascade, Commit, OpenInvoices, Presence, Receipt, Target};

use super::requests::{By, Kind, Planned};
use super::state::{
    At, BILLED, BROKEN, Belief, INDEBTED, Installation, Item, LATE, NOBODY, Outcome, Pending,
    Refusal, Reply, State, Status, TAKEN,
};
use super::{Deletions, Flaw};

/// The items whose failed conditions DynamoDB may report, as bits.
const OUTCOME: u8 = 1;
const INSTALLATION: u8 = 2;
const RESOURCE: u8 = 4;
const RECEIPT: u8 = 8;

impl Planned {
    /// The request's fingerprint, which `teardown` records with the outcome.
    pub(super) fn fingerprint(&self) -> String {
        self.deletion.as_ref().map(teardown::deletion::Deletion::fingerprint).unwrap_or_default()
    }

    fn is_the_accounts(&self) -> bool {
        self.request.by != By::Another
    }
}

impl Belief {
    /// The belief after DynamoDB reported that the conditions of these items failed, as in `evidence::learn`.
    pub(super) fn learn(mut self, state: &State, planned: &Planned, failed_rows: u8) -> Self {
        if failed_rows & OUTCOME != 0 && state.outcomes[planned.operation].is_some() {
            self.recorded = state.outcomes[planned.operation];
        }
        if failed_rows & INSTALLATION != 0 {
            self.installation = Some(state.installation);
        }
        if let Some(resource) = planned.resource() {
            if failed_rows & RESOURCE != 0 {
                self.resource = Item::Seen(state.resources[resource]);
            }
            self.receipt |= failed_rows & RECEIPT != 0 && state.receipts[resource];
        }
        self
    }
}

impl Deletions {
    /// The items whose conditions fail, as bits.
    pub(super) fn failed(
        &self,
        state: &State,
        planned: &Planned,
        belief: Belief,
        commit: Commit<'_>,
    ) -> u8 {
        let mut failed = 0;
        let mut require = |row: u8, flaw: Flaw, holds: bool| {
            if !holds && self.flaw != Some(flaw) {
                failed |= row;
            }
        };
        if planned.request.keyed {
            require(OUTCOME, Flaw::OutcomeAbsent, state.outcomes[planned.operation].is_none());
        }
        let (item, receipt) = planned.resource().map_or((None, false), |resource| {
            (state.resources[resource], state.receipts[resource])
        });
        let unknown = state.installation == Installation::Absent;
        // If the installation's item does not exist, the comparison with its account fails.
        let accounts = planned.request.by == By::Named || (planned.is_the_accounts() && !unknown);
        match commit {
            Commit::Resource { receipt: believed, .. } => {
                require(INSTALLATION, Flaw::ResourceActive, state.is_active());
                require(INSTALLATION, Flaw::ResourceAccount, accounts);
                require(RESOURCE, Flaw::ResourceThere, item.is_some());
                require(RESOURCE, Flaw::ResourceReady, item != Some(Status::Provisioning));
                if believed == Receipt::None {
                    require(RECEIPT, Flaw::ReceiptAbsent, !receipt);
                }
            }
            Commit::AbsentResource { installation, .. } => {
                match installation {
                    Presence::Present => {
                        require(INSTALLATION, Flaw::UnknownActive, state.is_active());
                        require(INSTALLATION, Flaw::UnknownAccount, accounts);
                        require(RESOURCE, Flaw::UnknownResourceAbsent, item.is_none());
                    }
                    Presence::Absent => {
                        require(INSTALLATION, Flaw::UnknownInstallationAbsent, unknown);
                    }
                }
                require(RECEIPT, Flaw::UnknownReceiptAbsent, !receipt);
            }
            Commit::Installation { billing, .. } => {
                require(INSTALLATION, Flaw::UninstallActive, state.is_active());
                require(INSTALLATION, Flaw::UninstallAccount, accounts);
                if let Installation::Active { settled, live } = state.installation {
                    let as_believed = settled == (billing == Billing::Settled);
                    require(INSTALLATION, Flaw::UninstallBilling, as_believed);
                    if planned.spares() {
                        require(INSTALLATION, Flaw::UninstallNoneLive, live < 1);
                    }
                }
            }
            Commit::AbsentInstallation => require(INSTALLATION, Flaw::TombstoneAbsent, unknown),
            Commit::RecordOutcome(_) => {
                if planned.request.by != By::Named && belief.installation.is_none() {
                    require(INSTALLATION, Flaw::OutcomeAccount, accounts);
                }
            }
        }
        failed
    }

    /// Writes a transaction whose conditions are all true.
    pub(super) fn apply(
        &self,
        state: &mut State,
        index: usize,
        belief: Belief,
        commit: Commit<'_>,
    ) {
        let request = state.clients[index].request;
        let planned = &self.requests[usize::from(request)];
        let answer = Reply::of(commit.answer());
        let mut pending = None;
        match commit {
            Commit::Resource { .. } | Commit::AbsentResource { .. } => {
                let Some(resource) = planned.resource() else { return };
                if let (Commit::Resource { .. }, Installation::Active { live, .. }) =
                    (commit, &mut state.installation)
                {
                    *live -= 1;
                }
                let item = match commit {
                    Commit::AbsentResource { installation: Presence::Present, .. } => {
                        state.resources[resource]
                    }
                    _ => state.resources[resource].take(),
                };
                if item == Some(Status::Provisioning) && state.is_active() {
                    state.wrong = Some(BROKEN);
                }
                state.deleted[resource] = (state.deleted[resource] + 1).min(2);
                state.gone[resource] = (state.gone[resource] + 1).min(2);
                for (flaw, left) in
                    [(Flaw::WorkApart, Pending::Work), (Flaw::ReceiptApart, Pending::Receipt)]
                {
                    if self.has(flaw) {
                        pending = Some(left);
                    } else {
                        self.write(state, planned, answer, left);
                    }
                }
            }
            Commit::Installation { .. } | Commit::AbsentInstallation => {
                let finalized = answer == Reply::Uninstalled { finalized: true };
                if let Installation::Active { settled, .. } = state.installation {
                    if settled != finalized {
                        state.wrong = Some(BILLED);
                    } else if !settled && planned.request.open_invoices == OpenInvoices::Refuse {
                        state.wrong = Some(INDEBTED);
                    }
                    if planned.spares() && state.resources.iter().any(Option::is_some) {
                        state.wrong = Some(TAKEN);
                    }
                }
                for (gone, item) in state.gone.iter_mut().zip(state.resources) {
                    *gone = (*gone + u8::from(item.is_some())).min(2);
                }
                state.installation = Installation::Deleted { finalized };
                state.uninstalled = (state.uninstalled + 1).min(2);
                state.finalize = !finalized;
                for (flaw, left) in
                    [(Flaw::WorkApart, Pending::Work), (Flaw::ReceiptApart, Pending::Receipt)]
                {
                    if self.has(flaw) {
                        pending = Some(left);
                    } else {
                        self.write(state, planned, answer, left);
                    }
                }
            }
            Commit::RecordOutcome(_) => {}
        }
        let effect = !matches!(commit, Commit::RecordOutcome(_));
        if planned.request.keyed {
            // The outcome has the account only if the request knows the stored account.
            let account = match belief.installation {
                Some(Installation::Absent) => None,
                Some(_) => Some(0),
                None => match planned.request.by {
                    By::Named => None,
                    By::Account => Some(0),
                    By::Another => Some(1),
                },
            };
            if effect && self.has(Flaw::OutcomeApart) {
                pending = Some(Pending::Outcome(account));
            } else {
                let outcome = Outcome { request, account, reply: answer };
                state.outcomes[planned.operation] = Some(outcome);
            }
        }
        let client = &mut state.clients[index];
        client.acted |= effect;
        client.at = pending.map_or(At::Answered(answer), |pending| At::Incomplete(answer, pending));
    }

    /// Writes a part of a transaction. With a flaw, the part is written later, in a separate write.
    pub(super) fn write(
        &self,
        state: &mut State,
        planned: &Planned,
        answer: Reply,
        pending: Pending,
    ) {
        match (pending, planned.resource()) {
            (Pending::Outcome(account), _) => {
                let same = |other: &Planned| std::ptr::eq(other, planned);
                let request = self.requests.iter().position(same);
                let request = request.and_then(|index| index.try_into().ok()).unwrap_or(NOBODY);
                state.outcomes[planned.operation] =
                    Some(Outcome { request, account, reply: answer });
            }
            (Pending::Work, Some(resource)) => {
                state.announced[resource] = (state.announced[resource] + 1).min(2);
            }
            (Pending::Work, None) => {
                state.uninstall_announced = (state.uninstall_announced + 1).min(2);
                state.purge = true;
            }
            (Pending::Receipt, Some(resource)) => state.receipts[resource] = true,
            (Pending::Receipt, None) => state.installation_receipt = true,
        }
    }

    /// The items of a registration's first transaction whose conditions fail, as bits.
    pub(super) fn registration_fails(&self, state: &State, planned: &Planned) -> u8 {
        let Some(resource) = planned.resource() else { return 0 };
        let mut failed = 0;
        let mut require = |row: u8, flaw: Flaw, holds: bool| {
            if !holds && !self.has(flaw) {
                failed |= row;
            }
        };
        require(INSTALLATION, Flaw::RegisterActive, state.is_active());
        require(RESOURCE, Flaw::RegisterAbsent, state.resources[resource].is_none());
        require(RECEIPT, Flaw::RegisterReceipt, !state.receipts[resource]);
        failed
    }

    /// Sends a registration's first transaction, which adds the resource and counts it.
    pub(super) fn register(&self, state: &mut State, index: usize, failed_rows: u8) {
        if failed_rows == 0 {
            self.put(state, index, !self.has(Flaw::NotCounted));
        } else {
            let refused = failed_rows & INSTALLATION != 0 || failed_rows & RESOURCE == 0;
            state.clients[index].at =
                if refused { At::Refused(Refusal::Unregistrable) } else { At::Updating };
        }
    }

    /// The items of a registration's second transaction whose conditions fail, as bits.
    pub(super) fn update_fails(&self, state: &State, planned: &Planned) -> u8 {
        let there = planned.resource().and_then(|resource| state.resources[resource]).is_some();
        let installation = !state.is_active() && !self.has(Flaw::UpdateActive);
        let resource = !there && !self.has(Flaw::UpdateThere);
        u8::from(installation) * INSTALLATION + u8::from(resource) * RESOURCE
    }

    /// Sends a registration's second transaction, which updates the existing resource.
    pub(super) fn update(&self, state: &mut State, index: usize, failed_rows: u8) {
        if failed_rows == 0 {
            self.put(state, index, false);
        } else {
            let refused = failed_rows & INSTALLATION != 0;
            state.clients[index].at =
                if refused { At::Refused(Refusal::Unregistrable) } else { At::default() };
        }
    }

    /// Whether the conditions of a move are true (I1).
    pub(super) fn may_move(&self, state: &State) -> bool {
        !state.away
            && (state.is_active() || (state.is_deleted() && self.has(Flaw::MoveActive)))
            && (state.resources[0].is_some() || self.has(Flaw::MoveThere))
            && (!state.receipts[0] || self.has(Flaw::MoveThere))
    }

    /// Moves the first resource to another installation. A receipt of the move stays at the source
    /// installation.
    pub(super) fn move_out(&self, state: &mut State) {
        state.resources[0] = None;
        state.away = true;
        if let Installation::Active { live, .. } = &mut state.installation
            && !self.has(Flaw::MoveNotCounted)
        {
            *live -= 1;
        }
        if self.has(Flaw::MoveReceiptApart) {
            state.moving = true;
        } else {
            state.receipts[0] = true;
        }
    }

    fn put(&self, state: &mut State, index: usize, counted: bool) {
        if let Some(resource) = self.request(&state.clients[index]).resource() {
            state.resources[resource].get_or_insert(Status::Ready);
        }
        match &mut state.installation {
            Installation::Active { live, .. } => *live += i8::from(counted),
            Installation::Absent | Installation::Deleted { .. } => state.wrong = Some(LATE),
        }
        state.clients[index].at = At::Answered(Reply::Registered);
    }
}

impl Planned {
    /// Whether the request is an uninstall without cascade.
    fn spares(&self) -> bool {
        let cascade = self.deletion.as_ref().map(|deletion| &deletion.target);
        let spares = matches!(cascade, Some(Target::Installation { cascade: Cascade::No, .. }));
        debug_assert_eq!(spares, self.request.kind == Kind::Uninstall { cascade: false });
        spares
    }
}
