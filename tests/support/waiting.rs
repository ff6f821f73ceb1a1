//! Waiting for what another task or process does, with a deadline: a test fails where it would hang.

use std::panic::Location;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

/// How long a test waits at most: far longer than the longest time-out of the program's own.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until the condition holds. Panics with the caller's place where it never does.
#[track_caller]
pub fn until(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            yield_now().await;
        }
    })
}

/// Waits for what has no deadline of its own. Panics with the caller's place where it takes too long.
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let output = timeout(DEADLINE, future).await;
        output.unwrap_or_else(|_| panic!("{caller} waited for {DEADLINE:?} in vain"))
    }
}

/// Waits until somebody listens on this port of 127.0.0.1.
#[track_caller]
pub fn listens(port: u16) -> impl Future<Output = ()> {
    within(async move {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            yield_now().await;
        }
    })
}
