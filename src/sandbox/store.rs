//! What a site holds, in memory: buckets, their documents as they were sent, and every version of every key.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::{AddAssign, SubAssign},
};

use bytes::Bytes;
use jiff::Timestamp;

use super::{
    keys::Keys,
    resync::Job,
    rules::Rules,
    targets::Target,
    wire::{Refused, uuid},
    xml::Element,
};

#[derive(Debug, Default)]
pub(super) struct Store {
    pub buckets: BTreeMap<String, Bucket>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub created: Timestamp,
    /// Made with object lock.
    pub lock: bool,
    pub keys: Keys,
    pub uploads: BTreeMap<String, Upload>,
    /// Raw, by their sub-resource: a generic model would drop MinIO's own fields.
    pub documents: BTreeMap<String, String>,
    pub quota: u64,
    pub targets: Vec<Target>,
    /// The last resync, by ARN.
    pub jobs: BTreeMap<String, Job>,
}

#[derive(Clone, Debug)]
pub(super) struct Version {
    /// `null` when made while the bucket was not versioned.
    pub id: String,
    pub modified: Timestamp,
    pub marker: bool,
    pub etag: String,
    pub body: Bytes,
    /// Sizes of the parts of a multipart upload.
    pub parts: Vec<usize>,
    /// Names in lower case: content type, user metadata, lock, encryption, checksums.
    pub headers: BTreeMap<String, String>,
    pub tags: Vec<(String, String)>,
    /// `PENDING`, `COMPLETED` or `FAILED` by ARN.
    pub replication: BTreeMap<String, &'static str>,
    pub replica: bool,
    /// Deleted here for good, and not yet on a target: `PENDING` or `FAILED`.
    pub purge: Option<&'static str>,
    /// The reset id that last re-sent it, by ARN.
    pub stamps: BTreeMap<String, String>,
}

/// What versions come to; delete markers are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    /// Keys whose newest version is no delete marker.
    pub objects: u64,
    pub versions: u64,
    pub markers: u64,
    pub bytes: u64,
}

/// A multipart upload under way.
#[derive(Debug)]
pub(super) struct Upload {
    pub key: String,
    pub begun: Timestamp,
    pub headers: BTreeMap<String, String>,
    pub tags: Vec<(String, String)>,
    pub parts: BTreeMap<u32, Part>,
}

/// A part of it that has arrived.
#[derive(Debug)]
pub(super) struct Part {
    pub etag: String,
    pub body: Bytes,
    /// Header and value, as they came with it.
    pub checksums: Vec<(String, String)>,
}

impl Version {
    pub(super) fn marker(id: String, modified: Timestamp) -> Self {
        Self { marker: true, ..Self::object(id, modified, Bytes::new(), String::new()) }
    }
    pub(super) fn object(id: String, modified: Timestamp, body: Bytes, etag: String) -> Self {
        Self {
            id,
            modified,
            marker: false,
            etag,
            body,
            parts: Vec::new(),
            headers: BTreeMap::new(),
            tags: Vec::new(),
            replication: BTreeMap::new(),
            replica: false,
            purge: None,
            stamps: BTreeMap::new(),
        }
    }
    /// As `x-amz-replication-status` says it.
    pub(super) fn status(&self) -> Option<&'static str> {
        if self.replica && self.replication.is_empty() {
            return Some("REPLICA");
        }
        let worst = |status| self.replication.values().any(|s| *s == status).then_some(status);
        worst("FAILED").or_else(|| worst("PENDING")).or_else(|| worst("COMPLETED"))
    }
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
    /// Whether a lock forbids to remove it.
    pub(super) fn locked(&self, now: Timestamp, bypass: bool) -> bool {
        let until = self.header("x-amz-object-lock-retain-until-date").and_then(|date| date.parse().ok());
        let kept = until.is_some_and(|until: Timestamp| until > now);
        let mode = self.header("x-amz-object-lock-mode");
        self.header("x-amz-object-lock-legal-hold") == Some("ON")
            || kept && (mode == Some("COMPLIANCE") || mode == Some("GOVERNANCE") && !bypass)
    }
}

impl Totals {
    /// Of one key.
    pub(super) fn of(versions: &[Version]) -> Self {
        let markers = versions.iter().filter(|version| version.marker).count() as u64;
        Self {
            objects: u64::from(versions.first().is_some_and(|version| !version.marker)),
            versions: versions.len() as u64 - markers,
            markers,
            bytes: versions.iter().map(|version| version.body.len() as u64).sum(),
        }
    }
}

