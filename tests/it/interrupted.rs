//! Runs that are killed, stopped or overtaken: nothing is sent twice, and `resume` ends green.

use serde_json::Value;

use crate::{
    case::{Firedrill, Running},
    pair::{Pair, Rule, needs_minio},
    proxy::{At, Gate, Recorded},
    scene::{Watched, assert_audited, assert_rebuilt, lost, operator, over, recover, shipped},
    seed::{self, Entry},
};

/// Holds what the source replicates of its ordinary objects: the job cannot end before the gate is opened.
fn hold_the_job(watched: &Watched, bucket: &str) -> Gate {
    let objects = format!("/{bucket}/data/");
    watched.target.hold(At::Request, move |request: &Recorded| {
        request.method == "PUT" && request.path.starts_with(&objects) && request.user_agent.contains("minio-go")
    })
}

/// A recovery that is in the middle of its resync, by the journal and by the server.
fn in_the_middle(pair: &Pair, watched: &Watched, bucket: &str) -> (Vec<Entry>, Gate, Running) {
    let source = watched.lost(pair, bucket);
    let gate = hold_the_job(watched, bucket);
    let mut running = recover(&watched.drill, bucket).spawn();
    gate.wait_arrived();
    running.wait_for_line(&watched.drill, |line| line["event"] == "progress" && line["path"] == "recover");
    assert_eq!(watched.starts(), 1);
    assert!(seed::inventory(&pair.target, bucket).len() < source.len(), "the job has ended already");
    (source, gate, running)
}

fn resume(drill: &Firedrill) -> Firedrill {
    drill.clone().args(["resume", &drill.run_id()])
}

/// The intents of starts of a resync in the newest run's journal.
fn start_intents(drill: &Firedrill) -> Vec<Value> {
    drill.events("intent").into_iter().filter(|line| line["change"] == "StartResync").collect()
}

#[test]
fn a_run_killed_in_the_middle_of_a_resync_is_resumed_with_one_start_in_all() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "killed-middle");
    let watched = Watched::new(pair);
    let drill = &watched.drill;
    let (source, gate, running) = in_the_middle(pair, &watched, bucket);
    let run = drill.run_id();
    assert_eq!(running.kill().code, 128 + 9);
    assert_eq!(drill.events("run_ended").len(), 0);

    // A paused run keeps its claim: the bucket is in the middle of something.
    let before = watched.changing().len();
    let other = recover(drill, bucket).run().exit(9).says(&run).says(&format!("firedrill resume {run}"));
    assert!(other.stderr.lines().count() <= 2, "{}", other.stderr);
    let opposite = ["recover", &format!("target/{bucket}"), &format!("source/{bucket}"), "--confirm-target=source"];
    drill.clone().args(opposite).run().exit(9).says(&run);
    assert_eq!(drill.run_id(), run, "a refused run left something behind");
    assert_eq!(watched.changing().len(), before, "{:?}", watched.changing());
    drill.clone().args(["runs"]).run().exit(0).says("not ended");
    drill.clone().args(["show", &run]).run().exit(0).says("NOT ENDED");

    gate.release();
    resume(drill).run().exit(0).says("HELD");
    assert_eq!(drill.run_id(), run);
    assert_eq!(watched.starts(), 1, "a second resync was started");
    assert_eq!(start_intents(drill).len(), 1);
    assert_eq!(drill.events("run_resumed").len(), 1);
    assert_rebuilt(pair, bucket, &source);
    assert_audited(drill);
    resume(drill).run().exit(3).says("has ended");
    // The claim is given back with the end of the run.
    assert!(std::fs::read_dir(drill.folder().join("runs/.claims")).unwrap().next().is_none());
}

#[test]
fn a_start_whose_answer_was_never_heard_is_settled_and_not_sent_again() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "killed-unheard");
    let watched = Watched::new(pair);
    let drill = &watched.drill;
    let source = watched.lost(pair, bucket);
    let gate = watched.source.hold(At::Reply, Recorded::starts_resync);
    let running = recover(drill, bucket).spawn();
    gate.wait_arrived();
    running.kill();
    gate.release();
    let receipts = |drill: &Firedrill| {
        drill.events("receipt").into_iter().filter(|line| line["key"] == "attempt-1").collect::<Vec<_>>()
    };
    assert_eq!((start_intents(drill).len(), receipts(drill).len()), (1, 0));

    resume(drill).run().exit(0);
    assert_eq!(watched.starts(), 1, "a second resync was started");
    assert_eq!((start_intents(drill).len(), receipts(drill).len()), (1, 1));
    assert!(receipts(drill)[0]["outcome"]["done"].is_object(), "{:?}", receipts(drill));
    assert_rebuilt(pair, bucket, &source);
    assert_audited(drill);
}

