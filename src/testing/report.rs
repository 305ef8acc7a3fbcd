//! What became of all tests, for people and for scripts.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Ended, Mismatch};
use crate::human::duration;

/// What became of one test.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub file: String,
    /// Its line in the file, from 1.
    pub line: usize,
    pub name: String,
    /// The runbook's name.
    pub runbook: String,
    pub scenario: String,
    /// Wall clock, the start of its two sites included.
    pub seconds: f64,
    pub fate: Fate,
    /// The journal of its run, when it was kept.
    pub journal: Option<String>,
}

/// How a test ended.
#[derive(Clone, Debug)]
pub enum Fate {
    /// All came as expected.
    Passed(Ended),
    /// Something did not.
    Failed(Ended),
    /// It could not be run, and why.
    Broke(String),
    /// Another test failed before it (`--fail-fast`), or it was stopped.
    NotRun,
}

/// All tests, in the order of their files.
#[derive(Clone, Debug)]
pub struct Report {
    pub outcomes: Vec<Outcome>,
    /// Wall clock over all.
    pub seconds: f64,
}

impl Fate {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed(_) => "passed",
            Self::Failed(_) => "failed",
            Self::Broke(_) => "broke",
            Self::NotRun => "not_run",
        }
    }

    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Passed(ended) | Self::Failed(ended) => Some(ended),
            Self::Broke(_) | Self::NotRun => None,
        }
    }
}

impl Outcome {
    /// Whether nothing is wrong with it, as far as it came.
    pub fn is_good(&self) -> bool {
        matches!(self.fate, Fate::Passed(_) | Fate::NotRun)
    }

    /// What was expected and what came, what the run's own steps say, and where its journal lies: a line each.
    pub fn details(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.fate {
            Fate::Passed(_) | Fate::NotRun => return lines,
            Fate::Broke(why) => lines.extend(why.lines().map(str::to_owned)),
            Fate::Failed(ended) => {
                lines.extend(ended.mismatches.iter().map(mismatch));
                for failed in &ended.failed {
                    for (found, remedy) in &failed.findings {
                        let remedy = remedy.as_ref().map_or(String::new(), |remedy| format!(" ({remedy})"));
                        lines.push(format!("step {} {}: {found}{remedy}", failed.step, failed.verdict.word()));
                    }
                }
                for (step, prompt) in &ended.asked {
                    lines.push(format!("step {step} asks: {prompt}"));
                }
            }
        }
        lines.push(format!("at {}:{}", self.file, self.line));
        lines.extend(self.journal.iter().map(|journal| format!("journal {journal}")));
        lines
    }
}

fn mismatch(mismatch: &Mismatch) -> String {
    let Mismatch { what, expected, came } = mismatch;
    format!("{what}: expected {expected}, came {came}")
}

/// One test as people read it, with all that is wrong with it. Ends with a line feed.
pub fn line(outcome: &Outcome) -> String {
    let mark = match &outcome.fate {
        Fate::Passed(_) => "✓",
        Fate::Failed(_) => "✗",
        Fate::Broke(_) => "!",
        Fate::NotRun => "-",
    };
    let Outcome { file, name, .. } = outcome;
    let mut text = match outcome.fate {
        Fate::NotRun => format!("{mark}   not run  {file}: {name}\n"),
        Fate::Passed(_) | Fate::Failed(_) | Fate::Broke(_) => {
            format!("{mark} {:>9}  {file}: {name}\n", duration(outcome.seconds))
        }
    };
    for detail in outcome.details() {
        let _ = writeln!(text, "    {detail}");
    }
    text
}

impl Report {
    pub fn count(&self, word: &str) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.fate.word() == word).count()
    }

    /// The last line, and the names of the tests that failed.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let bad: Vec<&Outcome> = self.outcomes.iter().filter(|outcome| !outcome.is_good()).collect();
        let counts = ["passed", "failed", "broke", "not_run"].map(|word| (self.count(word), word.replace('_', " ")));
        // Zeros say nothing, but for how many passed.
        let said = counts.iter().enumerate().filter(|(at, (n, _))| *at == 0 || *n > 0);
        let said: Vec<String> = said.map(|(_, (n, word))| format!("{n} {word}")).collect();
        let verdict =
            if bad.is_empty() && self.count("not_run") == 0 { "ALL TESTS PASSED" } else { "NOT ALL TESTS PASSED" };
        let _ = writeln!(text, "{verdict}: {} in {}", said.join(", "), duration(self.seconds));
        for Outcome { file, line, name, .. } in bad {
            let _ = writeln!(text, "  {file}:{line}  {name}");
        }
        text
    }

    /// All of it as one JSON object.
    pub fn to_json(&self) -> Value {
        let tests: Vec<Value> = self.outcomes.iter().map(one).collect();
        json!({
            "passed": self.count("passed"),
            "failed": self.count("failed"),
            "broke": self.count("broke"),
            "not_run": self.count("not_run"),
            "seconds": self.seconds,
            "tests": tests,
        })
    }
}

fn one(outcome: &Outcome) -> Value {
    let ended = outcome.fate.ended();
    let mismatches: Vec<Value> = ended
        .iter()
        .flat_map(|ended| &ended.mismatches)
        .map(|Mismatch { what, expected, came }| json!({ "what": what, "expected": expected, "came": came }))
        .collect();
    let failed: Vec<Value> = ended
        .iter()
        .flat_map(|ended| &ended.failed)
        .map(|failed| {
            let findings = failed.findings.iter().map(|(text, remedy)| json!({ "text": text, "remedy": remedy }));
            json!({ "step": failed.step, "verdict": failed.verdict, "findings": findings.collect::<Vec<_>>() })
        })
        .collect();
    let asked = ended.iter().flat_map(|ended| &ended.asked);
    let why = match &outcome.fate {
        Fate::Broke(why) => Some(why),
        Fate::Passed(_) | Fate::Failed(_) | Fate::NotRun => None,
    };
    json!({
        "file": outcome.file,
        "line": outcome.line,
        "name": outcome.name,
        "runbook": outcome.runbook,
        "scenario": outcome.scenario,
        "result": outcome.fate.word(),
        "seconds": outcome.seconds,
        "verdict": ended.map(|ended| ended.verdict),
        "exit": ended.map(|ended| ended.exit.code()),
        "mismatches": mismatches,
        "failed": failed,
        "asked": asked.map(|(step, prompt)| json!({ "step": step, "prompt": prompt })).collect::<Vec<_>>(),
        "why": why,
        "journal": outcome.journal,
    })
}
