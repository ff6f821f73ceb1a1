//! Changes the table to agree with Vercel, as far as the command's options allow (L1).

use std::collections::BTreeMap;
use std::io;

use teardown::ids::{InstallationId, ResourceId};
use teardown::reconcile::Problem;
use teardown::store::Store;
use teardown::store::admin::Act;
use teardown::store::admin::comparison::Missing;
use teardown::store::admin::forget::Announced;
use teardown::store::registry::RegisterError;

use super::causes;
use super::finding::Finding;
use super::report::Report;
use crate::cli::operator;

/// Fixes problems in the table.
#[derive(Clone)]
pub(super) struct Fixer {
    store: Store,
    announced: Announced,
    /// The operator's name and reason, for deleting resources that Vercel does not list.
    act: Option<Act>,
}

impl Fixer {
    pub(super) fn new(store: Store, announced: Announced, act: Option<Act>) -> Self {
        Self { store: store.announcing(announced), announced, act }
    }

    /// Registers the resources that the table lacks, and stores the team that Vercel names. Does not fix
    /// problems of other kinds.
    pub(super) async fn fix(&self, finding: &mut Finding) {
        let elsewhere = match self.stored_elsewhere(finding).await {
            Ok(elsewhere) => elsewhere,
            Err(error) => {
                finding.remarks.push(format!("nothing is fixed: {}", causes(&error)));
                return;
            }
        };
        for problem in std::mem::take(&mut finding.left) {
            if let Problem::MissingHere(listed) = &problem
                && let Some(other) = elsewhere.get(&listed.id)
            {
                let id = &listed.id;
                finding.remarks.push(format!(
                    "{id} is not registered, it is stored at {other}: if it was moved, `teardown move` it"
                ));
                finding.left.push(problem);
                continue;
            }
            match self.fixed(finding, &problem).await {
                Ok(true) => finding.fixed.push(problem),
                Ok(false) => finding.left.push(problem),
                Err(RegisterError::ResourceDeleted | RegisterError::ResourceUnannounced) => {
                    // The registration was refused because the resource was deleted after the comparison.
                    let problem = match problem {
                        Problem::MissingHere(listed) => Problem::DeletedHere(listed.id),
                        other => other,
                    };
                    finding.left.push(problem);
                }
                Err(error) => {
                    let why = match &error {
                        RegisterError::Store(error) => causes(error),
                        refused => refused.to_string(),
                    };
                    finding.remarks.push(format!("{} is left: {why}", problem.kind()));
                    finding.left.push(problem);
                }
            }
        }
    }

    /// Finds resources that Vercel lists for this installation, but that the table stores under another
    /// installation. Returns the other installation for each of these resources. If such a resource were
    /// registered under this installation, too, an uninstall of the other installation would destroy it.
    async fn stored_elsewhere(
        &self,
        finding: &Finding,
    ) -> Result<BTreeMap<ResourceId, InstallationId>, teardown::error::Error> {
        let missing = finding.left.iter().filter_map(|problem| match problem {
            Problem::MissingHere(listed) => Some(&listed.id),
            _ => None,
        });
        let missing: Vec<_> = missing.collect();
        if missing.is_empty() {
            return Ok(BTreeMap::new());
        }
        self.store.stored_elsewhere(&finding.installation, &missing).await
    }

    /// Fixes a problem, if this function can fix problems of its kind. Returns whether the problem was fixed.
    async fn fixed(&self, finding: &Finding, problem: &Problem) -> Result<bool, RegisterError> {
        let Some(stored) = &finding.stored else { return Ok(false) };
        let (id, installation) = (&finding.installation, &stored.installation);
        match problem {
            Problem::MissingHere(listed) => {
                self.store.add_listed_resource(id, listed).await?;
                Ok(true)
            }
            Problem::OtherTeam { there, .. } => {
                Ok(self.store.follow_to_team(id, &installation.team, there.clone()).await?)
            }
            Problem::Removed
            | Problem::Disabled(_)
            | Problem::Hanging(_)
            | Problem::NoToken
            | Problem::DeadToken
            | Problem::Unreachable(_)
            | Problem::MissingThere(_)
            | Problem::DeletedHere(_)
            | Problem::BadId(_) => Ok(false),
        }
    }

