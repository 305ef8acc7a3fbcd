//! Every change that a step can make on a site: one list.

use serde::{Deserialize, Serialize};

use super::{
    Wire,
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
    /// Only versions older than this many days.
    pub older_than_days: Option<u32>,
    /// Reset id of the job that the status named just before; `None` when there was none.
    pub before: Option<String>,
}

/// The server's answer to a start.
#[derive(Clone, Debug, Serialize, Deserialize)]
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

macro_rules! later {
    ($($name:ident => $receipt:ty),*) => {$(
        impl Change for $name {
            const NAME: &'static str = stringify!($name);
            type Receipt = $receipt;
            fn describe(&self) -> String { todo!() }
            async fn send(&self, _: &Wire) -> Result<$receipt, Failure> { todo!() }
            async fn settle(&self, _: &Wire) -> Result<Settled<$receipt>, Failure> { todo!() }
        }
    )*};
}
later!(CreateBucket => (), SetVersioning => (), SetRetention => (), SetEncryption => (), StartResync => ResyncStarted, Nudge => ());
