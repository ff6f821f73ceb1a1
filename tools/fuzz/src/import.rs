//! Fuzzes imported lines: each refused line must be reported once, by its number. If the refused lines are
//! removed, an import must have the same result.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use teardown_cli::cli::import::import_lines;
use tokio::io::BufReader;

use super::cost::{self, ANSWER, Most};
use super::fixture::{Fixture, Items, NOWHERE};

/// The text that the seeds have in place of a secret. No message may repeat this text.
const SECRET: &str = "S3CRET-abcdefghijklmnopqrstuvwxyz";

/// The most memory that an import may hold at one time, in bytes. A line may have 1 MiB, and some thousand
/// lines may wait in memory.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// Checks the rules for one input.
pub fn target(input: &[u8]) {
    refused(input);
}

/// Which lines of an input are refused, and why.
pub fn refused(input: &[u8]) -> BTreeMap<u64, String> {
    FIXTURE.with(|fixture| {
        let lines: Vec<_> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let (imported, refused, items) = fixture.import(input);
        for (line, reason) in &refused {
            assert!((1..=lines.len() as u64).contains(line), "{line}: {reason}");
            assert!(!reason.is_empty() && !reason.contains(char::is_control), "{reason:?}");
            assert!(!reason.contains(SECRET), "{reason}");
        }
        let good = |number: u64| !refused.contains_key(&number);
        let good: Vec<_> =
            (1..).zip(&lines).filter(|(number, _)| good(*number)).map(|(_, line)| *line).collect();
        assert!(imported <= good.len() as u64, "{imported} lines of {}", good.len());
        let (again, none, alone) = fixture.import(&good.concat());
        assert_eq!((again, none.len(), alone), (imported, 0, items));
        refused
    })
}

thread_local! {
    static FIXTURE: &'static Fixture = Fixture::new(NOWHERE, &[]);
}

impl Fixture {
    /// Imports lines into the empty table. Returns how many lines were imported, which lines were refused and
    /// why, and the table's items after the import.
    fn import(&self, lines: &[u8]) -> (u64, BTreeMap<u64, String>, Items) {
        let refused = Arc::new(Mutex::new(BTreeMap::new()));
        let heard = Arc::clone(&refused);
        let hear = move |line, reason: &str| {
            // The test stores the refused lines here, so this memory does not count as memory of the import.
            allocation_counter::opt_out(|| {
                let before = heard.lock().unwrap().insert(line, reason.to_owned());
                assert_eq!(before, None, "line {line} is refused twice");
            });
        };
        // The import may take as much CPU time for each line as an endpoint for an answer. Even if a line is
        // too long, the import reads the whole line, so it may take this time once more for each 1 MiB.
        let count = lines.split_inclusive(|byte| *byte == b'\n').count().max(1);
        let times = count + lines.len() / (1024 * 1024);
        let cpu = ANSWER.cpu * u32::try_from(times).unwrap();
        let imported = cost::bounded(lines, &Most { cpu, bytes: MOST_BYTES }, || {
            let stream = BufReader::with_capacity(64 * 1024, lines);
            self.runtime.block_on(import_lines(stream, &self.store, hear)).unwrap()
        });
        let items = self.runtime.block_on(async {
            let items = self.items().await;
            self.reset(&items).await;
            items
        });
        let refused = std::mem::take(&mut *refused.lock().unwrap());
        (imported, refused, items)
    }
}
