//! The documentation says what the code does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use teardown::Endpoint;
use teardown::error::TABLE;
use teardown::limits::Limits;

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// `README.md`, `tools/model/README.md` and every page of `docs/`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    ["README.md", "tools/model/README.md"]
        .map(|name| root.join(name))
        .into_iter()
        .chain(docs)
        .collect()
}

/// The lines of a page that are not in a fenced block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    page.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

/// The anchors of a page's headings, as GitHub makes them. An anchor has lower-case letters, no punctuation,
/// and a hyphen for each space. If a heading repeats an earlier heading, its anchor ends in a number.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for line in prose(page).filter(|line| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug = kept.collect::<String>().replace(' ', "-");
        let mut numbered = (1..).map(|number| format!("{slug}-{number}"));
        let mut anchor = slug.clone();
        while !anchors.insert(anchor.clone()) {
            anchor = numbered.next().unwrap();
        }
    }
    anchors
}

/// The README is short. Details are on the pages of `docs/`.
#[test]
fn readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "README.md has {lines} lines");
}

/// Each relative link on a page names a file that exists, and its anchor names a heading of that file.
#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        let links = prose(&text).flat_map(|line| line.split("](").skip(1));
        for link in links.filter_map(|rest| Some(rest.split_once(')')?.0)) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => page.clone(),
                _ => page.with_file_name(path),
            };
            assert!(target.exists(), "{}: there is no {link}", page.display());
            let is_there = anchor.is_empty() || anchors(&read(target)).contains(anchor);
            assert!(is_there, "{}: {link} names no heading", page.display());
        }
    }
}

/// The code of receivers and of a backend on the pages equals the code of files that cargo or
/// `deploy/vercel/check-build` compiles.
#[test]
fn the_pages_have_the_code_that_is_compiled() {
    let mut shown = BTreeSet::new();
    for page in pages() {
        for block in read(&page).split("<!-- from: ").skip(1) {
            let (path, block) = block.split_once(" -->\n```").unwrap();
            let (_language, block) = block.split_once('\n').unwrap();
            let (code, _) = block.split_once("```\n<!-- end -->\n").unwrap();
            assert_eq!(code, read(path), "{}: {path}", page.display());
            shown.insert(path.to_owned());
        }
    }
    let compiled = ["tools/cli/examples/receiver.rs", "docs/receiver.ts", "docs/register.ts"];
    assert_eq!(shown, BTreeSet::from(compiled.map(str::to_owned)));
}

/// B5: the table of errors in `docs/errors.md` equals the table of errors in the code. With `UPDATE_DOCS`
/// set, this test writes the table.
#[test]
fn the_errors_page_has_the_table_of_errors() {
    let mut table = String::from("| status | code | when |\n|---|---|---|\n");
    for row in TABLE {
        writeln!(table, "| {} | `{}` | {} |", row.status, row.code, row.when).unwrap();
    }
    is_generated("docs/errors.md", "| status |", "\n\n", table.trim_end());
}

/// Asserts that `page` has `text` from the first `begin` to the next `end`, or to the page's end if there is
/// no `end`. With `UPDATE_DOCS` set, writes the text into the page.
fn is_generated(page: &str, begin: &str, end: &str, text: &str) {
    let old = read(page);
    let (head, rest) = old.split_at(old.find(begin).unwrap_or(old.len()));
    let (listed, tail) = rest.split_at(rest.find(end).unwrap_or(rest.len()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        fs::write(path, format!("{head}{text}{tail}")).unwrap();
    } else {
        let command = "UPDATE_DOCS=1 cargo test --test teardown documentation::";
        assert!(listed == text, "{page} is stale; `{command}` writes it anew");
    }
}

/// An `end` for [`is_generated`] that no page has, so that the text goes to the page's end.
const PAGE_END: &str = "\0";

/// A7, B3, F6: the pages of `docs/` state the limits that the functions use.
#[test]
fn the_pages_have_the_limits_of_functions() {
    let Limits { dynamodb, vercel_call, keys, body, .. } = Limits::default();
    let (contract, limits) = (read("docs/contract.md"), read("docs/limits.md"));
    for (page, text, limit) in [
        (&contract, "is retried with jitter for up to", dynamodb),
        (&contract, "A fetch has", keys),
        (&contract, "It must arrive within", body),
        (&limits, "waits for Vercel** for up to", vercel_call),
    ] {
        let text = format!("{text} {} s", limit.as_secs());
        assert!(page.contains(&text), "no page says: {text}");
    }
}

/// The rule numbers in a text. A rule number is a word of one letter and one digit.
fn numbers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_number = |word: &&str| {
        let digits = word.strip_prefix(|c| matches!(c, 'A'..='N' | 'S'));
        digits.is_some_and(|digits| {
            !digits.is_empty() && digits.len() < 2 && digits.bytes().all(|b| b.is_ascii_digit())
        })
    };
    words.filter(is_number).map(str::to_owned).collect()
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn comments(source: &str) -> String {
    let comment = |line: &&str| line.trim_start().starts_with("//");
    source.lines().filter(comment).collect::<Vec<_>>().join("\n")
}

/// The contract's rule numbers, in the order of the contract.
fn rules() -> Vec<String> {
    let contract = read("docs/contract.md");
    let rules = contract.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next());
    rules.map(str::to_owned).collect()
}

