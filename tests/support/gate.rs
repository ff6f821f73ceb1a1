//! A gate that holds up a request or a worker, so that others overtake it.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// The gate. Clones share it.
#[derive(Clone, Debug)]
pub struct Gate {
    /// A permit for each that has come; closed where nobody has to come any more.
    reached: Arc<Semaphore>,
    /// A permit for each that may go on; closed where everybody may.
    opened: Arc<Semaphore>,
}

impl Default for Gate {
    /// A gate that lets nobody through.
    fn default() -> Self {
        Arc::new(Semaphore::new(0)).into()
    }
}

impl From<Arc<Semaphore>> for Gate {
    /// A gate that lets through as many as the semaphore has permits.
    fn from(opened: Arc<Semaphore>) -> Self {
        Self { reached: Arc::new(Semaphore::new(0)), opened }
    }
}

impl Gate {
    /// Comes to the gate, and waits until it may go on.
    pub async fn pass(&self) {
        self.reached.add_permits(1);
        if let Ok(permit) = self.opened.acquire().await {
            permit.forget();
        }
    }

    /// Waits until somebody has come, or the gate is open; and says whether it is closed still.
    pub async fn reached(&self) -> bool {
        self.reached.acquire().await.is_ok()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.reached.close();
        self.opened.close();
    }
}
