//! What the engine does with steps, whatever their kind: toy kinds, and a paused clock.

mod toy;

use std::collections::HashMap;

use firedrill::{
    event::{Event, Signal, StepVerdict},
    failure::Class,
    replay::RunState,
    verdict::Exit,
};

use self::toy::{End, Fate, Process, World, world};

/// A runbook over the world `name`.
fn runbook(name: &str, steps: &str) -> String {
    format!(
        "format: 1\nrunbook: toy\nsummary: {name}\nkind: recovery\nroles: {{ source: {{ description: s }} }}\n{steps}"
    )
}

/// Runs once, from nothing; the events of the run are in the process.
fn run(process: &Process<'_>, wanted: Exit) -> RunState {
    assert_eq!(process.run(), End::Exit(wanted), "{:#?}", process.disk.lines.lock().unwrap());
    process.state()
}

fn verdict(state: &RunState, step: &str) -> Option<StepVerdict> {
    state.steps[step].verdict()
}

fn fate(world: &World, fates: &[(usize, Fate)]) {
    world.state.lock().unwrap().fate = fates.iter().copied().collect();
}

const THREE: &str = "steps:
  - { id: a, uses: toy.look, with: { world: W } }
  - { id: b, uses: toy.alter, with: { world: W, times: 2 } }
  - { id: c, uses: toy.prove, with: { world: W } }
finally:
  - { id: z, uses: toy.look, with: { world: W } }
";

#[test]
fn steps_run_in_order_and_finally_after_them() {
    let text = runbook("order", &THREE.replace('W', "order"));
    let process = Process::new(&text);
    let state = run(&process, Exit::Held);
    let lines = process.disk.lines.lock().unwrap();
    let ended: Vec<_> =
        lines.iter().filter(|l| matches!(l.event, Event::StepEnded(_))).map(|l| l.path.as_str()).collect();
    assert_eq!(ended, ["a", "b", "c", "z"]);
    assert!(!state.unproven);
    assert_eq!(world("order").state.lock().unwrap().touched.len(), 2);
}

#[test]
fn a_change_that_nothing_proves_is_not_green() {
    let text = runbook("unproven", "steps:\n  - { id: b, uses: toy.alter, with: { world: unproven } }\n");
    run(&Process::new(&text), Exit::Broke);
}

#[test]
fn a_finding_stops_the_steps_but_not_finally() {
    let text = runbook(
        "stops",
        "steps:
  - { id: a, uses: toy.look, with: { world: stops, at_least: 9 } }
  - { id: b, uses: toy.alter, with: { world: stops } }
finally:
  - { id: z, uses: toy.look, with: { world: stops } }
",
    );
    let state = run(&Process::new(&text), Exit::NotHeld);
    assert_eq!(verdict(&state, "a"), Some(StepVerdict::NotHeld));
    assert_eq!(verdict(&state, "b"), None);
    assert_eq!(verdict(&state, "z"), Some(StepVerdict::Held));
    assert_eq!(world("stops").state.lock().unwrap().sent, 0);
}

#[test]
fn on_failure_says_whether_to_go_on_and_whether_it_counts() {
    for (word, wanted) in [("continue", Exit::NotHeld), ("warn", Exit::Held)] {
        let name = format!("onfail-{word}");
        let steps = "steps:
  - { id: a, uses: toy.look, with: { world: W, at_least: 9 }, on_failure: MODE }
  - { id: b, uses: toy.look, with: { world: W } }
"
        .replace('W', &name)
        .replace("MODE", word);
        let text = runbook(&name, &steps);
        let state = run(&Process::new(&text), wanted);
        assert_eq!(verdict(&state, "b"), Some(StepVerdict::Held));
    }
}

#[test]
fn expect_can_only_tighten() {
    for (expression, wanted) in [("out.n == 1", Exit::Held), ("out.n > 1", Exit::NotHeld), ("out.n", Exit::Broke)] {
        let name = format!("expect {expression}");
        let steps =
            format!("steps:\n  - {{ id: a, uses: toy.look, with: {{ world: '{name}' }}, expect: ['{expression}'] }}\n");
        let text = runbook(&name, &steps);
        run(&Process::new(&text), wanted);
    }
}

