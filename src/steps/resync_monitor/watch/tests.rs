use super::*;

const START: &str = "2026-11-23T19:00:00Z";

fn watch() -> Watch {
    Watch::new(Rules {
        reset_id: "ours".into(),
        stalled_after: Duration::from_mins(10),
        patience: Duration::from_mins(2),
        final_counters: false,
    })
}

fn job(reset_id: &str, status: &str, replicated: u64) -> ResyncStatus {
    ResyncStatus {
        arn: "arn:1".into(),
        reset_id: reset_id.into(),
        start_time: START.parse().unwrap(),
        end_time: START.parse().unwrap(),
        status: status.into(),
        replicated_bytes: replicated * 10,
        replicated_count: replicated,
        failed_count: 0,
        object: None,
    }
}

/// So many seconds after the job began.
fn after(seconds: u64) -> Timestamp {
    let start: Timestamp = START.parse().unwrap();
    start + Duration::from_secs(seconds)
}

fn node(uptime: u64) -> Node {
    Node {
        endpoint: "n1:9000".into(),
        state: "online".into(),
        uptime_seconds: uptime,
        release: "r".into(),
        offline_drives: 0,
        healing_drives: 0,
    }
}

/// The job began as the watch did, on a node that was up for 1,000 s by then.
fn seen(at: u64, job: ResyncStatus) -> Seen {
    let start: Timestamp = START.parse().unwrap();
    Seen {
        at: Duration::from_secs(at),
        job: Some(job),
        now: Some(start + Duration::from_secs(at)),
        nodes: Some(vec![node(1_000 + at)]),
        ..Seen::default()
    }
}

fn poll(seen: Seen) -> Poll {
    Poll::Seen(Box::new(seen))
}

fn end(next: Next) -> (End, String) {
    match next {
        Next::End(end, why) => (end, why),
        Next::Again | Next::Unreachable(_) => panic!("not ended: {next:?}"),
    }
}

#[test]
fn completed_with_failures_is_completed_and_the_failures_are_kept() {
    // Trap 2: the data decides, not this status, so the numbers are only passed on.
    let mut watch = watch();
    assert_eq!(watch.observe(poll(seen(5, job("ours", "Ongoing", 0)))), Next::Again);
    let failed = ResyncStatus { failed_count: 6_994, ..job("ours", "Completed", 33_142) };
    assert_eq!(end(watch.observe(poll(seen(60, failed)))).0, End::Completed);
    assert_eq!(watch.job.unwrap().failed_count, 6_994);
}

#[test]
fn counters_that_stand_still_are_no_stall_while_another_witness_moves() {
    // Trap 3.
    let mut watch = watch();
    for at in (0..2_000).step_by(30) {
        let signs = Signs { arrived: Some(at), ..Signs::default() };
        let seen = Seen { signs, ..seen(at, job("ours", "Ongoing", 0)) };
        assert_eq!(watch.observe(poll(seen)), Next::Again, "at {at} s");
    }
    let progress = watch.progress(None);
    assert_eq!(progress.done, Some(1_980));
    assert_eq!(progress.quiet_seconds, Some(0.0));
}

#[test]
fn a_stall_names_every_witness_and_the_target() {
    // Trap 13: stuck `Ongoing`.
    let mut watch = watch();
    let still = |at| Seen {
        signs: Signs { arrived: Some(7), ..Signs::default() },
        target_online: Some(false),
        ..seen(at, job("ours", "Ongoing", 100))
    };
    assert_eq!(watch.observe(poll(still(0))), Next::Again);
    assert_eq!(watch.observe(poll(still(599))), Next::Again);
    let (end, why) = end(watch.observe(poll(still(600))));
    assert_eq!(end, End::Stalled);
    assert_eq!(
        why,
        "the status stood still for 600 s, the live trace was not to be had, the replication metrics was not to be \
         had, the target's listing stood still for 600 s, the target is offline"
    );
}

#[test]
fn a_restarted_source_voids_the_job_whatever_it_says() {
    // Traps 4 and 12: `Failed` for good, or a false `Completed` without failures.
    for status in ["Failed", "Completed", "Ongoing"] {
        let mut watch = watch();
        assert_eq!(watch.observe(poll(seen(5, job("ours", "Ongoing", 0)))), Next::Again);
        let job = ResyncStatus { end_time: after(58), ..job("ours", status, 3_073) };
        let restarted = Seen { nodes: Some(vec![node(3)]), ..seen(60, job) };
        let (end, why) = end(watch.observe(poll(restarted)));
        assert_eq!(end, End::SourceRestarted);
        assert!(why.contains("n1:9000") && why.contains(status), "{why}");
        assert_eq!(watch.restarts, 1);
    }
}

#[test]
fn a_restart_before_the_first_poll_is_seen_by_the_age_of_the_job() {
    let mut watch = watch();
    let completed = ResyncStatus { end_time: after(11), ..job("ours", "Completed", 9) };
    let adopted = Seen { nodes: Some(vec![node(50)]), ..seen(60, completed) };
    assert_eq!(end(watch.observe(poll(adopted))).0, End::SourceRestarted);
}

