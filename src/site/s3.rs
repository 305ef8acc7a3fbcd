//! S3 calls, through aws-sdk-s3; and the bucket documents that it would drop fields of, read and written raw.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Site;
use crate::{failure::Failure, step::Access, types::BucketName};

/// What a HEAD tells of one version.
#[derive(Clone, Debug)]
pub struct Head {
    pub delete_marker: bool,
    pub etag: String,
    pub size: u64,
    /// To the second.
    pub last_modified: Option<Timestamp>,
    pub version_id: Option<String>,
    /// `COMPLETED`, `PENDING`, `FAILED` on a source, `REPLICA` on a target.
    pub replication_status: Option<String>,
    /// `AES256` or `aws:kms`.
    pub sse: Option<String>,
    pub kms_key: Option<String>,
    /// Encrypted with a key of the customer.
    pub sse_c: bool,
    pub content_type: Option<String>,
    pub user_metadata: BTreeMap<String, String>,
}

/// A bucket's versioning document, with MinIO's own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Versioning {
    pub enabled: bool,
    pub excluded_prefixes: Vec<String>,
    pub exclude_folders: bool,
}

/// A bucket's object lock configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectLock {
    pub default: Option<Retention>,
}

/// Default retention of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    pub days: Option<u32>,
    pub years: Option<u32>,
}

/// Default encryption of a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Encryption {
    /// `AES256` or `aws:kms`.
    pub algorithm: String,
    pub kms_key: Option<String>,
}

/// A bucket's replication configuration, with MinIO's own fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    /// Old configurations name the ARN here and not in each rule.
    pub role: String,
    pub rules: Vec<Rule>,
}

/// One replication rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rule {
    pub id: String,
    pub enabled: bool,
    pub priority: i64,
    /// Only keys with this prefix; empty: all.
    pub prefix: String,
    /// Only objects with all of these tags.
    pub tags: Vec<(String, String)>,
    /// The remote target.
    pub arn: String,
    pub delete_markers: bool,
    /// Also existing delete markers on a resync, and purges.
    pub deletes: bool,
    pub existing_objects: bool,
    pub replica_modifications: bool,
}

/// A lifecycle rule, as far as it removes something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    pub id: String,
    pub enabled: bool,
    pub prefix: String,
    /// What it removes, one phrase each, e.g. `current versions after 30 days`.
    pub removes: Vec<String>,
}

impl<A: Access> Site<A> {
    pub async fn bucket_exists(&self, _bucket: &BucketName) -> Result<bool, Failure> {
        todo!()
    }
    /// `None` when the bucket exists and has no such document; the same for those below.
    pub async fn versioning(&self, _bucket: &BucketName) -> Result<Versioning, Failure> {
        todo!()
    }
    pub async fn object_lock(&self, _bucket: &BucketName) -> Result<Option<ObjectLock>, Failure> {
        todo!()
    }
    pub async fn encryption(&self, _bucket: &BucketName) -> Result<Option<Encryption>, Failure> {
        todo!()
    }
    pub async fn replication(&self, _bucket: &BucketName) -> Result<Option<Replication>, Failure> {
        todo!()
    }
    pub async fn lifecycle(&self, _bucket: &BucketName) -> Result<Vec<LifecycleRule>, Failure> {
        todo!()
    }
    /// HEAD of one version (of the latest without an id), never answered by another site in this one's place
    /// (`X-Minio-Source-Proxy-Request: false`). `None` when it is not there.
    pub async fn head(
        &self,
        _bucket: &BucketName,
        _key: &str,
        _version_id: Option<&str>,
    ) -> Result<Option<Head>, Failure> {
        todo!()
    }
}
