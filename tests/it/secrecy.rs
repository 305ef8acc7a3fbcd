//! No credential occurs in what a run prints or leaves behind, searched for byte by byte.

use std::fs;

use crate::{
    case::Firedrill,
    pair::{Pair, Rule, needs_minio},
    scene::{assert_rebuilt, lost, next_second, operator, recover},
    seed,
};

/// A password that is written otherwise in a URL than in a file.
const WRONG: &str = "wr/ong+secret=%41 &\"x\"";
const WRONG_IN_URL: &str = "wr%2Fong%2Bsecret%3D%2541%20%26%22x%22";

fn secrets(pair: &Pair) -> Vec<String> {
    let mut secrets = pair.secrets();
    secrets.extend([WRONG, WRONG_IN_URL, "wr\\/ong", "ong%2Bsecret", "ong+secret"].map(str::to_owned));
    secrets
}

/// Sites in a `sites.yaml` whose credentials stand in the environment (source) and in files (target).
fn with_sites_file(pair: &Pair, target_secret: &str) -> Firedrill {
    let sites = format!(
        "sites:\n  source: {{ endpoint: \"{}\", access_key: {{ env: S_KEY }}, secret_key: {{ env: S_SECRET }} }}\n  \
         target: {{ endpoint: \"{}\", access_key: {{ file: secrets/key }}, secret_key: {{ file: secrets/secret }} }}\n",
        pair.source.endpoint(),
        pair.target.endpoint()
    );
    Firedrill::new()
        .env("S_KEY", &pair.source.access_key)
        .env("S_SECRET", &pair.source.secret_key)
        .file("secrets/key", &pair.target.access_key)
        .file("secrets/secret", target_secret)
        .file("sites.yaml", &sites)
}

#[test]
fn a_recovery_leaves_no_credential_anywhere_however_much_it_tells() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "secrecy-green");
    let source = lost(pair, bucket, &Rule::default());
    let drill = with_sites_file(pair, &pair.target.secret_key).env("FIREDRILL_LOG", "trace");
    let run = recover(&drill, bucket).run().exit(0);
    assert!(run.stderr.len() > 10_000, "not much of a trace:\n{}", run.stderr);
    assert_rebuilt(pair, bucket, &source);
    let show = drill.clone().args(["show", "latest", "--output", "json"]).run().exit(0);
    let verified = drill.clone().args(["audit", "verify", "latest", "--log-format", "json"]).run().exit(0);
    drill.assert_no_secrets(&[&run, &show, &verified], &secrets(pair));
}

#[test]
fn a_run_that_fails_leaves_no_credential_either() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "secrecy-red");
    pair.replicate(bucket, &Rule::default());
    let version = seed::put(&pair.source, bucket, "key", b"data");
    pair.wait_replicated(bucket);
    seed::delete_version(&pair.target, bucket, "key", &version);
    next_second();
    let places = [format!("source/{bucket}"), format!("target/{bucket}")];
    let verify = |drill: &Firedrill| {
        let flags = ["-i", "settle=1s", "--log-format", "json"];
        drill.clone().args(["verify", &places[0], &places[1]].iter().chain(&flags))
    };

    let drill = operator(pair).env("FIREDRILL_LOG", "trace");
    let red = verify(&drill).run().exit(4).says("missing");
    let sites = drill.clone().args(["sites", "source", "target"]).run().exit(0);
    drill.assert_no_secrets(&[&red, &sites], &secrets(pair));

    // The server answers a wrong signature with much of what it was sent.
    let wrong_host = pair.target.mc_host().replace(&pair.target.secret_key, WRONG_IN_URL);
    let in_url = operator(pair).env("MC_HOST_target", &wrong_host).env("FIREDRILL_LOG", "trace");
    let in_file = with_sites_file(pair, WRONG).env("FIREDRILL_LOG", "trace");
    for drill in [in_url, in_file] {
        let wrong = recover(&drill, bucket).run().exit(4).says("SignatureDoesNotMatch");
        let verified = verify(&drill).run().exit(4);
        let sites = drill.clone().args(["sites", "source", "target"]).run().exit(5).says("SignatureDoesNotMatch");
        drill.assert_no_secrets(&[&wrong, &verified, &sites], &secrets(pair));
    }
}

#[test]
fn a_secret_input_is_masked_wherever_it_comes_out_and_asked_for_again() {
    let runbook = "format: 1\nrunbook: spills\nsummary: Says its secret\nkind: verify\n\
        inputs:\n  token: { type: string, secret: true, description: Nobody's business }\n\
        roles: {}\n\
        steps:\n  - id: spill\n    uses: assert\n    title: \"Spill {{ inputs.token }}\"\n    with:\n      that:\n        \
        - { holds: \"{{ inputs.token == 'x' }}\", message: \"it is {{ inputs.token }}\" }\n";
    let drill = Firedrill::new().file("spills.yaml", runbook).env("FIREDRILL_LOG", "trace");
    let secret = "hunter2/hunter3";
    let red =
        drill.clone().args(["run", "spills.yaml", "-i", &format!("token={secret}")]).run().exit(4).says("it is ***");
    let json = drill.clone().args(["show", "latest", "--output", "json"]).run().exit(0);
    drill.clone().args(["resume", "latest"]).run().exit(3).says("token");
    let again = drill.clone().args(["resume", "latest", "-i", &format!("token={secret}")]).run().exit(4);
    let json_run = ["run", "spills.yaml", "-i", &format!("token={secret}"), "--output", "json"];
    let json_run = drill.clone().args(json_run).run().exit(4);
    let planned = drill.clone().args(["plan", "spills.yaml", "-i", &format!("token={secret}"), "--out", "kept"]).run();
    drill.assert_no_secrets(&[&red, &json, &again, &json_run, &planned.exit(4)], &[secret.to_owned()]);
    assert!(fs::read_to_string(drill.folder().join("kept")).unwrap().contains("runbook_sha256"));
}
