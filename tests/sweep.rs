//! The sweep: who may call it, and what happens if many sweeps run at the same time (B1, G4).

mod late;

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::app::HostTime;
use tokio::sync::Semaphore;

use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::{CRON_SECRET, INSTALLATION, World, user};

/// A test's world in which the announcements of this many resources are due.
async fn world(announcements: usize) -> World {
    let world = World::announcing().await;
    let resources: Vec<_> = (0..announcements).map(|n| format!("db_{n}")).collect();
    world.install("icfg_1", &resources.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let paths: Vec<_> =
        resources.iter().map(|id| format!("{INSTALLATION}/resources/{id}")).collect();
    let replies = join_all(paths.iter().map(|path| world.delete(path).send())).await;
    assert!(replies.iter().all(|reply| reply.status == 204));
    world
}

/// B1: only a `GET` with the sweep's secret starts the sweep. A request with a token of Vercel's does not
/// start the sweep.
#[tokio::test]
async fn only_the_scheduler_sweeps() {
    let world = world(1).await;
    let token = format!("Bearer {}", world.token(&user("icfg_1")));
    let right = format!("Bearer {CRON_SECRET}");
    let wrong = [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer cr0n-s3cre"),
        Some("Bearer cr0n-s3crets"),
        Some("Bearer  cr0n-s3cret"),
        Some("Basic cr0n-s3cret"),
        Some(CRON_SECRET),
        Some(&token),
    ];
    for value in wrong {
        let call = world.request("GET", "/api/sweep");
        let call = value.into_iter().fold(call, |call, it| call.header("authorization", it));
        let reply = call.send().await;
        assert_eq!((reply.error(), reply.calls), ((403, "invalid_token"), 0), "{value:?}");
        assert!(!reply.message().contains(CRON_SECRET));
    }
    let twice = world.request("GET", "/api/sweep").header("authorization", &right);
    let twice = twice.header("authorization", &right).send().await;
    assert_eq!(twice.error(), (403, "invalid_token"));
    for method in ["POST", "DELETE", "PUT"] {
        let call = world.request(method, "/api/sweep").header("authorization", &right);
        let reply = call.send().await;
        assert_eq!(reply.error(), (405, "method_not_allowed"));
        assert_eq!(reply.headers["allow"], "GET");
    }
    assert!(world.provider.received().is_empty());
    let call = world.request("GET", "/api/sweep?x=1");
    let reply = call.header("authorization", &format!("bearer {CRON_SECRET}")).send().await;
    let report = json!({ "claimed": 1, "done": 1, "retried": 0, "parked": 0 });
    assert_eq!(reply.whole(), (200, report));
}

/// G4: sweeps that run at the same time share the due jobs, and run no job twice.
#[tokio::test]
async fn many_sweeps_share_what_is_due() {
    let world = world(60).await;
    let processes = join_all((0..4).map(|_| world.process())).await;
    let time = HostTime(Duration::from_secs(50));
    let responses = join_all(processes.iter().map(|process| process.sweep(time))).await;
    let mut sum = [0; 4];
    for response in responses {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let report: Value = serde_json::from_slice(&body).unwrap();
        for (sum, name) in sum.iter_mut().zip(["claimed", "done", "retried", "parked"]) {
            *sum += report[name].as_u64().unwrap();
        }
    }
    assert_eq!(sum, [60, 60, 0, 0]);
    assert_eq!((world.provider.received().len(), world.provider.ids().len()), (60, 60));
}

/// G4: when a sweep's time is over, it claims no more jobs, and no job is lost.
#[tokio::test]
async fn a_sweep_ends_in_time() {
    let world = world(3).await;
    let response = world.process().await.sweep(HostTime(Duration::ZERO)).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"claimed":0,"done":0,"retried":0,"parked":0}"#);
    assert_eq!(world.sweep().await, [3, 3, 0, 0]);
}

/// G4: a malformed job does not delay the other jobs.
#[tokio::test]
async fn a_malformed_job_delays_no_other_job() {
    let world = world(3).await;
    for (sk, extra) in [
        ("work#announce#resource#odd", json!({})),
        ("work#purge", json!({ "fence": 0 })),
        ("work#nonsense", json!({ "fence": 0 })),
    ] {
        let mut item = json!({
            "pk": "installation#icfg_odd", "sk": sk, "dueShard": "1", "dueAt": 1, "attempts": 0,
        });
        item.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.put(item).await;
    }
    assert_eq!(world.sweep().await, [4, 3, 1, 0]);
    assert_eq!(world.provider.received().len(), 3);
}

/// E3, G1: if an intent does not say who requested the deletion, it is kept and retried. The sweep drops no
/// malformed intent.
#[tokio::test]
async fn a_malformed_intent_is_kept() {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "work#configuration", "dueShard": "0", "dueAt": 1,
            "attempts": 0, "fence": 1, "kind": "configuration", "installationId": "icfg_1",
        }))
        .await;
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    let intent = &world.items("icfg_1").await["work#configuration"];
    assert_eq!(intent["lastError"], "its item is malformed");
    assert!(world.vercel.received().is_empty());
}

