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
    ReadInstallation,
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
    AbsentResource {
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
    AbsentInstallation,
    /// Records an answer without effect under the idempotency key (F1).
    ///
    /// Where the installation was not seen, the account that it must have is a condition.
    RecordOutcome(Answer),
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
            Self::Resource { .. } | Self::AbsentResource { .. } => Answer::Deleted,
            Self::Installation { billing, .. } => {
                Answer::Uninstalled { finalized: billing == Billing::Settled }
            }
            Self::AbsentInstallation => Answer::Uninstalled { finalized: false },
            Self::RecordOutcome(answer) => answer,
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
    match check_account(deletion, belief) {
        AccountCheck::Callers => {}
        AccountCheck::Foreign => return Step::Refuse(Error::OtherInstallation),
        AccountCheck::NotRead => return Step::ReadInstallation,
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
    if account_is_open && !step.compares_the_account() { Step::ReadInstallation } else { step }
}

impl Step<'_> {
    /// Whether the step does nothing unless the installation's account is the caller's.
    fn compares_the_account(&self) -> bool {
        match self {
            Self::Commit(commit) => match commit {
                Commit::Resource { .. }
                | Commit::Installation { .. }
                | Commit::RecordOutcome(_) => true,
                Commit::AbsentResource { installation, .. } => *installation == Presence::Present,
                Commit::AbsentInstallation => false,
            },
            Self::Answer(_) | Self::Refuse(_) | Self::ReadInstallation => false,
        }
    }
}

fn plan_resource<'a>(deletion: &Deletion, belief: &Belief, resource: &'a ResourceId) -> Step<'a> {
    let installation = match belief.installation {
        Installation::Deleted { .. } => return record_or_answer(deletion, Answer::Deleted),
        Installation::Assumed | Installation::Active { .. } => Presence::Present,
        Installation::Absent => Presence::Absent,
    };
    match (installation, belief.resource) {
        // The transaction may have told of the resource and not of its installation's tombstone.
        (Presence::Present, Resource::Provisioning)
            if belief.installation == Installation::Assumed =>
        {
            Step::ReadInstallation
        }
        (Presence::Present, Resource::Provisioning) => Step::Refuse(Error::ResourceBusy),
        (Presence::Present, Resource::Ready) => {
            Step::Commit(Commit::Resource { resource, receipt: belief.receipt })
        }
        // Without an installation no resource is live, even if it has an item.
        (Presence::Present, Resource::Absent) | (Presence::Absent, _) => match belief.receipt {
            Receipt::Present => record_or_answer(deletion, Answer::Deleted),
            Receipt::None => Step::Commit(Commit::AbsentResource { resource, installation }),
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
            record_or_answer(deletion, Answer::Uninstalled { finalized })
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
        Installation::Absent => Step::Commit(Commit::AbsentInstallation),
    }
}

/// Nothing is left to do; under a key the answer is recorded (F1).
fn record_or_answer(deletion: &Deletion, answer: Answer) -> Step<'static> {
    if deletion.key.is_some() {
        Step::Commit(Commit::RecordOutcome(answer))
    } else {
        Step::Answer(answer)
    }
}

enum AccountCheck {
    Callers,
    Foreign,
    /// A recorded outcome asks for an answer before the installation was seen.
    NotRead,
}

/// A6, for tokens that name an account alone. For the others the token itself is the proof.
fn check_account(deletion: &Deletion, belief: &Belief) -> AccountCheck {
    let Some(required) = deletion.grant.required_account() else { return AccountCheck::Callers };
    let recorded = belief.recorded.as_ref().map(|recorded| recorded.account.as_deref());
    let stored = match (&belief.installation, recorded) {
        (Installation::Active { account, .. } | Installation::Deleted { account, .. }, _) => {
            account.as_deref()
        }
        // Left to the step's own condition, or to a look.
        (Installation::Assumed, None) => return AccountCheck::Callers,
        (Installation::Assumed, Some(None)) => return AccountCheck::NotRead,
        // An outcome may outlive its installation's tombstone.
        (Installation::Assumed | Installation::Absent, Some(account)) => account,
        (Installation::Absent, None) => None,
    };
    if stored == Some(required) { AccountCheck::Callers } else { AccountCheck::Foreign }
}
