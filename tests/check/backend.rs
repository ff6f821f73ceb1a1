//! A stand-in for a provider's backend, in memory. The stand-in does everything right, except for the one
//! fault that a test gives it. A fault's name is the id of the check that has to report the fault, or
//! [`IDLE`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use teardown::auth::Caller;
use teardown::auth::keys::KeySet;
use teardown::clock::Clock;

use super::gate::{CLIENT_SECRET, Gate, Refusal};
use super::hook;

/// The time that a slow backend takes to answer.
const SLOW: Duration = Duration::from_secs(11);

/// The fault of a backend that answers 2xx to a deletion and deletes nothing, if the token names no
/// installation.
pub const IDLE: &str = "a token of no installation is answered, and does nothing";

/// The stand-in for a provider's backend. All clones of a `Backend` share one state.
#[derive(Clone)]
pub struct Backend(Arc<Inner>);

pub struct Inner {
    pub fault: String,
    pub clock: Clock,
    pub gate: Gate,
    pub secret: &'static str,
    state: Mutex<Store>,
}

#[derive(Default)]
pub struct Store {
    pub installations: BTreeMap<String, Installation>,
    /// The recorded answers by `Idempotency-Key`, each with the request that it answered.
    answers: BTreeMap<String, (String, StatusCode, String)>,
    /// The number of deletion requests for each path.
    requests: BTreeMap<String, u32>,
    /// The ids of the webhook events that the backend received.
    pub events: BTreeSet<String>,
    numbers: u32,
}

#[derive(Default)]
pub struct Installation {
    pub account: String,
    pub gone: bool,
    pub resources: BTreeMap<String, Resource>,
}

#[derive(Default)]
pub struct Resource {
    pub gone: bool,
}

/// An answer: its status and its body.
pub struct Reply(pub StatusCode, pub Value);

impl Reply {
    fn status(status: u16) -> Self {
        Self(StatusCode::from_u16(status).unwrap(), Value::Null)
    }

    pub fn error(status: u16, code: &str) -> Self {
        let error = json!({ "code": code, "message": "it is not done" });
        Self(StatusCode::from_u16(status).unwrap(), json!({ "error": error }))
    }

    fn with_code(status: u16, code: &str) -> Self {
        let mut reply = Self::error(status, code);
        reply.1["error"]["user"] = json!({ "message": "Ask an admin of your team." });
        reply
    }
}

/// A request to one of the documented paths.
pub struct Call {
    pub method: Method,
    pub installation: String,
    pub resource: Option<String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    pub fn is_json(&self) -> bool {
        self.headers.contains_key(header::CONTENT_TYPE)
    }
}

impl Backend {
    /// Makes a backend that trusts these keys, and has the fault of this name. If no fault has this name, the
    /// backend does everything right.
    pub fn new(keys: &Value, fault: &str, clock: Clock) -> Self {
        let keys = KeySet::parse(keys.to_string().as_bytes()).unwrap();
        let gate = Gate::new(keys, fault, clock.clone());
        Self(Arc::new(Inner {
            fault: fault.to_owned(),
            clock,
            gate,
            secret: CLIENT_SECRET,
            state: Mutex::default(),
        }))
    }

    pub fn router(&self) -> Router {
        Router::new().fallback(answer).with_state(self.clone())
    }

    /// The ids of the installations and of the resources that are not deleted.
    pub fn live(&self) -> (Vec<String>, Vec<String>) {
        let store = self.0.store();
        let live = store.installations.iter().filter(|(_, it)| !it.gone);
        let resources = store.installations.values().flat_map(|it| &it.resources);
        let resources = resources.filter(|(_, it)| !it.gone).map(|(id, _)| id.clone());
        (live.map(|(id, _)| id.clone()).collect(), resources.collect())
    }

    /// The numbers of installations and of resources that were ever created.
    pub fn made(&self) -> (usize, usize) {
        let store = self.0.store();
        let resources = store.installations.values().map(|it| it.resources.len());
        (store.installations.len(), resources.sum())
    }

    /// Adds an installation with these resources.
    pub fn install(&self, id: &str, account: &str, resources: &[&str]) {
        let resources =
            resources.iter().map(|id| ((*id).to_owned(), Resource::default())).collect();
        let installation = Installation { account: account.to_owned(), gone: false, resources };
        self.0.store().installations.insert(id.to_owned(), installation);
    }
}

