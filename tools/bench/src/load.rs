//! The load: requests over keep-alive connections, each with its own thread. The load uses blocking I/O,
//! which needs little CPU time, because the load and the embedded DynamoDB share a core.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use httparse::{EMPTY_HEADER, Response};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A keep-alive connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Connects, if a process listens at this address.
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends a request and waits for its whole answer, which must have this status.
    pub(crate) fn send(&mut self, request: &str, expected: u16) -> anyhow::Result<()> {
        self.0.write_all(request.as_bytes())?;
        let mut answer = [0; 4096];
        let mut length = 0;
        loop {
            let read = self.0.read(&mut answer[length..])?;
            length += read;
            let received = &answer[..length];
            match status_of_whole(received)? {
                Some(status) if status == expected => return Ok(()),
                None if read > 0 => {}
                _ => bail!("expected {expected}: {}", String::from_utf8_lossy(received)),
            }
        }
    }
}

/// The status of an answer. `None` until the answer's head and body are complete.
fn status_of_whole(answer: &[u8]) -> anyhow::Result<Option<u16>> {
    let mut headers = [EMPTY_HEADER; 32];
    let mut response = Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer)? else { return Ok(None) };
    let status = response.code.context("an answer has a status")?;
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let body: usize = match length {
        Some(length) => std::str::from_utf8(length.value)?.parse()?,
        None => 0,
    };
    ensure!(length.is_some() || status == 204, "an answer has a length");
    Ok((answer.len() == head + body).then_some(status))
}

/// The requests to send, and how long to send them.
pub(crate) struct Load<'a> {
    pub(crate) requests: &'a [String],
    /// Whether the load starts again with the first request after the last request. If the load does not
    /// start again, the last request ends it.
    pub(crate) again: bool,
    /// The status that every answer must have.
    pub(crate) status: u16,
    /// The time after which no request is sent.
    pub(crate) time: Duration,
}

/// The rate at which requests are sent, however slow the answers are.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// Requests per second.
    pub(crate) rate: f64,
    /// The number of connections, which take turns to send a request.
    pub(crate) connections: usize,
}

/// The measurements of a load.
pub(crate) struct Run {
    /// The time from the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// The latency of every request, in no particular order.
    pub(crate) latencies: Vec<Duration>,
}

impl Load<'_> {
    /// Sends requests over this many connections. A connection sends the next request as soon as its last
    /// request is answered.
    pub(crate) fn run(&self, address: SocketAddr, connections: usize) -> anyhow::Result<Run> {
        let connections: Vec<_> =
            (0..connections).map(|_| Connection::open(address)).collect::<std::io::Result<_>>()?;
        let next = AtomicUsize::new(0);
        let began = Instant::now();
        let latencies = thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .map(|connection| scope.spawn(|| self.send(connection, &next, began)))
                .collect();
            let joined =
                threads.into_iter().map(|thread| thread.join().expect("the load panicked"));
            joined.collect::<anyhow::Result<Vec<_>>>()
        })?;
        Ok(Run { elapsed: began.elapsed(), latencies: latencies.concat() })
    }

    /// Sends requests at this pace while `work` runs, if there are any requests. Each request is due at its
    /// own time. If the connection of a due request still waits for an answer, the request is sent as soon as
    /// possible. Returns how many requests were sent.
    pub(crate) fn at_pace<T>(
        &self,
        address: SocketAddr,
        pace: Pace,
        work: impl FnOnce() -> T,
    ) -> anyhow::Result<(T, usize)> {
        if self.requests.is_empty() {
            return Ok((work(), 0));
        }
        let connections: Vec<_> = (0..pace.connections)
            .map(|_| Connection::open(address))
            .collect::<std::io::Result<_>>()?;
        let (over, began) = (AtomicBool::new(false), Instant::now());
        thread::scope(|scope| {
            let threads: Vec<_> = connections
                .into_iter()
                .enumerate()
                .map(|(first, connection)| {
                    let over = &over;
                    scope.spawn(move || self.send_at_pace(connection, first, pace, began, over))
                })
                .collect();
            let done = work();
            over.store(true, Ordering::Relaxed);
            let sent = threads.into_iter().map(|thread| thread.join().expect("the load panicked"));
            Ok((done, sent.sum::<anyhow::Result<usize>>()?))
        })
    }

    fn send_at_pace(
        &self,
        mut connection: Connection,
        first: usize,
        pace: Pace,
        began: Instant,
        over: &AtomicBool,
    ) -> anyhow::Result<usize> {
        let mut sent = 0;
        for index in (first..).step_by(pace.connections) {
            #[expect(clippy::cast_precision_loss, reason = "nobody sends 2^53 requests")]
            let due = began + Duration::from_secs_f64(index as f64 / pace.rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if over.load(Ordering::Relaxed) {
                break;
            }
            connection.send(&self.requests[index % self.requests.len()], self.status)?;
            sent += 1;
        }
        Ok(sent)
    }

    fn send(
        &self,
        mut connection: Connection,
        next: &AtomicUsize,
        began: Instant,
    ) -> anyhow::Result<Vec<Duration>> {
        let mut latencies = Vec::new();
        loop {
            let sent = Instant::now();
            if sent - began >= self.time {
                return Ok(latencies);
            }
            let mut index = next.fetch_add(1, Ordering::Relaxed);
            if self.again {
                index %= self.requests.len();
            }
            let Some(request) = self.requests.get(index) else { return Ok(latencies) };
            connection.send(request, self.status)?;
            latencies.push(sent.elapsed());
        }
    }
}
