//! What a failed condition returned, read as what it says of the store.

use super::Malformed;
use super::keys::{self, Item};
use super::transaction::Row;
use crate::deletion::{Answer, Belief, Billing, Installation, Receipt, Recorded, Resource};
use crate::error::Error;

/// Replaces a belief by evidence. Every reading here mirrors the condition that failed.
pub(super) fn learn(belief: &mut Belief, row: Row, item: Option<Item>) -> Result<(), Error> {
    match (row, item) {
        (Row::Outcome, Some(item)) => belief.recorded = Some(parse_recorded(&item)?),
        (Row::Installation, None) => belief.installation = Installation::Unknown,
        (Row::Installation, Some(item)) => belief.installation = parse_installation(&item)?,
        (Row::Resource, None) => belief.resource = Resource::Absent,
        (Row::Resource, Some(item)) => {
            belief.resource = if keys::text(&item, "status") == Some("provisioning") {
                Resource::Provisioning
            } else {
                Resource::Ready
            };
        }
        (Row::Receipt, Some(_)) => belief.receipt = Receipt::Stands,
        (Row::Outcome | Row::Receipt, None) | (Row::Announcement | Row::Other, _) => {}
    }
    Ok(())
}

pub(super) fn parse_recorded(item: &Item) -> Result<Recorded, Error> {
    let malformed = || Malformed::error(item, "no recorded outcome");
    let status = keys::number(item, "status").and_then(|status| u16::try_from(status).ok());
    let answer = Answer::from_response(status.ok_or_else(malformed)?, keys::text(item, "body"));
    Ok(Recorded {
        account: keys::text(item, "accountId").map(str::to_owned),
        fingerprint: keys::text(item, "fingerprint").ok_or_else(malformed)?.to_owned(),
        answer: answer.ok_or_else(malformed)?,
    })
}

/// What an installation's item says of its invoices (D1).
pub(super) fn billing(item: &Item) -> Billing {
    if keys::text(item, "billing") == Some("settled") { Billing::Settled } else { Billing::Open }
}

pub(super) fn parse_installation(item: &Item) -> Result<Installation, Error> {
    let account = keys::text(item, "accountId").map(str::to_owned);
    if keys::stage(item)?.is_some() {
        return Ok(Installation::Deleted { account, finalized: keys::truth(item, "finalized") });
    }
    Ok(Installation::Active {
        account,
        billing: billing(item),
        resources: match item.get("resources") {
            None => 0,
            Some(_) => keys::number(item, "resources")
                .map(|count| u64::try_from(count).unwrap_or(0))
                .ok_or_else(|| Malformed::error(item, "`resources` is no whole number"))?,
        },
    })
}
