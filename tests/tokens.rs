//! Tokens: who may delete (A), and the order of the checks (A8).

use serde_json::{Value, json};
use teardown_cli::issuer::Issuer;

use crate::support::world::{ISSUER, RESOURCE, World, account, system, user};

/// A test's world with the resource `db_1` of the installation `icfg_1`.
async fn world() -> World {
    let world = World::new().await;
    world.install("icfg_1", &["db_1"]).await;
    world
}

/// A1: a request that does not have exactly one `Authorization: Bearer` header is answered 403.
#[tokio::test]
async fn exactly_one_bearer_token_is_required() {
    let world = world().await;
    let token = world.token(&user("icfg_1"));
    let request = || world.request("DELETE", RESOURCE);
    for call in [
        request(),
        request().header("authorization", ""),
        request().header("authorization", "Bearer"),
        request().header("authorization", "Bearer "),
        request().header("authorization", &token),
        request().header("authorization", &format!("Basic {token}")),
        request().header("authorization", &format!("Bearer  {token}")),
        request().header("authorization", &format!("Bearer {token} ")).header("authorization", ""),
        request().header("authorization", &format!("Bearer {token},Bearer {token}")),
        world.delete(RESOURCE).header("authorization", &format!("Bearer {token}")),
        request().header("cookie", &format!("authorization=Bearer {token}")),
    ] {
        let reply = call.send().await;
        assert_eq!((reply.error(), reply.calls), ((403, "invalid_token"), 0));
        assert!(!reply.headers.contains_key("www-authenticate"));
    }
    let reply = request().header("authorization", &format!("bEARER {token}")).send().await;
    assert_eq!(reply.status, 204, "the scheme's case is free (RFC 9110, section 11.1)");
}

/// A2: a token must be signed with RS256 by a configured key, whatever the token's header says. The error's
/// message names the check that failed.
#[tokio::test]
async fn the_tokens_header_decides_nothing() {
    const MALFORMED: &str = "the token is not a signed JWT";
    const ALGORITHM: &str = "the token is not signed with RS256";
    const CRITICAL: &str = "the token has a crit header";
    const KEY_ID: &str = "the token has no kid";
    const UNKNOWN_KEY: &str = "the token's key is not one of the issuer's";
    const SIGNATURE: &str = "the token's signature is wrong";

    let world = world().await;
    let claims = world.timed(&user("icfg_1"));
    let other = Issuer::generate().unwrap();
    let kid = ISSUER.kid();
    let ours = json!({ "alg": "RS256", "kid": kid });
    let theirs_in_the_header = json!({
        "alg": "RS256", "kid": kid, "jwk": other.jwk(), "jku": "https://x", "x5u": "https://x",
    });
    let mut refused = vec![
        (UNKNOWN_KEY, other.sign(&claims)),
        (SIGNATURE, other.sign_with_header(&ours, &claims)),
        (SIGNATURE, other.sign_with_header(&theirs_in_the_header, &claims)),
    ];
    for (why, header) in [
        (ALGORITHM, json!({ "alg": "none", "kid": kid })),
        (ALGORITHM, json!({ "alg": "HS256", "kid": kid })),
        (ALGORITHM, json!({ "alg": "RS512", "kid": kid })),
        (ALGORITHM, json!({ "alg": "PS256", "kid": kid })),
        (ALGORITHM, json!({ "alg": "rs256", "kid": kid })),
        (MALFORMED, json!({ "alg": ["RS256"], "kid": kid })),
        (MALFORMED, json!({ "kid": kid })),
        (KEY_ID, json!({ "alg": "RS256" })),
        (MALFORMED, json!({ "alg": "RS256", "kid": null })),
        (MALFORMED, json!({ "alg": "RS256", "kid": 5 })),
        (CRITICAL, json!({ "alg": "RS256", "kid": kid, "crit": ["exp"] })),
        (CRITICAL, json!({ "alg": "RS256", "kid": kid, "crit": [] })),
        (CRITICAL, json!({ "alg": "RS256", "kid": kid, "crit": null })),
        (MALFORMED, json!(["RS256", kid])),
        (MALFORMED, json!("RS256")),
    ] {
        refused.push((why, ISSUER.sign_with_header(&header, &claims)));
    }
    let token = ISSUER.sign(&claims);
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else {
        panic!("{token} has three parts")
    };
    let other_claims = ISSUER.sign(&user("icfg_1"));
    let other_payload = other_claims.split('.').nth(1).unwrap();
    refused.extend([
        (SIGNATURE, format!("{header}.{payload}.")),
        (MALFORMED, format!("{header}.{payload}")),
        (MALFORMED, format!("{token}.x")),
        (MALFORMED, format!("{token}=")),
        (SIGNATURE, format!("{header}.{other_payload}.{signature}")),
        (SIGNATURE, format!("{header}.!.{signature}")),
        (MALFORMED, "..".to_owned()),
        (MALFORMED, "token".to_owned()),
    ]);
    for (why, token) in refused {
        let reply = world.delete_as(RESOURCE, &token).send().await;
        assert_eq!(reply.error(), (403, "invalid_token"), "{why}: {token}");
        assert_eq!((reply.message(), reply.calls), (why, 0), "{token}");
    }
    for header in
        [json!({ "alg": "RS256", "kid": kid, "typ": "at+jwt", "jku": "https://x", "surprise": {} })]
    {
        let token = ISSUER.sign_with_header(&header, &claims);
        assert_eq!(world.delete_as(RESOURCE, &token).send().await.status, 204, "{header}");
    }
}

