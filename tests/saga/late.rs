//! Who is late, or is overtaken: what it changes, and what it leaves as it is.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{C1, I1, put_off, state, world};
use crate::dynamodb::Fault;
use crate::outside::Answer;
use crate::world::World;

/// Once Vercel is asked for the `times`-th time, the lease ends, and another request is refused: the
/// intent is withdrawn.
async fn another_is_refused(world: &World, times: usize) {
    while world.vercel.heard().len() < times {
        tokio::task::yield_now().await;
    }
    world.clock.advance(Duration::from_mins(3));
    let withdrawn = world.delete(C1).key("k2").send().await;
    assert_eq!(withdrawn.error(), (409, "upstream_refused"));
}

/// E3, F4: an installation that changes while Vercel is asked does not make a request wait for its own
/// lease: it goes by what is there then.
#[tokio::test]
async fn its_own_lease_stands_in_no_requests_way() {
    for settled in [true, false] {
        let world = world().await;
        let gate = Arc::new(Semaphore::new(0));
        world.vercel.script([Answer::EffectThenReset, Answer::gated(&gate, 409)]);
        let meanwhile = async {
            while world.vercel.heard().len() < 2 {
                tokio::task::yield_now().await;
            }
            if !settled {
                world.reopen("icfg_1").await;
            }
            let uninstalled = world.delete(I1).send().await.whole();
            assert_eq!(uninstalled, (200, json!({ "finalized": settled })));
            gate.add_permits(1);
        };
        let (first, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
        assert_eq!(first.status, 204, "{settled} {:?}", first.error());
        // With a token there is something to be asked of Vercel yet: 403 from then on.
        assert_eq!(world.vercel.heard().len(), if settled { 2 } else { 3 });
        let items = world.items("icfg_1").await;
        assert!(!items.contains_key("work#configuration"), "{settled}");
        assert!(items["#installation"].get("configurationDeletedAt").is_some(), "{settled}");
    }
}

/// E3: where an intent is withdrawn, because Vercel refused somebody else, a request that is late with
/// a deletion that may have taken effect since asks again: nobody else would.
#[tokio::test]
async fn a_late_doubt_is_cleared_up() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!(first.status, 204, "{:?}", first.error());
    assert_eq!(world.vercel.heard().len(), 5);
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
}

/// E3, F5: where the late one is a sweep, the deletion is owed again, asked for by whom it was.
#[tokio::test]
async fn a_late_doubt_of_a_sweep_is_owed_again() {
    let world = put_off().await;
    let asked = world.items("icfg_1").await["work#configuration"].clone();
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    let (report, ()) = join(world.sweep(), meanwhile).await;
    assert_eq!(report[1..], [0, 0, 0], "it is not done");
    let owed = world.items("icfg_1").await["work#configuration"].clone();
    for name in ["kind", "installationId", "due_shard", "deletedBy", "deletedAt", "keySha256"] {
        assert_eq!(owed[name], asked[name], "{name}");
    }
    assert_eq!(owed["unclear"], true);
    assert!(owed["fence"].as_u64() > asked["fence"].as_u64().map(|fence| fence + 1));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
    assert_eq!(items["receipt#installation"]["keySha256"], asked["keySha256"]);
}

/// E3, F5: a refusal that was heard before a late attempt took effect does not end what is owed.
#[tokio::test]
async fn a_refusal_that_a_late_doubt_overtakes_ends_nothing() {
    let world = put_off().await;
    let [late, refusal, withdrawal] = [(); 3].map(|()| Arc::new(Semaphore::new(0)));
    world.vercel.script([Answer::gated(&late, 503), Answer::gated(&refusal, 409)]);
    let sweep = async {
        world.sweep().await;
        withdrawal.add_permits(1);
    };
    let request = async {
        while world.vercel.heard().len() < 4 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_mins(3));
        world.delete(C1).key("k2").send().await
    };
    let order = async {
        while world.vercel.heard().len() < 5 {
            tokio::task::yield_now().await;
        }
        world.dynamodb.hold("TransactWriteItems", withdrawal.clone());
        refusal.add_permits(1);
        while !world.dynamodb.is_holding() {
            tokio::task::yield_now().await;
        }
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        late.add_permits(1);
    };
    let ((), refused, ()) = futures_util::join!(sweep, request, order);
    assert_eq!(refused.error(), (409, "request_in_progress"));
    world.clock.advance(Duration::from_mins(1));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
}

