//! The possible answers to each request in a state, and the states after these answers.

use super::{Answer, Life, State};
use crate::histories::plan::{Billing, By, Op};

impl State {
    /// Each possible answer to a request, with the state after that answer.
    pub(super) fn answers(mut self, op: &Op) -> Vec<(Self, Answer)> {
        let (Op::DeleteResource { by, .. }
        | Op::DeleteInstallation { by, .. }
        | Op::DeleteConfiguration { by, .. }) = op
        else {
            if let Op::Provision { resource, .. } = op {
                return self.provisions(*resource);
            }
            let mut answers = vec![];
            // If both the resource and its installation are deleted, the refusal may name either of them.
            if matches!(op, Op::RegisterResource { resource, .. } if self.receipts.contains(resource))
            {
                answers.push((self.clone(), "refused: the resource was deleted"));
            }
            let answer = self.registers(op);
            answers.push((self, answer));
            return answers;
        };
        // A6: the installation is unknown, and the token names only the account.
        if *by == By::Account && self.life == Life::Unknown {
            return vec![(self, "403 forbidden")];
        }
        // E1: the request names a team, but no team is stored.
        let with_team = matches!(op, Op::DeleteConfiguration { with_team: true, .. });
        if with_team && self.life != Life::Unknown && !self.team {
            return vec![(self, "403 forbidden")];
        }
        // F1, F2: an answer is recorded under the request's key.
        let recorded = op.keyed().and_then(|key| self.outcomes.get(&key));
        match recorded {
            Some((first, answer)) if first.is(op) => {
                let answer = *answer;
                return vec![(self, answer)];
            }
            Some(_) => return vec![(self, "409 idempotency_key_reused")],
            None => {}
        }
        let mut answers = match op {
            Op::DeleteResource { resource, .. } => self.delete_resource(*resource),
            Op::DeleteInstallation { cascade, .. } => self.delete_installation(*cascade),
            _ => self.delete_configuration(),
        };
        for (state, answer) in &mut answers {
            if answer.starts_with('2') {
                state.record(op, answer);
            }
        }
        answers
    }

    /// C1, C2: the answer to Delete Resource, and the state after it.
    fn delete_resource(mut self, resource: u8) -> Vec<(Self, Answer)> {
        match (self.life, self.live.get(&resource)) {
            (Life::Deleted { .. }, _) => {}
            (Life::Active, Some(true)) => return vec![(self, "409 resource_busy")],
            (Life::Active | Life::Unknown, _) => {
                self.live.remove(&resource);
                self.receipts.insert(resource);
            }
        }
        vec![(self, "204")]
    }

    /// D1, D2, D3, D5: the answer to Delete Installation, and the state after it.
    fn delete_installation(mut self, cascade: bool) -> Vec<(Self, Answer)> {
        let finalized = match self.life {
            Life::Deleted { finalized } => finalized,
            Life::Active if !cascade && self.live.len() == 1 => {
                return vec![(self, "409 resources_remain 1")];
            }
            Life::Active if !cascade && self.live.len() == 2 => {
                return vec![(self, "409 resources_remain 2")];
            }
            Life::Active | Life::Unknown => {
                let finalized = self.life == Life::Active && self.settled;
                self.uninstalled = true;
                self.die(finalized);
                self.finalization = (!finalized).then_some(false);
                self.finalized_at_vercel = Some(!finalized && self.token);
                finalized
            }
        };
        vec![(self, if finalized { "200 finalized" } else { "200 open" })]
    }

    /// E3, E4, F4: the possible answers to Delete Configuration, with the states after them.
    fn delete_configuration(self) -> Vec<(Self, Answer)> {
        if self.life == Life::Unknown {
            return vec![(self, "404 not_found")];
        }
        if self.configuration_gone {
            return vec![(self, "204")];
        }
        let mut answers = vec![(self.clone(), "409 request_in_progress")];
        if self.usable_token() && !self.settled {
            answers.push((self.clone(), "409 invoices_open"));
        }
        if self.usable_token() && self.called {
            answers.push((self.clone(), "409 upstream_refused"));
        }
        answers.extend(self.committed().map(|state| (state, "204")));
        answers
    }

    /// J4: the possible answers to a Provision, with the states after them.
    fn provisions(mut self, resource: u8) -> Vec<(Self, Answer)> {
        let is_deleted = self.receipts.contains(&resource);
        match self.life {
            // A Provision's part `Part::Begins` has to come before its answer, because that part writes the
            // intent.
            Life::Unknown => vec![],
            Life::Active => {
                if !is_deleted {
                    self.live.insert(resource, false);
                }
                vec![(self, "200 provisioned")]
            }
            Life::Deleted { .. } => {
                // If the installation was deleted before the backend is called, the backend makes nothing. If
                // the installation was deleted after the backend was called, the resource is announced.
                let mut answers = vec![(self.clone(), "409 installation_deleted")];
                // If DynamoDB does not return the installation, the items of the resource decide.
                if is_deleted || self.taken.contains(&resource) {
                    answers.push((self.clone(), "200 provisioned"));
                }
                if !is_deleted {
                    self.taken.insert(resource);
                }
                answers.push((self, "409 made and deleted"));
                answers
            }
        }
    }

    /// C4, D4, D5, G3, J3: the answer to a registration, a settlement or an Upsert, and the state after
    /// it.
    fn registers(&mut self, op: &Op) -> Answer {
        match (op, self.life) {
            (Op::Settle, life) => {
                self.settled |= life != Life::Unknown;
                self.billed |= life != Life::Unknown;
                match (life, &mut self.finalization) {
                    (Life::Unknown, _) => "settled: nothing",
                    (Life::Active, _) => "settled: Active",
                    (Life::Deleted { .. }, Some(due)) => {
                        *due = true;
                        "settled: Due"
                    }
                    (Life::Deleted { .. }, None) => "settled: Finalized",
                }
            }
            // The backend accepts every Upsert. A deleted installation stays deleted after an Upsert.
            (Op::Upsert, Life::Deleted { .. }) => "200 upserted",
            (Op::Upsert, _) => {
                self.life = Life::Active;
                // The backend's answer says that no payment method is required, so billing is settled.
                self.settled |= !self.billed;
                (self.billed, self.token) = (true, true);
                "200 upserted"
            }
            (_, Life::Deleted { .. }) => "refused: the installation was deleted",
            (Op::RegisterInstallation { billing, with_token }, _) => {
                self.life = Life::Active;
                self.settled = billing.map_or(self.settled, |it| it == Billing::Settled);
                self.billed = true;
                self.token |= with_token;
                self.team = true;
                "registered"
            }
            (_, Life::Unknown) => "refused: the installation is not registered",
            (Op::RegisterResource { resource, provisioning }, _) => {
                if self.receipts.contains(resource) {
                    return "refused: the resource was deleted";
                }
                self.live.insert(*resource, *provisioning);
                "registered"
            }
            _ => unreachable!("a deletion"),
        }
    }
}
