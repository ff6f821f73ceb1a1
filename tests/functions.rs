//! The binaries of the functions, started as a host starts them.

use std::fmt::Write as _;
use std::io::{Read as _, Seek as _};
use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::support::outside::PROVIDER_SECRET;
use crate::support::process::{
    DELETE_CONFIGURATION, DELETE_INSTALLATION, DELETE_RESOURCE, FRONT, Lambda, SWEEP, Variables,
    WEBHOOK, free_port, run, run_into, start, start_into,
};
use crate::support::world::{CRON_SECRET, INTEGRATION, World, serve, user};

fn owned(variables: &[(&'static str, &str)]) -> Variables {
    variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// The environment of a function that calls this `World` and listens on this port.
fn on_port(world: &World, port: u16) -> Variables {
    let mut variables = world.environment();
    variables.push(("VERCEL_DEV_PORT", port.to_string()));
    variables
}

/// S1: if a function cannot start, it prints the reason in one line. The line names the environment variable,
/// and contains no secret.
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
        (
            &[region, id, ("RUST_LOG", "inof")],
            "teardown: RUST_LOG: would log nothing of teardown: begin with a level such as info\n",
        ),
        (
            &[region, id, ("OIDC_ISSUER", "https://marketplace.vercel.com\n")],
            "teardown: OIDC_ISSUER: has a blank or a line break at an end\n",
        ),
        (
            &[region, id, ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/teardown\n")],
            "teardown: AWS_ROLE_ARN: has a blank or a line break at an end\n",
        ),
        (
            &[region, id, ("AWS_ACCESS_KEY_ID", "AKIA\n"), ("AWS_SECRET_ACCESS_KEY", "s")],
            "teardown: AWS_ACCESS_KEY_ID: has a blank or a line break at an end\n",
        ),
        (
            &[region, id, ("AWS_ACCESS_KEY_ID", "AKIA")],
            "teardown: AWS_SECRET_ACCESS_KEY: is required\n",
        ),
        (
            &[("AWS_REGION", "us-east-1 "), id],
            "teardown: AWS_REGION: has a blank or a line break at an end\n",
        ),
        (
            &[region, id, ("VERCEL_DEV_PORT", "abc")],
            "teardown: VERCEL_DEV_PORT: is not a port, 1 to 65535\n",
        ),
        (
            &[region, id, ("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9001")],
            "teardown: AWS_LAMBDA_FUNCTION_NAME: is required\n",
        ),
        (
            &[
                region,
                id,
                ("AWS_LAMBDA_RUNTIME_API", "http:///"),
                ("AWS_LAMBDA_FUNCTION_NAME", "f"),
                ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ],
            "teardown: AWS_LAMBDA_RUNTIME_API: is not a host and a port\n",
        ),
    ] {
        let output = run(DELETE_RESOURCE, owned(variables));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), line);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    }
    let output = run(SWEEP, owned(&[region, id]));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "teardown: CRON_SECRET: is required\n");
    let output = run(WEBHOOK, owned(&[region, id]));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "teardown: CLIENT_SECRET: is required\n");
}

/// J6, S1: `front` does not start if `BACKEND_URL` is missing, if a call's path cannot be appended to it, or
/// if calls to it would cross the network unencrypted. The line with the error does not contain the address.
#[test]
fn a_bad_backend_stops_the_start_with_one_line() {
    let extra = "has a query, a fragment or credentials; it is a scheme, a host and maybe a path";
    for (url, problem) in [
        ("", "is required"),
        ("backend.example", "is not a URL"),
        ("http://backend.example", "must be https, or http on loopback"),
        ("ftp://127.0.0.1", "must be https, or http on loopback"),
        ("https://backend.example/a?key=s3cret", extra),
        ("https://backend.example/#a", extra),
        ("https://user@backend.example", extra),
        ("https://user:s3cret@backend.example", extra),
        ("https://backend.example\n", "has a blank or a line break at an end"),
    ] {
        let variables =
            [("AWS_REGION", "us-east-1"), ("INTEGRATION_ID", INTEGRATION), ("BACKEND_URL", url)];
        let output = run(FRONT, owned(&variables));
        let line = format!("teardown: BACKEND_URL: {problem}\n");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), line, "{url:?}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    }
}

