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
        title: "`cascadeResourceDeletion: false` with a resource left is not answered 5xx",
        basis: Basis::Vercel("The answers are 200, 204, 403 and 409.", DELETE_INSTALLATION),
        mend: "Answer 409 with a user.message where you do not keep resources without their installation.",
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
        title: "`cascadeResourceDeletion: false` does not delete a resource",
        basis: Basis::GoodPractice(
            "The field says whether to delete the resources along with the installation; data is not deleted by \
             mistake.",
        ),
        mend: "Read the field: refuse with 409, or keep the resources. Absent means that they are deleted. If you keep \
               them where Get Resource does not look, accept this with --accept.",
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
        title: "an uninstall takes its resources along",
        basis: CLEANUP,
        mend: "Delete the installation's resources in Delete Installation: nobody else will.",
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
        title: "after an uninstall nothing is provisioned any more",
        basis: RECORD,
        mend: "Refuse Provision Resource where the installation is deleted: a request that was under way when \
               it was uninstalled may come after it.",
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
        mend: "Answer 204: it went with its installation.",
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
        title: "other installations and their resources stay",
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
        title: "a system token of the installation uninstalls it",
        basis: Basis::Vercel(
            "Delete Installation is called with user and system authentication.",
            DELETE_INSTALLATION,
        ),
        mend: "Take tokens without `user_id` and `user_role` too: Vercel cleans up by them.",
        needs: Needs::TRUST.installations(1).resources(1),
        run: |scene| uninstalls_as(scene, Scene::system),
    },
    Check {
        id: "delete-installation/by-account",
        title: "a system token of the account, whose `installation_id` is null, uninstalls",
        basis: Basis::Vercel(
            "`installation_id` of a system token may be null.",
            DELETE_INSTALLATION,
        ),
        mend: "Take the installation from the path, and compare the stored account with `account_id` where \
               `installation_id` is null: Vercel cleans up deleted accounts by such tokens.",
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
