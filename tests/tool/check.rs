//! `teardown check` on the command line.

use super::{Tool, run, text};

/// Runs `teardown check`, and returns its exit status, its standard output and its standard error.
fn check(arguments: &[&str]) -> (i32, String, String) {
    let output = run(&[&["check", "--jwks-port", "0"], arguments].concat());
    let (out, err) = (text(&output.stdout).to_owned(), text(&output.stderr).to_owned());
    (output.status.code().unwrap(), out, err)
}

/// N2, N4: `teardown check` finds no fault in `cargo dev` with its sample backend behind the front. `teardown
/// check` can also print its report as JSON, and write it as JUnit XML.
#[tokio::test]
async fn teardown_itself_passes() {
    let tool = Tool::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("report.xml");
    let (status, out, err) = check(&[
        &tool.url,
        "--integration-id",
        "oac_local",
        "--client-secret",
        "local",
        "--json",
        "--junit",
        junit.to_str().unwrap(),
    ]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let other: Vec<_> = checks.iter().filter(|check| check["outcome"] != "pass").collect();
    assert!(status == 0 && other.is_empty(), "{other:#?}");
    assert_eq!(report["leftBehind"], serde_json::json!([]));
    assert!(checks.len() > 90, "{out}");
    // Before `teardown check` makes anything, it says what it will make.
    assert!(err.contains("it makes, and deletes again, some "), "{err}");
    let junit = std::fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("<testsuite name=\"tokens\" tests=\"") && junit.contains("failures=\"0\"")
    );
    assert_eq!(junit.matches("<testcase ").count(), checks.len());

    let wrong_secret = [
        &tool.url,
        "--integration-id",
        "oac_local",
        "--client-secret",
        "another",
        "--only",
        "webhook/signed",
    ];
    let (status, out, _) = check(&wrong_secret);
    assert!(status == 1 && out.contains("FAIL webhook/signed: "), "{out}");
    assert!(out.contains("\n  curl -i -X POST 'http://127.0.0.1:"), "{out}");
    let known = [&wrong_secret[..], &["--accept", "webhook/signed"]].concat();
    let (status, out, _) = check(&known);
    assert!(status == 0 && out.contains("ACCEPTED webhook/signed: "), "{out}");
    assert!(!out.contains('\u{1b}'), "there are no colours without a terminal");

    let (status, out, _) = check(&[&tool.url, "--only", "tokens/expired"]);
    assert!(status == 2 && out.contains("--integration-id oac_"), "{out}");
}

/// N2: if the arguments are wrong or the backend cannot be reached, the exit status is 2, which means neither
/// a pass nor a failure.
#[test]
fn a_check_that_cannot_run_exits_with_2() {
    for (arguments, told) in [
        (&["http://127.0.0.1:1"][..], "error: http://127.0.0.1:1: no connection"),
        (&["127.0.0.1:1"], "error: \"127.0.0.1:1\" is not an address"),
        (&["ftp://127.0.0.1"], "error: ftp://127.0.0.1: an http or https address"),
        (
            &["http://127.0.0.1:1", "--only", "tokns"],
            "error: --only: there is no check or group tokns",
        ),
        (
            &["http://127.0.0.1:1", "--accept", "tokens"],
            "error: --accept: there is no check tokens",
        ),
        (&["http://127.0.0.1:1", "--resource", "db_1"], "--installation"),
    ] {
        let (status, out, err) = check(arguments);
        assert!(
            status == 2 && out.is_empty() && err.contains(told),
            "{arguments:?}: {status} {err}"
        );
    }
    let (status, list, _) = check(&["--list"]);
    assert!(status == 0 && list.contains("\ndelete-installation/unknown-is-no-500 "), "{list}");
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let jwks = || check(&["--print-jwks", "--key", key.to_str().unwrap()]);
    let (status, first, _) = jwks();
    assert!(status == 0 && first.contains("\"RS256\""), "{first}");
    assert_eq!(jwks().1, first, "the key is kept in its file");
}
