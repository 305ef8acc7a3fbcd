//! `test`: runs tests of runbooks, each on two sites of its own, and reports on all of them.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    path::Path,
    sync::Arc,
};

use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use super::{
    Refusal, bind,
    load::Loaded,
    print, print_json,
    run::{self, Beginning},
    sandbox, terminal,
};
use crate::{
    cli::{self, Go},
    clock::{Clock, seconds_between},
    engine::{Answers, StopSignal},
    event::{Answer, How, Question, Signal, Verdict},
    human::plural,
    journal::JOURNAL,
    runs::{Place, Runs},
    steps,
    testing::{self, Fate, Invalid, Outcome, Report, Test, TestFile, UnderTest},
    verdict::Exit,
};

/// Runs of tests are kept apart from the runs of people: `latest` never means one of them.
const TESTS: &str = "tests";

pub(super) async fn test(runs: &Runs, args: &cli::Test, json: bool) -> Result<Exit, Refusal> {
    let files = match read(&args.files)? {
        Ok(files) => files,
        Err(invalid) if json => {
            let problems = invalid.iter().flat_map(|file| file.to_json().as_array().cloned().unwrap_or_default());
            print_json(&problems.collect::<Vec<_>>());
            return Ok(Exit::Refused);
        }
        Err(invalid) => return Err(sandbox::refuse(&invalid)),
    };
    let cases = chosen(&files, &args.filters)?;
    if args.list {
        list(&cases, json);
        return Ok(Exit::Held);
    }
    if let Some(path) = &args.junit {
        // Found out before an hour of tests.
        write(path, "")?;
    }
    let stop = StopSignal::default();
    run::listen(&stop)?;
    let runs = Runs::new(runs.root().join(TESTS));
    let clock = Clock::Wall;
    let began = clock.now();
    let outcomes = run_all(&runs, cases, args, json, &stop).await;
    runs.tidy();
    let report = Report { outcomes, seconds: seconds_between(began, clock.now()) };
    if let Some(path) = &args.junit {
        let (_, host) = terminal::who_and_where();
        write(path, &testing::junit(&report, &began.strftime("%Y-%m-%dT%H:%M:%S").to_string(), &host))?;
    }
    if json {
        print_json(&report.to_json());
    } else {
        print(&report.summary());
    }
    Ok(match stop.sent() {
        Some(Signal::Interrupt) => Exit::Interrupted,
        Some(Signal::Terminate) => Exit::Terminated,
        Some(Signal::HangUp) => Exit::HungUp,
        None if report.count("failed") > 0 => Exit::NotHeld,
        None if report.count("broke") > 0 => Exit::Broke,
        None => Exit::Held,
    })
}

/// The files, or all that have problems.
fn read(named: &[std::path::PathBuf]) -> Result<Result<Vec<TestFile>, Vec<Invalid>>, Refusal> {
    let paths = testing::files(named).map_err(Refusal::refused)?;
    let (mut files, mut invalid) = (Vec::new(), Vec::<Invalid>::new());
    for path in paths {
        match testing::load(&path, steps::ALL) {
            Ok(file) => files.push(file),
            // Several files may name one runbook.
            Err(some) => {
                for file in some {
                    if invalid.iter().all(|known| known.name != file.name) {
                        invalid.push(file);
                    }
                }
            }
        }
    }
    Ok(if invalid.is_empty() { Ok(files) } else { Err(invalid) })
}

/// A test that is to be run.
struct Case {
    file: String,
    runbook: Arc<UnderTest>,
    test: Test,
}

fn chosen(files: &[TestFile], filters: &[String]) -> Result<Vec<Case>, Refusal> {
    let all = files.iter().flat_map(|file| {
        let case = |test: &Test| Case {
            file: file.path.display().to_string(),
            runbook: Arc::clone(&file.runbook),
            test: test.clone(),
        };
        file.tests.iter().map(case)
    });
    let fits = |case: &Case, filter: &String| case.test.name.contains(filter) || case.file.contains(filter);
    let cases: Vec<Case> =
        all.filter(|case| filters.is_empty() || filters.iter().any(|filter| fits(case, filter))).collect();
    if cases.is_empty() {
        let filters = filters.join("` or `");
        return Err(Refusal::refused(format!(
            "no test has `{filters}` in its name or file: `firedrill test --list` shows them"
        )));
    }
    Ok(cases)
}

fn list(cases: &[Case], json: bool) {
    if json {
        let one = |case: &Case| {
            serde_json::json!({
                "file": case.file, "line": case.test.line, "name": case.test.name,
                "runbook": case.runbook.runbook.name, "scenario": case.test.scenario.scenario,
            })
        };
        print_json(&cases.iter().map(one).collect::<Vec<_>>());
        return;
    }
    let lines = cases.iter().map(|case| format!("{}: {}\n", case.file, case.test.name));
    print(&format!("{}{}", lines.collect::<String>(), plural(cases.len() as u64, "test")));
}

