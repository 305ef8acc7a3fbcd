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
    /// The journal cannot be written or does not verify.
    Journal,
    /// A question waits for an answer.
    Waiting,
    /// Recovered, but an objective was missed.
    Late,
    /// Another run holds one of the buckets.
    Claimed,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    pub const ALL: [Self; 12] = [
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
            Self::Journal => "the journal cannot be written, or does not verify",
            Self::Waiting => "a question waits for an answer (`firedrill approve`)",
            Self::Late => "recovered and proven, but an objective was missed",
            Self::Claimed => "another run holds one of the buckets",
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
    if rto(state).is_some_and(|rto| rto.objective_seconds.is_some_and(|limit| rto.measured_seconds > limit)) {
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

/// Seconds that the run waited for people.
pub fn waited(state: &RunState) -> f64 {
    state.steps.values().map(|step| step.waited_seconds).sum()
}

fn by_signal(signal: Signal) -> Exit {
    match signal {
        Signal::Interrupt => Exit::Interrupted,
        Signal::Terminate => Exit::Terminated,
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
