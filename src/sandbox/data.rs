//! What the sites hold at the beginning: made up, the same in every run save for ids and times.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};

use super::{
    keys::Keys,
    scenario::{Data, Scenario},
    series::{Computed, Series},
    site::Site,
    store::{Bucket, Version},
    targets::{Credentials, Given, Target},
    wire::{element, millis, uuid},
};

/// Names that trip up clients, after these come plain ones.
const STRANGE: [&str; 4] =
    ["Über uns/Größe & Maß+50%.txt", "emoji/🦀.bin", "quote\"'<>&.txt", "folder/of/folders/ end "];

/// Fills both sites: an established replication, and then what the scenario says happened to the target.
pub(super) fn fill(scenario: &Scenario, source: &Site, target: &Site, now: Timestamp) {
    let begun = now.checked_sub(SignedDuration::from_hours(24 * 30)).unwrap_or(now);
    let there = remote(scenario, target);
    let mut bucket = make(scenario, begun);
    if scenario.data.computed {
        let series = Series::new(&scenario.data, begun, &there.arn);
        bucket.keys = Keys::of(Computed::whole(Arc::new(series)));
    } else {
        for (key, version) in Written::new(&scenario.data, begun, &there.arn).all() {
            bucket.insert(&key, version);
        }
    }
    let back = remote(scenario, source);
    let mut copy = make(scenario, begun);
    copy.keys = replicas(scenario, &bucket);
    bucket.documents.insert("replication".to_owned(), rules(scenario, &there.arn));
    if scenario.resync.running {
        bucket.jobs.insert(there.arn.clone(), super::resync::Job::foreign(now));
    }
    let wrong = if scenario.rule.wrong_credentials { "no-longer-so" } else { target.secret_key.as_str() };
    bucket.targets.push(Target { secret_key: wrong.to_owned(), ..there });
    if scenario.rule.two_way && !scenario.damage.rules_lost {
        copy.documents.insert("replication".to_owned(), rules(scenario, &back.arn));
        copy.targets.push(back);
    }
    source.store().buckets.insert(scenario.bucket.clone(), bucket);
    if !scenario.damage.bucket_lost {
        damage(scenario, &mut copy, now);
        target.store().buckets.insert(scenario.bucket.clone(), copy);
    }
}

fn make(scenario: &Scenario, at: Timestamp) -> Bucket {
    let data = &scenario.data;
    let mut bucket = Bucket::new(at, data.lock);
    let excluded = data.excluded_prefixes.iter();
    let excluded: String =
        excluded.map(|prefix| format!("<ExcludedPrefixes>{}</ExcludedPrefixes>", element("Prefix", prefix))).collect();
    let versioning = format!("<VersioningConfiguration><Status>Enabled</Status>{excluded}</VersioningConfiguration>");
    bucket.documents.insert("versioning".to_owned(), versioning);
    if let Some(retention) = &data.retention {
        let document = format!(
            "<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><ObjectLockEnabled>Enabled\
             </ObjectLockEnabled><Rule><DefaultRetention><Mode>{}</Mode><Days>{}</Days></DefaultRetention></Rule>\
             </ObjectLockConfiguration>",
            retention.mode.text(),
            retention.days
        );
        bucket.documents.insert("object-lock".to_owned(), document);
    }
    if let Some(key) = &data.kms_key {
        let document = format!(
            "<ServerSideEncryptionConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Rule>\
             <ApplyServerSideEncryptionByDefault><KMSMasterKeyID>{key}</KMSMasterKeyID><SSEAlgorithm>aws:kms\
             </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>"
        );
        bucket.documents.insert("encryption".to_owned(), document);
    }
    bucket
}

fn remote(scenario: &Scenario, site: &Site) -> Target {
    let given = Given {
        arn: String::new(),
        endpoint: site.address().to_owned(),
        bucket: scenario.bucket.clone(),
        credentials: Credentials { access_key: site.access_key.clone(), secret_key: site.secret_key.clone() },
        bandwidth: 0,
        synchronous: false,
        proxy_disabled: false,
    };
    Target::new(format!("arn:minio:replication::{}:{}", uuid(), scenario.bucket), given)
}