/// G2: if DynamoDB leaves some writes of a batch undone, the purge sends these writes again.
#[tokio::test]
async fn an_unprocessed_batch_is_repeated() {
    let world = World::new().await;
    world.install_whole("icfg_1", &["db_1", "db_2"]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    for _ in 0..3 {
        world.dynamodb.once("BatchWriteItem", Fault::Unprocessed);
    }
    world.sweep_all().await;
    assert_eq!(world.sort_keys("icfg_1").await, ["#installation", "receipt#installation"]);
}

/// G4: if a sweep cannot read a whole page of jobs, this does not delay the jobs on the next pages.
#[tokio::test]
async fn a_page_of_malformed_jobs_delays_no_other_job() {
    let world = world(1).await;
    let shard = world.items("icfg_1").await["work#announce#resource#db_0"]["dueShard"].clone();
    let odd = |n| {
        json!({
            "pk": "installation#icfg_odd", "sk": format!("work#next-version#{n}"),
            "dueShard": shard, "dueAt": 1, "attempts": 0, "fence": 0,
        })
    };
    world.put_all((0..130).map(odd).collect()).await;
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// G4: if an attempt takes longer than the host's time, the sweep aborts it and counts it as a failure.
#[tokio::test]
async fn no_attempt_outlives_the_sweep() {
    let world = world(1).await;
    world.provider.lasting(Answer::Silence);
    let began = Instant::now();
    // This time is long enough to begin the attempt on a busy machine, and shorter than the attempt.
    let response = world.process().await.sweep(HostTime(Duration::from_secs(2))).await;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], br#"{"claimed":1,"done":0,"retried":1,"parked":0}"#);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let work = &world.items("icfg_1").await["work#announce#resource#db_0"];
    assert_eq!(work["lastError"], "the host's time was over");
    assert_eq!(work["failures"], 1);
}

/// G3, G4: a sweep calls Vercel before it calls the provider, so a provider that hangs does not delay the
/// calls to Vercel.
#[tokio::test]
async fn a_finalization_waits_for_no_provider() {
    let world = world(40).await;
    world.install_whole("icfg_2", &[]).await;
    world.reopen("icfg_2").await;
    assert_eq!(world.delete("/v1/installations/icfg_2").send().await.status, 200);
    world.provider.lasting(Answer::Silence);
    world.clock.advance(Duration::from_hours(23));
    let response = world.process().await.sweep(HostTime(Duration::from_secs(1))).await;
    assert_eq!(response.status(), 200);
    assert!(world.vercel.is_finalized("icfg_2"));
}

/// How many jobs a sweep runs at the same time.
const AT_A_TIME: usize = 16;

/// The number of finalizations for which a sweep of this length calls Vercel. There is one more due
/// finalization than the sweep runs at the same time, and Vercel answers only when the time for urgent jobs
/// is over. `None` if the machine is so busy that the time for urgent jobs is over before Vercel is called.
async fn finalized_within(time: Duration) -> Option<usize> {
    let world = World::new().await;
    for number in 0..=AT_A_TIME {
        let id = format!("icfg_{number}");
        world.install_whole(&id, &[]).await;
        world.reopen(&id).await;
        assert_eq!(world.delete(&format!("/v1/installations/{id}")).send().await.status, 200);
    }
    world.sweep_all().await;
    world.clock.advance(Duration::from_hours(23));
    let gate = Arc::new(Semaphore::new(0));
    world.vercel.lasting(Answer::gated(&gate, 204));
    let process = world.process().await;
    let mut sweep = pin!(process.sweep(HostTime(time)));
    tokio::select! {
        _ = &mut sweep => return None,
        () = until(|| !world.vercel.received().is_empty()) => {}
    }
    // When Vercel is called, the sweep has begun. The sweep claims jobs for a quarter of its time, and urgent
    // jobs for half of that quarter.
    let called = Instant::now();
    let half_is_over = async {
        until(|| called.elapsed() >= time / 8).await;
        gate.add_permits(2 * AT_A_TIME);
    };
    tokio::join!(sweep, half_is_over);
    Some(world.vercel.received().len())
}

/// G1, G4: jobs that call Vercel get at most half of a sweep's time, even if many such jobs are due and
/// Vercel is slow. The rest of the sweep's time is for other jobs.
#[tokio::test]
async fn calls_to_vercel_get_half_of_the_time() {
    let mut time = Duration::from_secs(1);
    let finalized = loop {
        match Box::pin(finalized_within(time)).await {
            Some(finalized) => break finalized,
            None => time *= 2,
        }
        assert!(time < Duration::from_mins(1), "a sweep calls Vercel for no urgent job");
    };
    assert!((1..=AT_A_TIME).contains(&finalized), "{finalized}");
}

/// F5, G4: if a sweep's calls to DynamoDB fail, this sweep or a later sweep still ends every job.
#[tokio::test]
async fn a_fault_at_any_call_is_overcome() {
    for operation in ["Query", "UpdateItem", "DeleteItem", "GetItem", "BatchWriteItem"] {
        let conflict = ["UpdateItem", "DeleteItem"].contains(&operation).then_some(Fault::Conflict);
        let faults = [Fault::Throttle, Fault::ServerError, Fault::ResetBefore, Fault::ResetAfter];
        for fault in faults.into_iter().chain(conflict) {
            let world = World::announcing().await;
            world.install_whole("icfg_1", &["db_1"]).await;
            assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
            for _ in 0..3 {
                world.dynamodb.once(operation, fault);
            }
            world.sweep_all().await;
            // If DynamoDB did not acknowledge the claim of a job, the job is due again when its lease ends.
            world.clock.advance(Duration::from_mins(3));
            world.sweep_all().await;
            let keys = ["#installation", "receipt#installation"];
            assert_eq!(world.sort_keys("icfg_1").await, keys, "{operation} {fault:?}");
            let ids: Vec<_> = world.provider.ids().into_values().map(|ids| ids.len()).collect();
            assert_eq!(ids, [1, 1], "{operation} {fault:?}");
        }
    }
}

/// G2, G4: if a tombstone lacks attributes, because another program wrote it, its jobs are retried like any
/// failed job.
#[tokio::test]
async fn the_jobs_of_an_incomplete_tombstone_are_retried() {
    let world = World::new().await;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "#installation", "state": "deleting",
            "accountId": "acc_test", "resources": 0, "deletedAt": 1,
        }))
        .await;
    for sk in ["work#purge", "work#finalize"] {
        world
            .put(json!({
                "pk": "installation#icfg_1", "sk": sk, "dueShard": "0", "dueAt": 1, "fence": 0,
                "attempts": 0, "installationId": "icfg_1",
            }))
            .await;
    }
    assert_eq!(world.sweep().await, [2, 0, 2, 0], "it does not say by whom it was deleted");
    let work = &world.items("icfg_1").await["work#purge"];
    assert_eq!(work["lastError"], "its installation is not deleted");
}