#[test]
fn when_skips_and_a_condition_that_cannot_be_told_is_a_failure() {
    let steps = "steps:
  - { id: a, uses: toy.look, with: { world: when } }
  - { id: b, uses: toy.look, with: { world: when }, when: 'steps.a.n > 5' }
  - { id: c, uses: toy.look, with: { world: when }, when: 'steps.b.ran' }
  - { id: d, uses: toy.look, with: { world: when }, when: 'steps.b.n == 1' }
";
    let text = runbook("when", steps);
    let state = run(&Process::new(&text), Exit::Broke);
    assert_eq!(verdict(&state, "b"), None);
    assert_eq!(verdict(&state, "c"), None);
    assert_eq!(verdict(&state, "d"), Some(StepVerdict::Broke));
    assert_eq!(world("when").state.lock().unwrap().looks, 1);
}

#[test]
fn a_retry_looks_at_the_class_of_a_failure() {
    for (class, wanted, looks) in
        [(Class::Unreachable, Exit::Held, 2), (Class::Refused, Exit::Broke, 1), (Class::TimedOut, Exit::Broke, 1)]
    {
        let name = format!("retry {class:?}");
        world(&name).state.lock().unwrap().trouble = HashMap::from([(1, class)]);
        let steps = format!(
            "steps:\n  - id: a\n    uses: toy.look\n    with: {{ world: '{name}' }}\n    \
             retry: {{ attempts: 3, interval: 10s, on: [unreachable] }}\n"
        );
        let text = runbook(&name, &steps);
        let state = run(&Process::new(&text), wanted);
        assert_eq!(world(&name).state.lock().unwrap().looks, looks, "{class:?}");
        assert_eq!(u64::from(state.steps["a"].attempts), looks);
    }
}

#[test]
fn a_timeout_ends_one_attempt_and_a_deadline_all_of_them() {
    let name = "limits";
    let steps = "steps:
  - id: a
    uses: toy.look
    with: { world: limits, seconds: 100 }
    timeout: 40s
    deadline: 2m
    retry: { attempts: 9, interval: 5s }
";
    let text = runbook(name, steps);
    let state = run(&Process::new(&text), Exit::Broke);
    let attempts = state.steps["a"].attempts;
    assert!((2..=3).contains(&attempts), "{attempts} attempts fit into 2 minutes");
}

#[test]
fn until_repeats_until_it_holds_or_time_is_up() {
    for (wanted, that) in [(Exit::Held, "out.n >= 4"), (Exit::NotHeld, "out.n >= 400")] {
        let name = format!("until {that}");
        let steps = format!(
            "steps:\n  - id: a\n    uses: toy.look\n    with: {{ world: '{name}' }}\n    \
             until: {{ that: '{that}', every: 10s, deadline: 1m }}\n"
        );
        let text = runbook(&name, &steps);
        let state = run(&Process::new(&text), wanted);
        assert_eq!(state.steps["a"].attempts, 1);
    }
}

#[test]
fn a_request_in_flight_gets_its_receipt_though_its_step_timed_out() {
    let name = "inflight";
    fate(&world(name), &[(1, Fate::Slow(100))]);
    let steps = "steps:
  - id: b
    uses: toy.alter
    with: { world: inflight }
    timeout: 40s
    retry: { attempts: 2, interval: 1s }
  - { id: c, uses: toy.prove, with: { world: inflight } }
";
    let text = runbook(name, steps);
    let state = run(&Process::new(&text), Exit::Held);
    assert_eq!(world(name).state.lock().unwrap().sent, 1, "the remembered receipt is given, nothing is sent again");
    assert_eq!(state.steps["b"].attempts, 2);
}

