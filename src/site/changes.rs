//! Every change that a step can make on a site: one list.

use std::future;

use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{
    Wire,
    minio::ResyncStatus,
    s3::{Encryption, Retention, Versioning},
};
use crate::{
    change::{Change, ChangeKind, Settled},
    failure::Failure,
    types::BucketName,
};

/// The registry: what an intent in a journal can name.
pub const ALL: &[ChangeKind] = &[
    ChangeKind::of::<CreateBucket>(),
    ChangeKind::of::<SetVersioning>(),
    ChangeKind::of::<SetRetention>(),
    ChangeKind::of::<SetEncryption>(),
    ChangeKind::of::<StartResync>(),
    ChangeKind::of::<Nudge>(),
];

/// Creates a bucket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CreateBucket {
    pub bucket: BucketName,
    pub object_lock: bool,
}

/// Sets a bucket's versioning document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetVersioning {
    pub bucket: BucketName,
    pub versioning: Versioning,
}

/// Sets or removes a bucket's default retention.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetRetention {
    pub bucket: BucketName,
    pub retention: Option<Retention>,
}

/// Sets or removes a bucket's default encryption.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SetEncryption {
    pub bucket: BucketName,
    pub encryption: Option<Encryption>,
}

/// Starts a resync of a bucket to one remote target.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StartResync {
    pub bucket: BucketName,
    pub arn: String,
    /// Our own, never used before.
    pub reset_id: String,
    /// Only versions older than this many whole days.
    pub older_than_days: Option<u32>,
    /// Reset id of the job that the status named just before; `None` when there was none.
    pub before: Option<String>,
}

/// The server's answer to a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResyncStarted {
    pub reset_id: String,
    /// By the server's clock (`Date` header).
    pub started_at: jiff::Timestamp,
}

/// Asks the source for each version once (HEAD), which queues it for replication again. At most 1,000 a change.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Nudge {
    pub bucket: BucketName,
    /// Key and version id.
    pub versions: Vec<(String, String)>,
}

/// HEAD requests under way at a time in a [`Nudge`].
const AT_A_TIME: usize = 8;

impl Change for CreateBucket {
    const NAME: &'static str = "CreateBucket";
    type Receipt = ();

    fn describe(&self) -> String {
        let Self { bucket, object_lock } = self;
        format!("create the bucket `{bucket}` {} object lock", if *object_lock { "with" } else { "without" })
    }

    async fn send(&self, site: &Wire) -> Result<(), Failure> {
        site.create_bucket(&self.bucket, self.object_lock).await
    }

    async fn settle(&self, site: &Wire) -> Result<Settled<()>, Failure> {
        if !site.bucket_exists(&self.bucket).await? {
            return Ok(Settled::NotDone);
        }
        let locked = site.object_lock(&self.bucket).await?.is_some();
        Ok(if locked == self.object_lock {
            Settled::Done(())
        } else {
            let how = if locked { "with" } else { "without" };
            Settled::CannotTell(format!("the bucket `{}` exists, but {how} object lock", self.bucket))
        })
    }
}

impl Change for SetVersioning {
    const NAME: &'static str = "SetVersioning";
    type Receipt = ();

    fn describe(&self) -> String {
        let Versioning { enabled, excluded_prefixes, exclude_folders } = &self.versioning;
        let mut line = format!("{} versioning of `{}`", if *enabled { "enable" } else { "suspend" }, self.bucket);
        if !excluded_prefixes.is_empty() {
            line.push_str(", but not for ");
            line.push_str(&quoted(excluded_prefixes));
        }
        if *exclude_folders {
            line.push_str(", nor for folders");
        }
        line
    }

    async fn send(&self, site: &Wire) -> Result<(), Failure> {
        site.set_versioning(&self.bucket, &self.versioning).await
    }

    async fn settle(&self, site: &Wire) -> Result<Settled<()>, Failure> {
        Ok(done_if(site.versioning(&self.bucket).await? == self.versioning))
    }
}

