//! AWS Lambda: requests in the events of API Gateway's HTTP APIs (payload 2.0 and 1.0, which function
//! URLs and REST APIs send too), a schedule's event, which sweeps, and the event of the table's stream,
//! which runs the jobs that are new.
//!
//! An event with a `requestContext` is a request, and nothing in a request makes it another event. Its
//! answer has a status in the gateways' form, as `form` makes it: to an HTTP API, an answer without one is a
//! 200.

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

/// The time that Lambda's runtime needs to send an answer on. Of a shorter time it gets half.
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

/// Checks what Lambda's runtime reads, and would panic without (S1). An emulator may leave it out.
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
    // `cargo lambda watch` has a scheme and a path in it.
    if !read(api)?.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some()) {
        return Err(ConfigError::new(api, "is not a host and a port"));
    }
    Ok(())
}

/// An event that can be read as JSON. A gateway hands a caller's bytes over as they came, in a header
/// for one, and an event that is not UTF-8 is a function error. In its place comes the least that is
/// told to be a request's (S2).
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

/// How long a sweep or a backend may take: until the deadline of its invocation, and no longer than
/// elsewhere. A deadline that is past is none: `cargo lambda watch` has one of 1970.
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

/// An event that is not read as a request.
#[derive(Debug, PartialEq, Eq)]
enum NonHttpEvent {
    /// A schedule's. What comes past API Gateway was permitted by IAM.
    Schedule,
    /// That of the table's stream, with the jobs that are new.
    Stream(Vec<(InstallationId, Job)>),
    /// A request's all the same, with a caller's words in it: a load balancer's, or a malformed one.
    Request,
    /// Anything else.
    Unknown,
}

impl NonHttpEvent {
    /// The top level of an event is never a caller's, unless something hands a caller's body over as the
    /// event, which nothing may do that invokes the sweep; and every request's has a `requestContext`.
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
            // For a schedule, a failure is what Lambda counts as one.
            if !response.status().is_success() {
                return Err("the sweep failed; its log line says why".into());
            }
            into_lambdas(response).await
        }
        NonHttpEvent::Stream(jobs) if endpoint == Endpoint::Sweep => {
            app.run_new_jobs(jobs, time).await;
            // What failed is the schedule's: sent again, the whole batch would hold up what is newer.
            let answer = json!({ "batchItemFailures": [] });
            Ok(Response::new(Body::from(answer.to_string())))
        }
        NonHttpEvent::Request => {
            let (head, body) = app.refuse(endpoint, BadRequest::Event.into()).into_parts();
            let body = body.collect().await?.to_bytes();
            // What all gateways understand. An answer that does not have this form is a 200 to some.
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

/// The characters that have to be encoded in an address. An HTTP API decodes paths: a `?` that was `%3F`
/// does not begin a query.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
const IN_PATH: &AsciiSet = &IN_QUERY.add(b'?');

/// Makes of an event what the host's HTTP layer reads as the request that the caller sent, with the
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
            // These have the last of several values, and would take the others' place.
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

/// Without a host an address is the path alone. Nothing asks for it, and a caller may have written it.
fn without_host(headers: &mut HeaderMap, domain_name: &mut Option<String>) {
    headers.remove(HOST);
    *domain_name = None;
}

/// The path of a request, and the parts that its API took it for.
struct RoutedPath<'a> {
    path: &'a str,
    stage: Option<String>,
    /// The path that its route is for, such as `/v1/{proxy+}`. `None` for `$default`.
    route: Option<&'a str>,
    /// The parts of the path that the route matched.
    parameters: &'a HashMap<String, String>,
}

impl RoutedPath<'_> {
    /// The path as the contract has it. In front of it, an API may have its stage's name or a custom
    /// domain's base path.
    fn contract_path(&self, endpoint: Endpoint) -> String {
        let mut segments = self.path.match_indices('/').map(|(index, _)| &self.path[index..]);
        // Nothing is before it, though a stage's name may be what the contract begins with.
        let before = if endpoint.route(self.path).is_some() { 0 } else { self.segments_before() };
        let path = segments.nth(before).unwrap_or(self.path);
        utf8_percent_encode(path, IN_PATH).to_string()
    }

    /// The number of segments before the part that the route matched. If the route matched nothing, only the
    /// stage's name is known.
    fn segments_before(&self) -> usize {
        // A plain parameter is one segment, but its value is decoded, and may hold what was `%2F`.
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

    /// B1: only a schedule sweeps without the secret.
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

    /// B2: an id is what the caller sent, also if the API has a prefix before the contract's path.
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
