//! MinIO's own calls: replication, resync, health and the admin interface. Facts about them: each call's docs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Site, Wire};
use crate::{
    failure::Failure,
    step::{Access, Probe},
    types::BucketName,
};

/// Answer of the unsigned health calls.
#[derive(Clone, Debug)]
pub struct Health {
    /// `/minio/health/live` answered 200.
    pub live: bool,
    /// `/minio/health/cluster` answered 200: reads and writes have their quorum.
    pub cluster: bool,
    /// `X-Minio-Server-Status` of a cluster that is not well, e.g. `offline`.
    pub server_status: Option<String>,
    /// `X-Minio-Healing-Drives`.
    pub healing_drives: u64,
    /// The server says it is MinIO (`Server` header).
    pub is_minio: bool,
    /// The server's clock, to the second (`Date` header).
    pub server_time: Option<Timestamp>,
}

/// `GET /minio/admin/v3/info`.
#[derive(Clone, Debug)]
pub struct Info {
    pub deployment_id: String,
    pub nodes: Vec<Node>,
    pub online_drives: u64,
    pub offline_drives: u64,
    /// Sum of `availspace` over all drives that answer, before erasure coding, bytes.
    pub free_bytes: u64,
    /// Share of the raw space that data gets: (drives in a set - parity) / drives in a set.
    pub usable_share: f64,
    /// Whether a KMS is configured, and online.
    pub kms_online: Option<bool>,
}

/// One node of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub endpoint: String,
    pub state: String,
    /// Seconds since the process began; shorter than a job's age means that the job is void.
    pub uptime_seconds: u64,
    pub release: String,
    pub offline_drives: u64,
    pub healing_drives: u64,
}

impl Info {
    /// The releases that the nodes run, each once, sorted.
    pub fn releases(&self) -> Vec<String> {
        let mut all: Vec<_> = self.nodes.iter().map(|n| n.release.clone()).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// One entry of `list-remote-targets`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct RemoteTarget {
    pub arn: String,
    #[serde(rename = "sourcebucket")]
    pub source_bucket: String,
    /// `host:port`.
    pub endpoint: String,
    #[serde(rename = "targetbucket")]
    pub target_bucket: String,
    #[serde(default)]
    pub secure: bool,
    #[serde(default, rename = "deploymentID")]
    pub deployment_id: Option<String>,
    #[serde(default, rename = "replicationSync")]
    pub synchronous: bool,
    /// Bytes a second; 0 is no limit.
    #[serde(default, rename = "bandwidthlimit")]
    pub bandwidth_limit: u64,
    /// False until the first traffic, so it proves nothing.
    #[serde(default, rename = "isOnline")]
    pub is_online: bool,
    #[serde(default, rename = "resetID")]
    pub reset_id: Option<String>,
    #[serde(default, rename = "disableProxy")]
    pub proxy_disabled: bool,
    #[serde(default)]
    pub latency: Latency,
}

/// Latency of a link, nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Latency {
    pub curr: u64,
    pub avg: u64,
    pub max: u64,
}

/// One entry of the resync status. Its counters never add up and are refreshed about once a minute.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ResyncStatus {
    pub arn: String,
    #[serde(rename = "resetid")]
    pub reset_id: String,
    #[serde(rename = "startTime")]
    pub start_time: Timestamp,
    /// Time of the last state change, not of the end.
    #[serde(rename = "endTime")]
    pub end_time: Timestamp,
    /// `Pending`, `Ongoing`, `Completed`, `Failed`, `Canceled`; empty when none.
    #[serde(default, rename = "resyncStatus")]
    pub status: String,
    #[serde(default, rename = "completedReplicationSize")]
    pub replicated_bytes: u64,
    #[serde(default, rename = "replicationCount")]
    pub replicated_count: u64,
    #[serde(default, rename = "failedReplicationCount")]
    pub failed_count: u64,
    /// The last checkpoint.
    #[serde(default)]
    pub object: Option<String>,
}

