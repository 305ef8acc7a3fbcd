//! Starting one resync, and nothing twice.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Rounds, key};
use crate::{
    failure::Failure,
    site::{
        changes::{ResyncStarted, StartResync},
        minio::ResyncStatus,
    },
    steps::{
        resync_monitor::patiently,
        resync_start::{Running, ids, in_the_way, last_id, reset_id},
        versions_compare::clock,
    },
};

/// The pause before a start is sent again that the source refused.
const AGAIN: Duration = Duration::from_secs(15);
/// The source's refusal when it does not reach the target. It may pass.
const TARGET_UNREACHABLE: &str = "XMinioAdminReplicationRemoteConnectionError";

/// What became of a start.
pub(super) enum Start {
    Started(ResyncStarted),
    /// Something runs that is in the way.
    Blocked(Box<Running>),
    /// Refused because the target cannot be reached, for as long as we were patient.
    Refused(Failure),
    OutOfTime,
}

impl Rounds<'_> {
    /// Starts a resync with a reset id of its own, unless something runs. A start that is remembered from before a
    /// resume is given back and not sent again.
    pub(super) async fn start(&self, number: u32) -> Result<Start, Failure> {
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

    pub(super) async fn jobs(&self) -> Result<Vec<ResyncStatus>, Failure> {
        patiently(self.params.patience.0, || self.source.resync_status(&self.params.bucket, None)).await
    }
}
