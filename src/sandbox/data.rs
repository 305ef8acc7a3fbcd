//! What the sites hold at the beginning: made up, the same in every run save for ids and times.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};

use super::{
    scenario::Scenario,
    site::Site,
    store::{Bucket, Version},
    targets::{Credentials, Given, Target},
    wire::uuid,
};

/// Names that trip up clients, after these come plain ones.
const STRANGE: [&str; 4] =
    ["Über uns/Größe & Maß+50%.txt", "emoji/🦀.bin", "quote\"'<>&.txt", "folder/of/folders/ end "];

/// Fills both sites: an established replication, and then what the scenario says happened to the target.
pub(super) fn fill(scenario: &Scenario, source: &Site, target: &Site, now: Timestamp) {
    let begun = now.checked_sub(SignedDuration::from_hours(24 * 30)).unwrap_or(now);
    let there = remote(scenario, target);
    let mut bucket = make(scenario, begun);
    for (key, version) in versions(scenario, begun, &there.arn) {
        bucket.insert(&key, version);
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
    let mut bucket = Bucket::new(at, scenario.data.lock);
    let versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    bucket.documents.insert("versioning".to_owned(), versioning.to_owned());
    if let Some(key) = &scenario.data.kms_key {
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
        super::wire::element("Prefix", &rule.prefix),
        switch(rule.existing_objects)
    )
}

fn versions(scenario: &Scenario, begun: Timestamp, arn: &str) -> Vec<(String, Version)> {
    let data = &scenario.data;
    let mut all = Vec::new();
    let mut nth = 0_i64;
    let mut at = || {
        nth += 1;
        begun.checked_add(SignedDuration::from_millis(nth * 61_037)).unwrap_or(begun)
    };
    for object in 0..data.objects {
        let plain = || format!("2026/{:02}/invoice-{object:05}.pdf", object % 12 + 1);
        let key = STRANGE.get(object as usize).map_or_else(plain, |name| (*name).to_owned());
        for version in 0..data.versions {
            let body = content(object, version, data.size);
            let etag = hex::encode(Md5::digest(&body));
            let mut made = Version::object(uuid(), at(), body, etag);
            made.headers.insert("content-type".to_owned(), "application/pdf".to_owned());
            made.headers.insert("x-amz-meta-customer".to_owned(), format!("{}", 1000 + object));
            if let Some(key) = &data.kms_key {
                made.headers.insert("x-amz-server-side-encryption".to_owned(), "aws:kms".to_owned());
                made.headers.insert("x-amz-server-side-encryption-aws-kms-key-id".to_owned(), key.clone());
            }
            if object % 5 == 0 {
                made.tags.push(("year".to_owned(), "2026".to_owned()));
            }
            made.replication.insert(arn.to_owned(), "COMPLETED");
            all.push((key.clone(), made));
        }
        if object >= data.objects.saturating_sub(data.delete_markers) {
            let mut marker = Version::marker(uuid(), at());
            marker.replication.insert(arn.to_owned(), "COMPLETED");
            all.push((key, marker));
        }
    }
    all
}

fn content(object: u32, version: u32, size: u32) -> Bytes {
    let line = format!("invoice {object}, version {version}\n");
    line.bytes().cycle().take(size as usize + (object % 7) as usize).collect::<Vec<u8>>().into()
}

fn replicas(scenario: &Scenario, bucket: &Bucket) -> std::collections::BTreeMap<String, Vec<Version>> {
    let in_scope = bucket.keys.iter().filter(|(key, _)| key.starts_with(&scenario.rule.prefix));
    let replica = |version: &Version| Version {
        replica: true,
        replication: std::collections::BTreeMap::new(),
        ..version.clone()
    };
    in_scope.map(|(key, versions)| (key.clone(), versions.iter().map(replica).collect())).collect()
}

fn damage(scenario: &Scenario, copy: &mut Bucket, now: Timestamp) {
    let damage = &scenario.damage;
    if damage.lock_lost {
        copy.lock = false;
        copy.documents.remove("object-lock");
    }
    let mut nth = 0_u32;
    for versions in copy.keys.values_mut() {
        versions.retain(|_| {
            nth += 1;
            // Spread over all keys: 37 has no factor in common with 100.
            nth * 37 % 100 >= u32::from(damage.missing.0)
        });
    }
    copy.keys.retain(|_, versions| !versions.is_empty());
    let objects = copy.keys.values_mut().flatten().filter(|version| !version.marker);
    for version in objects.take(damage.different as usize) {
        version.body = Bytes::from_static(b"not what was written");
        version.etag = hex::encode(Md5::digest(&version.body));
    }
    for n in 0..damage.extra {
        let body = Bytes::from(format!("written on the target only: {n}\n"));
        let etag = hex::encode(Md5::digest(&body));
        copy.insert(&format!("stray/{n:03}.txt"), Version::object(uuid(), now, body, etag));
    }
}