impl Change for SetRetention {
    const NAME: &'static str = "SetRetention";
    type Receipt = ();

    fn describe(&self) -> String {
        let bucket = &self.bucket;
        let Some(Retention { mode, days, years }) = &self.retention else {
            return format!("remove the default retention of `{bucket}`");
        };
        let period = match (days, years) {
            (Some(days), _) => format!("{days} days"),
            (None, Some(years)) => format!("{years} years"),
            (None, None) => "no period".into(),
        };
        format!("set the default retention of `{bucket}` to {mode}, {period}")
    }

    async fn send(&self, site: &Wire) -> Result<(), Failure> {
        site.set_retention(&self.bucket, self.retention.as_ref()).await
    }

    async fn settle(&self, site: &Wire) -> Result<Settled<()>, Failure> {
        let now = site.object_lock(&self.bucket).await?.and_then(|lock| lock.default);
        Ok(done_if(now == self.retention))
    }
}

impl Change for SetEncryption {
    const NAME: &'static str = "SetEncryption";
    type Receipt = ();

    fn describe(&self) -> String {
        let bucket = &self.bucket;
        match &self.encryption {
            None => format!("remove the default encryption of `{bucket}`"),
            Some(Encryption { algorithm, kms_key: None }) => {
                format!("set the default encryption of `{bucket}` to {algorithm}")
            }
            Some(Encryption { algorithm, kms_key: Some(key) }) => {
                format!("set the default encryption of `{bucket}` to {algorithm} with the key `{key}`")
            }
        }
    }

    async fn send(&self, site: &Wire) -> Result<(), Failure> {
        site.set_encryption(&self.bucket, self.encryption.as_ref()).await
    }

    async fn settle(&self, site: &Wire) -> Result<Settled<()>, Failure> {
        Ok(done_if(site.encryption(&self.bucket).await? == self.encryption))
    }
}

impl Change for StartResync {
    const NAME: &'static str = "StartResync";
    const NEEDS_PROOF: bool = true;
    type Receipt = ResyncStarted;

    fn describe(&self) -> String {
        let Self { bucket, arn, reset_id, older_than_days, before: _ } = self;
        let line = format!("start a resync of `{bucket}` to {arn} with reset id {reset_id}");
        match older_than_days {
            Some(days) => format!("{line}, only versions older than {days} days"),
            None => line,
        }
    }

    async fn send(&self, site: &Wire) -> Result<ResyncStarted, Failure> {
        let answer = site.start_resync(self).await?;
        Ok(ResyncStarted { reset_id: self.reset_id.clone(), started_at: answer })
    }

    async fn settle(&self, site: &Wire) -> Result<Settled<ResyncStarted>, Failure> {
        let jobs = site.resync_status(&self.bucket, Some(&self.arn)).await?;
        Ok(self.became(jobs.into_iter().find(|job| job.arn == self.arn)))
    }
}

impl StartResync {
    /// What became of the start, when the server lists this job (or none) for the ARN.
    fn became(&self, listed: Option<ResyncStatus>) -> Settled<ResyncStarted> {
        match (listed, &self.before) {
            (Some(job), _) if job.reset_id == self.reset_id => {
                Settled::Done(ResyncStarted { reset_id: job.reset_id, started_at: job.start_time })
            }
            (Some(job), Some(before)) if job.reset_id == *before => Settled::NotDone,
            (None, None) => Settled::NotDone,
            (Some(job), _) => Settled::CannotTell(format!(
                "the server lists another resync of `{}`, {}: if ours began, it was replaced",
                self.bucket, job.reset_id
            )),
            (None, Some(before)) => Settled::CannotTell(format!(
                "the server lists no resync of `{}` any more, not even {before}, the one before",
                self.bucket
            )),
        }
    }
}

impl Change for Nudge {
    const NAME: &'static str = "Nudge";
    type Receipt = ();

