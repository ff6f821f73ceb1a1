//! The JSON requests of `docs/writing-the-table.md`, sent as the page has them.

use serde_json::{Value, json};

use teardown::ids::ResourceId;
use teardown::store::admin::Act;
use teardown::store::admin::moves::{Moved, Target};
use teardown::store::registry::RegisterError;

use crate::support::world::{World, id};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/writing-the-table.md");
    std::fs::read_to_string(path).unwrap()
}

/// The request with this name on the page.
fn request(name: &str) -> String {
    let page = page();
    let (_, rest) = page.split_once(&format!("<!-- request: {name} -->\n```json\n")).unwrap();
    rest.split_once("\n```\n").unwrap().0.to_owned()
}

impl World {
    /// Sends the page's request with this name to the test's table. The error is the index of the first
    /// condition that failed.
    async fn run(&self, name: &str) -> Result<(), usize> {
        let credential = "Credential=local/20261122/us-east-1/dynamodb/aws4_request";
        let authorization =
            format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature=00");
        let sent = crate::support::world::http_client()
            .post(&self.dynamodb_url)
            .header("x-amz-target", "DynamoDB_20120810.TransactWriteItems")
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20261122T000000Z")
            .header("authorization", authorization)
            .body(request(name).replace(r#""teardown""#, &json!(self.table()).to_string()));
        let answer = sent.send().await.unwrap();
        if answer.status() == 200 {
            return Ok(());
        }
        let answer: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let reasons =
            answer["CancellationReasons"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let failed = |reason: &Value| reason["Code"] == "ConditionalCheckFailed";
        Err(reasons.iter().position(failed).unwrap_or_else(|| panic!("{answer}")))
    }

    /// The items of the page's installation, without their times.
    async fn timeless(&self) -> Value {
        let mut items = self.items("icfg_1").await;
        for item in items.values_mut() {
            let item = item.as_object_mut().unwrap();
            // A backend may leave out `registeredAt`.
            item.remove("registeredAt");
            item.remove("updatedAt");
        }
        json!(items)
    }
}

/// C2, C4, D1, D4, D6: the requests on `docs/writing-the-table.md` write the same items as the library.
#[tokio::test]
async fn the_page_writes_what_the_library_writes() {
    let (page, library) = (World::new().await, World::new().await);
    let line = |status| {
        json!({ "resource": {
            "installationId": "icfg_1", "id": "db_1", "name": "my-database",
            "productId": "postgres", "status": status,
        } })
    };
    let installation = |billing: Option<&str>| {
        json!({ "installation": {
            "id": "icfg_1", "accountId": "acc_1", "teamId": "team_1", "teamSlug": "my-team",
            "accessToken": "the-access-token-that-Vercel-sent", "billing": billing,
        } })
    };
    let token = json!({ "accessToken": {
        "installationId": "icfg_1", "accessToken": "the-access-token-that-Vercel-sent",
    } });
    for (name, line) in [
        ("register-installation", installation(None)),
        ("replace-token", token.clone()),
        ("register-resource", line("provisioning")),
        ("change-status", line("ready")),
        ("settle", installation(Some("settled"))),
        ("register-installation", installation(None)),
    ] {
        assert_eq!(page.run(name).await, Ok(()), "{name}");
        library.register(line).await;
        assert_eq!(page.timeless().await, library.timeless().await, "{name}");
    }
}

/// C4, D4, D5: DynamoDB refuses the requests on `docs/writing-the-table.md` in the cases that the page names.
/// A refused request changes nothing.
#[tokio::test]
async fn dynamodb_refuses_what_the_page_says() {
    let world = World::announcing().await;
    assert_eq!(world.run("register-resource").await, Err(0), "the installation is unknown");
    assert_eq!(world.run("change-status").await, Err(0));
    assert_eq!(world.run("settle").await, Err(0));
    assert_eq!(world.run("settle-uninstalled").await, Err(0));
    assert_eq!(world.run("replace-token").await, Err(0));
    assert_eq!(world.run("register-installation").await, Ok(()));
    assert_eq!(world.run("change-status").await, Err(1), "the resource is unknown");
    assert_eq!(world.run("settle-uninstalled").await, Err(0), "it is active");
    assert_eq!(world.run("register-resource").await, Ok(()));
    assert_eq!(world.run("register-resource").await, Err(1), "it is registered already");
    assert_eq!(world.items("icfg_1").await["#installation"]["resources"], 1);

    let path = "/v1/installations/icfg_1/resources/db_1";
    assert_eq!(world.delete(path).send().await.error(), (409, "resource_busy"));
    assert_eq!(world.run("change-status").await, Ok(()));
    assert_eq!(world.delete(path).send().await.status, 204);
    // The page's "now" must be after this deletion and before the deletion's receipt expires. With a "now"
    // outside these times, the next check tests nothing.
    let receipt = &world.items("icfg_1").await["receipt#resource#db_1"];
    assert!(receipt["expiresAt"].as_u64().unwrap() > 1_800_000_000, "{receipt}");
    assert_eq!(world.run("register-resource").await, Err(2), "it was deleted");
    assert_eq!(world.run("change-status").await, Err(1));
    world.remove("installation#icfg_1", "receipt#resource#db_1").await;
    assert_eq!(world.run("register-resource").await, Err(3), "it is still to be announced");

    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.status, 200);
    let before = world.all().await;
    for name in ["register-installation", "register-resource", "change-status", "settle"] {
        assert_eq!(world.run(name).await, Err(0), "{name}: the installation was deleted");
    }
    assert_eq!(world.all().await, before);
    assert_eq!(world.run("settle-uninstalled").await, Ok(()));
    let items = world.items("icfg_1").await;
    assert_eq!(items["#installation"]["billing"], "settled");
    assert_eq!(items["work#finalize"]["dueAt"], 1_800_000_000);
}

/// D6, G3: the access token can be replaced until the installation is finalized, even after an uninstall.
#[tokio::test]
async fn the_token_is_replaced_until_it_is_finalized() {
    let world = World::new().await;
    let line = |token: &str| json!({ "accessToken": { "installationId": "icfg_1", "accessToken": token } });
    let unknown = world.try_register(line("t0")).await;
    assert!(matches!(unknown, Err(RegisterError::InstallationUnknown)), "{unknown:?}");
    world.install("icfg_1", &[]).await;
    world.register(line("t1")).await;
    assert_eq!(world.delete("/v1/installations/icfg_1").send().await.body["finalized"], false);
    world.register(line("t2")).await;
    assert_eq!(world.items("icfg_1").await["#token"]["accessToken"], "t2");
    assert_eq!(world.run("replace-token").await, Ok(()));
    world.clock.advance(std::time::Duration::from_hours(24));
    world.sweep_all().await;
    assert!(world.vercel.is_finalized("icfg_1"));
    let refused = world.try_register(line("t3")).await;
    assert!(matches!(refused, Err(RegisterError::InstallationFinalized)), "{refused:?}");
    assert_eq!(world.run("replace-token").await, Err(0));
    assert!(!world.items("icfg_1").await.contains_key("#token"));
}

/// I1: the request for a move on `docs/writing-the-table.md` moves a resource as the library does, and is
/// refused in the cases that the page names.
#[tokio::test]
async fn the_page_moves_a_resource() {
    let (page, library) = (World::new().await, World::new().await);
    assert_eq!(page.run("move-resource").await, Err(0), "the source is unknown");
    for world in [&page, &library] {
        for name in ["register-installation", "register-resource", "change-status"] {
            assert_eq!(world.run(name).await, Ok(()), "{name}");
        }
    }
    assert_eq!(page.run("move-resource").await, Err(6), "the target is unknown");
    for world in [&page, &library] {
        world.install("icfg_2", &[]).await;
    }
    for (sort_key, failed) in [("hold#installation", 3), ("hold#resource#db_1", 4)] {
        page.put(json!({ "pk": "installation#icfg_1", "sk": sort_key, "heldAt": 1 })).await;
        assert_eq!(page.run("move-resource").await, Err(failed), "{sort_key}");
        page.remove("installation#icfg_1", sort_key).await;
    }
    for (installation, sort_key, failed) in [
        ("icfg_1", "receipt#resource#db_1", 2),
        ("icfg_1", "work#announce#resource#db_1", 5),
        ("icfg_2", "resource#db_1", 7),
        ("icfg_2", "receipt#resource#db_1", 8),
        ("icfg_2", "work#announce#resource#db_1", 9),
    ] {
        let partition = format!("installation#{installation}");
        page.put(json!({ "pk": partition, "sk": sort_key, "kept": {} })).await;
        assert_eq!(page.run("move-resource").await, Err(failed), "{installation} {sort_key}");
        page.remove(&partition, sort_key).await;
    }
    assert_eq!(page.run("move-resource").await, Ok(()));
    assert_eq!(page.run("move-resource").await, Err(1), "it was moved before");

    let act = Act { by: "my-backend".to_owned(), reason: "transfer tr_1".to_owned() };
    let resource = ResourceId::parse("db_1").unwrap();
    let target = Target::Installation(id("icfg_2"));
    let moved = library.store.move_resource(&id("icfg_1"), &resource, &target, &act).await;
    assert_eq!(moved.unwrap(), Moved::Now);
    let stored = async |world: &World| {
        let mut stored = [world.items("icfg_1").await, world.items("icfg_2").await];
        for item in stored.iter_mut().flat_map(|items| items.values_mut()) {
            for name in ["registeredAt", "updatedAt", "movedAt"] {
                item.as_object_mut().unwrap().remove(name);
            }
        }
        json!(stored)
    };
    assert_eq!(stored(&page).await, stored(&library).await);
}

/// C4, D4, G1: the TypeScript on `docs/writing-the-table.md` has every condition of the page's JSON, and an
/// error text for each condition.
#[test]
fn the_typescript_demands_what_the_json_does() {
    const ACTIVE: &str = r##"ConditionExpression: "#state = :active","##;
    let page = page();
    let (_, script) = page.split_once("```ts\n").unwrap();
    let (script, _) = script.split_once("\n```\n").unwrap();
    let request: Value = serde_json::from_str(&request("register-resource")).unwrap();
    let items = request["TransactItems"].as_array().unwrap();
    let mut rest = script.split_once("TransactItems: [").unwrap().1.replace("...active,", ACTIVE);
    for item in items {
        let (operation, item) = item.as_object().unwrap().iter().next().unwrap();
        let condition = item["ConditionExpression"].as_str().unwrap();
        for part in [format!("{operation}: {{"), format!("ConditionExpression: \"{condition}\"")] {
            let found = rest.split_once(&part).unwrap_or_else(|| panic!("no {part} in {rest}"));
            rest = found.1.to_owned();
        }
    }
    let (_, refusals) = script.split_once("const refusals = [\n").unwrap();
    let (refusals, _) = refusals.split_once("];").unwrap();
    assert_eq!(refusals.lines().count(), items.len());
}
