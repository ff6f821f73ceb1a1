//! Five models of the deletion protocol, and the checker that runs them.
//!
//! A model is a small copy of the protocol: a state (the table, the processes, Vercel), and the steps that
//! can change the state. The library `stateright` tries every order of the steps. `stateright` tests each
//! property in each state that a model can reach.
//!
//! | model | what it contains |
//! |---|---|
//! | [`deletion`] | Delete Resource, Delete Installation and registrations, at the same time |
//! | [`work`] | the jobs of an uninstall, and the workers that claim, run and complete them |
//! | [`teardown`] | a deletion's announcement in its two phases, and an operator's commands |
//! | [`saga`] | Delete Configuration, with its calls to Vercel, and the sweep that resumes it |
//! | [`provision`] | a Provision's intent, during an uninstall or a deletion, and the sweep that checks it |
//!
//! A model does not copy the code's decisions. To find a process's next step, a model calls `teardown`'s own
//! `deletion::plan`, `configuration::plan`, `verdict`, `whereabouts`, `AnnouncementState::turn`,
//! `AnnouncementState::timing`, `provision::begin` and `provision::plan`, with the model's state as their
//! input. A model has a copy of the store's transactions. Each condition of a transaction has a name, so a
//! test can drop the condition and see which property fails.
//!
//! **Checked:** each property, in each state that a model can reach. From each state, if nothing fails any
//! more, *every* order of the remaining steps ends, and ends well ([`ends_well`]). `stateright`'s own
//! `eventually` is weaker, because it does not see cycles.
//!
//! **Not checked:**
//! - anything outside a model's scope, for example more processes;
//! - DynamoDB itself: the models assume atomic transactions and consistent reads;
//! - the store's expressions: the tests that send HTTP requests check that these expressions match the
//!   models' conditions;
//! - the expiry of outcomes and receipts;
//! - two states with the same hash of 64 bits: the checker treats them as one state.

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

/// A model for which [`ends_well`] can be computed.
pub trait Protocol:
    Model<State: Clone + Debug + Hash + PartialEq, Action: Clone + Debug + PartialEq>
{
    /// Adds a state's fair steps to `actions`: the steps that remain if nothing fails any more and nobody
    /// sends a new request.
    fn fair(&self, state: &Self::State, actions: &mut Vec<Self::Action>);

    /// Whether a state without any fair step is a good end.
    fn is_well(&self, state: &Self::State) -> bool;

    /// The results of [`ends_well`] so far.
    fn ends(&self) -> &Ends;

    /// A step as text, for a test's output.
    fn describe(&self, state: &Self::State, action: &Self::Action) -> String {
        let _ = state;
        format!("{action:?}")
    }
}

/// The results of [`ends_well`], by a state's hash. `None` while a state is being judged.
#[derive(Debug)]
pub struct Ends(Mutex<Known>);

type Known = HashMap<u64, Option<bool>, RandomState>;

impl Default for Ends {
    fn default() -> Self {
        // With fixed seeds, hashes are the same in every run.
        Self(Mutex::new(HashMap::with_hasher(RandomState::with_seeds(1, 2, 3, 4))))
    }
}

/// The name of the property that [`ends_well`] computes.
pub const ENDS_WELL: &str = "every order of steps ends well";

/// Whether every order of the fair steps from a state ends, and ends in a state for which
/// [`Protocol::is_well`] is true.
pub fn ends_well<P: Protocol>(protocol: &P, state: &P::State) -> bool {
    let Ok(mut known) = protocol.ends().0.lock() else { return false };
    judge(protocol, state, &mut known)
}

fn judge<P: Protocol>(protocol: &P, state: &P::State, known: &mut Known) -> bool {
    let fingerprint = known.hasher().hash_one(state);
    if let Some(verdict) = known.get(&fingerprint) {
        // The steps led back to a state that is still being judged. Steps that lead around such a cycle may
        // never end.
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

/// The fair steps that lead from a state to a bad end, or around a cycle.
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
    /// The number of steps from a first state to the farthest state.
    pub depth: usize,
    /// How long the check took.
    pub time: Duration,
    /// The properties that failed, each with the steps to a state in which it failed.
    pub violated: BTreeMap<&'static str, Vec<String>>,
    /// The `sometimes` properties that no state has. A model that does nothing fails the `sometimes`
    /// properties, but no other property.
    pub missing: Vec<&'static str>,
}

/// The order in which a check visits the states, and when it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Visits all states.
    All,
    /// Visits the nearest states first, and stops when a property fails, so that it reports the fewest steps.
    Nearest,
    /// Visits the nearest states first, and stops when this property fails. The search goes on if another
    /// property fails.
    For(&'static str),
    /// Follows each path of steps to its end before the next path, and stops when a property fails. This
    /// order finds a failure faster if every path to a failure is long.
    Deep,
}

/// Visits the states. Each model has its own `check`, which calls this function, so that this generic code is
/// compiled and optimized in this crate.
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
