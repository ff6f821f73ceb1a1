//! Sends requests as Vercel would: deletions, and calls that pass through to the backend. Each request is
//! sent over HTTP, with a token of the local issuer. `watch` sees the page's requests like all other
//! requests.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Form, Query, State};
use axum::response::Response;
use futures_util::future::join_all;
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use teardown::clock::Clock;
use teardown::ids::{InstallationId, ResourceId};

use super::{DevPage, Parts, message, page_of};
use crate::attributes::text;
use crate::embedded::this_machine;
use crate::issuer::{Issuer, Subject, Token};
use crate::terminal::one_line;

/// How long the page waits for an answer, which is longer than any endpoint takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many equal requests the page sends at the same time, if the form asks for more than one request.
const AT_ONCE: usize = 64;

/// How long a token is valid.
const EXPIRY: Duration = Duration::from_mins(10);

/// The age of an expired token, which is more than `EXPIRY` and the leeway together.
const EXPIRED_SINCE: Duration = Duration::from_mins(20);

/// Sends requests in the name of Vercel.
#[derive(Clone)]
pub(super) struct Caller {
    http: reqwest::Client,
    url: String,
    issuer: Arc<Issuer>,
    clock: Clock,
    iss: String,
    audience: String,
    account: &'static str,
    last_key: Arc<Mutex<Option<String>>>,
}

/// The kind of a request: a call that passes through to the backend, or a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    /// A request that makes a new installation.
    Install,
    /// A request that makes a new resource.
    Provision,
    Resource,
    Installation,
    Configuration,
}

#[derive(Debug, Deserialize)]
pub(super) struct Target {
    what: What,
    /// The installation's id. Empty if the request makes a new installation.
    #[serde(default)]
    installation: String,
    #[serde(default)]
    resource: String,
}

/// The kind of caller whose token is sent.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum As {
    Admin,
    User,
    System,
    Other,
    Expired,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Key {
    None,
    New,
    Same,
}

/// How a request is sent: the fields of the form.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    caller: As,
    key: Key,
    times: usize,
    #[serde(default)]
    cascade: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    product: String,
    #[serde(default)]
    name: String,
}

impl Caller {
    pub(super) fn new(address: SocketAddr, parts: &Parts<'_>) -> Self {
        let http = this_machine().timeout(PATIENCE).build();
        Self {
            http: http.unwrap_or_default(),
            url: format!("http://{address}"),
            issuer: Arc::clone(parts.issuer),
            clock: parts.clock.clone(),
            iss: parts.config.oidc_issuer.clone(),
            audience: parts.config.integration_ids.first().to_owned(),
            account: parts.account,
            last_key: Arc::default(),
        }
    }

    pub(super) fn account(&self) -> &'static str {
        self.account
    }

    fn token(&self, how: As, installation: &str, account: &str) -> String {
        let installation = if let As::Other = how { "icfg_of_somebody_else" } else { installation };
        let subject = match how {
            As::System => Subject::System,
            As::User => Subject::User { role: "USER".to_owned() },
            As::Admin | As::Other | As::Expired => Subject::User { role: "ADMIN".to_owned() },
        };
        let token = Token {
            issuer: self.iss.clone(),
            audience: self.audience.clone(),
            account: account.to_owned(),
            installation: Some(installation.to_owned()),
            subject,
            expires: EXPIRY,
        };
        let now = self.clock.now();
        let issued = if let As::Expired = how { now.saturating_sub(EXPIRED_SINCE) } else { now };
        self.issuer.sign(&token.claims_at(issued))
    }

    fn key(&self, key: Key) -> Option<String> {
        let mut last = self.last_key.lock().unwrap_or_else(PoisonError::into_inner);
        match key {
            Key::None => return None,
            Key::Same if last.is_some() => {}
            Key::New | Key::Same => {
                let now = self.clock.now().as_nanos();
                *last = Some(format!("key-{:x}", now & 0xffff_ffff_ffff));
            }
        }
        last.clone()
    }
}

pub(super) async fn run(
    State(page): State<DevPage>,
    Query(target): Query<Target>,
    Form(how): Form<How>,
) -> Response {
    match page.act(&target, &how).await {
        Ok(Came { opens: Some(id), .. }) => page_of(id.as_str()),
        Ok(Came { text, opens: None }) => message(&text),
        Err(error) => message(&one_line(&format!("{error:#}"))),
    }
}

/// The result of the requests that a form asked for.
struct Came {
    text: String,
    /// The new installation, whose page the browser opens. `None` if the requests made no installation.
    opens: Option<InstallationId>,
}

