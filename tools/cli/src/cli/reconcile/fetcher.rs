//! Calls Vercel, with a limited rate and a limited number of requests at the same time (L1).

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

/// The most requests that are under way at the same time.
const AT_ONCE: usize = 8;

/// How many times the command sends a request at most, if the request's failures may be temporary.
const ATTEMPTS: u32 = 4;

/// The wait before the second attempt of a request. The wait doubles before each further attempt.
const BACKOFF: Duration = Duration::from_millis(250);

/// The longest `Retry-After` of Vercel for which the command waits. If Vercel demands a longer wait, the
/// installation is reported as `unreachable`, and the request is not repeated.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How long an answer may take. A list of resources may have megabytes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls Vercel, within the limits on requests.
pub(super) struct Fetcher {
    vercel: Vercel,
    slots: Semaphore,
    pace: Mutex<Pace>,
}

/// Decides when each request may begin, so that no more requests begin than the rate allows.
struct Pace {
    interval: Duration,
    /// When the next request may begin.
    next: Instant,
    /// No request may begin before this time.
    resumes: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Self {
        Self { interval: Duration::from_secs(1) / rate.max(1), next: now, resumes: now }
    }

    /// Reserves a turn for a request that is ready at `now`. Returns when the request may begin.
    fn turn(&mut self, now: Instant) -> Instant {
        let at = self.next.max(self.resumes).max(now);
        self.next = at + self.interval;
        at
    }

    /// Stops all requests until `until`, even requests that already have a turn.
    fn pause(&mut self, until: Instant) {
        self.resumes = self.resumes.max(until);
    }
}

/// How many times the command has sent a request.
#[derive(Default)]
struct Attempts(u32);

impl Fetcher {
    pub(super) fn new(api: Url, rate: u32) -> Self {
        let limits = Limits {
            vercel_attempt: ANSWER_TIMEOUT,
            vercel_call: ANSWER_TIMEOUT + Duration::from_secs(5),
            ..Limits::default()
        };
        Self {
            // Each call of this client makes only one attempt, so that the rate counts every attempt.
            vercel: Vercel::new(api, Outbound::default(), limits).attempting_once(),
            slots: Semaphore::new(AT_ONCE),
            pace: Mutex::new(Pace::new(rate, Instant::now())),
        }
    }

    /// Asks Vercel for an installation's configuration and, if the installation is active, for its resources.
    pub(super) async fn fetch(&self, id: &InstallationId, loaded: Loaded<'_>) -> VercelSide {
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
            if !self.tries_again(&mut attempts, &found.answer).await {
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
            if !self.tries_again(&mut attempts, &listed.answer).await {
                return Listing::of(listed);
            }
        }
    }

    /// Whether the command sends a request again after this answer. If it does, the function waits before it
    /// returns, or, after a 429, makes all requests wait.
    async fn tries_again(&self, attempts: &mut Attempts, answer: &VercelAnswer) -> bool {
        attempts.0 += 1;
        let backoff = BACKOFF * 2_u32.pow(attempts.0 - 1);
        let wait = answer.retry_after().unwrap_or(backoff);
        if !answer.may_pass() || attempts.0 == ATTEMPTS || wait > LONGEST_PAUSE {
            return false;
        }
        if matches!(answer, VercelAnswer::Answer { status: 429, .. }) {
            self.pace().pause(Instant::now() + wait);
        } else {
            tokio::time::sleep(wait).await;
        }
        true
    }

    /// Waits until a request may begin. The request counts as under way until the permit is dropped. `None`
    /// only if the semaphore is closed, which never happens.
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
        // It does no harm if the lock is poisoned, because the times in `Pace` are always valid.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L1: in each second, no more requests begin than the rate allows, even if many requests are ready at
    /// the same time. A pause delays all ready requests.
    #[test]
    fn the_rate_is_bounded() {
        let start = Instant::now();
        let mut pace = Pace::new(10, start);
        let mut begun: Vec<_> = (0..40).map(|_| pace.turn(start)).collect();
        // A minute without requests does not allow more requests afterwards.
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
