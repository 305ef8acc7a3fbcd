//! The record on a third site: a real MinIO holds it, the two sites of the run are the sandbox's or a real pair.

use std::fs;

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    case::{Firedrill, Outcome},
    client::{block_on, s3},
    pair::{Pair, Rule, needs_minio},
    proxy::{At, Proxy},
    scene::{next_second, operator},
    seed,
    signed::{ALONE, needs_ssh, with_key},
};

/// A bucket on a real server, called `vault`, and a case that knows it.
fn vault(bucket: &str, lock: bool) -> (&'static Pair, Firedrill) {
    let pair = Pair::shared();
    pair.make_bucket("source", bucket, lock);
    (pair, Firedrill::new().file("alone.yaml", ALONE).site("vault", &pair.source))
}

fn run(drill: &Firedrill, place: &str, more: &[&str]) -> Outcome {
    drill.clone().args(["run", "alone.yaml", "--evidence", place].iter().chain(more)).run()
}

fn keys(pair: &Pair, bucket: &str) -> Vec<String> {
    seed::inventory(&pair.source, bucket).into_iter().map(|entry| entry.key).collect()
}

fn object(pair: &Pair, bucket: &str, key: &str) -> Vec<u8> {
    block_on(async || {
        let found = s3(&pair.source).get_object().bucket(bucket).key(key).send().await.expect("an object");
        found.body.collect().await.expect("its bytes").to_vec()
    })
}

#[test]
fn the_whole_record_is_stored_on_a_third_site_and_verified_from_there() {
    needs_minio!();
    needs_ssh!();
    let pair = Pair::shared();
    pair.make_bucket("source", "evidence-whole", false);
    let drill = with_key("").site("vault", &pair.source);
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/verify_replica.yaml");
    let args = ["run", runbook, "--sandbox=partial_loss", "-i", "settle=1s", "--sign-key", "key", "--output", "json"];
    let red = drill.clone().env("FIREDRILL_EVIDENCE", "vault/evidence-whole/firedrill/runs").args(args).run().exit(4);
    let (run, folder, json) = (drill.run_id(), drill.run_folder().unwrap(), red.json());
    let place = format!("site:vault/evidence-whole/firedrill/runs/{run}");
    assert_eq!(json["evidence"]["place"], place);
    assert_eq!(json["evidence"]["locked_until"], serde_json::Value::Null);
    assert_eq!(drill.events("run_started")[0]["evidence"], "vault/evidence-whole/firedrill/runs");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name().into_string().unwrap();
        let key = format!("firedrill/runs/{run}/{name}");
        assert!(object(pair, "evidence-whole", &key) == fs::read(entry.path()).unwrap(), "{name} differs");
        names.push(name);
    }
    assert!(names.iter().any(|name| name.ends_with(".differences.jsonl")), "{names:?}");
    for name in ["journal.jsonl", "runbook.yaml", "head.sig"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    assert_eq!(json["evidence"]["files"].as_u64(), Some(names.len() as u64));

    // Without the machine that it was made on.
    let elsewhere = with_key("").site("vault", &pair.source);
    fs::copy(drill.folder().join("allowed"), elsewhere.folder().join("allowed")).unwrap();
    let verify = |place: &str| elsewhere.clone().args(["audit", "verify", place, "--allowed-signers", "allowed"]).run();
    verify(&place).exit(0).says("verifies").says("not_held").says("signed by operator@example.com");
    verify("site:vault/evidence-whole/none").exit(3).says("there is no journal at");
    verify("site:vault").exit(3).says("site:ALIAS/BUCKET/PREFIX/RUN");
    let artifact = names.iter().find(|name| name.ends_with(".differences.jsonl")).unwrap();
    let key = |name: &str| format!("firedrill/runs/{run}/{name}");
    let put = |name: &str, bytes: &[u8]| seed::put(&pair.source, "evidence-whole", &key(name), bytes);
    let good = fs::read(folder.join(artifact)).unwrap();
    put(artifact, b"{}\n");
    verify(&place).exit(6).says("is not the file that the journal names");
    put(artifact, &good);
    verify(&place).exit(0);
    let journal = fs::read_to_string(folder.join("journal.jsonl")).unwrap();
    put("journal.jsonl", journal.replacen("partial", "whole", 1).replacen("missing", "present", 1).as_bytes());
    verify(&place).exit(6).says("does not follow the line before it");
}

