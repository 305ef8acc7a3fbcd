//! What a run would do: reading steps are run up to the first one that would change something, the rest is described.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Next, Setup,
    attempt::{StepRun, describe},
    one, scope, skip,
};
use crate::{
    event::{Effect, StepEnded, StepVerdict},
    failure::Failure,
    mask::MASK,
    replay::StepPhase,
    runbook::StepSpec,
    template, tree,
};

/// What a step would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Item {
    pub id: String,
    pub uses: String,
    pub title: String,
    pub action: Action,
    /// The parameters as far as they are known; what a change would settle reads `known after <step>`.
    pub with: Value,
}

/// How a plan sees a step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It only reads, and was run.
    Checked(Box<StepEnded>),
    WillCheck,
    WillChange,
    WillWaitForAPerson,
    Skipped(String),
    /// Its condition depends on a step that was not run.
    UnknownUntil(String),
    /// An earlier check failed, so a run would stop before it.
    NotReached,
}

/// A plan that was kept: a run refuses when what it is about to change differs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Frozen {
    /// Version of the format, 1.
    pub v: u32,
    pub runbook_sha256: String,
    /// Inputs that are not secret.
    pub inputs: BTreeMap<String, Value>,
    /// Deployment id by role.
    pub deployments: BTreeMap<String, Option<String>>,
    /// The parameters of every changing step, with holes for what is known later.
    pub changes: BTreeMap<String, Value>,
}

const HOLE: &str = "known after ";

impl Frozen {
    /// Fails on the first value that is not as it was planned.
    pub fn compare(&self, step: &str, with: &Value) -> Result<(), Failure> {
        let drift = |what: String| Err(Failure::Drift(format!("`{step}` is not as planned: {what}")));
        let Some(planned) = self.changes.get(step) else {
            return drift("the plan does not change anything there".into());
        };
        match difference(planned, with, "with") {
            None => Ok(()),
            Some(what) => drift(what),
        }
    }
}

fn difference(planned: &Value, now: &Value, at: &str) -> Option<String> {
    match (planned, now) {
        // What was not known yet, and what was masked when the plan was kept.
        (Value::String(hole), _) if hole.starts_with(HOLE) || hole.contains(MASK) => None,
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            names.into_iter().find_map(|name| {
                let (a, b) = (a.get(name).unwrap_or(&Value::Null), b.get(name).unwrap_or(&Value::Null));
                difference(a, b, &format!("{at}.{name}"))
            })
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(i, (a, b))| difference(a, b, &format!("{at}[{i}]")))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{at} was planned as {a} and is now {b}")),
    }
}

/// Runs the reading steps up to the first change, and describes the rest. The setup's log should be one in memory.
pub async fn plan(setup: &Setup) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    // Ids of steps that a run would have ended by then, but that a plan does not run.
    let mut unknown: Vec<&str> = Vec::new();
    let mut changing = false;
    let mut stopped = false;
    let all = setup.runbook.steps.iter().map(|s| (s, false)).chain(setup.runbook.finally.iter().map(|s| (s, true)));
    for (spec, finally) in all {
        let Some(kind) = setup.kinds.iter().find(|kind| kind.uses == spec.uses) else { continue };
        changing |= kind.effect == Effect::Changes;
        let runs = kind.effect == Effect::Reads && !changing && !finally && !stopped;
        let waits_for = depends_on(spec, &unknown);
        if runs && waits_for.is_none() {
            if let Next::Stop(_) = one(&StepRun { setup, spec, finally: None }).await? {
                stopped = true;
            }
            items.push(ran(setup, spec));
            continue;
        }
        let condition = spec.when.as_ref().map(|_| when_depends_on(spec, &unknown));
        let action = match (condition, kind.effect) {
            _ if stopped && !finally => Action::NotReached,
            (Some(Some(step)), _) => Action::UnknownUntil(step),
            (Some(None), effect) => match skip(setup, spec) {
                Ok(Some(why)) => Action::Skipped(why),
                Ok(None) => would(effect),
                Err(_) => Action::UnknownUntil("the run".into()),
            },
            (None, effect) => would(effect),
        };
        unknown.push(&spec.id);
        items.push(describe_item(setup, spec, action, &unknown));
    }
    Ok(items)
}

fn would(effect: Effect) -> Action {
    match effect {
        Effect::Reads => Action::WillCheck,
        Effect::Changes => Action::WillChange,
        Effect::Asks => Action::WillWaitForAPerson,
    }
}

