//! Files that are not as they must be: each problem with its place and a way out, before anything runs.

use super::{LOOK, case};
use crate::case::Firedrill;

/// A file of tests in which one thing is wrong: where, what, and what to do about it.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("format: 1", "format: 2", "look.test.yaml:1:9", "this version reads `format: 1`"),
    ("runbook: look.yaml", "runbok: look.yaml", "look.test.yaml:2:1", "did you mean `runbook`?"),
    ("runbook: look.yaml", "runbook: loko.yaml", "look.test.yaml:2:10", "loko.yaml cannot be read"),
    ("name: a", "name: \"\"", "look.test.yaml:4:11", "a test's name is one line"),
    ("name: a", "name: b", "look.test.yaml:13:11", "two tests are called `b`"),
    ("scenario: healthy", "scenario: helthy", "look.test.yaml:5:15", "did you mean `healthy`?"),
    ("scenario: healthy", "scenario: mine.yaml", "look.test.yaml:5:15", "mine.yaml: cannot be read"),
    ("scenario: healthy", "scenario: 7", "look.test.yaml:5:15", "name one, e.g. `target_lost`"),
    ("scenario: healthy", "scenario: { damge: {} }", "look.test.yaml:5:17", "did you mean `damage`?"),
    ("scenario: healthy", "scenario: { damage: { missing: 120% } }", "look.test.yaml:5:36", "A share, `0%` to `100%`"),
    ("least: 3", "lest: 3", "look.test.yaml:6:15", "did you mean `least`?"),
    ("least: 3", "least: many", "look.test.yaml:6:22", "`many` is not a whole number"),
    ("least: 3", "least: 0", "look.test.yaml:6:22", "0 is less than 1"),
    ("inputs: { least: 3 }", "inputs: [3]", "look.test.yaml:6:13", "`inputs` is a mapping, found a list"),
    ("go: yes", "og: yes", "look.test.yaml:7:16", "did you mean `go`?"),
    ("go: yes", "enough: yes", "look.test.yaml:7:16", "the step `enough` asks nobody"),
    ("go: yes", "go: maybe", "look.test.yaml:7:20", "write `yes`, `no`, or `nobody`"),
    ("verdict: held", "verdict: hold", "look.test.yaml:9:16", "did you mean `held`?"),
    ("verdict: held\n      exit: 0", "exit: 0", "look.test.yaml:9:7", "missing key `verdict`"),
    ("exit: 0", "exit: 4", "look.test.yaml:10:13", "`held` goes with 0"),
    ("exit: 0", "exti: 0", "look.test.yaml:10:7", "did you mean `exit`?"),
    ("failed: []", "failed: [enuogh]", "look.test.yaml:11:16", "did you mean `enough`?"),
    ("failed: []", "failed: 3", "look.test.yaml:11:15", "write `failed: []` when no step may fail"),
    ("failed: []", "checks: { direction: fail }", "look.test.yaml:11:17", "no step of `look` makes checks"),
    ("failed: []", "accept: { tls: x }", "look.test.yaml:11:7", "unknown key `accept`"),
    ("steps.count.source.versions", "steps.cuont.source.versions", "look.test.yaml:12:15", "did you mean `count`?"),
    ("steps.count.source.versions", "steps.count.source.version", "look.test.yaml:12:15", "did you mean `versions`?"),
    ("inputs.least", "inputs.last", "look.test.yaml:12:", "did you mean `least`?"),
    (
        "steps.count.source.versions > inputs.least",
        "steps.count.source.versions",
        "look.test.yaml:12:15",
        "must be true or false",
    ),
    ("steps.count.source.versions > inputs.least", "{{ 1 > 0 }}", "look.test.yaml:12:15", "write it without braces"),
    ("steps.count.source.versions > inputs.least", "1 >", "look.test.yaml:12:", "not an expression"),
    ("steps.count.source.versions > inputs.least", "out.versions > 0", "look.test.yaml:12:15", "`steps.<id>.<field>`"),
];

const GOOD: &str = "\
format: 1
runbook: look.yaml
tests:
  - name: a
    scenario: healthy
    inputs: { least: 3 }
    answers: { go: yes }
    expect:
      verdict: held
      exit: 0
      failed: []
      that: [\"steps.count.source.versions > inputs.least\"]
  - name: b
    scenario: healthy
    expect: { verdict: held }
";

#[test]
fn a_file_with_a_problem_is_refused_before_anything_runs() {
    let drill = Firedrill::new().file("look.yaml", LOOK);
    drill.clone().file("look.test.yaml", GOOD).args(["test", "look.test.yaml", "--list"]).run().exit(0);
    for (from, to, place, words) in WRONG {
        assert!(GOOD.contains(from), "{from}");
        let drill = drill.clone().file("look.test.yaml", &GOOD.replacen(from, to, 1));
        let outcome = drill.args(["test", "look.test.yaml"]).run();
        assert_eq!(outcome.code, 3, "{to}\n{}{}", outcome.stdout, outcome.stderr);
        assert!(outcome.stderr.contains(place) && outcome.stderr.contains(words), "{to}\n{}", outcome.stderr);
        assert!(outcome.stderr.contains("help: ") && outcome.stdout.is_empty(), "{to}\n{}", outcome.stderr);
    }
    assert!(!drill.folder().join("runs").exists(), "something ran");
}

#[test]
fn all_problems_of_all_files_are_said_at_once() {
    let tests = "  - { name: a, scenario: helthy, inputs: { least: 0, lest: 1 }, expect: { verdict: hold } }\n  \
         - { name: b, scenario: mine.yaml, expect: { verdict: held, that: [\"steps.cuont.ran\"] } }\n  \
         - { name: c, scenario: mine.yaml, expect: { verdict: held } }\n";
    let broken = "scenario: mine\nsumary: x\ndamage: { missing: 120% }\nresync: { lie: badly }\n";
    let drill = case(tests)
        .file("mine.yaml", broken)
        .file("bad.yaml", "format: 1\nrunbook: bad\n")
        .file("bad.test.yaml", "format: 1\nrunbook: bad.yaml\ntests: []\n");
    let outcome = drill.clone().args(["test", "."]).run().exit(3);
    let places = [
        "./look.test.yaml:4:26",
        "./look.test.yaml:4:51",
        "./look.test.yaml:4:54",
        "./look.test.yaml:4:84",
        "./look.test.yaml:5:70",
        "./mine.yaml:1:1",
        "./mine.yaml:2:1",
        "./mine.yaml:3:20",
        "./mine.yaml:4:16",
        "./bad.yaml:1:1",
        "./bad.test.yaml:3:8",
    ];
    for place in places {
        assert!(outcome.stderr.contains(place), "nothing at {place}\n{}", outcome.stderr);
    }
    assert_eq!(outcome.stderr.matches("mine.yaml:3:20").count(), 1, "said twice\n{}", outcome.stderr);
    let json = drill.args(["test", ".", "--output", "json"]).run().exit(3).json();
    let said: Vec<String> = json
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| format!("{}:{}:{}", problem["file"].as_str().unwrap(), problem["line"], problem["column"]))
        .collect();
    for place in places {
        assert!(said.iter().any(|said| said == place), "nothing at {place}: {said:?}");
    }
    assert!(json.as_array().unwrap().iter().all(|problem| problem["help"].is_string()), "{json:#}");
}

