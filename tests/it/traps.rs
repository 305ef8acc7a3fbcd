//! What MinIO says that is not so: each trap is caught by looking at the data, or before anything is sent.

use std::time::Duration;

use aws_sdk_s3::types::BucketVersioningStatus;
use firedrill::{
    secret::Secret,
    site::{Site, SiteSpec, Value, Wire},
    step::Reads,
    types::BucketName,
};
use serde_json::json;

use crate::{
    client::{block_on, s3},
    link::{Link, finding, reset_ids, step_end},
    pair::{Pair, Rule, Server, needs_minio},
    proxy::At,
    scene::next_second,
    seed,
};

/// Watches a job that another client started, and looks at the data.
const WATCH: &str = "
  - { id: monitor, uses: resync.monitor, with: { bucket: BUCKET, arn: ARN, reset_id: RESET, every: 1s } }
  - { id: compare, uses: versions.compare, with: { bucket: BUCKET, before: now } }
";

const START: &str = r#"
  - { id: start, uses: resync.start, with: { bucket: BUCKET, arn: ARN, when_running: RUNNING } }
  - { id: monitor, uses: resync.monitor, with: { bucket: BUCKET, arn: ARN, reset_id: "{{ steps.start.reset_id }}", every: 1s } }
  - { id: compare, uses: versions.compare, with: { bucket: BUCKET, before: now, settle: SETTLE } }
"#;

fn start(when_running: &str, settle: &str) -> String {
    START.replace("RUNNING", when_running).replace("SETTLE", settle)
}

#[test]
fn a_completed_resync_with_versions_missing_does_not_hold() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "trap-denied";
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"] },
        { "Effect": "Deny", "Action": ["s3:ReplicateObject"], "Resource": [format!("arn:aws:s3:::{bucket}/denied/*")] }] });
    let secret = pair.add_user("target", "half-replicator", &policy);
    pair.make_bucket("source", bucket, false);
    pair.make_bucket("target", bucket, false);
    for n in 0..20 {
        seed::put(&pair.source, bucket, &format!("allowed/{n}"), b"data");
        seed::put(&pair.source, bucket, &format!("denied/{n}"), b"data");
    }
    next_second();
    let replicator = pair.target.as_user("half-replicator", &secret);
    let link = Link::new(pair, bucket).connect(&replicator, &Rule::default());

    let run = link.run(&start("refuse", "0s"));
    run.run().exit(4).says("NOT HELD").says("missing");
    let monitor = step_end(&run, "monitor");
    assert_eq!((&monitor["verdict"], &monitor["output"]["status"]), (&json!("held"), &json!("Completed")));
    let compare = step_end(&run, "compare");
    assert!(compare["output"]["missing"].as_u64() >= Some(20), "{compare:#}");

    // The whole job says the same, with the reason, and does not loop over what cannot be sent.
    let run = link.recover(&["-i", "settle=2s", "-i", "max_attempts=2"]);
    let outcome = run.run().exit(4).says("20 missing").says("remedy");
    let (text, remedy) = finding(&step_end(&run, "recover"), "remaining");
    assert!(text.contains("of the first 20 that remain") && text.contains("denied/"), "{text}");
    assert!(remedy.contains("s3:ReplicateObject") || remedy.contains("the source's log"), "{remedy}");
    finding(&step_end(&run, "recover"), "attempts_used_up");
    let ids = reset_ids(&run);
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ids:?}");
    let mut secrets = pair.secrets();
    secrets.push(secret);
    run.assert_no_secrets(&[&outcome], &secrets);
}

#[test]
fn a_reused_reset_id_does_nothing_and_is_found_out() {
    needs_minio!();
    let pair = Pair::shared();
    let link = Link::damaged(pair, "trap-reused");
    assert_eq!(link.start("used-before").0, 200);
    link.wait_over("used-before");
    pair.wait_replicated(&link.bucket);
    seed::empty(&pair.target, &link.bucket);
    assert_eq!(link.start("used-before").0, 200);
    let status = link.wait_over("used-before");
    assert_eq!((&status["resyncStatus"], &status["replicationCount"]), (&json!("Completed"), &json!(0)), "{status}");

    let run = link.run(&WATCH.replace("RESET", "used-before"));
    run.run().exit(4).says("missing");
    assert_eq!(step_end(&run, "monitor")["verdict"], "held");
    assert_eq!(step_end(&run, "compare")["output"]["missing"], crate::link::VERSIONS);

    // A reset id of its own does it.
    let run = link.recover(&[]);
    link.assert_rebuilt(run.run());
    assert!(!reset_ids(&run).contains(&"used-before".to_owned()));
}

