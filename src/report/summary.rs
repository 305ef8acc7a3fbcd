//! The last words of a run: verdict, times, where the record lies, and what to do next.

use std::fmt::Write;

use crate::{
    clock::seconds_between,
    event::{Measured, StepVerdict, Verdict},
    human::duration,
    replay::{Past, Phase, RunState},
    verdict::{self, Exit},
};

/// A few lines for the end of a run, or of `show`. `journal` is the path that an operator can use.
pub fn summary(state: &RunState, journal: &str, head: &str, runs_flag: &str) -> String {
    let mut text = String::new();
    let (verdict, exit) = verdict::verdict(state);
    let _ = writeln!(text, "{}", headline(state, verdict, exit));
    if let Some(rto) = verdict::rto(state)
        && matches!(verdict, Verdict::Held | Verdict::Late)
    {
        let _ = writeln!(text, "  recovery time  {}", objective(rto));
    }
    let _ = writeln!(text, "  journal        {journal}");
    let _ = writeln!(text, "  head           {head}");
    for (check, reason) in &state.started.accepted {
        let _ = writeln!(text, "  waived         {check}: {reason}");
    }
    for (step, _, asked) in state.open_questions() {
        let _ = writeln!(text, "  asked          {step}: {}", asked.question.prompt);
    }
    for next in next(state, verdict, runs_flag) {
        let _ = writeln!(text, "  next           {next}");
    }
    text
}

fn headline(state: &RunState, verdict: Verdict, exit: Exit) -> String {
    let total = seconds_between(state.started_at, state.last_at);
    let waited = verdict::waited(state);
    let people =
        if waited >= 0.05 { format!(", {} of it waiting for people", duration(waited)) } else { String::new() };
    let word = match verdict {
        Verdict::Held => "HELD: every step holds",
        Verdict::NotHeld => "NOT HELD",
        Verdict::Broke => "BROKE: could not be done, or could not be told",
        Verdict::Late => "LATE: recovered and proven, but the objective was missed",
        Verdict::Waiting => "WAITING for a person",
        Verdict::Cancelled => "CANCELLED",
    };
    let word = match state.phase {
        Phase::Ended(_) | Phase::Interrupted(_) => word,
        Phase::Running | Phase::Finishing if verdict == Verdict::Waiting => word,
        Phase::Running | Phase::Finishing => return format!("NOT ENDED after {}{people}", duration(total)),
    };
    format!("{word} (exit {}) after {}{people}", exit.code(), duration(total))
}

fn objective(rto: Measured) -> String {
    match rto.objective_seconds {
        Some(limit) => format!("{} of {} allowed", duration(rto.measured_seconds), duration(limit)),
        None => duration(rto.measured_seconds),
    }
}

/// What to do next, most useful first.
pub fn next(state: &RunState, verdict: Verdict, runs_flag: &str) -> Vec<String> {
    let run = &state.started.run;
    let mut lines = Vec::new();
    // The sites of the sandbox are gone with the process: there is nothing to go on with.
    if state.started.sandbox.is_some() && !matches!(verdict, Verdict::Held | Verdict::Late) {
        return vec![format!("firedrill show {run}{runs_flag}")];
    }
    match verdict {
        Verdict::Held | Verdict::Late => lines.push(format!("firedrill audit verify {run}{runs_flag}")),
        Verdict::Waiting => {
            let mut steps: Vec<_> = state.open_questions().map(|(step, _, _)| step).collect();
            steps.dedup();
            lines.extend(steps.iter().map(|step| format!("firedrill approve {run} {step}{runs_flag}")));
        }
        Verdict::NotHeld | Verdict::Broke | Verdict::Cancelled => {
            lines.push(format!("firedrill resume {run}{runs_flag}   (after putting right what is named above)"));
        }
    }
    if matches!(verdict, Verdict::NotHeld | Verdict::Broke | Verdict::Cancelled | Verdict::Waiting) {
        lines.extend(resyncs(state));
    }
    lines
}

