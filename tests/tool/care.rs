//! The commands for mistaken deletions: `hold`, `keep`, `release`, `forget` and `move`.

use super::{Tool, text};

impl Tool {
    /// Runs a command, and returns its exit status and its output.
    fn typed(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(arguments);
        let printed = text(&output.stdout).to_owned() + text(&output.stderr);
        (output.status.code().unwrap(), printed)
    }
}

/// H1, H2, H3, H5: after a mistaken uninstall in `cargo dev`, the stand-in for the provider gets the notice.
/// A hold stops the teardown of two resources. The operator keeps one of the two resources, and releases the
/// other.
#[tokio::test]
async fn an_uninstall_by_mistake_is_stopped() {
    let tool = Tool::start_with(&[], &[("GRACE_PERIOD", "30m")]);
    let (status, output) = tool.typed(&["hold", "icfg_opne1", "--reason", "a typing error"]);
    assert!(status == 0 && output.starts_with("WARNING: icfg_opne1 is not known here"), "{output}");
    assert_eq!(tool.typed(&["release", "icfg_opne1", "--reason", "a typing error"]).0, 0);
    let (status, output) = tool.typed(&["hold", "icfg_open1", "--reason", "ticket 42"]);
    assert_eq!(status, 0, "{output}");
    assert!(output.starts_with("icfg_open1 is held by olga at http://127.0.0.1:"), "{output}");
    assert!(
        output.contains("  the installation: not deleted; a deletion to come is held\n"),
        "{output}"
    );
    assert_eq!(tool.delete_as_admin("/v1/installations/icfg_open1", "icfg_open1").await, 200);
    tool.prints("provider  installation.deletion_scheduled  icfg_open1  torn down at 2");
    tool.press("/page/clock/hour", "").await;
    tool.shows("icfg_open1", &["announce#resource#db_2", "held", "ticket 42", "as deleted"]);

    let (status, output) = tool.typed(&["held"]);
    assert!(
        status == 0 && output.contains("icfg_open1  all") && output.contains("ticket 42"),
        "{output}"
    );
    let (status, output) = tool.typed(&["held", "--json"]);
    let hold: serde_json::Value = serde_json::from_str(&output).unwrap();
    assert_eq!(
        (status, &hold["installation"], &hold["heldBy"]),
        (0, &"icfg_open1".into(), &"olga".into())
    );
    let keep = ["keep", "icfg_open1", "db_1", "--reason", "they came back", "--by", "ivan"];
    let (status, output) = tool.typed(&keep);
    assert!(
        status == 0 && output.starts_with("db_1 of icfg_open1 is kept by ivan at "),
        "{output}"
    );
    let again = (0, "db_1 of icfg_open1 was kept before: nothing was changed\n".to_owned());
    assert_eq!(tool.typed(&keep), again);
    tool.shows("icfg_open1", &["kept by ivan: they came back"]);

    assert_eq!(tool.typed(&["settle", "icfg_open1", "--reason", "paid", "--by", "ivan"]).0, 0);
    let (status, output) = tool.typed(&["release", "icfg_open1", "--reason", "the rest may go"]);
    assert!(status == 0 && output.starts_with("icfg_open1 is released by olga at "), "{output}");
    assert!(output.contains("; held up until now: "), "{output}");
    tool.prints("provider  resource.deleted  icfg_open1  db_2");
    let (status, output) = tool.typed(&["release", "icfg_open1", "--reason", "once more"]);
    assert!(status == 1 && output.contains("there is no hold on icfg_open1"), "{output}");
    tool.shows("icfg_open1", &["job: none", "state           finalized"]);
    let (status, output) =
        tool.typed(&["hold", "icfg_open1", "--reason", "too late", "--until", "30d"]);
    assert_eq!(status, 1, "{output}");
    assert!(
        output.starts_with("WARNING: it is too late, or may be, for some of it; ")
            && output.contains("  db_1: kept\n"),
        "{output}"
    );
    assert!(output.contains("more of icfg_open1: too late, the provider was told"), "{output}");
    let (status, output) = tool.typed(&["keep", "icfg_open1", "db_2", "--reason", "x"]);
    assert!(status == 1 && output.lines().count() == 1, "{output}");
}

/// E6, H5: without a terminal, `teardown forget` needs `--yes`. A second `teardown forget` reports that the
/// installation is deleted already.
#[tokio::test]
async fn an_installation_is_forgotten() {
    let tool = Tool::start(&[]);
    let forget = ["forget", "icfg_open1", "--reason", "access lost", "--by", "ivan"];
    let (status, output) = tool.typed(&forget);
    assert!(status == 2 && output.contains("--yes is needed"), "{output}");
    tool.shows("icfg_open1", &["state           active"]);
    let forget = [&forget[..], &["--grace", "0s", "--yes"]].concat();
    let (status, output) = tool.typed(&forget);
    assert!(status == 0 && output.starts_with("icfg_open1 is forgotten by ivan at "), "{output}");
    assert!(output.ends_with("; torn down in 0s; Vercel was not called\n"), "{output}");
    tool.prints("provider  resource.deleted  icfg_open1");
    let before = "icfg_open1 was gone before, with its configuration\n".to_owned();
    assert_eq!(tool.typed(&forget), (0, before));
    let (status, output) = tool.typed(&["forget", "icfg_x", "--reason", "x", "--yes"]);
    assert!(status == 1 && output.contains("icfg_x is not known at"), "{output}");
    let (status, _) = tool.typed(&["forget", "icfg_x", "--reason", "x", "--grace", "91d", "--yes"]);
    assert_eq!(status, 2);
}