impl AddAssign for Totals {
    fn add_assign(&mut self, more: Self) {
        self.objects += more.objects;
        self.versions += more.versions;
        self.markers += more.markers;
        self.bytes += more.bytes;
    }
}

impl SubAssign for Totals {
    fn sub_assign(&mut self, less: Self) {
        self.objects -= less.objects;
        self.versions -= less.versions;
        self.markers -= less.markers;
        self.bytes -= less.bytes;
    }
}

impl Bucket {
    pub(super) fn new(created: Timestamp, lock: bool) -> Self {
        let mut documents = BTreeMap::new();
        if lock {
            let enabled = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status></VersioningConfiguration>";
            documents.insert("versioning".to_owned(), enabled.to_owned());
            let document = "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                            <ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";
            documents.insert("object-lock".to_owned(), document.to_owned());
        }
        Self {
            created,
            lock,
            keys: Keys::default(),
            uploads: BTreeMap::new(),
            documents,
            quota: 0,
            targets: Vec::new(),
            jobs: BTreeMap::new(),
        }
    }

    pub(super) fn document(&self, name: &str) -> Option<Element> {
        Element::parse(self.documents.get(name)?.as_bytes()).ok()
    }

    pub(super) fn rules(&self) -> Rules {
        self.document("replication").map(|root| Rules::of(&root)).unwrap_or_default()
    }

    /// `Enabled`, `Suspended`, or nothing.
    pub(super) fn versioning(&self) -> String {
        self.document("versioning").map(|root| root.text(&["Status"]).to_owned()).unwrap_or_default()
    }

    /// Whether writes to a key make new versions: not under an excluded prefix, nor for a folder where those are.
    pub(super) fn versioned(&self, key: &str) -> bool {
        let Some(root) = self.document("versioning") else { return false };
        let excluded = root.all("ExcludedPrefixes").flat_map(|e| e.all("Prefix")).any(|p| excludes(&p.text, key));
        let folder = root.text(&["ExcludeFolders"]) == "true" && key.ends_with('/');
        root.text(&["Status"]) == "Enabled" && !excluded && !folder
    }

    /// The version asked for, or the latest.
    pub(super) fn find(&self, key: &str, id: Option<&str>) -> Result<Cow<'_, Version>, Refused> {
        let none = || if id.is_some() { Refused::no_version() } else { Refused::no_key() };
        let wanted = |version: &&Version| match id {
            Some(id) => version.id == id,
            None => version.purge.is_none(),
        };
        match self.keys.get(key).ok_or_else(none)? {
            Cow::Borrowed(versions) => versions.iter().find(wanted).map(Cow::Borrowed).ok_or_else(none),
            Cow::Owned(versions) => {
                versions.into_iter().find(|version| wanted(&version)).map(Cow::Owned).ok_or_else(none)
            }
        }
    }

    pub(super) fn find_mut(&mut self, key: &str, id: &str) -> Option<&mut Version> {
        self.keys.find_mut(key, id)
    }

    /// Adds a version at its place by time; one with the same id is replaced.
    pub(super) fn insert(&mut self, key: &str, version: Version) {
        let versions = self.keys.change(key);
        versions.retain(|v| v.id != version.id);
        let at = versions.iter().position(|v| v.modified <= version.modified).unwrap_or(versions.len());
        versions.insert(at, version);
    }

    pub(super) fn remove(&mut self, key: &str, id: &str) {
        self.keys.remove(key, id);
    }

    /// The id of a version that is written now.
    pub(super) fn new_id(&self, key: &str) -> String {
        // A folder has one version only, whatever the bucket says.
        if self.versioned(key) && !key.ends_with('/') { uuid() } else { "null".to_owned() }
    }

    /// A key below another object is in no listing, and no walk finds it.
    pub(super) fn hidden(&self, key: &str) -> bool {
        key.match_indices('/').any(|(at, _)| at + 1 < key.len() && self.keys.contains(&key[..at]))
    }
}

impl Store {
    pub(super) fn bucket(&self, name: &str) -> Result<&Bucket, Refused> {
        self.buckets.get(name).ok_or_else(Refused::no_bucket)
    }
    pub(super) fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, Refused> {
        self.buckets.get_mut(name).ok_or_else(Refused::no_bucket)
    }
}

/// An excluded prefix may begin with `*`, as in `*/_temporary/`.
fn excludes(pattern: &str, key: &str) -> bool {
    match pattern.strip_prefix('*') {
        Some(rest) => key.contains(rest),
        None => key.starts_with(pattern),
    }
}
