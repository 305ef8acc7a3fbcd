//! The list of checks, and what one of them says.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{bucket, capacity, connectivity, direction, encryption, facts::Facts, permissions, resync, rules};

/// What a check comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Pass,
    Warn,
    Fail,
    Unknown,
}

/// Whether `unknown` counts as not holding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Must,
    Should,
}

/// What one check says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) outcome: Outcome,
    pub(super) detail: String,
    pub(super) remedy: Option<String>,
    /// Instead of the severity of the list, where it depends on the facts.
    pub(super) severity: Option<Severity>,
    /// The check that has to hold before this one can.
    pub(super) because: Option<CheckId>,
}

impl Said {
    pub(super) fn because(self, id: CheckId) -> Self {
        Self { because: Some(id), ..self }
    }
}

/// A check's answer; `Err` is only the short way out when a fact that it needs is missing.
pub(super) type Answer = Result<Said, Said>;

pub(super) fn pass(detail: impl Into<String>) -> Said {
    Said { outcome: Outcome::Pass, detail: detail.into(), remedy: None, severity: None, because: None }
}
pub(super) fn warn(detail: impl Into<String>, remedy: impl Into<String>) -> Said {
    Said { outcome: Outcome::Warn, detail: detail.into(), remedy: Some(remedy.into()), severity: None, because: None }
}
pub(super) fn fail(detail: impl Into<String>, remedy: impl Into<String>) -> Said {
    Said { outcome: Outcome::Fail, detail: detail.into(), remedy: Some(remedy.into()), severity: None, because: None }
}
pub(super) fn unknown(detail: impl Into<String>, remedy: impl Into<String>) -> Said {
    Said {
        outcome: Outcome::Unknown,
        detail: detail.into(),
        remedy: Some(remedy.into()),
        severity: None,
        because: None,
    }
}

/// One line of the list.
pub(super) struct Entry {
    pub(super) id: CheckId,
    pub(super) severity: Severity,
    pub(super) check: fn(&Facts) -> Answer,
}

macro_rules! checks {
    ($($text:literal $id:ident $severity:ident $check:path;)*) => {
        /// The id of a check.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub(crate) enum CheckId { $(#[serde(rename = $text)] $id),* }

        impl CheckId {
            pub(crate) fn as_str(self) -> &'static str {
                match self { $(Self::$id => $text),* }
            }
        }

        /// Every check, in the order in which they are shown.
        pub(super) const ALL: &[Entry] =
            &[$(Entry { id: CheckId::$id, severity: Severity::$severity, check: $check }),*];
    };
}

checks! {
    "direction" Direction Must direction::direction;
    "site_online" SiteOnline Must connectivity::site_online;
    "source_healthy" SourceHealthy Should connectivity::source_healthy;
    "site_writable" SiteWritable Must connectivity::site_writable;
    "minio_server" MinioServer Must connectivity::minio_server;
    "versions_match" VersionsMatch Should connectivity::versions_match;
    "clock_skew" ClockSkew Should connectivity::clock_skew;
    "permissions" Permissions Must permissions::permissions;
    "replication_configured" ReplicationConfigured Must rules::replication_configured;
    "rule_enabled" RuleEnabled Must rules::rule_enabled;
    "existing_objects_enabled" ExistingObjectsEnabled Must rules::existing_objects_enabled;
    "delete_replication_enabled" DeleteReplicationEnabled Should rules::delete_replication_enabled;
    "rule_scope" RuleScope Should rules::rule_scope;
    "target_registered" TargetRegistered Must rules::target_registered;
    "target_online" TargetOnline Must connectivity::target_online;
    "target_credentials" TargetCredentials Must connectivity::target_credentials;
    "versioning_enabled" VersioningEnabled Must bucket::versioning_enabled;
    "excluded_prefixes" ExcludedPrefixes Should bucket::excluded_prefixes;
    "object_lock_matches" ObjectLockMatches Must bucket::object_lock_matches;
    "retention_matches" RetentionMatches Should bucket::retention_matches;
    "encryption_matches" EncryptionMatches Must encryption::encryption_matches;
    "sse_c" SseC Should encryption::sse_c;
    "null_versions" NullVersions Should bucket::null_versions;
    "tls" Tls Should encryption::tls;
    "no_resync_running" NoResyncRunning Must resync::no_resync_running;
    "lifecycle_safe" LifecycleSafe Should bucket::lifecycle_safe;
    "quota" Quota Should capacity::quota;
    "free_space" FreeSpace Should capacity::free_space;
    "bandwidth_limit" BandwidthLimit Should capacity::bandwidth_limit;
    "site_replication" SiteReplication Should resync::site_replication;
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
