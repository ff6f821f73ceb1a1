//! A crash at every step of a call that passes through to the backend, and of the sweep that reconciles a
//! call that nobody repeats (F5, J3, J4). After Vercel's retry or a sweep, every resource that the backend
//! made is registered or announced. The backend gets each request at most once.

use std::time::Duration;

use http_body_util::{Empty, Full};
use hyper::Method;
use hyper::body::Bytes;
use serde_json::json;
use teardown::Endpoint;

use super::Recovery;
use crate::support::backend::{Answer, Backend};
use crate::support::gate::Gate;
use crate::support::steps::crashes;
use crate::support::world::{CRON_SECRET, INSTALLATION, World, http_client, user};

const RESOURCES: &str = "/v1/installations/icfg_1/resources";

/// The number of calls that a sweep makes until it has ended an intent.
const SWEPT: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    Upsert,
    Provision,
    /// A Provision: the backend makes the resource, and the backend's answer is lost.
    ProvisionLost,
    /// A Provision that the backend refuses.
    ProvisionRefused,
    /// A Provision whose installation is uninstalled while the backend handles the call.
    ProvisionUninstalled,
    /// The sweep, after a Provision whose answer was lost.
    Sweep,
    /// The sweep, after a Provision whose answer was lost and a later uninstall.
    SweepUninstalled,
}

impl Passing {
    fn sweeps(self) -> bool {
        matches!(self, Self::Sweep | Self::SweepUninstalled)
    }

    async fn arrange(self) -> (World, Backend) {
        let (world, backend) = Backend::behind().await;
        if self == Self::Upsert {
            return (world, backend);
        }
        // After this answer to the Upsert, invoices are open. The open invoices keep the access token stored
        // after an uninstall.
        backend.script([Answer::with_body(200, "{}")]);
        assert_eq!(send(&world, Self::Upsert).await, 200);
        if self.sweeps() {
            backend.script([Answer::EffectThenReset]);
            assert_eq!(send(&world, self).await, 502);
            if self == Self::SweepUninstalled {
                assert_eq!(world.delete(INSTALLATION).send().await.status, 200);
                world.sweep_all().await;
            }
            wait(&world, &backend);
        }
        (world, backend)
    }

    /// Runs the call or the sweep in its own process, until it ends or is killed. Returns whether the call or
    /// the sweep ended.
    async fn run(self, world: &World, backend: &Backend) -> bool {
        let gate = Gate::default();
        match self {
            Self::ProvisionLost => backend.script([Answer::EffectThenReset]),
            Self::ProvisionRefused => backend.script([Answer::with_body(409, "{}")]),
            Self::ProvisionUninstalled => {
                backend.script([Answer::Held(gate.clone(), Box::new(Answer::Honest))]);
            }
            _ => {}
        }
        // The front finishes each call that it has begun, unless its runtime is shut down.
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        let (process, sweeps) = (world.process().await, self.sweeps());
        let (method, path, body) = self.request();
        let token = format!("Bearer {}", world.token(&user("icfg_1")));
        let running = runtime.spawn(async move {
            if sweeps {
                let request = http::Request::get("/api/sweep")
                    .header("authorization", format!("Bearer {CRON_SECRET}"))
                    .body(Empty::<Bytes>::new());
                process.handle(Endpoint::Sweep, request.unwrap()).await;
                return;
            }
            let request = http::Request::builder().method(method).uri(path);
            let request = request.header("authorization", token).header("idempotency-key", "k1");
            process.handle(Endpoint::Front, request.body(Full::from(body)).unwrap()).await;
        });
        let elsewhere = world.another().await;
        let meanwhile = async {
            if gate.reached().await {
                let call = http_client().delete(format!("{elsewhere}{INSTALLATION}"));
                let call = call.bearer_auth(world.token(&user("icfg_1")));
                assert_eq!(call.send().await.unwrap().status(), 200);
                gate.open();
            }
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = running => { ended.unwrap(); true }
            () = world.steps.killed() => false,
            () = meanwhile => unreachable!("it waits"),
        };
        runtime.shutdown_background();
        ended
    }

    fn request(self) -> (Method, &'static str, String) {
        if self == Self::Upsert {
            let credentials = json!({ "access_token": "t0ken", "token_type": "Bearer" });
            return (Method::PUT, INSTALLATION, json!({ "credentials": credentials }).to_string());
        }
        (Method::POST, RESOURCES, json!({ "productId": "prod_1", "name": "my db" }).to_string())
    }

    /// Brings the call or the sweep to its end, whichever step it was killed at.
    async fn recover(self, world: &World, backend: &Backend, recovery: Recovery) {
        world.steps.begin();
        backend.forget_script();
        // These 3 minutes are longer than any lease.
        world.clock.advance(Duration::from_mins(3));
        if recovery == Recovery::Retry {
            let status = send(world, self).await;
            assert!([200, 409].contains(&status), "{self:?}: {status}");
        }
        for _ in 0..2 {
            wait(world, backend);
            world.sweep_all().await;
        }
    }
}

