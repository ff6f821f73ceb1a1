//! The command-line tool `teardown`, which `cargo dev` runs.

mod care;
mod check;
mod jobs;
mod page;
mod reconcile;
mod running;

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use self::running::{Tool, cargo_dev, dev, run, shell, teardown, text};
use crate::support::world::http_client;

/// The commands that `cargo dev` prints work, and Ctrl-C ends `cargo dev` cleanly. With `--data`, the
/// commands that the next start prints work, too.
#[tokio::test]
async fn the_printed_lines_work() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dev.db");
    for _ in 0..2 {
        let mut tool = Tool::start(&["--data", file.to_str().unwrap()]);
        let lines: Vec<_> = tool.welcome.lines().collect();
        assert!(lines.len() <= 24, "it fits on a screen: {}", tool.welcome);
        // With the default port, the commands do not name the port.
        let port = format!(" --port {}", tool.port());
        let fits = |line: &&str| line.replace(&port, "").len() <= 110;
        assert!(lines.iter().all(fits), "{}", tool.welcome);
        assert_eq!(tool.paste().await, [204, 200, 204, 200]);
        let interrupt = Command::new("kill").args(["-INT", &tool.child.id().to_string()]).status();
        assert!(interrupt.unwrap().success());
        assert_eq!(tool.child.wait().unwrap().code(), Some(0));
        tool.prints("teardown has stopped");
    }
}

/// `teardown token` prints a token and nothing else. The running tool accepts the printed token, which has
/// the claims that the arguments ask for.
#[tokio::test]
async fn a_printed_token_is_accepted() {
    let tool = Tool::start(&[]);
    let path = "/v1/installations/icfg_new/resources/db_1";
    for (arguments, status) in [
        (&["--installation", "icfg_new", "--role", "USER"][..], 403),
        (&["--installation", "icfg_other"], 403),
        (&["--system", "--account", "acc_other"], 403),
        (&["--installation", "icfg_new", "--system"], 204),
        (&["--installation", "icfg_new", "--expires", "1h"], 204),
    ] {
        let output = run(&[&["token"], arguments].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let token = text(&output.stdout).strip_suffix('\n').unwrap();
        assert_eq!(token.split('.').count(), 3, "{token}");
        assert_eq!(tool.delete(path, token).await, status, "{arguments:?}");
    }
    let keys = http_client().get(format!("{}/.well-known/jwks", tool.url)).send().await.unwrap();
    assert!(keys.text().await.unwrap().contains("\"RS256\""));
    for wrong in [&["token"][..], &["token", "--installation", "i", "--expires", "soon"]] {
        let output = run(wrong);
        assert!(!output.status.success() && output.stdout.is_empty(), "{wrong:?}");
    }
}

/// A3: if `INTEGRATION_ID` lists several integrations, `teardown token` uses the first in the list.
#[test]
fn a_token_is_for_the_first_integration() {
    let ids = "oac_first, oac_second";
    let mut command = cargo_dev(&["token", "--installation", "icfg_new"]);
    let output = command.env("INTEGRATION_ID", ids).output().unwrap();
    let claims = text(&output.stdout).split('.').nth(1).unwrap();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], "oac_first");
}

