//! The shape of an answer: what is in it, in which order and of which type, whatever the values.

use std::collections::{BTreeMap, BTreeSet};

use quick_xml::{Reader, events::Event};
use serde_json::Value;

/// Names of headers, and the parts of the body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) status: u16,
    pub(super) headers: BTreeSet<String>,
    pub(super) body: Body,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    Empty,
    Json(Json),
    /// The children of each element, by its path, in the order in which they first come.
    Xml(BTreeMap<String, Vec<String>>),
    Text,
}

#[derive(Debug)]
pub(super) enum Json {
    /// Nothing is known of what would stand there.
    Any,
    Bool,
    Number,
    Text,
    List(Box<Json>),
    Fields(Vec<(String, Json)>),
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Bool, Self::Bool) | (Self::Number, Self::Number) | (Self::Text, Self::Text) => true,
            (Self::List(one), Self::List(other)) => one == other,
            (Self::Fields(one), Self::Fields(other)) => one == other,
            _ => false,
        }
    }
}

impl Eq for Json {}

impl Body {
    pub(super) fn of(content_type: &str, body: &str) -> Self {
        match body.trim() {
            "" => Self::Empty,
            text if text.starts_with('<') => Self::Xml(xml(text)),
            text if text.starts_with(['{', '[']) => Self::Json(json(&serde_json::from_str(text).expect(content_type))),
            _ => Self::Text,
        }
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Any,
        Value::Bool(_) => Json::Bool,
        Value::Number(_) => Json::Number,
        Value::String(_) => Json::Text,
        Value::Array(all) => Json::List(Box::new(all.first().map_or(Json::Any, json))),
        Value::Object(fields) => {
            let mut shapes: Vec<(String, Json)> = Vec::new();
            for (name, value) in fields {
                // Names that are values: addresses, ARNs, variables.
                let name = if name.contains(':') || name.starts_with("MINIO_") { "*" } else { name };
                if name != "*" || shapes.iter().all(|(known, _)| known != "*") {
                    shapes.push((name.to_owned(), json(value)));
                }
            }
            Json::Fields(shapes)
        }
    }
}

fn xml(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut reader = Reader::from_str(text);
    let mut open: Vec<String> = vec![String::new()];
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(tag) => {
                let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                let children = found.entry(open.join("/")).or_default();
                if !children.contains(&name) {
                    children.push(name.clone());
                }
                open.push(name);
            }
            Event::End(_) => drop(open.pop()),
            Event::Eof => return found,
            _ => {}
        }
    }
}

#[test]
fn shapes_differ_in_order_type_and_names_only() {
    let of = |text: &str| Body::of("", text);
    assert_eq!(of(r#"{"a":1,"b":["x"]}"#), of(r#"{"a":2.5,"b":["y","z"]}"#));
    assert_ne!(of(r#"{"a":1,"b":2}"#), of(r#"{"b":1,"a":2}"#));
    assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":"1"}"#));
    assert_eq!(of(r#"{"a":null,"b":[]}"#), of(r#"{"a":{"x":1},"b":[1]}"#));
    assert_eq!(of("<A><B>1</B><B>2</B><C/></A>"), of("<A><B>3</B><C/></A>"));
    assert_ne!(of("<A><B>1</B><D>2</D></A>"), of("<A><D>2</D><B>3</B></A>"));
}
