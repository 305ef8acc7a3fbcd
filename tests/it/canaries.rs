//! Canaries: a secret from each place that one can come from, against servers that repeat it in every form.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    case::{Firedrill, Outcome},
    parrot::{Heard, Parrot, Said},
};

/// The credentials of one site.
#[derive(Clone)]
struct Canary {
    key: String,
    secret: String,
    token: String,
}

impl Canary {
    /// With characters that each encoding writes otherwise.
    fn new(name: &str) -> Self {
        let of = |part: &str| format!("{name}-{part}/9x+Q=&\"<%41~zz");
        Self { key: format!("{name}KEY0123456789"), secret: of("secret"), token: of("token") }
    }

    /// What must be nowhere: each value in all of its forms.
    fn forms(&self) -> Vec<String> {
        [&self.key, &self.secret, &self.token].into_iter().flat_map(|value| forms(value)).collect()
    }
}

fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

fn forms(value: &str) -> Vec<String> {
    let percent = utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
    let json = serde_json::to_string(value).unwrap().trim_matches('"').to_owned();
    // Of a longer text too, less what its neighbours have a part in.
    let base64 = |before: &str| {
        let length = before.len() + value.len();
        BASE64_STANDARD.encode(format!("{before}{value}"))[(before.len() * 8).div_ceil(6)..length * 8 / 6].to_owned()
    };
    let mut all = vec![value.to_owned(), json.replace('/', "\\/"), json, xml(value), xml(&xml(value))];
    all.extend([utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(), percent]);
    all.extend(["", "x", "xy"].map(base64));
    all
}

/// What a server that is careless says: all it was sent, and all it knows, in every form there is.
fn repeat(heard: &Heard, canary: &Canary) -> String {
    let known = canary.forms().iter().map(|form| xml(form)).collect::<Vec<_>>().join(" | ");
    let presigned = "http://other:password-of-other@host/b?X-Amz-Signature=0123456789abcdef0123456789abcdef";
    format!("{} | {known} | {}", xml(&heard.headers.replace("\r\n", " ")), xml(presigned))
}

/// Refuses everything, and repeats.
fn parrot(canary: &Canary) -> Parrot {
    let canary = canary.clone();
    Parrot::start(move |heard| Said { code: "AccessDenied", message: repeat(heard, &canary) })
}

const OF_OTHERS: [&str; 2] = ["password-of-other", "0123456789abcdef0123456789abcdef"];

/// Everything that asks a site, as talkative as can be; none may say or leave what is secret.
fn all_commands(drill: &Firedrill, secrets: &[String]) -> Vec<Outcome> {
    let tmp = drill.folder().join("tmp");
    fs::create_dir_all(&tmp).unwrap();
    let drill = drill.clone().env("FIREDRILL_LOG", "trace").env("TMPDIR", tmp.to_str().unwrap());
    let commands = [
        &["sites", "one", "two"][..],
        &["sites", "one", "two", "--output", "json"],
        &["verify", "one/bucket", "two/bucket"],
        &["show", "latest", "--output", "json"],
        &["show", "latest"],
        &["resume", "latest", "--log-format", "json"],
        &["verify", "one/bucket", "two/bucket", "--output", "json"],
        &["recover", "one/bucket", "two/bucket", "--confirm-target", "two"],
        &["run", "spill.yaml", "--site", "one=one", "-i", "token=canary-of-the-input/&\"x"],
        &["plan", "spill.yaml", "--site", "one=one", "-i", "token=canary-of-the-input/&\"x", "--out", "kept"],
        &["verify", "one/bucket", "two/bucket", "--evidence", "one/bucket"],
        &["audit", "verify", "site:two/bucket/run"],
        &["runs", "--output", "json"],
    ];
    let said: Vec<Outcome> = commands.iter().map(|command| drill.clone().args(*command).run()).collect();
    let mut all = secrets.to_vec();
    all.extend(OF_OTHERS.map(str::to_owned));
    all.extend(forms("canary-of-the-input/&\"x"));
    drill.assert_no_secrets(&said.iter().collect::<Vec<_>>(), &all);
    assert!(said[2].stdout.contains("***") && said[0].stdout.contains("***"), "{}", said[2].stdout);
    assert!(said[2].stdout.contains("AccessDenied"), "{}", said[2].stdout);
    assert_private(&drill.folder().join("runs"));
    said
}

