//! A run as one JSON object, for scripts: what `--output json` prints at the end of a run and for `show`.

use serde_json::{Map, Value, json};

use crate::{
    replay::{Phase, RunState, StepPhase},
    verdict,
};

/// The run as it stands. `head` is the SHA-256 of the journal's last line.
pub fn run(state: &RunState, journal: &str, head: &str) -> Value {
    let (verdict, exit) = verdict::verdict(state);
    let ended = matches!(state.phase, Phase::Ended(_));
    let steps: Map<String, Value> = state.in_order().map(|(id, step)| (id.to_owned(), step_of(step))).collect();
    json!({
        "run": state.started.run,
        "runbook": state.started.runbook,
        "kind": state.started.kind,
        "ended": ended,
        "verdict": verdict,
        "exit": exit.code(),
        "started_at": state.started_at,
        "last_at": state.last_at,
        "waited_seconds": verdict::waited(state),
        "rto": verdict::rto(state),
        "inputs": state.started.inputs,
        "sites": state.started.sites,
        "accepted": state.started.accepted,
        "steps": steps,
        "questions": state.open_questions().map(|(step, key, asked)| json!({
            "step": step, "key": key, "prompt": asked.question.prompt, "typed": asked.question.typed,
        })).collect::<Vec<_>>(),
        "artifacts": state.artifacts,
        "journal": journal,
        "head": head,
    })
}

fn step_of(step: &crate::replay::StepState) -> Value {
    let (phase, end) = match &step.phase {
        StepPhase::Pending => ("not reached", None),
        StepPhase::Running => ("running", None),
        StepPhase::Skipped(why) => return json!({ "state": "skipped", "why": why }),
        StepPhase::Ended(end) => (end.verdict.word(), Some(end)),
    };
    json!({
        "state": phase,
        "uses": step.begun.as_ref().map(|begun| &begun.uses),
        "title": step.begun.as_ref().map(|begun| &begun.title),
        "attempts": step.attempts,
        "seconds": end.map(|end| end.seconds),
        "waited_seconds": step.waited_seconds,
        "output": end.and_then(|end| end.output.as_ref()),
        "findings": end.map(|end| &end.findings),
        "failure": end.and_then(|end| end.failure.as_ref()),
    })
}
