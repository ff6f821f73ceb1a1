//! The table's stream, which starts `sweep` for new jobs (L2).

use serde_json::{Value, json};

use super::{http_api, load_balancer, recorded, rest_api, start};
use crate::support::dynamodb::Fault;
use crate::support::outside::Answer;
use crate::support::process::{DELETE_RESOURCE, SWEEP};
use crate::support::world::{INSTALLATION, World};

/// The recorded event of the stream, with these records. Each record has an event name, an installation and a
/// sort key.
fn stream(records: &[(&str, &str, &str)]) -> Value {
    let mut event = recorded(include_str!("../../deploy/lambda/events/stream.json"));
    let record = |(name, installation, sort_key): &(&str, &str, &str)| {
        let mut record = event["Records"][0].clone();
        record["eventName"] = json!(name);
        record["dynamodb"]["Keys"]["pk"]["S"] = json!(format!("installation#{installation}"));
        record["dynamodb"]["Keys"]["sk"]["S"] = json!(sort_key);
        record
    };
    event["Records"] = records.iter().map(record).collect();
    event
}

/// The stream's event for all jobs of an installation, as if each of them were new.
async fn inserted(world: &World, installation: &str) -> Value {
    let keys = world.sort_keys(installation).await;
    let jobs = keys.iter().filter(|key| key.starts_with("work#"));
    let records: Vec<_> = jobs.map(|key| ("INSERT", installation, key.as_str())).collect();
    stream(&records)
}

fn all_read() -> Value {
    json!({ "batchItemFailures": [] })
}

/// L2: the function runs the jobs that the stream's event names, and no other jobs. The function claims these
/// jobs, and does not search for due jobs. If a purge writes announcements, the stream's next event names
/// them.
#[tokio::test]
async fn a_streams_event_runs_its_jobs() {
    let world = World::announcing().await;
    for id in ["icfg_1", "icfg_2"] {
        world.install(id, &["db_1"]).await;
        assert_eq!(world.delete(&format!("/v1/installations/{id}")).send().await.status, 200);
    }
    let mut lambda = start(&world, SWEEP).await;
    let event = inserted(&world, "icfg_1").await;
    assert_eq!(event["Records"].as_array().unwrap().len(), 3);
    assert_eq!(lambda.invoke(event).await, all_read());
    let received = |world: &World| world.provider.ids().into_keys().collect::<Vec<_>>();
    let installation = r#""installation.deleted" "icfg_1" null"#;
    assert_eq!(received(&world), [installation]);
    let keys = world.sort_keys("icfg_1").await;
    let left = ["work#announce#resource#db_1", "work#finalize"];
    assert_eq!(keys, [&["#installation", "receipt#installation"][..], &left].concat());

    let before = world.dynamodb.calls();
    assert_eq!(lambda.invoke(inserted(&world, "icfg_1").await).await, all_read());
    let calls = world.dynamodb.calls() - before;
    assert_eq!(calls, 3, "a claim, a look at the holds and the end: of the announcement alone");
    assert_eq!(received(&world), [installation, r#""resource.deleted" "icfg_1" "db_1""#]);
    assert!(world.sort_keys("icfg_2").await.contains(&"work#purge".to_owned()));
}

/// L2: for a new job of a kind that is never due immediately, the function makes no call. The function also
/// skips records of a change or a removal, and records of items that are not jobs. For a job that does not
/// exist any more, the function makes one call to DynamoDB: the claim.
#[tokio::test]
async fn jobs_that_are_not_due_are_skipped() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let mut lambda = start(&world, SWEEP).await;
    let (before, calls) = (world.all().await, world.dynamodb.calls());
    let passed_over = stream(&[
        ("INSERT", "icfg_1", "work#finalize"),
        ("INSERT", "icfg_1", "work#configuration"),
        ("INSERT", "icfg_1", "work#provision#0a1b"),
        ("INSERT", "icfg_1", "#installation"),
        ("MODIFY", "icfg_1", "work#purge"),
        ("REMOVE", "icfg_1", "work#purge"),
        ("INSERT", "a/b", "work#purge"),
    ]);
    assert_eq!(lambda.invoke(passed_over).await, all_read());
    assert_eq!(world.dynamodb.calls(), calls);
    let gone =
        [("INSERT", "icfg_2", "work#purge"), ("INSERT", "icfg_1", "work#announce#resource#x")];
    assert_eq!(lambda.invoke(stream(&gone)).await, all_read());
    assert_eq!((world.dynamodb.calls(), world.all().await), (calls + 2, before));
}

/// L2, G1: if a job fails, the stream's event is answered like any other event, and a scheduled sweep runs
/// the job later. A job fails if its announcement fails, or if its claim fails.
#[tokio::test]
async fn a_failed_job_waits_for_the_scheduled_sweep() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1", "db_2"]).await;
    for resource in ["db_1", "db_2"] {
        let path = format!("{INSTALLATION}/resources/{resource}");
        assert_eq!(world.delete(&path).send().await.status, 204);
    }
    let mut lambda = start(&world, SWEEP).await;
    world.provider.script([Answer::Status(500)]);
    let first = stream(&[("INSERT", "icfg_1", "work#announce#resource#db_1")]);
    assert_eq!(lambda.invoke(first).await, all_read());
    world.dynamodb.once("UpdateItem", Fault::Echo);
    let second = stream(&[("INSERT", "icfg_1", "work#announce#resource#db_2")]);
    assert_eq!(lambda.invoke(second).await, all_read());
    assert_eq!(world.provider.received().len(), 1);
    let items = world.items("icfg_1").await;
    assert_eq!(items["work#announce#resource#db_1"]["failures"], 1);
    assert_eq!(items["work#announce#resource#db_2"]["attempts"], 0);
    world.clock.advance(std::time::Duration::from_mins(1));
    assert_eq!(world.sweep().await, [2, 2, 0, 0]);
}

/// L2, S2: no caller can send the stream's event, because an event with a `requestContext` is a request,
/// whatever else the event contains. If another function gets the stream's event, or if the event's records
/// are of another source, the invocation fails.
#[tokio::test]
async fn a_request_is_no_streams_event() {
    let world = World::announcing().await;
    world.install("icfg_1", &["db_1"]).await;
    assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
    let before = world.all().await;
    let event = inserted(&world, "icfg_1").await;
    let mut lambda = start(&world, SWEEP).await;
    for (mut request, status) in [
        (http_api("GET", "/api/sweep", "guessed"), 403),
        (rest_api("GET", "/api/sweep", "guessed"), 403),
        (load_balancer("GET", "/api/sweep", "guessed"), 400),
    ] {
        request["Records"] = event["Records"].clone();
        request["body"] = json!(event.to_string());
        assert_eq!(lambda.invoke(request).await["statusCode"], status);
    }
    let mut of_a_queue = event.clone();
    of_a_queue["Records"][0]["eventSource"] = json!("aws:sqs");
    let refused = lambda.invoke(of_a_queue).await;
    assert!(refused["errorMessage"].is_string(), "{refused}");
    let refused = start(&world, DELETE_RESOURCE).await.invoke(event).await;
    assert!(refused["errorMessage"].is_string(), "{refused}");
    assert_eq!(world.all().await, before);
}
