//! The functions reveal no secret in an answer or a log line, whatever the request, the failure and
//! `RUST_LOG`.

mod passing;
mod planted;
mod scene;

use futures_util::future::join_all;
use serde_json::{Value, json};
use teardown::auth::jws::Jws;
use teardown::ids::IdempotencyKey;
use teardown::store::registry::Record;

use self::planted::{ACCESS_TOKEN, CLIENT_SECRET, CRON_SECRET, IDEMPOTENCY_KEY, Planted};
use self::scene::{Call, Host, Scene};
use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::process::{
    DELETE_CONFIGURATION, DELETE_INSTALLATION, DELETE_RESOURCE, SWEEP, WEBHOOK, run,
};
use crate::support::sts;
use crate::support::world::{ISSUER, World, signature, user};

const HOSTS: [Host; 3] = [Host::Vercel, Host::Port, Host::Lambda];

/// The endpoints of deletions, each with one of its paths.
const DELETIONS: [(&str, &str); 3] = [
    (DELETE_RESOURCE, "/v1/installations/icfg_1/resources/db_1"),
    (DELETE_INSTALLATION, "/v1/installations/icfg_1"),
    (DELETE_CONFIGURATION, "/v1/integrations/configuration/icfg_1"),
];

/// No deletion reveals a secret, however it is refused or fails, on any host.
#[tokio::test(flavor = "multi_thread")]
async fn no_deletion_reveals_a_secret() {
    let scenes = HOSTS.into_iter().flat_map(|host| {
        DELETIONS.map(|(binary, path)| async move {
            let mut scene = Scene::start(binary, host).await;
            let good = scene.token(&user("icfg_1"));
            if host == Host::Vercel {
                no_session(&mut scene, path, &good).await;
            }
            refusals(&mut scene, path, &good).await;
            failures(&mut scene, path, &good).await;
            scene.world.provider.lasting(Answer::Echo(500));
            for _ in 0..2 {
                let answer = scene.send(Call::delete(path, &good)).await;
                assert!(answer.starts_with('2'), "{answer}");
            }
            let other = Call::delete(path, &good).header("idempotency-key", "another");
            scene.send(other).await;
            scene
                .end(&[
                    "invalid_token",
                    "forbidden",
                    "bad_request",
                    "internal_error",
                    "JWKS fetch failed",
                ])
                .await;
        })
    });
    join_all(scenes).await;
}

/// Requests for which STS gives no session, for several reasons.
async fn no_session(scene: &mut Scene, path: &str, token: &str) {
    for answer in [
        sts::Answer::Echo,
        sts::Answer::Malformed,
        sts::Answer::Broken,
        sts::Answer::Reset,
        sts::Answer::IssuerOutOfReach,
    ] {
        scene.sts.now(answer);
        let answer = scene.send(Call::delete(path, token)).await;
        assert!(answer.starts_with('5'), "{answer}");
    }
    scene.sts.now(sts::HOUR);
}

