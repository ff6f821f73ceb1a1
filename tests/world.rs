//! What a test stands in: the endpoints on a port, a DynamoDB behind them, an issuer, a clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use teardown::App;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::ids::InstallationId;
use teardown::store::registry::{Record, RegisterError};
use teardown::store::{Store, table};
use teardown_dev::embedded::{Embedded, local_client};
use teardown_dev::issuer::Issuer;
use teardown_dev::server;
use tokio::net::TcpListener;

use crate::dynamodb::Proxy;
use crate::outside::{PROVIDER_SECRET, ProviderEndpoint, VercelApi};
use crate::steps::Steps;

/// The issuer of all tests: making a key takes a tenth of a second.
pub static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate().unwrap());

/// The `aud` of tokens.
pub const INTEGRATION: &str = "oac_test";

/// The account that installations belong to where a test does not say otherwise.
pub const ACCOUNT: &str = "acc_test";

/// What the sweep's caller sends.
pub const CRON_SECRET: &str = "cr0n-s3cret";

const TABLE: &str = "teardown";

/// An installation's id.
pub fn id(text: &str) -> InstallationId {
    InstallationId::parse(text).unwrap()
}

/// Delete Configuration's path for an installation.
pub fn configuration(id: &str) -> String {
    format!("/v1/integrations/configuration/{id}")
}

pub struct World {
    /// Where the endpoints are.
    pub url: String,
    /// The endpoints' clock.
    pub clock: Clock,
    /// The store, past the endpoints and the proxy.
    pub store: Store,
    /// The proxy between the endpoints and DynamoDB.
    pub dynamodb: Proxy,
    /// Where the proxy is.
    pub dynamodb_url: String,
    /// Vercel's REST API.
    pub vercel: VercelApi,
    /// The provider's endpoint.
    pub provider: ProviderEndpoint,
    /// What is called, in its order.
    pub steps: Steps,
    /// The endpoints' configuration.
    pub config: Config,
    provider_url: String,
    client: Client,
    http: reqwest::Client,
}

/// What an endpoint answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    /// The body; null where it is empty.
    pub body: Value,
    /// How many calls to DynamoDB it took.
    pub calls: usize,
}

impl Reply {
    /// The status and the error's code.
    pub fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or("no error"))
    }

    /// The error's message.
    pub fn message(&self) -> &str {
        self.body["error"]["message"].as_str().unwrap_or("no error")
    }

    /// The status and the body.
    pub fn whole(&self) -> (u16, Value) {
        (self.status, self.body.clone())
    }
}

