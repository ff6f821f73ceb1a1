//! Checks of Delete Installation: what is left after an uninstall, and which tokens may uninstall.

use super::{DELETE_INSTALLATION, DELETE_RESOURCE, steps};
use crate::check::entry::{Basis, Check, Needs, Run};
use crate::check::scene::Scene;
use crate::check::session::Installation;
use crate::check::signer::Claims;

const CLEANUP: Basis = Basis::Vercel(
    "Vercel does not call Delete Resource during installation uninstall. Your Delete Installation handler \
     handles resource cleanup.",
    DELETE_RESOURCE,
);
const RECORD: Basis = Basis::Vercel(
    "Clean up any data, revoke tokens, and remove the installation record from your system.",
    DELETE_INSTALLATION,
);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delete-installation/cascade-false-is-no-500",
        title: "an uninstall with `cascadeResourceDeletion: false` and a resource left is not answered 5xx",
        basis: Basis::Vercel(
            "The answers of Delete Installation are 200, 204, 403 and 409.",
            DELETE_INSTALLATION,
        ),
        mend: "If you do not keep resources without their installation, answer 409 with a user.message.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                scene.resource_of(&installation).await?;
                let body = Some(r#"{"cascadeResourceDeletion":false}"#);
                scene.uninstall_with(&installation, body).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/cascade-false-keeps-resources",
        title: "an uninstall with `cascadeResourceDeletion: false` does not delete a resource",
        basis: Basis::GoodPractice(
            "The field says whether to delete the installation's resources, too. Data must not be deleted by \
             mistake.",
        ),
        mend: "If the field is false, answer 409 or keep the resources. If the field is absent, delete the \
               resources. If Get Resource does not find resources that you keep, accept the failure with \
               --accept.",
        needs: Needs::TRUST.installations(1).resources(1).seen(),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let resource = scene.resource_of(&installation).await?;
                let body = Some(r#"{"cascadeResourceDeletion":false}"#);
                let answered = scene.uninstall_with(&installation, body).send().await?;
                scene.expect_there(&resource, &answered).await
            })
        },
    },
    Check {
        id: "delete-installation/resources-gone",
        title: "an uninstall deletes the installation's resources, too",
        basis: CLEANUP,
        mend: "Delete the installation's resources in Delete Installation: no other call deletes them.",
        needs: Needs::TRUST.installations(1).resources(2).seen(),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let one = scene.resource_of(&installation).await?;
                let another = scene.resource_of(&installation).await?;
                let answered = scene.uninstall(&installation).send().await?;
                if !answered.is_success() {
                    return Err(answered.wrong("200 or 204"));
                }
                scene.expect_gone(&one, &answered).await?;
                scene.expect_gone(&another, &answered).await
            })
        },
    },
    Check {
        id: "delete-installation/provision-refused",
        title: "after an uninstall, Provision Resource does not succeed",
        basis: RECORD,
        mend: "Refuse Provision Resource if the installation is deleted: a request that was sent before the \
               uninstall may arrive after it.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                scene.uninstall(&installation).send().await?;
                let provisioned = scene.provision(&installation).send().await?;
                scene.remember(&installation, &provisioned);
                provisioned.expect(!provisioned.is_success(), "403 or 409")
            })
        },
    },
    Check {
        id: "delete-installation/delete-resource-afterwards-is-no-500",
        title: "the deletion of a resource after the uninstall is not answered 5xx",
        basis: Basis::Vercel(
            "The answers of Delete Resource are 204, 403 and 409.",
            DELETE_RESOURCE,
        ),
        mend: "Answer 204: the uninstall has already deleted the resource.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let resource = scene.resource_of(&installation).await?;
                scene.uninstall(&installation).send().await?;
                scene.delete(&resource).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/others-stay",
        title: "an uninstall does not delete other installations or their resources",
        basis: Basis::Vercel("Deletes the Installation.", DELETE_INSTALLATION),
        mend: "Delete by the installation's id, not by the account's or the user's.",
        needs: Needs::TRUST.installations(1).resources(1).seen(),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let stays = scene.seen_target().await?;
                if stays.installation == installation {
                    return super::skipped("there is no other installation");
                }
                let answered = scene.uninstall(&installation).send().await?;
                let there = scene.expect_there(&stays, &answered).await;
                if there.is_err() {
                    scene.session.doubt(&stays.path());
                }
                there
            })
        },
    },
    Check {
        id: "delete-installation/by-system",
        title: "a system token of the installation can uninstall the installation",
        basis: Basis::Vercel(
            "Delete Installation is called with user and system authentication.",
            DELETE_INSTALLATION,
        ),
        mend: "Accept tokens without `user_id` and `user_role`, too: Vercel uses them to clean up.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| uninstalls_as(scene, Scene::system),
    },
    Check {
        id: "delete-installation/by-account",
        title: "a system token of the account, whose `installation_id` is null, can uninstall",
        basis: Basis::Vercel(
            "`installation_id` of a system token may be null.",
            DELETE_INSTALLATION,
        ),
        mend: "Take the installation from the path. If `installation_id` is null, compare `account_id` with \
               the stored account: Vercel uses such tokens to clean up deleted accounts.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| uninstalls_as(scene, |scene, _| scene.account()),
    },
];

/// Expects that an uninstall with these claims succeeds and, if resources can be seen, deletes a resource. If
/// an `ADMIN`'s uninstall does not delete the resource either, the check is skipped.
fn uninstalls_as(scene: Scene, claims: fn(&Scene, &Installation) -> Claims) -> Run {
    steps(async move {
        let installation = scene.installation().await?;
        let resource = match scene.session.survey() {
            Some(survey) if survey.lookup.is_ok() => Some(scene.resource_of(&installation).await?),
            _ => None,
        };
        let bearer = scene.signer().sign(&claims(&scene, &installation));
        let answered = scene.uninstall(&installation).bearer(bearer).send().await?;
        answered.succeeds()?;
        let Some(resource) = resource else { return Ok(()) };
        let stays = scene.expect_gone(&resource, &answered).await;
        if stays.is_err() {
            scene.uninstall(&installation).send().await?;
            if scene.lasts(&resource).await? {
                return super::skipped(
                    "delete-installation/resources-gone is about resources that stay",
                );
            }
        }
        stays
    })
}
