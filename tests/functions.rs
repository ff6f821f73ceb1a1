//! The function binaries themselves, as a host starts them.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::world::{ACCOUNT, INTEGRATION, ISSUER, World, serve, user};

const DELETE_RESOURCE: &str = env!("CARGO_BIN_EXE_delete_resource");
const DELETE_INSTALLATION: &str = env!("CARGO_BIN_EXE_delete_installation");

/// A function's process; it ends with the test.
struct Function {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Function {
    /// The next line of its standard output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Ends it, and gives the rest of its standard output.
    fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        rest
    }
}

/// A command whose environment is these variables and no others.
fn command(binary: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().envs(variables.iter().copied()).stdout(Stdio::piped());
    command
}

fn start(binary: &str, variables: &[(&str, &str)]) -> Function {
    let mut child = command(binary, variables).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    Function { child, output }
}

fn run(binary: &str, variables: &[(&str, &str)]) -> Output {
    command(binary, variables).stderr(Stdio::piped()).output().unwrap()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A start that fails says why in one line that names the variable, and no secret.
#[test]
fn a_bad_environment_stops_the_start_with_one_line() {
    let region = ("AWS_REGION", "us-east-1");
    let id = ("INTEGRATION_ID", INTEGRATION);
    let secret = ("PROVIDER_SECRET", "whsec_c2VjcmV0");
    for (variables, line) in [
        (&[region][..], "teardown: INTEGRATION_ID: is required\n"),
        (
            &[region, id, ("FINALIZE_MARGIN", "x")],
            "teardown: FINALIZE_MARGIN: is no time such as 2h or 90m\n",
        ),
        (
            &[region, id, ("PROVIDER_URL", "https://p.example"), secret],
            "teardown: PROVIDER_SECRET: must be whsec_ and the base64 of 24 to 64 bytes\n",
        ),
        (
            &[region, id, ("RUST_LOG", "a=b=c")],
            "teardown: RUST_LOG: is no filter such as info or teardown=debug,info\n",
        ),
        (&[id, ("AWS_EC2_METADATA_DISABLED", "true")], "teardown: AWS_REGION: is required\n"),
    ] {
        let output = run(DELETE_RESOURCE, variables);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), line);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    }
}

/// A7, B1, C1, D1, D5: on a plain port each binary serves its own endpoint, fetches no keys where it
/// has some, logs one line per request that never holds the token, and warns of what it never knew.
#[tokio::test]
async fn a_binary_serves_its_endpoint_on_a_port() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let token = world.token(&user("icfg_1"));
    let fetched = Arc::new(Mutex::new(0));
    let counted = fetched.clone();
    let keys = serve(axum::Router::new().fallback(async move || {
        *counted.lock().unwrap() += 1;
        StatusCode::NOT_FOUND
    }));
    let (keys, jwks) = (keys.await, ISSUER.jwks().to_string());
    let environment = |port: &'static str| {
        [
            ("INTEGRATION_ID", INTEGRATION.to_owned()),
            ("OIDC_JWKS", jwks.clone()),
            ("OIDC_JWKS_URL", keys.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "planted-secret".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", world.dynamodb_url.clone()),
            ("VERCEL_DEV_PORT", port.to_owned()),
        ]
    };
    let http = crate::world::http_client();
    for (binary, path, other, status) in [
        (
            DELETE_RESOURCE,
            "/v1/installations/icfg_1/resources/db_1",
            "/v1/installations/icfg_1",
            204,
        ),
        (
            DELETE_INSTALLATION,
            "/v1/installations/icfg_1",
            "/v1/installations/icfg_1/resources/db_1",
            200,
        ),
    ] {
        let port: &'static str = free_port().to_string().leak();
        let variables = environment(port);
        let variables: Vec<_> = variables.iter().map(|(name, it)| (*name, it.as_str())).collect();
        let mut function = start(binary, &variables);
        assert_eq!(function.line(), format!("Dev server listening: {port}\n"));
        let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let answer = http.delete(url(path)).bearer_auth(&token).header("idempotency-key", "k1");
        assert_eq!(answer.send().await.unwrap().status(), status);
        let answer = http.delete(url(other)).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        let stranger = world.token(&user("icfg_x"));
        let unknown = path.replace("icfg_1", "icfg_x");
        let answer = http.delete(url(&unknown)).bearer_auth(&stranger).send().await.unwrap();
        assert_eq!(answer.status(), status);
        let busy = run(binary, &variables);
        assert_eq!(busy.status.code(), Some(1));
        let line = String::from_utf8(busy.stderr).unwrap();
        assert!(line.contains("Address already in use") && line.lines().count() == 1, "{line}");

        let log = function.end();
        let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let first = lines.next().unwrap();
        assert_eq!((&first["status"], &first["outcome"]), (&json!(status), &json!("done")));
        assert!(first["dynamodb_calls"].is_u64() && first["ms"].is_f64(), "{first}");
        assert_eq!(first["span"]["method"], "DELETE");
        assert_eq!(first["span"]["installation"], "icfg_1");
        assert_eq!(first["span"]["caller"], "user");
        assert!(first["span"]["route"].as_str().unwrap().starts_with("/v1/installations/{"));
        let second = lines.next().unwrap();
        assert_eq!((&second["status"], &second["outcome"]), (&json!(404), &json!("not_found")));
        let warning = lines.next().unwrap();
        assert_eq!(
            (&warning["level"], &warning["span"]["installation"]),
            (&json!("WARN"), &json!("icfg_x"))
        );
        assert!(warning["message"].as_str().unwrap().contains("never known"), "{warning}");
        assert_eq!(lines.next().unwrap()["status"], status);
        assert_eq!(lines.next(), None);
        for secret in [token.as_str(), token.rsplit('.').next().unwrap(), "planted-secret", "k1\""]
        {
            assert!(!log.contains(secret), "{log}");
        }
    }
    assert_eq!(*fetched.lock().unwrap(), 0, "no key was fetched");
}