impl ResyncStatus {
    /// Whether a job is at work, or waits for its turn.
    pub fn running(&self) -> bool {
        matches!(self.status.as_str(), "Pending" | "Ongoing")
    }
}

/// One line of the live trace of a resync.
#[derive(Clone, Debug)]
pub struct TraceLine {
    pub reset_id: String,
    /// `bucket/key (version id)`.
    pub path: String,
    pub error: Option<String>,
    pub bytes: u64,
}

/// Replication metrics of a bucket (v2), of one ARN or summed up. In memory of the server since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Metrics {
    /// Versions that wait in the queue now.
    pub queued_count: u64,
    /// Bytes that wait in the queue now.
    pub queued_bytes: u64,
    /// Failures in the last minute, the last hour, and since the server's start.
    pub failed_last_minute: u64,
    pub failed_last_hour: u64,
    pub failed_total: u64,
    /// Versions and bytes sent since the server's start.
    pub replicated_count: u64,
    pub replicated_bytes: u64,
    /// Versions and bytes received since the server's start.
    pub replica_count: u64,
    pub replica_bytes: u64,
    /// Bytes a second: limit (0: none) and now.
    pub bandwidth_limit: u64,
    pub bandwidth_now: f64,
}

/// The account behind the credentials, and what it may do.
#[derive(Clone, Debug)]
pub struct Account {
    pub name: String,
    /// The IAM policy document in force.
    pub policy: serde_json::Value,
}

/// A bucket's quota, bytes; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub bytes: u64,
}

/// What the scanner last counted in a bucket. It lags, by minutes or days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub bytes: u64,
    pub objects: u64,
    pub versions: u64,
    pub delete_markers: u64,
}

impl<A: Access> Site<A> {
    /// Asks both health calls; `Err` only when nothing answers at all.
    pub async fn health(&self) -> Result<Health, Failure> {
        todo!()
    }
    pub async fn info(&self) -> Result<Info, Failure> {
        todo!()
    }
    pub async fn account(&self) -> Result<Account, Failure> {
        todo!()
    }
    pub async fn remote_targets(&self, _bucket: &BucketName) -> Result<Vec<RemoteTarget>, Failure> {
        todo!()
    }
    /// MinIO's own check of a bucket's targets. It writes and deletes a probe on each, hence the leave.
    pub async fn replication_check(&self, _bucket: &BucketName, _leave: Probe) -> Result<(), Failure> {
        todo!()
    }
    /// The status of the last resync of every ARN of a bucket, or of one.
    pub async fn resync_status(&self, _bucket: &BucketName, _arn: Option<&str>) -> Result<Vec<ResyncStatus>, Failure> {
        todo!()
    }
    /// Lines of the live trace, as they come; ends when dropped.
    pub async fn resync_trace(&self) -> Result<tokio::sync::mpsc::Receiver<TraceLine>, Failure> {
        todo!()
    }
    /// By ARN; the sum stands under the empty key.
    pub async fn replication_metrics(&self, _bucket: &BucketName) -> Result<BTreeMap<String, Metrics>, Failure> {
        todo!()
    }
    /// Whether the KMS of the site can use a key.
    pub async fn kms_key(&self, _key: &str) -> Result<(), Failure> {
        todo!()
    }
    pub async fn quota(&self, _bucket: &BucketName) -> Result<Quota, Failure> {
        todo!()
    }
    /// Whether the deployment is under site replication.
    pub async fn site_replication(&self) -> Result<bool, Failure> {
        todo!()
    }
    /// What the scanner last counted; `None` when it has not been there yet.
    pub async fn usage(&self, _bucket: &BucketName) -> Result<Option<Usage>, Failure> {
        todo!()
    }
}

impl Wire {
    pub(crate) async fn resync_status(
        &self,
        _bucket: &BucketName,
        _arn: Option<&str>,
    ) -> Result<Vec<ResyncStatus>, Failure> {
        todo!()
    }
}