/// A request without its token and its `Idempotency-Key`.
struct Call {
    method: Method,
    url: Url,
    body: Option<Value>,
}

impl DevPage {
    async fn act(&self, target: &Target, how: &How) -> anyhow::Result<Came> {
        let id = match target.what {
            What::Install => self.unused("icfg_new").await?,
            _ => InstallationId::parse(&target.installation)?,
        };
        let item = self.sections.table.item(&id, "#installation").await?.unwrap_or_default();
        let account = text(&item, "accountId").unwrap_or(self.caller.account);
        let call = self.caller.call(&id, target, how, text(&item, "teamId"))?;
        let token = self.caller.token(how.caller, id.as_str(), account);
        let answers = self.send(&call, &token, how).await;
        let installed =
            target.what == What::Install && answers.keys().all(|it| it.starts_with('2'));
        let counts = answers.iter().map(|(answer, count)| match how.times {
            0 | 1 => answer.clone(),
            _ => format!("{count} × {answer}"),
        });
        let counts = counts.collect::<Vec<_>>().join(", ");
        let text = format!("{} {}: {counts}", call.method, call.url.path());
        Ok(Came { text, opens: installed.then_some(id) })
    }

    /// Sends a request once, or 64 times at the same time. Returns each different answer, with its number.
    async fn send(&self, call: &Call, token: &str, how: &How) -> BTreeMap<String, usize> {
        let key = self.caller.key(how.key);
        let times = if how.times > 1 { AT_ONCE } else { 1 };
        let requests = (0..times).map(|_| {
            let kind = if let As::System = how.caller { "system" } else { "user" };
            let mut request = self.caller.http.request(call.method.clone(), call.url.clone());
            request = request.bearer_auth(token).header("X-Vercel-Auth", kind);
            if let Some(key) = &key {
                request = request.header("Idempotency-Key", key);
            }
            if let Some(body) = &call.body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            request.send()
        });
        let together = self.journal.together();
        let sent = join_all(requests).await;
        drop(together);
        let mut answers = BTreeMap::new();
        for answer in sent {
            let line = match answer {
                Ok(answer) => answer.status().to_string(),
                Err(error) if error.is_timeout() => "no answer in 60 s".to_owned(),
                Err(_) => "no answer".to_owned(),
            };
            *answers.entry(line).or_default() += 1;
        }
        answers
    }
}

impl Caller {
    fn call(
        &self,
        id: &InstallationId,
        target: &Target,
        how: &How,
        team: Option<&str>,
    ) -> anyhow::Result<Call> {
        let mut url = Url::parse(&self.url)?;
        let installation = format!("/v1/installations/{id}");
        url.set_path(&installation);
        let (method, body) = match target.what {
            What::Install => (Method::PUT, Some(install(id))),
            What::Provision => {
                url.set_path(&format!("{installation}/resources"));
                let wanted = json!({
                    "productId": how.product, "name": how.name, "metadata": {}, "billingPlanId": "free",
                });
                (Method::POST, Some(wanted))
            }
            What::Installation => (Method::DELETE, uninstall(how)),
            What::Resource => {
                let resource = ResourceId::parse(&target.resource)?;
                url.set_path(&format!("{installation}/resources/{resource}"));
                (Method::DELETE, None)
            }
            What::Configuration => {
                url.set_path(&format!("/v1/integrations/configuration/{id}"));
                if let Some(team) = team {
                    url.query_pairs_mut().append_pair("teamId", team);
                }
                (Method::DELETE, None)
            }
        };
        Ok(Call { method, url, body })
    }
}

/// The body of an Upsert Installation.
fn install(id: &InstallationId) -> Value {
    json!({
        "scopes": ["read-write:resource"],
        "acceptedPolicies": {},
        "credentials": { "access_token": format!("token-of-{id}"), "token_type": "Bearer" },
        "account": {
            "name": "Local", "url": "https://vercel.com/local", "contact": { "email": "local@example.com" },
        },
    })
}

/// The body of an uninstall. `None` if the form has neither a cascade nor a reason.
fn uninstall(how: &How) -> Option<Value> {
    let mut body = serde_json::Map::new();
    match how.cascade.as_str() {
        "yes" => drop(body.insert("cascadeResourceDeletion".to_owned(), json!(true))),
        "no" => drop(body.insert("cascadeResourceDeletion".to_owned(), json!(false))),
        _ => {}
    }
    if !how.reason.trim().is_empty() {
        body.insert("reason".to_owned(), json!(how.reason.trim()));
    }
    (!body.is_empty()).then_some(Value::Object(body))
}
