//! The crash matrix, in process: dead after every line of the journal and inside every change, of every scene.

use std::{collections::BTreeSet, fmt, sync::Arc, thread, time::Duration};

use firedrill::{event::Event, replay::RunState, verdict::Exit};

use super::{
    bench::{Bench, Came, End, Life, side_by_side, without_ids},
    scenes::{ALL, Scene},
};
use crate::proxy::{At, Proxy, Recorded};

/// How many runs at a time: they wait more than they work.
const AT_A_TIME: usize = 40;

/// Where a process dies.
#[derive(Clone, Debug)]
enum Point {
    /// After the journal's n-th line.
    Line(u64),
    /// In the change whose request is this.
    Change(Request, Moment),
}

/// A request that changes something, as [`without_ids`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    site: &'static str,
    path: String,
}

/// When in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The request never reaches the site.
    NeverSent,
    /// The site has done it, and the reply is not read.
    ReplyUnread,
    /// The request reaches the site only while the next process looks for it.
    Late,
    /// The request reaches the site only after the next process gave it up and sent it again: later than its own
    /// timeout and a grace, which is more than the promise covers.
    TooLate,
}

const MOMENTS: [Moment; 4] = [Moment::TooLate, Moment::NeverSent, Moment::Late, Moment::ReplyUnread];

#[derive(Default)]
struct Counts {
    boundaries: usize,
    resumed: usize,
    asked: usize,
    doubled: usize,
    lost: usize,
    false_verdicts: usize,
    /// What took effect once more by a request that came too late: the same setting again, a resync with nothing to do.
    beyond: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { boundaries, resumed, asked, doubled, lost, false_verdicts, beyond } = self;
        write!(
            f,
            "{boundaries} boundaries, {resumed} resumed, {asked} asked a person, {doubled} doubled, {lost} lost, \
             {false_verdicts} false verdicts; {beyond} took effect again beyond the promise"
        )
    }
}

#[test]
fn a_run_that_dies_anywhere_goes_on_to_the_same_end_with_every_change_once() {
    let undisturbed = side_by_side(ALL.iter().collect(), ALL.len(), whole);
    let points: Vec<(&Scene, &Came, Point)> = ALL
        .iter()
        .zip(&undisturbed)
        .flat_map(|(scene, (lines, came, requests))| {
            let lines = (1..*lines).map(Point::Line);
            let inside =
                requests.iter().flat_map(|request| MOMENTS.map(|moment| Point::Change(request.clone(), moment)));
            // Those that wait for long begin first.
            inside.chain(lines).map(move |point| (scene, came, point))
        })
        .collect();
    let mut counts = Counts { boundaries: points.len(), ..Counts::default() };
    let mut wrong = Vec::new();
    for (place, result) in side_by_side(points, AT_A_TIME, |(scene, came, point)| {
        (format!("{}: {point:?}", scene.name), dies(scene, came, &point))
    }) {
        counts.resumed += result.resumed;
        counts.asked += result.asked;
        counts.doubled += result.doubled.len();
        counts.lost += result.lost.len();
        counts.beyond += result.beyond;
        counts.false_verdicts += usize::from(result.false_verdict.is_some());
        let what: Vec<_> = result.doubled.iter().chain(&result.lost).chain(&result.false_verdict).cloned().collect();
        if !what.is_empty() {
            wrong.push(format!("{place}\n  {}", what.join("\n  ")));
        }
    }
    println!("{counts}");
    assert!(wrong.is_empty(), "{counts}\n{}", wrong.join("\n"));
    assert_eq!(counts.asked, 0);
    // At most the last lines of each scene can have been too many.
    assert!(counts.resumed + ALL.len() >= counts.boundaries, "{counts}");
}

/// The undisturbed run: number of lines, what it came to, and the requests of its changes.
fn whole(scene: &Scene) -> (u64, Came, Vec<Request>) {
    let bench = scene.start();
    let end = bench.live(&Life::whole());
    assert_eq!(end, End::Exit(Exit::Held), "{}: {}", scene.name, trace(&bench.state()));
    let of = |site: &'static str, proxy: &Proxy| -> Vec<Request> {
        let changing = proxy.changing().into_iter().filter(|request| request.method != "GET");
        changing.map(|request| Request { site, path: without_ids(&request.path) }).collect()
    };
    let requests = [of("source", &bench.source), of("target", &bench.target)].concat();
    (bench.journal().lines.len() as u64, bench.came(), requests)
}

