//! A configuration's deletion in the table: what is seen, the intent, the commit (E).
//!
//! ```text
//!   begin    Check   #installation        if it is as it was seen, without a doubt that came since, and
//!                                         settled if it is active and no attempt was unclear
//!            Update  work#configuration   if nobody holds it, and it is as unclear as it was seen
//!                                                                     intent, lease, new fence
//!   mark     Update  work#configuration   if the fence is ours       unclear, until Vercel's answer is here
//!   withdraw Delete  work#configuration   if the fence is ours
//!            Update  #installation        in doubt: if it is as it was seen   configurationUnclear
//!   again    Update  work#configuration   if it is there             new fence
//!            else
//!            Check   #installation        if it is there, and its configuration not gone
//!            Put     work#configuration   if it is not there          unclear
//!   commit   Put     key#…  outcome       if it is not there, or has expired
//!            Update  #installation        if it is as it was seen     the tombstone
//!            Delete  work#configuration   if the fence is as it was seen, or there is none
//!            Put     receipt#…, work#purge, work#announce#…           where it was active
//!            Delete  work#finalize; and #token, if one was seen or there is none
//! ```

use std::sync::atomic::AtomicBool;

use aws_sdk_dynamodb::types::{AttributeValue, Get, TransactGetItem};

use super::conditions::{absent, absent_or_expired, held, of_account};
use super::evidence::{billing, parse_recorded};
use super::keys::{self, Item, n, s, time};
use super::outcome::Outcome;
use super::transaction::{Committed, Expression, Row, Transaction};
use super::work::{Lease, Tries};
use super::{Done, Malformed, Store, store_error};
use crate::clock::Timestamp;
use crate::config::Secret;
use crate::configuration::plan::{
    ConfigurationDeletion, Deleted, Intent, Recording, Seen, Stored, Team,
};
use crate::deletion::{Answer, Stage};
use crate::error::Error;
use crate::grant::Provenance;
use crate::ids::{IdempotencyKey, InstallationId};
use crate::work::owed::Owed;

/// Who may commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    /// Nobody has begun.
    Nobody,
    /// Whoever has this fencing token.
    Fence(i64),
}

