//! S3 calls, through aws-sdk-s3; and the bucket documents that it would drop fields of, read and written raw.

pub mod objects;

use std::{collections::BTreeMap, sync::Arc};

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_s3::{
    Client, Config,
    config::{
        AppName, BehaviorVersion, IdentityCache, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
    },
    operation::head_object::HeadObjectOutput,
    types::{
        DefaultRetention, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockRule, ServerSideEncryptionByDefault,
        ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    },
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::{Timestamp, fmt::rfc2822};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Site, SiteSpec, Wire,
    credentials::{Keyring, Provider},
    listing::Listing,
    net::Net,
};
use crate::{
    failure::{Class, Failure},
    step::Access,
    types::BucketName,
};

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
    /// `PENDING` or `FAILED`: deleted here for good, and not yet so on a target.
    pub purge: Option<String>,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the document")]
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

/// A lifecycle rule, as far as it removes or moves something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LifecycleRule {
    pub id: String,
    pub enabled: bool,
    pub prefix: String,
    /// Only objects with all of these tags.
    pub tags: Vec<(String, String)>,
    /// What it removes, one phrase each, e.g. `current versions after 30 days`.
    pub removes: Vec<String>,
    /// What it moves to another storage class, one phrase each; nothing is lost by it.
    pub moves: Vec<String>,
}

impl<A: Access> Site<A> {
    pub async fn bucket_exists(&self, bucket: &BucketName) -> Result<bool, Failure> {
        self.wire.bucket_exists(bucket).await
    }
    /// Whether a bucket holds nothing, not even a delete marker.
    pub async fn is_empty(&self, bucket: &BucketName) -> Result<bool, Failure> {
        let listing = Listing { page_size: Some(1), ..Listing::default() };
        Ok(self.versions(bucket, listing).next().await?.is_none())
    }
    /// Refused with the code `NoSuchBucket` when there is no such bucket; the same for those below.
    pub async fn versioning(&self, bucket: &BucketName) -> Result<Versioning, Failure> {
        self.wire.versioning(bucket).await
    }
    /// `None` when the bucket exists and has no such document; the same for those below.
    pub async fn object_lock(&self, bucket: &BucketName) -> Result<Option<ObjectLock>, Failure> {
        self.wire.object_lock(bucket).await
    }
    pub async fn encryption(&self, bucket: &BucketName) -> Result<Option<Encryption>, Failure> {
        self.wire.encryption(bucket).await
    }
    pub async fn replication(&self, bucket: &BucketName) -> Result<Option<Replication>, Failure> {
        self.wire.replication(bucket).await
    }
    /// Empty when the bucket has no lifecycle document.
    pub async fn lifecycle(&self, bucket: &BucketName) -> Result<Vec<LifecycleRule>, Failure> {
        self.wire.lifecycle(bucket).await
    }
    /// HEAD of one version (of the latest without an id), never answered by another site in this one's place
    /// (`X-Minio-Source-Proxy-Request: false`). `None` when it is not there; also, without an id, when the latest
    /// is a delete marker.
    pub async fn head(
        &self,
        bucket: &BucketName,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<Head>, Failure> {
        self.wire.head(bucket, key, version_id).await
    }
}

/// The SDK's client, set up for MinIO: no retries of its own, no checksums that were not asked for.
pub(crate) struct Sdk(Client);

impl Sdk {
    pub(crate) fn new(spec: &SiteSpec, net: Net, keys: Arc<Keyring>) -> Self {
        let endpoint = spec.endpoint.to_string();
        let mut config = Config::builder();
        // The server's audit log names it, as our own requests do.
        config.set_app_name(AppName::new("firedrill").ok());
        let config = config
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(endpoint.trim_end_matches('/'))
            .region(Region::new(spec.region.clone()))
            .force_path_style(spec.path_style)
            .credentials_provider(SharedCredentialsProvider::new(Provider(keys)))
            .identity_cache(IdentityCache::no_cache())
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(spec.request_timeout).build())
            .http_client(net)
            .build();
        Self(Client::from_conf(config))
    }
}

/// The SDK's failure, as ours.
fn failed<E>(wire: &Wire, what: &str, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    wire.asked(what).sdk(error, wire.request_timeout())
}

/// A failure of a HEAD, whose answer has no body that could say `SlowDown`: a 503 without a code is one.
fn bodiless(failure: Failure) -> Failure {
    match failure {
        Failure::Call { what, code: None, status: Some(503), .. } => {
            Failure::Call { class: Class::Throttled, what, code: None, status: Some(503) }
        }
        other => other,
    }
}

