//! A configuration's deletion when several things go wrong at once: what is unclear stays so, what is
//! not stays clear, and what Vercel said is neither lost nor made up (E2, E3, F5).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::dynamodb::Fault;
use crate::outside::Answer;
use crate::world::{ACCOUNT, World};

const C1: &str = "/v1/integrations/configuration/icfg_1";
const I1: &str = "/v1/installations/icfg_1";

async fn world() -> World {
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world
}

/// A world with an intent that is put off: Vercel was busy, and has done nothing.
async fn put_off() -> World {
    let world = world().await;
    world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
    assert_eq!(world.delete(C1).key("k1").send().await.status, 503);
    assert_eq!(world.items("icfg_1").await["work#configuration"]["unclear"], false);
    world.clock.advance(Duration::from_secs(16));
    world
}

async fn state(world: &World) -> Value {
    world.items("icfg_1").await["#installation"]["state"].clone()
}

/// E2: a refusal after an attempt without a definite answer is Vercel's word, and answered so; that
/// the token may be dead is kept in mind: what it refuses then is gone.
#[tokio::test]
async fn a_refusal_does_not_make_an_unclear_attempt_clear() {
    for refusal in [400, 409] {
        let world = world().await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(refusal)]);
        let refused = world.delete(C1).key("k1").send().await;
        assert_eq!(refused.error(), (409, "upstream_refused"));
        assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
        assert_eq!(world.delete(C1).key("k1").send().await.status, 204, "403 means gone");
        assert!(world.vercel.is_gone("icfg_1"));
    }
}

/// E2, E3: what was never asked is not unclear: the next refusal is one.
#[tokio::test]
async fn what_was_not_asked_is_not_unclear() {
    // The intent's answer is lost, and what comes after.
    let world = world().await;
    world.dynamodb.lasting(Fault::ResetAfter);
    assert_eq!(world.delete(C1).key("k1").send().await.error(), (503, "store_unavailable"));
    world.dynamodb.lasting(Fault::None);
    world.clock.advance(Duration::from_secs(31));
    assert!(world.vercel.heard().is_empty());
    world.vercel.script([Answer::Status(403)]);
    assert_eq!(world.delete(C1).key("k1").send().await.error(), (409, "upstream_refused"));
    assert_eq!(state(&world).await, "active");

    // The sweep's lease: its answer is lost; or the table can't be read after it.
    for operation in ["UpdateItem", "TransactGetItems"] {
        let world = put_off().await;
        let faults = if operation == "UpdateItem" { 1 } else { 100 };
        for _ in 0..faults {
            let fault =
                if operation == "UpdateItem" { Fault::ResetAfter } else { Fault::ResetBefore };
            world.dynamodb.once(operation, fault);
        }
        world.sweep().await;
        world.dynamodb.forget();
        assert_eq!(world.vercel.heard().len(), 3, "{operation}: it was not asked again");
        world.clock.advance(Duration::from_mins(3));
        world.vercel.script([Answer::Status(403)]);
        assert_eq!(world.sweep().await, [1, 1, 0, 0], "{operation}: refused, and withdrawn");
        assert_eq!(state(&world).await, "active", "{operation}");
        assert!(!world.vercel.is_gone("icfg_1"));
    }
}

/// F5: what Vercel said is gone is committed by whoever heard it, also when somebody else had the
/// lease meanwhile and was refused.
#[tokio::test]
async fn a_late_204_is_not_thrown_away() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::Gate(gate.clone(), 204), Answer::Status(409)]);
    // Dead from the 204 on.
    world.vercel.lasting(Answer::Status(403));
    let second = async {
        while world.vercel.heard().is_empty() {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_secs(31));
        let second = world.delete(C1).key("k2").send().await;
        gate.add_permits(1);
        second
    };
    let (first, second) = join(world.delete(C1).key("k1").send(), second).await;
    assert_eq!(second.error(), (409, "upstream_refused"));
    assert_eq!(first.status, 204);
    assert_eq!(world.delete(C1).key("k2").send().await.status, 204);
}

/// E3: invoices that are open again stand in the way again, of a request and of the sweep, which
/// withdraws the intent; unless Vercel's side may be gone already.
#[tokio::test]
async fn invoices_that_are_opened_again_stand_in_the_way() {
    let world = put_off().await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete(C1).key("k1").send().await.error(), (409, "invoices_open"));
    let uninstall = world.delete(I1).send().await;
    assert_eq!(uninstall.whole(), (200, json!({ "finalized": false })));
    world.sweep_all().await;
    assert_eq!(world.vercel.heard().len(), 3, "it was not asked again");
    let items = world.items("icfg_1").await;
    assert!(items.contains_key("#token") && !items.contains_key("work#configuration"), "{items:?}");

    let world = self::world().await;
    world.vercel.script([Answer::EffectThenReset, Answer::Status(500), Answer::Status(500)]);
    assert_eq!(world.delete(C1).key("k1").send().await.status, 503);
    world.reopen("icfg_1").await;
    assert_eq!(world.delete(C1).key("k1").send().await.status, 204, "it is gone at Vercel");
}