#[test]
fn a_start_that_arrives_only_after_the_kill_is_settled_too() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "killed-late");
    let watched = Watched::new(pair);
    let drill = &watched.drill;
    let source = watched.lost(pair, bucket);
    let gate = watched.source.hold(At::Request, Recorded::starts_resync);
    let running = recover(drill, bucket).spawn();
    gate.wait_arrived();
    running.kill();

    let mut resumed = resume(drill).spawn();
    resumed.wait_for_line(drill, |line| line["event"] == "run_resumed");
    gate.release();
    resumed.wait().exit(0);
    assert_eq!(watched.starts(), 1, "a second resync was started");
    assert_rebuilt(pair, bucket, &source);
    assert_audited(drill);
}

#[test]
fn a_signal_ends_a_run_in_order_and_resume_goes_on() {
    needs_minio!();
    let pair = Pair::shared();
    std::thread::scope(|scope| {
        for (signal, code, bucket) in [("INT", 130, "stopped-int"), ("TERM", 143, "stopped-term")] {
            scope.spawn(move || {
                let watched = Watched::new(pair);
                let drill = &watched.drill;
                let (source, gate, running) = in_the_middle(pair, &watched, bucket);
                running.signal(signal);
                let ended = running.wait().exit(code).says("CANCELLED").says("firedrill resume");
                assert!(ended.stdout.contains("goes on at the server"), "{}", ended.stdout);
                let end = drill.events("run_ended");
                assert_eq!((&end[0]["verdict"], end[0]["exit"].as_i64()), (&"cancelled".into(), Some(code.into())));
                let cancelled = drill.events("step_ended").pop().unwrap();
                assert_eq!((&cancelled["path"], &cancelled["verdict"]), (&"recover".into(), &"cancelled".into()));
                assert_audited(drill);

                gate.release();
                resume(drill).run().exit(0).says("HELD");
                assert_eq!(watched.starts(), 1, "a second resync was started");
                assert_rebuilt(pair, bucket, &source);
                assert_audited(drill);
            });
        }
    });
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "stopped-twice");
    let watched = Watched::new(pair);
    let drill = &watched.drill;
    let source = watched.lost(pair, bucket);
    // A request in flight is waited for, so the first signal alone does not end the run.
    let gate = watched.source.hold(At::Reply, Recorded::starts_resync);
    let mut running = recover(drill, bucket).spawn();
    gate.wait_arrived();
    running.signal("TERM");
    assert!(drill.events("run_ended").is_empty());
    running.signal("INT");
    running.wait_for_line(drill, |line| line["event"] == "interrupted");
    running.wait().exit(143).says("firedrill resume");
    assert!(drill.events("run_ended").is_empty());
    drill.clone().args(["runs"]).run().exit(0).says("interrupted");

    gate.release();
    resume(drill).run().exit(0);
    assert_eq!(watched.starts(), 1, "a second resync was started");
    assert_rebuilt(pair, bucket, &source);
    assert_audited(drill);
}

#[test]
fn only_one_run_at_a_time_holds_a_bucket() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "held-bucket");
    let watched = Watched::new(pair);
    let drill = &watched.drill;
    let (source, gate, running) = in_the_middle(pair, &watched, bucket);
    let run = drill.run_id();
    let sent = watched.changing().len();
    recover(drill, bucket).run().exit(9).says(&run).says("at work");
    resume(drill).run().exit(9).says(&run).says("at work");
    assert_eq!(watched.changing().len(), sent, "{:?}", watched.changing());
    let verify = ["verify", &format!("source/{bucket}"), &format!("target/{bucket}"), "-i", "settle=1s"];
    let other = drill.clone().args(verify).env("FIREDRILL_RUNS", drill.folder().join("others").to_str().unwrap());
    // It claims nothing; it only sees that not all is well.
    other.run().exit(4).says("no_resync_running");
    gate.release();
    running.wait().exit(0);
    assert_eq!(watched.starts(), 1);
    assert_rebuilt(pair, bucket, &source);
}

#[test]
fn a_run_that_waits_asks_again_when_resumed_and_goes_on_when_approved() {
    needs_minio!();
    let (pair, bucket) = (Pair::shared(), "waiting-killed");
    let source = lost(pair, bucket, &Rule::default());
    let drill = operator(pair);
    let runbook = shipped("resync_bucket.yaml");
    let run = over(&drill, "run", runbook.to_str().unwrap(), bucket, &["--confirm-target=target"]);
    run.run().exit(7);
    // Resumed without an answer it asks again, and waits again.
    resume(&drill).run().exit(7).says("drain_traffic");
    drill.clone().args(["approve", "latest", "--yes=resume_traffic"]).run().exit(0);
    assert_rebuilt(pair, bucket, &source);
    assert_audited(&drill);
}
