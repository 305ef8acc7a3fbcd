//! All integration tests: one program, so that it is linked once and its tests share one pair of servers.
#![expect(clippy::disallowed_methods, reason = "tests run programs, wait, and read the environment")]

// `cfg(test)` tells clippy that helpers are test code too.
#[cfg(test)]
mod client;
#[cfg(test)]
mod pair;
#[cfg(test)]
mod seed;

use std::collections::BTreeSet;

use crate::pair::{Kms, Options, Pair, Rule, needs_minio};

#[test]
fn a_pair_replicates_versions_of_every_kind_and_loses_a_bucket() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "infra-smoke";
    let arn = pair.replicate(bucket, &Rule { lock: true, ..Rule::default() });
    assert!(arn.starts_with("arn:minio:replication::"), "{arn}");

    let versions = seed::fill(&pair.source, bucket, 1);
    let source = seed::inventory(&pair.source, bucket);
    assert_eq!(source.len(), versions);
    assert!(source.iter().filter(|entry| entry.is_delete_marker).count() > 10);
    assert!(source.iter().any(|entry| entry.etag.ends_with("-2")), "no multipart object");
    let keys: BTreeSet<&str> = source.iter().map(|entry| entry.key.as_str()).collect();
    for key in seed::STRANGE {
        assert!(keys.contains(key), "no `{key}`");
    }
    pair.wait_replicated(bucket);
    seed::assert_same(&pair.source, &pair.target, bucket);

    let before = seed::bucket_fingerprint(&pair.source, bucket);
    pair.lose_bucket("target", bucket);
    assert!(!pair.bucket_exists("target", bucket));
    assert_eq!(seed::inventory(&pair.source, bucket), source, "the source lost something too");
    assert_eq!(seed::bucket_fingerprint(&pair.source, bucket), before);
    assert!(before.contains("<ExistingObjectReplication><Status>Enabled"), "{before}");
    assert!(before.contains(&arn) && before.contains("<ObjectLockEnabled>Enabled"), "{before}");
}
