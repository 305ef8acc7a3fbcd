//! What the engine gives to one step.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use super::{Answers, Setup};
use crate::{
    clock::{Clock, seconds_between},
    digest::digest,
    event::{Answer, ArtifactFile, Durable, Event, How, Progress, Question},
    failure::Failure,
    log::Log,
    site::Wire,
    step::{Claims, Host, Probe},
    types::{BucketName, Role},
};

/// Progress is journaled at most this often, in seconds; observers see all of it.
const PROGRESS_EVERY: f64 = 10.0;

pub(super) struct StepHost {
    log: Arc<Log>,
    path: String,
    wires: BTreeMap<Role, Arc<Wire>>,
    answers: Arc<dyn Answers>,
    claims: Arc<dyn Claims>,
    clock: Clock,
    accepted: BTreeMap<String, String>,
    probe: bool,
    waits: bool,
    finally: bool,
    progress_at: Mutex<Option<Timestamp>>,
}

impl StepHost {
    pub(super) fn new(setup: &Setup, path: &str, finally: bool) -> Self {
        Self {
            log: Arc::clone(&setup.log),
            path: path.to_owned(),
            wires: setup.wires.clone(),
            answers: Arc::clone(&setup.answers),
            claims: Arc::clone(&setup.claims),
            clock: setup.clock,
            accepted: setup.log.state(|s| s.started.accepted.clone()),
            probe: setup.probe,
            waits: setup.waits,
            finally,
            progress_at: Mutex::new(None),
        }
    }

    /// The question as it is on record: asked before, or asked now.
    fn open(&self, key: &str, question: Question) -> Result<Result<Answer, Question>, Failure> {
        let asked = self.log.state(|s| s.steps.get(&self.path).and_then(|step| step.questions.get(key).cloned()));
        match asked {
            Some(asked) => Ok(asked.answer.ok_or(asked.question)),
            None => {
                let event = Event::Asked { key: key.to_owned(), question: question.clone() };
                self.log.record(&self.path, event, Durable::Yes)?;
                Ok(Err(question))
            }
        }
    }
}

impl Host for StepHost {
    fn wire(&self, role: &Role) -> Result<Arc<Wire>, Failure> {
        self.wires
            .get(role)
            .cloned()
            .ok_or_else(|| Failure::refused(format!("no site is bound to role `{role}`: give `--site {role}=ALIAS`")))
    }

    fn claim(&self, role: &Role, bucket: &BucketName) -> Result<(), Failure> {
        let site = self.log.state(|s| s.started.sites.get(role.as_str()).cloned());
        let Some(site) = site else { return Err(Failure::refused(format!("no site is bound to role `{role}`"))) };
        // A site that could not be asked for its id when the run began is claimed by its address.
        self.claims.claim(site.deployment_id.as_deref().unwrap_or(&site.endpoint), bucket.as_str())
    }

    fn progress(&self, progress: Progress) {
        let now = self.clock.now();
        let mut last = self.progress_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back begins a new count.
        if last.is_none_or(|last| now < last || seconds_between(last, now) >= PROGRESS_EVERY) {
            *last = Some(now);
            // A journal that cannot be written stops the run at its next synced line; progress is no reason to.
            if let Err(e) = self.log.record(&self.path, Event::Progress { progress: progress.clone() }, Durable::No) {
                tracing::warn!("{e}");
            }
        }
        self.log.progress(&self.path, &progress);
    }

    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        self.log.recorder().artifact(&format!("{}.{name}", self.path))
    }

    fn keep(&self, file: Box<dyn ArtifactFile>) -> Result<(), Failure> {
        self.log.record("", file.close()?, Durable::Yes)
    }

    /// Short, since it becomes part of every version's metadata: `firedrill-` and 24 hex digits.
    fn mint(&self, key: &str, n: u32) -> String {
        let run = self.log.state(|s| s.started.run.clone());
        format!("firedrill-{}", &digest(format!("{run}/{}/{key}/{n}", self.path).as_bytes())[..24])
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn accepted(&self) -> &BTreeMap<String, String> {
        &self.accepted
    }

    fn probe(&self) -> Option<Probe> {
        self.probe.then_some(Probe(()))
    }

    fn waits(&self) -> bool {
        self.waits
    }

    fn rto_left(&self) -> Option<f64> {
        self.log.state(|s| {
            let objective = s.started.rto?;
            Some(objective - seconds_between(s.started.since.unwrap_or(s.started_at), self.clock.now()))
        })
    }

    fn ask<'a>(&'a self, key: &'a str, question: Question) -> BoxFuture<'a, Result<Answer, Failure>> {
        Box::pin(async move {
            if self.finally {
                return Err(Failure::refused(format!("nothing in `finally` waits for people: {}", question.prompt)));
            }
            let question = match self.open(key, question)? {
                Ok(answer) => return Ok(answer),
                Err(question) => question,
            };
            let nobody = |how| Answer { yes: false, by: "nobody".into(), how, comment: None };
            let answer = match question.until.map(|until| seconds_between(self.clock.now(), until)) {
                Some(left) if left <= 0.0 => Some(nobody(How::Deadline)),
                Some(left) => {
                    let left = std::time::Duration::from_secs_f64(left);
                    let answered = tokio::time::timeout(left, self.answers.answer(&self.path, &question)).await;
                    answered.unwrap_or_else(|_| Some(nobody(How::Deadline)))
                }
                None => self.answers.answer(&self.path, &question).await,
            };
            let Some(answer) = answer else { return Err(Failure::Waiting(question.prompt)) };
            let event = Event::Answered { key: key.to_owned(), answer: answer.clone() };
            self.log.record(&self.path, event, Durable::Yes)?;
            Ok(answer)
        })
    }
}
