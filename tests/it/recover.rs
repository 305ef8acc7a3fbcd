//! A bucket that the target lost is rebuilt on a real pair; what both buckets hold afterwards is the judge.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode};

use crate::{
    client::{block_on, s3},
    pair::{Pair, Rule, Server, needs_minio},
    scene::{
        assert_audited, assert_rebuilt, assert_same_attributes, everything, lost, next_second, operator, output, over,
        recover, shipped,
    },
    seed::{self, Entry},
};

#[test]
fn a_lost_bucket_is_rebuilt_version_by_version() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-lost");
    let source = lost(pair, bucket, &Rule::default());
    let configured = seed::bucket_fingerprint(&pair.source, bucket);
    let drill = operator(pair);
    let run = recover(&drill, bucket).run().exit(0).says("HELD").says("source (kept) → target (rebuilt)");
    assert_rebuilt(pair, bucket, &source);
    let attributes = assert_same_attributes(pair, bucket, "", 4);
    for kind in ["tag ", "meta ", "content type"] {
        let seen = attributes.iter().any(|one| one.keys().any(|name| name.starts_with(kind)));
        assert!(seen, "no version of the sample has a `{kind}`");
    }
    assert_audited(&drill);
    assert_eq!(output(&drill, "damage")["missing"], source.len());
    assert_eq!(output(&drill, "recover")["outcome"], "recovered");
    assert_eq!(output(&drill, "validate")["versions"], source.len());
    // The remote targets' reset id is new; nothing else of the source's bucket is.
    let without_reset = |text: &str| {
        text.lines().filter(|line| !line.contains("reset")).map(str::to_owned).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_reset(&seed::bucket_fingerprint(&pair.source, bucket)), without_reset(&configured));
    let head = drill.clone().args(["audit", "verify", "latest", "--output", "json"]).run().exit(0).json();
    assert!(run.stdout.contains(head["head"].as_str().unwrap()), "the head is printed at the end:\n{}", run.stdout);
}

#[test]
fn a_locked_bucket_comes_back_with_its_lock_retention_and_legal_holds() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-locked");
    pair.replicate(bucket, &Rule { lock: true, ..Rule::default() });
    pair.mc(&["retention", "set", "--default", "GOVERNANCE", "2d", &format!("source/{bucket}")]);
    seed::fill(&pair.source, bucket, 3);
    let held: Vec<Entry> = seed::inventory(&pair.source, bucket)
        .into_iter()
        .filter(|entry| !entry.is_delete_marker && entry.key.starts_with("data/00"))
        .collect();
    assert!(held.len() > 5);
    for entry in &held {
        hold(&pair.source, bucket, entry);
    }
    retain(&pair.source, bucket, &held[0]);
    // A server that sends a multipart object's metadata once more, which it does when the default retention ends at a
    // fraction of a second here and at a whole one there, gives it another ETag until the next resync.
    pair.wait_arrived(bucket);
    // The damaged site loses even what it must not lose.
    pair.lose_bucket("target", bucket);

    let source = seed::inventory(&pair.source, bucket);
    let drill = operator(pair);
    recover(&drill, bucket).run().exit(0);
    assert_rebuilt(pair, bucket, &source);
    let attributes = assert_same_attributes(pair, bucket, "", 1);
    let with =
        |name: &str, value: &str| attributes.iter().filter(|one| one.get(name).is_some_and(|v| v == value)).count();
    assert_eq!(with("legal hold", "ON"), held.len());
    assert_eq!(with("lock mode", "GOVERNANCE"), attributes.len());
    assert!(attributes.iter().any(|one| one["retained until"] == UNTIL.to_string()), "the longer retention is gone");
    let lock = |server: &Server| {
        configuration(server, bucket).into_iter().find(|line| line.starts_with("object-lock")).unwrap()
    };
    assert!(lock(&pair.target).contains("<Mode>GOVERNANCE</Mode><Days>2</Days>"), "{}", lock(&pair.target));
    assert_eq!(lock(&pair.source), lock(&pair.target));
    assert_audited(&drill);
}

