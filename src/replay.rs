//! The pure fold of a journal into the state of its run. Live, on resume, in reports and in `audit verify`: the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::{
    clock::seconds_between,
    event::{
        Answer, Edited, Event, Intent, Line, Outcome, Progress, Question, RunStarted, Signal, StepEnded, StepStarted,
        StepVerdict, Stop, Verdict,
    },
};

mod again;
#[cfg(test)]
mod tests;

/// Events in an order that no run can produce: the journal is damaged, or this program has a defect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {seq}: {what}")]
pub struct IllegalOrder {
    pub seq: u64,
    pub what: String,
}

/// The state of a run.
#[derive(Clone, Debug)]
pub struct RunState {
    pub started: RunStarted,
    pub started_at: Timestamp,
    /// When the last line was written.
    pub last_at: Timestamp,
    /// Number of lines.
    pub lines: u64,
    pub phase: Phase,
    pub steps: BTreeMap<String, StepState>,
    pub resumes: u32,
    /// Something was sent, or was about to be: recorded outputs stand from here on.
    pub any_intent: bool,
    /// A change that needs a proof from the data has not had one since.
    pub unproven: bool,
    /// When a step that proves the data last held.
    pub proven_at: Option<Timestamp>,
    /// Name and SHA-256 of the run's files.
    pub artifacts: BTreeMap<String, String>,
    /// Why `finally` began.
    pub stop: Option<Stop>,
    /// The runbook that runs now, when it is not the one that the run began with.
    pub edited: Option<Edited>,
}

/// Where a run is.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    Running,
    Finishing,
    Interrupted(Signal),
    Ended(Verdict),
}

/// The state of one step.
#[derive(Clone, Debug, Default)]
pub struct StepState {
    pub phase: StepPhase,
    pub begun: Option<StepStarted>,
    pub began_at: Option<Timestamp>,
    /// Attempts begun so far, over all resumes.
    pub attempts: u32,
    pub changes: BTreeMap<String, Past>,
    pub questions: BTreeMap<String, Asked>,
    pub progress: Option<Progress>,
    /// Seconds spent waiting for people.
    pub waited_seconds: f64,
    /// It changed something and held, and its output was masked in the journal: a person says whether it is entered
    /// again.
    pub lost_output: bool,
}

/// Where a step is.
#[derive(Clone, Debug, Default)]
pub enum StepPhase {
    #[default]
    Pending,
    Running,
    Skipped(String),
    Ended(Box<StepEnded>),
}

/// What is known about a change.
#[derive(Clone, Debug)]
pub enum Past {
    /// An intent without a receipt: it may or may not have happened.
    Open {
        intent: Box<Intent>,
        at: Timestamp,
        /// Part of the intent was masked in the journal: it cannot be looked for.
        masked: bool,
    },
    Done(Value),
    /// It never happened: refused, or settled as not done.
    NotDone {
        n: u32,
    },
    /// It was done, but its receipt was masked in the journal.
    Lost {
        intent: Box<Intent>,
        masked: bool,
    },
}

/// A change whose receipt is not there.
#[derive(Clone, Debug)]
pub struct Unsettled {
    pub intent: Intent,
    /// Nothing of the intent was masked in the journal.
    pub readable: bool,
    /// It was done, as far as the journal still says.
    pub done: bool,
}

/// A question and, once given, its answer.
#[derive(Clone, Debug)]
pub struct Asked {
    pub question: Question,
    pub at: Timestamp,
    pub answer: Option<Answer>,
}

impl StepState {
    pub fn verdict(&self) -> Option<StepVerdict> {
        match &self.phase {
            StepPhase::Ended(end) => Some(end.verdict),
            StepPhase::Pending | StepPhase::Running | StepPhase::Skipped(_) => None,
        }
    }

    pub fn running(&self) -> bool {
        matches!(self.phase, StepPhase::Running)
    }

    /// The changes that were sent, or about to be, and whose outcome nobody knows.
    pub fn open(&self) -> impl Iterator<Item = (&Intent, Timestamp)> {
        self.changes.values().filter_map(|past| match past {
            Past::Open { intent, at, .. } => Some((&**intent, *at)),
            Past::Done(_) | Past::NotDone { .. } | Past::Lost { .. } => None,
        })
    }

    /// The changes whose receipt is not there.
    pub fn unsettled(&self) -> impl Iterator<Item = Unsettled> {
        self.changes.values().filter_map(|past| match past {
            Past::Open { intent, masked, .. } => {
                Some(Unsettled { intent: (**intent).clone(), readable: !masked, done: false })
            }
            Past::Lost { intent, masked } => {
                Some(Unsettled { intent: (**intent).clone(), readable: !masked, done: true })
            }
            Past::Done(_) | Past::NotDone { .. } => None,
        })
    }

