//! What a run came to, held against what its test expects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Expect, Test};
use crate::{
    engine::scope,
    event::{StepEnded, StepVerdict, Verdict},
    replay::{RunState, StepPhase},
    runbook::Expr,
    template,
    verdict::{self, Exit},
};

/// Something that did not come as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The key of `expect`, e.g. `verdict`.
    pub what: String,
    pub expected: String,
    pub came: String,
}

/// How the run of a test ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub verdict: Verdict,
    pub exit: Exit,
    pub mismatches: Vec<Mismatch>,
    /// The steps that do not hold or broke, without those that only warn.
    pub failed: Vec<FailedStep>,
    /// The questions that nobody answered: step and prompt.
    pub asked: Vec<(String, String)>,
}

/// A step that does not hold, or broke.
#[derive(Clone, Debug)]
pub struct FailedStep {
    pub step: String,
    pub verdict: StepVerdict,
    /// What it found, or why it broke, each with its remedy if there is one.
    pub findings: Vec<(String, Option<String>)>,
}

impl Ended {
    /// The same with every text of the run as `shown` gives it: secrets masked.
    #[must_use]
    pub fn shown(mut self, shown: impl Fn(&str) -> String) -> Self {
        let came = self.mismatches.iter_mut().map(|mismatch| &mut mismatch.came);
        let findings = self.failed.iter_mut().flat_map(|failed| &mut failed.findings);
        let found = findings.flat_map(|(text, remedy)| std::iter::once(text).chain(remedy));
        let asked = self.asked.iter_mut().map(|(_, prompt)| prompt);
        came.chain(found).chain(asked).for_each(|text| *text = shown(text));
        self
    }
}

/// Holds a run against its test.
pub fn judge(test: &Test, state: &RunState) -> Ended {
    let (verdict, exit) = verdict::verdict(state);
    let failed = failed(state);
    let asked =
        state.open_questions().map(|(step, _, asked)| (step.to_owned(), asked.question.prompt.clone())).collect();
    let mut mismatches = Vec::new();
    let Expect { verdict: wanted, exit: code, failed: steps, checks, that } = &test.expect;
    let mut hold = |what: &str, expected: String, came: String| {
        if expected != came {
            mismatches.push(Mismatch { what: what.into(), expected, came });
        }
    };
    hold("verdict", wanted.word().into(), verdict.word().into());
    if let Some(code) = code {
        hold("exit", code.to_string(), exit.code().to_string());
    }
    if let Some(steps) = steps {
        let came: BTreeSet<String> = failed.iter().map(|failed| failed.step.clone()).collect();
        hold("failed", list(steps), list(&came));
    }
    let made = made(state);
    for (id, expected) in checks {
        let came = made.get(id.as_str()).map_or("no step made this check".to_owned(), |came| (*came).to_owned());
        hold(&format!("checks.{id}"), expected.clone(), came);
    }
    let scope = scope::of(state, &test.inputs);
    mismatches.extend(that.iter().filter_map(|expr| untrue(expr, &scope)));
    Ended { verdict, exit, mismatches, failed, asked }
}

fn failed(state: &RunState) -> Vec<FailedStep> {
    let counted = state.in_order().filter(|(id, _)| !state.started.warn_only.iter().any(|warned| warned == id));
    let failed = counted.filter_map(|(id, step)| match &step.phase {
        StepPhase::Ended(end) if end.verdict != StepVerdict::Held => {
            Some(FailedStep { step: id.to_owned(), verdict: end.verdict, findings: findings(end) })
        }
        StepPhase::Ended(_) | StepPhase::Pending | StepPhase::Running | StepPhase::Skipped(_) => None,
    });
    failed.collect()
}

fn findings(end: &StepEnded) -> Vec<(String, Option<String>)> {
    let found =
        end.findings.iter().map(|finding| (format!("{}: {}", finding.id, finding.text), finding.remedy.clone()));
    found.chain(end.failure.iter().map(|failure| (failure.what.clone(), None))).collect()
}

/// What each check came to; of several steps that make it the last one counts.
fn made(state: &RunState) -> BTreeMap<&str, &str> {
    let outputs = state.in_order().filter_map(|(_, step)| match &step.phase {
        StepPhase::Ended(end) => end.output.as_ref()?.get("checks")?.as_array(),
        StepPhase::Pending | StepPhase::Running | StepPhase::Skipped(_) => None,
    });
    outputs.flatten().filter_map(|check| Some((check["id"].as_str()?, check["verdict"].as_str()?))).collect()
}

fn list(steps: &BTreeSet<String>) -> String {
    if steps.is_empty() { "none".into() } else { steps.iter().map(String::as_str).collect::<Vec<_>>().join(", ") }
}

/// An expression that is not true, with what its names stand for.
fn untrue(expr: &Expr, scope: &Value) -> Option<Mismatch> {
    let came = match template::condition(expr, scope) {
        Ok(true) => return None,
        Ok(false) => {
            let names = template::names_in(expr).unwrap_or_default();
            let mut values: Vec<String> = names
                .into_iter()
                .filter_map(|name| {
                    let value = template::value(&Expr { text: name.path.clone(), span: name.span }, scope).ok()?;
                    Some(format!("{} is {value}", name.path))
                })
                .collect();
            values.dedup();
            if values.is_empty() { "false".into() } else { values.join(", ") }
        }
        Err(problem) => problem.to_string(),
    };
    Some(Mismatch { what: "that".into(), expected: expr.text.clone(), came })
}
