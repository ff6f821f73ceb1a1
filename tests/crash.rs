//! A crash at every step (F5). Each test kills an operation before each of its calls to DynamoDB, to Vercel
//! and to the provider, and also after the last call. A retry or the sweep must then bring the operation to
//! the same end as without a crash.

mod care;
mod front;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use http_body_util::Empty;
use hyper::body::Bytes;
use serde_json::{Value, json};
use teardown::Endpoint;

use crate::support::outside::Answer;
use crate::support::steps::crashes;
use crate::support::world::{
    CLIENT_SECRET, CRON_SECRET, INSTALLATION, RESOURCE, World, id, signature, user,
};

const CONFIGURATION: &str = "/v1/integrations/configuration/icfg_1?slug=my-team";

/// An operation that a test kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    DeleteResource,
    DeleteUnknownResource,
    DeleteInstallation {
        settled: bool,
    },
    DeleteConfiguration {
        answer: Vercel,
    },
    /// Delete Configuration, 25 h after an uninstall with open invoices.
    DeleteConfigurationLate,
    /// Delete Configuration, after the configuration has moved to another team.
    DeleteConfigurationMoved,
    /// Vercel reports by a webhook that it has removed the configuration.
    Removed {
        settled: bool,
    },
    /// Vercel reports by a webhook that the installation has moved to another team.
    Transferred,
    /// Delete Resource, and the announcement that the function tries after its answer.
    FollowUp,
    /// The sweep, after an uninstall whose invoices were settled later. This sweep announces, purges and
    /// finalizes.
    SweepUninstall,
    /// The sweep, after a Delete Configuration to which Vercel gave no definite answer.
    SweepConfiguration,
    /// The sweep, after a Delete Configuration that failed because Vercel was busy. After that Delete
    /// Configuration, the configuration has moved to another team.
    SweepConfigurationMoved,
}

/// How Vercel answers the deletion of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vercel {
    Honest,
    /// Vercel calls Delete Installation before it answers the deletion.
    CallsBack,
    /// Vercel deletes the configuration, and its answer is lost.
    Lost,
    /// Vercel deletes the configuration, but no attempt gets a definite answer.
    Broken,
}

/// What happens after the crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Recovery {
    /// The caller repeats the killed request, after every lease has ended.
    Retry,
    /// The sweep runs before any retry, after every lease has ended.
    Sweep,
}

impl Operation {
    async fn arrange(self) -> World {
        let world = World::announcing().await;
        let sweeps = [Self::SweepConfiguration, Self::SweepConfigurationMoved].contains(&self);
        let resources: &[_] = if sweeps { &[] } else { &["db_1", "db_2"] };
        world.install_whole("icfg_1", resources).await;
        match self {
            Self::DeleteResource
            | Self::DeleteUnknownResource
            | Self::Transferred
            | Self::FollowUp => {}
            Self::DeleteInstallation { settled } | Self::Removed { settled } => {
                if !settled {
                    world.reopen("icfg_1").await;
                }
            }
            Self::DeleteConfiguration { answer } => match answer {
                Vercel::Honest => {}
                Vercel::CallsBack => world.vercel.calls_back(&world.another().await),
                Vercel::Lost => world.vercel.script([Answer::EffectThenReset]),
                Vercel::Broken => {
                    world.vercel.script([
                        Answer::EffectThen(500),
                        Answer::Status(502),
                        Answer::Reset,
                    ]);
                }
            },
            Self::DeleteConfigurationLate => {
                world.reopen("icfg_1").await;
                assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
                world.remove("installation#icfg_1", "work#announce#installation").await;
                world.clock.advance(Duration::from_hours(25));
            }
            Self::DeleteConfigurationMoved => world.vercel.moves("icfg_1", Some("team_2")),
            Self::SweepConfigurationMoved => {
                let busy = || Answer::Status(429);
                world.vercel.script([busy(), busy(), busy()]);
                assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
                world.vercel.moves("icfg_1", Some("team_2"));
                world.clock.advance(Duration::from_secs(16));
            }
            Self::SweepUninstall => {
                world.reopen("icfg_1").await;
                assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
                world.store.settle_invoices(&id("icfg_1")).await.unwrap();
            }
            Self::SweepConfiguration => {
                let answers = [Answer::EffectThenReset, Answer::Status(500), Answer::Status(500)];
                world.vercel.script(answers);
                assert_eq!(world.delete(CONFIGURATION).key("k1").send().await.status, 503);
                world.clock.advance(Duration::from_secs(16));
            }
        }
        world
    }

