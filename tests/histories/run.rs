//! Plays a history: the clients take the steps of a plan at the same time. The clients' answers and the end
//! of the history are recorded.

use std::time::Duration;

use futures_util::future::join_all;
use teardown::store::Store;

use super::end::End;
use super::order::Event;
use super::plan::{Op, Plan, Step};
use super::spec::Part;
use super::turn::{Done, Scene, installation, resource};
use crate::support::backend::Backend;
use crate::support::world::World;

/// The steps that clients took in the installations of a plan.
pub struct Played {
    ids: Vec<String>,
    done: Vec<Done>,
}

/// The steps that clients took on one installation, and the installation's end.
pub struct History {
    pub events: Vec<Event>,
    pub end: End,
    /// The kind of each request, with the answer to the request.
    pub kinds: Vec<String>,
}

/// Plays a plan in installations whose ids begin with this name.
pub async fn play(
    world: &World,
    store: &Store,
    backend: &Backend,
    name: &str,
    plan: &Plan,
) -> Played {
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
    let scene = Scene::new(world, store, backend, &ids);
    let clients = plan.clients.iter().enumerate().map(|(client, turns)| {
        let scene = &scene;
        async move {
            for turn in turns {
                scene.take(client, turn, None).await;
            }
        }
    });
    join_all(clients).await;
    world.dynamodb.heal();
    world.vercel.forget_script();
    world.provider.forget_script();
    backend.forget_script();
    let mut done = scene.done();
    done.sort_by_key(|done| done.from);
    Played { ids, done }
}

/// Moves the clock and runs sweeps, without faults, until no job is left, or for 4 days.
pub async fn bring_to_the_end(world: &World, played: &[Played]) {
    for _ in 0..4 {
        world.clock.advance(Duration::from_hours(25));
        world.sweep_all().await;
        let mut pending = false;
        for id in played.iter().flat_map(|it| &it.ids) {
            pending |= world.sort_keys(id).await.iter().any(|key| key.starts_with("work#"));
        }
        if !pending {
            return;
        }
    }
}

impl Played {
    /// The history of each installation, once no job is left.
    pub async fn histories(&self, world: &World) -> Vec<History> {
        let mut histories = Vec::new();
        for (number, id) in self.ids.iter().enumerate() {
            histories.push(history(number, &self.done, End::of(world, id).await));
        }
        histories
    }
}

/// The history of the installation of this number, divided into parts.
fn history(number: usize, all: &[Done], end: End) -> History {
    let sent = |done: &Done| match &done.step {
        Step::Send(at, op) if *at == number => Some(op.clone()),
        _ => None,
    };
    // The steps that may delete the same configuration as this installation's requests. A sweep counts as
    // such a step, because it may take over the deletion of a request whose lease has ended.
    let rivals: Vec<_> = all
        .iter()
        .filter(|done| match (sent(done), &done.step) {
            (Some(Op::DeleteConfiguration { .. }), _) => true,
            (_, step) => matches!(step, Step::Sweep),
        })
        .map(|done| done.from)
        .collect();
    let (mut events, mut kinds) = (Vec::new(), Vec::new());
    for done in all {
        let result = done.result.clone().unwrap_or_else(|why| format!("? ({why})").leak());
        let what = match &done.step {
            Step::Send(..) => sent(done).map(|op| format!("{op:?}")),
            step => Some(format!("{step:?}")),
        };
        let Some(what) = what else { continue };
        let Done { client, from, until, .. } = *done;
        let line = format!("[{from:3} to {until:3}] client {client}: {what} → {result}");
        let event = |part, until, certain| Event { part, from, until, certain, line: line.clone() };
        match (sent(done), &done.result) {
            (Some(op), result) => {
                let name = format!("{op:?}");
                let name = name.split_whitespace().next().unwrap_or_default();
                let answer = result.clone().unwrap_or("? no answer that says it");
                kinds.push(format!("{name} → {answer}"));
                let configuration = matches!(op, Op::DeleteConfiguration { .. });
                if configuration {
                    events.push(event(Part::Calls, None, false));
                }
                if matches!(op, Op::Provision { .. }) {
                    let begun = result.is_ok().then_some(until);
                    events.push(event(Part::Begins, begun, false));
                }
                match result {
                    Ok(answer) => {
                        // The request or the sweep that has taken over the deletion may commit it.
                        if *answer == "409 request_in_progress" {
                            events.push(event(Part::Commits(op.clone()), None, false));
                        }
                        let rivals = rivals.iter().any(|it| *it != from && *it < until);
                        let answered = Part::Answered { op, answer, gone: done.gone, rivals };
                        events.push(event(answered, Some(until), true));
                    }
                    Err(_) if configuration => events.push(event(Part::Commits(op), None, false)),
                    Err(_) => events.push(event(Part::Unanswered(op), None, false)),
                }
            }
            (None, Ok("swept")) => events.push(event(Part::Finalizes, Some(until), false)),
            (None, Err(_)) => events.push(event(Part::Finalizes, None, false)),
            (None, Ok(_)) => {}
        }
    }
    let from = all.iter().map(|done| done.until).max().unwrap_or_default() + 1;
    // After the last step, a due finalization may run before the sweep ends a configuration's deletion that a
    // request has left open.
    let line = format!("[{from:3}       ] the sweeps after it");
    let part = Part::Finalizes;
    events.push(Event { part, from, until: None, certain: false, line });
    let line = format!("[{from:3}       ] the end: {end:?}");
    let part = Part::Ends(end.clone());
    events.push(Event { part, from, until: Some(from), certain: true, line });
    History { events, end, kinds }
}
