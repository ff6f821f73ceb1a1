//! AWS Lambda, which sends three kinds of events to a function. A request comes from an HTTP API of API
//! Gateway (payload 2.0 or 1.0), a function URL (2.0) or a REST API (1.0). A schedule's event starts a sweep.
//! An event of the table's stream runs the new jobs that the event lists.
//!
//! An event with a `requestContext` is a request, whatever else the event contains. `form` converts an answer
//! to the gateway's form, which has a status. If an answer had no status, an HTTP API would send the answer
//! with the status 200.

mod form;
mod stream;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, Response};
use http_body_util::{BodyExt as _, Full};
use lambda_http::lambda_runtime::layers::TracingLayer;
use lambda_http::lambda_runtime::{LambdaEvent, LambdaInvocation, Runtime};
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::tower::util::MapRequestLayer;
use lambda_http::{Body, Request, RequestExt as _, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use self::form::Answer;
use super::Failure;
use crate::app::{App, HostTime};
use crate::config::{ConfigError, from_env, whole};
use crate::error::BadRequest;
use crate::http::Endpoint;
use crate::ids::InstallationId;
use crate::job::Job;

/// The time that Lambda's runtime needs to send an answer. If less than 6 s are left until the deadline,
/// teardown keeps half of this time free to send the answer.
const MARGIN: Duration = Duration::from_secs(3);

/// Answers events until Lambda ends the process.
pub(super) async fn serve(app: Arc<App>, endpoint: Endpoint) -> Result<(), Failure> {
    check_environment()?;
    let service = service_fn(move |event: LambdaEvent<LambdaRequest>| {
        let app = app.clone();
        async move {
            let (event, context) = event.into_parts();
            let event = normalize(endpoint, event);
            let gateway = event.request_origin();
            let mut request = Request::from(event).with_lambda_context(context);
            let time = host_time(&request);
            let is_other =
                matches!(request.request_context_ref(), Some(RequestContext::PassThrough));
            let answer = if is_other {
                answer_other(&app, endpoint, time, request.body()).await?
            } else {
                request.extensions_mut().insert(time);
                into_lambdas(app.handle(endpoint, request).await).await?
            };
            Ok::<_, Failure>(Answer::to(&gateway, answer))
        }
    });
    let readable = MapRequestLayer::new(|invocation: LambdaInvocation| LambdaInvocation {
        body: readable(invocation.body),
        ..invocation
    });
    Runtime::new(service).layer(TracingLayer::new()).layer(readable).run().await
}

/// Checks the variables that Lambda's runtime reads (S1). Without its variables, which some emulators do not
/// set, Lambda's runtime would panic.
fn check_environment() -> Result<(), ConfigError> {
    let read = |name| {
        let value = whole(name, from_env(name))?;
        value.ok_or_else(|| ConfigError::new(name, "is required"))
    };
    read("AWS_LAMBDA_FUNCTION_NAME")?;
    read("AWS_LAMBDA_FUNCTION_VERSION")?;
    let memory = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
    if read(memory)?.parse::<i32>().is_err() {
        return Err(ConfigError::new(memory, "is not a number of MiB"));
    }
    let api = "AWS_LAMBDA_RUNTIME_API";
    // The address may have a scheme and a path, because `cargo lambda watch` sets `AWS_LAMBDA_RUNTIME_API` to
    // such an address.
    if !read(api)?.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some()) {
        return Err(ConfigError::new(api, "is not a host and a port"));
    }
    Ok(())
}

