//! The steps of a request, from the host's request to its response.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::region::ProfileFileRegionProvider;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, OptionFuture, join};
use http::{Request, Response};
use http_body_util::Full;

mod front;
mod line;
mod webhook;

use self::line::RequestLog;
use crate::auth::Verifier;
use crate::auth::jwks::{AfterAnswer, Jwks};
use crate::backend::Backend;
use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::credentials::{self, WebIdentity};
use crate::deletion::configuration::ConfigurationDeletion;
use crate::deletion::{Deletion, OpenInvoices, Target};
use crate::error::Error;
use crate::front::Front;
use crate::grant::Grant;
use crate::http::{
    Endpoint, Ids, MAX_BODY, Reply, Route, Uninstall, authorize_sweep, idempotency_key, read_body,
    respond, team,
};
use crate::ids::InstallationId;
use crate::job::Job;
use crate::limits::Limits;
use crate::outbound::Outbound;
use crate::saga::DeleteConfiguration;
use crate::secret::Secret;
use crate::store::{Aws, Done, Store};
use crate::telemetry;
use crate::vercel::Vercel;
use crate::work::Worker;

/// Everything that an endpoint needs to answer requests. Clones of an [`App`] share its keys and connections.
#[derive(Clone, Debug)]
pub struct App {
    verifier: Verifier,
    store: Store,
    front: Option<Front>,
    clock: Clock,
    delete_configuration: DeleteConfiguration,
    worker: Worker,
    open_invoices: OpenInvoices,
    cron_secret: Option<Secret>,
    limits: Limits,
    client_secret: Option<Secret>,
    support_url: Option<String>,
}

/// How long a sweep may run, or the provider's backend may take to answer a call. The default is the 60 s
/// that `vercel.json` grants a sweep, minus the time to send the answer. A host sets another time by adding a
/// `HostTime` to a request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct HostTime(pub Duration);

impl Default for HostTime {
    fn default() -> Self {
        Self(Duration::from_secs(50))
    }
}

/// The work after an answer, on a host that keeps the process running: a fetch of the issuer's keys, and one
/// attempt at each due job. If the host may freeze the process, the sweep runs the jobs. If an attempt fails,
/// the sweep runs the job again.
#[derive(Default)]
pub struct FollowUp {
    jobs: Option<Jobs>,
    fetch: Option<BoxFuture<'static, ()>>,
}

/// Jobs of one installation that are due immediately.
struct Jobs {
    worker: Worker,
    installation: InstallationId,
    due: Vec<Job>,
}

impl FollowUp {
    /// Runs the jobs, and waits for the fetch of keys. A job that fails is logged, and becomes due again.
    pub async fn run(self) {
        let jobs = async {
            if let Some(Jobs { worker, installation, due }) = self.jobs {
                worker.follow_up(&installation, due).await;
            }
        };
        join(jobs, OptionFuture::from(self.fetch)).await;
    }

    /// Whether no work is left after the answer.
    fn is_empty(&self) -> bool {
        self.jobs.is_none() && self.fetch.is_none()
    }
}

/// The result of a successful request, which is a reply, and the jobs that are due after the reply.
struct Handled {
    reply: Reply,
    jobs: Option<Jobs>,
}

/// The result of a request.
struct Ended {
    result: Result<Handled, Error>,
    dynamodb_calls: u32,
}

/// A handler panicked. The log says where in the code the handler panicked.
#[derive(Debug, thiserror::Error)]
#[error("the handler panicked")]
struct Panicked;

impl App {
    /// Makes an app from a configuration and AWS's environment variables. With an `identity`, the AWS
    /// credentials are sessions of the identity's role. Without an `identity`, the AWS credentials are those
    /// of the environment. Making an app sends no request.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the AWS environment names no region.
    pub async fn new(
        config: &Config,
        identity: Option<WebIdentity>,
        clock: Clock,
        after_answer: AfterAnswer,
    ) -> Result<Self, ConfigError> {
        // The region comes from a variable or a file, because no service in the network knows the region.
        let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        let environment = aws_config::defaults(BehaviorVersion::latest()).region(region);
        let aws = match identity {
            None => Aws::load(credentials::of_environment(environment)).await?,
            Some(identity) => Aws::load(environment.no_credentials()).await?.assume_role(identity),
        };
        let store = Store::new(aws.dynamodb(), config, clock.clone());
        Ok(Self::on_host(config, store, clock, after_answer))
    }

