//! A YAML file as a tree that remembers where each value stands; the only file that knows the YAML crate.

use serde::de::DeserializeOwned;

use crate::problem::{Problem, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    pub span: Span,
    /// The value came out of a template.
    pub rendered: bool,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        todo!()
    }

    pub fn to_json(&self) -> serde_json::Value { todo!() }
    pub fn text(&self) -> Option<String> { todo!() }
}