/// A step that was run by the plan.
fn ran(setup: &Setup, spec: &StepSpec) -> Item {
    let (phase, begun) = setup.log.state(|s| {
        let step = s.steps.get(&spec.id);
        (step.map(|step| step.phase.clone()).unwrap_or_default(), step.and_then(|step| step.begun.clone()))
    });
    let action = match phase {
        StepPhase::Skipped(why) => Action::Skipped(why),
        StepPhase::Ended(end) => Action::Checked(end),
        StepPhase::Pending | StepPhase::Running => Action::NotReached,
    };
    let (title, with) = begun.map_or_else(|| (spec.uses.clone(), Value::Null), |b| (b.title, b.with));
    Item { id: spec.id.clone(), uses: spec.uses.clone(), title, action, with }
}

fn describe_item(setup: &Setup, spec: &StepSpec, action: Action, unknown: &[&str]) -> Item {
    let scope = scope::scope(setup, None);
    let with = fill(&spec.with, &scope, unknown);
    let whole = template::render(&spec.with, &scope).ok();
    let kind = setup.kinds.iter().find(|kind| kind.uses == spec.uses);
    let bound = whole.and_then(|with| (kind?.bind)(&with).ok());
    let title = spec
        .title
        .as_ref()
        .and_then(|title| template::render(title, &scope).ok()?.as_str().map(str::to_owned))
        .or_else(|| bound.as_ref().map(describe))
        .unwrap_or_else(|| spec.uses.clone());
    Item { id: spec.id.clone(), uses: spec.uses.clone(), title, action, with }
}

/// The parameters with every template filled in that can be; the others say after which step they are known.
fn fill(node: &tree::Node, scope: &Value, unknown: &[&str]) -> Value {
    match &node.value {
        tree::Value::Map(entries) => entries
            .iter()
            .filter_map(|(key, value)| Some((key.as_str()?.to_owned(), fill(value, scope, unknown))))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        tree::Value::List(items) => items.iter().map(|item| fill(item, scope, unknown)).collect(),
        tree::Value::Null
        | tree::Value::Bool(_)
        | tree::Value::Int(_)
        | tree::Value::Float(_)
        | tree::Value::Str(_) => match template::render(node, scope) {
            Ok(value) => value.to_json(),
            Err(_) => {
                let names = template::names(node).unwrap_or_default();
                let step = named(&names, unknown).unwrap_or_else(|| "an earlier step".into());
                Value::String(format!("{HOLE}{step}"))
            }
        },
    }
}

fn depends_on(spec: &StepSpec, unknown: &[&str]) -> Option<String> {
    named(&template::names(&spec.with).unwrap_or_default(), unknown).or_else(|| when_depends_on(spec, unknown))
}

fn when_depends_on(spec: &StepSpec, unknown: &[&str]) -> Option<String> {
    named(&template::names_in(spec.when.as_ref()?).unwrap_or_default(), unknown)
}

/// The first of `unknown` that one of the names refers to.
fn named(names: &[template::Name], unknown: &[&str]) -> Option<String> {
    names.iter().find_map(|name| {
        let step = name.path.strip_prefix("steps.")?.split('.').next()?;
        unknown.iter().find(|id| **id == step).map(|id| (*id).to_owned())
    })
}

/// Keeps a plan: what each changing step would do.
pub fn freeze(setup: &Setup, items: &[Item]) -> Frozen {
    let effect = |uses: &str| setup.kinds.iter().find(|kind| kind.uses == uses).map(|kind| kind.effect);
    let secret = |name: &str| setup.runbook.inputs.iter().any(|input| input.name == name && input.secret);
    setup.log.state(|state| Frozen {
        v: 1,
        runbook_sha256: state.started.runbook_sha256.clone(),
        inputs: setup.inputs.iter().filter(|(n, _)| !secret(n)).map(|(n, v)| (n.clone(), v.clone())).collect(),
        deployments: state.started.sites.iter().map(|(role, s)| (role.clone(), s.deployment_id.clone())).collect(),
        changes: items
            .iter()
            .filter(|item| effect(&item.uses) == Some(Effect::Changes))
            .map(|item| (item.id.clone(), item.with.clone()))
            .collect(),
    })
}

/// The worst verdict among the steps that the plan ran.
pub fn worst(items: &[Item], warn_only: &[String]) -> StepVerdict {
    let mut worst = StepVerdict::Held;
    for item in items.iter().filter(|item| !warn_only.contains(&item.id)) {
        if let Action::Checked(end) = &item.action {
            worst = match (worst, end.verdict) {
                (StepVerdict::NotHeld, _) | (_, StepVerdict::NotHeld) => StepVerdict::NotHeld,
                (StepVerdict::Held, other) => other,
                (other, _) => other,
            };
        }
    }
    worst
}
