//! What a deletion owes, carried out: leased, tried, put off, parked (G).
//!
//! `owed` says what there is, `retry` when what failed is tried again, `sweep` finds what is
//! due. Here is how each kind is carried out, under a lease: whoever loses it does not bring it to
//! an end. What it did until then can be done twice: a page purged, a thing announced or asked for.

pub(crate) mod owed;
mod retry;
mod sweep;

use std::time::{Duration, Instant};

use self::owed::Owed;
pub use self::sweep::Report;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, FINALIZATION_PERIOD};
use crate::configuration::{Configurations, Outcome};
use crate::error::Error;
use crate::ids::InstallationId;
use crate::outbound::Outbound;
use crate::provider::{Announcement, Provider, Told};
use crate::store::purge::Purged;
use crate::store::work::{Failure, Lease};
use crate::store::{Patience, Store};
use crate::telemetry;
use crate::vercel::{Heard, Vercel};

/// How long a lease outlives the time that its worker has, so that it ends after the worker.
const LEASE_MARGIN: Duration = Duration::from_secs(30);

/// How many pages a purge takes at a time: then it is another's turn.
const PURGE_PAGES: usize = 20;

/// How long a page may take: what does not fit in the worker's time is not begun.
const PURGE_PAGE: Duration = Duration::from_secs(1);

/// From when on a finalization that fails is an error: so long before Vercel's 24 hours are over,
/// while an operator can still act.
const ALARM: Duration = Duration::from_hours(1);

/// Carries out what is owed. Clones share its connections.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    store: Store,
    vercel: Vercel,
    provider: Option<Provider>,
    configurations: Configurations,
    clock: Clock,
}

/// Why it is owed still.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setback {
    /// What went wrong, for people.
    pub(crate) reason: String,
    /// When the other side wants to be asked again.
    pub(crate) retry_after: Option<Duration>,
    /// Of a configuration's deletion: whether an attempt got no definite answer; none where what is
    /// stored of that stands.
    pub(crate) unclear: Option<bool>,
}

impl Setback {
    fn new(reason: String, retry_after: Option<Duration>) -> Self {
        Self { reason, retry_after, unclear: None }
    }

    /// Vercel was not asked, since DynamoDB did not let us write down that it would be.
    pub(crate) fn not_asked() -> Self {
        let reason = "DynamoDB did not answer before Vercel was asked".to_owned();
        Self { unclear: Some(false), ..Self::new(reason, None) }
    }

    /// The item does not say what it has to.
    pub(crate) fn malformed() -> Self {
        Self::new("its item is malformed".to_owned(), None)
    }
}

/// How an attempt went.
enum Attempt {
    /// It is done, and nothing is owed any more.
    Done,
    /// Somebody else has the lease by now, or what it goes by has changed: it is for whoever comes next.
    Lost,
    /// There is more to do, as soon as somebody has time.
    More,
    /// The other side is at it, and wants to be asked again so much later.
    StillAtIt(Duration),
    /// It failed.
    Failed(Setback),
}

/// How the lease of an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Done,
    /// It is due again at once.
    Unfinished,
    PutOff,
    Parked,
    /// Not by this worker: somebody else has the lease by now, nothing is owed any more, or it comes due
    /// again when the lease ends.
    Lost,
}

impl Ended {
    /// How it ended, where the lease was held until then.
    fn if_held(self, held: bool) -> Self {
        if held { self } else { Self::Lost }
    }
}

impl Worker {
    pub(crate) fn new(
        config: &Config,
        store: Store,
        configurations: Configurations,
        vercel: Vercel,
        outbound: Outbound,
        clock: Clock,
    ) -> Self {
        let provider = config.provider.as_ref().map(|it| Provider::new(it, outbound));
        Self { store, vercel, provider, configurations, clock }
    }

