//! Servers that die, freeze and come back in the middle of a recovery: never a false green, and the operator is told
//! what to do.
//!
//! A source that was killed lists its dead resync as `Failed`, `Completed` or, for good, as `Ongoing`, whichever of two
//! goroutines came first. In the last case it starts no other one until it is restarted again, which a person does.

use std::{collections::BTreeSet, thread, time::Duration};

use crate::{
    case::{Firedrill, Outcome, Running},
    link::{Link, finding, reset_ids, step_end},
    pair::{Options, Pair, needs_minio},
    proxy::{At, Gate, Recorded},
};

const RECOVER: &str = r#"
  - { id: targets, uses: replication.targets, with: { bucket: BUCKET } }
  - id: recover
    uses: resync.recover
    with: { bucket: BUCKET, arn: "{{ steps.targets.arn }}", every: 1s, settle: 10s, nudge_up_to: 0, patience: PATIENCE }
    retry: { attempts: ATTEMPTS, interval: 1s, on: [unreachable, timed_out] }
  - { id: validate, uses: versions.compare, with: { bucket: BUCKET, arn: ARN, before: now, settle: 30s } }
"#;

fn recover(patience: &str, attempts: u32) -> String {
    RECOVER.replace("PATIENCE", patience).replace("ATTEMPTS", &attempts.to_string())
}

fn own() -> Pair {
    Pair::own(&Options::default())
}

/// Restarts the source until it no longer takes a dead resync for one that runs.
fn free(link: &Link) {
    let over = || ["Failed", "Completed"].iter().any(|word| link.status()["resyncStatus"] == *word);
    for _ in 0..20 {
        link.pair.source.restart();
        // It turns within a moment, or not at all.
        for _ in 0..20 {
            if over() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    panic!("the source does not let go of {}", link.status());
}

/// What a person does who was told that the source goes on listing the dead job.
fn freed(link: &Link, run: &Firedrill, outcome: Outcome) -> Firedrill {
    outcome.exit(4).says("although the restart killed it").says("restart the nodes of the source");
    free(link);
    run.clone().args(["resume", "latest"])
}

/// Resumes it, with that help where it is asked for.
fn resume(link: &Link, run: &Firedrill) -> Outcome {
    let outcome = run.clone().args(["resume", "latest"]).run();
    if outcome.code == 4 { freed(link, run, outcome).run() } else { outcome }
}

/// Waits until the second start is on the way, with that help where it is asked for.
fn until_second_start(link: &Link, run: &Firedrill, mut running: Running) -> Running {
    while running.line_or_end(run, |line| line["event"] == "intent" && line["key"] == "attempt-2").is_none() {
        running = freed(link, run, running.wait()).spawn();
    }
    running
}

/// Waits until a resync that the run started is being held.
fn wait_in_the_middle(running: &mut Running, run: &Firedrill, gate: &Gate) {
    running.wait_for_line(run, |line| line["event"] == "receipt" && line["outcome"]["done"]["reset_id"].is_string());
    gate.wait_arrived();
}

#[test]
fn a_target_that_dies_in_the_middle_and_comes_back_is_rebuilt() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "target-back");
    let gate = link.hold();
    let run = link.recover(&["-i", "settle=20s"]);
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    pair.target.kill();
    gate.release();
    link.wait_over(&reset_ids(&run)[0]);
    pair.target.start();
    link.assert_rebuilt(running.wait());

    let recovered = &step_end(&run, "recover")["output"];
    let attempts = recovered["attempts"].as_array().expect("attempts");
    let troubled = |attempt: &serde_json::Value| {
        attempt["failed_count"] != 0 || attempt["nudged"] != 0 || attempt["status"] == "refused"
    };
    assert!(attempts.len() > 1 || attempts.iter().any(troubled), "the outage left no trace: {recovered:#}");
    let ids = reset_ids(&run);
    assert_eq!(ids.len(), link.starts(), "{ids:?}");
}

#[test]
fn a_target_that_stays_away_is_never_green_until_it_is_back() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "target-gone");
    let gate = link.hold();
    let run = link.run(&recover("2s", 2));
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    pair.target.kill();
    gate.release();
    let outcome = running.wait().exit(5).says("BROKE").says("site `dst`");
    let next = format!("firedrill resume {}", run.run_id());
    let outcome = outcome.says(&next).says(&format!("mc replicate resync status src/{}", link.bucket));
    assert!(!outcome.stdout.contains("HELD: every step holds"), "{}", outcome.stdout);

    pair.target.start();
    let first = reset_ids(&run);
    link.assert_rebuilt(run.clone().args(["resume", "latest"]).run());
    let ids = reset_ids(&run);
    assert!(ids.starts_with(&first), "{ids:?}");
    assert_eq!(ids.len(), link.starts(), "{ids:?}");
}

#[test]
fn a_source_that_is_killed_voids_its_resync_and_another_follows() {
    needs_minio!();
    source_restarts("source-killed", |pair| pair.source.kill());
}

#[test]
fn a_source_that_is_stopped_in_order_voids_its_resync_and_another_follows() {
    needs_minio!();
    source_restarts("source-stopped", |pair| pair.source.terminate());
}

