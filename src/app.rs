//! The one way a request goes, from the host's request to its response.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Request, Response};
use http_body_util::Full;
use tracing::field::{Empty, display};
use tracing::{Instrument as _, Span};

use crate::auth::Verifier;
use crate::auth::jwks::Jwks;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::deletion::{Answer, Deletion, Grant, Target};
use crate::error::Error;
use crate::http::{Endpoint, Ids, Uninstall, idempotency_key, read_body, respond};
use crate::store::{self, Store};
use crate::telemetry;

/// Everything an endpoint needs. Clones share it.
#[derive(Clone, Debug)]
pub struct App {
    verifier: Verifier,
    store: Store,
    clock: Clock,
    support_url: Option<String>,
}

/// A handler panicked. What it said went to standard error.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked")]
struct Panicked;

impl App {
    /// Makes the verifier and the store that a configuration and the AWS environment describe.
    /// Nothing is sent to either yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] where the AWS environment names no region.
    pub async fn new(config: &Config, clock: Clock) -> Result<Self, ConfigError> {
        // The region without asking the network, where it would only be found missing.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        let environment = aws_config::defaults(BehaviorVersion::latest()).region(region);
        let client = store::client(&store::aws_config(environment).await?);
        Ok(Self::with_store(config, Store::new(client, config, clock.clone()), clock))
    }

    /// Like [`App::new`], for a store that there is.
    #[must_use]
    pub fn with_store(config: &Config, store: Store, clock: Clock) -> Self {
        let jwks = Jwks::new(config.oidc_jwks_url.clone(), config.oidc_jwks.clone(), clock.clone());
        let issuer = config.oidc_issuer.clone();
        let audience = config.integration_id.clone();
        Self {
            verifier: Verifier::new(issuer, audience, jwks, clock.clone()),
            store,
            clock,
            support_url: config.support_url.as_ref().map(ToString::to_string),
        }
    }

    /// Answers a request. A panic is answered too: hosts close the connection on one, or worse.
    pub async fn handle<B>(&self, endpoint: Endpoint, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let began = Instant::now();
        let span = tracing::info_span!(
            "request",
            method = %request.method(),
            route = endpoint.route(),
            installation = Empty,
            resource = Empty,
            caller = Empty,
        );
        async {
            let answer = AssertUnwindSafe(Box::pin(self.answer(endpoint, request))).catch_unwind();
            let (result, calls) = telemetry::counting_dynamodb_calls(answer).await;
            let result = result.unwrap_or_else(|_| Err(Error::Internal(Panicked.into())));
            log(&result, began, calls);
            respond(&result, self.support_url.as_deref())
        }
        .instrument(span)
        .await
    }

    async fn answer<B>(&self, endpoint: Endpoint, request: Request<B>) -> Result<Answer, Error>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let ids = endpoint.route_request(&head.method, head.uri.path())?;
        let caller = self.verifier.authenticate(&head.headers).await?;
        Span::current().record("caller", caller.kind());
        let ids = ids.parse()?;
        record_ids(&ids);
        let grant = Grant::authorize(caller, ids.installation().clone())?;
        let key = idempotency_key(&head.headers)?;
        let body = read_body(body).await?;
        let target = match ids {
            Ids::Resource(_, resource) => Target::Resource(resource),
            Ids::Installation(_) => {
                let Uninstall { cascade, reason } = Uninstall::parse(&body)?;
                Target::Installation { cascade, reason }
            }
        };
        let deletion = Deletion { grant, target, key, at: self.clock.timestamp() };
        self.store.delete(&deletion).await
    }
}

fn record_ids(ids: &Ids) {
    let span = Span::current();
    span.record("installation", display(ids.installation()));
    if let Ids::Resource(_, resource) = ids {
        span.record("resource", display(resource));
    }
}

/// Logs how a request ended: a failure of ours as an error with its cause, once.
fn log(result: &Result<Answer, Error>, began: Instant, dynamodb_calls: u32) {
    let ms = began.elapsed().as_secs_f64() * 1000.0;
    match result {
        Ok(answer) => {
            let (status, _) = answer.response();
            tracing::info!(status, outcome = "done", ms, dynamodb_calls, "answered");
        }
        Err(error) => {
            let row = error.row();
            let (status, outcome) = (row.status, row.code);
            match error {
                Error::Internal(cause) | Error::StoreUnavailable(cause) => {
                    let cause = telemetry::chain(cause.as_ref());
                    tracing::error!(status, outcome, cause, ms, dynamodb_calls, "answered");
                }
                // Any caller can bring this about with a key id that nobody has.
                Error::KeysUnavailable { .. } => {
                    tracing::warn!(status, outcome, ms, dynamodb_calls, "answered");
                }
                _ => {
                    let reason = error.to_string();
                    tracing::info!(status, outcome, reason, ms, dynamodb_calls, "answered");
                }
            }
        }
    }
}