/// A log line without its times, because these differ from run to run.
fn timeless(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    let is_time = |time: &Value| time.as_str().is_some_and(|time| time.ends_with('Z'));
    for (name, is_so) in [("timestamp", is_time as fn(&Value) -> bool), ("ms", Value::is_f64)] {
        if let Some(value) = line.get_mut(name) {
            assert!(is_so(value), "{name}: {value}");
            *value = json!("…");
        }
    }
    line
}

/// A7, B1, C1, D1, D5: on a plain port, each binary serves only its own endpoint. If keys are configured, the
/// binary fetches no keys. The binary logs one line per request, without the token. The binary logs a warning
/// if it deletes a resource or an installation that was never known.
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
    let keys = keys.await;
    let http = crate::support::world::http_client();
    let mut lines = String::new();
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
        let port = free_port();
        let mut variables = on_port(&world, port);
        variables.push(("OIDC_JWKS_URL", keys.clone()));
        let mut function = start(binary, variables.clone());
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
        let busy = run(binary, variables);
        assert_eq!(busy.status.code(), Some(1));
        let line = String::from_utf8(busy.stderr).unwrap();
        let expected = format!("teardown: 127.0.0.1:{port}: Address already in use");
        assert!(line.starts_with(&expected) && line.lines().count() == 1, "{line}");

        let log = function.end();
        for line in log.lines() {
            writeln!(lines, "{}", timeless(line)).unwrap();
        }
        for secret in [token.as_str(), token.rsplit('.').next().unwrap(), "planted-secret", "k1\""]
        {
            assert!(!log.contains(secret), "{log}");
        }
    }
    assert_eq!(*fetched.lock().unwrap(), 0, "no key was fetched");
    insta::assert_snapshot!(lines, @r#"
    {"caller":"user","dynamodb_calls":1,"installation":"icfg_1","level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"done","resource":"db_1","route":"/v1/installations/{installationId}/resources/{resourceId}","status":204,"target":"teardown::app::line","timestamp":"…"}
    {"dynamodb_calls":0,"level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"not_found","reason":"there is nothing at this path","route":"/v1/installations/{installationId}/resources/{resourceId}","status":404,"target":"teardown::app::line","timestamp":"…"}
    {"installation":"icfg_x","level":"WARN","message":"deleted a resource that was never known","resource":"db_1","target":"teardown::store::deletion","timestamp":"…"}
    {"caller":"user","dynamodb_calls":2,"installation":"icfg_x","level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"done","resource":"db_1","route":"/v1/installations/{installationId}/resources/{resourceId}","status":204,"target":"teardown::app::line","timestamp":"…"}
    {"caller":"user","dynamodb_calls":2,"installation":"icfg_1","level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"done","route":"/v1/installations/{installationId}","status":200,"target":"teardown::app::line","timestamp":"…"}
    {"dynamodb_calls":0,"level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"not_found","reason":"there is nothing at this path","route":"/v1/installations/{installationId}","status":404,"target":"teardown::app::line","timestamp":"…"}
    {"installation":"icfg_x","level":"WARN","message":"deleted an installation that was never known","target":"teardown::store::deletion","timestamp":"…"}
    {"caller":"user","dynamodb_calls":2,"installation":"icfg_x","level":"INFO","message":"answered","method":"DELETE","ms":"…","outcome":"done","route":"/v1/installations/{installationId}","status":200,"target":"teardown::app::line","timestamp":"…"}
    "#);
}

/// S1: if a function cannot write to standard output, it reports that on standard error.
#[tokio::test]
async fn a_full_standard_output_is_reported() {
    let world = World::new().await;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let port = free_port();
    let text = run_into(DELETE_RESOURCE, on_port(&world, port), full);
    assert!(text.contains("standard output cannot be written: No space left on device"), "{text}");
    assert!(!text.contains("planted-secret"), "{text}");

    // On Lambda the function writes no line before the line of the first request.
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut error = tempfile::tempfile().unwrap();
    let started = |variables| start_into(DELETE_RESOURCE, variables, full, &error);
    let mut lambda = Lambda::start_by(world.environment(), started).await;
    let answer = lambda.invoke(json!({ "requestContext": {} })).await;
    assert_eq!(answer["statusCode"], 400);
    let mut text = String::new();
    error.rewind().unwrap();
    error.read_to_string(&mut text).unwrap();
    assert!(text.contains("standard output cannot be written: No space left on device"), "{text}");
}

/// The log has the cause of a deployment's fault, and the answer does not.
#[tokio::test]
async fn the_log_has_the_cause_of_a_fault() {
    let world = World::new().await;
    let port = free_port();
    let mut variables = on_port(&world, port);
    variables.push(("TABLE_NAME", "misspelt".to_owned()));
    let mut function = start(DELETE_RESOURCE, variables);
    function.line();
    let url = format!("http://127.0.0.1:{port}/v1/installations/icfg_1/resources/db_1");
    let token = world.token(&user("icfg_1"));
    let answer =
        crate::support::world::http_client().delete(url).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 500);
    assert!(!answer.text().await.unwrap().contains("NotFound"));
    let log: Value = serde_json::from_str(&function.end()).unwrap();
    assert_eq!((&log["level"], &log["outcome"]), (&json!("ERROR"), &json!("internal_error")));
    assert!(log["cause"].as_str().unwrap().contains("ResourceNotFoundException"), "{log}");
}

/// B1, E2, G1, G2: on a port, the function tries the due jobs immediately after its answer. If the host
/// terminates the process, the function runs these jobs before it ends. The sweep runs all other jobs, if its
/// caller sends the sweep's secret.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_run_by_binaries() {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    let ports = [free_port(), free_port()];
    let start = |binary, port| {
        let mut function = start(binary, on_port(&world, port));
        function.line();
        function
    };
    let http = crate::support::world::http_client();

    let function = start(DELETE_CONFIGURATION, ports[0]);
    let url = format!("http://127.0.0.1:{}/v1/integrations/configuration/icfg_1", ports[0]);
    let token = world.token(&user("icfg_1"));
    assert_eq!(http.delete(url).bearer_auth(&token).send().await.unwrap().status(), 204);
    let log = function.terminate();
    let keys = ["#installation", "receipt#installation", "work#announce#resource#db_1"];
    assert_eq!(world.sort_keys("icfg_1").await, keys, "announced and purged: {log}");
    assert_eq!(world.provider.received().len(), 1);
    assert_eq!(
        world.vercel.lines(),
        ["DELETE /v1/integrations/configuration/icfg_1?teamId=team_1"]
    );

    let function = start(SWEEP, ports[1]);
    let url = format!("http://127.0.0.1:{}/api/sweep", ports[1]);
    let refused = http.get(&url).bearer_auth(&token).send().await.unwrap();
    assert_eq!(refused.status(), 403);
    let swept = http.get(&url).bearer_auth(CRON_SECRET).send().await.unwrap();
    assert_eq!(swept.text().await.unwrap(), r#"{"claimed":1,"done":1,"retried":0,"parked":0}"#);
    let log = [log, function.terminate()].concat();
    assert_eq!(world.provider.received().len(), 2);
    let swept = log.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_eq!(
        swept.map(|line| (line["claimed"].clone(), line["done"].clone())),
        Some((json!(1), json!(1)))
    );
    for secret in [&token, CRON_SECRET, PROVIDER_SECRET, "token-of-icfg_1", world.provider_url()] {
        assert!(!log.contains(secret), "{log}");
    }
}