/// `None` in place of a refusal with this code.
fn none_if<T>(result: Result<T, Failure>, code: &str) -> Result<Option<T>, Failure> {
    match result {
        Err(failure) if failure.code() == Some(code) => Ok(None),
        other => other.map(Some),
    }
}

impl Wire {
    pub(crate) async fn bucket_exists(&self, bucket: &BucketName) -> Result<bool, Failure> {
        let what = format!("tell whether the bucket `{bucket}` exists");
        let asked = self.patient(|| async {
            self.s3.0.head_bucket().bucket(bucket.as_str()).send().await.map_err(|e| bodiless(failed(self, &what, &e)))
        });
        match asked.await {
            Ok(_) => Ok(true),
            Err(failure) if failure.status() == Some(404) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn object_lock(&self, bucket: &BucketName) -> Result<Option<ObjectLock>, Failure> {
        let what = format!("tell the object lock of `{bucket}`");
        let asked = self.patient(|| async {
            let call = self.s3.0.get_object_lock_configuration().bucket(bucket.as_str());
            call.send().await.map_err(|e| failed(self, &what, &e))
        });
        let found = none_if(asked.await, "ObjectLockConfigurationNotFoundError")?;
        let Some(document) = found.and_then(|f| f.object_lock_configuration) else {
            // The server says so of a bucket that does not exist, too.
            let exists = self.bucket_exists(bucket).await?;
            return if exists { Ok(None) } else { Err(self.asked(&what).no_such_bucket()) };
        };
        let default = document.rule.and_then(|r| r.default_retention).and_then(|retention| {
            Some(Retention {
                mode: retention.mode?.as_str().to_owned(),
                days: retention.days.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
                years: retention.years.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0),
            })
        });
        Ok(Some(ObjectLock { default }))
    }

    pub(crate) async fn encryption(&self, bucket: &BucketName) -> Result<Option<Encryption>, Failure> {
        let what = format!("tell the default encryption of `{bucket}`");
        let asked = self.patient(|| async {
            let call = self.s3.0.get_bucket_encryption().bucket(bucket.as_str());
            call.send().await.map_err(|e| failed(self, &what, &e))
        });
        let found = none_if(asked.await, "ServerSideEncryptionConfigurationNotFoundError")?;
        let rules = found.and_then(|f| f.server_side_encryption_configuration).map(|c| c.rules).unwrap_or_default();
        let default = rules.into_iter().find_map(|r| r.apply_server_side_encryption_by_default);
        Ok(default.map(|d| Encryption {
            algorithm: d.sse_algorithm.as_str().to_owned(),
            kms_key: d.kms_master_key_id.filter(|k| !k.is_empty()).map(|k| key_name(&k)),
        }))
    }

    pub(crate) async fn head(
        &self,
        bucket: &BucketName,
        key: &str,
        version_id: Option<&str>,
    ) -> Result<Option<Head>, Failure> {
        let what = match version_id {
            Some(id) => format!("tell of version {id} of `{bucket}/{key}`"),
            None => format!("tell of `{bucket}/{key}`"),
        };
        self.patient(|| async {
            let call = self.s3.0.head_object().bucket(bucket.as_str()).key(key);
            let call = call.set_version_id(version_id.map(str::to_owned)).customize();
            let call = call.mutate_request(|request| {
                request.headers_mut().insert("x-minio-source-proxy-request", "false");
            });
            match call.send().await {
                Ok(found) => Ok(Some(head_of(found))),
                Err(e) => match e.raw_response().and_then(|raw| gone(raw, version_id)) {
                    Some(marker) => Ok(Some(marker)),
                    None => absent(bodiless(failed(self, &what, &e))),
                },
            }
        })
        .await
    }

    pub(crate) async fn create_bucket(&self, bucket: &BucketName, object_lock: bool) -> Result<(), Failure> {
        let what = format!("create the bucket `{bucket}`");
        self.fresh(|| async {
            let call = self.s3.0.create_bucket().bucket(bucket.as_str());
            let call = if object_lock { call.object_lock_enabled_for_bucket(true) } else { call };
            call.send().await.map(drop).map_err(|e| failed(self, &what, &e))
        })
        .await
    }

    pub(crate) async fn set_retention(
        &self,
        bucket: &BucketName,
        retention: Option<&Retention>,
    ) -> Result<(), Failure> {
        let what = format!("set the default retention of `{bucket}`");
        let rule = retention.map(|r| {
            let default = DefaultRetention::builder()
                .mode(r.mode.as_str().into())
                .set_days(r.days.map(|n| i32::try_from(n).unwrap_or(i32::MAX)))
                .set_years(r.years.map(|n| i32::try_from(n).unwrap_or(i32::MAX)));
            ObjectLockRule::builder().default_retention(default.build()).build()
        });
        let document =
            ObjectLockConfiguration::builder().object_lock_enabled(ObjectLockEnabled::Enabled).set_rule(rule).build();
        self.fresh(|| async {
            let call = self.s3.0.put_object_lock_configuration().bucket(bucket.as_str());
            let call = call.object_lock_configuration(document.clone());
            call.send().await.map(drop).map_err(|e| failed(self, &what, &e))
        })
        .await
    }

    pub(crate) async fn set_encryption(
        &self,
        bucket: &BucketName,
        encryption: Option<&Encryption>,
    ) -> Result<(), Failure> {
        let what = format!("set the default encryption of `{bucket}`");
        let Some(encryption) = encryption else {
            return self
                .fresh(|| async {
                    let call = self.s3.0.delete_bucket_encryption().bucket(bucket.as_str());
                    call.send().await.map(drop).map_err(|e| failed(self, &what, &e))
                })
                .await;
        };
        let default = ServerSideEncryptionByDefault::builder()
            .sse_algorithm(encryption.algorithm.as_str().into())
            .set_kms_master_key_id(encryption.kms_key.clone())
            .build()
            .map_err(|e| self.asked(&what).not_sendable(&e.to_string()))?;
        let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
        let document = ServerSideEncryptionConfiguration::builder()
            .rules(rule)
            .build()
            .map_err(|e| self.asked(&what).not_sendable(&e.to_string()))?;
        self.fresh(|| async {
            let call = self.s3.0.put_bucket_encryption().bucket(bucket.as_str());
            let call = call.server_side_encryption_configuration(document.clone());
            call.send().await.map(drop).map_err(|e| failed(self, &what, &e))
        })
        .await
    }
}

fn head_of(found: HeadObjectOutput) -> Head {
    let last_modified = found.last_modified.and_then(|at| Timestamp::from_second(at.secs()).ok());
    Head {
        delete_marker: found.delete_marker.unwrap_or(false),
        etag: found.e_tag.unwrap_or_default().trim_matches('"').to_owned(),
        size: found.content_length.and_then(|n| u64::try_from(n).ok()).unwrap_or(0),
        last_modified,
        version_id: found.version_id,
        replication_status: found.replication_status.map(|s| s.as_str().to_owned()),
        purge: None,
        sse: found.server_side_encryption.map(|s| s.as_str().to_owned()),
        kms_key: found.ssekms_key_id.map(|k| key_name(&k)),
        sse_c: found.sse_customer_algorithm.is_some(),
        content_type: found.content_type,
        user_metadata: found.metadata.unwrap_or_default().into_iter().collect(),
    }
}

/// HEAD of a delete marker, or of a version that waits to be purged, answers 405.
fn gone(raw: &HttpResponse, version_id: Option<&str>) -> Option<Head> {
    let header = |name: &str| raw.headers().get(name).map(str::to_owned);
    let purge = header("x-minio-replication-delete-status").filter(|s| !s.is_empty());
    let delete_marker = header("x-amz-delete-marker").is_some_and(|v| v == "true");
    if raw.status().as_u16() != 405 || !(delete_marker || purge.is_some()) {
        return None;
    }
    let modified = header("last-modified").and_then(|d| rfc2822::DateTimeParser::new().parse_timestamp(d).ok());
    Some(Head {
        delete_marker,
        etag: String::new(),
        size: 0,
        last_modified: modified,
        version_id: header("x-amz-version-id").or_else(|| version_id.map(str::to_owned)),
        replication_status: header("x-minio-replication-deletemarker-status"),
        purge,
        sse: None,
        kms_key: None,
        sse_c: false,
        content_type: None,
        user_metadata: BTreeMap::new(),
    })
}

/// A key or a version that is not there is an answer; a bucket that is not there is none.
fn absent(failure: Failure) -> Result<Option<Head>, Failure> {
    match (failure.status(), failure.code()) {
        (Some(404), Some("NoSuchBucket")) => Err(failure),
        (Some(404), _) => Ok(None),
        _ => Err(failure),
    }
}

/// A KMS key's name; responses put `arn:aws:kms:` before it.
fn key_name(key: &str) -> String {
    key.strip_prefix("arn:aws:kms:").unwrap_or(key).to_owned()
}
