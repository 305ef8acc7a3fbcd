//! Rules that would leave something out.

use super::{Bench, Expected, stock};
use crate::{
    pair::{EVERYTHING, Pair, Rule, needs_minio},
    seed,
};

fn flags(flags: &str) -> Rule {
    Rule { flags: flags.into(), ..Rule::default() }
}

#[test]
fn a_bucket_without_rules_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    pair.make_bucket("source", "pre-no-rules", false);
    pair.make_bucket("target", "pre-no-rules", false);
    stock(&pair.source, "pre-no-rules");
    let bench = Bench::new(pair, "pre-no-rules");
    bench.both_refuse(&Expected {
        id: "replication_configured",
        says: &["mc replicate add source/pre-no-rules"],
        ..Expected::default()
    });
    bench.paste_remedy("replication_configured");
}

#[test]
fn a_disabled_rule_is_refused() {
    needs_minio!();
    let bench = Bench::stocked(Pair::shared(), "pre-disabled", &Rule::default());
    bench.update_rule(&["--state", "disable"]);
    let enable = format!("mc replicate update source/pre-disabled --id {} --state enable", bench.rule_id());
    bench.both_refuse(&Expected { id: "rule_enabled", says: &[&enable], ..Expected::default() });
    bench.paste_remedy("rule_enabled");
}

#[test]
fn a_rule_without_existing_objects_is_refused() {
    needs_minio!();
    let rule = flags("delete,delete-marker,metadata-sync");
    let bench = Bench::stocked(Pair::shared(), "pre-not-existing", &rule);
    let says = ["a resync leaves them out", "--replicate \"delete,delete-marker,existing-objects,metadata-sync\""];
    bench.both_refuse(&Expected { id: "existing_objects_enabled", says: &says, ..Expected::default() });
    bench.paste_remedy("existing_objects_enabled");
}

/// Trap 14: without `DeleteReplication` a resync brings deleted objects back to life.
#[test]
fn delete_markers_that_a_resync_would_lose_are_refused_before_anything_is_changed() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-no-deletes", &flags("delete-marker,existing-objects,metadata-sync"));
    bench.verify_warns(&Expected {
        id: "delete_replication_enabled",
        says: &["the source has no delete markers yet", "--replicate \"delete,"],
        ..Expected::default()
    });

    seed::delete(&pair.source, "pre-no-deletes", "a");
    pair.wait_replicated("pre-no-deletes");
    pair.lose_bucket("target", "pre-no-deletes");
    let expected = Expected {
        id: "delete_replication_enabled",
        says: &["deleted objects would come back to life", "mc replicate update source/pre-no-deletes --id"],
        ..Expected::default()
    };
    let before = bench.state();
    bench.recover(&[]).refused(&expected).sent_nothing();
    assert_eq!(bench.state(), before);
    assert!(!pair.bucket_exists("target", "pre-no-deletes"), "the bucket was made");
    bench.paste_remedy("delete_replication_enabled");
}

#[test]
fn a_rule_for_a_part_of_the_bucket_warns() {
    needs_minio!();
    let pair = Pair::shared();
    let untagged = "delete,existing-objects,metadata-sync";
    for (bucket, below, tags, flags, replicated, says) in [
        ("pre-prefix", "/deep/", "", EVERYTHING, 1, ["prefix `deep/`", "2 versions are outside"]),
        ("pre-tags", "", "tier=gold", untagged, 0, ["tag `tier=gold`", "a part of the bucket"]),
    ] {
        pair.make_bucket("source", bucket, false);
        pair.make_bucket("target", bucket, false);
        let (place, remote) = (format!("source/{bucket}{below}"), pair.target.remote(bucket));
        let add = ["replicate", "add", &place, "--remote-bucket", &remote, "--priority", "1", "--tags", tags];
        pair.mc(&[&add[..], &["--replicate", flags]].concat());
        stock(&pair.source, bucket);
        let bench = Bench::new(pair, bucket);
        bench.wait_target(replicated);
        bench.verify_warns(&Expected { id: "rule_scope", says: &says, ..Expected::default() });
    }
}

#[test]
fn a_rule_to_another_bucket_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    for (alias, bucket) in [("source", "pre-elsewhere"), ("target", "pre-elsewhere"), ("target", "pre-other")] {
        pair.make_bucket(alias, bucket, false);
    }
    stock(&pair.source, "pre-elsewhere");
    pair.add_rule("source", "pre-elsewhere", &pair.target.remote("pre-other"), &Rule::default());
    let bench = Bench::new(pair, "pre-elsewhere");
    bench.both_refuse(&Expected {
        id: "target_registered",
        says: &[
            "is target/pre-elsewhere: arn:",
            "/pre-other",
            "mc replicate add source/pre-elsewhere --remote-bucket \"http://KEY:SECRET@127",
        ],
        ..Expected::default()
    });
}
