//! A disk that is full or cannot sync, at every line and file of a run; a clock that jumps; a last line that is torn.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use firedrill::{
    event::{Event, Line},
    journal::{self, JOURNAL},
    replay::RunState,
    verdict::Exit,
};
use jiff::SignedDuration;

use super::{
    bench::{Came, Disk, End, Life, side_by_side},
    scenes::{ALL, Scene},
};

/// What fails, and at which one.
#[derive(Clone, Copy, Debug)]
enum Fails {
    /// The disk is full at this line.
    Line(u64),
    /// This line is written, and cannot be synced.
    Sync(u64),
    /// The disk is full at the n-th file beside the journal.
    File(u64),
}

struct Bad {
    fails: Fails,
    files: AtomicU64,
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl Disk for Bad {
    fn line(&self, line: &Line) -> io::Result<()> {
        if matches!(self.fails, Fails::Line(n) if line.seq == n) { Err(full()) } else { Ok(()) }
    }
    fn sync(&self, line: &Line) -> io::Result<()> {
        if matches!(self.fails, Fails::Sync(n) if line.seq == n) {
            Err(io::Error::other("input/output error"))
        } else {
            Ok(())
        }
    }
    fn artifact(&self) -> io::Result<()> {
        let n = self.files.fetch_add(1, Ordering::SeqCst);
        if matches!(self.fails, Fails::File(wanted) if wanted == n) { Err(full()) } else { Ok(()) }
    }
}

/// The scene in which most is changed, undisturbed.
fn undisturbed() -> (&'static Scene, Vec<Line>, Came) {
    let bench = ALL[0].start();
    assert_eq!(bench.live(&Life::whole()), End::Exit(Exit::Held));
    (&ALL[0], bench.journal().lines, bench.came())
}

#[test]
fn a_disk_that_is_full_or_cannot_sync_stops_the_run_and_resume_goes_on_to_the_same_end() {
    let (scene, lines, wanted) = undisturbed();
    // The first line is no run yet: nothing can be resumed.
    let numbers = 1..lines.len() as u64;
    let files = lines.iter().filter(|line| matches!(line.event, Event::Artifact { .. })).count() as u64;
    let synced = |n: &u64| {
        !matches!(
            lines[usize::try_from(*n).unwrap()].event,
            Event::StepStarted(_) | Event::Receipt { .. } | Event::Progress { .. } | Event::StepSkipped { .. }
        )
    };
    // Progress comes when it comes, so the number of a later line may not be the one that is synced.
    let until_progress = lines.iter().position(|line| matches!(line.event, Event::Progress { .. }));
    let stable = until_progress.map_or(lines.len() as u64, |at| at as u64);
    let all: Vec<Fails> = numbers
        .clone()
        .map(Fails::Line)
        .chain(numbers.filter(|n| *n < stable).filter(synced).map(Fails::Sync))
        .chain((0..files).map(Fails::File))
        .collect();
    let count = all.len();
    side_by_side(all, 24, |fails| {
        let bench = scene.start();
        let disk = Arc::new(Bad { fails, files: AtomicU64::new(0) });
        let end = bench.live(&Life { disk, ..Life::whole() });
        assert!(matches!(end, End::Journal(_)), "{fails:?}: {end:?}");
        let before = bench.effects();
        // All that took effect has its intent on disk: no line, no change.
        let intents = bench.journal().lines.iter().filter(|line| matches!(line.event, Event::Intent(_))).count();
        assert!(before.len() <= intents, "{fails:?}: {before:?} of {intents} intents");
        bench.live(&Life::whole());
        assert_eq!(bench.came(), wanted, "{fails:?}");
    });
    println!("{count} writes that failed, each resumed, 0 changes doubled or lost, 0 false verdicts");
}

#[test]
fn a_last_line_torn_at_any_byte_is_a_line_that_was_never_written() {
    let (scene, lines, wanted) = undisturbed();
    let intent = |line: &Line| matches!(line.event, Event::Intent(_));
    let at = lines.iter().position(intent).expect("an intent");
    let bench = scene.start();
    assert_eq!(bench.live(&Life::until_line(at as u64 + 1)), End::Died);
    let path = bench.folder().join(JOURNAL);
    let whole = fs::read(&path).unwrap();
    let begin = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for end in begin..whole.len() {
        let journal = journal::parse(&whole[..end]).expect("sound up to the torn line");
        assert_eq!((journal.lines.len(), journal.whole_bytes), (at, begin as u64), "torn at {end}");
        assert!(!RunState::replay(&journal.lines).expect("a legal journal").any_intent);
    }
    let cuts: Vec<usize> = (begin..whole.len()).step_by((whole.len() - begin) / 6).collect();
    let resumed = cuts.len();
    side_by_side(cuts, 24, |cut| {
        let bench = scene.start();
        assert_eq!(bench.live(&Life::until_line(at as u64 + 1)), End::Died);
        let file = fs::OpenOptions::new().write(true).open(bench.folder().join(JOURNAL)).unwrap();
        let length = file.metadata().unwrap().len();
        // Lines differ a little in length from run to run: the last one is cut, whatever its length.
        file.set_len(length - (whole.len() - cut) as u64).unwrap();
        bench.live(&Life::whole());
        assert_eq!(bench.came(), wanted, "cut at {cut}");
    });
    println!("{} bytes, {resumed} of them resumed", whole.len() - begin);
}

#[test]
fn a_clock_that_jumps_by_hours_changes_nothing() {
    let (scene, lines, wanted) = undisturbed();
    let hours = SignedDuration::from_hours;
    let points: Vec<u64> = (0..lines.len() as u64).step_by(5).collect();
    for (first, next) in [(7, -7), (-7, 7)] {
        side_by_side(points.clone(), 24, |point| {
            let bench = scene.start();
            // Every other line is written by a clock that is wrong, and the next process is wrong the other way.
            let wrong = |by: i64, lines| Life { lines, jump: Some(hours(by)), ..Life::whole() };
            if point > 0 {
                assert_eq!(bench.live(&wrong(first, Some(point))), End::Died);
            }
            bench.live(&wrong(next, None));
            assert_eq!(bench.came(), wanted, "died after line {point}, {first} h and {next} h");
            for line in bench.journal().lines {
                let line = serde_json::to_value(&line).unwrap();
                for field in ["seconds", "waited_seconds", "again_in_seconds"] {
                    assert!(line[field].as_f64().is_none_or(|n| n.is_finite() && n >= 0.0), "{line}");
                }
            }
        });
    }
}
