//! Signed records, with the real `ssh-keygen` and a real `ssh-agent`: made by runs, verified with and without firedrill.

use std::{
    env, fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    case::{Firedrill, Outcome},
    scene::next_second,
};

/// A runbook that needs no site.
pub(crate) const ALONE: &str = "format: 1\nrunbook: alone\nsummary: Needs nothing\nkind: verify\nroles: {}\n\
    inputs:\n  good: { type: boolean, default: true, description: Whether it holds }\n\
    steps:\n  - { id: look, uses: assert, with: { that: [{ holds: \"{{ inputs.good }}\", message: it is not }] } }\n";

/// Whether OpenSSH is there; under `CI=true` a skip is a failure.
pub(crate) fn available() -> bool {
    let there = ["ssh-keygen", "ssh-agent", "ssh-add"].iter().all(|name| Path::new("/usr/bin").join(name).exists());
    assert!(there || env::var("CI").as_deref() != Ok("true"), "needs OpenSSH, and under CI=true a skip is a failure");
    there
}

macro_rules! needs_ssh {
    () => {
        if !crate::signed::available() {
            return;
        }
    };
}
#[cfg(feature = "sandbox")]
pub(crate) use needs_ssh;

/// A case with a key in its folder, and the file that names who may sign with it.
pub(crate) fn with_key(passphrase: &str) -> Firedrill {
    let drill = Firedrill::new().file("alone.yaml", ALONE);
    keygen(&drill, &["-q", "-t", "ed25519", "-N", passphrase, "-C", "", "-f", "key"]);
    let public = fs::read_to_string(drill.folder().join("key.pub")).unwrap();
    drill.file("allowed", &format!("operator@example.com namespaces=\"firedrill\" {public}"))
}

fn keygen(drill: &Firedrill, args: &[&str]) {
    let made = Command::new("ssh-keygen").args(args).current_dir(drill.folder()).output().expect("ssh-keygen");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

pub(crate) fn signs(drill: &Firedrill, more: &[&str]) -> Outcome {
    drill.clone().args(["run", "alone.yaml", "--sign-key", "key"].iter().chain(more)).run()
}

fn verify(drill: &Firedrill, more: &[&str]) -> Outcome {
    drill.clone().args(["audit", "verify", "latest", "--allowed-signers", "allowed"].iter().chain(more)).run()
}

/// Puts a program of this name before the real one.
pub(crate) fn in_front(drill: Firedrill, name: &str, script: &str) -> Firedrill {
    let folder = drill.folder().join("bin");
    let path = format!("{}:/usr/bin:/bin", folder.display());
    let drill = drill.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    drill.env("PATH", &path)
}

/// The blocks of shell in the auditor's document, run one after the other in a run's directory.
fn by_hand(drill: &Firedrill, who: &str) -> (bool, String) {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/auditor.md")).unwrap();
    let script: Vec<&str> = document
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .filter(|b| b.contains("sha256sum"))
        .collect();
    assert!(script.len() >= 2, "{script:#?}");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script.join("\n")]).current_dir(drill.run_folder().unwrap());
    shell.env("ALLOWED", drill.folder().join("allowed")).env("WHO", who);
    let output = shell.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn a_signed_run_is_verified_with_stock_tools_as_the_document_says() {
    needs_ssh!();
    let drill = with_key("");
    let said = signs(&drill, &[]).exit(0).says("signed         ED25519 key SHA256:");
    let head = said.stdout.lines().find_map(|line| line.strip_prefix("  head           ")).unwrap().to_owned();
    verify(&drill, &[]).exit(0).says("signed by operator@example.com, ED25519 key SHA256:");
    let json = verify(&drill, &["--output", "json", "--head", &head]).exit(0).json();
    assert_eq!(json["signed_by"]["principal"], "operator@example.com");
    assert_eq!(json["head"], head);

    let (good, text) = by_hand(&drill, "operator@example.com");
    assert!(good && text.contains(&head) && text.contains("Good \"firedrill\" signature for operator"), "{text}");
    assert!(text.contains("runbook.yaml: OK"), "{text}");
    assert!(!by_hand(&drill, "somebody@example.com").0);

    // Cut off at a whole line, the chain holds and the head does not.
    let journal = drill.run_folder().unwrap().join("journal.jsonl");
    let whole = fs::read_to_string(&journal).unwrap();
    let cut = whole.trim_end().rfind('\n').unwrap() + 1;
    fs::write(&journal, &whole[..cut]).unwrap();
    drill.clone().args(["audit", "verify", "latest"]).run().exit(0);
    verify(&drill, &[]).exit(6).says("its signature is not one of this head");
    drill.clone().args(["audit", "verify", "latest", "--head", &head]).run().exit(6).says("its end was cut off");
    assert!(!by_hand(&drill, "operator@example.com").0);
    // Bytes behind the end are no whole line, and do not pass for a torn one.
    fs::write(&journal, format!("{whole}{{\"v\"")).unwrap();
    drill.clone().args(["audit", "verify", "latest"]).run().exit(6).says("something was added after the end");
    // A line of somebody else's file.
    let runbook = drill.run_folder().unwrap().join("runbook.yaml");
    fs::write(&journal, &whole).unwrap();
    fs::write(&runbook, format!("{ALONE}\n")).unwrap();
    assert!(!by_hand(&drill, "operator@example.com").0);
}

