//! Vercel's answers to a configuration's deletion (E2, E3, E5), and the effect of each answer, in a request
//! and in the sweep that resumes the request's deletion.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use teardown::limits::Limits;

use crate::configuration::{DAY, GONE, is_gone, world, world_within};
use crate::support::outside::Answer;
use crate::support::world::{CONFIGURATION, World, limits};

/// Sends a Delete Configuration while Vercel gives these answers, and returns the status and the error code.
async fn after(world: &World, answers: &[Answer]) -> (u16, Value) {
    world.vercel.script(answers.iter().cloned());
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!(reply.headers.contains_key("retry-after"), reply.status == 503);
    (reply.status, reply.body["error"]["code"].clone())
}

/// E2, E3: if Vercel answers 204, or 200, which Vercel does not document, the configuration is gone. If
/// Vercel answers 404 or 410, the configuration is gone once Vercel confirms that (E7).
#[tokio::test]
async fn a_204_or_200_means_gone() {
    for status in [200, 204, 404, 410] {
        let world = world().await;
        assert_eq!(after(&world, &[Answer::EffectThen(status)]).await, GONE, "{status}");
        assert!(is_gone(&world).await);
    }
}

/// E3, F3: if Vercel refuses, the caller is answered 409 with Vercel's message. After a refusal nothing is
/// deleted, no intent is left, and a later request calls Vercel again.
#[tokio::test]
async fn vercel_refuses() {
    for status in [400, 401, 403, 409] {
        let world = world().await;
        let before = world.all().await;
        world.vercel.script([Answer::Status(status)]);
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        insta::allow_duplicates! {
            insta::assert_snapshot!(format!("{} {}", reply.status, reply.body), @r#"409 {"error":{"code":"upstream_refused","message":"Vercel refuses to delete the configuration: as scripted (scripted)","user":{"message":"Vercel did not permit this deletion."}}}"#);
        }
        assert_eq!(world.all().await, before);
        world.clock.advance(DAY);
        assert_eq!(world.sweep().await, [0; 4]);
        assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
        assert_eq!(world.vercel.received().len(), 2);
    }
}

/// B3, E3: the caller gets Vercel's message, even if the message contains half of a surrogate pair.
#[tokio::test]
async fn vercels_error_is_passed_on() {
    let world = world().await;
    let body = r#"{"error":{"code":"forbidden","message":"not \ud83d now","\udfff":1}}"#;
    world.vercel.script([Answer::Body(403, body)]);
    let reply = world.delete(CONFIGURATION).send().await;
    let message = "Vercel refuses to delete the configuration: not \u{fffd} now (forbidden)";
    assert_eq!((reply.error(), reply.message()), ((409, "upstream_refused"), message));
}

/// B6, E3: if Vercel cannot be reached, or neither deletes nor refuses, the caller is answered 503, and
/// nothing is deleted in the table. The same request, another request or the sweep resumes the deletion.
#[tokio::test]
async fn vercel_is_out_of_reach() {
    let answers = [
        Answer::Status(429),
        Answer::Status(500),
        Answer::Status(503),
        Answer::Status(202),
        Answer::Status(302),
        Answer::Status(418),
        Answer::RetryAfter(429, "120"),
        Answer::RetryAfter(503, "Fri, 31 Dec 1999 23:59:59 GMT"),
        Answer::Reset,
    ];
    join_all(answers.iter().enumerate().map(async |(n, answer)| {
        let world = world().await;
        let before = world.items("icfg_1").await;
        world.vercel.lasting(answer.clone());
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        assert_eq!(reply.error(), (503, "upstream_unavailable"), "{answer:?}");
        assert_eq!(reply.message(), "Vercel's API is not available");
        let wait = if matches!(answer, Answer::RetryAfter(429, _)) { "120" } else { "5" };
        let wait = if matches!(answer, Answer::RetryAfter(503, _)) { "1" } else { wait };
        assert_eq!(reply.headers["retry-after"], wait, "{answer:?}");
        let mut items = world.items("icfg_1").await;
        let intent = items.remove("work#configuration").unwrap();
        assert_eq!(items, before, "{answer:?}");
        let unclear = matches!(
            answer,
            Answer::Reset | Answer::Status(202 | 500 | 503) | Answer::RetryAfter(503, _)
        );
        assert_eq!((&intent["inDoubt"], &intent["attempts"]), (&json!(unclear), &json!(1)));
        assert!(intent["lastError"].as_str().unwrap().starts_with("Vercel "), "{intent}");
        let lines = world.vercel.lines();
        assert!(lines.iter().all(|line| line.starts_with("DELETE /v1/")), "{lines:?}");
        assert!(world.is_live("icfg_1", "db_1").await);
        world.vercel.lasting(Answer::Honest);
        match n % 3 {
            0 => assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE),
            1 => assert_eq!(world.delete(CONFIGURATION).key("k2").send().await.whole(), GONE),
            _ => {
                world.clock.advance(Duration::from_hours(1));
                assert!(world.sweep().await[1] >= 1);
            }
        }
        assert!(is_gone(&world).await, "{answer:?}");
        assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    }))
    .await;
}

