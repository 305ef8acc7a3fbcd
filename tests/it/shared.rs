//! One run at a time, from anywhere: leases, and runs that are kept on a third site.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    case::{Firedrill, Outcome, Running},
    client::{self, block_on, s3},
    pair::{Pair, Server, needs_minio},
    proxy::{At, Gate, Proxy, Recorded},
    scene::{Watched, assert_rebuilt, everything, over, recover, shipped},
    seed::{self, Entry},
};

mod freeze;
mod library;

/// Two sites behind recorders, and a third one with a bucket for what hosts share.
struct Shared {
    pair: &'static Pair,
    watched: Watched,
    third: Proxy,
    bucket: String,
}

impl Shared {
    fn new(bucket: &str) -> Self {
        let (pair, third) = (Pair::shared(), Pair::third());
        let bucket = format!("ops-{bucket}");
        assert_eq!(client::signed(third, "PUT", &format!("/{bucket}")).0, 200);
        Self { pair, watched: Watched::new(pair), third: Proxy::start(&third.endpoint()), bucket }
    }

    /// A host: a folder and an environment of its own. `more` goes into its `sites.yaml`.
    fn host(&self, name: &str, more: &str) -> Firedrill {
        let Watched { source, target, .. } = &self.watched;
        let sites = [
            ("source", &self.pair.source.at(&source.endpoint())),
            ("target", &self.pair.target.at(&target.endpoint())),
            ("ops", &Pair::third().at(&self.third.endpoint())),
        ];
        let host = Firedrill::new().env("USER", name).sites_file_with(&sites, "timeouts: { request: 5s }");
        let text = std::fs::read_to_string(host.folder().join("sites.yaml")).unwrap();
        host.file("sites.yaml", &format!("{text}\n{more}"))
    }

    /// A host that keeps its runs on the third site.
    fn shared_host(&self, name: &str) -> Firedrill {
        self.host(name, "").env("FIREDRILL_RUNS", &format!("site:ops/{}/runs", self.bucket))
    }

    /// All objects below a prefix, as another client reads them.
    fn objects(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        objects(Pair::third(), &self.bucket, prefix)
    }

    /// The ids of all shared runs.
    fn runs(&self) -> Vec<String> {
        let objects = self.objects("runs/");
        let ids = objects.keys().filter_map(|key| key.strip_prefix("runs/")?.split_once("/journal/")).map(|(id, _)| id);
        let mut ids: Vec<String> = ids.map(str::to_owned).collect();
        ids.dedup();
        ids
    }

    fn run(&self) -> String {
        let runs = self.runs();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs[0].clone()
    }

    /// The bytes of a shared run's journal, put together here.
    fn journal(&self, run: &str) -> Vec<u8> {
        self.objects(&format!("runs/{run}/journal/")).into_values().collect::<Vec<_>>().concat()
    }

    fn lines(&self, run: &str) -> Vec<Value> {
        let journal = self.journal(run);
        String::from_utf8(journal).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn events(&self, run: &str, event: &str) -> Vec<Value> {
        self.lines(run).into_iter().filter(|line| line["event"] == event).collect()
    }

    /// The journal verifies where it is, and as a file of its own.
    #[track_caller]
    fn assert_audited(&self, host: &Firedrill, run: &str) {
        let there = host.clone().args(["audit", "verify", run, "--output", "json"]).run().exit(0).json();
        let file = host.folder().join("copied.jsonl");
        std::fs::write(&file, self.journal(run)).unwrap();
        let copied = host.clone().args(["audit", "verify", file.to_str().unwrap(), "--output", "json"]);
        let copied = copied.run().exit(0).json();
        assert_eq!((&there["head"], &there["lines"]), (&copied["head"], &copied["lines"]));
        assert!(there["files"].as_u64().unwrap() > 0);
    }

    /// Holds the job: the source sends nothing of its ordinary objects before the gate is opened.
    fn hold_the_job(&self, bucket: &str) -> Gate {
        let objects = format!("/{bucket}/data/");
        self.watched.target.hold(At::Request, move |request: &Recorded| {
            request.method == "PUT" && request.path.starts_with(&objects) && request.user_agent.contains("minio-go")
        })
    }

    fn changes(&self) -> usize {
        self.watched.changing().len()
    }
}

fn objects(server: &Server, bucket: &str, prefix: &str) -> BTreeMap<String, Vec<u8>> {
    block_on(async || {
        let client = s3(server);
        let mut found = BTreeMap::new();
        let listed = client.list_objects_v2().bucket(bucket).prefix(prefix).send().await.expect("a listing");
        assert_ne!(listed.is_truncated(), Some(true));
        for key in listed.contents().iter().filter_map(|object| object.key()) {
            // It may be given back in between.
            if let Ok(object) = client.get_object().bucket(bucket).key(key).send().await {
                found.insert(key.to_owned(), object.body.collect().await.expect("its content").to_vec());
            }
        }
        found
    })
}

fn opposite(host: &Firedrill, bucket: &str) -> Firedrill {
    let (source, target) = (format!("target/{bucket}"), format!("source/{bucket}"));
    host.clone().args(["recover", &source, &target, "--confirm-target=source"])
}

#[track_caller]
fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !holds() {
        assert!(Instant::now() < end, "it does not come true");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn hosts_that_share_no_directory_keep_out_of_each_others_way_by_a_lease() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("leased"), "leased");
    let source = shared.watched.lost(shared.pair, bucket);
    let place = format!("ops/{}/locks", shared.bucket);
    let (ann, bob) = (shared.host("ann", &format!("lease: {place}\n")), shared.host("bob", ""));
    let bob = bob.env("FIREDRILL_LEASE", &place);

