//! Decides, without I/O, what to do for a configuration's deletion, from what is stored and what Vercel
//! answered (E1 to E5, E7).

use std::time::Duration;

use super::{Answer, Billing, FINALIZATION_PERIOD, Recorded, Stage};
use crate::clock::Timestamp;
use crate::error::Error;
use crate::grant::{Grant, Provenance};
use crate::ids::{IdempotencyKey, sha256_hex};
use crate::secret::Secret;
use crate::vercel::{CallResult, LookupResult, VercelAnswer};

/// The deletion of a configuration, permitted by the caller's token. `plan` compares the stored account
/// and team.
#[derive(Clone, Debug)]
pub struct ConfigurationDeletion {
    /// The installation and the caller.
    pub grant: Grant,
    /// The team that the query names.
    pub team: Team,
    /// The idempotency key, if the request has one.
    pub key: Option<IdempotencyKey>,
    /// The deletion's time.
    pub at: Timestamp,
}

/// A team, whose id or slug may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Team {
    /// `teamId`.
    pub id: Option<String>,
    /// The team's slug: the query's `slug`, or the stored `teamSlug`.
    pub slug: Option<String>,
}

impl Team {
    /// Whether the stored team has each value that the request's team has (E1).
    fn matches(&self, stored: &Self) -> bool {
        let same =
            |given: &Option<String>, stored: &Option<String>| given.is_none() || given == stored;
        same(&self.id, &stored.id) && same(&self.slug, &stored.slug)
    }

    /// The team to store after Vercel has named this team id. If Vercel's id is not the stored id, the team's
    /// slug is not known (E7).
    #[must_use]
    pub fn named(&self, id: Option<String>) -> Self {
        let slug = self.slug.clone().filter(|_| id == self.id);
        Self { id, slug }
    }
}

impl ConfigurationDeletion {
    /// The operation that an idempotency key belongs to (F1).
    pub const OPERATION: &'static str = "delete_configuration";

    /// Who deletes, and when.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        Provenance { by: self.grant.by.clone(), at: self.at, reason: None }
    }

    /// A hash of the request's parsed values. Two requests with the same values have the same hash (F2).
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let values = serde_json::json!([self.team.id, self.team.slug]);
        sha256_hex(values.to_string().as_bytes())
    }
}

/// The stored state of a configuration, read at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The outcome recorded under the idempotency key.
    pub recorded: Option<Recorded>,
    /// The installation, if it is known.
    pub installation: Option<InstallationState>,
    /// The installation's access token.
    pub token: Option<Secret>,
    /// The intent of a deletion that was begun and has not ended.
    pub intent: Option<Intent>,
}

/// What is stored of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallationState {
    /// `accountId`.
    pub account: Option<String>,
    /// The team that the installation belongs to.
    pub team: Team,
    /// Whether the installation's invoices are settled.
    pub billing: Billing,
    /// Whether an attempt was in doubt when the intent was withdrawn (E2).
    pub in_doubt: bool,
    /// The installation's own deletion. `None` if the installation is active.
    pub deletion: Option<Deleted>,
}

/// What is stored of an installation's own deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// When the installation was deleted.
    pub at: Timestamp,
    /// The state of the deletion.
    pub stage: Stage,
    /// Whether the installation is finalized: teardown no longer calls Vercel for the installation.
    pub finalized: bool,
    /// Whether the installation's configuration was deleted, too. If there was no token to call Vercel with,
    /// it was deleted only in the table.
    pub configuration_gone: bool,
}

/// A configuration's deletion that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// The fence of the worker that took the intent last.
    pub fence: i64,
    /// When the lease ends. If nobody works on the deletion, the lease has already ended.
    pub leased_until: Timestamp,
    /// Whether an attempt may have got no definite answer.
    pub in_doubt: bool,
    /// Whether the request that reads the intent holds the lease. A request's own lease does not stop the
    /// request.
    pub is_ours: bool,
}

/// The outcome that a commit records for a request.
pub struct Recording<'a> {
    /// The request's idempotency key.
    pub key: &'a IdempotencyKey,
    /// The request's [`ConfigurationDeletion::fingerprint`].
    pub fingerprint: String,
}

