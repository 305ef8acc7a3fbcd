//! Symbolic links in the places where a run keeps its record: refused, and what they lead to is left alone.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use crate::{case::Firedrill, signed::ALONE};

const ASKS: &str = "format: 1\nrunbook: asks\nsummary: Asks\nkind: verify\nroles: {}\n\
    steps:\n  - { id: ask, uses: human.confirm, with: { prompt: Go on? } }\n";

/// A run that waits, and its directory.
fn waiting() -> (Firedrill, PathBuf) {
    let drill = Firedrill::new().file("asks.yaml", ASKS);
    drill.clone().args(["run", "asks.yaml"]).run().exit(7);
    let folder = drill.run_folder().unwrap();
    (drill, folder)
}

/// Moves something away and puts a link to it in its place.
fn replace(path: &Path, drill: &Firedrill) -> PathBuf {
    let away = drill.folder().join("away");
    fs::rename(path, &away).unwrap();
    symlink(&away, path).unwrap();
    away
}

#[test]
fn no_symbolic_link_in_the_place_of_a_run_is_followed() {
    for part in ["", "journal.jsonl"] {
        let (drill, folder) = waiting();
        let path = if part.is_empty() { folder.clone() } else { folder.join(part) };
        let away = replace(&path, &drill);
        let journal = if part.is_empty() { away.join("journal.jsonl") } else { away };
        let before = fs::read(&journal).unwrap();
        for command in
            [&["resume", "latest"][..], &["approve", "latest"], &["show", "latest"], &["audit", "verify", "latest"]]
        {
            let outcome = drill.clone().args(command).run().exit(6);
            outcome.says("is a symbolic link, which is not followed");
        }
        drill.clone().args(["runs"]).run().exit(0).says("does not verify");
        assert!(fs::read(&journal).unwrap() == before, "it was written through the link");
    }
}

#[test]
fn no_symbolic_link_in_the_place_of_a_file_of_a_run_is_followed() {
    let (drill, folder) = waiting();
    replace(&folder.join("runbook.yaml"), &drill);
    for command in [&["resume", "latest"][..], &["audit", "verify", "latest"]] {
        drill.clone().args(command).run().exit(6).says("runbook.yaml").says("is a symbolic link");
    }
    // A pipe, which would keep a reader waiting for ever, is no file either.
    fs::remove_file(folder.join("runbook.yaml")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(folder.join("runbook.yaml")).status();
    if made.is_ok_and(|status| status.success()) {
        drill.clone().args(["resume", "latest"]).run().exit(6).says("is no file");
    }
}

#[test]
#[cfg(feature = "sandbox")]
fn an_artifact_is_made_anew_and_not_written_through_a_link() {
    let drill = Firedrill::new();
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/verify_replica.yaml");
    drill.clone().args(["run", runbook, "--sandbox=partial_loss", "-i", "settle=1s"]).run().exit(4);
    let folder = drill.run_folder().unwrap();
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let artifact = names.into_iter().find(|name| name.ends_with("differences.jsonl")).expect("an artifact");
    let away = replace(&folder.join(&artifact), &drill);
    drill.clone().args(["audit", "verify", "latest"]).run().exit(6).says(&artifact).says("is a symbolic link");
    assert!(fs::metadata(away).unwrap().len() > 0);
}

#[test]
#[cfg(feature = "sandbox")]
fn no_claim_is_taken_through_a_link() {
    let drill = Firedrill::new();
    fs::create_dir_all(drill.folder().join("runs")).unwrap();
    fs::create_dir_all(drill.folder().join("elsewhere")).unwrap();
    symlink(drill.folder().join("elsewhere"), drill.folder().join("runs/.claims")).unwrap();
    drill.clone().args(["recover", "--sandbox"]).run().exit(6).says(".claims").says("is a symbolic link");
    assert_eq!(fs::read_dir(drill.folder().join("elsewhere")).unwrap().count(), 0);
    assert!(drill.run_folder().is_none());
}

#[test]
fn an_answer_and_a_signature_are_not_written_through_a_link() {
    let (drill, folder) = waiting();
    let precious = drill.folder().join("precious");
    fs::write(&precious, "precious").unwrap();
    // An answer that lies behind a link is not taken.
    fs::create_dir_all(drill.folder().join("elsewhere")).unwrap();
    fs::write(drill.folder().join("elsewhere/ask.json"), r#"{"yes":true,"by":"x","how":"approve"}"#).unwrap();
    symlink(drill.folder().join("elsewhere"), folder.join("answers")).unwrap();
    drill.clone().args(["resume", "latest"]).run().exit(7);
    assert!(drill.folder().join("elsewhere/ask.json").exists());
    if crate::signed::available() {
        let drill = crate::signed::with_key("");
        let drill = drill.file("alone.yaml", ALONE);
        fs::write(drill.folder().join("precious"), "precious").unwrap();
        drill.clone().args(["run", "alone.yaml"]).run().exit(0);
        let folder = drill.run_folder().unwrap();
        symlink(drill.folder().join("precious"), folder.join(".head.sig")).unwrap();
        symlink(drill.folder().join("precious"), folder.join("head.sig")).unwrap();
        drill.clone().args(["audit", "sign", "latest", "--sign-key", "key"]).run().exit(3).says("head.sig");
        fs::remove_file(folder.join(".head.sig")).unwrap();
        drill.clone().args(["audit", "sign", "latest", "--sign-key", "key"]).run().exit(0);
        assert!(fs::symlink_metadata(folder.join("head.sig")).unwrap().is_file(), "still a link");
        assert_eq!(fs::read_to_string(drill.folder().join("precious")).unwrap(), "precious");
    }
    assert_eq!(fs::read_to_string(precious).unwrap(), "precious");
}
