use serde_json::json;

use super::*;

fn line(seq: u64, path: &str, event: &Value) -> Line {
    let mut line = json!({"v": 1, "seq": seq, "prev": "", "path": path, "at": format!("2026-11-23T18:00:{seq:02}Z")});
    line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
    serde_json::from_value(line).unwrap_or_else(|e| panic!("{e}: {event}"))
}

fn start() -> Value {
    json!({
        "event": "run_started", "run": "r", "tool": "t", "runbook": "b", "runbook_sha256": "0", "kind": "recovery",
        "user": "u", "host": "h", "inputs": {}, "sites": {}, "steps": ["look", "go"], "finally": ["tidy"],
    })
}

fn begin(attempt: u32, effect: &str) -> Value {
    json!({"event": "step_started", "uses": "x", "title": "x", "effect": effect, "attempt": attempt, "with": {}})
}

fn end(verdict: &str) -> Value {
    json!({"event": "step_ended", "verdict": verdict, "output": {"n": 1}, "seconds": 1.0, "waited_seconds": 0.0})
}

fn intent(n: u32) -> Value {
    json!({"event": "intent", "key": "k", "n": n, "change": "c", "role": "target", "bucket": "b", "body": {}, "needs_proof": true})
}

fn receipt(n: u32, outcome: &Value) -> Value {
    json!({"event": "receipt", "key": "k", "n": n, "outcome": outcome})
}

fn asked() -> Value {
    json!({"event": "asked", "key": "q", "question": {"prompt": "?"}})
}

fn answered(yes: bool) -> Value {
    json!({"event": "answered", "key": "q", "answer": {"yes": yes, "by": "u", "how": "approve"}})
}

fn finishing() -> Value {
    json!({"event": "finishing", "why": "last_step"})
}

fn run_ended() -> Value {
    json!({"event": "run_ended", "verdict": "held", "exit": 0, "seconds": 1.0, "waited_seconds": 0.0, "rto": null})
}

fn resumed() -> Value {
    json!({"event": "run_resumed", "tool": "t", "user": "u", "host": "h", "sites": {}})
}

fn replay(events: &[(&str, Value)]) -> Result<RunState, IllegalOrder> {
    let lines: Vec<Line> = (0..).zip(events).map(|(seq, (path, event))| line(seq, path, event)).collect();
    RunState::replay(&lines)
}

#[test]
fn what_ran_when_its_process_died_waits_for_its_turn() {
    // Reading steps before it are done again, and may end the run before it begins again.
    let mut events = vec![
        ("", start()),
        ("look", begin(1, "reads")),
        ("look", end("held")),
        ("go", begin(1, "asks")),
        ("go", asked()),
        ("", resumed()),
    ];
    let state = replay(&events).unwrap();
    assert_eq!(state.open_questions().count(), 1);
    events.extend([("look", begin(2, "reads")), ("look", end("not_held")), ("", finishing()), ("tidy", end("held"))]);
    let mut ended = run_ended();
    ended["verdict"] = "not_held".into();
    events.push(("", ended));
    let state = replay(&events).unwrap();
    assert_eq!((state.open_questions().count(), state.phase), (0, Phase::Ended(crate::event::Verdict::NotHeld)));
}

#[test]
fn a_change_whose_record_was_masked_is_known_as_such() {
    let mut masked = intent(1);
    masked["masked"] = json!(["/body/bucket"]);
    let mut events = vec![("", start()), ("go", begin(1, "changes")), ("go", masked)];
    let readable = |events: &[(&str, Value)]| {
        let state = replay(events).unwrap();
        state.steps["go"].unsettled().map(|one| (one.readable, one.done)).collect::<Vec<_>>()
    };
    assert_eq!(readable(&events), [(false, false)]);
    events[2].1["masked"] = json!([]);
    let mut lost = receipt(1, &json!({"done": {"id": "***"}}));
    lost["masked"] = json!(["/outcome/done/id"]);
    events.push(("go", lost));
    assert_eq!(readable(&events), [(true, true)]);
    // Found again, or decided by a person: the same intent gets its receipt after all.
    events.push(("go", receipt(1, &json!({"done": {"id": "x"}}))));
    assert_eq!(readable(&events), []);
}

