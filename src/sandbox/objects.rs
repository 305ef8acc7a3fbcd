//! Objects: written, read, deleted; also by another site's replication.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use md5::{Digest, Md5};

use super::{
    attributes::{encrypt, retain},
    rules::Reason,
    site::{Cause, Site},
    store::Version,
    wire::{Answer, Ask, DECLARATION, NAMESPACE, Refused, Reply, http_date, millis},
};

/// Headers that belong to an object, besides `x-amz-meta-…` and `x-amz-checksum-…`.
const KEPT: [&str; 13] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

pub(super) fn put(site: &Site, ask: &Ask) -> Answer {
    if let Some(from) = ask.header("x-amz-copy-source") {
        return copy(site, ask, from);
    }
    let body = ask.body.clone();
    let digest = Md5::digest(&body);
    if ask.header("content-md5").is_some_and(|given| given != BASE64_STANDARD.encode(digest)) {
        let message = "The Content-Md5 you specified did not match what we received.";
        return Err(Refused::new(400, "BadDigest", message));
    }
    may_replace(site, ask)?;
    let etag =
        ask.header("x-minio-source-etag").map_or_else(|| hex::encode(digest), |e| e.trim_matches('"').to_owned());
    let mut version = Version::object(String::new(), site.now(), body, etag);
    version.headers = kept(&ask.headers);
    version.tags = query_pairs(ask.header("x-amz-tagging").unwrap_or_default());
    store(site, ask, version)
}

