//! The real program on the embedded sites: killed at points of a fixed seed, told to stop, or left without a terminal.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use firedrill::sandbox::Scenario;

use super::bench::{side_by_side, without_ids};
use crate::{
    case::Firedrill,
    proxy::{At, Proxy, Recorded},
    sandbox::Sandbox,
    scene::assert_audited,
};

const LOST: &str = "scenario: lost\nsummary: A bucket that the target lost\n\
    data: { objects: 6, versions: 2, delete_markers: 1, size: 40 }\ndamage: { bucket_lost: true }\n\
    resync: { flush: 50ms, retry: 100ms, version: 20ms }\n";

/// The embedded sites behind recorders, and an operator who knows them.
struct Watched {
    source: Proxy,
    target: Proxy,
    drill: Firedrill,
    _sandbox: Sandbox,
}

impl Watched {
    fn start() -> Self {
        let sandbox = Sandbox::of(Scenario::read(LOST).expect("a scenario"));
        let pair = &sandbox.pair;
        let (source, target) = (Proxy::start(&pair.source.endpoint), Proxy::start(&pair.target.endpoint));
        let entry = |name: &str, nodes: &str, proxy: &Proxy| {
            format!(
                "  {name}: {{ endpoint: \"{}\", access_key: {{ env: KEY_{name} }}, secret_key: {{ env: SECRET_{name} }}, \
                 nodes: [{nodes}], timeouts: {{ request: 2s }} }}\n",
                proxy.endpoint()
            )
        };
        // The name under which the source knows the target. The source has none: a start goes to a node, past the recorder.
        let known_as = format!("\"{}\"", pair.target.endpoint);
        let sites = format!("sites:\n{}{}", entry("src", "", &source), entry("dst", &known_as, &target));
        let drill = Firedrill::new()
            .file("sites.yaml", &sites)
            .env("KEY_src", &pair.source.access_key)
            .env("SECRET_src", &pair.source.secret_key)
            .env("KEY_dst", &pair.target.access_key)
            .env("SECRET_dst", &pair.target.secret_key);
        Self { source, target, drill, _sandbox: sandbox }
    }

    fn recover(&self) -> Firedrill {
        let args = ["recover", "src/invoices", "dst/invoices", "--confirm-target=dst", "-i", "settle=5s"];
        self.drill.clone().args(args)
    }

    fn resume(&self) -> Firedrill {
        self.drill.clone().args(["resume", "latest"])
    }

    fn effects(&self) -> Vec<String> {
        let changing = [self.source.changing(), self.target.changing()].concat();
        let done = changing.iter().filter(|r| r.method != "GET" && r.status.is_some_and(|status| status < 300));
        let mut done: Vec<_> = done.map(|r| format!("{} {}", r.method, without_ids(&r.path))).collect();
        done.sort();
        done
    }
}

/// Numbers that are the same in every run of the tests.
fn seeded(count: usize, below: u64) -> Vec<u64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn a_program_that_is_killed_anywhere_is_resumed_with_every_change_once() {
    let whole = Watched::start();
    whole.recover().run().exit(0);
    let (lines, wanted) = (whole.drill.journal().len() as u64, whole.effects());
    assert_eq!(wanted.len(), 3, "{wanted:?}");
    let points: Vec<(u64, u64)> = seeded(20, lines - 1).into_iter().zip(seeded(40, 40).into_iter().skip(20)).collect();
    let killed = side_by_side(points, 8, |(line, millis)| {
        let watched = Watched::start();
        let mut running = watched.recover().spawn();
        running.wait_for_line(&watched.drill, |l| l["seq"].as_u64() >= Some(line));
        thread::sleep(Duration::from_millis(millis));
        let ended = running.kill().code;
        // One that died after its last line has nothing to go on with.
        let left = watched.drill.events("run_ended").is_empty();
        assert!(ended == 0 || ended == 128 + 9, "it ended with {ended}");
        if left {
            watched.resume().run().exit(0).says("HELD");
        }
        assert_eq!(watched.effects(), wanted, "killed {millis} ms after line {line}");
        assert_audited(&watched.drill);
        left
    });
    let resumed = killed.iter().filter(|killed| **killed).count();
    assert!(resumed >= 12, "only {resumed} of {} were still running", killed.len());
    println!("{} points, {resumed} killed and resumed, 0 changes doubled or lost, 0 false verdicts", killed.len());
}

/// A recovery whose resync is held at the source until it was told to stop.
fn stopped(signal: &str, code: i32) {
    let watched = Watched::start();
    let gate = watched.source.hold(At::Reply, Recorded::starts_resync);
    let running = watched.recover().spawn();
    gate.wait_arrived();
    running.signal(signal);
    watched.source.clear();
    gate.release();
    running.wait().exit(code).says("CANCELLED").says("firedrill resume");
    assert_eq!(watched.drill.events("run_ended")[0]["exit"], code);
    watched.resume().run().exit(0).says("HELD");
    assert_eq!(watched.effects().len(), 3, "{:?}", watched.effects());
    assert_audited(&watched.drill);
}

#[test]
fn each_signal_has_its_exit_code_and_the_run_goes_on_later() {
    side_by_side(vec![("INT", 130), ("TERM", 143), ("HUP", 129)], 3, |(signal, code)| stopped(signal, code));
}

#[test]
fn a_run_under_nohup_outlives_its_terminal() {
    let watched = Watched::start();
    let gate = watched.source.hold(At::Reply, Recorded::starts_resync);
    let plain = watched.recover().command(Stdio::null(), Stdio::null());
    let mut nohup = Command::new("/usr/bin/nohup");
    nohup.arg(plain.get_program()).args(plain.get_args()).current_dir(watched.drill.folder()).env_clear();
    nohup.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = nohup.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nohup");
    gate.wait_arrived();
    crate::pair::signal(child.id(), "HUP");
    watched.source.clear();
    gate.release();
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn a_closed_terminal_ends_a_run_in_order() {
    let watched = Watched::start();
    let gate = watched.source.hold(At::Reply, Recorded::starts_resync);
    let Some(mut terminal) = watched.recover().in_a_terminal() else { return };
    gate.wait_arrived();
    terminal.close();
    watched.source.clear();
    gate.release();
    while watched.drill.events("run_ended").is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(watched.drill.events("run_ended")[0]["exit"], 129);
    // Its last line is written a moment before it lets go of the run.
    let mut resumed = watched.resume().run();
    while resumed.code == 9 {
        thread::sleep(Duration::from_millis(20));
        resumed = watched.resume().run();
    }
    resumed.exit(0).says("HELD");
    assert_eq!(watched.effects().len(), 3, "{:?}", watched.effects());
}

#[test]
fn nobody_has_to_read_what_a_run_says() {
    let watched = Watched::start();
    let mut child = watched.recover().command(Stdio::piped(), Stdio::piped()).spawn().expect("firedrill starts");
    // Both readers are gone before the first word.
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(watched.effects().len(), 3, "{:?}", watched.effects());
    // A refusal keeps its exit code though nobody hears it.
    let refused = watched.drill.clone().args(["resume", "latest", "--log=debug"]);
    let mut child = refused.command(Stdio::piped(), Stdio::piped()).spawn().expect("firedrill starts");
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
}
