//! `resync.start`: starts the job that re-sends a bucket to its remote target.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::versions_compare::clock;
use crate::{
    event::Finding,
    failure::Failure,
    site::{
        changes::{ResyncStarted, StartResync},
        minio::ResyncStatus,
    },
    step::{Access, Changes, Cx, Step},
    types::{BucketName, Role},
};

/// Starts a resync of a bucket to its remote target, with a reset id of its own making. The status is asked first:
/// while any job of the bucket runs nothing is sent, because even a refused start leaves a mark on the server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResyncStart {
    /// The site that has the data; the job runs there.
    #[serde(default = "Role::source")]
    pub source: Role,
    /// Bucket on the source.
    pub bucket: BucketName,
    /// ARN of the remote target, e.g. `{{ steps.targets.arn }}`.
    pub arn: String,
    /// What to do when a job of this bucket runs already: `refuse` (does not hold), or `adopt` the one to the same
    /// target, so that the next step watches that. Default: refuse.
    #[serde(default)]
    pub when_running: WhenRunning,
    /// Only versions that are older than this many days. Default: all.
    #[serde(default)]
    pub older_than_days: Option<u32>,
}

/// What to do when a job runs already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenRunning {
    /// Send nothing; the step does not hold.
    #[default]
    Refuse,
    /// Take it as ours, when it goes to the same remote target.
    Adopt,
}

/// The job that was started, adopted, or found in the way.
#[expect(clippy::struct_field_names, reason = "`started_at` is what runbooks call the begin of a job everywhere")]
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Started {
    /// Reset id of the job: ours, the adopted one, or the one that was in the way.
    pub reset_id: String,
    /// ARN of the remote target.
    pub arn: String,
    /// When the job began, by the source's clock.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// Whether this step started it.
    pub started: bool,
    /// Whether a job that ran already was taken as ours.
    pub adopted: bool,
    /// The job that ran already, when there was one.
    pub running: Option<Running>,
}

/// A job that runs, or waits for its turn.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Running {
    /// Its reset id.
    pub reset_id: String,
    /// ARN of the remote target that it goes to.
    pub arn: String,
    /// `Pending` or `Ongoing`, as the server says it.
    pub status: String,
    /// Seconds since it began, by the source's clock.
    pub age: f64,
    /// Versions replicated, as the server counts; refreshed about once a minute.
    pub replicated_count: u64,
    /// Versions failed, as the server counts.
    pub failed_count: u64,
}

impl Running {
    pub(super) fn new(job: &ResyncStatus, now: Timestamp) -> Self {
        Self {
            reset_id: job.reset_id.clone(),
            arn: job.arn.clone(),
            status: job.status.clone(),
            age: now.duration_since(job.start_time).as_secs_f64().max(0.0),
            replicated_count: job.replicated_count,
            failed_count: job.failed_count,
        }
    }

    pub(super) fn finding(&self) -> Finding {
        let text = format!(
            "resync `{}` to `{}` is {} since {:.0} s ({} versions replicated, {} failed), so none was started",
            self.reset_id, self.arn, self.status, self.age, self.replicated_count, self.failed_count
        );
        let remedy = "wait for it with `resync.monitor`, or take it over with `when_running: adopt`; a job that never \
                      ends is freed by restarting the source's nodes";
        Finding::new("already_running", text).remedy(remedy)
    }
}

