//! What an operator sees while a run runs: one line a step, live progress on a terminal, plain lines elsewhere.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::{
    event::{
        Effect, Event, Finding, How, Line, Observer, Outcome, Progress, RunStarted, RunbookKind, StepEnded,
        StepStarted, StepVerdict, Stop,
    },
    human::{bytes, count, duration, plural},
    replay::RunState,
};

#[cfg(test)]
mod tests;

/// Prints a run as it happens. A closed pipe is no reason to stop a recovery: what cannot be written is dropped.
pub struct Console {
    inner: Mutex<Inner>,
}

struct Inner {
    out: Box<dyn Write + Send>,
    bar: Option<ProgressBar>,
    live: bool,
    width: usize,
    begun: BTreeMap<String, StepStarted>,
    warn_only: Vec<String>,
    /// A table of checks was shown whole: later ones show what has not passed.
    checks_shown: bool,
}

const GREEN: Style = AnsiColor::Green.on_default();
const RED: Style = AnsiColor::Red.on_default();
const YELLOW: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

impl Console {
    /// On stdout; live progress when stdout and stderr are terminals.
    pub fn stdout() -> Self {
        let live = std::io::stdout().is_terminal() && std::io::stderr().is_terminal();
        Self::new(Box::new(anstream::AutoStream::auto(std::io::stdout())), live)
    }

    /// On a writer, without live progress when `live` is false.
    pub fn new(out: Box<dyn Write + Send>, live: bool) -> Self {
        let (begun, warn_only) = (BTreeMap::new(), Vec::new());
        let inner = Inner { out, bar: None, live, width: 14, begun, warn_only, checks_shown: false };
        Self { inner: Mutex::new(inner) }
    }

    /// Shows what a run that is resumed works on.
    pub fn begin(&self, state: &RunState) {
        self.lock().header(&state.started);
    }

