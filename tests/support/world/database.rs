//! The DynamoDB of a test's world: either an embedded DynamoDB in this process, or a separate table in the
//! DynamoDB that `TEST_DYNAMODB` names.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use teardown::store::admin::table;
use teardown_cli::embedded::{Embedded, local_client};

/// The address of the DynamoDB that all tests share, such as `http://127.0.0.1:8000`. `None` if each test's
/// world has an embedded DynamoDB.
static SHARED: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("TEST_DYNAMODB").ok().filter(|url| !url.is_empty()));

/// The prefix of the names of this process's tables. No other process has the same prefix.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("test-{}-{}", since.as_millis(), std::process::id())
});

/// The number of repetitions in a test. `embedded` if the test has an embedded DynamoDB, or `shared` for a
/// DynamoDB that is ten times slower.
pub fn sized(embedded: usize, shared: usize) -> usize {
    if SHARED.is_some() { shared } else { embedded }
}

/// A table that is empty at first, with the address of its DynamoDB. The table is deleted when its test's
/// world is dropped.
pub struct Database {
    pub url: String,
    pub table: String,
    /// A client that calls DynamoDB directly, not through the proxy.
    pub client: Client,
}

impl Database {
    pub async fn start() -> Self {
        static TABLES: AtomicUsize = AtomicUsize::new(0);
        let url = match &*SHARED {
            Some(url) => url.clone(),
            None => Embedded::start(None).await.unwrap().url(),
        };
        let table = format!("{}-{}", *PROCESS, TABLES.fetch_add(1, Ordering::SeqCst));
        let client = local_client(&url).await.unwrap();
        table::create(&client, &table).await.unwrap();
        Self { url, table, client }
    }
}

impl Drop for Database {
    /// Deletes the table, because a shared DynamoDB gets slower with every table.
    fn drop(&mut self) {
        if SHARED.is_none() {
            return;
        }
        let (gone, wait) = mpsc::channel();
        if DELETE.send((std::mem::take(&mut self.table), gone)).is_ok() {
            let _ = wait.recv();
        }
    }
}

/// Deletes tables in a thread with its own runtime, because the test's runtime may have only the thread that
/// waits in [`Drop`].
static DELETE: LazyLock<mpsc::Sender<(String, mpsc::Sender<()>)>> = LazyLock::new(|| {
    let (sender, tables) = mpsc::channel::<(String, mpsc::Sender<()>)>();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = runtime.block_on(local_client(SHARED.as_deref().unwrap())).unwrap();
        for (table, gone) in tables {
            let deleted = runtime.block_on(client.delete_table().table_name(&table).send());
            if let Err(error) = deleted {
                eprintln!("{table} is left: {error:?}");
            }
            let _ = gone.send(());
        }
    });
    sender
});