impl Step for ResyncStart {
    const USES: &'static str = "resync.start";
    const EXAMPLE: &'static str = "\
- id: start
  uses: resync.start
  with: { bucket: invoices, arn: \"{{ steps.targets.arn }}\" }
";
    type Access = Changes;
    type Output = Started;

    fn describe(&self) -> String {
        format!("start a resync of `{}` from {} to `{}`", self.bucket, self.source, self.arn)
    }

    async fn run(&self, cx: &Cx<Changes>) -> Result<Started, Failure> {
        let source = cx.claim(&self.source, &self.bucket)?;
        let jobs = source.resync_status(&self.bucket, None).await?;
        let ours = ids(cx, KEY);
        if let Some(job) = in_the_way(&jobs, |id| ours.iter().any(|ours| ours == id)) {
            let adopted = self.when_running == WhenRunning::Adopt && job.arn == self.arn;
            return Ok(Started {
                reset_id: job.reset_id.clone(),
                arn: job.arn.clone(),
                started_at: job.start_time,
                started: false,
                adopted,
                running: Some(Running::new(job, clock(&source).await?)),
            });
        }
        let before = last_id(&jobs, &self.arn);
        let started: ResyncStarted = source
            .change(KEY, |n| StartResync {
                bucket: self.bucket.clone(),
                arn: self.arn.clone(),
                reset_id: reset_id(cx, KEY, n),
                older_than_days: self.older_than_days,
                before,
            })
            .await?;
        Ok(Started {
            reset_id: started.reset_id,
            arn: self.arn.clone(),
            started_at: started.started_at,
            started: true,
            adopted: false,
            running: None,
        })
    }

    fn findings(&self, output: &Started) -> Vec<Finding> {
        match &output.running {
            Some(running) if !output.adopted => vec![running.finding()],
            Some(_) | None => Vec::new(),
        }
    }
}

const KEY: &str = "start";

/// A start is sent again only after a refusal or a lost request, so no key comes near this many.
const SENDINGS: u32 = 64;

/// The reset id of the n-th sending of a change. A used reset id does nothing: no two sendings share one.
pub(super) fn reset_id<A: Access>(cx: &Cx<A>, key: &str, n: u32) -> String {
    safe_id(&cx.mint(key, n))
}

/// Every reset id that a change under this key can have had.
pub(super) fn ids<A: Access>(cx: &Cx<A>, key: &str) -> Vec<String> {
    (1..=SENDINGS).map(|n| reset_id(cx, key, n)).collect()
}

/// A job of any remote target of the bucket that runs and is not ours. They all share one file on the server.
pub(super) fn in_the_way(jobs: &[ResyncStatus], ours: impl Fn(&str) -> bool) -> Option<&ResyncStatus> {
    jobs.iter().find(|job| job.running() && !ours(&job.reset_id))
}

/// The reset id that the status names for a remote target.
pub(super) fn last_id(jobs: &[ResyncStatus], arn: &str) -> Option<String> {
    jobs.iter().find(|job| job.arn == arn).map(|job| job.reset_id.clone()).filter(|id| !id.is_empty())
}

/// The server writes the id into every object, behind a `;`: short, and of letters, digits and dashes.
fn safe_id(minted: &str) -> String {
    let safe: String = minted.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if safe == minted && safe.len() <= 40 {
        return safe;
    }
    // What was cut or replaced must not make two ids one.
    let digest = hex::encode(Sha256::digest(minted.as_bytes()));
    let head: String = safe.chars().take(23).collect();
    format!("{head}-{}", &digest[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(arn: &str, reset_id: &str, status: &str) -> ResyncStatus {
        ResyncStatus {
            arn: arn.into(),
            reset_id: reset_id.into(),
            start_time: "2026-11-23T19:00:00Z".parse().unwrap(),
            end_time: "2026-11-23T19:00:00Z".parse().unwrap(),
            status: status.into(),
            replicated_bytes: 0,
            replicated_count: 5,
            failed_count: 1,
            object: None,
        }
    }

    #[test]
    fn ids_are_short_and_safe_and_stay_apart() {
        let long = "20261123T190000-abcdef/recover[bucket-a]/start/attempt-1";
        for minted in ["a;b", "a/b", "a-b", long, &format!("{long}#2")] {
            let id = safe_id(minted);
            assert!(id.len() <= 40 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{id}");
        }
        let all: std::collections::BTreeSet<_> =
            ["a;b", "a/b", "a-b", long, &format!("{long}#2")].iter().map(|minted| safe_id(minted)).collect();
        assert_eq!(all.len(), 5);
        assert_eq!(safe_id("plain-1"), "plain-1");
    }

    #[test]
    fn a_job_to_another_target_is_in_the_way_and_our_own_is_not() {
        let jobs = [job("arn:1", "old", "Completed"), job("arn:2", "theirs", "Pending")];
        assert_eq!(in_the_way(&jobs, |_| false).map(|j| j.reset_id.as_str()), Some("theirs"));
        assert_eq!(in_the_way(&jobs, |id| id == "theirs"), None);
        assert_eq!(last_id(&jobs, "arn:1").as_deref(), Some("old"));
        assert_eq!(last_id(&jobs, "arn:3"), None);
    }

    #[test]
    fn a_running_job_is_named_with_its_age_and_progress() {
        let now = "2026-11-23T19:01:30Z".parse().unwrap();
        let finding = Running::new(&job("arn:1", "theirs", "Ongoing"), now).finding();
        assert!(
            finding.text.contains("`theirs`") && finding.text.contains("90 s") && finding.text.contains("5 versions")
        );
    }
}
