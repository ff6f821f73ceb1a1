//! Reads the table for the web pages, some items at a time. Reads of one installation's items are strongly
//! consistent.

use anyhow::Context as _;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::try_join_all;
use teardown::clock::Timestamp;
use teardown::ids::InstallationId;

use crate::attributes::{Item, text, time};

/// The index of due jobs, and the values of `dueShard` that due jobs have. Jobs that call Vercel have the
/// value `0` of `dueShard`. `docs/table.md` describes the index and the values.
const DUE_INDEX: &str = "due";
const SHARDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

/// Reads a table.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    client: Client,
    name: String,
}

/// Some items of an installation. If the installation has more items, `next` is the sort key after which
/// those items begin.
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<String>,
}

/// A job in the index.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    pub(crate) at: Timestamp,
    pub(crate) installation: String,
    /// The job's sort key.
    pub(crate) sk: String,
}

impl Due {
    fn of(entry: &Item) -> Option<Self> {
        let installation = text(entry, "pk")?.strip_prefix("installation#")?.to_owned();
        Some(Self { at: time(entry, "dueAt")?, installation, sk: text(entry, "sk")?.to_owned() })
    }
}

fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

impl Table {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    /// The items of an installation whose sort keys begin with `prefix`, in order.
    pub(crate) async fn page(
        &self,
        id: &InstallationId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<Page> {
        let pk = format!("installation#{id}");
        let start = after.map(|sk| {
            Item::from([("pk".to_owned(), s(pk.clone())), ("sk".to_owned(), s(sk.to_owned()))])
        });
        let query = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(":pk", s(pk))
            .expression_attribute_values(":prefix", s(prefix))
            .set_exclusive_start_key(start)
            // The query reads one item more than the limit, to find out whether there are more.
            .limit(i32::try_from(limit + 1)?)
            .consistent_read(true);
        let mut items =
            query.send().await.context("the table cannot be read")?.items.unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().and_then(|item| text(item, "sk"));
        let next = last.filter(|_| more).map(str::to_owned);
        Ok(Page { items, next })
    }

    /// An item of an installation.
    pub(crate) async fn item(&self, id: &InstallationId, sk: &str) -> anyhow::Result<Option<Item>> {
        let get = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("pk", s(format!("installation#{id}")))
            .key("sk", s(sk))
            .consistent_read(true);
        Ok(get.send().await.context("the table cannot be read")?.item)
    }

    /// The `#installation` items of all installations. This function reads the whole table.
    pub(crate) async fn installations(&self) -> anyhow::Result<Vec<Item>> {
        let mut pages = self
            .client
            .scan()
            .table_name(&self.name)
            .filter_expression("sk = :sk")
            .expression_attribute_values(":sk", s("#installation"))
            .into_paginator()
            .send();
        let mut items = Vec::new();
        while let Some(page) = pages.next().await {
            items.extend(page.context("the table cannot be read")?.items.unwrap_or_default());
        }
        Ok(items)
    }

    /// The jobs that are due first, at most `limit` of each shard. If `until` is given, returns only jobs
    /// that are due by this time.
    pub(crate) async fn due(
        &self,
        until: Option<Timestamp>,
        limit: i32,
    ) -> anyhow::Result<Vec<Due>> {
        let call = SHARDS.map(|shard| self.due_in(shard, until, limit));
        let mut due: Vec<_> = try_join_all(call).await?.into_iter().flatten().collect();
        due.sort();
        Ok(due)
    }

    /// The jobs that call Vercel and are due by `until`, the earliest first.
    pub(crate) async fn urgent(&self, until: Timestamp, limit: i32) -> anyhow::Result<Vec<Due>> {
        self.due_in(SHARDS[0], Some(until), limit).await
    }

    async fn due_in(
        &self,
        shard: &str,
        until: Option<Timestamp>,
        limit: i32,
    ) -> anyhow::Result<Vec<Due>> {
        let mut query = self
            .client
            .query()
            .table_name(&self.name)
            .index_name(DUE_INDEX)
            .key_condition_expression("dueShard = :shard")
            .expression_attribute_values(":shard", s(shard))
            .limit(limit);
        if let Some(until) = until {
            query = query
                .key_condition_expression("dueShard = :shard AND dueAt <= :until")
                .expression_attribute_values(
                    ":until",
                    AttributeValue::N(until.as_secs().to_string()),
                );
        }
        let found =
            query.send().await.context("the index cannot be read")?.items.unwrap_or_default();
        Ok(found.iter().filter_map(Due::of).collect())
    }

    /// The items of these jobs. The result leaves out jobs whose items do not exist any more.
    pub(crate) async fn items(&self, due: &[Due]) -> anyhow::Result<Vec<Item>> {
        // The items are read one by one, because a role that may run sweeps may not be allowed to read in
        // batches.
        let read = due.iter().map(|due| async {
            let id = InstallationId::parse(&due.installation)?;
            self.item(&id, &due.sk).await
        });
        Ok(try_join_all(read).await?.into_iter().flatten().collect())
    }
}
