//! Scans the table for installations, for the tool `teardown` (L1). None of the deployed functions scans the
//! table.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::error::Error;
use crate::ids::{InstallationId, ResourceId};
use crate::store::attr::{self, s};
use crate::store::keys::{self, Item};
use crate::store::{Store, store_error};

/// The installations to compare with Vercel, page by page: the active installations, and the deleted
/// installations that are not finalized.
#[derive(Debug)]
pub struct Installations<'a> {
    store: &'a Store,
    /// The key after which the next page begins.
    start: Option<Item>,
    ended: bool,
}

impl Installations<'_> {
    /// Reads the next page of installations. `None` after the last page. Any page can be empty.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<InstallationId>>, Error> {
        if self.ended {
            return Ok(None);
        }
        let scan = self
            .store
            .client
            .scan()
            .table_name(&self.store.table)
            .projection_expression("pk")
            .filter_expression(
                "sk = :installation AND (attribute_not_exists(finalized) OR finalized <> :true)",
            )
            .expression_attribute_values(":installation", s("#installation"))
            .expression_attribute_values(":true", AttributeValue::Bool(true))
            .set_exclusive_start_key(self.start.take());
        let page = self.store.in_time(async { scan.send().await.map_err(store_error) }).await?;
        self.start = page.last_evaluated_key.filter(|key| !key.is_empty());
        self.ended = self.start.is_none();
        let ids = page.items.unwrap_or_default();
        Ok(Some(ids.iter().filter_map(installation).collect()))
    }
}

fn installation(item: &Item) -> Option<InstallationId> {
    InstallationId::parse(attr::str(item, "pk")?.strip_prefix("installation#")?).ok()
}

/// The greatest number of ids in one filter. DynamoDB's `IN` takes at most 100 operands.
const FILTERED: usize = 100;

impl Store {
    /// Finds those of `resources` that the table has under an installation other than `id`. Returns each
    /// found resource with its installation. This call scans the table.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub async fn stored_elsewhere(
        &self,
        id: &InstallationId,
        resources: &[&ResourceId],
    ) -> Result<BTreeMap<ResourceId, InstallationId>, Error> {
        let mut found = BTreeMap::new();
        for resources in resources.chunks(FILTERED) {
            let names: Vec<_> = (0..resources.len()).map(|n| format!(":r{n}")).collect();
            let filter = format!("pk <> :here AND sk IN ({})", names.join(", "));
            let keys = resources.iter().map(|it| s(format!("{}{it}", keys::RESOURCES)));
            let mut values: HashMap<_, _> = names.into_iter().zip(keys).collect();
            values.insert(":here".to_owned(), s(keys::partition(id)));
            let scan = self
                .client
                .scan()
                .table_name(&self.table)
                .consistent_read(true)
                .projection_expression("pk, sk")
                .filter_expression(filter)
                .set_expression_attribute_values(Some(values));
            let mut pages = scan.into_paginator().send();
            while let Some(page) = self.in_time(async { Ok(pages.next().await) }).await? {
                let items = page.map_err(store_error)?.items.unwrap_or_default();
                found.extend(items.iter().filter_map(|item| {
                    let resource = attr::str(item, "sk")?.strip_prefix(keys::RESOURCES)?;
                    Some((ResourceId::parse(resource).ok()?, installation(item)?))
                }));
            }
        }
        Ok(found)
    }

    /// The installations to compare with Vercel.
    #[must_use]
    pub fn installations(&self) -> Installations<'_> {
        Installations { store: self, start: None, ended: false }
    }
}
