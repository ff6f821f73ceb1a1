//! The journal of what happened, in order: requests with their answers, writes, and the requests that the
//! stand-ins got. The journal remembers the last entries, and notifies the open pages of news.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use teardown::clock::Clock;
use tokio::sync::broadcast;

use super::entry::{Answer, Call, Changes, Entry, Request, Side, What, Writer};
use crate::attributes::{Item, number, text};
use crate::web::items::ItemChange;
use crate::web::sections::state_text;

/// How many entries of each kind the journal remembers.
const REMEMBERED: usize = 200;

/// How many signals may wait for a slow page. If more signals wait than this, the page loads all its sections
/// again.
const SIGNALS: usize = 1024;

/// The part of a page that has news.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// The list of installations.
    List,
    /// A section of an installation.
    Stored(String, Section),
    /// The entries about one installation, or, if `None`, the entries about all installations.
    News(Option<String>),
    /// The clock, because it was moved.
    Clock,
    /// The answers of the stand-ins, because a user of the page has set them.
    Answers,
}

/// The sections that show an installation as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Section {
    Facts,
    Resources,
    Jobs,
    Holds,
    Receipts,
}

impl Section {
    /// The sections that show an item with this sort key.
    fn of(sk: &str) -> &'static [Self] {
        let sections: [(&str, &[Self]); 6] = [
            ("#installation", &[Self::Facts, Self::Resources]),
            ("#token", &[Self::Facts]),
            ("resource#", &[Self::Resources]),
            ("work#", &[Self::Jobs]),
            ("hold#", &[Self::Holds]),
            ("receipt#", &[Self::Receipts]),
        ];
        sections.into_iter().find(|(prefix, _)| sk.starts_with(prefix)).map_or(&[], |it| it.1)
    }
}

/// An installation, as the list shows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: String,
    pub(super) state: String,
    pub(super) billing: String,
    pub(super) resources: String,
}

#[derive(Debug, Default)]
struct Memory {
    last: u64,
    calls: VecDeque<Entry>,
    writes: VecDeque<Entry>,
    outgoing: VecDeque<Entry>,
    installations: BTreeMap<String, Known>,
    /// For each group of requests that are being sent at the same time, the value of `last` when the group
    /// began.
    together: Vec<u64>,
}

/// The journal. All clones share its entries.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    memory: Arc<Mutex<Memory>>,
    signals: broadcast::Sender<Topic>,
    clock: Clock,
    run: u64,
}

