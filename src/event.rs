//! What happens in a run, as one line of its journal each. The same types live, on disk and in reports.

use std::{collections::BTreeMap, io::Write};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::failure::{Class, Failure};

/// The version of the journal's format.
pub const FORMAT: u32 = 1;

/// One line of a journal.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Version of the format, 1.
    pub v: u32,
    /// Number of the line, from 0.
    pub seq: u64,
    /// When it was written, UTC, by the clock of the machine that ran the tool.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// SHA-256 of the previous line's exact bytes without its line feed; 64 zeros on the first line.
    pub prev: String,
    /// The step it is about; empty for the run itself.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// JSON pointers of the values that were masked before writing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line: what this run is, and what it works on.
    RunStarted(Box<RunStarted>),
    /// A later process goes on with the run.
    RunResumed {
        /// Name and version of the tool that goes on.
        tool: String,
        /// Who goes on.
        user: String,
        /// On which machine.
        host: String,
        /// The sites by role, looked at anew.
        sites: BTreeMap<String, SiteRecord>,
        /// From this step on, reading steps that held are done again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from: Option<String>,
        /// The runbook that runs from here on, when it was edited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        edited: Option<Box<Edited>>,
    },
    /// An attempt at a step begins; `with` are its parameters with every template filled in.
    StepStarted(Box<StepStarted>),
    /// The step's `when` was false, or an earlier step ended the run.
    StepSkipped {
        /// The condition that was false.
        why: String,
    },
    /// On disk before a change is sent: what is about to be sent, the n-th time.
    Intent(Box<Intent>),
    /// What became of an intent.
    Receipt {
        /// The intent's key.
        key: String,
        /// The intent's number.
        n: u32,
        /// What became of it.
        outcome: Outcome,
    },
    /// A question to a person is open.
    Asked {
        /// What the step calls the question.
        key: String,
        /// The question.
        question: Question,
    },
    /// A person, a flag or a passed deadline answered.
    Answered {
        /// The question's key.
        key: String,
        /// The answer.
        answer: Answer,
    },
    /// How far a long step has come.
    Progress {
        /// How far it has come.
        progress: Progress,
    },
    /// An attempt failed and another one follows.
    AttemptFailed {
        /// Number of the attempt, from 1, counted over resumes.
        attempt: u32,
        /// Why it failed.
        failure: FailureRecord,
        /// Seconds until the next attempt.
        again_in_seconds: f64,
    },
    /// A file that belongs to the run, beside its journal.
    Artifact {
        /// Name of the file.
        name: String,
        /// SHA-256 of its bytes.
        sha256: String,
        /// Its size, bytes.
        bytes: u64,
    },
    /// A step is over.
    StepEnded(Box<StepEnded>),
    /// The steps are over, or were stopped; `finally` begins.
    Finishing {
        /// Why the steps are over.
        why: Stop,
    },
    /// Told to stop at once: nothing more is done, `resume` goes on from here.
    Interrupted {
        /// The signal that came a second time.
        signal: Signal,
    },
    /// The last line of a run that came to its end.
    RunEnded {
        /// The verdict on the run.
        verdict: Verdict,
        /// The exit code.
        exit: u8,
        /// Wall clock from the first line to the end, all resumes included.
        seconds: f64,
        /// Of these, waiting for people.
        waited_seconds: f64,
        /// The recovery time; only of a recovery.
        rto: Option<Measured>,
    },
}

