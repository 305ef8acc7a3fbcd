//! The reference of the step kinds, as Markdown: what the doc comments of parameters and outputs say.

use std::fmt;

use serde_json::Value;

use super::effect;
use crate::{check::shape::Shape, event::Effect, runbook::keys, step::Kind, types::Period};

/// How deep the fields of a field are listed.
const DEPTH: usize = 4;

/// Columns of a line of the overview.
const WIDTH: usize = 120;

/// The reference of the envelope's keys and of all kinds.
pub fn reference(kinds: &[Kind]) -> String {
    let mut out =
        String::from("# Runbooks\n\n<!-- Generated from the source: `UPDATE=1 cargo test --test it schema`. -->\n");
    for (title, keys) in [
        ("Keys of a runbook", keys::RUNBOOK),
        ("Keys of an input", keys::INPUT),
        ("Keys of a role", keys::ROLE),
        ("Keys of `objectives`", keys::OBJECTIVES),
        ("Keys of every step", keys::STEP),
        ("Keys of `retry`", keys::RETRY),
        ("Keys of `until`", keys::UNTIL),
    ] {
        line(&mut out, format_args!("\n## {title}\n\n| key | meaning |\n| --- | --- |\n"));
        for key in keys {
            let required = if key.required { " (required)" } else { "" };
            line(&mut out, format_args!("| `{}` | {}{required} |\n", key.name, cell(key.about)));
        }
    }
    out += "\n# Step kinds\n\n| kind | effect | |\n| --- | --- | --- |\n";
    for kind in kinds {
        let effect = effect(kind.effect).to_lowercase();
        line(&mut out, format_args!("| `{}` | {effect} | {} |\n", kind.uses, cell(&about(kind))));
    }
    for kind in kinds {
        out.push('\n');
        out += &kind_reference(kind);
    }
    out
}

/// One line a kind, for a terminal; none is longer than [`WIDTH`].
pub fn overview(kinds: &[Kind]) -> String {
    let width = kinds.iter().map(|kind| kind.uses.len()).max().unwrap_or_default();
    let mut out = String::new();
    for kind in kinds {
        let begin = format!("{:<width$}  {:<7}  ", kind.uses, word(kind.effect));
        let about = cut(&about(kind), WIDTH.saturating_sub(begin.chars().count()));
        line(&mut out, format_args!("{begin}{about}\n"));
    }
    out
}

fn word(effect: Effect) -> &'static str {
    match effect {
        Effect::Reads => "reads",
        Effect::Changes => "changes",
        Effect::Asks => "asks",
    }
}

/// The first sentence of what a kind does.
fn about(kind: &Kind) -> String {
    let params = (kind.params)().to_value();
    sentence(text(&params, "description"))
}

/// The first sentence of a text, on one line. A dot ends it before a capital letter or the end.
fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let ends = text.match_indices(". ").map(|(at, _)| at + 1);
    let end = ends.into_iter().find(|end| text[*end..].trim_start().starts_with(char::is_uppercase));
    text[..end.unwrap_or(text.len())].to_owned()
}

/// At most so many characters: what is too long ends before a comma, a semicolon, a colon or a word, and says so.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let end = text.char_indices().nth(most.saturating_sub(1)).map_or(text.len(), |(at, _)| at);
    let head = &text[..end];
    let clause = head.rfind([',', ';', ':']).filter(|at| *at * 4 > end * 3);
    let word = clause.or_else(|| head.rfind(' ')).unwrap_or(end);
    format!("{}…", &text[..word])
}

/// The reference of one kind.
pub fn kind_reference(kind: &Kind) -> String {
    let params = (kind.params)().to_value();
    let output = (kind.output)().to_value();
    let mut out =
        format!("## `{}`\n\n{}.\n\n{}\n", kind.uses, effect(kind.effect), text(&params, "description").trim());
    let rows = rows(Shape::root(&params));
    if rows.is_empty() {
        out += "\nIt takes no parameters.\n";
    } else {
        out += "\n### Parameters\n\n| name | type | default | meaning |\n| --- | --- | --- | --- |\n";
        for row in rows {
            let default = if row.required { "required".into() } else { row.default };
            line(&mut out, format_args!("| `{}` | {} | {default} | {} |\n", row.name, row.sort, row.about));
        }
    }
    let rows = self::rows(Shape::root(&output));
    if !rows.is_empty() {
        out += "\n### Output\n\n| field | type | meaning |\n| --- | --- | --- |\n";
        for row in rows {
            line(&mut out, format_args!("| `{}` | {} | {} |\n", row.name, row.sort, row.about));
        }
    }
    out + &format!("\n### Example\n\n```yaml\n{}\n```\n", kind.example.trim())
}

