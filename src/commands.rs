//! What each command does: wires files, sites, engine and reports together, and says how it ended.

mod answers;
mod audit;
mod bind;
mod compare;
mod edited;
mod embedded;
mod keep;
mod load;
mod look;
mod plan;
mod report;
mod resume;
mod run;
mod run_or_resume;
#[cfg_attr(not(feature = "sandbox"), path = "commands/no_sandbox.rs")]
mod sandbox;
mod sites;
mod terminal;
#[cfg(feature = "sandbox")]
mod test;
mod third;

pub use self::run_or_resume::{NoOutcome, Outcome, Spec, run_or_resume};

use std::{fmt, io::Write, path::Path};

use crate::{
    cli::{Audit, Cli, Command, Lookup, Output},
    failure::Failure,
    runs::NoRun,
    verdict::Exit,
};

/// Why a command ended before, or without, a verdict. The text is for stderr.
#[derive(Debug)]
pub struct Refusal {
    pub exit: Exit,
    pub text: String,
}

impl Refusal {
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
    fn refused(text: impl Into<String>) -> Self {
        Self::new(Exit::Refused, text)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

impl From<NoRun> for Refusal {
    fn from(no: NoRun) -> Self {
        let exit = match &no {
            NoRun::Unknown { .. } | NoRun::Ambiguous { .. } => Exit::Refused,
            NoRun::Live(_) | NoRun::Elsewhere(_) => Exit::Claimed,
            NoRun::Io { .. } | NoRun::Site(_) => Exit::Journal,
        };
        let hint = match &no {
            NoRun::Unknown { .. } => ": `firedrill runs` lists them",
            NoRun::Io { .. } | NoRun::Site(_) => {
                ": the record must be written before anything is changed (`--runs DIR` names another place)"
            }
            NoRun::Elsewhere(_) => "; `firedrill resume RUN --take-over` overtakes it",
            NoRun::Ambiguous { .. } | NoRun::Live(_) => "",
        };
        Self::new(exit, format!("{no}{hint}"))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let exit = match &failure {
            Failure::Call { .. } => Exit::Broke,
            Failure::Waiting(_) => Exit::Waiting,
            Failure::Journal(_) => Exit::Journal,
            Failure::Claimed(_) => Exit::Claimed,
            Failure::Drift(_) => Exit::Refused,
            Failure::Defect(_) => Exit::Defect,
        };
        Self::new(exit, failure.to_string())
    }
}

/// Carries out a command.
pub async fn execute(cli: Cli) -> Result<Exit, Refusal> {
    let Cli { global, command } = cli;
    let runs = |lookup: &Lookup, beside: &Path| third::runs(&global.runs, lookup, beside);
    let here = Path::new(".");
    let json = global.output == Output::Json;
    match command {
        Command::Check { files } => look::check(&files, json),
        Command::Plan { file, bind, out, probe } => plan::plan(&file, &bind, out.as_deref(), probe, json).await,
        Command::Run { file, bind, go, plan } => {
            let runbook = load::file(&file)?;
            let runs = runs(&bind.options.lookup, &runbook.beside)?;
            if let Some(scenario) = &go.sandbox {
                return sandbox::run(&runs, runbook, &bind, &go, scenario, json).await;
            }
            run::run(&runs, runbook, &bind, &go, plan.as_deref(), json).await
        }
        Command::Recover { source, target, options, go } => {
            let runs = runs(&options.lookup, here)?;
            let (source, target) = match (source, target, &go.sandbox) {
                (Some(source), Some(target), None) => (source, target),
                (_, _, scenario) => {
                    let (runbook, bind) = embedded::unbound(&embedded::RECOVER, options)?;
                    let scenario = scenario.as_deref().unwrap_or_default();
                    return sandbox::run(&runs, runbook, &bind, &go, scenario, json).await;
                }
            };
            let (runbook, bind) = embedded::bucket(&embedded::RECOVER, source, target, options)?;
            run::run(&runs, runbook, &bind, &go, None, json).await
        }
        Command::Verify { source, target, options, keep } => {
            let runs = runs(&options.lookup, here)?;
            let (runbook, bind) = embedded::bucket(&embedded::VERIFY, source, target, options)?;
            run::run(&runs, runbook, &bind, &run::no_go(keep), None, json).await
        }
        Command::Compare(what) => match (&what.source, &what.target, &what.sandbox) {
            (Some(source), Some(target), None) => compare::compare(source, target, &what, json).await,
            (Some(place), None, None) => compare::with_file(place, &what, json).await,
            (_, _, scenario) => sandbox::compare(&what, scenario.as_deref().unwrap_or_default(), json).await,
        },
        Command::Test(test) => sandbox::test(&third::folder(&global.runs), &test, json).await,
        Command::Sandbox { list: true, .. } => sandbox::list(json),
        Command::Sandbox { scenario, list: false } => sandbox::stay(&scenario, json).await,
        Command::Resume { run, from, use_edited, go } => {
            let otherwise = resume::Otherwise { from, edited: use_edited };
            resume::resume(&runs(&go.lookup, here)?, &run, &go, otherwise, json).await
        }
        Command::Approve { run, step, no, comment, go } => {
            let runs = runs(&go.lookup, here)?;
            resume::approve(&runs, &run, step.as_deref(), !no, comment, &go, json).await
        }
        Command::Runs { lookup } => look::runs(&runs(&lookup, here)?, json),
        Command::Show { run, lookup } => look::show(&runs(&lookup, here)?, &run, json),
        Command::Report { run, format, out, lookup } => {
            report::report(&runs(&lookup, here)?, &run, format, out.as_deref())
        }
        Command::Audit { command: Audit::Verify { run, head, allowed_signers, lookup } } => {
            let runs = runs(&lookup, here)?;
            let demands = audit::Demands { head, allowed_signers, lookup };
            audit::verify(&runs, &run, &demands, json).await
        }
        Command::Audit { command: Audit::Sign { run, sign_key } } => {
            audit::sign(&third::directory(&global.runs)?, &run, &sign_key, json).await
        }
        Command::Audit { command: Audit::Store { run, evidence, lookup } } => {
            audit::store(&third::directory(&global.runs)?, &run, evidence, &lookup, json).await
        }
        Command::Steps { kind } => look::steps(kind.as_deref(), json),
        Command::Schema { what } => look::schema(what),
        Command::Sites { aliases, lookup } => sites::sites(&aliases, &lookup, json).await,
    }
}

/// Prints to stdout; a reader that has gone away is no error.
fn print(text: &str) {
    let mut out = anstream::AutoStream::auto(std::io::stdout().lock());
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}

fn print_json(value: &impl serde::Serialize) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}