    let gate = shared.hold_the_job(bucket);
    let mut running = recover(&ann, bucket).spawn();
    gate.wait_arrived();
    running.wait_for_line(&ann, |line| line["event"] == "progress" && line["path"] == "recover");
    let (run, sent) = (ann.run_id(), shared.changes());
    let leases = shared.objects("locks/");
    assert_eq!(leases.len(), 2, "one of each site's bucket: {leases:?}");
    for lease in leases.values() {
        let lease: Value = serde_json::from_slice(lease).unwrap();
        assert_eq!(
            (&lease["run"], &lease["user"], &lease["standing"]),
            (&run.as_str().into(), &"ann".into(), &"held".into())
        );
    }
    for call in [recover(&bob, bucket), opposite(&bob, bucket)] {
        call.run().exit(9).says(&run).says("ann").says("at work");
    }
    assert_eq!(shared.changes(), sent, "{:?}", shared.watched.changing());
    assert!(bob.run_folder().is_none(), "a refused run left something behind");

    gate.release();
    running.wait().exit(0);
    assert_rebuilt(shared.pair, bucket, &source);
    assert_eq!(ann.events("run_started")[0]["lease"], format!("{place}/"));
    // It is given back with the end of the run.
    recover(&bob, bucket).run().exit(0);
    assert_eq!(shared.watched.starts(), 2);
}

#[test]
fn a_holder_that_stood_still_while_its_lease_was_taken_over_sends_nothing() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("overslept"), "overslept");
    let source = shared.watched.lost(shared.pair, bucket);
    let lease = format!("lease: ops/{}/locks\n", shared.bucket);
    let (ann, bob) = (shared.host("ann", &lease), shared.host("bob", &lease));

    // Its first change is on the way.
    let gate = shared.watched.target.hold(At::Request, {
        let path = format!("/{bucket}/");
        move |request: &Recorded| {
            request.method == "PUT" && request.path.trim_end_matches('/') == path.trim_end_matches('/')
        }
    });
    let running = recover(&ann, bucket).spawn();
    gate.wait_arrived();
    running.signal("STOP");
    gate.release();
    let run = ann.run_id();
    recover(&bob, bucket).run().exit(9).says(&run).says("ann");
    // Nothing but time takes it from somebody who cannot be asked.
    wait_until(|| {
        let ended = recover(&bob, bucket).run();
        assert!(matches!(ended.code, 0 | 9), "{}{}", ended.stdout, ended.stderr);
        ended.code == 0
    });
    assert_rebuilt(shared.pair, bucket, &source);
    let (sent, there) = (shared.changes(), everything(shared.pair, bucket));
    running.signal("CONT");
    running.wait().exit(9).says(&bob.run_id()).says("bob").says("nothing more is sent");
    assert_eq!(shared.changes(), sent, "{:?}", shared.watched.changing());
    assert_eq!(everything(shared.pair, bucket), there);
    assert!(ann.events("run_ended").is_empty());
    ann.clone().args(["audit", "verify", &run]).run().exit(0);
}