/// A configuration for tests, with these variables besides.
pub fn config(variables: &[(&str, &str)]) -> Config {
    let jwks = ISSUER.jwks().to_string();
    let defaults =
        [("INTEGRATION_ID", INTEGRATION), ("OIDC_JWKS", &jwks), ("CRON_SECRET", CRON_SECRET)];
    let find = |name: &str| {
        let found = variables.iter().chain(&defaults).find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_variables(find).unwrap()
}

impl World {
    /// A world without a provider's address.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A world whose deletions are announced.
    pub async fn announcing() -> Self {
        Self::announcing_with(&[]).await
    }

    /// A world whose deletions are announced, with these variables in its environment.
    pub async fn announcing_with(variables: &[(&str, &str)]) -> Self {
        let steps = Steps::default();
        let (provider, url) = ProviderEndpoint::start(steps.clone()).await;
        let announcing = [("PROVIDER_URL", url.as_str()), ("PROVIDER_SECRET", PROVIDER_SECRET)];
        Self::start(&[variables, &announcing].concat(), steps, provider, url.clone()).await
    }

    /// A world with these variables in its environment, and without a provider's address.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let steps = Steps::default();
        let (provider, url) = ProviderEndpoint::start(steps.clone()).await;
        Self::start(variables, steps, provider, url).await
    }

    async fn start(
        variables: &[(&str, &str)],
        steps: Steps,
        provider: ProviderEndpoint,
        provider_url: String,
    ) -> Self {
        let (vercel, vercel_url) = VercelApi::start(steps.clone()).await;
        // Asked where a test moves the clock past the first keys' end.
        let keys = || async { axum::Json(ISSUER.jwks()) };
        let keys = serve(axum::Router::new().fallback(keys)).await;
        let outside = [("OIDC_JWKS_URL", keys.as_str()), ("VERCEL_API_URL", &vercel_url)];
        let config = config(&[variables, &outside].concat());
        let clock = Clock::standing();
        let embedded = Embedded::start(None).await.unwrap();
        let client = local_client(&embedded.url()).await.unwrap();
        table::create(&client, TABLE).await.unwrap();
        let (dynamodb, dynamodb_url) = Proxy::start(embedded.url(), steps.clone()).await;
        let proxied =
            Store::new(local_client(&dynamodb_url).await.unwrap(), &config, clock.clone());
        let app = App::with_store(&config, proxied, clock.clone());
        Self {
            url: serve(server::endpoints(app)).await,
            store: Store::new(client.clone(), &config, clock.clone()),
            clock,
            dynamodb,
            dynamodb_url,
            vercel,
            provider,
            steps,
            config,
            provider_url,
            client,
            http: http_client(),
        }
    }

    /// Registers a line to import.
    pub async fn register(&self, line: Value) {
        self.try_register(line).await.unwrap();
    }

    /// Registers a line to import, or says why not.
    pub async fn try_register(&self, line: Value) -> Result<(), RegisterError> {
        let record: Record = serde_json::from_value(line).unwrap();
        self.store.register(&record).await
    }

    /// Registers an installation of the tests' account, with invoices open, and resources of it.
    pub async fn install(&self, id: &str, resources: &[&str]) {
        self.register(json!({ "installation": { "id": id, "accountId": ACCOUNT } })).await;
        for resource in resources {
            self.register(json!({ "resource": { "installationId": id, "id": resource } })).await;
        }
    }

    /// Marks an installation's invoices as settled.
    pub async fn settle(&self, id: &str) {
        let line =
            json!({ "installation": { "id": id, "accountId": ACCOUNT, "billing": "settled" } });
        self.register(line).await;
    }

    /// Registers an installation whose invoices are settled, with all that can belong to one: the
    /// team `team_1` (`my-team`), an access token, these resources, a webhook, a log drain and a
    /// variable.
    pub async fn install_whole(&self, id: &str, resources: &[&str]) {
        self.register(json!({ "installation": {
            "id": id, "accountId": ACCOUNT, "teamId": "team_1", "teamSlug": "my-team",
            "accessToken": format!("token-of-{id}"), "billing": "settled",
        } }))
        .await;
        for resource in resources {
            self.register(json!({ "resource": { "installationId": id, "id": resource } })).await;
        }
        for line in [
            json!({ "webhook": { "installationId": id, "id": "hook_1" } }),
            json!({ "logDrain": { "installationId": id, "id": "drain_1" } }),
            json!({ "envVar": {
                "installationId": id, "id": "env_1", "projectId": "prj_1", "key": "URL",
            } }),
        ] {
            self.register(line).await;
        }
    }

    /// Marks an installation's invoices as open.
    pub async fn reopen(&self, id: &str) {
        let line = json!({ "installation": { "id": id, "accountId": ACCOUNT, "billing": "open" } });
        self.register(line).await;
    }

    /// The provider's address, for a function of its own.
    pub fn provider_url(&self) -> &str {
        &self.provider_url
    }

    /// The store as the endpoints have it, behind the proxy.
    pub async fn proxied(&self) -> Store {
        let client = local_client(&self.dynamodb_url).await.unwrap();
        Store::new(client, &self.config, self.clock.clone())
    }

    /// The endpoints as another process has them: what one of them holds in memory, no other does.
    pub async fn process(&self) -> App {
        App::with_store(&self.config, self.proxied().await, self.clock.clone())
    }

    /// The address of other endpoints, whose calls to DynamoDB nobody counts.
    pub async fn another(&self) -> String {
        let app = App::with_store(&self.config, self.store.clone(), self.clock.clone());
        serve(server::endpoints(app)).await
    }

    /// Sends a sweep, and gives its report: taken, done, put off, parked.
    pub async fn sweep(&self) -> [u64; 4] {
        let call = self.request("GET", "/api/sweep");
        let reply = call.header("authorization", &format!("Bearer {CRON_SECRET}")).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        ["taken", "done", "putOff", "parked"].map(|name| reply.body[name].as_u64().unwrap())
    }

    /// Sweeps until nothing is taken any more.
    pub async fn sweep_all(&self) {
        for _ in 0..50 {
            if self.sweep().await[0] == 0 {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("there is always something due");
    }

    /// A request to delete what is at this path, by the installation's `ADMIN`.
    pub fn delete(&self, path: &str) -> Call<'_> {
        let path_alone = path.split('?').next().unwrap_or_default();
        let at = if path.starts_with("/v1/integrations/") { 4 } else { 3 };
        let installation = path_alone.split('/').nth(at).unwrap_or_default();
        let token = self.token(&user(installation));
        self.delete_as(path, &token)
    }

    /// A request to delete what is at this path, with this token.
    pub fn delete_as(&self, path: &str, token: &str) -> Call<'_> {
        let request = self.http.delete(format!("{}{path}", self.url)).bearer_auth(token);
        Call { world: self, request }
    }

    /// Any request, without a token.
    pub fn request(&self, method: &str, path: &str) -> Call<'_> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        Call { world: self, request: self.http.request(method, format!("{}{path}", self.url)) }
    }

    /// Signs claims, with times that are missing: valid now for 10 minutes.
    pub fn token(&self, claims: &Value) -> String {
        ISSUER.sign(&self.timed(claims))
    }

    /// Adds a validity of 10 minutes to claims that have none.
    pub fn timed(&self, claims: &Value) -> Value {
        let mut claims = claims.clone();
        let exp = (self.clock.now() + Duration::from_mins(10)).as_secs();
        if claims.get("exp").is_none() {
            claims["exp"] = json!(exp);
        }
        claims
    }

    /// An item, as plain JSON.
    pub async fn item(&self, pk: &str, sk: &str) -> Option<Value> {
        let key = |text: &str| AttributeValue::S(text.to_owned());
        let request =
            self.client.get_item().table_name(TABLE).key("pk", key(pk)).key("sk", key(sk));
        request.consistent_read(true).send().await.unwrap().item.as_ref().map(plain)
    }

    /// Everything of an installation, by sort key.
    pub async fn items(&self, installation: &str) -> BTreeMap<String, Value> {
        let mut items = self
            .client
            .query()
            .table_name(TABLE)
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", s(&format!("installation#{installation}")))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut found = BTreeMap::new();
        while let Some(item) = items.next().await {
            let item = plain(&item.unwrap());
            found.insert(item["sk"].as_str().unwrap().to_owned(), item);
        }
        found
    }

    /// The sort keys of everything of an installation.
    pub async fn sort_keys(&self, installation: &str) -> Vec<String> {
        self.items(installation).await.into_keys().collect()
    }

    /// The whole table, by partition and sort key.
    pub async fn all(&self) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut pages = self
            .client
            .scan()
            .table_name(TABLE)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut table = BTreeMap::<_, BTreeMap<_, _>>::new();
        while let Some(item) = pages.next().await {
            let item = plain(&item.unwrap());
            let key = |name: &str| item[name].as_str().unwrap().to_owned();
            table.entry(key("pk")).or_default().insert(key("sk"), item.clone());
        }
        table
    }

    /// Writes an item past all rules, from plain JSON.
    pub async fn put(&self, item: Value) {
        let put = self.client.put_item().table_name(TABLE).set_item(Some(attributes(item)));
        put.send().await.unwrap();
    }

    /// Writes items past all rules, from plain JSON.
    pub async fn put_all(&self, items: Vec<Value>) {
        let put = |item| {
            let put = PutRequest::builder().set_item(Some(attributes(item))).build().unwrap();
            WriteRequest::builder().put_request(put).build()
        };
        let puts: Vec<_> = items.into_iter().map(put).collect();
        for batch in puts.chunks(25) {
            let write = self.client.batch_write_item().request_items(TABLE, batch.to_vec());
            assert!(write.send().await.unwrap().unprocessed_items.unwrap_or_default().is_empty());
        }
    }

    /// Removes an item, as the TTL does.
    pub async fn remove(&self, pk: &str, sk: &str) {
        let request = self.client.delete_item().table_name(TABLE);
        request.key("pk", s(pk)).key("sk", s(sk)).send().await.unwrap();
    }

    /// Whether a resource is live: its item is there, and its installation is active.
    pub async fn is_live(&self, installation: &str, resource: &str) -> bool {
        let items = self.items(installation).await;
        let active = items.get("#installation").is_some_and(|item| item["state"] == "active");
        active && items.contains_key(&format!("resource#{resource}"))
    }
}

