//! Proves that every name in a template or expression is there when the step runs.

use std::collections::BTreeSet;

use super::shape::{Missing, Shape, Types, called};
use crate::{
    problem::{Problem, did_you_mean},
    runbook::{Expr, Input, InputType, Runbook, StepSpec},
    template::{self, Name, ROOTS},
    tree::Node,
};

/// Where in the runbook a name stands.
pub(super) struct Place<'a> {
    /// The text of the runbook.
    pub(super) file: &'a str,
    pub(super) runbook: &'a Runbook,
    /// The steps before this one.
    pub(super) earlier: &'a [Earlier<'a>],
    /// The ids of all steps.
    pub(super) ids: &'a [&'a str],
    /// The step it stands in; none after the last one.
    pub(super) step: Option<&'a StepSpec>,
    pub(super) finally: bool,
}

/// A step that comes before.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'a> {
    pub(super) id: &'a str,
    pub(super) when: Option<&'a Expr>,
    pub(super) finally: bool,
    /// What its output looks like; `None` when its kind is not known.
    pub(super) out: Option<Shape<'a>>,
}

/// The inputs and roles that something uses.
#[derive(Default)]
pub(super) struct Used {
    pub(super) inputs: BTreeSet<String>,
    pub(super) roles: BTreeSet<String>,
}

/// What `roles.<role>` has.
const ROLE_FIELDS: [&str; 4] = ["alias", "endpoint", "deployment_id", "release"];
/// What `run` has.
const RUN_FIELDS: [&str; 4] = ["id", "kind", "started_at", "verdict"];

/// Checks all templates and expressions of a step.
pub(super) fn check(
    step: &StepSpec,
    place: &Place<'_>,
    out: Option<Shape<'_>>,
    used: &mut Used,
    problems: &mut Vec<Problem>,
) {
    for node in [Some(&step.with), step.title.as_ref()].into_iter().flatten() {
        templates(node, place, used, problems);
    }
    if let Some(when) = &step.when {
        expression(when, "when", place, None, used, problems);
    }
    // Without a known kind nothing can be said of `out`.
    let out = Out { uses: &step.uses, shape: out };
    for expr in &step.expect {
        expression(expr, "expect", place, Some(out), used, problems);
    }
    if let Some(until) = &step.until {
        expression(&until.that, "until", place, Some(out), used, problems);
    }
}

/// The step's own output, where it may be named.
#[derive(Clone, Copy)]
pub(super) struct Out<'a> {
    uses: &'a str,
    shape: Option<Shape<'a>>,
}

