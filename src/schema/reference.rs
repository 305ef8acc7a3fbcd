//! The reference of the step kinds, as Markdown: what the doc comments of parameters and outputs say.

use std::fmt;

use serde_json::Value;

use super::effect;
use crate::{check::shape::Shape, runbook::keys, step::Kind};

/// How deep the fields of a field are listed.
const DEPTH: usize = 4;

/// The reference of the runbook's own keys and of all kinds.
pub fn reference(kinds: &[Kind]) -> String {
    let mut out = String::from("# Steps\n\n## Keys of every step\n\n| key | meaning |\n| --- | --- |\n");
    for key in keys::STEP {
        let required = if key.required { " (required)" } else { "" };
        line(&mut out, format_args!("| `{}` | {}{required} |\n", key.name, cell(key.about)));
    }
    out += "\n# Step kinds\n\n| kind | effect | |\n| --- | --- | --- |\n";
    for kind in kinds {
        let params = (kind.params)().to_value();
        let about = text(&params, "description").lines().next().unwrap_or_default();
        line(
            &mut out,
            format_args!("| `{}` | {} | {} |\n", kind.uses, effect(kind.effect).to_lowercase(), cell(about)),
        );
    }
    for kind in kinds {
        out.push('\n');
        out += &kind_reference(kind);
    }
    out
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
        let default = match schema.get("default") {
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{default}`"),
        };
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
