//! What does not fit, takes long, or is under way already.

use super::{Bench, Expected};
use crate::{
    pair::{Pair, Rule, needs_minio},
    proxy::{At, Proxy},
    seed,
};

#[test]
fn a_quota_below_what_is_needed_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let bench = Bench::stocked(pair, "pre-quota", &Rule::default());
    seed::put(&pair.source, "pre-quota", "large", &vec![7; 300_000]);
    pair.wait_replicated("pre-quota");
    pair.mc(&["quota", "set", "target/pre-quota", "--size", "100KiB"]);
    let says = ["100.0 KiB", "the source holds 292", "mc quota set target/pre-quota"];
    bench.both_refuse(&Expected { id: "quota", says: &says, ..Expected::default() });
    bench.paste_remedy("quota");
}

#[test]
fn a_bandwidth_limit_warns_with_the_time_it_implies() {
    needs_minio!();
    let rule = Rule { arguments: vec!["--bandwidth".into(), "100M".into()], ..Rule::default() };
    let bench = Bench::stocked(Pair::shared(), "pre-bandwidth", &rule);
    let says = ["a second", "takes at least", "mc replicate update source/pre-bandwidth"];
    bench.verify_warns(&Expected { id: "bandwidth_limit", says: &says, ..Expected::default() });
    bench.paste_remedy("bandwidth_limit");
}

#[test]
fn plain_http_warns() {
    needs_minio!();
    let bench = Bench::stocked(Pair::shared(), "pre-plain", &Rule::default());
    let says = ["this machine to source `source`", "source to target", "--accept tls="];
    bench.verify_warns(&Expected { id: "tls", says: &says, ..Expected::default() });
}

#[test]
fn a_resync_that_runs_already_is_refused() {
    needs_minio!();
    let pair = Pair::shared();
    let proxy = Proxy::start(&pair.target.endpoint());
    let behind = pair.target.at(&proxy.endpoint());
    for alias in ["source", "target"] {
        pair.make_bucket(alias, "pre-running", false);
    }
    let arn = pair.add_rule("source", "pre-running", &behind.remote("pre-running"), &Rule::default());
    seed::put(&pair.source, "pre-running", "held/1", b"x");
    pair.wait_replicated("pre-running");
    let bench = Bench { target: behind, ..Bench::new(pair, "pre-running") };

    // The replica never arrives, so that the resync does not end.
    let gate = proxy.hold(At::Request, |request| request.method == "PUT" && request.path.contains("held/1"));
    seed::delete_version(
        &pair.target,
        "pre-running",
        "held/1",
        &seed::inventory(&pair.target, "pre-running")[0].version_id,
    );
    pair.mc(&["replicate", "resync", "start", "source/pre-running", "--remote-bucket", &arn]);
    gate.wait_arrived();
    let says = ["Ongoing", &arn, "mc replicate resync status source/pre-running"];
    bench.both_refuse(&Expected { id: "no_resync_running", says: &says, ..Expected::default() });
    gate.release();
}