#[test]
fn excluded_prefixes_and_default_encryption_come_back_too() {
    needs_minio!();
    let pair = Pair::shared();
    let set = |bucket: &str, arguments: &[&str]| {
        for alias in ["source", "target"] {
            let place = format!("{alias}/{bucket}");
            pair.mc(&[arguments, &[&place]].concat());
        }
    };
    let cases: [(&str, &[&str]); 3] = [
        ("recover-excluded", &["version", "enable", "--excluded-prefixes", "scratch/,tmp/"]),
        ("recover-sse-s3", &["encrypt", "set", "sse-s3"]),
        ("recover-sse-kms", &["encrypt", "set", "sse-kms", "my-minio-key"]),
    ];
    thread::scope(|scope| {
        for (bucket, arguments) in cases {
            let set = &set;
            scope.spawn(move || {
                pair.replicate(bucket, &Rule::default());
                set(bucket, arguments);
                seed::fill(&pair.source, bucket, 5);
                pair.wait_replicated(bucket);
                pair.lose_bucket("target", bucket);
                let source = seed::inventory(&pair.source, bucket);
                // Versioned nowhere and replicated by nobody where that prefix is excluded.
                let scratch = bucket == "recover-excluded";
                if scratch {
                    seed::put(&pair.source, bucket, "scratch/note", b"not kept");
                }
                let before = configuration(&pair.source, bucket);

                let drill = operator(pair);
                // Keys travel in the clear on a loopback address, which is what the check `tls` is about.
                let call = recover(&drill, bucket).args([
                    "recover",
                    &format!("source/{bucket}"),
                    &format!("target/{bucket}"),
                    "--confirm-target=target",
                    "--accept=tls=loopback",
                ]);
                call.run().exit(0);
                let differences = seed::differences(&source, &seed::inventory(&pair.target, bucket));
                assert!(differences.is_empty(), "{}", differences.join("\n"));
                assert_eq!(output(&drill, "validate")["out_of_scope"], u64::from(scratch));
                assert_eq!(configuration(&pair.target, bucket), before);
                let attributes = assert_same_attributes(pair, bucket, "data/", 8);
                let encrypted = attributes.iter().filter(|one| one.contains_key("encryption")).count();
                assert_eq!(encrypted, if bucket.contains("sse") { attributes.len() } else { 0 });
                assert_audited(&drill);
            });
        }
    });
    assert!(configuration(&pair.target, "recover-excluded").concat().contains("scratch/"));
    assert!(configuration(&pair.target, "recover-sse-kms").concat().contains("my-minio-key"));
}

#[test]
fn a_bucket_may_have_another_name_on_the_target() {
    needs_minio!();
    let (pair, here, there) = (Pair::shared(), "recover-here", "recover-there");
    pair.make_bucket("source", here, false);
    pair.make_bucket("target", there, false);
    pair.add_rule("source", here, &pair.target.remote(there), &Rule::default());
    seed::fill(&pair.source, here, 9);
    let source = seed::inventory(&pair.source, here);
    pair.lose_bucket("target", there);

    let drill = operator(pair);
    let places = [format!("source/{here}"), format!("target/{there}")];
    drill.clone().args(["recover", &places[0], &places[1], "--confirm-target", "target"]).run().exit(0);
    let differences = seed::differences(&source, &seed::inventory(&pair.target, there));
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(!pair.bucket_exists("target", here));
    assert_audited(&drill);
}

