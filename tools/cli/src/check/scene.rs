//! The functions with which checks make tokens, send requests, and look whether a resource exists.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::finding::{Finding, Verdict};
use super::options::EMAIL;
use super::session::{Fate, Installation, Resource, Session};
use super::signer::{Bearer, Claims, Signer, webhook_signature};
use super::wire::{Exchange, Header, Request};
use crate::issuer::{Subject, Token};

/// How long a token is valid.
const EXPIRY: Duration = Duration::from_mins(10);

/// How long before the present time tokens are dated, because the backend's clock may be slow.
const ISSUED: Duration = Duration::from_secs(5);

/// The time between two Get Resource requests for a resource that should disappear.
const LOOK: Duration = Duration::from_millis(200);

/// How many requests [`Call::send_at_once`] sends.
const AT_ONCE: usize = 16;

/// The header with the signature of a webhook.
pub(super) const SIGNATURE: &str = "x-vercel-signature";

/// One check's view of the run. Clones share the list of sent requests.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) session: Arc<Session>,
    sent: Arc<Mutex<Vec<Exchange>>>,
}

/// A request that a check builds and then sends.
#[derive(Clone)]
pub(super) struct Call {
    scene: Scene,
    method: Method,
    url: String,
    bearer: Bearer,
    headers: Vec<Header>,
    body: Option<String>,
    /// What a reader of the report has to know to send the request again, except the token.
    note: Option<String>,
    /// The state that the installation or resource has if the backend answers its deletion with 2xx.
    fate: Fate,
}