#[test]
fn what_is_locked_cannot_be_deleted_before_its_time() {
    needs_minio!();
    let (pair, drill) = vault("evidence-locked", true);
    pair.mc(&["retention", "set", "--default", "COMPLIANCE", "1d", "source/evidence-locked"]);
    run(&drill, "vault/evidence-locked", &[]).exit(0).says("locked until").says("COMPLIANCE");
    let place = format!("site:vault/evidence-locked/{}", drill.run_id());
    drill.clone().args(["audit", "verify", &place]).run().exit(0).says("locked until").says("COMPLIANCE");
    let entries = seed::inventory(&pair.source, "evidence-locked");
    assert!(entries.len() >= 2, "{entries:?}");
    for entry in &entries {
        let refused = block_on(async || {
            let delete = s3(&pair.source).delete_object().bucket("evidence-locked").key(&entry.key);
            delete.version_id(&entry.version_id).bypass_governance_retention(true).send().await
        });
        assert!(refused.is_err(), "{entry:?} could be deleted");
    }
    assert_eq!(seed::inventory(&pair.source, "evidence-locked"), entries);
    drill.clone().args(["audit", "verify", &place]).run().exit(0);
    // Without a default retention it says that nothing is locked.
    let (_, drill) = vault("evidence-unlocked", true);
    run(&drill, "vault/evidence-unlocked/a", &[]).exit(0).says("not locked");
}

#[test]
fn a_site_of_the_run_may_not_hold_its_evidence() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "evidence-same");
    pair.replicate(bucket, &Rule::default());
    // By another name, and by another address.
    let proxy = Proxy::start(&pair.target.endpoint());
    let drill = operator(pair).site("twin", &pair.target.at(&proxy.endpoint()));
    let places = [format!("source/{bucket}"), format!("target/{bucket}")];
    for alias in ["source", "target", "twin"] {
        let evidence = format!("{alias}/{bucket}/x");
        let args = ["verify", &places[0], &places[1], "--evidence", &evidence];
        drill.clone().args(args).run().exit(3).says("must not hold the only proof").says("third site");
    }
    assert!(drill.run_folder().is_none());
}

#[test]
fn a_place_that_cannot_be_used_is_refused_before_anything_runs() {
    needs_minio!();
    let (pair, drill) = vault("evidence-refused", false);
    run(&drill, "vault/evidence-none/x", &[]).exit(3).says("there is no bucket `evidence-none` on `vault`");
    run(&drill, "nowhere/evidence-refused", &[]).exit(3).says("no site has the alias `nowhere`");
    run(&drill, "vault", &[]).exit(2).says("ALIAS/BUCKET/PREFIX");
    let policy = serde_json::json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::evidence-refused"] }] });
    let secret = pair.add_user("source", "evidence-reader", &policy);
    let reader = drill.clone().site("vault", &pair.source.as_user("evidence-reader", &secret));
    run(&reader, "vault/evidence-refused", &[]).exit(3).says("AccessDenied").says("audit store");
    assert!(drill.run_folder().is_none());
    assert!(keys(pair, "evidence-refused").is_empty());
}