/// What a run is and what it works on: the journal's first line.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RunStarted {
    /// Id of the run; ids sort by time.
    pub run: String,
    /// Name and version of the tool.
    pub tool: String,
    /// The runbook's name.
    pub runbook: String,
    /// SHA-256 of the runbook's bytes as they ran (`runbook.yaml` beside the journal).
    pub runbook_sha256: String,
    /// SHA-256 of the plan that the run must keep to (`plan.json` beside the journal), if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_sha256: Option<String>,
    /// What the runbook is for.
    pub kind: RunbookKind,
    /// Who started the run.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// The inputs by name; secret ones are masked.
    pub inputs: Map<String, Value>,
    /// The sites by role.
    pub sites: BTreeMap<String, SiteRecord>,
    /// The scenario, when the sites were those of the sandbox: they are gone with the process that began the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// The sites file the aliases were looked up in first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sites_file: Option<String>,
    /// Where the record is stored too, on a third site (`ALIAS/BUCKET/PREFIX`), if anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Where the run's leases are, so that no other host works on its buckets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Checks waived on the command line, with the reason given.
    #[serde(default)]
    pub accepted: BTreeMap<String, String>,
    /// When the damage began, if said: the recovery time is counted from here.
    #[serde(default)]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// The recovery time objective, seconds.
    #[serde(default)]
    pub rto: Option<f64>,
    /// Ids of the steps, in order.
    pub steps: Vec<String>,
    /// Ids of the steps of `finally`, in order.
    pub finally: Vec<String>,
    /// Steps whose failure is only a warning.
    #[serde(default)]
    pub warn_only: Vec<String>,
}

/// A runbook that takes the place of the one before: it differs only in steps that had not begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Edited {
    /// Name of the file beside the journal.
    pub file: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
    /// Ids of the steps, in order.
    pub steps: Vec<String>,
    /// Ids of the steps of `finally`, in order.
    pub finally: Vec<String>,
    /// Steps whose failure is only a warning.
    pub warn_only: Vec<String>,
}

/// What a runbook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunbookKind {
    /// Rebuilds what was lost.
    Recovery,
    /// Changes nothing.
    Verify,
    /// Changes only scratch buckets.
    Drill,
}

/// One site as it was when the run bound it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SiteRecord {
    /// What people call the site.
    pub alias: String,
    /// Its address.
    pub endpoint: String,
    /// MinIO's id of the deployment; `null` until the site was first reached.
    pub deployment_id: Option<String>,
    /// MinIO's release; `null` while the site is unreachable.
    pub release: Option<String>,
    /// Why the site could not be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable: Option<String>,
}

/// The begin of an attempt at a step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepStarted {
    /// The step kind.
    pub uses: String,
    /// The step in one line, for people.
    pub title: String,
    /// What the step may do to a site.
    pub effect: Effect,
    /// Whether its holding proves the data on the target.
    #[serde(default, skip_serializing_if = "is_false")]
    pub proves: bool,
    /// Number of the attempt, from 1, counted over resumes.
    pub attempt: u32,
    /// Its parameters, every template filled in.
    pub with: Value,
}

/// What a step may do to a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads only.
    Reads,
    /// Changes something.
    Changes,
    /// Waits for a person.
    Asks,
}

/// A change that is about to be sent.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// What the step calls it; the same key is never done twice.
    pub key: String,
    /// Number of this sending, from 1.
    pub n: u32,
    /// The name of the change.
    pub change: String,
    /// The role of the site that is changed.
    pub role: String,
    /// The bucket that is changed.
    pub bucket: String,
    /// What is sent, and what was there before.
    pub body: Value,
    /// Whether a green run needs a later proof from the data.
    #[serde(default, skip_serializing_if = "is_false")]
    pub needs_proof: bool,
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done; the server's answer as far as it matters.
    Done(Value),
    /// The server said no.
    Refused(FailureRecord),
    /// Found out later: it never happened.
    NotDone(String),
}

/// A failure as it is journaled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureRecord {
    /// What could not be done, and why.
    pub what: String,
    /// The class of the failed call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Class>,
    /// The server's error code, e.g. `NoSuchBucket`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The HTTP status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

impl From<&Failure> for FailureRecord {
    fn from(failure: &Failure) -> Self {
        Self {
            what: failure.to_string(),
            class: failure.class(),
            code: failure.code().map(Into::into),
            status: failure.status(),
        }
    }
}

