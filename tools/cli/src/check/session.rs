//! The state of a run: the requests that were sent, the installations and resources, and what the run knows
//! about the backend.

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
    survey: OnceLock<Survey>,
}

#[derive(Default)]
struct State {
    log: Vec<Exchange>,
    stock: Stock,
    /// The bodies with which the backend refused an uninstall.
    refused_bodies: Vec<Option<&'static str>>,
    silences_in_a_row: u32,
    silences: u32,
}

/// The bodies of Delete Installation that ask for an ordinary uninstall. The plainest body is first.
pub(super) const BODIES: [Option<&str>; 3] =
    [None, Some("{}"), Some(r#"{"cascadeResourceDeletion":true}"#)];

/// What the run knows about the backend before the first check. Each error says what the backend lacks, and
/// how to provide it.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    /// `Ok` if the backend accepts this run's tokens.
    pub trust: Result<(), String>,
    /// `Ok` if the backend provisions resources, or if the options name resources.
    pub resources: Result<(), String>,
    /// `Ok` if Get Resource shows a resource that exists.
    pub lookup: Result<(), String>,
    /// The address of the backend's webhook.
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
    /// The resource that forged requests try to delete.
    pub target: Option<Resource>,
    /// A second installation. The backend must not accept the second installation's tokens for the shared
    /// installation.
    pub other: Option<Installation>,
    /// The resources that the options name and that no check has received yet.
    pub given: Vec<String>,
    /// Whether a check has received the installation that the options name. The check that has received this
    /// installation may delete it.
    pub given_is_used: bool,
}

/// An installation that the run made, or that the options name.
#[derive(Debug)]
pub(super) struct Made {
    pub installation: Installation,
    /// Whether this run made the installation.
    pub ours: bool,
    pub fate: Fate,
    pub resources: Vec<MadeResource>,
}

/// A resource that the run made, or that the options name.
#[derive(Debug)]
pub(super) struct MadeResource {
    pub id: String,
    /// Whether this run made the resource.
    pub ours: bool,
    pub fate: Fate,
}

/// The state of an installation or a resource, as far as the run knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The installation or resource exists.
    Live,
    /// Nobody knows whether the installation or resource exists. A deletion without an `ADMIN`'s token
    /// succeeded, or a check did not find the resource.
    Doubtful,
    /// The installation or resource was deleted.
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

    /// Whether an installation exists, so that a check can use it.
    pub(super) fn is_live(&mut self, installation: &Installation) -> bool {
        self.of(installation).is_some_and(|made| made.fate == Fate::Live)
    }

    /// Whether a resource and its installation exist, so that a check can use the resource.
    pub(super) fn has(&mut self, resource: &Resource) -> bool {
        self.of(&resource.installation).is_some_and(|made| {
            let live = |it: &MadeResource| it.id == resource.id && it.fate == Fate::Live;
            made.fate == Fate::Live && made.resources.iter().any(live)
        })
    }

    /// Whether the run made a resource, or the options name it.
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

    /// Notes the state of the installation or the resource at a path.
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
            // Some servers close a connection after they answer an error. To keep the next request from
            // failing, the client reuses no connection.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("teardown-check/", env!("CARGO_PKG_VERSION")))
            .timeout(options.timeout);
        if is_local(&options.base_url) {
            // The client uses no proxy, because a proxy cannot reach this machine's ports.
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
        let (numbers, survey) = (AtomicU64::new(0), OnceLock::new());
        Ok(Arc::new(Self { options, http, numbers, state: Mutex::new(state), survey }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads or changes the installations and resources that the run made or that the options name.
    pub(super) fn stock<T>(&self, use_it: impl FnOnce(&mut Stock) -> T) -> T {
        use_it(&mut self.state().stock)
    }

    /// A number that this run has not used.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request, and logs it with its answer. If a `DELETE` is answered 2xx, `fate` becomes the state
    /// of the installation or resource at its path.
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

    /// Notes that nobody knows whether the installation or resource at a path exists. After this call, no
    /// check uses the installation or resource.
    pub(super) fn doubt(&self, path: &str) {
        self.state().stock.note(path, Fate::Doubtful);
    }

    /// The plainest body with which the backend has not refused an uninstall. If the backend refuses a body,
    /// only one check reports it, because the later checks send another body.
    pub(super) fn body(&self) -> Option<&'static str> {
        let state = self.state();
        BODIES.into_iter().find(|body| !state.refused_bodies.contains(body)).flatten()
    }

    /// Notes that the backend refused an uninstall with this body.
    pub(super) fn avoid(&self, body: Option<&'static str>) {
        self.state().refused_bodies.push(body);
    }

    /// Reads all requests that were sent so far, with their answers.
    pub(super) fn log<T>(&self, look: impl FnOnce(&[Exchange]) -> T) -> T {
        look(&self.state().log)
    }

    /// Why no further check should run: the backend has stopped answering. `None` if the backend still
    /// answers.
    pub(super) fn is_silent(&self) -> Option<String> {
        let state = self.state();
        let (row, all) = (state.silences_in_a_row, state.silences);
        if row >= SILENCES_IN_A_ROW {
            return Some(format!("{row} requests in a row had no answer"));
        }
        (all >= SILENCES).then(|| format!("{all} requests had no answer"))
    }

    /// Stores what the run knows about the backend. Only the first call of this function has an effect.
    pub(super) fn set_survey(&self, survey: Survey) {
        let _ = self.survey.set(survey);
    }

    /// What the run knows about the backend.
    pub(super) fn survey(&self) -> Option<&Survey> {
        self.survey.get()
    }

    /// Whether the backend accepts this run's tokens.
    pub(super) fn is_trusted(&self) -> bool {
        self.survey().is_some_and(|survey| survey.trust.is_ok())
    }
}

/// Whether an address is an address of this machine.
fn is_local(url: &str) -> bool {
    let url = reqwest::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
