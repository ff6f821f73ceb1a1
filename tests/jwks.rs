//! The issuer's keys: rotation, outages, hostile servers, and forged key ids (A7).

mod freeze;
mod server;

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use teardown::limits::Limits;
use teardown_cli::issuer::Issuer;

use self::server::{KeyServer, Mode};
use crate::support::waiting::within;
use crate::support::world::{ISSUER, RESOURCE, Reply, World, limits, user};

/// The time limits of the tests, with this limit for waiting for keys.
fn waiting_for_keys(time: Duration) -> Limits {
    Limits { keys: time, ..limits() }
}

fn good() -> Mode {
    Mode::Serve(ISSUER.jwks())
}

async fn delete(world: &World) -> Reply {
    world.delete(RESOURCE).send().await
}

async fn delete_as(world: &World, issuer: &Issuer) -> Reply {
    world.delete_as(RESOURCE, &issuer.sign(&world.timed(&user("icfg_1")))).send().await
}

fn retry_after(reply: &Reply) -> u64 {
    assert_eq!(reply.error(), (503, "keys_unavailable"));
    reply.headers["retry-after"].to_str().unwrap().parse().unwrap()
}

/// A7: a process that starts without keys fetches them once, however many requests come. After this fetch,
/// the process fetches no keys for 10 minutes.
#[tokio::test]
async fn a_cold_start_fetches_once() {
    let server = KeyServer::start(good()).await;
    let world = server.cold_world().await;
    for reply in join_all((0..50).map(|_| delete(&world))).await {
        assert_eq!(reply.status, 204);
    }
    world.clock.advance(Duration::from_secs(590));
    assert_eq!((delete(&world).await.status, server.hits()), (204, 1));
}

/// A7: a process that starts with keys fetches nothing at first. When the keys are 10 minutes old, the
/// process refreshes them in the background, and no request waits for the new keys.
#[tokio::test]
async fn keys_are_refreshed_in_the_background() {
    let server = KeyServer::start(Mode::Hang).await;
    let world = server.warm_world().await;
    assert_eq!((delete(&world).await.status, server.hits()), (204, 0));
    world.clock.advance(Duration::from_mins(10));
    for _ in 0..10 {
        assert_eq!(delete(&world).await.status, 204, "while the fetch hangs");
    }
    server.wait_for_fetches(1).await;

    let next = Issuer::generate().unwrap();
    server.now(Mode::Serve(next.jwks()));
    within(async { while delete_as(&world, &next).await.status != 204 {} }).await;
    assert_eq!(server.hits(), 1);
    let wait = retry_after(&delete(&world).await);
    assert!((1..=30).contains(&wait), "a key that was withdrawn is looked up too: {wait}");
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(delete(&world).await.error(), (403, "invalid_token"));
    assert_eq!(server.hits(), 2);
}

/// A7: a new key is fetched when a token first names the key, even right after a start with `OIDC_JWKS`.
#[tokio::test]
async fn a_rotated_key_is_fetched() {
    let next = Issuer::generate().unwrap();
    let both = json!({ "keys": [ISSUER.jwk(), next.jwk()] });
    let server = KeyServer::start(Mode::Serve(both)).await;
    let world = server.warm_world().await;
    for issuer in [&next, &*ISSUER, &next] {
        assert_eq!(delete_as(&world, issuer).await.status, 204);
    }
    assert_eq!(server.hits(), 1);
}

/// A7: unknown key ids cause at most one fetch of keys in 30 s. Until the next fetch, a token with an unknown
/// key id is answered 503, never 403.
#[tokio::test]
async fn an_unknown_key_id_is_looked_up_once_in_30_seconds() {
    let server = KeyServer::start(good()).await;
    let world = server.warm_world().await;
    let stranger = Issuer::generate().unwrap();
    assert_eq!(delete_as(&world, &stranger).await.error(), (403, "invalid_token"));
    assert!((1..=30).contains(&retry_after(&delete_as(&world, &stranger).await)));
    world.clock.advance(Duration::from_secs(20));
    assert!((1..=10).contains(&retry_after(&delete_as(&world, &stranger).await)));
    assert_eq!(server.hits(), 1);
    world.clock.advance(Duration::from_secs(10));

    server.now(Mode::Serve(stranger.jwks()));
    assert_eq!(delete_as(&world, &stranger).await.status, 204, "it was the newest key");
    assert_eq!(server.hits(), 2);
}