#[test]
fn evidence_that_cannot_be_stored_is_not_green_and_is_stored_later() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "evidence-late");
    pair.make_bucket("source", bucket, false);
    let proxy = Proxy::start(&pair.source.endpoint());
    let drill = Firedrill::new().file("alone.yaml", ALONE).site("vault", &pair.source.at(&proxy.endpoint()));
    let journal = |request: &crate::proxy::Recorded| request.method == "PUT" && request.path.contains("journal.jsonl");
    proxy.cut(At::Request, 100, journal);
    let place = format!("vault/{bucket}/x");
    let red = run(&drill, &place, &[]).exit(6).says("HELD").says("THE EVIDENCE IS NOT STORED");
    let later = ["audit", "store", &drill.run_id()].join(" ");
    assert!(red.stderr.contains(&later), "{}", red.stderr);
    assert_eq!(drill.events("run_ended")[0]["verdict"], "held");
    assert!(!keys(pair, bucket).iter().any(|key| key.contains("journal")));
    // A verdict that is not green keeps its own code.
    next_second();
    run(&drill, &place, &["-i", "good=false"]).exit(4).says("THE EVIDENCE IS NOT STORED");
    let store = drill.clone().args(["audit", "store", "latest"]);
    store.run().exit(5).says("is not stored");
    proxy.clear();
    store.run().exit(0).says("stored run").says("2 files");
    let there = format!("site:vault/{bucket}/x/{}", drill.run_id());
    drill.clone().args(["audit", "verify", &there]).run().exit(0).says("not_held");

    // A site that is down when the run begins stops nothing.
    next_second();
    let down = drill.clone().env("MC_HOST_vault", "http://somekey:somesecret@127.0.0.1:1");
    let said = run(&down, &place, &[]).exit(6).says("it is tried again when the run ends").says("HELD");
    down.assert_no_secrets(&[&said], &["somesecret".to_owned()]);
    drill.clone().args(["audit", "store", "latest", "--output", "json"]).run().exit(0);
}

#[test]
fn a_run_that_waits_or_was_stopped_is_stored_and_stored_again_when_it_goes_on() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "evidence-resumed");
    pair.make_bucket("source", bucket, false);
    let asks = "format: 1\nrunbook: asks\nsummary: Asks\nkind: verify\nroles: {}\n\
        steps:\n  - { id: ask, uses: human.confirm, with: { prompt: Go on? } }\n";
    let drill = Firedrill::new().file("alone.yaml", asks).site("vault", &pair.source);
    run(&drill, &format!("vault/{bucket}"), &[]).exit(7);
    let there = format!("site:vault/{bucket}/{}", drill.run_id());
    let verify = |word: &str| drill.clone().args(["audit", "verify", &there]).run().exit(0).says(word);
    verify("waiting");
    // Where to is what the run began with.
    drill.clone().args(["approve", "latest"]).run().exit(0).says("evidence       site:vault/");
    verify("verdict held");

    let waits = asks.replace(
        "human.confirm, with: { prompt: Go on? }",
        "assert, until: { that: \"1 == 2\", every: 1s, deadline: 5m }, \
         with: { that: [{ holds: true, message: no }] }",
    );
    let drill = Firedrill::new().file("alone.yaml", &waits).site("vault", &pair.source);
    let place = format!("vault/{bucket}/stopped");
    let mut running = drill.clone().args(["run", "alone.yaml", "--evidence", &place]).spawn();
    running.wait_for_line(&drill, |line| line["event"] == "step_started" && line["path"] == "ask");
    running.signal("INT");
    running.wait().exit(130).says("evidence       site:vault/");
    let there = format!("site:{place}/{}", drill.run_id());
    drill.clone().args(["audit", "verify", &there]).run().exit(0).says("cancelled");
}

#[test]
fn what_is_stored_is_held_against_its_checksum_by_the_server() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "evidence-checksum");
    pair.make_bucket("source", bucket, false);
    let drill = Firedrill::new().file("alone.yaml", ALONE).site("vault", &pair.source);
    run(&drill, &format!("vault/{bucket}"), &[]).exit(0);
    let key = format!("{}/journal.jsonl", drill.run_id());
    let checksum = block_on(async || {
        let head = s3(&pair.source).head_object().bucket(bucket).key(&key);
        let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled).send().await.expect("an object");
        head.checksum_sha256().map(str::to_owned)
    });
    let journal = fs::read(drill.run_folder().unwrap().join("journal.jsonl")).unwrap();
    assert_eq!(checksum, Some(BASE64_STANDARD.encode(Sha256::digest(journal))));
}
