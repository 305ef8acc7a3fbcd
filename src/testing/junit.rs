//! The report as JUnit XML, as CI systems read it: a suite each file, a case each test. There is no standard; this keeps
//! to what the schemas of Jenkins (`junit-10.xsd`) and of Ant share, and adds the `properties` of a case and its place,
//! as pytest does.

use std::fmt::Write;

use super::report::{Fate, Outcome, Report};
use crate::report::xml::{attributes, escaped, properties};

/// The report; `moment` is when the tests began, RFC 3339 without a zone as JUnit has it (UTC), `host` where.
pub fn junit(report: &Report, moment: &str, host: &str) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&Outcome> = report.outcomes.iter().collect();
    element(&mut xml, 0, "testsuites", &[("name", "firedrill".into())], Some((&all, report.seconds)));
    let mut suites: Vec<(&str, Vec<&Outcome>)> = Vec::new();
    for outcome in all {
        match suites.iter_mut().find(|(file, _)| *file == outcome.file) {
            Some((_, cases)) => cases.push(outcome),
            None => suites.push((&outcome.file, vec![outcome])),
        }
    }
    for (file, cases) in suites {
        let about = [("name", file.to_owned()), ("timestamp", moment.to_owned()), ("hostname", host.to_owned())];
        let seconds = cases.iter().map(|case| case.seconds).sum();
        element(&mut xml, 2, "testsuite", &about, Some((&cases, seconds)));
        let tool = concat!("firedrill ", env!("CARGO_PKG_VERSION")).to_owned();
        let runbook = cases.first().map(|case| case.runbook.clone()).unwrap_or_default();
        properties(&mut xml, 4, &[("tool", tool), ("runbook", runbook)]);
        for case in cases {
            one(&mut xml, case);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn one(xml: &mut String, case: &Outcome) {
    let about = [
        ("name", case.name.clone()),
        ("classname", case.file.clone()),
        ("file", case.file.clone()),
        ("line", case.line.to_string()),
        ("time", seconds(case.seconds)),
    ];
    element(xml, 4, "testcase", &about, None);
    let mut known = vec![("scenario", case.scenario.clone())];
    if let Some(ended) = case.fate.ended() {
        known.push(("verdict", ended.verdict.word().to_owned()));
        known.push(("exit", ended.exit.code().to_string()));
    }
    known.extend(case.journal.iter().map(|journal| ("journal", journal.clone())));
    properties(xml, 6, &known);
    let details = case.details();
    let message = details.first().cloned().unwrap_or_default();
    let ill = |name, kind: &str| {
        let attributes = attributes(&[("message", message.clone()), ("type", kind.to_owned())]);
        format!("      <{name}{attributes}>{}</{name}>\n", escaped(&details.join("\n")))
    };
    match &case.fate {
        Fate::Passed(_) => {}
        Fate::Failed(ended) => {
            let kind = ended.mismatches.first().map_or("expect", |mismatch| mismatch.what.as_str());
            xml.push_str(&ill("failure", kind));
        }
        Fate::Broke(_) => xml.push_str(&ill("error", "broke")),
        Fate::NotRun => xml.push_str("      <skipped message=\"not run\"/>\n"),
    }
    xml.push_str("    </testcase>\n");
}

/// Opens an element; with outcomes it counts them, as suites do.
fn element(xml: &mut String, indent: usize, name: &str, own: &[(&str, String)], counted: Option<(&[&Outcome], f64)>) {
    let mut all = own.to_vec();
    if let Some((cases, time)) = counted {
        let count = |word: &str| cases.iter().filter(|case| case.fate.word() == word).count().to_string();
        all.extend([
            ("tests", cases.len().to_string()),
            ("failures", count("failed")),
            ("errors", count("broke")),
            ("skipped", count("not_run")),
            ("time", seconds(time)),
        ]);
    }
    let _ = writeln!(xml, "{:indent$}<{name}{}>", "", attributes(&all));
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.3}")
}
