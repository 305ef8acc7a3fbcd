//! Reads a file of tests and holds it against its runbook: every problem at once, in each file that has some.

mod expect;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Map;

use super::{
    Invalid, Test, TestFile, UnderTest, keys,
    scenario::{self, NoScenario},
};
use crate::{
    check,
    event::Effect,
    problem::{Problem, did_you_mean, line_and_column},
    runbook::{self, Runbook, StepSpec},
    sandbox::Scenario,
    step::Kind,
    tree::{self, Node, Value},
};

/// Reads a file of tests, its runbook, and the scenarios that it names. `Err` has each file with problems.
pub fn load(path: &Path, kinds: &[Kind]) -> Result<TestFile, Vec<Invalid>> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| vec![Invalid::unreadable(name.clone(), &e)])?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let beside = path.parent().unwrap_or(Path::new("")).to_owned();
    let root = match tree::parse_bytes(&bytes) {
        Ok((_, root)) => root,
        Err(problem) => return Err(vec![Invalid { name, text, problems: vec![problem] }]),
    };
    let mut reader = Reader { kinds, beside, text: &text, problems: Vec::new(), others: Vec::new() };
    let (runbook, tests) = reader.file(&root);
    let Reader { problems, mut others, .. } = reader;
    if !problems.is_empty() {
        others.insert(0, Invalid { name, text, problems });
    }
    match runbook {
        Some(runbook) if others.is_empty() => Ok(TestFile { path: path.to_owned(), runbook: Arc::new(runbook), tests }),
        Some(_) | None => Err(others),
    }
}

struct Reader<'a> {
    kinds: &'a [Kind],
    /// The folder that paths begin at.
    beside: PathBuf,
    text: &'a str,
    problems: Vec<Problem>,
    /// The other files that have problems.
    others: Vec<Invalid>,
}