/// Makes an event readable as JSON. A gateway passes on a caller's bytes unchanged, even if they are not
/// UTF-8, for example in a header. Lambda's runtime would count an event that is not UTF-8 as a function
/// error. teardown replaces a request that is not UTF-8 with the smallest event that counts as a request
/// (S2).
fn readable(event: Bytes) -> Bytes {
    if str::from_utf8(&event).is_ok() {
        return event;
    }
    match NonHttpEvent::of(String::from_utf8_lossy(&event).as_bytes()) {
        NonHttpEvent::Request => {
            Bytes::from_static(br#"{"requestContext":"of an event that is not UTF-8"}"#)
        }
        NonHttpEvent::Schedule | NonHttpEvent::Stream(_) | NonHttpEvent::Unknown => event,
    }
}

/// How long a sweep may run, or a backend may take to answer. The sweep or the backend has time until shortly
/// before the invocation's deadline, but at most the default of [`HostTime`]. A deadline in the past is
/// ignored, because `cargo lambda watch` sends a deadline in 1970.
fn host_time(request: &Request) -> HostTime {
    let deadline = Duration::from_millis(request.lambda_context().deadline);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let HostTime(most) = HostTime::default();
    let left = deadline.saturating_sub(now);
    if left.is_zero() {
        return HostTime(most);
    }
    HostTime(left.saturating_sub(MARGIN).max(left / 2).min(most))
}

async fn into_lambdas(response: Response<Full<Bytes>>) -> Result<Response<Body>, Failure> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(head, form::body(body)))
}

/// The kind of an event that Lambda's HTTP layer cannot read as a request.
#[derive(Debug, PartialEq, Eq)]
enum NonHttpEvent {
    /// A schedule's event. A schedule's event does not come through API Gateway, so IAM has checked who sent
    /// the event.
    Schedule,
    /// An event of the table's stream, with the new jobs that the event lists.
    Stream(Vec<(InstallationId, Job)>),
    /// A request that teardown cannot read, because a load balancer sent it or because it is malformed. The
    /// request's caller wrote a part of the event.
    Request,
    /// An event of a kind that teardown does not know.
    Unknown,
}

impl NonHttpEvent {
    /// Finds out the kind of an event from the fields at its top level. A caller cannot write the top level
    /// of an event, because the gateway writes the top level, with a `requestContext`. If a service passes on
    /// a caller's body as the event, IAM must not permit this service to invoke the sweep.
    fn of(event: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Event {
            source: Option<String>,
            #[serde(rename = "requestContext")]
            request_context: Option<IgnoredAny>,
        }
        match crate::json::from_slice(event) {
            Ok(Event { request_context: Some(_), .. }) => Self::Request,
            Ok(Event { source: Some(source), .. })
                if ["aws.events", "aws.scheduler"].contains(&source.as_str()) =>
            {
                Self::Schedule
            }
            Ok(Event { source: None, .. }) => {
                stream::new_jobs(event).map_or(Self::Unknown, Self::Stream)
            }
            _ => Self::Unknown,
        }
    }
}

async fn answer_other(
    app: &App,
    endpoint: Endpoint,
    time: HostTime,
    event: &[u8],
) -> Result<Response<Body>, Failure> {
    match NonHttpEvent::of(event) {
        NonHttpEvent::Schedule if endpoint == Endpoint::Sweep => {
            let response = app.sweep(time).await;
            // If a schedule's sweep fails, the invocation must fail too, so that Lambda counts the failure.
            if !response.status().is_success() {
                return Err("the sweep failed; its log line says why".into());
            }
            into_lambdas(response).await
        }
        NonHttpEvent::Stream(jobs) if endpoint == Endpoint::Sweep => {
            app.run_new_jobs(jobs, time).await;
            // The scheduled sweep retries the jobs that failed. If Lambda sent a failed batch of the stream
            // again, newer jobs would wait.
            let answer = json!({ "batchItemFailures": [] });
            Ok(Response::new(Body::from(answer.to_string())))
        }
        NonHttpEvent::Request => {
            let (head, body) = app.refuse(endpoint, BadRequest::Event.into()).into_parts();
            let body = body.collect().await?.to_bytes();
            // All gateways understand an answer with `statusCode`, `headers`, `isBase64Encoded` and `body`.
            // If one of these fields was missing, some gateways would send the answer with the status 200.
            let answer = json!({
                "statusCode": head.status.as_u16(),
                "headers": { "content-type": "application/json" },
                "isBase64Encoded": false,
                "body": str::from_utf8(&body)?,
            });
            let response = Response::builder().header(CONTENT_TYPE, "application/json");
            Ok(response.body(Body::from(answer.to_string()))?)
        }
        NonHttpEvent::Schedule | NonHttpEvent::Stream(_) | NonHttpEvent::Unknown => {
            Err("the event is neither a request nor one that this function takes".into())
        }
    }
}

