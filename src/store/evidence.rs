//! Evidence: turns the items that DynamoDB returned for failed conditions into a belief about the table.

use super::Malformed;
use super::attr;
use super::keys::{self, Item};
use super::provisioning::Provisioning;
use super::transaction::Part;
use crate::deletion::{Answer, Belief, Billing, Installation, Receipt, Recorded, Resource};
use crate::error::Error;

/// Updates the belief with the item of a failed condition. This function reads each item in the same way as
/// the condition reads it.
pub(super) fn learn(
    belief: &mut Belief,
    row: Part,
    item: Option<Item>,
    provisioning: Provisioning,
) -> Result<(), Error> {
    match (row, item) {
        (Part::Outcome, Some(item)) => belief.recorded = Some(parse_recorded(&item)?),
        (Part::Installation, None) => belief.installation = Installation::Absent,
        (Part::Installation, Some(item)) => belief.installation = parse_installation(&item)?,
        (Part::Resource, None) => belief.resource = Resource::Absent,
        (Part::Resource, Some(item)) => {
            belief.resource =
                if provisioning.is_of(&item) { Resource::Provisioning } else { Resource::Ready };
        }
        (Part::Receipt, Some(_)) => belief.receipt = Receipt::Present,
        (Part::Outcome | Part::Receipt, None)
        | (Part::Announcement | Part::Intent | Part::Other, _) => {}
    }
    Ok(())
}

pub(super) fn parse_recorded(item: &Item) -> Result<Recorded, Error> {
    let malformed = || Malformed::error(item, "no recorded outcome");
    let status = attr::i64(item, "status").and_then(|status| u16::try_from(status).ok());
    let answer = Answer::from_response(status.ok_or_else(malformed)?, attr::str(item, "body"));
    Ok(Recorded {
        account: attr::str(item, "accountId").map(str::to_owned),
        fingerprint: attr::str(item, "fingerprint").ok_or_else(malformed)?.to_owned(),
        answer: answer.ok_or_else(malformed)?,
    })
}

/// Whether an installation's invoices are settled, as its item says (D1).
pub(super) fn billing(item: &Item) -> Billing {
    if attr::str(item, "billing") == Some("settled") { Billing::Settled } else { Billing::Open }
}

pub(super) fn parse_installation(item: &Item) -> Result<Installation, Error> {
    let account = attr::str(item, "accountId").map(str::to_owned);
    if keys::stage(item)?.is_some() {
        return Ok(Installation::Deleted { account, finalized: attr::bool(item, "finalized") });
    }
    Ok(Installation::Active {
        account,
        billing: billing(item),
        resources: match item.get("resources") {
            None => 0,
            Some(_) => attr::i64(item, "resources")
                .map(|count| u64::try_from(count).unwrap_or(0))
                .ok_or_else(|| Malformed::error(item, "`resources` is no whole number"))?,
        },
    })
}