    fn describe(&self) -> String {
        let Self { bucket, versions } = self;
        let noun = if versions.len() == 1 { "version" } else { "versions" };
        format!("ask for {} {noun} of `{bucket}` once, which queues them for replication again", versions.len())
    }

    async fn send(&self, site: &Wire) -> Result<(), Failure> {
        // What is gone by now, or a delete marker, is an answer too.
        let asks: Vec<_> = self.versions.iter().map(|(key, id)| site.head(&self.bucket, key, Some(id))).collect();
        stream::iter(asks).buffer_unordered(AT_A_TIME).try_for_each(|_| future::ready(Ok(()))).await
    }

    /// Asking twice does no harm.
    async fn settle(&self, _: &Wire) -> Result<Settled<()>, Failure> {
        Ok(Settled::NotDone)
    }
}

fn done_if(done: bool) -> Settled<()> {
    if done { Settled::Done(()) } else { Settled::NotDone }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn bucket() -> BucketName {
        BucketName::try_from("invoices".to_owned()).unwrap()
    }

    fn start(before: Option<&str>) -> StartResync {
        StartResync {
            bucket: bucket(),
            arn: "arn:minio:replication::1:invoices".into(),
            reset_id: "ours".into(),
            older_than_days: Some(2),
            before: before.map(str::to_owned),
        }
    }

    fn job(reset_id: &str) -> ResyncStatus {
        ResyncStatus {
            arn: "arn:minio:replication::1:invoices".into(),
            reset_id: reset_id.into(),
            start_time: Timestamp::UNIX_EPOCH,
            end_time: Timestamp::UNIX_EPOCH,
            status: "Ongoing".into(),
            replicated_bytes: 0,
            replicated_count: 0,
            failed_count: 0,
            object: None,
        }
    }

    #[test]
    fn a_start_is_settled_by_the_job_that_the_server_lists() {
        let done = ResyncStarted { reset_id: "ours".into(), started_at: Timestamp::UNIX_EPOCH };
        for before in [None, Some("theirs")] {
            assert_eq!(start(before).became(Some(job("ours"))), Settled::Done(done.clone()));
            assert!(matches!(start(before).became(Some(job("other"))), Settled::CannotTell(_)));
        }
        assert_eq!(start(None).became(None), Settled::NotDone);
        assert_eq!(start(Some("theirs")).became(Some(job("theirs"))), Settled::NotDone);
        assert!(matches!(start(Some("theirs")).became(None), Settled::CannotTell(_)));
    }

    #[test]
    fn each_change_says_its_values() {
        let says = [
            CreateBucket { bucket: bucket(), object_lock: true }.describe(),
            SetVersioning {
                bucket: bucket(),
                versioning: Versioning {
                    enabled: true,
                    excluded_prefixes: vec!["tmp/".into(), "cache/".into()],
                    exclude_folders: true,
                },
            }
            .describe(),
            SetRetention {
                bucket: bucket(),
                retention: Some(Retention { mode: "GOVERNANCE".into(), days: Some(30), years: None }),
            }
            .describe(),
            SetEncryption {
                bucket: bucket(),
                encryption: Some(Encryption { algorithm: "aws:kms".into(), kms_key: Some("k".into()) }),
            }
            .describe(),
            start(None).describe(),
            Nudge { bucket: bucket(), versions: vec![("a".into(), "1".into())] }.describe(),
        ];
        assert_eq!(
            says,
            [
                "create the bucket `invoices` with object lock",
                "enable versioning of `invoices`, but not for `tmp/`, `cache/`, nor for folders",
                "set the default retention of `invoices` to GOVERNANCE, 30 days",
                "set the default encryption of `invoices` to aws:kms with the key `k`",
                "start a resync of `invoices` to arn:minio:replication::1:invoices with reset id ours, only versions \
                 older than 2 days",
                "ask for 1 version of `invoices` once, which queues them for replication again",
            ]
        );
    }

    #[test]
    fn the_names_in_a_journal_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|k| k.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