#[test]
fn a_run_that_waits_for_a_person_keeps_its_lease() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("waits"), "lease-waits");
    let source = shared.watched.lost(shared.pair, bucket);
    let lease = format!("lease: ops/{}/locks\n", shared.bucket);
    let (ann, bob) = (shared.host("ann", &lease), shared.host("bob", &lease));
    let runbook = shipped("resync_bucket.yaml");
    let sites = ann.folder().join("sites.yaml");
    let more = ["--confirm-target=target", "--sites", sites.to_str().unwrap()];
    over(&ann, "run", runbook.to_str().unwrap(), bucket, &more).run().exit(7);
    let run = ann.run_id();
    for call in [recover(&bob, bucket), opposite(&bob, bucket)] {
        call.run().exit(9).says(&run).says("ann").says("has not ended");
    }
    ann.clone().args(["approve", &run, "--yes=resume_traffic"]).run().exit(0);
    assert_rebuilt(shared.pair, bucket, &source);
    recover(&bob, bucket).run().exit(0);
}

#[test]
fn what_hosts_share_is_never_kept_on_a_site_of_the_run() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("own"), "own-site");
    shared.watched.lost(shared.pair, bucket);
    let before = shared.changes();
    let host = shared.host("ann", "");
    // By another address, too.
    let direct = host.clone().site("elsewhere", &shared.pair.source);
    for (host, alias, role) in
        [(&host, "source", "source"), (&host, "target", "target"), (&direct, "elsewhere", "source")]
    {
        let place = format!("{alias}/{bucket}/x");
        recover(host, bucket).env("FIREDRILL_LEASE", &place).run().exit(3).says(&format!("own {role}"));
        let runs = format!("site:{place}");
        recover(host, bucket).env("FIREDRILL_RUNS", &runs).run().exit(3).says(&format!("own {role}"));
    }
    recover(&host, bucket).env("FIREDRILL_LEASE", "ops").run().exit(3).says("ALIAS/BUCKET/PREFIX");
    recover(&host, bucket).env("FIREDRILL_RUNS", "site:nobody/bucket").run().exit(3).says("nobody");
    let absent = format!("site:ops/{}-absent/runs", shared.bucket);
    recover(&host, bucket).env("FIREDRILL_RUNS", &absent).run().exit(6).says("NoSuchBucket");
    assert_eq!(shared.changes(), before);
    // Nor is anything left of a run that was not confirmed.
    let places = [format!("source/{bucket}"), format!("target/{bucket}")];
    let unconfirmed = shared.shared_host("ann").args(["recover", &places[0], &places[1]]);
    unconfirmed.run().exit(3).says("--confirm-target target");
    let left = shared.objects("");
    assert!(left.keys().all(|key| key.starts_with("runs/.claims/")), "{left:?}");
    assert!(left.values().all(|claim| serde_json::from_slice::<Value>(claim).unwrap()["free"] == true), "{left:?}");
}

#[test]
fn a_shared_run_that_is_to_be_signed_or_stored_as_evidence_is_refused_before_it_begins() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("unsigned"), "shared-unsigned");
    shared.watched.lost(shared.pair, bucket);
    let (host, before) = (shared.shared_host("ann"), shared.changes());
    let evidence = format!("ops/{}/evidence", shared.bucket);
    for (variable, value, flag) in
        [("FIREDRILL_SIGN_KEY", "id_ed25519", "--sign-key"), ("FIREDRILL_EVIDENCE", &evidence, "--evidence")]
    {
        let refused = recover(&host, bucket).env(variable, value).run().exit(3);
        refused.says(&format!("`{flag}` is for runs in a directory")).says("audit verify --head");
    }
    for args in [&["audit", "sign", "latest", "--sign-key", "id_ed25519"][..], &["audit", "store", "latest"]] {
        host.clone().args(args).run().exit(3).says("is for runs in a directory");
    }
    assert_eq!(shared.changes(), before);
    assert_eq!(shared.objects(""), BTreeMap::new());
}

#[test]
fn without_its_lease_a_run_changes_nothing() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("stale"), "lease-stale");
    shared.watched.lost(shared.pair, bucket);
    let host = shared.host("ann", &format!("lease: ops/{}/locks\n", shared.bucket));
    let before = everything(shared.pair, bucket);
    let gate = shared.watched.source.hold(At::Request, |request| request.path.contains("list-remote-targets"));
    let running = recover(&host, bucket).spawn();
    gate.wait_arrived();
    shared.third.deny(|request| request.method == "PUT" && request.path.contains("/locks/"));
    gate.release();
    running.wait().exit(5).says("the lease could not be renewed");
    assert_eq!(shared.watched.changing(), []);
    assert_eq!(everything(shared.pair, bucket), before);
    assert!(host.events("intent").is_empty());
}

