//! The attempts: one resync each, and what the data says after it.

mod look;
mod record;
mod start;

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep, timeout};

use self::{
    look::unsent,
    record::{attempt, refused},
    start::Start,
};
use super::{Attempt, Outcome, Recovered, ResyncRecover, remaining::explain};
use crate::{
    failure::Failure,
    site::Site,
    step::{Changes, Cx},
    steps::{
        resync_monitor::{End, Monitored, ResyncMonitor, job, may_pass, monitor, patiently, pause},
        resync_start::{Running, ids, in_the_way},
        versions_compare::{Compared, Comparison, clock, now},
    },
};

pub(super) async fn recover(cx: &Cx<Changes>, params: &ResyncRecover) -> Result<Recovered, Failure> {
    let source = cx.claim(&params.source, &params.bucket)?;
    let mut rounds =
        Rounds { cx, params, source, begin: Instant::now(), attempts: Vec::new(), trace_errors: Vec::new() };
    if params.skip_if_intact {
        let now = now(&rounds.source).await?;
        let compared = rounds.compare(now, Duration::ZERO, "differences-before.jsonl").await?;
        if compared.comparison.holds() {
            return rounds.ended(Outcome::Intact, Some(now), Some(compared), None).await;
        }
    }
    let mut last: Option<(Timestamp, Compared)> = None;
    let attempts = u32::from(params.max_attempts.get());
    let mut number = rounds.first_number().await?;
    loop {
        let (outcome, running) = match rounds.attempt(number, &mut last).await? {
            Next::Attempt if number >= attempts => (Outcome::AttemptsUsedUp, None),
            Next::Attempt => {
                number += 1;
                continue;
            }
            Next::Stop(outcome, running) => (outcome, running.map(|running| *running)),
        };
        let (started_at, compared) = last.unzip();
        return rounds.ended(outcome, started_at, compared, running).await;
    }
}

struct Rounds<'a> {
    cx: &'a Cx<Changes>,
    params: &'a ResyncRecover,
    source: Site<Changes>,
    begin: Instant,
    attempts: Vec<Attempt>,
    trace_errors: Vec<String>,
}

/// What follows an attempt.
enum Next {
    Attempt,
    Stop(Outcome, Option<Box<Running>>),
}

