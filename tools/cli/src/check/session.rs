//! A run's state: what was sent, what was made, and what is known of the backend.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::options::{Options, SILENCES, SILENCES_IN_A_ROW, Supply};
use super::wire::{Exchange, Request};

/// What all checks of a run share.
pub(super) struct Session {
    pub options: Options,
    http: reqwest::Client,
    numbers: AtomicU64,
    state: Mutex<State>,
    standing: OnceLock<Standing>,
}

#[derive(Default)]
struct State {
    log: Vec<Exchange>,
    stock: Stock,
    /// The bodies that an uninstall was refused with.
    refused_bodies: Vec<Option<&'static str>>,
    silences_in_a_row: u32,
    silences: u32,
}

/// The bodies of Delete Installation that say nothing particular, the plainest first.
pub(super) const BODIES: [Option<&str>; 3] =
    [None, Some("{}"), Some(r#"{"cascadeResourceDeletion":true}"#)];

/// What is known of the backend before the first check. An error says what is missing, and what would
/// provide it.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// The backend takes this run's tokens.
    pub trust: Result<(), String>,
    /// The backend provisions resources, or there are some.
    pub resources: Result<(), String>,
    /// A resource that is there can be seen to be there.
    pub sight: Result<(), String>,
    /// The address of webhooks.
    pub webhook: Result<String, String>,
}

/// An installation at the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installation(pub String);

/// A resource at the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resource {
    pub installation: Installation,
    pub id: String,
}

/// The installations and resources of a run.
#[derive(Default)]
pub(super) struct Stock {
    pub made: Vec<Made>,
    /// The installation that many checks share.
    pub home: Option<Installation>,
    /// The resource that forged requests are for.
    pub target: Option<Resource>,
    /// An installation beside the shared one, whose tokens are good for itself alone.
    pub other: Option<Installation>,
    /// The resources that the caller named, and that no check has deleted.
    pub given: Vec<String>,
    /// Whether the installation that the caller named was handed out to be deleted.
    pub given_is_used: bool,
}

/// An installation that a run made, or was given.
#[derive(Debug)]
pub(super) struct Made {
    pub installation: Installation,
    /// It was made by this run.
    pub ours: bool,
    pub fate: Fate,
    pub resources: Vec<MadeResource>,
}

/// A resource that a run made, or was given.
#[derive(Debug)]
pub(super) struct MadeResource {
    pub id: String,
    /// It was made by this run.
    pub ours: bool,
    pub fate: Fate,
}

/// What became of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there.
    Live,
    /// Nobody knows: a request had an effect that it should not have had.
    Doubtful,
    /// It was deleted.
    Gone,
}

impl Installation {
    pub(super) fn path(&self) -> String {
        format!("/v1/installations/{}", self.0)
    }
}

impl Resource {
    pub(super) fn path(&self) -> String {
        format!("{}/resources/{}", self.installation.path(), self.id)
    }
}

impl Stock {
    fn of(&mut self, installation: &Installation) -> Option<&mut Made> {
        self.made.iter_mut().find(|made| made.installation == *installation)
    }

    /// Whether a check can still build on an installation.
    pub(super) fn is_live(&mut self, installation: &Installation) -> bool {
        self.of(installation).is_some_and(|made| made.fate == Fate::Live)
    }

    /// Whether a check can still build on a resource.
    pub(super) fn has(&mut self, resource: &Resource) -> bool {
        self.of(&resource.installation).is_some_and(|made| {
            let live = |it: &MadeResource| it.id == resource.id && it.fate == Fate::Live;
            made.fate == Fate::Live && made.resources.iter().any(live)
        })
    }

    /// Whether a resource was made or given.
    pub(super) fn knows(&mut self, resource: &Resource) -> bool {
        self.of(&resource.installation)
            .is_some_and(|made| made.resources.iter().any(|it| it.id == resource.id))
    }

    pub(super) fn add(&mut self, installation: Installation, ours: bool) {
        self.made.push(Made { installation, ours, fate: Fate::Live, resources: Vec::new() });
    }

    pub(super) fn add_resource(&mut self, resource: &Resource, ours: bool) {
        let id = resource.id.clone();
        if let Some(made) = self.of(&resource.installation) {
            made.resources.push(MadeResource { id, ours, fate: Fate::Live });
        }
    }