#[test]
fn no_second_start_is_sent_while_a_resync_runs_and_it_can_be_adopted() {
    needs_minio!();
    let pair = Pair::shared();
    let link = Link::damaged(pair, "trap-running");
    let gate = link.hold();
    assert_eq!(link.start("theirs-1").0, 200);
    gate.wait_arrived();
    let before = seed::bucket_fingerprint(&pair.source, &link.bucket);
    assert!(before.contains("theirs-1"), "{before}");

    let run = link.run(&start("refuse", "0s"));
    run.run().exit(4).says("already_running").says("when_running: adopt");
    let (text, _) = finding(&step_end(&run, "start"), "already_running");
    assert!(text.contains("`theirs-1`"), "{text}");
    link.recover(&[]).run().exit(4).says("no_resync_running").says("theirs-1");
    assert_eq!(link.starts(), 0);
    assert_eq!(seed::bucket_fingerprint(&pair.source, &link.bucket), before, "a mark was left on the source");

    let run = link.run(&start("adopt", "1m"));
    let mut running = run.spawn();
    running.wait_for_line(&run, |line| line["event"] == "step_ended" && line["path"] == "start");
    gate.release();
    link.assert_rebuilt(running.wait());
    let adopted = &step_end(&run, "start")["output"];
    assert_eq!((&adopted["reset_id"], &adopted["adopted"]), (&json!("theirs-1"), &json!(true)));
    assert_eq!(link.starts(), 0);
}

#[test]
fn a_foreign_start_in_the_middle_is_named() {
    needs_minio!();
    let pair = Pair::shared();
    let link = Link::damaged(pair, "trap-foreign");
    let gate = link.hold();
    let run = link.run(&start("refuse", "0s"));
    let mut running = run.spawn();
    running.wait_for_line(&run, |line| line["event"] == "receipt" && line["path"] == "start");
    let polls = link.source.hold(At::Request, |request| request.has_query("replication-reset-status"));
    polls.wait_arrived();
    gate.release();
    let ours = reset_ids(&run).remove(0);
    link.wait_over(&ours);
    assert_eq!(link.start("theirs-2").0, 200);
    polls.release();
    running.wait().exit(4).says("foreign_job");
    let monitor = step_end(&run, "monitor");
    let (text, remedy) = finding(&monitor, "foreign_job");
    assert!(text.contains(&format!("`{ours}` was replaced")) && text.contains("`theirs-2`"), "{text}");
    assert!(remedy.contains("one fixed node"), "{remedy}");
    assert_eq!(monitor["output"]["end"], "foreign_job");
}

#[test]
fn delete_markers_that_the_rule_does_not_send_are_missed() {
    needs_minio!();
    let pair = Pair::shared();
    let rule = Rule { flags: "delete-marker,existing-objects,metadata-sync".into(), ..Rule::default() };
    let link = Link::empty(pair, "trap-markers", &rule);
    let bucket = &link.bucket;
    for n in 0..6 {
        seed::put(&pair.source, bucket, &format!("key-{n}"), b"data");
    }
    let markers: Vec<_> = (0..3).map(|n| seed::delete(&pair.source, bucket, &format!("key-{n}"))).collect();
    pair.wait_replicated(bucket);
    pair.lose_bucket("target", bucket);
    link.recover(&[]).run().exit(4).says("delete_replication_enabled").says("remedy");
    assert!(!pair.bucket_exists("target", bucket), "something was changed");
    assert_eq!(link.starts(), 0);

    let accept = "delete_replication_enabled=the markers can wait";
    let run = link.recover(&["--accept", accept, "-i", "settle=2s", "-i", "max_attempts=1"]);
    run.run().exit(4).says("3 missing").says("waived").says("does not replicate deletes");
    let recovered = &step_end(&run, "recover")["output"];
    assert_eq!(recovered["missing"], 3, "{recovered:#}");
    let mut named: Vec<_> =
        recovered["remaining"].as_array().unwrap().iter().map(|one| one["version_id"].as_str().unwrap()).collect();
    named.sort_unstable();
    let mut markers: Vec<_> = markers.iter().map(String::as_str).collect();
    markers.sort_unstable();
    assert_eq!(named, markers);
    assert_eq!(seed::inventory(&pair.target, bucket).len(), 6, "the objects came back");
}