/// The characters that have to be encoded in a query or in a path. An HTTP API decodes paths, so a `?` in a
/// path was `%3F`, and does not begin a query.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
const IN_PATH: &AsciiSet = &IN_QUERY.add(b'?');

/// Changes an event so that Lambda's HTTP layer reads it as the request that the caller sent, with the
/// contract's path.
fn normalize(endpoint: Endpoint, event: LambdaRequest) -> LambdaRequest {
    match event {
        LambdaRequest::ApiGatewayV1(mut event) => {
            let found = RoutedPath {
                path: event.path.as_deref().unwrap_or_default(),
                stage: event.request_context.stage.take(),
                route: event.resource.as_deref(),
                parameters: &event.path_parameters,
            };
            event.path = Some(found.contract_path(endpoint));
            // If a header has several values, `headers` has only the last value. This value would replace all
            // values in `multi_value_headers`.
            for name in event.multi_value_headers.keys() {
                event.headers.remove(name);
            }
            without_host(&mut event.headers, &mut event.request_context.domain_name);
            event.multi_value_headers.remove(HOST);
            LambdaRequest::ApiGatewayV1(event)
        }
        LambdaRequest::ApiGatewayV2(mut event) => {
            let found = RoutedPath {
                path: event.raw_path.as_deref().unwrap_or_default(),
                stage: event.request_context.stage.take(),
                route: event.route_key.as_deref().and_then(|key| Some(key.split_once(' ')?.1)),
                parameters: &event.path_parameters,
            };
            event.raw_path = Some(found.contract_path(endpoint));
            let encode = |query: String| utf8_percent_encode(&query, IN_QUERY).to_string();
            event.raw_query_string = event.raw_query_string.map(encode);
            without_host(&mut event.headers, &mut event.request_context.domain_name);
            LambdaRequest::ApiGatewayV2(event)
        }
        other => other,
    }
}

/// Removes the request's host name, so that the request's address is only the path. teardown does not need
/// the host name, and a caller may have forged the host name.
fn without_host(headers: &mut HeaderMap, domain_name: &mut Option<String>) {
    headers.remove(HOST);
    *domain_name = None;
}

/// The path of a request, with the API's route and the parts of the path that the route matched.
struct RoutedPath<'a> {
    path: &'a str,
    stage: Option<String>,
    /// The path of the API's route, such as `/v1/{proxy+}`. `None` for the route `$default`.
    route: Option<&'a str>,
    /// The parts of the path that the route's parameters matched.
    parameters: &'a HashMap<String, String>,
}