struct Row {
    name: String,
    sort: String,
    required: bool,
    default: String,
    about: String,
}

fn rows(shape: Shape<'_>) -> Vec<Row> {
    let mut all = Vec::new();
    collect(shape, "", DEPTH, &mut all);
    all
}

fn collect(shape: Shape<'_>, prefix: &str, depth: usize, all: &mut Vec<Row>) {
    let shape = shape.resolved();
    let required: Vec<&str> = shape
        .schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (key, schema) in shape.schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let field = shape.at(schema);
        let default = schema.get("default").map(|default| shown(default, field)).unwrap_or_default();
        let about = [text(schema, "description"), text(field.resolved().schema, "description")]
            .into_iter()
            .find(|about| !about.is_empty())
            .unwrap_or_default();
        all.push(Row {
            name: format!("{prefix}{key}"),
            sort: cell(&sort(field)),
            required: required.contains(&key.as_str()),
            default: cell(&default),
            about: cell(about),
        });
        if depth > 1 {
            let (inner, mark) = inner(field);
            collect(inner, &format!("{prefix}{key}{mark}."), depth - 1, all);
        }
    }
}

/// A default as a runbook would write it; nothing when it says nothing.
fn shown(default: &Value, field: Shape<'_>) -> String {
    match default {
        Value::Null => String::new(),
        Value::String(text) if text.is_empty() => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Number(_) if sort(field) == "duration" => match serde_json::from_value::<Period>(default.clone()) {
            Ok(period) => format!("`{period}`"),
            Err(_) => format!("`{default}`"),
        },
        Value::Array(items) if items.is_empty() => String::new(),
        Value::Object(entries) if entries.is_empty() => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => format!("`{default}`"),
    }
}

/// What holds the fields of a field: the entry of a list, the one alternative to nothing.
fn inner(field: Shape<'_>) -> (Shape<'_>, &'static str) {
    let field = only(field);
    match field.key("items") {
        Some(items) => (only(items), "[]"),
        None => (field, ""),
    }
}

/// The alternative that is not null, when there is one only.
fn only(shape: Shape<'_>) -> Shape<'_> {
    let shape = shape.resolved();
    match written(shape).as_slice() {
        [only] => only.resolved(),
        _ => shape,
    }
}

fn written(shape: Shape<'_>) -> Vec<Shape<'_>> {
    shape.alternatives().into_iter().filter(|one| one.schema.get("type").is_none_or(|name| name != "null")).collect()
}

/// The type of a value in a few words.
fn sort(shape: Shape<'_>) -> String {
    match shape.name() {
        Some("Period") => return "duration".into(),
        Some("BucketName") => return "bucket".into(),
        Some("Role") => return "role".into(),
        Some("Moment") => return "time".into(),
        _ => {}
    }
    let shape = shape.resolved();
    let alternatives = written(shape);
    if !alternatives.is_empty() {
        let mut sorts: Vec<String> = alternatives.into_iter().map(sort).collect();
        sorts.dedup();
        return sorts.join(" or ");
    }
    let names = shape.names();
    if !names.is_empty() {
        return format!("`{}`", names.join("` or `"));
    }
    if let Some((name, variant)) = shape.variant().filter(|_| shape.schema.get("required").is_some()) {
        let value = variant.schema.pointer(&format!("/properties/{name}")).map(|schema| sort(shape.at(schema)));
        if let Some(value) = value.filter(|_| shape.schema.get("additionalProperties") == Some(&Value::Bool(false))) {
            return format!("`{{{name}: …}}` with {value}");
        }
    }
    if let Some(items) = shape.key("items") {
        return format!("list of {}", sort(items));
    }
    if let Some(values) = shape.key("additionalProperties").filter(|values| values.schema.is_object()) {
        return format!("mapping to {}", sort(values));
    }
    let types = shape.types();
    let words: Vec<&str> = types
        .iter()
        .filter(|name| **name != "null")
        .map(|name| match *name {
            "string" => "text",
            "array" => "list",
            "object" => "mapping",
            other => other,
        })
        .collect();
    if words.is_empty() { "any".into() } else { words.join(" or ") }
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn line(out: &mut String, line: fmt::Arguments<'_>) {
    out.push_str(&line.to_string());
}

/// Text as one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_a_reader_pauses() {
        assert_eq!(sentence("Waits, e.g. for a\njob. Then ends."), "Waits, e.g. for a job.");
        assert_eq!(sentence("No dot"), "No dot");
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("starts jobs, watches", 15), "starts jobs…");
        assert_eq!(cut("a, watches what it does", 20), "a, watches what it…");
        assert!(cut("ünbröken-wörd", 5).chars().count() <= 5);
    }
}
