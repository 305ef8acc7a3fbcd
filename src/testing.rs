//! Tests of runbooks: files that say what a runbook does on the sandbox, read and checked before anything runs; what a
//! run came to, held against what was expected of it; and the report on all of them.

mod find;
mod judge;
mod junit;
pub mod keys;
mod read;
mod report;
pub mod scenario;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde_json::{Map, Value};

pub use self::{
    find::files,
    judge::{Ended, FailedStep, Mismatch, judge},
    junit::junit,
    read::load,
    report::{Fate, Outcome, Report, line},
};
use crate::{
    event::Verdict,
    problem::{self, Problem},
    runbook::{Expr, Runbook},
    sandbox::Scenario,
};

/// A file of tests that was read and checked.
#[derive(Clone, Debug)]
pub struct TestFile {
    /// As it was named, or found below what was named.
    pub path: PathBuf,
    pub runbook: Arc<UnderTest>,
    pub tests: Vec<Test>,
}

/// The runbook that a file tests.
#[derive(Debug)]
pub struct UnderTest {
    pub path: PathBuf,
    pub text: String,
    pub runbook: Runbook,
}

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    pub name: String,
    /// Its line in the file, from 1.
    pub line: usize,
    pub scenario: Scenario,
    /// The values of all inputs: the test's own, those of the scenario, the defaults.
    pub inputs: Map<String, Value>,
    /// Answers to people's questions, by step.
    pub answers: BTreeMap<String, bool>,
    /// The checks that are waived, each with its reason.
    pub accept: BTreeMap<String, String>,
    pub expect: Expect,
}

/// What a test expects of its run.
#[derive(Clone, Debug)]
pub struct Expect {
    pub verdict: Verdict,
    /// The exit code that `run` would have.
    pub exit: Option<u8>,
    /// The steps that do not hold or broke, without those that only warn.
    pub failed: Option<BTreeSet<String>>,
    /// What preconditions come to, by id.
    pub checks: BTreeMap<String, String>,
    /// What is true when the run has ended.
    pub that: Vec<Expr>,
}

/// A file that is not as it must be, with all its problems.
#[derive(Clone, Debug)]
pub struct Invalid {
    pub name: String,
    pub text: String,
    pub problems: Vec<Problem>,
}

impl Invalid {
    /// A file that cannot even be read.
    fn unreadable(name: String, error: &std::io::Error) -> Self {
        let problem = Problem::error(None, format!("cannot be read: {error}")).help("name a file that is there");
        Self { name, text: String::new(), problems: vec![problem] }
    }

    /// The problems as people read them.
    pub fn render(&self) -> String {
        problem::render(&self.name, &self.text, &self.problems, false)
    }

    /// The problems as scripts read them.
    pub fn to_json(&self) -> Value {
        problem::to_json(&self.name, &self.text, &self.problems)
    }
}
