//! A run as JUnit XML, which every CI shows: a case for each step and each check, and one for the verdict.

use std::fmt::Write;

use super::{
    facts::{Report, Step},
    xml::{attributes, escaped, properties},
};
use crate::event::Verdict;

/// The report as JUnit XML. What did not hold is a `failure`, what could not be done an `error`.
pub fn junit(report: &Report) -> String {
    let mut cases: Vec<Case> = report.steps.iter().flat_map(|step| of_step(report, step)).collect();
    cases.push(verdict(report));
    let count = |kind: &str| cases.iter().filter(|case| case.result.is(kind)).count();
    let counts = attributes(&[
        ("tests", cases.len().to_string()),
        ("failures", count("failure").to_string()),
        ("errors", count("error").to_string()),
        ("skipped", count("skipped").to_string()),
        ("time", format!("{:.3}", report.seconds)),
    ]);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(text, "<testsuites name=\"firedrill\"{counts}>");
    let about = attributes(&[
        ("name", report.runbook.clone()),
        ("timestamp", report.started_at.strftime("%Y-%m-%dT%H:%M:%S").to_string()),
        ("hostname", report.host.clone()),
    ]);
    let _ = writeln!(text, "  <testsuite{about}{counts}>");
    properties(&mut text, 4, &facts(report));
    for case in &cases {
        case.write(&mut text);
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

struct Case {
    class: String,
    name: String,
    seconds: f64,
    result: Result,
    /// Where to look it up in the runbook or the journal.
    said: String,
}

enum Result {
    Passed,
    Skipped(String),
    Failure { id: String, text: String },
    Error { id: String, text: String },
}

impl Result {
    fn is(&self, element: &str) -> bool {
        match self {
            Self::Passed => false,
            Self::Skipped(_) => element == "skipped",
            Self::Failure { .. } => element == "failure",
            Self::Error { .. } => element == "error",
        }
    }
}

impl Case {
    fn write(&self, text: &mut String) {
        let about = attributes(&[
            ("classname", self.class.clone()),
            ("name", self.name.clone()),
            ("time", format!("{:.3}", self.seconds)),
        ]);
        let _ = write!(text, "    <testcase{about}");
        let inside = match &self.result {
            Result::Passed => String::new(),
            Result::Skipped(why) => format!("      <skipped message=\"{}\"/>\n", escaped(why)),
            Result::Failure { id, text } => problem("failure", id, text),
            Result::Error { id, text } => problem("error", id, text),
        };
        let said = if self.said.is_empty() {
            String::new()
        } else {
            format!("      <system-out>{}</system-out>\n", escaped(&self.said))
        };
        let _ = match (inside.as_str(), said.as_str()) {
            ("", "") => writeln!(text, "/>"),
            (inside, said) => writeln!(text, ">\n{inside}{said}    </testcase>"),
        };
    }
}

fn problem(element: &str, id: &str, text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    let about = attributes(&[("type", id.to_owned()), ("message", first.to_owned())]);
    format!("      <{element}{about}>{}</{element}>\n", escaped(text))
}

fn facts(report: &Report) -> Vec<(String, String)> {
    let mut all = vec![
        ("run".to_owned(), report.run.clone()),
        ("verdict".to_owned(), report.verdict.word().to_owned()),
        ("exit".to_owned(), report.exit.to_string()),
        ("journal_head".to_owned(), report.head.clone()),
        ("waited_seconds".to_owned(), format!("{:.3}", report.waited_seconds)),
    ];
    if let Some(rto) = report.rto {
        all.push(("rto_seconds".to_owned(), format!("{:.3}", rto.measured_seconds)));
        all.extend(rto.objective_seconds.map(|limit| ("rto_objective_seconds".to_owned(), format!("{limit:.3}"))));
    }
    for (role, site) in &report.sites {
        all.push((format!("site.{role}"), format!("{} {}", site.alias, site.endpoint)));
    }
    for (check, reason) in &report.accepted {
        all.push((format!("waived.{check}"), reason.clone()));
    }
    all
}

/// The step itself, and its checks.
fn of_step(report: &Report, step: &Step) -> Vec<Case> {
    let mut cases = vec![Case {
        class: report.runbook.clone(),
        name: step.id.clone(),
        seconds: step.seconds.unwrap_or_default(),
        result: step_result(step),
        said: step.title.clone().unwrap_or_default(),
    }];
    let checks = step.output.as_ref().and_then(|output| output["checks"].as_array());
    for check in checks.into_iter().flatten() {
        let said = |name: &str| check[name].as_str().unwrap_or_default().to_owned();
        let text = match check["remedy"].as_str() {
            Some(remedy) => format!("{}\n{remedy}", said("detail")),
            None => said("detail"),
        };
        let waived = check["waived"].as_str();
        let must = check["must"].as_bool() == Some(true);
        let result = match said("verdict").as_str() {
            _ if waived.is_some() => Result::Skipped(format!("waived: {}", waived.unwrap_or_default())),
            // What only warns in the run only warns here.
            _ if step.warn_only => Result::Passed,
            "fail" => Result::Failure { id: said("id"), text: text.clone() },
            "unknown" if must => Result::Error { id: said("id"), text: text.clone() },
            _ => Result::Passed,
        };
        let said_of = if matches!(result, Result::Passed) { text } else { String::new() };
        let class = format!("{}.{}", report.runbook, step.id);
        cases.push(Case { class, name: said("id"), seconds: 0.0, result, said: said_of });
    }
    cases
}

fn step_result(step: &Step) -> Result {
    let findings = || {
        let lines = step.findings.iter().map(|finding| match &finding.remedy {
            Some(remedy) => format!("{}: {} ({remedy})", finding.id, finding.text),
            None => format!("{}: {}", finding.id, finding.text),
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let failure = || step.failure.as_ref().map_or_else(findings, |failure| failure.what.clone());
    match step.state {
        "held" => Result::Passed,
        "skipped" => Result::Skipped(step.why.clone().unwrap_or_default()),
        "not_reached" => Result::Skipped("not reached".to_owned()),
        _ if step.warn_only => Result::Passed,
        "not_held" => Result::Failure { id: "not_held".to_owned(), text: findings() },
        "running" => Result::Error { id: "running".to_owned(), text: "it had not ended".to_owned() },
        other => Result::Error { id: other.to_owned(), text: failure() },
    }
}

/// A run may end without holding though every step of it holds: late, or never proven.
fn verdict(report: &Report) -> Case {
    let word = report.verdict.word();
    let text = format!("{word}, exit {}", report.exit);
    let result = match report.verdict {
        _ if !report.ended => Result::Error { id: "not_ended".to_owned(), text: "the run has not ended".to_owned() },
        Verdict::Held => Result::Passed,
        Verdict::NotHeld | Verdict::Late => Result::Failure { id: word.to_owned(), text },
        Verdict::Broke | Verdict::Waiting | Verdict::Cancelled => Result::Error { id: word.to_owned(), text },
    };
    let said = format!("run {}, journal head {}", report.run, report.head);
    Case { class: report.runbook.clone(), name: "verdict".to_owned(), seconds: 0.0, result, said }
}
