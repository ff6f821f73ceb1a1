//! Sample installations, so that there is something to delete from the first minute on.
//!
//! They are numbered: with `--data`, those that were deleted stay deleted, and the next number takes
//! their place, so that what the welcome prints always works.

use crate::attributes::{Item, named, text};
use anyhow::Context as _;
use serde_json::{Value, json};
use teardown::ids::InstallationId;
use teardown::store::Store;
use teardown::store::registry::{Record, RegisterError};

/// The account of all samples.
pub(super) const ACCOUNT: &str = "acc_local";

/// The team of all samples.
pub(super) const TEAM: &str = "team_local";

/// How many resources of a sample can be deleted.
const READY: usize = 2;

/// The samples that are live.
pub(super) struct Samples {
    /// Its invoices are settled: an uninstall is final at once, and its configuration may be deleted.
    pub settled: Sample,
    /// Its invoices are open: Vercel waits after an uninstall.
    pub open: Sample,
}

/// A live installation.
pub(super) struct Sample {
    pub id: String,
    /// The ids of the live resources that can be deleted, [`READY`] of them.
    pub ready: Vec<String>,
    /// A live resource that is still being made.
    pub provisioning: String,
}

impl Samples {
    /// Registers the samples that are missing.
    pub(super) async fn register(store: &Store) -> anyhow::Result<Self> {
        let settled = Sample::register(store, "settled").await?;
        let open = Sample::register(store, "open").await?;
        Ok(Self { settled, open })
    }
}

impl Sample {
    async fn register(store: &Store, billing: &str) -> anyhow::Result<Self> {
        let (id, items) = live_installation(store, billing).await?;
        let mut ready = Vec::new();
        for n in 1_u64.. {
            let resource = format!("db_{n}");
            if is_live(store, &items, &id, &resource, "ready").await? {
                ready.push(resource);
            }
            if ready.len() == READY {
                break;
            }
        }
        let mut provisioning = String::new();
        for n in 1_u64.. {
            provisioning = format!("cache_{n}");
            if is_live(store, &items, &id, &provisioning, "provisioning").await? {
                break;
            }
        }
        let webhook = json!({ "webhook": { "installationId": id, "id": "hook_1" } });
        register(store, webhook).await?;
        Ok(Self { id, ready, provisioning })
    }
}

/// The first sample of its kind that was not deleted, and what was stored of it before.
async fn live_installation(store: &Store, billing: &str) -> anyhow::Result<(String, Vec<Item>)> {
    let mut n = 1_u64;
    loop {
        let id = format!("icfg_{billing}{n}");
        let items = store.items(&InstallationId::parse(&id)?).await?;
        let stored = items.iter().find(|item| named(item, "#installation").is_some());
        match stored.map(|item| text(item, "state")) {
            // Changes made by hand stay, except in the attributes that this record sets.
            Some(Some("active")) | None => {
                let token = format!("sample-{billing}{n}");
                register(
                    store,
                    json!({ "installation": {
                        "id": id, "accountId": ACCOUNT, "teamId": TEAM,
                        "teamSlug": "local", "accessToken": token, "billing": billing,
                    }}),
                )
                .await?;
                return Ok((id, items));
            }
            Some(_) => n += 1,
        }
    }
}

/// Whether a resource is live with this status. A resource that was never known is registered with it.
async fn is_live(
    store: &Store,
    items: &[Item],
    installation: &str,
    resource: &str,
    status: &str,
) -> anyhow::Result<bool> {
    let of = |prefix| move |item: &&Item| named(item, prefix) == Some(resource);
    if let Some(item) = items.iter().find(of("resource#")) {
        return Ok(text(item, "status") == Some(status));
    }
    if items.iter().any(|item| of("receipt#resource#")(&item)) {
        return Ok(false);
    }
    let name = format!("sample {resource}");
    let record = json!({ "resource": {
        "installationId": installation, "id": resource, "name": name, "status": status,
    }});
    register(store, record).await
}

/// Registers a record. Returns `false` if its resource was deleted before.
async fn register(store: &Store, record: Value) -> anyhow::Result<bool> {
    let record: Record = serde_json::from_value(record).context("a sample is malformed")?;
    match store.register(&record).await {
        Ok(()) => Ok(true),
        Err(RegisterError::ResourceDeleted) => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("a sample was not registered")),
    }
}
