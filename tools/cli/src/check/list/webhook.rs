//! Checks of the integration's webhook: signed, forged and repeated deliveries.

use serde_json::{Value, json};

use super::{WEBHOOKS, steps};
use crate::check::entry::{Basis, Check, Needs, Run};
use crate::check::finding::{Finding, Verdict};
use crate::check::scene::{SIGNATURE, Scene};
use crate::check::session::Installation;
use crate::check::signer::webhook_signature;

const SECURING: Basis = Basis::Vercel(
    "`x-vercel-signature` is the HMAC-SHA1 of the raw body with the integration's client secret. Compare \
     this header before you trust a delivery.",
    WEBHOOKS,
);
const RETRIES: Basis = Basis::Vercel(
    "Vercel repeats a delivery that is not answered 2xx, for up to 24 hours.",
    WEBHOOKS,
);

const MEND_FORGED: &str = "Compute the HMAC-SHA1 of the raw body with the client secret, compare it in \
    constant time with the header, and answer 403 if they differ. A 200 means success, even if its body has \
    an error.";
const MEND_SIGNED: &str = "Read the body as bytes, before any parser, and compute the signature of these \
    bytes with the integration's client secret.";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "webhook/unsigned",
        title: "a delivery without a signature is refused",
        basis: SECURING,
        mend: MEND_FORGED,
        needs: Needs::WEBHOOK,
        run: |scene| {
            steps(async move {
                let body = removed(&scene.unknown_installation());
                scene.unsigned_webhook(&body).send().await?.is_refused()
            })
        },
    },
    Check {
        id: "webhook/wrong-signature",
        title: "a delivery that was signed with another secret is refused",
        basis: SECURING,
        mend: MEND_FORGED,
        needs: Needs::WEBHOOK,
        run: |scene| forged(scene, |body| webhook_signature("another secret", body)),
    },
    Check {
        id: "webhook/empty-secret",
        title: "a delivery that was signed with an empty secret is refused",
        basis: Basis::GoodPractice(
            "A server that has no secret accepts every delivery that is signed with an empty secret.",
        ),
        mend: "Let the server's start fail if the client secret is not set: no `process.env.SECRET ?? ''`.",
        needs: Needs::WEBHOOK,
        run: |scene| {
            steps(async move {
                refuses_some(&scene, &removed(&scene.unknown_installation())).await?;
                forged(scene, |body| webhook_signature("", body)).await
            })
        },
    },
    Check {
        id: "webhook/altered-body",
        title: "a delivery whose body was changed after it was signed is refused",
        basis: SECURING,
        mend: MEND_FORGED,
        needs: Needs { secret: true, ..Needs::WEBHOOK },
        run: |scene| {
            steps(async move {
                let secret = scene.session.options.client_secret.clone().unwrap_or_default();
                let signed = removed(&scene.unknown_installation());
                let body = removed(&scene.unknown_installation());
                refuses_some(&scene, &body).await?;
                let call = scene.unsigned_webhook(&body);
                let call = call.header(SIGNATURE, &webhook_signature(&secret, &signed));
                call.send().await?.is_refused()
            })
        },
    },
    Check {
        id: "webhook/forged-is-no-500",
        title: "a forged delivery with a signature of any length is not answered 5xx",
        basis: Basis::GoodPractice(
            "timingSafeEqual throws if the lengths differ, and Vercel repeats a delivery that gets a 5xx.",
        ),
        mend: "Treat an absent signature as a wrong signature, and compare the lengths first.",
        needs: Needs::WEBHOOK,
        run: |scene| {
            steps(async move {
                let body = removed(&scene.unknown_installation());
                let unsigned = || scene.unsigned_webhook(&body);
                unsigned().send().await?.is_no_500()?;
                for signature in ["", "abc", &"0".repeat(40), &"0".repeat(4000)] {
                    unsigned().header(SIGNATURE, signature).send().await?.is_no_500()?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "webhook/forged-changes-nothing",
        title: "a forged `integration-configuration.removed` does not uninstall the installation",
        basis: SECURING,
        mend: "If the signature is wrong, return before you read the event.",
        needs: Needs::WEBHOOK.seen().resources(1),
        run: |scene| {
            steps(async move {
                let target = scene.seen_target().await?;
                let body = removed(&target.installation);
                let forged = scene.unsigned_webhook(&body);
                let forged = forged.header(SIGNATURE, &webhook_signature("another secret", &body));
                let answered = forged.send().await?;
                let there = scene.expect_there(&target, &answered).await;
                if there.is_err() {
                    scene.session.doubt(&target.installation.path());
                }
                there
            })
        },
    },
    Check {
        id: "webhook/signed",
        title: "a delivery with the right signature is answered 2xx",
        basis: RETRIES,
        mend: MEND_SIGNED,
        needs: Needs::SIGNED,
        run: |scene| {
            signed(scene, |scene| {
                event("marketplace.member.changed", &scene.unknown_installation())
            })
        },
    },
    Check {
        id: "webhook/raw-body",
        title: "the signature is checked against the unchanged body, with its blanks and escapes",
        basis: SECURING,
        mend: MEND_SIGNED,
        needs: Needs::SIGNED,
        run: |scene| {
            signed(scene, |scene| {
                let body = event("marketplace.member.changed", &scene.unknown_installation());
                body.replacen('{', "{ \"name\" : \"L\\u00f6we \\/ 1.0\",\n  \"n\": 1.0,  ", 1)
            })
        },
    },
    Check {
        id: "webhook/twice",
        title: "a delivery that comes twice is answered 2xx twice",
        basis: RETRIES,
        mend: "If you have handled a delivery before, answer 2xx and do nothing.",
        needs: Needs::SIGNED,
        run: |scene| {
            steps(async move {
                let call = scene.webhook(&removed(&scene.unknown_installation()));
                let first = call.clone().send().await?;
                if !first.is_success() {
                    let why =
                        format!("the first of the two deliveries was answered {}", first.status());
                    return Err(Finding::skipped(why));
                }
                call.send().await?.succeeds()
            })
        },
    },
    Check {
        id: "webhook/removed-of-unknown",
        title: "`integration-configuration.removed` of an unknown installation is answered 2xx",
        basis: RETRIES,
        mend: "If the record is gone, answer 2xx and do nothing: Vercel also sends this event after an \
               uninstall.",
        needs: Needs::SIGNED,
        run: |scene| signed(scene, |scene| removed(&scene.unknown_installation())),
    },
    Check {
        id: "webhook/unknown-type",
        title: "a signed event of an unknown type is answered 2xx",
        basis: RETRIES,
        mend: "Ignore an event of an unknown type, and answer 2xx: otherwise Vercel repeats the event for a \
               day.",
        needs: Needs::SIGNED,
        run: |scene| signed(scene, |scene| event("teardown.check", &scene.unknown_installation())),
    },
];

/// Skips the check if the webhook accepts a wrong signature. The check webhook/wrong-signature reports that.
async fn refuses_some(scene: &Scene, body: &str) -> Verdict {
    let call = scene.unsigned_webhook(body);
    let wrong = call.header(SIGNATURE, &webhook_signature("another secret", body));
    if wrong.send().await?.is_success() {
        return Err(Finding::skipped("webhook/wrong-signature found a success"));
    }
    Ok(())
}

/// Expects that the webhook refuses a delivery with the signature that `signature` makes.
fn forged(scene: Scene, signature: fn(&str) -> String) -> Run {
    steps(async move {
        let body = removed(&scene.unknown_installation());
        let call = scene.unsigned_webhook(&body).header(SIGNATURE, &signature(&body));
        call.send().await?.is_refused()
    })
}

/// Expects that the webhook accepts a delivery of this body with the right signature.
fn signed(scene: Scene, body: fn(&Scene) -> String) -> Run {
    steps(async move {
        let body = body(&scene);
        scene.webhook(&body).send().await?.succeeds()
    })
}

/// The event by which Vercel reports that an installation was removed.
pub(super) fn removed(installation: &Installation) -> String {
    event("integration-configuration.removed", installation)
}

/// An event as Vercel delivers it. Its id contains the installation's id, so that the ids of a run's events
/// differ.
fn event(name: &str, installation: &Installation) -> String {
    let id = &installation.0;
    let payload: Value = json!({
        "team": { "id": "team_check" },
        "user": { "id": "user_check" },
        "configuration": { "id": id, "projectSelection": "all", "projects": [] },
        "installationId": id,
        "memberId": "member_check",
        "role": "ADMIN",
    });
    let created = 1_763_769_600_000_u64;
    json!({ "id": format!("evt_{id}"), "type": name, "createdAt": created, "payload": payload })
        .to_string()
}
