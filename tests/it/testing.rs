//! `firedrill test`: tests of runbooks, through the program.

mod files;
mod reports;

use std::{fs, path::Path};

use firedrill::{
    sandbox::scenario::ALL,
    schema::{scenario_schema, test_schema},
    tree::parse,
};

use crate::case::Firedrill;

/// Looks at the source, and holds a statement against what it finds: a run of some tenths of a second.
const LOOK: &str = "\
format: 1
runbook: look
summary: Look at both sites
kind: verify
inputs:
  least: { type: integer, default: 1, minimum: 1, description: How many versions there must be }
roles:
  source: { description: A site }
  target: { description: Its replica }
steps:
  - { id: site, uses: site.check, with: { role: source } }
  - { id: count, uses: versions.count, with: { bucket: invoices } }
  - id: enough
    uses: assert
    with: { that: [{ holds: \"{{ steps.count.source.versions >= inputs.least }}\", message: \"too few versions\" }] }
  - { id: go, uses: human.confirm, when: \"inputs.least == 2\", with: { prompt: \"Are {{ inputs.least }} enough?\" } }
";

/// A folder with the runbook and a file of tests of it.
fn case(tests: &str) -> Firedrill {
    let file = format!("format: 1\nrunbook: look.yaml\ntests:\n{tests}");
    Firedrill::new().file("look.yaml", LOOK).file("look.test.yaml", &file)
}

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn the_shipped_runbooks_pass_their_tests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks");
    let drill = Firedrill::new().args(["test", folder, "--jobs", "12"]);
    let outcome = drill.run().exit(0);
    let texts: Vec<String> =
        shipped().into_iter().filter(|(name, _)| name.ends_with(".test.yaml")).map(|f| f.1).collect();
    let tests: usize = texts.iter().map(|text| text.matches("\n  - name: ").count()).sum();
    assert!(outcome.stdout.contains(&format!("ALL TESTS PASSED: {tests} passed in ")), "{}", outcome.stdout);
    assert!(!drill.folder().join("runs/tests").exists(), "runs of tests that passed were kept");
}

#[test]
fn every_shipped_runbook_and_every_scenario_is_tested() {
    let shipped = shipped();
    let tests: Vec<&(String, String)> = shipped.iter().filter(|(name, _)| name.ends_with(".test.yaml")).collect();
    for (name, _) in shipped.iter().filter(|(name, _)| !name.ends_with(".test.yaml")) {
        let beside = name.replace(".yaml", ".test.yaml");
        assert!(tests.iter().any(|(name, _)| *name == beside), "{name} has no tests");
    }
    // One takes long, and the other one another runbook than these.
    let apart = ["million_versions", "stuck"];
    for (scenario, _) in ALL.iter().filter(|(name, _)| !apart.contains(name)) {
        let line = format!("    scenario: {scenario}\n");
        assert!(tests.iter().any(|(_, text)| text.contains(&line)), "no test runs on `{scenario}`");
    }
    let schema = test_schema();
    for (name, text) in tests {
        assert!(text.starts_with("# yaml-language-server: $schema=../schemas/test.schema.json\n"), "{name}");
        assert_eq!(refused(&schema, text), [""; 0], "{name}");
    }
    for (name, text) in ALL {
        assert_eq!(refused(&scenario_schema(), text), [""; 0], "{name}");
    }
}

fn refused(schema: &serde_json::Value, text: &str) -> Vec<String> {
    let json = parse(text).unwrap().to_json();
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(&json).map(|e| format!("{} {}", e.instance_path(), e.kind().keyword())).collect()
}

/// The time of the first and of the last line of each run that was kept.
fn spans(drill: &Firedrill) -> Vec<(String, String)> {
    let runs = drill.folder().join("runs/tests");
    let mut spans: Vec<(String, String)> = fs::read_dir(runs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("journal.jsonl").is_file())
        .map(|path| {
            let lines = crate::case::journal(&path);
            let at = |line: &serde_json::Value| line["at"].as_str().expect("a time").to_owned();
            (at(lines.first().expect("a line")), at(lines.last().expect("a line")))
        })
        .collect();
    spans.sort();
    spans
}

#[test]
fn tests_run_side_by_side_or_one_after_the_other() {
    // All fail, so that their runs are kept; each takes its time.
    let test = |n: usize| {
        format!("  - {{ name: t{n}, scenario: {{ target: {{ slow: 200ms }} }}, expect: {{ verdict: not_held }} }}\n")
    };
    let drill = case(&(0..3).map(test).collect::<String>());
    let count = |jobs: &str| {
        drill.clone().args(["test", "look.test.yaml", "--jobs", jobs]).run().exit(4).says("0 passed, 3 failed");
        let spans = spans(&drill);
        assert_eq!(spans.len(), 3);
        fs::remove_dir_all(drill.folder().join("runs")).unwrap();
        // How many began before the first of all had ended.
        let end = spans.iter().map(|(_, end)| end.clone()).min().expect("an end");
        spans.iter().filter(|(begin, _)| *begin < end).count()
    };
    assert_eq!(count("1"), 1);
    assert_eq!(count("3"), 3);
}

#[test]
fn after_a_failure_no_further_test_begins_with_fail_fast() {
    let tests = "  - { name: first, scenario: healthy, expect: { verdict: held } }\n  \
         - { name: second, scenario: healthy, expect: { verdict: broke } }\n  \
         - { name: third, scenario: healthy, expect: { verdict: held } }\n";
    let drill = case(tests);
    let args = ["test", "look.test.yaml", "--jobs", "1"];
    drill.clone().args(args).run().exit(4).says("NOT ALL TESTS PASSED: 2 passed, 1 failed in ");
    let drill = drill.args(args.iter().chain(&["--fail-fast", "--output", "json"]));
    let report = drill.run().exit(4).json();
    let words: Vec<&str> = report["tests"].as_array().unwrap().iter().map(|t| t["result"].as_str().unwrap()).collect();
    assert_eq!(words, ["passed", "failed", "not_run"]);
    assert_eq!(report["not_run"], 1);
}

#[test]
fn tests_are_chosen_by_name_or_file_and_listed() {
    let tests = "  - { name: a lost bucket, scenario: target_lost, expect: { verdict: held } }\n  \
         - { name: a whole one, scenario: healthy, expect: { verdict: held } }\n";
    let other = "format: 1\nrunbook: ../look.yaml\ntests:\n  \
         - { name: below, scenario: healthy, inputs: { least: 3 }, expect: { verdict: held } }\n";
    let drill = case(tests).file("sub/deep.test.yml", other).file(".hidden/x.test.yaml", "nonsense");
    let listed = drill.clone().args(["test", ".", "--list"]).run().exit(0);
    assert_eq!(
        listed.stdout,
        "./look.test.yaml: a lost bucket\n./look.test.yaml: a whole one\n./sub/deep.test.yml: below\n3 tests\n"
    );
    let chosen = drill.clone().args(["test", ".", "--filter", "whole", "-f", "deep", "--output", "json"]).run().exit(0);
    let names: Vec<String> =
        chosen.json()["tests"].as_array().unwrap().iter().map(|test| test["name"].to_string()).collect();
    assert_eq!(names, ["\"a whole one\"", "\"below\""]);
    drill.clone().args(["test", ".", "-f", "nowhere"]).run().exit(3).says("no test has `nowhere` in its name or file");
    drill.clone().args(["test", "runs-of-nobody"]).run().exit(3).says("cannot be read");
    drill.clone().args(["test", ".hidden"]).run().exit(3);
    fs::create_dir(drill.folder().join("empty")).unwrap();
    drill.clone().args(["test", "empty"]).run().exit(3).says("empty: holds no `*.test.yaml`");
    drill.clone().args(["test"]).run().exit(2);
    drill.clone().args(["test", ".", "--jobs", "0"]).run().exit(2);
    assert!(!drill.folder().join("runs/tests").exists());
}

#[test]
fn every_verdict_can_be_expected() {
    let late = LOOK.replace("kind: verify", "kind: recovery\nobjectives: { rto: 1ms }");
    let file = "format: 1\nrunbook: late.yaml\ntests:\n  \
         - { name: late, scenario: healthy, expect: { verdict: late, exit: 8, failed: [] } }\n";
    let tests = "  - { name: held, scenario: healthy, expect: { verdict: held, exit: 0, failed: [] } }
  - { name: not held, scenario: healthy, inputs: { least: 189 }, expect: { verdict: not_held, failed: enough } }
  - { name: broke, scenario: target_offline, expect: { verdict: broke, exit: 5, failed: [count] } }
  - name: waiting
    scenario: healthy
    inputs: { least: 2 }
    expect: { verdict: waiting, exit: 7, that: [\"steps.go.verdict == 'not_reached'\"] }
  - name: answered
    scenario: { answers: { go: no } }
    inputs: { least: 2 }
    answers: { go: true }
    expect: { verdict: held, that: [\"steps.go.ran\", \"inputs.least == 2\", \"roles.source.alias == 'source'\"] }
  - { name: refused, scenario: { answers: { go: no } }, inputs: { least: 2 }, expect: { verdict: not_held, failed: go } }
";
    let drill = case(tests).file("late.yaml", &late).file("late.test.yaml", file);
    drill.args(["test", "look.test.yaml", "late.test.yaml", "look.test.yaml"]).run().exit(0).says(": 7 passed");
}

#[test]
fn a_signal_ends_the_tests_in_order() {
    let slow = "  - { name: slow, scenario: { source: { slow: 2s } }, expect: { verdict: held } }\n  \
         - { name: never, scenario: healthy, expect: { verdict: held } }\n";
    let drill = case(slow).args(["test", "look.test.yaml", "--jobs", "1"]);
    let running = drill.spawn();
    let runs = drill.folder().join("runs/tests");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let begun =
        || fs::read_dir(&runs).is_ok_and(|mut all| all.any(|run| run.unwrap().path().join("journal.jsonl").exists()));
    while !begun() {
        assert!(std::time::Instant::now() < end, "no run began\n{}", running.so_far());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    running.signal("INT");
    running.wait().exit(130).says("0 passed, 2 not run");
    assert!(!runs.exists(), "the run of a test that was stopped was kept");
}

#[test]
fn runs_of_tests_are_not_the_runs_of_people() {
    let drill = case("  - { name: a, scenario: healthy, expect: { verdict: broke } }\n");
    let outcome = drill.clone().args(["test", "look.test.yaml"]).run().exit(4);
    drill.clone().args(["runs"]).run().exit(0).says("no runs");
    drill.clone().args(["show", "latest"]).run().exit(3);
    let (_, path) = outcome.stdout.split_once("journal ").expect("the path of the journal");
    let path = path.lines().next().unwrap();
    drill.clone().args(["audit", "verify", path]).run().exit(0);
    let runs = drill.folder().join("runs/tests");
    let runs = runs.to_str().unwrap();
    drill.clone().args(["show", "latest", "--runs", runs]).run().exit(0).says("enough");
}

#[test]
fn a_run_on_the_sandbox_is_not_resumed() {
    let drill = Firedrill::new().file("look.yaml", LOOK).args(["run", "look.yaml", "--sandbox", "-i", "least=2"]);
    let waits = drill.run().exit(7).says("firedrill show");
    assert!(!waits.stdout.contains("firedrill approve"), "{}", waits.stdout);
    for args in [&["resume", "latest"][..], &["approve", "latest"]] {
        drill.clone().args(args).run().exit(3).says("was on the sandbox (`target_lost`)");
    }
    let drill = Firedrill::new().file("look.yaml", LOOK);
    let mut running = drill.clone().args(["run", "look.yaml", "--sandbox=slow_site"]).spawn();
    running.wait_for_line(&drill, |line| line["event"] == "run_started" && line["sandbox"] == "slow_site");
    running.kill();
    drill.args(["resume", "latest"]).run().exit(3).says("was on the sandbox (`slow_site`)").says("begin a new one");
}
