//! The next step of a deletion.
//!
//! [`plan`] begins with the common case: before anything is read, it assumes an active installation with a
//! resource that is ready. The transaction of a step has exactly the conditions that make the belief true. If
//! a condition fails, DynamoDB returns the item that failed it. The store corrects the belief by this item,
//! and calls `plan` again. If the returned item does not change the belief, the store writes nothing, and
//! fails with [`Error::Internal`].

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
    /// Answer without a write.
    Answer(Answer),
    /// Commit this. If the commit succeeds, [`Commit::answer`] is the deletion's answer.
    Commit(Commit<'a>),
    /// Read the installation, because this deletion must not assume the installation's state.
    ReadInstallation,
    /// Refuse with this error.
    Refuse(Error),
}

/// One transaction. If the transaction commits, all its conditions were true, so [`Commit::answer`] is
/// correct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit<'a> {
    /// Deletes a live resource of an active installation, and writes its receipt and jobs.
    Resource {
        /// The resource.
        resource: &'a ResourceId,
        /// What is believed of the receipt. A live resource should have no receipt. If a live resource has a
        /// receipt, a writer broke the rules, and the resource is deleted anyway.
        receipt: Receipt,
    },
    /// Writes the receipt and jobs of a resource that does not exist (C1).
    AbsentResource {
        /// The resource.
        resource: &'a ResourceId,
        /// Whether the installation exists.
        installation: Presence,
    },
    /// Deletes an active installation with everything that belongs to it, and writes its receipt and jobs.
    Installation {
        /// Whether the installation's live resources are deleted, too.
        cascade: Cascade,
        /// What is believed of the billing, which decides the answer.
        billing: Billing,
    },
    /// Writes the tombstone, receipt and jobs of an installation that does not exist (D5).
    AbsentInstallation,
    /// Records an answer under the idempotency key, and changes nothing else (F1).
    ///
    /// If the installation was not read and the token names only an account, a condition demands that the
    /// installation has this account.
    RecordOutcome(Answer),
}

/// Whether an installation exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The installation exists.
    Present,
    /// The installation does not exist.
    Absent,
}

impl Commit<'_> {
    /// The deletion's answer, if this commit succeeds.
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
/// `plan` checks in this order: the account, the recorded outcome, the installation's tombstone, the
/// resource. If the caller's account must be compared, a condition in the step's transaction compares it, or
/// the installation is read before the step (A6).
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
    // If a failed transaction returned the resource's item without the installation's item, the
    // installation's state is still only assumed.
    let account_is_open =
        deletion.grant.scope == Scope::Account && belief.installation == Installation::Assumed;
    if account_is_open && !step.compares_the_account() { Step::ReadInstallation } else { step }
}

impl Step<'_> {
    /// Whether a condition of the step compares the installation's account with the caller's account.
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
        // A failed transaction may have returned the resource's item without the installation's tombstone, so
        // the installation must be read.
        (Presence::Present, Resource::Provisioning)
            if belief.installation == Installation::Assumed =>
        {
            Step::ReadInstallation
        }
        (Presence::Present, Resource::Provisioning) => Step::Refuse(Error::ResourceBusy),
        (Presence::Present, Resource::Ready) => {
            Step::Commit(Commit::Resource { resource, receipt: belief.receipt })
        }
        // If there is no installation, the resource is not live, even if its item exists.
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

/// The step if nothing is left to delete. If the request has a key, the step records the answer (F1).
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
    /// The recorded outcome has no account, and the installation was not read.
    NotRead,
}

/// A6, for tokens that name only an account: whether the installation has that account. If the token names
/// the installation, no account is compared.
fn check_account(deletion: &Deletion, belief: &Belief) -> AccountCheck {
    let Some(required) = deletion.grant.required_account() else { return AccountCheck::Callers };
    let recorded = belief.recorded.as_ref().map(|recorded| recorded.account.as_deref());
    let stored = match (&belief.installation, recorded) {
        (Installation::Active { account, .. } | Installation::Deleted { account, .. }, _) => {
            account.as_deref()
        }
        // A condition of the step's transaction compares the account, or `plan` demands a read of the
        // installation.
        (Installation::Assumed, None) => return AccountCheck::Callers,
        (Installation::Assumed, Some(None)) => return AccountCheck::NotRead,
        // A recorded outcome may still be stored after its installation's tombstone has expired.
        (Installation::Assumed | Installation::Absent, Some(account)) => account,
        (Installation::Absent, None) => None,
    };
    if stored == Some(required) { AccountCheck::Callers } else { AccountCheck::Foreign }
}