/// Requests that teardown refuses before it calls the store.
async fn refusals(scene: &mut Scene, path: &str, good: &str) {
    let mut claims = user("icfg_1");
    let with = |name: &str, value: Value| {
        let mut claims = user("icfg_1");
        claims[name] = value;
        claims
    };
    let other_key = json!({ "alg": "RS256", "kid": "unknown" });
    let mut tokens = vec![
        scene.forged(&claims),
        scene.token(&with("exp", json!(1))),
        scene.token(&with("aud", json!("oac_other"))),
        scene.token(&with("user_role", json!("USER"))),
        scene.token(&with("account_id", json!(7))),
        scene.token(&user("icfg_2")),
    ];
    claims["padding"] = json!("x".repeat(7000));
    tokens.push(scene.token(&claims));
    let timed = scene.world.timed(&user("icfg_1"));
    for header in [other_key, json!({ "alg": "none", "kid": ISSUER.kid() }), json!(["RS256"])] {
        tokens.push(ISSUER.sign_with_header(&header, &timed));
    }
    for token in tokens {
        scene.planted.token(&token);
        let answer = scene.send(Call::delete(path, &token)).await;
        assert!(answer.starts_with("403") || answer.starts_with("503"), "{answer}");
    }
    let delete = || Call::delete(path, good);
    let bare = || Call { headers: Vec::new(), ..delete() };
    let long = IDEMPOTENCY_KEY.repeat(10);
    for call in [
        bare().header("authorization", good),
        bare().header("authorization", &format!("Bearer {}", good.replace('.', " "))),
        bare().header("authorization", &format!("Basic {good}")),
        bare().header("cookie", good).header("proxy-authorization", good),
        delete().header("authorization", &format!("Bearer {good}")),
        delete().header("x-vercel-auth", good),
        delete().header("idempotency-key", &format!("{IDEMPOTENCY_KEY} {good}")),
        delete().header("idempotency-key", &long),
        Call { method: "PUT", ..delete() },
        Call { target: format!("/{good}"), ..delete() },
        Call { target: format!("/v1/installations/{good}/resources/{good}"), ..delete() },
        Call { target: format!("/v1/installations/{good}"), ..delete() },
        Call { target: format!("/v1/integrations/configuration/{good}"), ..delete() },
        Call { target: format!("{path}?teamId={good}&teamId={good}"), ..delete() },
        Call { target: format!("{path}%ff?access_token={good}&slug={good}"), ..delete() },
        delete().body(&"x".repeat(65 * 1024)),
    ] {
        let answer = scene.send(call).await;
        // Some of these requests are valid for some endpoints, which then answer 2xx.
        assert!(answer.starts_with(['2', '4']), "{answer}");
    }
    if scene.binary == DELETE_INSTALLATION {
        for body in [
            format!("{{\"reason\":\"{good}"),
            format!("{{\"reason\":[\"{good}\"]}}"),
            format!("{{\"cascadeResourceDeletion\":\"{good}\"}}"),
            format!("[\"{good}\"]"),
            good.to_owned(),
        ] {
            let answer = scene.send(delete().body(&body)).await;
            assert!(answer.starts_with("400"), "{answer}");
        }
    }
}

/// Requests during which DynamoDB or Vercel fails.
async fn failures(scene: &mut Scene, path: &str, good: &str) {
    let faults =
        [Fault::Echo, Fault::Throttle, Fault::ServerError, Fault::Conflict, Fault::ResetAfter];
    for (number, fault) in faults.into_iter().enumerate() {
        let mut answer = String::new();
        // A job of an earlier answer may call DynamoDB before this request does, and take the fault in its
        // place.
        for attempt in 0..10 {
            // Each attempt has a new installation, because an installation can be deleted only once.
            let id = format!("icfg_f{number}{attempt}");
            scene.install(&id).await;
            let token = scene.token(&user(&id));
            scene.world.dynamodb.once("TransactWriteItems", fault);
            answer = scene.send(Call::delete(&path.replace("icfg_1", &id), &token)).await;
            scene.world.dynamodb.forget();
            if answer.starts_with('5') == (fault == Fault::Echo) {
                break;
            }
        }
        assert_eq!(answer.starts_with('5'), fault == Fault::Echo, "{fault:?}: {answer}");
    }
    scene.send(Call { target: format!("{path}?teamId={good}"), ..Call::delete(path, good) }).await;
    if (scene.host, scene.binary) == (Host::Port, DELETE_RESOURCE) {
        scene.world.dynamodb.lasting(Fault::ResetBefore);
        let answer = scene.send(Call::delete(path, good)).await;
        assert!(answer.starts_with("503"), "for as long as a request waits: {answer}");
        scene.world.dynamodb.lasting(Fault::None);
    }
    if scene.binary != DELETE_CONFIGURATION {
        return;
    }
    for status in [400, 401, 403, 409, 418, 429, 500] {
        let id = format!("icfg_v{status}");
        scene.install(&id).await;
        let token = scene.token(&user(&id));
        scene.world.vercel.lasting(Answer::Echo(status));
        let path = format!("/v1/integrations/configuration/{id}");
        let answer = scene.send(Call::delete(&path, &token)).await;
        assert!(answer.starts_with("409") || answer.starts_with("503"), "{status}: {answer}");
    }
    scene.world.vercel.lasting(Answer::Honest);
}

