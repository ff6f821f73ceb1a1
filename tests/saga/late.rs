//! Workers that are late or overtaken: what they change, and what they leave unchanged.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{CONFIGURATION, INSTALLATION, another_is_refused, awaiting_retry, world};
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::World;

/// E3, F4: if an installation changes while a request calls Vercel, the request does not wait for the end of
/// its own lease. The request reads the table again, and decides from the new items.
#[tokio::test]
async fn a_request_does_not_wait_for_its_own_lease() {
    for settled in [true, false] {
        let world = world().await;
        let gate = Arc::new(Semaphore::new(0));
        world.vercel.script([Answer::EffectThenReset, Answer::gated(&gate, 409)]);
        let meanwhile = async {
            until(|| world.vercel.received().len() >= 2).await;
            if !settled {
                world.reopen("icfg_1").await;
            }
            let uninstalled = world.delete(INSTALLATION).send().await.whole();
            assert_eq!(uninstalled, (200, json!({ "finalized": settled })));
            gate.add_permits(1);
        };
        let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
        assert_eq!(first.status, 204, "{settled} {:?}", first.error());
        // While a token is stored, the request calls Vercel once more, and gets 403.
        assert_eq!(world.vercel.received().len(), if settled { 2 } else { 3 });
        let items = world.items("icfg_1").await;
        assert!(!items.contains_key("work#configuration"), "{settled}");
        assert!(items["#installation"].get("configurationDeletedAt").is_some(), "{settled}");
    }
}

/// E2: a request reads the table, and then Vercel refuses another request, whose deletion is in doubt. When
/// the first request writes its intent, it takes the stored doubt into account.
#[tokio::test]
async fn a_doubt_stored_meanwhile_is_noticed() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        world.vercel.script([Answer::EffectThen(503), Answer::Status(409)]);
        let refused = world.delete(CONFIGURATION).key("k2").send().await;
        assert_eq!(refused.error(), (409, "upstream_refused"));
        world.vercel.script([Answer::Status(403)]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.status, 204, "{:?}", first.error());
}

/// F5: if a worker is late and its intent was withdrawn, the worker does not withdraw the intent of a later
/// request.
#[tokio::test]
async fn a_late_refusal_withdraws_no_other_intent() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 409), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
        let awaiting_retry = world.delete(CONFIGURATION).key("k3").send().await;
        assert_eq!(awaiting_retry.error(), (503, "upstream_unavailable"));
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!((first.status, world.vercel.is_gone("icfg_1")), (204, true), "it asks again");
}

/// F1, F2: if two requests under one key find the configuration gone at Vercel, one commits the deletion, and
/// the other does not overwrite the recorded outcome.
#[tokio::test]
async fn the_second_commit_overwrites_no_outcome() {
    let world = world().await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
    world.sweep_all().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let other = format!("{CONFIGURATION}?teamId=team_1");
    let meanwhile = async {
        until(|| world.dynamodb.is_holding()).await;
        assert_eq!(world.delete(&other).key("k1").send().await.status, 204);
        let before = world.all().await;
        gate.add_permits(1);
        before
    };
    let (first, before) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (409, "idempotency_key_reused"));
    assert_eq!(world.all().await, before);
    assert_eq!(world.delete(&other).key("k1").send().await.status, 204, "the replay");
}

/// F4, G5: if two requests need no call to Vercel, one deletes the installation in the table, and the other
/// leaves the receipt unchanged.
#[tokio::test]
async fn of_two_deletions_in_the_table_alone_one_commits() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    world.settle("icfg_1").await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let before = world.dynamodb.calls();
    let second = async {
        until(|| world.dynamodb.calls() >= before + 2).await;
        let reply = world.delete(CONFIGURATION).key("k2").send().await;
        let receipt = world.items("icfg_1").await["receipt#configuration"].clone();
        gate.add_permits(1);
        (reply, receipt)
    };
    let (first, (second, receipt)) =
        join(world.delete(CONFIGURATION).key("k1").send(), second).await;
    assert_eq!((first.status, second.status), (204, 204));
    assert_eq!(world.items("icfg_1").await["receipt#configuration"], receipt);
}

/// F5: a sweep whose lease ends before the sweep reads the table does not call Vercel.
#[tokio::test]
async fn a_late_sweep_does_not_call_vercel() {
    let world = awaiting_retry().await;
    let (look, answer) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    world.dynamodb.hold("TransactGetItems", look.clone());
    let busy = || Answer::Status(429);
    world.vercel.script([Answer::gated(&answer, 429), busy(), busy()]);
    let sweep = async {
        let report = world.sweep().await;
        answer.add_permits(1);
        report
    };
    let request = async {
        until(|| world.dynamodb.is_holding()).await;
        world.clock.advance(Duration::from_mins(3));
        let open = async {
            until(|| world.vercel.received().len() >= 4).await;
            look.add_permits(1);
        };
        join(world.delete(CONFIGURATION).key("k2").send(), open).await.0
    };
    let (_, reply) = join(sweep, request).await;
    assert_eq!(reply.error(), (503, "upstream_unavailable"));
    assert_eq!(world.vercel.received().len(), 6, "the request alone asked");
}

/// E2, F5: a late worker may mark its attempt as in doubt after a request has read the table, and before the
/// request writes its intent. The request takes the late worker's mark into account: if Vercel answers 403,
/// the configuration is gone.
#[tokio::test]
async fn a_mark_stored_meanwhile_is_not_erased() {
    let world = awaiting_retry().await;
    let gates = [(); 4].map(|()| Arc::new(Semaphore::new(0)));
    let [look, mark, begin, answer] = &gates;
    let calls = async |more: usize| {
        let before = world.dynamodb.calls();
        until(|| world.dynamodb.calls() >= before + more).await;
    };
    world.dynamodb.hold("TransactGetItems", look.clone());
    world.vercel.script([Answer::gated(answer, 204), Answer::Status(403)]);
    let request = async {
        until(|| world.dynamodb.is_holding()).await;
        world.dynamodb.hold("UpdateItem", mark.clone());
        look.add_permits(1);
        calls(1).await;
        // The sweep is about to mark its attempt, and its lease ends.
        world.clock.advance(Duration::from_mins(3));
        world.dynamodb.hold("TransactWriteItems", begin.clone());
        let meanwhile = async {
            calls(2).await;
            // The request has read the table, and is about to write its intent.
            mark.add_permits(1);
            until(|| world.vercel.received().len() >= 4).await;
            begin.add_permits(1);
        };
        let reply = join(world.delete(CONFIGURATION).key("k2").send(), meanwhile).await.0;
        answer.add_permits(1);
        reply
    };
    let (_, reply) = join(world.sweep(), request).await;
    assert_eq!(reply.status, 204, "{:?}", reply.body);
    assert_eq!(world.vercel.received().len(), 5);
}
