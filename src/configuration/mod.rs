//! Delete Configuration: intent, call to Vercel, commit (E). The one operation that cannot be a
//! single transaction, since its effect lies at Vercel too.
//!
//! ```text
//!   see → plan → begin (intent, under a lease) → connect → mark → ask Vercel → commit | withdraw | put off
//! ```
//!
//! - `see` reads all that the decision needs in one `TransactGetItems`, and `plan` decides.
//! - `begin` writes the intent `work#configuration` with its lease, if the installation is as it
//!   was read. A request that finds an intent without a lease takes it over, parked or not, with 3
//!   new days before it is parked. A request that finds a lease is answered 409.
//! - The mark records that Vercel is about to be called. It comes after the connection: what never
//!   left this machine leaves no doubt (E2).
//! - `verdict` says what Vercel's answer means. *Gone* commits the tombstone, the receipt, the
//!   outcome and the jobs in one transaction. *Refused* withdraws the intent. Any other answer, or
//!   none, schedules a retry as for any job.
//! - The sweep takes the same steps (`carry_on`), and the receipt names the caller who had asked.
//!
//! Nothing is deleted in the table before Vercel's side is known to be gone, or there is no token
//! to call Vercel with.
//!
//! A process that crashes leaves an intent whose lease expires; the next request or the sweep
//! resumes it. A worker that lost its lease finds a newer fencing token and writes nothing, with
//! two exceptions: if it knows that the configuration is gone at Vercel it commits that, because it
//! stays true; and if it cannot tell how its own call ended it schedules another, because what
//! Vercel told a later worker says nothing about the earlier call.
//!
//! # In doubt
//!
//! The intent's attribute `unclear` is true in the table from right before Vercel is called, when
//! the connection is up. It becomes false only if every attempt is known to have got a definite
//! answer. A worker that dies between the mark and the call leaves it true, too. If an intent is
//! withdrawn in doubt, the installation keeps the doubt (`configurationUnclear`). Only in doubt do
//! 401 and 403 mean gone.
//!
//! - *A late worker's mark is not erased, and nobody takes it for its own.* A request begins an
//!   intent or takes one over on condition that the intent and the installation are as unclear as
//!   it read them. A sweep that finds another fencing token there does not call Vercel.
//! - *A late call is followed by another.* A worker that finds its lease lost, and cannot tell how
//!   its own call ended or cannot record that the configuration is gone, has Vercel called again
//!   (`owe_again`): the refusal that another worker got meanwhile says nothing about that call.
//!   `owe_again` takes the fencing token from the intent's present holder, who then cannot withdraw
//!   it. It makes a parked intent due, and writes a withdrawn one anew.
//! - *Gone is for good.* A worker that learned that Vercel's side is gone commits it under any
//!   fencing token, on condition that the installation is as it was read and its configuration not
//!   gone. The configuration is deleted once, and no request begins an intent after that.

pub mod plan;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use self::plan::{ConfigurationDeletion, Next, Recording, Seen, Stored, Verdict, plan, verdict};
use crate::clock::Clock;
use crate::config::Secret;
use crate::deletion::Answer;
use crate::error::Error;
use crate::grant::Provenance;
use crate::store::configuration::{Asked, Hold};
use crate::store::work::Lease;
use crate::store::{Done, Patience, Store};
use crate::telemetry;
use crate::vercel::{Said, Vercel};
use crate::work::{self, Ended, Setback};

/// How long an intent is leased: longer than a request waits for DynamoDB (8 s, and 8 s after Vercel's
/// answer) and for Vercel (12 s), so that nobody else begins while it does.
const LEASE: Duration = Duration::from_secs(30);

/// What a caller should wait before it asks again, where Vercel does not say: the call has been
/// repeated for some seconds by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Deletes configurations. Clones share their connections.
#[derive(Clone, Debug)]
pub(crate) struct Configurations {
    store: Store,
    vercel: Vercel,
    clock: Clock,
}

/// Who asks Vercel.
struct Asking<'a> {
    /// Under this lease.
    lease: &'a Lease,
    /// By whom and when the deletion is, if it comes to one.
    provenance: &'a Provenance,
    /// The request that waits for it; none where the sweep carries on.
    request: Option<&'a ConfigurationDeletion>,
}

/// What came of asking Vercel, in our store too.
pub(crate) enum Outcome {
    /// Both sides are gone.
    Gone,
    /// Vercel refuses, and the intent is withdrawn.
    Refused(Said),
    /// Invoices are open again, and the intent is withdrawn.
    InvoicesOpen,
    /// It is open still, and so is the lease.
    Open(Setback),
    /// Somebody else has the lease by now, or the installation changed.
    Lost,
}