impl Scene {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        Self { session: Arc::clone(session), sent: Arc::default() }
    }

    /// The requests that this check sent so far, with their answers.
    pub(super) fn sent(&self) -> Vec<Exchange> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn signer(&self) -> &Signer {
        &self.session.options.signer
    }

    /// The claims of an installation's user with this role. Vercel's tokens have `user_email`, so the claims
    /// include it.
    pub(super) fn user(&self, installation: &Installation, role: &str) -> Claims {
        let subject = Subject::User { role: role.to_owned() };
        let article = if role == "ADMIN" { "an" } else { "a" };
        let description = format!("{article} {role}'s token of {}", installation.0);
        let claims = Claims { json: self.claims(Some(installation), subject), description };
        claims.with("user_email", json!(EMAIL))
    }

    /// The claims of an installation's `ADMIN`.
    pub(super) fn admin(&self, installation: &Installation) -> Claims {
        self.user(installation, "ADMIN")
    }

    /// The claims of Vercel itself, for one installation.
    pub(super) fn system(&self, installation: &Installation) -> Claims {
        let description = format!("a system token of {}", installation.0);
        Claims { json: self.claims(Some(installation), Subject::System), description }
    }

    /// The claims of Vercel itself, for all installations of the account.
    pub(super) fn account(&self) -> Claims {
        let account = &self.session.options.account;
        let description = format!("a system token of the account {account}, for no installation");
        Claims { json: self.claims(None, Subject::System), description }
    }

    fn claims(&self, installation: Option<&Installation>, subject: Subject) -> Value {
        let options = &self.session.options;
        let token = Token {
            issuer: options.issuer.clone(),
            audience: options.integration.clone().unwrap_or_else(|| "oac_unknown".to_owned()),
            account: options.account.clone(),
            installation: installation.map(|it| it.0.clone()),
            subject,
            expires: EXPIRY,
        };
        let mut claims = token.claims();
        for name in ["iat", "nbf"] {
            claims[name] = json!(self.now() - ISSUED.as_secs());
        }
        claims["exp"] = json!(self.now() + EXPIRY.as_secs());
        claims
    }

    /// The current time, in seconds since the Unix epoch.
    pub(super) fn now(&self) -> u64 {
        self.session.options.clock.now().as_secs()
    }

    /// An `Idempotency-Key` that was not used before.
    pub(super) fn fresh_key(&self) -> String {
        format!("check-{}-{}", self.session.options.run, self.session.number())
    }

    /// A request to a path of the backend, with a token of an `ADMIN` of the installation.
    pub(super) fn call(&self, method: Method, path: &str, installation: &Installation) -> Call {
        Call {
            scene: self.clone(),
            method,
            url: format!("{}{path}", self.session.options.base_url),
            bearer: self.signer().sign(&self.admin(installation)),
            headers: Vec::new(),
            body: None,
            note: None,
            fate: Fate::Gone,
        }
    }

    /// Delete Resource, as Vercel sends it.
    pub(super) fn delete(&self, resource: &Resource) -> Call {
        let call = self.call(Method::DELETE, &resource.path(), &resource.installation);
        call.key(&self.fresh_key())
    }

    /// Delete Installation, with the plainest body that the backend has not refused.
    pub(super) fn uninstall(&self, installation: &Installation) -> Call {
        self.uninstall_with(installation, self.session.body())
    }

    /// Delete Installation with this body.
    pub(super) fn uninstall_with(&self, installation: &Installation, body: Option<&str>) -> Call {
        let call = self.call(Method::DELETE, &installation.path(), installation);
        let call = call.key(&self.fresh_key());
        match body {
            Some(body) => call.body(body),
            None => call,
        }
    }

    /// Get Resource, as Vercel sends it.
    pub(super) fn get(&self, resource: &Resource) -> Call {
        let bearer = self.signer().sign(&self.system(&resource.installation));
        self.call(Method::GET, &resource.path(), &resource.installation).bearer(bearer)
    }

    /// Provision Resource, as Vercel sends it.
    pub(super) fn provision(&self, installation: &Installation) -> Call {
        let product = &self.session.options.product;
        let body = json!({
            "productId": product.id,
            "name": format!("teardown-check-{}", self.session.number()),
            "metadata": product.metadata,
            "billingPlanId": product.plan,
        });
        let path = format!("{}/resources", installation.path());
        let call = self.call(Method::POST, &path, installation);
        call.key(&self.fresh_key()).json(&body)
    }

    /// A webhook's delivery, signed with the client secret. If the run does not know the client secret, the
    /// signature is wrong.
    pub(super) fn webhook(&self, body: &str) -> Call {
        let secret = self.session.options.client_secret.as_deref().unwrap_or_default();
        let signature = webhook_signature(secret, body);
        let call = self.unsigned_webhook(body);
        let mut call = call.header_shown(SIGNATURE, &signature, Some("$SIGNATURE".to_owned()));
        call.note =
            Some("SIGNATURE is the body's: openssl dgst -sha1 -hmac \"$CLIENT_SECRET\"".to_owned());
        call
    }

    /// A webhook's delivery without a signature.
    pub(super) fn unsigned_webhook(&self, body: &str) -> Call {
        let survey = self.session.survey();
        let url = survey.and_then(|it| it.webhook.clone().ok()).unwrap_or_default();
        self.webhook_at(&url, body)
    }

    /// A webhook's delivery to an address, without a signature.
    pub(super) fn webhook_at(&self, url: &str, body: &str) -> Call {
        Call {
            scene: self.clone(),
            method: Method::POST,
            url: url.to_owned(),
            bearer: Bearer::none().without_style(),
            headers: Vec::new(),
            body: None,
            note: None,
            fate: Fate::Gone,
        }
        .body(body)
    }

    /// Whether Get Resource shows a resource whose status is not `uninstalled`.
    pub(super) async fn sees(&self, resource: &Resource) -> Result<bool, Finding> {
        let seen = self.get(resource).send().await?;
        let status = seen.answer()?.json().unwrap_or_default();
        Ok(seen.status() == 200 && status["status"] != "uninstalled")
    }

    /// If a verdict is a finding about a success, adds to the finding whether the request deleted the
    /// resource. To learn this, the run must know the resource and be able to see it.
    pub(super) async fn with_effect(
        &self,
        verdict: Verdict,
        resource: &Resource,
        after: &Exchange,
    ) -> Verdict {
        let lookup = self.session.survey().is_some_and(|survey| survey.lookup.is_ok());
        let is_known = self.session.stock(|stock| stock.knows(resource));
        let Err(Finding::Wrong { expected, seen, .. }) = verdict else { return verdict };
        let effect = match after.is_success() && lookup && is_known {
            true if self.sees(resource).await? => ", and the resource is still there",
            true => ", and the resource is gone",
            false => "",
        };
        Err(after.wrong_as(expected, format!("{seen}{effect}")))
    }

    /// Expects that a resource still exists after the backend's answer.
    pub(super) async fn expect_there(
        &self,
        resource: &Resource,
        after: &Exchange,
    ) -> Result<(), Finding> {
        if self.sees(resource).await? {
            return Ok(());
        }
        let look = self.get(resource).request().line();
        let seen = format!("{}, and {look} does not find it", after.status());
        Err(after.wrong_as("the resource is there afterwards", seen))
    }

    /// Expects that a resource is gone at the backend's answer, or soon after this answer.
    pub(super) async fn expect_gone(
        &self,
        resource: &Resource,
        after: &Exchange,
    ) -> Result<(), Finding> {
        if !self.lasts(resource).await? {
            return Ok(());
        }
        let patience = humantime::format_duration(self.session.options.patience);
        let look = self.get(resource).request().line();
        let seen = format!("{}, and {look} finds it {patience} later", after.status());
        Err(after.wrong_as("the resource is gone afterwards", seen))
    }

    /// Whether Get Resource still shows a resource when the run's patience ends.
    pub(super) async fn lasts(&self, resource: &Resource) -> Result<bool, Finding> {
        let begun = Instant::now();
        while self.sees(resource).await? {
            if begun.elapsed() >= self.session.options.patience {
                return Ok(true);
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(false)
    }
}

impl Call {
    /// Sends this `Authorization` in place of an `ADMIN`'s token. If the deletion succeeds, nobody knows for
    /// sure what was deleted.
    pub(super) fn bearer(mut self, bearer: Bearer) -> Self {
        self.bearer = bearer;
        self.fate = Fate::Doubtful;
        self
    }

    /// Sends this `Idempotency-Key` in place of an earlier key.
    pub(super) fn key(mut self, key: &str) -> Self {
        self = self.without_key();
        self.header("Idempotency-Key", key)
    }

    /// Sends no `Idempotency-Key`.
    pub(super) fn without_key(mut self) -> Self {
        self.headers.retain(|header| header.name != "Idempotency-Key");
        self
    }

    pub(super) fn header(self, name: &'static str, value: &str) -> Self {
        self.header_shown(name, value, None)
    }

    fn header_shown(mut self, name: &'static str, value: &str, shown: Option<String>) -> Self {
        self.headers.push(Header { name, value: value.to_owned(), shown });
        self
    }

    /// Sends this body, with `Content-Type: application/json`.
    pub(super) fn body(mut self, body: &str) -> Self {
        self.body = Some(body.to_owned());
        self.header("Content-Type", "application/json")
    }

    pub(super) fn json(self, body: &Value) -> Self {
        self.body(&body.to_string())
    }

    fn request(&self) -> Request {
        let Bearer { value, shown, description, style } = self.bearer.clone();
        let authorization = value.map(|value| Header {
            name: "Authorization",
            shown: secret(&value, shown),
            value,
        });
        let style = style.map(|style| Header {
            name: "X-Vercel-Auth",
            value: style.to_owned(),
            shown: None,
        });
        let headers = authorization.into_iter().chain(style).chain(self.headers.clone()).collect();
        let (method, url) = (self.method.clone(), self.url.clone());
        let token = description.map(|text| format!("TOKEN is {text}"));
        let note = token.or_else(|| self.note.clone());
        Request { method, url, headers, body: self.body.clone(), note }
    }

    /// Sends the request. Returns the exchange, or a finding if there is no answer.
    pub(super) async fn send(self) -> Result<Exchange, Finding> {
        let exchange = self.try_send().await;
        exchange.answer()?;
        Ok(exchange)
    }

    /// Sends the request. The returned exchange may have no answer.
    pub(super) async fn try_send(self) -> Exchange {
        let exchange = self.scene.session.send(self.request(), self.fate).await;
        self.scene.sent.lock().unwrap_or_else(PoisonError::into_inner).push(exchange.clone());
        exchange
    }

    /// Sends the request 16 times at the same time, and returns all the exchanges.
    pub(super) async fn send_at_once(self) -> Result<Vec<Exchange>, Finding> {
        let mut sent = JoinSet::new();
        for _ in 0..AT_ONCE {
            sent.spawn(self.clone().send());
        }
        let mut exchanges = Vec::new();
        while let Some(exchange) = sent.join_next().await {
            exchanges.push(exchange.map_err(|error| Finding::skipped(error.to_string()))??);
        }
        Ok(exchanges)
    }
}

/// The text that reports show in place of a value. `None` if the value is not secret.
fn secret(value: &str, shown: Option<String>) -> Option<String> {
    shown.filter(|shown| shown != value)
}
