//! What is wrong in a file a person wrote: place, what, and the way out.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level as Mark, Origin, Renderer, Snippet};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A range of bytes in a file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// How bad a problem is: an error refuses the run, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
}

/// One thing wrong in a file. `what` is a lower-case fragment; `help` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    /// Where it stands; `None` until an outer place is known.
    pub span: Option<Span>,
    pub what: String,
    pub help: Option<String>,
    /// The place holds a secret: it is shown as stars, in the lines of other problems too.
    pub secret: bool,
}

impl Problem {
    /// Something that refuses the run.
    pub fn error(span: impl Into<Option<Span>>, what: impl Into<String>) -> Self {
        Self { level: Level::Error, span: span.into(), what: what.into(), help: None, secret: false }
    }

    /// Something worth saying that refuses nothing.
    pub fn warning(span: impl Into<Option<Span>>, what: impl Into<String>) -> Self {
        Self { level: Level::Warning, ..Self::error(span, what) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do about it, if anything is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Gives it a place, unless it has one.
    #[must_use]
    pub fn or_at(mut self, span: Span) -> Self {
        self.span.get_or_insert(span);
        self
    }

    /// Keeps what stands at the place from being shown.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.secret = true;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.help.iter().try_for_each(|help| write!(f, " ({help})"))
    }
}

impl std::error::Error for Problem {}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// The problems of one file as people read them, in the file's order: each with file, line and column, the line itself
/// and a remedy. Ends with a line feed, or is empty.
pub fn render(name: &str, text: &str, problems: &[Problem], styled: bool) -> String {
    let text = without_secrets(text, problems);
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for problem in in_order(problems) {
        let mark = match problem.level {
            Level::Error => Mark::ERROR,
            Level::Warning => Mark::WARNING,
        };
        let mut group = Group::with_title(mark.primary_title(problem.what.as_str()));
        group = match problem.span {
            Some(span) => group.element(
                Snippet::source(text.as_str())
                    .path(name)
                    .annotation(AnnotationKind::Primary.span(first_line(&text, span))),
            ),
            None => group.element(Origin::path(name)),
        };
        if let Some(help) = &problem.help {
            group = group.element(Mark::HELP.message(help.as_str()));
        }
        out.push_str(&renderer.render(&[group]));
        out.push_str("\n\n");
    }
    out.pop();
    out
}

/// The problems of one file as scripts read them.
pub fn to_json(name: &str, text: &str, problems: &[Problem]) -> Value {
    in_order(problems)
        .into_iter()
        .map(|problem| {
            let place = problem.span.map(|span| line_and_column(text, span.start));
            json!({
                "file": name,
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "level": problem.level.as_str(),
                "what": problem.what,
                "help": problem.help,
            })
        })
        .collect()
}

/// Line and column of a byte, both from 1; columns count characters.
pub fn line_and_column(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..floor(text, at)];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The known name that was probably meant, as help; without one the known names, when they are few.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    let length = name.chars().count();
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()), *known))
        .filter(|(distance, _)| *distance <= if length < 5 { 1 } else { 2.max(length / 3) })
        .min();
    match near {
        Some((_, near)) => Some(format!("did you mean `{near}`?")),
        None if (1..=12).contains(&known.len()) => Some(format!("known here: `{}`", known.join("`, `"))),
        None => None,
    }
}

/// In the file's order; what has no place comes first.
fn in_order(problems: &[Problem]) -> Vec<&Problem> {
    let mut sorted: Vec<&Problem> = problems.iter().collect();
    sorted.sort_by_key(|problem| problem.span.map(|span| span.start));
    sorted
}

/// Stars in place of what must not be shown; everything else keeps its place.
fn without_secrets(text: &str, problems: &[Problem]) -> String {
    let mut shown = text.to_owned();
    for span in problems.iter().filter(|problem| problem.secret).filter_map(|problem| problem.span) {
        let range = floor(text, span.start)..floor(text, span.end);
        let stars: String = text[range.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
        shown.replace_range(range, &stars);
    }
    shown
}

/// The part of a span on its first line: the whole of a long mapping says less than its beginning.
fn first_line(text: &str, span: Span) -> Range<usize> {
    let start = floor(text, span.start);
    let end = floor(text, span.end).max(start);
    let line = &text[start..end];
    start..start + line.find('\n').map_or(line, |newline| &line[..newline]).trim_end().len()
}

fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_the_line_with_a_caret_and_counts_columns_in_characters() {
        let text = "a: 1\nключ: x\n";
        let at = text.find('x').unwrap();
        let problem = Problem::error(Span { start: at, end: at + 1 }, "bad").help("do better");
        let shown = render("a.yaml", text, std::slice::from_ref(&problem), false);
        assert!(shown.contains("error: bad\n --> a.yaml:2:7\n"), "{shown}");
        assert!(shown.contains("2 | ключ: x\n  |       ^\n"), "{shown}");
        assert!(shown.contains("= help: do better\n"), "{shown}");
        assert_eq!(
            to_json("a.yaml", text, &[problem]),
            json!([{"file": "a.yaml", "line": 2, "column": 7, "level": "error", "what": "bad", "help": "do better"}])
        );
    }

    #[test]
    fn a_problem_without_a_place_names_the_file() {
        let shown = render("a.yaml", "", &[Problem::warning(None, "odd")], false);
        assert!(shown.contains("warning: odd") && shown.contains("a.yaml"), "{shown}");
    }

    #[test]
    fn a_secret_is_not_shown_in_the_lines_of_other_problems_either() {
        let text = "{password: hunter22, x: y}";
        let secret = Problem::error(Span { start: 11, end: 19 }, "a literal secret").hidden();
        let other = Problem::error(Span { start: 21, end: 22 }, "unknown key `x`");
        let shown = render("a.yaml", text, &[other, secret], false);
        assert!(!shown.contains("hunter22"), "{shown}");
        assert_eq!(shown.matches("{password: ********, x: y}").count(), 2, "{shown}");
    }

    #[test]
    fn a_place_outside_of_the_text_does_not_panic() {
        let shown = render("a.yaml", "ü", &[Problem::error(Span { start: 1, end: 900 }, "bad")], false);
        assert!(shown.contains("a.yaml:1:1"), "{shown}");
    }

    #[test]
    fn names_the_nearest_or_the_few_there_are() {
        assert_eq!(did_you_mean("bukcet", ["bucket", "arn"]).unwrap(), "did you mean `bucket`?");
        assert_eq!(did_you_mean("id", ["arn"]).unwrap(), "known here: `arn`");
        assert_eq!(
            did_you_mean("replication.preconditoins", ["replication.preconditions"]).unwrap(),
            "did you mean `replication.preconditions`?"
        );
        assert_eq!(did_you_mean("x", []), None);
    }
}