/// A7: 1,000 forged key ids cause one request to the issuer, and all requests of an honest caller during that
/// time succeed.
#[tokio::test]
async fn a_thousand_forged_key_ids_cost_one_fetch() {
    let server = KeyServer::start(good()).await;
    let world = server.warm_world().await;
    let claims = world.timed(&user("icfg_1"));
    let forged: Vec<_> = (0..1000)
        .map(|n| {
            ISSUER.sign_with_header(&json!({ "alg": "RS256", "kid": format!("k{n}") }), &claims)
        })
        .collect();
    for tokens in forged.chunks(100) {
        let sent = tokens.iter().map(|token| world.delete_as(RESOURCE, token).send());
        let (replies, honest) = tokio::join!(join_all(sent), delete(&world));
        assert_eq!(honest.status, 204);
        for reply in replies {
            let expected = [(403, "invalid_token"), (503, "keys_unavailable")];
            assert!(expected.contains(&reply.error()), "{reply:?}");
        }
    }
    assert_eq!(server.hits(), 1);
}

/// A7: in an outage of the issuer, known keys are accepted until 24 h and 10 minutes after their fetch, and a
/// token with an unknown key is answered 503. The issuer is called at most once in 30 s, even after a failed
/// call.
#[tokio::test]
async fn known_keys_last_24_hours_of_an_outage() {
    let server = KeyServer::start(Mode::Status(500)).await;
    let world = server.warm_world().await;
    let next = Issuer::generate().unwrap();
    world.clock.advance(Duration::from_mins(10));
    assert_eq!(delete(&world).await.status, 204);
    server.wait_for_fetches(1).await;
    for _ in 0..5 {
        assert_eq!(delete(&world).await.status, 204);
        assert!((1..=30).contains(&retry_after(&delete_as(&world, &next).await)));
    }
    assert_eq!(server.hits(), 1);

    world.clock.advance(Duration::from_hours(24) - Duration::from_secs(5));
    assert_eq!(delete(&world).await.status, 204);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(retry_after(&delete(&world).await), 1, "no key is held any more");

    server.now(good());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(delete(&world).await.status, 204);
}

/// A7: a process that has no key and cannot reach the issuer answers 503 with `Retry-After`, and calls the
/// issuer once a second.
#[tokio::test]
async fn a_cold_start_in_an_outage_is_unavailable() {
    let server = KeyServer::start(Mode::Status(503)).await;
    let world = server.cold_world().await;
    for _ in 0..5 {
        assert_eq!(retry_after(&delete(&world).await), 1);
    }
    assert_eq!(server.hits(), 1);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(retry_after(&delete(&world).await), 1);
    assert_eq!(server.hits(), 2);

    let gone =
        World::with(&[("OIDC_JWKS_URL", "http://127.0.0.1:1/jwks"), ("OIDC_JWKS", "")]).await;
    assert_eq!(retry_after(&delete(&gone).await), 1);
}

/// A7: a fetch from a server that hangs is aborted when its time is over, and the request is answered 503.
#[tokio::test]
async fn a_fetch_that_hangs_is_aborted() {
    let server = KeyServer::start(Mode::Hang).await;
    let world = server.cold_world_within(waiting_for_keys(Duration::from_millis(500))).await;
    assert_eq!(retry_after(&delete(&world).await), 1);
}

