//! `resync.recover`: start, monitor, compare, and again for what is missing.

mod remaining;
mod rounds;

use std::num::NonZeroU8;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::remaining::{Reason, Remaining};
use super::{
    resync_monitor::{End, every, finding, patience, stalled_after},
    resync_start::Running,
    versions_compare::{Comparison, concurrency},
};
use crate::{
    compare::{Class, KeyGlob},
    event::Finding,
    failure::Failure,
    step::{Changes, Cx, Step},
    types::{BucketName, Period, Role},
};

/// Rebuilds a bucket on the target: starts a resync, watches it, compares the data, and does so again for what is
/// missing. A few missing versions are queued again one by one, many by a new resync with a new reset id. A job that
/// failed, or that a restart of the source made void, is followed by a new one. Holds when the comparison does.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResyncRecover {
    /// The site that has the data; the jobs run there.
    #[serde(default = "Role::source")]
    pub source: Role,
    /// The site that is rebuilt.
    #[serde(default = "Role::target")]
    pub target: Role,
    /// Bucket on the source.
    pub bucket: BucketName,
    /// Bucket on the target. Default: the same name.
    #[serde(default)]
    pub target_bucket: Option<BucketName>,
    /// ARN of the remote target, e.g. `{{ steps.targets.arn }}`.
    pub arn: String,
    /// Resyncs before giving up, 1 to 255. Default: 3.
    #[serde(default = "max_attempts")]
    pub max_attempts: NonZeroU8,
    /// Time for all attempts together; when it is up the step ends with what it has. Default: none.
    #[serde(default)]
    pub deadline: Option<Period>,
    /// Up to this many missing versions are queued again one by one (a HEAD each on the source) before another
    /// resync is started; never more than 10,000. 0: never. Default: 1,000.
    #[serde(default = "nudge_up_to")]
    pub nudge_up_to: u64,
    /// How long differences may take to close after a resync or after queueing versions again. Versions that are
    /// merely `different` get at most 15s of it: another resync is what mends them. Default: 2m.
    #[serde(default = "settle")]
    pub settle: Period,
    /// How often the status of a job is asked for; more often during its first seconds. Default: 5s.
    #[serde(default = "every")]
    pub every: Period,
    /// Ends the watch over a job when no witness has moved for this long. Default: 10m.
    #[serde(default = "stalled_after")]
    pub stalled_after: Period,
    /// How long a site may be unreachable, and how long a start is repeated that the source refuses because it does
    /// not reach the target. Default: 2m.
    #[serde(default = "patience")]
    pub patience: Period,
    /// Compares first, and starts nothing when every version is there. Default: false.
    #[serde(default)]
    pub skip_if_intact: bool,
    /// Patterns over keys to leave out of the comparison. Default: none.
    #[serde(default)]
    pub exclude: Vec<KeyGlob>,
    /// Classes of differences that do not count against the verdict, e.g. `extra`: a resync never deletes.
    /// Default: none.
    #[serde(default)]
    pub accept: Vec<Class>,
    /// Compares tags and metadata too. Default: false.
    #[serde(default)]
    pub metadata: bool,
    /// Requests of the comparison to each site at once, at most, 1 to 255. Default: 2.
    #[serde(default = "concurrency")]
    pub concurrency: NonZeroU8,
}

fn max_attempts() -> NonZeroU8 {
    const { NonZeroU8::new(3).unwrap() }
}
fn nudge_up_to() -> u64 {
    1_000
}
fn settle() -> Period {
    Period::secs(120)
}

/// How a recovery went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Recovered {
    /// How it ended.
    pub outcome: Outcome,
    /// The resyncs of this entry into the step, in order.
    pub attempts: Vec<Attempt>,
    /// When the last resync began, by the source's clock, or the comparison when none was started: later writes were
    /// left out.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// Versions compared at the end.
    pub versions: u64,
    /// Versions that the target lacks.
    pub missing: u64,
    /// Versions that only the target has.
    pub extra: u64,
    /// Versions that both sites have, and that are not the same.
    pub different: u64,
    /// Versions that the target lacks and the source says it has yet to replicate (only with `metadata: true`).
    pub pending: u64,
    /// Versions that the source's rules cannot replicate.
    pub out_of_scope: u64,
    /// Versions newer than the last start.
    pub left_out: u64,
    /// What is still missing or different, the first 100 versions, each with the reason that was found.
    pub remaining: Vec<Remaining>,
    /// The last comparison; `null` when there was none.
    pub comparison: Option<Comparison>,
    /// The job of somebody else, or of an earlier attempt, that kept another one from being started.
    pub running: Option<Running>,
}

