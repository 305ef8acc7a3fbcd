//! A node as a serde deserializer whose errors have places.

use std::{fmt, slice};

use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
    value::MapAccessDeserializer,
};

use super::{Node, Value};
use crate::problem::{Problem, did_you_mean};

#[derive(Clone, Copy)]
pub(super) struct Decoder<'a>(pub(super) &'a Node);

impl<'de> Deserializer<'de> for Decoder<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let decoded = match &self.0.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(yes) => visitor.visit_bool(*yes),
            Value::Int(n) => visitor.visit_i64(*n),
            Value::Float(x) => visitor.visit_f64(*x),
            Value::Str(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        };
        decoded.map_err(|problem| problem.or_at(self.0.span))
    }

    /// A value that a template gave may fill text; a written one is more likely a mistake.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let text = match &self.0.value {
            Value::Int(n) => n.to_string(),
            Value::Float(x) => x.to_string(),
            Value::Bool(yes) => yes.to_string(),
            Value::Null | Value::Str(_) | Value::List(_) | Value::Map(_) => return self.deserialize_any(visitor),
        };
        if self.0.rendered {
            return visitor.visit_string(text).map_err(|problem: Problem| problem.or_at(self.0.span));
        }
        Err(Problem::error(self.0.span, format!("expected text, found {}", self.0.sort())).help("quote it"))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if matches!(self.0.value, Value::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let decoded = match &self.0.value {
            Value::Str(name) => visitor.visit_enum(name.as_str().into_deserializer()),
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { rest: entries.iter(), value: None }))
            }
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => {
                let what = format!("expected one of `{}`, found {}", variants.join("`, `"), self.0.sort());
                Err(Problem::error(None, what).help("write one of these names"))
            }
        };
        decoded.map_err(|problem: Problem| problem.or_at(self.0.span))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a>(slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Problem;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        self.0.next().map(|node| seed.deserialize(Decoder(node)).map_err(|p| p.or_at(node.span))).transpose()
    }
}

struct Entries<'a> {
    rest: slice::Iter<'a, (Node, Node)>,
    /// The value of the key that was read last.
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Problem;

    fn next_key_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Problem> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        seed.deserialize(Decoder(key)).map(Some).map_err(|p| p.or_at(key.span))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Problem> {
        let Some(value) = self.value.take() else {
            return Err(Problem::error(None, "a value was asked for before its key"));
        };
        seed.deserialize(Decoder(value)).map_err(|p| p.or_at(value.span))
    }
}

impl Error for Problem {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self::error(None, what.to_string())
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = humane(expected);
        Self::error(None, format!("expected {expected}, found {}", sort(found))).help(how_to_write(&expected))
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::error(None, format!("expected {}, found {length} entries", humane(expected))).help("add or remove some")
    }
    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::error(None, format!("unknown value `{variant}`"))
            .maybe_help(did_you_mean(variant, expected.iter().copied()))
    }
    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::error(None, format!("unknown key `{field}`")).maybe_help(did_you_mean(field, expected.iter().copied()))
    }
    fn missing_field(field: &'static str) -> Self {
        Self::error(None, format!("missing key `{field}`")).help("add it to this mapping")
    }
    fn duplicate_field(field: &'static str) -> Self {
        Self::error(None, format!("the key `{field}` is here twice")).help("keep one of them")
    }
}

/// The types of Rust in the words of people.
fn humane(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more".into(),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "text".into(),
        "a sequence" => "a list".into(),
        _ if text.starts_with("struct ") || text == "a map" => "a mapping".into(),
        _ => text,
    }
}

/// What to write where a value of a sort is expected.
pub(crate) fn how_to_write(expected: &str) -> &'static str {
    match expected {
        _ if expected.starts_with("a duration") => "write numbers with units: `ms`, `s`, `m`, `h` or `d`",
        _ if expected.starts_with("a whole number") => "write a number without quotes, e.g. `3`",
        _ if expected.starts_with("a number") => "write a number without quotes, e.g. `0.5`",
        _ if expected.starts_with("true or false") => "write `true` or `false` without quotes",
        _ if expected.starts_with("a list") => "write a list, e.g. `[a, b]`",
        _ if expected.starts_with("a mapping") => "write a mapping, e.g. `{ key: value }`",
        _ => "write text here; in quotes, when it looks like something else",
    }
}

fn sort(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(yes) => format!("`{yes}`"),
        Unexpected::Unsigned(n) => format!("`{n}`"),
        Unexpected::Signed(n) => format!("`{n}`"),
        Unexpected::Float(x) => format!("`{x}`"),
        Unexpected::Str(text) => format!("`{text}`"),
        Unexpected::Unit | Unexpected::Option => "nothing".into(),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a mapping".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::{tree::parse, types::Period};

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Toy {
        name: String,
        #[serde(default)]
        limit: Option<u32>,
        #[serde(default)]
        mode: Mode,
        #[serde(default)]
        wait: Option<Period>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        #[default]
        Fast,
        Slow(u32),
    }

    fn problem(text: &str) -> (String, String) {
        let problem = parse(text).unwrap().decode::<Toy>().unwrap_err();
        let span = problem.span.unwrap();
        (problem.to_string(), text[span.start..span.end].to_owned())
    }

    #[test]
    fn reads_options_defaults_and_variants() {
        let toy: Toy = parse("{name: x, mode: {slow: 3}, wait: 2m}").unwrap().decode().unwrap();
        assert_eq!(toy, Toy { name: "x".into(), limit: None, mode: Mode::Slow(3), wait: Some(Period::secs(120)) });
    }

    #[test]
    fn each_problem_stands_at_its_place() {
        let case = |text: &str, what: &str, at: &str| assert_eq!(problem(text), (what.into(), at.into()));
        case("{nmae: x}", "unknown key `nmae` (did you mean `name`?)", "nmae");
        case("{name: 7}", "expected text, found a whole number (quote it)", "7");
        case(
            "{name: x, limit: -1}",
            "expected a whole number, 0 or more, found `-1` (write a number without quotes, e.g. `3`)",
            "-1",
        );
        case(
            "{name: x, limit: lots}",
            "expected a whole number, 0 or more, found `lots` (write a number without quotes, e.g. `3`)",
            "lots",
        );
        case("{name: x, mode: fats}", "unknown value `fats` (did you mean `fast`?)", "fats");
        case(
            "{name: x, mode: 3}",
            "expected one of `fast`, `slow`, found a whole number (write one of these names)",
            "3",
        );
        case(
            "{name: x, wait: 'soon'}",
            "expected a duration such as `90s`, `10m` or `4h`, found `soon` (write numbers with units: `ms`, `s`, `m`, `h` or `d`)",
            "soon",
        );
        case("{limit: 1}", "missing key `name` (add it to this mapping)", "{");
    }

    #[test]
    fn a_rendered_number_may_fill_text() {
        let node = Node::from_json(serde_json::json!({"name": 7}), crate::problem::Span::default());
        assert_eq!(node.decode::<Toy>().unwrap().name, "7");
    }
}
