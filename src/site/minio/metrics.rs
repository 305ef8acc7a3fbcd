//! Replication metrics of a bucket, version 2.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Metrics;

/// `GET /{bucket}?replication-metrics=2`. Counters are numbers of any kind (averages are not whole), and absent parts
/// are nothing yet.
#[derive(Deserialize)]
pub(super) struct Wire {
    #[serde(rename = "currStats")]
    current: Current,
}

#[derive(Deserialize)]
struct Current {
    #[serde(default, rename = "Stats")]
    targets: Option<BTreeMap<String, Stats>>,
    #[serde(default)]
    queued: Queued,
    #[serde(flatten)]
    sum: Stats,
}

#[derive(Default, Deserialize)]
struct Stats {
    #[serde(default, rename = "completedReplicationSize")]
    replicated_bytes: f64,
    #[serde(default, rename = "replicationCount")]
    replicated_count: f64,
    #[serde(default, rename = "replicaSize")]
    replica_bytes: f64,
    #[serde(default, rename = "replicaCount")]
    replica_count: f64,
    #[serde(default)]
    failed: Failed,
    /// Bytes a second, whatever its name says.
    #[serde(default, rename = "limitInBits")]
    bandwidth_limit: f64,
    #[serde(default, rename = "currentBandwidth")]
    bandwidth_now: f64,
}

#[derive(Default, Deserialize)]
struct Failed {
    #[serde(default, rename = "lastMinute")]
    last_minute: Amount,
    #[serde(default, rename = "lastHour")]
    last_hour: Amount,
    #[serde(default)]
    totals: Amount,
}

#[derive(Default, Deserialize)]
struct Queued {
    #[serde(default)]
    curr: Amount,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Amount {
    #[serde(default)]
    count: f64,
    #[serde(default)]
    bytes: f64,
}

impl Wire {
    /// By ARN; the sum stands under the empty key, and only it knows the queue.
    pub(super) fn read(self) -> BTreeMap<String, Metrics> {
        let Current { targets, queued, sum } = self.current;
        let mut all: BTreeMap<_, _> = targets.unwrap_or_default().into_iter().map(|(arn, s)| (arn, s.read())).collect();
        // Bandwidth is counted for each target alone.
        let bandwidth_limit = all.values().map(|m| m.bandwidth_limit).sum();
        let bandwidth_now = all.values().map(|m| m.bandwidth_now).sum();
        let sum = Metrics {
            queued_count: whole(queued.curr.count),
            queued_bytes: whole(queued.curr.bytes),
            bandwidth_limit,
            bandwidth_now,
            ..sum.read()
        };
        all.insert(String::new(), sum);
        all
    }
}

impl Stats {
    fn read(self) -> Metrics {
        Metrics {
            queued_count: 0,
            queued_bytes: 0,
            failed_last_minute: whole(self.failed.last_minute.count),
            failed_last_hour: whole(self.failed.last_hour.count),
            failed_total: whole(self.failed.totals.count),
            replicated_count: whole(self.replicated_count),
            replicated_bytes: whole(self.replicated_bytes),
            replica_count: whole(self.replica_count),
            replica_bytes: whole(self.replica_bytes),
            bandwidth_limit: whole(self.bandwidth_limit),
            bandwidth_now: self.bandwidth_now,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and counters are small"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: &str = r#"{"uptime":270,"currStats":{"Stats":{"arn:minio:replication::153eac8c:data":{"completedReplicationSize":762015,"replicaSize":0,"failed":{"lastMinute":{"count":0,"bytes":0},"lastHour":{"count":1,"bytes":0},"totals":{"count":2,"bytes":0}},"replicationCount":240,"replicationLatency":{"UploadHistogram":[{"Totals":[{"Total":0,"Size":0,"N":0}],"LastSec":1795458571}]},"limitInBits":1000,"currentBandwidth":12.5,"pendingReplicationSize":0}},"completedReplicationSize":762015,"replicaSize":0,"failed":{"lastMinute":{"count":0,"bytes":0},"lastHour":{"count":1,"bytes":0},"totals":{"count":2,"bytes":0}},"replicationCount":240,"replicaCount":3,"queued":{"curr":{"count":4,"bytes":5},"avg":{"count":1.1538461538461537,"bytes":3413.25},"max":{"count":60,"bytes":177489}}},"queueStats":{"nodes":[],"uptime":270},"proxyStats":{"getProxyTotal":0}}"#;

    #[test]
    fn metrics_are_read_by_target_and_as_a_sum() {
        let all = serde_json::from_str::<Wire>(RECORDED).unwrap().read();
        let target = &all["arn:minio:replication::153eac8c:data"];
        assert_eq!((target.replicated_count, target.replicated_bytes, target.queued_count), (240, 762_015, 0));
        assert_eq!((target.failed_last_hour, target.failed_total, target.bandwidth_limit), (1, 2, 1000));
        let sum = &all[""];
        assert_eq!((sum.queued_count, sum.queued_bytes, sum.replica_count), (4, 5, 3));
        assert!((sum.bandwidth_now - 12.5).abs() < 1e-9);
    }

    #[test]
    fn a_bucket_without_traffic_has_a_sum_of_nothing() {
        let all = serde_json::from_str::<Wire>(r#"{"uptime":1,"currStats":{"replicaSize":0}}"#).unwrap().read();
        assert_eq!(all.len(), 1);
        assert_eq!(all[""], Metrics::default());
        assert!(serde_json::from_str::<Wire>("{}").is_err());
    }
}
