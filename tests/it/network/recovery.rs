//! A whole recovery through a network that breaks at random: green only over equal data, every change once.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{Scene, recover};
use crate::{
    case::{Firedrill, Outcome},
    link::Link,
    pair::{Pair, needs_minio},
    proxy::{Fault, How, Mix, On, Part, Point, Proxy, Recorded},
};

/// Of 100 requests that read, and of those that change something, so many meet a fault.
const PERCENT: [u64; 2] = [2, 60];

/// How often a run that broke is resumed while the network is bad.
const RESUMES: usize = 3;

/// All that a network does; the silence of a server costs the whole time of a request, and is drawn least.
fn weather() -> Vec<Fault> {
    let points = [Point::Unread, Point::Forwarded, Point::Head, Point::Body, Point::Chunks];
    let breaks = points.into_iter().flat_map(|at| [How::Close, How::Reset].map(|how| Fault::Break(at, how)));
    let rest = [
        Fault::Break(Point::Body, How::Silence),
        Fault::Late,
        Fault::HangUp,
        Fault::HangUp,
        Fault::Delay(Duration::from_millis(30)),
        Fault::Jitter(Duration::from_millis(80)),
        Fault::Slow(Part::Head, 200_000),
        Fault::Garble(1),
        Fault::error(500, "InternalError"),
        Fault::page(502),
        Fault::slow_down(None),
        Fault::slow_down(Some(60)),
        Fault::redirect(307, "http://elsewhere.example"),
    ];
    breaks.chain(rest).collect()
}

/// What the program asks for, but for the trace, which has no end, and not what one site sends to the other.
fn ours(request: &Recorded) -> bool {
    !request.user_agent.contains("minio-go") && !request.path.contains("/trace")
}

/// Changes of ours; the probes of a check are none of a ledger's.
fn changes(request: &Recorded) -> bool {
    request.changes() && ours(request) && !request.has_query("replication-check")
}

fn storm(proxies: [&Proxy; 2], seed: u64) {
    for (proxy, seed) in proxies.into_iter().zip([seed, seed + 1000]) {
        proxy.mix(Mix::new(seed, PERCENT[1], weather(), On::matching(changes)));
        proxy.mix(Mix::new(seed, PERCENT[0], weather(), On::matching(ours)));
    }
}

/// Recovers in bad weather, resumes what broke, and in the end once more in good weather.
fn weather_out(proxies: [&Proxy; 2], seed: u64, run: &Firedrill, check: impl Fn(&Outcome)) -> Vec<i32> {
    storm(proxies, seed);
    let mut outcome = run.run();
    check(&outcome);
    let mut codes = vec![outcome.code];
    while outcome.code != 0 && codes.len() < RESUMES + 3 {
        if codes.len() == RESUMES {
            for proxy in proxies {
                proxy.clear();
            }
        }
        // A run that came to a verdict is over, and a new one begins.
        let over = run.events("run_ended").last().is_some_and(|end| end["exit_code"] == 4);
        let again = if over { run.clone() } else { run.clone().args(["resume", "latest"]) };
        outcome = again.run();
        check(&outcome);
        codes.push(outcome.code);
    }
    assert_eq!(outcome.code, 0, "{codes:?}\n{}\n{}", outcome.stdout, outcome.stderr);
    codes
}

