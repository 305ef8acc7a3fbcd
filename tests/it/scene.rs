//! The scenes that end-to-end tests begin with: a pair as an operator sees it, and a bucket that the target lost.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;

use crate::{
    case::Firedrill,
    client::{block_on, s3},
    pair::{Pair, Rule, Server},
    proxy::Proxy,
    seed::{self, Entry},
};

/// A call that knows both sites by their names.
pub(crate) fn operator(pair: &Pair) -> Firedrill {
    Firedrill::new().site("source", &pair.source).site("target", &pair.target)
}

/// `firedrill recover` of a bucket of the same name on both sites, confirmed.
pub(crate) fn recover(drill: &Firedrill, bucket: &str) -> Firedrill {
    let (source, target) = (format!("source/{bucket}"), format!("target/{bucket}"));
    drill.clone().args(["recover", &source, &target, "--confirm-target", "target", "-i", "settle=1m"])
}

/// The path of a shipped runbook.
pub(crate) fn shipped(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("runbooks").join(name)
}

/// A command over a shipped runbook (or another file), bound to both sites and a bucket.
pub(crate) fn over(drill: &Firedrill, command: &str, runbook: &str, bucket: &str, more: &[&str]) -> Firedrill {
    let input = format!("bucket={bucket}");
    let bound = [command, runbook, "--site", "source=source", "--site", "target=target", "-i", &input];
    drill.clone().args(bound.iter().chain(more))
}

/// Versions of every kind, replicated, and then the target loses the whole bucket.
pub(crate) fn lost(pair: &Pair, bucket: &str, rule: &Rule) -> Vec<Entry> {
    pair.replicate(bucket, rule);
    seed::fill(&pair.source, bucket, 7);
    pair.wait_replicated(bucket);
    pair.lose_bucket("target", bucket);
    next_second();
    seed::inventory(&pair.source, bucket)
}

/// Lets the second pass in which something was written: servers tell their time in whole ones, and what is not older
/// than that is left out of a comparison.
pub(crate) fn next_second() {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let began = second();
    while second() == began {
        thread::sleep(Duration::from_millis(20));
    }
}

/// The target's bucket has what the source's has, which is still what it was.
#[track_caller]
pub(crate) fn assert_rebuilt(pair: &Pair, bucket: &str, source: &[Entry]) {
    assert!(source.len() >= 240, "{} versions", source.len());
    let now = seed::differences(source, &seed::inventory(&pair.source, bucket));
    assert!(now.is_empty(), "the source is not what it was:\n{}", now.join("\n"));
    seed::assert_same(&pair.source, &pair.target, bucket);
}

/// Both sites behind recorders, through which the source replicates too, so that what it sends can be held.
pub(crate) struct Watched {
    pub(crate) source: Proxy,
    pub(crate) target: Proxy,
    pub(crate) drill: Firedrill,
}

impl Watched {
    pub(crate) fn new(pair: &Pair) -> Self {
        let (source, target) = (Proxy::start(&pair.source.endpoint()), Proxy::start(&pair.target.endpoint()));
        let drill = Firedrill::new()
            .site("source", &pair.source.at(&source.endpoint()))
            .site("target", &pair.target.at(&target.endpoint()));
        Self { source, target, drill }
    }

    /// As [`lost`], replicated through the target's recorder.
    pub(crate) fn lost(&self, pair: &Pair, bucket: &str) -> Vec<Entry> {
        self.replicate(pair, bucket);
        seed::fill(&pair.source, bucket, 7);
        pair.wait_replicated(bucket);
        pair.lose_bucket("target", bucket);
        next_second();
        seed::inventory(&pair.source, bucket)
    }

    /// Empty buckets on both sites, and a rule through the target's recorder.
    pub(crate) fn replicate(&self, pair: &Pair, bucket: &str) {
        pair.make_bucket("source", bucket, false);
        pair.make_bucket("target", bucket, false);
        pair.add_rule("source", bucket, &pair.target.at(&self.target.endpoint()).remote(bucket), &Rule::default());
    }

    /// How many starts of a resync were sent.
    pub(crate) fn starts(&self) -> usize {
        self.source.count(crate::proxy::Recorded::starts_resync)
    }

    /// What firedrill itself sent to the target that would change something; what the source replicates does not count.
    pub(crate) fn changing(&self) -> Vec<crate::proxy::Recorded> {
        let mut changing = self.source.changing();
        changing.extend(self.target.changing().into_iter().filter(|request| !request.user_agent.contains("minio-go")));
        changing
    }
}

/// Everything that is set on both buckets, and all they hold: equal before and after when nothing was changed.
pub(crate) fn everything(pair: &Pair, bucket: &str) -> String {
    let sites = [&pair.source, &pair.target].map(|server| {
        if !pair.bucket_exists(server.alias, bucket) {
            return format!("{}: no bucket", server.alias);
        }
        let held = seed::inventory(server, bucket);
        format!("{}: {}\n{held:#?}", server.alias, seed::bucket_fingerprint(server, bucket))
    });
    sites.join("\n")
}

/// What a listing does not show of a version: content type, user metadata, tags, retention and legal hold.
pub(crate) fn attributes(server: &Server, bucket: &str, entry: &Entry) -> BTreeMap<String, String> {
    block_on(async || {
        let client = s3(server);
        let head = client.head_object().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        let head = head.send().await.unwrap_or_else(|why| panic!("{}: {why:?}", entry.key));
        let tags = client.get_object_tagging().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        let tags = tags.send().await.expect("its tags");
        let metadata =
            head.metadata().into_iter().flatten().map(|(name, value)| (format!("meta {name}"), value.clone()));
        let mut found: BTreeMap<String, String> = metadata.collect();
        found.extend(tags.tag_set().iter().map(|tag| (format!("tag {}", tag.key()), tag.value().to_owned())));
        let rest = [
            ("content type", head.content_type().map(str::to_owned)),
            ("lock mode", head.object_lock_mode().map(|mode| mode.as_str().to_owned())),
            ("retained until", head.object_lock_retain_until_date().map(|until| until.secs().to_string())),
            ("legal hold", head.object_lock_legal_hold_status().map(|hold| hold.as_str().to_owned())),
            ("encryption", head.server_side_encryption().map(|sse| sse.as_str().to_owned())),
        ];
        found.extend(rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        found
    })
}

/// Every `nth` version below a prefix that is no delete marker has the same attributes on both sites; gives back those of the source.
#[track_caller]
pub(crate) fn assert_same_attributes(
    pair: &Pair,
    bucket: &str,
    prefix: &str,
    nth: usize,
) -> Vec<BTreeMap<String, String>> {
    let entries = seed::inventory(&pair.source, bucket);
    let sample = entries.iter().filter(|entry| !entry.is_delete_marker && entry.key.starts_with(prefix)).step_by(nth);
    let compare = |entry: &Entry| {
        let source = attributes(&pair.source, bucket, entry);
        assert_eq!(attributes(&pair.target, bucket, entry), source, "{entry:?}");
        source
    };
    sample.map(compare).collect()
}

/// The output of a step of the newest run.
pub(crate) fn output(drill: &Firedrill, step: &str) -> Value {
    let ended = drill.events("step_ended").into_iter().rfind(|line| line["path"] == step);
    ended.unwrap_or_else(|| panic!("`{step}` did not end"))["output"].clone()
}

/// The journal of the newest run verifies: its chain, the order of its events, the files beside it.
pub(crate) fn assert_audited(drill: &Firedrill) {
    drill.clone().args(["audit", "verify", &drill.run_id()]).run().exit(0).says("verifies");
}