fn source_restarts(bucket: &str, end: impl Fn(&Pair)) {
    let pair = own();
    let link = Link::damaged(&pair, bucket);
    let gate = link.hold();
    let run = link.run(&recover("6s", 9));
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    // The program itself is killed while its second start is on the way, which arrives all the same.
    let second = link.source.hold(At::Request, Recorded::starts_resync);
    end(&pair);
    // The source takes the job up again when it is back: that must not come to its end by chance.
    link.deny();
    gate.release();
    pair.source.start();
    running = until_second_start(&link, &run, running);
    second.wait_arrived();
    running.kill();
    link.target.clear();
    second.release();
    link.assert_rebuilt(run.clone().args(["resume", "latest"]).run());

    let ids = reset_ids(&run);
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert!(ids.len() >= 2 && distinct.len() == ids.len(), "{ids:?}");
    assert_eq!(link.starts(), ids.len(), "a start was sent twice: {ids:?}");
}

#[test]
fn a_source_that_stays_away_is_told_and_resume_goes_on_when_it_is_back() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "source-gone");
    let gate = link.hold();
    let run = link.run(&recover("2s", 2));
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    pair.source.kill();
    link.deny();
    gate.release();
    let next = format!("firedrill resume {}", run.run_id());
    running.wait().exit(5).says("BROKE").says("the source did not answer for 2s").says(&next);

    pair.source.start();
    let second = link.source.hold(At::Request, Recorded::starts_resync);
    let running = until_second_start(&link, &run, run.clone().args(["resume", "latest"]).spawn());
    second.wait_arrived();
    link.target.clear();
    second.release();
    link.assert_rebuilt(running.wait());
    let mut ids = reset_ids(&run);
    assert_eq!(ids.len(), link.starts(), "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 2, "a resync that a restart made void needs another: {ids:?}");
}

#[test]
fn a_source_that_dies_with_a_start_on_the_way_is_waited_for() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "start-lost");
    let gate = link.source.hold(At::Request, Recorded::starts_resync);
    let (source, target) = (pair.source.at(&link.source.endpoint()), pair.target.at(&link.target.endpoint()));
    let sites = [("src", &source), ("dst", &target)];
    // A start of which there is no trace is sent again only when the first can no longer arrive.
    let run = link.run(&recover("30s", 9)).sites_file_with(&sites, "timeouts: { request: 5s }");
    let running = run.spawn();
    gate.wait_arrived();
    pair.source.kill();
    gate.release();
    pair.source.start();
    link.assert_rebuilt(running.wait());
    assert!(run.events("attempt_failed").iter().any(|line| line["path"] == "recover"), "nothing went wrong");
    let sent = |line: &&serde_json::Value| line["key"] == "attempt-1" && line["event"] == "receipt";
    let receipts = run.events("receipt");
    let outcomes: Vec<_> = receipts.iter().filter(sent).map(|line| &line["outcome"]).collect();
    assert!(outcomes.len() == 2 && outcomes[0]["not_done"].is_string(), "{outcomes:?}");
    assert_eq!(reset_ids(&run).len(), 2);
}

#[test]
fn both_sites_die_and_come_back() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "both");
    let gate = link.hold();
    let run = link.recover(&["-i", "settle=20s"]);
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    pair.source.kill();
    pair.target.kill();
    gate.release();
    link.wait_unanswered();
    pair.source.start();
    pair.target.start();
    let outcome = running.wait();
    link.assert_honest(&outcome);
    if outcome.code != 0 {
        assert!([4, 5].contains(&outcome.code), "{}", outcome.stdout);
        link.assert_rebuilt(resume(&link, &run));
    }
    assert_eq!(reset_ids(&run).len(), link.starts());
}

#[test]
fn a_resync_that_stands_still_is_named_with_its_witnesses() {
    needs_minio!();
    let pair = own();
    let link = Link::damaged(&pair, "frozen");
    let gate = link.hold();
    let run = link.run(
        r#"
  - { id: start, uses: resync.start, with: { bucket: BUCKET, arn: ARN } }
  - id: monitor
    uses: resync.monitor
    with: { bucket: BUCKET, arn: ARN, reset_id: "{{ steps.start.reset_id }}", every: 1s, stalled_after: 8s }
  - { id: validate, uses: versions.compare, with: { bucket: BUCKET, before: now, settle: 2m } }
"#,
    );
    let mut running = run.spawn();
    wait_in_the_middle(&mut running, &run, &gate);
    pair.target.stop();
    running.wait().exit(4).says("NOT HELD").says("bring the target back");
    let (text, remedy) = finding(&step_end(&run, "monitor"), "stalled");
    assert!(text.contains("stays `Ongoing`"), "{text}");
    for witness in ["the status stood still for", "the live trace stood still for", "the target is offline"] {
        assert!(text.contains(witness), "{witness}: {text}");
    }
    assert!(remedy.contains("watch on"), "{remedy}");

    pair.target.cont();
    gate.release();
    link.assert_rebuilt(run.clone().args(["resume", "latest"]).run());
    assert_eq!(link.starts(), 1);
}
