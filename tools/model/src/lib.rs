//! The deletion protocol as five models that `stateright` goes through exhaustively.
//!
//! | model | of |
//! |---|---|
//! | [`deletion`] | Delete Resource, Delete Installation and registrations, at once, with keys and without, repeated, killed anywhere |
//! | [`work`] | the jobs of a deletion: sweeps that claim, run and complete them, lose leases and die |
//! | [`teardown`] | a deletion's announcement in its two phases, and what an operator does meanwhile |
//! | [`saga`] | Delete Configuration, with Vercel outside, and the sweep that carries on |
//! | [`provision`] | a Provision's intent, beside an uninstall, a deletion and the sweep that reconciles |
//!
//! A model decides nothing by itself: what a request does next is asked of `teardown`'s own
//! `deletion::plan`, `configuration::plan`, `verdict`, `whereabouts`, `AnnouncementState::turn`,
//! `AnnouncementState::timing`, `provision::begin` and `provision::plan`, with the model's state as their
//! input. What a model has of its own are the transactions of the store, each of their conditions
//! under a name, so that a test can drop one and see what goes wrong.
//!
//! **Checked:** in every state that is reachable, each property; and from every one of them, that
//! *every* order of the steps that are left, once nothing fails any more, ends, and ends well
//! ([`ends_well`]). That is more than `stateright`'s `eventually`, which passes over cycles.
//!
//! **Not checked:** more than the scope of each model; DynamoDB itself, whose transactions are taken
//! to be atomic and its reads consistent; that the store's expressions say what the models'
//! conditions do (the tests through the door do that); expiry of outcomes and receipts. States are
//! told apart by 64 bits of hash.

#![expect(clippy::struct_excessive_bools, reason = "a state is what is so and what is not")]

pub mod deletion;
pub mod provision;
pub mod saga;
pub mod teardown;
pub mod work;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ahash::RandomState;
use stateright::{Checker, CheckerBuilder, Expectation, HasDiscoveries, Model};

/// A model whose ends can be judged.
pub trait Protocol:
    Model<State: Clone + Debug + Hash + PartialEq, Action: Clone + Debug + PartialEq>
{
    /// The steps that are left in a state if nothing fails any more and nobody asks for more.
    fn fair(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// Whether a state in which no such step is left is as it should be.
    fn is_well(&self, state: &Self::State) -> bool;

    /// The ends that are known already.
    fn ends(&self) -> &Ends;

    /// A step, for people.
    fn describe(&self, state: &Self::State, action: &Self::Action) -> String {
        let _ = state;
        format!("{action:?}")
    }
}

/// Which states are known to end well, or not to; none for one that is being looked at.
#[derive(Debug)]
pub struct Ends(Mutex<Known>);

type Known = HashMap<u64, Option<bool>, RandomState>;

impl Default for Ends {
    fn default() -> Self {
        // The same in every run.
        Self(Mutex::new(HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4))))
    }
}

/// The name of the property that [`ends_well`] is.
pub const ENDS_WELL: &str = "every order ends well";

/// Whether every order of the fair steps from a state comes to an end, and each to a good one.
pub fn ends_well<P: Protocol>(protocol: &P, state: &P::State) -> bool {
    let Ok(mut known) = protocol.ends().0.lock() else { return false };
    judge(protocol, state, &mut known)
}

fn judge<P: Protocol>(protocol: &P, state: &P::State, known: &mut Known) -> bool {
    let fingerprint = known.hasher().hash_one(state);
    if let Some(verdict) = known.get(&fingerprint) {
        // One that is being looked at was come back to: it need not end.
        return verdict.unwrap_or(false);
    }
    known.insert(fingerprint, None);
    let mut actions = Vec::new();
    protocol.fair(state, &mut actions);
    let mut nexts = actions.into_iter().filter_map(|action| protocol.next_state(state, action));
    let verdict = match nexts.next() {
        None => protocol.is_well(state),
        Some(first) => {
            judge(protocol, &first, known) && nexts.all(|next| judge(protocol, &next, known))
        }
    };
    known.insert(fingerprint, Some(verdict));
    verdict
}

/// The fair steps from a state to where it does not end well: to a bad end, or round in a circle.
fn bad_end<P: Protocol>(protocol: &P, state: &P::State) -> Vec<String> {
    let (mut state, mut steps, mut seen) = (state.clone(), Vec::new(), Vec::new());
    while !seen.contains(&state) {
        let mut actions = Vec::new();
        protocol.fair(&state, &mut actions);
        let bad = actions.into_iter().find_map(|action| {
            let next = protocol.next_state(&state, action.clone())?;
            (!ends_well(protocol, &next)).then_some((action, next))
        });
        let Some((action, next)) = bad else { break };
        steps.push(format!("then {}", protocol.describe(&state, &action)));
        seen.push(std::mem::replace(&mut state, next));
    }
    steps.push(format!("{state:?}"));
    steps
}

/// The result of a check.
#[derive(Debug)]
pub struct Report {
    /// How many states there are.
    pub states: usize,
    /// How many steps the farthest of them is away.
    pub depth: usize,
    /// How long it took.
    pub time: Duration,
    /// The properties that do not hold, each with the steps to where it does not.
    pub violated: BTreeMap<&'static str, Vec<String>>,
    /// The states that should be reachable and are not: a model that does nothing violates nothing.
    pub missing: Vec<&'static str>,
}

/// How a check goes through the states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Through all of them.
    All,
    /// Until a property is violated, the nearest states first: on the shortest way there.
    Nearest,
    /// Until this property is violated, the nearest states first. Another may be violated before.
    For(&'static str),
    /// Until a property is violated, each way to its end before the next: sooner where all ways there
    /// are long.
    Deep,
}

/// Goes through the states. Each model has a `check` of its own, which is compiled here, with the
/// models, and so as fast as they are.
fn check<P>(protocol: P, search: Search) -> Report
where
    P: Protocol + Send + Sync + 'static,
    P::State: Send + Sync + 'static,
{
    let began = Instant::now();
    let to_the_first =
        |checker: CheckerBuilder<P>| checker.finish_when(HasDiscoveries::AnyFailures);
    let checker = protocol.checker();
    match search {
        Search::All => report(&checker.spawn_bfs().join(), began),
        Search::Nearest => report(&to_the_first(checker).spawn_bfs().join(), began),
        Search::For(property) => {
            let found = HasDiscoveries::AnyOf([property].into());
            report(&checker.finish_when(found).spawn_bfs().join(), began)
        }
        Search::Deep => report(&to_the_first(checker).spawn_dfs().join(), began),
    }
}

fn report<P: Protocol>(checker: &impl Checker<P>, began: Instant) -> Report {
    let model = checker.model();
    let mut discoveries = checker.discoveries();
    let (mut violated, mut missing) = (BTreeMap::new(), Vec::new());
    for property in model.properties() {
        match (property.expectation, discoveries.remove(property.name)) {
            (Expectation::Sometimes, None) => missing.push(property.name),
            (Expectation::Always | Expectation::Eventually, Some(path)) => {
                let steps = path.clone().into_vec();
                let steps = steps.iter().map(|(state, action)| {
                    action.as_ref().map_or_else(
                        || format!("{state:?}"),
                        |action| model.describe(state, action),
                    )
                });
                let mut steps: Vec<_> = steps.collect();
                if property.name == ENDS_WELL {
                    steps.extend(bad_end(model, path.last_state()));
                }
                violated.insert(property.name, steps);
            }
            _ => {}
        }
    }
    Report {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        time: began.elapsed(),
        violated,
        missing,
    }
}
