//! `plan`: what a run would do, with nothing changed and nothing left behind.

use std::{collections::BTreeSet, fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

use comfy_table::{Cell, Table};
use serde_json::{Value, json};

use super::{Refusal, answers::Given, bind, load, print, print_json, run, terminal};
use crate::{
    cli::{Bind, Keep},
    clock::Clock,
    engine::{
        Setup, StopSignal,
        plan::{self, Action, Item},
    },
    event::{Event, Observer, StepVerdict},
    failure::Failure,
    human::plural,
    journal::MemoryRecorder,
    log::Log,
    report::console::Console,
    site::changes,
    step::Claims,
    steps,
    verdict::Exit,
};

pub(super) async fn plan(
    file: &Path,
    bind: &Bind,
    out: Option<&Path>,
    probe: bool,
    json: bool,
) -> Result<Exit, Refusal> {
    let loaded = load::file(file)?;
    let bound = bind::bind(&loaded, bind).await?;
    let (user, host) = terminal::who_and_where();
    let first = run::started(&loaded, &bound, "plan", &run::no_go(Keep::default()), user.clone(), host);
    let warn_only = first.warn_only.clone();
    let clock = Clock::Wall;
    let console = Arc::new(Console::stdout());
    let observers: Vec<Arc<dyn Observer>> = run::observers(&console, json);
    let log = Log::begin(
        Arc::new(MemoryRecorder::new(clock, bound.masker.clone())),
        observers,
        Event::RunStarted(Box::new(first)),
    )
    .map_err(|f| bind::broken(&f, &bound.masker))?;
    let given = Given { all: false, steps: BTreeSet::new(), user, person: false, run: None };
    let setup = Setup {
        runbook: loaded.runbook,
        kinds: steps::ALL,
        changes: changes::ALL,
        log: Arc::new(log),
        wires: bound.wires,
        inputs: bound.inputs,
        answers: Arc::new(given),
        claims: Arc::new(NoClaims),
        stop: StopSignal::default(),
        clock,
        frozen: None,
        probe,
        waits: false,
    };
    let mut items = plan::plan(&setup).await.map_err(|f| bind::broken(&f, &bound.masker))?;
    for item in &mut items {
        bound.masker.json(&mut item.with);
    }
    if let Some(path) = out {
        keep(path, &plan::freeze(&setup, &items))?;
    }
    if json {
        let mut shown = json!({ "runbook": setup.runbook.name, "steps": items });
        bound.masker.json(&mut shown);
        print_json(&shown);
    } else {
        print(&bound.masker.text(&table(&items)));
        print(&next(&items, out));
    }
    Ok(match plan::worst(&items, &warn_only) {
        StepVerdict::Held => Exit::Held,
        StepVerdict::NotHeld => Exit::NotHeld,
        StepVerdict::Broke | StepVerdict::Cancelled => Exit::Broke,
    })
}

/// A plan changes nothing, so it claims nothing.
struct NoClaims;

impl Claims for NoClaims {
    fn claim(&self, _: &str, bucket: &str) -> Result<(), Failure> {
        Err(Failure::refused(format!("a plan changes nothing, not even `{bucket}`")))
    }
}

fn keep(path: &Path, frozen: &plan::Frozen) -> Result<(), Refusal> {
    let failed = |e: std::io::Error| Refusal::refused(format!("{}: cannot be written: {e}", path.display()));
    // Where a person says, also through a symbolic link.
    let file = OpenOptions::new().mode(0o600).create(true).truncate(true).write(true).open(path).map_err(failed)?;
    serde_json::to_writer_pretty(&file, frozen).map_err(|e| failed(e.into()))?;
    file.sync_all().map_err(failed)
}

fn table(items: &[Item]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["step", "plan", "what"]);
    for item in items {
        table.add_row([Cell::new(&item.id), Cell::new(action(&item.action)), Cell::new(&item.title)]);
        if matches!(item.action, Action::WillChange) {
            table.add_row([Cell::new(""), Cell::new(""), Cell::new(values(&item.with))]);
        }
    }
    format!("\n{}", table.trim_fmt())
}

fn action(action: &Action) -> String {
    match action {
        Action::Checked(end) => match end.verdict {
            StepVerdict::Held => "checked: holds".into(),
            StepVerdict::NotHeld => "checked: does not hold".into(),
            StepVerdict::Broke | StepVerdict::Cancelled => "checked: could not be told".into(),
        },
        Action::WillCheck => "will check".into(),
        Action::WillChange => "will change".into(),
        Action::WillWaitForAPerson => "will wait for a person".into(),
        Action::Skipped(why) => format!("skipped ({why})"),
        Action::UnknownUntil(step) => format!("unknown until {step}"),
        Action::NotReached => "not reached".into(),
    }
}

fn values(with: &Value) -> String {
    let Some(fields) = with.as_object() else { return String::new() };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().map(|(name, value)| format!("{name}: {}", text(value))).collect::<Vec<_>>().join(", ")
}

fn next(items: &[Item], out: Option<&Path>) -> String {
    let changes = items.iter().filter(|item| matches!(item.action, Action::WillChange)).count();
    let kept = out.map(|path| format!("; kept in {}, for `run --plan`", path.display())).unwrap_or_default();
    let steps = plural(items.len() as u64, "step");
    format!("nothing was changed; a run would change something in {changes} of {steps}{kept}")
}