/// Who asked for a commit.
pub(crate) enum Asked<'a> {
    /// A request that waits for it, with what is recorded of it, if it has a key.
    Now(Option<Recording<'a>>),
    /// A request that is gone, with the hash of its key, if it had one.
    Before { key_sha256: Option<&'a str> },
}

impl Hold {
    /// Whoever worked on it last, by what was seen.
    pub(crate) fn of(seen: &Seen) -> Self {
        seen.intent.as_ref().map_or(Self::Nobody, |intent| Self::Fence(intent.fence))
    }
}

impl Store {
    /// What is due at once when our side of a configuration is committed.
    pub(crate) fn done_with_configuration(&self, stored: &Stored) -> Done {
        let uninstalled = stored.deletion.is_none();
        let due = self.owed_by_an_uninstall().filter(|_| uninstalled).collect();
        Done { answer: Answer::Gone, due }
    }

    /// Reads all that a configuration's deletion goes by, at one moment.
    pub(crate) async fn see(
        &self,
        id: &InstallationId,
        key: Option<&IdempotencyKey>,
        now: Timestamp,
    ) -> Result<Seen, Error> {
        let outcome = key.map(|key| keys::outcome(id, ConfigurationDeletion::OPERATION, key));
        let keys = [keys::installation(id), keys::token(id), Owed::Configuration.key(id)];
        let gets = keys.into_iter().chain(outcome).map(|key| {
            let get = Get::builder().table_name(&self.table).set_key(Some(key)).build()?;
            Ok(TransactGetItem::builder().get(get).build())
        });
        let gets = gets.collect::<Result<_, aws_sdk_dynamodb::error::BuildError>>();
        let gets = gets.map_err(|error| Error::Internal(error.into()))?;
        let read = self.client.transact_get_items().set_transact_items(Some(gets)).send().await;
        let found = read.map_err(store_error)?.responses.unwrap_or_default();
        let mut found = found.into_iter().map(|response| response.item);
        let mut next = || found.next().flatten();
        let installation = next().as_ref().map(parse_stored).transpose()?;
        let token = next().as_ref().map(parse_token).transpose()?;
        let intent = next().as_ref().map(parse_intent).transpose()?;
        let stands =
            |item: &Item| keys::moment(item, "expires_at").is_none_or(|expiry| expiry > now);
        let recorded = next().filter(stands).as_ref().map(parse_recorded).transpose()?;
        Ok(Seen { recorded, installation, token, intent })
    }

    /// Reads an installation's access token (G3).
    pub(crate) async fn token(&self, id: &InstallationId) -> Result<Option<Secret>, Error> {
        self.get(keys::token(id)).await?.as_ref().map(parse_token).transpose()
    }

    /// Writes the intent and takes its lease until then; none where what was seen has changed.
    pub(crate) async fn begin(
        &self,
        request: &ConfigurationDeletion,
        seen: &Seen,
        stored: &Stored,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Lease>, Error> {
        let id = &request.grant.installation;
        let owed = Owed::Configuration;
        let key_sha256 = request.key.as_ref().map(IdempotencyKey::sha256);
        let unclear = seen.is_unclear();
        let fence = match &seen.intent {
            Some(intent) => intent.fence + 1,
            None => self.new_fence(),
        };
        let change = Expression::new(
            "SET kind = :kind, installationId = :id, due_shard = :shard, due_at = :until, \
             lease_until = :until, fence = :fence, unclear = :unclear, deletedBy = :by, \
             deletedAt = :at, attempts = if_not_exists(attempts, :zero) + :one",
        )
        .value(":kind", s(owed.kind()))
        .value(":id", s(id.as_str()))
        .value(":shard", s(owed.shard(id)))
        .value(":until", time(until))
        .value(":fence", n(fence))
        .value(":unclear", AttributeValue::Bool(unclear))
        .value(":by", keys::actor(&request.grant.by))
        .value(":at", time(request.at))
        .value(":zero", n(0))
        .value(":one", n(1));
        // Somebody wants it still: with 3 days before it anew, also where it was parked.
        let change = match key_sha256 {
            Some(sha256) => change
                .set("keySha256 = :key")
                .value(":key", s(sha256))
                .remove("failures, failing_since"),
            None => change.remove("failures, failing_since, keySha256"),
        };
        let condition = match &seen.intent {
            None => absent(),
            // Its worker may be late, and have marked it since.
            Some(intent) => {
                let as_marked = if intent.unclear {
                    Expression::new("unclear = :marked")
                } else {
                    Expression::new("attribute_not_exists(unclear) OR unclear <> :marked")
                };
                let as_marked = as_marked.value(":marked", AttributeValue::Bool(true));
                let held = held(intent.fence).and(as_marked);
                if intent.own {
                    held
                } else {
                    let over = "attribute_not_exists(lease_until) OR lease_until <= :now";
                    held.and(Expression::new(over).value(":now", time(now)))
                }
            }
        };
        let mut unchanged = as_seen(stored);
        if !stored.unclear {
            // Else what another was refused meanwhile, in doubt, would be overlooked (E2).
            unchanged =
                unchanged.and(Expression::new("attribute_not_exists(configurationUnclear)"));
        }
        if stored.deletion.is_none() && !unclear {
            unchanged = unchanged
                .and(Expression::new("billing = :settled").value(":settled", s("settled")));
        }
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Row::Installation, keys::installation(id), unchanged);
        transaction.update(Row::Other, owed.key(id), change, condition);
        Ok(match transaction.commit(&self.client).await? {
            Committed::Yes => Some(Lease {
                installation: id.clone(),
                owed,
                fence,
                due: until,
                tries: Tries::default(),
                provenance: Some(request.provenance()),
                key_sha256: key_sha256.map(str::to_owned),
                webhook_id: None,
                in_doubt: AtomicBool::default(),
                marking: AtomicBool::default(),
            }),
            Committed::No(_) => None,
        })
    }

    /// Writes down that Vercel is about to be asked: until its answer is here, and for good where
    /// nobody lives to hear it, it is unclear what became of that (E2). `false` where the lease was
    /// lost.
    pub(crate) async fn mark_unclear(&self, lease: &Lease) -> Result<bool, Error> {
        let change = Expression::new("SET unclear = :true");
        let change = change.value(":true", AttributeValue::Bool(true));
        let held = held(lease.fence);
        Ok(self.update_work(&lease.installation, &lease.owed, change, held).await?.is_some())
    }

    /// Withdraws an intent. Where an attempt before was unclear, the installation keeps that in mind:
    /// its token may be dead, and the next refusal mean that the configuration is gone (E2). `false`
    /// where the lease was lost, or the installation changed.
    pub(crate) async fn withdraw(
        &self,
        lease: &Lease,
        stored: &Stored,
        unclear: bool,
    ) -> Result<bool, Error> {
        let id = &lease.installation;
        let mut transaction = Transaction::on(&self.table);
        transaction.delete(Row::Other, lease.owed.key(id), Some(held(lease.fence)));
        if unclear {
            let mark = Expression::new("SET configurationUnclear = :true");
            let mark = mark.value(":true", AttributeValue::Bool(true));
            transaction.update(Row::Installation, keys::installation(id), mark, as_seen(stored));
        }
        Ok(matches!(transaction.commit(&self.client).await?, Committed::Yes))
    }

    /// Has Vercel asked once more, by whoever comes next: for a worker that does not know what became
    /// of its own attempt, and may have lost its lease. What somebody else is refused meanwhile says
    /// nothing of that. So whoever holds the intent by now does not end it, but for what is gone; one
    /// that is parked is due again, with 3 days before it anew; and where it was withdrawn, it is owed again, for what it was.
    pub(crate) async fn owe_again(&self, lease: &Lease) -> Result<(), Error> {
        let (id, owed) = (&lease.installation, &lease.owed);
        let taken_away = Expression::new("SET fence = fence + :one, due_shard = :shard")
            .value(":one", n(1))
            .value(":shard", s(owed.shard(id)))
            .remove("failures, failing_since");
        let there = Expression::new("attribute_exists(pk)");
        if self.update_work(id, owed, taken_away, there).await?.is_some() {
            return Ok(());
        }
        let Some(provenance) = &lease.provenance else { return Ok(()) };
        let mut intent = owed.item(id, self.clock.timestamp(), provenance);
        intent.insert("fence".to_owned(), n(self.new_fence()));
        intent.insert("unclear".to_owned(), AttributeValue::Bool(true));
        intent.extend(lease.key_sha256.as_ref().map(|sha256| ("keySha256".to_owned(), s(sha256))));
        let there = "attribute_exists(pk) AND attribute_not_exists(configurationDeletedAt)";
        let mut transaction = Transaction::on(&self.table);
        transaction.check(Row::Installation, keys::installation(id), Expression::new(there));
        transaction.put(Row::Other, intent, Some(absent()));
        // Where a condition does not hold, it is gone, or somebody has begun since.
        if let Committed::Yes = transaction.commit(&self.client).await? {
            tracing::warn!(
                installation = %id,
                "the deletion of a configuration is owed again: another was refused it, while it may \
                 have taken effect"
            );
        }
        Ok(())
    }

    /// The fencing token of an intent where none is: never one that an intent before it had, whose
    /// worker may still be about.
    fn new_fence(&self) -> i64 {
        i64::try_from(self.clock.now().as_millis()).unwrap_or(i64::MAX)
    }

    /// Deletes our side of a configuration for good. `false` where what was seen has changed, or
    /// somebody else holds it; nothing was written then.
    pub(crate) async fn commit_configuration(
        &self,
        id: &InstallationId,
        provenance: &Provenance,
        (seen, stored): (&Seen, &Stored),
        hold: Hold,
        asked: Asked<'_>,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::on(&self.table);
        let (recording, key) = match asked {
            Asked::Now(recording) => {
                let key = recording.as_ref().map(|recording| recording.key.sha256());
                (recording, key)
            }
            Asked::Before { key_sha256 } => (None, key_sha256),
        };
        if let Some(recording) = recording {
            let outcome = gone(id, stored, recording, provenance.at);
            transaction.put(Row::Outcome, outcome, Some(absent_or_expired(provenance.at)));
        }
        let intent = Owed::Configuration.key(id);
        match hold {
            Hold::Nobody => transaction.check(Row::Other, intent, absent()),
            Hold::Fence(fence) => transaction.delete(Row::Other, intent, Some(held(fence))),
        }
        // With a token that came since, there is something to be asked of Vercel.
        let no_other = seen.token.is_none().then(absent);
        transaction.delete(Row::Other, keys::token(id), no_other);
        let (tombstone, receipt) = match &stored.deletion {
            None => {
                self.put_what_an_uninstall_owes(&mut transaction, id, provenance);
                (uninstalled(provenance), keys::installation_receipt(id))
            }
            Some(deletion) => {
                transaction.delete(Row::Other, Owed::Finalize.key(id), None);
                let finalized = self.finalized(deletion.stage, deletion.at);
                (finalized, keys::configuration_receipt(id))
            }
        };
        let tombstone =
            tombstone.set("configurationDeletedAt = :gone").value(":gone", time(provenance.at));
        let key_of_installation = keys::installation(id);
        transaction.update(Row::Installation, key_of_installation, tombstone, as_seen(stored));
        transaction.put(Row::Receipt, self.receipt(receipt, provenance, key), None);
        Ok(matches!(transaction.commit(&self.client).await?, Committed::Yes))
    }

    /// Records that a configuration is gone, alone (F1). `false` where something is recorded.
    pub(crate) async fn record_gone(
        &self,
        id: &InstallationId,
        stored: &Stored,
        recording: Recording<'_>,
        at: Timestamp,
    ) -> Result<bool, Error> {
        let mut transaction = Transaction::on(&self.table);
        let outcome = gone(id, stored, recording, at);
        transaction.put(Row::Outcome, outcome, Some(absent_or_expired(at)));
        Ok(matches!(transaction.commit(&self.client).await?, Committed::Yes))
    }
}

/// What is recorded of a request that found the configuration gone, or made it so.
fn gone(id: &InstallationId, stored: &Stored, recording: Recording<'_>, at: Timestamp) -> Item {
    let outcome = Outcome {
        installation: id,
        operation: ConfigurationDeletion::OPERATION,
        key: recording.key,
        fingerprint: recording.fingerprint,
        account: stored.account.as_deref(),
        answer: Answer::Gone,
        at,
    };
    outcome.item()
}

/// The installation is as it was seen, and its configuration not gone: where it was uninstalled
/// before, its state does not tell that.
fn as_seen(stored: &Stored) -> Expression {
    let state = Expression::new("#state = :seen AND attribute_not_exists(configurationDeletedAt)");
    let seen = keys::state(stored.deletion.map(|deletion| deletion.stage));
    let state = state.name("#state", "state").value(":seen", s(seen));
    match &stored.account {
        Some(account) => state.and(of_account(account)),
        None => state,
    }
}

fn uninstalled(provenance: &Provenance) -> Expression {
    Expression::new("SET #state = :deleting, deletedAt = :at, deletedBy = :by, finalized = :true")
        .name("#state", "state")
        .value(":deleting", s(keys::state(Some(Stage::Deleting))))
        .value(":at", time(provenance.at))
        .value(":by", keys::actor(&provenance.by))
        .value(":true", AttributeValue::Bool(true))
}

fn parse_stored(item: &Item) -> Result<Stored, Error> {
    let text = |name| keys::text(item, name).map(str::to_owned);
    let deletion = keys::stage(item)?.map(|stage| {
        let at = keys::moment(item, "deletedAt");
        Ok::<_, Error>(Deleted {
            at: at.ok_or_else(|| Malformed::error(item, "it has no `deletedAt`"))?,
            stage,
            finalized: keys::truth(item, "finalized"),
            configuration_gone: item.contains_key("configurationDeletedAt"),
        })
    });
    let deletion = deletion.transpose()?;
    Ok(Stored {
        account: text("accountId"),
        team: Team { id: text("teamId"), slug: text("teamSlug") },
        billing: billing(item),
        unclear: keys::truth(item, "configurationUnclear"),
        deletion,
    })
}

fn parse_token(item: &Item) -> Result<Secret, Error> {
    let token = keys::text(item, "accessToken");
    let token = token.ok_or_else(|| Malformed::error(item, "it has no `accessToken`"))?;
    Ok(Secret::new(token.to_owned()))
}

fn parse_intent(item: &Item) -> Result<Intent, Error> {
    let fence = keys::number(item, "fence");
    Ok(Intent {
        fence: fence.ok_or_else(|| Malformed::error(item, "it has no `fence`"))?,
        leased_until: keys::moment(item, "lease_until").unwrap_or(Timestamp::from_secs(0)),
        unclear: keys::truth(item, "unclear"),
        own: false,
    })
}