/// E3: who is late and has heard every answer to its own attempts owes nothing again, whatever another
/// before it left in doubt: what was refused since stays so.
#[tokio::test]
async fn a_late_sweep_that_heard_all_owes_nothing_again() {
    let world = world().await;
    world.vercel.script([Answer::Reset, Answer::Reset, Answer::Reset]);
    assert_eq!(world.delete(C1).key("k1").send().await.status, 503);
    world.clock.advance(Duration::from_secs(16));
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 429), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 4).await;
        world.vercel.script([Answer::Status(429), Answer::Status(429)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    assert_eq!(world.vercel.heard().len(), 7);
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
    assert_eq!(state(&world).await, "active");
}

/// F5: what a late worker heard is gone, and could not write down, is owed again.
#[tokio::test]
async fn a_late_204_that_cannot_be_committed_is_owed_again() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    let honest = Answer::Held(gate.clone().into(), Box::new(Answer::Honest));
    world.vercel.script([honest, Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.dynamodb.script([Fault::Echo]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (500, "internal_error"));
    assert!(world.items("icfg_1").await.contains_key("work#configuration"));
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
}

/// E4, F5: what is gone on both sides by then is not owed again.
#[tokio::test]
async fn a_late_doubt_of_what_is_gone_is_none() {
    let world = put_off().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 503)]);
    let meanwhile = async {
        while world.vercel.heard().len() < 4 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.delete(C1).key("k2").send().await.status, 204);
        world.vercel.script([Answer::Reset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    assert_eq!(world.vercel.heard().len(), 7);
    assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
}

/// E3, G6: what was parked meanwhile is due again.
#[tokio::test]
async fn a_late_doubt_is_not_left_parked() {
    let world = put_off().await;
    let gate = Arc::new(Semaphore::new(0));
    let resets = || [Answer::Reset, Answer::Reset, Answer::Reset];
    world.vercel.script([Answer::gated(&gate, 503)]);
    world.vercel.script(resets());
    world.vercel.script(resets());
    let meanwhile = async {
        while world.vercel.heard().len() < 4 {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_mins(3));
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        world.clock.advance(Duration::from_hours(73));
        assert_eq!(world.sweep().await, [1, 0, 0, 1]);
        world.vercel.script([Answer::EffectThenReset, Answer::Status(500)]);
        gate.add_permits(1);
    };
    join(world.sweep(), meanwhile).await;
    world.sweep_all().await;
    let items = world.items("icfg_1").await;
    assert!(!items.contains_key("work#configuration"));
    assert!(items["#installation"].get("configurationDeletedAt").is_some());
}

/// E2: a request that begins after another was refused in doubt, and looked before, goes by the doubt.
#[tokio::test]
async fn a_doubt_that_comes_between_is_not_overlooked() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let meanwhile = async {
        while !world.dynamodb.is_holding() {
            tokio::task::yield_now().await;
        }
        world.vercel.script([Answer::EffectThen(503), Answer::Status(409)]);
        let refused = world.delete(C1).key("k2").send().await;
        assert_eq!(refused.error(), (409, "upstream_refused"));
        world.vercel.script([Answer::Status(403)]);
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!(first.status, 204, "{:?}", first.error());
}

/// F5: whoever is late with an intent that was withdrawn does not withdraw a later one.
#[tokio::test]
async fn a_late_refusal_withdraws_no_other_intent() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 409), Answer::Status(409)]);
    let meanwhile = async {
        another_is_refused(&world, 1).await;
        world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
        let put_off = world.delete(C1).key("k3").send().await;
        assert_eq!(put_off.error(), (503, "upstream_unavailable"));
        gate.add_permits(1);
    };
    let (first, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!((first.status, world.vercel.is_gone("icfg_1")), (204, true), "it asks again");
}

