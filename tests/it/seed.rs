//! Fills buckets with versions of every kind, and lists them: the truth that tests hold results against.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use aws_sdk_s3::{
    Client,
    primitives::{ByteStream, DateTimeFormat},
    types::{
        BucketVersioningStatus, CompletedMultipartUpload, CompletedPart, ObjectLockLegalHold,
        ObjectLockLegalHoldStatus, VersioningConfiguration,
    },
};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::{
    client::{block_on, s3, signed},
    pair::Server,
};

/// Keys that break careless code.
pub(crate) const STRANGE: [&str; 22] = [
    "a b/ü+%2F?.txt",
    "emoji/🔥🧯.txt",
    "quotes/'single' \"double\".txt",
    "markup/<&>;]]>.xml",
    "trailing space ",
    "directory/",
    "directory/inside",
    "plus+plus",
    "percent%20percent%",
    "hash#fragment?query=1&b=2",
    "日本語/ファイル",
    "combining/e\u{301}",
    "combining/\u{e9}",
    "right to left/שלום",
    "tilde~dash-dot.under_score",
    "semi;colon:comma,at@",
    "equals=dollar$",
    "brackets[1]{2}(3)",
    "caret^pipe|back`tick",
    "star*bang!",
    "Upper/lower",
    "upper/lower",
];

/// One version of a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) version_id: String,
    pub(crate) is_delete_marker: bool,
    /// Empty for a delete marker.
    pub(crate) etag: String,
    pub(crate) size: i64,
    /// RFC 3339, as the server wrote it.
    pub(crate) last_modified: String,
}

/// What is put under one key, oldest first.
struct Plan {
    key: String,
    writes: Vec<Write>,
}

enum Write {
    Put {
        size: usize,
        tags: Option<String>,
        metadata: Vec<(String, String)>,
        content_type: &'static str,
    },
    Delete,
    /// Two parts of 5 MiB.
    Multipart,
}

/// Fills a versioned bucket with 240 versions and more: several a key, delete markers, tags, metadata, a multipart
/// object, empty objects, strange keys. The same seed gives the same content. Says how many versions there are now.
pub(crate) fn fill(server: &Server, bucket: &str, seed: u64) -> usize {
    let plans = plans(seed);
    let versions = plans.iter().map(|plan| plan.writes.len()).sum();
    assert!(versions >= 240, "only {versions} versions");
    block_on(async || {
        let client = s3(server);
        let puts = plans.iter().map(|plan| write(&client, bucket, plan, seed));
        stream::iter(puts).buffer_unordered(8).collect::<Vec<()>>().await;
    });
    versions
}

/// Puts many small objects, `data/0000` and so on.
pub(crate) fn small(server: &Server, bucket: &str, count: usize) {
    block_on(async || {
        let client = s3(server);
        let puts = (0..count).map(|n| {
            let put = client.put_object().bucket(bucket).key(format!("data/{n:04}"));
            async move {
                put.body(format!("{n}").into_bytes().into()).send().await.expect("the object is put");
            }
        });
        stream::iter(puts).buffer_unordered(8).collect::<Vec<()>>().await;
    });
}

/// Puts many versions of one key, one after the other.
pub(crate) fn many(server: &Server, bucket: &str, key: &str, count: usize) {
    block_on(async || {
        let client = s3(server);
        for n in 0..count {
            let put = client.put_object().bucket(bucket).key(key).body(format!("{n}").into_bytes().into());
            put.send().await.expect("the version is put");
        }
    });
}

/// Puts one object and gives back its version id.
pub(crate) fn put(server: &Server, bucket: &str, key: &str, body: &[u8]) -> String {
    block_on(async || {
        let sent = s3(server).put_object().bucket(bucket).key(key).body(body.to_vec().into()).send().await;
        sent.expect("the object is put").version_id().unwrap_or("null").to_owned()
    })
}

/// Deletes an object, which in a versioned bucket puts a delete marker on top, and gives back that one's version id.
pub(crate) fn delete(server: &Server, bucket: &str, key: &str) -> String {
    block_on(async || {
        let sent = s3(server).delete_object().bucket(bucket).key(key).send().await;
        sent.expect("the object is deleted").version_id().unwrap_or("null").to_owned()
    })
}

/// Removes one version for good.
pub(crate) fn delete_version(server: &Server, bucket: &str, key: &str, version_id: &str) {
    block_on(async || {
        let client = s3(server);
        let removal = client.delete_object().bucket(bucket).key(key).version_id(version_id);
        removal.bypass_governance_retention(true).send().await.expect("the version is removed");
    });
}