    /// Makes an app as [`App::new`] does, but with an existing store and the store's limits. The app assumes
    /// that the process keeps running after an answer.
    #[must_use]
    pub fn with_store(config: &Config, store: Store, clock: Clock) -> Self {
        Self::on_host(config, store, clock, AfterAnswer::GoesOn)
    }

    /// Makes an app as [`App::with_store`] does, but `after_answer` says what the host does with the process
    /// after an answer.
    #[must_use]
    pub fn on_host(config: &Config, store: Store, clock: Clock, after_answer: AfterAnswer) -> Self {
        let (outbound, limits) = (Outbound::default(), store.limits());
        let jwks = Jwks::new(
            config.oidc_jwks_url.clone(),
            config.oidc_jwks.clone(),
            outbound.clone(),
            clock.clone(),
            after_answer,
            limits,
        );
        let vercel = Vercel::new(config.vercel_api_url.clone(), outbound.clone(), limits);
        let delete_configuration =
            DeleteConfiguration::new(store.clone(), vercel.clone(), clock.clone());
        let worker = Worker::new(
            config,
            store.clone(),
            delete_configuration.clone(),
            vercel,
            outbound,
            clock.clone(),
        );
        let issuer = config.oidc_issuer.clone();
        let audiences = config.integration_ids.clone();
        Self {
            verifier: Verifier::new(issuer, audiences, jwks, clock.clone()),
            front: config
                .backend_url
                .clone()
                .map(|url| Front::new(store.clone(), Backend::new(url))),
            store,
            clock,
            delete_configuration,
            worker,
            open_invoices: config.open_invoices,
            cron_secret: config.cron_secret.clone(),
            limits,
            client_secret: config.client_secret.clone(),
            support_url: config.support_url.as_ref().map(ToString::to_string),
        }
    }

    /// The verifier of callers' tokens.
    #[must_use]
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Whether a backend is configured, so that the front can pass calls on to the backend.
    #[must_use]
    pub fn has_backend(&self) -> bool {
        self.front.is_some()
    }

    /// Answers a request, even if the handler panics. If teardown sent no answer after a panic, the host
    /// would at best close the connection.
    pub async fn handle<B>(&self, endpoint: Endpoint, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.handle_and_follow_up(endpoint, request).await.0
    }

