//! Makes an installation with resources, as a provider's backend would when Vercel provisions them.

use axum::extract::{Form, State};
use axum::http::HeaderName;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use teardown::ids::InstallationId;
use teardown::store::Store;
use teardown::store::registry::Record;

use super::{DevPage, said};
use crate::terminal::one_line;

/// The most that can be made at once.
const MOST: usize = 10_000;

/// How many are written at a time.
const AT_A_TIME: usize = 16;

/// An installation to be made.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    billing: String,
    resources: usize,
}

pub(super) async fn run(State(page): State<DevPage>, Form(wanted): Form<Wanted>) -> Response {
    if wanted.resources > MOST {
        return said(&format!("{MOST} resources are the most that can be made at once."));
    }
    match make(&page, &wanted).await {
        Ok(id) => [(HeaderName::from_static("hx-redirect"), format!("/?installation={id}"))]
            .into_response(),
        Err(error) => said(&one_line(&format!("{error:#}"))),
    }
}

async fn make(page: &DevPage, wanted: &Wanted) -> anyhow::Result<String> {
    let store = page.operator.store.clone();
    let mut n = 1_u64;
    let id = loop {
        let id = format!("icfg_made{n}");
        if page.sections.table.item(&InstallationId::parse(&id)?, "#installation").await?.is_none()
        {
            break id;
        }
        n += 1;
    };
    let account = page.caller.account();
    register(
        &store,
        json!({ "installation": {
            "id": id, "accountId": account, "teamId": "team_local", "teamSlug": "local",
            "accessToken": format!("made-{n}"), "billing": wanted.billing,
        }}),
    )
    .await?;
    let (made, count) = (id.clone(), wanted.resources);
    // The page shows how far it is.
    tokio::spawn(async move {
        let writes = stream::iter(1..=count).map(|n| {
            let record = json!({ "resource": {
                "installationId": made, "id": format!("db_{n}"), "name": format!("database {n}"),
                "productId": "postgres", "status": "ready",
            }});
            register(&store, record)
        });
        let failed =
            writes.buffer_unordered(AT_A_TIME).filter_map(|it| std::future::ready(it.err()));
        for error in failed.collect::<Vec<_>>().await.iter().take(1) {
            tracing::warn!(%error, "not every resource was made");
        }
    });
    Ok(id)
}

async fn register(store: &Store, record: Value) -> anyhow::Result<()> {
    let record: Record = serde_json::from_value(record)?;
    Ok(store.register(&record).await?)
}
