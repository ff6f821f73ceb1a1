//! Lines to import: what is refused is named by its number, once, and might as well not be there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use teardown_dev::cli::import::import_lines;

use super::cpu;
use super::stand::{Items, NOWHERE, Stand};

/// What the seeds have where a secret stands: no message repeats it.
const SECRET: &str = "S3CRET-abcdefghijklmnopqrstuvwxyz";

/// Takes an input for the target.
pub fn target(input: &[u8]) {
    refused(input);
}

/// Which lines of an input are refused, and why.
pub fn refused(input: &[u8]) -> BTreeMap<u64, String> {
    STAND.with(|stand| {
        let lines: Vec<_> = input.split_inclusive(|byte| *byte == b'\n').collect();
        let times = u32::try_from(lines.len()).unwrap().max(1);
        let (imported, refused, items) = cpu::bounded(input, times, || stand.import(input));
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
            let before = heard.lock().unwrap().insert(line, reason.to_owned());
            assert_eq!(before, None, "line {line} is refused twice");
        };
        self.runtime.block_on(async {
            let imported = import_lines(lines, &self.store, hear).await.unwrap();
            let items = self.items().await;
            self.reset(&items).await;
            let refused = std::mem::take(&mut *refused.lock().unwrap());
            (imported, refused, items)
        })
    }
}
