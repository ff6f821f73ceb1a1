//! The log lines for the engineer on call (G1, G3, C1).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::support::dynamodb::Fault;
use crate::support::log::Log;
use crate::support::outside::Answer;
use crate::support::waiting::until;
use crate::support::world::World;

const HOUR: Duration = Duration::from_hours(1);

/// G3: a finalization that fails in the last of Vercel's 24 hours, or later, is logged as an error. An
/// earlier failure is logged as a warning. A warning is also logged if Vercel has already finalized the
/// installation.
#[tokio::test]
async fn a_finalization_near_its_end_is_an_error() {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    world.sweep_all().await;
    world.vercel.lasting(Answer::Status(403));
    let log = Log::start();
    let alarm = "an installation is not finalized, and Vercel's 24 hours are ending";
    for (after, errors) in [(22 * HOUR, 0), (Duration::from_mins(59), 0), (HOUR / 6, 1)] {
        world.clock.advance(after);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        assert_eq!(log.take("ERROR"), vec![alarm; errors], "{after:?}");
    }
    world.clock.advance(HOUR);
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
    let finalized = "Vercel had finalized an installation already";
    assert_eq!(log.take("WARN"), [finalized]);
}

/// G3: if the stored installation cannot be read, its finalization fails. A finalization that fails in the
/// last of Vercel's 24 hours is logged as an error.
#[tokio::test]
async fn a_finalization_that_cannot_be_read_is_an_error_too() {
    let world = World::new().await;
    world.install_whole("icfg_1", &[]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    world.sweep_all().await;
    let mut installation = world.items("icfg_1").await["#installation"].clone();
    installation["state"] = "suspended".into();
    world.put(installation).await;
    world.clock.advance(23 * HOUR);
    let log = Log::start();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    let alarm = "an installation is not finalized, and Vercel's 24 hours are ending";
    assert_eq!(log.take("ERROR"), [alarm]);
}

/// G1: when a job is parked, one error is logged. Each failure before the job is parked is logged as a
/// warning.
#[tokio::test]
async fn a_parked_job_is_logged_as_an_error() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let path = "/v1/installations/icfg_1/resources/db_1";
    assert_eq!(world.delete(path).send().await.status, 204);
    world.provider.lasting(Answer::Status(500));
    let log = Log::start();
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    assert_eq!(log.take("WARN"), ["retry scheduled"]);
    world.clock.advance(73 * HOUR);
    assert_eq!(world.sweep().await, [1, 0, 0, 1]);
    assert_eq!(log.take("ERROR"), ["parked: it has failed for too long"]);
}

/// G4: the reason of a failure is logged even if DynamoDB refuses the write that schedules the retry.
#[tokio::test]
async fn a_retry_that_cannot_be_scheduled_is_logged() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    let path = "/v1/installations/icfg_1/resources/db_1";
    assert_eq!(world.delete(path).send().await.status, 204);
    world.provider.script([Answer::Status(500)]);
    // DynamoDB accepts the worker's claim of the job.
    world.dynamodb.once("UpdateItem", Fault::None);
    world.dynamodb.once("UpdateItem", Fault::Echo);
    let log = Log::start();
    assert_eq!(world.sweep().await, [0; 4]);
    assert_eq!(log.take("WARN"), ["job failed; its retry could not be scheduled"]);
    world.clock.advance(Duration::from_mins(3));
    assert_eq!(world.sweep().await, [1, 1, 0, 0]);
}

/// G1: a worker that fails after it has lost its lease does not log the failure, because another worker has
/// done the job already.
#[tokio::test]
async fn a_worker_without_its_lease_logs_no_failure() {
    for (failed_for, level) in [(HOUR, "WARN"), (73 * HOUR, "ERROR")] {
        let world = World::announcing().await;
        world.install("icfg_1", &["db_1"]).await;
        let path = "/v1/installations/icfg_1/resources/db_1";
        assert_eq!(world.delete(path).send().await.status, 204);
        let gate = Arc::new(Semaphore::new(0));
        world.provider.script([Answer::Status(500), Answer::gated(&gate, 500)]);
        assert_eq!(world.sweep().await, [1, 0, 1, 0]);
        world.clock.advance(failed_for);
        let log = Log::start();
        let overtaken = async {
            until(|| world.provider.received().len() >= 2).await;
            world.clock.advance(Duration::from_mins(3));
            assert_eq!(world.sweep().await, [1, 1, 0, 0]);
            gate.add_permits(1);
        };
        let (late, ()) = join(world.sweep(), overtaken).await;
        assert_eq!(late, [1, 0, 0, 0]);
        assert_eq!(log.take(level), [""; 0]);
    }
}

/// The metric filters in `deploy/aws/template.yaml`: the log fields that each filter requires, with
/// their values.
fn filters() -> BTreeSet<BTreeMap<&'static str, &'static str>> {
    let template = include_str!("../deploy/aws/template.yaml");
    let filters = template.split("FilterPattern:").skip(1).map(|rest| {
        let (_, pattern) = rest.split_once("{ ").unwrap();
        let (pattern, _) = pattern.split_once(" }").unwrap();
        let terms = pattern.split(" && ").map(|term| {
            let (field, value) = term.strip_prefix("$.").unwrap().split_once(" = ").unwrap();
            (field, value.trim_matches('"'))
        });
        terms.collect()
    });
    filters.collect()
}

/// Each metric filter of `deploy/aws/template.yaml` matches a line that teardown logs: for a sweep, a
/// parked job, a job that is aborted, a finalization that fails late, or an internal error.
#[tokio::test]
async fn the_filters_of_the_template_match_what_is_logged() {
    let log = Log::start();
    let world = World::announcing().await;
    world.install_whole("icfg_1", &["db_1"]).await;
    world.reopen("icfg_1").await;
    assert_eq!(world.delete("/v1/installations/icfg_1/resources/db_1").send().await.status, 204);
    world.dynamodb.once("UpdateItem", Fault::Echo);
    assert_eq!(world.sweep().await, [0; 4], "the job breaks off");
    world.provider.lasting(Answer::Status(500));
    assert_eq!(world.sweep().await, [1, 0, 1, 0]);
    world.clock.advance(73 * HOUR);
    assert_eq!(world.sweep().await, [1, 0, 0, 1], "the job is parked");
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    world.clock.advance(23 * HOUR + HOUR / 2);
    world.vercel.lasting(Answer::Status(500));
    world.sweep().await;
    world.dynamodb.once("TransactWriteItems", Fault::Echo);
    assert_eq!(world.delete("/v1/installations/icfg_2").send().await.status, 500);

    let lines = log.lines();
    let filters = filters();
    assert_eq!(filters.len(), 5, "{filters:?}");
    for filter in filters {
        let matches = |line: &Value| filter.iter().all(|(field, value)| line[*field] == **value);
        assert!(lines.iter().any(matches), "no line is as {filter:?} says");
    }
}
