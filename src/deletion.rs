//! What is to be done for a deletion that is permitted: decisions alone, without I/O (A6, C, D, F).
//!
//! [`plan`] says what to do next, given what is believed of the store: it begins with the common
//! case, commits under exactly the conditions that make the belief true, and where a condition
//! fails, plans again from what that taught. So a failed condition always teaches something; where
//! it does not, the store fails with [`Error::Internal`], and nothing was written.

pub mod configuration;

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::{Grant, Provenance, Scope};
use crate::ids::{IdempotencyKey, ResourceId, sha256_hex};

/// How long Vercel waits between an uninstall and the final deletion (G3).
pub const FINALIZATION_PERIOD: Duration = Duration::from_hours(24);

/// When a finalization is due: so long before the end of Vercel's 24 hours (G3).
pub(crate) fn finalization_due(deleted_at: Timestamp, margin: Duration) -> Timestamp {
    deleted_at + FINALIZATION_PERIOD.saturating_sub(margin)
}

/// One deletion that a caller may do.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// Where, and by whom.
    pub grant: Grant,
    /// What.
    pub target: Target,
    /// Under which idempotency key, if any.
    pub key: Option<IdempotencyKey>,
    /// When.
    pub at: Timestamp,
}

/// What is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One resource.
    Resource(ResourceId),
    /// The installation.
    Installation {
        /// Whether its live resources go too.
        cascade: Cascade,
        /// Why, in the caller's words.
        reason: Option<String>,
        /// Whether it goes while its invoices are open, as the deployment has it.
        open_invoices: OpenInvoices,
    },
}

/// Whether an uninstall takes the live resources along (D2, D3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cascade {
    /// They go too.
    Yes,
    /// The uninstall is refused while there are any.
    No,
}

/// What an uninstall does while invoices are open (D1, D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenInvoices {
    /// It goes on, and is not finalized.
    Accept,
    /// It is refused.
    Refuse,
}

impl Deletion {
    /// The operation that an idempotency key belongs to (F1).
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self.target {
            Target::Resource(_) => "delete_resource",
            Target::Installation { .. } => "delete_installation",
        }
    }

    /// By whom, when and why.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let reason = match &self.target {
            Target::Resource(_) => None,
            Target::Installation { reason, .. } => reason.clone(),
        };
        Provenance { by: self.grant.by.clone(), at: self.at, reason }
    }

    /// What requests have in common that are the same: their parsed values (F2).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let values = match &self.target {
            Target::Resource(resource) => serde_json::json!([resource.as_str()]),
            Target::Installation { cascade, reason, open_invoices: _ } => {
                serde_json::json!([*cascade == Cascade::Yes, reason])
            }
        };
        sha256_hex(values.to_string().as_bytes())
    }
}

/// How a deletion that succeeded is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The resource or the configuration is gone (C1, E3).
    Gone,
    /// The installation is gone (D1).
    Uninstalled {
        /// Whether nothing is left to invoice.
        finalized: bool,
    },
}

impl Answer {
    /// The HTTP status and the JSON body of an answer (C1, D1).
    #[must_use]
    pub fn response(self) -> (u16, Option<&'static str>) {
        match self {
            Self::Gone => (204, None),
            Self::Uninstalled { finalized: true } => (200, Some(r#"{"finalized":true}"#)),
            Self::Uninstalled { finalized: false } => (200, Some(r#"{"finalized":false}"#)),
        }
    }

    /// The answer with this status and body, as [`Answer::response`] writes them.
    #[must_use]
    pub fn from_response(status: u16, body: Option<&str>) -> Option<Self> {
        [Self::Gone, Self::Uninstalled { finalized: true }, Self::Uninstalled { finalized: false }]
            .into_iter()
            .find(|answer| answer.response() == (status, body))
    }
}

/// What is believed of the store. Until something is read, the common case is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The outcome recorded under the deletion's idempotency key.
    pub recorded: Option<Recorded>,
    /// The installation.
    pub installation: Installation,
    /// The resource's item, where the deletion is of a resource.
    pub resource: Resource,
    /// The resource's receipt.
    pub receipt: Receipt,
}

/// An outcome that was recorded under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The installation's account, where it was known.
    pub account: Option<String>,
    /// The request's [`Deletion::fingerprint`].
    pub fingerprint: String,
    /// The first answer.
    pub answer: Answer,
}

/// What is believed of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Installation {
    /// Not seen: believed to be active, settled, the caller's, and without resources where that
    /// matters.
    #[default]
    Assumed,
    /// Seen to be active.
    Active {
        /// `accountId`.
        account: Option<String>,
        /// Whether its invoices are settled.
        billing: Billing,
        /// How many resources are live.
        resources: u64,
    },
    /// Seen to be deleted.
    Deleted {
        /// `accountId`.
        account: Option<String>,
        /// Whether its deletion is finalized.
        finalized: bool,
    },
    /// Seen not to be there.
    Unknown,
}

/// How far an installation's deletion is, as its `state` says; it is `active` before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is deleted, and its items are purged.
    Deleting,
    /// They are, and it is not finalized.
    Purged,
    /// It is purged and finalized.
    Finalized,
}

/// Whether an installation's invoices are settled (D1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Billing {
    /// Nothing is left to invoice.
    Settled,
    /// A final invoice may follow.
    Open,
}

/// What is believed of a resource's item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resource {
    /// There, and not being provisioned.
    #[default]
    Ready,
    /// There, and being provisioned (C2).
    Provisioning,
    /// Not there.
    Absent,
}

/// What is believed of a resource's receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receipt {
    /// There is none, or it has expired.
    #[default]
    None,
    /// It stands: the resource was deleted.
    Stands,
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// F1: what is stored of an answer gives the answer back.
    #[test]
    fn an_answer_can_be_read_back() {
        for answer in [
            Answer::Gone,
            Answer::Uninstalled { finalized: true },
            Answer::Uninstalled { finalized: false },
        ] {
            let (status, body) = answer.response();
            assert_eq!(Answer::from_response(status, body), Some(answer));
        }
        assert_eq!(Answer::from_response(200, None), None);
    }
}
