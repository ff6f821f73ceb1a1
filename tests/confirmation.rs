//! If Vercel answers 404 or 410, teardown asks Vercel to confirm that the configuration is gone (E7). The
//! configuration may have moved to another team, so that the stored team is wrong.

mod late;

use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};
use teardown::app::HostTime;
use teardown::limits::Limits;

use crate::configuration::{GONE, is_gone, world, world_within};
use crate::support::dynamodb::Fault;
use crate::support::gate::Gate;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{ACCOUNT, CONFIGURATION, World, limits};

/// Vercel's answer to the `GET` of a configuration that is in another team.
const IN_TEAM_2: &str = r#"{"id":"icfg_1","teamId":"team_2","ownerId":"u","scopes":[]}"#;

fn found() -> Answer {
    Answer::Body(200, IN_TEAM_2)
}

/// Who takes the next step of the deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Request,
    /// The sweep. The sweep resumes the deletion of a request that failed because Vercel was busy.
    Sweep,
}

impl Who {
    const ALL: [Self; 2] = [Self::Request, Self::Sweep];

    /// A `World` in which the request or the sweep calls Vercel as its next step. No earlier call to Vercel
    /// is in doubt.
    async fn world(self) -> World {
        let world = world().await;
        if self == Self::Sweep {
            let busy = || Answer::Status(429);
            world.vercel.script([busy(), busy(), busy()]);
            assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
            world.clock.advance(Duration::from_secs(16));
        }
        world
    }

    /// Resumes the deletion, with these answers from Vercel. Returns 204 if the deletion is done, 409 if it
    /// is withdrawn, and 503 if its intent is still open. Also returns the requests that Vercel received.
    async fn goes_on(self, world: &World, answers: &[Answer]) -> (u16, Vec<String>) {
        let before = world.vercel.lines().len();
        world.vercel.script(answers.iter().cloned());
        let status = if self == Self::Request {
            let reply = world.delete(CONFIGURATION).key("k1").send().await;
            let expected = match reply.status {
                204 => None,
                409 => Some("upstream_refused"),
                _ => Some("upstream_unavailable"),
            };
            assert_eq!(reply.body["error"]["code"].as_str(), expected);
            reply.status
        } else {
            let intended = |keys: &[String]| keys.iter().any(|key| key == "work#configuration");
            let report = world.sweep().await;
            let is_gone = is_gone(world).await;
            let open = intended(&world.sort_keys("icfg_1").await);
            assert_eq!(report[2], u64::from(open), "{report:?}");
            match (is_gone, open) {
                (true, _) => 204,
                (false, false) => 409,
                (false, true) => 503,
            }
        };
        (status, world.vercel.lines().split_off(before))
    }
}

/// The request lines of three calls: the `DELETE` with team 1, the `GET` that looks the configuration up, and the
/// `DELETE` with team 2.
fn lines() -> [String; 3] {
    [
        format!("DELETE {CONFIGURATION}?teamId=team_1"),
        format!("GET {CONFIGURATION}"),
        format!("DELETE {CONFIGURATION}?teamId=team_2"),
    ]
}

async fn installation(world: &World) -> Value {
    world.items("icfg_1").await["#installation"].clone()
}

/// E7, E2: if Vercel answers the `DELETE` with 404 or 410, the configuration counts as gone once Vercel
/// confirms it. To confirm, teardown sends a `GET` with the same token and without a team. Vercel confirms
/// that the configuration is gone if it answers the `GET` with 404, 410, 401, 403, or a `deletedAt`. The
/// confirmation needs no call to DynamoDB.
#[tokio::test]
async fn a_404_means_gone_once_vercel_confirms_it() {
    let deleted = r#"{"id":"icfg_1","teamId":"team_2","deletedAt":1763769600000}"#;
    for who in Who::ALL {
        for status in [404, 410] {
            for confirmation in [
                Answer::Status(404),
                Answer::Status(410),
                Answer::Status(401),
                Answer::Status(403),
                Answer::Body(200, deleted),
            ] {
                let world = who.world().await;
                let before = world.dynamodb.calls();
                let answers = [Answer::EffectThen(status), confirmation.clone()];
                let (done, sent) = who.goes_on(&world, &answers).await;
                assert_eq!((done, &sent[..]), (204, &lines()[..2]), "{who:?} {confirmation:?}");
                if who == Who::Request {
                    assert_eq!(world.dynamodb.calls() - before, 4, "as without a confirmation");
                }
                assert!(is_gone(&world).await);
                let tokens =
                    world.vercel.received().into_iter().map(|received| received.authorization);
                assert!(tokens.into_iter().all(|token| token == "Bearer token-of-icfg_1"));
                assert_eq!(installation(&world).await["teamId"], "team_1");
            }
        }
    }
}