/// A shared recovery that is in the middle of its resync.
fn in_the_middle(shared: &Shared, host: &Firedrill, bucket: &str) -> (Vec<Entry>, Gate, Running) {
    let source = shared.watched.lost(shared.pair, bucket);
    let gate = shared.hold_the_job(bucket);
    let running = recover(host, bucket).spawn();
    gate.wait_arrived();
    (source, gate, running)
}

#[test]
fn any_host_goes_on_with_a_shared_run() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("any"), "shared-any");
    let (ann, bob) = (shared.shared_host("ann"), shared.shared_host("bob"));
    let (source, gate, running) = in_the_middle(&shared, &ann, bucket);
    let run = shared.run();
    recover(&bob, bucket).run().exit(9).says(&run).says("ann");
    bob.clone().args(["resume", &run]).run().exit(9).says("at work").says("--take-over");
    running.kill();
    let sent = shared.changes();
    for call in [recover(&bob, bucket), opposite(&bob, bucket)] {
        call.run().exit(9).says(&run).says("ann").says(&format!("firedrill resume {run}"));
    }
    assert_eq!(shared.changes(), sent);
    bob.clone().args(["runs"]).run().exit(0).says(&run).says("not ended");
    bob.clone().args(["show", "latest"]).run().exit(0).says("NOT ENDED");

    gate.release();
    let resumed = bob.clone().args(["resume", &run, "--take-over"]).run().exit(0).says("HELD");
    assert!(resumed.stdout.contains(&format!("--runs site:ops/{}/runs", shared.bucket)), "{}", resumed.stdout);
    assert_eq!(shared.watched.starts(), 1, "a second resync was started");
    assert_eq!(shared.events(&run, "run_resumed")[0]["user"], "bob");
    assert_rebuilt(shared.pair, bucket, &source);
    shared.assert_audited(&ann, &run);
    ann.clone().args(["show", &run]).run().exit(0).says("HELD");
    let report = ann.clone().args(["report", &run, "--format", "json"]).run().exit(0).json();
    let head = report["head"].as_str().unwrap().to_owned();
    assert_eq!((&report["run"], &report["verdict"]), (&run.as_str().into(), &"held".into()));
    ann.clone().args(["audit", "verify", &run, "--head", &head]).run().exit(0).says(&head);
    let other = "0".repeat(64);
    ann.clone().args(["audit", "verify", &run, "--head", &other]).run().exit(6).says("known head");
    let signers = ["audit", "verify", &run, "--allowed-signers", "sites.yaml"];
    ann.clone().args(signers).run().exit(6).says("it is not signed");
    ann.clone().args(["resume", &run]).run().exit(3).says("has ended");
    for host in [&ann, &bob] {
        assert!(!host.folder().join("runs").exists(), "something is kept on the host");
        host.assert_no_secrets(&[&resumed], &[Pair::third().secret_key.clone()]);
    }
    // The claims are free again.
    recover(&ann, bucket).run().exit(0);
    assert_eq!(shared.runs().len(), 2);
}

#[test]
fn of_hosts_that_begin_at_the_same_time_one_wins() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("race"), "shared-race");
    let source = shared.watched.lost(shared.pair, bucket);
    let hosts: Vec<Firedrill> = (0..4).map(|n| shared.shared_host(&format!("host{n}"))).collect();
    let ended: Vec<Outcome> = thread::scope(|scope| {
        let begin = |(n, host): (usize, &Firedrill)| {
            let call = if n == 3 { opposite(host, bucket) } else { recover(host, bucket) };
            scope.spawn(move || call.run())
        };
        let running: Vec<_> = hosts.iter().enumerate().map(begin).collect();
        running.into_iter().map(|running| running.join().unwrap()).collect()
    });
    let codes: Vec<i32> = ended.iter().map(|ended| ended.code).collect();
    // The opposite direction ends by itself when it comes first: the wrong site is empty.
    let won = codes.iter().filter(|code| **code != 9).count();
    assert!(won >= 1 && codes.iter().all(|code| matches!(code, 0 | 4 | 9)), "{ended:?}");
    assert!(shared.watched.starts() <= 1);
    if codes.contains(&0) {
        assert_rebuilt(shared.pair, bucket, &source);
    }
    for run in shared.runs() {
        shared.assert_audited(&hosts[0], &run);
    }
}