/// How a recovery ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    /// The comparison holds, and nothing had to be started.
    Intact,
    /// The comparison holds.
    Recovered,
    /// All attempts were used up.
    AttemptsUsedUp,
    /// The deadline passed.
    DeadlinePassed,
    /// A job runs that keeps another one from being started.
    AlreadyRunning,
    /// What differs cannot be put right by sending anything.
    NothingToSend,
}

/// One resync.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// Its reset id; `null` when the source refused to start it.
    pub reset_id: Option<String>,
    /// When it began, by the source's clock; `null` when the source refused to start it.
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// The last status, as the server says it; `refused` when the source refused to start it.
    pub status: String,
    /// How it ended; `null` when it never began, or time was up.
    pub end: Option<End>,
    /// Why it ended so, in words.
    pub detail: String,
    /// Versions replicated, as the server counts: a number that lags and does not add up.
    pub replicated_count: u64,
    /// Versions failed, as the server counts.
    pub failed_count: u64,
    /// Seconds from the start to the end of its comparison.
    pub seconds: f64,
    /// Versions that were missing, pending or different after it; `null` when nothing was compared.
    pub missing_after: Option<u64>,
    /// Versions that were queued again one by one.
    pub nudged: u64,
}

impl Step for ResyncRecover {
    const USES: &'static str = "resync.recover";
    const PROVES: bool = true;
    const EXAMPLE: &'static str = "\
- id: recover
  uses: resync.recover
  with: { bucket: invoices, arn: \"{{ steps.targets.arn }}\", max_attempts: 3 }
";
    type Access = Changes;
    type Output = Recovered;

    fn describe(&self) -> String {
        let attempts = self.max_attempts;
        format!("rebuild `{}` on {} from {}, with up to {attempts} resyncs", self.bucket, self.target, self.source)
    }

    async fn run(&self, cx: &Cx<Changes>) -> Result<Recovered, Failure> {
        rounds::recover(cx, self).await
    }

    fn findings(&self, output: &Recovered) -> Vec<Finding> {
        findings(output)
    }
}

fn findings(output: &Recovered) -> Vec<Finding> {
    let mut findings = output.comparison.as_ref().map(Comparison::findings).unwrap_or_default();
    let held = output.comparison.is_some() && findings.is_empty();
    if held {
        return findings;
    }
    if let Some(reasons) = reasons(&output.remaining) {
        // It has the better remedy: running this very step again would not help.
        for finding in &mut findings {
            finding.remedy = finding.remedy.take().filter(|_| finding.id != Class::Missing.as_str());
        }
        findings.push(reasons);
    }
    // Why the last watch ended says more than the job that is left of it.
    let last = output.attempts.last();
    let ended = last.and_then(|last| finding(last.end?, last.reset_id.as_deref()?, &last.status, &last.detail));
    findings.extend(ended);
    findings.extend(output.running.as_ref().map(|running| in_the_way(running, last)));
    let tried = output.attempts.len();
    match output.outcome {
        Outcome::AttemptsUsedUp => {
            let after = output.attempts.last().and_then(|last| last.missing_after);
            let last = after.map(|n| format!("; {n} versions are missing or different after the last one"));
            let last = last.unwrap_or_default();
            let text = format!("all attempts are used up ({tried} in this run){last}");
            let remedy = "put right what `remaining` names, then run this runbook again";
            findings.push(Finding::new("attempts_used_up", text).remedy(remedy));
        }
        Outcome::DeadlinePassed => {
            let text = format!("the deadline passed in attempt {tried}");
            let remedy = "a resync that runs goes on by itself: watch it with `resync.monitor`, then compare";
            findings.push(Finding::new("deadline_passed", text).remedy(remedy));
        }
        Outcome::Intact | Outcome::Recovered | Outcome::AlreadyRunning | Outcome::NothingToSend => {}
    }
    findings
}

/// The job that keeps another from being started. One that a restart killed never ends by itself.
fn in_the_way(running: &Running, last: Option<&Attempt>) -> Finding {
    let ours = |last: &Attempt| last.reset_id.as_deref() == Some(running.reset_id.as_str());
    if !last.is_some_and(|last| last.end == Some(End::SourceRestarted) && ours(last)) {
        return running.finding();
    }
    let text = format!(
        "the source goes on listing resync `{}` as {}, although the restart killed it, and starts no other",
        running.reset_id, running.status
    );
    let remedy = "restart the nodes of the source, again if need be, until it no longer says so; then resume this run";
    Finding::new("already_running", text).remedy(remedy)
}

/// The reasons for what remains, most frequent first.
fn reasons(remaining: &[Remaining]) -> Option<Finding> {
    let mut by_reason: Vec<(Reason, u64, &Remaining)> = Vec::new();
    for one in remaining {
        match by_reason.iter_mut().find(|(reason, _, _)| *reason == one.reason) {
            Some((_, count, _)) => *count += 1,
            None => by_reason.push((one.reason, 1, one)),
        }
    }
    by_reason.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
    let (first, _, _) = by_reason.first()?;
    let parts: Vec<_> =
        by_reason.iter().map(|(_, count, one)| format!("{count} × {} (e.g. `{}`)", one.detail, one.key)).collect();
    let text = format!("of the first {} that remain: {}", remaining.len(), parts.join("; "));
    Some(Finding::new("remaining", text).remedy(first.remedy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Tally;

    fn recovered(outcome: Outcome, tally: Option<Tally>) -> Recovered {
        Recovered {
            outcome,
            attempts: Vec::new(),
            started_at: None,
            versions: 0,
            missing: 0,
            extra: 0,
            different: 0,
            pending: 0,
            out_of_scope: 0,
            left_out: 0,
            remaining: Vec::new(),
            comparison: tally.map(Into::into),
            running: None,
        }
    }

    fn attempt(end: End) -> Attempt {
        Attempt {
            number: 1,
            reset_id: Some("ours".into()),
            started_at: None,
            status: "Ongoing".into(),
            end: Some(end),
            detail: "why".into(),
            replicated_count: 0,
            failed_count: 0,
            seconds: 0.0,
            missing_after: Some(1),
            nudged: 0,
        }
    }

    fn ids(output: &Recovered) -> Vec<String> {
        findings(output).into_iter().map(|finding| finding.id).collect()
    }

    #[test]
    fn only_a_comparison_makes_it_hold() {
        let same = Tally { same: 3, ..Tally::default() };
        assert!(ids(&recovered(Outcome::Recovered, Some(same))).is_empty());
        // The deadline passed, and the data is there all the same.
        assert!(ids(&recovered(Outcome::DeadlinePassed, Some(same))).is_empty());
        assert_eq!(ids(&recovered(Outcome::DeadlinePassed, None)), ["deadline_passed"]);
        let missing = Tally { missing: 1, ..Tally::default() };
        assert_eq!(ids(&recovered(Outcome::AttemptsUsedUp, Some(missing))), ["missing", "attempts_used_up"]);
        let extra = Tally { extra: 1, ..Tally::default() };
        assert_eq!(ids(&recovered(Outcome::NothingToSend, Some(extra))), ["extra"]);
    }

    #[test]
    fn a_stalled_job_is_named_with_its_ways_out() {
        let missing = Tally { missing: 1, ..Tally::default() };
        let output =
            Recovered { attempts: vec![attempt(End::Stalled)], ..recovered(Outcome::AlreadyRunning, Some(missing)) };
        assert_eq!(ids(&output), ["missing", "stalled"]);
    }

    #[test]
    fn a_job_that_a_restart_killed_is_not_to_be_waited_for() {
        let running = Running {
            reset_id: "ours".into(),
            arn: "arn:1".into(),
            status: "Ongoing".into(),
            age: 90.0,
            replicated_count: 0,
            failed_count: 0,
        };
        let remedy = |last: &Attempt| in_the_way(&running, Some(last)).remedy.unwrap();
        let stalled = attempt(End::Stalled);
        assert!(remedy(&stalled).contains("resync.monitor"));
        let killed = Attempt { end: Some(End::SourceRestarted), ..stalled };
        assert!(remedy(&killed).starts_with("restart the nodes of the source"));
        assert!(remedy(&Attempt { reset_id: Some("another".into()), ..killed }).contains("resync.monitor"));
    }

    #[test]
    fn the_most_frequent_reason_gives_the_remedy() {
        let one = |reason: Reason, detail: &str| Remaining {
            key: "k".into(),
            version_id: "v".into(),
            class: Class::Missing,
            reason,
            detail: detail.into(),
        };
        let all = [one(Reason::SseC, "sse-c"), one(Reason::Kms, "kms"), one(Reason::Kms, "kms")];
        let finding = reasons(&all).unwrap();
        assert!(finding.text.contains("2 × kms (e.g. `k`); 1 × sse-c"), "{}", finding.text);
        assert_eq!(finding.remedy.as_deref(), Some(Reason::Kms.remedy()));
        assert!(reasons(&[]).is_none());
    }

    #[test]
    fn the_defaults_are_those_of_the_reference() {
        let params: ResyncRecover = serde_json::from_value(serde_json::json!({ "bucket": "abc", "arn": "a" })).unwrap();
        assert_eq!((params.max_attempts.get(), params.nudge_up_to, params.settle), (3, 1_000, Period::secs(120)));
        assert!(!params.skip_if_intact);
    }
}