    /// Prints text between the lines of a run.
    pub fn say(&self, text: &str) {
        let mut inner = self.lock();
        inner.stop_bar();
        inner.print(text);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Console {
    fn line(&self, line: &Line) {
        self.lock().event(&line.path, &line.event);
    }

    fn progress(&self, path: &str, progress: &Progress) {
        let inner = self.lock();
        if let Some(bar) = &inner.bar {
            bar.set_message(format!("{path}  {}", describe(progress)));
        }
    }
}

impl Inner {
    fn print(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }

    fn event(&mut self, id: &str, event: &Event) {
        match event {
            Event::RunStarted(started) => self.header(started),
            Event::RunResumed { user, host, .. } => {
                self.print(&format!("{DIM}resumed by {user} on {host}{DIM:#}\n"));
            }
            Event::StepStarted(begun) => {
                self.begun.insert(id.to_owned(), (**begun).clone());
                self.start_bar(id, &begun.title);
            }
            Event::StepSkipped { why } => {
                let line = format!("{DIM}-{DIM:#} {id:<width$}        skipped: {why}\n", width = self.width);
                self.print(&line);
            }
            Event::Intent(_) => {}
            Event::Receipt { key, outcome, .. } => self.receipt(key, outcome),
            Event::Asked { question, .. } => {
                self.stop_bar();
                self.print(&format!("{YELLOW}?{YELLOW:#} {id:<width$} {}\n", question.prompt, width = self.width));
            }
            Event::Answered { answer, .. } => {
                let how = match answer.how {
                    How::Terminal => "at the terminal",
                    How::Flag => "by --yes",
                    How::Approve => "by approve",
                    How::Deadline => "because the deadline passed",
                };
                let word = if answer.yes { "yes" } else { "no" };
                let comment = answer.comment.as_ref().map(|c| format!(": {c}")).unwrap_or_default();
                self.detail(&format!("answered {word}, {} {how}{comment}", answer.by));
            }
            Event::Progress { progress } => {
                if self.bar.is_none() {
                    self.detail(&format!("{id}: {}", describe(progress)));
                }
            }
            Event::AttemptFailed { attempt, failure, again_in_seconds } => {
                let wait = duration(*again_in_seconds);
                self.detail(&format!("attempt {attempt} failed: {}; again in {wait}", failure.what));
            }
            Event::Artifact { name, bytes: size, .. } => self.detail(&format!("wrote {name} ({})", bytes(*size))),
            Event::StepEnded(end) => self.ended(id, end),
            Event::Finishing { why } => {
                self.stop_bar();
                if let Stop::Signal(_) = why {
                    self.print("stopping: `finally` still runs; the same signal again stops at once\n");
                }
            }
            Event::Interrupted { .. } => {
                self.stop_bar();
                self.print("stopped at once\n");
            }
            Event::RunEnded { .. } => self.stop_bar(),
        }
    }

    fn header(&mut self, run: &RunStarted) {
        let ids = run.steps.iter().chain(&run.finally);
        self.width = ids.map(|id| id.chars().count()).max().unwrap_or(0).clamp(8, 28);
        self.warn_only.clone_from(&run.warn_only);
        let kind = match run.kind {
            RunbookKind::Recovery => "recovery",
            RunbookKind::Verify => "verify, changes nothing",
            RunbookKind::Drill => "drill, changes only scratch",
        };
        self.print(&format!("{BOLD}{}{BOLD:#} ({kind})  run {}\n", run.runbook, run.run));
        if let (Some(source), Some(target)) = (run.sites.get("source"), run.sites.get("target")) {
            let (kept, rebuilt) = match run.kind {
                RunbookKind::Recovery => (" (kept)", " (rebuilt)"),
                RunbookKind::Verify | RunbookKind::Drill => ("", ""),
            };
            let (source, target) = (&source.alias, &target.alias);
            self.print(&format!("  {BOLD}{source}{BOLD:#}{kept} → {BOLD}{target}{BOLD:#}{rebuilt}\n"));
        }
        for (role, site) in &run.sites {
            let state = match (&site.unreachable, &site.deployment_id) {
                (Some(why), _) => format!("{RED}unreachable{RED:#}: {why}"),
                (None, Some(id)) => format!("deployment {id}"),
                (None, None) => "deployment unknown".into(),
            };
            self.print(&format!("  {role:<8} {} {}  {DIM}{state}{DIM:#}\n", site.alias, site.endpoint));
        }
        let inputs: Vec<String> = run.inputs.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        if !inputs.is_empty() {
            self.print(&format!("  {DIM}inputs   {}{DIM:#}\n", inputs.join(", ")));
        }
    }

    fn receipt(&mut self, key: &str, outcome: &Outcome) {
        let text = match outcome {
            Outcome::Done(_) => format!("changed: {key}"),
            Outcome::Refused(failure) => format!("refused: {key}: {}", failure.what),
            Outcome::NotDone(why) => format!("not done: {key}: {why}"),
        };
        self.detail(&text);
    }

    fn ended(&mut self, id: &str, end: &StepEnded) {
        self.stop_bar();
        let warning = self.warn_only.iter().any(|w| w == id);
        let (style, mark) = match end.verdict {
            StepVerdict::Held => (GREEN, "✓"),
            StepVerdict::NotHeld | StepVerdict::Broke if warning => (YELLOW, "!"),
            StepVerdict::NotHeld => (RED, "✗"),
            StepVerdict::Broke => (RED, "‼"),
            StepVerdict::Cancelled => (YELLOW, "■"),
        };
        let title = self.begun.get(id).map(|begun| begun.title.clone()).unwrap_or_default();
        let (width, time) = (self.width, duration(end.seconds));
        self.print(&format!("{style}{mark}{style:#} {id:<width$} {time:>7}  {title}\n"));
        if let Some(failure) = &end.failure {
            self.detail(&format!("{style}{}{style:#}", failure.what));
        }
        let changes = self.begun.get(id).is_some_and(|begun| begun.effect == Effect::Changes);
        if let Some(output) = &end.output {
            let whole = !self.checks_shown;
            self.checks_shown |= output.get("checks").is_some();
            for line in highlights(output, changes, whole) {
                self.detail(&line);
            }
        }
        for finding in &end.findings {
            self.finding(finding, style);
        }
    }

    fn finding(&mut self, finding: &Finding, style: Style) {
        self.detail(&format!("{style}{}{style:#}: {}", finding.id, finding.text));
        if let Some(remedy) = &finding.remedy {
            self.detail(&format!("  {DIM}remedy:{DIM:#} {remedy}"));
        }
    }

    /// A line that belongs to the step above or below it.
    fn detail(&mut self, text: &str) {
        let text = format!("    {text}\n");
        match &self.bar {
            Some(bar) => {
                let bar = bar.clone();
                bar.suspend(|| self.print(&text));
            }
            None => self.print(&text),
        }
    }

    fn start_bar(&mut self, id: &str, title: &str) {
        self.stop_bar();
        if !self.live {
            return;
        }
        let bar = ProgressBar::new_spinner().with_message(format!("{id}  {title}"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        self.bar = Some(bar);
    }

    fn stop_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// `Ongoing, 1,200 of 5,000 versions, 12.0 MiB, 210/s, ETA 18s, 3 failed, target offline, quiet for 40s`.
pub fn describe(progress: &Progress) -> String {
    let mut parts = vec![progress.what.clone()];
    match (progress.done, progress.total) {
        (Some(done), Some(total)) => parts.push(format!("{} of {}", count(done), plural(total, "version"))),
        (Some(done), None) => parts.push(plural(done, "version")),
        (None, Some(total)) => parts.push(format!("of {}", plural(total, "version"))),
        (None, None) => {}
    }
    match (progress.bytes, progress.total_bytes) {
        (Some(done), Some(total)) => parts.push(format!("{} of {}", bytes(done), bytes(total))),
        (Some(done), None) => parts.push(bytes(done)),
        (None, _) => {}
    }
    if let Some(rate) = progress.rate.filter(|rate| *rate > 0.0) {
        parts.push(format!("{rate:.0}/s"));
    }
    if let Some(eta) = progress.eta_seconds {
        parts.push(format!("ETA {}", duration(eta)));
    }
    if let Some(failed) = progress.failed.filter(|failed| *failed > 0) {
        parts.push(format!("{} failed", count(failed)));
    }
    if progress.target_online == Some(false) {
        parts.push("target offline".into());
    }
    if let Some(quiet) = progress.quiet_seconds.filter(|quiet| *quiet >= 30.0) {
        parts.push(format!("quiet for {}", duration(quiet)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

/// What of the output of a comparison an operator wants to see: one line of counts, and one for each example.
pub fn comparison(output: &Value) -> Vec<String> {
    highlights(output, false, true)
}

/// What of an output an operator wants to see, by its shape: a table of checks, counts of differences. Unless `whole`,
/// the checks that passed are only counted.
fn highlights(output: &Value, changes: bool, whole: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(checks) = output.get("checks").and_then(Value::as_array) {
        lines.extend(checks.iter().filter(|check| whole || verdict(check) != "pass").map(check_row));
        if !whole {
            lines.push(check_counts(checks));
        }
    }
    let classes: Vec<String> = ["missing", "extra", "different", "pending", "out_of_scope", "left_out"]
        .iter()
        .filter_map(|class| Some((class, output.get(*class)?.as_u64()?)))
        .filter(|(_, n)| *n > 0)
        .map(|(class, n)| format!("{} {}", count(n), class.replace('_', " ")))
        .collect();
    if let Some(compared) = output.get("versions").and_then(Value::as_u64) {
        let rest = if classes.is_empty() { "no difference".to_owned() } else { classes.join(", ") };
        lines.push(format!("{} compared: {rest}", plural(compared, "version")));
    }
    let mut examples = Vec::new();
    for list in ["/examples", "/comparison/examples"].into_iter().filter_map(|at| output.pointer(at)?.as_array()) {
        for row in list.iter().map(example_row) {
            if !examples.contains(&row) {
                examples.push(row);
            }
        }
    }
    lines.append(&mut examples);
    if changes {
        for change in output.get("changed").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| change.get(name).map(plain).unwrap_or_default();
            lines.push(format!("{}: {} → {}", text("what"), text("before"), text("after")));
        }
    }
    lines
}

fn verdict(check: &Value) -> &str {
    check.get("verdict").and_then(Value::as_str).unwrap_or_default()
}

/// `30 checks: 27 pass, 3 warn`.
fn check_counts(checks: &[Value]) -> String {
    let counts = ["pass", "warn", "fail", "unknown"].iter().filter_map(|word| {
        let n = checks.iter().filter(|check| verdict(check) == *word).count();
        (n > 0).then(|| format!("{n} {word}"))
    });
    format!("{}: {}", plural(checks.len() as u64, "check"), counts.collect::<Vec<_>>().join(", "))
}

fn check_row(check: &Value) -> String {
    let text = |name: &str| check.get(name).and_then(Value::as_str).unwrap_or_default();
    let style = match verdict(check) {
        "pass" => GREEN,
        "fail" => RED,
        _ => YELLOW,
    };
    let waived = check.get("waived").and_then(Value::as_str).map(|why| format!("  (waived: {why})"));
    format!("{style}{:<8}{style:#}{:<28} {}{}", text("verdict"), text("id"), text("detail"), waived.unwrap_or_default())
}

fn example_row(example: &Value) -> String {
    let text = |name: &str| example.get(name).map(plain).unwrap_or_default();
    // A key may hold what moves a terminal's cursor.
    let key: String = text("key").chars().map(visible).collect();
    format!("{DIM}{:<10}{DIM:#} {key} ({}) {}", text("class"), text("version_id"), text("detail"))
}

/// A character as a terminal may show it.
fn visible(c: char) -> String {
    if c.is_control() { c.escape_default().to_string() } else { c.to_string() }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}
