//! Whole runs of `teardown check`: what a run leaves unchanged, which checks it skips, and that it always
//! ends.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use teardown_cli::issuer::Issuer;

use super::*;

/// A backend without a fault, with its URL and its clock.
async fn right() -> (Backend, String, Clock) {
    let clock = Clock::stopped();
    let backend = Backend::new(&SIGNER.jwks(), "none", clock.clone());
    let url = serve(backend.router()).await;
    (backend, url, clock)
}

fn only(ids: &[&str]) -> Selection {
    let chosen = |check: &&Check| ids.contains(&check.id) || ids.contains(&check.group());
    Selection { checks: check::all().filter(chosen).collect(), accepted: BTreeSet::new() }
}

/// The report's reason why a check was skipped or not run.
fn why<'a>(report: &'a Report, id: &str) -> &'a str {
    let row = report.rows.iter().find(|row| row.check.id == id).unwrap();
    match &row.outcome {
        check::Outcome::Skipped(why) | check::Outcome::NotRun(why) => why,
        other => panic!("{id}: {other:?}"),
    }
}

/// N3: the checks report the faults of public backends of the marketplace.
#[tokio::test]
async fn the_faults_of_public_backends_are_found() {
    let report = run(options(serve(careless::router()).await, Clock::system()), &all()).await;
    let found: BTreeSet<_> = found(&report).into_iter().collect();
    for id in [
        "delete-installation/reason",
        "delete-installation/unknown-is-no-500",
        "delete-installation/again-is-no-500",
        "tokens/unknown-key",
        "tokens/refused-means-untouched",
        "tokens/uninstall-another-installation",
        "delete-resource/of-another-installation",
        "webhook/unsigned",
        "webhook/wrong-signature",
    ] {
        assert!(found.contains(id), "{id}: {}", check::report::text(&report));
    }
    assert!(!found.contains("delete-installation/no-body"), "{found:?}");
}

/// N2: if a backend does not trust the run's key, the checks that need no trusted key still run. The checks
/// that need a trusted key are skipped, and the report names the setting that the backend lacks.
#[tokio::test]
async fn without_a_trusted_key_the_other_checks_run() {
    let clock = Clock::stopped();
    let backend = Backend::new(&Issuer::generate().unwrap().jwks(), "none", clock.clone());
    let report = run(options(serve(backend.router()).await, clock), &all()).await;
    assert_eq!(found(&report), Vec::<&str>::new(), "{}", check::report::text(&report));
    let passed = report.rows.iter().filter(|row| matches!(row.outcome, check::Outcome::Passed));
    let passed: BTreeSet<_> = passed.map(|row| row.check.id).collect();
    for id in ["tokens/none", "tokens/alg-none", "errors/refusal-form", "webhook/signed"] {
        assert!(passed.contains(id), "{id} is not in {passed:?}");
    }
    assert!(report.untrusted);
    // This backend refuses every token, so its refusal of an expired token proves nothing.
    let why = why(&report, "tokens/expired");
    for setting in ["VERCEL_JWKS_URL=http://127.0.0.1:1/jwks", "OIDC_JWKS_URL=", "--print-jwks"] {
        assert!(why.contains(setting), "{why}");
    }
    assert_eq!(backend.made(), (0, 0));
    let without_tokens = check::all().filter(|check| check.id == "webhook/signed").collect();
    let report = run(
        options(serve(backend.router()).await, Clock::stopped()),
        &Selection { checks: without_tokens, accepted: BTreeSet::new() },
    )
    .await;
    assert!(!report.untrusted, "no check needed a token");
}

/// N1: with `--read-only`, a run creates nothing. A read-only run deletes nothing, even if the backend
/// accepts a forged token.
#[tokio::test]
async fn a_read_only_run_changes_nothing() {
    for fault in ["none", "tokens/expired", "tokens/uninstall-none"] {
        let clock = Clock::stopped();
        let backend = Backend::new(&SIGNER.jwks(), fault, clock.clone());
        backend.install("icfg_1", "acc_check", &["db_x"]);
        let options = options(serve(backend.router()).await, clock);
        let report = run(Options { read_only: true, ..options }, &all()).await;
        let expected: &[&str] = if fault == "none" { &[] } else { &[fault] };
        assert_eq!(found(&report), expected, "{}", check::report::text(&report));
        assert_eq!(backend.live(), (vec!["icfg_1".to_owned()], vec!["db_x".to_owned()]));
        assert_eq!(backend.made(), (1, 1));
        assert!(why(&report, "delete-resource/answers-204").contains("--read-only"));
        // The backend distinguishes a good token from no token, so its refusal of a forged token proves
        // something.
        assert!(
            report
                .rows
                .iter()
                .any(|row| row.outcome.name() == "pass" && row.check.id == "tokens/audience")
        );
    }
}

