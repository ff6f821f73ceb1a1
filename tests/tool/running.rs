//! The commands of the tool, and a `cargo dev` that runs during a test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use crate::support::world::http_client;

/// How long a test waits for the tool to run its jobs, which may take many sweeps on a busy machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The command `cargo dev …`, without variables of AWS or of the tool in its environment.
pub fn cargo_dev(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.arg("dev").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    build_for(&mut command);
    command
}

/// The command that `cargo dev …` starts, in the same environment as [`cargo_dev`]. Cargo itself does not
/// run, because it takes longer than most commands.
pub fn dev(arguments: &[&str]) -> Command {
    let mut command = teardown(&[&["dev"], arguments].concat());
    // Cargo sets this variable for the programs that it runs.
    command.env("CARGO", env!("CARGO"));
    command
}

/// The command `teardown …`, in the same environment as [`cargo_dev`].
pub fn teardown(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    build_for(&mut command);
    command
}

/// The tool that `build_for` builds.
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.ancestors().nth(3).unwrap().join("debug/teardown")
}

/// Builds the tool for a command, and removes the variables of AWS and of the tool from the command's
/// environment.
pub fn build_for(command: &mut Command) {
    // The first test that needs the tool builds it, so Cargo prints nothing in the other tests.
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "teardown-cli"]);
        assert!(build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap().success());
    });
    for (name, _) in std::env::vars() {
        let ours = [
            "INTEGRATION_ID",
            "TABLE_NAME",
            "RUST_LOG",
            "SUPPORT_URL",
            "RECEIPT_RETENTION",
            "PROVISIONING_LIMIT",
            "UNINSTALL_WITH_OPEN_INVOICES",
            "FINALIZE_MARGIN",
            "USER",
            "CRON_SECRET",
            "CLIENT_SECRET",
            "VERCEL_API_URL",
        ];
        if name.starts_with("AWS_")
            || name.starts_with("OIDC_")
            || name.starts_with("PROVIDER_")
            || ours.contains(&name.as_str())
        {
            command.env_remove(name);
        }
    }
    command.env("GRACE_PERIOD", "0s").env("USER", "olga");
}

pub fn run(arguments: &[&str]) -> Output {
    dev(arguments).output().unwrap()
}

/// The output of a shell that runs this script in the project's folder. If the script calls `cargo dev`,
/// [`dev`] runs instead.
pub fn shell(script: &str) -> String {
    let mut sh = Command::new("sh");
    let script = format!("cargo() {{ '{}' \"$@\"; }}\n{script}", binary().display());
    let output = sh
        .args(["-ec", &script])
        .env("CARGO", env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{script}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A `cargo dev` that runs until the test ends.
pub struct Tool {
    pub child: Child,
    /// The lines that `cargo dev` prints after its welcome.
    pub lines: Receiver<String>,
    pub url: String,
    pub welcome: String,
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Tool {
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_with(arguments, &[])
    }

    /// Starts the tool with these arguments, and with these variables in its environment.
    pub fn start_with(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = dev(&[&["--port", "0"], arguments].concat());
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let (end, mut welcome) = (Instant::now() + DEADLINE, String::new());
        while !welcome.contains("Ctrl-C ends it") {
            let left = end.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left);
            welcome += &line.unwrap_or_else(|error| panic!("{error} after {welcome}"));
            welcome += "\n";
        }
        let (_, rest) = welcome.split_once("http://").unwrap();
        let url = format!("http://{}", rest.split_whitespace().next().unwrap());
        Self { child, lines, url, welcome }
    }

    /// Waits until the tool prints a line that contains this text.
    pub fn prints(&self, part: &str) {
        let (end, mut printed) = (Instant::now() + DEADLINE, Vec::new());
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("{error}: no {part} in {printed:#?}"));
            if line.contains(part) {
                return;
            }
            printed.push(line);
        }
    }

    /// Waits until `show` prints all these texts for an installation, and returns its output.
    pub fn shows(&self, id: &str, parts: &[&str]) -> String {
        let end = Instant::now() + DEADLINE;
        loop {
            let output = self.run(&["show", id]);
            let shown = text(&output.stdout).to_owned();
            let missing: Vec<_> = parts.iter().filter(|part| !shown.contains(**part)).collect();
            if missing.is_empty() {
                return shown;
            }
            assert!(Instant::now() < end, "{missing:?} is not in {shown}");
        }
    }

    /// Sends a deletion request for a path, as the installation's `ADMIN`, and returns the answer's status.
    pub async fn delete_as_admin(&self, path: &str, installation: &str) -> u16 {
        let token = run(&["token", "--installation", installation]);
        self.delete(path, text(&token.stdout).trim_end()).await
    }

    pub fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    /// Runs a command of the tool against the tool's DynamoDB.
    pub fn run(&self, arguments: &[&str]) -> Output {
        run(&[&["--port", self.port()], arguments].concat())
    }

    /// Sends the requests of the `curl` commands in the tool's welcome text, and returns the statuses of the
    /// answers. A shell reads these commands, but its `curl` only prints its arguments.
    pub async fn paste(&self) -> Vec<u16> {
        let mut statuses = Vec::new();
        let welcome = self.welcome.replace("\\\n", "");
        for line in welcome.lines().filter(|line| line.starts_with("curl ")) {
            let output = shell(&format!("curl() {{ printf '%s\\0' \"$@\"; }}; {line}"));
            let mut arguments = output.split_terminator('\0').skip_while(|word| *word == "-i");
            let (method, url) = match arguments.next().unwrap() {
                "-X" => (arguments.next().unwrap(), arguments.next().unwrap()),
                url => ("GET", url),
            };
            let mut request = http_client().request(method.parse().unwrap(), url);
            while let (Some(option), Some(value)) = (arguments.next(), arguments.next()) {
                request = match (option, value.split_once(": ")) {
                    ("-H", Some((name, value))) => request.header(name, value),
                    ("-d", _) => request.body(value.to_owned()),
                    other => panic!("{other:?} in {line}"),
                };
            }
            statuses.push(request.send().await.unwrap().status().as_u16());
        }
        statuses
    }

    pub async fn delete(&self, path: &str, token: &str) -> u16 {
        let request = http_client().delete(format!("{}{path}", self.url)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }
}
