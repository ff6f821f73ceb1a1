//! Makes requests as Vercel would: over the wire, with a token of the local issuer. What comes of them is
//! seen where every request is seen.

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

use super::{DevPage, Parts, said};
use crate::attributes::text;
use crate::embedded::this_machine;
use crate::issuer::{Issuer, Subject, Token};
use crate::terminal::one_line;

/// How long an answer is waited for: longer than any endpoint takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// How many requests `at once` means.
const AT_ONCE: usize = 64;

/// How long a token is good.
const EXPIRY: Duration = Duration::from_mins(10);

/// How long ago an expired one has ended: more than the leeway.
const EXPIRED_SINCE: Duration = Duration::from_mins(20);

/// Makes requests as Vercel.
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

/// What is to be deleted.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum What {
    Resource,
    Installation,
    Configuration,
}

#[derive(Debug, Deserialize)]
pub(super) struct Target {
    what: What,
    installation: String,
    #[serde(default)]
    resource: String,
}

/// Whose token is sent.
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

/// How a request is sent, as the form has it.
#[derive(Debug, Deserialize)]
pub(super) struct How {
    caller: As,
    key: Key,
    times: usize,
    #[serde(default)]
    cascade: String,
    #[serde(default)]
    reason: String,
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
        Ok(words) => said(&words),
        Err(error) => said(&one_line(&format!("{error:#}"))),
    }
}

impl DevPage {
    async fn act(&self, target: &Target, how: &How) -> anyhow::Result<String> {
        let id = InstallationId::parse(&target.installation)?;
        let item = self.sections.table.item(&id, "#installation").await?.unwrap_or_default();
        let account = text(&item, "accountId").unwrap_or(self.caller.account);
        let mut url = Url::parse(&self.caller.url)?;
        let mut body = None;
        match target.what {
            What::Resource => {
                let resource = ResourceId::parse(&target.resource)?;
                url.set_path(&format!("/v1/installations/{id}/resources/{resource}"));
            }
            What::Installation => {
                url.set_path(&format!("/v1/installations/{id}"));
                body = uninstall(how);
            }
            What::Configuration => {
                url.set_path(&format!("/v1/integrations/configuration/{id}"));
                if let Some(team) = text(&item, "teamId") {
                    url.query_pairs_mut().append_pair("teamId", team);
                }
            }
        }
        let token = self.caller.token(how.caller, id.as_str(), account);
        let key = self.caller.key(how.key);
        let times = if how.times > 1 { AT_ONCE } else { 1 };
        let requests = (0..times).map(|_| {
            let kind = if let As::System = how.caller { "system" } else { "user" };
            let mut request = self.caller.http.request(Method::DELETE, url.clone());
            request = request.bearer_auth(&token).header("X-Vercel-Auth", kind);
            if let Some(key) = &key {
                request = request.header("Idempotency-Key", key);
            }
            if let Some(body) = &body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            request.send()
        });
        let together = self.journal.together();
        let sent = join_all(requests).await;
        drop(together);
        let mut answers: BTreeMap<String, usize> = BTreeMap::new();
        for answer in sent {
            let said = match answer {
                Ok(answer) => answer.status().to_string(),
                Err(error) if error.is_timeout() => "no answer in 60 s".to_owned(),
                Err(_) => "no answer".to_owned(),
            };
            *answers.entry(said).or_default() += 1;
        }
        let answers = answers.into_iter();
        let answers = answers.map(
            |(said, count)| {
                if times == 1 { said } else { format!("{count} × {said}") }
            },
        );
        Ok(format!("DELETE {}: {}", url.path(), answers.collect::<Vec<_>>().join(", ")))
    }
}

/// The body of an uninstall: none where neither is chosen.
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
