//! Asks Vercel, no more often and no more at a time than was promised (L1).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Url;
use teardown::deletion::configuration::Loaded;
use teardown::ids::InstallationId;
use teardown::limits::Limits;
use teardown::outbound::Outbound;
use teardown::reconcile::{Life, Listing, VercelSide};
use teardown::secret::Secret;
use teardown::vercel::{Vercel, VercelAnswer};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// How many requests are under way at a time.
const AT_ONCE: usize = 8;

/// How often a request is sent that gets no definite answer.
const ATTEMPTS: u32 = 4;

/// The wait before the second attempt; it doubles.
const BACKOFF: Duration = Duration::from_millis(250);

/// The longest `Retry-After` that is waited for: an installation with a longer one is told as out of reach,
/// and not asked for again.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long an answer may take: a list may have megabytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Vercel, and when it may be asked.
pub(super) struct Asker {
    vercel: Vercel,
    slots: Semaphore,
    pace: Mutex<Pace>,
}

/// When requests begin, one after the other.
struct Pace {
    interval: Duration,
    /// When the next one may.
    next: Instant,
    /// Before that none may.
    resumes: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / rate.max(1), next: now, resumes: now }
    }

    /// When the request that asks now may begin.
    fn turn(&mut self, now: Instant) -> Instant {
        let at = self.next.max(self.resumes).max(now);
        self.next = at + self.interval;
        at
    }

    /// Lets none begin before then, those included that have their turn.
    fn pause(&mut self, until: Instant) {
        self.resumes = self.resumes.max(until);
    }
}

/// How often a request was sent.
#[derive(Default)]
struct Attempts(u32);

impl Asker {
    pub(super) fn new(api: Url, rate: u32) -> Self {
        let limits = Limits {
            vercel_attempt: ANSWER_TIMEOUT,
            vercel_call: ANSWER_TIMEOUT + Duration::from_secs(5),
            ..Limits::default()
        };
        Self {
            // Each attempt is a request that counts.
            vercel: Vercel::new(api, Outbound::default(), limits).attempting_once(),
            slots: Semaphore::new(AT_ONCE),
            pace: Mutex::new(Pace::new(rate, Instant::now())),
        }
    }

    /// Asks for an installation's configuration and, where they are compared, its resources.
    pub(super) async fn ask(&self, id: &InstallationId, loaded: Loaded<'_>) -> VercelSide {
        let life = Life::of(loaded.installation);
        let Some(token) = loaded.usable_token().filter(|_| life != Life::Over) else {
            return VercelSide::NoToken;
        };
        match self.look_up(id, token).await {
            VercelSide::There(configuration, _) if life == Life::Active => {
                let listing = self.list(id, token).await;
                VercelSide::There(configuration, listing)
            }
            side => side,
        }
    }

    async fn look_up(&self, id: &InstallationId, token: &Secret) -> VercelSide {
        let mut attempts = Attempts::default();
        loop {
            let slot = self.turn().await;
            let mut time = self.vercel.call_time();
            let found = self.vercel.look_up_configuration(id, token, &mut time).await;
            drop(slot);
            if !self.tries_again(&mut attempts, &found.heard).await {
                return VercelSide::of(found);
            }
        }
    }

    async fn list(&self, id: &InstallationId, token: &Secret) -> Listing {
        let mut attempts = Attempts::default();
        loop {
            let slot = self.turn().await;
            let mut time = self.vercel.call_time();
            let listed = self.vercel.list_resources(id, token, &mut time).await;
            drop(slot);
            if !self.tries_again(&mut attempts, &listed.heard).await {
                return Listing::of(listed);
            }
        }
    }

    /// Whether a request is sent again that got this answer; waits until it may be.
    async fn tries_again(&self, attempts: &mut Attempts, heard: &VercelAnswer) -> bool {
        attempts.0 += 1;
        let backoff = BACKOFF * 2_u32.pow(attempts.0 - 1);
        let wait = heard.retry_after().unwrap_or(backoff);
        if !heard.may_pass() || attempts.0 == ATTEMPTS || wait > LONGEST_PAUSE {
            return false;
        }
        if matches!(heard, VercelAnswer::Answer { status: 429, .. }) {
            self.pace().pause(Instant::now() + wait);
        } else {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// Waits until a request may begin; it is under way until the permit is dropped. None only if the
    /// semaphore were closed, which nobody does.
    async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        let slot = self.slots.acquire().await.ok();
        loop {
            let at = self.pace().turn(Instant::now());
            tokio::time::sleep_until(at).await;
            if self.pace().resumes <= at {
                return slot;
            }
        }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        // A time is whole whenever it is seen.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L1: however many ask at once, in no second more requests begin than were promised; a pause holds
    /// back all of them.
    #[test]
    fn the_rate_is_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        let mut begun: Vec<_> = (0..40).map(|_| pace.turn(start)).collect();
        // Nothing is saved up while nobody asks.
        let later = start + Duration::from_mins(1);
        begun.extend((0..40).map(|_| pace.turn(later)));
        for from in &begun {
            let within =
                begun.iter().filter(|at| from <= at && **at < *from + Duration::from_secs(1));
            assert!(within.count() <= 10);
        }
        assert_eq!((begun[0], begun[40]), (start, later), "nobody waits without need");
        let resumes = later + Duration::from_secs(30);
        pace.pause(resumes);
        assert_eq!(pace.turn(later), resumes);
        pace.pause(later);
        assert!(pace.turn(later) > resumes, "a shorter pause does not end a longer one");
    }
}