/// Sends a call to the front, as Vercel does. Returns the answer's status.
async fn send(world: &World, passing: Passing) -> u16 {
    let (method, path, body) = passing.request();
    let call = world.request(method.as_str(), path).key("k1").body(body);
    let token = world.token(&user("icfg_1"));
    call.header("authorization", &format!("Bearer {token}")).send().await.status
}

/// Moves the clock until an intent is due. Makes Vercel list every resource that the backend made, although
/// Vercel may know fewer of them.
fn wait(world: &World, backend: &Backend) {
    world.clock.advance(Duration::from_mins(15));
    world.vercel.lists("icfg_1", &backend.made());
}

/// Asserts that no resource is lost or counted twice, that the backend got each request at most once,
/// and that no job except a finalization is left.
async fn ended_well(world: &World, backend: &Backend, sent: usize, case: &str) {
    let items = world.items("icfg_1").await;
    let announced = world.provider.ids();
    let live: Vec<_> = items.keys().filter_map(|key| key.strip_prefix("resource#")).collect();
    for made in backend.made() {
        let ids = announced.get(&format!("\"resource.deleted\" \"icfg_1\" \"{made}\""));
        let is_live = live.contains(&made.as_str()) && items["#installation"]["state"] == "active";
        assert!(is_live != ids.is_some(), "{case}: {made} is lost: {items:#?}");
        assert!(ids.is_none_or(|ids| ids.len() == 1), "{case}: {ids:?}");
    }
    if items["#installation"]["state"] == "active" {
        assert_eq!(items["#installation"]["resources"], live.len(), "{case}");
    }
    let mut left = items.keys().filter(|key| key.starts_with("work#") && *key != "work#finalize");
    assert_eq!(left.next(), None, "{case}");
    let calls =
        backend.received().iter().filter(|received| received.method == Method::POST).count();
    assert!(calls <= sent, "{case}: called {calls} times for {sent} requests");
}

/// F5, J3, J4: if a call through the front, or the sweep, is killed at any step, no resource that the backend
/// made is lost.
async fn survives(passing: Passing) {
    let (smooth, backend) = passing.arrange().await;
    smooth.steps.begin();
    assert!(passing.run(&smooth, &backend).await);
    let steps = smooth.steps.count();
    passing.recover(&smooth, &backend, Recovery::Sweep).await;
    ended_well(&smooth, &backend, 1, &format!("{passing:?}")).await;
    println!("{passing:?}: {steps} calls");
    // Nobody repeats a sweep, and an Upsert leaves no job for a sweep.
    let recoveries: &[_] = match passing {
        Passing::Upsert => &[Recovery::Retry],
        Passing::Sweep | Passing::SweepUninstalled => &[Recovery::Sweep],
        _ => &[Recovery::Retry, Recovery::Sweep],
    };
    // A sweep handles intents before all other jobs. Other tests kill the sweep at its later steps.
    let steps = if passing.sweeps() { steps.min(SWEPT) } else { steps };
    for (step, moment) in crashes(steps) {
        for recovery in recoveries {
            let (world, backend) = passing.arrange().await;
            world.steps.kill_at(step, moment);
            assert!(!passing.run(&world, &backend).await, "{passing:?} {moment:?} {step}");
            passing.recover(&world, &backend, *recovery).await;
            let case = format!("{passing:?} killed {moment:?} call {step}, {recovery:?}");
            let sent = 1 + usize::from(*recovery == Recovery::Retry);
            ended_well(&world, &backend, sent, &case).await;
            if passing == Passing::Upsert {
                let keys = world.sort_keys("icfg_1").await;
                assert_eq!(keys, ["#installation", "#token"], "{case}");
            }
        }
    }
}

macro_rules! survives {
    ($($name:ident: $passing:expr;)*) => {
        $(
            /// F5, J3, J4: whichever step the call or the sweep is killed at, no resource that the backend
            /// made is lost after a retry or a sweep.
            #[tokio::test]
            async fn $name() {
                survives($passing).await;
            }
        )*
    };
}

survives! {
    an_upsert_survives_a_crash_at_every_step: Passing::Upsert;
    a_provision_survives_a_crash_at_every_step: Passing::Provision;
    a_provision_with_a_lost_answer_survives_a_crash_at_every_step: Passing::ProvisionLost;
    a_provision_that_is_refused_survives_a_crash_at_every_step: Passing::ProvisionRefused;
    a_provision_beside_an_uninstall_survives_a_crash_at_every_step: Passing::ProvisionUninstalled;
    a_reconciliation_survives_a_crash_at_every_step: Passing::Sweep;
    a_reconciliation_of_an_uninstall_survives_a_crash_at_every_step: Passing::SweepUninstalled;
}
