//! The finalization of uninstalled installations at Vercel (G3).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use teardown::app::HostTime;
use teardown::store::admin::operations::Settled;
use tokio::sync::Semaphore;

use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{INSTALLATION, World, id};

const FINALIZE: &str = "POST /v1/installations/icfg_1/billing/finalize";
const HOUR: Duration = Duration::from_hours(1);

/// A `World` with an installation that is uninstalled and purged. The installation's invoices are open.
async fn world() -> World {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world.reopen("icfg_1").await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": false }))
    );
    world.sweep_all().await;
    assert!(world.vercel.received().is_empty());
    world
}

async fn is_finalized(world: &World) -> bool {
    let items = world.items("icfg_1").await;
    let finalized = items["#installation"]["finalized"] == true;
    assert_eq!(items.contains_key("#token"), !finalized, "the token is kept until then");
    assert_eq!(items.contains_key("work#finalize"), !finalized);
    finalized
}

/// D6, G3: after an operator settles the invoices, the next sweep finalizes the installation with its access
/// token, and erases the token.
#[tokio::test]
async fn a_settled_installation_is_finalized_by_the_next_sweep() {
    let world = world().await;
    assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), Some(Settled::Due));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(is_finalized(&world).await);
    let received = world.vercel.received();
    assert_eq!((received.len(), received[0].line.as_str()), (1, FINALIZE));
    assert_eq!(received[0].authorization, "Bearer token-of-icfg_1");
    assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), Some(Settled::Finalized));
    world.clock.advance(25 * HOUR);
    world.sweep_all().await;
    assert_eq!(world.vercel.received().len(), 1);
}

/// G3: if an operator settles the invoices of an active or unknown installation, the result says whether it
/// is active or unknown.
#[tokio::test]
async fn settling_reports_its_result() {
    let world = World::new().await;
    assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), None);
    assert!(world.all().await.is_empty());
    world.install("icfg_1", &[]).await;
    assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), Some(Settled::Active));
    // The settlement ignores a finalization job of an active installation, whoever wrote the job.
    world.put(json!({ "pk": "installation#icfg_1", "sk": "work#finalize" })).await;
    assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), Some(Settled::Active));
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": true }))
    );
}

/// G3: if the invoices are never settled, the sweep finalizes the installation 24 h less `FINALIZE_MARGIN`
/// after the uninstall, and not earlier.
#[tokio::test]
async fn an_installation_is_finalized_before_the_24_hours_are_over() {
    let world = world().await;
    world.clock.advance(21 * HOUR + Duration::from_mins(59));
    assert_eq!(world.sweep().await, [0; 4]);
    world.clock.advance(Duration::from_mins(2));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(is_finalized(&world).await);
}

/// G3: if Vercel answers 204, 404 or 410, the finalization is done.
#[tokio::test]
async fn a_204_or_404_ends_the_finalization() {
    for status in [204, 404, 410] {
        let world = world().await;
        world.clock.advance(22 * HOUR);
        world.vercel.script([Answer::Status(status)]);
        assert_eq!(world.sweep().await, [1, 1, 0, 0], "{status}");
        assert!(is_finalized(&world).await);
    }
}

/// G3: if Vercel answers with another status than 204, 404 or 410, the finalization is retried within 10
/// minutes. When Vercel's 24 hours for the final invoice are over, 401 and 403 also mean that the
/// finalization is done.
#[tokio::test]
async fn after_other_answers_the_finalization_is_retried() {
    for status in [200, 400, 401, 403, 409, 429, 500] {
        let world = world().await;
        world.clock.advance(22 * HOUR);
        world.vercel.lasting(Answer::Status(status));
        let mut attempts = 0;
        while attempts < 12 {
            let [claimed, _, retried, _] = world.sweep().await;
            assert_eq!(claimed, retried, "{status}");
            attempts += claimed;
            world.clock.advance(Duration::from_mins(10));
        }
        assert!(!is_finalized(&world).await);
        let pending = &world.items("icfg_1").await["work#finalize"];
        let error = format!("Vercel answered {status}: as scripted (scripted)");
        assert_eq!((&pending["attempts"], &pending["lastError"]), (&json!(12), &json!(error)));
        world.clock.advance(HOUR);
        let done = u64::from([401, 403].contains(&status));
        assert_eq!(world.sweep().await, [1, done, 1 - done, 0], "{status}, after 24 h");
        assert_eq!(is_finalized(&world).await, done == 1);
        world.vercel.lasting(Answer::Honest);
        world.clock.advance(Duration::from_mins(10));
        assert_eq!(world.sweep().await, [1 - done, 1 - done, 0, 0]);
        assert!(is_finalized(&world).await);
    }
}

