//! A configuration's deletion when several things go wrong at the same time: no doubt and no answer of
//! Vercel's is lost or made up (E2, E3, F5).

mod doubt;
mod late;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::{Value, json};
use teardown::limits::Limits;
use tokio::sync::Semaphore;

use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{ACCOUNT, CONFIGURATION, INSTALLATION, World, limits};

async fn world() -> World {
    world_within(limits()).await
}

async fn world_within(limits: Limits) -> World {
    let world = World::announcing_within(limits).await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world
}

/// The tests' time limits, with one second to wait for DynamoDB.
fn a_second() -> Limits {
    Limits { dynamodb: Duration::from_secs(1), ..limits() }
}

/// A test's world with a configuration's deletion that waits for its retry. Vercel was busy, and has deleted
/// nothing.
async fn awaiting_retry() -> World {
    awaiting_retry_within(limits()).await
}

async fn awaiting_retry_within(limits: Limits) -> World {
    let world = world_within(limits).await;
    world.vercel.script([Answer::Status(429), Answer::Status(429), Answer::Status(429)]);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
    assert_eq!(world.items("icfg_1").await["work#configuration"]["inDoubt"], false);
    world.clock.advance(Duration::from_secs(16));
    world
}

/// Waits until Vercel has been called `times` times, and moves the clock past the lease's end. After the
/// lease's end, Vercel refuses another request, which withdraws the intent.
async fn another_is_refused(world: &World, times: usize) {
    until(|| world.vercel.received().len() >= times).await;
    world.clock.advance(Duration::from_mins(3));
    let withdrawn = world.delete(CONFIGURATION).key("k2").send().await;
    assert_eq!(withdrawn.error(), (409, "upstream_refused"));
}

async fn state(world: &World) -> Value {
    world.items("icfg_1").await["#installation"]["state"].clone()
}

/// E2: if an attempt got no definite answer and Vercel refuses the next attempt, the request is answered 409.
/// The doubt stays stored after such a refusal, so Vercel's 403 to the next request means that the
/// configuration is gone.
#[tokio::test]
async fn a_refusal_does_not_clear_an_attempt_in_doubt() {
    for refusal in [400, 409] {
        let world = world().await;
        world.vercel.script([Answer::EffectThenReset, Answer::Status(refusal)]);
        let refused = world.delete(CONFIGURATION).key("k1").send().await;
        assert_eq!(refused.error(), (409, "upstream_refused"));
        assert!(!world.items("icfg_1").await.contains_key("work#configuration"));
        assert_eq!(
            world.delete(CONFIGURATION).key("k1").send().await.status,
            204,
            "403 means gone"
        );
        assert!(world.vercel.is_gone("icfg_1"));
    }
}

/// E2, E3: a call to Vercel that was never sent leaves no doubt, so a later 403 is a refusal.
#[tokio::test]
async fn a_call_that_was_not_sent_leaves_no_doubt() {
    // DynamoDB's reply to the write of the intent is lost, and so are all later replies.
    let world = world_within(a_second()).await;
    world.dynamodb.lasting(Fault::ResetAfter);
    assert_eq!(
        world.delete(CONFIGURATION).key("k1").send().await.error(),
        (503, "store_unavailable")
    );
    world.dynamodb.lasting(Fault::None);
    world.clock.advance(Duration::from_secs(31));
    assert!(world.vercel.received().is_empty());
    world.vercel.script([Answer::Status(403)]);
    assert_eq!(
        world.delete(CONFIGURATION).key("k1").send().await.error(),
        (409, "upstream_refused")
    );
    assert_eq!(state(&world).await, "active");

    // DynamoDB's reply to the sweep's claim is lost, or the sweep cannot read the table after its claim.
    for operation in ["UpdateItem", "TransactGetItems"] {
        let world = awaiting_retry_within(a_second()).await;
        let faults = if operation == "UpdateItem" { 1 } else { 100 };
        for _ in 0..faults {
            let fault =
                if operation == "UpdateItem" { Fault::ResetAfter } else { Fault::ResetBefore };
            world.dynamodb.once(operation, fault);
        }
        world.sweep().await;
        world.dynamodb.forget();
        assert_eq!(world.vercel.received().len(), 3, "{operation}: it was not asked again");
        world.clock.advance(Duration::from_mins(3));
        world.vercel.script([Answer::Status(403)]);
        assert_eq!(world.sweep().await, [1, 1, 0, 0], "{operation}: refused, and withdrawn");
        assert_eq!(state(&world).await, "active", "{operation}");
        assert!(!world.vercel.is_gone("icfg_1"));
    }
}

/// F5: a request that got 204 from Vercel commits the deletion, even if another request had the lease at that
/// time and was refused.
#[tokio::test]
async fn a_late_204_is_committed() {
    let world = world().await;
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 204), Answer::Status(409)]);
    // After Vercel's 204, the access token is invalid.
    world.vercel.lasting(Answer::Status(403));
    let second = async {
        until(|| !world.vercel.received().is_empty()).await;
        world.clock.advance(Duration::from_secs(31));
        let second = world.delete(CONFIGURATION).key("k2").send().await;
        gate.add_permits(1);
        second
    };
    let (first, second) = join(world.delete(CONFIGURATION).key("k1").send(), second).await;
    assert_eq!(second.error(), (409, "upstream_refused"));
    assert_eq!(first.status, 204);
    assert_eq!(world.delete(CONFIGURATION).key("k2").send().await.status, 204);
}

