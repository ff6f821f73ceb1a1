//! No circular imports: modules in the same folder import each other in one direction only, at every level.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module's path from the root of its crate. The path of the root is empty.
type Module = Vec<String>;

/// The modules of a crate that have their own file, each with its code.
fn modules(crate_root: &str) -> BTreeMap<Module, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(crate_root);
    let (mut modules, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = path.strip_prefix(&root).unwrap().with_extension("");
                let names = file.iter().map(|name| name.to_str().unwrap().to_owned());
                let is_root = |name: &String| ["lib", "main"].contains(&name.as_str());
                let module: Module = names.filter(|name| !is_root(name)).collect();
                modules.entry(module).or_insert_with(String::new).push_str(&code(&path));
            }
        }
    }
    modules
}

/// The code of a file, without its comments and its unit tests.
fn code(path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let code = source.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths in a module's code that begin with `crate`, `super` or `self`. A path with braces is expanded to
/// all paths that it stands for.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let mut paths = Vec::new();
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            if !code[..at].ends_with(|c| is_name(c) || c == ':') {
                expand(&code[at..], &mut Vec::new(), &mut paths);
            }
        }
    }
    paths
}

/// Reads one path or tree of paths, adds the paths that it names to `paths`, and returns the text after it.
fn expand<'a>(text: &'a str, before: &mut Vec<&'a str>, paths: &mut Vec<Vec<&'a str>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = expand(rest, before, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(next) if !next.trim_start().starts_with('}') => rest = next,
                Some(next) => return next.trim_start().trim_start_matches('}'),
                None => return rest.strip_prefix('}').unwrap_or(rest),
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    before.push(name);
    let rest = if let Some(rest) = rest.strip_prefix("::") {
        expand(rest, before, paths)
    } else {
        paths.push(before.clone());
        rest.trim_start_matches('*')
    };
    before.pop();
    rest
}

/// The module that a path in the code of `from` names, or the closest module above it that has a file.
fn target(modules: &BTreeMap<Module, String>, from: &Module, path: &[&str]) -> Module {
    let mut target = from.clone();
    for name in path {
        match *name {
            "crate" => target.clear(),
            "super" => drop(target.pop()),
            "self" => {}
            name => {
                target.push(name.to_owned());
                if !modules.contains_key(&target) {
                    target.pop();
                    break;
                }
            }
        }
    }
    target
}

/// For each module: the modules in the same folder that this module, or a module below it, imports. Imports
/// between a module and the modules below it are left out.
fn imports(crate_root: &str) -> BTreeMap<Module, BTreeSet<Module>> {
    let modules = modules(crate_root);
    let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, code) in &modules {
        for path in paths(code) {
            let to = target(&modules, from, &path);
            let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            if common < from.len() && common < to.len() {
                let beside = imports.entry(from[..=common].to_vec()).or_default();
                beside.insert(to[..=common].to_vec());
            }
        }
    }
    imports
}

/// The modules that import each other in a circle, or that are between two circles.
fn circle(imports: &BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<Module> {
    let mut left: BTreeSet<Module> = imports.keys().cloned().collect();
    loop {
        let imported: BTreeSet<_> =
            left.iter().flat_map(|module| imports[module].clone()).collect();
        let before = left.len();
        let imports_some = |module: &Module| !imports[module].is_disjoint(&left);
        let kept = left.iter().filter(|it| imports_some(it) && imported.contains(*it));
        left = kept.cloned().collect();
        if left.len() == before {
            return left;
        }
    }
}

/// In the tools, no module imports another module of its folder that imports it back, directly or through
/// others.
#[test]
fn no_modules_import_each_other_in_a_circle() {
    for crate_root in ["tools/cli/src", "tools/model/src", "tools/bench/src"] {
        let imports = imports(crate_root);
        assert!(!imports.is_empty(), "{crate_root} has no imports");
        assert_eq!(circle(&imports), BTreeSet::new(), "{crate_root}");
    }
}

/// `circle` finds a circle of imports and accepts imports without a circle, and `paths` reads every form of
/// an import.
#[test]
fn a_circle_is_found() {
    let named = |code| paths(code).into_iter().map(|path| path.join(" ")).collect::<Vec<_>>();
    assert_eq!(
        named("use super::{a, b::{C, d::*},};\nfn f() { crate::e::g() }\nuse xcrate::h;"),
        ["crate e g", "super a", "super b C", "super b d "]
    );
    let imports = |pairs: &[(&str, &str)]| {
        let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for (from, to) in pairs {
            imports.entry(vec![(*from).to_owned()]).or_default().insert(vec![(*to).to_owned()]);
        }
        imports
    };
    assert_eq!(circle(&imports(&[("a", "b"), ("a", "c"), ("b", "c")])), BTreeSet::new());
    let modules = |names: [&str; 3]| names.map(|name| vec![name.to_owned()]).into();
    let circular = imports(&[("z", "a"), ("a", "b"), ("b", "c"), ("c", "a"), ("c", "d")]);
    assert_eq!(circle(&circular), modules(["a", "b", "c"]));
}
