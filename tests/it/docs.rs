//! The documents say what the program does: their commands are valid, their tables and excerpts are those of the source.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use clap::{CommandFactory, Parser};
use firedrill::{cli::Cli, sites, verdict::Exit};

use crate::case::Firedrill;

const DOCUMENTS: [&str; 10] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/auditor.md",
    "docs/compare.md",
    "docs/guarantees.md",
    "docs/inventory.md",
    "docs/journal.md",
    "docs/testing-runbooks.md",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The blocks of a language in a document.
fn blocks(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_command_of_the_documents_is_valid() {
    let mut firedrills = 0;
    for document in DOCUMENTS {
        for line in blocks(document, "sh").iter().flat_map(|block| block.lines()) {
            match words(line).as_slice() {
                [first, ..] if first == "firedrill" => {
                    let parsed = Cli::try_parse_from(words(line));
                    assert!(parsed.is_ok(), "{document}: {line}: {}", parsed.unwrap_err());
                    firedrills += 1;
                }
                [first] if first.starts_with("tests/") || first.starts_with(".ci/") => {
                    assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(first).is_file(), "{document}: {line}");
                }
                _ => {}
            }
        }
    }
    assert!(firedrills >= 8, "only {firedrills} commands found");
}

/// The commands that need no server say what they should; a whole block runs as one script.
#[test]
fn commands_that_need_no_server_run() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for line in blocks("README.md", "sh").iter().flat_map(|block| block.lines()) {
        if line.starts_with("firedrill check ") {
            let args = words(line)[1..].to_vec();
            let file = args.last().expect("a file");
            let case = Firedrill::new().file(file, &fs::read_to_string(root.join(file)).unwrap());
            case.args(args).run().exit(0).says("ok");
            return;
        }
    }
    panic!("README.md checks no runbook");
}

#[cfg(feature = "sandbox")]
#[test]
fn the_tests_of_the_document_pass_and_its_commands_run() {
    let [file] = blocks("docs/testing-runbooks.md", "yaml").try_into().expect("one file of tests");
    let drill = Firedrill::new()
        .file("runbooks/resync_bucket.yaml", &read("runbooks/resync_bucket.yaml"))
        .file("runbooks/resync_bucket.test.yaml", &file);
    fs::create_dir(drill.folder().join("target")).unwrap();
    let mut commands = 0;
    for line in blocks("docs/testing-runbooks.md", "sh").iter().flat_map(|block| block.lines()) {
        let args = words(line)[1..].to_vec();
        if args[0] == "show" {
            let wrong = file.replacen("verdict: held", "verdict: broke", 1).replace("exit: 0", "exit: 5");
            drill
                .clone()
                .file("wrong.test.yaml", &wrong.replace("runbook: ", "runbook: runbooks/"))
                .args(["test", "wrong.test.yaml"])
                .run()
                .exit(4);
            let runs = drill.folder().join("runs/tests").display().to_string();
            drill.clone().args(["show", "latest", "--runs", &runs]).run().exit(0).says("validate");
        } else {
            drill.clone().args(args).run().exit(0);
        }
        commands += 1;
    }
    assert!(commands >= 6, "only {commands} commands found");
}

#[test]
fn a_journal_is_verified_by_hand_as_the_document_says() {
    let journal = include_str!("../cases/journals/recovered.jsonl");
    let script = blocks("docs/auditor.md", "sh").into_iter().next().expect("a script");
    if Command::new("jq").arg("--version").output().is_err() {
        return;
    }
    let run = |text: &str| {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::write(folder.path().join("journal.jsonl"), text).unwrap();
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let head =
        Firedrill::new().file("j.jsonl", journal).args(["audit", "verify", "j.jsonl", "--output", "json"]).run().json();
    let head = head["head"].as_str().expect("a head");
    assert_eq!(run(journal), (true, format!("head {head}\n")));
    let changed = journal.replacen("invoices", "invoicse", 1);
    assert_eq!(run(&changed), (false, "line 2 does not follow the line before it\n".into()));
}

#[test]
fn the_tables_of_the_readme_are_those_of_the_program() {
    let readme = read("README.md");
    let exits: Vec<String> = Exit::ALL.iter().map(|exit| format!("| {} | {} |", exit.code(), exit.meaning())).collect();
    assert!(readme.contains(&format!("| code | meaning |\n| --- | --- |\n{}\n\n", exits.join("\n"))), "exit codes");
    let command = Cli::command();
    let about = |c: &clap::Command| c.get_about().map(ToString::to_string).unwrap_or_default();
    let commands: Vec<String> =
        command.get_subcommands().map(|c| format!("| `{}` | {} |", c.get_name(), about(c))).collect();
    let table = format!("| command | what it does |\n| --- | --- |\n{}\n\n", commands.join("\n"));
    assert!(readme.contains(&table), "the commands are\n{table}");
}

#[test]
fn what_the_readme_quotes_is_there() {
    let readme = read("README.md");
    let yaml = blocks("README.md", "yaml");
    let [sites, runbook] = yaml.as_slice() else { panic!("{yaml:#?}") };
    assert!(read("runbooks/resync_bucket.yaml").contains(runbook.as_str()), "{runbook}");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let file = folder.path().join("sites.yaml");
    fs::write(&file, sites).unwrap();
    fs::write(folder.path().join("dr-ca.pem"), "").unwrap();
    let none = |_: &str| None;
    let options =
        sites::Options { file: Some(file), beside: folder.path().to_owned(), allow_insecure: false, env: &none };
    let found = sites::Sites::load(options).unwrap_or_else(|refused| panic!("{refused}"));
    for alias in ["primary", "dr"] {
        found.lookup(alias).unwrap_or_else(|refused| panic!("{refused}"));
    }
    for runbook in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks")).unwrap() {
        let name = runbook.unwrap().file_name().to_string_lossy().into_owned();
        assert!(
            name.ends_with(".test.yaml") || readme.contains(&format!("(runbooks/{name})")),
            "README.md says nothing of {name}"
        );
    }
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    for document in DOCUMENTS {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
            let beside = beside.parent().expect("a folder");
            assert!(link.starts_with("https://") || beside.join(link).is_file(), "{document}: {link}");
        }
    }
}

#[test]
fn the_architecture_names_every_module_and_only_tests_that_are_there() {
    let text = read("ARCHITECTURE.md");
    let (map, rest) = text.split_once("## Invariants").expect("the invariants");
    let invariants = rest.split("\n## ").next().expect("a table");
    let mapped: BTreeSet<&str> = map
        .lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    let lib = read("src/lib.rs");
    let modules: BTreeSet<&str> =
        lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).chain(["main.rs"]).collect();
    assert_eq!(mapped, modules);
    let mut sources = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), &mut sources);
    let tests =
        invariants.lines().filter(|line| line.starts_with("| ")).skip(2).filter_map(|line| line.rsplit(" | ").next());
    for name in tests.flat_map(|cell| cell.split('`').skip(1).step_by(2)).filter(|name| name.contains('_')) {
        let there = sources.contains(&format!("fn {name}(")) || sources.contains(&format!("```{name}"));
        assert!(there, "there is no test `{name}`");
    }
    assert!(text.lines().count() <= 110, "longer than two pages");
}

fn collect(folder: &Path, text: &mut String) {
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            *text += &fs::read_to_string(&path).unwrap();
        }
    }
}

/// The words of a line as a shell would split them, without variables.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}
