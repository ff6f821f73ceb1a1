//! The outcome that is recorded under an idempotency key (F1).

use std::time::Duration;

use super::attr::{n, s, time};
use super::keys::{self, Item};
use crate::clock::Timestamp;
use crate::deletion::Answer;
use crate::ids::{IdempotencyKey, InstallationId};

/// How long an outcome answers replays of its request (F1).
const OUTCOME_RETENTION: Duration = Duration::from_hours(7 * 24);

/// An answer that is recorded under an idempotency key.
pub(super) struct Outcome<'a> {
    pub(super) installation: &'a InstallationId,
    pub(super) operation: &'static str,
    pub(super) key: &'a IdempotencyKey,
    /// A hash of the request's parameters. Requests with equal hashes count as the same request (F2).
    pub(super) fingerprint: String,
    /// The installation's stored account. `None` if the stored account is not known.
    pub(super) account: Option<&'a str>,
    pub(super) answer: Answer,
    pub(super) at: Timestamp,
}

impl Outcome<'_> {
    /// The outcome's item, which is written to the table.
    pub(super) fn item(self) -> Item {
        let mut item = keys::outcome(self.installation, self.operation, self.key);
        let (status, body) = self.answer.response();
        item.extend([
            ("fingerprint".to_owned(), s(self.fingerprint)),
            ("status".to_owned(), n(status)),
            ("expiresAt".to_owned(), time(self.at + OUTCOME_RETENTION)),
        ]);
        if let Some(body) = body {
            item.insert("body".to_owned(), s(body));
        }
        if let Some(account) = self.account {
            item.insert("accountId".to_owned(), s(account));
        }
        item
    }
}
