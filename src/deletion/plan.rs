//! The next step of a deletion.
//!
//! [`plan`] begins with the common case: until something is read, it assumes an active installation with a
//! resource that is ready. The transaction of a step has exactly the conditions that make the belief true.
//! If a condition fails, DynamoDB returns the item, and `plan` is called again with what it says. So every
//! failed condition changes the belief; if one does not, the store fails with [`Error::Internal`], and
//! nothing was written.

use super::{
    Answer, Belief, Billing, Cascade, Deletion, Installation, OpenInvoices, Receipt, Resource,
    Target,
};
use crate::error::Error;
use crate::grant::Scope;
use crate::ids::ResourceId;

/// What to do next.
#[derive(Debug)]
pub enum Step<'a> {
    /// Answer: nothing is to be written.
    Answer(Answer),
    /// Commit this. If it goes through, its answer is the deletion's.
    Commit(Commit<'a>),
    /// Read the installation: what is believed of it has to be known.
    Look,
    /// Refuse.
    Refuse(Error),
}

/// One transaction. Where a kind speaks of conditions, they are what makes its answer true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit<'a> {
    /// Deletes a live resource of an active installation, and writes its receipt and what it owes.
    Resource {
        /// The resource.
        resource: &'a ResourceId,
        /// The receipt that is believed. One that stands beside a live resource was left by a
        /// writer that broke the rules; the resource goes all the same.
        receipt: Receipt,
    },
    /// Writes the receipt of a resource that is not there, and what it owes (C1).
    UnknownResource {
        /// The resource.
        resource: &'a ResourceId,
        /// Whether the installation is there.
        installation: Presence,
    },
    /// Deletes an active installation and what hangs on it, and writes what it owes.
    Installation {
        /// Whether its live resources go too.
        cascade: Cascade,
        /// The billing that is believed; it decides the answer.
        billing: Billing,
    },
    /// Writes the tombstone of an installation that is not there, and what it owes (D5).
    UnknownInstallation,
    /// Records an answer without effect under the idempotency key (F1).
    ///
    /// Where the installation was not seen, the account that it must have is a condition.
    Outcome(Answer),
}

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    Present,
    /// It is not.
    Absent,
}

impl Commit<'_> {
    /// The answer that holds once this went through.
    #[must_use]
    pub fn answer(self) -> Answer {
        match self {
            Self::Resource { .. } | Self::UnknownResource { .. } => Answer::Gone,
            Self::Installation { billing, .. } => {
                Answer::Uninstalled { finalized: billing == Billing::Settled }
            }
            Self::UnknownInstallation => Answer::Uninstalled { finalized: false },
            Self::Outcome(answer) => answer,
        }
    }
}

/// Says what to do next for a deletion, given what is believed of the store.
///
/// What was found out is weighed in this order: another account, the recorded outcome, the
/// installation's tombstone, the resource. A step for which the caller's account has to be compared
/// has that condition in its transaction, or comes after a look at the installation (A6).
#[must_use]
pub fn plan<'a>(deletion: &'a Deletion, belief: &Belief) -> Step<'a> {
    match account_is_the_callers(deletion, belief) {
        Account::Callers => {}
        Account::Another => return Step::Refuse(Error::OtherInstallation),
        Account::NotSeen => return Step::Look,
    }
    if let Some(recorded) = &belief.recorded {
        return if recorded.fingerprint == deletion.fingerprint() {
            Step::Answer(recorded.answer)
        } else {
            Step::Refuse(Error::IdempotencyKeyReused)
        };
    }
    let step = match &deletion.target {
        Target::Resource(resource) => plan_resource(deletion, belief, resource),
        Target::Installation { cascade, open_invoices, .. } => {
            plan_installation(deletion, belief, *cascade, *open_invoices)
        }
    };
    // A transaction may tell of the resource and not of its installation.
    let account_is_open =
        deletion.grant.scope == Scope::Account && belief.installation == Installation::Assumed;
    if account_is_open && !step.compares_the_account() { Step::Look } else { step }
}