    /// The body of the webhook that starts the operation. `None` if no webhook starts the operation.
    fn webhook(self) -> Option<&'static str> {
        match self {
            Self::Removed { .. } => Some(
                r#"{"type":"integration-configuration.removed","payload":{"configuration":{"id":"icfg_1"}}}"#,
            ),
            Self::Transferred => Some(
                r#"{"type":"integration-configuration.transferred","createdAt":10,"payload":{"configuration":{"id":"icfg_1"},"newAccountId":"acc_2","newTeamId":"team_1"}}"#,
            ),
            _ => None,
        }
    }

    /// Whether a caller sends the operation's request again after a crash. Nobody sends a sweep again.
    fn is_repeated(self) -> bool {
        self.request().is_some() || self.webhook().is_some()
    }

    /// The endpoint and the path of the deletion's request. `None` for a sweep or a webhook.
    fn request(self) -> Option<(Endpoint, &'static str)> {
        match self {
            Self::DeleteResource | Self::FollowUp => Some((Endpoint::DeleteResource, RESOURCE)),
            Self::DeleteUnknownResource => {
                Some((Endpoint::DeleteResource, "/v1/installations/icfg_1/resources/db_never"))
            }
            Self::DeleteInstallation { .. } => Some((Endpoint::DeleteInstallation, INSTALLATION)),
            Self::DeleteConfiguration { .. } | Self::DeleteConfigurationLate => {
                Some((Endpoint::DeleteConfiguration, CONFIGURATION))
            }
            // The request has no slug, because teardown removes the stored slug when it finds the
            // configuration in another team.
            Self::DeleteConfigurationMoved => {
                Some((Endpoint::DeleteConfiguration, crate::support::world::CONFIGURATION))
            }
            Self::Removed { .. }
            | Self::Transferred
            | Self::SweepUninstall
            | Self::SweepConfiguration
            | Self::SweepConfigurationMoved => None,
        }
    }

    /// Runs the operation in its own process, until the operation ends or is killed. Returns the answer's
    /// status, or `None` if the process was killed.
    async fn run(self, world: &World) -> Option<u16> {
        let process = world.process().await;
        let run = async {
            if let Some(body) = self.webhook() {
                let request = http::Request::post("/api/webhook")
                    .header("x-vercel-signature", signature(CLIENT_SECRET, body))
                    .body(body.to_owned());
                let answered = process.handle(Endpoint::Webhook, request.unwrap()).await;
                return answered.status().as_u16();
            }
            let Some((endpoint, path)) = self.request() else {
                let request = http::Request::get("/api/sweep")
                    .header("authorization", format!("Bearer {CRON_SECRET}"))
                    .body(Empty::<Bytes>::new());
                return process.handle(Endpoint::Sweep, request.unwrap()).await.status().as_u16();
            };
            let request = http::Request::delete(path)
                .header("authorization", format!("Bearer {}", world.token(&user("icfg_1"))))
                .header("idempotency-key", "k1")
                .body(Empty::<Bytes>::new());
            let (response, follow_up) =
                process.handle_and_follow_up(endpoint, request.unwrap()).await;
            if self == Self::FollowUp {
                follow_up.unwrap().run().await;
            }
            response.status().as_u16()
        };
        tokio::select! {
            status = run => Some(status),
            () = world.steps.killed() => None,
        }
    }

    /// Brings the operation to its end, whichever step it was killed at.
    async fn recover(self, world: &World, recovery: Recovery) {
        world.steps.begin();
        // Vercel gives its normal answers again.
        world.vercel.forget_script();
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        if recovery == Recovery::Sweep {
            world.sweep_all().await;
        }
        // A caller repeats its request until it gets an answer. Vercel also sends a webhook again until it
        // gets an answer.
        if let Some(body) = self.webhook() {
            assert_eq!(world.webhook(body).send().await.status, 200);
        }
        if let Some((_, path)) = self.request() {
            let reply = world.delete(path).key("k1").send().await;
            assert!([200, 204].contains(&reply.status), "{reply:?}");
        }
        world.sweep_all().await;
        // The clock moves far enough for back-offs, and for jobs that are due a day later.
        for _ in 0..2 {
            world.clock.advance(Duration::from_hours(13));
            world.sweep_all().await;
        }
    }
}

/// The state when an operation has ended. This state must be the same, whichever call the operation was
/// killed at.
#[derive(Debug, PartialEq, Eq)]
struct End {
    table: BTreeMap<String, BTreeMap<String, Value>>,
    gone_at_vercel: bool,
    finalized_at_vercel: bool,
    /// The announced events, each with its number of `webhook-id`s.
    announced: BTreeMap<String, usize>,
}

impl End {
    async fn of(operation: Operation, world: &World) -> Self {
        let mut table = world.all().await;
        for item in table.values_mut().flat_map(BTreeMap::values_mut) {
            let item = item.as_object_mut().unwrap();
            for name in [
                "deletedAt",
                "configurationDeletedAt",
                "expiresAt",
                "registeredAt",
                "teardownAt",
                "updatedAt",
            ] {
                if item.contains_key(name) {
                    item.insert(name.to_owned(), json!("some time"));
                }
            }
        }
        let ids = world.provider.ids();
        let gone = world.vercel.is_gone("icfg_1");
        let finalized = world.vercel.is_finalized("icfg_1");
        // 24 h after an uninstall, the sweep may finalize the installation before the configuration is
        // deleted. After a finalization, nothing is left to delete at Vercel.
        let either = operation == Operation::DeleteConfigurationLate && (gone || finalized);
        Self {
            table,
            gone_at_vercel: gone || either,
            finalized_at_vercel: finalized && !either,
            announced: ids.into_iter().map(|(what, ids)| (what, ids.len())).collect(),
        }
    }
}

