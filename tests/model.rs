//! Any sequence of registrations, deletions and replays gives the state that a small model gives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dynamodb::Fault;
use crate::world::{ACCOUNT, World, account, system};

/// What is done, to one installation with resources `r0` and `r1`.
#[derive(Clone, Debug)]
enum Act {
    Install { settled: bool },
    Register { resource: u8, provisioning: bool },
    DeleteResource { resource: u8, key: Option<u8>, by: By },
    Uninstall { cascade: bool, key: Option<u8>, by: By },
}

/// By whom.
#[derive(Clone, Copy, Debug)]
enum By {
    User,
    System,
    Account,
}

/// The state of the world, as the requirements have it.
#[derive(Default)]
struct Model {
    /// `None`: unknown; else whether it is settled.
    installed: Option<bool>,
    /// Whether it was finalized when it was deleted.
    deleted: Option<bool>,
    /// The live resources, and whether each is being provisioned.
    live: BTreeMap<u8, bool>,
    receipts: BTreeSet<u8>,
    /// What was asked under a key, and what was answered.
    outcomes: BTreeMap<(bool, u8), (Value, (u16, Value))>,
}

impl Model {
    /// The answer's status and its body, or its error's code.
    fn act(&mut self, act: &Act) -> (u16, Value) {
        match act {
            Act::Install { .. } if self.deleted.is_some() => (0, json!("refused")),
            Act::Install { settled } => {
                self.installed = Some(*settled);
                (0, json!(null))
            }
            Act::Register { resource, provisioning } => {
                let refused = self.installed.is_none()
                    || self.deleted.is_some()
                    || self.receipts.contains(resource);
                if !refused {
                    self.live.insert(*resource, *provisioning);
                }
                (0, if refused { json!("refused") } else { json!(null) })
            }
            Act::DeleteResource { resource, key, by } => {
                self.once(*by, true, *key, json!(resource), |model| {
                    if model.deleted.is_none() {
                        if model.live.get(resource) == Some(&true) {
                            return Err("resource_busy");
                        }
                        model.live.remove(resource);
                        model.receipts.insert(*resource);
                    }
                    Ok((204, json!(null)))
                })
            }
            Act::Uninstall { cascade, key, by } => {
                self.once(*by, false, *key, json!(cascade), |model| {
                    if model.deleted.is_none() {
                        if !cascade && !model.live.is_empty() {
                            return Err("resources_remain");
                        }
                        model.live.clear();
                        model.deleted = Some(model.installed == Some(true));
                    }
                    Ok((200, json!({ "finalized": model.deleted })))
                })
            }
        }
    }

    fn once(
        &mut self,
        by: By,
        of_resource: bool,
        key: Option<u8>,
        request: Value,
        effect: impl FnOnce(&mut Self) -> Result<(u16, Value), &'static str>,
    ) -> (u16, Value) {
        if matches!(by, By::Account) && self.installed.is_none() && self.deleted.is_none() {
            return (403, json!("forbidden"));
        }
        let recorded = key.and_then(|key| self.outcomes.get(&(of_resource, key)));
        match recorded {
            Some((first, answer)) if *first == request => return answer.clone(),
            Some(_) => return (409, json!("idempotency_key_reused")),
            None => {}
        }
        match effect(self) {
            Ok(answer) => {
                if let Some(key) = key {
                    self.outcomes.insert((of_resource, key), (request, answer.clone()));
                }
                answer
            }
            Err(code) => (409, json!(code)),
        }
    }
}

