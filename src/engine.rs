//! Runs a bound runbook: the steps in order, then `finally`, every event recorded before anything depends on it.
//!
//! The engine takes its kinds as an argument and knows none of them. Steps are entered again from the top after a retry
//! or a resume; what they changed is remembered by the ledger, so nothing is sent twice.

mod attempt;
mod host;
pub mod plan;
pub mod scope;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::attempt::StepRun;
use crate::{
    change::ChangeKind,
    clock::{Clock, seconds_between},
    event::{Answer, Durable, Event, FailureRecord, Finding, Question, Signal, StepEnded, StepVerdict, Stop},
    failure::Failure,
    log::Log,
    replay::{Phase, StepPhase},
    runbook::{OnFailure, Runbook, StepSpec},
    site::Wire,
    step::{Claims, Kind},
    template,
    types::Role,
    verdict,
};

/// `finally` ends by itself after this long, whatever its steps say.
pub const FINALLY_DEADLINE: Duration = Duration::from_secs(30 * 60);

/// Where answers to questions come from while a run lives.
pub trait Answers: Send + Sync {
    /// The answer to a question of a step; `None` when nobody is there to give one.
    fn answer<'a>(&'a self, step: &'a str, question: &'a Question) -> BoxFuture<'a, Option<Answer>>;
}

/// All that a run needs.
pub struct Setup {
    pub runbook: Runbook,
    pub kinds: &'static [Kind],
    pub changes: &'static [ChangeKind],
    /// The record, begun or read again.
    pub log: Arc<Log>,
    /// The sites by role.
    pub wires: BTreeMap<Role, Arc<Wire>>,
    /// The inputs' values, secrets unmasked.
    pub inputs: Map<String, Value>,
    pub answers: Arc<dyn Answers>,
    pub claims: Arc<dyn Claims>,
    pub stop: StopSignal,
    pub clock: Clock,
    /// What a plan froze: compared with the parameters of each changing step just before it.
    pub frozen: Option<plan::Frozen>,
    /// Whether reading steps may let servers write probes; `plan` decides, a run always may.
    pub probe: bool,
    /// Whether waiting is worth it, for `until`, retries and differences to close; a plan does not wait.
    pub waits: bool,
}

/// Tells a run to stop: once, and it ends in order; twice, and it ends at once.
#[derive(Clone, Default)]
pub struct StopSignal {
    first: CancellationToken,
    second: CancellationToken,
    signal: Arc<Mutex<Option<Signal>>>,
}

impl StopSignal {
    pub fn send(&self, signal: Signal) {
        self.signal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(signal);
        if self.first.is_cancelled() {
            self.second.cancel();
        }
        self.first.cancel();
    }

