//! Reports for people, from templates: Markdown for a job's page or a ticket, and one HTML file for an auditor.

use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;
use serde_json::Value;

use super::{
    chart::{Bar, Curve, bars, curves},
    facts::{Report, Step},
};
use crate::{event::Verdict, human, verdict::Exit};

const HTML: &str = include_str!("templates/report.html");
const STYLE: &str = include_str!("templates/report.css");
/// The one template whose values are not escaped as HTML, but each for its cell.
const MARKDOWN_NAME: &str = "report.md";
const MARKDOWN: &str = include_str!("templates/report.md");

/// What the templates see besides the report itself.
#[derive(Serialize)]
struct Document<'a> {
    report: &'a Report,
    /// In capitals, as the console says it.
    headline: &'static str,
    /// `good`, `bad`, `warn` or `open`: a class of the style sheet, never the only sign.
    tone: &'static str,
    meaning: &'static str,
    /// A recovery time means something.
    recovered: bool,
    steps: Vec<&'a Step>,
    /// Steps that did not hold, and whose failure only warns.
    warnings: usize,
    checks: Vec<Checks<'a>>,
    comparisons: Vec<Comparison<'a>>,
    bars: Vec<Bar>,
    curves: Vec<Curve>,
    /// What to do next, as commands.
    next: &'a [String],
    style: &'static str,
}

/// The checks of one step.
#[derive(Serialize)]
struct Checks<'a> {
    step: &'a str,
    rows: &'a [Value],
    passed: usize,
}

/// What a step that compares came to.
#[derive(Serialize)]
struct Comparison<'a> {
    step: &'a str,
    state: &'static str,
    warn_only: bool,
    counts: &'a Value,
}

/// The report as one HTML file that needs nothing else: no script, no font, no picture from elsewhere.
pub fn html(report: &Report, next: &[String]) -> Result<String, minijinja::Error> {
    render("report.html", HTML, &Document::new(report, next))
}

/// The report as Markdown, as GitHub, GitLab and most trackers read it.
pub fn markdown(report: &Report, next: &[String]) -> Result<String, minijinja::Error> {
    render(MARKDOWN_NAME, MARKDOWN, &Document::new(report, next))
}

impl<'a> Document<'a> {
    fn new(report: &'a Report, next: &'a [String]) -> Self {
        let (headline, tone) = headline(report);
        let exit = Exit::ALL.into_iter().find(|exit| exit.code() == report.exit);
        Self {
            report,
            headline,
            tone,
            meaning: exit.map_or("", Exit::meaning),
            recovered: report.ended && matches!(report.verdict, Verdict::Held | Verdict::Late),
            steps: report.steps.iter().collect(),
            warnings: report.steps.iter().filter(|step| step.warn_only && !step.findings.is_empty()).count(),
            checks: report.steps.iter().filter_map(checks).collect(),
            comparisons: report.steps.iter().filter_map(comparison).collect(),
            bars: bars(report),
            curves: curves(report),
            next,
            style: STYLE,
        }
    }
}

fn headline(report: &Report) -> (&'static str, &'static str) {
    match report.verdict {
        Verdict::Waiting => ("WAITING", "open"),
        Verdict::Cancelled => ("CANCELLED", "warn"),
        _ if !report.ended => ("NOT ENDED", "open"),
        Verdict::Held => ("HELD", "good"),
        Verdict::NotHeld => ("NOT HELD", "bad"),
        Verdict::Broke => ("BROKE", "bad"),
        Verdict::Late => ("LATE", "warn"),
    }
}

/// Any step whose output has a list of checks shows them.
fn checks(step: &Step) -> Option<Checks<'_>> {
    let rows = step.output.as_ref()?.get("checks")?.as_array()?;
    let passed = rows.iter().filter(|row| row["verdict"] == "pass").count();
    Some(Checks { step: &step.id, rows, passed })
}

/// A comparison is an output with all its classes, or has one inside.
fn comparison(step: &Step) -> Option<Comparison<'_>> {
    let output = step.output.as_ref()?;
    let is_one =
        |value: &&Value| ["same", "missing", "extra", "different", "examples"].iter().all(|k| value.get(k).is_some());
    let counts = Some(output).filter(is_one).or_else(|| output.get("comparison").filter(is_one))?;
    Some(Comparison { step: &step.id, state: step.state, warn_only: step.warn_only, counts })
}

fn render(name: &str, template: &str, document: &Document<'_>) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?;
    environment.set_syntax(syntax);
    // What went wrong would come with all that the template knew.
    environment.set_debug(false);
    environment
        .set_auto_escape_callback(|name| if name == MARKDOWN_NAME { AutoEscape::None } else { AutoEscape::Html });
    environment.add_filter("duration", human::duration);
    environment.add_filter("count", human::count);
    environment.add_filter("size", human::bytes);
    environment.add_filter("moment", |time: &str| moment(time));
    environment.add_filter("words", |word: &str| word.replace('_', " "));
    environment.add_filter("plain", plain);
    environment.add_filter("cell", |text: String| cell(&text));
    environment.add_filter("sign", sign);
    environment.add_filter("bounded", |text: String| bounded(&text));
    environment.add_filter("prose", |text: String| minijinja::Value::from_safe_string(prose(&text)));
    environment.render_named_str(name, template, Serde(document))
}

/// `2026-11-24 00:16:44 UTC`.
fn moment(time: &str) -> String {
    let whole = time.split_once('.').map_or(time.trim_end_matches('Z'), |(whole, _)| whole);
    format!("{} UTC", whole.replacen('T', " ", 1))
}

/// A value of any type as people read it.
fn plain(value: &minijinja::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Text for a cell of a Markdown table: nothing in it may end the cell, or turn into markup or HTML. Names between
/// backticks stay code.
fn cell(text: &str) -> String {
    let text = bounded(text);
    let pairs = text.matches('`').count().is_multiple_of(2) && !text.contains("``");
    let mut safe = String::with_capacity(text.len());
    let mut code = false;
    for c in text.chars() {
        match c {
            c if c.is_control() => safe.push(' '),
            '`' if pairs => {
                code = !code;
                safe.push(c);
            }
            '|' => safe.push_str("\\|"),
            _ if code => safe.push(c),
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '`' | '\\' | '*' | '_' | '[' | ']' | '#' | '~' | '!' => {
                safe.push('\\');
                safe.push(c);
            }
            // A mention would notify strangers.
            '@' => safe.push_str("@\u{200b}"),
            _ => safe.push(c),
        }
    }
    safe
}

/// Text for HTML, escaped; names between backticks become code.
fn prose(text: &str) -> String {
    let text = bounded(text);
    let mut safe = String::with_capacity(text.len());
    let mut parts = text.split('`').map(|part| HtmlEscape(part).to_string()).peekable();
    let mut code = false;
    while let Some(part) = parts.next() {
        // The last backtick of an odd number stands for itself.
        let closes = code && parts.peek().is_some();
        match (code, closes) {
            (false, _) => safe.push_str(&part),
            (true, true) => safe.push_str(&format!("<code>{part}</code>")),
            (true, false) => safe.push_str(&format!("`{part}")),
        }
        code = !code;
    }
    safe
}

/// Long text is cut: the journal has it whole.
fn bounded(text: &str) -> String {
    const LIMIT: usize = 500;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The sign of a state, as the console shows it.
fn sign(state: &str) -> &'static str {
    match state {
        "held" | "pass" | "done" => "✓",
        "skipped" | "not_reached" => "–",
        "running" | "open" | "unknown" => "?",
        "warn" => "!",
        _ => "✗",
    }
}