impl RoutedPath<'_> {
    /// The path in the contract's form: without the stage's name or a custom domain's base path, which an API
    /// may put in front of the path.
    fn contract_path(&self, endpoint: Endpoint) -> String {
        let mut segments = self.path.match_indices('/').map(|(index, _)| &self.path[index..]);
        // If the whole path is in the contract, the API has put nothing in front of the path, even if the
        // path begins with the stage's name.
        let before = if endpoint.route(self.path).is_some() { 0 } else { self.segments_before() };
        let path = segments.nth(before).unwrap_or(self.path);
        utf8_percent_encode(path, IN_PATH).to_string()
    }

    /// The number of segments before the part of the path that the route matched. If the API has only the
    /// route `$default`, only the stage's name can be before the contract's path.
    fn segments_before(&self) -> usize {
        // A parameter without `+` matches one segment. The value of a parameter is decoded, so a `%2F` in the
        // segment has become a `/`.
        let matched = |part: &str| match part.strip_prefix('{').and_then(|it| it.strip_suffix('}'))
        {
            Some(name) => {
                let (name, is_rest) = name.strip_suffix('+').map_or((name, false), |it| (it, true));
                let found = self.parameters.get(name).map(|value| value.split('/').count());
                if is_rest { found } else { Some(found.unwrap_or(1)) }
            }
            None => Some(1),
        };
        let route = self.route.and_then(|route| route.strip_prefix('/'));
        let matched: Option<usize> = route.and_then(|route| route.split('/').map(matched).sum());
        match (matched, &self.stage) {
            (Some(matched), _) => self.path.matches('/').count().saturating_sub(matched),
            (None, Some(stage)) => usize::from(self.path.starts_with(&format!("/{stage}/"))),
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B1: only a schedule's event starts a sweep without `CRON_SECRET`. A request cannot look like a
    /// schedule's event.
    #[test]
    fn a_schedule_is_told_from_a_request() {
        for (event, other) in [
            (
                r#"{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}"#,
                NonHttpEvent::Schedule,
            ),
            (r#"{"source":"aws.scheduler","time":"2026-11-24T00:00:00Z"}"#, NonHttpEvent::Schedule),
            ("", NonHttpEvent::Unknown),
            ("[]", NonHttpEvent::Unknown),
            ("{}", NonHttpEvent::Unknown),
            (r#"{"source":"mine"}"#, NonHttpEvent::Unknown),
            (r#"{"source":["aws.events"]}"#, NonHttpEvent::Unknown),
            (r#"{"detail":{"source":"aws.events"}}"#, NonHttpEvent::Unknown),
            (
                r#"{"body":"{\"source\":\"aws.events\"}","httpMethod":"GET","path":"/api/sweep"}"#,
                NonHttpEvent::Unknown,
            ),
            (r#"{"source":"aws.events","requestContext":{"stage":"prod"}}"#, NonHttpEvent::Request),
            (
                r#"{"Records":[{"eventSource":"aws:dynamodb","eventName":"INSERT","dynamodb":{"Keys":{"pk":{"S":"installation#i"},"sk":{"S":"work#purge"}}}}]}"#,
                NonHttpEvent::Stream(vec![(InstallationId::parse("i").unwrap(), Job::Purge)]),
            ),
            (
                r#"{"requestContext":{},"Records":[{"eventSource":"aws:dynamodb","eventName":"INSERT","dynamodb":{"Keys":{"pk":{"S":"installation#i"},"sk":{"S":"work#purge"}}}}]}"#,
                NonHttpEvent::Request,
            ),
            (r#"{"httpMethod":"GET","requestContext":{"elb":{}}}"#, NonHttpEvent::Request),
        ] {
            assert_eq!(NonHttpEvent::of(event.as_bytes()), other, "{event}");
        }
    }

    /// B2: teardown reads the id that the caller sent, even if the API adds a prefix to the contract's path.
    #[test]
    fn the_contracts_path_is_what_the_route_matched() {
        let route = Some("/v1/installations/{installationId}");
        let (default, v1) = (Some("$default"), Some("v1"));
        let hidden = "/v1/installations/h/v1/installations/j";
        for (path, stage, route, expected) in [
            (hidden, default, Some("/v1/installations/{hidden}"), hidden),
            ("/v1/installations/i", default, route, "/v1/installations/i"),
            ("/prod/v1/installations/i", Some("prod"), route, "/v1/installations/i"),
            ("/v1/installations/i", Some("prod"), route, "/v1/installations/i"),
            ("/base/path/v1/installations/i", default, route, "/v1/installations/i"),
            ("/v1/installations/i", v1, route, "/v1/installations/i"),
            ("/v1/installations/i", v1, None, "/v1/installations/i"),
            ("/v1/v1/installations/i", v1, None, "/v1/installations/i"),
            ("/v1/v1/installations/i", v1, route, "/v1/installations/i"),
            ("/prod/v1/installations/i", Some("prod"), None, "/v1/installations/i"),
            ("/production/v1/i", Some("prod"), None, "/production/v1/i"),
            ("/prod/v1/installations/i", None, None, "/prod/v1/installations/i"),
            ("/base/v1/installations/i", default, Some("/{proxy+}"), "/v1/installations/i"),
            ("/v1/installations/a?b#c", default, route, "/v1/installations/a%3Fb%23c"),
            ("/v1/installations/a%3Ab", default, route, "/v1/installations/a%3Ab"),
            ("/v1", default, route, "/v1"),
            ("", default, route, ""),
        ] {
            let parameters = [("proxy", "v1/installations/i"), ("hidden", "h/v1/installations/j")];
            let parameters = parameters.map(|(name, it)| (name.to_owned(), it.to_owned())).into();
            let stage = stage.map(str::to_owned);
            let found = RoutedPath { path, stage, route, parameters: &parameters };
            assert_eq!(found.contract_path(Endpoint::DeleteInstallation), expected, "{path}");
        }
    }
}