#[test]
fn a_job_that_was_complete_before_the_restart_is_not_void() {
    // Restarted 10 s ago, 50 s after the job began, and the program was away or was resumed since.
    let seen_at = |ended, status| {
        let job = ResyncStatus { end_time: after(ended), ..job("ours", status, 9) };
        Seen { nodes: Some(vec![node(10)]), ..seen(60, job) }
    };
    assert_eq!(end(watch().observe(poll(seen_at(30, "Completed")))).0, End::Completed);
    assert_eq!(end(watch().observe(poll(seen_at(30, "Ongoing")))).0, End::SourceRestarted);
    // So close to the restart it cannot be told.
    assert_eq!(end(watch().observe(poll(seen_at(49, "Completed")))).0, End::SourceRestarted);
    assert_eq!(end(watch().observe(poll(seen_at(55, "Completed")))).0, End::SourceRestarted);

    let mut watched = watch();
    assert_eq!(watched.observe(poll(seen(5, job("ours", "Ongoing", 0)))), Next::Again);
    assert_eq!(end(watched.observe(poll(seen_at(30, "Completed")))).0, End::Completed);
    assert_eq!(watched.restarts, 0);
}

#[test]
fn a_job_that_began_right_after_the_server_is_not_void() {
    let mut watch = watch();
    let fresh = Seen { nodes: Some(vec![node(59)]), ..seen(60, job("ours", "Completed", 9)) };
    assert_eq!(end(watch.observe(poll(fresh))).0, End::Completed);
}

#[test]
fn a_node_that_is_offline_is_no_restart_until_it_is_back() {
    let mut watch = watch();
    let away = Node { state: "offline".into(), uptime_seconds: 0, ..node(0) };
    let seen_away = Seen { nodes: Some(vec![away]), ..seen(60, job("ours", "Ongoing", 0)) };
    assert_eq!(watch.observe(poll(seen_away)), Next::Again);
    let back = Seen { nodes: Some(vec![node(10)]), ..seen(90, job("ours", "Ongoing", 0)) };
    assert_eq!(end(watch.observe(poll(back))).0, End::SourceRestarted);
}

#[test]
fn a_source_that_comes_back_is_waited_for_and_checked_for_a_restart() {
    let mut watch = watch();
    assert_eq!(watch.observe(poll(seen(5, job("ours", "Ongoing", 0)))), Next::Again);
    let away = |at| Poll::Unreachable { at: Duration::from_secs(at), why: "connection refused".into() };
    assert_eq!(watch.observe(away(10)), Next::Again);
    assert_eq!(watch.observe(away(129)), Next::Again);
    assert!(watch.progress(None).what.contains("does not answer since 119 s"));
    // It only could not be reached, and runs on.
    assert_eq!(watch.observe(poll(seen(130, job("ours", "Ongoing", 0)))), Next::Again);
    assert_eq!(watch.observe(away(140)), Next::Again);
    assert_eq!(watch.observe(away(260)), Next::Unreachable("connection refused".into()));
}

#[test]
fn another_reset_id_ends_the_watch_at_once() {
    // Trap 13: two nodes overwrite each other's status.
    let mut watch = watch();
    assert_eq!(watch.observe(poll(seen(0, job("ours", "Ongoing", 0)))), Next::Again);
    let (end, why) = end(watch.observe(poll(seen(5, job("theirs", "Completed", 500)))));
    assert_eq!(end, End::ForeignJob);
    assert!(why.contains("`theirs`"));
}

#[test]
fn an_older_job_is_ours_to_wait_out_only_for_a_moment() {
    let mut watch = watch();
    assert_eq!(watch.observe(poll(seen(2, job("older", "Completed", 500)))), Next::Again);
    assert_eq!(end(watch.observe(poll(seen(10, job("older", "Completed", 500))))).0, End::ForeignJob);
}

#[test]
fn a_job_that_is_gone_from_the_status_vanished() {
    let mut watch = watch();
    assert_eq!(watch.observe(poll(seen(0, job("ours", "Ongoing", 0)))), Next::Again);
    let gone = Seen { job: None, ..seen(5, job("ours", "", 0)) };
    assert_eq!(end(watch.observe(poll(gone))).0, End::Vanished);
}

#[test]
fn a_completion_without_any_count_is_taken_as_it_is() {
    // Trap 5 looks like this, and so does a bucket of one object: a used reset id is kept out by making new ones.
    let mut watch = watch();
    assert_eq!(end(watch.observe(poll(seen(1, job("ours", "Completed", 0))))).0, End::Completed);
    assert_eq!(watch.rate(), None);
}

#[test]
fn final_counters_are_waited_for_when_asked_to() {
    let mut watch = watch();
    watch.rules.final_counters = true;
    assert_eq!(watch.observe(poll(seen(10, job("ours", "Completed", 0)))), Next::Again);
    assert_eq!(watch.observe(poll(seen(60, job("ours", "Completed", 240)))), Next::Again);
    assert_eq!(end(watch.observe(poll(seen(75, job("ours", "Completed", 240))))).0, End::Completed);
    assert_eq!(watch.job.unwrap().replicated_count, 240);
}

#[test]
fn an_eta_past_the_objective_is_said() {
    let mut watch = watch();
    watch.total = Some(Total { versions: 2_560, bytes: 0 });
    for (at, done) in [(0, 0), (60, 60), (100, 100)] {
        assert_eq!(watch.observe(poll(seen(at, job("ours", "Ongoing", done)))), Next::Again);
    }
    let progress = watch.progress(Some(1_800.0));
    assert_eq!((progress.rate, progress.eta_seconds), (Some(1.0), Some(2_460.0)));
    assert_eq!(progress.what, "Ongoing; ETA 41 min, RTO 30 min: will miss");
    assert_eq!(watch.progress(Some(3_000.0)).what, "Ongoing");
}

#[test]
fn without_leave_to_see_uptimes_restarts_are_not_watched() {
    let mut watch = watch();
    let blind = Seen { nodes: None, ..seen(5, job("ours", "Completed", 1)) };
    assert_eq!(end(watch.observe(poll(blind))).0, End::Completed);
    assert!(!watch.restarts_watched);
}
