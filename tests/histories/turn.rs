//! A client's turn: the step that it takes, the steps that overtake this step, and the step's answer.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use teardown::store::Store;
use teardown::store::registry::{Record, RegisterError};

use super::plan::{At, Billing, By, Op, Overtaken, Step, Turn};
use super::spec::{ANSWERS, Answer};
use crate::support::backend::{self, Backend};
use crate::support::gate::Gate;
use crate::support::outside;
use crate::support::world::{ACCOUNT, CRON_SECRET, Call, World, account, id, system, user};

/// The answer to a step. If no answer says whether the request took effect, the error says why.
pub type StepResult = Result<Answer, String>;

pub struct Done {
    pub client: usize,
    pub step: Step,
    pub from: usize,
    pub until: usize,
    pub result: StepResult,
    /// Whether the configuration of the step's installation was gone at Vercel when the step ended.
    pub gone: bool,
}

/// What all turns of a plan share: the stand-ins, the installations and the steps that were taken.
pub struct Scene<'a> {
    world: &'a World,
    store: &'a Store,
    backend: &'a Backend,
    ids: &'a [String],
    done: Mutex<Vec<Done>>,
    count: AtomicUsize,
}

/// A step that has to wait, so that other steps overtake it.
#[derive(Default)]
pub struct Slow {
    /// The gate at which the step waits.
    gate: Gate,
    /// A gate that is opened when the step has ended.
    end: Gate,
}

impl<'a> Scene<'a> {
    pub fn new(
        world: &'a World,
        store: &'a Store,
        backend: &'a Backend,
        ids: &'a [String],
    ) -> Self {
        Self { world, store, backend, ids, done: Mutex::default(), count: AtomicUsize::default() }
    }

    /// The steps that clients took.
    pub fn done(self) -> Vec<Done> {
        self.done.into_inner().unwrap()
    }

    /// Takes a turn. `before` is the step that this turn overtakes, if there is one.
    pub async fn take(&self, client: usize, turn: &Turn, before: Option<&Slow>) {
        let slow = Slow::default();
        if let Some(overtaken) = &turn.overtaken {
            self.hold(overtaken.at, slow.gate.clone());
        }
        prepare(self.world, turn);
        for _ in 0..turn.yields {
            tokio::task::yield_now().await;
        }
        let step = hangs_up(turn, self.step(&turn.step));
        let Some(overtaken) = &turn.overtaken else {
            return self.watch(client, &turn.step, step).await;
        };
        let taken = async {
            let result = tokio::select! {
                result = step => {
                    slow.gate.open();
                    result
                }
                true = slow.gate.reached(), if overtaken.dies => Err("died".to_owned()),
            };
            slow.end.open();
            result
        };
        tokio::join!(
            self.watch(client, &turn.step, taken),
            self.overtake(client, overtaken, &slow, before)
        );
    }

    /// Makes the next call at this place wait at this gate.
    fn hold(&self, at: At, gate: Gate) {
        let world = self.world;
        let then = match at {
            At::Before(call) => return world.dynamodb.hold(call, gate),
            At::ToVercel => outside::Answer::Honest,
            At::ToVercelInVain => outside::Answer::Status(422),
            At::FromVercel => return world.vercel.script([outside::Answer::EffectThenHeld(gate)]),
            At::ToBackend => {
                let honest = Box::new(backend::Answer::Honest);
                return self.backend.script([backend::Answer::Held(gate, honest)]);
            }
        };
        world.vercel.script([outside::Answer::Held(gate, Box::new(then))]);
    }

