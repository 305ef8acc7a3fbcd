//! Whole objects: written with a checksum that the server holds them against, and read back.

use std::{io::Write, path::Path, time::Duration};

use aws_sdk_s3::{
    config::timeout::TimeoutConfig,
    operation::get_object::GetObjectOutput,
    primitives::{ByteStream, Length},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::time::timeout;

use super::{Config, Wire, failed};
use crate::{failure::Failure, types::BucketName};

/// The slowest way to a site for which a large file is still given the time that it takes, bytes a second.
const SLOWEST: u64 = 128 << 10;

/// An object that was read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// 64 hex digits, of the bytes that came.
    pub sha256: String,
    pub bytes: u64,
    /// `None` in a bucket without versions.
    pub version_id: Option<String>,
    pub lock: Option<Lock>,
}

/// The retention of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    pub until: Timestamp,
}

impl Wire {
    /// Writes a file's first `bytes` bytes, whose SHA-256 (64 hex digits) the server checks; gives back the version id.
    /// Sent again when the server asks for fewer requests: the same bytes under the same key do no harm.
    pub(crate) async fn put_file(
        &self,
        bucket: &BucketName,
        key: &str,
        path: &Path,
        bytes: u64,
        sha256: &str,
    ) -> Result<Option<String>, Failure> {
        let what = format!("store `{bucket}/{key}`");
        let unreadable = |why: &dyn std::fmt::Display| Failure::refused(format!("{}: {why}", path.display()));
        let checksum = BASE64_STANDARD.encode(hex::decode(sha256).map_err(|e| unreadable(&e))?);
        let limit = self.request_timeout() + Duration::from_secs(bytes / SLOWEST);
        self.patient(|| async {
            let file = crate::secret::private().read(true).open(path).map_err(|e| unreadable(&e))?;
            let body = ByteStream::read_from().file(tokio::fs::File::from_std(file)).length(Length::Exact(bytes));
            let body = body.build().await.map_err(|e| unreadable(&e))?;
            let call = self.s3.0.put_object().bucket(bucket.as_str()).key(key).body(body);
            let call = call.checksum_sha256(&checksum).customize();
            let patience = TimeoutConfig::builder().operation_attempt_timeout(limit).build();
            let sent = call.config_override(Config::builder().timeout_config(patience)).send().await;
            sent.map(|stored| stored.version_id).map_err(|e| failed(self, &what, &e))
        })
        .await
    }

    /// Reads one version (the latest without an id) into `sink`. `None` when it is not there.
    pub(crate) async fn get_object(
        &self,
        bucket: &BucketName,
        key: &str,
        version_id: Option<&str>,
        sink: &mut (dyn Write + Send),
    ) -> Result<Option<Object>, Failure> {
        let what = format!("read `{bucket}/{key}`");
        let found = self
            .patient(|| async {
                let call = self.s3.0.get_object().bucket(bucket.as_str()).key(key);
                let call = call.set_version_id(version_id.map(str::to_owned)).customize();
                let call = call.mutate_request(|request| {
                    request.headers_mut().insert("x-minio-source-proxy-request", "false");
                });
                call.send().await.map_err(|e| failed(self, &what, &e))
            })
            .await;
        let mut found = match found {
            Err(failure) if failure.status() == Some(404) && failure.code() != Some("NoSuchBucket") => return Ok(None),
            found => found?,
        };
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        let limit = self.request_timeout();
        loop {
            let chunk = timeout(limit, found.body.next()).await;
            let chunk =
                chunk.map_err(|_| Failure::timed_out(format!("{what}: no more of it came within {limit:?}")))?;
            let Some(chunk) = chunk else { break };
            let chunk = chunk.map_err(|e| Failure::unreachable(format!("{what}: it broke off: {e}")))?;
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            sink.write_all(&chunk).map_err(|e| Failure::refused(format!("{what}: {e}")))?;
        }
        Ok(Some(Object {
            sha256: hex::encode(hash.finalize()),
            bytes,
            lock: lock_of(&found),
            version_id: found.version_id,
        }))
    }
}

fn lock_of(found: &GetObjectOutput) -> Option<Lock> {
    let mode = found.object_lock_mode.as_ref()?.as_str().to_owned();
    let until = Timestamp::from_second(found.object_lock_retain_until_date.as_ref()?.secs()).ok()?;
    Some(Lock { mode, until })
}