/// E7: if the configuration exists in another team, teardown stores that team, and sends a second `DELETE`
/// for the new team. Vercel's answers to the second `DELETE` mean the same as the answers to the first
/// `DELETE`, except that 404 and 410 are refusals. After a refusal of the second `DELETE`, nothing is deleted
/// in the table.
#[tokio::test]
async fn a_moved_configuration_is_deleted_in_its_new_team() {
    for who in Who::ALL {
        for (answer, expected) in [
            (Answer::EffectThen(204), 204),
            (Answer::EffectThen(200), 204),
            (Answer::Status(404), 409),
            (Answer::Status(410), 409),
            (Answer::Status(400), 409),
            (Answer::Status(401), 409),
            (Answer::Status(403), 409),
            (Answer::Status(409), 409),
            (Answer::RetryAfter(429, "3600"), 503),
            (Answer::RetryAfter(503, "3600"), 503),
            (Answer::Status(302), 503),
            (Answer::Reset, 503),
        ] {
            let world = who.world().await;
            let (before, calls) = (world.items("icfg_1").await, world.dynamodb.calls());
            if matches!(answer, Answer::Reset) {
                world.vercel.lasting(answer.clone());
            }
            let answers = [Answer::Status(404), found(), answer.clone()];
            let (status, sent) = who.goes_on(&world, &answers).await;
            let what = format!("{who:?} {answer:?}");
            let tries = if matches!(answer, Answer::Reset) { 3 } else { 1 };
            assert_eq!((status, sent[..3].to_vec()), (expected, lines().to_vec()), "{what}");
            assert_eq!(sent.len(), 2 + tries, "{what}");
            let calls = world.dynamodb.calls() - calls;
            assert!(who == Who::Sweep || calls == 5, "{what}: {calls} calls");

            let mut items = world.items("icfg_1").await;
            let stored = &items["#installation"];
            let team = (&stored["teamId"], stored.get("teamSlug"));
            assert_eq!(team, (&json!("team_2"), None), "{what}");
            if expected == 204 {
                assert!(is_gone(&world).await, "{what}");
                continue;
            }
            // Nothing is deleted in the table. Only the stored team has changed in the table.
            let intent = items.remove("work#configuration");
            assert_eq!(intent.is_some(), expected == 503, "{what}");
            let in_doubt = matches!(answer, Answer::Reset | Answer::RetryAfter(503, _));
            assert!(intent.is_none_or(|intent| intent["inDoubt"] == in_doubt), "{what}");
            let mut expected_items = before;
            expected_items.remove("work#configuration");
            let moved = expected_items["#installation"].as_object().unwrap().clone();
            let mut moved = Value::Object(moved);
            moved["teamId"] = json!("team_2");
            moved.as_object_mut().unwrap().remove("teamSlug");
            expected_items.insert("#installation".to_owned(), moved);
            assert_eq!(items, expected_items, "{what}");
        }
    }
}

/// E7: the new team is stored before teardown calls Vercel to delete the configuration in that team. The call
/// in the new team is in doubt until Vercel answers it.
#[tokio::test]
async fn the_new_team_is_stored_before_the_call() {
    let world = world().await;
    let gate = Gate::default();
    let second = Answer::Held(gate.clone(), Box::new(Answer::EffectThen(204)));
    world.vercel.script([Answer::Status(404), found(), second]);
    let look = async {
        assert!(gate.reached().await);
        let items = world.items("icfg_1").await;
        gate.open();
        items
    };
    let (reply, items) = join(world.delete(CONFIGURATION).key("k1").send(), look).await;
    assert_eq!(reply.whole(), GONE);
    assert_eq!(items["#installation"]["teamId"], "team_2");
    assert_eq!(items["#installation"].get("teamSlug"), None);
    assert_eq!(items["#installation"]["state"], "active");
    assert_eq!(items["work#configuration"]["inDoubt"], true);
}

