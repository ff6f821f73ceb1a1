//! Searches for a legal order of a history's parts, many of which happened at the same time. The search uses
//! the algorithm of Wing and Gong, and remembers the states that it has searched, as Lowe describes.
//!
//! The crate `stateright` has a similar search. The search in this module differs in three ways: one part may
//! lead to several states, uncertain parts may be left out, and the longest legal beginning is reported.

use std::collections::HashSet;

use super::spec::{Part, State};

/// A part of a history, and the times at which it can have taken place. A time is a number: how many steps
/// had started or ended until that time.
#[derive(Clone, Debug)]
pub struct Event {
    pub part: Part,
    /// The earliest time at which the part can have taken place.
    pub from: usize,
    /// The latest time at which the part can have taken place. `None` if there is no latest time.
    pub until: Option<usize>,
    /// Whether the part has certainly taken place.
    pub certain: bool,
    /// The text that describes the part in an error.
    pub line: String,
}

/// The search for a legal order of a history's events.
pub struct Search<'a> {
    events: &'a [Event],
    seen: HashSet<(u128, State)>,
    path: Vec<usize>,
    /// The longest legal beginning that was found, as positions in `events`.
    pub longest: Vec<usize>,
    /// Every state in which the history's end was the only certain event left.
    pub ends: HashSet<State>,
}

impl<'a> Search<'a> {
    pub fn new(events: &'a [Event]) -> Self {
        assert!(events.len() <= 128, "a mask has 128 bits");
        let (seen, ends) = (HashSet::new(), HashSet::new());
        Self { events, seen, path: Vec::new(), longest: Vec::new(), ends }
    }

    /// Whether there is a legal order that begins in the state `from`.
    pub fn finds_an_order(&mut self, from: &State) -> bool {
        self.goes_on(0, 0, from)
    }

    /// Continues the search after a legal beginning. `done` has a bit for each event of the beginning, and
    /// `latest` is the greatest `from` of these events.
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
        // In a legal order, an operation that has ended comes before every operation that begins later.
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
