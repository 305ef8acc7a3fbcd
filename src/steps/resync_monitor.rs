//! `resync.monitor`: watches a resync until it ends, by three witnesses.

mod watch;
mod witness;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

pub(super) use self::watch::End;
use self::{
    watch::{Next, Poll, Rules, Seen, Watch},
    witness::Witnesses,
};
use crate::{
    event::Finding,
    failure::{Class, Failure},
    site::{Site, minio::ResyncStatus},
    step::{Access, Cx, Reads, Step},
    types::{BucketName, Period, Role},
};

/// The first pause between two polls.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Watches a resync until it ends. The server's own counters lag and do not add up, so progress comes from three
/// witnesses: the status, the live trace (else the replication metrics), and what arrives on the target. Holds when
/// the job ends `Completed` under our reset id and no node of the source restarted, which says nothing yet about the
/// data: compare afterwards.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResyncMonitor {
    /// The site on which the job runs.
    #[serde(default = "Role::source")]
    pub source: Role,
    /// The site that is filled.
    #[serde(default = "Role::target")]
    pub target: Role,
    /// Bucket on the source.
    pub bucket: BucketName,
    /// Bucket on the target. Default: the same name.
    #[serde(default)]
    pub target_bucket: Option<BucketName>,
    /// ARN of the remote target, e.g. `{{ steps.start.arn }}`.
    pub arn: String,
    /// Reset id of the job, e.g. `{{ steps.start.reset_id }}`.
    pub reset_id: String,
    /// How often the status is asked for; more often during the first seconds. Default: 5s.
    #[serde(default = "every")]
    pub every: Period,
    /// Ends the watch when no witness has moved for this long. Default: 10m.
    #[serde(default = "stalled_after")]
    pub stalled_after: Period,
    /// How long the source may be unreachable. Default: 2m.
    #[serde(default = "patience")]
    pub patience: Period,
    /// Waits about a minute after the end, until the server has written its last counters. Default: false.
    #[serde(default)]
    pub final_counters: bool,
}

pub(super) fn every() -> Period {
    Period::secs(5)
}
pub(super) fn stalled_after() -> Period {
    Period::secs(600)
}
pub(super) fn patience() -> Period {
    Period::secs(120)
}

/// How a resync ended. Its counts are the server's: they lag by up to a minute, and prove nothing about the data.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Monitored {
    /// The last status, as the server says it: `Pending`, `Ongoing`, `Completed`, `Failed`, `Canceled`, or empty.
    pub status: String,
    /// How the watch ended.
    pub end: End,
    /// Why it ended so, in words.
    pub detail: String,
    /// Reset id of the job that was watched.
    pub reset_id: String,
    /// Versions replicated, as the server counts.
    pub replicated_count: u64,
    /// Bytes replicated, as the server counts: as stored, so encrypted and compressed.
    pub replicated_bytes: u64,
    /// Versions failed, as the server counts. A version that failed may heal later.
    pub failed_count: u64,
    /// Seconds from the job's begin to its end by the source's clock; while it has not ended, seconds watched.
    pub duration: f64,
    /// Versions a second at the end, by the witness that saw most; `null` when nothing moved.
    pub rate: Option<f64>,
    /// Restarts of source nodes after the job began.
    pub restarts_seen: u64,
    /// Whether restarts could be watched for at all.
    pub restarts_watched: bool,
    /// Versions that the live trace told of; `null` where the credentials do not allow it.
    pub traced: Option<u64>,
    /// Up to 5 errors of the live trace: version and error. They are what a look at the target said, not the cause.
    pub trace_errors: Vec<String>,
    /// Whether the target answered at the last look; `null` when that could not be told.
    pub target_online: Option<bool>,
}