#[test]
fn a_runbook_that_takes_over_keeps_what_has_begun() {
    let edited = |steps: Value| {
        let mut resumed = resumed();
        resumed["edited"] =
            json!({"file": "runbook-2.yaml", "sha256": "1", "steps": steps, "finally": [], "warn_only": []});
        resumed
    };
    let events = |steps: Value| {
        replay(&[("", start()), ("look", begin(1, "reads")), ("look", end("held")), ("", edited(steps))])
    };
    let state = events(json!(["look", "other"])).unwrap();
    assert_eq!(state.steps.keys().collect::<Vec<_>>(), ["look", "other"]);
    assert_eq!(state.artifacts["runbook-2.yaml"], "1");
    assert!(events(json!(["other"])).unwrap_err().what.contains("lacks `look`"));
}

#[test]
fn illegal_orders_are_refused() {
    let (go, look) = ("go", "look");
    let done = json!({"done": {}});
    for (events, wanted) in [
        (vec![(go, begin(1, "changes"))], "the first line is not the start of a run"),
        (vec![("", start()), ("", start())], "a second start of the run"),
        (vec![("", start()), ("away", begin(1, "reads"))], "there is no step `away`"),
        (vec![("", start()), (go, begin(2, "reads"))], "`go`: attempt 2 after 0"),
        (vec![("", start()), (go, begin(1, "reads")), (go, begin(1, "reads"))], "`go`: attempt 1 after 1"),
        (vec![("", start()), (go, end("held")), (go, begin(1, "reads"))], "`go` begins again after its end"),
        (vec![("", start()), (go, end("held")), (go, end("held"))], "`go` ends twice"),
        (
            vec![("", start()), (go, begin(1, "reads")), (go, json!({"event": "step_skipped", "why": "x"}))],
            "`go` is skipped after it began",
        ),
        (vec![("", start()), (go, intent(1))], "`go` changes something while it does not run"),
        (vec![("", start()), (go, begin(1, "changes")), (go, intent(2))], "`go`: sending 2 of `k` after 0"),
        (vec![("", start()), (go, begin(1, "changes")), (go, intent(1)), (go, intent(2))], "`go`: `k` is sent again"),
        (
            vec![("", start()), (go, begin(1, "changes")), (go, intent(1)), (go, receipt(1, &done)), (go, intent(2))],
            "`go`: `k` is sent again",
        ),
        (
            vec![("", start()), (go, begin(1, "changes")), (go, receipt(1, &done))],
            "`go`: a receipt for `k` without an intent",
        ),
        (
            vec![("", start()), (go, begin(1, "changes")), (go, intent(1)), (go, receipt(2, &done))],
            "`go`: a receipt for `k` without an intent",
        ),
        (
            vec![("", start()), (go, begin(1, "changes")), (go, intent(1)), (go, end("held"))],
            "`go` holds while a change of it is open",
        ),
        (vec![("", start()), (go, begin(1, "asks")), (go, asked()), (go, asked())], "`go` asks `q` twice"),
        (
            vec![("", start()), (go, begin(1, "asks")), (go, answered(true))],
            "`go`: an answer to `q`, which is not open",
        ),
        (
            vec![
                ("", start()),
                (look, begin(1, "reads")),
                (look, end("held")),
                (
                    look,
                    json!({"event": "attempt_failed", "attempt": 1, "failure": {"what": "x"}, "again_in_seconds": 1.0}),
                ),
            ],
            "an attempt at `look` fails after its end",
        ),
        (vec![("", start()), ("", finishing()), ("", finishing())], "`finally` begins twice"),
        (vec![("", start()), ("", run_ended())], "the run ends before `finally`"),
        (
            vec![("", start()), (go, begin(1, "reads")), ("", finishing()), ("", run_ended())],
            "the run ends while `go` runs",
        ),
        (
            vec![("", start()), ("", finishing()), ("", run_ended()), (go, begin(1, "reads"))],
            "something happens after the end",
        ),
        (
            vec![("", start()), ("", json!({"event": "interrupted", "signal": "interrupt"})), ("", finishing())],
            "something happens after the end",
        ),
    ] {
        match replay(&events) {
            Ok(_) => panic!("accepted, but {wanted}"),
            Err(refused) => assert_eq!((refused.what.as_str(), refused.seq), (wanted, events.len() as u64 - 1)),
        }
    }
    assert_eq!(RunState::replay(&[]).unwrap_err().what, "the journal is empty");
    let skipped = [line(0, "", &start()), line(2, "", &finishing())];
    assert_eq!(RunState::replay(&skipped).unwrap_err().what, "its number is 2, not 1");
}