    /// Sends a Provision to the front. If the Provision is refused, the returned answer says whether the
    /// backend was called.
    async fn provision(&self, id: &str, resource: u8, key: Option<u8>) -> StepResult {
        let path = format!("/v1/installations/{id}/resources");
        let mark = format!("{:x}", fastrand::u128(..));
        let call = through(self.world, "POST", &path, id).header("x-mark", &mark);
        let call = key.iter().fold(call, |call, key| call.key(&format!("{id}-r{resource}-k{key}")));
        let reply = call.json(&json!({ "id": format!("r{resource}") })).send().await;
        let is_marked =
            |call: &backend::Received| call.headers.get("x-mark").is_some_and(|it| it == &mark);
        let calls = self.backend.received().iter().filter(|call| is_marked(call)).count();
        match reply.error() {
            (200, _) if calls == 1 => Ok("200 provisioned"),
            (409, "installation_deleted") if calls == 0 => Ok("409 installation_deleted"),
            (409, "installation_deleted") if calls == 1 => Ok("409 made and deleted"),
            (503, code) if calls == 0 => Err(format!("503 {code}")),
            // The call waited at the gate of a step that had died there, until the front's time for the
            // backend was over.
            (502, code) if calls == 1 => Err(format!("502 {code}")),
            (status, code) => {
                panic!("an answer that there cannot be: {status} {code}, calls {calls}")
            }
        }
    }

    /// Takes the turns that overtake a step, while that step waits at its gate.
    async fn overtake(
        &self,
        client: usize,
        overtaken: &Overtaken,
        slow: &Slow,
        before: Option<&Slow>,
    ) {
        if !slow.gate.reached().await {
            return;
        }
        self.world.clock.advance(overtaken.time);
        if let Some(before) = before.filter(|_| overtaken.resumes_first) {
            before.gate.open();
            before.end.reached().await;
        }
        for turn in &overtaken.by {
            Box::pin(self.take(client, turn, Some(slow))).await;
        }
        slow.gate.open();
    }

    /// Waits for a step to end, and records its answer, its start and its end.
    async fn watch(&self, client: usize, step: &Step, taken: impl Future<Output = StepResult>) {
        let from = self.count.fetch_add(1, Ordering::SeqCst);
        let result = taken.await;
        let until = self.count.fetch_add(1, Ordering::SeqCst);
        let gone = matches!(step, Step::Send(at, _) if self.world.vercel.is_gone(&self.ids[*at]));
        let step = step.clone();
        self.done.lock().unwrap().push(Done { client, step, from, until, result, gone });
    }

    async fn step(&self, step: &Step) -> StepResult {
        let world = self.world;
        match step {
            Step::Send(at, Op::Provision { resource, key }) => {
                self.provision(&self.ids[*at], *resource, *key).await
            }
            Step::Send(at, op) => send(world, self.store, &self.ids[*at], op).await,
            Step::Sweep => {
                let call = world.request("GET", "/api/sweep");
                let secret = format!("Bearer {CRON_SECRET}");
                let reply = call.header("authorization", &secret).send().await;
                if reply.status == 200 { Ok("swept") } else { Err(format!("{:?}", reply.error())) }
            }
            Step::Wait(time) => {
                world.clock.advance(*time);
                Ok("waited")
            }
        }
    }
}

/// Runs a step until it ends. If the turn says that the client hangs up, the step may stop earlier.
async fn hangs_up(turn: &Turn, step: impl Future<Output = StepResult>) -> StepResult {
    match turn.hangs_up {
        None => step.await,
        Some(after) => {
            tokio::time::timeout(after, step).await.unwrap_or_else(|_| Err("hung up".to_owned()))
        }
    }
}

/// Sets the faults and scripted answers of a turn.
fn prepare(world: &World, turn: &Turn) {
    world.dynamodb.script(turn.writes.iter().copied());
    if let Some((operation, fault)) = turn.call {
        world.dynamodb.once(operation, fault);
    }
    world.vercel.script(turn.vercel.iter().cloned());
    world.provider.script(turn.provider.iter().cloned());
}

