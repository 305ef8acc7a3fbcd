//! The sandbox's sites, as the program and the real `mc` see them.

mod million;
mod stay;
mod traps;

use std::{
    env,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use firedrill::sandbox::{self, Access, Pair, Scenario};
use regex_lite::Regex;
use serde_json::Value;

use crate::{
    case::{Firedrill, Outcome},
    client,
    pair::{self, Server, needs_minio},
    seed,
};

/// A pair with a runtime of its own; gone when dropped.
pub(crate) struct Sandbox {
    pub(crate) pair: Pair,
    pub(crate) runtime: tokio::runtime::Runtime,
}

impl Sandbox {
    pub(crate) fn start(name: &str) -> Self {
        Self::of(Scenario::named(name).expect("a scenario").expect("a readable scenario"))
    }

    pub(crate) fn of(scenario: Scenario) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let pair = runtime.block_on(sandbox::start(scenario)).expect("a pair");
        Self { pair, runtime }
    }

    pub(crate) fn firedrill(&self) -> Firedrill {
        Firedrill::new().env("MC_HOST_src", &self.pair.source.mc_host()).env("MC_HOST_dst", &self.pair.target.mc_host())
    }

    fn recover(&self, more: &[&str]) -> Outcome {
        let bucket = &self.pair.scenario.bucket;
        let (source, target) = (format!("src/{bucket}"), format!("dst/{bucket}"));
        let args = ["recover", &source, &target, "--confirm-target", "dst"];
        self.firedrill().args(args.iter().chain(more)).run()
    }

    fn verify(&self) -> Outcome {
        let bucket = &self.pair.scenario.bucket;
        self.firedrill().args(["verify", &format!("src/{bucket}"), &format!("dst/{bucket}")]).run()
    }

    /// One that a test makes up.
    fn read(text: &str) -> Self {
        let scenario = Scenario::read(text).unwrap_or_else(|problem| panic!("{problem:?}"));
        Self::of(scenario)
    }

    /// One of its sites as the tests see real servers.
    pub(crate) fn server(alias: &'static str, site: &Access) -> Server {
        Server::elsewhere(alias, &site.endpoint, &site.access_key, &site.secret_key)
    }

    /// Runs the real `mc`; nothing when there is none.
    fn mc(&self, args: &[&str]) -> Option<Vec<Value>> {
        let mc = env::var_os("FIREDRILL_TEST_MC")?;
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(mc)
            .arg("--config-dir")
            .arg(folder.path())
            .args(["--json", "--no-color"])
            .args(args)
            .env_clear()
            .env("HOME", folder.path())
            .env("MC_HOST_src", self.pair.source.mc_host())
            .env("MC_HOST_dst", self.pair.target.mc_host())
            .stdin(Stdio::null())
            .output()
            .expect("mc runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "mc {args:?}: {stdout}{}", String::from_utf8_lossy(&output.stderr));
        Some(serde_json::Deserializer::from_str(&stdout).into_iter::<Value>().map_while(Result::ok).collect())
    }
}

/// Waits for something that comes by itself.
#[track_caller]
fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "it does not come");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_lost_bucket_is_recovered() {
    let sandbox = Sandbox::start("target_lost");
    sandbox.recover(&[]).exit(0);
    sandbox.verify().exit(0);
}

#[test]
fn mc_works_as_against_a_real_site() {
    let sandbox = Sandbox::start("target_lost");
    let Some(listed) = sandbox.mc(&["ls", "-r", "--versions", "src/invoices"]) else { return };
    assert_eq!(listed.len(), 60 * 3 + 8);
    let marker = listed.iter().find(|line| line["isDeleteMarker"] == true).expect("a delete marker");
    assert_eq!(marker["size"], 0);

    sandbox.mc(&["mb", "--with-versioning", "dst/invoices"]);
    let rules = sandbox.mc(&["replicate", "ls", "src/invoices"]).unwrap();
    let arn = rules[0]["rule"]["Destination"]["Bucket"].as_str().unwrap().to_owned();
    let started = sandbox.mc(&["replicate", "resync", "start", "src/invoices", "--remote-bucket", &arn]).unwrap();
    assert_eq!(started[0]["status"], "success", "{started:?}");
    let status = sandbox.mc(&["replicate", "resync", "status", "src/invoices", "--remote-bucket", &arn]).unwrap();
    assert_eq!(status[0]["resyncInfo"]["target"][0]["arn"], arn.as_str(), "{status:?}");
    until(|| {
        let status = sandbox.mc(&["replicate", "resync", "status", "src/invoices", "--remote-bucket", &arn]).unwrap();
        status[0]["resyncInfo"]["target"][0]["resyncStatus"] == "Completed"
    });
    sandbox.verify().exit(0);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), b"hello").unwrap();
    let path = file.path().to_str().unwrap();
    sandbox.mc(&["cp", "--attr", "customer=7", "--tags", "a=b", path, "src/invoices/new/a b.txt"]);
    let stat = sandbox.mc(&["stat", "src/invoices/new/a b.txt"]).unwrap();
    assert_eq!(stat[0]["size"], 5, "{stat:?}");
    assert_eq!(stat[0]["metadata"]["X-Amz-Meta-Customer"], "7", "{stat:?}");
}

