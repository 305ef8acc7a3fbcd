//! The rules of ARCHITECTURE.md that are about what must *not* be in the source, as tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What each module may use of ours, besides its own parts. Nothing else is allowed; a new module joins this list.
const MAY_USE: &[(&str, &[&str])] = &[
    ("event", &["failure"]),
    ("version", &[]),
    ("clock", &[]),
    ("human", &[]),
    ("digest", &[]),
    ("secret", &[]),
    ("mask", &["event", "secret"]),
    ("audit", &["event", "journal", "replay", "runs"]),
    ("signature", &["secret"]),
    ("evidence", &["digest", "failure", "journal", "runs", "secret", "site", "types"]),
    ("problem", &[]),
    ("failure", &[]),
    ("types", &[]),
    ("tree", &["problem"]),
    ("template", &["tree", "problem", "types", "event", "failure", "runbook"]),
    ("runbook", &["tree", "problem", "types", "event", "failure", "template"]),
    ("replay", &["event", "clock"]),
    ("verdict", &["replay", "event", "clock"]),
    ("log", &["event", "failure", "replay"]),
    ("compare", &["version"]),
    ("inventory", &["compare", "version", "digest", "failure"]),
    ("step", &CONTRACT),
    ("site", &CONTRACT),
    ("change", &CONTRACT),
    ("steps", &["step", "site", "change", "event", "failure", "version", "compare", "types", "human"]),
    ("check", &["runbook", "template", "step", "tree", "problem", "types", "event", "failure"]),
    (
        "engine",
        &[
            "log", "clock", "step", "site", "change", "event", "failure", "template", "runbook", "replay", "verdict",
            "types", "problem", "tree", "secret", "digest", "mask",
        ],
    ),
    ("sites", &["tree", "secret", "problem", "site", "types"]),
    ("store", &["site", "failure"]),
    ("lease", &["store", "site", "step", "clock", "failure", "human"]),
    ("schema", &["check", "step", "runbook", "event", "types", "report", "testing", "sandbox"]),
    ("journal", &["event", "mask", "store", "site", "failure", "clock", "digest", "secret"]),
    (
        "runs",
        &[
            "journal", "lease", "store", "site", "event", "mask", "clock", "human", "failure", "replay", "verdict",
            "step", "secret",
        ],
    ),
    ("report", &["event", "replay", "verdict", "clock", "human"]),
    // Reads its scenarios, and nothing else: what it behaves like is MinIO, not us.
    ("sandbox", &["tree", "problem"]),
    (
        "testing",
        &[
            "report", "tree", "problem", "check", "runbook", "template", "step", "event", "replay", "verdict",
            "engine", "sandbox", "human",
        ],
    ),
    ("cli", &[]),
    // The commands wire everything, and only main may use them.
    ("commands", &EVERYTHING),
    ("main", &["cli", "commands", "verdict"]),
    ("lib", &[]),
];

/// The contract is one knot.
const CONTRACT: [&str; 13] = [
    "step", "site", "change", "event", "replay", "log", "clock", "version", "secret", "failure", "tree", "problem",
    "types",
];

const EVERYTHING: [&str; 36] = [
    "audit",
    "evidence",
    "signature",
    "change",
    "check",
    "cli",
    "clock",
    "compare",
    "digest",
    "mask",
    "engine",
    "event",
    "failure",
    "human",
    "inventory",
    "journal",
    "lease",
    "log",
    "problem",
    "replay",
    "report",
    "runbook",
    "runs",
    "sandbox",
    "schema",
    "secret",
    "site",
    "sites",
    "step",
    "steps",
    "store",
    "template",
    "testing",
    "tree",
    "types",
    "verdict",
];

/// A source file without its comments, the texts in it and its unit tests.
struct Source {
    /// From the root of the project.
    path: String,
    /// As it stands in the file.
    text: String,
    code: String,
}

impl Source {
    fn module(&self) -> &str {
        let inside = self.path.strip_prefix("src/").unwrap_or(&self.path);
        inside.split(['/', '.']).next().unwrap_or(inside)
    }
    /// A whole word of the code.
    fn names(&self, word: &str) -> bool {
        names(&self.code, word)
    }
}

#[test]
fn modules_use_only_what_they_may() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: `{module}` is not in the table of this test", source.path));
            continue;
        };
        let used = used_modules(&source.code);
        let forbidden = used.iter().filter(|used| *used != module && !allowed.contains(&used.as_str()));
        wrong.extend(forbidden.map(|used| format!("{}: `{module}` may not use `{used}`", source.path)));
    }
    assert_none(&wrong);
}