    /// Uninstalls an installation that Vercel removed.
    pub(super) async fn uninstall(&self, finding: &mut Finding) {
        let Some(stored) = &finding.stored else { return };
        let (id, account) = (&finding.installation, stored.installation.account.as_deref());
        match self.store.uninstall_removed(id, account).await {
            Ok(()) => finding.fixed.append(&mut finding.left),
            Err(error) => {
                finding.remarks.push(format!("it is not uninstalled: {}", causes(&error)));
            }
        }
    }

    /// Deletes the resources that Vercel does not list, if the operator agrees.
    ///
    /// # Errors
    ///
    /// If the operator cannot be asked.
    pub(super) async fn delete_missing(
        &self,
        finding: &mut Finding,
        yes: bool,
        report: &Report,
    ) -> anyhow::Result<()> {
        let missing: Vec<_> = finding.left.iter().filter_map(missing_there).cloned().collect();
        let (Some(act), Some(stored), false) = (&self.act, &finding.stored, missing.is_empty())
        else {
            return Ok(());
        };
        if !yes && !self.agreed(finding, &missing, report).await? {
            finding.remarks.push("nothing is deleted".to_owned());
            return Ok(());
        }
        let (id, account) = (&finding.installation, stored.installation.account.as_deref());
        let mut left = Vec::new();
        for problem in std::mem::take(&mut finding.left) {
            let Some(resource) = missing_there(&problem) else {
                left.push(problem);
                continue;
            };
            let why = match self.store.delete_missing(id, account, resource, act).await {
                Ok(Missing::Deleted | Missing::Gone) => {
                    finding.fixed.push(problem);
                    continue;
                }
                Ok(Missing::Busy) => "it is still being provisioned".to_owned(),
                Err(error) => causes(&error),
            };
            finding.remarks.push(format!("{resource} is not deleted: {why}"));
            left.push(problem);
        }
        finding.left = left;
        Ok(())
    }

    async fn agreed(
        &self,
        finding: &Finding,
        missing: &[ResourceId],
        report: &Report,
    ) -> anyhow::Result<bool> {
        let id = finding.installation.clone();
        let question = question(&finding.installation.to_string(), missing, self.announced);
        // Requests to Vercel that have begun continue while the operator answers.
        let ask = move || operator::agreed(&question, id.as_str());
        let answer: io::Result<bool> = report.aside(tokio::task::spawn_blocking(ask)).await?;
        Ok(answer?)
    }
}

fn missing_there(problem: &Problem) -> Option<&ResourceId> {
    match problem {
        Problem::MissingThere(resource) => Some(resource),
        _ => None,
    }
}

/// How many resources the question to the operator names.
const NAMED: usize = 10;

/// The question that asks the operator to confirm the deletions.
fn question(id: &str, missing: &[ResourceId], announced: Announced) -> String {
    let names: Vec<_> = missing.iter().take(NAMED).map(ResourceId::as_str).collect();
    let more = match missing.len() - names.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let then = match announced {
        Announced::Never => "Your endpoint is not notified.".to_owned(),
        Announced::After(grace) => {
            let grace = humantime::format_duration(grace);
            format!("Your endpoint is told to destroy their data in {grace}.")
        }
    };
    format!(
        "{id}: Vercel does not list {}{more}.\nDelete them here? {then} Type {id} to go on: ",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// L1: the question names the resources that would be deleted, and says whether and when the provider's
    /// endpoint is told to destroy their data.
    #[test]
    fn the_question_names_what_goes() {
        let missing: Vec<_> =
            (1..=12).map(|n| ResourceId::parse(&format!("db_{n}")).unwrap()).collect();
        let week = Announced::After(Duration::from_hours(7 * 24));
        assert_eq!(
            question("icfg_1", &missing[..2], week),
            "icfg_1: Vercel does not list db_1, db_2.\nDelete them here? Your endpoint is told to \
             destroy their data in 7days. Type icfg_1 to go on: "
        );
        let many = question("icfg_1", &missing, Announced::Never);
        assert!(
            many.contains("db_10 and 2 more.\nDelete them here? Your endpoint is not notified.")
        );
    }
}
