//! A function with `RUST_LOG=trace` and with a secret in every place where a secret can be, on each of the
//! hosts.

use std::sync::LazyLock;

use serde_json::{Value, json};
use teardown_cli::issuer::Issuer;
use tempfile::{NamedTempFile, TempDir};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};

use super::planted::{
    ACCESS_TOKEN, AWS_SECRET_KEY, AWS_SESSION_TOKEN, CLIENT_SECRET, CRON_SECRET, EMAIL,
    IDEMPOTENCY_KEY, OIDC_TOKEN, PROVIDER_KEY, Planted,
};
use crate::support::backend::Backend;
use crate::support::process::{Lambda, Recorded, Variables, free_port, record};
use crate::support::sts::{self, Sts};
use crate::support::waiting::listens;
use crate::support::world::{ACCOUNT, ISSUER, World};

/// A `RUST_LOG` that turns on all logs, and also names the libraries whose logs teardown suppresses.
const RUST_LOG: &str = "trace,aws_sigv4=trace,aws_smithy_runtime=trace,aws_config=trace,\
    hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,lambda_runtime=trace,tower=trace";

/// The stranger who signs the forged tokens.
static STRANGER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate().unwrap());

/// The host that a function runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// On Vercel, where the function assumes a role with the platform's token.
    Vercel,
    /// On a plain port, with AWS keys in the environment.
    Port,
    /// On Lambda, with AWS keys in the environment.
    Lambda,
}

#[derive(Clone)]
pub struct Call {
    pub method: &'static str,
    /// The path and the query of the request.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Call {
    /// A deletion with this token, and with everything else that a caller and the host may send.
    pub fn delete(target: &str, token: &str) -> Self {
        let headers = vec![
            ("authorization", format!("Bearer {token}")),
            ("idempotency-key", IDEMPOTENCY_KEY.to_owned()),
            ("x-vercel-oidc-token", OIDC_TOKEN.to_owned()),
            ("cookie", format!("session={AWS_SESSION_TOKEN}")),
        ];
        Self { method: "DELETE", target: target.to_owned(), headers, body: String::new() }
    }

    /// Adds a header to the request. An earlier header with the same name stays.
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn body(self, body: &str) -> Self {
        Self { body: body.to_owned(), ..self }
    }
}

/// How a test reaches the function.
enum Way {
    Http { port: u16, function: Recorded, _platform: Option<(BufReader<UnixStream>, TempDir)> },
    Lambda(Lambda<Recorded>),
}

/// A function, and the stand-ins that it calls.
pub struct Scene {
    pub world: World,
    pub backend: Backend,
    pub sts: Sts,
    pub planted: Planted,
    pub host: Host,
    pub binary: &'static str,
    way: Way,
    log: NamedTempFile,
}

impl Scene {
    /// Starts a function. `icfg_1` is registered, with `db_1` and everything that can belong to an
    /// installation.
    pub async fn start(binary: &'static str, host: Host) -> Self {
        let (world, backend) = Backend::behind().await;
        let (sts, sts_url) = Sts::start(sts::HOUR).await;
        let log = NamedTempFile::new().unwrap();
        let mut variables = world.environment();
        variables.extend([
            ("PROVIDER_URL", format!("{}?key={PROVIDER_KEY}", world.provider_url())),
            ("CRON_SECRET", CRON_SECRET.to_owned()),
            ("CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", AWS_SECRET_KEY.to_owned()),
            ("AWS_SESSION_TOKEN", AWS_SESSION_TOKEN.to_owned()),
            ("AWS_ENDPOINT_URL_STS", sts_url),
            // No server listens at this address.
            ("OIDC_JWKS_URL", "http://127.0.0.1:1/jwks".to_owned()),
            ("RUST_LOG", RUST_LOG.to_owned()),
        ]);
        let way = match host {
            Host::Vercel => on_vercel(binary, variables, &log).await,
            Host::Port => {
                let port = free_port();
                variables.push(("VERCEL_DEV_PORT", port.to_string()));
                let function = record(binary, variables, log.as_file());
                listens(port).await;
                Way::Http { port, function, _platform: None }
            }
            Host::Lambda => Way::Lambda(
                Lambda::start_by(variables, |variables| record(binary, variables, log.as_file()))
                    .await,
            ),
        };
        let planted = Planted::default();
        let scene = Self { world, backend, sts, planted, host, binary, way, log };
        scene.install("icfg_1").await;
        scene
    }

