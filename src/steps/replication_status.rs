//! Reads the replication queue, failures, bandwidth and link latency on both sites.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Finding,
    failure::Failure,
    human,
    site::{
        Site,
        minio::{Metrics, RemoteTarget},
    },
    step::{Cx, Reads, Step},
    types::{BucketName, Role},
};

/// Reads how replication of a bucket is doing, on both sites.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicationStatus {
    /// The healthy site.
    #[serde(default = "Role::source")]
    source: Role,
    /// The damaged site.
    #[serde(default = "Role::target")]
    target: Role,
    /// The bucket on the source.
    bucket: BucketName,
    /// The bucket on the target. Default: the same name.
    #[serde(default)]
    target_bucket: Option<BucketName>,
    /// Does not hold when more versions than this wait in the source's queue. Default: any number may.
    #[serde(default)]
    max_queued: Option<u64>,
    /// Does not hold when more versions than this failed on the source in the last hour. Default: any number may.
    #[serde(default)]
    max_failed_last_hour: Option<u64>,
}

/// Replication as both sites see it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// What the source sends.
    source: Side,
    /// What the target sends, if it has rules of its own.
    target: Side,
}

/// Replication as one site sees it. Its counters live in the memory of the server, since its start.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct Side {
    /// The bucket exists on this site.
    bucket_exists: bool,
    /// The bucket has replication rules on this site.
    configured: bool,
    /// Versions that wait in the queue now.
    queued_count: u64,
    /// Bytes that wait in the queue now.
    queued_bytes: u64,
    /// Versions that failed in the last minute.
    failed_last_minute: u64,
    /// Versions that failed in the last hour.
    failed_last_hour: u64,
    /// Versions that failed since the server's start. A resync's failures are not among them.
    failed_total: u64,
    /// Versions sent since the server's start.
    replicated_count: u64,
    /// Bytes sent since the server's start.
    replicated_bytes: u64,
    /// Versions received since the server's start.
    received_count: u64,
    /// Bytes received since the server's start.
    received_bytes: u64,
    /// The links to remote targets.
    links: Vec<Link>,
}

/// The link to one remote target.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Link {
    /// The name of the remote target on this site.
    arn: String,
    /// `host:port` of the remote target.
    endpoint: String,
    /// Bucket on the remote target.
    bucket: String,
    /// What the site last saw of it; false until the first traffic.
    online: bool,
    /// Latest latency, seconds.
    latency: f64,
    /// Average latency, seconds.
    latency_average: f64,
    /// Largest latency, seconds.
    latency_max: f64,
    /// Versions that failed on this link in the last hour.
    failed_last_hour: u64,
    /// Bandwidth limit, bytes a second; 0 is none.
    bandwidth_limit: u64,
    /// Bandwidth now, bytes a second.
    bandwidth_now: f64,
}

impl Step for ReplicationStatus {
    const USES: &'static str = "replication.status";
    const EXAMPLE: &'static str = r#"- id: status
  uses: replication.status
  with: { bucket: "{{ inputs.bucket }}", max_queued: 0 }"#;
    type Access = Reads;
    type Output = Output;

    fn describe(&self) -> String {
        format!("read the replication queue and failures of `{}` on both sites", self.bucket)
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Output, Failure> {
        let source = cx.read(&self.source)?;
        let target = cx.read(&self.target)?;
        let there = self.target_bucket.as_ref().unwrap_or(&self.bucket);
        let (source, target) = tokio::try_join!(side(&source, &self.bucket), side(&target, there))?;
        Ok(Output { source, target })
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        let over = |id: &str, what: &str, is: u64, limit: Option<u64>| {
            let limit = limit.filter(|limit| is > *limit)?;
            let allowed = human::count(limit);
            Some(Finding::new(id, format!("{} {what}, {allowed} allowed", human::plural(is, "version"))).remedy(
                format!(
                    "wait and look again: `mc replicate status {}/{}`; each missing version is queued again by a HEAD \
                     on the source",
                    self.source, self.bucket
                ),
            ))
        };
        [
            over("queued", "wait in the source's queue", output.source.queued_count, self.max_queued),
            over(
                "failed",
                "failed on the source in the last hour",
                output.source.failed_last_hour,
                self.max_failed_last_hour,
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

async fn side(site: &Site<Reads>, bucket: &BucketName) -> Result<Side, Failure> {
    if !site.bucket_exists(bucket).await? {
        return Ok(Side::default());
    }
    if site.replication(bucket).await?.is_none() {
        return Ok(Side { bucket_exists: true, ..Side::default() });
    }
    let (metrics, targets) = tokio::try_join!(site.replication_metrics(bucket), site.remote_targets(bucket))?;
    let sum = metrics.get("").cloned().unwrap_or_default();
    let links = targets.iter().map(|t| link(t, metrics.get(&t.arn))).collect();
    Ok(Side {
        bucket_exists: true,
        configured: true,
        queued_count: sum.queued_count,
        queued_bytes: sum.queued_bytes,
        failed_last_minute: sum.failed_last_minute,
        failed_last_hour: sum.failed_last_hour,
        failed_total: sum.failed_total,
        replicated_count: sum.replicated_count,
        replicated_bytes: sum.replicated_bytes,
        received_count: sum.replica_count,
        received_bytes: sum.replica_bytes,
        links,
    })
}

fn link(target: &RemoteTarget, metrics: Option<&Metrics>) -> Link {
    Link {
        arn: target.arn.clone(),
        endpoint: target.endpoint.clone(),
        bucket: target.target_bucket.clone(),
        online: target.is_online,
        latency: seconds(target.latency.curr),
        latency_average: seconds(target.latency.avg),
        latency_max: seconds(target.latency.max),
        failed_last_hour: metrics.map_or(0, |m| m.failed_last_hour),
        bandwidth_limit: target.bandwidth_limit,
        bandwidth_now: metrics.map_or(0.0, |m| m.bandwidth_now),
    }
}

fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(with: serde_json::Value, source: Side) -> Vec<String> {
        let step: ReplicationStatus = serde_json::from_value(with).unwrap();
        let output = Output { source, target: Side { queued_count: 99, ..Side::default() } };
        step.findings(&output).into_iter().map(|f| f.id).collect()
    }

    #[test]
    fn holds_unless_a_limit_is_passed() {
        let busy = || Side { queued_count: 3, failed_last_hour: 2, ..Side::default() };
        let none = Vec::<String>::new();
        assert_eq!(ids(serde_json::json!({"bucket": "data"}), busy()), none);
        assert_eq!(ids(serde_json::json!({"bucket": "data", "max_queued": 3}), busy()), none);
        assert_eq!(ids(serde_json::json!({"bucket": "data", "max_queued": 2}), busy()), ["queued"]);
        assert_eq!(ids(serde_json::json!({"bucket": "data", "max_failed_last_hour": 0}), busy()), ["failed"]);
    }
}
