//! Checks of how long answers took. Each check looks at all requests of the run so far, and sends one of its
//! own.

use std::time::Duration;

use super::webhook::removed;
use super::{forged, skipped, steps};
use crate::check::entry::{Basis, Check, Needs};
use crate::check::finding::Verdict;
use crate::check::options::SLOW;
use crate::check::scene::Scene;
use crate::check::wire::Exchange;

const SLOW_DELETION: Basis = Basis::GoodPractice(
    "A customer waits for the answer, and a repeat after a time-out runs at the same time as the first call.",
);

const MEND: &str = "Record the deletion, answer, and tear down afterwards, in a queue or a job.";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "time/delete-resource",
        title: "Delete Resource answers within 10 s",
        basis: SLOW_DELETION,
        mend: MEND,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                let home = scene.home().await?;
                scene.delete(&scene.unknown_resource(&home)).send().await?;
                slowest(&scene, |it| is_deletion(it) && it.request.url.contains("/resources/"))
            })
        },
    },
    Check {
        id: "time/delete-installation",
        title: "Delete Installation answers within 10 s",
        basis: SLOW_DELETION,
        mend: MEND,
        needs: Needs::TRUST,
        run: |scene| {
            steps(async move {
                scene.uninstall(&scene.unknown_installation()).send().await?;
                slowest(&scene, |it| is_deletion(it) && !it.request.url.contains("/resources/"))
            })
        },
    },
    Check {
        id: "time/refusals",
        title: "a bad token is refused within 10 s",
        basis: Basis::GoodPractice(
            "If refusals are slow, a caller without a good token can keep the server busy.",
        ),
        mend: "Verify the token before anything else, with cached keys.",
        needs: Needs::REFUSAL,
        run: |scene| {
            steps(async move {
                let target = scene.target().await?;
                scene.delete(&target).bearer(forged(&scene, &target)).send().await?;
                slowest(&scene, |it| {
                    let deletion = it.request.method == reqwest::Method::DELETE;
                    deletion && matches!(it.status(), 401 | 403)
                })
            })
        },
    },
    Check {
        id: "time/webhook",
        title: "the webhook answers within 10 s",
        basis: Basis::GoodPractice(
            "Vercel waits 30 seconds for an answer, and then repeats the delivery.",
        ),
        mend: "Record the event, answer, and act on the event afterwards.",
        needs: Needs::SIGNED,
        run: |scene| {
            steps(async move {
                let call = scene.webhook(&removed(&scene.unknown_installation()));
                call.send().await?;
                slowest(&scene, |it| {
                    it.is_success() && !it.request.url.contains("/v1/installations/")
                })
            })
        },
    },
];

/// Whether a request was a deletion that was answered 2xx.
fn is_deletion(exchange: &Exchange) -> bool {
    exchange.is_success() && exchange.request.method == reqwest::Method::DELETE
}

/// Expects that all requests of the run that `such` selects were answered within [`SLOW`].
fn slowest(scene: &Scene, such: fn(&Exchange) -> bool) -> Verdict {
    let slowest =
        scene.session.log(|log| log.iter().filter(|it| such(it)).max_by_key(|it| it.took).cloned());
    match slowest {
        None => skipped("no such request was sent"),
        Some(slowest) if slowest.took <= SLOW => Ok(()),
        Some(slowest) => {
            let took = Duration::from_millis(u64::try_from(slowest.took.as_millis()).unwrap_or(0));
            let seen = format!("{} after {}", slowest.status(), humantime::format_duration(took));
            Err(slowest.wrong_as("an answer within 10 s", seen))
        }
    }
}
