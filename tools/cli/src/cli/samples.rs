//! Sample installations, so that a new `teardown dev` has something to delete.
//!
//! The samples are numbered. With `--data`, a deleted sample stays deleted, and a sample with the next number
//! replaces it. Because of this replacement, the commands that the welcome prints always work.

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

/// How many ready resources a sample has. Ready resources can be deleted.
const READY: usize = 2;

/// The samples that are live.
pub(super) struct Samples {
    /// A sample whose invoices are settled. This sample's uninstall is final immediately, and its
    /// configuration may be deleted.
    pub settled: Sample,
    /// A sample whose invoices are open. After this sample's uninstall, Vercel waits for the final invoices.
    pub open: Sample,
}

/// A live installation.
pub(super) struct Sample {
    pub id: String,
    /// The ids of the live resources that can be deleted, [`READY`] of them.
    pub ready: Vec<String>,
    /// A live resource that is still being provisioned.
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

/// Finds the first sample of this kind that was not deleted, and registers it. Returns the sample's id, and
/// the items that were stored before.
async fn live_installation(store: &Store, billing: &str) -> anyhow::Result<(String, Vec<Item>)> {
    let mut n = 1_u64;
    loop {
        let id = format!("icfg_{billing}{n}");
        let items = store.items(&InstallationId::parse(&id)?).await?;
        let stored = items.iter().find(|item| named(item, "#installation").is_some());
        match stored.map(|item| text(item, "state")) {
            // The record overwrites only the attributes that it sets, so a developer's changes to other
            // attributes stay.
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

/// Whether a resource is live with this status. A resource that was never stored is first registered with
/// this status.
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

/// Registers a record. Returns `false` if the record's resource was deleted before.
async fn register(store: &Store, record: Value) -> anyhow::Result<bool> {
    let record: Record = serde_json::from_value(record).context("a sample is malformed")?;
    match store.register(&record).await {
        Ok(()) => Ok(true),
        Err(RegisterError::ResourceDeleted) => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("a sample was not registered")),
    }
}
