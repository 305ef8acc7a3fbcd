//! Commands that only look: `check`, `runs`, `show`, `steps`, `schema`.

use std::{fmt::Write, path::PathBuf};

use comfy_table::Table;
use serde_json::json;

use super::{Refusal, print, print_json, resume, run::runs_flag, sandbox};
use crate::{
    audit::Audited,
    check,
    cli::Schema,
    event::{Observer, Verdict},
    human::{duration, plural},
    journal::JOURNAL,
    problem,
    replay::{Phase, RunState},
    report::{self, console::Console},
    runs::Place,
    schema, steps,
    verdict::{self, Exit},
};

pub(super) fn check(files: &[PathBuf], json: bool) -> Result<Exit, Refusal> {
    let mut exit = Exit::Held;
    let mut all = Vec::new();
    let (mut good, mut bad) = (String::new(), String::new());
    for file in files {
        let name = file.display().to_string();
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(e) => {
                exit = Exit::Refused;
                all.push(json!({ "file": name, "level": "error", "what": format!("cannot be read: {e}") }));
                let _ = writeln!(bad, "error: {name}: cannot be read: {e}\n");
                continue;
            }
        };
        let source = String::from_utf8_lossy(&bytes);
        let (problems, ok) = match check::load_bytes(&bytes, steps::ALL) {
            Ok((_, warnings)) => (warnings, true),
            Err(problems) => (problems, false),
        };
        all.extend(problem::to_json(&name, &source, &problems).as_array().cloned().unwrap_or_default());
        let text = if ok { &mut good } else { &mut bad };
        if !problems.is_empty() {
            text.push_str(problem::render(&name, &source, &problems, false).trim_end());
            text.push_str("\n\n");
        }
        if ok {
            let _ = writeln!(text, "{name}: ok");
        } else {
            exit = Exit::Refused;
        }
    }
    if json {
        print_json(&all);
        return Ok(exit);
    }
    if !good.is_empty() {
        print(&good);
    }
    if exit == Exit::Refused {
        let errors = all.iter().filter(|problem| problem["level"] == "error").count();
        let text = format!("{}\n\n{}", plural(errors as u64, "error"), bad.trim_end());
        return Err(Refusal::new(exit, text));
    }
    Ok(exit)
}

pub(super) fn runs(runs: &Place, json: bool) -> Result<Exit, Refusal> {
    let ids = runs.ids()?;
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["run", "runbook", "verdict", "took", "sites"]);
    let mut rows = Vec::new();
    for id in &ids {
        match resume::read(runs, id) {
            Ok(Audited { state, .. }) => {
                let verdict = verdict_word(&state);
                let took = crate::clock::seconds_between(state.started_at, state.last_at);
                let sites: Vec<_> = state.started.sites.iter().map(|(r, s)| format!("{r}={}", s.alias)).collect();
                table.add_row([id.as_str(), &state.started.runbook, verdict, &duration(took), &sites.join(" ")]);
                rows.push(json!({
                    "run": id, "runbook": state.started.runbook, "verdict": verdict, "seconds": took,
                    "started_at": state.started_at, "rto": verdict::rto(&state),
                }));
            }
            Err(refusal) => {
                table.add_row([id.as_str(), "", "does not verify", "", ""]);
                rows.push(json!({ "run": id, "verdict": "does not verify", "why": refusal.text }));
            }
        }
    }
    if json {
        print_json(&rows);
    } else if ids.is_empty() {
        print(&format!("no runs in {runs}"));
    } else {
        print(&table.trim_fmt());
    }
    Ok(Exit::Held)
}

pub(super) fn verdict_word(state: &RunState) -> &'static str {
    let (verdict, _) = verdict::verdict(state);
    match state.phase {
        Phase::Ended(_) => verdict.word(),
        Phase::Interrupted(_) => "interrupted",
        Phase::Running | Phase::Finishing if verdict == Verdict::Waiting => verdict.word(),
        Phase::Running | Phase::Finishing => "not ended",
    }
}

pub(super) fn show(runs: &Place, wanted: &str, json: bool) -> Result<Exit, Refusal> {
    let id = runs.find(wanted)?;
    let Audited { journal, state } = resume::read(runs, &id)?;
    let path = runs.name(&id, JOURNAL);
    if json {
        print_json(&report::facts::Report::new(&journal.lines, &state, &path, &journal.head));
        return Ok(Exit::Held);
    }
    let console = Console::stdout();
    for line in &journal.lines {
        console.line(line);
    }
    print(&report::summary::summary(&state, &path, &journal.head, &runs_flag(runs)));
    Ok(Exit::Held)
}

pub(super) fn steps(kind: Option<&str>, json: bool) -> Result<Exit, Refusal> {
    let Some(name) = kind else {
        if json {
            print_json(&steps::ALL.iter().map(|k| json!({ "uses": k.uses, "effect": k.effect })).collect::<Vec<_>>());
        } else {
            print(&schema::overview(steps::ALL));
        }
        return Ok(Exit::Held);
    };
    let Some(kind) = steps::ALL.iter().find(|kind| kind.uses == name) else {
        let help = problem::did_you_mean(name, steps::ALL.iter().map(|kind| kind.uses));
        let hint = help.unwrap_or_else(|| "`firedrill steps` lists them".into());
        return Err(Refusal::refused(format!("there is no step kind `{name}`: {hint}")));
    };
    if json {
        print_json(&json!({ "uses": kind.uses, "params": (kind.params)(), "output": (kind.output)() }));
    } else {
        print(&schema::kind_reference(kind));
    }
    Ok(Exit::Held)
}

pub(super) fn schema(what: Schema) -> Result<Exit, Refusal> {
    let schema = match what {
        Schema::Runbook => schema::runbook_schema(steps::ALL),
        Schema::Journal => schema::journal_schema(),
        Schema::Report => schema::report_schema(),
        Schema::Test => sandbox::test_schema()?,
        Schema::Scenario => sandbox::scenario_schema()?,
    };
    print_json(&schema);
    Ok(Exit::Held)
}
