//! `resume --use-edited`: an edited copy of a run's runbook takes over, when only steps that have not begun differ.

use std::{collections::BTreeSet, io::Write, path::Path};

use serde_json::Value;

use super::{
    Refusal,
    load::{self, Loaded},
};
use crate::{
    digest::digest,
    event::{Edited, Event},
    failure::Failure,
    log::Log,
    replay::RunState,
    runbook::{OnFailure, StepSpec},
    tree,
};

/// Reads the edited copy and holds it against the runbook that runs now.
pub(super) fn load(file: &Path, saved: &[u8], state: &RunState) -> Result<Loaded, Refusal> {
    let run = &state.started.run;
    if state.started.plan_sha256.is_some() {
        return Err(Refusal::refused(format!("run {run} keeps to a plan, which fits one runbook: begin a new run")));
    }
    if state.finishing() {
        return Err(Refusal::refused(format!("run {run} is in its `finally`: resume it to its end first")));
    }
    let loaded = load::file(file)?;
    let tree = |text: &[u8]| tree::parse_bytes(text).map(|(_, node)| node.to_json()).unwrap_or_default();
    let wrong = differences(&tree(saved), &tree(loaded.text.as_bytes()), |id| state.begun(id));
    if wrong.is_empty() {
        return Ok(loaded);
    }
    Err(Refusal::refused(format!(
        "{} does not take over run {run}, where only steps that have not begun may differ:\n  {}",
        file.display(),
        wrong.join("\n  ")
    )))
}

/// Writes the copy beside the journal, for whoever reads the run later.
pub(super) fn keep(loaded: &Loaded, log: &Log) -> Result<Edited, Failure> {
    let n = 2 + log.state(|state| state.artifacts.keys().filter(|name| name.starts_with(PREFIX)).count());
    let name = format!("{PREFIX}{n}.yaml");
    let mut file = log.recorder().artifact(&name)?;
    file.write_all(loaded.text.as_bytes()).map_err(|e| Failure::Journal(format!("{name}: {e}")))?;
    let (file, sha256) = match file.close()? {
        Event::Artifact { name, sha256, .. } => (name, sha256),
        _ => (name, digest(loaded.text.as_bytes())),
    };
    let (steps, finally) = (&loaded.runbook.steps, &loaded.runbook.finally);
    let ids = |specs: &[StepSpec]| specs.iter().map(|spec| spec.id.clone()).collect();
    let warned = steps.iter().chain(finally).filter(|spec| spec.on_failure == OnFailure::Warn);
    let warn_only = warned.map(|spec| spec.id.clone()).collect();
    Ok(Edited { file, sha256, steps: ids(steps), finally: ids(finally), warn_only })
}

const PREFIX: &str = "runbook-";
const LISTS: [&str; 2] = ["steps", "finally"];

/// What differs and must not. Comments, order of keys and layout may.
fn differences(before: &Value, after: &Value, begun: impl Fn(&str) -> bool) -> Vec<String> {
    let mut wrong: Vec<String> = fields(before, after)
        .into_iter()
        .filter(|name| !LISTS.contains(&name.as_str()))
        .map(|name| format!("`{name}` differs"))
        .collect();
    for list in LISTS {
        let items = |runbook: &Value| runbook[list].as_array().cloned().unwrap_or_default();
        let (before, after) = (items(before), items(after));
        let last = before.iter().rposition(|step| begun(id(step)));
        for (n, step) in before.iter().take(last.map_or(0, |last| last + 1)).enumerate() {
            let id = id(step);
            match after.get(n) {
                Some(other) if id == self::id(other) => {
                    let fields = fields(step, other);
                    if !fields.is_empty() {
                        let names: Vec<_> = fields.iter().map(|name| format!("`{name}`")).collect();
                        wrong.push(format!(
                            "step `{id}` has begun, or a later one has, and differs in {}",
                            names.join(", ")
                        ));
                    }
                }
                Some(_) | None => {
                    wrong.push(format!("step `{id}` has begun, or a later one has, and is not in its place"));
                }
            }
        }
    }
    wrong
}

fn id(step: &Value) -> &str {
    step["id"].as_str().unwrap_or_default()
}

/// The fields that differ between two mappings.
fn fields(before: &Value, after: &Value) -> BTreeSet<String> {
    let names =
        |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let all = names(before).into_iter().chain(names(after));
    all.filter(|name| before.get(name) != after.get(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "
runbook: a
steps: [{ id: one, uses: x, with: { n: 1 } }, { id: two, uses: x }, { id: three, uses: x }]
finally: [{ id: last, uses: x }]
";

    /// What differs in the text after this change, when `one` and `two` have begun.
    fn after(change: impl Fn(&str) -> String) -> Vec<String> {
        let tree = |text: &str| tree::parse(text).unwrap().to_json();
        differences(&tree(BEFORE), &tree(&change(BEFORE)), |id| ["one", "two"].contains(&id))
    }

    #[test]
    fn later_steps_may_differ_in_everything() {
        for (from, to) in [
            ("{ id: three, uses: x }", "{ id: three, uses: y, timeout: 1m }"),
            ("{ id: three, uses: x }", "{ id: other, uses: x }, { id: three, uses: x }"),
            (", { id: three, uses: x }", ""),
            ("finally: [{ id: last, uses: x }]", "# nothing to tidy"),
            ("{ n: 1 }", "{n:   1}  "),
        ] {
            assert_eq!(after(|text| text.replace(from, to)), [""; 0], "{to}");
        }
    }

    #[test]
    fn what_has_begun_and_the_head_may_not() {
        for (from, to, wanted) in [
            ("n: 1", "n: 2", "step `one` has begun, or a later one has, and differs in `with`"),
            (
                "{ id: two, uses: x }",
                "{ id: two, uses: y, when: z }",
                "step `two` has begun, or a later one has, and differs in `uses`, `when`",
            ),
            ("{ id: two, uses: x }, ", "", "step `two` has begun, or a later one has, and is not in its place"),
            (
                "{ id: one,",
                "{ id: zero, uses: x }, { id: one,",
                "step `one` has begun, or a later one has, and is not in its place",
            ),
            ("runbook: a", "runbook: b\ninputs: {}", "`inputs` differs"),
        ] {
            assert_eq!(after(|text| text.replace(from, to))[0], wanted, "{to}");
        }
    }
}
