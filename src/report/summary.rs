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
fn next(state: &RunState, verdict: Verdict, runs_flag: &str) -> Vec<String> {
    let run = &state.started.run;
    let mut lines = Vec::new();
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
            Past::Open { intent, .. } => intent.needs_proof,
            Past::NotDone { .. } | Past::Lost => false,
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