async fn answer(State(backend): State<Backend>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let path = head.uri.path();
    if head.method == Method::POST && path == "/api/webhook" {
        let Reply(status, json) = hook::answer(&backend.0, &head.headers, &body);
        return (status, axum::Json(json)).into_response();
    }
    let Some(rest) = path.strip_prefix("/v1/installations/") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (installation, resource) = match rest.split_once("/resources") {
        Some((installation, resource)) => (installation, resource.strip_prefix('/')),
        None => (rest, None),
    };
    let provisions = rest.ends_with("/resources");
    let call = Call {
        method: head.method,
        installation: installation.to_owned(),
        resource: resource.map(str::to_owned),
        headers: head.headers,
        body,
    };
    backend.0.answer(&call, provisions)
}

impl Inner {
    pub fn is(&self, fault: &str) -> bool {
        self.fault == fault
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap()
    }

    /// Delays the backend's answer, if the backend has this fault.
    pub fn dawdle(&self, fault: &str) {
        if self.is(fault) {
            self.clock.advance(SLOW);
        }
    }

    fn answer(&self, call: &Call, provisions: bool) -> Response {
        let path = (call.installation.as_str(), call.resource.as_deref());
        let deletes = call.method == Method::DELETE;
        let refusal = match self.gate.caller(&call.headers, path, deletes) {
            Ok(caller) => self.may(&caller, call, deletes).err(),
            Err(refusal) => Some(refusal),
        };
        if let Some(refusal) = refusal {
            self.dawdle("time/refusals");
            self.act_in_spite_of(&refusal, call);
            return refusal.response(&self.fault, &call.headers);
        }
        if call.method == Method::DELETE
            && self.is(IDLE)
            && self.gate.is_of_no_installation(&call.headers)
        {
            return axum::Json(json!({ "finalized": true })).into_response();
        }
        let Reply(status, json) = match (call.method.as_str(), &call.resource) {
            ("PUT", None) => self.upsert(call),
            ("POST", None) if provisions => self.provision(call),
            ("GET", Some(resource)) => self.get(call, resource),
            ("DELETE", Some(_)) => {
                self.dawdle("time/delete-resource");
                self.keyed(call, Self::delete)
            }
            ("DELETE", None) => {
                self.dawdle("time/delete-installation");
                self.keyed(call, Self::uninstall)
            }
            _ => Reply::error(404, "not_found"),
        };
        let conflict = status == StatusCode::CONFLICT && deletes;
        if conflict && self.is("errors/conflict-form") {
            return (status, "conflict").into_response();
        }
        match json {
            Value::Null if status.is_redirection() => {
                (status, [(header::LOCATION, "/elsewhere")]).into_response()
            }
            Value::Null => status.into_response(),
            json => (status, axum::Json(json)).into_response(),
        }
    }

    /// Whether the caller may send this request. The error says why the request is refused.
    fn may(&self, caller: &Caller, call: &Call, deletes: bool) -> Result<(), Refusal> {
        let on_resource = call.resource.is_some();
        let id = &call.installation;
        match caller {
            Caller::User { installation, role, .. } => {
                let another = if on_resource {
                    "tokens/another-installation"
                } else {
                    "tokens/uninstall-another-installation"
                };
                if installation != id && !(deletes && self.is(another)) {
                    let unknown = !self.store().installations.contains_key(id);
                    return Err(Refusal::Stranger { unknown });
                }
                let reads = if on_resource {
                    "tokens/read-only-role"
                } else {
                    "tokens/uninstall-read-only-role"
                };
                let admin = *role == teardown::auth::Role::Admin;
                if admin || self.is(reads) { Ok(()) } else { Err(Refusal::Role) }
            }
            Caller::System { installation: Some(installation), .. } => {
                let fault =
                    if on_resource { "tokens/system" } else { "delete-installation/by-system" };
                let known = installation == id && !(deletes && self.is(fault));
                if known { Ok(()) } else { Err(Refusal::Stranger { unknown: false }) }
            }
            Caller::System { installation: None, account } => {
                if self.is("delete-installation/by-account") && !on_resource {
                    return Err(Refusal::Stranger { unknown: false });
                }
                let store = self.store();
                let own = store.installations.get(id).is_some_and(|it| it.account == *account);
                let known = own || self.is("tokens/another-account");
                if known { Ok(()) } else { Err(Refusal::Stranger { unknown: false }) }
            }
        }
    }