#[test]
fn an_unanswered_change_is_settled_before_the_step_is_entered_again() {
    for (fates, sent) in
        [(vec![(1, Fate::NoAnswer)], 1), (vec![(1, Fate::Lost)], 2), (vec![(1, Fate::Lost), (2, Fate::NoAnswer)], 2)]
    {
        let name = format!("settle {fates:?}");
        fate(&world(&name), &fates);
        let steps = format!(
            "steps:\n  - id: b\n    uses: toy.alter\n    with: {{ world: '{name}' }}\n    \
             retry: {{ attempts: 4, interval: 1s }}\n  - {{ id: c, uses: toy.prove, with: {{ world: '{name}' }} }}\n"
        );
        let text = runbook(&name, &steps);
        run(&Process::new(&text), Exit::Held);
        let world = world(&name);
        let state = world.state.lock().unwrap();
        assert_eq!((state.sent, state.touched.len()), (sent, 1), "{fates:?}");
    }
}

#[test]
fn a_change_that_cannot_be_told_waits_for_a_person() {
    let name = "untold";
    fate(&world(name), &[(1, Fate::Untold)]);
    let steps = "steps:
  - id: b
    uses: toy.alter
    with: { world: untold }
    retry: { attempts: 2, interval: 1s }
  - { id: c, uses: toy.prove, with: { world: untold } }
";
    let text = runbook(name, steps);
    let mut process = Process::new(&text);
    let state = run(&process, Exit::Waiting);
    assert!(state.open_questions().next().is_some_and(|(step, key, _)| step == "b" && key == "settle:touch-1#1"));
    process.person = Some(true);
    run(&process, Exit::Held);
    assert_eq!(world(name).state.lock().unwrap().sent, 2, "the person said to send it again");
}

#[test]
fn a_refused_change_is_no_open_intent_and_is_not_retried() {
    let name = "refused";
    fate(&world(name), &[(1, Fate::Refused)]);
    let steps = "steps:\n  - { id: b, uses: toy.alter, with: { world: refused }, retry: { attempts: 5 } }\n";
    let text = runbook(name, steps);
    let state = run(&Process::new(&text), Exit::Broke);
    assert_eq!(state.steps["b"].open().count(), 0);
    assert_eq!(world(name).state.lock().unwrap().sent, 1);
}

#[test]
fn a_question_pauses_the_run_and_finally_waits_with_it() {
    let steps = "steps:
  - { id: q, uses: toy.ask, with: { prompt: go? } }
  - { id: a, uses: toy.look, with: { world: pause } }
finally:
  - { id: z, uses: toy.look, with: { world: pause } }
";
    let text = runbook("pause", steps);
    let mut process = Process::new(&text);
    run(&process, Exit::Waiting);
    assert_eq!(world("pause").state.lock().unwrap().looks, 0, "`finally` does not run while a person thinks");
    process.person = Some(true);
    let state = run(&process, Exit::Held);
    assert_eq!(state.steps["q"].questions["confirm"].answer.as_ref().map(|a| a.by.as_str()), Some("ann"));
}

#[test]
fn no_and_a_passed_deadline_do_not_hold() {
    let steps = "steps:\n  - { id: q, uses: toy.ask, with: { prompt: go?, deadline: 1h } }\n";
    for person in [Some(false), None] {
        let text = runbook("no", steps);
        let mut process = Process::new(&text);
        process.person = person;
        let state = run(&process, Exit::NotHeld);
        assert_eq!(verdict(&state, "q"), Some(StepVerdict::NotHeld));
    }
}

#[test]
fn the_first_signal_stops_the_steps_and_finally_still_runs() {
    let steps = "steps:
  - { id: a, uses: toy.look, with: { world: signal, seconds: 1000 } }
  - { id: b, uses: toy.look, with: { world: signal } }
finally:
  - { id: z, uses: toy.look, with: { world: signal } }
";
    let text = runbook("signal", steps);
    let process = Process::new(&text);
    process.stop.send(Signal::Terminate);
    let state = run(&process, Exit::Terminated);
    assert_eq!(verdict(&state, "b"), None);
    assert_eq!(verdict(&state, "z"), Some(StepVerdict::Held));

    let process = Process { disk: process.disk.clone(), ..Process::new(&text) };
    let state = run(&process, Exit::Held);
    assert_eq!(verdict(&state, "b"), Some(StepVerdict::Held), "resume goes on after a signal");
}

