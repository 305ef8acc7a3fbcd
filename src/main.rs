//! Parses the command line, sets up the developers' log, and maps the outcome to the exit code.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use clap::Parser;
use firedrill::{
    cli::{Cli, LogFormat},
    commands,
    verdict::Exit,
};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

fn main() -> ExitCode {
    let cli = Cli::parse();
    log(cli.global.log, cli.global.log_format);
    let exit = match start(cli) {
        Ok(exit) => exit,
        Err(error) => {
            let refusal = error.downcast_ref::<commands::Refusal>();
            // Whether anybody can read it changes nothing of how it ended.
            let _ = match refusal {
                // Problems of a file come with a heading of their own.
                Some(refusal) if refusal.text.starts_with("error") => writeln!(anstream::stderr(), "{refusal}"),
                Some(_) | None => writeln!(anstream::stderr(), "firedrill: {error:#}"),
            };
            refusal.map_or(Exit::Defect, |refusal| refusal.exit)
        }
    };
    ExitCode::from(exit.code())
}

fn start(cli: Cli) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime cannot start")?;
    let ended = runtime.block_on(commands::execute(cli));
    // A thread may still wait at the terminal for a line that nobody needs any more.
    runtime.shutdown_background();
    Ok(ended?)
}

/// For developers, on stderr: `FIREDRILL_LOG=debug`. Only our own events: libraries would log signed headers.
fn log(level: LevelFilter, format: LogFormat) {
    let filter = EnvFilter::new(format!("off,firedrill={level}"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // It would say on stderr that stderr is closed, and panic over it.
        .log_internal_errors(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
