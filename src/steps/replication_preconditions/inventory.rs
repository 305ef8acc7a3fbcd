//! What a bucket holds: counted by listing it once, in bounded memory, and a sample spread over all of it.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use jiff::{SignedDuration, Timestamp};

use super::facts::{Fact, Stop};
use crate::{
    site::{
        Site,
        listing::Listing,
        s3::{Replication, Versioning},
    },
    step::Reads,
    steps::{bucket_prepare::alignment::key_name, replication_targets::arn_of},
    types::BucketName,
    version::{Entry, Kind, Version},
};

/// Places of a bucket where a sample is taken.
const ANCHORS: usize = 16;
/// Requests at once while a bucket is counted.
const AT_ONCE: usize = 2;
/// How far into the future a modification time may lie before it is one of a wrong clock.
const FUTURE: SignedDuration = SignedDuration::from_secs(5);

/// What a bucket holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    /// Versions and delete markers, without those written since the check began.
    pub(super) versions: u64,
    pub(super) delete_markers: u64,
    pub(super) bytes: u64,
    /// Versions without a version id, outside the excluded prefixes.
    pub(super) nulls: u64,
    /// Versions written since the check began.
    pub(super) left_out: u64,
    /// Versions from the future: some clock is wrong.
    pub(super) future: u64,
    /// Keys below prefixes that versioning leaves out.
    pub(super) excluded_keys: u64,
    /// Versions outside the prefixes of the rules.
    pub(super) out_of_scope: u64,
    /// False when the listing was stopped because more of it would decide nothing.
    pub(super) complete: bool,
    /// Keys after which a sample is taken, spread over the bucket; the bucket's begin is the empty one.
    pub(super) anchors: Vec<String>,
}

/// What a sample of versions showed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    /// Objects looked at.
    pub(super) objects: u64,
    /// Objects whose headers the server did not show (no leave to read them).
    pub(super) blind: u64,
    /// Names of the KMS keys of SSE-KMS objects.
    pub(super) kms_keys: BTreeSet<String>,
    pub(super) sse_s3: u64,
    pub(super) sse_kms: u64,
    pub(super) sse_c: u64,
}

impl Sample {
    /// Whether anything in it is encrypted.
    pub(super) fn encrypted(&self) -> bool {
        self.sse_s3 + self.sse_kms + self.sse_c > 0
    }

    pub(super) fn add(&mut self, version: &Version) {
        if version.kind != Kind::Object {
            return;
        }
        self.objects += 1;
        let Some(metadata) = version.metadata.as_ref().filter(|m| !m.headers.is_empty()) else {
            self.blind += 1;
            return;
        };
        if metadata.header("x-amz-server-side-encryption-customer-algorithm").is_some() {
            self.sse_c += 1;
            return;
        }
        match metadata.header("x-amz-server-side-encryption") {
            Some("aws:kms") => {
                self.sse_kms += 1;
                let key = metadata.header("x-amz-server-side-encryption-aws-kms-key-id").map(key_name);
                self.kms_keys.extend(key.filter(|k| !k.is_empty()).map(ToOwned::to_owned));
            }
            Some(_) => self.sse_s3 += 1,
            None => {}
        }
    }
}

/// What replication leaves out, as far as a key tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    excluded: Vec<String>,
    folders: bool,
    /// Prefixes of the enabled rules; empty: no rule is known.
    prefixes: Vec<String>,
}

impl Scope {
    pub(super) fn of(versioning: Option<&Versioning>, replication: Option<&Replication>, arn: &str) -> Self {
        let prefixes = replication.map_or_else(Vec::new, |replication| {
            let ours = |rule: &&_| arn_of(replication, rule) == arn;
            replication.rules.iter().filter(ours).filter(|r| r.enabled).map(|r| r.prefix.clone()).collect()
        });
        Self {
            excluded: versioning.map(|v| v.excluded_prefixes.clone()).unwrap_or_default(),
            folders: versioning.is_some_and(|v| v.exclude_folders),
            prefixes,
        }
    }

