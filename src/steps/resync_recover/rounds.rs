//! The attempts: one resync each, and what the data says after it.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep, timeout};

use super::{Attempt, Outcome, Recovered, ResyncRecover, remaining::explain};
use crate::{
    compare::{Class, Difference},
    failure::Failure,
    site::{
        Site,
        changes::{Nudge, ResyncStarted, StartResync},
        minio::ResyncStatus,
    },
    step::{Changes, Cx},
    steps::{
        resync_monitor::{End, Monitored, ResyncMonitor, job, may_pass, monitor, patiently},
        resync_start::{Running, ids, in_the_way, last_id, reset_id},
        versions_compare::{Compared, Comparison, VersionsCompare, clock, compare},
    },
    types::{Moment, Period},
};

/// The pause before a start is sent again that the source refused.
const AGAIN: Duration = Duration::from_secs(15);
/// Versions that are queued again by one change.
const BATCH: usize = 1_000;
/// The source's refusal when it does not reach the target. It may pass.
const TARGET_UNREACHABLE: &str = "XMinioAdminReplicationRemoteConnectionError";

pub(super) async fn recover(cx: &Cx<Changes>, params: &ResyncRecover) -> Result<Recovered, Failure> {
    let source = cx.claim(&params.source, &params.bucket)?;
    let mut rounds =
        Rounds { cx, params, source, begin: Instant::now(), attempts: Vec::new(), trace_errors: Vec::new() };
    if params.skip_if_intact {
        let now = clock(&rounds.source).await?;
        let compared = rounds.compare(now, Duration::ZERO, "differences-before.jsonl").await?;
        if compared.comparison.holds() {
            return rounds.ended(Outcome::Intact, Some(now), Some(compared), None).await;
        }
    }
    let mut last: Option<(Timestamp, Compared)> = None;
    let mut number = rounds.first_number().await?;
    loop {
        let (outcome, running) = match rounds.attempt(number, &mut last).await? {
            Next::Attempt if number >= params.max_attempts => (Outcome::AttemptsUsedUp, None),
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

/// What became of a start.
enum Start {
    Started(ResyncStarted),
    /// Something runs that is in the way.
    Blocked(Box<Running>),
    /// Refused because the target cannot be reached, for as long as we were patient.
    Refused(Failure),
    OutOfTime,
}

impl Rounds<'_> {
    /// After a resume the server's status tells which of our attempts was the last to be started.
    async fn first_number(&self) -> Result<u32, Failure> {
        let (bucket, arn) = (&self.params.bucket, self.params.arn.as_str());
        let job = patiently(self.params.patience.0, || job(&self.source, bucket, arn)).await?;
        let Some(job) = job else { return Ok(1) };
        let ours = |number: &u32| ids(self.cx, &key(*number)).contains(&job.reset_id);
        Ok((1..=self.params.max_attempts).rev().find(ours).unwrap_or(1))
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
            Start::Refused(failure) if number >= self.params.max_attempts => return Err(failure),
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

    /// Starts a resync with a reset id of its own, unless something runs. A start that is remembered from before a
    /// resume is given back and not sent again.
    async fn start(&self, number: u32) -> Result<Start, Failure> {
        let Self { cx, params, source, .. } = self;
        let key = key(number);
        let ours = ids(cx, &key);
        let began = Instant::now();
        loop {
            let jobs = self.jobs().await?;
            if let Some(job) = in_the_way(&jobs, |id| ours.iter().any(|ours| ours == id)) {
                return Ok(Start::Blocked(Box::new(Running::new(job, clock(source).await?))));
            }
            let before = last_id(&jobs, &params.arn);
            let started = source
                .change(&key, |n| StartResync {
                    bucket: params.bucket.clone(),
                    arn: params.arn.clone(),
                    reset_id: reset_id(cx, &key, n),
                    older_than_days: None,
                    before,
                })
                .await;
            match started {
                Ok(started) => return Ok(Start::Started(started)),
                Err(failure) if failure.code() == Some(TARGET_UNREACHABLE) => {
                    if self.left() == Some(Duration::ZERO) {
                        return Ok(Start::OutOfTime);
                    }
                    if began.elapsed() >= params.patience.0 {
                        return Ok(Start::Refused(failure));
                    }
                    self.say(format!("the source does not reach the target: {failure}; trying again"));
                    sleep(AGAIN).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn jobs(&self) -> Result<Vec<ResyncStatus>, Failure> {
        patiently(self.params.patience.0, || self.source.resync_status(&self.params.bucket, None)).await
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

    /// Looks at the data: at once, then with time for what heals by itself, then after queueing a few again.
    async fn look(&self, number: u32, before: Timestamp, completed: bool) -> Result<(Compared, u64), Failure> {
        let name = format!("differences-attempt-{number}.jsonl");
        let mut compared = self.compare(before, Duration::ZERO, &name).await?;
        let few = |compared: &Compared| {
            let unsent = unsent(&compared.comparison);
            unsent > 0 && unsent <= self.params.nudge_up_to
        };
        // After a job that is void nothing is worth waiting for: the next one sends it all again.
        if completed && !few(&compared) && waiting_helps(&compared.comparison) {
            let name = format!("differences-attempt-{number}-settled.jsonl");
            compared = self.compare(before, self.settle(), &name).await?;
        }
        let mut nudged = 0;
        if few(&compared) && waiting_helps(&compared.comparison) {
            nudged = self.nudge(number, &compared.differences).await?;
            let name = format!("differences-attempt-{number}-nudged.jsonl");
            compared = self.compare(before, self.settle(), &name).await?;
        }
        Ok((compared, nudged))
    }

    /// Asks the source for each version that is not on the target, which queues it again.
    async fn nudge(&self, number: u32, differences: &[Difference]) -> Result<u64, Failure> {
        let versions: Vec<_> = differences
            .iter()
            .filter(|difference| sendable(difference.class))
            .map(|difference| (difference.key.clone(), difference.version_id.clone()))
            .collect();
        self.say(format!("queueing {} versions again", versions.len()));
        for (batch, versions) in versions.chunks(BATCH).enumerate() {
            // Part of the key, so that another set of versions after a resume is another change.
            let key = format!("nudge-{number}-{batch}-{}", digest(versions));
            let bucket = self.params.bucket.clone();
            self.source.change(&key, |_| Nudge { bucket, versions: versions.to_vec() }).await?;
        }
        Ok(versions.len() as u64)
    }

    /// Compares what is older than `before`. A site that is away for a while is waited for.
    async fn compare(&self, before: Timestamp, settle: Duration, artifact: &str) -> Result<Compared, Failure> {
        let params = self.params;
        let comparison = VersionsCompare {
            source: params.source.clone(),
            target: params.target.clone(),
            bucket: params.bucket.clone(),
            target_bucket: params.target_bucket.clone(),
            before: Some(Moment::At(before)),
            prefix: String::new(),
            exclude: params.exclude.clone(),
            arn: Some(params.arn.clone()),
            settle: Period(settle),
            accept: params.accept.clone(),
            metadata: params.metadata,
        };
        patiently(params.patience.0, || compare(self.cx, &comparison, artifact)).await
    }

    /// After a job that did not end by itself: the one that still runs and keeps another from being started.
    async fn over(&self, end: End) -> Result<Option<Running>, Failure> {
        let waits = match end {
            End::Completed | End::Failed | End::Canceled | End::Vanished => return Ok(None),
            // A source that just restarted takes a moment to give the job up.
            End::SourceRestarted => self.params.patience.0,
            End::ForeignJob | End::Stalled => Duration::ZERO,
        };
        let began = Instant::now();
        loop {
            let jobs = self.jobs().await?;
            let Some(job) = in_the_way(&jobs, |_| false) else { return Ok(None) };
            if began.elapsed() >= waits {
                return Ok(Some(Running::new(job, clock(&self.source).await?)));
            }
            self.say(format!("waiting for the source to give up resync `{}` ({})", job.reset_id, job.status));
            sleep(self.params.every.0).await;
        }
    }

    /// Whether sending something can put right what does not hold.
    fn sending_helps(&self, comparison: &Comparison) -> bool {
        let classes = [
            (Class::Missing, comparison.missing),
            (Class::Different, comparison.different),
            (Class::Pending, comparison.pending),
        ];
        classes.iter().any(|(class, count)| *count > 0 && !self.params.accept.contains(class))
    }

    fn settle(&self) -> Duration {
        self.left().map_or(self.params.settle.0, |left| left.min(self.params.settle.0))
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

/// Extra versions may go as well, when the source has removed them and the target has yet to.
fn waiting_helps(comparison: &Comparison) -> bool {
    !comparison.holds() && !comparison.target_bucket_missing
}

fn key(number: u32) -> String {
    format!("attempt-{number}")
}

const fn sendable(class: Class) -> bool {
    match class {
        Class::Missing | Class::Different | Class::Pending => true,
        Class::Extra => false,
    }
}

/// Versions that the source has and the target has not, or not the same.
const fn unsent(comparison: &Comparison) -> u64 {
    comparison.missing + comparison.different + comparison.pending
}

fn digest(versions: &[(String, String)]) -> String {
    let mut sha = Sha256::new();
    for (key, id) in versions {
        sha.update(key.as_bytes());
        sha.update([0]);
        sha.update(id.as_bytes());
        sha.update([0]);
    }
    hex::encode(&sha.finalize()[..4])
}

fn attempt(
    number: u32,
    started: &ResyncStarted,
    watched: Option<&Monitored>,
    took: Duration,
    unsent: u64,
    nudged: u64,
) -> Attempt {
    Attempt {
        number,
        reset_id: Some(started.reset_id.clone()),
        started_at: Some(started.started_at),
        status: watched.map(|watched| watched.status.clone()).unwrap_or_default(),
        end: watched.map(|watched| watched.end),
        detail: watched.map_or_else(|| "the deadline passed".to_owned(), |watched| watched.detail.clone()),
        replicated_count: watched.map_or(0, |watched| watched.replicated_count),
        failed_count: watched.map_or(0, |watched| watched.failed_count),
        seconds: took.as_secs_f64(),
        missing_after: Some(unsent),
        nudged,
    }
}

fn refused(number: u32, failure: &Failure, took: Duration) -> Attempt {
    Attempt {
        number,
        reset_id: None,
        started_at: None,
        status: "refused".into(),
        end: None,
        detail: failure.to_string(),
        replicated_count: 0,
        failed_count: 0,
        seconds: took.as_secs_f64(),
        missing_after: None,
        nudged: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_set_of_versions_is_another_change() {
        let set = |pairs: &[(&str, &str)]| {
            digest(&pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(set(&[("a", "1")]), set(&[("a", "1")]));
        assert_ne!(set(&[("a", "1")]), set(&[("a", "2")]));
        assert_ne!(set(&[("ab", "c")]), set(&[("a", "bc")]));
    }
}