/// The tests in a source file, each with the text of its doc comment.
fn tests(source: &str) -> Vec<(&str, String)> {
    let (mut tests, mut doc, mut is_test) = (Vec::new(), String::new(), false);
    for line in source.lines().map(str::trim) {
        let function = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
        } else if line.starts_with("#[") {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
        } else if let (true, Some(name)) = (is_test, function) {
            tests.push((name.split('(').next().unwrap(), std::mem::take(&mut doc)));
            is_test = false;
        } else {
            doc.clear();
            is_test = false;
        }
    }
    tests
}

/// If a comment in the code or in the tests names a rule's number, the contract has that rule.
#[test]
fn the_contract_has_every_number_that_the_code_names() {
    let rules = rules().into_iter().collect();
    for path in ["src", "tests"].into_iter().flat_map(sources) {
        let named = numbers(&comments(&read(&path)));
        let unknown: Vec<_> = named.difference(&rules).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} is not in the contract", path.display());
    }
}

/// Each rule of the contract has a test whose doc comment names the rule, and `docs/coverage.md` lists all
/// tests that name rules. With `UPDATE_DOCS` set, this test writes the list.
#[test]
fn the_coverage_page_has_the_tests_of_each_rule() {
    let mut proofs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for path in ["src", "tests", "tools/cli"].into_iter().flat_map(sources) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.strip_prefix(root).unwrap().with_extension("");
        let module = path.to_str().unwrap().trim_start_matches("tests/").replace('/', "::");
        let module = module.replace("src::", "teardown::");
        for (name, doc) in tests(&read(path.with_extension("rs"))) {
            let (_, sentence) = doc.split_once(": ").unwrap_or_default();
            for rule in numbers(&doc) {
                let proof = format!("`{module}::{name}`: {sentence}");
                proofs.entry(rule).or_default().insert(proof);
            }
        }
    }
    let mut list = String::new();
    for rule in rules() {
        let proofs = proofs.remove(&rule).unwrap_or_default();
        assert!(!proofs.is_empty(), "no test names {rule}");
        writeln!(list, "\n## {rule}\n").unwrap();
        for proof in proofs {
            writeln!(list, "- {proof}").unwrap();
        }
    }
    is_generated("docs/coverage.md", "\n## ", PAGE_END, &list);
}

/// N2: `docs/check-list.md` lists the checks that the code of `teardown check` has. With `UPDATE_DOCS` set,
/// this test writes the list.
#[test]
fn the_check_list_has_every_check() {
    let list = teardown_cli::check::report::page();
    is_generated("docs/check-list.md", "\n## ", PAGE_END, &list);
    let count = format!("its {} checks", teardown_cli::check::all().count());
    assert!(read("docs/check.md").contains(&count), "docs/check.md does not say: {count}");
}

