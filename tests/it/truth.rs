//! The sandbox is true when it cannot be told from a real pair: one table of cases, each set up by the same client calls
//! on both, and all that came out is compared: exit codes, verdicts, findings, differences by class, what both sites
//! then hold in the order of their listings, the status of resyncs, and errors. Ids, times and addresses are masked.
//!
//! Not compared, because a real pair does not do it twice in the same way: the counters of a resync's status, and how
//! far it had come when it was asked.

mod configured;
mod damaged;
mod resynced;
mod stopped;
mod told;

use std::{
    cell::RefCell,
    panic,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_sdk_s3::Client;
use firedrill::sandbox::{Scenario, scenario::Which};

use crate::{
    case::Firedrill,
    client::{self, block_on, s3},
    pair::{Options, Pair, Rule, Server, needs_minio},
    sandbox::Sandbox,
    scene::{next_second, operator},
    seed,
};

/// One case: its name is the name of its bucket.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    run: fn(&Bench),
    /// Why no real pair can be brought there on demand, so that the sandbox stands alone.
    alone: Option<&'static str>,
}

const fn case(name: &'static str, run: fn(&Bench)) -> Case {
    Case { name, run, alone: None }
}

const fn alone(name: &'static str, why: &'static str, run: fn(&Bench)) -> Case {
    Case { name, run, alone: Some(why) }
}

/// A bucket on one of the two pairs, and what was seen there so far.
struct Bench<'a> {
    pair: &'a Pair,
    /// The pair is a sandbox's.
    sandbox: Option<&'a Sandbox>,
    bucket: &'a str,
    target_bucket: RefCell<String>,
    /// `ETag`s that are no digest of what was written, in the order in which they were seen.
    sealed: RefCell<Option<Vec<String>>>,
    seen: RefCell<Vec<String>>,
}

#[test]
fn every_case_ends_on_the_sandbox_as_on_a_real_pair() {
    needs_minio!();
    let sandbox = Sandbox::of(Scenario::read(QUICK).unwrap());
    let embedded = around(&sandbox);
    compare(&[damaged::CASES, configured::CASES, resynced::CASES].concat(), Pair::shared(), &embedded, &sandbox);
}

#[test]
fn sites_go_away_and_come_back_on_the_sandbox_as_on_a_real_pair() {
    needs_minio!();
    let sandbox = Sandbox::of(Scenario::read(QUICK).unwrap());
    let embedded = around(&sandbox);
    compare(stopped::CASES, &Pair::own(&Options::default()), &embedded, &sandbox);
}

/// As fast as the machine is. What it holds by itself is not looked at.
const QUICK: &str = "scenario: quick\nsummary: Two sites to be set up\ndata: { objects: 1, versions: 1, delete_markers: 0 }\n\
                     resync: { flush: 200ms, retry: 500ms, version: 0ms }\n";

fn around(sandbox: &Sandbox) -> Pair {
    let server = |alias, site| Sandbox::server(alias, site);
    Pair::around(server("source", &sandbox.pair.source), server("target", &sandbox.pair.target))
}

/// Runs every case on both pairs, some at a time, and tells of all that differ at once.
fn compare(cases: &[Case], real: &Pair, embedded: &Pair, sandbox: &Sandbox) {
    const AT_A_TIME: usize = 6;
    let only = std::env::var("FIREDRILL_TEST_TRUTH").ok();
    let cases: Vec<_> = cases.iter().filter(|case| only.as_ref().is_none_or(|only| case.name == only)).collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let ours = || seen(case, embedded, Some(sandbox));
                    let result = thread::scope(|both| {
                        let truth = case.alone.is_none().then(|| both.spawn(|| seen(case, real, None)));
                        (truth.map(|truth| truth.join().unwrap_or_else(|panic| panic::resume_unwind(panic))), ours())
                    });
                    let told = match result {
                        (None | Some(Err(_)), Err(why)) => format!("{} on the sandbox: {why}", case.name),
                        (Some(Err(why)), Ok(_)) => format!("{} on the real pair: {why}", case.name),
                        (Some(Ok(_)), Err(why)) => format!("{} on the sandbox: {why}", case.name),
                        (Some(Ok(truth)), Ok(ours)) if truth != ours => {
                            format!("{} (`-` real, `+` sandbox)\n{}", case.name, told::difference(&truth, &ours))
                        }
                        (None | Some(Ok(_)), Ok(_)) => continue,
                    };
                    wrong.lock().unwrap().push(told);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} cases differ\n\n{}", wrong.len(), cases.len(), wrong.join("\n\n"));
}

