//! A runbook against the kinds: every problem that can be found without a network, all at once.

mod params;
mod references;
mod secrets;
pub(crate) mod shape;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::{
    params::Params,
    references::{Earlier, Place, Used},
    shape::Shape,
};
use crate::{
    event::{Effect, RunbookKind},
    problem::{Level, Problem, did_you_mean},
    runbook::{self, Expr, Input, Runbook, StepSpec, value_of},
    step::Kind,
    template,
    tree::{self, Node},
};

/// Parses, reads and checks a runbook. `Ok` has warnings at most.
pub fn load(text: &str, kinds: &[Kind]) -> Result<(Runbook, Vec<Problem>), Vec<Problem>> {
    let root = tree::parse(text).map_err(|problem| vec![problem])?;
    let mut problems = Vec::new();
    let runbook = runbook::gather(&root, &mut problems);
    let mut used = Used::default();
    inputs(&runbook, &mut used, &mut problems);
    secrets::check(&runbook, &mut problems);
    let types = Types::of(&runbook, kinds);
    steps(text, &runbook, &types, &mut used, &mut problems);
    if problems.iter().any(|problem| problem.level == Level::Error) {
        return Err(without_repeats(problems));
    }
    unused(&root, &runbook, &used, &mut problems);
    Ok((runbook, problems))
}

/// The same from the bytes of a file, which may not be text.
pub fn load_bytes(bytes: &[u8], kinds: &[Kind]) -> Result<(Runbook, Vec<Problem>), Vec<Problem>> {
    match tree::parse_bytes(bytes) {
        Ok((text, _)) => load(text, kinds),
        Err(problem) => Err(vec![problem]),
    }
}

/// Data without templates against its JSON schema: every problem, each at its place.
pub fn data(node: &Node, schema: &Value, problems: &mut Vec<Problem>) {
    Params { place: None, used: &mut Used::default(), problems }.check(node, Shape::root(schema), node.span);
}

/// Expressions that are asked when a run has ended: every name in them must be one that the run has. A step that was not
/// reached has no output; what is said of it then comes out when it is asked.
pub fn after_a_run(runbook: &Runbook, kinds: &[Kind], key: &str, that: &[Expr], problems: &mut Vec<Problem>) {
    let types = Types::of(runbook, kinds);
    let all = || runbook.steps.iter().chain(&runbook.finally);
    let output = |step: &StepSpec| types.schemas.get(step.uses.as_str()).map(|(_, _, output)| output);
    let known: Vec<_> = all().map(|step| (step, output(step))).collect();
    let earlier: Vec<Earlier<'_>> = known
        .iter()
        .map(|(step, out)| Earlier { id: &step.id, when: None, finally: false, out: out.map(Shape::root) })
        .collect();
    for expr in that {
        references::after(runbook, &earlier, key, expr, problems);
    }
}

/// The kinds that a runbook uses, with their schemas.
struct Types<'a> {
    kinds: &'a [Kind],
    schemas: BTreeMap<&'a str, (&'a Kind, Value, Value)>,
}

impl<'a> Types<'a> {
    fn of(runbook: &Runbook, kinds: &'a [Kind]) -> Self {
        let uses: BTreeSet<&str> =
            runbook.steps.iter().chain(&runbook.finally).map(|step| step.uses.as_str()).collect();
        let schemas = kinds
            .iter()
            .filter(|kind| uses.contains(kind.uses))
            .map(|kind| (kind.uses, (kind, (kind.params)().to_value(), (kind.output)().to_value())))
            .collect();
        Self { kinds, schemas }
    }
}

fn inputs(runbook: &Runbook, used: &mut Used, problems: &mut Vec<Problem>) {
    for (at, input) in runbook.inputs.iter().enumerate() {
        for one in &input.one_of {
            let typed = Input { one_of: Vec::new(), ..input.clone() };
            if let Err(what) = value_of(&typed, &one.to_json()) {
                problems
                    .push(Problem::error(one.span, what).help("each entry of `enum` is a value of the input's type"));
            }
        }
        let Some(default) = &input.default else { continue };
        let names = match template::names(default) {
            Ok(names) => names,
            Err(bad) => {
                problems.extend(bad);
                continue;
            }
        };
        let above = &runbook.inputs[..at];
        for name in &names {
            references::input_above(name, above, used, problems);
        }
        let mut literal = names.is_empty();
        if input.secret && literal {
            literal = false;
            problems.push(
                Problem::error(default.extent(), format!("the secret input `{}` has a default", input.name))
                    .help("nothing secret is kept in a runbook: leave the default out and give the value to each run")
                    .hidden(),
            );
        }
        if literal && let Err(what) = value_of(input, &default.to_json()) {
            problems.push(
                Problem::error(default.span, format!("the default of `{}` does not fit: {what}", input.name))
                    .help("change the default, or the type and limits of the input"),
            );
        }
    }
}

