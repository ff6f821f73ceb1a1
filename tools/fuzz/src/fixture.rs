//! What a fuzz target runs: an issuer, a DynamoDB in its own thread, and the endpoints. The endpoints run in
//! the target's thread, so that this thread's CPU time is the endpoints' CPU time.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use teardown::App;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::limits::Limits;
use teardown::store::Store;
use teardown::store::admin::table;
use teardown_cli::embedded::{Embedded, local_client};
use teardown_cli::issuer::Issuer;
use tokio::runtime::{Builder, Runtime};

/// The issuer whose tokens are valid. In the fuzz targets, its key has the id `KID`.
pub(crate) static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate().unwrap());

pub(crate) const KID: &str = "key-1";
pub(crate) const ISS: &str = "https://marketplace.vercel.com";
pub(crate) const AUD: &str = "oac_1";
pub(crate) const CRON_SECRET: &str = "cr0n-s3cret";

/// A time in the year 2100, after every test.
pub(crate) const LATER: u64 = 4_102_444_800;

/// An address where nobody listens, so that a fetch from this address fails immediately.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:1";

const TABLE: &str = "fuzz";

/// The JWKS document with the key that verifies tokens.
pub(crate) fn jwks() -> String {
    let mut key = ISSUER.jwk();
    key["kid"] = json!(KID);
    json!({ "keys": [key] }).to_string()
}

/// A table's items, by their keys.
pub(crate) type Items = BTreeMap<(String, String), HashMap<String, AttributeValue>>;

/// A DynamoDB, and the endpoints that use it.
pub(crate) struct Fixture {
    pub(crate) runtime: Runtime,
    pub(crate) app: App,
    pub(crate) store: Store,
    client: Client,
    /// The table's items before each case.
    first: OnceCell<Items>,
}

impl Fixture {
    /// Starts endpoints that call `vercel`, with a table into which these lines are imported. The fixture is
    /// never dropped, because its thread needs the fixture until the thread ends.
    pub(crate) fn new(vercel: &str, lines: &[Value]) -> &'static Self {
        let (sender, url) = mpsc::channel();
        thread::spawn(move || {
            runtime().block_on(async {
                let url = Embedded::start(None).await.unwrap().url();
                sender.send(url).unwrap();
                std::future::pending::<()>().await;
            });
        });
        let url = url.recv().unwrap();
        let jwks = jwks();
        let variables = [
            ("INTEGRATION_ID", AUD),
            ("OIDC_JWKS", &jwks),
            ("OIDC_JWKS_URL", NOWHERE),
            ("CRON_SECRET", CRON_SECRET),
            ("TABLE_NAME", TABLE),
            ("VERCEL_API_URL", vercel),
        ];
        let find = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let config = Config::from_variables(find).unwrap();
        // No case waits between its attempts to call Vercel.
        let limits = Limits { vercel_backoff: Duration::ZERO, ..Limits::default() };
        let clock = Clock::stopped();
        let runtime = runtime();
        let client = runtime.block_on(async {
            let client = local_client(&url).await.unwrap();
            table::create(&client, TABLE).await.unwrap();
            client
        });
        let store = Store::new(client.clone(), &config, clock.clone()).with_limits(limits);
        let app = App::with_store(&config, store.clone(), clock);
        let fixture =
            Box::leak(Box::new(Self { runtime, app, store, client, first: OnceCell::new() }));
        fixture.runtime.block_on(async {
            for line in lines {
                let record = serde_json::from_value(line.clone()).unwrap();
                fixture.store.register(&record).await.unwrap();
            }
            fixture.first.set(fixture.items().await).unwrap();
        });
        fixture
    }

    /// The table's items before each case.
    pub(crate) fn first(&self) -> &Items {
        self.first.get().unwrap()
    }

    /// The table's items.
    pub(crate) async fn items(&self) -> Items {
        let scan = self.client.scan().table_name(TABLE).consistent_read(true);
        let mut items = scan.into_paginator().items().send();
        let mut found = Items::new();
        while let Some(item) = items.next().await {
            let item = item.unwrap();
            let key = |name: &str| item[name].as_s().unwrap().clone();
            found.insert((key("pk"), key("sk")), item);
        }
        found
    }

    /// Restores the items that the table held before the case. `now` is what the table holds now.
    pub(crate) async fn reset(&self, now: &Items) {
        for key in now.keys().filter(|key| !self.first().contains_key(*key)) {
            let (pk, sk) = key.clone();
            let delete = self.client.delete_item().table_name(TABLE);
            let delete = delete.key("pk", AttributeValue::S(pk)).key("sk", AttributeValue::S(sk));
            delete.send().await.unwrap();
        }
        for (key, item) in self.first() {
            if now.get(key) != Some(item) {
                let put = self.client.put_item().table_name(TABLE);
                put.set_item(Some(item.clone())).send().await.unwrap();
            }
        }
    }
}

/// A runtime that uses only this thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The claims of an installation's user with this role. If `role` is `None`, the claims of Vercel itself.
pub(crate) fn claims(installation: Option<&str>, role: Option<&str>) -> Value {
    let mut claims = json!({
        "iss": ISS, "aud": AUD, "exp": LATER, "account_id": "acc_1", "sub": "account:a1",
        "installation_id": installation,
    });
    if let Some(role) = role {
        claims["sub"] = json!("account:a1:user:b2");
        claims["user_id"] = json!("user_1");
        claims["user_role"] = json!(role);
    }
    claims
}

/// Signs claims.
pub(crate) fn sign(claims: &Value) -> String {
    ISSUER.sign_with_header(&json!({ "alg": "RS256", "kid": KID }), claims)
}
