//! All checks, in the order in which they run. The page `docs/check-list.md`, `--list` and every report are
//! made from this list. To add a check, add one entry to the file of its group.

mod delete_installation;
mod delete_resource;
mod errors;
mod forged_tokens;
mod good_tokens;
mod time;
mod tokens;
mod uninstall_tokens;
mod uninstalled;
mod webhook;

use super::entry::{Check, Run};
use super::finding::{Finding, Verdict};
use super::scene::Scene;
use super::session::Resource;
use super::signer::Bearer;

/// The groups of checks, each with a description.
pub const GROUPS: [(&str, &str); 6] = [
    ("tokens", "who may delete"),
    ("delete-resource", "`DELETE /v1/installations/{installationId}/resources/{resourceId}`"),
    ("delete-installation", "`DELETE /v1/installations/{installationId}`"),
    ("errors", "the form of errors, and what they reveal"),
    ("webhook", "the integration's webhook"),
    ("time", "how long answers take"),
];

/// All checks.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let groups: [&'static [Check]; 10] = [
        forged_tokens::CHECKS,
        tokens::CHECKS,
        uninstall_tokens::CHECKS,
        good_tokens::CHECKS,
        delete_resource::CHECKS,
        delete_installation::CHECKS,
        uninstalled::CHECKS,
        errors::CHECKS,
        webhook::CHECKS,
        time::CHECKS,
    ];
    groups.into_iter().flatten()
}

/// The page of Vercel's documentation about what all calls have in common.
const PARTNER: &str =
    "https://vercel.com/docs/integrations/create-integration/marketplace-api/reference/partner";

const DELETE_RESOURCE: &str = "https://vercel.com/docs/integrations/create-integration/marketplace-api/reference/partner/delete-resource";

const DELETE_INSTALLATION: &str = "https://vercel.com/docs/integrations/create-integration/marketplace-api/reference/partner/delete-installation";

const GET_RESOURCE: &str = "https://vercel.com/docs/integrations/create-integration/marketplace-api/reference/partner/get-resource";

const WEBHOOKS: &str = "https://vercel.com/docs/webhooks/webhooks-api";

/// Turns a future into the steps of a check.
fn steps(future: impl Future<Output = Verdict> + Send + 'static) -> Run {
    Box::pin(future)
}

/// Expects that Delete Resource refuses a request with this `Authorization`.
fn refused(scene: Scene, bearer: fn(&Scene, &Resource) -> Bearer) -> Run {
    steps(async move {
        let target = scene.target().await?;
        let bearer = bearer(&scene, &target);
        let answered = scene.delete(&target).bearer(bearer).send().await?;
        scene.with_effect(answered.is_refused(), &target, &answered).await
    })
}

/// Expects that Delete Installation refuses a request with this `Authorization`.
fn uninstall_refused(scene: Scene, bearer: fn(&Scene, &Resource) -> Bearer) -> Run {
    steps(async move {
        let target = scene.target().await?;
        let bearer = bearer(&scene, &target);
        let answered = scene.uninstall(&target.installation).bearer(bearer).send().await?;
        scene.with_effect(answered.is_refused(), &target, &answered).await
    })
}

/// Expects that Delete Installation succeeds with this body.
fn uninstalls_with(scene: Scene, body: Option<&'static str>) -> Run {
    steps(async move {
        let installation = scene.installation().await?;
        let taken = scene.uninstall_with(&installation, body).send().await?.succeeds();
        if taken.is_err() {
            scene.session.avoid(body);
        }
        taken
    })
}

/// An `ADMIN`'s token that a stranger signed.
fn forged(scene: &Scene, target: &Resource) -> Bearer {
    scene.signer().forge(&scene.admin(&target.installation))
}

/// The token of a user who may only read.
fn read_only(scene: &Scene, target: &Resource) -> Bearer {
    scene.signer().sign(&scene.user(&target.installation, "USER"))
}

/// The verdict that a check could not run, for this reason.
fn skipped(why: &str) -> Verdict {
    Err(Finding::skipped(why))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// N2: in the list, each check has a unique id and a group from `GROUPS`, and the checks are in the order
    /// of the groups.
    #[test]
    fn each_check_has_an_id_of_its_own_in_a_group_that_there_is() {
        let ids: BTreeSet<_> = all().map(|check| check.id).collect();
        assert_eq!(ids.len(), all().count());
        let groups: BTreeSet<_> = all().map(Check::group).collect();
        assert_eq!(groups, GROUPS.map(|(group, _)| group).into());
        let in_order = all().map(Check::group).collect::<Vec<_>>();
        assert!(in_order.is_sorted_by_key(|it| GROUPS.iter().position(|(group, _)| group == it)));
    }
}
