//! A history: clients that do what a plan says, at once, and what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use teardown::ids::IdempotencyKey;
use teardown::store::Store;
use teardown::store::registry::{Record, RegisterError};

use super::order::Event;
use super::plan::{Billing, By, KEYS, Op, Plan, RESOURCES, Step, Turn};
use super::spec::{ANSWERS, Answer, End, Part};
use crate::world::{ACCOUNT, CRON_SECRET, World, account, id, system, user};

/// What was answered, or why nothing was that says whether it was done.
type Heard = Result<Answer, String>;

/// What a client did.
struct Done {
    client: usize,
    step: Step,
    from: usize,
    until: usize,
    heard: Heard,
    /// Of the installation that it was about: the configuration was gone at Vercel by then.
    gone: bool,
}

/// What was done in the installations of a plan.
pub struct Played {
    ids: Vec<String>,
    done: Vec<Done>,
}

/// What was done to one installation, and what was left of it.
pub struct History {
    pub events: Vec<Event>,
    pub end: End,
    /// What was heard, by the kind of what was asked.
    pub kinds: Vec<String>,
}

/// Plays a plan, in installations of this name.
pub async fn play(world: &World, store: &Store, name: &str, plan: &Plan) -> Played {
    let ids: Vec<_> = (0..plan.installations.len()).map(|n| format!("{name}_{n}")).collect();
    for (installed, id) in plan.installations.iter().zip(&ids) {
        let Some(installed) = installed else { continue };
        let billing = Some(installed.billing);
        world.register(installation(id, billing, installed.with_token)).await;
        for (number, status) in (0..).zip(&installed.resources) {
            if let Some(provisioning) = *status {
                world.register(resource(id, number, provisioning)).await;
            }
        }
    }
    let (done, count) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    let clients = plan.clients.iter().enumerate().map(|(client, turns)| {
        let (ids, done, count) = (&ids, &done, &count);
        async move {
            for turn in turns {
                prepare(world, turn);
                for _ in 0..turn.yields {
                    tokio::task::yield_now().await;
                }
                let from = count.fetch_add(1, Ordering::SeqCst);
                let heard = take(world, store, ids, turn).await;
                let until = count.fetch_add(1, Ordering::SeqCst);
                let gone = matches!(turn.step, Step::Ask(at, _) if world.vercel.is_gone(&ids[at]));
                let step = turn.step.clone();
                done.lock().unwrap().push(Done { client, step, from, until, heard, gone });
            }
        }
    });
    join_all(clients).await;
    world.dynamodb.heal();
    world.vercel.forget_script();
    world.provider.forget_script();
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|done| done.from);
    Played { ids, done }
}

/// Nothing fails any more, time goes on, and sweeps run until nothing is owed, or for 4 days.
pub async fn bring_to_the_end(world: &World, played: &[Played]) {
    for _ in 0..4 {
        world.clock.advance(Duration::from_hours(25));
        world.sweep_all().await;
        let mut owed = false;
        for id in played.iter().flat_map(|it| &it.ids) {
            owed |= world.sort_keys(id).await.iter().any(|key| key.starts_with("work#"));
        }
        if !owed {
            return;
        }
    }
}

impl Played {
    /// What was done to each installation, once everything has come to its end.
    pub async fn histories(&self, world: &World) -> Vec<History> {
        let mut histories = Vec::new();
        for (number, id) in self.ids.iter().enumerate() {
            histories.push(history(number, &self.done, end(world, id).await));
        }
        histories
    }
}

/// Has happen what is to happen in a turn.
fn prepare(world: &World, turn: &Turn) {
    world.dynamodb.script(turn.writes.iter().copied());
    if let Some((operation, fault)) = turn.call {
        world.dynamodb.once(operation, fault);
    }
    world.vercel.script(turn.vercel.iter().cloned());
    world.provider.script(turn.provider.iter().cloned());
}