/// A request in the making.
pub struct Call<'a> {
    world: &'a World,
    request: reqwest::RequestBuilder,
}

impl Call<'_> {
    pub fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    /// Adds a header, beside one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        self.request = self.request.header(name, value);
        self
    }

    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body(body.to_string())
    }

    pub async fn send(self) -> Reply {
        let before = self.world.dynamodb.calls();
        let response = self.request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Reply { status, headers, body, calls: self.world.dynamodb.calls() - before }
    }
}

/// The claims of an installation's `ADMIN`.
pub fn user(installation: &str) -> Value {
    json!({
        "iss": "https://marketplace.vercel.com", "aud": INTEGRATION, "account_id": ACCOUNT,
        "sub": "account:a1:user:b2", "installation_id": installation,
        "user_id": "user_1", "user_role": "ADMIN",
    })
}

/// The claims of the system, for one installation.
pub fn system(installation: &str) -> Value {
    json!({
        "iss": "https://marketplace.vercel.com", "aud": INTEGRATION, "account_id": ACCOUNT,
        "sub": "account:a1", "installation_id": installation,
    })
}

/// The claims of the system, for the installations of an account.
pub fn account(account: &str) -> Value {
    json!({
        "iss": "https://marketplace.vercel.com", "aud": INTEGRATION, "account_id": account,
        "sub": null, "installation_id": null,
    })
}

/// Serves a router on a free port, and says its address.
pub async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

pub fn http_client() -> reqwest::Client {
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(none).no_proxy().build().unwrap()
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

/// An item, from plain JSON: strings, numbers and booleans.
fn attributes(item: Value) -> HashMap<String, AttributeValue> {
    let attribute = |value: Value| match value {
        Value::String(text) => AttributeValue::S(text),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bool(flag) => AttributeValue::Bool(flag),
        other => panic!("no attribute: {other}"),
    };
    let Value::Object(item) = item else { panic!("no item: {item}") };
    item.into_iter().map(|(name, value)| (name, attribute(value))).collect()
}

fn plain(item: &HashMap<String, AttributeValue>) -> Value {
    let value = |attribute: &AttributeValue| match attribute {
        AttributeValue::S(text) => json!(text),
        AttributeValue::N(number) => serde_json::from_str(number).unwrap(),
        AttributeValue::Bool(flag) => json!(flag),
        AttributeValue::M(map) => plain(map),
        other => panic!("no plain attribute: {other:?}"),
    };
    let sorted: BTreeMap<_, _> = item.iter().map(|(name, it)| (name.clone(), value(it))).collect();
    Value::Object(Map::from_iter(sorted))
}
