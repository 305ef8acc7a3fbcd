//! One version of an object, as a version listing tells of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One object version or delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: String,
    /// `null` for what was written before the bucket was versioned.
    pub version_id: String,
    pub kind: Kind,
    pub is_latest: bool,
    /// To the millisecond, as listings give it.
    pub last_modified: Timestamp,
    /// Without quotes; empty for a delete marker.
    pub etag: String,
    pub size: u64,
    /// Headers and tags, when the listing was asked for them.
    pub metadata: Option<Metadata>,
}

/// What a key's version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Object,
    DeleteMarker,
}

/// Headers and tags of a version (MinIO's `metadata=true`): names in lower case, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub headers: Vec<(String, String)>,
    /// Key and value of each tag, sorted.
    pub tags: Vec<(String, String)>,
}

impl Metadata {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}
