//! A gate that stops a request or a worker, so that other requests or workers overtake it.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// A gate at which callers wait. All clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The semaphore has one permit for each caller that has come to the gate. The semaphore is closed once
    /// the gate is open.
    reached: Arc<Semaphore>,
    /// The semaphore has one permit for each caller that may pass. The semaphore is closed once every caller
    /// may pass.
    opened: Arc<Semaphore>,
}

impl Default for Gate {
    /// A gate that lets no caller pass.
    fn default() -> Self {
        Arc::new(Semaphore::new(0)).into()
    }
}

impl From<Arc<Semaphore>> for Gate {
    /// A gate that lets as many callers pass as the semaphore has permits.
    fn from(opened: Arc<Semaphore>) -> Self {
        Self { reached: Arc::new(Semaphore::new(0)), opened }
    }
}

impl Gate {
    /// Waits at the gate until the caller may pass.
    pub async fn pass(&self) {
        self.reached.add_permits(1);
        if let Ok(permit) = self.opened.acquire().await {
            permit.forget();
        }
    }

    /// Waits until a caller has come to the gate, or the gate is open. Returns whether the gate is still
    /// closed.
    pub async fn reached(&self) -> bool {
        self.reached.acquire().await.is_ok()
    }

    /// Lets every caller pass, now and later.
    pub fn open(&self) {
        self.reached.close();
        self.opened.close();
    }
}
