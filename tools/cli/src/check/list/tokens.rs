//! Checks of who may delete a resource: tokens with a good signature that a backend has to refuse.

use serde_json::json;

use super::{DELETE_RESOURCE, PARTNER, forged, read_only, refused, steps};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::scene::Scene;
use crate::check::session::Resource;
use crate::check::signer::Bearer;

const VALIDATE: Basis = Basis::Vercel(
    "You must validate authentication on every request to ensure requests come from Vercel.",
    PARTNER,
);

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "tokens/issuer",
        title: "a token of another issuer is refused",
        basis: Basis::Vercel("`iss` is `https://marketplace.vercel.com`.", DELETE_RESOURCE),
        mend: "Compare `iss`, by the option `issuer` of jose or PyJWT.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene
                    .admin(&target.installation)
                    .described("of the issuer https://example.com");
                scene.signer().sign(&claims.with("iss", json!("https://example.com")))
            })
        },
    },
    Check {
        id: "tokens/audience",
        title: "a token for another integration is refused",
        basis: Basis::Vercel("`aud` is the integration's id.", DELETE_RESOURCE),
        mend: "Compare `aud` with your integration's id (`oac_…`), by the option `audience` of jose or \
               PyJWT. Vercel's keys also sign the tokens that other providers get.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims =
                    scene.admin(&target.installation).described("for the integration oac_another");
                scene.signer().sign(&claims.with("aud", json!("oac_another")))
            })
        },
    },
    Check {
        id: "tokens/no-audience",
        title: "a token without `aud` is refused",
        basis: Basis::Vercel("`aud` is a required claim.", DELETE_RESOURCE),
        mend: "Require `aud`: some libraries compare `aud` only if the token has one.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene.admin(&target.installation).described("without aud");
                scene.signer().sign(&claims.without("aud"))
            })
        },
    },
    Check {
        id: "tokens/expired",
        title: "a token that has expired is refused",
        basis: Basis::Standard(
            "A token must not be accepted on or after its `exp`.",
            "https://www.rfc-editor.org/rfc/rfc7519#section-4.1.4",
        ),
        mend: "Let the library compare `exp`, with a minute of tolerance at most.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims =
                    scene.admin(&target.installation).described("which expired an hour ago");
                scene.signer().sign(&claims.with("exp", json!(scene.now() - 3600)))
            })
        },
    },
    Check {
        id: "tokens/not-yet-valid",
        title: "a token that is not valid yet is refused",
        basis: Basis::Standard(
            "A token must not be accepted before its `nbf`.",
            "https://www.rfc-editor.org/rfc/rfc7519#section-4.1.5",
        ),
        mend: "Let the library compare `nbf`, with a minute of tolerance at most.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene.admin(&target.installation).described("valid in half an hour");
                scene.signer().sign(
                    &claims
                        .with("nbf", json!(scene.now() + 1800))
                        .with("exp", json!(scene.now() + 3600)),
                )
            })
        },
    },
    Check {
        id: "tokens/no-expiry",
        title: "a token that never expires is refused",
        basis: Basis::GoodPractice(
            "A leaked token without `exp` is valid for ever. Vercel's tokens expire.",
        ),
        mend: "Require `exp`: jose's requiredClaims: ['exp'], PyJWT's options={'require': ['exp']}.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene.admin(&target.installation).described("without exp");
                scene.signer().sign(&claims.without("exp"))
            })
        },
    },
    Check {
        id: "tokens/crit",
        title: "a token that demands an unknown extension (`crit`) is refused",
        basis: Basis::Standard(
            "A token is invalid if `crit` names an extension that the verifier does not understand.",
            "https://www.rfc-editor.org/rfc/rfc7515#section-4.1.11",
        ),
        mend: "Use a library that reads `crit`, or refuse tokens that have `crit`.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, target| {
                let claims = scene.admin(&target.installation).described("with an unknown crit");
                let mut header = scene.signer().header("crit", &json!(["teardown-check"]));
                header["teardown-check"] = json!(true);
                scene.signer().sign_under(&header, &claims)
            })
        },
    },
    Check {
        id: "tokens/read-only-role",
        title: "a user with the role USER may not delete",
        basis: Basis::Vercel("The role `USER` is granted to read-only roles.", DELETE_RESOURCE),
        mend: "Compare `user_role` of user tokens: only `ADMIN` may delete. Answer 403 with a user.message \
               that says who can delete.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| refused(scene, read_only),
    },
    Check {
        id: "tokens/another-installation",
        title: "a token of another installation is refused",
        basis: Basis::Vercel(
            "`installation_id` names the installation that a token is for.",
            DELETE_RESOURCE,
        ),
        mend: "Compare the path's installation with `installation_id`, and answer 403 if they differ. Do not \
               use one of the two alone.",
        needs: Needs::REFUSAL.trusted().installations(1),
        run: |scene| {
            steps(async move {
                let (target, other) = (scene.target().await?, scene.other().await?);
                let bearer = scene.signer().sign(&scene.admin(&other));
                let answered = scene.delete(&target).bearer(bearer).send().await?;
                scene.with_effect(answered.is_refused_or_hidden(), &target, &answered).await
            })
        },
    },
    Check {
        id: "tokens/another-account",
        title: "a system token of another account is refused",
        basis: Basis::Vercel(
            "`account_id` names the account that a token is for. `installation_id` of a system token may be \
             null.",
            DELETE_RESOURCE,
        ),
        mend: "Store `account_id` at Upsert Installation. If `installation_id` is null, compare `account_id` \
               with the stored account.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            refused(scene, |scene, _| {
                let claims = scene.account().with("account_id", json!("acc_another"));
                scene.signer().sign(&claims.described("here of acc_another"))
            })
        },
    },
    Check {
        id: "tokens/refused-means-untouched",
        title: "a resource still exists after every request that was refused",
        basis: VALIDATE,
        mend: "Check the token before you delete, and return if the token is bad: a check that only logs \
               protects nothing.",
        needs: Needs::REFUSAL.seen().resources(1),
        run: |scene| {
            steps(async move {
                for kind in 0..REFUSALS {
                    let target = scene.seen_target().await?;
                    let bearer = refusal(&scene, &target, kind);
                    let refused = scene.delete(&target).bearer(bearer).send().await?;
                    // Another check reports a request that was not refused.
                    if refused.is_success() {
                        continue;
                    }
                    let there = scene.expect_there(&target, &refused).await;
                    if there.is_err() {
                        scene.session.doubt(&target.path());
                    }
                    there?;
                }
                Ok(())
            })
        },
    },
];

/// How many kinds of `Authorization` [`refusal`] makes.
pub(super) const REFUSALS: usize = 6;

/// An `Authorization` that a backend has to refuse. `kind` is less than [`REFUSALS`].
pub(super) fn refusal(scene: &Scene, target: &Resource, kind: usize) -> Bearer {
    let expired = || {
        let claims = scene.admin(&target.installation).described("which expired an hour ago");
        claims.with("exp", json!(scene.now() - 3600))
    };
    match kind {
        0 => Bearer::none(),
        1 => Bearer::literal("Bearer garbage"),
        2 => forged(scene, target),
        3 => scene.signer().sign(&expired()),
        4 => read_only(scene, target),
        _ => scene.signer().sign(&scene.admin(&scene.unknown_installation())),
    }
}