#[test]
fn the_second_signal_stops_at_once_and_the_journal_says_so() {
    let text = runbook("twice", &THREE.replace('W', "twice"));
    let process = Process::new(&text);
    process.stop.send(Signal::Interrupt);
    process.stop.send(Signal::Interrupt);
    let state = run(&process, Exit::Interrupted);
    assert_eq!(state.phase, firedrill::replay::Phase::Interrupted(Signal::Interrupt));
    let process = Process { disk: process.disk.clone(), ..Process::new(&text) };
    run(&process, Exit::Held);
}

#[test]
fn a_late_recovery_is_late() {
    let steps = "objectives: { rto: 1m }\nsteps:\n  - { id: a, uses: toy.look, with: { world: late, seconds: 100 } }\n";
    let text = runbook("late", steps);
    let state = run(&Process::new(&text), Exit::Late);
    let rto = firedrill::verdict::rto(&state).expect("a recovery has a recovery time");
    assert!(rto.measured_seconds >= 100.0, "{rto:?}");
}

#[test]
fn before_the_first_change_a_resumed_run_looks_again() {
    let steps = "steps:
  - { id: a, uses: toy.look, with: { world: again } }
  - { id: q, uses: toy.ask, with: { prompt: go? } }
  - { id: b, uses: toy.alter, with: { world: again } }
  - { id: q2, uses: toy.ask, with: { prompt: sure? } }
  - { id: c, uses: toy.prove, with: { world: again } }
";
    let text = runbook("again", steps);
    let mut process = Process::new(&text);
    run(&process, Exit::Waiting);
    process.person = Some(true);
    run(&process, Exit::Held);
    assert_eq!(world("again").state.lock().unwrap().looks, 2, "the first look was too old to license a change");
}

/// Dies after every line of the journal, and resumes: the same verdict, every change once.
#[test]
fn a_run_that_dies_after_any_line_resumes_to_the_same_end() {
    let whole = {
        let text = runbook("lines", &THREE.replace('W', "lines"));
        let process = Process::new(&text);
        run(&process, Exit::Held);
        process.disk.lines.lock().unwrap().len()
    };
    let mut resumed = 0;
    for room in 1..whole {
        let name = format!("lines-{room}");
        let text = runbook(&name, &THREE.replace('W', &name));
        let mut process = Process::new(&text);
        process.disk.room = Some(room);
        assert_eq!(process.run(), End::Journal, "no line, no step");
        process.disk.room = None;
        run(&process, Exit::Held);
        assert_eq!(world(&name).state.lock().unwrap().touched.len(), 2, "died after line {room}");
        resumed += 1;
    }
    println!("{resumed} boundaries, each resumed, 0 changes doubled or lost");
}

/// Dies in every request, before, after, and before with the request arriving late.
#[test]
fn a_run_that_dies_inside_a_change_sends_nothing_twice() {
    let mut crashes = 0;
    for request in 1..=2 {
        for death in [Fate::DieBefore, Fate::DieAfter, Fate::DieLate(3), Fate::DieLate(29)] {
            let name = format!("dies-{request}-{death:?}");
            fate(&world(&name), &[(request, death)]);
            let text = runbook(&name, &THREE.replace('W', &format!("'{name}'")));
            let process = Process::new(&text);
            assert_eq!(process.run(), End::Died, "{name}");
            run(&process, Exit::Held);
            assert_eq!(world(&name).state.lock().unwrap().touched.len(), 2, "{name}");
            crashes += 1;
        }
    }
    println!("{crashes} crashes inside changes, 0 doubled, 0 lost");
}