/// C2: `import` registers good lines, reports bad and refused lines by their line numbers, and shows no
/// secret.
#[tokio::test]
async fn lines_are_imported_and_shown() {
    let tool = Tool::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.jsonl");
    let secret = "s3cret-t0ken";
    let lines = [
        json!({ "installation": {
            "id": "icfg_a", "accountId": "acc_a", "accessToken": secret, "billing": "settled",
        } })
        .to_string(),
        String::new(),
        json!({ "resource": { "installationId": "icfg_a", "id": "db_1", "status": "ready" } })
            .to_string(),
        json!({ "resource": { "installationId": "icfg_unknown", "id": "db_1" } }).to_string(),
        format!(r#"{{"installation":{{"id":"icfg_b","accessToken":"{secret}","surprise":1}}}}"#),
        json!({ "resource": { "installationId": "icfg_a", "id": "a/b" } }).to_string(),
        "no JSON".to_owned(),
        json!({ "resource": { "installationId": "icfg_a", "id": "db_2", "status": "broken" } })
            .to_string(),
        json!({ "resource": { "installationId": "icfg_a", "id": "db_3", "status": "suspended" } })
            .to_string(),
        json!({ "webhook": { "installationId": "icfg_a", "id": "hook_1" } }).to_string(),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let path = file.to_str().unwrap();

    let output = tool.run(&["import", path]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    let numbers: Vec<_> = errors.lines().map(|line| line.split(':').next().unwrap()).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["line 4", "line 5", "line 6", "line 7", "line 8"], "{errors}");
    assert!(errors.contains("the installation is not registered"), "{errors}");
    assert!(!errors.contains(secret) && !text(&output.stdout).contains(secret));

    let output = tool.run(&["show", "icfg_a"]);
    let shown = text(&output.stdout);
    assert!(output.status.success() && !shown.contains(secret), "{shown}");
    for part in
        ["icfg_a", "active", "acc_a", "settled", "db_1", "ready", "suspended", "hook_1", "stored"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    assert_eq!(tool.delete_as_admin("/v1/installations/icfg_a", "icfg_a").await, 200);
    let shown = tool.shows("icfg_a", &["state           finalized", "webhook: none", "receipt"]);
    assert!(shown.contains("user user_local (ADMIN) of acc_local"), "{shown}");

    let output = tool.run(&["show", "icfg_unknown"]);
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(1), 1));
    let output = tool.run(&["import", "/nowhere.jsonl"]);
    assert_eq!((output.status.code(), text(&output.stderr).lines().count()), (Some(1), 1));
}

/// `teardown table` creates the table that the AWS environment names, and also succeeds if the table exists
/// already.
#[tokio::test]
async fn the_table_is_created_once() {
    let tool = Tool::start(&[]);
    for _ in 0..2 {
        let output = dev(&["table"])
            .env("AWS_ENDPOINT_URL_DYNAMODB", &tool.url)
            .env("TABLE_NAME", "another")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(text(&output.stdout).contains("another"), "{}", text(&output.stdout));
    }
}

/// If a command cannot succeed, it prints the reason in one line. If the arguments are wrong, the exit status
/// is 2. The help names every command.
#[tokio::test]
async fn a_failed_command_says_why_in_one_line() {
    let tool = Tool::start(&[]);
    let mut misconfigured = dev(&["--port", "0"]);
    misconfigured.env("RECEIPT_RETENTION", "soon");
    let mut half_a_provider = dev(&["--port", "0"]);
    half_a_provider.env("PROVIDER_URL", "https://provider.example");
    for (mut command, part) in [
        (dev(&["--port", tool.port()]), "is busy: choose another with --port"),
        (dev(&["--port", "0", "--data", "/nowhere/dev.db"]), "/nowhere"),
        (dev(&["show", "icfg_1", "--port", "1"]), "no DynamoDB answers at"),
        (dev(&["--call-back", "parked"]), "--call-back is for `cargo dev` itself"),
        (dev(&["settle", "a/b"]), "ID: an id is"),
        (dev(&["--port", "0", "--backend", "127.0.0.1:1"]), "--backend: "),
        (misconfigured, "RECEIPT_RETENTION"),
        (half_a_provider, "PROVIDER_SECRET: is required, because PROVIDER_URL is set"),
    ] {
        let output = command.output().unwrap();
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
        assert!(error.contains(part), "{part} in {error}");
    }
    for arguments in [
        &["hold", "icfg_1"][..],
        &["hold", "icfg_1", "--reason", " "],
        &["hold", "a/b", "--reason", "x"],
        &["hold", "icfg_1", "--reason", "x", "--until", "2020-01-01T00:00:00Z"],
        &["hold", "icfg_1", "--reason", "x", "--until", "0s"],
        &["keep", "icfg_1", "db_1"],
        &["release", "icfg_1"],
        &["move", "icfg_1", "db_1", "--reason", "x"],
        &["move", "icfg_1", "db_1", "--reason", "x", "--out", "--to", "icfg_2"],
        &["move", "icfg_1", "db_1", "--reason", "x", "--to", "icfg_1"],
    ] {
        let output = tool.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    let help = run(&["--help"]);
    for command in [
        "token",
        "table",
        "import",
        "show",
        "settle",
        "parked",
        "hold",
        "release",
        "held",
        "keep",
        "move",
        "reconcile",
        "console",
        "--call-back",
    ] {
        assert!(text(&help.stdout).contains(command));
    }
}
