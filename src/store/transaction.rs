//! One call of `TransactWriteItems`. The caller gives rows with conditions. The result says that all rows are
//! committed, or contains the evidence of the conditions that failed.
//!
//! If DynamoDB cancels a transaction, it gives a reason for each row. The reason `ConditionalCheckFailed`
//! with an item is evidence that the table had this item. `ConditionalCheckFailed` without an item is
//! evidence that the item was absent, except for [`Part::Other`]. The reason `None` proves nothing about its
//! row. If a cancelled transaction has both evidence and a `TransactionConflict`, the evidence counts, and
//! the caller plans again.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_get_items::TransactGetItemsError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::builders::TransactWriteItemBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, ConditionCheck, Delete, Put,
    ReturnValuesOnConditionCheckFailure as OnFailure, TransactWriteItem, Update,
};

use super::keys::Item;
use super::store_error;
use crate::error::Error;

/// What a row of a transaction writes or checks. The caller uses the part to find out which row a piece of
/// evidence belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Outcome,
    Installation,
    Resource,
    Receipt,
    /// The announcement of a resource's deletion.
    Announcement,
    /// The intent of a Provision (J4).
    Intent,
    /// A row that has no condition, or whose item is not needed as evidence. DynamoDB is not asked to return
    /// the row's item, because the item may be the access token (D6).
    Other,
}

impl Part {
    /// What DynamoDB returns if the row's condition fails: the item, or nothing.
    fn on_failure(self) -> OnFailure {
        match self {
            Self::Other => OnFailure::None,
            Self::Outcome
            | Self::Installation
            | Self::Resource
            | Self::Receipt
            | Self::Announcement
            | Self::Intent => OnFailure::AllOld,
        }
    }
}

/// A condition or an update, with the attribute names and values that it uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct Expression {
    text: String,
    pub(super) names: Vec<(&'static str, &'static str)>,
    pub(super) values: Vec<(&'static str, AttributeValue)>,
}

impl Expression {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The expression's text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Defines a placeholder `#…` as an attribute's name.
    pub(crate) fn name(mut self, placeholder: &'static str, name: &'static str) -> Self {
        self.names.push((placeholder, name));
        self
    }

    /// Defines a placeholder `:…` as a value.
    pub(crate) fn value(mut self, placeholder: &'static str, value: AttributeValue) -> Self {
        self.values.push((placeholder, value));
        self
    }

    /// A condition that demands both `self` and `other`. A placeholder that both conditions define must have
    /// the same meaning in both.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.text = format!("({}) AND ({})", self.text, other.text);
        self.names.extend(other.names);
        self.values.extend(other.values);
        self
    }

    /// Appends an assignment to an update's `SET`.
    pub(crate) fn set(mut self, assignment: &str) -> Self {
        self.text = format!("{}, {assignment}", self.text);
        self
    }

    /// An update that only removes these attributes.
    pub(crate) fn removing(names: &str) -> Self {
        Self::new(format!("REMOVE {names}"))
    }

    /// Appends a `REMOVE` to an update that has no `REMOVE` yet.
    pub(crate) fn remove(mut self, names: &str) -> Self {
        self.text = format!("{} REMOVE {names}", self.text);
        self
    }
}

/// Adds the names and values of several expressions to the builder of one request.
macro_rules! placeholders {
    ($builder:expr, $($expression:expr),*) => {{
        let mut builder = $builder;
        $(for (placeholder, name) in $expression.names {
            builder = builder.expression_attribute_names(placeholder, name);
        }
        for (placeholder, value) in $expression.values {
            builder = builder.expression_attribute_values(placeholder, value);
        })*
        builder
    }};
}

pub(super) use placeholders;

/// A transaction that is being built. If a row's condition fails, DynamoDB returns the row's item, except for
/// [`Part::Other`].
#[derive(Debug)]
pub(crate) struct Transaction<'a> {
    table: &'a str,
    rows: Vec<Part>,
    items: Vec<Result<TransactWriteItem, BuildError>>,
}

/// The result of a transaction.
#[derive(Debug)]
pub(crate) enum Committed {
    /// The whole transaction was written.
    Yes,
    /// Nothing was written, because the conditions of these rows failed. Each row has its item, or `None` if
    /// there was no item, or if the row is [`Part::Other`]. The list does not show whether the conditions of
    /// the other rows failed.
    No(Vec<(Part, Option<Item>)>),
}

impl<'a> Transaction<'a> {
    pub(crate) fn on(table: &'a str) -> Self {
        Self { table, rows: Vec::with_capacity(8), items: Vec::with_capacity(8) }
    }

    /// Writes a whole item.
    pub(crate) fn put(&mut self, row: Part, item: Item, condition: Option<Expression>) {
        let mut put = Put::builder().table_name(self.table).set_item(Some(item));
        if let Some(condition) = condition {
            put = put
                .condition_expression(&condition.text)
                .return_values_on_condition_check_failure(row.on_failure());
            put = placeholders!(put, condition);
        }
        self.push(row, put.build().map(|put| TransactWriteItem::builder().put(put)));
    }

    /// Changes an item, or creates it if it is absent and the condition permits an absent item.
    pub(crate) fn update(
        &mut self,
        row: Part,
        key: Item,
        change: Expression,
        condition: Expression,
    ) {
        let update = Update::builder()
            .table_name(self.table)
            .set_key(Some(key))
            .update_expression(&change.text)
            .condition_expression(&condition.text)
            .return_values_on_condition_check_failure(row.on_failure());
        let update = placeholders!(update, change, condition);
        self.push(row, update.build().map(|update| TransactWriteItem::builder().update(update)));
    }

