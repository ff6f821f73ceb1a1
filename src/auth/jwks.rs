//! Keeps the issuer's keys in the process's memory (A7).
//!
//! What the module `jwks` guarantees, the most important first:
//!
//! - A request whose key is in the cache does not wait for a fetch, unless the host may freeze the process.
//! - Tokens with forged key ids cause at most one request to the issuer in 30 s.
//! - An outage of the issuer has no effect on cached keys for 24 h.
//! - A key is reported as unknown only after a fetch of the issuer's keys.
//!
//! A host that freezes the process would also freeze a fetch in the background. On a host that may freeze the
//! process, a request waits for a due refresh of the keys, for 1 s at most.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::keys::{KeySet, KeySetError, PublicKey};
use crate::clock::Clock;
use crate::limits::Limits;
use crate::outbound::{self, Outbound};
use crate::telemetry;

/// The age at which keys are fetched again, in the background.
const REFRESH_AFTER: Duration = Duration::from_mins(10);

/// How long teardown still uses the keys after a refresh was due, if every fetch fails.
const OUTAGE_TOLERANCE: Duration = Duration::from_hours(24);

/// The shortest time between two fetches while the cache has keys, even if callers send forged key ids.
const COOLDOWN: Duration = Duration::from_secs(30);

/// The shortest time between two fetches while the cache has no keys. Without keys, teardown cannot verify
/// any caller.
const COOLDOWN_WITHOUT_KEYS: Duration = Duration::from_secs(1);

/// How long a request with a known key waits for a refresh that is due, on a host that may freeze the
/// process after the answer.
const REFRESH_WAIT: Duration = Duration::from_secs(1);

/// The longest JWKS document that is read, in bytes. Vercel's JWKS document is under 2 KiB.
const MAX_DOCUMENT: usize = 256 * 1024;

/// Why a key was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupError {
    /// The issuer's keys were fetched, and no key with the requested id is among them.
    Unknown,
    /// The issuer's keys cannot be fetched now.
    Unavailable {
        /// The time until the issuer's keys can be fetched again.
        retry_after: Duration,
    },
}

/// What a host does with the process after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// The process keeps running.
    GoesOn,
    /// The process may be frozen until the next request.
    MayFreeze,
}

/// The cache of the issuer's keys. Clones of the cache share the keys.
#[derive(Clone, Debug)]
pub struct Jwks(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    url: reqwest::Url,
    after_answer: AfterAnswer,
    outbound: Outbound,
    clock: Clock,
    fetch_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<CachedKeys>,
    /// When the last fetch began, even if the fetch failed.
    last_fetch: Option<Duration>,
    flight: Option<Fetch>,
}

#[derive(Clone, Debug)]
struct CachedKeys {
    keys: Arc<KeySet>,
    since: Duration,
}

/// A running fetch of keys. The output of a fetch is `true` if the fetch returned keys.
type Fetch = Shared<BoxFuture<'static, bool>>;

/// The result of a search for a key in the cache.
enum Lookup {
    Key(PublicKey),
    /// A known key, and a fetch that begins now, because the keys are due for a refresh.
    Refresh(PublicKey, Fetch),
    /// The key is not in the cache, and a fetch begins now.
    Fetch(Fetch),
    /// The key is not in the cache, and a fetch is already running. The issuer may have answered a running
    /// fetch before the issuer had the key.
    Join(Fetch),
    Unavailable(Duration),
}

