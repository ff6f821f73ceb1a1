//! All installations of the table, for the tool: no function scans it (L1).

use aws_sdk_dynamodb::types::AttributeValue;

use super::attr::{self, s};
use super::keys::Item;
use super::{Store, store_error};
use crate::error::Error;
use crate::ids::InstallationId;

/// The installations that are to be compared, page by page: those that are active, and those that are
/// deleted and not finalized.
#[derive(Debug)]
pub struct Installations<'a> {
    store: &'a Store,
    /// Where the next page begins.
    start: Option<Item>,
    ended: bool,
}

impl Installations<'_> {
    /// The next page; none after the last. A page may be empty.
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
        let ids = ids.iter().filter_map(|item| {
            InstallationId::parse(attr::str(item, "pk")?.strip_prefix("installation#")?).ok()
        });
        Ok(Some(ids.collect()))
    }
}

impl Store {
    /// The installations that are to be compared with Vercel.
    #[must_use]
    pub fn installations(&self) -> Installations<'_> {
        Installations { store: self, start: None, ended: false }
    }
}
