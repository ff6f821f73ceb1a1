//! The hosts: Vercel, AWS Lambda, or a plain port. The only file that knows their runtimes.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderName;
use http_body_util::BodyExt as _;
use lambda_http::RequestExt as _;
use lambda_http::request::RequestContext;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::app::{App, SweepTime};
use crate::clock::Clock;
use crate::config::Config;
use crate::credentials::WebIdentity;
use crate::http::Endpoint;
use crate::telemetry;

/// What can end a function.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Where a function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Host {
    /// Vercel's platform: what it says in headers of its own is true.
    Vercel,
    /// `vercel dev`, or nowhere: Vercel's runtime is a plain HTTP server on
    /// `127.0.0.1:$VERCEL_DEV_PORT` (3000).
    Port,
    /// AWS Lambda, or what emulates it.
    Lambda,
}

impl Host {
    fn detect(is_set: impl Fn(&str) -> bool) -> Self {
        if is_set("VERCEL_IPC_PATH") {
            Self::Vercel
        } else if !is_set("VERCEL_DEV_PORT") && is_set("AWS_LAMBDA_RUNTIME_API") {
            Self::Lambda
        } else {
            Self::Port
        }
    }
}

/// Serves an endpoint on the host that this process runs on, until the host ends it. A start that
/// fails says why in one line on standard error.
#[must_use]
pub fn serve(endpoint: Endpoint) -> ExitCode {
    match run(endpoint) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("teardown: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(endpoint: Endpoint) -> Result<(), Failure> {
    telemetry::init_json()?;
    let config = Config::from_env()?;
    if endpoint == Endpoint::Sweep {
        config.require_cron_secret()?;
    }
    // One thread: a function has one core or a share of one, and a request computes for 0.1 ms.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Host::detect(|name| std::env::var_os(name).is_some());
        // Elsewhere any caller can send what the platform sends.
        let identity = config.role.clone().filter(|_| host == Host::Vercel).map(WebIdentity::new);
        // The hosts' runtimes clone it more than once per request.
        let app = Arc::new(App::new(&config, identity.clone(), Clock::system()).await?);
        match host {
            Host::Vercel | Host::Port => vercel(app, identity, endpoint).await,
            Host::Lambda => lambda(app, endpoint).await,
        }
    })
}

/// What Vercel's platform says who the deployment is.
const OIDC_TOKEN: HeaderName = HeaderName::from_static("x-vercel-oidc-token");

async fn vercel(
    app: Arc<App>,
    identity: Option<WebIdentity>,
    endpoint: Endpoint,
) -> Result<(), Failure> {
    let handler = move |mut request: vercel_runtime::Request, state: vercel_runtime::AppState| {
        if let Some(identity) = &identity {
            // Where there are two, the platform's own comes last.
            let token = request.headers().get_all(OIDC_TOKEN).iter().next_back();
            if let Some(token) = token.and_then(|token| token.to_str().ok()) {
                identity.hear(token);
            }
        }
        request.headers_mut().remove(OIDC_TOKEN);
        let app = app.clone();
        async move {
            let (response, follow_up) = app.handle_and_follow_up(endpoint, request).await;
            if let Some(follow_up) = follow_up {
                state.wait_until(follow_up.run());
            }
            Ok::<_, vercel_runtime::Error>(response.map(vercel_runtime::ResponseBody::from))
        }
    };
    vercel_runtime::run(vercel_runtime::service_fn(handler)).await
}

/// What Lambda's runtime needs to send an answer on; half of the time where that is short.
const LAMBDA_MARGIN: Duration = Duration::from_secs(3);

async fn lambda(app: Arc<App>, endpoint: Endpoint) -> Result<(), Failure> {
    let handler = |mut request: lambda_http::Request| {
        let app = app.clone();
        async move {
            let time = sweep_time(&request);
            request.extensions_mut().insert(time);
            let response = match request.request_context_ref() {
                // What came past API Gateway was permitted by IAM.
                Some(RequestContext::PassThrough) if endpoint == Endpoint::Sweep => {
                    if !is_schedule(request.body()) {
                        return Err("the event is neither a request nor a schedule's".into());
                    }
                    let response = app.sweep(time).await;
                    // For a schedule, a failure is what Lambda counts as one.
                    if !response.status().is_success() {
                        return Err("the sweep failed; its log line says why".into());
                    }
                    response
                }
                _ => app.handle(endpoint, request).await,
            };
            let (head, body) = response.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = lambda_http::Body::from(body.to_vec());
            Ok::<_, Failure>(http::Response::from_parts(head, body))
        }
    };
    lambda_http::run(lambda_http::service_fn(handler)).await
}

/// How long a sweep may take: until the deadline of its invocation, and no longer than elsewhere.
fn sweep_time(request: &lambda_http::Request) -> SweepTime {
    let deadline = Duration::from_millis(request.lambda_context().deadline);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let SweepTime(most) = SweepTime::default();
    let left = deadline.saturating_sub(now);
    SweepTime(left.saturating_sub(LAMBDA_MARGIN).max(left / 2).min(most))
}

/// Whether an event is one of EventBridge's. An event of API Gateway that is not understood would
/// come the same way, with a caller's words in it; its top level is never a caller's.
fn is_schedule(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event {
        source: String,
        #[serde(rename = "requestContext")]
        request_context: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Event>(event).is_ok_and(|event| {
        ["aws.events", "aws.scheduler"].contains(&event.source.as_str())
            && event.request_context.is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vercel_is_asked_first() {
        for (set, host) in [
            (&[][..], Host::Port),
            (&["VERCEL_DEV_PORT"], Host::Port),
            (&["VERCEL_DEV_PORT", "AWS_LAMBDA_RUNTIME_API"], Host::Port),
            (&["VERCEL_DEV_PORT", "VERCEL_IPC_PATH"], Host::Vercel),
            (&["AWS_LAMBDA_RUNTIME_API"], Host::Lambda),
            (&["AWS_LAMBDA_RUNTIME_API", "VERCEL_IPC_PATH"], Host::Vercel),
        ] {
            assert_eq!(Host::detect(|name| set.contains(&name)), host, "{set:?}");
        }
    }

    /// B1: only a schedule sweeps without the secret.
    #[test]
    fn a_schedule_is_told_from_a_request() {
        for schedule in [
            r#"{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#,
            r#"{"source":"aws.scheduler","time":"2026-11-24T00:00:00Z"}"#,
        ] {
            assert!(is_schedule(schedule.as_bytes()), "{schedule}");
        }
        for other in [
            "",
            "[]",
            "{}",
            r#"{"source":"mine"}"#,
            r#"{"body":"{\"source\":\"aws.events\"}","httpMethod":"GET","path":"/api/sweep"}"#,
            r#"{"source":"aws.events","requestContext":{"stage":"prod"}}"#,
        ] {
            assert!(!is_schedule(other.as_bytes()), "{other}");
        }
    }
}
