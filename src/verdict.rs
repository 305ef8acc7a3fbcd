//! The pure fold of a run's state into its verdict, and the table of exit codes.

use jiff::Timestamp;

use crate::{
    clock::seconds_between,
    event::{Measured, RunbookKind, Signal, StepVerdict, Stop, Verdict},
    replay::{Phase, RunState, StepPhase, StepState},
};

/// The exit codes of `firedrill`. CI tells "the drill found something" (4) from "the drill broke" (5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All of it holds.
    Held,
    /// A defect of this program.
    Defect,
    /// Wrong usage of the command line.
    Usage,
    /// Refused before anything ran: a file, an input or an option is not valid.
    Refused,
    /// Something does not hold.
    NotHeld,
    /// It could not be done, or could not be told.
    Broke,
    /// The journal cannot be written or does not verify, or is not signed or stored although that was demanded.
    Journal,
    /// A question waits for an answer.
    Waiting,
    /// Recovered, but an objective was missed.
    Late,
    /// Another run holds one of the buckets.
    Claimed,
    /// Stopped by SIGHUP.
    HungUp,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    pub const ALL: [Self; 13] = [
        Self::Held,
        Self::Defect,
        Self::Usage,
        Self::Refused,
        Self::NotHeld,
        Self::Broke,
        Self::Journal,
        Self::Waiting,
        Self::Late,
        Self::Claimed,
        Self::HungUp,
        Self::Interrupted,
        Self::Terminated,
    ];

    pub fn code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Defect => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotHeld => 4,
            Self::Broke => 5,
            Self::Journal => 6,
            Self::Waiting => 7,
            Self::Late => 8,
            Self::Claimed => 9,
            Self::HungUp => 129,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Held => "all of it holds",
            Self::Defect => "a defect of firedrill: please report it",
            Self::Usage => "wrong usage of the command line",
            Self::Refused => "refused before anything ran: a file, an input or an option is not valid",
            Self::NotHeld => "something does not hold: a check failed, a version is missing, a person said no",
            Self::Broke => "could not be done, or could not be told",
            Self::Journal => {
                "the journal cannot be written or does not verify, or could not be signed or stored as demanded"
            }
            Self::Waiting => "a question waits for an answer (`firedrill approve`)",
            Self::Late => "recovered and proven, but an objective was missed",
            Self::Claimed => "another run holds one of the buckets",
            Self::HungUp => "stopped by SIGHUP: the terminal was closed",
            Self::Interrupted => "stopped by SIGINT (Ctrl-C)",
            Self::Terminated => "stopped by SIGTERM",
        }
    }
}

/// The verdict on a run as it stands, and its exit code. The first match wins, over all steps and `finally`, except
/// those with `on_failure: warn`.
pub fn verdict(state: &RunState) -> (Verdict, Exit) {
    if let Phase::Interrupted(signal) = state.phase {
        return (Verdict::Cancelled, by_signal(signal));
    }
    if state.open_questions().next().is_some() {
        return (Verdict::Waiting, Exit::Waiting);
    }
    if let Some(Stop::Signal(signal)) = state.stop {
        return (Verdict::Cancelled, by_signal(signal));
    }
    let counted = || state.in_order().filter(|(id, _)| !state.started.warn_only.iter().any(|w| w == id));
    if counted().any(|(_, step)| step.verdict() == Some(StepVerdict::NotHeld)) {
        return (Verdict::NotHeld, Exit::NotHeld);
    }
    let open = state.steps.values().any(|step| step.open().next().is_some());
    if open || state.unproven || counted().any(|(_, step)| unfinished(step)) {
        return (Verdict::Broke, Exit::Broke);
    }
    if is_late(state) {
        return (Verdict::Late, Exit::Late);
    }
    (Verdict::Held, Exit::Held)
}

/// The recovery time: wall clock from `--since`, else the start of the run, to the last proof; without one, to the end.
pub fn rto(state: &RunState) -> Option<Measured> {
    if state.started.kind != RunbookKind::Recovery {
        return None;
    }
    let end: Timestamp = state.proven_at.unwrap_or(state.last_at);
    Some(Measured {
        measured_seconds: seconds_between(state.started.since.unwrap_or(state.started_at), end),
        objective_seconds: state.started.rto,
    })
}

/// Whether the recovery time objective is missed.
pub fn is_late(state: &RunState) -> bool {
    rto(state).is_some_and(|rto| rto.objective_seconds.is_some_and(|limit| rto.measured_seconds > limit))
}

/// Seconds that the run waited for people.
pub fn waited(state: &RunState) -> f64 {
    state.steps.values().map(|step| step.waited_seconds).sum()
}

fn by_signal(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate => Exit::Terminated,
        Signal::HangUp => Exit::HungUp,
    }
}

