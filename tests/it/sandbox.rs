//! The sandbox's sites, as the program and the real `mc` see them.

use std::{
    env,
    process::{Command, Stdio},
};

use firedrill::sandbox::{self, Pair, Scenario};
use serde_json::Value;

use crate::case::{Firedrill, Outcome};

/// A pair with a runtime of its own; gone when dropped.
struct Sandbox {
    pair: Pair,
    _runtime: tokio::runtime::Runtime,
}

impl Sandbox {
    fn start(name: &str) -> Self {
        Self::of(Scenario::named(name).expect("a scenario").expect("a readable scenario"))
    }

    fn of(scenario: Scenario) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pair = runtime.block_on(sandbox::start(scenario)).unwrap();
        Self { pair, _runtime: runtime }
    }

    fn firedrill(&self) -> Firedrill {
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

    /// Runs the real `mc`; nothing when there is none.
    fn mc(&self, args: &[&str]) -> Option<Vec<Value>> {
        let mc = env::var_os("FIREDRILL_TEST_MC")?;
        let folder = tempfile::tempdir().unwrap();
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
    std::fs::write(file.path(), vec![7; 6 << 20]).unwrap();
    sandbox.mc(&["cp", file.path().to_str().unwrap(), "src/fresh/big"]);
    sandbox.mc(&["cp", file.path().to_str().unwrap(), "src/fresh/gone"]);
    sandbox.mc(&["rm", "src/fresh/gone"]);
    let of = |site: &str| {
        let mut lines = sandbox.mc(&["ls", "-r", "--versions", &format!("{site}/fresh")]).unwrap();
        lines.iter_mut().for_each(|line| drop(line.as_object_mut().unwrap().remove("url")));
        lines
    };
    let source = of("src");
    assert_eq!(source.len(), 3);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while of("dst") != source {
        assert!(std::time::Instant::now() < end, "{source:?}\n{:?}", of("dst"));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
