//! What is known of the store while a deletion is planned.

use super::Answer;

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
    /// The request's [`Deletion::fingerprint`](super::Deletion::fingerprint).
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
    Absent,
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
    Present,
}
