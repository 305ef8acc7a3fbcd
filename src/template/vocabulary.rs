//! The filters and tests that expressions name, looked up before anything runs.

use std::ops::Range;

use minijinja::Environment;

use super::inside;
use crate::problem::{Problem, Span, did_you_mean};

/// The parts of a template between its braces.
pub(super) fn code(text: &str) -> impl Iterator<Item = Range<usize>> {
    text.match_indices("{{").chain(text.match_indices("{%")).map(|(open, _)| {
        let rest = &text[open + 2..];
        let close = rest.find("}}").into_iter().chain(rest.find("%}")).min().unwrap_or(rest.len());
        open + 2..open + 2 + close
    })
}

/// Filters (`| name`) and tests (`is name`) are looked up only when they run, so they are looked up here.
pub(super) fn vocabulary(
    environment: &Environment<'_>,
    text: &str,
    code: Range<usize>,
    span: Span,
) -> Result<(), Problem> {
    let words = words(&text[code.clone()]);
    for (at, (start, word)) in words.iter().enumerate() {
        let (sort, help) = match words[..at] {
            [.., (_, "|")] => ("filter", FILTERS),
            [.., (_, "is"), (_, "not")] | [.., (_, "is")] if *word != "not" => ("test", TESTS),
            _ => continue,
        };
        let known =
            environment.compile_expression_owned(format!("'{word}' is {sort}")).and_then(|known| known.eval(()));
        if word.starts_with(char::is_alphabetic) && !known.is_ok_and(|known| known.is_true()) {
            let start = code.start + start;
            return Err(Problem::error(
                inside(span, text, start, start + word.len()),
                format!("there is no {sort} `{word}`"),
            )
            .help(
                did_you_mean(word, help.iter().copied()).unwrap_or_else(|| format!("such as `{}`", help.join("`, `"))),
            ));
        }
    }
    Ok(())
}

/// Those worth naming in a remedy.
const FILTERS: &[&str] = &["bytes", "duration", "count", "default", "tojson", "length", "join"];
const TESTS: &[&str] = &["defined", "none", "odd", "even", "string", "number", "startingwith", "endingwith"];

/// Words and signs with their places, without what stands in quotes.
fn words(text: &str) -> Vec<(usize, &str)> {
    let mut words: Vec<(usize, &str)> = Vec::new();
    let mut quote = None;
    let mut in_word = false;
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) => {
                if c == open {
                    quote = None;
                }
                in_word = false;
                continue;
            }
            None if c == '\'' || c == '"' => quote = Some(c),
            None => {}
        }
        let part = c.is_alphanumeric() || c == '_';
        match words.last_mut() {
            Some((start, word)) if in_word && part => *word = &text[*start..at + c.len_utf8()],
            _ if !c.is_whitespace() => words.push((at, &text[at..at + c.len_utf8()])),
            _ => {}
        }
        in_word = part;
    }
    words
}