    /// Notes what became of the installation or the resource at a path.
    fn note(&mut self, path: &str, fate: Fate) {
        for made in &mut self.made {
            let own = made.installation.path();
            if path == own {
                made.fate = fate;
            } else if let Some(id) = path.strip_prefix(&format!("{own}/resources/")) {
                made.resources.iter_mut().filter(|it| it.id == id).for_each(|it| it.fate = fate);
            }
        }
    }
}

impl Session {
    pub(super) fn start(options: Options) -> reqwest::Result<Arc<Self>> {
        let mut http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // Some servers close a connection after an answer that they regret: the next request is not to
            // meet that.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("teardown-check/", env!("CARGO_PKG_VERSION")))
            .timeout(options.timeout);
        if is_local(&options.base_url) {
            // A proxy does not know this machine's ports; and no certificate is read for them.
            http = http.no_proxy();
        }
        if options.base_url.starts_with("http://") {
            http = http.tls_certs_only([]);
        }
        let http = http.build()?;
        let mut state = State::default();
        if let Supply::Given { installation, resources } = &options.supply {
            let installation = Installation(installation.clone());
            state.stock.add(installation.clone(), false);
            state.stock.home = Some(installation.clone());
            for id in resources {
                let resource = Resource { installation: installation.clone(), id: id.clone() };
                state.stock.add_resource(&resource, false);
                state.stock.target.get_or_insert(resource);
            }
            state.stock.given.clone_from(resources);
        }
        let (numbers, standing) = (AtomicU64::new(0), OnceLock::new());
        Ok(Arc::new(Self { options, http, numbers, state: Mutex::new(state), standing }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes what was made.
    pub(super) fn stock<T>(&self, use_it: impl FnOnce(&mut Stock) -> T) -> T {
        use_it(&mut self.state().stock)
    }

    /// A number that this run has not used.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request, and keeps what came of it. `fate` is what a 2xx means for what is at its path.
    pub(super) async fn send(&self, request: Request, fate: Fate) -> Exchange {
        let begun = self.options.clock.now();
        let answer = request.send(&self.http).await;
        let took = self.options.clock.now().saturating_sub(begun);
        let exchange = Exchange { request, answer, took };
        let mut state = self.state();
        if exchange.answer.is_ok() {
            state.silences_in_a_row = 0;
        } else {
            state.silences_in_a_row += 1;
            state.silences += 1;
        }
        if exchange.is_success() && exchange.request.method == reqwest::Method::DELETE {
            let path = exchange.request.url.strip_prefix(&self.options.base_url);
            state.stock.note(path.unwrap_or_default(), fate);
        }
        state.log.push(exchange.clone());
        exchange
    }

    /// Notes that nobody knows any more whether something is there: no check can build on it.
    pub(super) fn doubt(&self, path: &str) {
        self.state().stock.note(path, Fate::Doubtful);
    }

    /// The plainest body that an uninstall was not refused with: a backend that takes none but another is
    /// told so once, by the check that is about it.
    pub(super) fn body(&self) -> Option<&'static str> {
        let state = self.state();
        BODIES.into_iter().find(|body| !state.refused_bodies.contains(body)).flatten()
    }

    /// Notes that an uninstall was refused with this body.
    pub(super) fn avoid(&self, body: Option<&'static str>) {
        self.state().refused_bodies.push(body);
    }

    /// Looks at all that was sent so far.
    pub(super) fn log<T>(&self, look: impl FnOnce(&[Exchange]) -> T) -> T {
        look(&self.state().log)
    }

    /// Why no further check should be made: the backend has stopped answering.
    pub(super) fn is_silent(&self) -> Option<String> {
        let state = self.state();
        let (row, all) = (state.silences_in_a_row, state.silences);
        if row >= SILENCES_IN_A_ROW {
            return Some(format!("{row} requests in a row had no answer"));
        }
        (all >= SILENCES).then(|| format!("{all} requests had no answer"))
    }

    /// Says once what is known of the backend.
    pub(super) fn stand(&self, standing: Standing) {
        let _ = self.standing.set(standing);
    }

    /// What is known of the backend.
    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.get()
    }

    /// Whether the backend takes this run's tokens.
    pub(super) fn is_trusted(&self) -> bool {
        self.standing().is_some_and(|standing| standing.trust.is_ok())
    }
}

/// Whether an address is this machine's.
fn is_local(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
