//! Start and status of a resync.

use http::Method;
use jiff::Timestamp;
use serde::Deserialize;

use super::{ResyncStatus, date};
use crate::{
    failure::Failure,
    site::{Wire, changes::StartResync, sign::Ask},
    types::BucketName,
};

impl Wire {
    pub(crate) async fn resync_status(
        &self,
        bucket: &BucketName,
        arn: Option<&str>,
    ) -> Result<Vec<ResyncStatus>, Failure> {
        let what = format!("tell the resync status of `{bucket}`");
        let mut ask = Ask::bucket(Method::GET, bucket, "replication-reset-status", what).on_one_node();
        if let Some(arn) = arn {
            ask = ask.with("arn", arn);
        }
        self.json::<Jobs>(&ask).await.map(|jobs| jobs.target)
    }

    /// Starts a resync; when, by the server's clock. Only a refusal proves that it did not start.
    pub(in crate::site) async fn start_resync(&self, start: &StartResync) -> Result<Timestamp, Failure> {
        let StartResync { bucket, arn, reset_id, older_than_days, before: _ } = start;
        let what = format!("start a resync of `{bucket}`");
        let mut ask = Ask::bucket(Method::PUT, bucket, "replication-reset", what)
            .on_one_node()
            .with("arn", arn)
            .with("reset-id", reset_id);
        if let Some(days) = older_than_days {
            // The server divides nanoseconds by 24 and calls that days; any other unit breaks its list of targets.
            ask = ask.with("older-than", format!("{}ns", u64::from(*days) * 24));
        }
        let reply = self.ask(&ask).await?;
        let listed = serde_json::from_slice::<Jobs>(&reply.body).map(|jobs| jobs.target).unwrap_or_default();
        match date(&reply) {
            Some(at) if listed.iter().any(|job| job.reset_id == *reset_id) => Ok(at),
            _ => Err(Failure::unreachable(format!(
                "site `{}` gave an answer that does not tell whether a resync of `{bucket}` started",
                self.spec.alias
            ))),
        }
    }
}

/// What start and status answer; nothing when no resync was ever started.
#[derive(Deserialize)]
struct Jobs {
    #[serde(default)]
    target: Vec<ResyncStatus>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resync_status_is_read_from_its_beginning_to_its_end() {
        let started = r#"{"arn":"a","resetid":"drill-0001","startTime":"0001-01-01T00:00:00Z","endTime":"0001-01-01T00:00:00Z","completedReplicationSize":0,"failedReplicationSize":0,"failedReplicationCount":0,"replicationCount":0}"#;
        let status: ResyncStatus = serde_json::from_str(started).unwrap();
        assert_eq!((status.status.as_str(), status.running(), status.start_time.as_second() < 0), ("", false, true));
        let ended = r#"{"arn":"a","resetid":"drill-0001","startTime":"2026-11-23T19:01:53.293338119Z","endTime":"2026-11-23T19:01:54.147947681Z","resyncStatus":"Completed","completedReplicationSize":758463,"failedReplicationSize":0,"failedReplicationCount":0,"replicationCount":239,"bucket":"data","object":"o95.bin"}"#;
        let status: ResyncStatus = serde_json::from_str(ended).unwrap();
        assert_eq!((status.replicated_count, status.object.as_deref()), (239, Some("o95.bin")));
    }

    #[test]
    fn a_bucket_that_was_never_resynced_lists_nothing() {
        assert!(serde_json::from_str::<Jobs>("{}").unwrap().target.is_empty());
    }
}
