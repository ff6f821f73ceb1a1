//! The type `World`: the endpoints of one test on a port, their DynamoDB, an issuer, a clock, and the
//! stand-ins.

mod call;
mod database;
mod items;

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use teardown::App;
use teardown::clock::Clock;
use teardown::config::Config;
use teardown::ids::InstallationId;
use teardown::limits::Limits;
use teardown::store::Store;
use teardown::store::registry::{Record, RegisterError};
use teardown_cli::embedded::local_client;
use teardown_cli::issuer::Issuer;
use teardown_cli::server;
use tokio::net::TcpListener;

pub use self::call::{Call, Reply, signature};
use self::database::Database;
pub use self::database::sized;
use crate::support::dynamodb::Proxy;
use crate::support::log;
use crate::support::outside::{PROVIDER_SECRET, ProviderEndpoint, VercelApi};
use crate::support::process::Variables;
use crate::support::steps::Steps;

/// The issuer of all tests, which they share because it takes a tenth of a second to make a key.
pub static ISSUER: LazyLock<Issuer> = LazyLock::new(|| Issuer::generate().unwrap());

/// The claim `aud` of the tests' tokens.
pub const INTEGRATION: &str = "oac_test";

/// The account that the tests' installations belong to, unless a test names another account.
pub const ACCOUNT: &str = "acc_test";

/// The paths of the installation `icfg_1`, of its configuration and of its resource `db_1`.
pub const INSTALLATION: &str = "/v1/installations/icfg_1";
pub const CONFIGURATION: &str = "/v1/integrations/configuration/icfg_1";
pub const RESOURCE: &str = "/v1/installations/icfg_1/resources/db_1";

/// The secret with which Vercel signs webhooks.
pub const CLIENT_SECRET: &str = "cl1ent-s3cret";

/// The secret that the caller of the sweep sends.
pub const CRON_SECRET: &str = "cr0n-s3cret";

pub fn id(text: &str) -> InstallationId {
    InstallationId::parse(text).unwrap()
}

/// The path of Delete Configuration for an installation.
pub fn configuration(id: &str) -> String {
    format!("/v1/integrations/configuration/{id}")
}

/// The endpoints of one test, with their DynamoDB and the stand-ins that they call.
pub struct World {
    /// The endpoints' address.
    pub url: String,
    pub clock: Clock,
    /// A store that calls DynamoDB directly, not through the proxy.
    pub store: Store,
    /// The proxy between the endpoints and DynamoDB.
    pub dynamodb: Proxy,
    pub dynamodb_url: String,
    pub vercel: VercelApi,
    pub provider: ProviderEndpoint,
    /// Counts the calls of the endpoints, and can kill the process at one of these calls.
    pub steps: Steps,
    pub config: Config,
    limits: Limits,
    provider_url: String,
    database: Database,
    http: reqwest::Client,
}

