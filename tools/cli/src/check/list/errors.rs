//! Checks of error answers: their status, their form, and what they reveal.

use serde_json::{Value, json};

use super::{DELETE_INSTALLATION, DELETE_RESOURCE, forged, read_only, skipped, steps};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::finding::{Finding, Verdict};
use crate::check::scene::Scene;
use crate::check::signer::Bearer;
use crate::check::wire::{Answer, Exchange};

const FORM: Basis = Basis::Vercel(
    "Errors are {\"error\":{\"code\",\"message\",\"user\"?:{\"message\",\"url\"?}}}, as application/json.",
    DELETE_RESOURCE,
);
const MEND_FORM: &str = "Build every error with one function: Response.json({ error: { code, message } }, \
    { status }).";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "errors/refusal-is-no-500",
        title: "a token that is refused is not answered 5xx",
        basis: Basis::Vercel(
            "The answers of Delete Resource are 204, 403 and 409.",
            DELETE_RESOURCE,
        ),
        mend: "Catch every error of the token library, not only some of its classes, and answer 403 (jose: \
               errors.JOSEError; PyJWT: PyJWTError).",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                let target = scene.target().await?;
                let claims = scene.admin(&target.installation);
                let later = json!(scene.now() + 1800);
                let not_yet = claims.clone().with("nbf", later).described("valid in half an hour");
                for bearer in [
                    Bearer::none(),
                    Bearer::literal("Bearer garbage"),
                    Bearer::literal("Bearer a.b.c"),
                    forged(&scene, &target),
                    scene.signer().alg_none(&claims),
                    scene.signer().unsigned(&claims),
                    scene.signer().sign(&not_yet),
                    scene.signer().sign(&claims.without("aud").described("without aud")),
                ] {
                    let refused = scene.delete(&target).bearer(bearer).send().await?;
                    refused.is_no_broken_refusal()?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/refusal-is-403",
        title: "a token that is refused is answered 403",
        basis: Basis::Vercel(
            "403: operation failed because the authentication is not allowed to perform this operation. No \
             other status is documented for this failure.",
            DELETE_RESOURCE,
        ),
        mend: "Answer 403 to a token that is missing or bad, not 401 or 400.",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                for refused in refusals(&scene).await? {
                    // Other checks report a request that was not refused.
                    let refusal = matches!(refused.status(), 400..=499);
                    refused.expect(!refusal || refused.status() == 403, "403")?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/refusal-form",
        title: "a refusal has the documented form",
        basis: FORM,
        mend: MEND_FORM,
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                for refused in refusals(&scene).await? {
                    if matches!(refused.status(), 400..=499) {
                        refused.error()?;
                    }
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/content-type",
        title: "a refusal has the content type application/json",
        basis: FORM,
        mend: MEND_FORM,
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                for refused in refusals(&scene).await? {
                    let content_type = refused.answer()?.content_type();
                    let json = content_type.starts_with("application/json");
                    // The check errors/refusal-form reports a body of another form.
                    let in_form = refused.error().is_ok();
                    if matches!(refused.status(), 400..=499) && in_form && !json {
                        let seen = format!("{content_type}: {}", refused.seen());
                        return Err(refused.wrong_as("Content-Type: application/json", seen));
                    }
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/role-has-user-message",
        title: "the refusal of a read-only user says who can delete (`error.user.message`)",
        basis: Basis::GoodPractice(
            "Vercel shows the customer `user.message`, and nothing else of the error.",
        ),
        mend: "Add user: { message: 'Ask an admin of your team to delete this.' } to the error.",
        needs: Needs::REFUSAL.trusted(),
        run: |scene| {
            steps(async move {
                let target = scene.target().await?;
                let refused =
                    scene.delete(&target).bearer(read_only(&scene, &target)).send().await?;
                has_user_message(&refused, "a read-only user was not refused")
            })
        },
    },
    Check {
        id: "errors/conflict-has-user-message",
        title: "a 409 tells the customer what to do (`error.user.message`)",
        basis: Basis::GoodPractice(
            "A 409 stops the uninstall, and Vercel shows `user.message` to the customer.",
        ),
        mend: "Add user: { message, url } to the error of every 409.",
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                for conflict in conflicts(&scene)? {
                    has_user_message(&conflict, "")?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/conflict-form",
        title: "a 409 has the documented form",
        basis: Basis::Vercel(
            "409 has the body {\"error\":{\"code\",\"message\",\"user\"?:{\"message\",\"url\"?}}}.",
            DELETE_INSTALLATION,
        ),
        mend: MEND_FORM,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                for conflict in conflicts(&scene)? {
                    conflict.error()?;
                }
                Ok(())
            })
        },
    },
    Check {
        id: "errors/no-internals",
        title: "no error contains a stack trace, a path on the server or a query",
        basis: Basis::GoodPractice("What an error reveals about the server helps an attacker."),
        mend: "Log the error, and answer with a general message. Turn the framework's debug mode off.",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                refusals(&scene).await?;
                let leak = scene.session.log(|log| {
                    let mut documented =
                        log.iter().filter(|it| it.request.url.contains("/v1/installations/"));
                    documented.find_map(|it| Some((it.clone(), leaked(it.answer.as_ref().ok()?)?)))
                });
                match leak {
                    Some((at, what)) => {
                        let seen = format!("{what:?} in {}", at.seen());
                        Err(at.wrong_as("a message without internals", seen))
                    }
                    None => Ok(()),
                }
            })
        },
    },
    Check {
        id: "errors/no-token",
        title: "no answer repeats the token",
        basis: Basis::GoodPractice(
            "Answers are logged and shown in places where no token may appear.",
        ),
        mend: "Leave the token and the Authorization header out of answers and logs.",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                refusals(&scene).await?;
                let problem =
                    scene.session.log(|log| log.iter().find(|it| shows_the_token(it)).cloned());
                match problem {
                    Some(at) => Err(at.wrong_as("an answer without the token", "the token")),
                    None => Ok(()),
                }
            })
        },
    },
    Check {
        id: "errors/same-for-known-and-unknown",
        title: "a refusal does not reveal whether somebody else's installation exists",
        basis: Basis::GoodPractice(
            "A caller with one installation's token should learn nothing about other installations.",
        ),
        mend: "Compare the token with the path before you look anything up, and give one answer for known \
               and unknown installations.",
        needs: Needs::REFUSAL.trusted().installations(1),
        run: |scene| {
            steps(async move {
                let (target, other) = (scene.target().await?, scene.other().await?);
                let bearer = || scene.signer().sign(&scene.admin(&other));
                let unknown = scene.unknown_resource(&scene.unknown_installation());
                let delete = |it| scene.delete(it).bearer(bearer()).send();
                let (of_unknown, of_known) = (delete(&unknown).await?, delete(&target).await?);
                let code = |it: &Exchange| {
                    let body = it.answer.as_ref().ok().and_then(Answer::json).unwrap_or_default();
                    (it.status(), body["error"]["code"].clone())
                };
                if of_known.is_success() || of_unknown.is_success() {
                    return skipped("tokens/another-installation found a success");
                }
                let seen = format!("{} of an unknown one: {}", of_known.seen(), of_unknown.seen());
                if code(&of_known) == code(&of_unknown) {
                    return Ok(());
                }
                Err(of_known.wrong_as("the same status and code", seen))
            })
        },
    },
    Check {
        id: "errors/no-redirect",
        title: "no documented path is answered by a redirect",
        basis: Basis::GoodPractice(
            "A client that follows a redirect loses the method, the body or the token.",
        ),
        mend: "Serve the documented paths without a slash at the end, under the base URL that Vercel has.",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                refusals(&scene).await?;
                let target = scene.target().await?;
                let unknown = scene.unknown_resource(&target.installation);
                scene.get(&unknown).send().await?;
                let redirect = scene
                    .session
                    .log(|log| log.iter().find(|it| matches!(it.status(), 300..=399)).cloned());
                match redirect {
                    Some(at) => {
                        let to = at.answer()?.header("location").unwrap_or("nowhere");
                        let seen = format!("{} to {to}", at.status());
                        Err(at.wrong_as("an answer without a redirect", seen))
                    }
                    None => Ok(()),
                }
            })
        },
    },
];