/// Why a fetch returned no keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the request failed")]
    Http(#[from] reqwest::Error),
    #[error("the answer's status is {0}")]
    Status(reqwest::StatusCode),
    #[error(transparent)]
    Answer(#[from] outbound::ReadError),
    #[error("the fetch panicked")]
    Panicked,
    #[error(transparent)]
    Document(#[from] KeySetError),
}

impl Jwks {
    /// Makes a cache of the keys at `url`. If the keys `first` are given, the cache fetches no keys until
    /// `first` is 10 minutes old, or until a request needs a key that is not in `first`.
    #[must_use]
    pub fn new(
        url: reqwest::Url,
        first: Option<KeySet>,
        outbound: Outbound,
        clock: Clock,
        after_answer: AfterAnswer,
        limits: Limits,
    ) -> Self {
        let held = first.map(|keys| CachedKeys { keys: Arc::new(keys), since: clock.now() });
        let state = Mutex::new(State { held, ..State::default() });
        let fetch_timeout = limits.keys;
        Self(Arc::new(Inner { url, after_answer, outbound, clock, fetch_timeout, state }))
    }

    /// Returns the key with the id `kid`. If the key is not in the cache, `find` waits for a fetch, unless it
    /// is too early for another fetch.
    ///
    /// # Errors
    ///
    /// [`LookupError::Unknown`] if `find` started a fetch that returned keys, and the key is not among them.
    /// [`LookupError::Unavailable`] if the key is not in the cache, and `find` did not start a fetch that
    /// returned keys.
    pub async fn find(&self, kid: &str) -> Result<PublicKey, LookupError> {
        let fetched = match self.look(kid) {
            Lookup::Key(key) => return Ok(key),
            Lookup::Refresh(key, flight) => match self.0.after_answer {
                AfterAnswer::GoesOn => return Ok(key),
                AfterAnswer::MayFreeze => match tokio::time::timeout(REFRESH_WAIT, flight).await {
                    Ok(true) => true,
                    Ok(false) | Err(_) => return Ok(key),
                },
            },
            Lookup::Unavailable(retry_after) => {
                return Err(LookupError::Unavailable { retry_after });
            }
            Lookup::Fetch(flight) => flight.await,
            Lookup::Join(flight) => {
                flight.await;
                false
            }
        };
        let state = self.state();
        match state.key(kid) {
            Some(key) => Ok(key),
            None if fetched => Err(LookupError::Unknown),
            None => Err(LookupError::Unavailable {
                retry_after: state.cooldown_left(self.0.clock.now()),
            }),
        }
    }

    /// The running fetch, if there is one. A fetch must end before the host freezes the process.
    pub(crate) fn fetch_under_way(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let flight = self.state().flight.clone()?;
        Some(flight.map(drop))
    }

    fn look(&self, kid: &str) -> Lookup {
        let now = self.0.clock.now();
        let mut state = self.state();
        state.drop_outlived(now);
        if let Some(key) = state.key(kid) {
            if state.is_stale(now) && state.flight.is_none() && state.cooldown_left(now).is_zero() {
                return Lookup::Refresh(key, self.start_fetch(&mut state, now));
            }
            return Lookup::Key(key);
        }
        if let Some(flight) = &state.flight {
            return Lookup::Join(flight.clone());
        }
        match state.cooldown_left(now) {
            Duration::ZERO => Lookup::Fetch(self.start_fetch(&mut state, now)),
            left => Lookup::Unavailable(left),
        }
    }

    /// Starts a fetch in a separate task, so that the fetch continues if the request ends.
    fn start_fetch(&self, state: &mut State, now: Duration) -> Fetch {
        let cache = self.clone();
        let task = tokio::spawn(async move {
            let fetch = AssertUnwindSafe(cache.0.fetch()).catch_unwind();
            let fetched = fetch.await.unwrap_or(Err(FetchError::Panicked));
            let mut state = cache.state();
            state.flight = None;
            match fetched {
                Ok(keys) => {
                    // The keys' age counts from the beginning of the fetch, because the host may have frozen
                    // the process since the issuer's answer.
                    state.held = Some(CachedKeys { keys: Arc::new(keys), since: now });
                    true
                }
                Err(error) => {
                    tracing::warn!(error = telemetry::chain(&error), "JWKS fetch failed");
                    false
                }
            }
        });
        let flight = task.map(|joined| joined.unwrap_or(false)).boxed().shared();
        state.last_fetch = Some(now);
        state.flight = Some(flight.clone());
        flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn key(&self, kid: &str) -> Option<PublicKey> {
        self.held.as_ref()?.keys.get(kid).cloned()
    }

    fn is_stale(&self, now: Duration) -> bool {
        // If the clock was set back, the keys' age is unknown, and the keys count as old.
        let age = |held: &CachedKeys| now.checked_sub(held.since);
        self.held.as_ref().is_some_and(|held| age(held).is_none_or(|age| age >= REFRESH_AFTER))
    }

    fn drop_outlived(&mut self, now: Duration) {
        self.held
            .take_if(|held| now.saturating_sub(held.since) >= REFRESH_AFTER + OUTAGE_TOLERANCE);
    }

    /// The time until the next fetch may begin.
    fn cooldown_left(&self, now: Duration) -> Duration {
        let cooldown = if self.held.is_some() { COOLDOWN } else { COOLDOWN_WITHOUT_KEYS };
        // If the clock was set back to a time before the last fetch, the last fetch does not delay the next
        // fetch.
        let since = self.last_fetch.and_then(|last| now.checked_sub(last));
        since.map_or(Duration::ZERO, |since| cooldown.saturating_sub(since))
    }
}

impl Inner {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let request =
            self.outbound.client(&self.url)?.get(self.url.clone()).timeout(self.fetch_timeout);
        let response = request.send().await?;
        if response.status() != reqwest::StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        Ok(KeySet::parse(&outbound::read(response, MAX_DOCUMENT).await?)?)
    }
}
