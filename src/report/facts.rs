//! What a journal says about its run, as typed facts: the JSON report, and what all other formats are made from.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::{Map, Value};

use crate::{
    clock::seconds_between,
    event::{
        Answer, Effect, Event, FailureRecord, Finding, Line, Measured, Outcome, Progress, RunbookKind, SiteRecord,
        Verdict,
    },
    replay::{Phase, RunState, StepPhase, StepState},
    verdict,
};

/// The version of this format.
const FORMAT: u32 = 1;

/// A run, as its journal tells it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Version of the report's format, 1.
    pub report: u32,
    /// Id of the run.
    pub run: String,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the runbook's bytes as they ran.
    pub runbook_sha256: String,
    /// What the runbook is for.
    pub kind: RunbookKind,
    /// Name and version of the tool that began the run.
    pub tool: String,
    /// Who began the run.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// Whether the run came to its end.
    pub ended: bool,
    /// The verdict on the run as it stands.
    pub verdict: Verdict,
    /// The exit code of the verdict.
    pub exit: u8,
    /// The first line's time.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// The last line's time.
    #[schemars(with = "String")]
    pub last_at: Timestamp,
    /// Wall clock from the first line to the last, resumes and the time between them included.
    pub seconds: f64,
    /// Of these, waiting for people.
    pub waited_seconds: f64,
    /// How often a later process went on with the run.
    pub resumes: u32,
    /// When the damage began, if said.
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// The recovery time; only of a recovery.
    pub rto: Option<Measured>,
    /// The inputs by name; secret ones are masked.
    pub inputs: Map<String, Value>,
    /// The sites by role.
    pub sites: BTreeMap<String, SiteRecord>,
    /// Checks waived on the command line, with the reason given.
    pub accepted: BTreeMap<String, String>,
    /// The steps by id, in the runbook's order, those of `finally` last.
    #[serde(serialize_with = "by_id")]
    #[schemars(with = "BTreeMap<String, Step>")]
    pub steps: Vec<Step>,
    /// Questions that wait for an answer.
    pub questions: Vec<OpenQuestion>,
    /// SHA-256 of the files beside the journal, by name.
    pub artifacts: BTreeMap<String, String>,
    /// Where the journal was read.
    pub journal: String,
    /// Lines of the journal.
    pub lines: u64,
    /// SHA-256 of the journal's last line: it stands for the whole journal.
    pub head: String,
}

/// A step.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// `held`, `not_held`, `broke`, `cancelled`, `skipped`, `running` or `not_reached`.
    pub state: &'static str,
    /// Why it was skipped.
    pub why: Option<String>,
    /// The step kind.
    pub uses: Option<String>,
    /// The step in one line.
    pub title: Option<String>,
    /// What it may do to a site.
    pub effect: Option<Effect>,
    /// Its holding proves the data on the target.
    pub proves: bool,
    /// It stands in `finally`.
    pub finally: bool,
    /// Its failure is only a warning.
    pub warn_only: bool,
    /// Attempts, counted over resumes.
    pub attempts: u32,
    /// When it was at work, seconds from the start of the run; after a resume there is more than one span.
    pub spans: Vec<Span>,
    /// Wall clock from the first attempt to the end.
    pub seconds: Option<f64>,
    /// Of these, waiting for a person.
    pub waited_seconds: f64,
    /// What it found out.
    pub output: Option<Value>,
    /// What did not hold.
    pub findings: Vec<Finding>,
    /// Why it could not be done.
    pub failure: Option<FailureRecord>,
    /// What it changed, or meant to.
    pub changes: Vec<Sent>,
    /// What it asked people.
    pub answers: Vec<Answered>,
    /// How far it came, over time.
    pub progress: Vec<Point>,
}

/// A length of time, seconds from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Span {
    /// Its begin.
    pub from: f64,
    /// Its end.
    pub to: f64,
}

/// A change, once sent or about to be.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sent {
    /// What the step calls it.
    pub key: String,
    /// The name of the change.
    pub change: String,
    /// The role of the site.
    pub role: String,
    /// The bucket.
    pub bucket: String,
    /// When the intent was on disk.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// `done`, `refused`, `not_done`, or `open`: nobody knows.
    pub outcome: &'static str,
    /// Why it was refused or not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A question and its answer.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Answered {
    /// The question.
    pub prompt: String,
    /// The time it was open, seconds from the start of the run.
    pub open: Span,
    /// The answer, once there is one.
    pub answer: Option<Answer>,
}

/// A question that waits.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OpenQuestion {
    /// The step that asks.
    pub step: String,
    /// What the step calls the question.
    pub key: String,
    /// The question.
    pub prompt: String,
    /// The word that must be typed instead of a plain yes.
    pub typed: Option<String>,
}

/// Progress at a moment.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Point {
    /// Seconds from the start of the run.
    pub seconds: f64,
    /// How far it had come.
    #[serde(flatten)]
    pub progress: Progress,
}