#[test]
fn steps_know_nothing_of_what_runs_them() {
    let unknown = ["journal", "report", "cli", "engine"];
    let steps = sources("src/steps").into_iter();
    let wrong = steps.flat_map(|source| {
        let used = used_modules(&source.code);
        unknown.map(|name| used.contains(name).then(|| format!("{} mentions `{name}`", source.path)))
    });
    assert_none(&wrong.flatten().collect::<Vec<_>>());
}

#[test]
fn some_names_occur_in_one_place_only() {
    const PRINT: [&str; 4] = ["src/main.rs", "src/commands.rs", "src/commands/", "src/report/console"];
    const ONLY: &[(&str, &[&str])] = &[
        ("aws_sdk_s3", &["src/site/s3.rs", "src/site/s3/"]),
        ("serde_yaml", &["src/tree.rs", "src/tree/"]),
        ("anyhow", &["src/main.rs"]),
        ("s3s", &["src/sandbox/"]),
        ("println!", &PRINT),
        ("print!", &PRINT),
        ("eprintln!", &PRINT),
        ("eprint!", &PRINT),
        ("stdout()", &PRINT),
        ("stderr()", &PRINT),
    ];
    let mut wrong = Vec::new();
    for source in sources("src") {
        for (name, places) in ONLY {
            if source.names(name) && !places.iter().any(|place| source.path.starts_with(place)) {
                wrong.push(format!("{} names `{name}`, which only {} may", source.path, places.join(", ")));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn only_the_engine_makes_a_ledger() {
    let made = ["Ledger::new", "Ledger::open", "Ledger {"];
    let others = sources("src").into_iter().filter(|source| source.module() != "engine");
    let wrong = others.flat_map(|source| {
        made.map(|made| {
            // The type's own file defines it: `struct Ledger {` and `impl Ledger {` make none.
            let code = source.code.replace("struct Ledger {", "").replace("impl Ledger {", "");
            names(&code, made).then(|| format!("{} has `{made}`", source.path))
        })
    });
    assert_none(&wrong.flatten().collect::<Vec<_>>());
}

#[test]
fn every_step_kind_has_its_two_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = code(&fs::read_to_string(root.join("src/steps.rs")).unwrap());
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root.join("src/steps")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        if !list.contains(&format!("mod {name};")) {
            wrong.push(format!("src/steps.rs has no `mod {name};`"));
        }
        let is_kind = names(&fs::read_to_string(&path).unwrap(), "impl Step for");
        if is_kind && !list.contains(&format!("Kind::of::<{name}::")) {
            wrong.push(format!("src/steps.rs has no `Kind::of::<{name}::…>()`"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn every_file_of_tests_is_compiled() {
    let main = include_str!("main.rs");
    let topics = sources("tests/it").into_iter().filter_map(|source| {
        let name = source.path.strip_prefix("tests/it/")?.strip_suffix(".rs")?.to_owned();
        (!name.contains('/') && name != "main" && !main.contains(&format!("mod {name};"))).then_some(source.path)
    });
    assert_none(&topics.map(|path| format!("tests/it/main.rs has no `mod` line for {path}")).collect::<Vec<_>>());
}

#[test]
fn no_file_is_longer_than_600_lines() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let long = all.filter(|source| source.text.lines().count() > 600).map(|source| source.path);
    assert_none(&long.collect::<Vec<_>>());
}

#[test]
fn a_build_without_the_sandbox_has_nothing_of_it() {
    let tree = |more: &[&str]| {
        let args = ["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"];
        let cargo = Command::new(env!("CARGO")).current_dir(env!("CARGO_MANIFEST_DIR")).args(args).args(more).output();
        let cargo = cargo.expect("cargo runs");
        assert!(cargo.status.success(), "{}", String::from_utf8_lossy(&cargo.stderr));
        let text = String::from_utf8_lossy(&cargo.stdout).into_owned();
        text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    let (with, without) = (tree(&[]), tree(&["--no-default-features"]));
    for own in ["s3s", "aes-gcm", "argon2", "chacha20poly1305"] {
        assert!(with.contains(own), "the sandbox does not use `{own}` any more: take it out of this list");
        assert!(!without.contains(own), "`{own}` is built without the sandbox, too");
    }
}

#[test]
fn nothing_is_left_to_do() {
    let wrong = sources("src")
        .into_iter()
        .filter(|source| names(&source.code, "todo!(") || names(&source.code, "unimplemented!("));
    assert_none(&wrong.map(|source| format!("{} has a `todo!` or `unimplemented!`", source.path)).collect::<Vec<_>>());
}

#[test]
fn no_path_of_somebodys_machine_is_in_the_project() {
    // Put together here, so that this file does not contain them.
    let homes = ["home", "Users", "root", "work", "workspace"].map(|folder| format!("/{folder}/"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["src", "tests", "runbooks", "schemas", ".ci"] {
        files(&root.join(folder), &mut paths);
    }
    let top = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    paths.extend(top.filter(|path| path.is_file() && !path.ends_with("Cargo.lock") && !path.ends_with(".git")));
    let mut wrong = Vec::new();
    for path in paths {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        for home in &homes {
            for (start, _) in text.match_indices(home.as_str()) {
                // Only an absolute path: `src/work/…` is none, and neither is a part of an address.
                let before = text[..start].chars().next_back();
                if !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | ']' | '/')) {
                    wrong.push(format!("{}: {home}", path.strip_prefix(root).unwrap_or(&path).display()));
                }
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn the_reader_of_these_rules_reads_right() {
    let text = "use crate::{event::{Event, Line}, site::Site, tree as t};\n\
                /* crate::engine */ // crate::journal\n\
                const A: &str = \"crate::report \\\" //\"; const Q: char = '\"'; const R: &str = r#\"crate::cli \"x\" \"#;\n\
                fn f<'a>(x: &'a crate::types::Role) { println!(); firedrill::runs::f() }\n\
                pub(crate) fn g() {}\n\
                #[cfg(test)]\nmod tests { use crate::steps::ALL; }\n";
    let code = code(text);
    let used: Vec<String> = used_modules(&code).into_iter().collect();
    assert_eq!(used, ["event", "runs", "site", "tree", "types"]);
    assert!(names(&code, "println!") && !names(&code, "print!"));
}

/// The modules that code reaches by `crate::…` or `firedrill::…`, groups of imports included.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for root in ["crate::", "firedrill::"] {
        for (start, _) in code.match_indices(root) {
            if code[..start].ends_with(in_name) {
                continue;
            }
            let rest = code[start + root.len()..].trim_start();
            match rest.strip_prefix('{') {
                Some(group) => used.extend(top_names(group)),
                None => used.extend(first_name(rest)),
            }
        }
    }
    used
}

/// The first name of each item of a group of imports.
fn top_names(group: &str) -> Vec<String> {
    let (mut depth, mut item, mut found) = (0_usize, String::new(), Vec::new());
    for c in group.chars() {
        match c {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => found.extend(first_name(&std::mem::take(&mut item))),
            _ => {}
        }
        if c != ',' || depth > 0 {
            item.push(c);
        }
    }
    found.extend(first_name(&item));
    found
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.trim_start().chars().take_while(|c| in_name(*c)).collect();
    // Types and functions of the crate's root are no modules.
    name.starts_with(|c: char| c.is_ascii_lowercase()).then_some(name)
}

fn names(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(start, _)| {
        let after = &code[start + word.len()..];
        let whole = !word.ends_with(in_name) || !after.starts_with(in_name);
        whole && !code[..start].ends_with(in_name)
    })
}

fn in_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Code without comments, without what stands in texts, and without the unit tests at its end.
fn code(text: &str) -> String {
    let text = text.find("#[cfg(test)]\nmod tests {").map_or(text, |tests| &text[..tests]);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(raw) = raw_text(rest).filter(|_| !out.ends_with(in_name)) {
            raw
        } else if c == '"' {
            end_of_text(rest)
        } else if rest.starts_with("'\"'") {
            3
        } else if let Some(escape) = rest.strip_prefix("'\\") {
            escape.find('\'').map_or(rest.len(), |end| end + 3).max(4)
        } else {
            0
        };
        if skipped == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            rest = &rest[skipped.min(rest.len())..];
        }
    }
    out
}

/// The length of the raw text that begins here.
fn raw_text(rest: &str) -> Option<usize> {
    let hashes = rest.strip_prefix('r')?;
    let count = hashes.bytes().take_while(|byte| *byte == b'#').count();
    let inside = hashes[count..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    Some(2 + count + inside.find(&end).map_or(inside.len(), |at| at + end.len()))
}

/// The length of the text in quotes that begins here.
fn end_of_text(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    files(&root.join(folder), &mut paths);
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        // Unit tests in a file of their own may use what they like, as those at the end of a file.
        let code = if path.ends_with("/tests.rs") { String::new() } else { code(&text) };
        Source { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.push(path);
        }
    }
    found.sort();
}

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