    /// Questions without an answer.
    pub fn unanswered(&self) -> impl Iterator<Item = (&str, &Asked)> {
        self.questions.iter().filter(|(_, a)| a.answer.is_none()).map(|(k, a)| (k.as_str(), a))
    }

    /// The number of the last sending of a change that may be sent again, 0 before the first; `None`: it may not be.
    fn last_sending(&self, key: &str) -> Option<u32> {
        match self.changes.get(key) {
            None => Some(0),
            Some(Past::NotDone { n }) => Some(*n),
            Some(Past::Open { .. } | Past::Done(_) | Past::Lost { .. }) => None,
        }
    }

    /// Back to the start, for another attempt after a resume; what was done and answered yes is remembered. A question
    /// without an answer is asked again when its time comes.
    fn reopen(&mut self) {
        self.phase = StepPhase::Pending;
        self.began_at = None;
        self.waited_seconds = 0.0;
        self.questions.retain(|_, asked| asked.answer.as_ref().is_some_and(|a| a.yes));
    }
}

impl RunState {
    /// Folds all lines of a journal.
    pub fn replay<'a>(lines: impl IntoIterator<Item = &'a Line>) -> Result<Self, IllegalOrder> {
        let mut lines = lines.into_iter();
        let first = lines.next().ok_or(IllegalOrder { seq: 0, what: "the journal is empty".into() })?;
        let mut state = Self::begin(first)?;
        for line in lines {
            state.apply(line)?;
        }
        Ok(state)
    }

    /// The state after the first line, which must be the start of a run.
    pub fn begin(line: &Line) -> Result<Self, IllegalOrder> {
        let Event::RunStarted(started) = &line.event else {
            return Err(IllegalOrder { seq: line.seq, what: "the first line is not the start of a run".into() });
        };
        let ids = started.steps.iter().chain(&started.finally);
        Ok(Self {
            started: (**started).clone(),
            started_at: line.at,
            last_at: line.at,
            lines: 1,
            phase: Phase::Running,
            steps: ids.map(|id| (id.clone(), StepState::default())).collect(),
            resumes: 0,
            any_intent: false,
            unproven: false,
            proven_at: None,
            artifacts: BTreeMap::new(),
            stop: None,
            edited: None,
        })
    }

    /// Takes in the next line.
    pub fn apply(&mut self, line: &Line) -> Result<(), IllegalOrder> {
        self.take(line).map_err(|what| IllegalOrder { seq: line.seq, what })?;
        self.last_at = line.at;
        self.lines += 1;
        Ok(())
    }

    /// The steps in the runbook's order, `finally` last.
    pub fn in_order(&self) -> impl Iterator<Item = (&str, &StepState)> {
        let ids = self.started.steps.iter().chain(&self.started.finally);
        ids.filter_map(|id| self.steps.get(id).map(|step| (id.as_str(), step)))
    }

    /// The steps that wait for an answer, with key and question. Nothing in `finally` waits.
    pub fn open_questions(&self) -> impl Iterator<Item = (&str, &str, &Asked)> {
        let over = self.finishing() || matches!(self.phase, Phase::Ended(_));
        self.in_order()
            // What became of a change is asked before its step is entered again.
            .filter(move |(_, step)| !over && matches!(step.phase, StepPhase::Pending | StepPhase::Running))
            .flat_map(|(id, step)| step.unanswered().map(move |(key, asked)| (id, key, asked)))
    }

    fn take(&mut self, line: &Line) -> Result<(), String> {
        if line.seq != self.lines {
            return Err(format!("its number is {}, not {}", line.seq, self.lines));
        }
        let closed = matches!(self.phase, Phase::Ended(_) | Phase::Interrupted(_));
        if closed && !matches!(line.event, Event::RunResumed { .. }) {
            return Err("something happens after the end".into());
        }
        match &line.event {
            Event::RunStarted(_) => return Err("a second start of the run".into()),
            Event::RunResumed { sites, from, edited, .. } => {
                if let Some(edited) = edited {
                    self.edit(edited)?;
                }
                self.resume(sites);
                if let Some(from) = from {
                    self.repeat(from)?;
                }
            }
            Event::Finishing { why } => {
                if !matches!(self.phase, Phase::Running) {
                    return Err("`finally` begins twice".into());
                }
                self.phase = Phase::Finishing;
                self.stop = Some(*why);
            }
            Event::Interrupted { signal } => self.phase = Phase::Interrupted(*signal),
            Event::RunEnded { verdict, .. } => {
                if let Some((id, _)) = self.in_order().find(|(_, step)| step.running()) {
                    return Err(format!("the run ends while `{id}` runs"));
                }
                if !matches!(self.phase, Phase::Finishing) {
                    return Err("the run ends before `finally`".into());
                }
                self.phase = Phase::Ended(*verdict);
            }
            Event::Artifact { name, sha256, .. } => {
                self.artifacts.insert(name.clone(), sha256.clone());
            }
            Event::StepStarted(_)
            | Event::StepSkipped { .. }
            | Event::Intent(_)
            | Event::Receipt { .. }
            | Event::Asked { .. }
            | Event::Answered { .. }
            | Event::Progress { .. }
            | Event::AttemptFailed { .. }
            | Event::StepEnded(_) => self.take_step(line)?,
        }
        Ok(())
    }

    fn take_step(&mut self, line: &Line) -> Result<(), String> {
        let Some(step) = self.steps.get_mut(&line.path) else {
            return Err(format!("there is no step `{}`", line.path));
        };
        let id = &line.path;
        match &line.event {
            Event::StepStarted(begun) => {
                if !matches!(step.phase, StepPhase::Pending | StepPhase::Running) {
                    return Err(format!("`{id}` begins again after its end"));
                }
                if begun.attempt != step.attempts + 1 {
                    return Err(format!("`{id}`: attempt {} after {}", begun.attempt, step.attempts));
                }
                step.attempts = begun.attempt;
                step.phase = StepPhase::Running;
                step.began_at.get_or_insert(line.at);
                step.begun = Some((**begun).clone());
            }
            Event::StepSkipped { why } => {
                if !matches!(step.phase, StepPhase::Pending) {
                    return Err(format!("`{id}` is skipped after it began"));
                }
                step.phase = StepPhase::Skipped(why.clone());
            }
            Event::StepEnded(end) => {
                if !matches!(step.phase, StepPhase::Pending | StepPhase::Running) {
                    return Err(format!("`{id}` ends twice"));
                }
                if end.verdict == StepVerdict::Held && step.open().next().is_some() {
                    return Err(format!("`{id}` holds while a change of it is open"));
                }
                let proves = step.begun.as_ref().is_some_and(|b| b.proves);
                let mut end = end.clone();
                if line.masked.iter().any(|pointer| pointer.starts_with("/output")) {
                    end.output = None;
                }
                step.phase = StepPhase::Ended(end);
                if proves && step.verdict() == Some(StepVerdict::Held) {
                    self.unproven = false;
                    self.proven_at = Some(line.at);
                }
            }
            Event::Intent(intent) => {
                if !step.running() {
                    return Err(format!("`{id}` changes something while it does not run"));
                }
                let last =
                    step.last_sending(&intent.key).ok_or_else(|| format!("`{id}`: `{}` is sent again", intent.key))?;
                if intent.n != last + 1 {
                    return Err(format!("`{id}`: sending {} of `{}` after {last}", intent.n, intent.key));
                }
                step.changes.insert(
                    intent.key.clone(),
                    Past::Open { intent: intent.clone(), at: line.at, masked: !line.masked.is_empty() },
                );
                self.any_intent = true;
                self.unproven |= intent.needs_proof;
            }
            Event::Receipt { key, n, outcome } => {
                let (intent, masked) = match step.changes.get(key) {
                    Some(Past::Open { intent, masked, .. } | Past::Lost { intent, masked }) if intent.n == *n => {
                        (intent.clone(), *masked)
                    }
                    _ => return Err(format!("`{id}`: a receipt for `{key}` without an intent")),
                };
                let lost = line.masked.iter().any(|pointer| pointer.starts_with("/outcome"));
                let past = match outcome {
                    Outcome::Done(_) if lost => Past::Lost { intent, masked },
                    Outcome::Done(receipt) => Past::Done(receipt.clone()),
                    Outcome::Refused(_) | Outcome::NotDone(_) => Past::NotDone { n: *n },
                };
                step.changes.insert(key.clone(), past);
            }
            Event::Asked { key, question } => {
                if step.questions.contains_key(key) {
                    return Err(format!("`{id}` asks `{key}` twice"));
                }
                let asked = Asked { question: question.clone(), at: line.at, answer: None };
                step.questions.insert(key.clone(), asked);
            }
            Event::Answered { key, answer } => {
                let Some(asked) = step.questions.get_mut(key).filter(|a| a.answer.is_none()) else {
                    return Err(format!("`{id}`: an answer to `{key}`, which is not open"));
                };
                asked.answer = Some(answer.clone());
                step.waited_seconds += seconds_between(asked.at, line.at);
            }
            Event::Progress { progress } => step.progress = Some(progress.clone()),
            Event::AttemptFailed { .. } => {
                // An attempt can also fail before it begins, when what became of a change cannot be found out.
                if !matches!(step.phase, StepPhase::Pending | StepPhase::Running) {
                    return Err(format!("an attempt at `{id}` fails after its end"));
                }
            }
            Event::RunStarted(_)
            | Event::RunResumed { .. }
            | Event::Finishing { .. }
            | Event::Interrupted { .. }
            | Event::RunEnded { .. }
            | Event::Artifact { .. } => return Err("it belongs to the run, not to a step".into()),
        }
        Ok(())
    }
}
