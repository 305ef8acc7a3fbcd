//! Wrong usage, wrong files, wrong places: the documented exit code, one clear message, nothing sent, nothing left.

use std::fs;

use crate::{
    case::{Firedrill, Outcome},
    pair::{Pair, needs_minio},
    scene::{Watched, assert_audited, assert_rebuilt, everything, operator, recover, shipped},
    seed,
};

/// Refused: this exit code, nothing on stdout, and a message that names `why`.
#[track_caller]
fn refused(drill: &Firedrill, args: &[&str], code: i32, why: &str) -> Outcome {
    let outcome = drill.clone().args(args).run().exit(code).says(why);
    assert!(outcome.stdout.is_empty(), "{args:?} prints:\n{}", outcome.stdout);
    assert!(!outcome.stderr.contains("panicked"), "{}", outcome.stderr);
    outcome
}

#[test]
fn wrong_usage_is_exit_2() {
    let drill = Firedrill::new();
    let calls: [&[&str]; 8] = [
        &["rebuild"],
        &["recover", "source", "target/bucket"],
        &["recover", "source/bucket"],
        &["run"],
        &["run", "some.yaml", "--site", "source"],
        &["run", "some.yaml", "--since", "yesterday"],
        &["approve"],
        &["runs", "--output", "yaml"],
    ];
    for call in calls {
        let outcome = refused(&drill, call, 2, "For more information, try '--help'");
        assert!(outcome.stderr.lines().count() < 60, "{}", outcome.stderr);
    }
    assert_eq!(fs::read_dir(drill.folder()).unwrap().count(), 0);
}

#[test]
fn a_file_that_cannot_be_read_or_is_no_runbook_is_exit_3_with_its_place() {
    let drill = Firedrill::new()
        .file("folder/file", "")
        .file(
            "bad.yaml",
            "format: 1\nrunbook: bad\nsummary: Wrong\nkind: verify\nroles: { site: { description: S } }\n\
                           steps:\n  - id: look\n    uses: site.chek\n    with: {}\n",
        )
        .file("inputs.yaml", "- a\n- list\n");
    for command in ["run", "plan", "check"] {
        for (file, why) in [("missing.yaml", "missing.yaml: cannot be read"), ("folder", "folder: cannot be read")] {
            let outcome = refused(&drill, &[command, file], 3, why);
            let lines = outcome.stderr.lines().filter(|line| !line.is_empty()).count();
            assert!(lines <= 2, "{}", outcome.stderr);
        }
        let bad = refused(&drill, &[command, "bad.yaml"], 3, "did you mean `site.check`?");
        assert!(bad.stderr.contains("bad.yaml:8:11"), "{}", bad.stderr);
        assert!(bad.stderr.contains("uses: site.chek") && bad.stderr.contains('^'), "{}", bad.stderr);
    }
    let verify = shipped("verify_replica.yaml");
    let verify = verify.to_str().unwrap();
    refused(&drill, &["run", verify, "--inputs", "nowhere.yaml"], 3, "nowhere.yaml: cannot be read");
    refused(&drill, &["run", verify, "--inputs", "inputs.yaml"], 3, "inputs.yaml");
    refused(&drill, &["steps", "resync.recovr"], 3, "did you mean `resync.recover`?");
    assert!(drill.run_folder().is_none());
}

#[test]
fn an_unknown_run_is_named_and_so_is_what_a_run_does_not_do() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "usage-runs");
    pair.make_bucket("source", bucket, false);
    let drill = operator(pair);
    for call in [&["show", "latest"], &["resume", "latest"], &["approve", "2026"], &["show", "nothing"]] {
        refused(&drill, call, 3, "there is no run").says("firedrill runs");
    }
    refused(&drill, &["audit", "verify", "nothing"], 3, "there is no run");
    drill.clone().args(["runs"]).run().exit(0).says("no runs in");
    assert!(!drill.folder().join("runs").exists());

    let looks = "format: 1\nrunbook: looks\nsummary: Looks\nkind: verify\nroles: { site: { description: A site } }\n\
                 steps:\n  - id: look\n    uses: site.check\n    with: { role: site }\n";
    let drill = drill.file("looks.yaml", looks);
    for alias in ["source", "target"] {
        drill.clone().args(["run", "looks.yaml", "--site", &format!("site={alias}")]).run().exit(0);
    }
    let day = drill.run_id()[..8].to_owned();
    refused(&drill, &["show", &day], 3, "fits more than one run");
    refused(&drill, &["resume", "latest"], 3, "has ended, and holds");
    refused(&drill, &["approve", "latest"], 3, "asks nothing");
    refused(&drill, &["approve", "latest", "look", "--no"], 3, "asks nothing");
    assert_audited(&drill);
}

