//! Functions that wait for another task or process until a deadline, so that a test fails instead of hanging.

use std::panic::Location;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::yield_now;
use tokio::time::timeout;

/// The longest time that a test waits. This time is far longer than any time-out of teardown.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until the condition holds. Panics if the wait takes too long, and names the caller's place in the
/// code.
#[track_caller]
pub fn until(condition: impl Fn() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !condition() {
            yield_now().await;
        }
    })
}

/// Waits for a future that has no deadline of its own. Panics if the future takes too long, and names the
/// caller's place in the code.
#[track_caller]
pub fn within<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let output = timeout(DEADLINE, future).await;
        output.unwrap_or_else(|_| panic!("{caller} waited for {DEADLINE:?} in vain"))
    }
}

/// Waits until a program listens on this port.
#[track_caller]
pub fn listens(port: u16) -> impl Future<Output = ()> {
    within(async move {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            yield_now().await;
        }
    })
}
