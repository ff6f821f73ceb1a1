//! The arguments of operators' acts: the installation or resource, the operator's name, and the reason.

use std::io::{self, BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use teardown::clock::{Clock, Timestamp};
use teardown::ids::{InstallationId, ResourceId};
use teardown::store::Aws;
use teardown::store::admin::Act;
use teardown::store::admin::holds::Subject;
use tokio::time::timeout;

use super::destination::Destination;
use super::settings::variable;
use crate::terminal::note;

/// How long AWS may take to return the operator's ARN. If AWS takes longer, the act is recorded under the
/// user's name.
const WHO_AM_I_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest reason and the longest name, in bytes. The table stores an act's reason and the operator's
/// name.
const MAX_TEXT: usize = 1024;

/// How often a command looks again at a job whose lease a worker has. A worker usually ends its lease within
/// milliseconds.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long after a lease's end a command looks again. The command waits because the worker's clock may differ
/// from this machine's clock.
const AFTER_LEASE: Duration = Duration::from_secs(1);

/// The waits of a command for a worker that may be announcing a deletion.
#[derive(Default)]
pub(super) struct LeaseWait {
    /// Whether the operator knows that the command waits.
    is_noted: bool,
}

impl LeaseWait {
    /// Waits until the command should look again at a job whose lease ends at `until`.
    pub(super) async fn wait(&mut self, clock: &Clock, until: Timestamp) {
        let left = until.as_secs().saturating_sub(clock.timestamp().as_secs());
        if !self.is_noted {
            note(&format!(
                "a worker may be announcing it: waiting for this worker, {left} s at most"
            ));
            self.is_noted = true;
        }
        let left = Duration::from_secs(left);
        let wait = if left > LOOK_AGAIN { LOOK_AGAIN } else { left + AFTER_LEASE };
        tokio::time::sleep(wait).await;
    }
}

/// The reason of an act, and who does it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Why you do this. The reason is recorded with your name
    #[arg(long, value_name = "TEXT", value_parser = one_line_text)]
    reason: String,
    /// Your name, which is recorded [default: the AWS caller's ARN, or your user name]
    #[arg(long, value_name = "WHO", value_parser = one_line_text)]
    by: Option<String>,
}

/// The reason and the name, for an act that needs no reason.
#[derive(Debug, clap::Args)]
pub(super) struct Maybe {
    /// Why you do this. The reason is recorded with your name
    #[arg(long, value_name = "TEXT", value_parser = one_line_text)]
    reason: Option<String>,
    /// Your name, recorded with the reason [default: the AWS caller's ARN, or your user name]
    #[arg(long, value_name = "WHO", value_parser = one_line_text, requires = "reason")]
    by: Option<String>,
}

impl Maybe {
    /// Whether a reason is given.
    pub(super) fn is_given(&self) -> bool {
        self.reason.is_some()
    }

    /// The act, if a reason is given.
    pub(super) async fn act(&self, destination: &Destination) -> anyhow::Result<Option<Act>> {
        let Some(reason) = self.reason.clone() else { return Ok(None) };
        Args { reason, by: self.by.clone() }.act(destination).await.map(Some)
    }
}

/// An installation, and maybe a resource of it.
#[derive(Debug, clap::Args)]
pub(super) struct On {
    /// The installation
    #[arg(value_name = "INSTALLATION", value_parser = installation)]
    installation: InstallationId,
    /// A resource of the installation [default: the installation and all that belongs to it]
    #[arg(value_name = "RESOURCE", value_parser = resource)]
    resource: Option<ResourceId>,
}

impl On {
    pub(super) fn subject(&self) -> Subject {
        let Self { installation, resource } = self;
        Subject { installation: installation.clone(), resource: resource.clone() }
    }
}

/// Reads an installation's id.
pub(super) fn installation(text: &str) -> Result<InstallationId, String> {
    InstallationId::parse(text).map_err(|error| error.to_string())
}

/// Reads a resource's id.
pub(super) fn resource(text: &str) -> Result<ResourceId, String> {
    ResourceId::parse(text).map_err(|error| error.to_string())
}

/// Reads a text that is neither empty nor too long.
pub(super) fn one_line_text(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("it is empty"),
        text if text.len() > MAX_TEXT => Err("it is longer than 1024 bytes"),
        text => Ok(text.to_owned()),
    }
}

impl Args {
    /// The act, with the operator's name and reason.
    pub(super) async fn act(&self, destination: &Destination) -> anyhow::Result<Act> {
        let by = by(self.by.as_deref(), destination).await?;
        Ok(Act { by, reason: self.reason.clone() })
    }
}

/// The operator's name for the record: the name that is given, else the AWS caller's ARN, else the user's
/// name.
pub(super) async fn by(named: Option<&str>, destination: &Destination) -> anyhow::Result<String> {
    if let Some(by) = named {
        return Ok(by.to_owned());
    }
    let arn = match destination.aws() {
        Some(aws) => arn(aws).await,
        None => None,
    };
    let by = arn.or_else(|| variable("USER")).or_else(user);
    by.context("nobody says who you are: use --by")
}

/// The ARN of the AWS caller. `None` if AWS does not return the ARN in time.
async fn arn(aws: &Aws) -> Option<String> {
    let call = aws_sdk_sts::Client::new(aws.sdk_config()).get_caller_identity().send();
    timeout(WHO_AM_I_TIMEOUT, call).await.ok()?.ok()?.arn
}

/// The name of the user that runs this process, from `/etc/passwd`.
fn user() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    let id = ids.split_whitespace().next()?;
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let entry = users.lines().find(|entry| entry.split(':').nth(2) == Some(id))?;
    entry.split(':').next().map(str::to_owned)
}

/// Asks the operator for confirmation on the terminal. Returns whether the operator typed `id`.
pub(super) fn agreed(question: &str, id: &str) -> io::Result<bool> {
    let mut err = io::stderr().lock();
    err.write_all(question.as_bytes())?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == id)
}