/// A resync goes on at the server, whatever becomes of the run: say so, and how to watch it.
fn resyncs(state: &RunState) -> Vec<String> {
    let mut lines = Vec::new();
    for step in state.steps.values().filter(|step| step.verdict() != Some(StepVerdict::Held)) {
        let began = step.changes.iter().any(|(_, past)| match past {
            Past::Done(receipt) => receipt.get("reset_id").is_some(),
            Past::Open { intent, .. } | Past::Lost { intent, .. } => intent.needs_proof,
            Past::NotDone { .. } => false,
        });
        let with = step.begun.as_ref().map(|begun| &begun.with);
        let role = with.and_then(|with| with.get("source")).and_then(|v| v.as_str()).unwrap_or("source");
        if began
            && let (Some(bucket), Some(site)) =
                (with.and_then(|with| with["bucket"].as_str()), state.started.sites.get(role))
        {
            lines.push(format!(
                "mc replicate resync status {}/{bucket}   (a resync that was started goes on at the server)",
                site.alias
            ));
        }
    }
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Line;

    fn state(events: &[(&str, Value)]) -> RunState {
        let site =
            |alias: &str| json!({"alias": alias, "endpoint": "https://x", "deployment_id": null, "release": null});
        let first = json!({
            "event": "run_started", "run": "r-1", "tool": "t", "runbook": "b", "runbook_sha256": "0", "kind": "recovery",
            "user": "u", "host": "h", "inputs": {}, "sites": {"source": site("primary"), "target": site("dr")},
            "steps": ["go"], "finally": [], "accepted": {"tls": "a closed network"}, "rto": 60.0,
        });
        let all = std::iter::once(("", first)).chain(events.iter().cloned());
        let lines: Vec<Line> = (0_u64..)
            .zip(all)
            .map(|(seq, (path, event))| {
                let mut line = json!({"v": 1, "seq": seq, "prev": "", "path": path, "at": format!("2026-11-23T18:00:{:02}Z", seq * 4)});
                line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
                serde_json::from_value(line).unwrap()
            })
            .collect();
        RunState::replay(&lines).unwrap()
    }

    fn begin() -> (&'static str, Value) {
        let with = json!({"bucket": "docs"});
        (
            "go",
            json!({"event": "step_started", "uses": "x", "title": "x", "effect": "changes", "proves": true, "attempt": 1, "with": with}),
        )
    }

    fn started_a_resync() -> [(&'static str, Value); 2] {
        let intent = json!({"event": "intent", "key": "k", "n": 1, "change": "c", "role": "source", "bucket": "docs", "body": {}, "needs_proof": true});
        [
            ("go", intent),
            ("go", json!({"event": "receipt", "key": "k", "n": 1, "outcome": {"done": {"reset_id": "x"}}})),
        ]
    }

    fn ended(verdict: &str) -> Vec<(&'static str, Value)> {
        let run = json!({"event": "run_ended", "verdict": verdict, "exit": 0, "seconds": 1.0, "waited_seconds": 0.0, "rto": null});
        vec![
            (
                "go",
                json!({"event": "step_ended", "verdict": verdict, "output": {}, "seconds": 1.0, "waited_seconds": 0.0}),
            ),
            ("", json!({"event": "finishing", "why": "last_step"})),
            ("", run),
        ]
    }

    #[track_caller]
    fn assert_summary(events: &[(&str, Value)], wanted: &str) {
        let text = summary(&state(events), "runs/r-1/journal.jsonl", "abc", " --runs runs");
        assert!(text == wanted, "--- wanted\n{wanted}--- said\n{text}");
    }

    #[test]
    fn a_green_end_names_time_record_and_waivers() {
        assert_summary(
            &[vec![begin()], ended("held")].concat(),
            "\
HELD: every step holds (exit 0) after 16s
  recovery time  8.0s of 1m 00s allowed
  journal        runs/r-1/journal.jsonl
  head           abc
  waived         tls: a closed network
  next           firedrill audit verify r-1 --runs runs
",
        );
    }

    #[test]
    fn another_end_says_what_to_do_and_that_a_resync_goes_on() {
        assert_summary(
            &[vec![begin()], started_a_resync().to_vec(), ended("not_held")].concat(),
            "\
NOT HELD (exit 4) after 24s
  journal        runs/r-1/journal.jsonl
  head           abc
  waived         tls: a closed network
  next           firedrill resume r-1 --runs runs   (after putting right what is named above)
  next           mc replicate resync status primary/docs   (a resync that was started goes on at the server)
",
        );
    }

    #[test]
    fn an_open_question_is_shown_with_its_answer() {
        let question = json!({"event": "asked", "key": "q", "question": {"prompt": "Is traffic drained?"}});
        assert_summary(
            &[begin(), ("go", question)],
            "\
WAITING for a person (exit 7) after 8.0s
  journal        runs/r-1/journal.jsonl
  head           abc
  waived         tls: a closed network
  asked          go: Is traffic drained?
  next           firedrill approve r-1 go --runs runs
",
        );
    }

    #[test]
    fn a_run_that_was_killed_has_not_ended() {
        let text = summary(&state(&[begin()]), "j", "abc", "");
        assert!(text.starts_with("NOT ENDED after 4.0s\n"), "{text}");
        assert!(text.contains("  next           firedrill resume r-1   (after"), "{text}");
    }
}