    /// Takes a thing owed that was due at `now`, and carries it out until `end` at most; none where
    /// it is not to be had.
    pub(crate) async fn run(
        &self,
        installation: &InstallationId,
        owed: &Owed,
        now: Timestamp,
        end: Instant,
    ) -> Result<Option<Ended>, Error> {
        let left = end.saturating_duration_since(Instant::now());
        let until = self.clock.timestamp() + left + LEASE_MARGIN;
        let Some(lease) = self.store.take(installation, owed, now, until).await? else {
            return Ok(None);
        };
        let attempt = self.attempt(&lease, end);
        let attempt = match tokio::time::timeout_at(end.into(), attempt).await {
            Ok(Ok(attempt)) => attempt,
            // What will not be otherwise the next time has to come to an end, and be seen.
            Ok(Err(Error::Internal(cause))) => failed(telemetry::chain(cause.as_ref()), None),
            Ok(Err(error)) => {
                self.configurations.clear_up(&lease, &mut Patience::default()).await;
                return Err(error);
            }
            Err(_) => failed("the host's time was over".to_owned(), None),
        };
        let now = self.clock.timestamp();
        Ok(Some(match attempt {
            Attempt::Done => Ended::Done,
            Attempt::Lost => Ended::Lost,
            Attempt::More => {
                Ended::Unfinished.if_held(self.store.put_off(&lease, lease.due, None).await?)
            }
            Attempt::StillAtIt(wait) => {
                Ended::PutOff.if_held(self.store.put_off(&lease, now + wait, None).await?)
            }
            Attempt::Failed(setback) if lease.owed == Owed::Configuration => {
                self.configurations.put_off(&lease, setback, &mut Patience::default()).await?
            }
            Attempt::Failed(setback) => put_off(&self.store, &lease, setback, now).await?,
        }))
    }

    async fn attempt(&self, lease: &Lease, end: Instant) -> Result<Attempt, Error> {
        match &lease.owed {
            Owed::AnnounceResource(_) | Owed::AnnounceInstallation => self.announce(lease).await,
            Owed::Purge => self.purge(lease, end).await,
            Owed::Finalize => self.finalize(lease).await,
            Owed::Configuration => self.delete_configuration(lease).await,
        }
    }

    /// G1: announces a deletion.
    async fn announce(&self, lease: &Lease) -> Result<Attempt, Error> {
        let Some(provider) = &self.provider else {
            return Ok(failed("PROVIDER_URL is not set".to_owned(), None));
        };
        let Some(announcement) = announcement(lease) else {
            return Ok(Attempt::Failed(Setback::malformed()));
        };
        Ok(match provider.announce(&announcement, self.clock.timestamp()).await {
            Told::Done if self.store.finish(lease).await? => Attempt::Done,
            Told::Done => Attempt::Lost,
            Told::StillAtIt(wait) => Attempt::StillAtIt(wait),
            Told::Failed(reason, retry_after) => {
                failed(format!("the provider: {reason}"), retry_after)
            }
        })
    }

    /// G2: purges some pages.
    async fn purge(&self, lease: &Lease, end: Instant) -> Result<Attempt, Error> {
        let id = &lease.installation;
        let Some(tombstone) = self.store.tombstone(id).await? else {
            return Ok(failed("its installation is not deleted".to_owned(), None));
        };
        for _ in 0..PURGE_PAGES {
            match self.store.purge_page(id, &tombstone.provenance).await? {
                Purged::Page if Instant::now() + PURGE_PAGE < end => {}
                Purged::Page => return Ok(Attempt::More),
                Purged::All => {
                    // Finalized in the meantime, it ends otherwise: soon.
                    let ended = self.store.end_purge(lease, &tombstone).await?;
                    return Ok(if ended { Attempt::Done } else { changed() });
                }
            }
        }
        Ok(Attempt::More)
    }

    /// G3: finalizes at Vercel, and erases the token.
    async fn finalize(&self, lease: &Lease) -> Result<Attempt, Error> {
        let id = &lease.installation;
        let Some(tombstone) = self.store.tombstone(id).await? else {
            return Ok(failed("its installation is not deleted".to_owned(), None));
        };
        if !tombstone.finalized
            && let Some(token) = self.store.token(id).await?
        {
            let over = tombstone.provenance.at + FINALIZATION_PERIOD;
            let reply = self.vercel.finalize(id, &token).await;
            let now = self.clock.timestamp();
            match reply.heard {
                Heard::Answer { status: 204 | 404 | 410, .. } => {}
                Heard::Answer { status: 401 | 403, .. } if over <= now => {
                    tracing::warn!(
                        installation = %id, answer = %reply.heard,
                        "Vercel finalized an installation before it was told to"
                    );
                }
                heard => return Ok(failed(heard.to_string(), heard.retry_after())),
            }
        }
        // Purged in the meantime, it ends otherwise: at once, since Vercel has said its word.
        let mut tombstone = Some(tombstone);
        while let Some(seen) = tombstone {
            if self.store.end_finalization(lease, &seen).await? {
                return Ok(Attempt::Done);
            }
            tombstone = self.store.tombstone(id).await?.filter(|now| *now != seen);
        }
        Ok(changed())
    }