/// A7: in whatever way the issuer's server hangs, all requests that wait for a key share one fetch. When the
/// fetch's time is over, the waiting requests are answered 503 with `Retry-After`. A request with a known key
/// never waits. Once the issuer's server answers, its keys are used.
#[tokio::test]
async fn a_request_with_a_known_key_never_waits() {
    join_all([Mode::Hang, Mode::Stall, Mode::Trickle, Mode::Flood].map(|mode| async move {
        let server = KeyServer::start(mode.clone()).await;
        // Even on a busy machine, the requests that do not wait end within these 2 s.
        let limits = waiting_for_keys(Duration::from_secs(2));
        let cold = server.cold_world_within(limits).await;
        let warm = server.warm_world_within(limits).await;
        let next = Issuer::generate().unwrap();
        let mut strangers = join_all((0..50).map(|_| delete_as(&warm, &next)));
        let honest = async {
            server.wait_for_fetches(1).await;
            for _ in 0..5 {
                assert_eq!(delete(&warm).await.status, 204);
            }
        };
        // A flood exceeds 256 KiB immediately, so its fetch ends immediately.
        if !matches!(mode, Mode::Flood) {
            tokio::select! {
                biased;
                _ = &mut strangers => panic!("those who need no new key have waited"),
                () = honest => {}
            }
        }
        for reply in strangers.await {
            assert!((1..=30).contains(&retry_after(&reply)));
        }
        assert_eq!((delete(&warm).await.status, server.hits()), (204, 1));

        let waiting = join_all((0..50).map(|_| delete(&cold))).await;
        for reply in waiting {
            assert_eq!(retry_after(&reply), 1);
        }
        assert_eq!(server.hits(), 2);
        server.now(Mode::Serve(json!({ "keys": [ISSUER.jwk(), next.jwk()] })));
        warm.clock.advance(Duration::from_secs(30));
        cold.clock.advance(Duration::from_secs(1));
        assert_eq!((delete_as(&warm, &next).await.status, delete(&cold).await.status), (204, 204));
    }))
    .await;
}

/// A7: a redirect, a status other than 200, a document over 256 KiB, and a document without usable keys are
/// refused. After a refused answer, the process still uses its old keys.
#[tokio::test]
async fn a_bad_answer_counts_as_none() {
    let elsewhere = KeyServer::start(good()).await;
    let server = KeyServer::start(good()).await;
    let cap = 256 * 1024 - ISSUER.jwks().to_string().len();
    for mode in [
        Mode::Redirect(elsewhere.url.clone()),
        Mode::Padded(cap + 1),
        Mode::Status(201),
        Mode::Status(404),
        Mode::Serve(json!({ "keys": [] })),
        Mode::Serve(json!({ "keys": [{ "kty": "EC", "kid": ISSUER.kid() }] })),
        Mode::Serve(json!([])),
        Mode::Serve(json!("keys")),
    ] {
        server.now(mode);
        let cold = server.cold_world().await;
        assert_eq!(retry_after(&delete(&cold).await), 1);
        let warm = server.warm_world().await;
        let stranger = ISSUER.sign_with_header(
            &json!({ "alg": "RS256", "kid": "other" }),
            &warm.timed(&user("icfg_1")),
        );
        let reply = warm.delete_as(RESOURCE, &stranger).send().await;
        assert!((1..=30).contains(&retry_after(&reply)), "not looked up, so not unknown");
        assert_eq!(delete(&warm).await.status, 204);
    }
    assert_eq!(elsewhere.hits(), 0);
    server.now(Mode::Padded(cap));
    assert_eq!(delete(&server.cold_world().await).await.status, 204);
}

/// A7: one bad key in a set does not make the other keys useless. A key with a malformed `kid`, or a key for
/// encryption, is skipped and verifies nothing.
#[tokio::test]
async fn bad_keys_are_skipped() {
    let mut misused = ISSUER.jwk();
    misused["use"] = json!("enc");
    let mut odd = ISSUER.jwk();
    odd["kid"] = json!(7);
    let server =
        KeyServer::start(Mode::Serve(json!({ "keys": [odd, misused, ISSUER.jwk()] }))).await;
    assert_eq!(delete(&server.cold_world().await).await.status, 204);

    let other = Issuer::generate().unwrap();
    let mut misused = ISSUER.jwk();
    misused["key_ops"] = json!(["encrypt"]);
    server.now(Mode::Serve(json!({ "keys": [misused, other.jwk()] })));
    let world = server.cold_world().await;
    assert_eq!(delete(&world).await.error(), (403, "invalid_token"));
    assert_eq!(delete_as(&world, &other).await.status, 204);
}

/// A7: if the caller whose request started a fetch hangs up, the fetch continues, and its keys serve the next
/// request.
#[tokio::test]
async fn a_caller_that_leaves_does_not_stop_the_fetch() {
    let server = KeyServer::start(Mode::Hang).await;
    let world = server.cold_world().await;
    tokio::select! {
        reply = delete(&world) => panic!("answered without a key: {reply:?}"),
        () = server.wait_for_fetches(1) => {}
    }
    server.now(good());
    assert_eq!((delete(&world).await.status, server.hits()), (204, 1));
}