/// Removes every version of a bucket, legal holds or not, as far as nothing retains it in compliance mode.
pub(crate) fn empty(server: &Server, bucket: &str) {
    let entries = inventory(server, bucket);
    block_on(async || {
        let client = s3(server);
        let removals = entries.iter().map(|entry| remove(&client, bucket, entry));
        stream::iter(removals).buffer_unordered(8).collect::<Vec<()>>().await;
    });
}

async fn remove(client: &Client, bucket: &str, entry: &Entry) {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let removal = client.delete_object().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        // The header is refused on buckets without object lock only by other servers; MinIO ignores it there.
        let Err(why) = removal.bypass_governance_retention(true).send().await else { return };
        assert!(Instant::now() < end, "{entry:?} is not removed: {why:?}");
        // A legal hold, which the other site may put on again while it still replicates.
        let off = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
        let free = client.put_object_legal_hold().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        if free.legal_hold(off).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Turns versioning on, or suspends it.
pub(crate) fn set_versioning(server: &Server, bucket: &str, status: BucketVersioningStatus) {
    block_on(async || {
        let configuration = VersioningConfiguration::builder().status(status).build();
        let client = s3(server);
        let set = client.put_bucket_versioning().bucket(bucket).versioning_configuration(configuration);
        set.send().await.expect("versioning is set");
    });
}

/// Every version of a bucket, in the order of key and version id.
pub(crate) fn inventory(server: &Server, bucket: &str) -> Vec<Entry> {
    let mut entries = block_on(async || {
        let client = s3(server);
        let mut entries = Vec::new();
        let (mut key, mut version) = (None, None);
        loop {
            let page = client.list_object_versions().bucket(bucket);
            let page = page.set_key_marker(key).set_version_id_marker(version).send().await.expect("a listing");
            let time = |at: Option<&aws_sdk_s3::primitives::DateTime>| {
                at.and_then(|at| at.fmt(DateTimeFormat::DateTime).ok()).unwrap_or_default()
            };
            entries.extend(page.versions().iter().map(|version| Entry {
                key: version.key().unwrap_or_default().to_owned(),
                version_id: version.version_id().unwrap_or("null").to_owned(),
                is_delete_marker: false,
                etag: version.e_tag().unwrap_or_default().trim_matches('"').to_owned(),
                size: version.size().unwrap_or_default(),
                last_modified: time(version.last_modified()),
            }));
            entries.extend(page.delete_markers().iter().map(|marker| Entry {
                key: marker.key().unwrap_or_default().to_owned(),
                version_id: marker.version_id().unwrap_or("null").to_owned(),
                is_delete_marker: true,
                etag: String::new(),
                size: 0,
                last_modified: time(marker.last_modified()),
            }));
            if page.is_truncated() != Some(true) {
                return entries;
            }
            key = page.next_key_marker().map(str::to_owned);
            version = page.next_version_id_marker().map(str::to_owned);
        }
    });
    entries.sort();
    entries
}

/// What one listing has and the other has not, or has otherwise, in words.
pub(crate) fn differences(source: &[Entry], target: &[Entry]) -> Vec<String> {
    fn index(entries: &[Entry]) -> BTreeMap<(&str, &str), &Entry> {
        entries.iter().map(|entry| ((entry.key.as_str(), entry.version_id.as_str()), entry)).collect()
    }
    let (source, target) = (index(source), index(target));
    let missing =
        source.iter().filter(|(id, _)| !target.contains_key(*id)).map(|(_, entry)| format!("missing {entry:?}"));
    let extra = target.iter().filter(|(id, _)| !source.contains_key(*id)).map(|(_, entry)| format!("extra {entry:?}"));
    let other = source.iter().filter_map(|(id, entry)| {
        let there = target.get(id)?;
        (entry != there).then(|| format!("other {entry:?} / {there:?}"))
    });
    missing.chain(extra).chain(other).collect()
}

/// Both sites have the same versions in a bucket.
pub(crate) fn assert_same(source: &Server, target: &Server, bucket: &str) {
    let differences = differences(&inventory(source, bucket), &inventory(target, bucket));
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// All that is set on a bucket, as text: before and after are equal when nothing was changed. The reset id and date
/// of the remote targets are part of it (a refused start overwrites them); what moves by itself is not.
pub(crate) fn bucket_fingerprint(server: &Server, bucket: &str) -> String {
    const MOVING: [&str; 5] = ["isOnline", "latency", "lastOnline", "totalDowntime", "offlineCount"];
    let (_, remote) =
        signed(server, "GET", &format!("/minio/admin/v3/list-remote-targets?bucket={bucket}&type=replication"));
    let mut remote: Value = serde_json::from_str(&remote).unwrap_or_else(|_| json!(remote));
    for target in remote.as_array_mut().into_iter().flatten() {
        for field in MOVING {
            target.as_object_mut().expect("a remote target").remove(field);
        }
    }
    let mut lines = vec![format!("remote targets: {remote:#}")];
    for document in ["replication", "versioning", "object-lock", "encryption", "lifecycle", "policy", "tagging"] {
        let (status, text) = signed(server, "GET", &format!("/{bucket}?{document}="));
        // An error's document carries the id of the request.
        lines.push(if status == 200 { format!("{document}: {text}") } else { format!("{document}: {status}") });
    }
    lines.join("\n")
}

fn plans(seed: u64) -> Vec<Plan> {
    let mut random = Random(seed);
    let put = |n: usize, random: &mut Random| Write::Put {
        size: random.below(4_000) + 1,
        tags: n.is_multiple_of(3).then(|| format!("team=a%20b&n={n}")),
        metadata: if n.is_multiple_of(2) {
            vec![("note".into(), format!("n {n}")), ("Owner".into(), "x".into())]
        } else {
            vec![]
        },
        content_type: ["text/plain", "application/json", "application/octet-stream"][n % 3],
    };
    let mut plans: Vec<Plan> = (0..48)
        .map(|n| {
            let mut writes: Vec<Write> = (0..2 + random.below(4)).map(|i| put(n + i, &mut random)).collect();
            if n % 7 == 0 {
                writes.extend([Write::Delete, put(n, &mut random)]);
            }
            if n % 5 == 0 {
                writes.push(Write::Delete);
            }
            Plan { key: format!("data/{:02}/{n:03}.bin", n % 6), writes }
        })
        .collect();
    plans.extend(STRANGE.iter().enumerate().map(|(n, key)| {
        // A key that ends in a slash is a folder to MinIO, and a folder has no bytes and no versions worth the name.
        let writes =
            if key.ends_with('/') { vec![empty_put()] } else { vec![put(n, &mut random), put(n + 1, &mut random)] };
        Plan { key: (*key).to_owned(), writes }
    }));
    plans.extend((0..6).map(|n| Plan { key: format!("empty/{n}"), writes: vec![empty_put(), empty_put()] }));
    plans.push(Plan { key: "multipart.bin".into(), writes: vec![Write::Multipart] });
    plans
}

fn empty_put() -> Write {
    Write::Put { size: 0, tags: None, metadata: Vec::new(), content_type: "text/plain" }
}

async fn write(client: &Client, bucket: &str, plan: &Plan, seed: u64) {
    for (n, write) in plan.writes.iter().enumerate() {
        match write {
            Write::Put { size, tags, metadata, content_type } => {
                let body = content(seed, &plan.key, n, *size);
                let mut put = client.put_object().bucket(bucket).key(&plan.key).content_type(*content_type);
                for (name, value) in metadata {
                    put = put.metadata(name, value);
                }
                put.set_tagging(tags.clone()).body(body.into()).send().await.expect("the object is put");
            }
            Write::Delete => {
                client.delete_object().bucket(bucket).key(&plan.key).send().await.expect("the object is deleted");
            }
            Write::Multipart => multipart(client, bucket, &plan.key, seed).await,
        }
    }
}

async fn multipart(client: &Client, bucket: &str, key: &str, seed: u64) {
    let upload = client.create_multipart_upload().bucket(bucket).key(key).send().await.expect("an upload");
    let id = upload.upload_id().expect("its id");
    let mut parts = Vec::new();
    for number in 1..=2 {
        let body = ByteStream::from(content(seed, key, usize::try_from(number).unwrap(), 5 << 20));
        let part = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number).body(body);
        let part = part.send().await.expect("the part is put");
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let end = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id).multipart_upload(parts);
    end.send().await.expect("the upload is complete");
}

fn content(seed: u64, key: &str, n: usize, size: usize) -> Vec<u8> {
    let mut random = Random(key.bytes().fold(seed ^ n as u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte)));
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// `SplitMix64`: the same numbers for the same seed, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}