/// What a writer asked of the version that is there.
fn may_replace(site: &Site, ask: &Ask) -> Result<(), Refused> {
    let Some(unwanted) = ask.header("if-none-match") else { return Ok(()) };
    let store = site.store();
    match store.bucket(&ask.bucket)?.find(&ask.key, None) {
        Ok(there) if !there.marker && (unwanted == "*" || unwanted.trim_matches('"') == there.etag) => {
            let Refused { headers, .. } = precondition_failed(&there);
            let headers = headers.into_iter().filter(|(name, _)| matches!(*name, "etag" | "last-modified")).collect();
            Err(Refused { headers, ..precondition_failed(&there) })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn precondition_failed(there: &Version) -> Refused {
    let message = "At least one of the pre-conditions you specified did not hold";
    let described = described_by(there).into_iter();
    described.fold(Refused::new(412, "PreconditionFailed", message), |refused, (name, value)| refused.with(name, value))
}

/// Puts a finished version into its place, as new or as a replica, and queues it for replication.
pub(super) fn store(site: &Site, ask: &Ask, mut version: Version) -> Answer {
    site.may_write(ask)?;
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    if bucket.quota > 0 && bucket.keys.totals().bytes + version.body.len() as u64 > bucket.quota {
        return Err(Refused::new(400, "XMinioAdminBucketQuotaExceeded", "Bucket quota exceeded"));
    }
    encrypt(site, bucket, &mut version, !ask.is_replica())?;
    if ask.is_replica() {
        as_replica(ask, &mut version)?;
        let there = bucket.find(&ask.key, Some(&version.id)).ok();
        if version.id != "null"
            && there
                .is_some_and(|v| v.etag == version.etag && v.modified == version.modified && same_headers(&v, &version))
        {
            return Err(Refused::new(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions you specified did not hold",
            ));
        }
    } else {
        version.id = bucket.new_id(&ask.key);
        retain(site, bucket, &mut version);
    }
    let checksums = version.headers.iter().filter(|(name, _)| name.starts_with("x-amz-checksum-"));
    let reply = checksums.fold(described(Reply::ok(), &version), |reply, (name, value)| reply.with(name, value));
    let reply = reply.with("etag", format!("\"{}\"", version.etag));
    let id = version.id.clone();
    let arns = if bucket.versioned(&ask.key) {
        bucket.rules().targets(&ask.key, &version, Reason::Written)
    } else {
        Vec::new()
    };
    version.replication = arns.iter().map(|arn| (arn.clone(), "PENDING")).collect();
    bucket.insert(&ask.key, version);
    drop(store);
    site.queue(&ask.bucket, &ask.key, &id, &arns, Cause::Written);
    Ok(reply)
}

fn copy(site: &Site, ask: &Ask, from: &str) -> Answer {
    let path = from.split('?').next().unwrap_or_default();
    let id = from.split_once("?versionId=").map(|(_, id)| id);
    let origin = Ask::new(ask.method.clone(), path, "", HeaderMap::new(), Bytes::new())?;
    let mut version = site.store().bucket(&origin.bucket)?.find(&origin.key, id)?.into_owned();
    if version.marker {
        return Err(Refused::no_key());
    }
    if ask.header("x-amz-metadata-directive") == Some("REPLACE") {
        version.headers = kept(&ask.headers);
    }
    if ask.header("x-amz-tagging-directive") == Some("REPLACE") {
        version.tags = query_pairs(ask.header("x-amz-tagging").unwrap_or_default());
    }
    let fresh = Version::object(String::new(), site.now(), version.body, version.etag);
    let version = Version { headers: version.headers, tags: version.tags, parts: version.parts, ..fresh };
    let facts =
        format!("<LastModified>{}</LastModified><ETag>&#34;{}&#34;</ETag>", millis(version.modified), version.etag);
    let Reply { headers, .. } = store(site, ask, version)?;
    let mut reply = Reply::xml(format!("{DECLARATION}<CopyObjectResult {NAMESPACE}>{facts}</CopyObjectResult>"));
    reply.headers.extend(headers);
    Ok(reply)
}

pub(super) fn get(site: &Site, ask: &Ask) -> Answer {
    site.heal(&ask.bucket, &ask.key, ask.version());
    let store = site.store();
    let bucket = store.bucket(&ask.bucket)?;
    let version = bucket.find(&ask.key, ask.version())?;
    if version.purge.is_some() && ask.method != http::Method::HEAD {
        return Err(Refused::no_version());
    }
    if let Some(purge) = version.purge {
        let refused =
            Refused::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.");
        return Err(refused.with("x-minio-replication-delete-status", purge).with("x-amz-version-id", &version.id));
    }
    if version.marker {
        let (status, code, message) = match ask.version() {
            Some(_) => (405, "MethodNotAllowed", "The specified method is not allowed against this resource."),
            None => (404, "NoSuchKey", "The specified key does not exist."),
        };
        let mut refused = Refused::new(status, code, message)
            .with("x-amz-delete-marker", "true")
            .with("x-amz-version-id", &version.id);
        if let Some(status) = version.status() {
            refused = refused.with("x-minio-replication-deletemarker-status", status);
        }
        return Err(refused);
    }
    let reply = described(Reply::ok(), &version)
        .with("etag", format!("\"{}\"", version.etag))
        .with("last-modified", http_date(version.modified))
        .with("accept-ranges", "bytes");
    let reply =
        if version.tags.is_empty() { reply } else { reply.with("x-amz-tagging-count", version.tags.len().to_string()) };
    let mut reply = match version.status() {
        Some(status) => reply.with("x-amz-replication-status", status),
        None => reply,
    };
    for (name, value) in &version.headers {
        let checksum = name.starts_with("x-amz-checksum-");
        // That of the whole says nothing about a part.
        let wanted = ask.header("range").is_none()
            && ask.header("x-amz-checksum-mode").is_some_and(|mode| mode.eq_ignore_ascii_case("enabled"));
        if !checksum || wanted {
            let kms = name == "x-amz-server-side-encryption-aws-kms-key-id" && !value.starts_with("arn:");
            reply = reply.with(name, if kms { format!("arn:aws:kms:{value}") } else { value.clone() });
        }
    }
    let quoted = format!("\"{}\"", version.etag);
    if ask.header("if-match").is_some_and(|wanted| wanted != quoted && wanted != version.etag) {
        return Err(precondition_failed(&version));
    }
    if ask.header("if-none-match").is_some_and(|known| known == quoted || known == version.etag) {
        let described = described_by(&version).into_iter();
        return Ok(described.fold(Reply::new(304), |reply, (name, value)| reply.with(name, value)));
    }
    let whole = version.body.len();
    let part = ask.query("partNumber").and_then(|number| number.parse::<usize>().ok());
    if part.is_some() && !version.parts.is_empty() {
        reply = reply.with("x-amz-mp-parts-count", version.parts.len().to_string());
    }
    let asked = match part {
        Some(number) => Some(part_span(&version, number)),
        None => ask.header("range").map(|range| span(range, whole)),
    };
    let (from, to) = match asked {
        None => (0, whole),
        Some(Some(span)) => span,
        Some(None) => {
            let asked = ask.header("range").unwrap_or_default().trim_start_matches("bytes=");
            // An open end is written so.
            let asked = if asked.ends_with('-') { format!("{asked}-1") } else { asked.to_owned() };
            let message = format!("The requested range 'bytes={asked}' is not satisfiable");
            let more = vec![("ActualObjectSize", whole.to_string()), ("RangeRequested", asked)];
            return Err(Refused { more, ..Refused::new(416, "InvalidRange", message) });
        }
    };
    if (from, to) != (0, whole) {
        reply = reply.with("content-range", format!("bytes {from}-{}/{whole}", to - 1));
        reply.status = http::StatusCode::PARTIAL_CONTENT;
    }
    let reply = reply.with("content-length", (to - from).to_string());
    if ask.method == http::Method::HEAD { Ok(reply) } else { Ok(reply.body(version.body.slice(from..to))) }
}

pub(super) fn delete(site: &Site, ask: &Ask) -> Answer {
    let bypass = ask.header("x-amz-bypass-governance-retention") == Some("true");
    let deleted = remove(site, ask, &ask.key, ask.version(), bypass)?;
    let reply = Reply::new(204);
    // Of a `null` version nothing is told.
    let Some(id) = deleted.id.filter(|id| deleted.made && id != "null") else { return Ok(reply) };
    let reply = reply.with("x-amz-version-id", id);
    Ok(if deleted.marker { reply.with("x-amz-delete-marker", "true") } else { reply })
}

/// What became of one key in a list of deletes.
pub(super) struct Deleted {
    /// The version removed, or the marker made.
    pub id: Option<String>,
    pub marker: bool,
    /// False for the marker of a key that is not there.
    pub made: bool,
}

pub(super) fn remove(site: &Site, ask: &Ask, key: &str, id: Option<&str>, bypass: bool) -> Result<Deleted, Refused> {
    site.may_write(ask)?;
    let now = site.now();
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    let replica = ask.is_replica();
    let marker_wanted = ask.header("x-minio-source-deletemarker") == Some("true");
    let id = match id {
        Some(id) if !(replica && marker_wanted) => id.to_owned(),
        other => {
            // A delete without a version hides the key below a marker.
            if bucket.versioning().is_empty() || !bucket.versioned(key) && bucket.versioning() == "Enabled" {
                bucket.remove(key, "null");
                return Ok(Deleted { id: None, marker: false, made: true });
            }
            let id = other.map_or_else(|| bucket.new_id(key), str::to_owned);
            match bucket.find(key, None) {
                Ok(latest) if latest.marker && !replica => {
                    return Ok(Deleted { id: Some(latest.id.clone()), marker: true, made: true });
                }
                // Nothing to hide: told in a list of deletes, and never made.
                Err(_) if !replica => return Ok(Deleted { id: Some(id), marker: true, made: false }),
                Ok(_) | Err(_) => {}
            }
            let mut marker = Version::marker(id.clone(), now);
            let arns = if replica {
                as_replica(ask, &mut marker)?;
                marker.id.clone_from(&id);
                Vec::new()
            } else {
                bucket.rules().targets(key, &marker, Reason::Marked)
            };
            marker.replication = arns.iter().map(|arn| (arn.clone(), "PENDING")).collect();
            bucket.insert(key, marker);
            drop(store);
            site.queue(&ask.bucket, key, &id, &arns, Cause::Written);
            return Ok(Deleted { id: Some(id), marker: true, made: true });
        }
    };
    let Some(version) = bucket.find_mut(key, &id) else { return Ok(Deleted { id: None, marker: false, made: true }) };
    if version.locked(now, bypass) {
        return Err(Refused::new(400, "InvalidRequest", "Object is WORM protected and cannot be overwritten"));
    }
    let marker = version.marker;
    let version = version.clone();
    let arns = if replica { Vec::new() } else { bucket.rules().targets(key, &version, Reason::Purged) };
    match bucket.find_mut(key, &id) {
        Some(version) if !arns.is_empty() => version.purge = Some("PENDING"),
        Some(_) | None => bucket.remove(key, &id),
    }
    drop(store);
    site.queue(&ask.bucket, key, &id, &arns, Cause::Purged);
    Ok(Deleted { id: Some(id), marker, made: true })
}

/// Id and time as the other site has them.
fn as_replica(ask: &Ask, version: &mut Version) -> Result<(), Refused> {
    version.replica = true;
    ask.version().unwrap_or("null").clone_into(&mut version.id);
    if let Some(at) = ask.header("x-minio-source-mtime") {
        let wrong = || Refused::new(400, "InvalidArgument", "x-minio-source-mtime is no time");
        version.modified = at.parse::<Timestamp>().map_err(|_| wrong())?;
    }
    Ok(())
}

/// The end of a retention as the server keeps it.
pub(super) fn until(date: &str) -> String {
    date.parse().map_or_else(|_| date.to_owned(), millis)
}

fn same_headers(one: &Version, other: &Version) -> bool {
    one.headers == other.headers && one.tags == other.tags
}

pub(super) fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let belongs = |name: &str| {
        KEPT.contains(&name)
            || name.starts_with("x-amz-meta-")
            || name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-algorithm"
    };
    let mut all: BTreeMap<String, String> = headers
        .iter()
        .filter(|(name, _)| belongs(name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
        .collect();
    // How the body travelled is not part of it.
    if let Some(encoding) = all.remove("content-encoding") {
        let kept: Vec<_> =
            encoding.split(',').map(str::trim).filter(|e| *e != "aws-chunked" && !e.is_empty()).collect();
        if !kept.is_empty() {
            all.insert("content-encoding".to_owned(), kept.join(","));
        }
    }
    if all.keys().any(|name| name.starts_with("x-amz-checksum-")) {
        all.entry("x-amz-checksum-type".to_owned()).or_insert_with(|| "FULL_OBJECT".to_owned());
    }
    all.entry("content-type".to_owned()).or_insert_with(|| "binary/octet-stream".to_owned());
    if let Some(date) = all.get_mut("x-amz-object-lock-retain-until-date") {
        *date = until(date);
    }
    all
}

/// What an answer that withholds the object still says of it.
fn described_by(version: &Version) -> Vec<(&'static str, String)> {
    let mut described = vec![("etag", format!("\"{}\"", version.etag)), ("last-modified", http_date(version.modified))];
    if version.id != "null" {
        described.push(("x-amz-version-id", version.id.clone()));
    }
    for name in ["cache-control", "expires"] {
        described.extend(version.header(name).map(|value| (name, value.to_owned())));
    }
    described
}

fn described(reply: Reply, version: &Version) -> Reply {
    if version.id == "null" { reply } else { reply.with("x-amz-version-id", &version.id) }
}

pub(super) fn query_pairs(text: &str) -> Vec<(String, String)> {
    let ask = Ask::new(http::Method::GET, "/", text, HeaderMap::new(), Bytes::new());
    ask.map(|ask| ask.query).unwrap_or_default()
}

/// Where one part of an object lies; what was not uploaded in parts is its only part.
fn part_span(version: &Version, number: usize) -> Option<(usize, usize)> {
    let before = number.checked_sub(1)?;
    if version.parts.is_empty() {
        return (before == 0).then_some((0, version.body.len()));
    }
    let from = version.parts.iter().take(before).sum();
    Some((from, from + version.parts.get(before)?))
}

/// `bytes=a-b`, `bytes=a-`, `bytes=-n` as a half-open span.
fn span(range: &str, whole: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (from.parse::<usize>().ok(), to.parse::<usize>().ok()) {
        (Some(from), Some(to)) => (from, (to + 1).min(whole)),
        (Some(from), None) => (from, whole),
        (None, Some(last)) => (whole.saturating_sub(last), whole),
        (None, None) => return None,
    };
    (from < to).then_some((from, to))
}
