//! Looks for a legal order of what happened at the same time, as Wing and Gong do, remembering where
//! it has been (Lowe).
//!
//! `stateright` has such a tester. This one is another because parts may lead to several states and
//! need not take place, and because it says how far it came.

use std::collections::HashSet;

use super::spec::{Part, State};

/// A part, and when it can have been: times are counted, not measured.
#[derive(Clone, Debug)]
pub struct Event {
    pub part: Part,
    /// Not before this.
    pub from: usize,
    /// Not after this; none where it may come at any time.
    pub until: Option<usize>,
    /// Whether it has taken place.
    pub certain: bool,
    /// For people.
    pub line: String,
}

/// The search.
pub struct Search<'a> {
    events: &'a [Event],
    seen: HashSet<(u128, State)>,
    path: Vec<usize>,
    /// The longest legal beginning.
    pub longest: Vec<usize>,
    /// Every state in which nothing but the end was left.
    pub ends: HashSet<State>,
}

impl<'a> Search<'a> {
    pub fn new(events: &'a [Event]) -> Self {
        assert!(events.len() <= 128, "a mask has 128 bits");
        let (seen, ends) = (HashSet::new(), HashSet::new());
        Self { events, seen, path: Vec::new(), longest: Vec::new(), ends }
    }

    /// Whether there is a legal order.
    pub fn finds_an_order(&mut self, from: &State) -> bool {
        self.goes_on(0, 0, from)
    }

    /// `latest` is the latest time that anything so far cannot have been before.
    fn goes_on(&mut self, done: u128, latest: usize, state: &State) -> bool {
        let certain = |path: &[usize]| path.iter().filter(|at| self.events[**at].certain).count();
        if certain(&self.path) > certain(&self.longest) {
            self.longest.clone_from(&self.path);
        }
        let open = |at: &usize| done & (1 << at) == 0;
        let left = (0..self.events.len()).filter(open);
        let left: Vec<_> = left.filter(|at| self.events[*at].certain).collect();
        if left.is_empty() {
            return true;
        }
        if let [last] = left[..]
            && matches!(self.events[last].part, Part::Ends(_))
        {
            self.ends.insert(state.clone());
        }
        if !self.seen.insert((done, state.clone())) {
            return false;
        }
        // An operation that has ended comes before one that has not begun by then.
        let first_end = left.iter().filter_map(|at| self.events[*at].until).min();
        for at in (0..self.events.len()).filter(open) {
            let event = &self.events[at];
            let too_early = first_end.is_some_and(|end| event.from > end);
            let too_late = event.until.is_some_and(|end| end < latest);
            if too_early || too_late {
                continue;
            }
            for next in state.after(&event.part) {
                self.path.push(at);
                if self.goes_on(done | (1 << at), latest.max(event.from), &next) {
                    return true;
                }
                self.path.pop();
            }
        }
        false
    }
}