/// F4, E3: of two that begin at once one does, and what has changed since it was seen is seen.
#[tokio::test]
async fn who_begins_second_sees_it() {
    let world = world().await;
    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    world.dynamodb.hold("TransactWriteItems", begun.clone());
    world.vercel.script([Answer::Gate(gate.clone(), 204)]);
    let before = world.dynamodb.calls();
    let first = async {
        let reply = world.delete(C1).key("k1").send().await;
        gate.add_permits(1);
        reply
    };
    let second = async {
        while world.dynamodb.calls() < before + 2 {
            tokio::task::yield_now().await;
        }
        let second = world.delete(C1).key("k2").send();
        let open = async {
            while world.vercel.heard().is_empty() {
                tokio::task::yield_now().await;
            }
            begun.add_permits(1);
        };
        join(second, open).await.0
    };
    let (first, second) = join(first, second).await;
    assert_eq!(first.error(), (409, "request_in_progress"));
    assert_eq!((second.status, world.vercel.heard().len()), (204, 1));

    let world = self::world().await;
    let begun = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", begun.clone());
    let before = world.dynamodb.calls();
    let meanwhile = async {
        while world.dynamodb.calls() < before + 2 {
            tokio::task::yield_now().await;
        }
        world.reopen("icfg_1").await;
        begun.add_permits(1);
    };
    let (reply, ()) = join(world.delete(C1).key("k1").send(), meanwhile).await;
    assert_eq!(reply.error(), (409, "invoices_open"));
    assert!(world.vercel.heard().is_empty());
}

/// E3: a token that is registered while our side alone was about to go is something to ask with.
#[tokio::test]
async fn a_token_that_comes_meanwhile_is_asked_with() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    world.settle("icfg_1").await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let before = world.dynamodb.calls();
    let meanwhile = async {
        while world.dynamodb.calls() < before + 2 {
            tokio::task::yield_now().await;
        }
        let line = json!({ "id": "icfg_1", "accountId": ACCOUNT, "accessToken": "new" });
        world.register(json!({ "installation": line })).await;
        gate.add_permits(1);
    };
    let (reply, ()) = join(world.delete(C1).send(), meanwhile).await;
    assert_eq!((reply.status, world.vercel.is_gone("icfg_1")), (204, true));
    assert_eq!(world.vercel.heard()[0].authorization, "Bearer new");
}

/// E3: a refusal whose withdrawal's answer is lost is answered once, and Vercel asked once.
#[tokio::test]
async fn a_lost_answer_to_the_withdrawal_changes_nothing() {
    let world = world().await;
    world.vercel.script([Answer::Status(409)]);
    world.dynamodb.script([Fault::None, Fault::ResetAfter]);
    assert_eq!(world.delete(C1).key("k1").send().await.error(), (409, "upstream_refused"));
    assert_eq!(world.vercel.heard().len(), 1);
    assert_eq!(world.sort_keys("icfg_1").await.len(), 6, "nothing is intended any more");
}

/// F5, F6: a fault at any call of a configuration's deletion is overcome, and so is a lost answer.
#[tokio::test]
async fn a_fault_at_any_call_is_overcome() {
    for operation in ["TransactGetItems", "TransactWriteItems", "UpdateItem"] {
        for fault in [Fault::Throttle, Fault::ServerError, Fault::ResetBefore, Fault::ResetAfter] {
            let world = world().await;
            world.dynamodb.once(operation, fault);
            world.dynamodb.once(operation, fault);
            let reply = world.delete(C1).key("k1").send().await;
            assert_eq!((reply.status, reply.calls), (204, 6), "{operation} {fault:?}");
            assert_eq!(world.vercel.heard().len(), 1, "{operation} {fault:?}");
        }
    }
}

/// E3, F4: an installation that changes while Vercel is asked does not make a request wait for its own
/// lease: it goes by what is there then.
#[tokio::test]
async fn its_own_lease_stands_in_no_requests_way() {
    for settled in [true, false] {
        let world = world().await;
        let gate = Arc::new(Semaphore::new(0));
        world.vercel.script([Answer::EffectThenReset, Answer::Gate(gate.clone(), 409)]);
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
    world.vercel.script([Answer::Gate(gate.clone(), 503), Answer::Status(409)]);
    let meanwhile = async {
        while world.vercel.heard().is_empty() {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_secs(31));
        let withdrawn = world.delete(C1).key("k2").send().await;
        assert_eq!(withdrawn.error(), (409, "upstream_refused"));
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

/// F5: whoever is late with an intent that was withdrawn does not withdraw a later one.
#[tokio::test]
async fn a_late_refusal_withdraws_no_other_intent() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::Gate(gate.clone(), 409), Answer::Status(409)]);
    let meanwhile = async {
        while world.vercel.heard().is_empty() {
            tokio::task::yield_now().await;
        }
        world.clock.advance(Duration::from_secs(31));
        let withdrawn = world.delete(C1).key("k2").send().await;
        assert_eq!(withdrawn.error(), (409, "upstream_refused"));
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
    world.vercel.script([Answer::Gate(answer.clone(), 429), busy(), busy()]);
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
    world.vercel.script([Answer::Gate(answer.clone(), 204), Answer::Status(403)]);
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