/// No sweep reveals a secret, whoever calls the sweep and whatever fails.
#[tokio::test(flavor = "multi_thread")]
async fn no_sweep_reveals_a_secret() {
    join_all(HOSTS.map(|host| async move {
        let mut scene = Scene::start(SWEEP, host).await;
        scene.sts.now(sts::HOUR);
        let sweep = |secret: &str| {
            Call { method: "GET", ..Call::delete("/api/sweep", secret) }
                .header("x-vercel-cron-schedule", secret)
        };
        let token = scene.token(&user("icfg_1"));
        for wrong in [&token, &CRON_SECRET[1..], &format!("{CRON_SECRET}x")] {
            scene.planted.text(wrong);
            let answer = scene.send(sweep(wrong)).await;
            assert!(answer.starts_with("403"), "{answer}");
        }
        for id in ["icfg_1", "icfg_2"] {
            scene.install(id).await;
            scene.world.reopen(id).await;
            let path = format!("/v1/installations/{id}");
            assert_eq!(scene.world.delete(&path).send().await.status, 200);
        }
        scene.world.store.settle_invoices(&crate::support::world::id("icfg_1")).await.unwrap();
        for operation in ["Query", "UpdateItem", "TransactWriteItems", "GetItem"] {
            scene.world.dynamodb.once(operation, Fault::Echo);
        }
        scene.world.vercel.lasting(Answer::Echo(500));
        scene.world.provider.lasting(Answer::Echo(400));
        let answer = scene.send(sweep(CRON_SECRET)).await;
        assert!(answer.starts_with("500"), "the index cannot be read: {answer}");
        for _ in 0..3 {
            let answer = scene.send(sweep(CRON_SECRET)).await;
            assert!(answer.starts_with("200"), "{answer}");
        }
        assert!(scene.world.provider.received().len() > 1, "it announced");
        scene.end(&["invalid_token", "internal_error", "broke off", "retry scheduled"]).await;
    }))
    .await;
}

/// K1: a webhook that is forged, fails or succeeds reveals no secret, and no signature with which somebody
/// could send the webhook again.
#[tokio::test(flavor = "multi_thread")]
async fn no_webhook_reveals_a_secret() {
    join_all(HOSTS.map(|host| async move {
        let mut scene = Scene::start(WEBHOOK, host).await;
        scene.sts.now(sts::HOUR);
        let moved = |id: &str| {
            let id = json!({ "configuration": { "id": id }, "newAccountId": "acc_2" });
            json!({
                "type": "integration-configuration.transferred", "createdAt": 1, "payload": id,
            })
        };
        let removed = json!({
            "type": "integration-configuration.removed",
            "payload": { "configuration": { "id": "icfg_1" } },
        });
        let bad = json!({ "type": "integration-configuration.removed" });
        for (body, secret, fault, status) in [
            (&moved("icfg_1"), "another", Fault::None, "403"),
            (&moved("icfg_1"), &CLIENT_SECRET[1..], Fault::None, "403"),
            (&bad, CLIENT_SECRET, Fault::None, "400"),
            (&moved("icfg_1"), CLIENT_SECRET, Fault::Echo, "500"),
            (&moved("icfg_1"), CLIENT_SECRET, Fault::None, "200"),
            (&removed, CLIENT_SECRET, Fault::Echo, "500"),
            (&removed, CLIENT_SECRET, Fault::None, "200"),
        ] {
            let body = body.to_string();
            let signature = signature(secret, &body);
            scene.planted.text(&signature);
            scene.world.dynamodb.script([fault]);
            let call = Call { method: "POST", ..Call::delete("/api/webhook", "nobody's") };
            let call = call.header("x-vercel-signature", &signature).body(&body);
            let answer = scene.send(call).await;
            assert!(answer.starts_with(status), "{answer}");
            scene.world.dynamodb.heal();
        }
        scene.end(&["invalid_signature", "bad_request", "internal_error", "\"status\":200"]).await;
    }))
    .await;
}