#[test]
fn a_signature_counts_only_by_an_allowed_signer_for_this_use() {
    needs_ssh!();
    let drill = with_key("");
    signs(&drill, &[]).exit(0);
    let folder = drill.run_folder().unwrap();
    let good = fs::read(folder.join("head.sig")).unwrap();
    assert_eq!(fs::metadata(folder.join("head.sig")).unwrap().permissions().mode() & 0o777, 0o600);
    // Somebody else's key, and the right key for something else.
    keygen(&drill, &["-q", "-t", "ed25519", "-N", "", "-f", "other"]);
    drill.clone().args(["audit", "sign", "latest", "--sign-key", "other"]).run().exit(0).says("signed run");
    verify(&drill, &[]).exit(6).says("names nobody who signs with this key");
    fs::write(drill.folder().join("head"), format!("{}\n", json_head(&drill))).unwrap();
    keygen(&drill, &["-q", "-Y", "sign", "-n", "file", "-f", "key", "head"]);
    fs::copy(drill.folder().join("head.sig"), folder.join("head.sig")).unwrap();
    verify(&drill, &[]).exit(6).says("does not verify");
    for at in 40..good.len() - 40 {
        if at % 17 == 0 && good[at].is_ascii_alphanumeric() {
            let mut bad = good.clone();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            fs::write(folder.join("head.sig"), &bad).unwrap();
            verify(&drill, &[]).exit(6);
        }
    }
    fs::remove_file(folder.join("head.sig")).unwrap();
    verify(&drill, &[]).exit(6).says("it is not signed");
    fs::write(folder.join("head.sig"), &good).unwrap();
    verify(&drill, &[]).exit(0);
    drill.clone().args(["audit", "verify", "latest", "--allowed-signers", "none"]).run().exit(3).says("cannot be read");
}

fn json_head(drill: &Firedrill) -> String {
    let said = drill.clone().args(["audit", "verify", "latest", "--output", "json"]).run().exit(0).json();
    said["head"].as_str().unwrap().to_owned()
}

/// A real agent in the foreground; killed when dropped.
struct Agent(Child, PathBuf);

impl Agent {
    fn start(drill: &Firedrill) -> Self {
        // A path of a socket has to be short.
        let folder = tempfile::Builder::new().prefix("agent").tempdir_in(env::temp_dir()).unwrap().keep();
        let socket = folder.join("s");
        let child = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self(child, folder);
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < end, "no agent");
            thread::sleep(Duration::from_millis(20));
        }
        // As a person would, with the passphrase.
        let ask = drill.folder().join("ask");
        fs::File::create(&ask).unwrap().write_all(b"#!/bin/sh\necho long-passphrase\n").unwrap();
        fs::set_permissions(&ask, fs::Permissions::from_mode(0o700)).unwrap();
        let mut add = Command::new("ssh-add");
        add.arg("key").env("SSH_AUTH_SOCK", &socket).env("SSH_ASKPASS", ask).env("SSH_ASKPASS_REQUIRE", "force");
        let added = add.current_dir(drill.folder()).stdin(Stdio::null()).output().unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        agent
    }
    fn socket(&self) -> String {
        self.1.join("s").display().to_string()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_dir_all(&self.1);
    }
}

#[test]
fn an_agent_signs_with_a_key_whose_file_is_encrypted_or_gone() {
    needs_ssh!();
    let drill = with_key("long-passphrase");
    // Nobody is asked for a passphrase: it would be when the run ends, in the middle of the night.
    signs(&drill, &[]).exit(3).says("it is encrypted; load it into an agent (`ssh-add key`)");
    assert!(drill.run_folder().is_none());
    let by_public = ["run", "alone.yaml", "--sign-key", "key.pub"];
    drill.clone().args(by_public).run().exit(3).says("must be held by the agent at SSH_AUTH_SOCK");

    let agent = Agent::start(&drill);
    let drill = drill.env("SSH_AUTH_SOCK", &agent.socket());
    signs(&drill, &[]).exit(0);
    verify(&drill, &[]).exit(0).says("signed by operator@example.com");
    fs::remove_file(drill.folder().join("key")).unwrap();
    next_second();
    let red = drill.clone().env("FIREDRILL_SIGN_KEY", "key.pub").args(["run", "alone.yaml", "-i", "good=false"]).run();
    red.exit(4).says("signed         ED25519");
    verify(&drill, &[]).exit(0).says("signed by operator@example.com").says("not_held");
    drop(agent);
    drill.clone().args(by_public).run().exit(3).says("must be held by the agent");
}

