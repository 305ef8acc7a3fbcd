//! Reports: what they say of runs that ended in every way, and that nothing in a run can turn into markup.

use std::fs;

use firedrill::schema::report_schema;
use quick_xml::{Reader, events::Event};
use serde_json::Value;

use crate::case::Firedrill;

/// A run of the unattended recovery on a scenario.
fn recovered(scenario: &str, exit: i32) -> Firedrill {
    let drill = Firedrill::new();
    let args = ["recover", &format!("--sandbox={scenario}"), "-i", "settle=1s", "-i", "max_attempts=1"];
    drill.clone().args(args).run().exit(exit);
    drill
}

fn report(drill: &Firedrill, form: &str) -> String {
    drill.clone().args(["report", "latest", "--format", form]).run().exit(0).stdout
}

/// Name, attributes, text.
type Element = (String, Vec<(String, String)>, String);

/// The elements of a well-formed document.
fn elements(document: &str) -> Vec<Element> {
    let mut reader = Reader::from_str(document);
    reader.config_mut().check_end_names = true;
    let mut found: Vec<Element> = Vec::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(tag) | Event::Empty(tag) => {
                let attributes = tag.attributes().map(|attribute| {
                    let attribute = attribute.expect("an attribute");
                    let value = attribute.unescape_value().expect("a value").into_owned();
                    (String::from_utf8_lossy(attribute.key.as_ref()).into_owned(), value)
                });
                let attributes = attributes.collect();
                found.push((String::from_utf8_lossy(tag.name().as_ref()).into_owned(), attributes, String::new()));
            }
            Event::Text(text) => {
                if let Some((_, _, said)) = found.last_mut() {
                    said.push_str(&text.decode().expect("text"));
                }
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

fn attribute<'a>(attributes: &'a [(String, String)], name: &str) -> &'a str {
    attributes.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
}

#[test]
fn a_green_run_is_green_in_every_form() {
    let drill = recovered("target_lost", 0);
    let json: Value = serde_json::from_str(&report(&drill, "json")).unwrap();
    jsonschema::validator_for(&report_schema()).unwrap().validate(&json).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(json["verdict"], "held");
    assert_eq!(json["steps"]["prepare"]["changes"][0]["outcome"], "done", "{json:#}");
    assert_eq!(json["steps"]["validate"]["output"]["versions"], 188);

    let junit = elements(&report(&drill, "junit"));
    let cases: Vec<_> = junit.iter().filter(|(name, ..)| name == "testcase").collect();
    let (_, suites, _) = &junit[0];
    assert_eq!(attribute(suites, "tests"), cases.len().to_string());
    assert_eq!((attribute(suites, "failures"), attribute(suites, "errors")), ("0", "0"));
    assert!(junit.iter().all(|(name, ..)| name != "failure" && name != "error"));
    let names: Vec<&str> = cases.iter().map(|(_, attributes, _)| attribute(attributes, "name")).collect();
    for wanted in ["targets", "direction", "validate", "verdict"] {
        assert!(names.contains(&wanted), "no case `{wanted}` in {names:?}");
    }

    let head = json["head"].as_str().unwrap();
    for (form, words) in [("markdown", "# HELD: recover"), ("html", "<p class=\"verdict\">HELD</p>")] {
        let text = report(&drill, form);
        assert!(text.contains(words) && text.contains(head), "{text}");
        assert!(text.contains("188"), "{text}");
    }
}

#[test]
fn what_does_not_hold_is_a_failure_with_its_remedy() {
    let drill = recovered("wrong_credentials", 4);
    let text = report(&drill, "junit");
    let junit = elements(&text);
    let failed = junit.iter().zip(&junit[1..]).filter(|(_, (name, ..))| name == "failure" || name == "error");
    let failed: Vec<&str> = failed.map(|((_, attributes, _), _)| attribute(attributes, "name")).collect();
    assert_eq!(failed, ["ready", "target_credentials", "verdict"], "{text}");
    let (_, suites, _) = &junit[0];
    assert_eq!(attribute(suites, "failures"), "3");
    assert_ne!(attribute(suites, "skipped"), "0", "steps that were not reached are skipped");
    for (form, words) in [("markdown", "# NOT HELD"), ("html", "not recovered")] {
        let text = report(&drill, form);
        assert!(text.contains(words) && text.contains("target_credentials") || text.contains("target\\_credentials"));
    }
}