fn rules(scenario: &Scenario, arn: &str) -> String {
    let switch = |on: bool| if on { "Enabled" } else { "Disabled" };
    let rule = &scenario.rule;
    format!(
        "<ReplicationConfiguration><Rule><ID>sandbox</ID><Status>Enabled</Status><Priority>1</Priority>\
         <DeleteMarkerReplication><Status>{}</Status></DeleteMarkerReplication><DeleteReplication><Status>{}</Status>\
         </DeleteReplication><Destination><Bucket>{arn}</Bucket></Destination><SourceSelectionCriteria>\
         <ReplicaModifications><Status>Enabled</Status></ReplicaModifications></SourceSelectionCriteria><Filter>{}\
         </Filter><ExistingObjectReplication><Status>{}</Status></ExistingObjectReplication></Rule><Role></Role>\
         </ReplicationConfiguration>",
        switch(rule.delete_markers),
        switch(rule.deletes),
        element("Prefix", &rule.prefix),
        switch(rule.existing_objects)
    )
}

/// The versions of a source, one after the other.
struct Written<'a> {
    data: &'a Data,
    arn: &'a str,
    begun: Timestamp,
    all: Vec<(String, Version)>,
}

impl<'a> Written<'a> {
    fn new(data: &'a Data, begun: Timestamp, arn: &'a str) -> Self {
        Self { data, arn, begun, all: Vec::new() }
    }

    fn all(mut self) -> Vec<(String, Version)> {
        let data = self.data;
        for object in 0..data.objects {
            let folder = object % data.prefixes.max(1) + 1;
            let plain = || format!("2026/{folder:02}/invoice-{object:05}.pdf");
            let key = STRANGE.get(object as usize).map_or_else(plain, |name| (*name).to_owned());
            for version in 0..data.versions {
                let mut made = self.version(content(object, version, data.size));
                made.headers.insert("x-amz-meta-customer".to_owned(), format!("{}", 1000 + object));
                if data.tagged.takes(object.into()) {
                    made.tags.push(("year".to_owned(), "2026".to_owned()));
                }
                self.put(&key, made);
            }
            if object >= data.objects.saturating_sub(data.delete_markers) {
                let marker = Version::marker(uuid(), self.at());
                self.put(&key, marker);
            }
        }
        self.besides();
        self.all
    }

    /// Keys of other shapes.
    fn besides(&mut self) {
        let data = self.data;
        for n in 0..data.multipart {
            self.versions(&format!("multipart/{n:03}.bin"), |n, made| multipart(made, content(n, 0, data.size)));
        }
        for n in 0..data.empty {
            self.versions(&format!("empty/{n:03}.txt"), |_, made| {
                made.body = Bytes::new();
                made.etag = hex::encode(Md5::digest([]));
            });
        }
        for n in 0..data.null_versions {
            self.versions(&format!("early/{n:03}.txt"), |version, made| {
                if version == 0 {
                    "null".clone_into(&mut made.id);
                }
            });
        }
        for n in 0..data.nested {
            self.versions(&format!("nested/{n:03}"), |_, _| {});
            self.versions(&format!("nested/{n:03}/below.txt"), |_, _| {});
        }
        for n in 0..data.legal_holds {
            self.versions(&format!("held/{n:03}.pdf"), |_, made| {
                made.headers.insert("x-amz-object-lock-legal-hold".to_owned(), "ON".to_owned());
            });
        }
        for n in 0..data.purge_pending {
            self.versions(&format!("purged/{n:03}.txt"), |version, made| {
                made.purge = (version == 0).then_some("PENDING");
            });
        }
        for prefix in &data.excluded_prefixes {
            for n in 0..data.excluded_objects {
                let mut made = self.version(content(n, 0, data.size));
                "null".clone_into(&mut made.id);
                let key = format!("{}{n:03}.tmp", prefix.replace('*', "any"));
                self.all.push((key, made));
            }
        }
    }

    /// All versions of one key, each changed by its number.
    fn versions(&mut self, key: &str, change: impl Fn(u32, &mut Version)) {
        for version in 0..self.data.versions {
            let mut made = self.version(content(u32::try_from(key.len()).unwrap_or(0), version, self.data.size));
            change(version, &mut made);
            self.put(key, made);
        }
    }

