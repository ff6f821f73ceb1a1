//! What the documentation says is what the code does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use teardown::error::TABLE;

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// B5: the README's table of errors is the code's.
#[test]
fn the_readme_has_the_table_of_errors() {
    let mut table = String::from("| status | code | when |\n|---|---|---|\n");
    for row in TABLE {
        writeln!(table, "| {} | `{}` | {} |", row.status, row.code, row.meaning).unwrap();
    }
    assert!(read("README.md").contains(&format!("\n{table}\n")), "it should be\n{table}");
}

/// The requirements' numbers in a text: a letter from A to G and digits, as words.
fn numbers(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let is_number = |word: &&str| {
        let digits = word.strip_prefix(|c| ('A'..='G').contains(&c));
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

/// The comments of a source.
fn comments(source: &str) -> String {
    let comment = |line: &&str| line.trim_start().starts_with("//");
    source.lines().filter(comment).collect::<Vec<_>>().join("\n")
}

/// Every number that code and tests name is in the contract, and every rule of the contract has a
/// test that names it.
#[test]
fn the_contract_and_the_tests_have_the_same_numbers() {
    let contract = read("docs/contract.md");
    let rules = contract.lines().filter_map(|line| line.strip_prefix("- **")?.split("**").next());
    let rules: BTreeSet<_> = rules.map(str::to_owned).collect();
    let mut tested = BTreeSet::new();
    for path in ["src", "tests"].into_iter().flat_map(sources) {
        let source = read(&path);
        let named = numbers(&comments(&source));
        let unknown: Vec<_> = named.difference(&rules).collect();
        assert!(unknown.is_empty(), "{}: {unknown:?} is not in the contract", path.display());
        let tests = if path.components().any(|part| part.as_os_str() == "tests") {
            source.as_str()
        } else {
            source.split_once("mod tests").map_or("", |(_, tests)| tests)
        };
        tested.extend(numbers(&comments(tests)));
    }
    let untested: Vec<_> = rules.difference(&tested).collect();
    assert!(untested.is_empty(), "no test names {untested:?}");
}

/// Every variable that the configuration reads is in the README.
#[test]
fn the_readme_has_every_variable() {
    let (readme, config) = (read("README.md"), read("src/config.rs"));
    let (code, _) = config.split_once("mod tests").unwrap();
    let variables: BTreeSet<_> = code
        .split('"')
        .filter(|text| text.len() > 3 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .collect();
    assert!(variables.contains("INTEGRATION_ID") && variables.contains("SUPPORT_URL"));
    for variable in variables {
        assert!(readme.contains(&format!("`{variable}`")), "{variable}");
    }
}
