//! Listings, as MinIO writes them: versions and delete markers interleaved, newest first, with its markers.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    site::Site,
    store::{Bucket, Version},
    wire::{Answer, Ask, DECLARATION, NAMESPACE, Refused, Reply, element, millis, query_text},
};

const OWNER: &str = "<Owner><ID>02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4</ID>\
                     <DisplayName>minio</DisplayName></Owner>";
/// Nothing makes a page longer.
const PAGE: usize = 1000;

pub(super) fn buckets(site: &Site) -> Reply {
    let store = site.store();
    let all: String = store
        .buckets
        .iter()
        .map(|(name, bucket)| {
            format!("<Bucket>{}<CreationDate>{}</CreationDate></Bucket>", element("Name", name), millis(bucket.created))
        })
        .collect();
    Reply::xml(format!(
        "{DECLARATION}<ListAllMyBucketsResult {NAMESPACE}>{OWNER}<Buckets>{all}</Buckets></ListAllMyBucketsResult>"
    ))
}

pub(super) fn versions(site: &Site, ask: &Ask) -> Answer {
    let page = Page::of(ask, "key-marker")?;
    let after_version = ask.query("version-id-marker").unwrap_or_default();
    if !after_version.is_empty() && page.marker.is_empty() {
        let refused = not_implemented();
        return Err(Refused { message: format!("{} ()", refused.message), ..refused });
    }
    let store = site.store();
    let bucket = store.bucket(&ask.bucket)?;
    let mut entries = String::new();
    let (mut count, mut last, mut healed) = (0, None, Vec::new());
    let mut prefixes = BTreeSet::new();
    let mut truncated = false;
    'keys: for (key, all) in bucket.keys.range(&page.from(!after_version.is_empty())) {
        if page.is_behind(&key) {
            break;
        }
        if !page.takes(bucket, &key) {
            continue;
        }
        if let Some(common) = page.common(&key) {
            if common.as_str() <= page.marker.as_str() || prefixes.contains(&common) {
                continue;
            }
            if count + prefixes.len() == page.max {
                truncated = true;
                break;
            }
            prefixes.insert(common);
            continue;
        }
        // An unknown version id silently begins that key again.
        let skip =
            if key == page.marker { all.iter().position(|v| v.id == after_version).map_or(0, |at| at + 1) } else { 0 };
        for (at, version) in all.iter().enumerate().skip(skip) {
            if version.purge.is_none() {
                if count + prefixes.len() == page.max {
                    truncated = page.max > 0;
                    break 'keys;
                }
                count += 1;
                page.entry(&mut entries, &key, version, at == 0);
                last = Some((key.to_string(), version.id.clone()));
            }
            healed.push((key.to_string(), version.id.clone()));
        }
    }
    let mut answer = format!("{DECLARATION}<ListVersionsResult {NAMESPACE}>{}", element("Name", &ask.bucket));
    answer += &page.element("Prefix", &page.prefix);
    answer += &page.element("KeyMarker", ask.query("key-marker").unwrap_or_default());
    let last = last.as_ref().map(|(key, id)| (key.as_str(), id.as_str()));
    let last = match (last, prefixes.last()) {
        (Some((key, id)), Some(prefix)) if key > prefix.as_str() => Some((key, id)),
        (_, Some(prefix)) => Some((prefix.as_str(), "")),
        (last, None) => last,
    };
    if let (true, Some((key, id))) = (truncated, last) {
        answer += &page.element("NextKeyMarker", &format!("{key}[minio_cache:v2,return:]"));
        answer += &element("NextVersionIdMarker", id);
    } else {
        answer += "<NextVersionIdMarker></NextVersionIdMarker>";
    }
    answer += &element("VersionIdMarker", after_version);
    answer += &page.limits(truncated);
    answer += &page.prefixes(&prefixes);
    answer += &entries;
    drop(store);
    site.heal_all(&ask.bucket, &healed);
    if page.encoded {
        answer += "<EncodingType>url</EncodingType>";
    }
    Ok(Reply::xml(answer + "</ListVersionsResult>"))
}

