//! Checks of Delete Installation: the bodies it accepts, its answers, repeated calls, and unknown
//! installations.

use super::{DELETE_INSTALLATION, skipped, steps, uninstalls_with};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::finding::Finding;
use crate::check::session::BODIES;
use crate::check::wire::{Answer, Exchange};

const BODY: Basis = Basis::Vercel(
    "The body has `cascadeResourceDeletion` (boolean) and `reason` (string).",
    DELETE_INSTALLATION,
);
const ANSWERS: Basis = Basis::Vercel(
    "The answers of Delete Installation are 200, 204, 403 and 409.",
    DELETE_INSTALLATION,
);

const MEND_BODY: &str = "Read the documented fields, ignore others, and treat null fields and an absent body \
    like `{}`: no `.strict()`, no required field.";
const MEND_REPEAT: &str = "If there is nothing to uninstall, answer 204, or 200 with {\"finalized\":true}. \
    After a 5xx Vercel repeats the call for long, and shows the customer \"Uninstall Paused\".";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delete-installation/no-body",
        title: "an uninstall without a body is answered 200 or 204",
        basis: BODY,
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| uninstalls_with(scene, BODIES[0]),
    },
    Check {
        id: "delete-installation/empty-object",
        title: "an uninstall with `{}` is answered 200 or 204",
        basis: BODY,
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| uninstalls_with(scene, BODIES[1]),
    },
    Check {
        id: "delete-installation/cascade",
        title: "an uninstall with `cascadeResourceDeletion` is answered 200 or 204",
        basis: BODY,
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| uninstalls_with(scene, BODIES[2]),
    },
    Check {
        id: "delete-installation/reason",
        title: "an uninstall with a `reason` is answered 200 or 204",
        basis: BODY,
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            uninstalls_with(
                scene,
                Some(r#"{"cascadeResourceDeletion":true,"reason":"Not needed"}"#),
            )
        },
    },
    Check {
        id: "delete-installation/odd-reason",
        title: "a reason with an emoji, quotes and line breaks is accepted",
        basis: Basis::GoodPractice("Customers type the reason, so it may have any character."),
        mend: "Store the reason as UTF-8 by a bound parameter, in a column that is long enough.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let odd = r#"{"reason":"it's \"too\" dear 💸\n<b>bye</b>; DROP TABLE x --"}"#;
                let answered = scene.uninstall_with(&installation, Some(odd)).send().await?;
                if answered.is_success() {
                    return Ok(());
                }
                let plain = Some(r#"{"reason":"Not needed"}"#);
                if !scene.uninstall_with(&installation, plain).send().await?.is_success() {
                    return skipped("a plain reason is refused, too: delete-installation/reason");
                }
                answered.succeeds()
            })
        },
    },
    Check {
        id: "delete-installation/null-fields",
        title: "fields that are null are treated as absent",
        basis: Basis::GoodPractice("Many clients write null for a field that has no value."),
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            uninstalls_with(scene, Some(r#"{"cascadeResourceDeletion":null,"reason":null}"#))
        },
    },
    Check {
        id: "delete-installation/unknown-field",
        title: "a field that is not documented is ignored",
        basis: Basis::GoodPractice(
            "Vercel may add fields, and a strict schema refuses every new field.",
        ),
        mend: MEND_BODY,
        needs: Needs::TRUST.installations(1),
        run: |scene| uninstalls_with(scene, Some(r#"{"teardownCheck":[1]}"#)),
    },
    Check {
        id: "delete-installation/content-type-without-body",
        title: "`Content-Type: application/json` without a body is accepted",
        basis: Basis::GoodPractice(
            "The body is optional, but some frameworks answer 400 to an empty body that has this header.",
        ),
        mend: "Treat an empty body as an absent body (Fastify: write a content type parser; Next.js: catch \
               the error of request.json()).",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let call = scene.uninstall_with(&installation, None);
                call.header("Content-Type", "application/json").send().await?.succeeds()
            })
        },
    },
    Check {
        id: "delete-installation/malformed-body-is-no-500",
        title: "a body that is not JSON is not answered 5xx",
        basis: Basis::GoodPractice(
            "A 5xx means that the same request may succeed later, but a request with a bad body never \
             succeeds.",
        ),
        mend: "Catch the parser's error, and answer 400.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                scene.uninstall_with(&installation, Some(r#"{"reason":"#)).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/wrong-type-is-no-500",
        title: "a body with a field of the wrong type is not answered 5xx",
        basis: Basis::GoodPractice(
            "A 5xx means that the same request may succeed later, but a request with a bad body never \
             succeeds.",
        ),
        mend: "Validate the body, and answer 400.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let body = r#"{"cascadeResourceDeletion":"yes","reason":{}}"#;
                scene.uninstall_with(&installation, Some(body)).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/answer-form",
        title: "an uninstall is answered by an empty 204, or by a 200 with JSON whose `finalized` is true, \
                false or absent",
        basis: Basis::Vercel(
            "You can request immediate deletion by specifying {finalized:true} in the response.",
            DELETE_INSTALLATION,
        ),
        mend: "Answer 200: with {\"finalized\":true} if nothing is left to invoice, with \
               {\"finalized\":false} if Vercel should wait 24 hours.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                answers_in_form(&scene.uninstall(&installation).send().await?)
            })
        },
    },
    Check {
        id: "delete-installation/again-is-no-500",
        title: "a second uninstall is not answered 5xx",
        basis: ANSWERS,
        mend: MEND_REPEAT,
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                scene.uninstall(&installation).send().await?;
                scene.uninstall(&installation).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/again-succeeds",
        title: "a second uninstall is answered 200 or 204",
        basis: Basis::GoodPractice(
            "A caller that did not get the first answer repeats the request until it gets a success.",
        ),
        mend: MEND_REPEAT,
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                scene.uninstall(&installation).send().await?;
                let again = scene.uninstall(&installation).send().await?;
                again.succeeds_but_for("delete-installation/again-is-no-500")
            })
        },
    },
    Check {
        id: "delete-installation/unknown-is-no-500",
        title: "the uninstall of an installation that was never known is not answered 5xx",
        basis: ANSWERS,
        mend: MEND_REPEAT,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let unknown = scene.unknown_installation();
                scene.uninstall(&unknown).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-installation/unknown-succeeds",
        title: "the uninstall of an installation that was never known is answered 200 or 204",
        basis: Basis::GoodPractice(
            "Vercel removes an installation only after your success, even if you do not know the \
             installation.",
        ),
        mend: MEND_REPEAT,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let unknown = scene.unknown_installation();
                let answered = scene.uninstall(&unknown).send().await?;
                answered.succeeds_but_for("delete-installation/unknown-is-no-500")
            })
        },
    },
    Check {
        id: "delete-installation/same-key-again",
        title: "the same uninstall under the same `Idempotency-Key` gets the same answer",
        basis: Basis::Vercel(
            "`Idempotency-Key` is a unique key to identify a request across multiple retries.",
            DELETE_INSTALLATION,
        ),
        mend: "Store the answer under the key together with the deletion, and give the same answer to each \
               repeat.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let call = scene.uninstall(&installation);
                let first = call.clone().send().await?;
                let again = call.send().await?;
                again.expect(again.is_success() == first.is_success(), &first.seen())
            })
        },
    },
    Check {
        id: "delete-installation/same-key-same-answer",
        title: "a repeat under the same `Idempotency-Key` gets an answer with the same `finalized`",
        basis: Basis::GoodPractice(
            "If the first answer was lost, Vercel acts on the second: after a 204 in place of \
             {\"finalized\":true}, Vercel waits 24 hours.",
        ),
        mend: "Store the answer under the key together with the deletion, and give the same answer to each \
               repeat.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let call = scene.uninstall(&installation);
                let first = call.clone().send().await?;
                let again = call.send().await?;
                if again.is_success() != first.is_success() {
                    return skipped("delete-installation/same-key-again found another answer");
                }
                // Vercel waits after a 204, as after {"finalized":false}.
                let is_final = |it: &Exchange| {
                    let json = it.answer.as_ref().ok().and_then(Answer::json);
                    json.is_some_and(|json| json["finalized"] == true)
                };
                again.expect(is_final(&again) == is_final(&first), &first.seen())
            })
        },
    },
    Check {
        id: "delete-installation/at-once",
        title: "16 equal uninstalls at the same time get no 5xx, and at least one of them succeeds",
        basis: ANSWERS,
        mend: "Delete in one transaction, or handle the race: a record that another request has deleted is \
               not an error, and a conflict is a 409.",
        needs: Needs::TRUST.installations(1),
        run: |scene| {
            steps(async move {
                let installation = scene.installation().await?;
                let answers = scene.uninstall(&installation).send_at_once().await?;
                for answer in &answers {
                    answer.is_no_500()?;
                }
                let success = answers.iter().any(Exchange::is_success);
                answers[0].expect(success, "a 2xx among the 16 answers")
            })
        },
    },
];

fn answers_in_form(answered: &Exchange) -> Result<(), Finding> {
    const FORM: &str = r#"an empty 204, or 200 with {"finalized":true} or {"finalized":false}"#;
    let answer = answered.answer()?;
    let in_form = match answer.status {
        204 => true,
        200 => {
            let finalized = answer.json().map(|json| json["finalized"].clone());
            finalized.is_some_and(|it| it.is_boolean() || it.is_null())
        }
        // Other checks report an answer that is not a 2xx.
        _ => !answered.is_success(),
    };
    answered.expect(in_form, FORM)
}