    /// The first signal, once there was one.
    pub fn sent(&self) -> Option<Signal> {
        *self.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn which(&self) -> Signal {
        self.sent().unwrap_or(Signal::Interrupt)
    }
}

/// What a step's end means for the steps after it.
enum Next {
    GoOn,
    Stop(Stop),
}

/// Drives a run to its end, to an open question, or to a second signal. The verdict is in the state.
/// `Err` is a journal that cannot be written, a claim held elsewhere, or a plan that no longer fits.
pub async fn run(setup: &Setup) -> Result<(), Failure> {
    tokio::select! {
        biased;
        () = setup.stop.second.cancelled() => {
            setup.log.record("", Event::Interrupted { signal: setup.stop.which() }, Durable::Yes)
        }
        ended = drive(setup) => match ended {
            Err(Failure::Waiting(_)) => Ok(()),
            other => other,
        },
    }
}

async fn drive(setup: &Setup) -> Result<(), Failure> {
    if setup.log.state(|s| matches!(s.phase, Phase::Running)) {
        let why = steps(setup).await?;
        setup.log.record("", Event::Finishing { why }, Durable::Yes)?;
    }
    let deadline = Instant::now() + FINALLY_DEADLINE;
    for spec in &setup.runbook.finally {
        let run = StepRun { setup, spec, finally: Some(deadline) };
        match one(&run).await {
            Ok(_) => {}
            // Every step of `finally` runs, whatever became of the others.
            Err(failure @ (Failure::Claimed(_) | Failure::Drift(_))) => {
                run.end(StepVerdict::Broke, None, Vec::new(), Some(&failure))?;
            }
            Err(failure) => return Err(failure),
        }
    }
    let (state, now) = (setup.log.state(Clone::clone), setup.clock.now());
    let (verdict, exit) = verdict::verdict(&state);
    let ended = Event::RunEnded {
        verdict,
        exit: exit.code(),
        seconds: seconds_between(state.started_at, now),
        waited_seconds: verdict::waited(&state),
        rto: verdict::rto(&state),
    };
    setup.log.record("", ended, Durable::Yes)
}

async fn steps(setup: &Setup) -> Result<Stop, Failure> {
    for spec in &setup.runbook.steps {
        if setup.stop.first.is_cancelled() {
            return Ok(Stop::Signal(setup.stop.which()));
        }
        match one(&StepRun { setup, spec, finally: None }).await? {
            Next::GoOn => {}
            Next::Stop(why) => return Ok(why),
        }
    }
    Ok(Stop::LastStep)
}

/// One step, unless its end stands already.
async fn one(run: &StepRun<'_>) -> Result<Next, Failure> {
    let (setup, spec) = (run.setup, run.spec);
    let phase = setup.log.state(|s| s.steps.get(&spec.id).map(|step| step.phase.clone()).unwrap_or_default());
    let verdict = match phase {
        StepPhase::Skipped(_) => return Ok(Next::GoOn),
        StepPhase::Ended(end) => end.verdict,
        StepPhase::Running => run.to_the_end().await?,
        StepPhase::Pending => match skip(setup, spec) {
            Ok(None) => run.to_the_end().await?,
            Ok(Some(why)) => {
                setup.log.record(&spec.id, Event::StepSkipped { why }, Durable::No)?;
                return Ok(Next::GoOn);
            }
            Err(problem) => {
                let failure = Failure::refused(format!("its condition cannot be evaluated: {problem}"));
                run.end(StepVerdict::Broke, None, Vec::new(), Some(&failure))?
            }
        },
    };
    Ok(match (verdict, spec.on_failure) {
        (StepVerdict::Held, _) => Next::GoOn,
        (StepVerdict::Cancelled, _) => Next::Stop(Stop::Signal(setup.stop.which())),
        (StepVerdict::NotHeld | StepVerdict::Broke, OnFailure::Stop) => Next::Stop(Stop::Failed),
        (StepVerdict::NotHeld | StepVerdict::Broke, OnFailure::Continue | OnFailure::Warn) => Next::GoOn,
    })
}

/// Why a step is skipped; `None`: it is not.
fn skip(setup: &Setup, spec: &StepSpec) -> Result<Option<String>, String> {
    let Some(when) = &spec.when else { return Ok(None) };
    let scope = scope::scope(setup, None);
    let holds = template::condition(when, &scope).map_err(|p| p.what)?;
    Ok((!holds).then(|| format!("`{}` is false", when.text)))
}

impl StepRun<'_> {
    /// Journals the end of the step.
    fn end(
        &self,
        verdict: StepVerdict,
        output: Option<Value>,
        findings: Vec<Finding>,
        failure: Option<&Failure>,
    ) -> Result<StepVerdict, Failure> {
        let now = self.setup.clock.now();
        let (began, waited) = self.setup.log.state(|s| {
            let step = s.steps.get(&self.spec.id);
            let began: Option<Timestamp> = step.and_then(|step| step.began_at);
            (began.unwrap_or(now), step.map_or(0.0, |step| step.waited_seconds))
        });
        let end = StepEnded {
            verdict,
            output,
            findings,
            failure: failure.map(FailureRecord::from),
            seconds: seconds_between(began, now),
            waited_seconds: waited,
        };
        self.setup.log.record(&self.spec.id, Event::StepEnded(Box::new(end)), Durable::Yes)?;
        Ok(verdict)
    }
}