impl Rounds<'_> {
    /// After a resume the server's status tells which of our attempts was the last to be started.
    async fn first_number(&self) -> Result<u32, Failure> {
        let (bucket, arn) = (&self.params.bucket, self.params.arn.as_str());
        let job = patiently(self.params.patience.0, || job(&self.source, bucket, arn)).await?;
        let Some(job) = job else { return Ok(1) };
        let ours = |number: &u32| ids(self.cx, &key(*number)).contains(&job.reset_id);
        Ok((1..=u32::from(self.params.max_attempts.get())).rev().find(ours).unwrap_or(1))
    }

    async fn attempt(&mut self, number: u32, last: &mut Option<(Timestamp, Compared)>) -> Result<Next, Failure> {
        if self.left() == Some(Duration::ZERO) {
            return Ok(Next::Stop(Outcome::DeadlinePassed, None));
        }
        let began = Instant::now();
        let started = match self.start(number).await? {
            Start::Started(started) => started,
            Start::Blocked(running) => return Ok(Next::Stop(Outcome::AlreadyRunning, Some(running))),
            Start::OutOfTime => return Ok(Next::Stop(Outcome::DeadlinePassed, None)),
            Start::Refused(failure) if number >= u32::from(self.params.max_attempts.get()) => return Err(failure),
            Start::Refused(failure) => {
                self.attempts.push(refused(number, &failure, began.elapsed()));
                return Ok(Next::Attempt);
            }
        };
        let watched = self.watch(&started.reset_id).await?;
        if let Some(watched) = &watched {
            self.trace_errors.extend(watched.trace_errors.iter().cloned());
        }
        let completed = watched.as_ref().is_some_and(|watched| watched.end == End::Completed);
        let (compared, nudged) = self.look(number, started.started_at, completed).await?;
        let (holds, unsent) = (compared.comparison.holds(), unsent(&compared.comparison));
        let helps = self.sending_helps(&compared.comparison);
        *last = Some((started.started_at, compared));
        self.attempts.push(attempt(number, &started, watched.as_ref(), began.elapsed(), unsent, nudged));

        if holds {
            return Ok(Next::Stop(Outcome::Recovered, None));
        }
        if !helps {
            return Ok(Next::Stop(Outcome::NothingToSend, None));
        }
        let Some(watched) = watched else { return Ok(Next::Stop(Outcome::DeadlinePassed, None)) };
        match self.over(watched.end).await? {
            Some(running) => Ok(Next::Stop(Outcome::AlreadyRunning, Some(Box::new(running)))),
            None => Ok(Next::Attempt),
        }
    }

    /// Watches the job to its end; `None` when the deadline comes first.
    async fn watch(&self, reset_id: &str) -> Result<Option<Monitored>, Failure> {
        let params = self.params;
        let watch = ResyncMonitor {
            source: params.source.clone(),
            target: params.target.clone(),
            bucket: params.bucket.clone(),
            target_bucket: params.target_bucket.clone(),
            arn: params.arn.clone(),
            reset_id: reset_id.to_owned(),
            every: params.every,
            stalled_after: params.stalled_after,
            patience: params.patience,
            final_counters: false,
        };
        let watch = monitor(self.cx, &watch);
        match self.left() {
            None => watch.await.map(Some),
            Some(left) => timeout(left, watch).await.ok().transpose(),
        }
    }

    /// After a job that did not end by itself: the one that still runs and keeps another from being started.
    async fn over(&self, end: End) -> Result<Option<Running>, Failure> {
        let waits = match end {
            End::Completed | End::Failed | End::Canceled | End::Vanished => return Ok(None),
            // A source that just restarted takes a moment to give the job up.
            End::SourceRestarted => self.params.patience.0,
            End::ForeignJob | End::Stalled => Duration::ZERO,
        };
        let (began, mut asked) = (Instant::now(), 0);
        loop {
            let jobs = self.jobs().await?;
            let Some(job) = in_the_way(&jobs, |_| false) else { return Ok(None) };
            if began.elapsed() >= waits {
                return Ok(Some(Running::new(job, clock(&self.source).await?)));
            }
            self.say(format!("waiting for the source to give up resync `{}` ({})", job.reset_id, job.status));
            sleep(pause(asked, self.params.every.0)).await;
            asked += 1;
        }
    }

    /// Time until the deadline; `None` without one.
    fn left(&self) -> Option<Duration> {
        self.params.deadline.map(|deadline| deadline.0.saturating_sub(self.begin.elapsed()))
    }

    fn say(&self, what: String) {
        self.cx.progress(crate::event::Progress { what, ..Default::default() });
    }

    async fn ended(
        self,
        outcome: Outcome,
        started_at: Option<Timestamp>,
        compared: Option<Compared>,
        running: Option<Running>,
    ) -> Result<Recovered, Failure> {
        let mut remaining = Vec::new();
        let mut comparison = None;
        if let Some(compared) = compared {
            if !compared.comparison.holds() {
                // What is known of the data counts, also when the reasons cannot be found out any more.
                remaining = match explain(self.cx, self.params, &compared.differences, self.trace_errors).await {
                    Err(failure) if may_pass(&failure) => Vec::new(),
                    other => other?,
                };
            }
            comparison = Some(compared.comparison);
        }
        let count = |of: fn(&Comparison) -> u64| comparison.as_ref().map_or(0, of);
        Ok(Recovered {
            outcome,
            attempts: self.attempts,
            started_at,
            versions: count(|c| c.versions),
            missing: count(|c| c.missing),
            extra: count(|c| c.extra),
            different: count(|c| c.different),
            pending: count(|c| c.pending),
            out_of_scope: count(|c| c.out_of_scope),
            left_out: count(|c| c.left_out),
            remaining,
            comparison,
            running,
        })
    }
}

fn key(number: u32) -> String {
    format!("attempt-{number}")
}
