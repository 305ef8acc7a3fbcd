//! What the program says without any site: help, reference, schemas, and `check`. Whole outputs, as in the files under
//! `tests/cases/cli/`; `UPDATE=1` writes them anew.

use std::{env, fmt::Write, fs, path::Path};

use crate::case::Firedrill;

const GOOD: &str = "\
format: 1
runbook: look
summary: Look at one site
kind: verify
roles:
  source: { description: A site }
steps:
  - { id: site, uses: site.check, with: { role: source } }
";

const WARNED: &str = "\
format: 1
runbook: look
summary: Look at one site
kind: verify
inputs:
  spare: { type: string, description: Nothing uses this }
roles:
  source: { description: A site }
steps:
  - { id: site, uses: site.check, with: { role: source } }
";

const BAD: &str = "\
format: 1
runbook: look
summary: Look at one site
kind: verify
roles:
  source: { description: A site }
steps:
  - id: site
    uses: site.chekc
  - id: compare
    uses: versions.compare
    with: { bucket: \"{{ inputs.bucket }}\", settle: 10 minutes }
";

fn case() -> Firedrill {
    Firedrill::new().file("good.yaml", GOOD).file("warned.yaml", WARNED).file("bad.yaml", BAD)
}

/// Compares exit code, stdout and stderr with a golden file.
#[track_caller]
fn golden(name: &str, drill: &Firedrill, args: &[&str]) {
    let outcome = drill.clone().args(args).run();
    let mut said = String::new();
    let _ = writeln!(said, "$ firedrill {}\nexit {}", args.join(" "), outcome.code);
    for (stream, text) in [("stdout", &outcome.stdout), ("stderr", &outcome.stderr)] {
        if !text.is_empty() {
            let _ = write!(said, "--- {stream}\n{text}");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/cli").join(format!("{name}.txt"));
    if env::var_os("UPDATE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).unwrap();
        fs::write(&path, &said).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert!(said == wanted, "{name}\n--- wanted\n{wanted}\n--- said\n{said}");
}

#[test]
fn help_reads_as_recorded() {
    golden("help", &case(), &["--help"]);
    for command in [
        "check", "plan", "run", "recover", "verify", "compare", "resume", "approve", "runs", "show", "audit", "steps",
        "schema", "sites", "test",
    ] {
        golden(&format!("help_{command}"), &case(), &[command, "--help"]);
    }
}

#[test]
fn the_width_of_a_terminal_changes_nothing() {
    for args in [&["--help"][..], &["recover", "--help"], &["run", "--help"], &["approve", "--help"], &["steps"]] {
        let wide = case().args(args).env("COLUMNS", "300").run().stdout;
        assert_eq!(wide, case().args(args).env("COLUMNS", "40").run().stdout);
        let long = wide.lines().filter(|line| line.chars().count() > 120);
        assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
    }
}

#[test]
fn the_reference_reads_as_recorded() {
    golden("steps", &case(), &["steps"]);
    golden("steps_json", &case(), &["steps", "--output", "json"]);
    golden("steps_resync_recover", &case(), &["steps", "resync.recover"]);
    golden("steps_unknown", &case(), &["steps", "resync.recovr"]);
}

#[test]
fn the_schemas_are_the_shipped_ones() {
    for (args, shipped) in [
        (&["schema"][..], "runbook.schema.json"),
        (&["schema", "runbook"], "runbook.schema.json"),
        (&["schema", "test"], "test.schema.json"),
        (&["schema", "scenario"], "scenario.schema.json"),
        (&["schema", "journal"], "journal.schema.json"),
    ] {
        let outcome = case().args(args).run().exit(0);
        let shipped = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(shipped)).unwrap();
        assert!(outcome.stdout == shipped && outcome.stderr.is_empty(), "`firedrill {}` differs", args.join(" "));
    }
}

#[test]
fn check_says_what_is_wrong_and_where() {
    golden("check_good", &case(), &["check", "good.yaml"]);
    golden("check_good_json", &case(), &["check", "good.yaml", "--output", "json"]);
    golden("check_warned", &case(), &["check", "warned.yaml"]);
    golden("check_bad", &case(), &["check", "good.yaml", "bad.yaml"]);
    golden("check_bad_json", &case(), &["check", "bad.yaml", "--output", "json"]);
    golden("run_bad", &case(), &["run", "bad.yaml", "--site", "source=primary"]);
    golden("check_unreadable", &case(), &["check", "absent.yaml"]);
    golden("check_unreadable_json", &case(), &["check", "absent.yaml", "good.yaml", "--output", "json"]);
}

#[test]
fn wrong_usage_is_exit_2_and_no_runs_directory() {
    golden("usage_no_command", &case(), &[]);
    golden("usage_unknown", &case(), &["recovr"]);
    golden("usage_place", &case(), &["recover", "primary", "dr/invoices"]);
    golden("usage_pair", &case(), &["run", "good.yaml", "--site", "source"]);
    golden("usage_since", &case(), &["run", "good.yaml", "--since", "yesterday"]);
    let drill = case();
    golden("unbound", &drill, &["run", "good.yaml"]);
    golden(
        "unknown_alias",
        &drill.clone().env("MC_CONFIG_DIR", "mc"),
        &["run", "good.yaml", "--site", "source=primary"],
    );
    golden("unknown_run", &drill, &["show", "latest", "--runs", "runs"]);
    golden("no_runs", &drill, &["runs", "--runs", "runs"]);
    assert!(!drill.folder().join("runs").exists(), "a run was left behind");
}

#[test]
fn a_recorded_journal_verifies_and_a_changed_one_does_not() {
    let text = include_str!("../cases/journals/recovered.jsonl");
    let drill =
        case().file("journal.jsonl", text).file("changed.jsonl", &text.replace("\"missing\":0", "\"missing\":1"));
    golden("audit_verify", &drill, &["audit", "verify", "journal.jsonl"]);
    golden("audit_changed", &drill, &["audit", "verify", "changed.jsonl"]);
}
