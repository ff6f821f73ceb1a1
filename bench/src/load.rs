//! The load: requests over keep-alive connections, one thread each. It is plain blocking I/O,
//! because what it computes is taken from the embedded DynamoDB, which shares its core.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A keep-alive connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    /// Connects, if somebody listens.
    pub(crate) fn open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends a request and waits for its 204, which has no body.
    pub(crate) fn send(&mut self, request: &str) -> anyhow::Result<()> {
        self.0.write_all(request.as_bytes())?;
        let mut answer = [0; 4096];
        let mut length = 0;
        while !answer[..length].ends_with(b"\r\n\r\n") {
            let read = self.0.read(&mut answer[length..])?;
            length += read;
            if read == 0 || !answer[..length].starts_with(&b"HTTP/1.1 204"[..length.min(12)]) {
                bail!("expected 204: {}", String::from_utf8_lossy(&answer[..length]));
            }
        }
        Ok(())
    }
}

/// What a run took.
#[derive(Default)]
pub(crate) struct Run {
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
    /// Of every request, in no order.
    pub(crate) latencies: Vec<Duration>,
}

/// Sends every request once, over so many connections.
pub(crate) fn run(
    address: SocketAddr,
    connections: usize,
    requests: &[String],
) -> anyhow::Result<Run> {
    ensure!(requests.len() >= connections, "there is a request for every connection");
    let shares = requests.chunks(requests.len().div_ceil(connections));
    let shares: Vec<_> = shares
        .map(|share| Ok((Connection::open(address)?, share)))
        .collect::<std::io::Result<_>>()?;
    let began = Instant::now();
    let latencies = thread::scope(|scope| {
        let threads: Vec<_> = shares
            .into_iter()
            .map(|(connection, share)| scope.spawn(|| send_all(connection, share)))
            .collect();
        let joined = threads.into_iter().map(|thread| thread.join().expect("the load panicked"));
        joined.collect::<anyhow::Result<Vec<_>>>()
    })?;
    Ok(Run { elapsed: began.elapsed(), latencies: latencies.concat() })
}

fn send_all(mut connection: Connection, requests: &[String]) -> anyhow::Result<Vec<Duration>> {
    let mut latencies = Vec::with_capacity(requests.len());
    for request in requests {
        let began = Instant::now();
        connection.send(request)?;
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}