fn write(path: &Path, text: &str) -> Result<(), Refusal> {
    fs::write(path, text).map_err(|e| Refusal::refused(format!("{}: cannot be written: {e}", path.display())))
}

/// Runs the tests, so many side by side, and says of each how it ended; the outcomes are in the order of the files.
async fn run_all(runs: &Runs, cases: Vec<Case>, args: &cli::Test, json: bool, stop: &StopSignal) -> Vec<Outcome> {
    let cpus = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let jobs = args.jobs.map_or_else(cpus, std::num::NonZeroUsize::get);
    let mut waiting: VecDeque<(usize, Case)> = cases.into_iter().enumerate().collect();
    let mut under_way = JoinSet::new();
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut halted = false;
    loop {
        while under_way.len() < jobs && !halted && stop.sent().is_none() {
            let Some((at, case)) = waiting.pop_front() else { break };
            let (runs, stop) = (runs.clone(), stop.clone());
            under_way.spawn(async move { (at, one(&runs, case, stop).await) });
        }
        let Some(ended) = under_way.join_next().await else { break };
        let (at, outcome) = match ended {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        halted |= args.fail_fast && !outcome.is_good();
        if !json {
            print(&testing::line(&outcome));
        }
        outcomes.insert(at, outcome);
    }
    outcomes.extend(waiting.into_iter().map(|(at, case)| (at, outcome(&case, Fate::NotRun))));
    outcomes.into_values().collect()
}

fn outcome(case: &Case, fate: Fate) -> Outcome {
    Outcome {
        file: case.file.clone(),
        line: case.test.line,
        name: case.test.name.clone(),
        runbook: case.runbook.runbook.name.clone(),
        scenario: case.test.scenario.scenario.clone(),
        seconds: 0.0,
        fate,
        journal: None,
    }
}

/// Runs one test. Its run is kept when something is wrong.
async fn one(runs: &Runs, case: Case, stop: StopSignal) -> Outcome {
    let clock = Clock::Wall;
    let began = clock.now();
    let mut run = None;
    let fate = match run_of(runs, &case, &stop, &mut run).await {
        Ok(fate) => fate,
        Err(refusal) => Fate::Broke(refusal.text),
    };
    let mut outcome = outcome(&case, fate);
    outcome.seconds = seconds_between(began, clock.now());
    if let Some(id) = run {
        if outcome.is_good() {
            runs.remove(&id);
        } else {
            outcome.journal = Some(runs.dir(&id).join(JOURNAL).display().to_string());
        }
    }
    outcome
}

async fn run_of(runs: &Runs, case: &Case, stop: &StopSignal, run: &mut Option<String>) -> Result<Fate, Refusal> {
    let (UnderTest { runbook, text, .. }, test) = (&*case.runbook, &case.test);
    let pair = sandbox::start(test.scenario.clone()).await?;
    let roles = runbook.roles.iter().map(|(role, _)| (role.clone(), role.to_string()));
    let found = sandbox::wires(&pair, &roles.collect())?;
    let bound = bind::bound(runbook, test.inputs.clone(), test.accept.clone(), found).await?;
    let loaded = Loaded { runbook: runbook.clone(), text: text.clone(), beside: ".".into(), warnings: None };
    let go = Go { confirm_target: Some(sandbox::TARGET.into()), ..run::no_go(cli::Keep::default()) };
    let beginning = Beginning { id: None, lease: None, plan: None, observers: Vec::new() };
    let mut under_way = run::start(&Place::Folder(runs.clone()), loaded, bound, &go, beginning).await?;
    *run = Some(under_way.log.state(|state| state.started.run.clone()));
    under_way.answers = Arc::new(Beforehand(test.answers.clone()));
    let ended = under_way.run_through(stop.clone()).await;
    // The sites are gone with the test, whether the run has ended or waits.
    under_way.claims.release();
    ended?;
    let ended = under_way.log.state(|state| testing::judge(test, state));
    let ended = ended.shown(|text| under_way.bound.masker.text(text).into_owned());
    if ended.mismatches.is_empty() {
        Ok(Fate::Passed(ended))
    } else if stop.sent().is_some() && ended.verdict == Verdict::Cancelled {
        Ok(Fate::NotRun)
    } else {
        Ok(Fate::Failed(ended))
    }
}

/// The answers that a test gives; to all other questions nobody answers.
struct Beforehand(BTreeMap<String, bool>);

impl Answers for Beforehand {
    fn answer<'a>(&'a self, step: &'a str, question: &'a Question) -> BoxFuture<'a, Option<Answer>> {
        let answer = self.0.get(step).map(|yes| Answer {
            yes: *yes,
            by: question.who.first().cloned().unwrap_or_else(|| "the test".into()),
            how: How::Flag,
            comment: None,
        });
        Box::pin(std::future::ready(answer))
    }
}
