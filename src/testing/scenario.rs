//! Scenarios by name, from files, and written out: all that is wrong with one is found at once.

use std::path::Path;

use schemars::schema_for;

use super::Invalid;
use crate::{
    check,
    problem::{Problem, did_you_mean},
    sandbox::{Scenario, scenario::ALL},
    tree::{self, Node, Value},
};

/// Why there is no scenario.
#[derive(Clone, Debug)]
pub enum NoScenario {
    /// Neither a scenario of the program nor the path of a YAML file.
    Unknown(Problem),
    /// A file that cannot be read, or has problems.
    Invalid(Invalid),
}

/// A scenario by its name, or from a YAML file, whose path begins at `beside`.
pub fn find(name: &str, beside: &Path) -> Result<Scenario, NoScenario> {
    if let Some((_, text)) = ALL.iter().find(|(known, _)| *known == name) {
        return read(name, text.as_bytes()).map_err(NoScenario::Invalid);
    }
    if !Path::new(name).extension().is_some_and(|e| e == "yaml" || e == "yml") {
        let known = || ALL.iter().map(|(known, _)| *known);
        let help = did_you_mean(name, known()).unwrap_or_else(|| {
            format!("known are {}, and the paths of YAML files", known().collect::<Vec<_>>().join(", "))
        });
        return Err(NoScenario::Unknown(Problem::error(None, format!("there is no scenario `{name}`")).help(help)));
    }
    let path = beside.join(name);
    let shown = path.display().to_string();
    let bytes = std::fs::read(&path).map_err(|e| NoScenario::Invalid(Invalid::unreadable(shown.clone(), &e)))?;
    read(&shown, &bytes).map_err(NoScenario::Invalid)
}

fn read(name: &str, bytes: &[u8]) -> Result<Scenario, Invalid> {
    let mut problems = Vec::new();
    let read = match tree::parse_bytes(bytes) {
        Ok((_, node)) => of(&node, &mut problems),
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    read.ok_or_else(|| Invalid { name: name.into(), text: String::from_utf8_lossy(bytes).into_owned(), problems })
}

/// A scenario that stands in a test, which gives it a name and a summary when it has none itself.
pub(super) fn written_out(test: &str, node: &Node, problems: &mut Vec<Problem>) -> Option<Scenario> {
    let mut node = node.clone();
    let text = |text: &str| Node { value: Value::Str(text.into()), span: node.span, rendered: true };
    let missing: Vec<_> = [("scenario", "written_out"), ("summary", test)]
        .into_iter()
        .filter(|(key, _)| node.get(key).is_none())
        .map(|(key, value)| (text(key), text(value)))
        .collect();
    if let Value::Map(entries) = &mut node.value {
        entries.extend(missing);
    }
    of(&node, problems)
}

fn of(node: &Node, problems: &mut Vec<Problem>) -> Option<Scenario> {
    let before = problems.len();
    check::data(node, &schema_for!(Scenario).to_value(), problems);
    if problems.len() > before {
        return None;
    }
    Scenario::of(node).map_err(|problem| problems.push(problem.or_at(node.span))).ok()
}