#[test]
fn what_binds_a_run_wrongly_is_refused_before_anything_is_sent() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "usage-bound");
    let watched = Watched::new(pair);
    watched.replicate(pair, bucket);
    seed::put(&pair.source, bucket, "key", b"data");
    pair.wait_replicated(bucket);
    let before = everything(pair, bucket);
    let drill = &watched.drill;
    let (recover, resync) = (shipped("recover_bucket.yaml"), shipped("resync_bucket.yaml"));
    let (recover, resync) = (recover.to_str().unwrap(), resync.to_str().unwrap());
    let input = format!("bucket={bucket}");
    let (here, there) = (format!("source/{bucket}"), format!("target/{bucket}"));
    let bound = ["--site", "source=source", "--site", "target=target", "-i", &input];
    let run = |runbook: &'static str, more: &[&str], why: &str| {
        let runbook = if runbook == "recover" { recover } else { resync };
        refused(drill, &[&["run", runbook][..], &bound, more].concat(), 3, why)
    };

    refused(drill, &["recover", "sorce/bucket", &there, "--confirm-target=target"], 3, "sorce").says("MC_HOST_sorce");
    refused(drill, &["recover", &here, "nowhere/bucket", "--confirm-target=nowhere"], 3, "nowhere");
    refused(drill, &["recover", &here, &here, "--confirm-target=source"], 3, "same site");
    run("recover", &["--site", "witness=source"], "has no role `witness`: its roles are source, target");
    run("recover", &["--site", "source=target"], "role `source` is bound twice");
    refused(drill, &["run", recover, "--site", "source=source", "-i", &input], 3, "role `target`");
    refused(drill, &["run", recover, "--site", "source=source", "--site", "target=target"], 3, "bucket");
    run("recover", &["-i", "max_attempts=many"], "max_attempts");
    run("recover", &["-i", "max_attempts=0"], "max_attempts");
    run("recover", &["-i", "max_atempts=2"], "max_attempts");
    run("recover", &["-i", "target_bucket=No_Bucket"], "target_bucket");

    // Who is rebuilt must be said, and rightly.
    refused(drill, &["recover", &here, &there], 3, "`--confirm-target target`");
    refused(drill, &["recover", &here, &there, "--confirm-target", "source"], 3, "is the direction right?");
    run("resync", &["--yes"], "`--confirm-target ALIAS`");
    run("resync", &["--yes=drain_traffic"], "`--confirm-target target`");
    run("resync", &["--yes=nobody", "--confirm-target=target"], "no such step");

    assert!(watched.changing().is_empty(), "{:?}", watched.changing());
    assert_eq!(everything(pair, bucket), before);
    assert_nothing_left(drill);
}

#[test]
fn without_a_place_for_its_journal_nothing_is_begun() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "usage-journal");
    let watched = Watched::new(pair);
    let source = watched.lost(pair, bucket);
    let before = everything(pair, bucket);
    let drill = watched.drill.clone().file("plain", "a file");
    let call = recover(&drill, bucket);
    // Root may write everywhere, but not make a folder below a file or in /proc.
    for runs in ["plain", "plain/runs", "/dev/null/runs", "/proc/runs"] {
        let outcome = call.clone().env("FIREDRILL_RUNS", runs).run().exit(6).says("--runs DIR").says(runs);
        assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    }
    let left: Vec<_> = fs::read_dir(drill.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["plain"]);

    // A full disk: not even the runbook's copy fits.
    let outcome = call.clone().full_at(0).run().exit(6);
    assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    assert_eq!(runs(&drill), Vec::<String>::new(), "a half-written run was left behind");

    // It gets full in the middle of the first checks. What was written stands, and nothing was changed.
    let outcome = call.clone().full_at(8).run().exit(6).says("journal.jsonl");
    assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    // MinIO's own check is asked for, and has no bucket to write to.
    let changing = watched.changing();
    assert!(changing.iter().all(|request| request.has_query("replication-check")), "{changing:?}");
    assert_eq!(everything(pair, bucket), before);
    assert!(!drill.events("run_started").is_empty());
    drill.clone().args(["audit", "verify", "latest"]).run().exit(0).says("torn");
    // With room again the same run goes on.
    drill.clone().args(["resume", "latest"]).run().exit(0);
    assert_eq!(watched.starts(), 1);
    assert_rebuilt(pair, bucket, &source);
    assert_audited(&drill);
}

#[test]
fn a_journal_that_takes_not_even_its_first_line_leaves_no_run() {
    needs_minio!();
    let pair = Pair::shared();
    let short = "format: 1\nrunbook: short\nsummary: S\nkind: recovery\nroles: { source: { description: S }, target: { description: T } }\n\
                 inputs: { bucket: { type: bucket, description: B } }\n\
                 steps:\n  - { id: look, uses: versions.count, with: { bucket: \"{{ inputs.bucket }}\" } }\n";
    assert!(short.len() < 512);
    let drill = operator(pair).file("short.yaml", short);
    let bound = ["--site", "source=source", "--site", "target=target", "-i", "bucket=none", "--confirm-target=target"];
    let outcome = drill.clone().args(["run", "short.yaml"].iter().chain(&bound)).full_at(1).run().exit(6);
    assert_eq!(outcome.stderr.trim().lines().count(), 1, "{}", outcome.stderr);
    assert_nothing_left(&drill);
}

/// No run, not even a half-written one, and no claim.
#[track_caller]
fn assert_nothing_left(drill: &Firedrill) {
    assert_eq!(runs(drill), Vec::<String>::new(), "a run was left behind");
    let claims = fs::read_dir(drill.folder().join("runs/.claims")).into_iter().flatten().count();
    assert_eq!(claims, 0, "a claim was left behind");
}

/// The directories of runs, finished or not.
fn runs(drill: &Firedrill) -> Vec<String> {
    let Ok(entries) = fs::read_dir(drill.folder().join("runs")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with('.')).collect()
}