/// Why Vercel was not asked, though a connection to it is up.
enum NotSent {
    /// Somebody else has the lease by now.
    LeaseLost,
    /// It could not be written down that Vercel is about to be asked.
    Error(Error),
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Configurations {
    pub(crate) fn new(store: Store, vercel: Vercel, clock: Clock) -> Self {
        Self { store, vercel, clock }
    }

    /// Carries out a request.
    ///
    /// # Errors
    ///
    /// The [`Error`] that answers it; nothing was deleted in our store then, as far as is known (B6).
    pub(crate) async fn delete(&self, request: &ConfigurationDeletion) -> Result<Done, Error> {
        let id = &request.grant.installation;
        let provenance = request.provenance();
        let (mut patience, mut after) = (Patience::default(), Patience::default());
        let mut held = None;
        loop {
            let now = self.clock.timestamp();
            let mut seen = patience.spend(self.store.see(id, request.key.as_ref(), now)).await?;
            // Where the installation changed while Vercel was asked, the lease is here still.
            if let Some(intent) = &mut seen.intent {
                intent.own = held == Some(intent.fence);
            }
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
                    let asked = Asked::Now(Recording::of(request));
                    let commit = self.store.commit_configuration(
                        id,
                        &provenance,
                        (&seen, stored),
                        Hold::of(&seen),
                        asked,
                    );
                    if patience.spend(commit).await? {
                        return Ok(self.store.done_with_configuration(stored));
                    }
                }
                Next::Call(stored, token) => {
                    let begin = self.store.begin(request, &seen, stored, now, now + LEASE);
                    let Some(lease) = patience.spend(begin).await? else { continue };
                    held = Some(lease.fence);
                    let asking =
                        Asking { lease: &lease, provenance: &provenance, request: Some(request) };
                    let seen = (&seen, stored);
                    let asked = self.ask(&asking, seen, token, &mut patience, &mut after).await;
                    if asked.is_err() {
                        self.clear_up(&lease, &mut after).await;
                    }
                    match asked? {
                        Outcome::Gone => return Ok(self.store.done_with_configuration(stored)),
                        Outcome::Refused(said) => return Err(Error::UpstreamRefused(said)),
                        Outcome::InvoicesOpen => return Err(Error::InvoicesOpen),
                        Outcome::Open(setback) => {
                            let retry_after = setback.retry_after.unwrap_or(RETRY_AFTER);
                            let unclear = setback.unclear == Some(true);
                            let ended = self.put_off(&lease, setback, &mut after).await?;
                            // Whoever waits for it is told what became of it, if that can be.
                            if !(unclear && ended == Ended::Lost) {
                                return Err(Error::UpstreamUnavailable { retry_after });
                            }
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
        let stored = seen.installation.as_ref().filter(|stored| !stored.is_gone_on_both_sides());
        let Some(stored) = stored else {
            self.store.finish(lease).await?;
            return Ok(Outcome::Gone);
        };
        let Some(asked) = &lease.provenance else {
            return Ok(Outcome::Open(Setback::malformed()));
        };
        // What whoever holds it by now has marked would be taken for ours.
        if seen.intent.as_ref().is_none_or(|intent| intent.fence != lease.fence) {
            return Ok(Outcome::Lost);
        }
        let provenance = Provenance { at: now, ..asked.clone() };
        let Some(token) = seen.usable_token(stored) else {
            // Nothing is left to be asked of Vercel.
            let asked = Asked::Before { key_sha256: lease.key_sha256.as_deref() };
            let hold = Hold::Fence(lease.fence);
            let commit = (&seen, stored);
            let commit = self.store.commit_configuration(id, &provenance, commit, hold, asked);
            let committed = patience.spend(commit).await?;
            return Ok(if committed { Outcome::Gone } else { Outcome::Lost });
        };
        if !seen.is_unclear() && stored.invoices_are_open(now) {
            let withdrawn = patience.spend(self.store.withdraw(lease, stored, false)).await?;
            return Ok(if withdrawn { Outcome::InvoicesOpen } else { Outcome::Lost });
        }
        let asking = Asking { lease, provenance: &provenance, request: None };
        let mut after = Patience::default();
        self.ask(&asking, (&seen, stored), token, &mut patience, &mut after).await
    }

    /// Ends the lease of an attempt that did not come to its end: it is owed still. Where the lease is
    /// lost, and the attempt may have taken effect, another that was refused before does not end it.
    pub(crate) async fn put_off(
        &self,
        lease: &Lease,
        setback: Setback,
        patience: &mut Patience,
    ) -> Result<Ended, Error> {
        let now = self.clock.timestamp();
        let setback = match setback.unclear {
            // The host's time was over while it was being marked: nothing was sent.
            None if lease.marking.load(Relaxed) => Setback { unclear: Some(false), ..setback },
            _ => setback,
        };
        let put_off = work::put_off(&self.store, lease, setback, now);
        match patience.spend(put_off).await {
            Ok(Ended::Lost) if lease.in_doubt.load(Relaxed) => {
                patience.spend(self.store.owe_again(lease)).await?;
                Ok(Ended::Lost)
            }
            Ok(ended) => Ok(ended),
            Err(error) => {
                self.clear_up(lease, patience).await;
                Err(error)
            }
        }
    }

    /// Cleans up after an attempt that broke off: if Vercel may have acted, schedules another call; if it
    /// was not asked, takes a mark back that may stand. If that write fails too, the lease ends as after a
    /// crash.
    pub(crate) async fn clear_up(&self, lease: &Lease, patience: &mut Patience) {
        let cleared = if lease.in_doubt.load(Relaxed) {
            patience.spend(self.store.owe_again(lease)).await
        } else if lease.marking.load(Relaxed) {
            let not_asked = Setback::not_asked();
            let now = self.clock.timestamp();
            let put_off = work::put_off(&self.store, lease, not_asked, now);
            patience.spend(put_off).await.map(drop)
        } else {
            Ok(())
        };
        if let Err(error) = cleared {
            let (installation, cause) = (&lease.installation, telemetry::chain(&error));
            tracing::warn!(%installation, cause, "it is not known what became of a deletion at Vercel");
        }
    }

    /// Asks Vercel, and brings our store to what it said; with patience for DynamoDB before it is asked
    /// and `after`: what it said has to be written down, however long it took to get there.
    async fn ask(
        &self,
        asking: &Asking<'_>,
        (seen, stored): (&Seen, &Stored),
        token: &Secret,
        patience: &mut Patience,
        after: &mut Patience,
    ) -> Result<Outcome, Error> {
        let lease = asking.lease;
        let unclear_before = seen.is_unclear();
        let mark = async {
            if !unclear_before {
                lease.marking.store(true, Relaxed);
                if !patience.spend(self.store.mark_unclear(lease)).await? {
                    return Err(NotSent::LeaseLost);
                }
            }
            lease.marking.store(false, Relaxed);
            lease.in_doubt.store(true, Relaxed);
            Ok(())
        };
        let (id, team) = (&lease.installation, stored.team.id.as_deref());
        let reply = match self.vercel.delete_configuration(id, team, token, mark).await {
            Ok(reply) => reply,
            Err(NotSent::LeaseLost) => return Ok(Outcome::Lost),
            Err(NotSent::Error(error)) => return Err(error),
        };
        let verdict = verdict(&reply, unclear_before);
        let in_doubt = match verdict {
            // Nobody else knows until it is committed.
            Verdict::Gone => true,
            // Vercel's word, whatever came before it in this call (E3).
            Verdict::Refused => false,
            Verdict::Open { .. } => reply.unclear,
        };
        lease.in_doubt.store(in_doubt, Relaxed);
        match verdict {
            Verdict::Gone => self.commit(asking, seen, after).await,
            Verdict::Refused => {
                let unclear = unclear_before || reply.unclear;
                let withdraw = self.store.withdraw(lease, stored, unclear);
                // Where somebody else has the lease, it may be gone by that one's doing.
                Ok(if after.spend(withdraw).await? {
                    Outcome::Refused(reply.heard.said().unwrap_or_default())
                } else {
                    Outcome::Lost
                })
            }
            Verdict::Open { unclear } => Ok(Outcome::Open(Setback {
                reason: reply.heard.to_string(),
                retry_after: reply.heard.retry_after(),
                unclear: Some(unclear),
            })),
        }
    }

    /// Commits that Vercel's side is gone, whatever has become of the installation since it was seen,
    /// and whoever holds the lease by now: no answer that anybody else gets makes it less true.
    async fn commit(
        &self,
        &Asking { lease, provenance, request }: &Asking<'_>,
        seen: &Seen,
        patience: &mut Patience,
    ) -> Result<Outcome, Error> {
        let id = &lease.installation;
        let mut hold = Hold::Fence(lease.fence);
        let mut seen = seen.clone();
        while let Some(stored) = &seen.installation {
            if stored.is_gone_on_both_sides() {
                break;
            }
            // A key that stands for something else by now does not hold the commit up.
            let asked = match request.filter(|_| seen.recorded.is_none()) {
                Some(request) => Asked::Now(Recording::of(request)),
                None => Asked::Before { key_sha256: lease.key_sha256.as_deref() },
            };
            let commit = (&seen, stored);
            let commit = self.store.commit_configuration(id, provenance, commit, hold, asked);
            if patience.spend(commit).await? {
                return Ok(if seen.recorded.is_none() { Outcome::Gone } else { Outcome::Lost });
            }
            let key = request.and_then(|request| request.key.as_ref());
            let now = self.clock.timestamp();
            seen = patience.spend(self.store.see(id, key, now)).await?;
            hold = Hold::of(&seen);
        }
        Ok(Outcome::Lost)
    }
}