/// E3: if invoices are open again, a new request is refused, and the sweep withdraws the intent. If the
/// configuration may be gone at Vercel already, the request succeeds in spite of open invoices.
#[tokio::test]
async fn reopened_invoices_refuse_the_deletion() {
    let world = awaiting_retry().await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.error(), (409, "invoices_open"));
    let uninstall = world.delete(INSTALLATION).send().await;
    assert_eq!(uninstall.whole(), (200, json!({ "finalized": false })));
    world.sweep_all().await;
    assert_eq!(world.vercel.received().len(), 3, "it was not asked again");
    let items = world.items("icfg_1").await;
    assert!(items.contains_key("#token") && !items.contains_key("work#configuration"), "{items:?}");

    let world = self::world().await;
    world.vercel.script([Answer::EffectThenReset, Answer::Status(500), Answer::Status(500)]);
    assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
    world.reopen("icfg_1").await;
    assert_eq!(
        world.delete(CONFIGURATION).key("k1").send().await.status,
        204,
        "it is gone at Vercel"
    );
}

/// F4, E3: if two requests begin at the same time, one writes its intent, and the other is refused. A request
/// also notices if the installation has changed since the request read the table.
#[tokio::test]
async fn of_two_requests_at_once_one_begins() {
    let world = world().await;
    let (begun, gate) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    world.dynamodb.hold("TransactWriteItems", begun.clone());
    world.vercel.script([Answer::gated(&gate, 204)]);
    let before = world.dynamodb.calls();
    let first = async {
        let reply = world.delete(CONFIGURATION).key("k1").send().await;
        gate.add_permits(1);
        reply
    };
    let second = async {
        until(|| world.dynamodb.calls() >= before + 2).await;
        let second = world.delete(CONFIGURATION).key("k2").send();
        let open = async {
            until(|| !world.vercel.received().is_empty()).await;
            begun.add_permits(1);
        };
        join(second, open).await.0
    };
    let (first, second) = join(first, second).await;
    assert_eq!(first.error(), (409, "request_in_progress"));
    assert_eq!((second.status, world.vercel.received().len()), (204, 1));

    let world = self::world().await;
    let begun = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", begun.clone());
    let before = world.dynamodb.calls();
    let meanwhile = async {
        until(|| world.dynamodb.calls() >= before + 2).await;
        world.reopen("icfg_1").await;
        begun.add_permits(1);
    };
    let (reply, ()) = join(world.delete(CONFIGURATION).key("k1").send(), meanwhile).await;
    assert_eq!(reply.error(), (409, "invoices_open"));
    assert!(world.vercel.received().is_empty());
}

/// D6, E3: if a token is registered while a request is about to delete the installation in the table alone,
/// the request calls Vercel with this token.
#[tokio::test]
async fn a_token_registered_meanwhile_is_used() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    world.settle("icfg_1").await;
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let before = world.dynamodb.calls();
    let meanwhile = async {
        until(|| world.dynamodb.calls() >= before + 2).await;
        let line = json!({ "id": "icfg_1", "accountId": ACCOUNT, "accessToken": "new" });
        world.register(json!({ "installation": line })).await;
        gate.add_permits(1);
    };
    let (reply, ()) = join(world.delete(CONFIGURATION).send(), meanwhile).await;
    assert_eq!((reply.status, world.vercel.is_gone("icfg_1")), (204, true));
    assert_eq!(world.vercel.received()[0].authorization, "Bearer new");
    assert_eq!(world.dynamodb.refusals_with_a_token(), 0, "no condition returns it (D6)");
}

/// E3: if DynamoDB's reply to the intent's withdrawal is lost, the request is still answered with Vercel's
/// refusal, and Vercel is called once.
#[tokio::test]
async fn a_lost_answer_to_the_withdrawal_changes_nothing() {
    let world = world().await;
    world.vercel.script([Answer::Status(409)]);
    world.dynamodb.script([Fault::None, Fault::ResetAfter]);
    assert_eq!(
        world.delete(CONFIGURATION).key("k1").send().await.error(),
        (409, "upstream_refused")
    );
    assert_eq!(world.vercel.received().len(), 1);
    assert_eq!(world.sort_keys("icfg_1").await.len(), 6, "nothing is intended any more");
}

/// F5, F6: if a call to DynamoDB fails, or its reply is lost, a configuration's deletion still succeeds, with
/// one call to Vercel.
#[tokio::test]
async fn a_fault_at_any_call_is_overcome() {
    for operation in ["TransactGetItems", "TransactWriteItems", "UpdateItem"] {
        for fault in [
            Fault::Throttle,
            Fault::ServerError,
            Fault::Conflict,
            Fault::ResetBefore,
            Fault::ResetAfter,
        ] {
            let world = world().await;
            world.dynamodb.once(operation, fault);
            world.dynamodb.once(operation, fault);
            let reply = world.delete(CONFIGURATION).key("k1").send().await;
            assert_eq!((reply.status, reply.calls), (204, 6), "{operation} {fault:?}");
            assert_eq!(world.vercel.received().len(), 1, "{operation} {fault:?}");
        }
    }
}
