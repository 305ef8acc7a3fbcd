//! One step to its end: attempts, retries, time limits, `until` and `expect`.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use super::{Setup, host::StepHost, scope};
use crate::{
    change::Ledger,
    event::{Durable, Effect, Event, FailureRecord, Finding, Question, StepStarted, StepVerdict},
    failure::{Class, Failure},
    runbook::StepSpec,
    step::{AnyStep, Cx, Done, Host, Kind},
    template,
};

/// A step that is run. `finally`: the deadline of all of `finally`, when it belongs there.
pub(super) struct StepRun<'a> {
    pub setup: &'a Setup,
    pub spec: &'a StepSpec,
    pub finally: Option<Instant>,
}

/// How an attempt ended.
enum Attempt {
    Done(Done),
    Failed(Failure),
    /// The first signal came.
    Stopped,
}

impl StepRun<'_> {
    /// Runs the step until it has its verdict. `Err`: the run cannot go on, or waits for a person.
    pub(super) async fn to_the_end(&self) -> Result<StepVerdict, Failure> {
        let Some(kind) = self.setup.kinds.iter().find(|kind| kind.uses == self.spec.uses) else {
            let failure = Failure::refused(format!("there is no step kind `{}`", self.spec.uses));
            return self.end(StepVerdict::Broke, None, Vec::new(), Some(&failure));
        };
        let host = Arc::new(StepHost::new(self.setup, &self.spec.id, self.finally.is_some()));
        let ledger = Ledger::new(Arc::clone(&self.setup.log), self.spec.id.clone());
        let limit = self.limit();
        if let Some(verdict) = self.enter_again(&*host).await? {
            return Ok(verdict);
        }
        let mut failures = 0;
        loop {
            let attempt = self.attempt(kind, &host, &ledger, limit).await;
            ledger.drain().await; // a change in flight gets its receipt before anything else happens
            let failure = match attempt? {
                Attempt::Done(done) => return self.judge(done),
                Attempt::Stopped => return self.end(StepVerdict::Cancelled, None, Vec::new(), None),
                Attempt::Failed(failure) => failure,
            };
            failures += 1;
            let Some(pause) = self.retry(&failure, failures, limit) else {
                return self.end(StepVerdict::Broke, None, Vec::new(), Some(&failure));
            };
            let again = Event::AttemptFailed {
                attempt: self.setup.log.state(|s| s.steps.get(&self.spec.id).map_or(0, |step| step.attempts)),
                failure: FailureRecord::from(&failure),
                again_in_seconds: pause.as_secs_f64(),
            };
            self.setup.log.record(&self.spec.id, again, Durable::No)?;
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stopped() => return self.end(StepVerdict::Cancelled, None, Vec::new(), None),
            }
        }
    }

    /// A step that changed something and held, and whose output was masked in the journal, is entered again only when
    /// a person says so; otherwise it has its verdict here.
    async fn enter_again(&self, host: &dyn Host) -> Result<Option<StepVerdict>, Failure> {
        let id = &self.spec.id;
        if !self.setup.log.state(|s| s.steps.get(id).is_some_and(|step| step.lost_output)) {
            return Ok(None);
        }
        let prompt = format!(
            "`{id}` held, and what later steps may need of it is masked in the journal. Yes enters it again (what it \
             changed is remembered, and not sent again), no ends the step"
        );
        match host.ask("masked", Question { prompt, typed: None, who: Vec::new(), until: None }).await {
            Ok(answer) if answer.yes => Ok(None),
            Ok(answer) => {
                let failure = Failure::lost(format!("its output is masked in the journal, and {} said no", answer.by));
                self.end(StepVerdict::Broke, None, Vec::new(), Some(&failure)).map(Some)
            }
            Err(failure) if failure.class().is_some() => {
                self.end(StepVerdict::Broke, None, Vec::new(), Some(&failure)).map(Some)
            }
            Err(failure) => Err(failure),
        }
    }

    /// The step's own deadline, or that of `finally`, whichever comes first.
    fn limit(&self) -> Option<Instant> {
        let own = self.spec.deadline.map(|deadline| Instant::now() + deadline.0);
        [own, self.finally].into_iter().flatten().min()
    }

    /// Ends when the run was told to stop; `finally` goes on in spite of it.
    async fn stopped(&self) {
        if self.finally.is_some() {
            std::future::pending::<()>().await;
        }
        self.setup.stop.first.cancelled().await;
    }

    async fn attempt(
        &self,
        kind: &Kind,
        host: &Arc<StepHost>,
        ledger: &Ledger,
        limit: Option<Instant>,
    ) -> Result<Attempt, Failure> {
        let timeout = self.spec.timeout.map(|timeout| Instant::now() + timeout.0);
        let end = [timeout, limit].into_iter().flatten().min();
        let ended = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.stopped() => Ok(Attempt::Stopped),
            () = ended => Ok(Attempt::Failed(self.out_of_time(end == limit))),
            done = self.enter(kind, host, ledger) => match done {
                Ok(done) => Ok(Attempt::Done(done)),
                Err(failure) if failure.class().is_some() => Ok(Attempt::Failed(failure)),
                Err(failure) => Err(failure),
            },
        }
    }

    fn out_of_time(&self, deadline: bool) -> Failure {
        let limit = match (deadline, self.finally.is_some(), self.spec.deadline, self.spec.timeout) {
            (true, _, Some(deadline), _) => format!("its deadline of {deadline}"),
            (true, true, None, _) => "the deadline of `finally`".to_owned(),
            (_, _, _, Some(timeout)) => format!("its timeout of {timeout}"),
            (_, _, _, None) => "its time".to_owned(),
        };
        Failure::timed_out(format!("it did not end within {limit}"))
    }

    /// Settles, renders, binds, runs; with `until`, again and again.
    async fn enter(&self, kind: &Kind, host: &Arc<StepHost>, ledger: &Ledger) -> Result<Done, Failure> {
        let setup = self.setup;
        ledger.settle(setup.changes, &setup.wires, &**host).await?;
        let scope = scope::scope(setup, None);
        let broken = |p: crate::problem::Problem| Failure::refused(with_help(&p));
        let with = template::render(&self.spec.with, &scope).map_err(broken)?;
        let step = (kind.bind)(&with).map_err(broken)?;
        let title = match &self.spec.title {
            Some(title) => template::render(title, &scope).map_err(broken)?.as_str().unwrap_or_default().to_owned(),
            None => describe(&step),
        };
        let with = with.to_json();
        if let (Effect::Changes, Some(frozen)) = (kind.effect, &setup.frozen) {
            frozen.compare(&self.spec.id, &with)?;
        }
        let attempt = setup.log.state(|s| s.steps.get(&self.spec.id).map_or(0, |step| step.attempts)) + 1;
        let started =
            StepStarted { uses: kind.uses.to_owned(), title, effect: kind.effect, proves: kind.proves, attempt, with };
        setup.log.record(&self.spec.id, Event::StepStarted(Box::new(started)), Durable::No)?;
        let Some(until) = &self.spec.until else { return run(&step, host, ledger).await };
        let end = Instant::now() + until.deadline.0;
        loop {
            let mut done = run(&step, host, ledger).await?;
            let scope = scope::scope(setup, Some(&done.output));
            if template::condition(&until.that, &scope).map_err(broken)? {
                return Ok(done);
            }
            if !setup.waits || Instant::now() + until.every.0 > end {
                let text = format!("`{}` did not come true within {}", until.that.text, until.deadline);
                done.findings.push(Finding::new("until", text));
                return Ok(done);
            }
            tokio::time::sleep(until.every.0).await;
        }
    }

    /// The kind's own findings, and what `expect` adds.
    fn judge(&self, done: Done) -> Result<StepVerdict, Failure> {
        let Done { output, mut findings } = done;
        let scope = scope::scope(self.setup, Some(&output));
        for expect in &self.spec.expect {
            match template::condition(expect, &scope) {
                Ok(true) => {}
                Ok(false) => findings.push(Finding::new("expect", format!("`{}` does not hold", expect.text))),
                Err(problem) => {
                    let failure = Failure::refused(format!("`{}` cannot be evaluated: {}", expect.text, problem.what));
                    return self.end(StepVerdict::Broke, Some(output), findings, Some(&failure));
                }
            }
        }
        let verdict = if findings.is_empty() { StepVerdict::Held } else { StepVerdict::NotHeld };
        self.end(verdict, Some(output), findings, None)
    }

    /// How long to wait before the next attempt; `None`: there is none.
    fn retry(&self, failure: &Failure, failures: u32, limit: Option<Instant>) -> Option<Duration> {
        let retry = self.spec.retry.as_ref()?;
        let class: Class = failure.class()?;
        if !self.setup.waits || failures >= retry.attempts || !retry.on.contains(&class) {
            return None;
        }
        let doubled = retry.interval.0.saturating_mul(1 << (failures - 1).min(16));
        let pause = doubled.min(retry.max_interval.0).mul_f64(jitter());
        let in_time = limit.is_none_or(|limit| Instant::now() + pause < limit);
        in_time.then_some(pause)
    }
}