/// E3: if Vercel never answers, a request waits no longer than a call to Vercel may take. If less time is
/// left than an attempt may take to connect (3 s), the attempt is not begun.
#[tokio::test]
async fn vercel_never_answers() {
    let world = world_within(Limits {
        vercel_attempt: Duration::from_millis(500),
        vercel_call: Duration::from_millis(3900),
        ..limits()
    })
    .await;
    world.vercel.lasting(Answer::Silence);
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!(reply.error(), (503, "upstream_unavailable"));
    assert_eq!(world.vercel.received().len(), 2, "each attempt is given up in time");
    world.vercel.lasting(Answer::Honest);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
}

/// E2: when a configuration is deleted, its token becomes invalid. Vercel's 401 and 403 therefore mean that
/// the configuration is gone, but only after an attempt without a definite answer, in this request or in an
/// earlier request.
#[tokio::test]
async fn a_dead_token_means_gone_after_an_attempt_in_doubt() {
    for status in [401, 403] {
        for unclear in [Answer::EffectThenReset, Answer::EffectThen(502), Answer::EffectThen(202)] {
            let world = world().await;
            assert_eq!(after(&world, &[unclear.clone(), Answer::Status(status)]).await, GONE);
            assert!(is_gone(&world).await);

            let world = self::world().await;
            let lost = [unclear, Answer::Status(500), Answer::Status(429)];
            let unavailable = (503, json!("upstream_unavailable"));
            assert_eq!(after(&world, &lost).await, unavailable);
            assert_eq!(after(&world, &[Answer::Status(status)]).await, GONE);
            assert!(is_gone(&world).await);
        }
        let world = world().await;
        let busy = [Answer::Status(429), Answer::Status(status)];
        assert_eq!(after(&world, &busy).await, (409, json!("upstream_refused")));
        assert!(!is_gone(&world).await);
    }
}

/// E5: if Vercel calls Delete Installation while it deletes the configuration, both deletions succeed.
#[tokio::test]
async fn an_uninstall_during_the_deletion_succeeds_too() {
    for answer in [Answer::Honest, Answer::EffectThenReset, Answer::EffectThen(500)] {
        let world = world().await;
        world.vercel.calls_back(&world.url);
        world.vercel.script([answer]);
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        assert_eq!(reply.whole(), GONE);
        assert!(is_gone(&world).await);
        world.sweep_all().await;
        let items = world.items("icfg_1").await;
        let keys: Vec<_> = items.keys().collect();
        assert_eq!(keys, ["#installation", "receipt#configuration", "receipt#installation"]);
        assert_eq!(items["#installation"]["state"], "finalized");
        assert_eq!(world.provider.ids().len(), 3);
        assert_eq!(world.provider.received().len(), 3);
        assert!(world.vercel.lines().iter().all(|line| !line.contains("finalize")));
    }
}

/// F5: if a request gets no definite answer from Vercel, its intent stays. The sweep resumes the deletion
/// when the retry is due, and the receipt names the caller who requested the deletion.
#[tokio::test]
async fn the_sweep_resumes_the_deletion() {
    let world = world().await;
    world.vercel.script([Answer::EffectThenReset]);
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!(reply.whole(), GONE, "403 after a lost answer");

    let world = self::world().await;
    world.vercel.script([Answer::EffectThenReset, Answer::Reset, Answer::Reset]);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
    assert_eq!(world.sweep().await, [0; 4], "its retry is not due yet");
    world.clock.advance(Duration::from_secs(16));
    let [claimed, done, ..] = world.sweep().await;
    assert!(claimed >= 1 && done == claimed, "{claimed} {done}");
    assert!(is_gone(&world).await);
    let receipt = &world.items("icfg_1").await["receipt#installation"];
    assert_eq!(receipt["deletedAt"], world.clock.timestamp().as_secs(), "when it was committed");
    assert_eq!(receipt["deletedBy"]["userId"], "user_1");
    assert!(receipt["keySha256"].is_string());
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
}

/// E3: if Vercel refuses the sweep's call, the sweep withdraws the intent. If an intent fails for 3 days, it
/// is parked, and a later request resumes its deletion.
#[tokio::test]
async fn the_sweep_withdraws_and_parks() {
    let world = world().await;
    let before = world.all().await;
    world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    world.clock.advance(Duration::from_secs(16));
    world.vercel.script([Answer::Status(409)]);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert_eq!(world.all().await, before);

    world.vercel.lasting(Answer::Status(418));
    assert_eq!(world.delete(CONFIGURATION).send().await.status, 503);
    world.clock.advance(Duration::from_hours(1));
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.clock.advance(3 * DAY);
    assert_eq!(world.sweep().await, [1, 0, 0, 1]);
    world.clock.advance(3 * DAY);
    assert_eq!(world.sweep().await, [0; 4]);
    let parked = world.store.parked(10).await.unwrap();
    assert_eq!((parked.len(), parked[0].what.as_str()), (1, "configuration"));
    assert_eq!(parked[0].last_error, "Vercel answered 418: as scripted (scripted)");
    world.vercel.lasting(Answer::Honest);
    assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);
    assert!(is_gone(&world).await && world.store.parked(10).await.unwrap().is_empty());
}