impl Step<'_> {
    /// Whether the step does nothing unless the installation's account is the caller's.
    fn compares_the_account(&self) -> bool {
        match self {
            Self::Commit(commit) => match commit {
                Commit::Resource { .. } | Commit::Installation { .. } | Commit::Outcome(_) => true,
                Commit::UnknownResource { installation, .. } => *installation == Presence::Present,
                Commit::UnknownInstallation => false,
            },
            Self::Answer(_) | Self::Refuse(_) | Self::Look => false,
        }
    }
}

fn plan_resource<'a>(deletion: &Deletion, belief: &Belief, resource: &'a ResourceId) -> Step<'a> {
    let installation = match belief.installation {
        Installation::Deleted { .. } => return without_effect(deletion, Answer::Gone),
        Installation::Assumed | Installation::Active { .. } => Presence::Present,
        Installation::Unknown => Presence::Absent,
    };
    match (installation, belief.resource) {
        // The transaction may have told of the resource and not of its installation's tombstone.
        (Presence::Present, Resource::Provisioning)
            if belief.installation == Installation::Assumed =>
        {
            Step::Look
        }
        (Presence::Present, Resource::Provisioning) => Step::Refuse(Error::ResourceBusy),
        (Presence::Present, Resource::Ready) => {
            Step::Commit(Commit::Resource { resource, receipt: belief.receipt })
        }
        // Without an installation no resource is live, even if it has an item.
        (Presence::Present, Resource::Absent) | (Presence::Absent, _) => match belief.receipt {
            Receipt::Stands => without_effect(deletion, Answer::Gone),
            Receipt::None => Step::Commit(Commit::UnknownResource { resource, installation }),
        },
    }
}

fn plan_installation(
    deletion: &Deletion,
    belief: &Belief,
    cascade: Cascade,
    open_invoices: OpenInvoices,
) -> Step<'static> {
    match belief.installation {
        Installation::Deleted { finalized, .. } => {
            without_effect(deletion, Answer::Uninstalled { finalized })
        }
        Installation::Active { resources, .. } if cascade == Cascade::No && resources > 0 => {
            Step::Refuse(Error::ResourcesRemain(resources))
        }
        Installation::Active { billing: Billing::Open, .. }
            if open_invoices == OpenInvoices::Refuse =>
        {
            Step::Refuse(Error::UninstallWithOpenInvoices)
        }
        Installation::Active { billing, .. } => {
            Step::Commit(Commit::Installation { cascade, billing })
        }
        Installation::Assumed => {
            Step::Commit(Commit::Installation { cascade, billing: Billing::Settled })
        }
        Installation::Unknown => Step::Commit(Commit::UnknownInstallation),
    }
}

/// Nothing is left to do; under a key the answer is recorded (F1).
fn without_effect(deletion: &Deletion, answer: Answer) -> Step<'static> {
    if deletion.key.is_some() {
        Step::Commit(Commit::Outcome(answer))
    } else {
        Step::Answer(answer)
    }
}

enum Account {
    Callers,
    Another,
    /// A recorded outcome asks for an answer before the installation was seen.
    NotSeen,
}

/// A6, for tokens that name an account alone. For the others the token itself is the proof.
fn account_is_the_callers(deletion: &Deletion, belief: &Belief) -> Account {
    let Some(required) = deletion.grant.required_account() else { return Account::Callers };
    let recorded = belief.recorded.as_ref().map(|recorded| recorded.account.as_deref());
    let stored = match (&belief.installation, recorded) {
        (Installation::Active { account, .. } | Installation::Deleted { account, .. }, _) => {
            account.as_deref()
        }
        // Left to the step's own condition, or to a look.
        (Installation::Assumed, None) => return Account::Callers,
        (Installation::Assumed, Some(None)) => return Account::NotSeen,
        // An outcome may outlive its installation's tombstone.
        (Installation::Assumed | Installation::Unknown, Some(account)) => account,
        (Installation::Unknown, None) => None,
    };
    if stored == Some(required) { Account::Callers } else { Account::Another }
}