/// Checks an expression that is asked when the run has ended: all steps are earlier ones then.
pub(super) fn after(runbook: &Runbook, earlier: &[Earlier<'_>], key: &str, expr: &Expr, problems: &mut Vec<Problem>) {
    let ids: Vec<&str> = earlier.iter().map(|step| step.id).collect();
    let place = Place { file: "", runbook, earlier, ids: &ids, step: None, finally: false };
    expression(expr, key, &place, None, &mut Used::default(), problems);
}

fn templates(node: &Node, place: &Place<'_>, used: &mut Used, problems: &mut Vec<Problem>) {
    match template::names(node) {
        Ok(names) => {
            for name in &names {
                if let Err(problem) = resolve(&template::narrowed(name, place.file), place, None, used) {
                    problems.push(problem);
                }
            }
        }
        Err(bad) => problems.extend(bad),
    }
}

fn expression(
    expr: &Expr,
    key: &str,
    place: &Place<'_>,
    out: Option<Out<'_>>,
    used: &mut Used,
    problems: &mut Vec<Problem>,
) {
    let names = match template::names_in(expr) {
        Ok(names) => names,
        Err(problem) => return problems.push(problem),
    };
    let mut types = None;
    for name in &names {
        match resolve(name, place, out, used) {
            // The whole expression is this name.
            Ok(found) if name.path == expr.text.trim() => types = Some(found),
            Ok(_) => {}
            Err(problem) => problems.push(problem),
        }
    }
    let not_boolean = |is: String| {
        Problem::error(expr.span, format!("`{key}` must be true or false, and this is {is}"))
            .help("compare it with something, e.g. `out.versions > 0`")
    };
    if let Some(types) = types.filter(|types| !types.is_empty() && !types.contains("boolean")) {
        problems.push(not_boolean(called(&types)));
    }
    if names.is_empty() {
        match template::value(expr, &serde_json::json!({})) {
            Ok(serde_json::Value::Bool(_)) => {}
            Ok(value) => problems.push(not_boolean(Node::from_json(value, expr.span).sort().into())),
            Err(problem) => problems.push(problem),
        }
    }
}

/// The types of what a name stands for; none when anything is possible.
pub(super) fn resolve(name: &Name, place: &Place<'_>, out: Option<Out<'_>>, used: &mut Used) -> Result<Types, Problem> {
    let parts: Vec<&str> = name.path.split('.').collect();
    let (root, path) = (parts[0], &parts[1..]);
    let refused = |what: String| Problem::error(name.span, what);
    match root {
        "inputs" => input(name, path, &place.runbook.inputs, used),
        "roles" => {
            let roles = || place.runbook.roles.iter().map(|(role, _)| role.as_str());
            match path {
                [] => Err(refused("`roles` alone is no value".into()).help("name one: `roles.<role>.endpoint`")),
                [role, ..] if !roles().any(|known| known == *role) => {
                    Err(refused(format!("there is no role `{role}`"))
                        .help(did_you_mean(role, roles()).unwrap_or_else(|| "declare it under `roles:`".into())))
                }
                [role, field] if ROLE_FIELDS.contains(field) => {
                    used.roles.insert((*role).into());
                    Ok(Types::from(["string"]))
                }
                [_, rest @ ..] => Err(not_a_field(name, &rest.join("."), "a role", &ROLE_FIELDS)),
            }
        }
        "run" => match path {
            [field] if RUN_FIELDS.contains(field) => Ok(Types::from(["string"])),
            _ => Err(not_a_field(name, &path.join("."), "`run`", &RUN_FIELDS)),
        },
        "steps" => earlier(name, path, place),
        "out" => match out {
            None => Err(refused("`out` is known in `expect` and `until` only".into())
                .help("elsewhere use an earlier step: `steps.<id>.<field>`")),
            Some(Out { shape: None, .. }) => Ok(Types::new()),
            Some(Out { shape: Some(shape), uses }) => shape
                .field(path)
                .map(|found| found.map(Shape::types).unwrap_or_default())
                .map_err(|missing| no_field(name, &format!("the output of `{uses}`"), &missing)),
        },
        _ => Err(refused(format!("there is no name `{root}`"))
            .help(did_you_mean(root, ROOTS).unwrap_or_else(|| format!("known here: `{}`", ROOTS.join("`, `"))))),
    }
}

fn earlier(name: &Name, path: &[&str], place: &Place<'_>) -> Result<Types, Problem> {
    let refused = |what: String| Problem::error(name.span, what);
    let [id, fields @ ..] = path else {
        return Err(refused("`steps` alone is no value".into()).help("name a field: `steps.<id>.<field>`"));
    };
    let Some(step) = place.earlier.iter().find(|step| step.id == *id) else {
        let known = || place.earlier.iter().map(|step| step.id);
        return Err(if place.step.is_some_and(|step| step.id == *id) {
            refused(format!("the step `{id}` refers to itself"))
                .help("in `expect` and `until` its own output is `out`; elsewhere only earlier steps are known")
        } else if place.ids.contains(id) {
            refused(format!("the step `{id}` comes later")).help("move it above this one: only earlier steps are known")
        } else {
            refused(format!("there is no step `{id}`")).help(did_you_mean(id, known()).unwrap_or_else(|| {
                match place.step {
                    Some(_) => "only earlier steps are known".into(),
                    None => format!("its steps: `{}`", place.ids.join("`, `")),
                }
            }))
        });
    };
    match fields {
        ["verdict"] => return Ok(Types::from(["string"])),
        ["ran"] => return Ok(Types::from(["boolean"])),
        [] => {
            return Err(refused(format!("the step `{id}` alone is no value"))
                .help(format!("name a field: `steps.{id}.<field>`, `.verdict` or `.ran`")));
        }
        _ => {}
    }
    let types = match step.out {
        None => Types::new(),
        Some(out) => out
            .field(fields)
            .map_err(|missing| no_field(name, &format!("the output of the step `{id}`"), &missing))?
            .map(Shape::types)
            .unwrap_or_default(),
    };
    guarded(name, step, place).map(|()| types)
}

/// A step that may not have run has no output: what uses it must say what then.
fn guarded(name: &Name, step: &Earlier<'_>, place: &Place<'_>) -> Result<(), Problem> {
    let not_reached = place.finally && !step.finally;
    if (step.when.is_none() && !not_reached) || name.has_default {
        return Ok(());
    }
    if let Some(own) = place.step.and_then(|step| step.when.as_ref()) {
        let asks = |name: &Name| {
            name.path == format!("steps.{}.ran", step.id) || name.path == format!("steps.{}.verdict", step.id)
        };
        if template::names_in(own).is_ok_and(|names| names.iter().any(asks)) {
            return Ok(());
        }
        if !not_reached && step.when.is_some_and(|when| when.text.trim() == own.text.trim()) {
            return Ok(());
        }
    }
    let why = if not_reached { "may never be reached" } else { "may be skipped" };
    Err(Problem::error(name.span, format!("the step `{}` {why}, and then this has no value", step.id)).help(format!(
        "add `when: \"steps.{}.ran\"` to this step, or say what holds without it: `… | default(…)`",
        step.id
    )))
}

/// A name in the default of an input: only the inputs above it are known.
pub(super) fn input_above(name: &Name, above: &[Input], used: &mut Used, problems: &mut Vec<Problem>) {
    let checked = match name.path.split('.').collect::<Vec<_>>().as_slice() {
        ["inputs", path @ ..] => input(name, path, above, used),
        _ => Err(Problem::error(name.span, format!("`{}` is not known in the default of an input", name.path))
            .help("a default may use the inputs above it: `{{ inputs.<name> }}`")),
    };
    if let Err(problem) = checked {
        problems.push(problem);
    }
}

fn input(name: &Name, path: &[&str], inputs: &[Input], used: &mut Used) -> Result<Types, Problem> {
    let refused = |what: String| Problem::error(name.span, what);
    let [input, fields @ ..] = path else {
        return Err(refused("`inputs` alone is no value".into()).help("name one: `inputs.<name>`"));
    };
    let Some(known) = inputs.iter().find(|known| known.name == *input) else {
        return Err(refused(format!("there is no input `{input}`")).help(
            did_you_mean(input, inputs.iter().map(|input| input.name.as_str()))
                .unwrap_or_else(|| "declare it under `inputs:`".into()),
        ));
    };
    used.inputs.insert(known.name.clone());
    if !fields.is_empty() {
        return Err(refused(format!("the input `{input}` has no fields")).help(format!("use it as `inputs.{input}`")));
    }
    Ok(Types::from([match known.r#type {
        InputType::String | InputType::Bucket => "string",
        InputType::Integer | InputType::Size => "integer",
        InputType::Number | InputType::Duration => "number",
        InputType::Boolean => "boolean",
        InputType::List => "array",
    }]))
}

fn no_field(name: &Name, of: &str, missing: &Missing<'_, '_>) -> Problem {
    if missing.known.is_empty() {
        return Problem::error(name.span, format!("{of} has nothing under `{}` here", missing.field))
            .help("what stands before it is one value or a list; take an entry of a list with `[0]`");
    }
    not_a_field(name, missing.field, of, &missing.known)
}

fn not_a_field(name: &Name, field: &str, of: &str, known: &[&str]) -> Problem {
    let what =
        if field.is_empty() { format!("{of} alone is no value") } else { format!("{of} has no field `{field}`") };
    Problem::error(name.span, what).maybe_help(
        did_you_mean(field, known.iter().copied()).or_else(|| Some(format!("its fields: `{}`", known.join("`, `")))),
    )
}
