//! Lines to import: what is refused is named by its number, once, and might as well not be there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use teardown_cli::cli::import::import_lines;
use tokio::io::BufReader;

use super::cost::{self, ANSWER, Most};
use super::stand::{Items, NOWHERE, Stand};

/// The text that the seeds have in place of a secret: no message repeats it.
const SECRET: &str = "S3CRET-abcdefghijklmnopqrstuvwxyz";

/// The most memory that an import may take at a time: a line has up to 1 MiB, and some thousand wait.
const MOST_BYTES: u64 = 8 * 1024 * 1024;

/// Takes an input for the target.
pub fn target(input: &[u8]) {
    refused(input);
}

/// Which lines of an input are refused, and why.
pub fn refused(input: &[u8]) -> BTreeMap<u64, String> {
    STAND.with(|stand| {
        let lines: Vec<_> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let (imported, refused, items) = stand.import(input);
        for (line, reason) in &refused {
            assert!((1..=lines.len() as u64).contains(line), "{line}: {reason}");
            assert!(!reason.is_empty() && !reason.contains(char::is_control), "{reason:?}");
            assert!(!reason.contains(SECRET), "{reason}");
        }
        let good = |number: u64| !refused.contains_key(&number);
        let good: Vec<_> =
            (1..).zip(&lines).filter(|(number, _)| good(*number)).map(|(_, line)| *line).collect();
        assert!(imported <= good.len() as u64, "{imported} lines of {}", good.len());
        let (again, none, alone) = stand.import(&good.concat());
        assert_eq!((again, none.len(), alone), (imported, 0, items));
        refused
    })
}

thread_local! {
    static STAND: &'static Stand = Stand::new(NOWHERE, &[]);
}

impl Stand {
    /// Imports lines into the empty table: how many, which not, and what it holds then.
    fn import(&self, lines: &[u8]) -> (u64, BTreeMap<u64, String>, Items) {
        let refused = Arc::new(Mutex::new(BTreeMap::new()));
        let heard = Arc::clone(&refused);
        let hear = move |line, reason: &str| {
            // The lines kept here count as the test's own memory.
            allocation_counter::opt_out(|| {
                let before = heard.lock().unwrap().insert(line, reason.to_owned());
                assert_eq!(before, None, "line {line} is refused twice");
            });
        };
        // Each line may take an answer's time; one that is longer than a line may be, as much for each
        // such length, since all of it is read.
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
