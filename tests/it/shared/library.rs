//! `run_or_resume`, driven as a fleet's worker does: it is killed in the middle, and called again.

use std::{
    env,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use firedrill::{
    NoOutcome, Outcome, Spec,
    event::{Event, Recorder, Verdict},
    run_or_resume,
    runs::{Place, Runs, Shared as SharedRuns},
    site::{SiteSpec, Value as Given},
    store::Store,
    verdict::Exit,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;

/// What a worker in a process of its own works on; it is no test where this is not set.
const WORKER: &str = "FIREDRILL_TEST_WORKER";

fn site(of: &Value) -> SiteSpec {
    let text = |name: &str| of[name].as_str().unwrap().to_owned();
    let literal = |name: &str| Given::Literal(firedrill::secret::Secret::new(text(name)));
    SiteSpec {
        alias: text("alias"),
        endpoint: text("endpoint").parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: literal("key"),
        secret_key: literal("secret"),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(5),
        max_requests_per_second: None,
        drills: false,
    }
}

/// What is to be done, as a worker gets it: the run's id, the bucket, three sites and where runs are.
fn order(shared: &Shared, bucket: &str, runs: &str) -> Value {
    let site = |alias: &str, server: &Server, proxy: &Proxy| json!({"alias": alias, "endpoint": proxy.endpoint(), "key": server.access_key, "secret": server.secret_key});
    json!({
        "run": format!("fleet-{bucket}"), "bucket": bucket, "runs": runs,
        "source": site("source", &shared.pair.source, &shared.watched.source),
        "target": site("target", &shared.pair.target, &shared.watched.target),
        "ops": site("ops", Pair::third(), &shared.third),
    })
}

fn spec(order: &Value) -> Spec {
    let runbook = std::fs::read_to_string(shipped("recover_bucket.yaml")).unwrap();
    let inputs = json!({"bucket": order["bucket"], "settle": "1m"});
    Spec {
        run: order["run"].as_str().unwrap().to_owned(),
        runbook,
        sites: ["source", "target"].map(|role| (role.to_owned(), site(&order[role]))).into(),
        inputs: inputs.as_object().unwrap().clone(),
        accept: BTreeMap::new(),
        confirm_target: Some("target".into()),
        yes: Vec::new(),
        since: None,
        lease: None,
    }
}

fn place(order: &Value) -> Place {
    let runs = order["runs"].as_str().unwrap();
    match runs.strip_prefix("site:") {
        Some(address) => {
            Place::Site(SharedRuns::new(Store::new(site(&order["ops"]), address.parse().unwrap()).unwrap()))
        }
        None => Place::Folder(Runs::new(runs)),
    }
}

/// Calls it once, on a runtime of its own.
fn call(order: &Value, spec: &Spec, cancel: &CancellationToken) -> (Result<Outcome, NoOutcome>, usize) {
    let beats = Arc::new(AtomicUsize::new(0));
    let (counted, runs) = (Arc::clone(&beats), place(order));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (spec, cancel) = (spec.clone(), cancel.clone());
    // In a task: the future may be sent to other threads.
    let called = runtime.spawn(async move {
        let beat = move |what: &str| {
            assert!(!what.is_empty());
            counted.fetch_add(1, Ordering::Relaxed);
        };
        run_or_resume(&spec, &runs, beat, cancel).await
    });
    let outcome = runtime.block_on(called).unwrap();
    (outcome, beats.load(Ordering::Relaxed))
}

#[test]
fn a_worker_in_a_process_of_its_own() {
    let Some(order) = env::var_os(WORKER) else { return };
    let order: Value = serde_json::from_str(order.to_str().unwrap()).unwrap();
    let (outcome, _) = call(&order, &spec(&order), &CancellationToken::new());
    assert_eq!(outcome.unwrap().verdict, Verdict::Held);
}

/// A worker that is killed when it is dropped.
struct Worker(Child);

impl Worker {
    fn start(order: &Value) -> Self {
        let name = "shared::library::a_worker_in_a_process_of_its_own";
        let child = Command::new(env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(WORKER, order.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The worker dies in the middle of a resync, and the call that follows ends the run.
fn killed_and_called_again(shared: &Shared, order: &Value, lines: impl Fn() -> Vec<Value>) {
    let bucket = order["bucket"].as_str().unwrap();
    let source = shared.watched.lost(shared.pair, bucket);
    let gate = shared.hold_the_job(bucket);
    let worker = Worker::start(order);
    gate.wait_arrived();
    wait_until(|| lines().iter().any(|line| line["event"] == "intent" && line["change"] == "StartResync"));
    drop(worker);
    gate.release();

    let (spec, cancel) = (spec(order), CancellationToken::new());
    let mut tries = 0;
    let outcome = loop {
        match call(order, &spec, &cancel) {
            (Err(NoOutcome::TryAgain(why)), _) => {
                assert!(why.contains("at work"), "{why}");
                assert_eq!(shared.watched.starts(), 1);
                tries += 1;
                thread::sleep(Duration::from_secs(1));
            }
            (outcome, beats) => {
                assert!(beats > 3, "{beats} beats");
                break outcome.unwrap();
            }
        }
    };
    // A host that died on a third site's journal may be alive: it is not overtaken at once.
    assert_eq!(tries > 0, order["runs"].as_str().unwrap().starts_with("site:"), "{tries}");
    assert_eq!((outcome.verdict, outcome.exit), (Verdict::Held, Exit::Held));
    assert_eq!(outcome.state.resumes, 1);
    assert_eq!(shared.watched.starts(), 1, "a second resync was started");
    let of = |event: &str| lines().into_iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let mut intents: Vec<_> =
        of("intent").iter().map(|line| (line["key"].to_string(), line["n"].to_string())).collect();
    let count = intents.len();
    intents.sort();
    intents.dedup();
    assert_eq!((count, of("receipt").len()), (intents.len(), intents.len()));
    assert_rebuilt(shared.pair, bucket, &source);

    // Called once more it says the same, and does nothing.
    let (sent, written) = (shared.changes(), lines().len());
    let (again, _) = call(order, &spec, &cancel);
    let again = again.unwrap();
    assert_eq!((again.verdict, &again.head), (Verdict::Held, &outcome.head));
    assert_eq!((shared.changes(), lines().len()), (sent, written));

    let mut other = spec.clone();
    other.inputs.insert("settle".into(), "2m".into());
    other.run = format!("{}-other", spec.run);
    other.confirm_target = None;
    let (refused, _) = call(order, &other, &cancel);
    assert!(matches!(refused, Err(NoOutcome::Refused { exit: Exit::Refused, .. })), "{refused:?}");
}

#[test]
fn a_worker_killed_in_the_middle_ends_when_called_again_with_nothing_doubled() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("fleet"), "fleet-folder");
    let folder = tempfile::tempdir().unwrap();
    let order = order(&shared, bucket, folder.path().join("runs").to_str().unwrap());
    let run = folder.path().join("runs").join(order["run"].as_str().unwrap());
    killed_and_called_again(&shared, &order, || crate::case::journal(&run));
}

#[test]
fn a_worker_killed_on_one_host_ends_when_called_on_another() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("fleet-shared"), "fleet-site");
    let order = order(&shared, bucket, &format!("site:ops/{}/runs", shared.bucket));
    let run = order["run"].as_str().unwrap().to_owned();
    killed_and_called_again(&shared, &order, || shared.lines(&run));
    shared.assert_audited(&shared.shared_host("ann"), &run);
}

#[test]
fn a_large_artifact_is_kept_in_parts() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("parts"), "parts");
    let order = order(&shared, bucket, &format!("site:ops/{}/runs", shared.bucket));
    let Place::Site(runs) = place(&order) else { panic!("no site") };
    let recorder = firedrill::journal::shared::SharedRecorder::new(
        runs.store(),
        &Arc::default(),
        "run",
        (None, 0),
        firedrill::clock::Clock::Wall,
        firedrill::mask::Masker::default(),
    );
    for size in [0, 5, (16 << 20) + 1, 40 << 20] {
        let content: Vec<u8> = (0..size).map(|n: usize| u8::try_from(n * 7 % 251).unwrap()).collect();
        let mut file = recorder.artifact("a.jsonl").unwrap();
        std::io::Write::write_all(&mut file, &content).unwrap();
        let Event::Artifact { sha256, bytes, .. } = file.close().unwrap() else { panic!("no artifact") };
        assert_eq!((sha256.as_str(), bytes), (firedrill::digest::digest(&content).as_str(), size as u64));
        assert!(runs.file("run", "a.jsonl", Some(&sha256)).unwrap() == content, "{size} bytes");
    }
    let parts = shared.objects("runs/run/artifacts/").into_values().map(|part| part.len());
    assert_eq!(parts.filter(|len| *len == 16 << 20).count(), 3);
}