#[derive(Default)]
struct Result {
    resumed: usize,
    asked: usize,
    doubled: Vec<String>,
    lost: Vec<String>,
    false_verdict: Option<String>,
    beyond: usize,
}

fn dies(scene: &Scene, wanted: &Came, point: &Point) -> Result {
    let bench = Arc::new(scene.start());
    let moment = match point {
        Point::Line(lines) => {
            // Progress comes when it comes: this run may have had a line less, and be over.
            if bench.live(&Life::until_line(*lines)) == End::Died {
                bench.live(&Life::whole());
            }
            None
        }
        Point::Change(request, moment) => {
            dies_inside(&bench, request, *moment);
            Some(*moment)
        }
    };
    let (came, state) = (bench.came(), bench.state());
    let mut result = Result { resumed: state.resumes as usize, asked: asked(&bench), ..Result::default() };
    let (extra, lost) = differences(&wanted.effects, &came.effects);
    if moment == Some(Moment::TooLate) {
        result.beyond = extra.len();
    } else {
        result.doubled = extra;
    }
    result.lost = lost;
    if (came.exit, came.verdict, &came.steps) != (wanted.exit, wanted.verdict, &wanted.steps) {
        result.false_verdict = Some(format!("{came:?}\n  instead of {wanted:?}\n  {}", trace(&state)));
    }
    result
}

fn dies_inside(bench: &Arc<Bench>, request: &Request, moment: Moment) {
    let proxy = if request.site == "source" { &bench.source } else { &bench.target };
    let wanted = request.path.clone();
    let at = if moment == Moment::ReplyUnread { At::Reply } else { At::Request };
    let gate = proxy.hold(at, move |r: &Recorded| r.changes() && r.method != "GET" && without_ids(&r.path) == wanted);
    let life = Life::whole();
    let death = Arc::clone(&life.death);
    let first = thread::spawn({
        let bench = Arc::clone(bench);
        move || bench.live(&life)
    });
    gate.wait_arrived();
    death.notify_one();
    assert_eq!(first.join().expect("a process"), End::Died);
    // The next process' requests pass.
    proxy.clear();
    let before = bench.journal().lines.len();
    let next = thread::spawn({
        let bench = Arc::clone(bench);
        move || bench.live(&Life::whole())
    });
    match moment {
        // Kept shut until the site is gone.
        Moment::NeverSent => std::mem::forget(gate),
        Moment::ReplyUnread => gate.release(),
        Moment::Late => {
            until(bench, before, &next, |event| matches!(event, Event::Progress { .. }));
            gate.release();
        }
        Moment::TooLate => {
            until(bench, before, &next, |event| matches!(event, Event::Receipt { n: 2, .. }));
            gate.release();
        }
    }
    next.join().expect("a process");
}

/// Waits until the next process has written such a line, or has ended.
fn until<T>(bench: &Bench, before: usize, next: &thread::JoinHandle<T>, such: impl Fn(&Event) -> bool) {
    while !next.is_finished() && !bench.journal().lines[before..].iter().any(|line| such(&line.event)) {
        thread::sleep(Duration::from_millis(20));
    }
}

/// How often a person was asked what became of a change.
fn asked(bench: &Bench) -> usize {
    let settles = |event: &Event| matches!(event, Event::Asked { key, .. } if key.starts_with("settle:"));
    bench.journal().lines.iter().filter(|line| settles(&line.event)).count()
}

/// What the second list has more often than the first, and what less often.
fn differences(wanted: &[String], found: &[String]) -> (Vec<String>, Vec<String>) {
    let count = |list: &[String], what: &String| list.iter().filter(|one| *one == what).count();
    let all: BTreeSet<&String> = wanted.iter().chain(found).collect();
    let (mut extra, mut lost) = (Vec::new(), Vec::new());
    for what in all {
        let (before, after) = (count(wanted, what), count(found, what));
        extra.extend((before..after).map(|_| format!("doubled: {what}")));
        lost.extend((after..before).map(|_| format!("lost: {what}")));
    }
    (extra, lost)
}

fn trace(state: &RunState) -> String {
    let steps = state.in_order().map(|(id, step)| format!("{id}: {:?}", step.phase));
    steps.collect::<Vec<_>>().join("\n  ")
}