/// N1: with `--installation` and `--resource`, a run creates nothing, and deletes nothing outside the named
/// installation.
#[tokio::test]
async fn a_run_deletes_the_given_resources_only() {
    let (backend, url, clock) = right().await;
    backend.install("icfg_1", "acc_check", &["db_a", "db_b", "db_c"]);
    backend.install("icfg_2", "acc_check", &["db_d"]);
    let resources = ["db_a", "db_b", "db_c"].map(str::to_owned).into();
    let supply = Supply::Given { installation: "icfg_1".to_owned(), resources };
    let report = run(Options { supply, ..options(url, clock) }, &all()).await;
    assert_eq!(found(&report), Vec::<&str>::new(), "{}", check::report::text(&report));
    assert_eq!(backend.live(), (vec!["icfg_2".to_owned()], vec!["db_d".to_owned()]));
    assert_eq!(backend.made(), (2, 4));
    let passed = |id| report.rows.iter().any(|it| it.check.id == id && it.outcome.name() == "pass");
    assert!(passed("tokens/system") && passed("delete-installation/no-body"));
    assert!(why(&report, "delete-resource/same-key-again").contains("--resource"));
    assert!(why(&report, "delete-installation/reason").contains("used up"));
}

/// N3: a run reports a backend that answers an uninstall with a 2xx and deletes nothing. The run does not
/// trust the answer, and checks which resources still exist.
#[tokio::test]
async fn an_uninstall_that_did_nothing_is_found() {
    let (_, report) = with_fault(backend::IDLE, &only(&["delete-installation"])).await;
    assert_eq!(
        found(&report),
        ["delete-installation/by-account"],
        "{}",
        check::report::text(&report)
    );
    assert_eq!(report.left, Vec::<String>::new());
}

