//! Remote targets of a bucket: where its versions go, with which credentials, and what was last asked of them.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::nanos;

#[derive(Clone, Debug)]
pub(super) struct Target {
    pub arn: String,
    pub endpoint: String,
    pub bucket: String,
    pub access_key: String,
    pub secret_key: String,
    pub bandwidth: u64,
    pub synchronous: bool,
    pub proxy_disabled: bool,
    /// Of the last reset that was asked for, also of a refused one.
    pub reset: Option<(String, Timestamp)>,
    /// The moment of its reset cannot be written down.
    pub unwritable: bool,
    /// False until the first traffic.
    pub online: bool,
    pub last_online: Option<Timestamp>,
    /// Nanoseconds: last, sum, most, and how many.
    pub latency: (u64, u64, u64, u64),
}

/// As `set-remote-target` brings it.
#[derive(Debug, Deserialize)]
pub(super) struct Given {
    #[serde(default)]
    pub arn: String,
    pub endpoint: String,
    #[serde(rename = "targetbucket")]
    pub bucket: String,
    pub credentials: Credentials,
    #[serde(default, rename = "bandwidthlimit")]
    pub bandwidth: u64,
    #[serde(default, rename = "replicationSync")]
    pub synchronous: bool,
    #[serde(default, rename = "disableProxy")]
    pub proxy_disabled: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Credentials {
    #[serde(rename = "accessKey")]
    pub access_key: String,
    #[serde(rename = "secretKey")]
    pub secret_key: String,
}

impl Target {
    pub(super) fn new(arn: String, given: Given) -> Self {
        Self {
            arn,
            endpoint: given.endpoint,
            bucket: given.bucket,
            access_key: given.credentials.access_key,
            secret_key: given.credentials.secret_key,
            bandwidth: given.bandwidth,
            synchronous: given.synchronous,
            proxy_disabled: given.proxy_disabled,
            reset: None,
            unwritable: false,
            online: false,
            last_online: None,
            latency: (0, 0, 0, 0),
        }
    }

    pub(super) fn answered(&mut self, at: Timestamp, took: u64) {
        let (_, sum, most, count) = self.latency;
        self.online = true;
        self.last_online = Some(at);
        self.latency = (took, sum.saturating_add(took), most.max(took), count.saturating_add(1));
    }

    /// As the list shows it: without the secret.
    pub(super) fn listed(&self, source: &str) -> Value {
        let (curr, sum, max, count) = self.latency;
        let mut listed = json!({
            "sourcebucket": source,
            "endpoint": self.endpoint,
            "credentials": { "accessKey": self.access_key, "expiration": nanos(None) },
            "targetbucket": self.bucket,
            "secure": false,
            "path": "auto",
            "api": "s3v4",
            "arn": self.arn,
            "type": "replication",
            "replicationSync": self.synchronous,
            "healthCheckDuration": 60_000_000_000_u64,
            "disableProxy": self.proxy_disabled,
            "resetBeforeDate": nanos(self.reset.as_ref().map(|(_, before)| *before)),
            "resetID": self.reset.as_ref().map(|(id, _)| id),
            "totalDowntime": 0,
            "lastOnline": nanos(self.last_online),
            "isOnline": self.online,
            "latency": { "curr": curr, "avg": sum / count.max(1), "max": max },
            "edge": false,
            "edgeSyncBeforeExpiry": false,
            "offlineCount": 0,
        });
        if self.bandwidth > 0 {
            listed["bandwidthlimit"] = self.bandwidth.into();
        }
        if let (None, Some(fields)) = (&self.reset, listed.as_object_mut()) {
            fields.shift_remove("resetID");
        }
        listed
    }
}