#[test]
fn a_key_that_cannot_sign_is_found_before_anything_runs() {
    needs_ssh!();
    let drill = with_key("");
    let run = |drill: &Firedrill, key: &str| drill.clone().args(["run", "alone.yaml", "--sign-key", key]).run();
    run(&drill, "none").exit(3).says("`none` does not sign");
    run(&drill.clone().file("rubbish", "no key"), "rubbish").exit(3).says("`rubbish` does not sign");
    run(&drill.clone().env("PATH", "/nowhere"), "key").exit(3).says("install OpenSSH's client");
    assert!(drill.run_folder().is_none());
}

#[test]
fn a_record_that_cannot_be_signed_in_the_end_is_not_green_and_is_signed_later() {
    needs_ssh!();
    // The key works when the run begins and not when it ends, as an agent that was stopped meanwhile.
    let gone = "case \"$*\" in *'sign -n firedrill '*) echo 'agent refused operation' >&2; exit 255;; esac\nexec /usr/bin/ssh-keygen \"$@\"";
    let drill = with_key("");
    let broken = in_front(drill.clone(), "ssh-keygen", gone);
    let said =
        signs(&broken, &[]).exit(6).says("THE RECORD IS NOT SIGNED").says("agent refused operation").says("HELD");
    assert!(said.stderr.contains(&format!("firedrill audit sign {}", drill.run_id())), "{}", said.stderr);
    assert_eq!(drill.events("run_ended")[0]["verdict"], "held");
    next_second();
    let json = signs(&broken, &["--output", "json"]).exit(6).json();
    assert!(json["signature"]["failed"].as_str().unwrap().contains("agent refused"), "{json:#}");
    assert_eq!((&json["verdict"], json["exit"].as_i64()), (&"held".into(), Some(0)));
    // A verdict that is not green keeps its own code.
    next_second();
    signs(&broken, &["-i", "good=false"]).exit(4).says("THE RECORD IS NOT SIGNED");
    drill.clone().args(["audit", "sign", "latest", "--sign-key", "key"]).run().exit(0).says("signed run");
    verify(&drill, &[]).exit(0);
}

#[test]
fn a_run_that_goes_on_is_signed_anew() {
    needs_ssh!();
    let asks = "format: 1\nrunbook: asks\nsummary: Asks\nkind: verify\nroles: {}\n\
        steps:\n  - { id: ask, uses: human.confirm, with: { prompt: Go on? } }\n";
    let drill = with_key("").file("alone.yaml", asks);
    signs(&drill, &[]).exit(7).says("signed         ED25519");
    verify(&drill, &[]).exit(0);
    let first = json_head(&drill);
    let approve = ["approve", "latest", "--sign-key", "key"];
    // Refused: the signature stays that of the head before.
    drill.clone().args(["approve", "latest", "--no", "--sign-key", "none"]).run().exit(3);
    verify(&drill, &[]).exit(0);
    drill.clone().args(approve).run().exit(0);
    verify(&drill, &[]).exit(0).says("held");
    drill.clone().args(["audit", "verify", "latest", "--head", &first]).run().exit(6).says("more was added after it");
    // Gone on with without a key, the old signature is told to be old.
    next_second();
    signs(&drill, &[]).exit(7);
    drill.clone().args(["approve", "latest"]).run().exit(0).says("is of an earlier head");
    verify(&drill, &[]).exit(6).says("its signature is not one of this head");
}

#[test]
fn what_ssh_keygen_is_given_holds_no_credential() {
    needs_ssh!();
    let told = "{ echo \"args: $*\"; env; } >> \"$HOME/told\"\nexec /usr/bin/ssh-keygen \"$@\"";
    let runbook = ALONE.replace("inputs:\n", "inputs:\n  token: { type: string, secret: true, description: x }\n");
    let drill = in_front(with_key("").file("alone.yaml", &runbook), "ssh-keygen", told);
    let folder = drill_tmp(&drill);
    let drill = drill.env("MC_HOST_vault", "http://canary-key:canary-secret@127.0.0.1:1").env("TMPDIR", &folder);
    let said = signs(&drill, &["-i", "token=canary-input"]).exit(0);
    let verified = verify(&drill, &[]).exit(0);
    let told = fs::read_to_string(drill.folder().join("told")).unwrap();
    assert!(told.matches("args: ").count() >= 5 && told.contains("HOME="), "{told}");
    drill.assert_no_secrets(&[&said, &verified], &["canary-key", "canary-secret", "canary-input"].map(str::to_owned));
    // What it was given in a file is gone.
    assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
}

fn drill_tmp(drill: &Firedrill) -> String {
    let folder = drill.folder().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    folder.display().to_string()
}