impl<'a> Recording<'a> {
    /// The outcome to record for a request. `None` if the request has no key.
    #[must_use]
    pub fn of(request: &'a ConfigurationDeletion) -> Option<Self> {
        let key = request.key.as_ref()?;
        Some(Self { key, fingerprint: request.fingerprint() })
    }
}

/// What to do next.
pub enum Next<'a> {
    /// Answer without a write.
    Answer(Answer),
    /// Record under the idempotency key that the configuration is gone, and write nothing else (F1).
    Record(Loaded<'a>, Recording<'a>),
    /// Delete the configuration only in the table, because Vercel cannot be called (E3).
    Commit(Loaded<'a>),
    /// Write the intent, and call Vercel with this token.
    Call(Loaded<'a>, &'a Secret),
    /// Refuse with this error.
    Refuse(Error),
}

/// A snapshot that has an installation.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// The snapshot.
    pub snapshot: &'a Snapshot,
    /// The snapshot's installation.
    pub installation: &'a InstallationState,
}

/// Says what to do next for a request, given what is stored.
#[must_use]
pub fn plan<'a>(
    request: &'a ConfigurationDeletion,
    snapshot: &'a Snapshot,
    now: Timestamp,
) -> Next<'a> {
    if !account_is_the_callers(&request.grant, snapshot) {
        return Next::Refuse(Error::OtherInstallation);
    }
    // A replay is answered before the team is compared, because another team may have been stored after the
    // first answer (E7).
    let recorded = snapshot.recorded.as_ref();
    if let Some(recorded) = recorded.filter(|it| it.fingerprint == request.fingerprint()) {
        return Next::Answer(recorded.answer);
    }
    if snapshot.installation.as_ref().is_some_and(|it| !request.team.matches(&it.team)) {
        return Next::Refuse(Error::OtherTeam);
    }
    if recorded.is_some() {
        return Next::Refuse(Error::IdempotencyKeyReused);
    }
    let Some(loaded) = snapshot.loaded() else {
        return Next::Refuse(Error::ConfigurationUnknown);
    };
    if loaded.installation.is_gone_on_both_sides() {
        return match Recording::of(request) {
            Some(recording) => Next::Record(loaded, recording),
            None => Next::Answer(Answer::Deleted),
        };
    }
    if let Some(lease) = snapshot.intent.as_ref().and_then(|intent| intent.lease_left(now)) {
        return Next::Refuse(Error::RequestInProgress { retry_after: lease });
    }
    match loaded.usable_token() {
        None => Next::Commit(loaded),
        Some(_) if !snapshot.is_in_doubt() && loaded.installation.invoices_are_open(now) => {
            Next::Refuse(Error::InvoicesOpen)
        }
        Some(token) => Next::Call(loaded, token),
    }
}

/// A6, for tokens that name only an account: whether the installation has that account. If the token names
/// the installation, no account is compared.
fn account_is_the_callers(grant: &Grant, snapshot: &Snapshot) -> bool {
    let Some(required) = grant.required_account() else { return true };
    let stored = match (&snapshot.installation, &snapshot.recorded) {
        (Some(installation), _) => installation.account.as_deref(),
        // A recorded outcome may still be stored after its installation's tombstone has expired.
        (None, Some(recorded)) => recorded.account.as_deref(),
        (None, None) => None,
    };
    stored == Some(required)
}

impl Snapshot {
    /// The snapshot with its installation. `None` if the installation is not known.
    #[must_use]
    pub fn loaded(&self) -> Option<Loaded<'_>> {
        let installation = self.installation.as_ref()?;
        Some(Loaded { snapshot: self, installation })
    }

    /// Whether the configuration may be gone at Vercel, because an attempt got no definite answer.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.intent.as_ref().is_some_and(|intent| intent.in_doubt)
            || self.installation.as_ref().is_some_and(|installation| installation.in_doubt)
    }
}

impl<'a> Loaded<'a> {
    /// The token to call Vercel with. `None` if the configuration must be deleted only in the table (E3).
    #[must_use]
    pub fn usable_token(self) -> Option<&'a Secret> {
        let finalized = self.installation.deletion.is_some_and(|deletion| deletion.finalized);
        self.snapshot.token.as_ref().filter(|_| !finalized)
    }
}