/// G6: if an operator retries a parked job and DynamoDB's reply is lost, the job still counts as made due.
#[tokio::test]
async fn a_lost_answer_does_not_leave_a_job_parked() {
    let world = World::new().await;
    world
        .put(json!({
            "pk": "installation#icfg_1", "sk": "work#purge", "dueShard": "parked", "dueAt": 1,
            "attempts": 0, "fence": 0, "installationId": "icfg_1",
        }))
        .await;
    let store = world.proxied().await;
    let parked = store.parked(10).await.unwrap();
    world.dynamodb.once("UpdateItem", Fault::ResetAfter);
    assert!(store.retry_parked(&parked[0]).await.unwrap());
    world.clock.advance(Duration::from_secs(1));
    assert!(!store.retry_parked(&parked[0]).await.unwrap(), "it is parked no more");
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
}

/// G1, G2: if the host continues to run the process after an answer, each due job is tried once, immediately
/// after the answer. A due job that fails is run again by the sweep.
#[tokio::test]
async fn an_answer_is_followed_up() {
    for fails in [false, true] {
        let world = World::announcing().await;
        world.install_whole("icfg_1", &["db_1", "db_2"]).await;
        if fails {
            world.provider.lasting(Answer::Status(500));
        }
        let app = world.process().await;
        let request = |path: &str| {
            let request = http::Request::delete(path);
            let token = format!("Bearer {}", world.token(&user("icfg_1")));
            let request = request.header("authorization", token);
            request.body(http_body_util::Empty::<hyper::body::Bytes>::new()).unwrap()
        };
        let path = format!("{INSTALLATION}/resources/db_1");
        for (calls, again) in [(1, false), (1, true)] {
            let (response, follow_up) =
                app.handle_and_follow_up(Endpoint::DeleteResource, request(&path)).await;
            assert_eq!((response.status().as_u16(), follow_up.is_none()), (204, again));
            if let Some(follow_up) = follow_up {
                follow_up.run().await;
            }
            assert_eq!(world.provider.received().len(), calls);
        }
        let configuration = "/v1/integrations/configuration/icfg_1";
        let (response, follow_up) =
            app.handle_and_follow_up(Endpoint::DeleteConfiguration, request(configuration)).await;
        assert_eq!(response.status(), 204);
        follow_up.unwrap().run().await;
        let items = world.items("icfg_1").await;
        assert_eq!(items["#installation"]["state"], "finalized", "purged");
        let pending: Vec<_> = items.keys().filter(|key| key.starts_with("work#")).collect();
        if fails {
            let all = ["installation", "resource#db_1", "resource#db_2"];
            assert_eq!(
                pending,
                all.map(|what| format!("work#announce#{what}")).iter().collect::<Vec<_>>()
            );
        } else {
            assert_eq!(pending, ["work#announce#resource#db_2"], "the purge's are the sweep's");
        }
    }
}