/// The latest versions only, by either call that lists objects.
pub(super) fn objects(site: &Site, ask: &Ask, second: bool) -> Answer {
    let marker = if second { "continuation-token" } else { "marker" };
    let mut page = Page::of(ask, marker)?;
    if let (true, Some(start)) = (page.marker.is_empty(), ask.query("start-after")) {
        start.clone_into(&mut page.marker);
    }
    let store = site.store();
    let bucket = store.bucket(&ask.bucket)?;
    let (mut contents, mut prefixes, mut count, mut truncated) = (String::new(), BTreeSet::new(), 0, false);
    let mut last = String::new();
    for (key, all) in bucket.keys.range(&page.from(false)) {
        if page.is_behind(&key) {
            break;
        }
        let Some(version) = all.iter().find(|v| v.purge.is_none()).filter(|v| !v.marker) else { continue };
        let common = page.common(&key);
        let seen = common.as_ref().is_some_and(|c| prefixes.contains(c) || c.as_str() <= page.marker.as_str());
        if !page.takes(bucket, &key) || seen {
            continue;
        }
        if count == page.max {
            truncated = page.max > 0;
            break;
        }
        count += 1;
        last = common.clone().unwrap_or_else(|| key.to_string());
        match common {
            Some(common) => {
                prefixes.insert(common);
            }
            None => {
                let owner = if second && ask.query("fetch-owner") != Some("true") { "" } else { OWNER };
                contents += &format!(
                    "<Contents>{}{owner}{}{}</Contents>",
                    page.facts(&key, version),
                    class(version),
                    page.metadata(version)
                );
            }
        }
    }
    let mut answer = format!("{DECLARATION}<ListBucketResult {NAMESPACE}>{}", element("Name", &ask.bucket));
    answer += &page.element("Prefix", &page.prefix);
    let asked = ask.query(marker).unwrap_or_default();
    match (second, truncated) {
        (true, more) => {
            if !asked.is_empty() {
                answer += &element("ContinuationToken", asked);
            }
            if more {
                let token = BASE64_STANDARD.encode(format!("{last}[minio_cache:v2,return:]"));
                answer += &element("NextContinuationToken", &token);
            }
            if let Some(start) = ask.query("start-after").filter(|start| !start.is_empty()) {
                answer += &page.element("StartAfter", start);
            }
            answer += &format!("<KeyCount>{count}</KeyCount>");
        }
        (false, more) => {
            answer += &page.element("Marker", asked);
            if more {
                answer += &page.element("NextMarker", &format!("{last}[minio_cache:v2,return:]"));
            }
        }
    }
    answer += &page.limits(truncated);
    answer += &contents;
    answer += &page.prefixes(&prefixes);
    if page.encoded {
        answer += "<EncodingType>url</EncodingType>";
    }
    Ok(Reply::xml(answer + "</ListBucketResult>"))
}

/// What a page was asked for.
struct Page {
    prefix: String,
    delimiter: String,
    marker: String,
    asked: i64,
    max: usize,
    encoded: bool,
    metadata: bool,
}