    /// Deletes although the request's token has expired, if the backend has that fault.
    fn act_in_spite_of(&self, refusal: &Refusal, call: &Call) {
        if !matches!(refusal, Refusal::Token(teardown::auth::TokenError::Expired)) {
            return;
        }
        let mut store = self.store();
        let Some(installation) = store.installations.get_mut(&call.installation) else { return };
        let resources = installation.resources.iter_mut();
        for (id, resource) in resources {
            resource.gone |= match &call.resource {
                Some(named) => named == id && self.is("tokens/refused-means-untouched"),
                None => self.is("tokens/uninstall-refused-means-untouched"),
            };
        }
    }

    fn upsert(&self, call: &Call) -> Reply {
        let Some(body) = call.json() else { return Reply::error(400, "bad_request") };
        if !body["credentials"]["access_token"].is_string() {
            return Reply::error(400, "bad_request");
        }
        let account = self.gate.account(&call.headers);
        let installation = Installation { account, ..Installation::default() };
        self.store().installations.entry(call.installation.clone()).or_insert(installation);
        Reply(StatusCode::OK, json!({}))
    }

    fn provision(&self, call: &Call) -> Reply {
        let mut store = self.store();
        store.numbers += 1;
        let id = format!("db_{}", store.numbers);
        let Some(installation) = store.installations.get_mut(&call.installation) else {
            return Reply::with_code(409, "unknown_installation");
        };
        if installation.gone && !self.is("delete-installation/provision-refused") {
            return Reply::with_code(409, "installation_deleted");
        }
        installation.resources.insert(id.clone(), Resource::default());
        Reply(StatusCode::OK, json!({ "id": id, "status": "ready", "secrets": [] }))
    }

    fn get(&self, call: &Call, resource: &str) -> Reply {
        let store = self.store();
        let installation = store.installations.get(&call.installation);
        let found = installation.and_then(|it| it.resources.get(resource));
        match found {
            Some(found) if !found.gone => {
                Reply(StatusCode::OK, json!({ "id": resource, "status": "ready" }))
            }
            Some(_) if self.is("delete-resource/get-afterwards-is-no-500") => {
                Reply::error(500, "internal")
            }
            None if self.is("errors/no-redirect") => Reply::status(307),
            _ => Reply::error(404, "not_found"),
        }
    }

    /// Answers a request. If an answer is recorded under the request's `Idempotency-Key`, the backend repeats
    /// that answer.
    fn keyed(&self, call: &Call, act: impl Fn(&Self, &mut Store, &Call) -> Reply) -> Reply {
        let path = format!("{}/{:?}", call.installation, call.resource);
        let mut store = self.store();
        let requests = store.requests.entry(path.clone()).or_default();
        *requests += 1;
        let at_once = match &call.resource {
            Some(_) => self.is("delete-resource/at-once"),
            None => self.is("delete-installation/at-once"),
        };
        if at_once && *requests > 2 {
            return Reply::error(500, "internal");
        }
        let Some(key) = call.header("idempotency-key") else {
            if self.is("delete-resource/without-key") {
                return Reply::error(400, "bad_request");
            }
            return act(self, &mut store, call);
        };
        let key = format!("{}/{key}", call.installation);
        let what = format!("{path}/{:?}", call.json());
        if let Some((before, status, body)) = store.answers.get(&key) {
            if *before != what && !self.is("delete-resource/same-key-on-another") {
                return self.conflict("key_reused");
            }
            let replay = match &call.resource {
                Some(_) => self.is("delete-resource/same-key-again"),
                None => self.is("delete-installation/same-key-again"),
            };
            if replay {
                return Reply::error(404, "not_found");
            }
            if call.resource.is_none() && self.is("delete-installation/same-key-same-answer") {
                return Reply::status(204);
            }
            return Reply(*status, serde_json::from_str(body).unwrap());
        }
        let Reply(status, body) = act(self, &mut store, call);
        if status.is_success() {
            store.answers.insert(key, (what, status, body.to_string()));
        }
        Reply(status, body)
    }

    pub fn conflict(&self, code: &str) -> Reply {
        if self.is("errors/conflict-has-user-message") {
            Reply::error(409, code)
        } else {
            Reply::with_code(409, code)
        }
    }
}
