//! Checks of Delete Resource: it deletes the resource and no other, also if the call is repeated or sent many
//! times at once. It succeeds for an unknown resource.

use serde_json::json;

use super::{DELETE_RESOURCE, GET_RESOURCE, steps};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::signer::Bearer;

const ANSWERS: Basis =
    Basis::Vercel("The answers of Delete Resource are 204, 403 and 409.", DELETE_RESOURCE);
const KEY: Basis = Basis::Vercel(
    "`Idempotency-Key` is a unique key to identify a request across multiple retries.",
    DELETE_RESOURCE,
);
const DEPROVISION: Basis =
    Basis::Vercel("Deprovision it and clean up any associated data on your side.", DELETE_RESOURCE);

const MEND_REPEAT: &str = "If the record is missing, answer 204 and do not throw an error: the resource is \
    gone, as the caller wanted.";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "delete-resource/answers-204",
        title: "a deletion is answered 204",
        basis: Basis::Vercel("204: resource deleted successfully.", DELETE_RESOURCE),
        mend: "Answer 204 without a body.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let deleted = scene.delete(&resource).send().await?;
                deleted.expect(deleted.status() == 204, "204")
            })
        },
    },
    Check {
        id: "delete-resource/gone-afterwards",
        title: "Get Resource does not find a resource that was deleted",
        basis: DEPROVISION,
        mend: "Delete the record, or mark it as deleted and have Get Resource answer 404.",
        needs: Needs::TRUST.resources(1).seen(),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let deleted = scene.delete(&resource).send().await?;
                if !deleted.is_success() {
                    return Err(deleted.wrong("204"));
                }
                scene.expect_gone(&resource, &deleted).await
            })
        },
    },
    Check {
        id: "delete-resource/get-afterwards-is-no-500",
        title: "Get Resource of a resource that was deleted is not answered 5xx",
        basis: Basis::Vercel("The answers of Get Resource are 200 and 403.", GET_RESOURCE),
        mend: "If the record is missing, answer 404 or 403.",
        needs: Needs::TRUST.resources(1).seen(),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                scene.delete(&resource).send().await?;
                scene.get(&resource).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-resource/again-is-no-500",
        title: "a second deletion is not answered 5xx",
        basis: ANSWERS,
        mend: MEND_REPEAT,
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                scene.delete(&resource).send().await?;
                scene.delete(&resource).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-resource/again-succeeds",
        title: "a second deletion is answered 2xx",
        basis: Basis::GoodPractice(
            "A caller that did not get the first answer repeats the request until it gets a success.",
        ),
        mend: MEND_REPEAT,
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                scene.delete(&resource).send().await?;
                let again = scene.delete(&resource).send().await?;
                again.succeeds_but_for("delete-resource/again-is-no-500")
            })
        },
    },
    Check {
        id: "delete-resource/unknown-is-no-500",
        title: "the deletion of a resource that was never known is not answered 5xx",
        basis: ANSWERS,
        mend: MEND_REPEAT,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let home = scene.home().await?;
                let unknown = scene.unknown_resource(&home);
                scene.delete(&unknown).send().await?.is_no_500()
            })
        },
    },
    Check {
        id: "delete-resource/unknown-succeeds",
        title: "the deletion of a resource that was never known is answered 2xx",
        basis: Basis::GoodPractice(
            "Vercel deletes a resource only after your success, even if you do not know the resource.",
        ),
        mend: MEND_REPEAT,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let home = scene.home().await?;
                let unknown = scene.unknown_resource(&home);
                let answered = scene.delete(&unknown).send().await?;
                answered.succeeds_but_for("delete-resource/unknown-is-no-500")
            })
        },
    },
    Check {
        id: "delete-resource/same-key-again",
        title: "the same request under the same `Idempotency-Key` gets the same answer",
        basis: KEY,
        mend: "Store the answer under the key together with the deletion, and give the same answer to each \
               repeat.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let call = scene.delete(&resource);
                let first = call.clone().send().await?;
                let again = call.send().await?;
                again.expect(again.status() == first.status(), &first.status().to_string())
            })
        },
    },
    Check {
        id: "delete-resource/same-key-on-another",
        title: "the success of one deletion is not replayed for another resource with the same \
                `Idempotency-Key`",
        basis: Basis::GoodPractice(
            "If the answer is 204 and the resource still exists, nobody deletes the resource later.",
        ),
        mend: "Store the request under the key, too, and answer 409 to another request with the same key.",
        needs: Needs::TRUST.resources(2).seen(),
        run: |scene| {
            steps(async move {
                let (one, another) = (scene.resource().await?, scene.resource().await?);
                let key = scene.fresh_key();
                scene.delete(&one).key(&key).send().await?;
                let answered = scene.delete(&another).key(&key).send().await?;
                if !answered.is_success() {
                    return answered.is_no_500();
                }
                scene.expect_gone(&another, &answered).await
            })
        },
    },
    Check {
        id: "delete-resource/at-once",
        title: "16 equal deletions at the same time get no 5xx, and at least one of them succeeds",
        basis: ANSWERS,
        mend: "Delete in one transaction, or handle the race: a record that another request has deleted is \
               not an error, and a conflict is a 409.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let answers = scene.delete(&resource).send_at_once().await?;
                for answer in &answers {
                    answer.is_no_500()?;
                }
                let success = answers.iter().any(crate::check::wire::Exchange::is_success);
                answers[0].expect(success, "a 2xx among the 16 answers")
            })
        },
    },
    Check {
        id: "delete-resource/without-key",
        title: "a request without an `Idempotency-Key` is accepted",
        basis: Basis::Vercel("The header `Idempotency-Key` is not required.", DELETE_RESOURCE),
        mend: "Do not require the header `Idempotency-Key`.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                scene.delete(&resource).without_key().send().await?.succeeds()
            })
        },
    },
    Check {
        id: "delete-resource/content-type-without-body",
        title: "`Content-Type: application/json` without a body is accepted",
        basis: Basis::GoodPractice(
            "Delete Resource has no body, but some frameworks answer 400 to an empty body that has this \
             header.",
        ),
        mend: "Ignore the body of Delete Resource, or accept an empty body (Fastify: write a content type \
               parser).",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let call = scene.delete(&resource).header("Content-Type", "application/json");
                call.send().await?.succeeds()
            })
        },
    },
    Check {
        id: "delete-resource/only-that-one",
        title: "the deletion of a resource does not delete the installation's other resources",
        basis: Basis::Vercel("Uninstalls and de-provisions a Resource.", DELETE_RESOURCE),
        mend: "Delete by the resource's id, not by the installation's id alone.",
        needs: Needs::TRUST.resources(2).seen(),
        run: |scene| {
            steps(async move {
                let (stays, goes) = (scene.resource().await?, scene.resource().await?);
                let deleted = scene.delete(&goes).send().await?;
                scene.expect_there(&stays, &deleted).await
            })
        },
    },
    Check {
        id: "delete-resource/of-another-installation",
        title: "a resource is not deleted by a path with another installation's id",
        basis: Basis::Vercel("The path names the installation of the resource.", DELETE_RESOURCE),
        mend: "Look the resource up by both ids of the path: WHERE id = … AND installation_id = ….",
        needs: Needs::TRUST.installations(1).resources(1).seen(),
        run: |scene| {
            steps(async move {
                let other = scene.other().await?;
                let mut foreign = scene.resource().await?;
                let own = foreign.clone();
                foreign.installation = other;
                let answered = scene.delete(&foreign).send().await?;
                scene.expect_there(&own, &answered).await
            })
        },
    },
    Check {
        id: "delete-resource/provision-afterwards",
        title: "Provision Resource still works after an installation's last resource was deleted",
        basis: Basis::Vercel(
            "Vercel deletes an installation by another call, Delete Installation.",
            DELETE_RESOURCE,
        ),
        mend: "Do not remove the installation when its last resource is deleted.",
        needs: Needs::TRUST.installations(1).resources(2),
        run: |scene| {
            steps(async move {
                let installation = scene.own_installation().await?;
                let resource = scene.resource_of(&installation).await?;
                scene.delete(&resource).send().await?;
                let provisioned = scene.provision(&installation).send().await?;
                scene.remember(&installation, &provisioned);
                provisioned.expect(provisioned.is_success(), "200")
            })
        },
    },
    Check {
        id: "delete-resource/odd-id-is-no-500",
        title: "the deletion of a resource whose id cannot be one of yours is not answered 5xx",
        basis: Basis::GoodPractice(
            "Vercel repeats a request that gets a 5xx, and an id that breaks a query may do more damage.",
        ),
        mend: "Check the id's form before it reaches a query, and answer 404 or 204.",
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let home = scene.home().await?;
                let long = "x".repeat(300);
                for id in ["%00", "%27%22%3B--", "%2e%2e%2fx", "%F0%9F%92%A9", "%ff", &long] {
                    let mut odd = scene.unknown_resource(&home);
                    odd.id = id.to_owned();
                    let answered = scene.delete(&odd).send().await?;
                    if answered.status() >= 500 {
                        // If a request without a token gets a 5xx too, a framework fails before the backend's
                        // code runs. The provider cannot mend that.
                        let unsigned = scene.delete(&odd).bearer(Bearer::none()).send().await?;
                        answered.expect(unsigned.status() >= 500, "no 5xx")?;
                    }
                }
                Ok(())
            })
        },
    },
    Check {
        id: "delete-resource/body-is-no-500",
        title: "the deletion of a resource with an unexpected body is not answered 5xx",
        basis: Basis::GoodPractice("Delete Resource has no body, so a body should change nothing."),
        mend: "Do not read the body of Delete Resource.",
        needs: Needs::TRUST.resources(1),
        run: |scene| {
            steps(async move {
                let resource = scene.resource().await?;
                let call = scene.delete(&resource).json(&json!({ "reason": "none" }));
                call.send().await?.is_no_500()
            })
        },
    },
];