#[test]
fn mc_sets_up_replication_and_versions_arrive_on_the_other_site() {
    let sandbox = Sandbox::start("healthy");
    for site in ["src", "dst"] {
        if sandbox.mc(&["mb", "--with-versioning", &format!("{site}/fresh")]).is_none() {
            return;
        }
    }
    let remote = format!("{}/fresh", sandbox.pair.target.mc_host());
    sandbox.mc(&["replicate", "add", "src/fresh", "--remote-bucket", &remote, "--priority", "1"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![7; 300_000]).unwrap();
    sandbox.mc(&["cp", file.path().to_str().unwrap(), "src/fresh/big"]);
    sandbox.mc(&["cp", file.path().to_str().unwrap(), "src/fresh/gone"]);
    sandbox.mc(&["rm", "src/fresh/gone"]);
    let of = |site: &str| {
        let mut lines = sandbox.mc(&["ls", "-r", "--versions", &format!("{site}/fresh")]).unwrap();
        for line in &mut lines {
            line.as_object_mut().unwrap().remove("url");
        }
        lines
    };
    let source = of("src");
    assert_eq!(source.len(), 3);
    until(|| of("dst") == source);
}

/// What a recovery by the shipped runbook says of each scenario: its exit code, and words of its output.
const VERDICTS: &[(&str, i32, &str)] = &[
    ("active_active", 0, "76 missing"),
    ("all_shapes", 0, "104 versions compared: no difference"),
    ("check_passes", 4, "not on the target"),
    ("clock_skew", 0, "clock_skew"),
    ("completed_with_nothing", 4, "188 missing"),
    ("counters_wrong", 0, "188 versions compared: no difference"),
    ("different_content", 0, "3 different"),
    ("excluded_prefixes", 0, "188 versions compared: 10 out of scope"),
    ("extra_versions", 4, "4 extra"),
    ("frozen_counter", 0, "188 versions compared: no difference"),
    ("healthy", 0, "188 versions compared: no difference"),
    ("kms_key_missing", 4, "encryption_matches"),
    ("lock_mismatch", 4, "object_lock_matches"),
    ("markers_not_sent", 4, "delete_replication_enabled"),
    ("null_versions", 0, "200 versions compared: no difference"),
    ("partial_loss", 0, "62 missing"),
    ("purge_pending", 0, "versions compared: no difference"),
    ("reset_id_flips", 0, "188 versions compared: no difference"),
    ("resync_running", 4, "no_resync_running"),
    ("roles_swapped", 4, "direction"),
    ("rules_lost", 0, "188 versions compared: no difference"),
    ("slow_down", 0, "188 versions compared: no difference"),
    ("slow_site", 0, "no difference"),
    ("source_restarts", 0, "188 versions compared: no difference"),
    ("source_restarts_completed", 0, "188 versions compared: no difference"),
    ("target_lost", 0, "188 missing"),
    ("target_offline", 4, "does not answer"),
    ("target_stops_at_end", 0, "188 versions compared: no difference"),
    ("target_stops_midway", 0, "188 versions compared: no difference"),
    ("wrong_credentials", 4, "target_credentials"),
];

/// Not in the table, with tests of their own: one is long, and one needs another runbook to end soon.
const APART: [&str; 2] = ["million_versions", "stuck"];

#[test]
fn every_scenario_has_its_verdict() {
    let named: Vec<&str> = VERDICTS.iter().map(|(name, ..)| *name).chain(APART).collect();
    for (name, _) in sandbox::scenario::ALL {
        assert!(named.contains(name), "`{name}` has no verdict");
    }
    for some in VERDICTS.chunks(6) {
        thread::scope(|scope| {
            for (name, code, words) in some {
                scope.spawn(move || {
                    let sandbox = Sandbox::start(name);
                    let outcome = sandbox.recover(&["-i", "settle=5s", "-i", "max_attempts=2"]);
                    assert_eq!(outcome.code, *code, "{name}\n{}\n{}", outcome.stdout, outcome.stderr);
                    outcome.says(words);
                    if *code == 0 {
                        sandbox.verify().exit(0);
                    }
                });
            }
        });
    }
}

#[test]
fn a_resync_that_stands_still_is_no_success() {
    let sandbox = Sandbox::start("stuck");
    let runbook = "format: 1\nrunbook: stands_still\nsummary: A resync that ends nowhere\nkind: recovery\n\
        roles: { source: { description: S }, target: { description: T } }\nsteps:\n  \
        - { id: targets, uses: replication.targets, with: { bucket: invoices }, on_failure: continue }\n  \
        - { id: prepare, uses: bucket.prepare, with: { bucket: invoices } }\n  \
        - { id: start, uses: resync.start, with: { bucket: invoices, arn: \"{{ steps.targets.arn }}\" } }\n  \
        - { id: watch, uses: resync.monitor, with: { bucket: invoices, arn: \"{{ steps.start.arn }}\", \
        reset_id: \"{{ steps.start.reset_id }}\", every: 1s, stalled_after: 5s } }\n";
    let sites = ["run", "book.yaml", "--site", "source=src", "--site", "target=dst", "--confirm-target", "dst"];
    sandbox.firedrill().file("book.yaml", runbook).args(sites).run().exit(4).says("Ongoing");
}

#[test]
fn answers_are_those_of_a_real_site() {
    needs_minio!();
    let real = &pair::Pair::shared().source;
    let sandbox = Sandbox::start("healthy");
    let ours = Sandbox::server("source", &sandbox.pair.source);
    let other = Sandbox::server("target", &sandbox.pair.target);
    let folder = tempfile::tempdir().unwrap();
    let bucket = "like-the-real-one";
    for server in [real, &ours] {
        assert_eq!(client::signed(server, "PUT", &format!("/{bucket}")).0, 200);
        seed::set_versioning(server, bucket, aws_sdk_s3::types::BucketVersioningStatus::Enabled);
        seed::fill(server, bucket, 7);
        // A rule that was made in the same way, to a bucket that is still there.
        let (site, name) =
            if std::ptr::eq(server, real) { (&pair::Pair::shared().target, "real") } else { (&other, "ours") };
        assert_eq!(client::signed(site, "PUT", "/ruled").0, 200);
        assert_eq!(client::signed(server, "PUT", "/ruled").0, 200);
        for server in [site, server] {
            seed::set_versioning(server, "ruled", aws_sdk_s3::types::BucketVersioningStatus::Enabled);
        }
        let mc = Command::new(env::var_os("FIREDRILL_TEST_MC").unwrap())
            .args(["--config-dir", folder.path().to_str().unwrap(), "replicate", "add", &format!("{name}/ruled")])
            .args(["--remote-bucket", &site.remote("ruled"), "--priority", "1"])
            .env(format!("MC_HOST_{name}"), server.mc_host())
            .output();
        assert!(mc.as_ref().unwrap().status.success(), "{mc:?}");
    }
    let mut wrong = Vec::new();
    let asks = ASKS.lines().map(str::trim).filter(|line| !line.is_empty());
    for (method, path) in asks.filter_map(|line| line.split_once(' ')) {
        let path = path.replace("BUCKET", bucket);
        let [expected, said] = [real, &ours].map(|server| {
            let (status, body) = client::signed(server, method, &path);
            format!("{status} {}", without_ids(&body))
        });
        if expected != said {
            wrong.push(format!("{method} {path}\n  real {expected}\n  ours {said}\n"));
        }
    }
    for (key, secret) in [("", "not-the-secret"), ("nobody", "nothing")] {
        for path in ["/like-the-real-one?versions=", "/minio/admin/v3/info"] {
            let [expected, said] = [real, &ours].map(|server| {
                let key = if key.is_empty() { &server.access_key } else { key };
                let (status, body) = client::signed(&server.as_user(key, secret), "GET", path);
                format!("{status} {}", without_ids(&body))
            });
            if expected != said {
                wrong.push(format!("GET {path}\n  real {expected}\n  ours {said}\n"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// Asked of both; ids, times and hosts may differ.
const ASKS: &str = "
    GET /BUCKET?versions=&encoding-type=url
    GET /BUCKET?versions=
    GET /BUCKET?versions=&max-keys=1
    GET /BUCKET?versions=&max-keys=7&encoding-type=url
    GET /BUCKET?versions=&max-keys=0
    GET /BUCKET?versions=&max-keys=-1
    GET /BUCKET?versions=&prefix=a&delimiter=%2F
    GET /BUCKET?versions=&delimiter=%2F&max-keys=2
    GET /BUCKET?versions=&version-id-marker=x
    GET /BUCKET?versions=&prefix=b&key-marker=a
    GET /BUCKET?versions=&metadata=true&max-keys=40
    GET /BUCKET?list-type=2
    GET /BUCKET?list-type=2&max-keys=3&encoding-type=url
    GET /BUCKET?list-type=2&delimiter=%2F
    GET /BUCKET?prefix=nothing
    GET /BUCKET?replication-foo=
    GET /BUCKET?versioning=
    GET /BUCKET?replication=
    GET /BUCKET?lifecycle=
    GET /BUCKET?encryption=
    GET /BUCKET?object-lock=
    GET /BUCKET?policy=
    GET /BUCKET?tagging=
    GET /BUCKET?notification=
    GET /BUCKET?location=
    GET /BUCKET?replication-reset-status=
    GET /BUCKET?replication-check=
    GET /BUCKET?replication-metrics=2
    PUT /BUCKET?replication-reset=&arn=x
    PUT /BUCKET?replication-reset=&arn=x&older-than=7d
    PUT /BUCKET?unknown=
    PUT /BUCKET
    GET /BUCKET/not-there
    GET /BUCKET/not-there?versionId=8b0b1dd2-5a0e-4ad6-a4a9-6d5b3b6c2f11
    GET /BUCKET/not-there?tagging=
    DELETE /BUCKET
    GET /no-such-bucket?versions=
    GET /no-such-bucket?versioning=
    GET /no-such-bucket?object-lock=
    GET /no-such-bucket?replication=
    PUT /no-such-bucket?replication-reset=
    GET /no-such-bucket/key
    GET /ruled?replication=
    GET /ruled?replication-check=
    GET /ruled?replication-reset-status=
    PUT /ruled?replication-reset=&arn=arn%3Aminio%3Areplication%3A%3Anope%3Adata
    PUT /ruled?replication-reset=
    PUT /ruled?replication-reset=&reset-id=x
    GET /minio/admin/v3/list-remote-targets?bucket=BUCKET
    GET /minio/admin/v3/list-remote-targets?bucket=BUCKET&type=replication
    GET /minio/admin/v3/get-bucket-quota?bucket=BUCKET
    GET /minio/admin/v3/kms/key/status?key-id=my-minio-key
    GET /minio/admin/v3/site-replication/info
";

fn without_ids(body: &str) -> String {
    let masks = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"<RequestId>[^<]*</RequestId><HostId>[^<]*</HostId>", "HOST"),
        (r"<ID>[^<]*</ID>", "ID"),
        (r#""RequestId":"[^"]*","HostId":"[^"]*""#, "HOST"),
    ];
    let masked = masks.iter().fold(body.to_owned(), |text, (pattern, mask)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *mask).into_owned()
    });
    // The real server lists metadata in another order each time.
    let (all, each) = (r"<UserMetadata>.*?</UserMetadata>", r"<([^/>]+)>[^<]*</[^>]+>");
    let [all, each] = [all, each].map(|pattern| Regex::new(pattern).expect("a pattern"));
    let sorted = all.replace_all(&masked, |found: &regex_lite::Captures| {
        let inside = found[0].trim_start_matches("<UserMetadata>");
        let mut headers: Vec<_> = each.find_iter(inside).map(|header| header.as_str().to_owned()).collect();
        headers.sort();
        headers.concat()
    });
    sorted.into_owned()
}

#[test]
fn the_first_command_of_a_newcomer_is_green_and_says_where_it_ran() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/resync_bucket.yaml");
    let case = Firedrill::new().args(["run", runbook, "--sandbox"]);
    case.run().exit(0).says("sandbox `target_lost`").says("188 versions compared: no difference");
    assert_eq!(case.events("answered").len(), 2, "two people were asked");
}

#[test]
fn a_scenario_is_named_or_a_file_and_takes_the_place_of_sites() {
    let recover = |args: &[&str]| Firedrill::new().args(["recover"].iter().chain(args));
    recover(&["--sandbox=partial_loss"]).run().exit(0).says("sandbox `partial_loss`");
    recover(&["--sandbox=nowhere"]).run().exit(3).says("there is no scenario `nowhere`: known are active_active");
    recover(&["a/bucket", "b/bucket", "--sandbox"]).run().exit(2);
    recover(&[]).run().exit(2);
    let own = "scenario: own\nsummary: My own\nbucket: mine\ndata: { objects: 5, delete_markers: 1 }\ndamage: { bucket_lost: true }\n";
    recover(&["--sandbox=own.yaml"]).file("own.yaml", own).run().exit(0).says("16 versions compared: no difference");
    recover(&["--sandbox=own.yaml"]).file("own.yaml", "scenario: own\nsummery: x\n").run().exit(3).says("summery");
}