#[test]
fn a_target_that_lost_some_versions_gets_them_back_and_an_intact_one_loses_none() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-partial");
    pair.replicate(bucket, &Rule::default());
    seed::fill(&pair.source, bucket, 11);
    pair.wait_replicated(bucket);
    next_second();
    let source = seed::inventory(&pair.source, bucket);
    let nth = |(n, entry): (usize, _)| (n % 5 == 0).then_some(entry);
    let mut lost: Vec<&Entry> = source.iter().enumerate().filter_map(nth).filter(|e| !e.is_delete_marker).collect();
    lost.extend(source.iter().filter(|entry| entry.is_delete_marker && entry.key.starts_with("data/00")));
    assert!(lost.iter().any(|entry| entry.is_delete_marker));
    for entry in &lost {
        seed::delete_version(&pair.target, bucket, &entry.key, &entry.version_id);
    }
    assert_eq!(seed::inventory(&pair.target, bucket).len(), source.len() - lost.len());

    let drill = operator(pair);
    recover(&drill, bucket).run().exit(0);
    assert_eq!(output(&drill, "damage")["missing"], lost.len());
    assert_rebuilt(pair, bucket, &source);

    let drill = operator(pair);
    recover(&drill, bucket).run().exit(0);
    assert_eq!(output(&drill, "damage")["missing"], 0);
    assert_rebuilt(pair, bucket, &source);
}

#[test]
fn an_empty_source_is_refused() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-empty");
    pair.replicate(bucket, &Rule::default());
    pair.lose_bucket("target", bucket);
    let before = everything(pair, bucket);
    let drill = operator(pair);
    recover(&drill, bucket).run().exit(4).says("`recover-empty` on source `source` is empty").says("direction");
    assert_eq!(everything(pair, bucket), before);
    assert!(drill.events("intent").is_empty());
    assert_audited(&drill);

    // Nor is a comparison of nothing a proof of anything.
    let verify = ["verify", "source/recover-empty", "target/recover-empty", "-i", "settle=1s"];
    drill.clone().args(verify).run().exit(4).says("out.versions > 0");
}

#[test]
fn a_swapped_direction_changes_nothing() {
    needs_minio!();
    let pair = Pair::shared();
    for (bucket, two_way) in [("swapped-one-way", false), ("swapped-active", true)] {
        let rule = Rule { two_way, ..Rule::default() };
        lost(pair, bucket, &rule);
        if two_way {
            // Active-active, and the target was put up again with nothing in it: it could "resync" its emptiness.
            pair.make_bucket("target", bucket, false);
            pair.add_rule("target", bucket, &pair.source.remote(bucket), &rule);
        }
        let before = everything(pair, bucket);
        let drill = operator(pair);
        let (from, to) = (format!("target/{bucket}"), format!("source/{bucket}"));
        let swapped = drill.clone().args(["recover", &from, &to, "--confirm-target", "source"]);
        swapped.run().exit(4).says("is the direction right?");
        assert_eq!(everything(pair, bucket), before, "something was changed");
        assert!(drill.events("intent").is_empty());

        let runbook = shipped("resync_bucket.yaml");
        let (runbook, input) = (runbook.to_str().unwrap(), format!("bucket={bucket}"));
        let swapped = ["run", runbook, "--site", "source=target", "--site", "target=source", "-i", &input];
        drill.clone().args(swapped.iter().chain(&["--confirm-target=source", "--yes"])).run().exit(4);
        drill.clone().args(swapped.iter().chain(&["--confirm-target=target", "--yes"])).run().exit(3).says("direction");
        assert_eq!(everything(pair, bucket), before, "something was changed");
    }
}

