//! Confirmations that are late, cut off, or impossible to store (E7).

use super::*;

/// E7, F5: a request that loses its lease while it waits for Vercel's answer about the team stores no team,
/// and does not call Vercel again.
#[tokio::test]
async fn a_request_without_its_lease_stores_no_team() {
    let world = world().await;
    let gate = Gate::default();
    let late = Answer::Held(gate.clone(), Box::new(found()));
    world.vercel.script([Answer::Status(404), late, Answer::Status(400)]);
    let meanwhile = async {
        assert!(gate.reached().await);
        world.clock.advance(Duration::from_secs(31));
        let second = world.delete(CONFIGURATION).key("k2").send().await;
        let table = world.all().await;
        gate.open();
        (second, table)
    };
    let (first, (second, table)) =
        join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(second.error(), (409, "upstream_refused"));
    assert_eq!(first.error(), (503, "upstream_unavailable"));
    assert_eq!(world.all().await, table);
    assert_eq!(world.vercel.received().len(), 3);
}

/// E7, I3: if a team is registered while a request waits for Vercel's answer about the team, the registered
/// team stays. The request after the registration calls Vercel with the registered team, and the deletion is
/// not in doubt.
#[tokio::test]
async fn a_team_registered_meanwhile_stays() {
    let world = world().await;
    let gate = Gate::default();
    let late = Answer::Held(gate.clone(), Box::new(found()));
    world.vercel.script([Answer::Status(404), late]);
    let meanwhile = async {
        assert!(gate.reached().await);
        let line = json!({ "id": "icfg_1", "accountId": ACCOUNT, "teamId": "team_3" });
        world.register(json!({ "installation": line })).await;
        gate.open();
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (503, "upstream_unavailable"));
    let items = world.items("icfg_1").await;
    assert_eq!(items["#installation"]["teamId"], "team_3");
    assert_eq!(items["work#configuration"]["inDoubt"], false);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.whole(), GONE);
    assert_eq!(world.vercel.lines()[2], format!("DELETE {CONFIGURATION}?teamId=team_3"));
}

/// E7, G4: if a sweep's time ends while the sweep waits for Vercel's answer about the team, the deletion is
/// not in doubt.
#[tokio::test]
async fn a_sweep_that_ends_while_it_confirms_leaves_no_doubt() {
    let world = Who::Sweep.world().await;
    world.vercel.script([Answer::Status(404), Answer::Silence]);
    world.process().await.sweep(HostTime(Duration::from_secs(3))).await;
    let intent = &world.items("icfg_1").await["work#configuration"];
    assert_eq!((&intent["inDoubt"], &intent["failures"]), (&json!(false), &json!(2)));
}

/// E7, F6: if DynamoDB is out of reach when a new team has to be stored, Vercel is not called with that team.
/// Nothing is deleted in the table, and the deletion is not in doubt. If only one call to DynamoDB fails, or
/// only one reply is lost, the deletion succeeds.
#[tokio::test]
async fn vercel_is_not_called_with_a_team_that_cannot_be_stored() {
    let a_second = Limits { dynamodb: Duration::from_secs(1), ..limits() };
    let world = world_within(a_second).await;
    for _ in 0..100 {
        world.dynamodb.once("SET teamId", Fault::ResetBefore);
    }
    world.vercel.script([Answer::Status(404), found()]);
    let reply = world.delete(CONFIGURATION).key("k1").send().await;
    assert_eq!(reply.error(), (503, "store_unavailable"));
    world.dynamodb.forget();
    assert_eq!(world.vercel.lines(), lines()[..2]);
    let items = world.items("icfg_1").await;
    assert_eq!(items["#installation"]["teamId"], "team_1");
    assert_eq!(items["work#configuration"]["inDoubt"], false);

    for fault in [Fault::Throttle, Fault::Conflict, Fault::ResetBefore, Fault::ResetAfter] {
        let world = self::world().await;
        world.dynamodb.once("SET teamId", fault);
        world.vercel.moves("icfg_1", Some("team_2"));
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        assert_eq!((reply.whole(), reply.calls), (GONE, 6), "{fault:?}");
        assert_eq!(world.vercel.lines(), lines(), "{fault:?}");
    }
}