/// A3: if a byte of a token's header or payload is not UTF-8, the token is refused, even if the byte is in a
/// member that nobody reads (RFC 7519, 7.2).
#[tokio::test]
async fn a_stray_byte_anywhere_refuses_the_token() {
    let world = world().await;
    let header = format!(r#"{{"alg":"RS256","kid":"{}","x":"X"}}"#, ISSUER.kid());
    let mut claims = world.timed(&user("icfg_1"));
    claims["user_name"] = json!("X");
    let with = |text: &str, byte: &[u8]| {
        let at = text.find("\"X\"").unwrap() + 1;
        [&text.as_bytes()[..at], byte, &text.as_bytes()[at + 1..]].concat()
    };
    let claims = claims.to_string();
    for stray in [&b"\xff"[..], b"\xc3", b"\xed\xa0\xbd"] {
        for token in [
            ISSUER.sign_bytes(header.as_bytes(), &with(&claims, stray)),
            ISSUER.sign_bytes(&with(&header, stray), claims.as_bytes()),
        ] {
            let reply = world.delete_as(RESOURCE, &token).send().await;
            assert_eq!(reply.error(), (403, "invalid_token"));
            assert_eq!(reply.message(), "the token is not a signed JWT");
        }
    }
    for whole in ["ë".as_bytes(), br"\ud83d"] {
        let token = ISSUER.sign_bytes(&with(&header, whole), &with(&claims, whole));
        assert_eq!(world.delete_as(RESOURCE, &token).send().await.status, 204, "{whole:?}");
    }
}

/// A3: a token over 8 KiB is refused before it is parsed. A token of up to 8 KiB is parsed.
#[tokio::test]
async fn a_token_over_8_kib_is_refused() {
    let world = world().await;
    let padded = |length: usize| {
        let mut claims = world.timed(&user("icfg_1"));
        claims["user_name"] = json!("x".repeat(length));
        ISSUER.sign(&claims)
    };
    let long = padded(6 * 1024);
    assert!(long.len() > 8 * 1024);
    let reply = world.delete_as(RESOURCE, &long).send().await;
    assert_eq!(
        (reply.error(), reply.message()),
        ((403, "invalid_token"), "the token is over 8 KiB")
    );
    let short = padded(5 * 1024);
    assert!(short.len() < 8 * 1024);
    assert_eq!(world.delete_as(RESOURCE, &short).send().await.status, 204);
}

/// A3, A4: a token with a wrong claim is answered 403 `invalid_token`, with a message that names what is
/// wrong.
#[tokio::test]
async fn wrong_claims_are_named() {
    let world = world().await;
    let now = world.clock.timestamp().as_secs();
    let with = |mut claims: Value, name: &str, value: Value| {
        claims[name] = value;
        claims
    };
    for (claims, message) in [
        (
            with(user("icfg_1"), "iss", json!("https://vercel.com")),
            "the token is from another issuer",
        ),
        (
            with(user("icfg_1"), "aud", json!("oac_other")),
            "the token is meant for another integration",
        ),
        (with(user("icfg_1"), "exp", json!(now - 61)), "the token has expired"),
        (with(user("icfg_1"), "nbf", json!(now + 70)), "the token is not valid yet"),
        (
            with(user("icfg_1"), "aud", json!(["oac_test"])),
            "the token's claims are missing or of the wrong type",
        ),
        (
            with(user("icfg_1"), "user_role", Value::Null),
            "the token's claims are missing or of the wrong type",
        ),
        (
            with(system("icfg_1"), "user_id", json!("u")),
            "the token is neither a user's nor the system's",
        ),
    ] {
        let reply = world.delete_as(RESOURCE, &world.token(&claims)).send().await;
        assert_eq!(reply.error(), (403, "invalid_token"), "{claims}");
        assert_eq!((reply.message(), reply.calls), (message, 0));
    }
    let late = with(user("icfg_1"), "exp", json!(world.clock.now().as_secs_f64() - 50.5));
    assert_eq!(world.delete_as(RESOURCE, &world.token(&late)).send().await.status, 204);
}

/// A3: if `INTEGRATION_ID` lists several integrations, such as staging and production, a token for any of
/// these integrations is accepted, for any installation.
#[tokio::test]
async fn the_audience_is_one_of_several_integrations() {
    let world = World::with(&[("INTEGRATION_ID", "oac_production, oac_staging")]).await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    let with = |audience: Value| {
        let mut claims = user("icfg_1");
        claims["aud"] = audience;
        world.token(&claims)
    };
    for (audience, message) in [
        (json!("oac_test"), "the token is meant for another integration"),
        (json!("oac_production, oac_staging"), "the token is meant for another integration"),
        (json!(["oac_production"]), "the token's claims are missing or of the wrong type"),
    ] {
        let reply = world.delete_as(RESOURCE, &with(audience)).send().await;
        assert_eq!((reply.error(), reply.message()), ((403, "invalid_token"), message));
    }
    for (audience, resource) in [("oac_production", "db_1"), ("oac_staging", "db_2")] {
        let path = format!("/v1/installations/icfg_1/resources/{resource}");
        let reply = world.delete_as(&path, &with(json!(audience))).send().await;
        assert_eq!((reply.status, reply.calls), (204, 1), "{audience}");
        assert!(!world.is_live("icfg_1", resource).await, "{audience}");
    }
}

/// A4: if the caller sends `X-Vercel-Auth`, it must agree with the token, or the answer is 403.
#[tokio::test]
async fn x_vercel_auth_agrees_with_the_token() {
    let world = world().await;
    for (claims, style, status) in [
        (user("icfg_1"), &["system"][..], 403),
        (system("icfg_1"), &["user"], 403),
        (user("icfg_1"), &["User"], 403),
        (user("icfg_1"), &[""], 403),
        (user("icfg_1"), &["user", "system"], 403),
        (user("icfg_1"), &["user"], 204),
        (system("icfg_1"), &["system"], 204),
        (system("icfg_1"), &[], 204),
    ] {
        let token = world.token(&claims);
        let call = world.delete_as(RESOURCE, &token);
        let call = style.iter().fold(call, |call, style| call.header("x-vercel-auth", style));
        let reply = call.send().await;
        assert_eq!(reply.status, status, "{style:?}");
        if status == 403 {
            assert_eq!(reply.error(), (403, "invalid_token"));
        }
    }
}

/// A5, B5: a read-only user's deletion is answered 403, with a message that says who may delete.
#[tokio::test]
async fn a_read_only_user_may_not_delete() {
    let world = World::with(&[("SUPPORT_URL", "https://provider.example/help")]).await;
    world.install("icfg_1", &["db_1"]).await;
    let mut claims = user("icfg_1");
    claims["user_role"] = json!("USER");
    let reply = world.delete_as(RESOURCE, &world.token(&claims)).send().await;
    insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"403 {"error":{"code":"forbidden","message":"the token's user_role may not delete: ADMIN may","user":{"message":"Your role is read-only. Ask a team member who may manage integrations to delete this.","url":"https://provider.example/help"}}}"#);
    assert_eq!(reply.calls, 0);
    assert!(world.is_live("icfg_1", "db_1").await);
}

/// A6: a token that names an installation is accepted for that installation only. A request for any other
/// installation, known or unknown, gets the same 403.
#[tokio::test]
async fn a_token_is_good_for_its_own_installation() {
    let world = world().await;
    for claims in [user("icfg_2"), system("icfg_2"), user("icfg_1/resources"), user("ICFG_1")] {
        let token = world.token(&claims);
        let stored = world.delete_as(RESOURCE, &token).send().await;
        let unknown =
            world.delete_as("/v1/installations/icfg_x/resources/db_1", &token).send().await;
        assert_eq!((stored.error(), stored.calls), ((403, "forbidden"), 0));
        assert_eq!(stored.whole(), unknown.whole());
    }
    assert!(world.is_live("icfg_1", "db_1").await);
    let by_system = world.delete_as(RESOURCE, &world.token(&system("icfg_1"))).send().await;
    assert_eq!(by_system.status, 204);
}

/// A8: a request is checked in this order: route and method, token, ids, role and installation, headers and
/// body, then the store.
#[tokio::test]
async fn the_first_check_that_fails_answers() {
    let world = world().await;
    let read_only = {
        let mut claims = user("icfg_1");
        claims["user_role"] = json!("USER");
        world.token(&claims)
    };
    let other = world.token(&user("icfg_2"));
    let own = world.token(&user("icfg_1"));
    let bad_path = "/v1/installations/icfg%201";
    let path = "/v1/installations/icfg_1";
    let bad_body = "{";
    let reply = world.request("PUT", path).key("\t").body(bad_body).send().await;
    assert_eq!(reply.error(), (405, "method_not_allowed"));
    let reply = world.request("DELETE", bad_path).key("a b").body(bad_body).send().await;
    assert_eq!(reply.error(), (403, "invalid_token"));
    let reply = world.delete_as(bad_path, &read_only).key("a b").body(bad_body).send().await;
    assert_eq!(reply.error(), (400, "bad_request"));
    assert!(reply.message().starts_with("an id is"), "{}", reply.message());
    for token in [&read_only, &other] {
        let reply = world.delete_as(path, token).key("a b").body(bad_body).send().await;
        assert_eq!(reply.error(), (403, "forbidden"));
    }
    let reply = world.delete_as(path, &own).key("a b").body(bad_body).send().await;
    assert!(reply.message().starts_with("Idempotency-Key is"), "{}", reply.message());
    let reply = world.delete_as(path, &own).key("k1").body(bad_body).send().await;
    assert_eq!((reply.error(), reply.calls), ((400, "bad_request"), 0));
    let null = world.token(&account("acc_other"));
    let reply = world.delete_as(path, &null).body(bad_body).send().await;
    assert_eq!((reply.error(), reply.calls), ((400, "bad_request"), 0), "the account comes last");
    assert!(world.is_live("icfg_1", "db_1").await);
}