impl Journal {
    pub(crate) fn new(clock: Clock) -> Self {
        let run = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self {
            memory: Arc::default(),
            signals: broadcast::channel(SIGNALS).0,
            clock,
            run: u64::try_from(run).unwrap_or_default(),
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // The page only shows this memory, so it does no harm if the lock is poisoned.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn notify(&self, topic: Topic) {
        // The send fails if no page is open, because then nobody receives signals.
        let _ = self.signals.send(topic);
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Topic> {
        self.signals.subscribe()
    }

    /// The number of the last change. A page sends its version number to say which changes it has seen.
    pub(super) fn version(&self) -> u64 {
        self.memory().last
    }

    /// A number that distinguishes the journal of this process from the journals of other processes.
    pub(super) fn run(&self) -> u64 {
        self.run
    }

    /// Records the changes of a write, each with the item after the write.
    pub(super) fn written(&self, writer: Writer, changes: Vec<(ItemChange, Option<Item>)>) {
        let mut by_installation: BTreeMap<String, Vec<ItemChange>> = BTreeMap::new();
        for (change, after) in changes {
            let Some(id) = change.installation().map(str::to_owned) else { continue };
            if change.sk == "#installation" {
                let known = after.as_ref().and_then(Known::of);
                let mut memory = self.memory();
                match known {
                    Some(known) => drop(memory.installations.insert(id.clone(), known)),
                    None => drop(memory.installations.remove(&id)),
                }
                drop(memory);
                self.notify(Topic::List);
            }
            by_installation.entry(id).or_default().push(change);
        }
        for (id, changes) in by_installation {
            let sections: BTreeSet<_> =
                changes.iter().flat_map(|change| Section::of(&change.sk)).copied().collect();
            self.remember_write(writer, &id, changes);
            for section in sections {
                self.notify(Topic::Stored(id.clone(), section));
            }
            self.notify(Topic::News(Some(id)));
        }
    }

    fn remember_write(&self, writer: Writer, id: &str, changes: Vec<ItemChange>) {
        let mut memory = self.memory();
        memory.last += 1;
        if writer == Writer::Endpoints {
            let calls = memory.calls.iter_mut().rev();
            let open = calls.filter(|entry| entry.installation.as_deref() == Some(id));
            for entry in open {
                if let What::Call(call) = &mut entry.what
                    && call.under_way > 0
                {
                    call.changes.add(changes);
                    return;
                }
            }
        }
        let mut all = Changes::default();
        all.add(changes);
        let what = What::Written(writer, all);
        let entry = Entry {
            number: memory.last,
            at: self.clock.timestamp(),
            installation: Some(id.to_owned()),
            what,
        };
        remember(&mut memory.writes, entry);
    }

    /// Adds an entry for an event that has no duration.
    pub(super) fn add(&self, installation: Option<String>, what: What) {
        let mut memory = self.memory();
        memory.last += 1;
        let (number, at) = (memory.last, self.clock.timestamp());
        let entry = Entry { number, at, installation: installation.clone(), what };
        remember(&mut memory.calls, entry);
        drop(memory);
        self.notify(Topic::News(installation));
    }

    /// Equal requests that begin while the returned guard exists become one entry, even if some of the
    /// requests are answered before other requests begin.
    pub(super) fn together(&self) -> Together<'_> {
        let mut memory = self.memory();
        let since = memory.last;
        memory.together.push(since);
        Together { journal: self, since }
    }

    /// Records that a request begins. Equal requests that are under way at the same time become one entry.
    pub(super) fn begin(
        &self,
        side: Side,
        installation: Option<String>,
        request: Request,
    ) -> UnderWay {
        let mut memory = self.memory();
        memory.last += 1;
        let (number, at) = (memory.last, self.clock.timestamp());
        let together = memory.together.iter().min().copied().unwrap_or(u64::MAX);
        let entries =
            if side == Side::Endpoints { &mut memory.calls } else { &mut memory.outgoing };
        let equal = entries.iter_mut().rev().find_map(|entry| match &mut entry.what {
            What::Call(call)
                if (call.under_way > 0 || entry.number > together) && call.request == request =>
            {
                call.sent += 1;
                call.under_way += 1;
                Some(entry.number)
            }
            _ => None,
        });
        let number = equal.unwrap_or_else(|| {
            let call = Call::begin(side, request);
            let what = What::Call(call);
            remember(entries, Entry { number, at, installation: installation.clone(), what });
            number
        });
        drop(memory);
        self.notify(Topic::News(installation.clone()));
        UnderWay { journal: self.clone(), number, side, installation, answer: None }
    }

    fn end(&self, ended: &mut UnderWay) {
        let mut memory = self.memory();
        memory.last += 1;
        let side = ended.side;
        let entries =
            if side == Side::Endpoints { &mut memory.calls } else { &mut memory.outgoing };
        let entry = entries.iter_mut().rev().find(|entry| entry.number == ended.number);
        if let Some(Entry { what: What::Call(call), .. }) = entry {
            call.end(ended.answer.take());
        }
        drop(memory);
        self.notify(Topic::News(ended.installation.clone()));
    }

    /// The last `limit` entries about an installation, the newest first, and whether there are older entries.
    pub(super) fn entries(
        &self,
        installation: &str,
        before: Option<u64>,
        limit: usize,
    ) -> (Vec<Entry>, bool) {
        let memory = self.memory();
        let all = memory.calls.iter().chain(&memory.writes).chain(&memory.outgoing);
        let is_here = |entry: &&Entry| {
            entry.installation.as_deref().is_none_or(|id| id == installation)
                && before.is_none_or(|before| entry.number < before)
        };
        let mut found: Vec<&Entry> = all.filter(is_here).collect();
        found.sort_by_key(|entry| std::cmp::Reverse(entry.number));
        let older = found.len() > limit;
        (found.into_iter().take(limit).cloned().collect(), older)
    }

    /// Finds an entry by its number.
    pub(super) fn entry(&self, number: u64) -> Option<Entry> {
        let memory = self.memory();
        let mut all = memory.calls.iter().chain(&memory.writes).chain(&memory.outgoing);
        all.find(|entry| entry.number == number).cloned()
    }

    /// The last request to the endpoints about an installation.
    pub(super) fn last_request(&self, installation: &str) -> Option<Entry> {
        let memory = self.memory();
        let mut calls = memory.calls.iter().rev();
        let is_here = |entry: &&Entry| {
            matches!(entry.what, What::Call(_))
                && entry.installation.as_deref().is_none_or(|id| id == installation)
        };
        calls.find(is_here).cloned()
    }

    /// Adds the installations that were in the table before the tool started.
    pub(super) fn known(&self, items: &[Item]) {
        let mut memory = self.memory();
        for known in items.iter().filter_map(Known::of) {
            memory.installations.entry(known.id.clone()).or_insert(known);
        }
        drop(memory);
        self.notify(Topic::List);
    }

    /// The next `limit` installations after an id. If more installations follow the returned installations,
    /// also returns the id of the last returned installation.
    pub(super) fn installations(&self, after: &str, limit: usize) -> (Vec<Known>, Option<String>) {
        let memory = self.memory();
        let from = (std::ops::Bound::Excluded(after.to_owned()), std::ops::Bound::Unbounded);
        let mut found = memory.installations.range(from).map(|(_, known)| known.clone());
        let rows: Vec<_> = found.by_ref().take(limit).collect();
        let next = found.next().and(rows.last().map(|known| known.id.clone()));
        (rows, next)
    }

    /// The id of the first live installation. If no installation is live, the id of the first installation.
    pub(super) fn first_installation(&self) -> Option<String> {
        let memory = self.memory();
        let live = memory.installations.values().find(|known| known.state == "active");
        live.or_else(|| memory.installations.values().next()).map(|known| known.id.clone())
    }
}

fn remember(entries: &mut VecDeque<Entry>, entry: Entry) {
    if entries.len() == REMEMBERED {
        entries.pop_front();
    }
    entries.push_back(entry);
}

impl Known {
    fn of(item: &Item) -> Option<Self> {
        let id = text(item, "pk")?.strip_prefix("installation#")?.to_owned();
        let state = text(item, "state").unwrap_or("unknown").to_owned();
        let live = state == "active";
        Some(Self {
            id,
            billing: text(item, "billing").unwrap_or("open").to_owned(),
            resources: if live { number(item, "resources").unwrap_or("0") } else { "0" }.to_owned(),
            state,
        })
    }

    /// The installation's state, as a text for people.
    pub(super) fn text(&self) -> &str {
        state_text(&self.state)
    }
}

/// A group of requests that are sent at the same time. The group ends when this guard is dropped.
pub(super) struct Together<'a> {
    journal: &'a Journal,
    since: u64,
}

impl Drop for Together<'_> {
    fn drop(&mut self) {
        let mut memory = self.journal.memory();
        let place = memory.together.iter().position(|since| *since == self.since);
        place.map(|place| memory.together.swap_remove(place));
    }
}

/// A request that is under way. If this value is dropped without an answer, the caller has aborted the
/// request.
pub(super) struct UnderWay {
    journal: Journal,
    number: u64,
    side: Side,
    installation: Option<String>,
    answer: Option<Answer>,
}

impl UnderWay {
    pub(super) fn answered(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let journal = self.journal.clone();
        journal.end(self);
    }
}