/// E7: if Vercel's answer to the `GET` has no team, the stored team and slug are removed. If Vercel's answer
/// to the `GET` names the stored team, the stored slug stays. If no team is stored, the team in Vercel's
/// answer is stored.
#[tokio::test]
async fn the_team_that_vercel_names_is_stored() {
    for (body, query, team, slug) in [
        (r#"{"id":"icfg_1"}"#, "", None, None),
        (r#"{"id":"icfg_1","teamId":null,"deletedAt":null}"#, "", None, None),
        (r#"{"teamId":"team_1"}"#, "?teamId=team_1", Some("team_1"), Some("my-team")),
    ] {
        let world = world().await;
        let answers = [Answer::Status(404), Answer::Body(200, body), Answer::Status(409)];
        let (status, calls) = Who::Request.goes_on(&world, &answers).await;
        assert_eq!((status, &calls[2]), (409, &format!("DELETE {CONFIGURATION}{query}")));
        let stored = installation(&world).await;
        let field = |name: &str| stored.get(name).and_then(Value::as_str);
        assert_eq!((field("teamId"), field("teamSlug")), (team, slug), "{body}");
    }
    let world = World::new().await;
    world
        .register(json!({ "installation": {
            "id": "icfg_1", "accountId": ACCOUNT, "accessToken": "token", "billing": "settled",
        } }))
        .await;
    world.vercel.moves("icfg_1", Some("team_2"));
    let (status, calls) = Who::Request.goes_on(&world, &[]).await;
    let [_, look, there] = lines();
    assert_eq!((status, calls), (204, vec![format!("DELETE {CONFIGURATION}"), look, there]));
    assert_eq!(installation(&world).await["teamId"], "team_2");
}

/// E7, E3: if Vercel gives no definite answer to the `GET`, the caller is answered 503, and nothing is
/// deleted in the table. Vercel had answered the `DELETE` before the `GET`, so the deletion is not in doubt.
/// A later 403 of Vercel's is a refusal, because the deletion is not in doubt.
#[tokio::test]
async fn without_a_confirmation_nothing_is_deleted_or_in_doubt() {
    for who in Who::ALL {
        for (answer, expected) in [
            (Answer::Body(200, "<html>"), "Vercel answered 200"),
            (Answer::Body(200, "[]"), "Vercel answered 200"),
            (Answer::Body(200, r#"{"teamId":7}"#), "Vercel answered 200"),
            (Answer::Status(204), "Vercel answered 204"),
            (Answer::Status(302), "Vercel answered 302: as scripted (scripted)"),
            (Answer::Status(400), "Vercel answered 400: as scripted (scripted)"),
            (Answer::Status(409), "Vercel answered 409: as scripted (scripted)"),
            (Answer::Status(429), "Vercel answered 429: as scripted (scripted)"),
            (Answer::Status(500), "Vercel answered 500: as scripted (scripted)"),
            (Answer::Reset, "Vercel did not answer: "),
        ] {
            let what = format!("{who:?} {answer:?}");
            let world = who.world().await;
            let before = installation(&world).await;
            world.vercel.lasting(answer);
            let (status, sent) = who.goes_on(&world, &[Answer::Status(404)]).await;
            assert_eq!(status, 503, "{what}");
            let [delete, look, _] = lines();
            assert_eq!(sent[0], delete, "{what}");
            assert!(sent[1..].iter().all(|line| *line == look), "{what}: {sent:?}");
            assert!(sent.len() > 1, "{what}");
            let items = world.items("icfg_1").await;
            assert_eq!(items["#installation"], before, "{what}");
            let intent = &items["work#configuration"];
            assert_eq!(intent["inDoubt"], false, "{what}");
            let reason = intent["lastError"].as_str().unwrap();
            let expected = format!("Vercel did not confirm that it is gone: {expected}");
            assert!(reason.starts_with(&expected), "{what}: {reason}");
            assert!(world.is_live("icfg_1", "db_1").await, "{what}");

            world.vercel.lasting(Answer::Honest);
            world.vercel.script([Answer::Status(403)]);
            let refused = world.delete(CONFIGURATION).key("k2").send().await;
            assert_eq!(refused.error(), (409, "upstream_refused"), "{what}");
        }
    }
}

/// E7, E2: if the deletion was in doubt before Vercel answered 404, it stays in doubt, whatever Vercel
/// answers to the `GET`.
#[tokio::test]
async fn a_doubt_from_before_stays() {
    for who in Who::ALL {
        let world = who.world().await;
        let answers = [Answer::Reset, Answer::Status(404), Answer::Status(400)];
        assert_eq!(who.goes_on(&world, &answers).await.0, 503);
        assert_eq!(world.items("icfg_1").await["work#configuration"]["inDoubt"], true);
        assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);

        // After a refusal in the new team, the stored deletion is still in doubt. Because of the doubt,
        // Vercel's next refusal means that the configuration is gone.
        let world = who.world().await;
        let answers = [Answer::Reset, Answer::Status(404), found(), Answer::Status(403)];
        assert_eq!(who.goes_on(&world, &answers).await.0, 409);
        assert_eq!(installation(&world).await["configurationInDoubt"], true);
        world.vercel.script([Answer::EffectThen(403)]);
        assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE);
    }
}

/// E7, E2: if one attempt of the second `DELETE` got no definite answer, it may have taken effect. After such
/// an attempt, 401, 403, 404 and 410 to the next attempt are not refusals. The deletion's intent stays open,
/// and the deletion stays in doubt. The next request finds that the configuration is gone.
#[tokio::test]
async fn a_second_delete_in_doubt_is_never_refused() {
    for who in Who::ALL {
        for status in [404, 410, 401, 403] {
            let world = who.world().await;
            let answers =
                [Answer::Status(404), found(), Answer::EffectThenReset, Answer::Status(status)];
            let what = format!("{who:?} {status}");
            assert_eq!(who.goes_on(&world, &answers).await.0, 503, "{what}");
            let items = world.items("icfg_1").await;
            assert_eq!(items["work#configuration"]["inDoubt"], true, "{what}");
            assert_eq!(items["#installation"]["state"], "active", "{what}");
            assert_eq!(world.delete(CONFIGURATION).send().await.whole(), GONE, "{what}");
            assert!(is_gone(&world).await, "{what}");
        }
        let world = who.world().await;
        let answers = [Answer::Status(404), found(), Answer::Reset, Answer::Status(409)];
        assert_eq!(who.goes_on(&world, &answers).await.0, 409, "{who:?}: Vercel's word");
        assert_eq!(installation(&world).await["configurationInDoubt"], true);
    }
}

/// E1, E7: after a move, `teamId` and `slug` of a request are compared with the new team, which is stored
/// without a slug. An answer that was recorded under a key before the move is still replayed after the move
/// (F1).
#[tokio::test]
async fn the_new_team_is_compared_from_then_on() {
    let world = world().await;
    world.vercel.moves("icfg_1", Some("team_2"));
    world.vercel.script([Answer::Honest, Answer::Honest, Answer::Status(409)]);
    let first = format!("{CONFIGURATION}?teamId=team_1&slug=my-team");
    let refused = world.delete(&first).key("k1").send().await;
    assert_eq!(refused.error(), (409, "upstream_refused"));
    for query in ["teamId=team_1", "slug=my-team", "teamId=team_2&slug=my-team"] {
        let other = world.delete(&format!("{CONFIGURATION}?{query}")).key("k1").send().await;
        assert_eq!(other.error(), (403, "forbidden"), "{query}");
    }
    let right = format!("{CONFIGURATION}?teamId=team_2");
    assert_eq!(world.delete(&right).key("k2").send().await.whole(), GONE);
    assert_eq!(world.vercel.lines()[3], lines()[2], "it is asked there at once");

    let world = self::world().await;
    world.vercel.moves("icfg_1", Some("team_2"));
    assert_eq!(world.delete(&first).key("k1").send().await.whole(), GONE);
    let calls = world.vercel.received().len();
    let replay = world.delete(&first).key("k1").send().await;
    assert_eq!((replay.whole(), replay.calls), (GONE, 1), "a replay");
    assert_eq!(world.delete(&first).key("k2").send().await.error(), (403, "forbidden"));
    let reused = world.delete(&right).key("k1").send().await;
    assert_eq!(reused.error(), (409, "idempotency_key_reused"));
    assert_eq!(world.vercel.received().len(), calls);
}

/// E7, E3: the `DELETE`, the `GET` and the second `DELETE` together may take only as long as one call to
/// Vercel (12 s by default).
#[tokio::test]
async fn all_calls_together_have_the_time_of_one() {
    let time = Limits {
        vercel_attempt: Duration::from_secs(1),
        vercel_call: Duration::from_millis(4900),
        ..limits()
    };
    let world = world_within(time).await;
    world.vercel.script([Answer::Silence, Answer::Status(404)]);
    world.vercel.lasting(Answer::Silence);
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!(reply.error(), (503, "upstream_unavailable"));
    let [delete, look, _] = lines();
    let calls = [delete.clone(), delete, look];
    assert_eq!(world.vercel.lines(), calls, "no time is left for another connection");
    assert_eq!(world.items("icfg_1").await["work#configuration"]["inDoubt"], true);
}

/// E7, E5: Vercel may call Delete Installation while it deletes a configuration that has moved to another
/// team. Both the deletion and the uninstall succeed, and each has its receipt.
#[tokio::test]
async fn an_uninstall_from_the_new_team_succeeds_too() {
    let world = world().await;
    world.vercel.moves("icfg_1", Some("team_2"));
    world.vercel.calls_back(&world.url);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    assert!(is_gone(&world).await);
    until(|| world.vercel.is_gone("icfg_1")).await;
    world.sweep_all().await;
    let keys = ["#installation", "receipt#configuration", "receipt#installation"];
    assert_eq!(world.sort_keys("icfg_1").await, keys);
    assert_eq!(installation(&world).await["teamId"], "team_2");
}
