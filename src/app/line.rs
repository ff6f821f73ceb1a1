//! The one log line of a request, with everything that teardown knows about the request.

use std::time::Instant;

use http::Method;

use crate::error::Error;
use crate::http::{Endpoint, Ids, Reply, Route};
use crate::ids::{InstallationId, ResourceId};
use crate::job::Report;
use crate::telemetry;

/// The log line of a request. The line is one event of `tracing`, not a span. Most requests log only one
/// line, and the other log lines need no fields of a span.
pub(super) struct RequestLog {
    began: Instant,
    /// The request's method. `None` if a schedule started the request, or if the host could not read the
    /// request.
    method: Option<Method>,
    route: &'static str,
    /// The kind of an authenticated caller.
    caller: Option<&'static str>,
    /// If the caller is authenticated, the ids in the path. For a webhook, the id of the installation that
    /// the webhook names.
    ids: Option<Ids>,
    /// The type of a webhook that Vercel sent.
    event: Option<String>,
}

/// How many characters of a webhook's type are logged. The types of Vercel's webhooks are shorter than
/// `LONGEST_TYPE`.
const LONGEST_TYPE: usize = 64;

impl RequestLog {
    /// Begins a request's log line, and starts to measure the request's time.
    pub(super) fn new(method: Option<Method>, endpoint: Endpoint) -> Self {
        let began = Instant::now();
        let route = endpoint.patterns().first().map_or("", |(_, path)| path);
        Self { began, method, route, caller: None, ids: None, event: None }
    }

    /// Adds the route that teardown has found for the request.
    pub(super) fn routed(&mut self, route: Route<'_>) {
        self.route = route.pattern();
    }

    /// The pattern of the request's path.
    pub(super) fn route(&self) -> &'static str {
        self.route
    }

    /// Adds the kind of the caller, and the ids in the request's path.
    pub(super) fn authenticated(&mut self, caller: &'static str, ids: Option<&Ids>) {
        self.caller = Some(caller);
        self.ids = ids.cloned();
    }

    /// Adds the type of a webhook that Vercel sent.
    pub(super) fn webhook(&mut self, kind: &str) {
        self.event = Some(kind.chars().take(LONGEST_TYPE).collect());
    }

    /// Adds the installation that a webhook names.
    pub(super) fn installation(&mut self, installation: Option<&InstallationId>) {
        self.ids = installation.cloned().map(Ids::Installation);
    }

    /// Logs the request's result. If teardown itself failed, the line has the level `error` and contains the
    /// cause.
    pub(super) fn write(self, result: &Result<Reply, Error>, dynamodb_calls: u32) {
        let ms = self.began.elapsed().as_secs_f64() * 1000.0;
        let Self { route, caller, .. } = self;
        let method = self.method.as_ref().map(Method::as_str);
        let ids = self.ids.as_ref();
        let installation = ids.map(Ids::installation).map(InstallationId::as_str);
        let resource = ids.and_then(Ids::resource).map(ResourceId::as_str);
        let event = self.event.as_deref();
        let (status, outcome) = match result {
            Ok(reply @ Reply::Passed(_)) => (reply.status(), "passed"),
            Ok(reply) => (reply.status(), "done"),
            Err(error) => (error.row().status, error.row().code),
        };
        let (mut reason, mut cause) = (None, None);
        macro_rules! answered {
            ($level:ident) => {
                tracing::$level!(
                    method,
                    route,
                    installation,
                    resource,
                    caller,
                    event,
                    status,
                    outcome,
                    reason,
                    cause,
                    ms,
                    dynamodb_calls,
                    "answered"
                )
            };
        }
        macro_rules! counted {
            ($report:ident, $message:literal) => {{
                let Report { claimed, done, retried, parked, .. } = $report;
                tracing::info!(
                    method,
                    route,
                    claimed,
                    done,
                    retried,
                    parked,
                    ms,
                    dynamodb_calls,
                    $message
                );
            }};
        }
        match result {
            Ok(Reply::Swept(report)) => counted!(report, "swept"),
            // A run of new jobs is not logged as a sweep, because an alarm counts the log lines of sweeps to
            // notice that no sweep runs.
            Ok(Reply::Ran(report)) => counted!(report, "ran new jobs"),
            Ok(Reply::Deleted(_) | Reply::Passed(_) | Reply::Received) => answered!(info),
            // `BackendUnavailable` is only a warning, because the provider has to fix its backend.
            Err(Error::BackendUnavailable(error)) => {
                cause = Some(telemetry::chain(error.as_ref()));
                answered!(warn);
            }
            Err(Error::Internal(error) | Error::StoreUnavailable(error)) => {
                cause = Some(telemetry::chain(error.as_ref()));
                answered!(error);
            }
            // `KeysUnavailable` is only a warning, because any caller can cause it with an unknown key id.
            Err(Error::KeysUnavailable { .. }) => answered!(warn),
            Err(error) => {
                reason = Some(error.to_string());
                answered!(info);
            }
        }
    }
}
