//! What is said of tests: lines for people, JSON for scripts, JUnit XML for CI systems.

use std::{collections::BTreeMap, env, fs, io::Write, process::Command};

use quick_xml::{Reader, events::Event};
use serde_json::Value;

use super::case;
use crate::case::Firedrill;

/// Wrong in every way, and one that is right.
const TESTS: &str = "  - { name: right, scenario: healthy, expect: { verdict: held } }
  - name: \"wrong <in> \\\"every\\\" & 'any' way ✗\"
    scenario: healthy
    inputs: { least: 1000 }
    expect:
      verdict: held
      exit: 0
      failed: []
      that: [\"steps.count.source.versions == 7\", \"steps.enough.checked == 1\", \"steps.go.confirmed | default(false)\"]
";

fn wrong() -> Firedrill {
    case(TESTS)
}

#[test]
fn a_failure_says_what_was_expected_what_came_and_why() {
    let drill = wrong().args(["test", "look.test.yaml", "--jobs", "1"]);
    let outcome = drill.run().exit(4);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    let [right, wrong, details @ .., summary, last] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(right.starts_with("✓ ") && right.ends_with("s  look.test.yaml: right"), "{right}");
    assert!(wrong.starts_with("✗ ") && wrong.ends_with("way ✗"), "{wrong}");
    assert_eq!(
        details[..6],
        [
            "    verdict: expected held, came not_held",
            "    exit: expected 0, came 4",
            "    failed: expected none, came enough",
            "    that: expected steps.count.source.versions == 7, came steps.count.source.versions is 188",
            "    that: expected steps.go.confirmed | default(false), came false",
            "    step enough not_held: assert: too few versions",
        ]
    );
    assert_eq!(details[6], "    at look.test.yaml:5");
    let journal = details[7].strip_prefix("    journal ").expect("the journal");
    assert!(drill.folder().join(journal).is_file(), "{journal}");
    assert_eq!(details.len(), 8);
    assert!(summary.starts_with("NOT ALL TESTS PASSED: 1 passed, 1 failed in "), "{summary}");
    assert_eq!(*last, "  look.test.yaml:5  wrong <in> \"every\" & 'any' way ✗");
    assert_eq!(outcome.stderr, "");
}

#[test]
fn scripts_get_all_of_it() {
    let drill = wrong().args(["test", "look.test.yaml", "--output", "json"]);
    let report = drill.run().exit(4).json();
    assert_eq!([&report["passed"], &report["failed"], &report["broke"], &report["not_run"]], [1, 1, 0, 0]);
    let [right, wrong] = report["tests"].as_array().unwrap().as_slice() else { panic!("{report:#}") };
    assert_eq!(right["result"], "passed");
    assert_eq!([&right["verdict"], &right["scenario"], &right["runbook"]], ["held", "healthy", "look"]);
    assert_eq!(right["journal"], Value::Null);
    assert_eq!([&right["mismatches"], &right["failed"]].map(|list| list.as_array().map(Vec::len)), [Some(0); 2]);
    assert_eq!([&wrong["result"], &wrong["verdict"], &wrong["file"]], ["failed", "not_held", "look.test.yaml"]);
    assert_eq!([&wrong["line"], &wrong["exit"]], [5, 4]);
    assert_eq!(wrong["mismatches"][0], serde_json::json!({"what": "verdict", "expected": "held", "came": "not_held"}));
    assert_eq!(wrong["failed"][0]["step"], "enough");
    assert_eq!(wrong["failed"][0]["findings"][0]["text"], "assert: too few versions");
    assert!(drill.folder().join(wrong["journal"].as_str().unwrap()).is_file());
    assert!(wrong["seconds"].as_f64().unwrap() > 0.0 && report["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_check_is_held_against_its_last_word() {
    let runbook = "format: 1\nrunbook: ready\nsummary: Is it ready?\nkind: verify\n\
        roles: { source: { description: S }, target: { description: T } }\nsteps:\n  \
        - { id: checks, uses: replication.preconditions, with: { bucket: invoices, arn: '' } }\n";
    let file = "format: 1\nrunbook: ready.yaml\ntests:\n  \
        - { name: a, scenario: healthy, expect: { verdict: held, checks: { direction: fail, clock_skew: pass } } }\n  \
        - { name: b, scenario: clock_skew, expect: { verdict: held, checks: { clock_skew: warn } } }\n";
    let drill = Firedrill::new().file("ready.yaml", runbook).file("ready.test.yaml", file);
    let outcome = drill.clone().args(["test", "ready.test.yaml"]).run().exit(4);
    let said = outcome.says("    checks.direction: expected fail, came pass\n");
    assert!(!said.stdout.contains("checks.clock_skew"), "{}", said.stdout);
    let unknown = file.replace("direction: fail", "directoin: fial");
    let said = drill.file("ready.test.yaml", &unknown).args(["test", "ready.test.yaml"]).run().exit(3);
    said.says("did you mean `direction`?").says("did you mean `fail`?");
}

/// An element of the report: its attributes, what is in it, its text.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn all(&self, name: &str) -> Vec<&Element> {
        self.children.iter().filter(|child| child.name == name).collect()
    }
    fn property(&self, name: &str) -> Option<&str> {
        let properties = self.all("properties").into_iter().flat_map(|all| all.all("property"));
        properties.filter(|property| property.attributes["name"] == name).map(|p| p.attributes["value"].as_str()).next()
    }
}

fn parse(xml: &str) -> Element {
    let mut reader = Reader::from_str(xml);
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().unwrap_or_else(|e| panic!("{e}\n{xml}"));
        match &event {
            Event::Start(start) | Event::Empty(start) => {
                let attributes = start.attributes().map(|attribute| {
                    let attribute = attribute.expect("an attribute");
                    let name = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
                    (name, attribute.unescape_value().expect("a value").into_owned())
                });
                let element = Element {
                    name: String::from_utf8_lossy(start.name().as_ref()).into_owned(),
                    attributes: attributes.collect(),
                    ..Element::default()
                };
                if matches!(event, Event::Empty(_)) {
                    open.last_mut().unwrap().children.push(element);
                } else {
                    open.push(element);
                }
            }
            Event::End(_) => {
                let element = open.pop().unwrap();
                open.last_mut().unwrap().children.push(element);
            }
            Event::Text(text) => open.last_mut().unwrap().text += &text.decode().unwrap(),
            Event::GeneralRef(reference) => {
                let named = [("amp", "&"), ("lt", "<"), ("gt", ">"), ("quot", "\""), ("apos", "'")];
                let name = reference.decode().unwrap().into_owned();
                let text = match reference.resolve_char_ref().unwrap() {
                    Some(c) => c.to_string(),
                    None => named.iter().find(|(known, _)| *known == name).expect("a known entity").1.to_owned(),
                };
                open.last_mut().unwrap().text += &text;
            }
            Event::Eof => return open.remove(0).children.remove(0),
            _ => {}
        }
    }
}