    /// MinIO takes each excluded prefix as a pattern with `*`, and one more at its end.
    fn excludes(&self, key: &str) -> bool {
        (self.folders && key.ends_with('/'))
            || self.excluded.iter().any(|prefix| super::iam::like(&format!("{prefix}*"), key))
    }

    fn ruled_out(&self, key: &str) -> bool {
        !self.prefixes.is_empty() && !self.prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
    }
}

/// Lets one listing end when another has decided the matter.
pub(super) struct Limits {
    source_versions: AtomicU64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { source_versions: AtomicU64::new(u64::MAX) }
    }
}

impl Limits {
    pub(super) fn source_is(&self, versions: Option<u64>) {
        self.source_versions.store(versions.unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Lists a bucket once. Versions newer than `begin` are counted apart.
pub(super) async fn count(
    site: &Site<Reads>,
    bucket: &BucketName,
    scope: &Scope,
    begin: Timestamp,
    limits: &Limits,
    stop: Stop,
) -> Fact<Inventory> {
    let started = Instant::now();
    let mut listing = site.versions(bucket, Listing { at_once: AT_ONCE, ..Listing::default() });
    let mut counter = Counter::new(scope, begin);
    while let Some(page) = listing.next_page().await? {
        // The clock moves on while we list, so what is the future does too.
        let elapsed = SignedDuration::try_from(started.elapsed()).unwrap_or(SignedDuration::ZERO);
        page.iter().for_each(|version| counter.add(&version, elapsed));
        if stop == Stop::PastSource && counter.inventory.versions > limits.source_versions.load(Ordering::Relaxed) {
            return Ok(counter.inventory);
        }
    }
    counter.inventory.complete = true;
    Ok(counter.inventory)
}

/// Looks at about as many `versions` as are asked for, at places spread over the bucket.
pub(super) async fn sample(site: &Site<Reads>, bucket: &BucketName, anchors: &[String], versions: u64) -> Fact<Sample> {
    let mut seen = Sample::default();
    let each = versions.div_ceil(anchors.len().max(1) as u64).max(1);
    for (n, anchor) in anchors.iter().enumerate() {
        let mut listing = site.versions(
            bucket,
            Listing {
                after: (!anchor.is_empty()).then(|| anchor.clone()),
                metadata: true,
                page_size: u16::try_from(each.min(1_000)).ok(),
                ..Listing::default()
            },
        );
        let mut left = each;
        while left > 0 {
            let Some(version) = listing.next().await? else { break };
            // Places may lie close together: do not count the next one's versions twice.
            if anchors.get(n + 1).is_some_and(|next| version.key > *next) {
                break;
            }
            seen.add(&version);
            left -= 1;
        }
    }
    Ok(seen)
}

/// Counts versions as they come, sorted by key.
struct Counter<'a> {
    scope: &'a Scope,
    begin: Timestamp,
    inventory: Inventory,
    last_excluded: String,
    seen: u64,
    stride: u64,
}

impl<'a> Counter<'a> {
    fn new(scope: &'a Scope, begin: Timestamp) -> Self {
        let inventory = Inventory { anchors: vec![String::new()], ..Inventory::default() };
        Self { scope, begin, inventory, last_excluded: String::new(), seen: 0, stride: 1_000 }
    }

    fn add(&mut self, version: &Entry<'_>, elapsed: SignedDuration) {
        let total = &mut self.inventory;
        if version.last_modified().duration_since(self.begin) > elapsed.saturating_add(FUTURE) {
            total.future += 1;
        }
        if version.last_modified() > self.begin {
            total.left_out += 1;
            return;
        }
        total.versions += 1;
        match version.kind {
            Kind::Object => total.bytes += version.size,
            Kind::DeleteMarker => total.delete_markers += 1,
        }
        let excluded = self.scope.excludes(version.key);
        // What is excluded has no ids by design, and is told of apart.
        if version.version_id.is_null() && !excluded {
            total.nulls += 1;
        }
        if excluded {
            if self.last_excluded != version.key {
                total.excluded_keys += 1;
                version.key.clone_into(&mut self.last_excluded);
            }
        } else if self.scope.ruled_out(version.key) {
            total.out_of_scope += 1;
        }
        self.mark(version.key);
    }

    /// Every stride-th key; when there are too many, every other one goes and the stride doubles.
    fn mark(&mut self, key: &str) {
        self.seen += 1;
        if !self.seen.is_multiple_of(self.stride) {
            return;
        }
        let anchors = &mut self.inventory.anchors;
        if anchors.last().is_some_and(|last| last == key) {
            return;
        }
        anchors.push(key.to_owned());
        if anchors.len() > ANCHORS {
            let mut n = 0;
            anchors.retain(|_| {
                n += 1;
                n % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Metadata;

    fn version(key: &str, second: i64) -> Version {
        Version {
            key: key.into(),
            version_id: "v".into(),
            kind: Kind::Object,
            is_latest: true,
            last_modified: Timestamp::from_second(second).unwrap(),
            etag: "e".into(),
            size: 10,
            metadata: None,
        }
    }

    fn counted(scope: &Scope, versions: &[Version]) -> Inventory {
        let mut counter = Counter::new(scope, Timestamp::from_second(100).unwrap());
        for version in versions {
            counter.add(&version.entry(), SignedDuration::from_secs(20));
        }
        counter.inventory
    }

    #[test]
    fn live_writes_are_left_out_and_the_future_is_told_apart() {
        let inventory = counted(&Scope::default(), &[version("a", 100), version("b", 110), version("c", 126)]);
        assert_eq!((inventory.versions, inventory.left_out, inventory.future), (1, 2, 1));
        assert_eq!(inventory.bytes, 10);
    }

    #[test]
    fn kinds_and_null_versions_are_counted() {
        let marker = Version { kind: Kind::DeleteMarker, size: 0, ..version("a", 1) };
        let null = Version { version_id: "null".into(), ..version("b", 1) };
        let inventory = counted(&Scope::default(), &[marker, null]);
        assert_eq!((inventory.versions, inventory.delete_markers, inventory.nulls), (2, 1, 1));
    }

    #[test]
    fn excluded_keys_are_counted_once_a_key_and_as_patterns() {
        let scope = Scope { excluded: vec!["*/tmp/".into()], folders: true, prefixes: vec!["app/".into()] };
        let keys = ["app/tmp/x", "app/tmp/x", "app/y", "app/z/", "other"];
        let inventory = counted(&scope, &keys.map(|key| Version { version_id: "null".into(), ..version(key, 1) }));
        assert_eq!((inventory.excluded_keys, inventory.out_of_scope, inventory.nulls), (2, 1, 2));
    }

    #[test]
    fn anchors_stay_few_and_spread() {
        let scope = Scope::default();
        let mut counter = Counter::new(&scope, Timestamp::from_second(100).unwrap());
        for n in 0..100_000 {
            counter.add(&version(&format!("{n:06}"), 1).entry(), SignedDuration::ZERO);
        }
        let anchors = counter.inventory.anchors;
        assert!((8..=ANCHORS).contains(&anchors.len()), "{}", anchors.len());
        assert_eq!(anchors[0], "");
        assert!(anchors.is_sorted());
        assert!(anchors.last().unwrap().as_str() > "080000", "{anchors:?}");
    }

    #[test]
    fn a_sample_tells_encryptions_apart_and_admits_what_it_cannot_see() {
        let with = |headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
            Version { metadata: Some(Metadata { headers, tags: Vec::new() }), ..version("a", 1) }
        };
        let mut sample = Sample::default();
        sample.add(&version("blind", 1));
        sample.add(&with(&[("content-type", "text/plain")]));
        sample.add(&with(&[("x-amz-server-side-encryption", "AES256")]));
        sample.add(&with(&[
            ("x-amz-server-side-encryption", "aws:kms"),
            ("x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:blue"),
        ]));
        sample.add(&with(&[("x-amz-server-side-encryption-customer-algorithm", "AES256")]));
        assert_eq!((sample.objects, sample.blind), (5, 1));
        assert_eq!((sample.sse_s3, sample.sse_kms, sample.sse_c), (1, 1, 1));
        assert_eq!(sample.kms_keys, ["blue".to_owned()].into());
    }
}
