//! Delete Configuration: intent, call to Vercel, commit (E). The one operation that cannot be a
//! single transaction, since its effect lies at Vercel too.
//!
//! ```text
//!   see → plan → begin (intent, under a lease) → call Vercel → commit | withdraw | put off
//! ```
//!
//! Whoever dies on the way leaves an intent whose lease ends: the next request or the sweep carries
//! on. Whoever is late finds another fencing token there, and changes nothing.

pub mod plan;

use std::time::Duration;

use self::plan::{ConfigurationDeletion, Next, Seen, Stored, Verdict, plan, verdict};
use crate::clock::{Clock, Timestamp};
use crate::config::Secret;
use crate::deletion::{Answer, Provenance};
use crate::error::Error;
use crate::store::configuration::{Asked, Hold, Recording};
use crate::store::keys;
use crate::store::work::Lease;
use crate::store::{Done, Patience, Store};
use crate::vercel::{Reply, Said, Vercel};
use crate::work::{self, Setback};

/// How long an intent is leased: longer than a request waits for DynamoDB (8 s) and for Vercel
/// (12 s), so that nobody else begins while it does.
const LEASE: Duration = Duration::from_secs(30);

/// What a caller should wait before it asks again, where Vercel does not say.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Deletes configurations. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    store: Store,
    vercel: Vercel,
    clock: Clock,
}

/// What came of a call to Vercel, in our store too.
pub(crate) enum Outcome {
    /// Both sides are gone.
    Gone,
    /// Vercel refuses, and the intent is withdrawn.
    Refused(Said),
    /// It is open still, and so is the lease.
    Open(Setback),
    /// Somebody else has the lease by now.
    Lost,
}

impl Configurations {
    pub(crate) fn new(store: Store, vercel: Vercel, clock: Clock) -> Self {
        Self { store, vercel, clock }
    }

    /// Carries out a request.
    ///
    /// # Errors
    ///
    /// The [`Error`] that answers it; nothing was deleted in our store then (B6).
    pub(crate) async fn delete(&self, request: &ConfigurationDeletion) -> Result<Done, Error> {
        let id = &request.grant.installation;
        let provenance = Provenance { by: request.grant.by.clone(), at: request.at, reason: None };
        let mut patience = Patience::default();
        loop {
            let now = self.clock.timestamp();
            let seen = patience.spend(self.store.see(id, request.key.as_ref(), now)).await?;
            match plan(request, &seen, now) {
                Next::Answer(answer) => return Ok(Done::before(answer)),
                Next::Refuse(error) => return Err(error),
                Next::Record(stored, recording) => {
                    let record = self.store.record_gone(id, stored, recording, request.at);
                    if patience.spend(record).await? {
                        return Ok(Done::before(Answer::Gone));
                    }
                }
                Next::Commit(stored) => {
                    let hold =
                        seen.intent.as_ref().map_or(Hold::Nobody, |it| Hold::Fence(it.fence));
                    let asked = Asked::Now(Recording::of(request));
                    let commit =
                        self.store.commit_configuration(id, &provenance, stored, hold, asked);
                    if patience.spend(commit).await? {
                        return Ok(self.store.done_with_configuration(stored));
                    }
                }
                Next::Call(stored, token) => {
                    let until = now + LEASE;
                    let intent = seen.intent.as_ref();
                    let begin = self.store.begin(request, stored, intent, now, until);
                    let Some(lease) = patience.spend(begin).await? else { continue };
                    let reply = self.ask(&lease, stored, token).await;
                    let settled = self.settle(
                        &lease,
                        &seen,
                        reply,
                        &provenance,
                        Some(request),
                        &mut patience,
                    );
                    match settled.await? {
                        Outcome::Gone => return Ok(self.store.done_with_configuration(stored)),
                        Outcome::Refused(said) => return Err(Error::UpstreamRefused(said)),
                        Outcome::Open(setback) => {
                            let retry_after = setback.retry_after.unwrap_or(RETRY_AFTER);
                            let now = self.clock.timestamp();
                            work::put_off(&self.store, &lease, setback, now).await?;
                            return Err(Error::UpstreamUnavailable { retry_after });
                        }
                        Outcome::Lost => {}
                    }
                }
            }
        }
    }

    /// Carries on where a request left off, under the lease of its intent.
    pub(crate) async fn carry_on(&self, lease: &Lease) -> Result<Outcome, Error> {
        let id = &lease.installation;
        let now = self.clock.timestamp();
        let mut patience = Patience::default();
        let seen = patience.spend(self.store.see(id, None, now)).await?;
        let asked = keys::provenance(&lease.item);
        let (Some(stored), Some(asked)) = (&seen.installation, asked) else {
            self.store.finish(lease).await?;
            return Ok(Outcome::Gone);
        };
        let provenance = Provenance { at: now, ..asked };
        match seen.usable_token(stored) {
            // Nothing is left to be asked of Vercel.
            None => self.commit(lease, &seen, &provenance, None, &mut patience).await,
            Some(token) => {
                let reply = self.ask(lease, stored, token).await;
                self.settle(lease, &seen, reply, &provenance, None, &mut patience).await
            }
        }
    }

    async fn ask(&self, lease: &Lease, stored: &Stored, token: &Secret) -> Reply {
        let team = stored.team.id.as_deref();
        self.vercel.delete_configuration(&lease.installation, team, token).await
    }

    /// Brings our store to what Vercel said.
    async fn settle(
        &self,
        lease: &Lease,
        seen: &Seen,
        reply: Reply,
        provenance: &Provenance,
        request: Option<&ConfigurationDeletion>,
        patience: &mut Patience,
    ) -> Result<Outcome, Error> {
        match verdict(&reply, lease.unclear) {
            Verdict::Gone => self.commit(lease, seen, provenance, request, patience).await,
            // Where somebody else has the lease, it may be gone by that one's doing.
            Verdict::Refused if !self.store.finish(lease).await? => Ok(Outcome::Lost),
            Verdict::Refused => Ok(Outcome::Refused(reply.heard.said().unwrap_or_default())),
            Verdict::Open { unclear } => Ok(Outcome::Open(Setback {
                reason: reply.heard.to_string(),
                retry_after: reply.heard.retry_after(),
                unclear,
            })),
        }
    }

    /// Commits under the lease, whatever has become of the installation since it was seen.
    async fn commit(
        &self,
        lease: &Lease,
        seen: &Seen,
        provenance: &Provenance,
        request: Option<&ConfigurationDeletion>,
        patience: &mut Patience,
    ) -> Result<Outcome, Error> {
        let id = &lease.installation;
        let hold = Hold::Fence(lease.fence);
        let mut seen = seen.clone();
        while let Some(stored) = &seen.installation {
            // A key that stands for something else by now does not hold the commit up.
            let asked = match request.filter(|_| seen.recorded.is_none()) {
                Some(request) => Asked::Now(Recording::of(request)),
                None => Asked::Before { key_sha256: keys::text(&lease.item, "keySha256") },
            };
            let commit = self.store.commit_configuration(id, provenance, stored, hold, asked);
            if patience.spend(commit).await? {
                return Ok(if seen.recorded.is_none() { Outcome::Gone } else { Outcome::Lost });
            }
            let key = request.and_then(|request| request.key.as_ref());
            let now: Timestamp = self.clock.timestamp();
            seen = patience.spend(self.store.see(id, key, now)).await?;
            if seen.intent.as_ref().is_none_or(|intent| intent.fence != lease.fence) {
                break;
            }
        }
        Ok(Outcome::Lost)
    }
}
