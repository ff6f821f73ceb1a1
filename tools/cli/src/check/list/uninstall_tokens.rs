//! Checks of who may uninstall. Many backends verify the token of Delete Installation in separate code.

use super::tokens::{REFUSALS, refusal};
use super::{DELETE_INSTALLATION, PARTNER, forged, read_only, steps, uninstall_refused};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::signer::Bearer;

const VALIDATE: Basis = Basis::Vercel(
    "You must validate authentication on every request to ensure requests come from Vercel.",
    PARTNER,
);

const MEND: &str =
    "Verify tokens in one function, and call it for every path, also for Delete Installation.";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "tokens/uninstall-none",
        title: "an uninstall without a token is refused",
        basis: VALIDATE,
        mend: MEND,
        needs: Needs::REFUSAL,
        run: |scene| uninstall_refused(scene, |_, _| Bearer::none()),
    },
    Check {
        id: "tokens/uninstall-unknown-key",
        title: "an uninstall with a token that was signed with an unknown key is refused",
        basis: VALIDATE,
        mend: MEND,
        needs: Needs::REFUSAL,
        run: |scene| uninstall_refused(scene, forged),
    },
    Check {
        id: "tokens/uninstall-read-only-role",
        title: "a user with the role USER may not uninstall",
        basis: Basis::Vercel("The role `USER` is granted to read-only roles.", DELETE_INSTALLATION),
        mend: "Compare `user_role` of user tokens: only `ADMIN` may uninstall. Answer 403 with a \
               user.message that says who can uninstall.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| uninstall_refused(scene, read_only),
    },
    Check {
        id: "tokens/uninstall-another-installation",
        title: "an uninstall with a token of another installation is refused",
        basis: Basis::Vercel(
            "`installation_id` names the installation that a token is for.",
            DELETE_INSTALLATION,
        ),
        mend: "Compare the path's installation with `installation_id`, and answer 403 if they differ. Do not \
               use one of the two alone.",
        needs: Needs::REFUSAL.trusted().installations(1),
        run: |scene| {
            steps(async move {
                let (target, other) = (scene.target().await?, scene.other().await?);
                let bearer = scene.signer().sign(&scene.admin(&other));
                let call = scene.uninstall(&target.installation).bearer(bearer);
                let answered = call.send().await?;
                if answered.is_success() {
                    // Nobody knows which of the two installations was uninstalled, so no other check uses
                    // them.
                    scene.session.doubt(&target.installation.path());
                    scene.session.doubt(&other.path());
                }
                scene.with_effect(answered.is_refused_or_hidden(), &target, &answered).await
            })
        },
    },
    Check {
        id: "tokens/uninstall-refused-means-untouched",
        title: "an installation's resources still exist after every uninstall that was refused",
        basis: VALIDATE,
        mend: "Check the token before you delete, and return if the token is bad: a check that only logs \
               protects nothing.",
        needs: Needs::REFUSAL.seen().resources(1),
        run: |scene| {
            steps(async move {
                for kind in 0..REFUSALS {
                    let target = scene.seen_target().await?;
                    let bearer = refusal(&scene, &target, kind);
                    let refused =
                        scene.uninstall(&target.installation).bearer(bearer).send().await?;
                    // Another check reports a request that was not refused.
                    if refused.is_success() {
                        continue;
                    }
                    let there = scene.expect_there(&target, &refused).await;
                    if there.is_err() {
                        scene.session.doubt(&target.installation.path());
                    }
                    there?;
                }
                Ok(())
            })
        },
    },
];