/// What was seen of a case on one pair; `Err` has the words of a panic.
fn seen(case: &Case, pair: &Pair, sandbox: Option<&Sandbox>) -> Result<Vec<String>, String> {
    let run = || {
        let bench = Bench {
            pair,
            sandbox,
            bucket: case.name,
            target_bucket: RefCell::new(case.name.to_owned()),
            sealed: RefCell::default(),
            seen: RefCell::default(),
        };
        (case.run)(&bench);
        bench.look();
        bench.seen.into_inner()
    };
    panic::catch_unwind(panic::AssertUnwindSafe(run)).map_err(|why| {
        let text = why.downcast_ref::<String>().cloned();
        text.or_else(|| why.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

impl Bench<'_> {
    fn note(&self, line: impl Into<String>) {
        self.seen.borrow_mut().push(line.into());
    }

    fn server(&self, alias: &str) -> &Server {
        self.pair.server(alias)
    }

    /// The bucket's name on a site.
    fn of(&self, alias: &str) -> String {
        if alias == "target" { self.target_bucket.borrow().clone() } else { self.bucket.to_owned() }
    }

    fn place(&self, alias: &str) -> String {
        format!("{alias}/{}", self.of(alias))
    }

    /// Runs `mc`, `BUCKET` standing for the place on the site named before it.
    fn mc(&self, line: &str) {
        let words: Vec<String> = line.split(' ').map(|word| self.put_in(word)).collect();
        self.pair.mc(&words.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn put_in(&self, text: &str) -> String {
        let text = text.replace("target/BUCKET", &self.place("target"));
        text.replace("BUCKET", self.bucket)
    }

    /// Writes through the SDK, one call after the other.
    fn write(&self, alias: &str, calls: impl AsyncFnOnce(&Client, &str) + Send) {
        let (server, bucket) = (self.server(alias), self.of(alias));
        block_on(async || calls(&s3(server), &bucket).await);
    }

    /// Two versions, an empty object, a hidden one, one below folders.
    fn stock(&self) {
        let source = &self.pair.source;
        for (key, body) in [("a", "first"), ("a", "second one"), ("b/deep/c", "third"), ("empty", ""), ("gone", "x")] {
            seed::put(source, self.bucket, key, body.as_bytes());
        }
        seed::delete(source, self.bucket, "gone");
    }

    /// Both buckets, the rule, the stock, and all of it on the target.
    fn replicated(&self, rule: &Rule) {
        self.pair.replicate(self.bucket, rule);
        self.stock();
        self.pair.wait_replicated(self.bucket);
    }

    /// The target loses its bucket.
    fn lose(&self) {
        self.pair.lose_bucket("target", &self.of("target"));
    }

    /// The target loses every version of a key.
    fn lose_key(&self, key: &str) {
        for entry in seed::inventory(&self.pair.target, self.bucket).iter().filter(|entry| entry.key == key) {
            seed::delete_version(&self.pair.target, self.bucket, key, &entry.version_id);
        }
        next_second();
    }

    /// Other bytes under the same version id on the target, as replication itself would write them.
    fn overwrite_replica(&self, entry: &seed::Entry, body: &'static [u8]) {
        let id = entry.version_id.clone();
        self.write("target", async |client, bucket| {
            let put = client.put_object().bucket(bucket).key(&entry.key).body(body.to_vec().into()).customize();
            let put = put.mutate_request(move |request| {
                let uri = format!("{}&versionId={id}", request.uri());
                request.set_uri(uri).expect("an address");
                for (name, value) in
                    [("x-minio-source-replication-request", "true"), ("x-amz-replication-status", "REPLICA")]
                {
                    request.headers_mut().insert(name, value);
                }
            });
            put.send().await.expect("a replica");
        });
    }

    /// The only ARN of the source's rules.
    fn arn(&self) -> String {
        let rules = self.pair.rules("source", self.bucket);
        rules[0]["rule"]["Destination"]["Bucket"].as_str().expect("an ARN").to_owned()
    }

    fn rule_id(&self) -> String {
        self.pair.rules("source", self.bucket)[0]["rule"]["ID"].as_str().expect("an id").to_owned()
    }

    /// Runs firedrill, which ends with this code and says these words, and notes all that is the same on every pair.
    #[track_caller]
    fn firedrill(&self, drill: &Firedrill, args: &[&str], code: i32, words: &str) {
        let drill = drill.clone().args(args.iter().map(|arg| self.put_in(arg)));
        let before = drill.run_folder();
        let outcome = drill.run();
        assert_eq!(outcome.code, code, "{args:?}\n{}\n{}", outcome.stdout, outcome.stderr);
        self.note(format!("firedrill {}: exit code {code}", args[0]));
        if drill.run_folder() == before {
            self.note(told::masked(&outcome.stdout, &drill, self));
            self.note(told::masked(&outcome.stderr, &drill, self));
        } else {
            self.seen.borrow_mut().extend(told::journal(&drill, self));
        }
        outcome.says(words);
    }

    /// `firedrill recover`, confirmed; differences that stay get a moment only.
    #[track_caller]
    fn recover(&self, code: i32, words: &str) {
        self.recover_with(&[], code, words);
    }

    #[track_caller]
    fn recover_with(&self, more: &[&str], code: i32, words: &str) {
        let settle = if code == 0 { "settle=30s" } else { "settle=2s" };
        let (source, target) = (self.place("source"), self.place("target"));
        let args = ["recover", &source, &target, "--confirm-target", "target", "-i", settle, "-i", "max_attempts=2"];
        self.firedrill(&operator(self.pair), &[&args, more].concat(), code, words);
    }

    #[track_caller]
    fn verify(&self, code: i32, words: &str) {
        self.verify_as(&operator(self.pair), code, words);
    }

    #[track_caller]
    fn verify_as(&self, drill: &Firedrill, code: i32, words: &str) {
        let settle = if code == 0 { "settle=30s" } else { "settle=1s" };
        let (source, target) = (self.place("source"), self.place("target"));
        self.firedrill(drill, &["verify", &source, &target, "-i", settle], code, words);
    }

    /// Sends one signed request; `BUCKET`, `ARN` are put in. Notes and gives back status and answer.
    fn ask(&self, alias: &str, method: &str, path: &str) -> (u16, String) {
        let (status, body) = self.asked(alias, method, path);
        self.note(format!("{alias} {method} {path}: {status} {}", told::of_answer(&body, self)));
        (status, body)
    }

    fn asked(&self, alias: &str, method: &str, path: &str) -> (u16, String) {
        let path = path.replace("BUCKET", &self.of(alias));
        let path = if path.contains("ARN") { path.replace("ARN", &self.arn().replace(':', "%3A")) } else { path };
        client::signed(self.server(alias), method, &path)
    }

    /// Waits until the resync that was asked for has ended.
    fn wait_ended(&self, reset_id: &str) {
        until("the end of the resync", || {
            let (_, status) = self.asked("source", "GET", "/BUCKET?replication-reset-status=");
            status.contains(&format!("\"resetid\":\"{reset_id}\"")) && status.contains("Completed")
        });
        next_second();
    }

    fn stop(&self, which: Which) {
        match self.sandbox {
            Some(sandbox) => sandbox.pair.stop(which),
            None => self.server(alias(which)).kill(),
        }
    }

    fn start(&self, which: Which) {
        match self.sandbox {
            Some(sandbox) => sandbox.runtime.block_on(sandbox.pair.start_again(which)).expect("it comes back"),
            None => self.server(alias(which)).start(),
        }
    }

    /// What both sites hold in the end, and what is set on them.
    fn look(&self) {
        for alias in ["source", "target"] {
            let (server, bucket) = (self.server(alias), self.of(alias));
            self.note(format!("{alias} holds"));
            self.seen.borrow_mut().extend(told::inventory(self, server, &bucket));
            for document in ["versioning", "replication", "object-lock", "encryption", "replication-reset-status"] {
                let (status, body) = client::signed(server, "GET", &format!("/{bucket}?{document}="));
                self.note(format!("{alias} {document}: {status} {}", told::of_answer(&body, self)));
            }
        }
    }
}

fn alias(which: Which) -> &'static str {
    match which {
        Which::Source => "source",
        Which::Target => "target",
    }
}

/// Waits for what comes by itself.
#[track_caller]
fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "{what} does not come");
        thread::sleep(Duration::from_millis(50));
    }
}