async fn send(world: &World, store: &Store, id: &str, op: &Op) -> StepResult {
    let (path, key, by, body) = match op {
        Op::DeleteResource { resource, key, by } => {
            (format!("/v1/installations/{id}/resources/r{resource}"), key, by, None)
        }
        Op::DeleteInstallation { cascade, reason, key, by } => {
            let reason = reason.then_some("too dear");
            let body = json!({ "cascadeResourceDeletion": cascade, "reason": reason });
            (format!("/v1/installations/{id}"), key, by, Some(body))
        }
        Op::DeleteConfiguration { with_team, key, by } => {
            let query = if *with_team { "?teamId=team_1" } else { "" };
            (format!("/v1/integrations/configuration/{id}{query}"), key, by, None)
        }
        Op::RegisterInstallation { billing, with_token } => {
            return register(store, installation(id, *billing, *with_token)).await;
        }
        Op::RegisterResource { resource: number, provisioning } => {
            return register(store, resource(id, *number, *provisioning)).await;
        }
        Op::Upsert => {
            let path = format!("/v1/installations/{id}");
            let credentials = json!({ "access_token": format!("token-of-{id}") });
            let body = json!({ "credentials": credentials });
            let reply = through(world, "PUT", &path, id).json(&body).send().await;
            return match reply.error() {
                (200, _) => Ok("200 upserted"),
                (status, code) => Err(format!("{status} {code}")),
            };
        }
        Op::Provision { .. } => unreachable!("the scene sends it"),
        Op::Settle => {
            return match store.settle_invoices(&self::id(id)).await {
                Ok(Some(settled)) => Ok(known(&format!("settled: {settled:?}"))),
                Ok(None) => Ok("settled: nothing"),
                Err(error) => Err(error.to_string()),
            };
        }
    };
    let token = world.token(&match by {
        By::User => user(id),
        By::System => system(id),
        By::Account => account(ACCOUNT),
    });
    let call = world.delete_as(&path, &token);
    let call = key.iter().fold(call, |call, key| call.key(&format!("k{key}")));
    let reply = body.iter().fold(call, crate::support::world::Call::json).send().await;
    let (status, code) = reply.error();
    match status {
        503 => Err(format!("503 {code}")),
        200 if reply.body["finalized"] == true => Ok(known("200 finalized")),
        200 => Ok(known("200 open")),
        204 => Ok(known("204")),
        409 if code == "resources_remain" => {
            let number: String = reply.message().chars().filter(char::is_ascii_digit).collect();
            Ok(known(&format!("409 {code} {number}")))
        }
        _ => Ok(known(&format!("{status} {code}"))),
    }
}

/// A call through the front, with the token of the installation's `ADMIN`.
fn through<'a>(world: &'a World, method: &str, path: &str, id: &str) -> Call<'a> {
    let token = format!("Bearer {}", world.token(&user(id)));
    world.request(method, path).header("authorization", &token)
}

async fn register(store: &Store, line: Value) -> StepResult {
    let record: Record = serde_json::from_value(line).unwrap();
    match store.register(&record).await {
        Ok(()) => Ok("registered"),
        Err(RegisterError::Store(error)) => Err(error.to_string()),
        // This error means that DynamoDB returned neither the installation nor the receipt. Therefore this
        // error does not say whether the resource or its installation was deleted.
        Err(unannounced @ RegisterError::ResourceUnannounced) => Err(unannounced.to_string()),
        Err(refused) => Ok(known(&format!("refused: {refused}"))),
    }
}

/// Finds an answer's text in [`ANSWERS`]. Panics if [`ANSWERS`] does not have the answer.
fn known(answer: &str) -> Answer {
    let known = ANSWERS.into_iter().find(|known| *known == answer);
    known.unwrap_or_else(|| panic!("an answer that there cannot be: {answer}"))
}

pub fn installation(id: &str, billing: Option<Billing>, with_token: bool) -> Value {
    let mut record = json!({ "id": id, "accountId": ACCOUNT, "teamId": "team_1" });
    if with_token {
        record["accessToken"] = json!(format!("token-of-{id}"));
    }
    if let Some(billing) = billing {
        record["billing"] = json!(if billing == Billing::Settled { "settled" } else { "open" });
    }
    json!({ "installation": record })
}

pub fn resource(id: &str, number: u8, provisioning: bool) -> Value {
    let status = if provisioning { "provisioning" } else { "ready" };
    json!({ "resource": { "installationId": id, "id": format!("r{number}"), "status": status } })
}
