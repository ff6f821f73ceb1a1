//! AWS credentials of a function on Vercel: either stored keys, or sessions of a role, which STS gives in
//! exchange for tokens of Vercel's platform.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use crate::support::dynamodb::Signer;
use crate::support::process::{DELETE_RESOURCE, Function, free_port, start};
use crate::support::sts::{Answer, HOUR, Sts};
use crate::support::world::{Reply, World, http_client, user};

const ROLE: &str = "arn:aws:iam::123456789012:role/teardown";

/// A token of Vercel's platform.
const TOKEN: &str = "platform-t0ken";

/// The identity of a session that STS gave. `number` is the number of the request to STS, counted from 1.
fn assumed(number: usize) -> Signer {
    Signer {
        access_key_id: format!("ASIA{number}"),
        session_token: Some(format!("sess1on-{number}")),
    }
}

/// The identity of the AWS keys that are stored in the function's environment.
fn stored() -> Signer {
    Signer { access_key_id: "AKIASTORED".to_owned(), session_token: None }
}

const STORED_KEYS: [(&str, &str); 2] =
    [("AWS_ACCESS_KEY_ID", "AKIASTORED"), ("AWS_SECRET_ACCESS_KEY", "stored-s3cret")];

/// The AWS keys that Vercel itself puts into a function's environment, and which permit nothing.
const USELESS_KEYS: [(&str, &str); 3] = [
    ("AWS_ACCESS_KEY_ID", "ASIAUSELESS"),
    ("AWS_SECRET_ACCESS_KEY", "useless-s3cret"),
    ("AWS_SESSION_TOKEN", "useless"),
];

/// A function, an installation whose resources the function deletes, and a stand-in for STS.
struct Scene {
    world: World,
    sts: Sts,
    url: String,
    function: Function,
    /// The platform's end of the socket to the function.
    _platform: Option<(BufReader<UnixStream>, TempDir)>,
}