    /// Answers a request, and returns the work that is left after the answer.
    pub async fn handle_and_follow_up<B>(
        &self,
        endpoint: Endpoint,
        request: Request<B>,
    ) -> (Response<Full<Bytes>>, Option<FollowUp>)
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut line = RequestLog::new(Some(request.method().clone()), endpoint);
        let ended = ended(Box::pin(self.answer(endpoint, request, &mut line))).await;
        self.finish(ended, line)
    }

    /// Runs a sweep for a scheduler that the host has authenticated, such as a schedule on Lambda.
    pub async fn sweep(&self, time: HostTime) -> Response<Full<Bytes>> {
        let line = RequestLog::new(None, Endpoint::Sweep);
        self.finish(ended(Box::pin(self.swept(time))).await, line).0
    }

    /// Runs the new jobs that an event of the table's stream lists. The host guarantees that the event comes
    /// from the table's stream (L2).
    pub(crate) async fn run_new_jobs(
        &self,
        jobs: Vec<(InstallationId, Job)>,
        HostTime(time): HostTime,
    ) {
        let line = RequestLog::new(None, Endpoint::Sweep);
        let run = async {
            let reply = Reply::Ran(self.worker.run_new(jobs, time).await);
            Ok(Handled { reply, jobs: None })
        };
        drop(self.finish(ended(Box::pin(run)).await, line));
    }

    /// Answers and logs a request that the host could not read, such as a malformed event on Lambda.
    #[must_use]
    pub fn refuse(&self, endpoint: Endpoint, error: Error) -> Response<Full<Bytes>> {
        let line = RequestLog::new(None, endpoint);
        self.finish(Ended { result: Err(error), dynamodb_calls: 0 }, line).0
    }

    /// Logs a request's result, and makes a response from the result.
    fn finish(&self, ended: Ended, line: RequestLog) -> (Response<Full<Bytes>>, Option<FollowUp>) {
        let (result, jobs) = match ended.result {
            Ok(outcome) => (Ok(outcome.reply), outcome.jobs),
            Err(error) => (Err(error), None),
        };
        line.write(&result, ended.dynamodb_calls);
        let fetch = self.verifier.under_way().map(FutureExt::boxed);
        let follow_up = FollowUp { jobs, fetch };
        let follow_up = (!follow_up.is_empty()).then_some(follow_up);
        (respond(result, self.support_url.as_deref()), follow_up)
    }

    async fn answer<B>(
        &self,
        endpoint: Endpoint,
        request: Request<B>,
        line: &mut RequestLog,
    ) -> Result<Handled, Error>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let route = endpoint.route_request(&head.method, head.uri.path())?;
        line.routed(route);
        let ids = match route {
            Route::Delete(ids) => ids,
            Route::Front(ids) => {
                let ids = ids.parse().ok();
                return Box::pin(self.pass(ids, head, body, line)).await;
            }
            Route::Sweep => {
                authorize_sweep(&head.headers, self.cron_secret.as_ref())?;
                let time = head.extensions.get().copied().unwrap_or_default();
                return self.swept(time).await;
            }
            Route::Webhook => return self.receive(&head.headers, body, line).await,
        };
        let caller = self.verifier.authenticate(&head.headers).await?;
        let ids = ids.parse();
        line.authenticated(caller.kind(), ids.as_ref().ok());
        let ids = ids?;
        let grant = Grant::authorize(caller, ids.installation().clone())?;
        let key = idempotency_key(&head.headers)?;
        let at = self.clock.timestamp();
        let target = match ids {
            Ids::Configuration(_) => {
                let team = team(head.uri.query())?;
                read_body(body, MAX_BODY, self.limits.body).await?;
                let request = ConfigurationDeletion { grant, team, key, at };
                let done = Box::pin(self.delete_configuration.delete(&request)).await?;
                return Ok(self.deleted(request.grant.installation, done));
            }
            Ids::Resource(_, resource) => {
                read_body(body, MAX_BODY, self.limits.body).await?;
                Target::Resource(resource)
            }
            Ids::Installation(_) => {
                let Uninstall { cascade, reason } =
                    Uninstall::parse(&read_body(body, MAX_BODY, self.limits.body).await?)?;
                Target::Installation { cascade, reason, open_invoices: self.open_invoices }
            }
        };
        let deletion = Deletion { grant, target, key, at };
        let done = self.store.delete(&deletion).await?;
        Ok(self.deleted(deletion.grant.installation, done))
    }

    fn deleted(&self, installation: InstallationId, done: Done) -> Handled {
        let Done { answer, due } = done;
        Handled { reply: Reply::Deleted(answer), jobs: self.jobs(installation, due) }
    }

    /// The jobs of an installation that are due immediately. `None` if no job is due.
    fn jobs(&self, installation: InstallationId, due: Vec<Job>) -> Option<Jobs> {
        (!due.is_empty()).then(|| Jobs { worker: self.worker.clone(), installation, due })
    }

    async fn swept(&self, HostTime(time): HostTime) -> Result<Handled, Error> {
        let reply = Reply::Swept(self.worker.sweep(time).await?);
        Ok(Handled { reply, jobs: None })
    }
}

/// Runs the handler of a request until the handler ends or panics.
async fn ended(answer: impl Future<Output = Result<Handled, Error>> + Unpin) -> Ended {
    let answer = AssertUnwindSafe(answer).catch_unwind();
    let (result, dynamodb_calls) = telemetry::counting_dynamodb_calls(answer).await;
    let result = result.unwrap_or_else(|_| Err(Error::Internal(Panicked.into())));
    Ended { result, dynamodb_calls }
}
