//! What a test expects of its run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reader, steps};
use crate::{
    check::{self, shape::Shape},
    event::Verdict,
    problem::{Problem, did_you_mean},
    runbook::{self, Expr, Runbook},
    step::Kind,
    testing::{Expect, keys},
    tree::{Node, Value},
};

impl Reader<'_> {
    pub(super) fn expect(&mut self, node: &Node, runbook: Option<&Runbook>) -> Option<Expect> {
        runbook::mapping(node, "`expect`", keys::EXPECT, &mut self.problems);
        let verdict: Option<Verdict> = runbook::field(node, "verdict", &mut self.problems);
        let exit = node.get("exit").and_then(|exit| self.exit(exit, verdict));
        let failed = node.get("failed").map(|failed| self.failed(failed, runbook));
        let checks = self.checks(node, runbook);
        let that = self.that(node, runbook);
        Some(Expect { verdict: verdict?, exit, failed, checks, that })
    }

    fn exit(&mut self, node: &Node, verdict: Option<Verdict>) -> Option<u8> {
        let code: u8 = node.decode().map_err(|problem| self.problems.push(problem)).ok()?;
        let verdict = verdict?;
        let goes_with: &[u8] = match verdict {
            Verdict::Held => &[0],
            Verdict::NotHeld => &[4],
            Verdict::Broke => &[5],
            Verdict::Waiting => &[7],
            Verdict::Late => &[8],
            Verdict::Cancelled => &[130, 143],
        };
        if !goes_with.contains(&code) {
            let verdict = verdict.word();
            let codes: Vec<String> = goes_with.iter().map(u8::to_string).collect();
            let problem = Problem::error(node.span, format!("no run that is `{verdict}` has the exit code {code}"));
            self.problems.push(problem.help(format!("`{verdict}` goes with {}", codes.join(" or "))));
        }
        Some(code)
    }

    fn failed(&mut self, node: &Node, runbook: Option<&Runbook>) -> BTreeSet<String> {
        let nodes = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Str(_) => std::slice::from_ref(node),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Map(_) => {
                let problem = Problem::error(node.span, format!("`failed` is a list of steps, found {}", node.sort()));
                self.problems.push(problem.help("write `failed: []` when no step may fail"));
                &[]
            }
        };
        let mut failed = BTreeSet::new();
        for node in nodes {
            let Ok(id) = node.decode::<String>().map_err(|problem| self.problems.push(problem)) else { continue };
            if let Some(runbook) = runbook
                && !steps(runbook).any(|spec| spec.id == id)
            {
                let known = did_you_mean(&id, steps(runbook).map(|spec| spec.id.as_str()));
                let problem = Problem::error(node.span, format!("there is no step `{id}`"));
                self.problems.push(problem.help(format!("name a step of `{}`", runbook.name)).maybe_help(known));
            }
            failed.insert(id);
        }
        failed
    }

    fn checks(&mut self, node: &Node, runbook: Option<&Runbook>) -> BTreeMap<String, String> {
        let mut checks = BTreeMap::new();
        for (key, value) in self.entries(node, "checks") {
            let id = self.check_id(key, runbook);
            let outcome = value.as_str().unwrap_or_default();
            if keys::OUTCOMES.contains(&outcome) {
                checks.insert(id, outcome.to_owned());
            } else {
                let problem = Problem::error(value.span, format!("no check comes to {}", shown(value)));
                let help = did_you_mean(outcome, keys::OUTCOMES);
                self.problems.push(problem.help(format!("it is `{}`", keys::OUTCOMES.join("`, `"))).maybe_help(help));
            }
        }
        checks
    }

    /// The checks that are waived, each with its reason.
    pub(super) fn accept(&mut self, node: &Node, runbook: Option<&Runbook>) -> BTreeMap<String, String> {
        let mut accepted = BTreeMap::new();
        for (key, value) in self.entries(node, "accept") {
            let id = self.check_id(key, runbook);
            match value.as_str().filter(|reason| !reason.trim().is_empty()) {
                Some(reason) => drop(accepted.insert(id, reason.to_owned())),
                None => self.problems.push(
                    Problem::error(value.span, format!("expected a reason, found {}", shown(value)))
                        .help("say in a few words why the check is waived"),
                ),
            }
        }
        accepted
    }

    fn check_id(&mut self, key: &Node, runbook: Option<&Runbook>) -> String {
        let id = key.as_str().unwrap_or_default();
        if let Some(runbook) = runbook {
            let known = made(runbook, self.kinds);
            let help = || {
                let near = did_you_mean(id, known.iter().map(String::as_str));
                near.unwrap_or_else(|| "`firedrill steps replication.preconditions` lists them".into())
            };
            if known.is_empty() {
                let problem = Problem::error(key.span, format!("no step of `{}` makes checks", runbook.name));
                self.problems.push(problem.help("remove it"));
            } else if !known.contains(id) {
                self.problems.push(Problem::error(key.span, format!("there is no check `{id}`")).help(help()));
            }
        }
        id.to_owned()
    }

    fn that(&mut self, node: &Node, runbook: Option<&Runbook>) -> Vec<Expr> {
        let that: Vec<Expr> = match node.get("that").map(|that| (&that.value, that)) {
            None => Vec::new(),
            Some((Value::List(items), _)) => {
                items.iter().filter_map(|item| runbook::expression("that", item, &mut self.problems)).collect()
            }
            Some((_, that)) => {
                let what = format!("`that` is a list of expressions, found {}", that.sort());
                self.problems.push(Problem::error(that.span, what).help("put it into brackets: `that: [ \"…\" ]`"));
                Vec::new()
            }
        };
        if let Some(runbook) = runbook {
            check::after_a_run(runbook, self.kinds, "that", &that, &mut self.problems);
        }
        that
    }
}

/// The ids of the checks that the runbook's steps make.
fn made(runbook: &Runbook, kinds: &[Kind]) -> BTreeSet<String> {
    let kinds = kinds.iter().filter(|kind| steps(runbook).any(|spec| spec.uses == kind.uses));
    let ids = kinds.flat_map(|kind| {
        let output = (kind.output)().to_value();
        let items = Shape::root(&output).field(&["checks"]).ok().flatten().and_then(|checks| checks.key("items"));
        let id = items.and_then(|item| item.field(&["id"]).ok().flatten());
        id.map(|id| id.resolved().names().into_iter().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    });
    ids.collect()
}

fn shown(node: &Node) -> String {
    node.as_str().map_or_else(|| node.sort().to_owned(), |text| format!("`{text}`"))
}