/// Each endpoint has its function in `api/`, its binary, and its path under `cargo lambda watch`.
#[test]
fn the_functions_are_those_of_the_endpoints() {
    let functions: BTreeSet<_> = Endpoint::ALL.map(|it| it.function().to_owned()).into();
    let name = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(sources("api").into_iter().map(name).collect::<BTreeSet<_>>(), functions);
    let manifest = read("Cargo.toml");
    let binaries = manifest.split("[[bin]]\n").skip(1).map(|bin| bin.lines().next().unwrap());
    let named = functions.iter().map(|name| format!("name = \"{name}\""));
    assert_eq!(binaries.map(str::to_owned).collect::<BTreeSet<_>>(), named.collect());
    let (_, router) = manifest.split_once(".lambda.watch.router]\n").unwrap();
    let (router, _) = router.split_once("\n\n").unwrap();
    let routes: BTreeSet<_> = router.lines().map(str::to_owned).collect();
    let mut paths = BTreeMap::<_, Vec<_>>::new();
    for endpoint in Endpoint::ALL {
        for (method, path) in endpoint.patterns() {
            paths.entry(path).or_default().push((method.as_str(), endpoint.function()));
        }
    }
    let expected = paths.into_iter().map(|(path, mut functions)| {
        if let [(_, function)] = functions[..] {
            return format!("\"{path}\" = \"{function}\"");
        }
        functions.sort_unstable();
        let one =
            |(method, function)| format!("{{ function = \"{function}\", method = \"{method}\" }}");
        let all: Vec<_> = functions.into_iter().map(one).collect();
        format!("\"{path}\" = [{}]", all.join(", "))
    });
    assert_eq!(routes, expected.collect());
}

/// The table of `docs/configuration.md` has all variables that the code reads, and no other variables.
#[test]
fn the_configuration_page_has_every_variable() {
    let config = read("src/config.rs");
    let (code, _) = config.split_once("mod tests").unwrap();
    let mut variables: BTreeSet<_> = code
        .split('"')
        .filter(|text| text.len() > 3 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    // `telemetry` and the AWS SDK read these variables.
    variables.extend(["RUST_LOG", "AWS_REGION", "AWS_ENDPOINT_URL_DYNAMODB"]);

    let page = read("docs/configuration.md");
    let (_, table) =
        page.split_once("\n| variable | meaning | default |\n|---|---|---|\n").unwrap();
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.split_once(" | "));
    let listed: BTreeSet<_> =
        rows.flat_map(|(cell, _)| cell.split('`').skip(1).step_by(2)).collect();
    assert_eq!(listed, variables);
}

/// `docs/architecture.md` is short, and each invariant on it is short. Details of the architecture are in the
/// modules' comments or on other pages.
#[test]
fn the_architecture_fits_on_a_screen_and_a_half() {
    let page = read("docs/architecture.md");
    let words = |text: &str| text.split_whitespace().count();
    let (lines, all) = (page.lines().count(), words(&page));
    assert!(lines <= 100 && all <= 1300, "docs/architecture.md has {lines} lines, {all} words");
    let invariants: Vec<_> =
        page.lines().filter(|line| line.starts_with("- **Invariant:**")).collect();
    assert!((1..=14).contains(&invariants.len()), "it has {} invariants", invariants.len());
    for invariant in invariants {
        assert!(words(invariant) <= 35, "{} words: {invariant}", words(invariant));
    }
}

/// The modules of `src/` in the order of the table in `src/lib.rs`, which goes from the host down to the
/// clock.
fn modules() -> Vec<String> {
    let lib = read("src/lib.rs");
    let rows = lib.lines().filter_map(|line| line.strip_prefix("//! | "));
    let cells = rows.filter_map(|row| Some(row.split_once(" | ")?.0));
    let name = |cell: &str| cell.trim_matches(['[', ']', '`']).to_owned();
    cells.skip(1).map(name).collect()
}

/// A module imports only modules that are below it in the list of `src/lib.rs`, so that no two modules
/// import each other.
#[test]
fn a_module_imports_only_what_is_below_it() {
    let modules = modules();
    let lib = read("src/lib.rs");
    let declared = lib.lines().filter_map(|line| {
        line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "))?.strip_suffix(';')
    });
    assert_eq!(declared.collect::<BTreeSet<_>>(), modules.iter().map(String::as_str).collect());
    let place = |name: &str| modules.iter().position(|module| module == name);
    for path in sources("src") {
        let file = path.to_str().unwrap().split_once("/src/").unwrap().1;
        let Some(here) = place(file.split(['/', '.']).next().unwrap()) else { continue };
        let source = fs::read_to_string(&path).unwrap();
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let source = code.collect::<Vec<_>>().join("\n");
        for imported in source.split("crate::").skip(1) {
            let name = imported.split(|c: char| !c.is_ascii_lowercase()).next().unwrap();
            if let Some(there) = place(name) {
                assert!(here <= there, "{file} imports {name}, which is above it");
            }
        }
    }
}