    /// Changes an item without a condition, or creates the item if it is absent.
    pub(crate) fn update_any(&mut self, row: Part, key: Item, change: Expression) {
        let update = Update::builder()
            .table_name(self.table)
            .set_key(Some(key))
            .update_expression(&change.text);
        let update = placeholders!(update, change);
        self.push(row, update.build().map(|update| TransactWriteItem::builder().update(update)));
    }

    /// Writes an item if it is absent. If the item exists, this write adds only the attributes that the item
    /// lacks, and the transaction does not fail.
    pub(crate) fn put_if_absent(&mut self, row: Part, mut item: Item) {
        let key = ["pk", "sk"].into_iter().filter_map(|name| item.remove_entry(name)).collect();
        let mut update = Update::builder().table_name(self.table).set_key(Some(key));
        let mut assignments = Vec::with_capacity(item.len());
        for (index, (name, value)) in item.into_iter().enumerate() {
            assignments.push(format!("#{index} = if_not_exists(#{index}, :{index})"));
            update = update
                .expression_attribute_names(format!("#{index}"), name)
                .expression_attribute_values(format!(":{index}"), value);
        }
        let update = update.update_expression(format!("SET {}", assignments.join(", "))).build();
        self.push(row, update.map(|update| TransactWriteItem::builder().update(update)));
    }

    /// Deletes an item.
    pub(crate) fn delete(&mut self, row: Part, key: Item, condition: Option<Expression>) {
        let mut delete = Delete::builder().table_name(self.table).set_key(Some(key));
        if let Some(condition) = condition {
            delete = delete
                .condition_expression(&condition.text)
                .return_values_on_condition_check_failure(row.on_failure());
            delete = placeholders!(delete, condition);
        }
        self.push(row, delete.build().map(|delete| TransactWriteItem::builder().delete(delete)));
    }

    /// Demands a condition of an item, and does not change the item.
    pub(crate) fn check(&mut self, row: Part, key: Item, condition: Expression) {
        let check = ConditionCheck::builder()
            .table_name(self.table)
            .set_key(Some(key))
            .condition_expression(&condition.text)
            .return_values_on_condition_check_failure(row.on_failure());
        let check = placeholders!(check, condition);
        let check = check.build().map(|check| TransactWriteItem::builder().condition_check(check));
        self.push(row, check);
    }

    fn push(&mut self, row: Part, item: Result<TransactWriteItemBuilder, BuildError>) {
        self.rows.push(row);
        self.items.push(item.map(TransactWriteItemBuilder::build));
    }

    /// Sends the transaction until DynamoDB commits or cancels it. All retries of the SDK have the same
    /// `ClientRequestToken`. If the answer to a commit is lost, the retry gets the result of the commit, not
    /// a refusal.
    ///
    /// # Errors
    ///
    /// [`Error::StoreUnavailable`] or [`Error::Internal`].
    pub(crate) async fn commit(self, client: &Client) -> Result<Committed, Error> {
        let items: Result<Vec<_>, _> = self.items.into_iter().collect();
        let items = items.map_err(|error| Error::Internal(error.into()))?;
        let sent = client.transact_write_items().set_transact_items(Some(items)).send().await;
        let Err(error) = sent else { return Ok(Committed::Yes) };
        let evidence = evidence(&self.rows, &error);
        if evidence.is_empty() { Err(store_error(error)) } else { Ok(Committed::No(evidence)) }
    }
}

/// Whether a read of several items was cancelled for a temporary reason: some of the items were being
/// written, or DynamoDB throttled the read.
pub(super) fn read_passes(error: &TransactGetItemsError) -> bool {
    matches!(error, TransactGetItemsError::TransactionCanceledException(cancelled)
        if any_passes(cancelled.cancellation_reasons()))
}

/// The temporary reasons for which DynamoDB cancels a transaction.
const PASSING: [&str; 3] =
    ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"];

fn any_passes(reasons: &[CancellationReason]) -> bool {
    reasons.iter().filter_map(CancellationReason::code).any(|code| PASSING.contains(&code))
}

const CONDITION_FAILED: &str = "ConditionalCheckFailed";

/// The evidence of a cancelled transaction: the rows whose conditions failed, with their items. DynamoDB
/// gives its reasons in the order of the rows. The reason `None` proves nothing about its row.
fn evidence(rows: &[Part], error: &SdkError<TransactWriteItemsError>) -> Vec<(Part, Option<Item>)> {
    let failed =
        |(_, reason): &(&Part, &CancellationReason)| reason.code() == Some(CONDITION_FAILED);
    rows.iter()
        .zip(cancellation_reasons(error.as_service_error()))
        .filter(failed)
        .map(|(row, reason)| (*row, reason.item().cloned()))
        .collect()
}

fn cancellation_reasons(error: Option<&TransactWriteItemsError>) -> &[CancellationReason] {
    match error {
        Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
            cancelled.cancellation_reasons()
        }
        _ => &[],
    }
}

/// Whether a cancelled transaction can be sent again unchanged. If a condition failed, the caller has to plan
/// a new transaction, even if the other reasons are temporary.
pub(super) fn passes(error: &TransactWriteItemsError) -> bool {
    let reasons = cancellation_reasons(Some(error));
    any_passes(reasons) && reasons.iter().all(|reason| reason.code() != Some(CONDITION_FAILED))
}
