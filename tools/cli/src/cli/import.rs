//! `teardown import`: registers what a file lists, line by line, in bounded memory.
//!
//! All lines of an installation go to the same lane, which registers these lines in the file's order.
//! Different lanes run at the same time.

mod progress;
mod record;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use teardown::error::Error;
use teardown::store::Store;
use teardown::store::registry::{Record, RegisterError};
use tokio::fs::File;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::destination::Destination;
use super::lines::{Line, Lines};
use crate::terminal::print;
use progress::Progress;

/// Registers the installations and resources that a file lists
///
/// Each line of the file has one of these forms, in which `?` marks what you can leave out:
///
///   {"installation":{"id","accountId","teamId"?,"teamSlug"?,"accessToken"?,"billing"?:"settled"|"open"}}
///   {"resource":{"installationId","id","name"?,"productId"?,"status"?}}
///   {"webhook":{"installationId","id"}}
///   {"logDrain":{"installationId","id"}}
///   {"envVar":{"installationId","id","projectId","key"}}
///   {"accessToken":{"installationId","accessToken"}}
///
/// A status is "provisioning", or one of Vercel's: "ready", "pending", "onboarding", "suspended",
/// "resumed", "uninstalled", "error". An installation must come before what belongs to it. If a
/// record exists already, the command updates it, so you can import a file again. If a line is bad
/// or refused, the command reports the line's number, writes nothing of the line, imports the
/// other lines, and ends with exit status 1.
#[derive(Debug, clap::Args)]
#[command(
    verbatim_doc_comment,
    after_help = "\
Examples:
  teardown import installations.jsonl
  my-export | AWS_PROFILE=production teardown import -"
)]
pub(super) struct Args {
    /// The file; `-` is standard input
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
}

/// How many lanes there are. Each lane registers one record at a time.
const LANES: usize = 16;

/// How many lines can wait in a lane. If a lane is full, the import reads no more lines until this lane has
/// room, so the other lanes may have to wait for lines.
const WAITING: usize = 1024;

/// How many bytes of lines can wait in all lanes together.
const WAITING_BYTES: usize = 32 * 1024 * 1024;

/// A record that waits in a lane, with the number and the length of its line. `_room` reserves the line's
/// bytes until the record is registered.
struct Waiting {
    record: Record,
    line: u64,
    bytes: u64,
    _room: OwnedSemaphorePermit,
}