/// Holds all journals of a case against what came to the sites.
fn assert_once(seed: u64, drill: &Firedrill, proxies: [&Proxy; 2]) -> Counts {
    let mut counts = Counts::default();
    let lines = drill.all_journals();
    let of = |event: &str| -> Vec<&Value> { lines.iter().filter(|line| line["event"] == event).collect() };
    // Asking for versions again is a read, which changes nothing by itself.
    let intents: Vec<_> = of("intent").into_iter().filter(|line| line["change"] != "Nudge").collect();
    let requests: Vec<Recorded> = proxies.iter().flat_map(|proxy| proxy.requests()).filter(changes).collect();
    counts.intents = intents.len();
    counts.sent = requests.len();
    counts.arrived = requests.iter().filter(|request| request.status.is_some_and(|status| status < 300)).count();
    let keys: Vec<_> = intents.iter().map(|line| (&line["key"], &line["n"], &line["path"])).collect();
    for receipt in of("receipt") {
        let outcome = receipt["outcome"].as_object().and_then(|outcome| outcome.keys().next()).expect("an outcome");
        if keys.contains(&(&receipt["key"], &receipt["n"], &receipt["path"])) {
            *counts.receipts.entry(outcome.clone()).or_default() += 1;
        }
    }
    assert_eq!(counts.sent, counts.intents, "seed {seed}: an intent is a request: {counts:?}\n{requests:#?}");
    let done = counts.receipts.get("done").copied().unwrap_or_default();
    assert_eq!(done, counts.arrived, "seed {seed}: what is done arrived once: {counts:?}\n{requests:#?}");
    for line in intents.iter().filter(|line| line["change"] == "StartResync") {
        let id = line["body"]["reset_id"].as_str().expect("a reset id");
        let sent = requests.iter().filter(|request| request.path.contains(id)).count();
        assert_eq!(sent, 1, "seed {seed}: the start {id} was sent {sent} times");
    }
    let all: Vec<Recorded> = proxies.iter().flat_map(|proxy| proxy.requests()).collect();
    counts.requests = all.iter().filter(|request| ours(request)).count();
    counts.changes_hit = requests.iter().filter(|request| request.fault.is_some()).count();
    counts.faults = all.iter().filter(|request| request.fault.is_some()).count();
    counts
}

/// All that a case did, over its runs.
#[derive(Debug, Default)]
struct Counts {
    /// Of ours.
    requests: usize,
    /// Requests that met one.
    faults: usize,
    /// Changes that met one.
    changes_hit: usize,
    /// In the journals.
    intents: usize,
    /// Requests for changes.
    sent: usize,
    /// Of these the ones that a site carried out.
    arrived: usize,
    receipts: BTreeMap<String, usize>,
}

#[test]
fn a_recovery_in_any_weather_is_green_over_equal_data_alone() {
    let hit = &AtomicUsize::new(0);
    thread::scope(|scope| {
        for seed in [2, 4, 5, 6] {
            scope.spawn(move || {
                let scene = Scene::start("target_lost");
                let drill = scene.firedrill("timeouts: { connect: 1s, request: 1s }");
                let run = recover(&scene, &drill);
                let proxies = [&scene.source, &scene.target];
                let codes = weather_out(proxies, seed, &run, |outcome| {
                    if outcome.code == 0 {
                        let differences = scene.differences();
                        assert!(differences.is_empty(), "seed {seed}: green over\n{}", differences.join("\n"));
                    }
                });
                let counts = assert_once(seed, &drill, proxies);
                println!("seed {seed}: exit codes {codes:?}, {counts:?}");
                hit.fetch_add(counts.changes_hit, Ordering::SeqCst);
            });
        }
    });
    assert!(hit.load(Ordering::SeqCst) > 3, "changes were spared: other seeds are needed");
}

#[test]
fn a_recovery_of_real_sites_in_any_weather_is_green_over_equal_data_alone() {
    needs_minio!();
    let pair = Pair::shared();
    thread::scope(|scope| {
        for seed in 11..=13 {
            scope.spawn(move || {
                let link = Link::damaged(pair, &format!("weather-{seed}"));
                pair.lose_bucket("target", &link.bucket);
                let (source, target) =
                    (pair.source.at(&link.source.endpoint()), pair.target.at(&link.target.endpoint()));
                let sites = [("src", &source), ("dst", &target)];
                let run = link.recover(&["-i", "settle=20s"]).sites_file_with(&sites, "timeouts: { request: 2s }");
                let proxies = [&link.source, &link.target];
                let codes = weather_out(proxies, seed, &run, |outcome| link.assert_honest(outcome));
                let counts = assert_once(seed, &run, proxies);
                println!("seed {seed}: exit codes {codes:?}, {counts:?}");
            });
        }
    });
}