#[test]
fn what_is_no_file_of_tests_is_refused() {
    for (text, words) in [
        ("", "the file is empty"),
        ("- a\n", "a file of tests is a mapping"),
        ("format: 1\nrunbook: look.yaml\ntests: [a]\n", "a test is a mapping"),
        ("format: 1\nrunbook: look.yaml\ntests: { a: b }\n", "`tests` is a list of tests"),
        ("format: 1\nrunbook: [\n", "x.test.yaml:"),
        (LOOK, "unknown key `steps`"),
    ] {
        let drill = Firedrill::new().file("look.yaml", LOOK).file("x.test.yaml", text);
        drill.args(["test", "x.test.yaml"]).run().exit(3).says(words);
    }
    let drill = Firedrill::new().file("x.test.yaml", GOOD);
    std::fs::write(drill.folder().join("look.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    drill.args(["test", "x.test.yaml"]).run().exit(3).says("look.yaml");
}

#[test]
fn a_runbook_with_other_roles_cannot_be_tested() {
    let drill = case("  - { name: a, scenario: healthy, expect: { verdict: held } }\n");
    let third = LOOK.replace(
        "  target: { description: Its replica }",
        "  target: { description: Its replica }\n  witness: { description: A third }",
    );
    drill.file("look.yaml", &third).args(["test", "look.test.yaml"]).run().exit(3).says("has a role `witness`");
}

#[test]
fn a_secret_input_is_shown_nowhere() {
    let wrong = "  - { name: a, scenario: healthy, inputs: { phrase: [hunter22] }, expect: { verdict: held } }\n";
    let secret = LOOK
        .replace(
            "  least:",
            "  phrase: { type: string, secret: true, description: A word that nobody may see }\n  least:",
        )
        .replace("Are {{ inputs.least }} enough?", "Is {{ inputs.phrase }} right?");
    let drill = case(wrong).file("look.yaml", &secret).args(["test", "look.test.yaml"]);
    let refused = drill.run().exit(3).says("the input `phrase` does not fit");
    assert!(!refused.stderr.contains("hunter22"), "{}", refused.stderr);
    let wrong = "  - name: a\n    scenario: healthy\n    inputs: { phrase: hunter22, least: 2 }\n    \
        expect: { verdict: held, that: [\"inputs.phrase == 'x'\"] }\n";
    let drill = case(wrong).file("look.yaml", &secret).args(["test", "look.test.yaml", "--junit", "out.xml"]);
    let failed = drill.run().exit(4).says("step go asks: Is *** right?").says("inputs.phrase is");
    drill.assert_no_secrets(&[&failed], &["hunter22".into()]);
}

#[test]
fn a_scenario_of_the_users_own_is_checked_as_well() {
    let mine =
        "scenario: mine\nsummary: Half of it is gone\ndamage: { missing: 50%, gone: 1 }\nsource: { slow: 3 days }\n";
    let drill = Firedrill::new().file("look.yaml", LOOK).file("mine.yaml", mine);
    let run = |name: &str| drill.clone().args(["run", "look.yaml", &format!("--sandbox={name}")]).run();
    let refused = run("mine.yaml").exit(3).says("2 errors").says("mine.yaml:3:25").says("mine.yaml:4:17");
    assert!(refused.stderr.contains("A length of time: `500ms`, `3s` or `2m`"), "{}", refused.stderr);
    run("helthy").exit(3).says("did you mean `healthy`?");
    run("nothing-like-it").exit(3).says("target_lost");
    run("absent.yaml").exit(3).says("absent.yaml");
    let good = mine.replace(", gone: 1", "").replace("3 days", "1ms");
    drill.clone().file("mine.yaml", &good).args(["run", "look.yaml", "--sandbox=mine.yaml"]).run().exit(0);
    let tests = "format: 1\nrunbook: look.yaml\ntests:\n  - name: a\n    scenario: sub/mine.yaml\n    \
         expect: { verdict: held, that: [\"steps.count.target.versions < steps.count.source.versions\"] }\n";
    drill.file("sub/mine.yaml", &good).file("a.test.yaml", tests).args(["test", "a.test.yaml"]).run().exit(0);
}