    fn version(&mut self, body: Bytes) -> Version {
        let etag = hex::encode(Md5::digest(&body));
        let mut made = Version::object(uuid(), self.at(), body, etag);
        made.headers.insert("content-type".to_owned(), "application/pdf".to_owned());
        if let Some(key) = &self.data.kms_key {
            made.headers.insert("x-amz-server-side-encryption".to_owned(), "aws:kms".to_owned());
            made.headers.insert("x-amz-server-side-encryption-aws-kms-key-id".to_owned(), key.clone());
        }
        if let Some(retention) = &self.data.retention {
            let until = made.modified.checked_add(SignedDuration::from_hours(24 * i64::from(retention.days)));
            made.headers.insert("x-amz-object-lock-mode".to_owned(), retention.mode.text().to_owned());
            let until = millis(until.unwrap_or(made.modified));
            made.headers.insert("x-amz-object-lock-retain-until-date".to_owned(), until);
        }
        made
    }

    /// Replicated long ago.
    fn put(&mut self, key: &str, mut version: Version) {
        version.replication.insert(self.arn.to_owned(), "COMPLETED");
        self.all.push((key.to_owned(), version));
    }

    fn at(&self) -> Timestamp {
        let nth = i64::try_from(self.all.len()).unwrap_or(0) + 1;
        self.begun.checked_add(SignedDuration::from_millis(nth * 6_037)).unwrap_or(self.begun)
    }
}

pub(super) fn content(object: u32, version: u32, size: u32) -> Bytes {
    let line = format!("invoice {object}, version {version}\n");
    line.bytes().cycle().take(size as usize + (object % 7) as usize).collect::<Vec<u8>>().into()
}

/// As an upload in two parts leaves it.
fn multipart(version: &mut Version, last: Bytes) {
    let parts = [std::mem::take(&mut version.body), last];
    let digests: Vec<u8> = parts.iter().flat_map(Md5::digest).collect();
    version.etag = format!("{}-{}", hex::encode(Md5::digest(digests)), parts.len());
    version.parts = parts.iter().map(Bytes::len).collect();
    version.body = parts.concat().into();
}

/// What arrived on the target and is still there.
fn replicas(scenario: &Scenario, bucket: &Bucket) -> Keys {
    let missing = scenario.damage.missing;
    if let Some(computed) = bucket.keys.computed() {
        return Keys::of(computed.replicas(missing));
    }
    let in_scope = |key: &str| key.starts_with(&scenario.rule.prefix) && bucket.versioned(key);
    let mut nth = 0;
    let mut kept = |_: &Version| {
        nth += 1;
        !missing.takes(nth)
    };
    let replica =
        |version: &Version| Version { replica: true, replication: BTreeMap::new(), purge: None, ..version.clone() };
    let all = bucket.keys.range("").filter(|(key, _)| in_scope(key));
    all.map(|(key, versions)| (key.into_owned(), versions.iter().filter(|v| kept(v)).map(replica).collect())).collect()
}

fn damage(scenario: &Scenario, copy: &mut Bucket, now: Timestamp) {
    let damage = &scenario.damage;
    if damage.lock_lost {
        copy.lock = false;
        copy.documents.remove("object-lock");
    }
    let objects = copy.keys.range("").flat_map(|(key, versions)| {
        let ids = versions.iter().filter(|version| !version.marker).map(|version| version.id.clone());
        ids.map(|id| (key.to_string(), id)).collect::<Vec<_>>()
    });
    let changed: Vec<(String, String)> = objects.take(damage.different as usize).collect();
    for (key, id) in changed {
        if let Some(version) = copy.find_mut(&key, &id) {
            version.body = Bytes::from_static(b"not what was written");
            version.etag = hex::encode(Md5::digest(&version.body));
        }
    }
    for n in 0..damage.extra {
        let body = Bytes::from(format!("written on the target only: {n}\n"));
        let etag = hex::encode(Md5::digest(&body));
        copy.insert(&format!("stray/{n:03}.txt"), Version::object(uuid(), now, body, etag));
    }
}
