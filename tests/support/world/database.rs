//! The DynamoDB of a world: one embedded in this process, or a table of its own where
//! `TEST_DYNAMODB` says.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, mpsc};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::Client;
use teardown::store::admin::table;
use teardown_cli::embedded::{Embedded, local_client};

/// The address of the DynamoDB that all worlds share, such as `http://127.0.0.1:8000`; none where
/// each has an embedded one.
static SHARED: LazyLock<Option<String>> =
    LazyLock::new(|| std::env::var("TEST_DYNAMODB").ok().filter(|url| !url.is_empty()));

/// Tells this process's tables from those of any other.
static PROCESS: LazyLock<String> = LazyLock::new(|| {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("test-{}-{}", since.as_millis(), std::process::id())
});

/// How much there is to do: the first where each world has an embedded DynamoDB, else the second, for
/// one that is ten times slower.
pub fn sized(embedded: usize, shared: usize) -> usize {
    if SHARED.is_some() { shared } else { embedded }
}

/// A table, empty at first, and where it is. It is gone with its world.
pub struct Database {
    /// The DynamoDB's address.
    pub url: String,
    pub table: String,
    /// Past the proxy.
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
    /// A DynamoDB that is shared gets slower with every table.
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

/// Deletes tables in a thread with a runtime of its own: the test's may be the very thread that
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
