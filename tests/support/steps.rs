//! The steps of a process: its calls to DynamoDB, to Vercel and to the provider, counted in their order. A
//! test can kill the process at each step.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

/// The moment at which a process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the call takes effect.
    Before,
    /// After the call took effect, and before the process gets the answer.
    After,
}

/// The crashes to test, for a process that makes this many calls: one crash before each call, and one crash
/// after the last call. A crash after an earlier call would be the same as the crash before the next call.
pub fn crashes(calls: usize) -> impl Iterator<Item = (usize, Moment)> {
    let last = (calls - 1, Moment::After);
    (0..calls).map(|call| (call, Moment::Before)).chain([last])
}

/// The counter of a process's calls. All clones of a `Steps` share one counter.
#[derive(Clone, Default)]
pub struct Steps(Arc<Inner>);

#[derive(Default)]
struct Inner {
    count: AtomicUsize,
    kill: Mutex<Option<(usize, Moment)>>,
    killed: Notify,
}

impl Steps {
    /// Sets the counter to 0.
    pub fn begin(&self) {
        self.0.count.store(0, Ordering::SeqCst);
        *self.0.kill.lock().unwrap() = None;
    }

    /// Sets the counter to 0, and kills the process at the call with this number. The first call has the
    /// number 0.
    pub fn kill_at(&self, call: usize, moment: Moment) {
        self.begin();
        *self.0.kill.lock().unwrap() = Some((call, moment));
    }

    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::SeqCst)
    }

    /// Waits until the process comes to the call at which it is killed.
    pub async fn killed(&self) {
        self.0.killed.notified().await;
    }

    /// Makes a call. If the process is killed at this call, this function never returns.
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