async fn run(step: &AnyStep, host: &Arc<StepHost>, ledger: &Ledger) -> Result<Done, Failure> {
    let host = Arc::clone(host) as Arc<dyn Host>;
    match step {
        AnyStep::Reads(step) => step.run(&Cx { host, ledger: () }).await,
        AnyStep::Changes(step) => step.run(&Cx { host, ledger: ledger.clone() }).await,
        AnyStep::Asks(step) => step.run(&Cx { host, ledger: ledger.clone() }).await,
    }
}

/// The kind's own line for people.
pub(super) fn describe(step: &AnyStep) -> String {
    match step {
        AnyStep::Reads(step) => step.describe(),
        AnyStep::Changes(step) => step.describe(),
        AnyStep::Asks(step) => step.describe(),
    }
}

/// Between 0.8 and 1.2, so that many runs do not come back in step.
fn jitter() -> f64 {
    let mut byte = [0_u8; 1];
    match getrandom::fill(&mut byte) {
        Ok(()) => 0.8 + 0.4 * f64::from(byte[0]) / 256.0,
        Err(_) => 1.0,
    }
}

fn with_help(problem: &crate::problem::Problem) -> String {
    match &problem.help {
        Some(help) => format!("{} ({help})", problem.what),
        None => problem.what.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_near_one() {
        for _ in 0..100 {
            let factor = jitter();
            assert!((0.799..=1.201).contains(&factor), "{factor}");
        }
    }
}