/// Broke, was stopped, or was never reached.
fn unfinished(step: &StepState) -> bool {
    match &step.phase {
        StepPhase::Pending | StepPhase::Running => true,
        StepPhase::Skipped(_) => false,
        StepPhase::Ended(end) => matches!(end.verdict, StepVerdict::Broke | StepVerdict::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Line;

    /// The state after these events: `look` and `warned` (a failure of which is only a warning), then `tidy` in `finally`.
    fn state(rto: Option<f64>, events: &[(&str, Value)]) -> RunState {
        let first = json!({
            "event": "run_started", "run": "r", "tool": "t", "runbook": "b", "runbook_sha256": "0", "kind": "recovery",
            "user": "u", "host": "h", "inputs": {}, "sites": {}, "steps": ["look", "warned"], "finally": ["tidy"],
            "warn_only": ["warned"], "rto": rto,
        });
        let all = std::iter::once(("", first)).chain(events.iter().cloned());
        let lines: Vec<Line> = (0_u64..)
            .zip(all)
            .map(|(seq, (path, event))| {
                let mut line =
                    json!({"v": 1, "seq": seq, "prev": "", "path": path, "at": format!("2026-11-23T18:00:{seq:02}Z")});
                line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
                serde_json::from_value(line).unwrap()
            })
            .collect();
        RunState::replay(&lines).unwrap()
    }

    fn begin(step: &'static str, proves: bool) -> (&'static str, Value) {
        (
            step,
            json!({"event": "step_started", "uses": "x", "title": "x", "effect": "changes", "proves": proves, "attempt": 1, "with": {}}),
        )
    }

    fn end(step: &'static str, verdict: &str) -> (&'static str, Value) {
        (step, json!({"event": "step_ended", "verdict": verdict, "output": {}, "seconds": 1.0, "waited_seconds": 0.0}))
    }

    fn finishing(why: &Value) -> (&'static str, Value) {
        ("", json!({"event": "finishing", "why": why}))
    }

    fn intent() -> (&'static str, Value) {
        (
            "look",
            json!({"event": "intent", "key": "k", "n": 1, "change": "c", "role": "target", "bucket": "b", "body": {}, "needs_proof": true}),
        )
    }

    fn asked() -> (&'static str, Value) {
        ("look", json!({"event": "asked", "key": "q", "question": {"prompt": "?"}}))
    }

    #[test]
    fn the_first_match_wins() {
        let done = |look: &str, warned: &str, tidy: &str| {
            vec![end("look", look), end("warned", warned), finishing(&json!("last_step")), end("tidy", tidy)]
        };
        let signal = json!({"signal": "terminate"});
        let receipt = ("look", json!({"event": "receipt", "key": "k", "n": 1, "outcome": {"done": {}}}));
        for (events, wanted) in [
            (done("held", "held", "held"), (Verdict::Held, Exit::Held)),
            (done("held", "broke", "held"), (Verdict::Held, Exit::Held)),
            (done("held", "not_held", "held"), (Verdict::Held, Exit::Held)),
            (done("not_held", "held", "held"), (Verdict::NotHeld, Exit::NotHeld)),
            (done("broke", "held", "held"), (Verdict::Broke, Exit::Broke)),
            (done("held", "held", "not_held"), (Verdict::NotHeld, Exit::NotHeld)),
            // Proof of failure beats absence of proof.
            (done("broke", "held", "not_held"), (Verdict::NotHeld, Exit::NotHeld)),
            // A step that was never reached.
            (vec![finishing(&json!("failed")), end("tidy", "held")], (Verdict::Broke, Exit::Broke)),
            // An open question, whatever else.
            (vec![begin("look", false), asked()], (Verdict::Waiting, Exit::Waiting)),
            // A signal beats what does not hold.
            (vec![end("look", "not_held"), finishing(&signal)], (Verdict::Cancelled, Exit::Terminated)),
            (
                vec![("", json!({"event": "interrupted", "signal": "interrupt"}))],
                (Verdict::Cancelled, Exit::Interrupted),
            ),
            // An intent without a receipt, also of a step that broke.
            (
                vec![begin("look", false), intent(), end("look", "broke"), end("warned", "held")],
                (Verdict::Broke, Exit::Broke),
            ),
            // A change without a proof.
            (
                vec![
                    begin("look", false),
                    intent(),
                    receipt.clone(),
                    end("look", "held"),
                    end("warned", "held"),
                    end("tidy", "held"),
                ],
                (Verdict::Broke, Exit::Broke),
            ),
            (
                vec![
                    begin("look", true),
                    intent(),
                    receipt,
                    end("look", "held"),
                    end("warned", "held"),
                    end("tidy", "held"),
                ],
                (Verdict::Held, Exit::Held),
            ),
        ] {
            assert_eq!(verdict(&state(None, &events)), wanted, "{events:?}");
        }
    }

    #[test]
    fn the_recovery_time_ends_with_the_last_proof() {
        let events = [
            begin("look", true),
            end("look", "held"),
            end("warned", "held"),
            finishing(&json!("last_step")),
            end("tidy", "held"),
        ];
        let exact = state(Some(2.0), &events);
        assert_eq!(rto(&exact), Some(Measured { measured_seconds: 2.0, objective_seconds: Some(2.0) }));
        assert_eq!(verdict(&exact), (Verdict::Held, Exit::Held));
        assert_eq!(verdict(&state(Some(1.9), &events)), (Verdict::Late, Exit::Late));
        let mut since = state(Some(60.0), &events);
        since.started.since = Some("2026-11-23T17:59:00Z".parse().unwrap());
        assert_eq!(verdict(&since), (Verdict::Late, Exit::Late));
        since.started.kind = RunbookKind::Verify;
        assert_eq!(rto(&since), None);
    }

    #[test]
    fn waiting_for_people_is_counted_over_all_steps() {
        let answered =
            ("look", json!({"event": "answered", "key": "q", "answer": {"yes": true, "by": "u", "how": "flag"}}));
        let state = state(None, &[begin("look", false), asked(), answered]);
        assert!((waited(&state) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn every_exit_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len());
        assert_eq!((Exit::NotHeld.code(), Exit::Broke.code()), (4, 5));
    }
}