/// If a function cannot start, its message names the variable, but not the variable's value.
#[test]
fn no_start_reveals_a_secret() {
    let mut planted = Planted::default();
    let secret = "planted=secret=of a variable";
    planted.text(secret);
    for name in [
        "INTEGRATION_ID",
        "TABLE_NAME",
        "OIDC_JWKS_URL",
        "OIDC_JWKS",
        "VERCEL_API_URL",
        "PROVIDER_URL",
        "PROVIDER_SECRET",
        "CRON_SECRET",
        "SUPPORT_URL",
        "RECEIPT_RETENTION",
        "FINALIZE_MARGIN",
        "AWS_ROLE_ARN",
        "RUST_LOG",
    ] {
        let mut variables = vec![
            ("INTEGRATION_ID", "oac_1".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("PROVIDER_URL", "https://provider.example".to_owned()),
            ("PROVIDER_SECRET", crate::support::outside::PROVIDER_SECRET.to_owned()),
        ];
        variables.push((name, secret.to_owned()));
        let output = run(SWEEP, variables);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let output =
            [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
        assert!(output.starts_with(&format!("teardown: {name}: ")), "{output}");
        planted.is_not_in(&output);
    }
}

/// A panic is logged with its place in the code, but without its message.
#[test]
fn no_panic_reveals_a_secret() {
    // A process has only one panic hook, so this test starts its own process.
    const ALONE: &str = "TEST_PANICS";
    if std::env::var_os(ALONE).is_some() {
        teardown::telemetry::init_json(teardown::config::log_filter_of_functions().unwrap());
        let cut = std::panic::catch_unwind(|| ACCESS_TOKEN.to_owned().parse::<u8>().unwrap());
        assert!(cut.is_err());
        let caught = std::panic::catch_unwind(|| panic!("{CRON_SECRET}"));
        assert!(caught.is_err());
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "secrets::no_panic_reveals_a_secret", "--nocapture"]);
    let output = again.env(ALONE, "1").env("RUST_LOG", "trace").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap()).concat();
    let lines = text.lines().filter(|line| line.contains(r#""message":"panicked""#));
    assert_eq!(lines.filter(|line| line.contains("tests/secrets.rs:")).count(), 2, "{text}");
    Planted::default().is_not_in(&text);
}

/// If somebody logs a value that holds a secret, the log does not show the secret.
#[tokio::test]
async fn no_debug_reveals_a_secret() {
    let mut planted = Planted::default();
    let variables = [("CRON_SECRET", CRON_SECRET), ("PROVIDER_URL", "https://provider.example")];
    let secret = [
        ("CLIENT_SECRET", CLIENT_SECRET),
        ("PROVIDER_SECRET", crate::support::outside::PROVIDER_SECRET),
    ];
    let world = World::with(&[&variables[..], &secret].concat()).await;
    let token = world.token(&user("icfg_1"));
    planted.token(&token);
    let jws = Jws::parse(&token).unwrap();
    let line = json!({ "id": "icfg_1", "accountId": "a", "accessToken": ACCESS_TOKEN });
    let record: Record = serde_json::from_value(json!({ "installation": line })).unwrap();
    let key = IdempotencyKey::parse(IDEMPOTENCY_KEY.as_bytes()).unwrap();
    let shown = format!("{:?} {:?}", world.config, world.process().await);
    planted.is_not_in(&format!("{shown} {jws:?} {record:?} {key:?}"));
    assert!(shown.contains("[secret]") && format!("{jws:?}").contains(ISSUER.kid()), "{jws:?}");
}

/// The only secret in the table is the access token, and only until the deletion is committed.
#[tokio::test]
async fn the_only_secret_in_the_table_is_the_access_token() {
    let mut scene = Scene::start(DELETE_CONFIGURATION, Host::Port).await;
    let token = scene.token(&user("icfg_1"));
    scene.world.vercel.lasting(Answer::Echo(500));
    let call = || Call::delete("/v1/integrations/configuration/icfg_1", &token);
    let answer = scene.send(call()).await;
    assert!(answer.starts_with("503"), "{answer}");
    let mut table = scene.world.all().await;
    let held = table.get_mut("installation#icfg_1").unwrap().remove("#token").unwrap();
    assert!(held.to_string().contains(ACCESS_TOKEN));
    let intent = table["installation#icfg_1"]["work#configuration"]["lastError"].to_string();
    assert!(intent.contains("Vercel answered 500"), "{intent}");
    scene.planted.is_not_in(&format!("{table:?}"));
    scene.world.vercel.lasting(Answer::Honest);
    scene.send(call()).await;
    scene.planted.is_not_in(&format!("{:?}", scene.world.all().await));
}