impl InstallationState {
    /// Whether nothing is left to delete of the configuration, in the table and at Vercel (E4).
    #[must_use]
    pub fn is_gone_on_both_sides(&self) -> bool {
        self.deletion.is_some_and(|deletion| deletion.configuration_gone)
    }

    /// Whether final invoices may still need the token, which dies with the configuration (E3).
    #[must_use]
    pub fn invoices_are_open(&self, now: Timestamp) -> bool {
        let over = self.deletion.is_some_and(|deletion| deletion.at + FINALIZATION_PERIOD <= now);
        self.billing != Billing::Settled && !over
    }
}

impl Intent {
    /// How long another worker still holds the lease. `None` if no other worker holds the lease.
    fn lease_left(&self, now: Timestamp) -> Option<Duration> {
        let left = self.leased_until.as_secs().saturating_sub(now.as_secs());
        (left > 0 && !self.is_ours).then(|| Duration::from_secs(left))
    }
}

/// What Vercel's answer to a `DELETE` means for the deletion (E2, E3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The configuration is gone at Vercel.
    Gone,
    /// Vercel has no such configuration in the team of the `DELETE`. The configuration may be gone or in
    /// another team, so the worker looks the configuration up at Vercel (E7).
    NotThere,
    /// Vercel refuses, and has done nothing.
    Refused,
    /// The result is not known, so Vercel is called again.
    Open {
        /// Whether an attempt to delete the configuration at Vercel may have taken effect.
        in_doubt: bool,
    },
}

/// The team that a `DELETE` to Vercel names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The stored team. The configuration may have left the stored team.
    Stored,
    /// The team that Vercel has just named (E7).
    Named,
}

/// Says what a reply to a `DELETE` means. `in_doubt_before` says whether an earlier attempt got no definite
/// answer. After an attempt that got no definite answer, 401 and 403 mean that the configuration is gone,
/// because its token dies with the configuration.
///
/// If Vercel has just named the team, the token was good and the configuration was in that team. In a team
/// that Vercel has just named, 401, 403, 404 and 410 are refusals, unless an attempt of this same `DELETE`
/// may have taken effect.
#[must_use]
pub fn verdict(reply: &CallResult, in_doubt_before: bool, place: Place) -> Verdict {
    let in_doubt = in_doubt_before || reply.in_doubt;
    let status = match reply.answer {
        VercelAnswer::Answer { status, .. } => status,
        VercelAnswer::Nothing(_) | VercelAnswer::Unreached(_) => return Verdict::Open { in_doubt },
    };
    match (status, place) {
        (200 | 204, _) => Verdict::Gone,
        (404 | 410, Place::Stored) => Verdict::NotThere,
        (401 | 403, Place::Stored) if in_doubt => Verdict::Gone,
        (401 | 403 | 404 | 410, Place::Named) if reply.in_doubt => Verdict::Open { in_doubt },
        (400 | 401 | 403 | 404 | 409 | 410, _) => Verdict::Refused,
        _ => Verdict::Open { in_doubt },
    }
}

/// Where a configuration is, according to Vercel (E7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The configuration is gone.
    Gone,
    /// The configuration is in this team. `None` if the configuration belongs to no team.
    LivesIn(Option<String>),
    /// Vercel did not say where the configuration is.
    Unknown,
}

/// Says where a configuration is, from Vercel's answer to the lookup. 401 and 403 mean that the configuration
/// is gone, because its token dies with the configuration. A lookup that gets no definite answer does not put
/// an earlier `DELETE` in doubt.
#[must_use]
pub fn whereabouts(reply: &LookupResult) -> Whereabouts {
    let VercelAnswer::Answer { status, .. } = reply.answer else { return Whereabouts::Unknown };
    match (status, &reply.configuration) {
        (401 | 403 | 404 | 410, _) => Whereabouts::Gone,
        (200, Some(configuration)) if configuration.is_deleted => Whereabouts::Gone,
        (200, Some(configuration)) => Whereabouts::LivesIn(configuration.team.clone()),
        _ => Whereabouts::Unknown,
    }
}

#[cfg(test)]
mod tests;