const SPILL: &str = "format: 1\nrunbook: spill\nsummary: Says its secret\nkind: verify\n\
    inputs:\n  token: { type: string, secret: true, description: Nobody's business }\n\
    roles:\n  one: { description: A site }\n\
    steps:\n  - id: spill\n    uses: assert\n    title: \"At {{ inputs.token }}\"\n    with:\n      that:\n        \
    - { holds: \"{{ inputs.token == 'x' }}\", message: \"http://h/?t={{ inputs.token }}\" }\n";

fn case() -> Firedrill {
    Firedrill::new().file("spill.yaml", SPILL)
}

/// A site whose credentials come as a line of `sites.yaml` says.
fn listed(name: &str, parrot: &Parrot, credentials: &str) -> String {
    format!("  {name}: {{ endpoint: \"{}\", {credentials} }}\n", parrot.endpoint())
}

/// A site as `MC_HOST_<alias>` has it.
fn host(parrot: &Parrot, Canary { key, secret, token }: &Canary) -> String {
    parrot.endpoint().replacen("://", &format!("://{key}:{secret}:{token}@"), 1)
}

#[test]
fn secrets_of_the_environment_and_of_files_are_nowhere() {
    let (one, two) = (Canary::new("env"), Canary::new("file"));
    let (first, second) = (parrot(&one), parrot(&two));
    let sites = [
        "sites:\n".to_owned(),
        listed("one", &first, "access_key: { env: A }, secret_key: { env: B }, session_token: { env: C }"),
        listed("two", &second, "access_key: { file: a }, secret_key: { file: b }, session_token: { file: c }"),
    ];
    let drill =
        case().file("sites.yaml", &sites.concat()).env("A", &one.key).env("B", &one.secret).env("C", &one.token);
    let drill = drill.file("a", &two.key).file("b", &format!("{}\n", two.secret)).file("c", &two.token);
    all_commands(&drill, &[one.forms(), two.forms()].concat());
    assert!(first.heard() > 20 && second.heard() > 20, "{} {}", first.heard(), second.heard());
}

#[test]
fn secrets_of_mc_and_of_a_sites_file_are_nowhere() {
    let (one, two) = (Canary::new("mc"), Canary::new("literal"));
    let (first, second) = (parrot(&one), parrot(&two));
    let config = serde_json::json!({ "version": "10", "aliases": { "one": {
        "url": first.endpoint(), "accessKey": one.key, "secretKey": one.secret, "sessionToken": one.token,
        "api": "S3v4", "path": "auto" } } });
    let quote = |text: &str| serde_json::to_string(text).unwrap();
    let literal = format!(
        "access_key: {}, secret_key: {}, session_token: {}",
        quote(&two.key),
        quote(&two.secret),
        quote(&two.token)
    );
    let sites = ["sites:\n".to_owned(), listed("two", &second, &literal)];
    let drill = case().file("sites.yaml", &sites.concat()).file(".mc/config.json", &config.to_string());
    let secrets = [one.forms(), two.forms()].concat();
    all_commands(&drill, &secrets);
    // A mistake beside a secret is shown with its line, and not with the secret.
    let broken = drill.clone().file("sites.yaml", &sites.concat().replace("endpoint", "endpiont"));
    let said = broken.clone().args(["sites", "two"]).run().exit(3);
    broken.assert_no_secrets(&[&said], &secrets);
}

#[test]
fn secrets_in_the_address_of_mc_are_nowhere() {
    let (one, two) = (Canary::new("host"), Canary::new("other"));
    let (first, second) = (parrot(&one), parrot(&two));
    let drill = case().env("MC_HOST_one", &host(&first, &one)).env("MC_HOST_two", &host(&second, &two));
    let secrets = [one.forms(), two.forms()].concat();
    all_commands(&drill, &secrets);
    let wrong = drill.clone().env("MC_HOST_one", &host(&first, &one).replace("http://", "htp://"));
    let said = wrong.clone().args(["verify", "one/bucket", "two/bucket"]).run().exit(3).says("MC_HOST_one");
    wrong.assert_no_secrets(&[&said], &secrets);
}

