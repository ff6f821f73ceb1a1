//! Random histories of several clients at the same time (C, D, E, F, G, J). DynamoDB, Vercel and the provider
//! fail, clients hang up, and other workers overtake a worker whose lease has ended. The tests check that
//! each history has a legal order: the same operations, one after another, could have led to the same answers
//! and the same end.

mod end;
mod order;
mod plan;
mod run;
mod spec;
mod turn;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;

use self::order::{Event, Search};
use self::plan::{Billing, By, Installed, Op, Plan};
use self::run::{History, bring_to_the_end, play};
use self::spec::{ANSWERS, Part, State};
use crate::support::backend::Backend;
use crate::support::world::sized;

/// The number of histories to play, if `HISTORIES` is not set.
const HISTORIES: usize = 160;

/// The number of `World`s in which histories are played at the same time.
const LANES: usize = 8;

/// The number of histories that are played in one `World` before sweeps end the jobs of all these histories
/// together. The sweeps take longer than playing one history.
const TOGETHER: u8 = 8;

/// The number that this environment variable holds.
fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|it| it.parse().unwrap())
}

/// The results of all histories together.
#[derive(Default)]
struct Seen {
    histories: u64,
    operations: usize,
    kinds: BTreeMap<String, usize>,
    failures: Vec<String>,
}

/// C, D, E, F, G, J: each of many random histories has a legal order, and the state at its end is the state
/// that this order leads to. The test prints the number of histories, and the number of answers of each kind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_history_has_a_legal_order() {
    let histories = variable("HISTORIES").unwrap_or(sized(HISTORIES, 60) as u64);
    let first = variable("HISTORIES_FROM").unwrap_or_default();
    let (next, seen) = (Arc::new(AtomicU64::new(first)), Arc::new(Mutex::new(Seen::default())));
    let lanes: Vec<_> = (0..LANES)
        .map(|_| tokio::spawn(lane(next.clone(), first + histories, seen.clone())))
        .collect();
    for lane in lanes {
        lane.await.unwrap();
    }
    let seen = seen.lock().unwrap();
    println!("{} histories, {} operations", seen.histories, seen.operations);
    for (kind, times) in &seen.kinds {
        println!("{times:6} {kind}");
    }
    // One fault in the code makes many histories fail, so 3 failed histories are enough.
    let failures = &seen.failures[..seen.failures.len().min(3)];
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if histories >= HISTORIES as u64 {
        let occurs = |answer: &str| seen.kinds.keys().any(|kind| kind.ends_with(answer));
        let missing: Vec<_> = ANSWERS.into_iter().filter(|answer| !occurs(answer)).collect();
        assert!(missing.is_empty(), "no history had these answers: {missing:?}");
    }
}

/// The search distinguishes a legal history from an illegal history. A registration that begins after an
/// uninstall must be refused. A registration at the same time as an uninstall may come before the uninstall
/// in the order. An uninstall without an answer may have taken effect or not, but it cannot have taken effect
/// before its request was sent.
#[test]
fn an_order_has_to_be_legal() {
    let uninstall =
        || Op::DeleteInstallation { cascade: true, reason: false, key: None, by: By::User };
    let register = Op::RegisterResource { resource: 0, provisioning: false };
    let answered = |op, answer, from, until| Event {
        part: Part::Answered { op, answer, gone: false, rivals: false },
        from,
        until: Some(until),
        certain: true,
        line: String::new(),
    };
    let unanswered = |from| Event {
        part: Part::Unanswered(uninstall()),
        from,
        until: None,
        certain: false,
        line: String::new(),
    };
    let installed =
        Installed { billing: Billing::Open, with_token: false, resources: vec![None, None] };
    let legal =
        |events: &[Event]| Search::new(events).finds_an_order(&State::new(Some(&installed)));
    let refused = "refused: the installation was deleted";
    let registers = |answer, from, until| answered(register.clone(), answer, from, until);
    assert!(legal(&[answered(uninstall(), "200 open", 0, 3), registers("registered", 1, 2)]));
    assert!(!legal(&[answered(uninstall(), "200 open", 0, 1), registers("registered", 2, 3)]));
    assert!(!legal(&[answered(uninstall(), "200 finalized", 0, 1)]));
    assert!(legal(&[unanswered(0), registers("registered", 1, 2), registers(refused, 3, 4)]));
    assert!(!legal(&[unanswered(0), registers(refused, 1, 2), registers("registered", 3, 4)]));
    assert!(!legal(&[registers(refused, 0, 1), unanswered(2)]));
}

/// Plays histories, one after another, and judges each of them. Ends when no history is left to play, or when
/// a history in any `World` has failed.
async fn lane(next: Arc<AtomicU64>, end: u64, seen: Arc<Mutex<Seen>>) {
    while seen.lock().unwrap().failures.is_empty() {
        let first = next.fetch_add(TOGETHER.into(), Ordering::SeqCst);
        let plans: Vec<_> =
            (first..end).take(TOGETHER.into()).map(|seed| (seed, Plan::of(seed))).collect();
        if plans.is_empty() {
            return;
        }
        // Each group of histories has a new `World`, because the embedded DynamoDB gets slower: for each
        // transaction it searches all earlier transactions.
        let (world, backend) = Backend::behind_with(&[("RECEIPT_RETENTION", "30000d")]).await;
        let store = world.proxied().await;
        let mut played = Vec::new();
        for (seed, plan) in &plans {
            let name = format!("icfg_{seed}");
            let play = play(&world, &store, &backend, &name, plan);
            let Ok(one) = std::panic::AssertUnwindSafe(play).catch_unwind().await else {
                seen.lock().unwrap().failures.push(format!("history {seed} broke off: {plan:#?}"));
                return;
            };
            played.push(one);
        }
        bring_to_the_end(&world, &played).await;
        for ((seed, plan), played) in plans.iter().zip(&played) {
            let histories = played.histories(&world).await;
            seen.lock().unwrap().add(*seed, plan, &histories);
        }
    }
}

impl Seen {
    fn add(&mut self, seed: u64, plan: &Plan, histories: &[History]) {
        self.histories += 1;
        for (history, installed) in histories.iter().zip(&plan.installations) {
            self.operations += history.kinds.len();
            for kind in &history.kinds {
                *self.kinds.entry(kind.clone()).or_default() += 1;
            }
            let from = State::new(installed.as_ref());
            if let Err(why) = judge(history, &from) {
                self.failures.push(format!("history {seed}, from {from:?}\n{why}of {plan:?}"));
            }
        }
    }
}

/// Returns an error if the history has no legal order. The error contains the history and its longest legal
/// beginning.
fn judge(history: &History, from: &State) -> Result<(), String> {
    let mut search = Search::new(&history.events);
    if search.finds_an_order(from) {
        return Ok(());
    }
    let mut why = String::from("has no legal order:\n");
    for event in &history.events {
        if !matches!(event.part, Part::Calls) {
            writeln!(why, "  {}", event.line).unwrap();
        }
    }
    why += "the longest legal beginning:\n";
    for at in &search.longest {
        let Event { part, line, .. } = &history.events[*at];
        let name = format!("{part:?}");
        let name = name.split([' ', '(']).next().unwrap_or_default().to_owned();
        writeln!(why, "  {name:9} {line}").unwrap();
    }
    if !search.ends.is_empty() {
        writeln!(why, "the end should have been, and was:").unwrap();
        for state in &search.ends {
            writeln!(why, "  {:?}", state.end().0).unwrap();
        }
        writeln!(why, "  {:?}", history.end).unwrap();
    }
    Err(why)
}
