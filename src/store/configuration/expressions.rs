//! The conditions and changes of a configuration's deletion.

use aws_sdk_dynamodb::types::AttributeValue;

use super::super::attr::{n, s, time};
use super::super::conditions::{absent, fence_is, of_account};
use super::super::keys;
use super::super::transaction::Expression;
use crate::clock::Timestamp;
use crate::deletion::Stage;
use crate::deletion::configuration::{
    ConfigurationDeletion, InstallationState, Intent, Loaded, Team,
};
use crate::grant::Provenance;
use crate::job::Job;

/// The change that writes an intent with its lease. The intent has 3 new days before it is parked, because a
/// caller has just asked for the deletion.
pub(super) fn intent(
    request: &ConfigurationDeletion,
    in_doubt: bool,
    fence: i64,
    until: Timestamp,
) -> Expression {
    let id = &request.grant.installation;
    let job = Job::DeleteConfiguration;
    let change = Expression::new(
        "SET kind = :kind, installationId = :id, dueShard = :shard, dueAt = :until, \
         leaseUntil = :until, fence = :fence, inDoubt = :inDoubt, deletedBy = :by, \
         deletedAt = :at, attempts = if_not_exists(attempts, :zero) + :one",
    )
    .value(":kind", s(job.kind()))
    .value(":id", s(id.as_str()))
    .value(":shard", s(job.shard(id)))
    .value(":until", time(until))
    .value(":fence", n(fence))
    .value(":inDoubt", AttributeValue::Bool(in_doubt))
    .value(":by", keys::actor(&request.grant.by))
    .value(":at", time(request.at))
    .value(":zero", n(0))
    .value(":one", n(1));
    match &request.key {
        Some(key) => change
            .set("keySha256 = :key")
            .value(":key", s(key.sha256()))
            .remove("failures, failingSince"),
        None => change.remove("failures, failingSince, keySha256"),
    }
}

/// Condition: the intent is as it was read, and no other worker holds it. The condition compares
/// `inDoubt`, because a late worker may have set `inDoubt` after the read.
pub(super) fn intent_is_free(read: Option<&Intent>, now: Timestamp) -> Expression {
    let Some(intent) = read else { return absent() };
    let as_marked = if intent.in_doubt {
        Expression::new("inDoubt = :marked")
    } else {
        Expression::new("attribute_not_exists(inDoubt) OR inDoubt <> :marked")
    };
    let as_read =
        fence_is(intent.fence).and(as_marked.value(":marked", AttributeValue::Bool(true)));
    if intent.is_ours {
        return as_read;
    }
    let over = Expression::new("attribute_not_exists(leaseUntil) OR leaseUntil <= :now");
    as_read.and(over.value(":now", time(now)))
}

/// Condition: the installation is as it was read, and Vercel may be called for it.
pub(super) fn may_begin(loaded: Loaded<'_>) -> Expression {
    let Loaded { snapshot, installation } = loaded;
    let mut condition = unchanged(installation);
    if !installation.in_doubt {
        // Without this condition, the request could overlook an intent that was withdrawn in doubt after the
        // read (E2).
        let no_doubt = Expression::new("attribute_not_exists(configurationInDoubt)");
        condition = condition.and(no_doubt);
    }
    if installation.deletion.is_none() && !snapshot.is_in_doubt() {
        let settled = Expression::new("billing = :settled").value(":settled", s("settled"));
        condition = condition.and(settled);
    }
    condition
}

/// Condition: the installation's state and account are as they were read, and its configuration is not
/// deleted. After an uninstall, `state` alone does not show whether the configuration is deleted.
pub(super) fn unchanged(installation: &InstallationState) -> Expression {
    let state = Expression::new("#state = :seen AND attribute_not_exists(configurationDeletedAt)");
    let seen = keys::state(installation.deletion.map(|deletion| deletion.stage));
    let state = state.name("#state", "state").value(":seen", s(seen));
    match &installation.account {
        Some(account) => state.and(of_account(account)),
        None => state,
    }
}

/// The change that stores another team, and removes the stored slug because the new team's slug is not known.
pub(in crate::store) fn set_team(team: &Team) -> Expression {
    match &team.id {
        Some(id) => Expression::new("SET teamId = :team").value(":team", s(id)).remove("teamSlug"),
        None => Expression::removing("teamId, teamSlug"),
    }
}

/// Condition: the installation's team is as it was read, and its configuration is not deleted.
pub(in crate::store) fn still_in_team(team: &Team) -> Expression {
    let there = "attribute_exists(pk) AND attribute_not_exists(configurationDeletedAt)";
    Expression::new(there).and(match &team.id {
        Some(id) => Expression::new("teamId = :was").value(":was", s(id)),
        None => Expression::new("attribute_not_exists(teamId)"),
    })
}

/// The change that uninstalls an active installation, and marks it as finalized.
pub(super) fn set_uninstalled(provenance: &Provenance) -> Expression {
    let uninstalled = Expression::new(
        "SET #state = :deleting, deletedAt = :at, deletedBy = :by, finalized = :true",
    )
    .name("#state", "state")
    .value(":deleting", s(keys::state(Some(Stage::Deleting))))
    .value(":at", time(provenance.at))
    .value(":by", keys::actor(&provenance.by))
    .value(":true", AttributeValue::Bool(true));
    match &provenance.reason {
        Some(reason) => uninstalled.set("reason = :reason").value(":reason", s(reason)),
        None => uninstalled,
    }
}