impl Step for ResyncMonitor {
    const USES: &'static str = "resync.monitor";
    const EXAMPLE: &'static str = "\
- id: monitor
  uses: resync.monitor
  with: { bucket: invoices, arn: \"{{ steps.start.arn }}\", reset_id: \"{{ steps.start.reset_id }}\" }
";
    type Access = Reads;
    type Output = Monitored;

    fn describe(&self) -> String {
        format!("watch resync `{}` of `{}` on {}", self.reset_id, self.bucket, self.source)
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Monitored, Failure> {
        monitor(cx, self).await
    }

    fn findings(&self, output: &Monitored) -> Vec<Finding> {
        findings(output)
    }
}

/// Watches the job that the parameters name until it ends, in whatever way.
pub(super) async fn monitor<A: Access>(cx: &Cx<A>, params: &ResyncMonitor) -> Result<Monitored, Failure> {
    let source = cx.read(&params.source)?;
    let target = cx.read(&params.target)?;
    let mut watch = Watch::new(Rules {
        reset_id: params.reset_id.clone(),
        stalled_after: params.stalled_after.0,
        patience: params.patience.0,
        final_counters: params.final_counters,
    });
    let mut witnesses = Witnesses::new(params, source, target);
    let begin = Instant::now();
    let mut polls = 0;
    loop {
        let next = watch.observe(poll(&mut witnesses, begin).await?);
        watch.total = witnesses.total();
        let (end, detail) = match next {
            Next::Again => {
                cx.progress(watch.progress(cx.rto_left()));
                witnesses.listen_for(pause(polls, params.every.0)).await;
                polls += 1;
                continue;
            }
            Next::End(end, detail) => (end, detail),
            Next::Unreachable(why) => {
                let patience = params.patience;
                return Err(Failure::unreachable(format!("the source did not answer for {patience}: {why}")));
            }
        };
        return Ok(monitored(params, &watch, &witnesses, end, detail, begin.elapsed()));
    }
}

async fn poll(witnesses: &mut Witnesses, begin: Instant) -> Result<Poll, Failure> {
    match look(witnesses, begin).await {
        Ok(seen) => Ok(Poll::Seen(Box::new(seen))),
        Err(failure) if may_pass(&failure) => Ok(Poll::Unreachable { at: begin.elapsed(), why: failure.to_string() }),
        Err(failure) => Err(failure),
    }
}

/// Asks for the status first and for the uptimes after it, so that no restart falls between the two unseen.
async fn look(witnesses: &mut Witnesses, begin: Instant) -> Result<Seen, Failure> {
    let job = witnesses.job().await?;
    let (nodes, now) = witnesses.nodes().await?;
    witnesses.look_around(begin.elapsed()).await;
    Ok(Seen {
        at: begin.elapsed(),
        job,
        now,
        nodes,
        signs: witnesses.signs(),
        target_online: witnesses.target_online(),
    })
}

/// Whether a site may answer the same question in a while: it is down, overloaded, or just starting.
pub(super) fn may_pass(failure: &Failure) -> bool {
    match failure.class() {
        Some(Class::Unreachable | Class::TimedOut | Class::Throttled) => true,
        Some(Class::Refused) => failure.status().is_some_and(|status| status >= 500),
        Some(Class::Lost) | None => false,
    }
}

/// The pause after so many polls: short at first, so that what is over in a moment is seen to be, then `every`.
pub(super) fn pause(polls: u32, every: Duration) -> Duration {
    FIRST_PAUSE.saturating_mul(1 << polls.min(16)).min(every)
}

/// Asks again, at short intervals, until a site answers or `patience` is up.
pub(super) async fn patiently<T, F>(patience: Duration, mut ask: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let (begin, mut asked) = (Instant::now(), 0);
    loop {
        match ask().await {
            Err(failure) if may_pass(&failure) && begin.elapsed() < patience => sleep(pause(asked, every().0)).await,
            other => return other,
        }
        asked += 1;
    }
}

/// The status of the job to one remote target, whosever it is.
pub(super) async fn job<A: Access>(
    source: &Site<A>,
    bucket: &BucketName,
    arn: &str,
) -> Result<Option<ResyncStatus>, Failure> {
    let jobs = source.resync_status(bucket, Some(arn)).await?;
    Ok(jobs.into_iter().find(|job| job.arn == arn))
}

fn monitored(
    params: &ResyncMonitor,
    watch: &Watch,
    witnesses: &Witnesses,
    end: End,
    detail: String,
    watched: Duration,
) -> Monitored {
    let job = watch.job.as_ref();
    let duration = job
        .filter(|job| !job.running() && job.reset_id == params.reset_id)
        .map_or(watched.as_secs_f64(), |job| job.end_time.duration_since(job.start_time).as_secs_f64());
    Monitored {
        status: job.map(|job| job.status.clone()).unwrap_or_default(),
        end,
        detail,
        reset_id: params.reset_id.clone(),
        replicated_count: job.map_or(0, |job| job.replicated_count),
        replicated_bytes: job.map_or(0, |job| job.replicated_bytes),
        failed_count: job.map_or(0, |job| job.failed_count),
        duration,
        rate: watch.rate(),
        restarts_seen: watch.restarts,
        restarts_watched: watch.restarts_watched,
        traced: witnesses.signs().traced,
        trace_errors: witnesses.errors().to_vec(),
        target_online: watch.target_online,
    }
}

/// What did not hold about a watch that ended.
fn findings(output: &Monitored) -> Vec<Finding> {
    if output.end == End::Completed && !output.restarts_watched {
        let text = format!(
            "resync `{}` is `Completed`, but whether the source restarted in between cannot be told",
            output.reset_id
        );
        let remedy = "allow admin:ServerInfo on the source; what `versions.compare` says counts in any case";
        return vec![Finding::new("restarts_unknown", text).remedy(remedy)];
    }
    finding(output.end, &output.reset_id, &output.status, &output.detail).into_iter().collect()
}

/// What is wrong with an end, and the ways out; nothing with a completion.
pub(super) fn finding(end: End, reset_id: &str, status: &str, detail: &str) -> Option<Finding> {
    let again = "a new start with a new reset id is needed: run `resync.recover`, or this runbook again";
    let (id, text, remedy) = match end {
        End::Completed => return None,
        End::Failed => ("resync_failed", format!("resync `{reset_id}` ended `Failed`: {detail}"), again),
        End::Canceled => ("resync_canceled", format!("resync `{reset_id}` ended `Canceled`: {detail}"), again),
        End::Vanished => (
            "resync_vanished",
            format!("resync `{reset_id}` is gone: {detail}"),
            "the bucket or its remote target was removed or recreated on the source; look there, then start again",
        ),
        End::ForeignJob => (
            "foreign_job",
            format!("resync `{reset_id}` was replaced: {detail}"),
            "somebody else started a resync of this bucket, or another node of the source did; wait for it with \
             `resync.monitor` and its reset id, and ask one fixed node (`nodes` in sites.yaml)",
        ),
        End::SourceRestarted => (
            "source_restarted",
            format!("resync `{reset_id}` is void: {detail}"),
            "a restart kills the job for good, and its status may still say `Completed`; start again with a new \
             reset id: run `resync.recover`",
        ),
        End::Stalled => (
            "stalled",
            format!("resync `{reset_id}` stays `{status}` and nothing moves: {detail}"),
            "bring the target back if it is offline, and watch on; if the job is stuck, start again through another \
             node of the source, or restart all of its nodes (the job then ends) and start again, or set up a new \
             remote target; there is no way to cancel it",
        ),
    };
    Some(Finding::new(id, text).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(end: End) -> Monitored {
        Monitored {
            status: "Ongoing".into(),
            end,
            detail: "why".into(),
            reset_id: "ours".into(),
            replicated_count: 0,
            replicated_bytes: 0,
            failed_count: 7,
            duration: 0.0,
            rate: None,
            restarts_seen: 0,
            restarts_watched: true,
            traced: None,
            trace_errors: Vec::new(),
            target_online: None,
        }
    }

    #[test]
    fn only_a_completion_that_was_watched_holds() {
        assert!(findings(&ended(End::Completed)).is_empty());
        let blind = Monitored { restarts_watched: false, ..ended(End::Completed) };
        assert_eq!(findings(&blind)[0].id, "restarts_unknown");
        let ends = [End::Failed, End::Canceled, End::Vanished, End::ForeignJob, End::SourceRestarted, End::Stalled];
        let ids: Vec<_> = ends.map(|end| findings(&ended(end)).remove(0).id).to_vec();
        let expected =
            ["resync_failed", "resync_canceled", "resync_vanished", "foreign_job", "source_restarted", "stalled"];
        assert_eq!(ids, expected);
    }

    #[test]
    fn what_may_pass_is_told_by_class_and_status() {
        assert!(may_pass(&Failure::unreachable("x")));
        assert!(!may_pass(&Failure::refused("x")));
        let refused = |status| Failure::Call { class: Class::Refused, what: "x".into(), code: None, status };
        assert!(may_pass(&refused(Some(503))));
        assert!(!may_pass(&refused(Some(403))));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_ends() {
        let mut asked = 0;
        let result: Result<(), _> = patiently(Duration::from_secs(12), || {
            asked += 1;
            async { Err(Failure::unreachable("down")) }
        })
        .await;
        assert!(result.is_err());
        // After 0, 0.5, 1.5, 3.5, 7.5 and 12.5 s.
        assert_eq!(asked, 6);
    }

    #[test]
    fn polls_are_close_together_at_first() {
        let pauses = |every| [0, 1, 2, 3, 4, 40].map(|polls| pause(polls, Duration::from_secs(every)).as_millis());
        assert_eq!(pauses(5), [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        assert_eq!(pauses(1), [500, 1_000, 1_000, 1_000, 1_000, 1_000]);
        assert_eq!(pauses(3_600)[5], 3_600_000);
    }
}