/// The commands that `docs/mistakes.md` shows, in the page's order, each with the output that the page shows.
fn page() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/mistakes.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, steps) = page.split_once("\n## 1.").unwrap();
    let indented = |block: &&str| block.starts_with("    ") && !block.contains("curl");
    let code = steps.split("\n\n").filter(indented);
    let flush = |block: &str| {
        let depth = block.len() - block.trim_start().len();
        block.lines().map(|line| line[depth..].to_owned() + "\n").collect::<String>()
    };
    let mut typed = Vec::new();
    for block in code.map(flush) {
        if block.starts_with("teardown ") || block.starts_with("echo ") {
            typed.push((block.trim_end().to_owned(), String::new()));
        } else {
            typed.last_mut().unwrap().1 = block;
        }
    }
    typed
}

/// The text, changed so that outputs can be compared: `T` replaces every time, the table's place is that of
/// the page, and columns are not aligned.
fn timeless(text: &str) -> String {
    let word = |word: &str| {
        let is_time = word.len() >= 20 && word.starts_with("20") && word.contains('T');
        if is_time { "T".to_owned() } else { word.to_owned() }
    };
    // The table on the page is on AWS, and the table of the test is on this machine.
    let place = |line: &str| match line.split_once(" at http://127.0.0.1:") {
        Some((output, rest)) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{output} at AWS eu-central-1 {rest}")
        }
        None => line.to_owned(),
    };
    let line = |line: &str| place(line).split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(|text| line(&text.replace(';', " ;"))).collect::<Vec<_>>().join("\n")
}

/// H2, H3, I1: an engineer on call types the commands of `docs/mistakes.md`, from an uninstall to a kept
/// database. Each command prints what `docs/mistakes.md` shows.
#[tokio::test]
async fn the_page_on_mistakes_works() {
    let tool = Tool::start_with(&[], &[("GRACE_PERIOD", "1h")]);
    assert_eq!(tool.delete_as_admin("/v1/installations/icfg_open1", "icfg_open1").await, 200);
    tool.shows("icfg_open1", &["announce#resource#db_1", "as deleted", "purged"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines.jsonl");
    let import = |line: &str| {
        std::fs::write(&file, line).unwrap();
        tool.typed(&["import", file.to_str().unwrap()])
    };
    let typed = page();
    assert_eq!(typed.len(), 8, "{typed:#?}");
    for (command, expected) in typed {
        if let Some(piped) = command.strip_prefix("echo '") {
            let (line, _) = piped.split_once("' | teardown import -").unwrap();
            assert_eq!(import(line).0, 0, "{command}");
            continue;
        }
        let arguments =
            super::shell(&format!("printf '%s\\n' {}", command.replace("teardown ", "")));
        let (status, output) = tool.typed(&arguments.lines().collect::<Vec<_>>());
        assert_eq!((status, timeless(&output)), (0, timeless(&expected)), "{command}");
    }
    tool.shows("icfg_new1", &["db_1", "db_2", "active"]);
}

/// I1, H5: `teardown move` does not move a resource while a hold is in force. A second `teardown move`
/// reports that the resource is moved already.
#[tokio::test]
async fn a_resource_is_moved() {
    let tool = Tool::start(&[]);
    let to = ["move", "icfg_open1", "db_1", "--to", "icfg_settled1", "--reason", "transfer"];
    tool.typed(&["hold", "icfg_open1", "--reason", "wait"]);
    let (status, output) = tool.typed(&to);
    assert!(
        status == 1 && output.contains("db_1 of icfg_open1 is not moved: a hold is in force"),
        "{output}"
    );
    tool.typed(&["release", "icfg_open1", "--reason", "go on"]);
    let (status, output) = tool.typed(&to);
    assert!(status == 1 && output.contains("the target has a resource of this id"), "{output}");
    let out = ["move", "icfg_open1", "db_1", "--out", "--reason", "billed by ourselves"];
    let (status, output) = tool.typed(&out);
    let moved = "db_1 of icfg_open1 is moved out of the marketplace by olga at ";
    assert!(status == 0 && output.starts_with(moved), "{output}");
    let before = "db_1 of icfg_open1 was moved out of the marketplace before\n".to_owned();
    assert_eq!(tool.typed(&out), (0, before));
    tool.shows("icfg_open1", &["moved to out", "billed by ourselves"]);
}