    /// E3: carries on where a request left off.
    async fn delete_configuration(&self, lease: &Lease) -> Result<Attempt, Error> {
        Ok(match self.configurations.carry_on(lease).await? {
            Outcome::Gone => Attempt::Done,
            Outcome::Lost => Attempt::Lost,
            Outcome::Refused(said) => {
                tracing::warn!(
                    installation = %lease.installation, answer = %said,
                    "Vercel refuses to delete a configuration; it stays as it is"
                );
                Attempt::Done
            }
            Outcome::InvoicesOpen => {
                tracing::warn!(
                    installation = %lease.installation,
                    "invoices are open again: the deletion of a configuration is withdrawn"
                );
                Attempt::Done
            }
            Outcome::Open(setback) => Attempt::Failed(setback),
        })
    }
}

/// Tells the log of a finalization that fails, whatever it fails of, when Vercel's 24 hours are ending
/// (G3).
fn warn_of_the_end(lease: &Lease, reason: &str, now: Timestamp) {
    let uninstalled = lease.provenance.as_ref().filter(|_| lease.owed == Owed::Finalize);
    let Some(over) = uninstalled.map(|uninstalled| uninstalled.at + FINALIZATION_PERIOD) else {
        return;
    };
    if over <= now + ALARM {
        tracing::error!(
            installation = %lease.installation, until = %over, reason,
            "an installation is not finalized, and Vercel's 24 hours are ending"
        );
    }
}

fn changed() -> Attempt {
    failed("the installation has changed meanwhile".to_owned(), None)
}

fn failed(reason: String, retry_after: Option<Duration>) -> Attempt {
    Attempt::Failed(Setback::new(reason, retry_after))
}

/// Puts off what failed, or parks it where it has failed for too long.
pub(crate) async fn put_off(
    store: &Store,
    lease: &Lease,
    setback: Setback,
    now: Timestamp,
) -> Result<Ended, Error> {
    let Setback { reason, retry_after, unclear } = setback;
    let (since, next) = retry::after_failure(&lease.owed, lease.tries, now, retry_after);
    let (installation, work) = (&lease.installation, lease.owed.to_string());
    let failure = Failure { reason, since, unclear };
    let ended = match next {
        retry::Next::Again(due) => store.put_off(lease, due, Some(&failure)).await,
        retry::Next::Park => store.park(lease, now, &failure).await,
    };
    let reason = failure.reason;
    // Only what came about is told: a lease that was lost is another's to tell of.
    if let Ok(true) = ended {
        warn_of_the_end(lease, &reason, now);
    }
    match (ended, next) {
        (Ok(false), _) => Ok(Ended::Lost),
        (Ok(true), retry::Next::Again(due)) => {
            tracing::warn!(%installation, work, reason, again = %due, "put off");
            Ok(Ended::PutOff)
        }
        (Ok(true), retry::Next::Park) => {
            tracing::error!(
                %installation, work, reason, %since,
                "parked: it has failed for too long"
            );
            Ok(Ended::Parked)
        }
        (Err(error), _) => {
            tracing::warn!(%installation, work, reason, "failed, and could not be put off");
            Err(error)
        }
    }
}

/// What an item says is to be announced.
fn announcement(lease: &Lease) -> Option<Announcement> {
    let resource = match &lease.owed {
        Owed::AnnounceResource(resource) => Some(resource.clone()),
        _ => None,
    };
    Some(Announcement {
        id: lease.webhook_id.clone()?,
        installation: lease.installation.clone(),
        resource,
        provenance: lease.provenance.clone()?,
    })
}
