//! The end of a history: what is stored when no job is left.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use teardown::ids::IdempotencyKey;

use super::plan::{KEYS, RESOURCES};
use crate::support::world::World;

/// The state of an installation at the end of a history: in the table, at Vercel, and at the provider.
#[expect(clippy::struct_excessive_bools, reason = "an end is what is so and what is not")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The installation's `state`. `state` is empty if the installation is unknown.
    pub state: String,
    pub settled: Option<bool>,
    pub finalized: bool,
    pub configuration_gone: bool,
    pub token: bool,
    /// The number in the attribute `resources` of the installation's item, or 0 if the installation is not
    /// active.
    pub resources: usize,
    pub live: BTreeMap<u8, bool>,
    pub receipts: BTreeSet<String>,
    pub work: BTreeSet<String>,
    pub outcomes: BTreeSet<(&'static str, u8)>,
    /// The number of `webhook-id`s of each `deleted` event. The key is the resource's id, or `itself` for the
    /// installation.
    pub announced: BTreeMap<String, usize>,
    /// Whether the configuration is gone at Vercel, and whether the installation is finalized at Vercel.
    pub at_vercel: (bool, bool),
    /// Whether Vercel refused a deletion of the configuration, and then carried out an earlier request for
    /// the deletion. Rule E3 trusts Vercel's refusal.
    pub contradicted: bool,
}

impl End {
    /// Reads the end of this installation's history.
    pub async fn of(world: &World, id: &str) -> Self {
        let items = world.items(id).await;
        let mut end = Self::default();
        for (sort_key, item) in &items {
            let resource = sort_key.strip_prefix("resource#r").and_then(|it| it.parse().ok());
            if let Some(resource) = resource {
                end.live.insert(resource, item["status"] == "provisioning");
            } else if let Some(receipt) = sort_key.strip_prefix("receipt#") {
                end.receipts.insert(receipt.to_owned());
            } else if sort_key == "#token" {
                end.token = true;
            } else if sort_key == "#installation" {
                end.state = item["state"].as_str().unwrap_or_default().to_owned();
                end.settled = (end.state == "active").then_some(item["billing"] == "settled");
                end.finalized = item["finalized"] == true;
                end.configuration_gone = item.get("configurationDeletedAt").is_some();
                // The attribute `resources` of a deleted installation has no meaning.
                let active = end.state == "active";
                let resources = item["resources"].as_u64().filter(|_| active).unwrap_or_default();
                end.resources = usize::try_from(resources).unwrap();
            } else if !(sort_key.starts_with("work#provision#") && item["dueShard"] == "parked") {
                // The intent of a Provision stays parked if Vercel cannot be called (J4).
                end.work.insert(sort_key.clone());
            }
        }
        for operation in ["delete_resource", "delete_installation", "delete_configuration"] {
            for key in 0..KEYS {
                let hash = IdempotencyKey::parse(format!("k{key}").as_bytes()).unwrap();
                let pk = format!("key#{id}#{operation}#{}", hash.sha256());
                if world.item(&pk, "outcome").await.is_some() {
                    end.outcomes.insert((operation, key));
                }
            }
        }
        let ids = world.provider.ids();
        let announced = |of: &str, resource: &Value| {
            ids.get(&format!("{} {} {resource}", json!(of), json!(id))).map(BTreeSet::len)
        };
        end.announced = (0..RESOURCES)
            .map(|it| format!("r{it}"))
            .filter_map(|it| Some((it.clone(), announced("resource.deleted", &json!(it))?)))
            .collect::<BTreeMap<_, _>>();
        if let Some(times) = announced("installation.deleted", &Value::Null) {
            end.announced.insert("itself".to_owned(), times);
        }
        end.at_vercel = (world.vercel.is_gone(id), world.vercel.is_finalized(id));
        end.contradicted = world.vercel.contradicts_itself(id);
        end
    }
}