/// N2: a backend may trust the run's key, and still refuse Upsert Installation. The report names the refusal
/// of Upsert Installation as the cause, and not the backend's keys.
#[tokio::test]
async fn a_refused_body_is_not_taken_for_a_refused_token() {
    let (backend, _, clock) = right().await;
    let strict = backend.router().layer(from_fn(|request: Request, next: Next| async move {
        let is_upsert = request.method() == "PUT";
        let answered = next.run(request).await;
        if is_upsert && answered.status().is_success() {
            return axum::http::StatusCode::UNPROCESSABLE_ENTITY.into_response();
        }
        answered
    }));
    let report = run(options(serve(strict).await, clock), &all()).await;
    assert_eq!(found(&report), Vec::<&str>::new(), "{}", check::report::text(&report));
    let why = why(&report, "delete-resource/answers-204");
    assert!(why.contains("a good Upsert Installation was answered 422"), "{why}");
    assert!(why.contains(r#""acceptedPolicies":{}"#), "{why}");
    // The backend accepts good tokens, so the checks of forged tokens still run.
    let passed = |id| report.rows.iter().any(|it| it.check.id == id && it.outcome.name() == "pass");
    assert!(passed("tokens/expired") && passed("tokens/audience"));
}

/// N2: a run opens a new connection for each request. Some servers close a connection after an answer. A
/// second request on a connection that the server closed would seem to get no answer.
#[tokio::test]
async fn no_connection_is_used_twice() {
    let (backend, _, clock) = right().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU32::new(0));
    let (counted, router) = (connections.clone(), backend.router());
    tokio::spawn(async move {
        loop {
            let (connection, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let service = TowerToHyperService::new(router.clone());
            let serving = http1::Builder::new().serve_connection(TokioIo::new(connection), service);
            tokio::spawn(serving);
        }
    });
    let report = run(options(url, clock), &only(&["delete-resource"])).await;
    assert_eq!((found(&report), report.left.len()), (vec![], 0));
    let connections = usize::try_from(connections.load(Ordering::SeqCst)).unwrap();
    assert!(connections >= report.requests, "{connections} for {} requests", report.requests);
}

/// N2: if the operator has accepted a check's failure in advance, the failure is reported as accepted, and
/// the run does not fail.
#[tokio::test]
async fn a_known_failure_is_accepted() {
    let id = "delete-resource/again-is-no-500";
    let mut selection = only(&["delete-resource"]);
    selection.accepted.insert(id.to_owned());
    let (_, report) = with_fault(id, &selection).await;
    assert_eq!((report.count("accepted"), report.count("fail")), (1, 0));
    assert_eq!(found(&report), [id]);
}

/// A backend that answers this many requests, and then breaks. After these requests, the backend closes each
/// connection without an answer.
fn breaking(backend: &Backend, answers: u32) -> Router {
    let left = Arc::new(AtomicU32::new(answers));
    backend.router().layer(from_fn(move |request: Request, next: Next| {
        let left = left.clone();
        async move {
            let take = |left: u32| left.checked_sub(1);
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_err() {
                // A panic without a message ends the connection's task.
                std::panic::resume_unwind(Box::new(()));
            }
            next.run(request).await
        }
    }))
}

/// N2: if a backend never answers, the run ends after one time-out, with an error that names the cause.
#[tokio::test]
async fn a_backend_that_hangs_is_not_checked() {
    let hangs = Router::new().fallback(async || std::future::pending::<()>().await);
    let options = options(serve(hangs).await, Clock::stopped());
    let options = Options { timeout: Duration::from_millis(50), ..options };
    let report = check::run(options, &all(), |_| {}, std::future::pending()).await;
    assert!(report.unwrap_err().contains("no answer in time"));
}

/// N2: if a backend stops answering, the run ends. The run's report says that the backend stopped answering,
/// and lists what the run could not delete.
#[tokio::test]
async fn a_backend_that_stops_answering_ends_the_run() {
    let clock = Clock::stopped();
    let backend = Backend::new(&SIGNER.jwks(), "none", clock.clone());
    let report = run(options(serve(breaking(&backend, 40)).await, clock), &all()).await;
    assert_eq!(report.stopped.as_deref(), Some("3 requests in a row had no answer"));
    assert!(report.count("not run") > 50, "{}", check::report::text(&report));
    assert!(report.requests < 60, "{} requests", report.requests);
    assert!(report.left.iter().any(|left| left.starts_with("installation icfg_check")));
}

/// N2: a run that is interrupted deletes everything that it created.
#[tokio::test]
async fn an_interrupted_run_cleans_up() {
    let (backend, url, clock) = right().await;
    let interrupt = Arc::new(tokio::sync::Notify::new());
    let found = |row: &check::Row| {
        if row.check.id == "delete-resource/unknown-is-no-500" {
            interrupt.notify_one();
        }
    };
    let report =
        check::run(options(url, clock), &all(), found, interrupt.notified()).await.unwrap();
    assert_eq!(report.stopped.as_deref(), Some("it was interrupted"));
    assert!(report.count("not run") > 30);
    assert_eq!((report.left, backend.live()), (vec![], (vec![], vec![])));
}

/// N1: the report lists everything that the run could not delete.
#[tokio::test]
async fn undeleted_resources_are_reported() {
    let selection = only(&["delete-installation"]);
    let (backend, report) = with_fault("delete-installation/resources-gone", &selection).await;
    let (_, resources) = backend.live();
    assert!(resources.len() > 1, "{resources:?}");
    for id in &resources {
        assert!(report.left.iter().any(|left| left.contains(id)), "{id}: {:?}", report.left);
    }
    let text = check::report::text(&report);
    assert!(text.contains("left behind:") && text.contains("resource db_"), "{text}");
}

/// N2: if a backend lacks Get Resource and the webhook, the checks that need these endpoints are skipped.
#[tokio::test]
async fn checks_of_missing_endpoints_are_skipped() {
    let (backend, _, clock) = right().await;
    let deaf = backend.router().layer(from_fn(|request: Request, next: Next| async move {
        if request.method() == "GET" || request.uri().path().contains("webhook") {
            return axum::http::StatusCode::NOT_FOUND.into_response();
        }
        next.run(request).await
    }));
    let report = run(options(serve(deaf).await, clock), &all()).await;
    assert_eq!(found(&report), Vec::<&str>::new(), "{}", check::report::text(&report));
    assert!(
        why(&report, "delete-resource/gone-afterwards").contains("Get Resource was answered 404")
    );
    assert!(why(&report, "webhook/unsigned").contains("--webhook-path"));
    assert!(report.count("pass") > 50);
}