#[test]
fn a_change_is_unproven_until_a_step_that_proves_holds() {
    let mut events = vec![("", start()), ("go", begin(1, "changes")), ("go", intent(1))];
    let state = replay(&events).unwrap();
    assert!(state.any_intent && state.unproven && state.steps["go"].open().count() == 1);
    events.extend([("go", receipt(1, &json!({"not_done": "it never came"}))), ("go", intent(2))]);
    events.extend([("go", receipt(2, &json!({"done": {"id": 7}}))), ("go", end("held"))]);
    let state = replay(&events).unwrap();
    assert!(state.unproven, "held, but nothing proved it");
    assert!(matches!(&state.steps["go"].changes["k"], Past::Done(receipt) if receipt["id"] == 7));
    let mut proof = begin(1, "reads");
    proof["proves"] = json!(true);
    events.extend([("look", proof), ("look", end("held"))]);
    let state = replay(&events).unwrap();
    assert!(!state.unproven);
    assert_eq!(state.proven_at, Some(state.last_at));
}

#[test]
fn what_was_masked_is_lost_and_not_taken_for_its_mask() {
    let mut output = end("held");
    output["masked"] = json!(["/output/n"]);
    let mut secret = receipt(1, &json!({"done": "***"}));
    secret["masked"] = json!(["/outcome/done"]);
    let events = [
        ("", start()),
        ("look", begin(1, "reads")),
        ("look", output),
        ("go", begin(1, "changes")),
        ("go", intent(1)),
        ("go", secret),
    ];
    let state = replay(&events).unwrap();
    assert!(matches!(&state.steps["look"].phase, StepPhase::Ended(end) if end.output.is_none()));
    assert!(matches!(state.steps["go"].changes["k"], Past::Lost { .. }));
}

#[test]
fn a_resumed_run_stands_where_it_may() {
    // Before the first change, readings are made again.
    let mut events = vec![("", start()), ("look", begin(1, "reads")), ("look", end("held"))];
    events.push(("", resumed()));
    assert!(matches!(replay(&events).unwrap().steps["look"].phase, StepPhase::Pending));
    // After it they stand, and what did not hold is entered again.
    let events = vec![
        ("", start()),
        ("look", begin(1, "reads")),
        ("look", end("held")),
        ("go", begin(1, "changes")),
        ("go", intent(1)),
        ("go", receipt(1, &json!({"done": {}}))),
        ("go", end("not_held")),
        ("", finishing()),
        ("tidy", begin(1, "reads")),
        ("tidy", end("held")),
        ("", run_ended()),
        ("", resumed()),
    ];
    let state = replay(&events).unwrap();
    assert_eq!((state.phase.clone(), state.resumes, state.stop), (Phase::Running, 1, None));
    assert_eq!(state.steps["look"].verdict(), Some(StepVerdict::Held));
    assert!(matches!(state.steps["go"].phase, StepPhase::Pending));
    assert!(matches!(state.steps["go"].changes["k"], Past::Done(_)), "what was done is remembered");
    assert!(matches!(state.steps["tidy"].phase, StepPhase::Pending), "`finally` runs again");
}

#[test]
fn a_no_is_asked_again_and_a_yes_stands() {
    for (yes, remembered) in [(true, 1), (false, 0)] {
        let state = replay(&[
            ("", start()),
            ("go", begin(1, "asks")),
            ("go", asked()),
            ("go", answered(yes)),
            ("go", end("not_held")),
            ("", finishing()),
            ("", run_ended()),
            ("", resumed()),
        ])
        .unwrap();
        assert_eq!(state.steps["go"].questions.len(), remembered);
    }
}