/// Sends a few requests that every backend has to refuse. Returns the requests with their answers.
async fn refusals(scene: &Scene) -> Result<Vec<Exchange>, Finding> {
    let target = scene.target().await?;
    let mut answers = Vec::new();
    for bearer in [Bearer::none(), Bearer::literal("Bearer garbage"), forged(scene, &target)] {
        answers.push(scene.delete(&target).bearer(bearer).send().await?);
    }
    Ok(answers)
}

/// The deletions of this run that were answered 409 so far. If there are none, the check is skipped.
fn conflicts(scene: &Scene) -> Result<Vec<Exchange>, Finding> {
    let conflict = |it: &&Exchange| it.status() == 409 && is_deletion(it);
    let seen: Vec<_> = scene.session.log(|log| log.iter().filter(conflict).cloned().collect());
    if seen.is_empty() { Err(Finding::skipped("no 409 was seen")) } else { Ok(seen) }
}

fn is_deletion(exchange: &Exchange) -> bool {
    exchange.request.method == reqwest::Method::DELETE
}

fn has_user_message(refused: &Exchange, otherwise: &str) -> Verdict {
    if !matches!(refused.status(), 403 | 409) {
        return skipped(otherwise);
    }
    let error = refused.answer()?.json().unwrap_or_default()["error"].clone();
    if !error["code"].is_string() {
        return skipped("the error does not have the documented form");
    }
    let message = &error["user"]["message"];
    let has_message = message.as_str().is_some_and(|message| !message.is_empty());
    refused.expect(has_message, r#"{"error":{…,"user":{"message":"…"}}}"#)
}

/// The first internal detail of the server that an error answer reveals.
fn leaked(answer: &Answer) -> Option<&'static str> {
    const INTERNALS: [&str; 16] = [
        "node_modules",
        "    at ",
        ".js:",
        ".ts:",
        "Traceback (most recent call last)",
        "File \"/",
        "/usr/",
        "/home/",
        "/var/task",
        "SELECT ",
        "INSERT INTO",
        "DELETE FROM",
        "ECONNREFUSED",
        "goroutine ",
        "panicked at",
        "PrismaClient",
    ];
    if answer.status < 400 {
        return None;
    }
    let text = answer.json().map_or_else(|| answer.text(), |json| strings(&json));
    INTERNALS.into_iter().find(|internal| text.contains(internal))
}

/// The texts of a JSON document, one per line, without JSON's escapes.
fn strings(json: &Value) -> String {
    match json {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.clone() + "\n" + &strings(value)).collect()
        }
        _ => String::new(),
    }
}

/// Whether an answer contains the token of its request.
fn shows_the_token(exchange: &Exchange) -> bool {
    let mut headers = exchange.request.headers.iter();
    let token = headers.find(|header| header.name == "Authorization" && header.shown.is_some());
    let token = token.and_then(|header| header.value.split(' ').nth(1));
    let answer = exchange.answer.as_ref().ok();
    let (Some(token), Some(answer)) = (token, answer) else { return false };
    let in_header =
        answer.headers.values().any(|it| it.to_str().is_ok_and(|it| it.contains(token)));
    in_header || answer.text().contains(token)
}