/// F1, F2: of two requests under one key that find Vercel's side gone, one commits: what it recorded
/// is not written over.
#[tokio::test]
async fn who_commits_second_overwrites_no_outcome() {
    let world = world().await;
    assert_eq!(world.delete(I1).send().await.whole(), (200, json!({ "finalized": true })));
    world.sweep_all().await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let other = format!("{C1}?teamId=team_1");
    let meanwhile = async {
        while !world.dynamodb.is_holding() {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.delete(&other).key("k1").send().await.status, 204);
        let before = world.all().await;
        gate.add_permits(1);
        before
    };
    let (first, before) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!(first.error(), (409, "idempotency_key_reused"));
    assert_eq!(world.all().await, before);
    assert_eq!(world.delete(&other).key("k1").send().await.status, 204, "the replay");
}

/// F4, G5: of two that find nothing to be asked of Vercel one deletes our side, and its receipt
/// stands.
#[tokio::test]
async fn of_two_that_delete_our_side_alone_one_does() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    world.settle("icfg_1").await;
    assert_eq!(world.delete(I1).send().await.status, 200);
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let before = world.dynamodb.calls();
    let second = async {
        while world.dynamodb.calls() < before + 2 {
            tokio::task::yield_now().await;
        }
        let reply = world.delete(C1).key("k2").send().await;
        let receipt = world.items("icfg_1").await["receipt#configuration"].clone();
        gate.add_permits(1);
        (reply, receipt)
    };
    let (first, (second, receipt)) = join(world.delete(C1).key("k1").send(), second).await;
    assert_eq!((first.status, second.status), (204, 204));
    assert_eq!(world.items("icfg_1").await["receipt#configuration"], receipt);
}

/// F5: a sweep that is so late that its lease is over before it looks asks Vercel no more.
#[tokio::test]
async fn a_sweep_that_is_late_does_not_ask_under_anothers_mark() {
    let world = put_off().await;
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
        while !world.dynamodb.is_holding() {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_mins(3));
        let open = async {
            while world.vercel.heard().len() < 4 {
                tokio::task::yield_now().await;
            }
            look.add_permits(1);
        };
        join(world.delete(C1).key("k2").send(), open).await.0
    };
    let (_, reply) = join(sweep, request).await;
    assert_eq!(reply.error(), (503, "upstream_unavailable"));
    assert_eq!(world.vercel.heard().len(), 6, "the request alone asked");
}

/// E2, F5: a late worker that marks its attempt between a request's look and its intent is not
/// overlooked: what Vercel refuses then is gone.
#[tokio::test]
async fn a_mark_that_comes_between_is_not_erased() {
    let world = put_off().await;
    let gates = [(); 4].map(|()| Arc::new(Semaphore::new(0)));
    let [look, mark, begin, answer] = &gates;
    let calls = async |more: usize| {
        let before = world.dynamodb.calls();
        while world.dynamodb.calls() < before + more {
            tokio::task::yield_now().await;
        }
    };
    world.dynamodb.hold("TransactGetItems", look.clone());
    world.vercel.script([Answer::gated(answer, 204), Answer::Status(403)]);
    let request = async {
        while !world.dynamodb.is_holding() {
            tokio::task::yield_now().await;
        }
        world.dynamodb.hold("UpdateItem", mark.clone());
        look.add_permits(1);
        calls(1).await;
        // The sweep is about to mark; its lease is over.
        world.clock.advance(Duration::from_mins(3));
        world.dynamodb.hold("TransactWriteItems", begin.clone());
        let meanwhile = async {
            calls(2).await;
            // The request has looked, and is about to begin.
            mark.add_permits(1);
            while world.vercel.heard().len() < 4 {
                tokio::task::yield_now().await;
            }
            begin.add_permits(1);
        };
        let reply = join(world.delete(C1).key("k2").send(), meanwhile).await.0;
        answer.add_permits(1);
        reply
    };
    let (_, reply) = join(world.sweep(), request).await;
    assert_eq!(reply.status, 204, "{:?}", reply.body);
    assert_eq!(world.vercel.heard().len(), 5);
}
