//! Decides, without I/O, what to do for a deletion that the caller is permitted to do (A6, C, D, F).
//!
//! [`Deletion`] is the caller's request, and [`Belief`] is what is known of the store. [`plan()`] decides
//! from the request and the belief what to do next.

mod belief;
pub mod configuration;
mod plan;

use std::time::Duration;

pub use self::belief::{Belief, Billing, Installation, Receipt, Recorded, Resource, Stage};
pub use self::plan::{Commit, Presence, Step, plan};
use crate::clock::Timestamp;
use crate::grant::{Grant, Provenance};
use crate::ids::{IdempotencyKey, ResourceId, sha256_hex};

/// How long Vercel waits between an uninstall and the final deletion (G3).
pub const FINALIZATION_PERIOD: Duration = Duration::from_hours(24);

/// A finalization is due `margin` before the end of Vercel's 24 hours (G3).
pub(crate) fn finalization_due(deleted_at: Timestamp, margin: Duration) -> Timestamp {
    deleted_at + FINALIZATION_PERIOD.saturating_sub(margin)
}

/// A deletion that the caller is permitted to do.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// The installation and the caller.
    pub grant: Grant,
    /// What to delete.
    pub target: Target,
    /// The idempotency key, if the request has one.
    pub key: Option<IdempotencyKey>,
    /// The deletion's time.
    pub at: Timestamp,
}

/// What to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One resource.
    Resource(ResourceId),
    /// The installation.
    Installation {
        /// Whether the installation's live resources are deleted, too.
        cascade: Cascade,
        /// The reason, as the caller wrote it.
        reason: Option<String>,
        /// What the deployment is configured to do if invoices are open.
        open_invoices: OpenInvoices,
    },
}

/// Whether an uninstall deletes the live resources, too (D2, D3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cascade {
    /// The uninstall deletes the live resources, too.
    Yes,
    /// The uninstall is refused while there are live resources.
    No,
}

/// What an uninstall does while invoices are open (D1, D7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenInvoices {
    /// The uninstall is accepted although invoices are open, and is not finalized.
    Accept,
    /// The uninstall is refused while invoices are open.
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

    /// Who deletes, when and why.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let reason = match &self.target {
            Target::Resource(_) => None,
            Target::Installation { reason, .. } => reason.clone(),
        };
        Provenance { by: self.grant.by.clone(), at: self.at, reason }
    }

    /// A hash of the request's parsed values. Two requests with the same values have the same hash (F2).
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

/// The answer to a deletion that succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The resource or the configuration is gone (C1, E3).
    Deleted,
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
            Self::Deleted => (204, None),
            Self::Uninstalled { finalized: true } => (200, Some(r#"{"finalized":true}"#)),
            Self::Uninstalled { finalized: false } => (200, Some(r#"{"finalized":false}"#)),
        }
    }

    /// The answer for which [`Answer::response`] returns this status and body. `None` if no answer has this
    /// status and body.
    #[must_use]
    pub fn from_response(status: u16, body: Option<&str>) -> Option<Self> {
        [
            Self::Deleted,
            Self::Uninstalled { finalized: true },
            Self::Uninstalled { finalized: false },
        ]
        .into_iter()
        .find(|answer| answer.response() == (status, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// F1: an answer can be read back from its stored status and body.
    #[test]
    fn an_answer_can_be_read_back() {
        for answer in [
            Answer::Deleted,
            Answer::Uninstalled { finalized: true },
            Answer::Uninstalled { finalized: false },
        ] {
            let (status, body) = answer.response();
            assert_eq!(Answer::from_response(status, body), Some(answer));
        }
        assert_eq!(Answer::from_response(200, None), None);
    }
}