#[test]
fn the_whole_procedure_waits_for_its_people() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-people");
    let source = lost(pair, bucket, &Rule::default());
    let before = everything(pair, bucket);
    let runbook = shipped("resync_bucket.yaml");
    let run = |more: &[&str]| {
        let drill = operator(pair);
        over(&drill, "run", runbook.to_str().unwrap(), bucket, &[&["--confirm-target", "target"], more].concat())
    };

    let no = run(&[]);
    let waits = no.run().exit(7).says("drain_traffic").says("firedrill approve");
    assert!(waits.stdout.contains(&no.run_id()), "{}", waits.stdout);
    assert_eq!(everything(pair, bucket), before, "something was changed before a person said yes");
    let refused = no.clone().args(["approve", &no.run_id(), "drain_traffic", "--no", "--comment", "not tonight"]);
    refused.run().exit(4).says("NOT HELD");
    assert_eq!(everything(pair, bucket), before);
    assert_eq!(no.events("answered")[0]["answer"]["comment"], "not tonight");
    assert_audited(&no);

    let yes = run(&[]);
    yes.run().exit(7);
    yes.clone().args(["show", "latest"]).run().exit(0).says("drain_traffic");
    yes.clone().args(["approve", &yes.run_id(), "resume_traffic"]).run().exit(3).says("asks nothing");
    yes.clone().args(["approve", &yes.run_id()]).run().exit(7).says("resume_traffic");
    assert_rebuilt(pair, bucket, &source);
    yes.clone().args(["approve", "latest", "resume_traffic"]).run().exit(0).says("HELD").says("waiting for people");
    assert_audited(&yes);
    assert!(yes.events("answered").iter().all(|line| line["answer"]["how"] == "approve"));

    pair.lose_bucket("target", bucket);
    let flags = run(&["--yes=drain_traffic", "--yes=resume_traffic"]);
    flags.run().exit(0);
    assert_eq!(flags.events("answered").len(), 2);
    assert!(flags.events("answered").iter().all(|line| line["answer"]["how"] == "flag"));
    assert_rebuilt(pair, bucket, &source);
}

#[test]
fn what_is_written_meanwhile_is_no_difference() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "recover-live");
    lost(pair, bucket, &Rule::default());
    let drill = operator(pair);
    let over = AtomicBool::new(false);
    let written = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut written = 0;
            while !over.load(Ordering::Relaxed) {
                let key = format!("live/{}", written % 7);
                if written % 5 == 4 {
                    seed::delete(&pair.source, bucket, &key);
                } else {
                    seed::put(&pair.source, bucket, &key, b"written meanwhile");
                }
                written += 1;
                thread::sleep(Duration::from_millis(30));
            }
            written
        });
        let ended = recover(&drill, bucket).run();
        over.store(true, Ordering::Relaxed);
        let written = writer.join().unwrap();
        ended.exit(0);
        written
    });
    assert!(written > 20, "only {written} writes");
    for step in ["recover", "validate"] {
        let output = output(&drill, step);
        assert_eq!(output["missing"], 0);
        assert!(output["versions"].as_u64().unwrap() >= 240);
    }
    let left_out = |step| output(&drill, step)["left_out"].as_u64().unwrap();
    assert!(left_out("recover") > 0, "no version came after the start of the resync");
    assert_audited(&drill);
    pair.wait_replicated(bucket);
}

/// Versioning, object lock and default encryption of a bucket; a server keeps the name space of a document or its lack.
fn configuration(server: &Server, bucket: &str) -> Vec<String> {
    let text = seed::bucket_fingerprint(server, bucket);
    let text = text.replace(" xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"", "");
    let shown = |line: &&str| ["versioning", "object-lock", "encryption"].iter().any(|name| line.starts_with(name));
    text.lines().filter(shown).map(str::to_owned).collect()
}

fn hold(server: &Server, bucket: &str, entry: &Entry) {
    block_on(async || {
        let client = s3(server);
        let hold = client.put_object_legal_hold().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        let hold = hold.legal_hold(ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On).build());
        hold.send().await.expect("the legal hold is set");
    });
}

/// In the year 2099, in seconds.
const UNTIL: i64 = 4_078_000_000;

fn retain(server: &Server, bucket: &str, entry: &Entry) {
    block_on(async || {
        let client = s3(server);
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(aws_sdk_s3::primitives::DateTime::from_secs(UNTIL))
            .build();
        let retain = client.put_object_retention().bucket(bucket).key(&entry.key).version_id(&entry.version_id);
        retain.retention(retention).send().await.expect("the retention is set");
    });
}