impl Page {
    fn of(ask: &Ask, marker: &str) -> Result<Self, Refused> {
        let text = |name: &str| ask.query(name).unwrap_or_default();
        let asked: i64 = match text("max-keys") {
            "" => 1000,
            text => text.parse().map_err(|_| invalid("maxKeys"))?,
        };
        let max = usize::try_from(asked).map_err(|_| invalid("maxKeys"))?.min(PAGE);
        // The rest of a marker is the server's own note to itself.
        let given = match marker {
            "continuation-token" => BASE64_STANDARD.decode(text(marker)).map_err(|_| invalid_token())?,
            marker => text(marker).as_bytes().to_vec(),
        };
        let given = String::from_utf8(given).map_err(|_| invalid_token())?;
        let marker = given.split("[minio_cache:").next().unwrap_or_default().to_owned();
        let prefix = text("prefix").to_owned();
        if !marker.is_empty() && !marker.starts_with(&prefix) {
            return Err(not_implemented());
        }
        let encoded = text("encoding-type") == "url";
        let metadata = text("metadata") == "true";
        Ok(Self { prefix, delimiter: text("delimiter").to_owned(), marker, asked, max, encoded, metadata })
    }
    /// The first key that may be on it; the marker's own key only when there is more of it.
    fn from(&self, within: bool) -> String {
        let after = if within || self.marker.is_empty() { self.marker.clone() } else { format!("{}\0", self.marker) };
        after.max(self.prefix.clone())
    }
    /// Whether no key from here on can be on it.
    fn is_behind(&self, key: &str) -> bool {
        !key.starts_with(&self.prefix) && key > self.prefix.as_str()
    }
    fn takes(&self, bucket: &Bucket, key: &str) -> bool {
        key.starts_with(&self.prefix) && !bucket.hidden(key)
    }
    /// The common prefix that stands for a key.
    fn common(&self, key: &str) -> Option<String> {
        let rest =
            key.get(self.prefix.len()..).filter(|_| !self.delimiter.is_empty() && key.starts_with(&self.prefix))?;
        let at = rest.find(&self.delimiter)?;
        Some(key[..self.prefix.len() + at + self.delimiter.len()].to_owned())
    }
    fn element(&self, name: &str, text: &str) -> String {
        if self.encoded { element(name, &url(text)) } else { element(name, text) }
    }
    fn limits(&self, truncated: bool) -> String {
        let delimiter =
            if self.delimiter.is_empty() { String::new() } else { self.element("Delimiter", &self.delimiter) };
        format!("<MaxKeys>{}</MaxKeys>{delimiter}<IsTruncated>{truncated}</IsTruncated>", self.asked)
    }
    fn prefixes(&self, prefixes: &BTreeSet<String>) -> String {
        prefixes.iter().map(|p| format!("<CommonPrefixes>{}</CommonPrefixes>", self.element("Prefix", p))).collect()
    }
    fn entry(&self, text: &mut String, key: &str, version: &Version, latest: bool) {
        let name = if version.marker { "DeleteMarker" } else { "Version" };
        *text += &format!(
            "<{name}>{}{OWNER}{}{}<IsLatest>{latest}</IsLatest><VersionId>{}</VersionId></{name}>",
            self.facts(key, version),
            class(version),
            self.metadata(version),
            version.id,
        );
    }
    fn facts(&self, key: &str, version: &Version) -> String {
        let etag = if version.marker { String::new() } else { format!("&#34;{}&#34;", version.etag) };
        format!(
            "{}<LastModified>{}</LastModified><ETag>{etag}</ETag><Size>{}</Size>",
            self.element("Key", key),
            millis(version.modified),
            version.body.len()
        )
    }
    /// One element for each header, named after it.
    fn metadata(&self, version: &Version) -> String {
        if !self.metadata {
            return String::new();
        }
        if version.marker {
            return "<Internal><K>0</K><M>0</M></Internal>".to_owned();
        }
        let mut all = String::from("<UserMetadata>");
        for (name, value) in version.headers.iter().filter(|(name, _)| !name.starts_with("x-amz-checksum-")) {
            let name = if name.starts_with("x-amz-") { title(name) } else { name.clone() };
            all += &element(&name, value);
        }
        if let Some(status) = version.status() {
            all += &element("X-Amz-Replication-Status", status);
        }
        all += "</UserMetadata>";
        if !version.tags.is_empty() {
            all += &element("UserTags", &query_text(&version.tags));
        }
        all + "<Internal><K>2</K><M>2</M></Internal>"
    }
}

fn class(version: &Version) -> String {
    element("StorageClass", version.header("x-amz-storage-class").unwrap_or("STANDARD"))
}

/// `x-amz-meta-a` as `X-Amz-Meta-A`.
fn title(name: &str) -> String {
    let words = name.split('-').map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_uppercase() + rest
    });
    words.collect::<Vec<_>>().join("-")
}

/// As `encoding-type=url` asks for: `+` for a space, and these few signs bare.
fn url(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'/' | b'*' => {
                encoded.push(char::from(byte));
            }
            b' ' => encoded.push('+'),
            byte => encoded += &format!("%{byte:02X}"),
        }
    }
    encoded
}

fn invalid(name: &str) -> Refused {
    Refused::new(400, "InvalidArgument", format!("Argument {name} must be an integer between 0 and 2147483647"))
}

fn invalid_token() -> Refused {
    Refused::new(400, "InvalidArgument", "The continuation token provided is incorrect")
}

fn not_implemented() -> Refused {
    Refused::new(501, "NotImplemented", "A header you provided implies functionality that is not implemented")
}
