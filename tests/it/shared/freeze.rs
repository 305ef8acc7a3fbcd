//! The freeze test: a process stands still at any point, another one goes on with its run and ends it, the first wakes.

use std::time::{Duration, Instant};

use super::*;

/// Rounds in each call of the tests; `FIREDRILL_TEST_FREEZES` asks for another number.
const ROUNDS: usize = 20;
/// Rounds at the same time, which share the servers.
const AT_ONCE: usize = 10;

/// Where a process is frozen.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// The batch of the journal that is being written.
    batch: u64,
    at: At,
    /// Let go on for so long before it is frozen.
    after: Option<Duration>,
}

/// A seeded choice: the same rounds every time.
fn point(round: usize) -> Point {
    let mut state = round as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    next(7);
    // Of a recovery of this scene, intents are in batches 4 to 8.
    let batch = 3 + next(7);
    let at = if next(2) == 0 { At::Request } else { At::Reply };
    let after = (next(2) == 0).then(|| Duration::from_millis(next(400)));
    Point { batch, at, after }
}

#[test]
fn a_process_that_was_frozen_and_overtaken_sends_nothing() {
    needs_minio!();
    let rounds = std::env::var("FIREDRILL_TEST_FREEZES").map_or(ROUNDS, |n| n.parse().expect("a number of rounds"));
    let began = Instant::now();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let frozen: Vec<Option<String>> = thread::scope(|scope| {
        let work = || {
            let mut frozen = Vec::new();
            loop {
                let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if n >= rounds {
                    return frozen;
                }
                frozen.push(round(n));
            }
        };
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let overtaken = frozen.iter().flatten().count();
    let mut after: BTreeMap<&str, usize> = BTreeMap::new();
    frozen.iter().flatten().for_each(|event| *after.entry(event).or_default() += 1);
    eprintln!("{rounds} rounds, {overtaken} overtaken, 0 changes sent after it, in {:?}", began.elapsed());
    eprintln!("the last event on record when the process was frozen: {after:?}");
    assert!(overtaken * 4 >= rounds * 3, "only {overtaken} of {rounds} were frozen before their end");
}

/// The last event on record when the first process was frozen; `None`: it had ended before.
fn round(n: usize) -> Option<String> {
    let bucket = format!("frozen-{n}");
    let shared = Shared::new(&bucket);
    shared.watched.replicate(shared.pair, &bucket);
    for key in ["a", "b", "c"] {
        seed::put(&shared.pair.source, &bucket, key, key.as_bytes());
    }
    shared.pair.wait_replicated(&bucket);
    shared.pair.lose_bucket("target", &bucket);
    let source = seed::inventory(&shared.pair.source, &bucket);
    let (ann, bob) = (shared.shared_host("ann"), shared.shared_host("bob"));

    let Point { batch, at, after } = point(n);
    let place = format!("/journal/{batch:010}");
    let gate = shared.third.hold(at, move |request| request.method == "PUT" && request.path.contains(&place));
    let running = recover(&ann, &bucket).spawn();
    gate.wait_arrived();
    match after {
        Some(after) => {
            gate.release();
            thread::sleep(after);
            running.signal("STOP");
        }
        None => {
            running.signal("STOP");
            gate.release();
        }
    }
    let run = shared.run();
    let last = shared.lines(&run).pop().map(|line| format!("{} {}", line["path"], line["event"]).replace('"', ""));
    let resumed = bob.clone().args(["resume", &run, "--take-over"]).run();
    if resumed.code == 3 {
        // It had just ended.
        running.signal("CONT");
        running.wait().exit(0);
        return None;
    }
    let resumed = resumed.exit(0);
    assert!(shared.watched.starts() == 1, "round {n}: {} starts", shared.watched.starts());
    let (sent, there) = (shared.changes(), everything(shared.pair, &bucket));
    running.signal("CONT");
    let woken = running.wait();
    assert_eq!(woken.code, 9, "round {n}, {:?}: {}{}\n{}", point(n), woken.stdout, woken.stderr, resumed.stdout);
    assert_eq!(shared.changes(), sent, "round {n}, {:?}: {:?}", point(n), shared.watched.changing());
    assert_eq!(everything(shared.pair, &bucket), there, "round {n}");
    let differences = seed::differences(&source, &seed::inventory(&shared.pair.target, &bucket));
    assert!(differences.is_empty(), "round {n}: {differences:?}");
    shared.assert_audited(&bob, &run);
    // Every change was sent once, whichever process did it.
    let intents = shared.events(&run, "intent");
    let receipts = shared.events(&run, "receipt");
    assert_eq!(intents.len(), receipts.len(), "round {n}: {intents:?} {receipts:?}");
    assert_eq!(shared.events(&run, "run_ended").len(), 1, "round {n}");
    last
}