impl Scene {
    /// Starts a function as Vercel's platform does.
    async fn on_vercel(answer: Answer, variables: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("ipc.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let ipc = [("VERCEL_IPC_PATH", socket.to_str().unwrap())];
        let scene = Self::start(answer, &[variables, &ipc].concat()).await;
        let (stream, _) = listener.accept().await.unwrap();
        let mut messages = BufReader::new(stream);
        messages.read_until(0, &mut Vec::new()).await.unwrap();
        Self { _platform: Some((messages, folder)), ..scene }
    }

    /// Starts a function on a plain port, outside Vercel's platform.
    async fn on_a_port(answer: Answer, variables: &[(&'static str, &str)]) -> Self {
        let mut scene = Self::start(answer, variables).await;
        assert!(scene.function.line().starts_with("Dev server listening"));
        scene
    }

    async fn start(answer: Answer, variables: &[(&'static str, &str)]) -> Self {
        let world = World::new().await;
        world.install("icfg_1", &["db_1", "db_2", "db_3"]).await;
        let (sts, sts_url) = Sts::start(answer).await;
        let port = free_port().to_string();
        let mut environment = world.environment();
        environment
            .retain(|(name, _)| !["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(name));
        environment.extend(variables.iter().map(|(name, it)| (*name, (*it).to_owned())));
        environment.push(("AWS_ENDPOINT_URL_STS", sts_url));
        environment.push(("VERCEL_DEV_PORT", port.clone()));
        environment.push(("RUST_LOG", "trace".to_owned()));
        let function = start(DELETE_RESOURCE, environment);
        let url = format!("http://127.0.0.1:{port}");
        Self { world, sts, url, function, _platform: None }
    }

    /// Deletes a resource with one request. The request carries these tokens of Vercel's platform.
    async fn delete(&self, resource: &str, platform: &[&str]) -> Reply {
        let path = format!("/v1/installations/icfg_1/resources/{resource}");
        let mut request = http_client().delete(format!("{}{path}", self.url));
        for token in platform {
            request = request.header("x-vercel-oidc-token", *token);
        }
        let token = self.world.token(&user("icfg_1"));
        let before = self.world.dynamodb.calls();
        let response = request.bearer_auth(token).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Reply { status, headers, body, calls: self.world.dynamodb.calls() - before }
    }

    /// Ends the function. Returns the function's log, which must contain no secret.
    fn log(self) -> String {
        let log = self.function.end();
        for secret in [TOKEN, "s3cret", "sess1on"] {
            assert!(!log.contains(secret), "{secret}: {log}");
        }
        log
    }
}

/// The function exchanges the platform's token for a session of the role, and does so only once. The function
/// ignores the keys that Vercel itself puts into the environment.
#[tokio::test]
async fn the_platforms_token_is_exchanged_for_a_session() {
    let role = [("AWS_ROLE_ARN", ROLE)];
    let scene = Scene::on_vercel(HOUR, &[&role[..], &USELESS_KEYS].concat()).await;
    assert_eq!(scene.delete("db_1", &[TOKEN]).await.status, 204);
    assert_eq!(scene.delete("db_2", &["another"]).await.status, 204);
    assert_eq!(scene.delete("db_3", &[]).await.status, 204, "the session stands");
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("RoleArn", ROLE),
        ("RoleSessionName", "teardown"),
        ("Version", "2011-06-15"),
        ("WebIdentityToken", TOKEN),
    ];
    let form = form.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    assert_eq!(*scene.sts.received.lock().unwrap(), [form]);
    assert_eq!(scene.world.dynamodb.signers(), [assumed(1), assumed(1), assumed(1)]);
    assert_eq!(scene.world.sort_keys("icfg_1").await.len(), 4, "the installation and 3 receipts");
    scene.log();
}

/// The function renews a session shortly before the session ends, with the last token of the newest
/// request.
#[tokio::test]
async fn a_session_is_renewed_before_it_ends() {
    let role = [("AWS_ROLE_ARN", ROLE), ("AWS_ROLE_SESSION_NAME", "mine")];
    let short = Answer::Session(Duration::from_mins(2));
    let scene = Scene::on_vercel(short, &role).await;
    assert_eq!(scene.delete("db_1", &["first"]).await.status, 204);
    scene.sts.now(HOUR);
    assert_eq!(scene.delete("db_2", &["forged", "second"]).await.status, 204);
    assert_eq!(scene.delete("db_3", &["third"]).await.status, 204);
    assert_eq!(scene.sts.tokens(), ["first", "second"]);
    assert_eq!(scene.world.dynamodb.signers(), [assumed(1), assumed(2), assumed(2)]);
    scene.log();
}

/// F6: if STS refuses to renew a session, or does not answer, the old session is used until it ends. After a
/// failed call to STS, the function does not call STS for 10 s.
#[tokio::test]
async fn an_outage_of_sts_ends_no_session() {
    for (outage, attempts) in [(Answer::Refused, 1), (Answer::Silence, 2)] {
        let short = Answer::Session(Duration::from_mins(2));
        let scene = Scene::on_vercel(short, &[("AWS_ROLE_ARN", ROLE)]).await;
        assert_eq!(scene.delete("db_1", &["first"]).await.status, 204);
        scene.sts.now(outage);
        assert_eq!(scene.delete("db_2", &["second"]).await.status, 204);
        assert_eq!(scene.delete("db_3", &["third"]).await.status, 204);
        let mut tokens = scene.sts.tokens();
        tokens.dedup();
        assert_eq!(tokens, ["first", "second"]);
        assert!((2..=1 + attempts).contains(&scene.sts.tokens().len()));
        assert_eq!(scene.world.dynamodb.signers(), [assumed(1), assumed(1), assumed(1)]);
        let log = scene.log();
        assert_eq!(log.matches("its last session is still good").count(), 1, "{log}");
    }
}

/// The function does not use a session that is about to end.
#[tokio::test]
async fn a_session_that_ends_now_is_not_used_again() {
    let ending = Answer::Session(Duration::from_secs(5));
    let scene = Scene::on_vercel(ending, &[("AWS_ROLE_ARN", ROLE)]).await;
    assert_eq!(scene.delete("db_1", &[TOKEN]).await.status, 204);
    scene.sts.now(Answer::Refused);
    assert_eq!(scene.delete("db_2", &[TOKEN]).await.error(), (500, "internal_error"));
    assert!(scene.world.is_live("icfg_1", "db_2").await);
}

/// B5, F6: if the function gets no session from STS, the request is answered 503 for a temporary failure, and
/// 500 for a failure that somebody has to fix. The log names the failure's cause. The log and the answer
/// contain no secret.
#[tokio::test]
async fn a_refused_role_is_answered() {
    let scene = Scene::on_vercel(Answer::Refused, &[("AWS_ROLE_ARN", ROLE)]).await;
    assert_eq!(scene.delete("db_1", &[]).await.error(), (500, "internal_error"), "no token");
    assert_eq!(scene.sts.tokens().len(), 0);
    let refused = scene.delete("db_1", &[TOKEN]).await;
    assert_eq!(refused.error(), (500, "internal_error"));
    assert_eq!(refused.message(), "internal error");
    for passing in [Answer::IssuerOutOfReach, Answer::Broken, Answer::Reset] {
        scene.sts.now(passing);
        let reply = scene.delete("db_1", &[TOKEN]).await;
        assert_eq!(reply.error(), (503, "store_unavailable"));
        assert!(reply.headers.contains_key("retry-after"));
    }
    assert_eq!(scene.world.dynamodb.calls(), scene.world.dynamodb.signers().len());
    assert!(scene.world.dynamodb.signers().is_empty(), "nothing was sent");
    scene.sts.now(HOUR);
    assert_eq!(scene.delete("db_1", &[TOKEN]).await.status, 204);
    let log = scene.log();
    for cause in [
        "OIDC is off in the project's settings",
        "STS does not let this deployment take the role of AWS_ROLE_ARN",
        "InvalidIdentityToken",
        "STS cannot be called for the role of AWS_ROLE_ARN",
    ] {
        assert!(log.contains(cause), "{cause}: {log}");
    }
}

/// Any caller can send the header that carries the platform's token on Vercel. Outside Vercel's platform, the
/// function ignores that header and uses its stored keys.
#[tokio::test]
async fn a_callers_token_is_not_the_platforms() {
    let variables = [&STORED_KEYS[..], &[("AWS_ROLE_ARN", ROLE)]].concat();
    let scene = Scene::on_a_port(HOUR, &variables).await;
    assert_eq!(scene.delete("db_1", &[TOKEN]).await.status, 204);
    assert_eq!(scene.sts.tokens().len(), 0);
    assert_eq!(scene.world.dynamodb.signers(), [stored()]);
    scene.log();
}

/// If no role is configured, the function uses its stored keys, even on Vercel.
#[tokio::test]
async fn stored_keys_work_on_vercel() {
    let scene = Scene::on_vercel(HOUR, &STORED_KEYS).await;
    assert_eq!(scene.delete("db_1", &[TOKEN]).await.status, 204);
    assert_eq!(scene.sts.tokens().len(), 0);
    assert_eq!(scene.world.dynamodb.signers(), [stored()]);
    scene.log();
}