fn steps(file: &str, runbook: &Runbook, types: &Types<'_>, used: &mut Used, problems: &mut Vec<Problem>) {
    let mut earlier: Vec<Earlier<'_>> = Vec::new();
    let ids: Vec<&str> = runbook.steps.iter().chain(&runbook.finally).map(|step| step.id.as_str()).collect();
    let all = runbook.steps.iter().map(|step| (step, false)).chain(runbook.finally.iter().map(|step| (step, true)));
    for (step, finally) in all {
        let own = types.schemas.get(step.uses.as_str());
        let out = own.map(|(_, _, output)| Shape::root(output));
        let place = Place { file, runbook, earlier: &earlier, ids: &ids, step: Some(step), finally };
        if let Some((kind, params, _)) = own {
            envelope(runbook, step, kind, problems);
            let before = problems.len();
            Params { place: Some(&place), used, problems }.check(&step.with, Shape::root(params), step.uses_span);
            // What no schema says, e.g. that a number is too large for its type.
            if problems.len() == before
                && template::names(&step.with).is_ok_and(|names| names.is_empty())
                && let Err(problem) = (kind.bind)(&step.with)
            {
                problems.push(problem.or_at(step.with.span));
            }
        } else if !step.uses.is_empty() {
            problems.push(
                Problem::error(step.uses_span, format!("there is no step kind `{}`", step.uses)).help(
                    did_you_mean(&step.uses, types.kinds.iter().map(|kind| kind.uses))
                        .unwrap_or_else(|| "`firedrill steps` lists them".into()),
                ),
            );
        }
        references::check(step, &place, out, used, problems);
        earlier.push(Earlier { id: &step.id, when: step.when.as_ref(), finally, out });
    }
}

/// What the envelope asks of a kind.
fn envelope(runbook: &Runbook, step: &StepSpec, kind: &Kind, problems: &mut Vec<Problem>) {
    if runbook.kind == RunbookKind::Verify && kind.effect == Effect::Changes {
        problems.push(
            Problem::error(
                step.uses_span,
                format!("`{}` changes something, and a `verify` runbook changes nothing", kind.uses),
            )
            .help("use a kind that only reads, or make it `kind: recovery`"),
        );
    }
    if let Some(retry) = &step.retry
        && kind.effect == Effect::Asks
    {
        problems.push(
            Problem::error(retry.span, format!("`{}` asks a person, and a person is not asked again", kind.uses))
                .help("remove `retry`"),
        );
    }
    if let Some(until) = &step.until
        && kind.effect != Effect::Reads
    {
        problems.push(
            Problem::error(until.span, format!("`until` repeats a step, and `{}` does not only read", kind.uses))
                .help("put `until` on a reading step after it"),
        );
    }
}

/// Warns of inputs and roles that nothing uses.
fn unused(root: &Node, runbook: &Runbook, used: &Used, problems: &mut Vec<Problem>) {
    let declared = |key: &str| root.get(key).map(Node::entries).unwrap_or_default();
    for (name, _) in declared("inputs") {
        if let Some(name_text) = name.as_str().filter(|name| !used.inputs.contains(*name)) {
            problems.push(
                Problem::warning(name.span, format!("nothing uses the input `{name_text}`"))
                    .help("remove it, or use it as `{{ inputs.".to_owned() + name_text + " }}`"),
            );
        }
    }
    for (name, _) in declared("roles") {
        if let Some(name_text) = name.as_str().filter(|name| !used.roles.contains(*name)) {
            problems.push(
                Problem::warning(name.span, format!("no step uses the role `{name_text}`"))
                    .help(format!("remove it: each run of `{}` would have to bind a site to it", runbook.name)),
            );
        }
    }
}

fn without_repeats(problems: Vec<Problem>) -> Vec<Problem> {
    let mut once: Vec<Problem> = Vec::new();
    for problem in problems {
        if !once.contains(&problem) {
            once.push(problem);
        }
    }
    once
}