/// Does it in the world.
async fn act(world: &World, id: &str, act: &Act, most_calls: usize) -> (u16, Value) {
    let token = |by: By| match by {
        By::User => world.token(&crate::world::user(id)),
        By::System => world.token(&system(id)),
        By::Account => world.token(&account(ACCOUNT)),
    };
    let registered = async |line: Value| {
        let refused = world.try_register(line).await.is_err();
        (0, if refused { json!("refused") } else { json!(null) })
    };
    let call = match act {
        Act::Install { settled } => {
            let billing = if *settled { "settled" } else { "open" };
            let line = json!({ "id": id, "accountId": ACCOUNT, "billing": billing });
            return registered(json!({ "installation": line })).await;
        }
        Act::Register { resource, provisioning } => {
            let status = if *provisioning { "provisioning" } else { "ready" };
            let line =
                json!({ "installationId": id, "id": format!("r{resource}"), "status": status });
            return registered(json!({ "resource": line })).await;
        }
        Act::DeleteResource { resource, key, by } => {
            let path = format!("/v1/installations/{id}/resources/r{resource}");
            let call = world.delete_as(&path, &token(*by));
            key.iter().fold(call, |call, key| call.key(&format!("k{key}")))
        }
        Act::Uninstall { cascade, key, by } => {
            let call = world.delete_as(&format!("/v1/installations/{id}"), &token(*by));
            let call = call.json(&json!({ "cascadeResourceDeletion": cascade }));
            key.iter().fold(call, |call, key| call.key(&format!("k{key}")))
        }
    };
    let reply = call.send().await;
    assert!(reply.calls <= most_calls, "{act:?} took {} calls", reply.calls);
    let code = reply.body["error"]["code"].clone();
    (reply.status, if code.is_null() { reply.body } else { code })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let key = || proptest::option::of(0..2u8);
    let by = || prop_oneof![Just(By::User), Just(By::System), Just(By::Account)];
    let one = prop_oneof![
        2 => any::<bool>().prop_map(|settled| Act::Install { settled }),
        4 => (0..2u8, any::<bool>())
            .prop_map(|(resource, provisioning)| Act::Register { resource, provisioning }),
        5 => (0..2u8, key(), by())
            .prop_map(|(resource, key, by)| Act::DeleteResource { resource, key, by }),
        2 => (any::<bool>(), key(), by())
            .prop_map(|(cascade, key, by)| Act::Uninstall { cascade, key, by }),
    ];
    proptest::collection::vec(one, 1..20)
}

/// C, D, F: every answer and every state is the model's; at most two calls to DynamoDB each.
#[test]
fn any_sequence_gives_what_the_model_gives() {
    check(Fault::None, 2);
}

/// A6, C, D, F: so it is where DynamoDB keeps silent about the installation, or about all that is no
/// evidence.
#[test]
fn silence_changes_no_answer() {
    check(Fault::InstallationHidden, 3);
    check(Fault::ConflictBesideEvidence, 2);
}

fn check(fault: Fault, most_calls: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let world = runtime.block_on(World::announcing());
    world.dynamodb.lasting(fault);
    let cases = AtomicUsize::new(0);
    let config = ProptestConfig { cases: 150, failure_persistence: None, ..Default::default() };
    proptest!(config, |(acts in acts())| {
        let id = format!("icfg_{}", cases.fetch_add(1, Ordering::SeqCst));
        let mut model = Model::default();
        runtime.block_on(async {
            for step in &acts {
                let expected = model.act(step);
                prop_assert_eq!(act(&world, &id, step, most_calls).await, expected, "{:?}", step);
            }
            let items = world.items(&id).await;
            let there = |kind: &str, n: u8| items.contains_key(&format!("{kind}#r{n}"));
            for resource in 0..2 {
                let live = there("resource", resource) && model.deleted.is_none();
                prop_assert_eq!(live, model.live.contains_key(&resource));
                let receipt = model.receipts.contains(&resource);
                prop_assert_eq!(there("receipt#resource", resource), receipt);
                prop_assert_eq!(there("work#announce#resource", resource), receipt);
            }
            if let (Some(_), None) = (model.installed, model.deleted) {
                prop_assert_eq!(&items["#installation"]["resources"], model.live.len());
            }
            let deleted = model.deleted.is_some();
            prop_assert_eq!(items.contains_key("receipt#installation"), deleted);
            prop_assert_eq!(items.contains_key("work#purge"), deleted);
            prop_assert_eq!(items.contains_key("work#finalize"), model.deleted == Some(false));
            Ok(())
        })?;
    });
}