#[test]
fn credentials_that_are_read_again_in_the_middle_are_masked_too() {
    let (old, new) = (Canary::new("old"), Canary::new("new"));
    let place: Arc<Mutex<Option<PathBuf>>> = Arc::default();
    let server = {
        let (old, new, place) = (old.clone(), new.clone(), Arc::clone(&place));
        Parrot::start(move |heard| {
            // Who it is, is asked before the run begins: until then the old ones are fine.
            if heard.path.contains("/admin/v3/info") && heard.headers.contains(&old.key) {
                return Said { code: "AccessDenied", message: repeat(heard, &old) };
            }
            if heard.headers.contains(&old.key) {
                let folder = place.lock().unwrap().clone().unwrap();
                for (name, value) in [("a", &new.key), ("b", &new.secret), ("c", &new.token)] {
                    fs::write(folder.join(name), value).unwrap();
                }
                return Said { code: "ExpiredToken", message: repeat(heard, &old) };
            }
            Said { code: "AccessDenied", message: repeat(heard, &new) }
        })
    };
    let from_files = "access_key: { file: a }, secret_key: { file: b }, session_token: { file: c }";
    let steady = Canary::new("steady");
    let other = parrot(&steady);
    let sites = ["sites:\n".to_owned(), listed("one", &server, from_files)].concat();
    let host = host(&other, &steady);
    let drill = case().file("sites.yaml", &sites).env("MC_HOST_two", &host).env("FIREDRILL_LOG", "trace");
    *place.lock().unwrap() = Some(drill.folder().to_owned());
    let drill = drill.file("a", &old.key).file("b", &old.secret).file("c", &old.token);
    let said = drill.clone().args(["verify", "one/bucket", "two/bucket"]).run();
    assert_eq!(fs::read_to_string(drill.folder().join("b")).unwrap(), new.secret, "nothing was read again");
    let shown = drill.clone().args(["show", "latest", "--output", "json"]).run().exit(0);
    let secrets = [old.forms(), new.forms(), steady.forms()].concat();
    drill.assert_no_secrets(&[&said, &shown], &secrets);
    assert!(said.stdout.contains("***"), "{}", said.stdout);
}

#[test]
fn a_masked_input_is_asked_for_again_and_never_taken_for_its_mask() {
    let canary = Canary::new("same");
    let server = parrot(&canary);
    let runbook = "format: 1\nrunbook: open\nsummary: Has a secret in an open input\nkind: verify\n\
        inputs:\n  note: { type: string, description: A note }\n\
        roles:\n  one: { description: A site }\n\
        steps:\n  - { id: look, uses: assert, with: { that: [{ holds: \"{{ inputs.note == 'x' }}\", message: \"{{ inputs.note }}\" }] } }\n";
    let host = host(&server, &canary);
    let drill = Firedrill::new().file("open.yaml", runbook).env("MC_HOST_one", &host);
    let note = format!("note=it is {}", canary.secret);
    let red =
        drill.clone().args(["run", "open.yaml", "--site", "one=one", "-i", &note]).run().exit(4).says("it is ***");
    assert_eq!(drill.journal()[0]["inputs"]["note"], "it is ***");
    let lost = drill.clone().args(["resume", "latest"]).run().exit(3).says("`note` was masked in the journal");
    let again = drill.clone().args(["resume", "latest", "-i", &note]).run().exit(4).says("it is ***");
    drill.assert_no_secrets(&[&red, &lost, &again], &canary.forms());
}

/// Only the owner may read or enter anything below.
fn assert_private(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let found = entry.metadata().unwrap();
        let wanted = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o777, wanted, "{}", entry.path().display());
        if found.is_dir() {
            assert_private(&entry.path());
        }
    }
}
