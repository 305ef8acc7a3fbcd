//! What a version comes to: the same on both sites, one of the classes of differences, or left out.

use super::{Class, Difference, Rules, Tally};
use crate::version::{Entry, Kind, Metadata};

/// Headers that rightly differ between a source and its replica, or say nothing about the content.
const OWN_HEADERS: [&str; 4] = [
    "x-amz-replication-status",
    "x-amz-storage-class",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-context",
];

/// Counts a version that the source has, the target, or both, and says what is wrong with it. The source's version
/// says whether it belongs into the comparison, or the target's when the source has none: a target's version that is
/// newer than the cutoff under an old id of the source is a difference.
pub(super) fn classify(
    source: Option<&Entry<'_>>,
    target: Option<&Entry<'_>>,
    outside: bool,
    rules: &Rules,
    tally: &mut Tally,
) -> Option<Difference> {
    let decides = source.or(target)?;
    if outside || rules.scope.version(decides).is_some() {
        tally.out_of_scope += 1;
        return None;
    }
    if rules.before.is_some_and(|before| decides.last_modified() > before) {
        tally.left_out += 1;
        return None;
    }
    let (class, detail) = match (source, target) {
        (Some(source), Some(target)) => {
            if rules.metadata && (unreadable(source) || unreadable(target)) {
                tally.metadata_unreadable += 1;
            }
            let differs = differs(source, target, rules.metadata);
            if differs.is_empty() {
                tally.same += 1;
                return None;
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
        (None, None) => return None,
    };
    Some(Difference {
        class,
        key: decides.key.to_owned(),
        version_id: decides.version_id.to_string(),
        detail,
        source: source.map(Into::into),
        target: target.map(Into::into),
    })
}

fn replication_status<'p>(version: &Entry<'p>) -> Option<&'p str> {
    version.metadata?.header("x-amz-replication-status")
}

/// Every object has a content type at least, so an object without any header is one that we may not look at.
fn unreadable(version: &Entry<'_>) -> bool {
    match version.kind {
        Kind::Object => version.metadata.is_none_or(|metadata| metadata.headers.is_empty()),
        Kind::DeleteMarker => false,
    }
}

fn differs(source: &Entry<'_>, target: &Entry<'_>, metadata: bool) -> Vec<String> {
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
    if source.modified_ms != target.modified_ms {
        differs.push("modification time".to_owned());
    }
    if metadata && let (Some(source), Some(target)) = (source.metadata, target.metadata) {
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