#[test]
fn a_late_run_is_late_though_every_step_holds() {
    let runbook = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/recover_bucket.yaml")).unwrap();
    let hurried = format!("{runbook}\nobjectives: {{ rto: 1ms }}\n");
    let drill = Firedrill::new().file("hurried.yaml", &hurried);
    drill.clone().args(["run", "hurried.yaml", "--sandbox"]).run().exit(8);
    let junit = elements(&report(&drill, "junit"));
    let at = junit.iter().position(|(name, ..)| name == "failure").expect("a failure");
    assert_eq!(attribute(&junit[at - 1].1, "name"), "verdict");
    assert!(report(&drill, "markdown").starts_with("# LATE"));
    assert!(report(&drill, "html").contains("0.0s allowed: missed"));
}

#[test]
fn a_run_that_waits_is_no_success_and_says_who_is_asked() {
    let runbook = "format: 1\nrunbook: asks\nsummary: Asks\nkind: verify\nroles: {}\nsteps:\n  \
        - { id: ask, uses: human.confirm, with: { prompt: \"Is it so?\" } }\n";
    let drill = Firedrill::new().file("asks.yaml", runbook);
    drill.clone().args(["run", "asks.yaml"]).run().exit(7);
    let junit = elements(&report(&drill, "junit"));
    assert_eq!(attribute(&junit[0].1, "errors"), "2", "the step has not ended, nor has the run");
    let html = report(&drill, "html");
    assert!(html.contains("WAITING") && html.contains("Is it so?") && html.contains("firedrill approve"), "{html}");
}

/// Text that closes and opens whatever it stands in.
const HOSTILE: &str =
    "</td></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|[x](http://evil.example)\u{1}]]>&amp;@team";

#[test]
fn nothing_that_a_run_says_becomes_markup() {
    let runbook = "format: 1\nrunbook: hostile\nsummary: Says what it is given\nkind: verify\nroles: {}\n\
        inputs: { text: { type: string, description: Anything } }\nsteps:\n  \
        - { id: say, uses: human.confirm, with: { prompt: \"{{ inputs.text }}\" } }\n  \
        - { id: claim, uses: assert, with: { that: [ { holds: false, message: \"{{ inputs.text }}\" } ] } }\n";
    let drill = Firedrill::new().file("hostile.yaml", runbook);
    let text = format!("text={HOSTILE}");
    drill.clone().args(["run", "hostile.yaml", "-i", &text, "--yes=say"]).run().exit(4);
    let html = report(&drill, "html");
    for markup in ["<script", "<img", "</td></pre>"] {
        assert!(!html.contains(markup), "{markup}: {html}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
    // Nothing is fetched, and nothing may run.
    for outside in ["<link", "<script", "@import", "url(", "<iframe", "javascript:"] {
        assert!(!html.contains(outside), "{outside}");
    }
    assert!(html.contains("default-src 'none'"));
    let markdown = report(&drill, "markdown");
    assert!(
        !markdown.contains("<script")
            && !markdown.contains("<img")
            && !markdown.contains("[x](")
            && !markdown.contains('\u{1}'),
        "{markdown}"
    );
    let junit = report(&drill, "junit");
    let said: Vec<String> =
        elements(&junit).into_iter().flat_map(|(_, a, text)| a.into_iter().map(|(_, v)| v).chain([text])).collect();
    assert!(said.iter().any(|text| text.contains("<script>alert(1)</script>")), "{junit}");
    assert!(!junit.contains('\u{1}'));
}

#[test]
fn a_journal_that_does_not_verify_gets_no_report() {
    let drill = recovered("healthy", 0);
    let run = fs::read_dir(drill.folder().join("runs")).unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let journal = run.map(|path| path.join("journal.jsonl")).find(|path| path.is_file()).unwrap();
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replacen("\"versions\":188", "\"versions\":189", 1)).unwrap();
    let file = drill.folder().join("report.html");
    let args = ["report", "latest", "--format", "html", "-o", file.to_str().unwrap()];
    drill.clone().args(args).run().exit(6).says("does not verify");
    assert!(!file.exists());
}
