//! What expressions and templates see: inputs, roles, earlier steps, the run, and in `expect` and `until` the output.

use serde_json::{Map, Value, json};

use super::Setup;
use crate::{
    event::StepVerdict,
    replay::{RunState, StepPhase},
    verdict,
};

/// The scope of a run as it stands.
pub(super) fn scope(setup: &Setup, out: Option<&Value>) -> Value {
    let mut scope = setup.log.state(|state| of(state, &setup.inputs));
    if let (Some(out), Some(fields)) = (out, scope.as_object_mut()) {
        fields.insert("out".into(), out.clone());
    }
    scope
}

/// The scope of a run by its state; `inputs` has the values of secret ones too.
pub fn of(state: &RunState, inputs: &Map<String, Value>) -> Value {
    let mut steps = Map::new();
    for (id, step) in &state.steps {
        let (mut fields, verdict) = match &step.phase {
            // Its fields have no value yet: to use one is an error.
            StepPhase::Pending | StepPhase::Running => (Map::new(), "not_reached"),
            StepPhase::Skipped(_) => (Map::new(), "skipped"),
            StepPhase::Ended(end) => {
                let fields = end.output.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
                (fields, end.verdict.word())
            }
        };
        fields.insert("ran".into(), Value::Bool(!matches!(verdict, "skipped" | "not_reached")));
        fields.insert("verdict".into(), verdict.into());
        steps.insert(id.clone(), Value::Object(fields));
    }
    let roles: Map<String, Value> = state
        .started
        .sites
        .iter()
        .map(|(role, site)| {
            let fields = json!({
                "alias": site.alias,
                "endpoint": site.endpoint,
                "deployment_id": site.deployment_id,
                "release": site.release,
            });
            (role.clone(), fields)
        })
        .collect();
    json!({
        "inputs": inputs,
        "roles": roles,
        "steps": steps,
        "run": {
            "id": state.started.run,
            "kind": state.started.kind,
            "started_at": state.started_at,
            "verdict": so_far(state),
        },
    })
}

/// The verdict on the steps that have ended: what `finally` can go by.
fn so_far(state: &RunState) -> &'static str {
    let counted = || state.in_order().filter(|(id, _)| !state.started.warn_only.iter().any(|w| w == id));
    let any = |wanted| counted().any(|(_, step)| step.verdict() == Some(wanted));
    if state.stop.is_some_and(|stop| matches!(stop, crate::event::Stop::Signal(_))) {
        "cancelled"
    } else if any(StepVerdict::NotHeld) {
        "not_held"
    } else if any(StepVerdict::Broke) || any(StepVerdict::Cancelled) {
        "broke"
    } else if verdict::is_late(state) {
        "late"
    } else {
        "held"
    }
}
