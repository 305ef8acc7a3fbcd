//! MinIO's own calls: replication, resync, health and the admin interface. Facts about them: each call's docs.

mod info;
mod metrics;
mod resync;
mod trace;

use std::collections::BTreeMap;

use http::Method;
use jiff::{Timestamp, fmt::rfc2822};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Site, Wire, net::Reply, sign::Ask};
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
#[expect(clippy::struct_excessive_bools, reason = "each is a field of the answer")]
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
    /// Keys whose latest version is an object.
    pub objects: u64,
    /// Object versions and delete markers together, as measured.
    pub versions: u64,
    /// Delete markers: a part of `versions`.
    pub delete_markers: u64,
}

impl<A: Access> Site<A> {
    /// Asks both health calls; `Err` only when nothing answers at all, or somebody else does: a redirect.
    pub async fn health(&self) -> Result<Health, Failure> {
        let ask = |call| Ask::unsigned(call, "tell its health");
        let (live, cluster) = (ask("/minio/health/live"), ask("/minio/health/cluster"));
        let told = async |ask: &Ask| match self.wire.reply(ask).await {
            Ok(reply) if reply.status.is_redirection() => Err(self.wire.asked(&ask.what).error_reply(&reply)),
            other => other,
        };
        let (live, cluster) = match tokio::join!(told(&live), told(&cluster)) {
            (Err(failure), Err(_)) => return Err(failure),
            (live, cluster) => (live.ok(), cluster.ok()),
        };
        let either = || live.iter().chain(&cluster);
        let header = |name| cluster.as_ref().and_then(|reply| reply.header(name));
        Ok(Health {
            live: live.as_ref().is_some_and(|reply| reply.status.is_success()),
            cluster: cluster.as_ref().is_some_and(|reply| reply.status.is_success()),
            server_status: header("x-minio-server-status").map(str::to_owned),
            healing_drives: header("x-minio-healing-drives").and_then(|n| n.parse().ok()).unwrap_or(0),
            is_minio: either().any(|reply| reply.header("server").is_some_and(|s| s.starts_with("MinIO"))),
            server_time: either().find_map(date),
        })
    }
    /// The server's clock, to the second.
    pub async fn server_time(&self) -> Result<Timestamp, Failure> {
        let ask = Ask::unsigned("/minio/health/live", "tell the time");
        let reply = self.wire.reply(&ask).await?;
        date(&reply).ok_or_else(|| self.wire.asked(&ask.what).unreadable("it has no date"))
    }
    pub async fn info(&self) -> Result<Info, Failure> {
        self.wire.json(&Ask::admin("info", "describe itself")).await.map(info::Wire::read)
    }
    pub async fn account(&self) -> Result<Account, Failure> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "AccountName")]
            name: String,
            #[serde(default, rename = "Policy")]
            policy: serde_json::Value,
        }
        let Wire { name, policy } = self.wire.json(&Ask::admin("accountinfo", "describe the account")).await?;
        Ok(Account { name, policy })
    }
    pub async fn remote_targets(&self, bucket: &BucketName) -> Result<Vec<RemoteTarget>, Failure> {
        let ask = Ask::admin("list-remote-targets", format!("list the remote targets of `{bucket}`"))
            .with("bucket", bucket.as_str())
            .with("type", "replication");
        self.wire.json::<Option<Vec<RemoteTarget>>>(&ask).await.map(Option::unwrap_or_default)
    }
    /// MinIO's own check of a bucket's targets. It writes and deletes a probe on each, hence the leave.
    pub async fn replication_check(&self, bucket: &BucketName, _leave: Probe) -> Result<(), Failure> {
        let what = format!("check the remote targets of `{bucket}`");
        let ask = Ask::bucket(Method::GET, bucket, "replication-check", what);
        let _sending = self.wire.leave_to_change().await?;
        let reply = self.wire.ask(&ask).await?;
        // A server without this call lists the bucket.
        if reply.body.is_empty() { Ok(()) } else { Err(self.wire.asked(&ask.what).unknown_call()) }
    }
    /// The status of the last resync of every ARN of a bucket, or of one.
    pub async fn resync_status(&self, bucket: &BucketName, arn: Option<&str>) -> Result<Vec<ResyncStatus>, Failure> {
        self.wire.resync_status(bucket, arn).await
    }
    /// Lines of the live trace, as they come; ends when dropped.
    pub async fn resync_trace(&self) -> Result<tokio::sync::mpsc::Receiver<TraceLine>, Failure> {
        trace::follow(&self.wire).await
    }
    /// By ARN; the sum stands under the empty key.
    pub async fn replication_metrics(&self, bucket: &BucketName) -> Result<BTreeMap<String, Metrics>, Failure> {
        let what = format!("tell the replication metrics of `{bucket}`");
        let ask = Ask::bucket(Method::GET, bucket, "replication-metrics", what).with("replication-metrics", "2");
        self.wire.json(&ask).await.map(metrics::Wire::read)
    }
    /// Whether the KMS of the site can use a key.
    pub async fn kms_key(&self, key: &str) -> Result<(), Failure> {
        /// Answered with 200, whatever became of it.
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "encryption-error")]
            encryption: Option<String>,
            #[serde(rename = "decryption-error")]
            decryption: Option<String>,
        }
        let ask = Ask::admin("kms/key/status", format!("use the KMS key `{key}`")).with("key-id", key);
        let Wire { encryption, decryption } = self.wire.json(&ask).await?;
        match [encryption, decryption].into_iter().flatten().find(|e| !e.is_empty()) {
            Some(why) => Err(self.wire.asked(&ask.what).refused(&why)),
            None => Ok(()),
        }
    }
    pub async fn quota(&self, bucket: &BucketName) -> Result<Quota, Failure> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default)]
            size: u64,
            /// What older releases call it.
            #[serde(default)]
            quota: u64,
        }
        let ask =
            Ask::admin("get-bucket-quota", format!("tell the quota of `{bucket}`")).with("bucket", bucket.as_str());
        let Wire { size, quota } = self.wire.json(&ask).await?;
        Ok(Quota { bytes: size.max(quota) })
    }
    /// Whether the deployment is under site replication.
    pub async fn site_replication(&self) -> Result<bool, Failure> {
        #[derive(Deserialize)]
        struct Wire {
            enabled: bool,
        }
        let ask = Ask::admin("site-replication/info", "tell whether it is under site replication");
        self.wire.json::<Wire>(&ask).await.map(|w| w.enabled)
    }
    /// What the scanner last counted; `None` when it has not been there yet.
    pub async fn usage(&self, bucket: &BucketName) -> Result<Option<Usage>, Failure> {
        let ask = Ask::admin("datausageinfo", "tell what it holds");
        self.wire.json::<info::UsageWire>(&ask).await.map(|w| w.read(bucket))
    }
}