/// The configuration of the tests, with these variables in place of the tests' own values.
pub fn config(variables: &[(&str, &str)]) -> Config {
    let jwks = ISSUER.jwks().to_string();
    let defaults = [
        ("INTEGRATION_ID", INTEGRATION),
        ("OIDC_JWKS", &jwks),
        ("CRON_SECRET", CRON_SECRET),
        ("CLIENT_SECRET", CLIENT_SECRET),
        // The tests have no grace period, unless a test sets one.
        ("GRACE_PERIOD", "0s"),
    ];
    let find = |name: &str| {
        let found = variables.iter().chain(&defaults).find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Config::from_variables(find).unwrap()
}

/// The time limits of the endpoints, unless a test sets others. The limits are those of the functions, except
/// for a shorter back-off before Vercel is called again, because many tests wait for this back-off.
pub fn limits() -> Limits {
    Limits { vercel_backoff: Duration::from_millis(5), ..Limits::default() }
}

impl World {
    /// A test's world without a provider's address.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A test's world with a provider's address, so that deletions are announced.
    pub async fn announcing() -> Self {
        Self::announcing_with(&[]).await
    }

    /// A test's world whose deletions are announced, with these variables in its environment.
    pub async fn announcing_with(variables: &[(&str, &str)]) -> Self {
        Self::start_announcing(variables, limits()).await
    }

    /// A test's world whose deletions are announced, and whose endpoints have these time limits.
    pub async fn announcing_within(limits: Limits) -> Self {
        Self::start_announcing(&[], limits).await
    }

    /// A test's world with these variables in its environment, and without a provider's address.
    pub async fn with(variables: &[(&str, &str)]) -> Self {
        Self::with_within(variables, limits()).await
    }

    /// Like [`World::with`], with these time limits of the endpoints.
    pub async fn with_within(variables: &[(&str, &str)], limits: Limits) -> Self {
        let steps = Steps::default();
        let (provider, url) = ProviderEndpoint::start(steps.clone()).await;
        Box::pin(Self::start(variables, limits, steps, provider, url)).await
    }

    async fn start_announcing(variables: &[(&str, &str)], limits: Limits) -> Self {
        let steps = Steps::default();
        let (provider, url) = ProviderEndpoint::start(steps.clone()).await;
        let announcing = [("PROVIDER_URL", url.as_str()), ("PROVIDER_SECRET", PROVIDER_SECRET)];
        let variables = [variables, &announcing].concat();
        Box::pin(Self::start(&variables, limits, steps, provider, url.clone())).await
    }

    async fn start(
        variables: &[(&str, &str)],
        limits: Limits,
        steps: Steps,
        provider: ProviderEndpoint,
        provider_url: String,
    ) -> Self {
        log::install();
        let (vercel, vercel_url) = VercelApi::start(steps.clone()).await;
        // The endpoints fetch keys from this issuer if a test moves the clock past the end of the first keys.
        let keys = || async { axum::Json(ISSUER.jwks()) };
        let keys = serve(axum::Router::new().fallback(keys)).await;
        let database = Database::start().await;
        let outside = [
            ("OIDC_JWKS_URL", keys.as_str()),
            ("VERCEL_API_URL", &vercel_url),
            ("TABLE_NAME", &database.table),
        ];
        let config = config(&[variables, &outside].concat());
        let clock = Clock::stopped();
        let (dynamodb, dynamodb_url) = Proxy::start(database.url.clone(), steps.clone()).await;
        let proxied =
            Store::new(local_client(&dynamodb_url).await.unwrap(), &config, clock.clone());
        let app = App::with_store(&config, proxied.with_limits(limits), clock.clone());
        Self {
            url: serve(server::endpoints(app)).await,
            store: Store::new(database.client.clone(), &config, clock.clone()).with_limits(limits),
            clock,
            dynamodb,
            dynamodb_url,
            vercel,
            provider,
            steps,
            config,
            limits,
            provider_url,
            database,
            http: http_client(),
        }
    }

    /// Registers the record in a line of an import.
    pub async fn register(&self, line: Value) {
        self.try_register(line).await.unwrap();
    }

    /// Registers the record in a line of an import, or returns why the record is refused.
    pub async fn try_register(&self, line: Value) -> Result<(), RegisterError> {
        let record: Record = serde_json::from_value(line).unwrap();
        self.store.register(&record).await
    }

    /// Registers an installation with open invoices and these resources, for the account [`ACCOUNT`].
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

    /// Registers an installation with settled invoices and everything that can belong to an installation. The
    /// installation has the team `team_1` (`my-team`), an access token, these resources, a webhook, a log
    /// drain and a variable.
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

    pub fn provider_url(&self) -> &str {
        &self.provider_url
    }

    pub fn table(&self) -> &str {
        &self.database.table
    }

    /// The environment of a function that runs in another process and uses this test's world.
    pub fn environment(&self) -> Variables {
        let mut environment = vec![
            ("INTEGRATION_ID", INTEGRATION.to_owned()),
            ("OIDC_JWKS", ISSUER.jwks().to_string()),
            ("VERCEL_API_URL", self.config.vercel_api_url.to_string()),
            ("CRON_SECRET", CRON_SECRET.to_owned()),
            ("CLIENT_SECRET", CLIENT_SECRET.to_owned()),
            ("GRACE_PERIOD", format!("{}s", self.config.grace_period.as_secs())),
            ("TABLE_NAME", self.config.table_name.clone()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "local".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "planted-secret".to_owned()),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.dynamodb_url.clone()),
        ];
        if self.config.provider.is_some() {
            environment.push(("PROVIDER_URL", self.provider_url.clone()));
            environment.push(("PROVIDER_SECRET", PROVIDER_SECRET.to_owned()));
        }
        let backend = self.config.backend_url.as_ref();
        environment.extend(backend.map(|url| ("BACKEND_URL", url.to_string())));
        environment
    }

    /// A store that calls DynamoDB through the proxy, like the store of the endpoints.
    pub async fn proxied(&self) -> Store {
        let client = local_client(&self.dynamodb_url).await.unwrap();
        Store::new(client, &self.config, self.clock.clone()).with_limits(self.limits)
    }

    /// The endpoints as another process would have them. These endpoints share no memory with the endpoints
    /// at `url`.
    pub async fn process(&self) -> App {
        App::with_store(&self.config, self.proxied().await, self.clock.clone())
    }

    /// Starts more endpoints, and returns their address. The new endpoints call DynamoDB directly, so the
    /// proxy does not count their calls.
    pub async fn another(&self) -> String {
        let app = App::with_store(&self.config, self.store.clone(), self.clock.clone());
        serve(server::endpoints(app)).await
    }

    /// Calls the sweep, and returns its report: how many jobs it claimed, did, retried and parked.
    pub async fn sweep(&self) -> [u64; 4] {
        let call = self.request("GET", "/api/sweep");
        let reply = call.header("authorization", &format!("Bearer {CRON_SECRET}")).send().await;
        assert_eq!(reply.status, 200, "{reply:?}");
        ["claimed", "done", "retried", "parked"].map(|name| reply.body[name].as_u64().unwrap())
    }

    /// Sweeps until no job is due any more.
    pub async fn sweep_all(&self) {
        for _ in 0..50 {
            if !self.is_due().await || self.sweep().await[0] == 0 {
                return;
            }
            self.clock.advance(Duration::from_secs(1));
        }
        panic!("there is always something due");
    }

    /// Signs these claims. If the claims have no `exp`, the token is valid for 10 minutes from now.
    pub fn token(&self, claims: &Value) -> String {
        ISSUER.sign(&self.timed(claims))
    }

    /// Adds an `exp` in 10 minutes to the claims, if they have no `exp`.
    pub fn timed(&self, claims: &Value) -> Value {
        let mut claims = claims.clone();
        let exp = (self.clock.now() + Duration::from_mins(10)).as_secs();
        if claims.get("exp").is_none() {
            claims["exp"] = json!(exp);
        }
        claims
    }
}

/// The claims of a user with the role `ADMIN`, for one installation.
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

/// Serves a router on a free port, and returns its address.
pub async fn serve(router: axum::Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    url
}

/// An HTTP client for servers on this machine. The client has no root certificates, because it takes
/// milliseconds to read them.
pub fn http_client() -> reqwest::Client {
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(none).no_proxy().tls_certs_only([]).build().unwrap()
}