    /// Registers an installation with `db_1`, the planted access token, and everything else that can belong
    /// to an installation.
    pub async fn install(&self, id: &str) {
        self.world.install_whole(id, &["db_1"]).await;
        let line = json!({ "id": id, "accountId": ACCOUNT, "accessToken": ACCESS_TOKEN });
        self.world.register(json!({ "installation": line })).await;
    }

    /// Signs these claims, after adding a private email address to them. The signed token becomes a planted
    /// secret.
    pub fn token(&mut self, claims: &Value) -> String {
        let token = ISSUER.sign(&self.claims(claims));
        self.planted.token(&token);
        token
    }

    /// Like [`Scene::token`], but a stranger signs, with the issuer's key id.
    pub fn forged(&mut self, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "kid": ISSUER.kid() });
        let token = STRANGER.sign_with_header(&header, &self.claims(claims));
        self.planted.token(&token);
        token
    }

    fn claims(&self, claims: &Value) -> Value {
        let mut claims = self.world.timed(claims);
        claims["user_email"] = json!(EMAIL);
        claims
    }

    /// Sends a request, and returns the answer from its status on. Checks that this answer contains no
    /// secret.
    pub async fn send(&mut self, call: Call) -> String {
        let answer = self.send_unchecked(call).await;
        self.planted.is_not_in(&answer);
        answer
    }

    /// Sends a request, and returns the answer. The answer may contain secrets, because it is the backend's.
    pub async fn send_unchecked(&mut self, call: Call) -> String {
        match &mut self.way {
            Way::Http { port, .. } => over_http(*port, &call).await,
            Way::Lambda(lambda) => {
                let answer = lambda.invoke(event(&call)).await;
                format!("{} {answer}", answer["statusCode"])
            }
        }
    }

    /// Ends the function. Checks that the function's log contains each of these texts, and no secret.
    pub async fn end(self, logged: &[&str]) {
        let path = self.log.path();
        if let Way::Http { function, .. } = self.way {
            tokio::task::spawn_blocking(|| function.terminate()).await.unwrap();
        }
        let log = std::fs::read_to_string(path).unwrap();
        self.planted.is_not_in(&log);
        for part in logged {
            assert!(log.contains(part), "{:?} {}: {part}: {log}", self.host, self.binary);
        }
        let json = |line: &&str| serde_json::from_str::<Value>(line).is_ok();
        let others: Vec<_> = log.lines().filter(|line| !json(line)).collect();
        assert!(others.len() <= 1, "the host's own line alone is no JSON: {others:#?}");
    }
}

async fn on_vercel(binary: &str, mut variables: Variables, log: &NamedTempFile) -> Way {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("ipc.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let port = free_port();
    variables.push(("VERCEL_DEV_PORT", port.to_string()));
    variables.push(("VERCEL_IPC_PATH", socket.to_str().unwrap().to_owned()));
    variables.push(("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/teardown".to_owned()));
    let function = record(binary, variables, log.as_file());
    let (stream, _) = listener.accept().await.unwrap();
    let mut messages = BufReader::new(stream);
    messages.read_until(0, &mut Vec::new()).await.unwrap();
    Way::Http { port, function, _platform: Some((messages, folder)) }
}

async fn over_http(port: u16, call: &Call) -> String {
    let (method, target, length) = (call.method, &call.target, call.body.len());
    let headers = call.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers = headers.collect::<Vec<_>>().concat();
    let whole = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{}",
        call.body
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // If the function answers before everything is sent, it possibly does not read the rest.
    let _ = stream.write_all(whole.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    answer.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The event that an HTTP API makes of a request.
fn event(call: &Call) -> Value {
    let (path, query) = call.target.split_once('?').unwrap_or((&call.target, ""));
    let mut headers = json!({ "host": "x.example" });
    for (name, value) in &call.headers {
        let before = headers[name].as_str().map(|before| format!("{before},"));
        headers[name] = json!(before.unwrap_or_default() + value);
    }
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "isBase64Encoded": false, "body": call.body, "headers": headers,
        "requestContext": {
            "accountId": "1", "apiId": "a", "domainName": "x.example", "domainPrefix": "x",
            "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "22/Nov/2026:00:00:00 +0000", "timeEpoch": 1_795_305_600_000_u64,
            "http": {
                "method": call.method, "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "test",
            },
        },
    })
}