pub(super) async fn run(port: u16, args: &Args) -> anyhow::Result<ExitCode> {
    let (name, size) = (args.file.display().to_string(), size(&args.file)?);
    let destination = Destination::find(port).await?;
    let store = destination.store()?;
    let progress = Arc::new(Progress::of(size));
    let ended = if args.file == Path::new("-") {
        import(BufReader::new(tokio::io::stdin()), &store, &progress).await
    } else {
        let file = File::open(&args.file).await.with_context(|| name.clone())?;
        import(BufReader::with_capacity(64 * 1024, file), &store, &progress).await
    };
    progress.finish();
    let (table, place) = (destination.table(), destination.place());
    print(&format!("{} into {table} at {place}\n", progress.summary()))?;
    ended.context(name)?;
    Ok(if progress.any_refused() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Registers the lines of a stream as `teardown import` does, and returns how many were registered. For each
/// refused line, the function calls `refused` with the line's number and the reason.
///
/// # Errors
///
/// If the stream breaks off or the store fails.
pub async fn import_lines<R, F>(stream: R, store: &Store, refused: F) -> anyhow::Result<u64>
where
    R: AsyncBufRead + Unpin,
    F: Fn(u64, &str) + Send + Sync + 'static,
{
    let progress = Arc::new(Progress::reporting_to(refused));
    import(stream, store, &progress).await?;
    Ok(progress.registered())
}

/// The size of the file. `None` for standard input, a pipe or a device. If the file is missing, this function
/// fails, so that the command fails before it does anything else.
fn size(file: &Path) -> anyhow::Result<Option<u64>> {
    if file == Path::new("-") {
        return Ok(None);
    }
    let metadata = std::fs::metadata(file).with_context(|| file.display().to_string())?;
    if metadata.is_dir() {
        bail!("{} is a folder", file.display());
    }
    Ok(metadata.is_file().then_some(metadata.len()))
}

/// Registers the lines of a stream. The first failure of the store ends the import, because each further line
/// would also fail after an equally long wait.
async fn import<R: AsyncBufRead + Unpin>(
    stream: R,
    store: &Store,
    progress: &Arc<Progress>,
) -> anyhow::Result<()> {
    let mut lanes = JoinSet::new();
    let mut entries = Vec::with_capacity(LANES);
    for _ in 0..LANES {
        let (entry, waiting) = mpsc::channel(WAITING);
        entries.push(entry);
        lanes.spawn(register(waiting, store.clone(), Arc::clone(progress)));
    }
    let registering = async {
        while let Some(lane) = lanes.join_next().await {
            lane??;
        }
        anyhow::Ok(())
    };
    // If the stream breaks off, only the reading ends. The import still registers the lines that it has read.
    let reading = async { anyhow::Ok(read(Lines::of(stream), entries, progress).await) };
    let ((), read) = tokio::try_join!(registering, reading)?;
    Ok(read?)
}

/// Sends every line to the lane of its installation.
async fn read<R: AsyncBufRead + Unpin>(
    mut lines: Lines<R>,
    entries: Vec<Sender<Waiting>>,
    progress: &Progress,
) -> io::Result<()> {
    let room = Arc::new(Semaphore::new(WAITING_BYTES));
    while let Some(Line { number, bytes, text }) = lines.next().await? {
        let record = match text.map_err(str::to_owned).and_then(|text| record::parse(&text)) {
            Ok(Some(record)) => record,
            Ok(None) => {
                progress.is_done_with(bytes);
                continue;
            }
            Err(reason) => {
                progress.refuse(number, &reason);
                progress.is_done_with(bytes);
                continue;
            }
        };
        let mut hasher = DefaultHasher::new();
        record.installation().hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % LANES as u64).unwrap_or(0);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Ok(room) = Arc::clone(&room).acquire_many_owned(permits).await else { break };
        let waiting = Waiting { record, line: number, bytes, _room: room };
        if entries[lane].send(waiting).await.is_err() {
            // The lane has failed. `registering` gets the lane's error when it joins the lane.
            break;
        }
    }
    Ok(())
}

/// Registers the records of a lane, one after the other.
async fn register(
    mut waiting: Receiver<Waiting>,
    store: Store,
    progress: Arc<Progress>,
) -> anyhow::Result<()> {
    while let Some(Waiting { record, line, bytes, _room }) = waiting.recv().await {
        match store.register(&record).await {
            Ok(()) => progress.imported(),
            Err(error) => {
                let reason = refusal(error).with_context(|| {
                    format!("stopped at line {line}; import the file again once the cause is gone")
                })?;
                progress.refuse(line, &reason);
            }
        }
        progress.is_done_with(bytes);
    }
    Ok(())
}

/// Returns why the store refused a record. Returns an error if the store did not refuse the record, but
/// failed.
fn refusal(error: RegisterError) -> anyhow::Result<String> {
    let cause = match error {
        RegisterError::Store(Error::Internal(cause)) => cause,
        RegisterError::Store(error) => return Err(error.into()),
        refusal => return Ok(refusal.to_string()),
    };
    match cause.downcast::<SdkError<TransactWriteItemsError>>() {
        // DynamoDB refuses, for example, a record that is longer than an item can be.
        Ok(error) if error.code() == Some("ValidationException") => {
            Ok(error.message().unwrap_or("DynamoDB refuses it").to_owned())
        }
        Ok(error) => {
            let refusal =
                error.code().map(|code| format!("{code} {}", error.message().unwrap_or("")));
            Err(refusal
                .map_or_else(|| anyhow!(error), |refusal| anyhow!("DynamoDB refuses: {refusal}")))
        }
        // The table's item of this installation is malformed.
        Err(cause) => Ok(cause.to_string()),
    }
}