/// Every attribute that the schemas of Jenkins and Ant ask for is there, and the counts are those of the cases.
fn well_formed(report: &Element) {
    assert_eq!(report.name, "testsuites");
    let counted = |element: &Element, cases: &[&Element]| {
        let with = |name: &str| cases.iter().filter(|case| !case.all(name).is_empty()).count().to_string();
        let counts = [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")];
        for (attribute, child) in counts {
            assert_eq!(element.attributes[attribute], with(child), "{attribute}: {element:#?}");
        }
        assert_eq!(element.attributes["tests"], cases.len().to_string());
        assert!(element.attributes["time"].parse::<f64>().unwrap() >= 0.0);
    };
    let suites = report.all("testsuite");
    assert_eq!(suites.len(), report.children.len());
    counted(report, &suites.iter().flat_map(|suite| suite.all("testcase")).collect::<Vec<_>>());
    for suite in suites {
        let cases = suite.all("testcase");
        counted(suite, &cases);
        // Its properties come first.
        assert_eq!(suite.children.first().map(|first| first.name.as_str()), Some("properties"));
        let moment = &suite.attributes["timestamp"];
        assert!(moment.parse::<jiff::civil::DateTime>().is_ok() && moment.len() == 19, "{moment}");
        assert!(!suite.attributes["name"].is_empty() && !suite.attributes["hostname"].is_empty());
        for case in cases {
            assert!(!case.attributes["name"].is_empty() && !case.attributes["classname"].is_empty());
            assert!(case.attributes["time"].parse::<f64>().unwrap() >= 0.0);
            assert_eq!(case.all("properties").len(), 1);
        }
    }
}

fn reported() -> (Firedrill, String) {
    let more =
        "format: 1\nrunbook: look.yaml\ntests:\n  - { name: last, scenario: target_lost, expect: { verdict: held } }\n";
    let drill = wrong().file("more.test.yaml", more);
    let args = ["test", "look.test.yaml", "more.test.yaml", "--jobs", "1", "--fail-fast", "--junit", "out.xml"];
    let drill = drill.args(args);
    drill.run().exit(4);
    let xml = fs::read_to_string(drill.folder().join("out.xml")).unwrap();
    (drill, xml)
}

#[test]
fn ci_systems_get_a_suite_each_file_and_a_case_each_test() {
    let (drill, xml) = reported();
    let report = parse(&xml);
    well_formed(&report);
    let suites = report.all("testsuite");
    let [look, more] = suites.as_slice() else { panic!("{report:#?}") };
    assert_eq!([&look.attributes["name"], &more.attributes["name"]], ["look.test.yaml", "more.test.yaml"]);
    assert_eq!(look.property("runbook"), Some("look"));
    let cases = look.all("testcase");
    let [right, wrong] = cases.as_slice() else { panic!("{look:#?}") };
    assert_eq!([&right.attributes["name"], &right.attributes["classname"]], ["right", "look.test.yaml"]);
    assert_eq!(
        [right.property("verdict"), right.property("exit"), right.property("journal")],
        [Some("held"), Some("0"), None]
    );
    assert_eq!(wrong.attributes["name"], "wrong <in> \"every\" & 'any' way ✗");
    assert_eq!([&wrong.attributes["file"], &wrong.attributes["line"]], ["look.test.yaml", "5"]);
    assert!(drill.folder().join(wrong.property("journal").unwrap()).is_file());
    let failure = wrong.all("failure")[0];
    assert_eq!(failure.attributes["message"], "verdict: expected held, came not_held");
    assert_eq!(failure.attributes["type"], "verdict");
    assert!(failure.text.contains("\nstep enough not_held: assert: too few versions\n"), "{}", failure.text);
    let last = more.all("testcase")[0];
    assert_eq!((last.property("scenario"), last.all("skipped").len()), (Some("target_lost"), 1));
    // Found out before an hour of tests.
    let unwritable = drill.args(["test", "look.test.yaml", "--junit", "absent/out.xml"]).run().exit(3);
    assert!(unwritable.says("absent/out.xml: cannot be written").stdout.is_empty());
}

/// What a parser that CI jobs use makes of it. `FIREDRILL_TEST_PYTHON` names a Python that has it.
#[test]
fn a_parser_from_elsewhere_reads_the_report() {
    let Some(python) = env::var_os("FIREDRILL_TEST_PYTHON") else {
        assert!(env::var("CI").as_deref() != Ok("true"), "needs Python, and under CI=true a skip is a failure");
        // Straight to the descriptor: the test harness would keep the words of a passing test to itself.
        let _ = writeln!(std::io::stderr().lock(), "skipped: needs Python with junitparser (FIREDRILL_TEST_PYTHON)");
        return;
    };
    let (drill, _) = reported();
    let script = "\
import sys
from junitparser import JUnitXml, Failure, Skipped
xml = JUnitXml.fromfile(sys.argv[1])
print(xml.tests, xml.failures, xml.errors, xml.skipped)
for suite in xml:
    for case in suite:
        kinds = [type(result).__name__ for result in case.result]
        properties = {p.name: p.value for p in case.iterchildren(__import__('junitparser').Properties) for p in p}
        print(suite.name, '|', case.name, '|', kinds, '|', properties.get('scenario'), '|', case.time >= 0)
";
    let output = Command::new(python).args(["-c", script, "out.xml"]).current_dir(drill.folder()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "3 1 0 1\n\
         look.test.yaml | right | [] | healthy | True\n\
         look.test.yaml | wrong <in> \"every\" & 'any' way ✗ | ['Failure'] | healthy | True\n\
         more.test.yaml | last | ['Skipped'] | target_lost | True\n"
    );
}
