//! Records the installations, and the names and statuses of registered resources, from calls that the backend
//! has answered (J2, J3, J5). The module `provision` records Provisions.
//!
//! ```text
//!   upsert     Update  #installation   if it is active, or absent  accountId, accountAsOf; billing if absent
//!              Put     #token          if the call has a token
//!   known      Put     #installation   if it is absent
//!   resource   Check   #installation   if it is active
//!              Update  resource#…      if its name or status differs
//! ```

use super::Store;
use super::attr::{n, s, time};
use super::conditions::{absent, active, of_account};
use super::evidence::parse_installation;
use super::keys::{self, Item};
use super::registry::{StatusRecord, status};
use super::transaction::{Committed, Expression, Part, Transaction};
use crate::deletion::Installation;
use crate::error::Error;
use crate::grant::{Membership, Scope};
use crate::ids::ResourceId;
use crate::secret::Secret;

/// The result of recording an Upsert Installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upserted {
    /// The Upsert is recorded.
    Recorded,
    /// The installation is deleted, and the Upsert does not change this (D5).
    Deleted,
    /// The caller's token does not vouch for this installation.
    NotVouched,
}

impl Store {
    /// Records an Upsert Installation that the backend has accepted (J3). `is_free` is true if the backend's
    /// answer requires no payment method.
    pub(crate) async fn upsert(
        &self,
        membership: &Membership,
        token: Option<&Secret>,
        is_free: bool,
    ) -> Result<Upserted, Error> {
        let id = &membership.installation;
        let change = Expression::new(
            "SET #state = :active, accountId = :account, accountAsOf = :asOf, updatedAt = :now, \
             resources = if_not_exists(resources, :zero), \
             billing = if_not_exists(billing, :billing)",
        )
        .value(":account", s(&membership.account))
        .value(":asOf", n(self.now_millis()))
        .value(":now", time(self.clock.timestamp()))
        .value(":zero", n(0))
        .value(":billing", s(if is_free { "settled" } else { "open" }));
        let condition = match membership.scope {
            Scope::Account => active().and(of_account(&membership.account)),
            Scope::Installation => Expression::new("attribute_not_exists(pk) OR #state = :active")
                .name("#state", "state")
                .value(":active", s(keys::state(None))),
        };
        let mut transaction = Transaction::on(&self.table);
        transaction.update(Part::Installation, keys::installation(id), change, condition);
        if let Some(token) = token {
            let mut item = keys::token(id);
            item.insert("accessToken".to_owned(), s(token.expose()));
            transaction.put(Part::Other, item, None);
        }
        Ok(match self.in_time(transaction.commit(&self.client)).await? {
            Committed::Yes => Upserted::Recorded,
            Committed::No(evidence) => match installation_of(evidence)? {
                Some(Installation::Deleted { .. }) => Upserted::Deleted,
                _ => Upserted::NotVouched,
            },
        })
    }

    /// Registers an installation that is not in the table, with the token's account (J2). If the token names
    /// an account but no installation, this call registers nothing.
    pub(crate) async fn ensure_known(&self, membership: &Membership) -> Result<(), Error> {
        if membership.scope == Scope::Account {
            return Ok(());
        }
        let mut transaction = Transaction::on(&self.table);
        let item = self.new_installation(membership, 0);
        transaction.put(Part::Installation, item, Some(absent()));
        let (Committed::Yes | Committed::No(_)) =
            self.in_time(transaction.commit(&self.client)).await?;
        Ok(())
    }

    /// Updates a registered resource if the backend reports a new name or status. Registers the resource's
    /// installation if it is not in the table (J2, J5).
    pub(crate) async fn update_reported(
        &self,
        membership: &Membership,
        resource: &ResourceId,
        name: Option<&str>,
        reported: Option<StatusRecord>,
    ) -> Result<(), Error> {
        let id = &membership.installation;
        let mut change =
            Expression::new("SET updatedAt = :now").value(":now", time(self.clock.timestamp()));
        let mut differences = Vec::new();
        if let Some(name) = name {
            change = change.set("#name = :name").name("#name", "name").value(":name", s(name));
            differences.push("attribute_not_exists(#name) OR #name <> :name");
        }
        if let Some(reported) = reported {
            change = change.set("#status = :status").name("#status", "status");
            change = change.value(":status", s(status(reported)));
            differences.push("attribute_not_exists(#status) OR #status <> :status");
        }
        if differences.is_empty() {
            return self.ensure_known(membership).await;
        }
        let differs = format!("attribute_exists(pk) AND ({})", differences.join(" OR "));
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Part::Installation, keys::installation(id), vouched(membership));
        let key = keys::resource(id, resource);
        transaction.update(Part::Other, key, change, Expression::new(differs));
        let Committed::No(evidence) = self.in_time(transaction.commit(&self.client)).await? else {
            return Ok(());
        };
        match installation_of(evidence)? {
            Some(Installation::Absent) => self.ensure_known(membership).await,
            _ => Ok(()),
        }
    }

    /// The item of an installation that is registered because a token vouches for it (J2). The new
    /// installation has no `billing` and no access token.
    pub(super) fn new_installation(&self, membership: &Membership, resources: u32) -> Item {
        let mut item = keys::installation(&membership.installation);
        item.extend([
            ("accountId".to_owned(), s(&membership.account)),
            ("accountAsOf".to_owned(), n(self.now_millis())),
            ("state".to_owned(), s(keys::state(None))),
            ("resources".to_owned(), n(resources)),
            ("updatedAt".to_owned(), time(self.clock.timestamp())),
        ]);
        item
    }
}

/// Condition: the installation is active, and the token vouches for it.
pub(super) fn vouched(membership: &Membership) -> Expression {
    match membership.scope {
        Scope::Installation => active(),
        Scope::Account => active().and(of_account(&membership.account)),
    }
}

/// The installation, read from the item that DynamoDB returned for the failed condition. `None` if the
/// installation's condition did not fail.
fn installation_of(evidence: Vec<(Part, Option<Item>)>) -> Result<Option<Installation>, Error> {
    let mut found = evidence.into_iter().filter(|(part, _)| *part == Part::Installation);
    let read = |item: Option<Item>| {
        item.map_or(Ok(Installation::Absent), |item| parse_installation(&item))
    };
    found.next().map(|(_, item)| read(item)).transpose()
}