async fn take(world: &World, store: &Store, ids: &[String], turn: &Turn) -> Heard {
    let step = async {
        match &turn.step {
            Step::Ask(at, op) => ask(world, store, &ids[*at], op).await,
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
    };
    match turn.hangs_up {
        None => step.await,
        Some(after) => {
            tokio::time::timeout(after, step).await.unwrap_or_else(|_| Err("hung up".to_owned()))
        }
    }
}

async fn ask(world: &World, store: &Store, id: &str, op: &Op) -> Heard {
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
        Op::Settle => {
            return match store.settle_invoices(&self::id(id)).await {
                Ok(settled) => Ok(known(&format!("settled: {settled:?}"))),
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
    let reply = body.iter().fold(call, crate::world::Call::json).send().await;
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

async fn register(store: &Store, line: Value) -> Heard {
    let record: Record = serde_json::from_value(line).unwrap();
    match store.register(&record).await {
        Ok(()) => Ok("registered"),
        Err(RegisterError::Store(error)) => Err(error.to_string()),
        Err(refused) => Ok(known(&format!("refused: {refused}"))),
    }
}

/// An answer that there can be.
fn known(answer: &str) -> Answer {
    let known = ANSWERS.into_iter().find(|known| *known == answer);
    known.unwrap_or_else(|| panic!("an answer that there cannot be: {answer}"))
}

fn installation(id: &str, billing: Option<Billing>, with_token: bool) -> Value {
    let mut record = json!({ "id": id, "accountId": ACCOUNT, "teamId": "team_1" });
    if with_token {
        record["accessToken"] = json!(format!("token-of-{id}"));
    }
    if let Some(billing) = billing {
        record["billing"] = json!(if billing == Billing::Settled { "settled" } else { "open" });
    }
    json!({ "installation": record })
}

fn resource(id: &str, number: u8, provisioning: bool) -> Value {
    let status = if provisioning { "provisioning" } else { "ready" };
    json!({ "resource": { "installationId": id, "id": format!("r{number}"), "status": status } })
}

/// What is left of an installation.
async fn end(world: &World, id: &str) -> End {
    let items = world.items(id).await;
    let mut end = End::default();
    for (sort_key, item) in &items {
        let resource = sort_key.strip_prefix("resource#r").and_then(|it| it.parse().ok());
        if let Some(resource) = resource {
            end.live.insert(resource, item["status"] == "provisioning");
        } else if let Some(receipt) = sort_key.strip_prefix("receipt#") {
            end.receipts.insert(receipt.to_owned());
        } else if sort_key == "#token" {
            end.token = true;
        } else if sort_key == "#installation" {
            end.state = item["state"].as_str().unwrap_or_default().to_owned();
            end.settled = (end.state == "active").then_some(item["billing"] == "settled");
            end.finalized = item["finalized"] == true;
            end.configuration_gone = item.get("configurationDeletedAt").is_some();
            // What it says once it is deleted means nothing.
            let active = end.state == "active";
            let resources = item["resources"].as_u64().filter(|_| active).unwrap_or_default();
            end.resources = usize::try_from(resources).unwrap();
        } else {
            end.work.insert(sort_key.clone());
        }
    }
    for operation in ["delete_resource", "delete_installation", "delete_configuration"] {
        for key in 0..KEYS {
            let hash = IdempotencyKey::parse(format!("k{key}").as_bytes()).unwrap();
            let pk = format!("key#{id}#{operation}#{}", hash.sha256());
            if world.item(&pk, "outcome").await.is_some() {
                end.outcomes.insert((operation, key));
            }
        }
    }
    let ids = world.provider.ids();
    let announced = |of: &str, resource: &Value| {
        ids.get(&format!("{} {} {resource}", json!(of), json!(id))).map(BTreeSet::len)
    };
    end.announced = (0..RESOURCES)
        .map(|it| format!("r{it}"))
        .filter_map(|it| Some((it.clone(), announced("resource.deleted", &json!(it))?)))
        .collect::<BTreeMap<_, _>>();
    if let Some(times) = announced("installation.deleted", &Value::Null) {
        end.announced.insert("itself".to_owned(), times);
    }
    end.at_vercel = (world.vercel.is_gone(id), world.vercel.is_finalized(id));
    end
}

/// What was done to the installation of this number, in its parts.
fn history(number: usize, all: &[Done], end: End) -> History {
    let asked = |done: &Done| match &done.step {
        Step::Ask(at, op) if *at == number => Some(op.clone()),
        _ => None,
    };
    // A sweep is one too: it may take over what this very request began, whose lease has ended.
    let rivals: Vec<_> = all
        .iter()
        .filter(|done| match (asked(done), &done.step) {
            (Some(Op::DeleteConfiguration { .. }), _) => true,
            (_, step) => matches!(step, Step::Sweep),
        })
        .map(|done| done.from)
        .collect();
    let (mut events, mut kinds) = (Vec::new(), Vec::new());
    for done in all {
        let heard = done.heard.clone().unwrap_or_else(|why| format!("? ({why})").leak());
        let what = match &done.step {
            Step::Ask(..) => asked(done).map(|op| format!("{op:?}")),
            step => Some(format!("{step:?}")),
        };
        let Some(what) = what else { continue };
        let Done { client, from, until, .. } = *done;
        let line = format!("[{from:3} to {until:3}] client {client}: {what} → {heard}");
        let event = |part, until, certain| Event { part, from, until, certain, line: line.clone() };
        match (asked(done), &done.heard) {
            (Some(op), heard) => {
                let name = format!("{op:?}");
                let name = name.split_whitespace().next().unwrap_or_default();
                let said = heard.clone().unwrap_or("? no answer that says it");
                kinds.push(format!("{name} → {said}"));
                let configuration = matches!(op, Op::DeleteConfiguration { .. });
                if configuration {
                    events.push(event(Part::Asks, None, false));
                }
                match heard {
                    Ok(answer) => {
                        // By whoever has taken it over from this request.
                        if *answer == "409 request_in_progress" {
                            events.push(event(Part::Commits(op.clone()), None, false));
                        }
                        let rivals = rivals.iter().any(|it| *it != from && *it < until);
                        let answered = Part::Answered { op, answer, gone: done.gone, rivals };
                        events.push(event(answered, Some(until), true));
                    }
                    Err(_) if configuration => events.push(event(Part::Commits(op), None, false)),
                    Err(_) => events.push(event(Part::Unheard(op), None, false)),
                }
            }
            (None, Ok("swept")) => events.push(event(Part::Finalizes, Some(until), false)),
            (None, Err(_)) => events.push(event(Part::Finalizes, None, false)),
            (None, Ok(_)) => {}
        }
    }
    let from = all.iter().map(|done| done.until).max().unwrap_or_default() + 1;
    // What was due by then may come before what a request has left open.
    let line = format!("[{from:3}       ] the sweeps after it");
    let part = Part::Finalizes;
    events.push(Event { part, from, until: None, certain: false, line });
    let line = format!("[{from:3}       ] the end: {end:?}");
    let part = Part::Ends(end.clone());
    events.push(Event { part, from, until: Some(from), certain: true, line });
    History { events, end, kinds }
}
