//! What is known of the store while a deletion is planned.

use super::Answer;

/// What is believed of the store. Until the store is read, the belief assumes the common case: an active
/// installation, and a resource that is ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Belief {
    /// The outcome recorded under the deletion's idempotency key.
    pub recorded: Option<Recorded>,
    /// The installation.
    pub installation: Installation,
    /// The resource's item, if a resource is to be deleted.
    pub resource: Resource,
    /// The resource's receipt.
    pub receipt: Receipt,
}

/// An outcome that was recorded under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The installation's account, if the account was known when the outcome was recorded.
    pub account: Option<String>,
    /// The request's [`Deletion::fingerprint`](super::Deletion::fingerprint).
    pub fingerprint: String,
    /// The answer to the first request with the key.
    pub answer: Answer,
}

/// What is believed of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Installation {
    /// The installation was not read. The belief assumes that the installation is active, has settled
    /// invoices and belongs to the caller. For an uninstall with [`Cascade::No`](super::Cascade::No), the
    /// belief also assumes that the installation has no live resources.
    #[default]
    Assumed,
    /// The installation was read, and is active.
    Active {
        /// `accountId`.
        account: Option<String>,
        /// Whether the installation's invoices are settled.
        billing: Billing,
        /// How many resources are live.
        resources: u64,
    },
    /// The installation was read, and is deleted.
    Deleted {
        /// `accountId`.
        account: Option<String>,
        /// Whether the installation's deletion is finalized.
        finalized: bool,
    },
    /// The installation was read, and does not exist.
    Absent,
}

/// The state of an installation's deletion: the attribute `state` of its item. Before the deletion, `state`
/// is `active`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The installation is deleted, and its items are being purged.
    Deleting,
    /// The items are purged, and the installation is not finalized.
    Purged,
    /// The installation is purged and finalized.
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
    /// The resource exists, and is not being provisioned.
    #[default]
    Ready,
    /// The resource exists, and is being provisioned (C2).
    Provisioning,
    /// The resource does not exist.
    Absent,
}

/// What is believed of a resource's receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receipt {
    /// There is no receipt, or the receipt has expired.
    #[default]
    None,
    /// The receipt is valid: the resource was deleted.
    Present,
}