/// A question to a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// What is asked.
    pub prompt: String,
    /// The word that must be typed instead of a plain yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<String>,
    /// Who may answer (user names); empty: anybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub who: Vec<String>,
    /// After this moment the answer is no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// An answer to a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Answer {
    /// Yes or no.
    pub yes: bool,
    /// The user who answered.
    pub by: String,
    /// How the answer came.
    pub how: How,
    /// What the user said about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// How an answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Typed at the terminal of the run.
    Terminal,
    /// `--yes` on the command line.
    Flag,
    /// `firedrill approve`.
    Approve,
    /// Nobody answered in time.
    Deadline,
}

/// Something that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What kind of finding, in `snake_case`, e.g. `missing` or a check's id.
    pub id: String,
    /// What does not hold.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), text: text.into(), remedy: None }
    }
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}

/// How far a long step has come; what is not known is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// What is going on, in a few words; a status of the server is quoted as it came.
    pub what: String,
    /// Versions done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// Versions in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bytes in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Versions that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u64>,
    /// Versions a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Seconds left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<f64>,
    /// Whether the target answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_online: Option<bool>,
    /// Seconds since the last sign of life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_seconds: Option<f64>,
}

/// The end of a step.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StepEnded {
    /// The verdict on the step.
    pub verdict: StepVerdict,
    /// What later steps read as `steps.<id>.<field>`; absent when the step broke.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What did not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// Why the step could not be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureRecord>,
    /// Wall clock from the first attempt to the end.
    pub seconds: f64,
    /// Of these, waiting for a person.
    pub waited_seconds: f64,
}

/// The verdict on one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// It was done, and all of it holds.
    Held,
    /// It was done, and something does not hold.
    NotHeld,
    /// It could not be done.
    Broke,
    /// It was stopped by a signal.
    Cancelled,
}

impl StepVerdict {
    /// As it stands in journals, reports and expressions.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "not_held",
            Self::Broke => "broke",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The verdict on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All of it holds.
    Held,
    /// Something does not hold.
    NotHeld,
    /// Something could not be done, or could not be told.
    Broke,
    /// All of it holds, but an objective was missed.
    Late,
    /// A question waits for an answer.
    Waiting,
    /// A signal came.
    Cancelled,
}

impl Verdict {
    /// As it stands in journals, reports and files of tests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld => "not_held",
            Self::Broke => "broke",
            Self::Late => "late",
            Self::Waiting => "waiting",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why the steps are over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// The last step ended.
    LastStep,
    /// A step failed whose `on_failure` is `stop`.
    Failed,
    /// A signal came.
    Signal(Signal),
}

/// A signal that ends a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGINT, Ctrl-C: exit 130.
    Interrupt,
    /// SIGTERM: exit 143.
    Terminate,
    /// SIGHUP, the terminal was closed: exit 129.
    HangUp,
}

/// A measured objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// What was measured.
    pub measured_seconds: f64,
    /// What the runbook allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective_seconds: Option<f64>,
}

/// Keeps the record of a run. It may refuse, and then nothing may be changed.
pub trait Recorder: Send + Sync {
    /// The next line, numbered, timed and bound to the one before, its secrets masked. It is not written yet.
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure>;
    /// Writes the line that `next` gave last. `Durable::Yes`: on disk when this returns.
    fn write(&self, line: &Line, durable: Durable) -> Result<(), Failure>;
    /// A file of the run, made anew: one of that name from an earlier attempt is replaced.
    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure>;
    /// What is shown and not written, its secrets masked as in a line.
    fn masked(&self, progress: &Progress) -> Progress;
}

/// Whether a line must be on disk before anything else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    Yes,
    No,
}

/// A file of the run while it is written.
pub trait ArtifactFile: Write + Send {
    /// Closes the file (synced) and says what is in it.
    fn close(self: Box<Self>) -> Result<Event, Failure>;
}

/// Watches a run. It cannot refuse: a closed terminal never stops a recovery.
pub trait Observer: Send + Sync {
    /// A line was recorded.
    fn line(&self, line: &Line);
    /// A step reports progress; more often than it is journaled.
    fn progress(&self, path: &str, progress: &Progress);
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}
