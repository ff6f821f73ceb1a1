//! Prints, as JSON, what the templates of `deploy/aws/` repeat of the code: the endpoints, the codes of
//! errors, the variables and the table. `deploy/aws/agree.py` compares the two.

use std::cell::RefCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};
use teardown::Endpoint;
use teardown::config::{self, Config};
use teardown::error::TABLE;
use teardown::http::Pattern;
use teardown::store::admin::table;
use teardown_cli::embedded::{Embedded, local_client};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let endpoints: Vec<_> = Endpoint::ALL.into_iter().map(endpoint).collect();
    let codes: BTreeSet<_> = TABLE.iter().map(|row| row.code).collect();
    let facts = json!({
        "endpoints": endpoints,
        "codes": codes,
        "variables": variables()?,
        "table": table().await?,
    });
    println!("{facts:#}");
    Ok(())
}

fn endpoint(endpoint: Endpoint) -> Value {
    json!({
        "name": format!("{endpoint:?}"),
        "function": endpoint.function(),
        "routes": routes(endpoint),
    })
}

fn routes(endpoint: Endpoint) -> Vec<Value> {
    let route = |(method, path): &Pattern| json!({ "method": method.as_str(), "path": path });
    endpoint.patterns().iter().map(route).collect()
}

/// The variables that the configuration asks for, those without which it is refused, and the default
/// of `TABLE_NAME`.
fn variables() -> anyhow::Result<Value> {
    let given = |name: &str| (name == "INTEGRATION_ID").then(|| "oac_1".to_owned());
    let read = RefCell::new(BTreeSet::new());
    let config = Config::from_variables(|name| {
        read.borrow_mut().insert(name);
        given(name)
    })?;
    let mut required = BTreeSet::new();
    for name in read.borrow().iter() {
        if Config::from_variables(|other| given(other).filter(|_| other != *name)).is_err() {
            required.insert(*name);
        }
    }
    let of_one = [
        config.require_cron_secret().err(),
        config.require_client_secret().err(),
        config.require_backend_url().err(),
    ];
    required.extend(of_one.into_iter().flatten().map(|error| error.variable));
    config::log_filter(None)?;
    read.borrow_mut().insert("RUST_LOG");
    Ok(json!({ "read": *read.borrow(), "required": required, "TABLE_NAME": config.table_name }))
}

/// The table, as DynamoDB describes it once it is created.
async fn table() -> anyhow::Result<Value> {
    let url = Embedded::start(None).await?.url();
    table::create(&local_client(&url).await?, "teardown")
        .await
        .map_err(anyhow::Error::from_boxed)?;
    let described = call(&url, "DescribeTable").await?;
    let ttl = call(&url, "DescribeTimeToLive").await?;
    Ok(json!({ "table": described["Table"], "ttl": ttl["TimeToLiveDescription"] }))
}

/// The embedded DynamoDB wants one, and takes any.
const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=local/20130524/us-east-1/dynamodb/aws4_request, \
                         SignedHeaders=host, Signature=0";

async fn call(url: &str, operation: &str) -> anyhow::Result<Value> {
    let request = reqwest::Client::builder().no_proxy().build()?.post(url);
    let request = request
        .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
        .header("content-type", "application/x-amz-json-1.0")
        .header("x-amz-date", "20130524T000000Z")
        .header("authorization", SIGNATURE)
        .body(r#"{"TableName":"teardown"}"#);
    Ok(serde_json::from_slice(&request.send().await?.error_for_status()?.bytes().await?)?)
}