#[test]
fn an_answer_that_was_lost_on_the_way_is_found_out() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("unheard"), "shared-unheard");
    let source = shared.watched.lost(shared.pair, bucket);
    let host = shared.shared_host("ann");
    let writes = |part: &'static str| move |request: &Recorded| request.method == "PUT" && request.path.contains(part);
    shared.third.cut(At::Reply, 3, writes("/journal/"));
    shared.third.cut(At::Request, 3, writes("/journal/"));
    shared.third.refuse(2, writes("/journal/"));
    shared.third.cut(At::Reply, 1, writes("/lease"));
    shared.third.cut(At::Reply, 1, writes("/.claims/"));
    shared.third.cut(At::Reply, 1, writes("/artifacts/"));
    recover(&host, bucket).run().exit(0);
    assert_rebuilt(shared.pair, bucket, &source);
    assert_eq!(shared.watched.starts(), 1);
    shared.assert_audited(&host, &shared.run());
}

#[test]
fn without_its_journal_a_shared_run_changes_nothing() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("denied"), "shared-denied");
    let source = shared.watched.lost(shared.pair, bucket);
    let (ann, bob) = (shared.shared_host("ann"), shared.shared_host("bob"));
    // The line that would be the first intent.
    let before = everything(shared.pair, bucket);
    shared.third.deny(|request| request.method == "PUT" && request.path.contains("/journal/0000000004"));
    recover(&ann, bucket).run().exit(6).says("AccessDenied");
    let run = shared.run();
    if shared.events(&run, "intent").is_empty() {
        assert_eq!(everything(shared.pair, bucket), before);
    }
    shared.third.clear();
    bob.clone().args(["resume", &run]).run().exit(0);
    assert_rebuilt(shared.pair, bucket, &source);
    assert_eq!(shared.watched.starts(), 1);
    shared.assert_audited(&ann, &run);
}

#[test]
fn a_question_of_a_shared_run_is_answered_from_anywhere() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("asked"), "shared-asked");
    let source = shared.watched.lost(shared.pair, bucket);
    let (ann, bob) = (shared.shared_host("ann"), shared.shared_host("bob"));
    let runbook = shipped("resync_bucket.yaml");
    let sites = ann.folder().join("sites.yaml");
    let more = ["--confirm-target=target", "--sites", sites.to_str().unwrap()];
    over(&ann, "run", runbook.to_str().unwrap(), bucket, &more).run().exit(7).says("--runs site:ops");
    let run = shared.run();
    recover(&bob, bucket).run().exit(9).says(&run);
    bob.clone().args(["approve", &run, "--sites", "sites.yaml"]).run().exit(7).says("resume_traffic");
    ann.clone().args(["approve", "latest", "--comment", "all is well"]).run().exit(0);
    let answers = shared.events(&run, "answered");
    assert_eq!(answers.iter().map(|line| line["answer"]["by"].as_str().unwrap()).collect::<Vec<_>>(), ["bob", "ann"]);
    assert_rebuilt(shared.pair, bucket, &source);
    shared.assert_audited(&bob, &run);
}

#[test]
fn what_was_changed_in_a_shared_journal_is_found() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("changed"), "shared-changed");
    shared.watched.lost(shared.pair, bucket);
    let host = shared.shared_host("ann");
    recover(&host, bucket).run().exit(0);
    let (run, third) = (shared.run(), Pair::third());
    let batches: Vec<String> = shared.objects(&format!("runs/{run}/journal/")).into_keys().collect();
    let middle = &batches[batches.len() / 2];
    let content = shared.objects(middle).remove(middle).unwrap();
    seed::put(third, &shared.bucket, middle, &[content.as_slice(), b"\n"].concat());
    let audit = host.clone().args(["audit", "verify", &run]);
    audit.run().exit(6).says("does not verify");
    client::signed(third, "DELETE", &format!("/{}/{middle}", shared.bucket));
    audit.run().exit(6).says("is missing");
    seed::put(third, &shared.bucket, middle, &content);
    audit.run().exit(0);
}
