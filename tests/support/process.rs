//! The functions' binaries as processes, on a port and on Lambda.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{self, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::world::serve;

pub const DELETE_RESOURCE: &str = env!("CARGO_BIN_EXE_delete_resource");
pub const DELETE_INSTALLATION: &str = env!("CARGO_BIN_EXE_delete_installation");
pub const DELETE_CONFIGURATION: &str = env!("CARGO_BIN_EXE_delete_configuration");
pub const SWEEP: &str = env!("CARGO_BIN_EXE_sweep");
pub const FRONT: &str = env!("CARGO_BIN_EXE_front");
pub const WEBHOOK: &str = env!("CARGO_BIN_EXE_webhook");

/// The environment variables of a process. If a variable's name occurs twice, the last value counts.
pub type Variables = Vec<(&'static str, String)>;

/// A function's process, which is killed when the test ends.
pub struct Function {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Function {
    /// The next line of the function's standard output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    /// Kills the function, and returns the rest of its standard output.
    pub fn end(mut self) -> String {
        self.child.kill().unwrap();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        rest
    }

    /// Terminates the function as a host does, waits until the function has ended, and returns the rest of
    /// its standard output.
    pub fn terminate(mut self) -> String {
        terminate(&self.child);
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        rest
    }
}

/// The path of a function's binary. Cargo has built this binary for the tests. If `TEST_FUNCTIONS` names a
/// folder, the binary in that folder is used, such as a build for a host.
fn path(binary: &str) -> PathBuf {
    let built = PathBuf::from(binary);
    match std::env::var_os("TEST_FUNCTIONS") {
        Some(folder) => Path::new(&folder).join(built.file_name().unwrap()),
        None => built,
    }
}

/// A command that has these environment variables and no other variables.
fn command(binary: &str, variables: Variables) -> Command {
    let mut command = Command::new(path(binary));
    command.env_clear().envs(variables).stdout(Stdio::piped());
    command
}

pub fn start(binary: &str, variables: Variables) -> Function {
    let mut child = command(binary, variables).spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    Function { child, output }
}

/// A function's process whose standard output and standard error go to files. The process is killed when the
/// test ends.
pub struct Recorded(Child);

impl Drop for Recorded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Recorded {
    /// Terminates the function as a host does, and waits until the function has ended.
    pub fn terminate(mut self) {
        terminate(&self.0);
        self.0.wait().unwrap();
    }

    /// The most memory that the function has held, in KiB. On a system without `/proc`, the memory that the
    /// function holds now. Panics if neither `/proc` nor `ps` reports the memory.
    pub fn memory(&self) -> usize {
        let id = self.0.id();
        let most = std::fs::read_to_string(format!("/proc/{id}/status")).ok().and_then(|status| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().trim_end_matches(" kB").parse().ok()
        });
        most.or_else(|| resident(id)).expect("neither /proc nor ps says how much memory it holds")
    }
}

/// The memory that a process holds now, in KiB, as `ps` reports it.
fn resident(id: u32) -> Option<usize> {
    let ps = Command::new("ps").args(["-o", "rss=", "-p", &id.to_string()]).output().ok()?;
    std::str::from_utf8(&ps.stdout).ok()?.trim().parse().ok()
}

/// Starts a function that writes its standard output and its standard error to this file.
pub fn record(binary: &str, variables: Variables, file: &File) -> Recorded {
    start_into(binary, variables, file.try_clone().unwrap(), file)
}

/// Starts a function with these files for its standard output and its standard error.
pub fn start_into(binary: &str, variables: Variables, output: File, error: &File) -> Recorded {
    let error = error.try_clone().unwrap();
    Recorded(command(binary, variables).stdout(output).stderr(error).spawn().unwrap())
}

fn terminate(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

pub fn run(binary: &str, variables: Variables) -> Output {
    command(binary, variables).stderr(Stdio::piped()).output().unwrap()
}

/// Runs a function until it ends, with this file as its standard output, and returns its standard error.
pub fn run_into(binary: &str, variables: Variables, file: File) -> String {
    let output = command(binary, variables).stdout(file).stderr(Stdio::piped()).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

/// A port on which no program listens. The port is below the ports that a system assigns, and no other test
/// of this run gets the port. Therefore no other program takes the port before the function does.
pub fn free_port() -> u16 {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Test runs that run at the same time begin at different ports.
    let begin = std::process::id().wrapping_mul(997);
    (0..COUNT)
        .map(|_| FIRST + begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// The time limit and the event of an invocation.
type Invocation = (Duration, Vec<u8>);

/// A function that runs on a stand-in for Lambda.
pub struct Lambda<F = Function> {
    /// The time limit of each invocation: an hour, unless a test sets another limit.
    pub time: Duration,
    events: mpsc::UnboundedSender<Invocation>,
    answers: mpsc::UnboundedReceiver<Value>,
    pub function: F,
}

impl Lambda {
    /// Starts a function with this environment.
    pub async fn start(binary: &str, variables: Variables) -> Self {
        Self::start_by(variables, |variables| start(binary, variables)).await
    }
}

impl<F> Lambda<F> {
    /// Starts a function with this environment, and with Lambda's own variables.
    pub async fn start_by(mut variables: Variables, start: impl FnOnce(Variables) -> F) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::unbounded_channel();
        let events_to_come = Arc::new(tokio::sync::Mutex::new(receiver));
        let runtime = RuntimeApi { events: events_to_come, answers: sender };
        let invocation = "/2018-06-01/runtime/invocation";
        let api = serve(
            axum::Router::new()
                .route(&format!("{invocation}/next"), get(RuntimeApi::next))
                .route(&format!("{invocation}/{{id}}/response"), post(RuntimeApi::answer))
                .route(&format!("{invocation}/{{id}}/error"), post(RuntimeApi::answer))
                .with_state(runtime),
        )
        .await;
        for (name, value) in [
            ("AWS_LAMBDA_RUNTIME_API", api.trim_start_matches("http://")),
            ("AWS_LAMBDA_FUNCTION_NAME", "f"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ] {
            variables.push((name, value.to_owned()));
        }
        Self { time: Duration::from_hours(1), events, answers, function: start(variables) }
    }

    /// Sends an event, and returns the function's answer or error.
    pub async fn invoke(&mut self, event: Value) -> Value {
        self.invoke_raw(event.to_string().into_bytes()).await
    }

    /// Sends any bytes as an event, even bytes that are not JSON.
    pub async fn invoke_raw(&mut self, event: Vec<u8>) -> Value {
        self.events.send((self.time, event)).unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(30), self.answers.recv()).await;
        answer.expect("the function answers each event").unwrap()
    }
}

/// A stand-in for Lambda's runtime API, with the parts that a function needs.
#[derive(Clone)]
struct RuntimeApi {
    events: Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>>,
    answers: mpsc::UnboundedSender<Value>,
}

impl RuntimeApi {
    async fn next(State(lambda): State<Self>) -> Response {
        let Some((time, event)) = lambda.events.lock().await.recv().await else {
            return StatusCode::GONE.into_response();
        };
        let deadline = (SystemTime::now() + time).duration_since(UNIX_EPOCH).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("lambda-runtime-aws-request-id", "request-1"),
            ("lambda-runtime-deadline-ms", &deadline.as_millis().to_string()),
            ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:1:function:f"),
            ("lambda-runtime-trace-id", "trace"),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        (headers, event).into_response()
    }

    async fn answer(
        State(lambda): State<Self>,
        _: extract::Path<String>,
        request: Request,
    ) -> StatusCode {
        // Lambda's limit for the size of an answer.
        let body = axum::body::to_bytes(request.into_body(), 6_000_000).await.unwrap();
        lambda.answers.send(serde_json::from_slice(&body).unwrap()).unwrap();
        StatusCode::ACCEPTED
    }
}