/// F5, C3, E5, G1, G2, G3, G5: if an operation is killed at any of its calls, a retry and the sweep bring it
/// to the same end as without a crash. At the operation's end no job is pending, and each event has one
/// `webhook-id`.
async fn survives(operation: Operation) -> usize {
    let smooth = operation.arrange().await;
    smooth.steps.begin();
    let status = operation.run(&smooth).await.unwrap();
    let steps = smooth.steps.count();
    operation.recover(&smooth, Recovery::Retry).await;
    let expected = End::of(operation, &smooth).await;
    assert!(expected.announced.values().all(|ids| *ids == 1), "{expected:?}");
    let pending =
        |end: &End| end.table.values().flat_map(BTreeMap::keys).cloned().collect::<BTreeSet<_>>();
    assert!(pending(&expected).iter().all(|key| !key.starts_with("work#")), "{expected:#?}");
    println!("{operation:?}: {status} after {steps} calls");

    // Nobody sends a sweep again, because a sweep is not a request.
    let retry = operation.is_repeated().then_some(Recovery::Retry);
    let recoveries: Vec<_> = retry.into_iter().chain([Recovery::Sweep]).collect();
    let crashes: Vec<_> = crashes(steps)
        .flat_map(|(step, moment)| recoveries.iter().map(move |it| (step, moment, *it)))
        .collect();
    let all = crashes.len();
    let crash = async |(step, moment, recovery)| {
        let world = operation.arrange().await;
        world.steps.kill_at(step, moment);
        let killed = operation.run(&world).await.is_none();
        // A sweep reads the table's shards in any order. Because of this order, the sweep may need one call
        // fewer than without a crash, and then it is not killed.
        assert!(killed || !operation.is_repeated(), "{operation:?} {moment:?} {step}");
        operation.recover(&world, recovery).await;
        let end = End::of(operation, &world).await;
        assert_eq!(end, expected, "{operation:?} killed {moment:?} call {step}, {recovery:?}");
        killed
    };
    let killed = stream::iter(crashes).map(crash).buffer_unordered(4);
    let killed = killed.filter(|killed| std::future::ready(*killed)).count().await;
    assert!(killed * 10 > all * 9, "killed at {killed} of {all}");
    killed
}

macro_rules! survives {
    ($($name:ident: $operation:expr;)*) => {
        $(
            /// F5: whichever call the operation is killed at, a retry and the sweep bring it to the same end
            /// as without a crash.
            #[tokio::test]
            async fn $name() {
                let crashes = survives($operation).await;
                println!("{crashes} crashes survived");
            }
        )*
    };
}

survives! {
    delete_resource_survives_a_crash_at_every_step: Operation::DeleteResource;
    an_unknown_resource_survives_a_crash_at_every_step: Operation::DeleteUnknownResource;
    a_settled_uninstall_survives_a_crash_at_every_step:
        Operation::DeleteInstallation { settled: true };
    an_open_uninstall_survives_a_crash_at_every_step:
        Operation::DeleteInstallation { settled: false };
    delete_configuration_survives_a_crash_at_every_step:
        Operation::DeleteConfiguration { answer: Vercel::Honest };
    delete_configuration_called_back_survives_a_crash_at_every_step:
        Operation::DeleteConfiguration { answer: Vercel::CallsBack };
    delete_configuration_with_a_lost_answer_survives_a_crash_at_every_step:
        Operation::DeleteConfiguration { answer: Vercel::Lost };
    delete_configuration_at_a_broken_vercel_survives_a_crash_at_every_step:
        Operation::DeleteConfiguration { answer: Vercel::Broken };
    delete_configuration_after_an_uninstall_survives_a_crash_at_every_step:
        Operation::DeleteConfigurationLate;
    delete_configuration_that_moved_survives_a_crash_at_every_step:
        Operation::DeleteConfigurationMoved;
    a_removal_survives_a_crash_at_every_step: Operation::Removed { settled: true };
    an_open_removal_survives_a_crash_at_every_step: Operation::Removed { settled: false };
    a_transfer_survives_a_crash_at_every_step: Operation::Transferred;
    a_follow_up_survives_a_crash_at_every_step: Operation::FollowUp;
    the_sweep_of_an_uninstall_survives_a_crash_at_every_step: Operation::SweepUninstall;
    the_sweep_of_a_configuration_survives_a_crash_at_every_step: Operation::SweepConfiguration;
    the_sweep_of_a_configuration_that_moved_survives_a_crash_at_every_step:
        Operation::SweepConfigurationMoved;
}
