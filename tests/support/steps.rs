//! The steps of a process: its calls to DynamoDB, to Vercel and to the provider, counted in their order.
//! It can be killed at each of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// When a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call takes effect.
    Before,
    /// After it took effect, and before its answer is heard.
    After,
}

/// The crashes of a process that makes so many calls: before each, and after the last.
/// After one of the others it is where it is before the next.
pub fn crashes(calls: usize) -> impl Iterator<Item = (usize, Moment)> {
    let last = (calls - 1, Moment::After);
    (0..calls).map(|call| (call, Moment::Before)).chain([last])
}

/// The count. Clones share it.
#[derive(Clone, Default)]
pub struct Steps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicUsize,
    kill: Mutex<Option<(usize, Moment)>>,
    killed: Notify,
}

impl Steps {
    /// Begins to count anew.
    pub fn begin(&self) {
        self.0.count.store(0, Ordering::SeqCst);
        *self.0.kill.lock().unwrap() = None;
    }

    /// Begins to count anew, and kills at this call; the first is 0.
    pub fn kill_at(&self, call: usize, moment: Moment) {
        self.begin();
        *self.0.kill.lock().unwrap() = Some((call, moment));
    }

    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Waits until the process is to be killed.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Makes a call, unless it is the last that the process lives to make.
    pub async fn call<T>(&self, effect: impl Future<Output = T>) -> T {
        let number = self.0.count.fetch_add(1, Ordering::SeqCst);
        let dies = |moment| *self.0.kill.lock().unwrap() == Some((number, moment));
        if dies(Moment::Before) {
            return self.kill().await;
        }
        let answer = effect.await;
        if dies(Moment::After) {
            return self.kill().await;
        }
        answer
    }

    async fn kill<T>(&self) -> T {
        self.0.killed.notify_one();
        std::future::pending().await
    }
}