impl Report {
    /// The facts of a run. `state` is the fold of `lines`; `journal` is a path that a person can use, `head` the
    /// SHA-256 of the last line.
    pub fn new(lines: &[Line], state: &RunState, journal: &str, head: &str) -> Self {
        let (verdict, exit) = verdict::verdict(state);
        let started = &state.started;
        let mut steps: Vec<Step> = state.in_order().map(|(id, step)| Step::new(id, step, state)).collect();
        for line in lines {
            if let Some(step) = steps.iter_mut().find(|step| step.id == line.path) {
                step.take(line, seconds_between(state.started_at, line.at));
            }
        }
        let last = seconds_between(state.started_at, state.last_at);
        for step in &mut steps {
            step.close(last);
        }
        let questions = state.open_questions().map(|(step, key, asked)| OpenQuestion {
            step: step.to_owned(),
            key: key.to_owned(),
            prompt: asked.question.prompt.clone(),
            typed: asked.question.typed.clone(),
        });
        Self {
            report: FORMAT,
            run: started.run.clone(),
            runbook: started.runbook.clone(),
            runbook_sha256: started.runbook_sha256.clone(),
            kind: started.kind,
            tool: started.tool.clone(),
            user: started.user.clone(),
            host: started.host.clone(),
            ended: matches!(state.phase, Phase::Ended(_)),
            verdict,
            exit: exit.code(),
            started_at: state.started_at,
            last_at: state.last_at,
            seconds: last,
            waited_seconds: verdict::waited(state),
            resumes: state.resumes,
            since: started.since,
            rto: verdict::rto(state),
            inputs: started.inputs.clone(),
            sites: started.sites.clone(),
            accepted: started.accepted.clone(),
            steps,
            questions: questions.collect(),
            artifacts: state.artifacts.clone(),
            journal: journal.to_owned(),
            lines: state.lines,
            head: head.to_owned(),
        }
    }
}

impl Step {
    fn new(id: &str, step: &StepState, run: &RunState) -> Self {
        let (state, why, end) = match &step.phase {
            StepPhase::Pending => ("not_reached", None, None),
            StepPhase::Running => ("running", None, None),
            StepPhase::Skipped(why) => ("skipped", Some(why.clone()), None),
            StepPhase::Ended(end) => (end.verdict.word(), None, Some(end)),
        };
        let begun = step.begun.as_ref();
        Self {
            id: id.to_owned(),
            state,
            why,
            uses: begun.map(|begun| begun.uses.clone()),
            title: begun.map(|begun| begun.title.clone()),
            effect: begun.map(|begun| begun.effect),
            proves: begun.is_some_and(|begun| begun.proves),
            finally: run.started.finally.iter().any(|finally| finally == id),
            warn_only: run.started.warn_only.iter().any(|warn| warn == id),
            attempts: step.attempts,
            spans: Vec::new(),
            seconds: end.map(|end| end.seconds),
            waited_seconds: step.waited_seconds,
            output: None,
            findings: end.map(|end| end.findings.clone()).unwrap_or_default(),
            failure: end.and_then(|end| end.failure.clone()),
            changes: Vec::new(),
            answers: Vec::new(),
            progress: Vec::new(),
        }
    }

    /// Takes in a line about this step, so many seconds after the start of the run.
    fn take(&mut self, line: &Line, seconds: f64) {
        // What is written while the step is at work stretches its last span: nobody knows when a process died.
        if let Some(span) = self.spans.last_mut().filter(|_| !matches!(line.event, Event::StepStarted(_))) {
            span.to = seconds;
        }
        match &line.event {
            Event::StepStarted(_) => self.spans.push(Span { from: seconds, to: seconds }),
            Event::Intent(intent) => self.changes.push(Sent {
                key: intent.key.clone(),
                change: intent.change.clone(),
                role: intent.role.clone(),
                bucket: intent.bucket.clone(),
                at: line.at,
                outcome: "open",
                why: None,
            }),
            Event::Receipt { key, outcome, .. } => {
                if let Some(sent) = self.changes.iter_mut().rev().find(|sent| sent.key == *key) {
                    (sent.outcome, sent.why) = match outcome {
                        Outcome::Done(_) => ("done", None),
                        Outcome::Refused(failure) => ("refused", Some(failure.what.clone())),
                        Outcome::NotDone(why) => ("not_done", Some(why.clone())),
                    };
                }
            }
            Event::Asked { question, .. } => self.answers.push(Answered {
                prompt: question.prompt.clone(),
                open: Span { from: seconds, to: seconds },
                answer: None,
            }),
            Event::Answered { answer, .. } => {
                if let Some(asked) = self.answers.iter_mut().rev().find(|asked| asked.answer.is_none()) {
                    asked.open.to = seconds;
                    asked.answer = Some(answer.clone());
                }
            }
            // As it is on disk: the state calls an output lost when something in it was masked.
            Event::StepEnded(end) if self.state == end.verdict.word() => self.output.clone_from(&end.output),
            Event::Progress { progress } => self.progress.push(Point { seconds, progress: progress.clone() }),
            Event::RunStarted(_)
            | Event::RunResumed { .. }
            | Event::StepSkipped { .. }
            | Event::AttemptFailed { .. }
            | Event::Artifact { .. }
            | Event::StepEnded(_)
            | Event::Finishing { .. }
            | Event::Interrupted { .. }
            | Event::RunEnded { .. } => {}
        }
    }

    /// What is still open goes on to the journal's last line.
    fn close(&mut self, last: f64) {
        if self.state == "running"
            && let Some(span) = self.spans.last_mut()
        {
            span.to = last;
        }
        for asked in self.answers.iter_mut().filter(|asked| asked.answer.is_none()) {
            asked.open.to = last;
        }
    }
}

fn by_id<S: Serializer>(steps: &[Step], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(steps.len()))?;
    for step in steps {
        map.serialize_entry(&step.id, step)?;
    }
    map.end()
}
