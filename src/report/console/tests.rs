use std::{io, sync::Arc};

use serde_json::json;

use super::*;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is on the screen after these events, without its colours.
fn shown(events: &[(&str, Value)]) -> String {
    let screen = Screen::default();
    let console = Console::new(Box::new(screen.clone()), false);
    for (seq, (path, event)) in (0_u64..).zip(events) {
        let mut line = json!({"v": 1, "seq": seq, "prev": "", "path": path, "at": "2026-11-23T18:00:00Z"});
        line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
        console.line(&serde_json::from_value(line).unwrap_or_else(|e| panic!("{e}: {event}")));
    }
    let text = String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
    anstream::adapter::strip_str(&text).to_string()
}

fn start(kind: &str) -> Value {
    let site = |alias: &str| json!({"alias": alias, "endpoint": format!("https://{alias}.example"), "deployment_id": "d-1", "release": "r"});
    let mut target = site("dr");
    target["deployment_id"] = Value::Null;
    target["unreachable"] = json!("it does not answer");
    json!({
        "event": "run_started", "run": "r-1", "tool": "t", "runbook": "recover_bucket", "runbook_sha256": "0", "kind": kind,
        "user": "u", "host": "h", "inputs": {"bucket": "docs", "max": 3}, "sites": {"source": site("primary"), "target": target},
        "steps": ["preconditions", "recover"], "finally": [], "warn_only": ["damage"],
    })
}

fn begin(title: &str, effect: &str) -> Value {
    json!({"event": "step_started", "uses": "x", "title": title, "effect": effect, "attempt": 1, "with": {}})
}

fn end(verdict: &str, output: &Value, findings: &Value) -> Value {
    json!({"event": "step_ended", "verdict": verdict, "output": output, "findings": findings, "seconds": 1.0, "waited_seconds": 0.0})
}

#[test]
fn a_run_reads_like_a_story() {
    let differences = json!({
        "versions": 1604, "missing": 1200, "extra": 0, "left_out": 2,
        "examples": [{"class": "missing", "key": "a b", "version_id": "v1", "detail": "not on the target"}],
    });
    let finding = json!([{"id": "missing", "text": "1,200 versions missing", "remedy": "run it again"}]);
    let text = shown(&[
        ("", start("recovery")),
        ("damage", begin("compare both", "reads")),
        ("damage", end("not_held", &differences, &finding)),
        ("prepare", json!({"event": "step_skipped", "why": "`inputs.prepare` is false"})),
        ("recover", begin("rebuild `docs`", "changes")),
        (
            "recover",
            json!({"event": "intent", "key": "attempt-1", "n": 1, "change": "c", "role": "source", "bucket": "docs", "body": {}}),
        ),
        ("recover", json!({"event": "receipt", "key": "attempt-1", "n": 1, "outcome": {"done": {"reset_id": "x"}}})),
        (
            "recover",
            json!({"event": "attempt_failed", "attempt": 1, "failure": {"what": "no answer"}, "again_in_seconds": 5.0}),
        ),
        (
            "recover",
            json!({"event": "progress", "progress": {"what": "Ongoing", "done": 1, "total": 1200, "quiet_seconds": 40.0}}),
        ),
        ("", json!({"event": "artifact", "name": "recover.differences.jsonl", "sha256": "0", "bytes": 2048})),
        (
            "recover",
            json!({"event": "step_ended", "verdict": "broke", "failure": {"what": "no answer"}, "seconds": 61.0, "waited_seconds": 0.0}),
        ),
        ("ask", json!({"event": "asked", "key": "q", "question": {"prompt": "Drained?"}})),
        (
            "ask",
            json!({"event": "answered", "key": "q", "answer": {"yes": false, "by": "ada", "how": "approve", "comment": "not yet"}}),
        ),
        ("", json!({"event": "finishing", "why": {"signal": "interrupt"}})),
        ("", json!({"event": "interrupted", "signal": "interrupt"})),
    ]);
    let wanted = "\
recover_bucket (recovery)  run r-1
  primary (kept) → dr (rebuilt)
  source   primary https://primary.example  deployment d-1
  target   dr https://dr.example  unreachable: it does not answer
  inputs   bucket = \"docs\", max = 3
! damage           1.0s  compare both
    1,604 versions compared: 1,200 missing, 2 left out
    missing    a b (v1) not on the target
    missing: 1,200 versions missing
      remedy: run it again
- prepare              skipped: `inputs.prepare` is false
    changed: attempt-1
    attempt 1 failed: no answer; again in 5.0s
    recover: Ongoing, 1 of 1,200 versions, quiet for 40s
    wrote recover.differences.jsonl (2.0 KiB)
‼ recover        1m 01s  rebuild `docs`
    no answer
? ask           Drained?
    answered no, ada by approve: not yet
stopping: `finally` still runs; the same signal again stops at once
stopped at once
";
    assert!(text == wanted, "--- wanted\n{wanted}--- shown\n{text}");
}

#[test]
fn the_second_table_of_checks_shows_only_what_has_not_passed() {
    let check = |id: &str, verdict: &str| json!({"id": id, "verdict": verdict, "detail": "so it is", "waived": null});
    let mut waived = check("tls", "warn");
    waived["waived"] = json!("a test");
    let first = json!({"checks": [check("direction", "pass"), waived]});
    let second = json!({"checks": [check("direction", "pass"), check("tls", "warn"), check("quota", "pass")]});
    let text = shown(&[
        ("", start("verify")),
        ("preconditions", begin("check", "reads")),
        ("preconditions", end("held", &first, &json!([]))),
        ("ready", begin("check again", "reads")),
        ("ready", end("held", &second, &json!([]))),
    ]);
    let (_, steps) = text.split_once("max = 3\n").expect("a header");
    let wanted = "\
✓ preconditions    1.0s  check
    pass    direction                    so it is
    warn    tls                          so it is  (waived: a test)
✓ ready            1.0s  check again
    warn    tls                          so it is
    3 checks: 2 pass, 1 warn
";
    assert!(steps == wanted, "--- wanted\n{wanted}--- shown\n{steps}");
    assert!(text.starts_with("recover_bucket (verify, changes nothing)  run r-1\n  primary → dr\n"), "{text}");
}

#[test]
fn a_closed_pipe_stops_nothing() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let console = Console::new(Box::new(Closed), false);
    console.say("nobody reads this");
    console.progress("recover", &Progress::default());
}

#[test]
fn examples_of_a_comparison_within_are_shown_once() {
    let one = |key: &str| json!({"class": "different", "key": key, "version_id": "v1", "detail": "other ETag"});
    let rows = |output: &Value| highlights(output, true, true).iter().filter(|row| row.contains("other ETag")).count();
    assert_eq!(rows(&json!({"comparison": {"examples": [one("a"), one("b")]}})), 2);
    assert_eq!(rows(&json!({"examples": [one("a")], "comparison": {"examples": [one("a"), one("b")]}})), 2);
    assert_eq!(rows(&json!({"comparison": null})), 0);
}