#[test]
fn an_object_that_the_target_only_fetches_from_the_source_is_missing() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "trap-proxied";
    let rule = Rule { two_way: true, ..Rule::default() };
    let link = Link::empty(pair, bucket, &rule);
    pair.add_rule("target", bucket, &pair.source.remote(bucket), &rule);
    let id = seed::put(&pair.source, bucket, "key", b"data");
    pair.wait_replicated(bucket);
    pair.lose_bucket("target", bucket);
    pair.make_bucket("target", bucket, false);
    pair.add_rule("target", bucket, &pair.source.remote(bucket), &rule);

    let plain = block_on(async || s3(&pair.target).head_object().bucket(bucket).key("key").send().await.is_ok());
    assert!(plain, "the target does not proxy, so nothing is tried here");
    let head = block_on(async || {
        let name = BucketName::try_from(bucket.to_owned()).unwrap();
        site(&pair.target).head(&name, "key", Some(&id)).await.unwrap()
    });
    assert!(head.is_none(), "the source's object was taken for the target's: {head:?}");

    let run = link.run("  - { id: compare, uses: versions.compare, with: { bucket: BUCKET } }\n");
    run.run().exit(4).says("missing");
    let compare = step_end(&run, "compare");
    assert_eq!(compare["output"]["missing"], 1, "{compare:#}");
    assert_eq!(compare["output"]["examples"][0]["version_id"], json!(id));
    link.recover(&[]).run().exit(0);
    seed::assert_same(&pair.source, &pair.target, bucket);
}

#[test]
fn versions_of_every_kind_over_several_pages_are_rebuilt_and_compared() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "trap-pages";
    pair.mc(&["mb", &format!("source/{bucket}")]);
    // Written before versioning: their version id is `null`.
    for n in 0..5 {
        assert_eq!(seed::put(&pair.source, bucket, &format!("null/{n}"), b"before"), "null");
    }
    seed::set_versioning(&pair.source, bucket, BucketVersioningStatus::Enabled);
    seed::put(&pair.source, bucket, "null/0", b"after");
    seed::delete(&pair.source, bucket, "null/1");
    seed::fill(&pair.source, bucket, 7);
    // Pages end after 1,000 versions, in the midst of a key among others.
    for key in ["a b/ü+%2F?.txt", "emoji/🔥🧯.txt", "null/2"] {
        seed::many(&pair.source, bucket, key, 60);
    }
    seed::small(&pair.source, bucket, 1_000);
    pair.make_bucket("target", bucket, false);
    let link = Link::new(pair, bucket).connect(&pair.target, &Rule::default());
    let source = seed::inventory(&pair.source, bucket);
    assert!(source.len() > 1_300, "{}", source.len());
    assert_eq!(source.iter().filter(|entry| entry.key.starts_with("null/") && entry.version_id == "null").count(), 5);

    let run = link.recover(&[]);
    link.assert_rebuilt(run.run());
    let validated = &step_end(&run, "validate")["output"];
    assert_eq!((&validated["versions"], &validated["same"]), (&json!(source.len()), &json!(source.len())));

    // One version less, and nothing but that is missing.
    let gone = source.iter().find(|entry| entry.key == "emoji/🔥🧯.txt").expect("a version");
    seed::delete_version(&pair.target, bucket, &gone.key, &gone.version_id);
    let run = link.run("  - { id: compare, uses: versions.compare, with: { bucket: BUCKET } }\n");
    run.run().exit(4).says("1 version missing");
    let examples = &step_end(&run, "compare")["output"]["examples"];
    assert_eq!(examples.as_array().map(Vec::len), Some(1), "{examples}");
    assert_eq!((&examples[0]["key"], &examples[0]["version_id"]), (&json!(gone.key), &json!(gone.version_id)));
}

fn site(server: &Server) -> Site<Reads> {
    let spec = SiteSpec {
        alias: "dst".into(),
        endpoint: server.endpoint().parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new(&server.access_key)),
        secret_key: Value::Literal(Secret::new(&server.secret_key)),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        max_requests_per_second: None,
        drills: false,
    };
    Site::reading(Wire::new(spec).unwrap())
}