/// G3: if no token is stored, the installation is finalized 24 h less `FINALIZE_MARGIN` after the uninstall,
/// without a call to Vercel.
#[tokio::test]
async fn without_a_token_vercel_is_not_called() {
    let world = World::new().await;
    world.install("icfg_1", &[]).await;
    assert_eq!(
        world.delete(INSTALLATION).send().await.whole(),
        (200, json!({ "finalized": false }))
    );
    world.sweep_all().await;
    world.clock.advance(22 * HOUR);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(is_finalized_without_token(&world).await && world.vercel.received().is_empty());
}

async fn is_finalized_without_token(world: &World) -> bool {
    world.items("icfg_1").await["#installation"]["state"] == "finalized"
}

/// G4: if the invoices are settled while one worker runs the finalization, no second worker claims the
/// finalization.
#[tokio::test]
async fn settling_does_not_take_a_workers_lease() {
    let world = world().await;
    world.clock.advance(22 * HOUR);
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.script([Answer::gated(&gate, 204)]);
    let meanwhile = async {
        until(|| !world.vercel.received().is_empty()).await;
        assert_eq!(world.store.settle_invoices(&id("icfg_1")).await.unwrap(), Some(Settled::Due));
        assert_eq!(world.sweep().await, [0; 4]);
        gate.add_permits(1);
    };
    let (report, ()) = tokio::join!(world.sweep(), meanwhile);
    assert_eq!((report, world.vercel.received().len()), ([1, 1, 0, 0], 1));
    assert!(is_finalized(&world).await);
}

/// F5: a worker that has lost its lease does not end the finalization, even if Vercel has answered the
/// worker's call. The next worker that claims the finalization calls Vercel again.
#[tokio::test]
async fn a_worker_without_its_lease_does_not_end_the_finalization() {
    let world = world().await;
    world.store.settle_invoices(&id("icfg_1")).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    world.dynamodb.hold("TransactWriteItems", gate.clone());
    let process = world.process().await;
    let meanwhile = async {
        // Vercel has finalized the installation, and the worker is about to write that to the table.
        until(|| world.dynamodb.is_holding()).await;
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        world.vercel.script([Answer::Status(418)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        let before = world.items("icfg_1").await;
        gate.add_permits(1);
        before
    };
    let (_, before) = tokio::join!(process.sweep(HostTime::default()), meanwhile);
    assert_eq!(world.items("icfg_1").await, before);
    assert!(!is_finalized(&world).await);
    world.clock.advance(HOUR);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    assert!(is_finalized(&world).await);
}

/// G3: if invoices are settled at the moment at which an uninstall commits, the uninstall's finalization is
/// due immediately.
#[tokio::test]
async fn settling_notices_an_uninstall_at_the_same_moment() {
    let world = crate::support::world::World::new().await;
    let store = world.proxied().await;
    let gates: Vec<_> =
        (0..3).map(|_| std::sync::Arc::new(tokio::sync::Semaphore::new(0))).collect();
    world.dynamodb.hold("TransactWriteItems", gates[0].clone());
    let uninstall = async {
        // When the settlement sends its third transaction, it has found the installation unknown.
        for at in 0..3 {
            until(|| world.dynamodb.calls() > at).await;
            if at < 2 {
                world.dynamodb.hold("TransactWriteItems", gates[at + 1].clone());
                gates[at].add_permits(1);
            }
        }
        assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
        gates[2].add_permits(1);
    };
    let id = crate::support::world::id("icfg_1");
    let (settled, ()) = futures_util::future::join(store.settle_invoices(&id), uninstall).await;
    assert_eq!(settled.unwrap(), Some(Settled::Due));
}
