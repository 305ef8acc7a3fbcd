//! What the versions of one key come to. Versions are matched by version id, as a set: their order may differ.

use std::collections::{HashMap, HashSet};

use super::{Class, Difference, KeyVersions, Rules, Tally};
use crate::version::{Metadata, Version};

/// What one key came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    pub tally: Tally,
    pub differences: Vec<Difference>,
}

/// Headers that rightly differ between a source and its replica, or say nothing about the content.
const OWN_HEADERS: [&str; 4] = [
    "x-amz-replication-status",
    "x-amz-storage-class",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
];

/// Compares the versions of one key.
pub fn classify(versions: &KeyVersions, rules: &Rules) -> Key {
    let mut key = Key::default();
    let outside = rules.scope.key(&versions.key).is_some();

    // A listing repeats versions when one was deleted between two pages, so the first of each id counts.
    let mut on_target: HashMap<&str, &Version> = HashMap::with_capacity(versions.target.len());
    for version in &versions.target {
        if !on_target.contains_key(version.version_id.as_str()) {
            on_target.insert(&version.version_id, version);
            key.tally.target.count(version);
        }
    }
    let mut seen = HashSet::with_capacity(versions.source.len());
    for source in &versions.source {
        if !seen.insert(source.version_id.as_str()) {
            continue;
        }
        key.tally.source.count(source);
        let target = on_target.remove(source.version_id.as_str());
        key.version(source, Some(source), target, outside, rules);
    }
    for target in &versions.target {
        if on_target.remove(target.version_id.as_str()).is_some() {
            key.version(target, None, Some(target), outside, rules);
        }
    }
    if !outside && key.tally.left_out == 0 {
        let latest = |side: &[Version]| side.iter().find(|v| v.is_latest).map(|v| v.version_id.clone());
        if let (Some(source), Some(target)) = (latest(&versions.source), latest(&versions.target)) {
            key.tally.latest_differs = u64::from(source != target);
        }
    }
    key
}

impl Key {
    /// `decides` says whether the pair belongs into the comparison: the source's version, or the target's when it has
    /// none. A target's version that is newer than the cutoff under an old id of the source is a difference.
    fn version(
        &mut self,
        decides: &Version,
        source: Option<&Version>,
        target: Option<&Version>,
        outside: bool,
        rules: &Rules,
    ) {
        let tally = &mut self.tally;
        if outside || rules.scope.version(decides).is_some() {
            tally.out_of_scope += 1;
            return;
        }
        if rules.before.is_some_and(|before| decides.last_modified > before) {
            tally.left_out += 1;
            return;
        }
        let (class, detail) = match (source, target) {
            (Some(source), Some(target)) => {
                if rules.metadata && (unreadable(source) || unreadable(target)) {
                    tally.metadata_unreadable += 1;
                }
                let differs = differs(source, target, rules.metadata);
                if differs.is_empty() {
                    tally.same += 1;
                    return;
                }
                tally.different += 1;
                (Class::Different, differs.join(", "))
            }
            (Some(source), None) => {
                tally.missing_bytes += source.size;
                match replication_status(source).filter(|_| rules.metadata) {
                    Some(status) if matches!(status, "PENDING" | "FAILED") => {
                        tally.pending += 1;
                        (Class::Pending, format!("the source says {status}"))
                    }
                    Some(status) => {
                        tally.missing += 1;
                        (Class::Missing, format!("not on the target, and the source says {status}"))
                    }
                    None => {
                        tally.missing += 1;
                        (Class::Missing, "not on the target".to_owned())
                    }
                }
            }
            (None, Some(_)) => {
                tally.extra += 1;
                (Class::Extra, "not on the source".to_owned())
            }
            (None, None) => return,
        };
        self.differences.push(Difference {
            class,
            key: decides.key.clone(),
            version_id: decides.version_id.clone(),
            detail,
            source: source.map(Into::into),
            target: target.map(Into::into),
        });
    }
}

fn replication_status(version: &Version) -> Option<&str> {
    version.metadata.as_ref()?.header("x-amz-replication-status")
}

/// Every object has a content type at least, so an object without any header is one that we may not look at.
fn unreadable(version: &Version) -> bool {
    match version.kind {
        crate::version::Kind::Object => version.metadata.as_ref().is_none_or(|metadata| metadata.headers.is_empty()),
        crate::version::Kind::DeleteMarker => false,
    }
}

fn differs(source: &Version, target: &Version, metadata: bool) -> Vec<String> {
    let mut differs = Vec::new();
    if source.kind != target.kind {
        differs.push("kind".to_owned());
    }
    if source.etag != target.etag {
        differs.push("etag".to_owned());
    }
    if source.size != target.size {
        differs.push("size".to_owned());
    }
    if source.last_modified.as_millisecond() != target.last_modified.as_millisecond() {
        differs.push("modification time".to_owned());
    }
    if metadata && let (Some(source), Some(target)) = (&source.metadata, &target.metadata) {
        if source.tags != target.tags {
            differs.push("tags".to_owned());
        }
        differs.extend(headers_that_differ(source, target));
    }
    differs
}

fn headers_that_differ(source: &Metadata, target: &Metadata) -> Vec<String> {
    let compared = |name: &str| !OWN_HEADERS.contains(&name) && !name.starts_with("x-minio-");
    let mut names: Vec<&str> = source
        .headers
        .iter()
        .chain(&target.headers)
        .map(|(name, _)| name.as_str())
        .filter(|name| compared(name) && source.header(name) != target.header(name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(|name| format!("metadata `{name}`")).collect()
}
