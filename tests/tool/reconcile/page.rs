//! The commands that `docs/reconcile.md` shows, with their output.

use crate::support::world::http_client;
use crate::tool::{Tool, shell, text};

/// Each command that `docs/reconcile.md` shows, with the output that the page shows.
fn page() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reconcile.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, run) = page.split_once("\n## A run\n").unwrap();
    let (run, _) = run.split_once("\n## ").unwrap();
    let mut typed: Vec<(String, String)> = Vec::new();
    let is_text = |line: &&str| line.is_empty() || line.starts_with("    ");
    for line in run.lines().filter(is_text).map(|line| line.strip_prefix("    ").unwrap_or("")) {
        if let Some(command) = line.strip_prefix("$ ") {
            typed.push((command.to_owned(), String::new()));
        } else if let Some((command, said)) = typed.last_mut() {
            let part = if command.ends_with('\\') { command } else { said };
            *part += line;
            *part += "\n";
        }
    }
    typed
}

/// L1: the commands of `docs/reconcile.md` make differences at the stand-in for Vercel in `cargo dev`, find
/// and fix them, and print what the page shows.
#[tokio::test]
async fn the_page_on_reconcile_works() {
    let tool = Tool::start(&[]);
    let typed = page();
    assert_eq!(typed.len(), 5, "{typed:#?}");
    for (command, expected) in typed {
        let command = command.replace("http://127.0.0.1:3000", &tool.url).replace("\\\n", "");
        let words = shell(&format!("printf '%s\\n' {command}"));
        let mut words: Vec<_> = words.lines().collect();
        if words.remove(0) == "curl" {
            let (method, url) = (words[1].parse().unwrap(), words[2]);
            let request = http_client().request(method, url).bearer_auth("any");
            let body = words.iter().skip_while(|word| **word != "-d").nth(1);
            let request = request.header("content-type", "application/json");
            let answer = request.body(body.copied().unwrap_or_default().to_owned()).send().await;
            assert!(answer.unwrap().status().is_success(), "{command}");
            continue;
        }
        let output = tool.run(&words);
        let expected = expected.replace("http://127.0.0.1:3000", &tool.url);
        let trimmed = |text: &str| {
            let lines = text.trim_end().lines().map(str::trim_end);
            lines.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(trimmed(text(&output.stdout)), trimmed(&expected), "{command}");
        let status = if expected.contains("differ") { 2 } else { 0 };
        assert_eq!(output.status.code(), Some(status), "{command}");
    }
    tool.shows("icfg_settled1", &["removed at Vercel", "finalized"]);
    tool.shows("icfg_open1", &["db_9", "from Vercel"]);
}