impl Wire {
    /// An answer in JSON. An unknown sub-resource is answered with a listing in XML, and 200.
    async fn json<T: DeserializeOwned>(&self, ask: &Ask) -> Result<T, Failure> {
        let reply = self.ask(ask).await?;
        if is_xml(&reply) {
            return Err(self.asked(&ask.what).unknown_call());
        }
        serde_json::from_slice(&reply.body).map_err(|e| self.asked(&ask.what).unreadable(&e.to_string()))
    }
}

fn is_xml(reply: &Reply) -> bool {
    reply.header("content-type").is_some_and(|t| t.contains("xml")) || reply.body.trim_ascii_start().starts_with(b"<")
}

/// The server's clock, from the `Date` header.
fn date(reply: &Reply) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new().parse_timestamp(reply.header("date")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_target_is_read_as_recorded() {
        let recorded = r#"[{"sourcebucket":"data","endpoint":"target.example:9000","credentials":{"accessKey":"minioadmin","expiration":"0001-01-01T00:00:00Z"},"targetbucket":"data","secure":false,"path":"auto","api":"s3v4","arn":"arn:minio:replication::153eac8c:data","type":"replication","replicationSync":false,"healthCheckDuration":60000000000,"disableProxy":false,"resetBeforeDate":"2026-11-23T18:30:11.534375351Z","resetID":"551bad9e","totalDowntime":0,"lastOnline":"2026-11-23T18:31:14.734064435Z","isOnline":true,"latency":{"curr":1247903,"avg":1633247,"max":5730720},"edge":false,"edgeSyncBeforeExpiry":false,"offlineCount":0}]"#;
        let targets: Vec<RemoteTarget> = serde_json::from_str(recorded).unwrap();
        assert_eq!(targets[0].endpoint, "target.example:9000");
        assert_eq!(targets[0].reset_id.as_deref(), Some("551bad9e"));
        assert_eq!(targets[0].latency.max, 5_730_720);
        assert!(targets[0].is_online && !targets[0].synchronous);
        assert_eq!(serde_json::from_str::<Option<Vec<RemoteTarget>>>("null").unwrap(), None);
    }

    #[test]
    fn the_date_header_is_the_servers_clock() {
        let mut reply =
            Reply { status: http::StatusCode::OK, headers: http::HeaderMap::new(), body: bytes::Bytes::new() };
        assert_eq!(date(&reply), None);
        reply.headers.insert("date", http::HeaderValue::from_static("Mon, 23 Nov 2026 18:31:17 GMT"));
        assert_eq!(date(&reply), Some("2026-11-23T18:31:17Z".parse().unwrap()));
    }
}