/// A fault of the deployment is told by its log, and by nothing else.
#[tokio::test]
async fn the_log_has_the_cause_of_a_fault() {
    let world = World::new().await;
    let port = free_port().to_string();
    let jwks = ISSUER.jwks().to_string();
    let mut function = start(
        DELETE_RESOURCE,
        &[
            ("INTEGRATION_ID", INTEGRATION),
            ("TABLE_NAME", "misspelt"),
            ("OIDC_JWKS", &jwks),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &world.dynamodb_url),
            ("VERCEL_DEV_PORT", &port),
        ],
    );
    function.line();
    let url = format!("http://127.0.0.1:{port}/v1/installations/icfg_1/resources/db_1");
    let token = world.token(&user("icfg_1"));
    let answer = crate::world::http_client().delete(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(!answer.text().await.unwrap().contains("NotFound"));
    let log: Value = serde_json::from_str(&function.end()).unwrap();
    assert_eq!((&log["level"], &log["outcome"]), (&json!("ERROR"), &json!("internal_error")));
    assert!(log["cause"].as_str().unwrap().contains("ResourceNotFoundException"), "{log}");
}

/// Lambda's runtime API, as far as a function needs it.
#[derive(Clone)]
struct Lambda {
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>>,
    answers: mpsc::UnboundedSender<Value>,
}

impl Lambda {
    async fn next(State(lambda): State<Self>) -> Response {
        let Some(event) = lambda.events.lock().await.recv().await else {
            return StatusCode::GONE.into_response();
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "request-1"),
            ("lambda-runtime-deadline-ms", "9999999999999"),
            ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f"),
            ("lambda-runtime-trace-id", "trace"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        (headers, axum::Json(event)).into_response()
    }

    async fn answer(State(lambda): State<Self>, _: Path<String>, request: Request) -> StatusCode {
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        lambda.answers.send(serde_json::from_slice(&body).unwrap()).unwrap();
        StatusCode::ACCEPTED
    }
}

/// The same binary on Lambda: an event of an HTTP API in, its answer out.
#[tokio::test]
async fn a_binary_serves_its_endpoint_on_lambda() {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    let token = world.token(&user("icfg_1"));
    let (events, receiver) = mpsc::unbounded_channel();
    let (answers, mut answered) = mpsc::unbounded_channel();
    let lambda = Lambda { events: Arc::new(tokio::sync::Mutex::new(receiver)), answers };
    let api = serve(
        axum::Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(Lambda::next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(Lambda::answer))
            .with_state(lambda),
    )
    .await;
    let jwks = ISSUER.jwks().to_string();
    let _function = start(
        DELETE_INSTALLATION,
        &[
            ("INTEGRATION_ID", INTEGRATION),
            ("OIDC_JWKS", &jwks),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", &world.dynamodb_url),
            ("AWS_LAMBDA_RUNTIME_API", api.trim_start_matches("http://")),
            ("AWS_LAMBDA_FUNCTION_NAME", "f"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ],
    );
    let event = |method: &str, token: &str| {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": "/v1/installations/icfg_1",
            "rawQueryString": "", "isBase64Encoded": true, "body": "eyJyZWFzb24iOiJ4In0=",
            "headers": { "authorization": format!("Bearer {token}"), "host": "x.example" },
            "requestContext": {
                "accountId": "1", "apiId": "a", "domainName": "x.example", "domainPrefix": "x",
                "requestId": "r", "routeKey": "$default", "stage": "$default",
                "time": "22/Nov/2026:00:00:00 +0000", "timeEpoch": 1_795_305_600_000_u64,
                "http": {
                    "method": method, "path": "/v1/installations/icfg_1", "protocol": "HTTP/1.1",
                    "sourceIp": "127.0.0.1", "userAgent": "test",
                },
            },
        })
    };
    let mut ask = async |event| {
        events.send(event).unwrap();
        let answer: Value = answered.recv().await.unwrap();
        (answer["statusCode"].clone(), answer["body"].clone(), answer["headers"].clone())
    };

    let (status, body, _) = ask(event("DELETE", "nobody's")).await;
    assert_eq!(status, 403);
    assert!(body.as_str().unwrap().contains("invalid_token"), "{body}");
    let (status, _, headers) = ask(event("GET", &token)).await;
    assert_eq!((status, &headers["allow"]), (json!(405), &json!("DELETE")));
    let (status, body, headers) = ask(event("DELETE", &token)).await;
    assert_eq!((status, body), (json!(200), json!(r#"{"finalized":false}"#)));
    assert_eq!(headers["content-type"], "application/json");
    let items = world.items("icfg_1").await;
    assert_eq!(items["receipt#installation"]["reason"], "x", "the body was base64");
    assert_eq!(items["receipt#installation"]["deletedBy"]["accountId"], ACCOUNT);
}
