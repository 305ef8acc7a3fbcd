//! The record of a run: read back by `show` and `runs`, and by `audit verify`, which nothing changed escapes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    case::Firedrill,
    pair::{Pair, Rule, needs_minio},
    scene::{assert_audited, next_second, operator},
    seed,
};

/// A finished run with an artifact: a comparison that found a version missing.
fn finished(bucket: &str) -> (Firedrill, PathBuf) {
    let pair = Pair::shared();
    pair.replicate(bucket, &Rule::default());
    for key in ["kept", "lost"] {
        seed::put(&pair.source, bucket, key, b"data");
    }
    pair.wait_replicated(bucket);
    let version = seed::inventory(&pair.target, bucket).into_iter().find(|entry| entry.key == "lost").unwrap();
    seed::delete_version(&pair.target, bucket, "lost", &version.version_id);
    next_second();
    let drill = operator(pair);
    let (here, there) = (format!("source/{bucket}"), format!("target/{bucket}"));
    drill.clone().args(["verify", &here, &there, "-i", "settle=1s"]).run().exit(4);
    let folder = drill.run_folder().unwrap();
    (drill, folder)
}

#[test]
fn a_finished_run_is_shown_listed_and_verified() {
    needs_minio!();
    let (drill, folder) = finished("record-shown");
    let run = drill.run_id();
    let call = |args: &[&str]| drill.clone().args(args).run().exit(0);
    let json = |args: &[&str]| call(&[args, &["--output", "json"]].concat()).json();

    call(&["show", &run]).says("NOT HELD").says("1 missing").says("lost").says("firedrill resume");
    let shown = json(&["show", &run]);
    assert_eq!((&shown["run"], &shown["verdict"]), (&run.clone().into(), &"not_held".into()));
    assert_eq!((shown["exit"].as_i64(), shown["ended"].as_bool()), (Some(4), Some(true)));
    assert_eq!(shown["steps"]["compare"]["output"]["missing"], 1);
    assert_eq!(shown["steps"]["compare"]["findings"][0]["id"], "missing");

    call(&["runs"]).says(&run).says("not_held").says("source=source");
    let listed = json(&["runs"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["run"], &listed[0]["verdict"]), (&run.clone().into(), &"not_held".into()));

    let lines = drill.journal().len();
    call(&["audit", "verify", &run]).says(&format!("{lines} lines")).says("verifies");
    let verified = json(&["audit", "verify", &run]);
    assert_eq!((verified["lines"].as_u64(), verified["torn_bytes"].as_u64()), (Some(lines as u64), Some(0)));
    assert_eq!(verified["files"].as_u64().unwrap(), 1 + shown["artifacts"].as_object().unwrap().len() as u64);
    assert!(verified["files"].as_u64().unwrap() >= 2, "{verified:#}");
    assert_eq!((&verified["head"], &verified["verdict"]), (&shown["head"], &"not_held".into()));
    // By path as well as by id, and by the shortest beginning or end that is unique.
    for name in
        [folder.to_str().unwrap(), folder.join("journal.jsonl").to_str().unwrap(), &run[run.len() - 4..], "latest"]
    {
        assert_eq!(json(&["audit", "verify", name])["head"], verified["head"]);
    }
}

#[test]
fn a_changed_journal_does_not_verify_and_the_line_is_named() {
    needs_minio!();
    let (drill, folder) = finished("record-changed");
    let path = folder.join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
    let unsound = |bytes: &[u8], line: usize| {
        fs::write(&path, bytes).unwrap();
        let outcome = drill.clone().args(["audit", "verify", "latest"]).run().exit(6);
        outcome.says(&format!("line {line}:")).says("does not verify");
    };
    let mut begin = 0;
    for (number, line) in (1..).zip(&lines) {
        let mut broken = whole.clone();
        broken[begin] ^= 1;
        unsound(&broken, number);
        // Still JSON, and still an event: the line after it does not follow any more.
        if number < lines.len() {
            let at = begin + line.windows(5).position(|text| text == b"\"at\":").unwrap() + 9;
            let mut changed = whole.clone();
            changed[at] ^= 1;
            unsound(&changed, number + 1);
            let without = [&whole[..begin], &whole[begin + line.len()..]].concat();
            unsound(&without, number);
        }
        begin += line.len();
    }
    for command in [&["show", "latest"], &["resume", "latest"]] {
        drill.clone().args(command).run().exit(6).says("line");
    }
    drill.clone().args(["runs"]).run().exit(0).says("does not verify");
    fs::write(&path, b"").unwrap();
    drill.clone().args(["audit", "verify", "latest"]).run().exit(6).says("no whole line");

    fs::write(&path, &whole).unwrap();
    assert_audited(&drill);
}

#[test]
fn a_last_line_that_was_cut_off_is_torn_and_the_rest_verifies() {
    needs_minio!();
    let (drill, folder) = finished("record-torn");
    let path = folder.join("journal.jsonl");
    let whole = fs::read(&path).unwrap();
    let lines = drill.journal().len();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    drill.clone().args(["audit", "verify", "latest"]).run().exit(0).says("torn").says(&format!("{} lines", lines - 1));
    let json = drill.clone().args(["audit", "verify", "latest", "--output", "json"]).run().exit(0).json();
    assert!(json["torn_bytes"].as_u64().unwrap() > 0);
    drill.clone().args(["show", "latest"]).run().exit(0).says("NOT ENDED");
    // The last line was the run's end: resumed, it is written again, over the torn one.
    drill.clone().args(["resume", "latest"]).run().exit(4);
    assert_audited(&drill);
    assert_eq!(drill.events("run_ended").len(), 1);
}

#[test]
fn a_changed_file_beside_the_journal_does_not_verify() {
    needs_minio!();
    let (drill, folder) = finished("record-files");
    assert_private(&folder);
    let artifact = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let artifact = artifact.into_iter().find(|name| name.ends_with("differences.jsonl")).expect("an artifact");
    for name in [artifact.as_str(), "runbook.yaml"] {
        let path = folder.join(name);
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        changed[3] ^= 1;
        fs::write(&path, &changed).unwrap();
        let verify = drill.clone().args(["audit", "verify", "latest"]);
        verify.run().exit(6).says(name).says("is not the file that the journal names");
        if name == "runbook.yaml" {
            drill.clone().args(["resume", "latest"]).run().exit(3).says("was edited since the run began");
        }
        fs::remove_file(&path).unwrap();
        verify.run().exit(6).says(name);
        fs::write(&path, &whole).unwrap();
        verify.run().exit(0);
    }
}

/// Only the owner may read what a run leaves.
fn assert_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(folder).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", entry.path().display());
    }
}
