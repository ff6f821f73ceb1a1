//! The two sides that `teardown reconcile` compares in a test: the table and Vercel.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::fake::Fake;
use crate::support::world::{ACCOUNT, World};
use crate::tool::{teardown, text};

/// The two sides of a comparison: a table, and a stand-in for Vercel.
pub struct Sides {
    pub world: World,
    pub vercel: Fake,
    pub url: String,
}

/// The result of one run of `teardown reconcile`.
pub struct Run {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Run {
    /// The output lines of `--json`, by installation: whether the table and Vercel agree, then the problems
    /// that are left, then the fixed problems.
    pub fn lines(&self) -> BTreeMap<String, (bool, Vec<String>)> {
        let named = |problem: &Value| {
            let kind = problem["kind"].as_str().unwrap();
            problem["resource"].as_str().map_or(kind.to_owned(), |it| format!("{kind} {it}"))
        };
        let line = |line: &str| {
            let object: Value = serde_json::from_str(line).unwrap();
            let list = |name: &str| object[name].as_array().cloned().unwrap_or_default();
            let left = list("problems").iter().map(named).collect::<Vec<_>>();
            let fixed = list("fixed").iter().map(|it| format!("fixed {}", named(it))).collect();
            let id = object["installation"].as_str().unwrap().to_owned();
            (id, (object["agrees"].as_bool().unwrap(), [left, fixed].concat()))
        };
        self.out.lines().map(line).collect()
    }
}

impl Sides {
    pub async fn new() -> Self {
        let (vercel, url) = Fake::start().await;
        Self { world: World::new().await, vercel, url }
    }

    /// Registers an installation with a token, and with resources that are 15 min old.
    pub async fn install(&self, id: &str, resources: &[&str]) {
        let token = format!("token-of-{id}");
        let line = json!({ "id": id, "accountId": ACCOUNT, "accessToken": token });
        self.world.register(json!({ "installation": line })).await;
        for resource in resources {
            self.register(id, resource).await;
            let key = format!("resource#{resource}");
            let mut item = self.world.items(id).await[&key].clone();
            item["registeredAt"] = json!(item["registeredAt"].as_u64().unwrap() - 900);
            self.world.put(item).await;
        }
    }

    pub async fn register(&self, id: &str, resource: &str) {
        let line = json!({ "installationId": id, "id": resource, "status": "ready" });
        self.world.register(json!({ "resource": line })).await;
    }

    /// Runs `teardown reconcile` with the table and the stand-in for Vercel, and allows up to 10,000 requests
    /// a second.
    pub async fn reconcile(&self, arguments: &[&str]) -> Run {
        let mut command = teardown(&[&["reconcile", "--rate", "10000"], arguments].concat());
        command.env("AWS_ENDPOINT_URL_DYNAMODB", &self.world.dynamodb_url);
        command.env("TABLE_NAME", self.world.table()).env("VERCEL_API_URL", &self.url);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        Run {
            status: output.status.code().unwrap(),
            out: text(&output.stdout).to_owned(),
            err: text(&output.stderr).to_owned(),
        }
    }
}

/// The lines that a test expects from [`Run::lines`]: each installation with its problems.
pub fn lines(expected: &[(&str, &[&str])]) -> BTreeMap<String, (bool, Vec<String>)> {
    let line = |(id, problems): &(&str, &[&str])| {
        let problems = problems.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        ((*id).to_owned(), (problems.is_empty(), problems))
    };
    expected.iter().map(line).collect()
}
