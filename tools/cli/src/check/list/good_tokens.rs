//! Checks of who may delete a resource: tokens that a backend has to accept.

use serde_json::json;

use super::{DELETE_RESOURCE, steps};
use crate::check::entry::{Basis, Check, Needs};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "tokens/system",
        title: "a system token of the installation deletes a resource",
        basis: Basis::Vercel(
            "Delete Resource is called with user and system authentication.",
            DELETE_RESOURCE,
        ),
        mend: "Accept tokens without `user_id` and `user_role`, too: Vercel uses them to clean up.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let bearer = scene.signer().sign(&scene.system(&resource.installation));
                scene.delete(&resource).bearer(bearer).send().await?.succeeds()
            })
        },
    },
    Check {
        id: "tokens/optional-claims",
        title: "a token with every optional claim is accepted",
        basis: Basis::Vercel(
            "A token may have `type`, `user_email`, `user_name` and `user_avatar_url`.",
            DELETE_RESOURCE,
        ),
        mend: "Do not refuse a token because of claims that you do not need: the user who deletes may not be \
               the user who installed.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let claims =
                    scene.admin(&resource.installation).described("with every optional claim");
                let claims = claims
                    .with("type", json!("access_token"))
                    .with("user_email", json!("ada@example.com"))
                    .with("user_name", json!("Ada Löwe"))
                    .with("user_avatar_url", json!("https://example.com/ada.png"));
                let bearer = scene.signer().sign(&claims);
                scene.delete(&resource).bearer(bearer).send().await?.succeeds()
            })
        },
    },
    Check {
        id: "tokens/required-claims",
        title: "a token with only the required claims is accepted",
        basis: Basis::Vercel(
            "`type`, `user_email`, `user_name` and `user_avatar_url` are not required.",
            DELETE_RESOURCE,
        ),
        mend: "Do not require claims that may be absent: identify the user by `user_id`.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let claims = scene.admin(&resource.installation).without("user_email");
                let bearer =
                    scene.signer().sign(&claims.described("with the required claims alone"));
                scene.delete(&resource).bearer(bearer).send().await?.succeeds()
            })
        },
    },
    Check {
        id: "tokens/unknown-claims",
        title: "a token with a claim that is not documented is accepted",
        basis: Basis::GoodPractice(
            "Vercel has added claims before, and a strict schema refuses every token with a new claim.",
        ),
        mend: "Do not refuse a token because of claims that you do not know: no `.strict()`.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let claims = scene.admin(&resource.installation).described("with an unknown claim");
                let bearer = scene.signer().sign(&claims.with("teardown_check", json!([1])));
                scene.delete(&resource).bearer(bearer).send().await?.succeeds()
            })
        },
    },
    Check {
        id: "tokens/without-auth-style",
        title: "a request without `X-Vercel-Auth` is accepted",
        basis: Basis::Vercel("The header `X-Vercel-Auth` is not required.", DELETE_RESOURCE),
        mend: "Distinguish users from the system by the token's claims.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let bearer = scene.signer().sign(&scene.admin(&resource.installation));
                let call = scene.delete(&resource).bearer(bearer.without_style());
                call.send().await?.succeeds()
            })
        },
    },
];
