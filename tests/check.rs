//! `teardown check` (N): each check reports the fault that it looks for, and reports no other fault. A run of
//! `teardown check` always ends, even if the backend misbehaves.

mod acts;
mod backend;
mod careless;
mod gate;
mod hook;
mod runs;

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde_json::json;
use teardown::clock::Clock;
use teardown_cli::check::{self, Check, Options, Product, Report, Selection, Signer, Supply};

use self::backend::Backend;
use crate::support::world::{INTEGRATION, serve};

/// Signs the tokens of all runs. All runs share this signer, so that each token is signed only once.
static SIGNER: LazyLock<Arc<Signer>> = LazyLock::new(|| {
    let own = teardown_cli::issuer::Issuer::generate().unwrap();
    Arc::new(Signer::new(Arc::new(own)).unwrap())
});

/// The options of a run that checks the backend at this URL.
fn options(base_url: String, clock: Clock) -> Options {
    Options {
        base_url,
        integration: Some(INTEGRATION.to_owned()),
        issuer: check::ISSUER.to_owned(),
        account: "acc_check".to_owned(),
        signer: SIGNER.clone(),
        keys: Some(check::KeyUrls {
            own: "http://127.0.0.1:1/jwks".to_owned(),
            strange: "http://127.0.0.1:1/strange".to_owned(),
            fetches: Arc::default(),
        }),
        supply: Supply::Made,
        product: Product {
            id: "postgres".to_owned(),
            plan: "free".to_owned(),
            metadata: json!({}),
        },
        read_only: false,
        client_secret: Some(self::gate::CLIENT_SECRET.to_owned()),
        webhook: None,
        timeout: Duration::from_secs(30),
        patience: Duration::ZERO,
        limit: Duration::from_hours(1),
        clock,
        run: "0123456789".to_owned(),
    }
}

fn all() -> Selection {
    Selection { checks: check::all().collect(), accepted: BTreeSet::new() }
}

/// Runs the checks of a selection with these options.
async fn run(options: Options, selection: &Selection) -> Report {
    let report = check::run(options, selection, |_| {}, std::future::pending()).await;
    report.unwrap()
}

/// The ids of the checks that found a fault.
fn found(report: &Report) -> Vec<&str> {
    let found = report.rows.iter().filter(|row| row.outcome.wrong().is_some());
    found.map(|row| row.check.id).collect()
}

/// Runs the checks of a selection against a backend that has this fault.
async fn with_fault(fault: &str, selection: &Selection) -> (Backend, Report) {
    let clock = Clock::stopped();
    let backend = Backend::new(&SIGNER.jwks(), fault, clock.clone());
    let url = serve(backend.router()).await;
    let report = run(options(url, clock), selection).await;
    (backend, report)
}

/// N3: a backend that does everything right passes every check, and the run deletes everything that it
/// created.
#[tokio::test]
async fn a_right_backend_passes() {
    let (backend, report) = with_fault("none", &all()).await;
    let text = check::report::text(&report);
    assert_eq!(report.count("pass"), check::all().count(), "{text}");
    assert_eq!(report.left, Vec::<String>::new());
    assert_eq!(backend.live(), (vec![], vec![]));
    assert_eq!(report.made, backend.made());
    let needs = all().needs();
    let (installations, resources) = report.made;
    assert!(installations <= usize::from(needs.installations) + 2, "more than was announced");
    assert!(resources <= usize::from(needs.resources), "more than was announced");
}

/// N4: each check reports a fault in the backend that has only this check's fault. No other check of the same
/// group reports a fault in this backend.
#[tokio::test]
async fn each_check_finds_its_fault() {
    let wrong = finding_others(|check| {
        let beside = check::all().filter(|it| it.group() == check.group());
        // The check of a conflict's form runs only if another check in the run causes a conflict.
        let more = check::all().filter(|it| {
            check.id.starts_with("errors/conflict") && it.id.contains("cascade-false-is")
        });
        Selection { checks: more.chain(beside).collect(), accepted: BTreeSet::new() }
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// N4: if all checks run, each fault is reported only by the check for this fault. This test takes 10 s of
/// CPU time.
#[tokio::test]
#[ignore = "`.ci/run` has it"]
async fn no_check_finds_the_fault_of_another() {
    let wrong = finding_others(|_| all()).await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The ids of the checks that did not report their own fault, or whose fault other checks reported too. At
/// most 8 runs are under way at the same time, so that no run waits long for an answer on a busy machine.
async fn finding_others(beside: impl Fn(&Check) -> Selection) -> Vec<String> {
    let beside = &beside;
    let runs = check::all().map(async |check| {
        let (_, report) = with_fault(check.id, &beside(check)).await;
        let outcome = if check.basis.is_binding() { "fail" } else { "warn" };
        let own = report.count(outcome) == 1 && found(&report) == [check.id];
        (!own).then(|| format!("{} is found by {:?}", check.id, found(&report)))
    });
    stream::iter(runs).buffer_unordered(8).filter_map(async |wrong| wrong).collect().await
}
