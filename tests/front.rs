//! The front: the calls that pass through to the provider's backend, and what the front records of these
//! calls (J).

mod beside;
mod passing;
mod provision;
mod proxied;
mod reconciled;
mod recording;

use serde_json::{Value, json};

use crate::support::world::{Call, INSTALLATION, World, user};

const RESOURCES: &str = "/v1/installations/icfg_1/resources";

/// A call to the installation `icfg_1`, with the token of an `ADMIN`.
fn call<'a>(world: &'a World, method: &str, path: &str) -> Call<'a> {
    call_as(world, method, path, &user("icfg_1"))
}

fn call_as<'a>(world: &'a World, method: &str, path: &str, claims: &Value) -> Call<'a> {
    let token = world.token(claims);
    world.request(method, path).header("authorization", &format!("Bearer {token}"))
}

/// An Upsert Installation with an access token.
fn upsert(world: &World) -> Call<'_> {
    let credentials = json!({ "access_token": "t0ken-of-icfg_1", "token_type": "Bearer" });
    call(world, "PUT", INSTALLATION).json(&json!({ "scopes": [], "credentials": credentials }))
}

/// A call of Provision Resource, with this `Idempotency-Key`.
fn provision<'a>(world: &'a World, key: &str) -> Call<'a> {
    let wanted = json!({ "productId": "prod_1", "name": "my db", "metadata": {} });
    call(world, "POST", RESOURCES).key(key).json(&wanted)
}

/// The sort keys of the Provision intents of the installation `icfg_1`.
async fn intents(world: &World) -> Vec<String> {
    let keys = world.sort_keys("icfg_1").await;
    keys.into_iter().filter(|key| key.starts_with("work#provision#")).collect()
}
