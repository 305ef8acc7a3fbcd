//! Buckets whose settings do not fit.

use aws_sdk_s3::types::BucketVersioningStatus;

use super::{Bench, Expected, stock};
use crate::{
    pair::{Pair, Rule, needs_minio},
    seed,
};

fn locked() -> Rule {
    Rule { lock: true, ..Rule::default() }
}

#[test]
fn versioning_that_is_off_on_the_target_is_refused_where_nothing_prepares_it() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-suspended", &Rule::default());
    seed::set_versioning(&pair.target, "pre-suspended", BucketVersioningStatus::Suspended);
    bench.verify_refuses(&Expected {
        id: "versioning_enabled",
        says: &["off on target bucket", "mc version enable target/pre-suspended"],
        ..Expected::default()
    });
    bench.paste_remedy("versioning_enabled");
}

/// MinIO does not let versioning be suspended under a rule, so there is no rule either.
#[test]
fn versioning_that_is_off_on_the_source_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    pair.mc(&["mb", "source/pre-unversioned"]);
    pair.make_bucket("target", "pre-unversioned", false);
    stock(&pair.source, "pre-unversioned");
    Bench::new(pair, "pre-unversioned").both_refuse(&Expected {
        id: "versioning_enabled",
        says: &["off on source bucket", "mc version enable source/pre-unversioned"],
        with: &["replication_configured"],
    });
}

#[test]
fn a_missing_bucket_on_the_target_is_refused_where_nothing_prepares_it() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-missing", &Rule::default());
    pair.lose_bucket("target", "pre-missing");
    bench.verify_refuses(&Expected {
        id: "versioning_enabled",
        says: &["target `target` has no bucket `pre-missing`"],
        ..Expected::default()
    });
}

#[test]
fn excluded_prefixes_warn_with_the_number_of_their_keys() {
    needs_minio!();
    let pair = Pair::shared();
    pair.make_bucket("source", "pre-excluded", false);
    pair.make_bucket("target", "pre-excluded", false);
    pair.mc(&["version", "enable", "source/pre-excluded", "--excluded-prefixes", "scratch/,deep/"]);
    pair.add_rule("source", "pre-excluded", &pair.target.remote("pre-excluded"), &Rule::default());
    stock(&pair.source, "pre-excluded");
    for key in ["scratch/1", "scratch/1", "scratch/2"] {
        seed::put(&pair.source, "pre-excluded", key, b"x");
    }
    let bench = Bench::new(pair, "pre-excluded");
    bench.wait_target(2);
    let says = ["scratch/", "3 keys", "mc mirror source/pre-excluded/"];
    bench.verify_warns(&Expected { id: "excluded_prefixes", says: &says, ..Expected::default() });
}

#[test]
fn object_lock_that_the_target_lacks_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-lock", &locked());
    pair.lose_bucket("target", "pre-lock");
    pair.make_bucket("target", "pre-lock", false);
    bench.both_refuse(&Expected {
        id: "object_lock_matches",
        says: &["target bucket `pre-lock` has not", "mc rb"],
        ..Expected::default()
    });
}

#[test]
fn default_retention_that_differs_is_refused_unless_it_can_be_prepared() {
    needs_minio!();
    let pair = Pair::shared();
    let retain = |place: &str, mode: &str, days: &str| pair.mc(&["retention", "set", "--default", mode, days, place]);

    let weaker = Bench::stocked(pair, "pre-weaker", &locked());
    retain("source/pre-weaker", "GOVERNANCE", "2d");
    retain("target/pre-weaker", "GOVERNANCE", "1d");
    weaker.verify_refuses(&Expected { id: "retention_matches", says: &["bucket.prepare"], ..Expected::default() });
    weaker.paste_remedy("retention_matches");

    let stricter = Bench::stocked(pair, "pre-stricter", &locked());
    retain("source/pre-stricter", "GOVERNANCE", "1d");
    retain("target/pre-stricter", "GOVERNANCE", "2d");
    let says = ["the target is the stricter one", "target/pre-stricter"];
    stricter.both_refuse(&Expected { id: "retention_matches", says: &says, ..Expected::default() });
    stricter.paste_remedy("retention_matches");
}

#[test]
fn null_versions_warn() {
    needs_minio!();
    let pair = Pair::shared();
    for alias in ["source", "target"] {
        pair.mc(&["mb", &format!("{alias}/pre-nulls")]);
    }
    seed::put(&pair.source, "pre-nulls", "old", b"from before versioning");
    for server in [&pair.source, &pair.target] {
        seed::set_versioning(server, "pre-nulls", BucketVersioningStatus::Enabled);
    }
    pair.add_rule("source", "pre-nulls", &pair.target.remote("pre-nulls"), &Rule::default());
    stock(&pair.source, "pre-nulls");
    let bench = Bench::new(pair, "pre-nulls");
    // The `null` version may be sent at any time, because something looked at it.
    let settings = || [&pair.source, &pair.target].map(|server| seed::bucket_fingerprint(server, "pre-nulls"));
    let before = settings();
    let seen = bench.verify(&[]);
    assert_eq!(seen.step["verdict"], "held", "{}", seen.outcome.stdout);
    seen.has(
        "warn",
        &Expected { id: "null_versions", says: &["1 `null` versions on the source"], ..Expected::default() },
    );
    assert_eq!(settings(), before);
}

#[test]
fn expiry_that_only_the_target_has_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-expiry", &Rule::default());
    pair.mc(&["ilm", "rule", "add", "--expire-days", "30", "target/pre-expiry"]);
    let says = ["removes", "mc ilm rule edit --id", "--disable target/pre-expiry"];
    bench.both_refuse(&Expected { id: "lifecycle_safe", says: &says, ..Expected::default() });
    pair.mc(&["ilm", "rule", "add", "--expire-days", "30", "source/pre-expiry"]);
    bench.verify_warns(&Expected { id: "lifecycle_safe", says: &["as on the source"], ..Expected::default() });
    bench.paste_remedy("lifecycle_safe");
}