impl Reader<'_> {
    fn file(&mut self, root: &Node) -> (Option<UnderTest>, Vec<Test>) {
        runbook::mapping(root, "a file of tests", keys::FILE, &mut self.problems);
        if let Some(format) = root.get("format")
            && !matches!(format.value, Value::Int(1))
        {
            let problem = Problem::error(format.span, "this format of tests is not known");
            self.problems.push(problem.help("this version reads `format: 1`"));
        }
        let runbook = root.get("runbook").and_then(|node| self.runbook(node));
        let tests = match root.get("tests").map(|node| (&node.value, node)) {
            None => Vec::new(),
            Some((Value::List(items), list)) => {
                if items.is_empty() {
                    let problem = Problem::error(list.span, "there are no tests");
                    self.problems.push(problem.help("begin each test with `- name: …`; a file needs at least one"));
                }
                let model = runbook.as_ref().map(|under| &under.runbook);
                items.iter().filter_map(|item| self.test(item, model)).collect()
            }
            Some((_, node)) => {
                let problem = Problem::error(node.span, format!("`tests` is a list of tests, found {}", node.sort()));
                self.problems.push(problem.help("begin each test with `- name: …`"));
                Vec::new()
            }
        };
        self.unique(root);
        (runbook, tests)
    }

    /// The runbook, which must be sound itself.
    fn runbook(&mut self, node: &Node) -> Option<UnderTest> {
        let name: String = node.decode().map_err(|problem| self.problems.push(problem)).ok()?;
        let path = self.beside.join(name);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) => {
                let problem = Problem::error(node.span, format!("{} cannot be read: {e}", path.display()));
                self.problems.push(problem.help("name the runbook by its path from the folder of this file"));
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match check::load_bytes(&bytes, self.kinds) {
            Ok((runbook, _)) => {
                for (role, _) in runbook.roles.iter().filter(|(role, _)| !["source", "target"].contains(&role.as_str()))
                {
                    let what = format!("`{}` has a role `{role}`, and the sandbox has no such site", runbook.name);
                    let help = "tests run on two sites: the roles `source` and `target`";
                    self.problems.push(Problem::error(node.span, what).help(help));
                }
                Some(UnderTest { path, text, runbook })
            }
            Err(problems) => {
                self.others.push(Invalid { name: path.display().to_string(), text, problems });
                None
            }
        }
    }

    fn unique(&mut self, root: &Node) {
        let Some(Value::List(tests)) = root.get("tests").map(|node| &node.value) else { return };
        let mut known = BTreeSet::new();
        for name in tests.iter().filter_map(|test| test.get("name")) {
            if let Some(text) = name.as_str()
                && !known.insert(text)
            {
                let problem = Problem::error(name.span, format!("two tests are called `{text}`"));
                self.problems.push(problem.help("give each test of a file a name of its own"));
            }
        }
    }

    /// One test; `None` when it cannot be run, and then a problem says why.
    fn test(&mut self, node: &Node, runbook: Option<&Runbook>) -> Option<Test> {
        runbook::mapping(node, "a test", keys::TEST, &mut self.problems);
        let name: String = runbook::field(node, "name", &mut self.problems).unwrap_or_default();
        let at = node.get("name").unwrap_or(node).span;
        if name.trim().is_empty() && node.get("name").is_some() || name.contains(['\n', '\r']) {
            self.problems
                .push(Problem::error(at, "a test's name is one line").help("say in a few words what is tested"));
        }
        let scenario = node.get("scenario").and_then(|written| self.scenario(&name, written));
        let answers = self.answers(node, runbook);
        let inputs = match runbook {
            Some(runbook) => self.inputs(node, runbook, scenario.as_ref()),
            None => Map::new(),
        };
        let accept = self.accept(node, runbook);
        let expect = node.get("expect").and_then(|expect| self.expect(expect, runbook));
        let (scenario, runbook) = (scenario?, runbook?);
        let asks = |step: &str| steps(runbook).any(|spec| spec.id == step);
        let offered = scenario.answers.iter().filter(|(step, _)| asks(step)).map(|(step, yes)| (step, Some(yes.0)));
        let mut all: BTreeMap<String, Option<bool>> = offered.map(|(step, yes)| (step.clone(), yes)).collect();
        all.extend(answers);
        Some(Test {
            name,
            line: line_and_column(self.text, node.span.start).0,
            scenario,
            inputs,
            answers: all.into_iter().filter_map(|(step, yes)| Some((step, yes?))).collect(),
            accept,
            expect: expect?,
        })
    }

    fn scenario(&mut self, test: &str, node: &Node) -> Option<Scenario> {
        match &node.value {
            Value::Str(name) => match scenario::find(name, &self.beside) {
                Ok(scenario) => return Some(scenario),
                Err(NoScenario::Unknown(problem)) => self.problems.push(problem.or_at(node.span)),
                Err(NoScenario::Invalid(invalid)) if invalid.text.is_empty() => {
                    let problems = invalid.problems.into_iter();
                    self.problems.extend(problems.map(|problem| {
                        Problem { what: format!("{}: {}", invalid.name, problem.what), ..problem }.or_at(node.span)
                    }));
                }
                // Several tests may name one file.
                Err(NoScenario::Invalid(invalid)) => {
                    if self.others.iter().all(|other| other.name != invalid.name) {
                        self.others.push(invalid);
                    }
                }
            },
            Value::Map(_) => return scenario::written_out(test, node, &mut self.problems),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) => {
                let problem = Problem::error(node.span, format!("expected a scenario, found {}", node.sort()));
                self.problems.push(problem.help("name one, e.g. `target_lost`, or write it out as a mapping"));
            }
        }
        None
    }

    /// The values of all inputs: the test's own over those of the scenario.
    fn inputs(
        &mut self,
        node: &Node,
        runbook: &Runbook,
        scenario: Option<&Scenario>,
    ) -> Map<String, serde_json::Value> {
        let declared = |name: &str| runbook.inputs.iter().find(|input| input.name == name);
        let mut values = Map::new();
        if let Some(scenario) = scenario {
            let bucket = ("bucket".to_owned(), serde_json::Value::String(scenario.bucket.clone()));
            let offered = std::iter::once(bucket).chain(scenario.inputs.clone());
            values.extend(offered.filter(|(name, _)| declared(name).is_some()));
        }
        let before = self.problems.len();
        for (key, value) in self.entries(node, "inputs") {
            let name = key.as_str().unwrap_or_default();
            let Some(input) = declared(name) else {
                let known = runbook.inputs.iter().map(|input| input.name.as_str());
                let help = did_you_mean(name, known);
                let problem = Problem::error(key.span, format!("the runbook `{}` has no input `{name}`", runbook.name));
                self.problems.push(problem.help("remove it").maybe_help(help));
                continue;
            };
            match runbook::value_of(input, &value.to_json()) {
                Ok(value) => drop(values.insert(name.to_owned(), value)),
                Err(what) => {
                    let problem = Problem::error(value.extent(), format!("the input `{name}` does not fit: {what}"));
                    let problem = problem.help(input.description.clone());
                    self.problems.push(if input.secret { problem.hidden() } else { problem });
                }
            }
        }
        let at = node.get("inputs").or_else(|| node.get("name")).unwrap_or(node).span;
        if self.problems.len() > before {
            return values;
        }
        match runbook::bind_inputs(runbook, &values) {
            Ok(bound) => bound,
            // What is missing may come with the scenario, once there is one.
            Err(_) if scenario.is_none() => values,
            Err(problems) => {
                let here = |problem: Problem| {
                    let span = Some(at);
                    Problem { span, ..problem }.help("give the test a value for it under `inputs`")
                };
                self.problems.extend(problems.into_iter().map(here));
                values
            }
        }
    }

    /// `None` for a step that nobody answers.
    fn answers(&mut self, node: &Node, runbook: Option<&Runbook>) -> BTreeMap<String, Option<bool>> {
        let mut answers = BTreeMap::new();
        for (key, value) in self.entries(node, "answers") {
            let id = key.as_str().unwrap_or_default();
            if let Some(runbook) = runbook {
                self.asks(key, id, runbook);
            }
            let answer = match &value.value {
                Value::Bool(yes) => Some(*yes),
                Value::Str(word) if word == "yes" => Some(true),
                Value::Str(word) if word == "no" => Some(false),
                Value::Str(word) if word == "nobody" => None,
                Value::Null | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::List(_) | Value::Map(_) => {
                    let problem = Problem::error(value.span, format!("this is no answer to `{id}`"));
                    self.problems.push(problem.help("write `yes`, `no`, or `nobody` when nobody answers"));
                    continue;
                }
            };
            answers.insert(id.to_owned(), answer);
        }
        answers
    }

    fn asks(&mut self, key: &Node, id: &str, runbook: &Runbook) {
        let asks =
            |spec: &&StepSpec| self.kinds.iter().any(|kind| kind.uses == spec.uses && kind.effect == Effect::Asks);
        let asking: Vec<&str> = steps(runbook).filter(asks).map(|spec| spec.id.as_str()).collect();
        if asking.contains(&id) {
            return;
        }
        let what = if steps(runbook).any(|spec| spec.id == id) {
            format!("the step `{id}` asks nobody")
        } else {
            format!("there is no step `{id}`")
        };
        let help = did_you_mean(id, asking).unwrap_or_else(|| format!("no step of `{}` asks: remove it", runbook.name));
        self.problems.push(Problem::error(key.span, what).help(help));
    }

    /// The entries of a mapping that may be left out.
    fn entries<'n>(&mut self, node: &'n Node, key: &str) -> &'n [(Node, Node)] {
        let Some(value) = node.get(key) else { return &[] };
        if !matches!(value.value, Value::Map(_)) {
            let problem = Problem::error(value.span, format!("`{key}` is a mapping, found {}", value.sort()));
            self.problems.push(problem.help(format!("write `{key}: {{ name: value }}`, or leave it out")));
        }
        value.entries()
    }
}

fn steps(runbook: &Runbook) -> impl Iterator<Item = &StepSpec> {
    runbook.steps.iter().chain(&runbook.finally)
}