#[test]
fn what_a_worker_may_try_again_and_what_not() {
    needs_minio!();
    let (shared, bucket) = (Shared::new("fleet-tries"), "fleet-tries");
    let source = shared.watched.lost(shared.pair, bucket);
    let order = order(&shared, bucket, &format!("site:ops/{}/runs", shared.bucket));
    let (good, cancel) = (spec(&order), CancellationToken::new());
    let again = |spec: &Spec| matches!(call(&order, spec, &cancel).0, Err(NoOutcome::TryAgain(_)));
    let never = |spec: &Spec| matches!(call(&order, spec, &cancel).0, Err(NoOutcome::Refused { .. }));
    assert!(never(&Spec { run: "../x".into(), ..good.clone() }));
    assert!(never(&Spec { runbook: "format: 1\n".into(), ..good.clone() }));
    assert!(never(&Spec { sites: BTreeMap::new(), ..good.clone() }));
    assert!(never(&Spec { inputs: serde_json::Map::new(), ..good.clone() }));
    let held = shared.host("ann", "").env("FIREDRILL_RUNS", &format!("site:ops/{}/runs", shared.bucket));
    let gate = shared.hold_the_job(bucket);
    let running = recover(&held, bucket).spawn();
    gate.wait_arrived();
    assert!(again(&good), "the bucket is held elsewhere");
    gate.release();
    running.wait().exit(0);
    shared.third.deny(|request| request.path.contains("/journal/"));
    assert!(again(&good), "the journal cannot be reached");
    shared.third.clear();

    // Told to stop before it begins, it says so, and the next call ends the run.
    let stopped = CancellationToken::new();
    stopped.cancel();
    let (outcome, _) = call(&order, &good, &stopped);
    assert_eq!(outcome.unwrap().verdict, Verdict::Cancelled);
    let (outcome, _) = call(&order, &good, &cancel);
    assert_eq!(outcome.unwrap().verdict, Verdict::Held);
    assert_rebuilt(shared.pair, bucket, &source);
    // A verdict is one on the very same thing.
    assert!(never(&Spec { runbook: format!("{}\n# edited\n", good.runbook), ..good.clone() }));
    let mut elsewhere = good.clone();
    elsewhere.sites.insert(
        "target".into(),
        SiteSpec { endpoint: "http://127.0.0.1:1".parse().unwrap(), ..site(&order["target"]) },
    );
    assert!(never(&elsewhere));
    elsewhere.inputs.insert("bucket".into(), "another".into());
    assert!(never(&elsewhere));
}
