//! Measures how long `delete_resource`, as a function on Lambda, takes from its start to its first answer.
//! This module plays Lambda's runtime API.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use teardown_cli::embedded::Embedded;
use teardown_cli::issuer::Issuer;
use tokio::runtime::Runtime;

use crate::environment;
use crate::function::{Cores, on_its_core};
use crate::requests::token;
use crate::seed::{installation, seed};

/// How long each of `count` starts of the function took, up to its first answer.
pub(crate) fn starts(
    runtime: &Runtime,
    binary: &Path,
    count: usize,
    issuer: &Issuer,
    cores: Option<Cores>,
) -> anyhow::Result<Vec<Duration>> {
    let dynamodb = runtime.block_on(Embedded::start(None))?.url();
    runtime.block_on(runtime.spawn(seed(dynamodb.clone(), count, 1)))??;
    let mut variables = environment(issuer, dynamodb);
    let api = TcpListener::bind(("127.0.0.1", 0))?;
    for (name, value) in [
        ("AWS_LAMBDA_RUNTIME_API", api.local_addr()?.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", "delete_resource".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
    ] {
        variables.push((name, value));
    }
    let bearer = issuer.sign(&token(0).claims());
    let start = |id| {
        let event = event(id, &bearer).to_string();
        let (process, began) = on_its_core(cores, || {
            let began = Instant::now();
            let mut command = Command::new(binary);
            command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
            let process = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            Ok((Killed(process.with_context(|| format!("{}", binary.display()))?), began))
        })?;
        let answer = serve(&api, &event)?;
        let elapsed = began.elapsed();
        drop(process);
        ensure!(answer["statusCode"] == 204, "expected 204: {answer}");
        Ok(elapsed)
    };
    (0..count).map(start).collect::<anyhow::Result<_>>().context("the starts on Lambda")
}

/// A process that is killed when this value is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // An error is ignored, because the process may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The event that an HTTP API sends to Lambda for a Delete Resource with an `Idempotency-Key`.
fn event(id: usize, bearer: &str) -> Value {
    let path = format!("/v1/installations/{}/resources/resource-{id}", installation(0));
    json!({
        "version": "2.0",
        "routeKey": "DELETE /v1/installations/{installationId}/resources/{resourceId}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "authorization": format!("Bearer {bearer}"),
            "host": "127.0.0.1",
            "idempotency-key": format!("key-{id}"),
            "x-vercel-auth": "user",
        },
        "requestContext": {
            "http": {
                "method": "DELETE", "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1", "userAgent": "bench",
            },
            "stage": "$default",
            "timeEpoch": 0,
        },
        "isBase64Encoded": false,
    })
}

/// Plays the part of Lambda's runtime API that a function needs for one event. Returns the function's answer.
fn serve(api: &TcpListener, event: &str) -> anyhow::Result<Value> {
    loop {
        let stream = api.accept()?.0;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut stream = BufReader::new(stream);
        while let Some((line, body)) = receive(&mut stream)? {
            if line.contains("/invocation/next ") {
                write!(
                    stream.get_mut(),
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                     Lambda-Runtime-Aws-Request-Id: request\r\n\
                     Lambda-Runtime-Deadline-Ms: 9999999999999\r\n\
                     Lambda-Runtime-Invoked-Function-Arn: arn:aws:lambda:us-east-1:1:function:f\r\n\
                     Lambda-Runtime-Trace-Id: trace\r\n\r\n{event}",
                    event.len(),
                )?;
            } else {
                return serde_json::from_slice(&body).context(line);
            }
        }
    }
}

/// The next request on a connection: its first line and its body. `None` if the connection has ended.
fn receive(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| line != "\r\n") {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        head.push(line.to_ascii_lowercase());
    }
    let has = |name| head.iter().find_map(|line| line.strip_prefix(name));
    let mut body = Vec::new();
    if let Some(length) = has("content-length:") {
        body.resize(length.trim().parse()?, 0);
        stream.read_exact(&mut body)?;
    } else if has("transfer-encoding:").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size)?;
            let size = usize::from_str_radix(size.trim(), 16)?;
            // The chunk is followed by a line end.
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    }
    Ok(Some((head.swap_remove(0), body)))
}
