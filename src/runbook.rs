//! A runbook as plain data. No I/O: the tree comes in, the model comes out, and every problem with its place.

use serde_json::{Map, Value};

use crate::{
    event::RunbookKind,
    failure::Class,
    problem::{Problem, Span},
    tree::Node,
    types::{Period, Role},
};

/// One runbook.
#[derive(Clone, Debug)]
pub struct Runbook {
    pub name: String,
    pub summary: String,
    pub kind: RunbookKind,
    pub inputs: Vec<Input>,
    pub roles: Vec<(Role, String)>,
    /// Recovery time objective.
    pub rto: Option<Period>,
    pub steps: Vec<StepSpec>,
    pub finally: Vec<StepSpec>,
}

/// A declared input.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    pub r#type: InputType,
    pub description: String,
    /// A literal, or a template over inputs above.
    pub default: Option<Node>,
    pub one_of: Vec<Node>,
    pub pattern: Option<String>,
    pub minimum: Option<f64>,
    pub maximum: Option<f64>,
    pub secret: bool,
    pub span: Span,
}

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputType {
    String,
    Integer,
    Number,
    Boolean,
    Duration,
    Size,
    Bucket,
    List,
}

/// One step: the envelope, which is the same for every kind, and the kind's own parameters.
#[derive(Clone, Debug)]
pub struct StepSpec {
    pub id: String,
    pub span: Span,
    pub uses: String,
    /// The kind's parameters, templates unrendered; an empty map when the runbook gives none.
    pub with: Node,
    pub title: Option<Node>,
    pub when: Option<Expr>,
    pub retry: Option<Retry>,
    pub until: Option<Until>,
    pub timeout: Option<Period>,
    pub deadline: Option<Period>,
    pub expect: Vec<Expr>,
    pub on_failure: OnFailure,
}

/// A bare expression and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expr {
    pub text: String,
    pub span: Span,
}

/// When and how often a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// In all, the first one included.
    pub attempts: u32,
    pub interval: Period,
    pub max_interval: Period,
    pub on: Vec<Class>,
}

/// Repeat a reading step until something holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Until {
    pub that: Expr,
    pub every: Period,
    pub deadline: Period,
}

/// What the end of a step that failed means for those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    #[default]
    Stop,
    Continue,
    Warn,
}

/// Reads the model out of the tree: envelope keys by hand, each problem at its place, all of them at once.
pub fn read(root: &Node) -> Result<Runbook, Vec<Problem>> {
    let _ = root;
    todo!()
}

/// The values of the inputs: what was given, else the defaults; typed and within their limits.
pub fn bind_inputs(runbook: &Runbook, given: &Map<String, Value>) -> Result<Map<String, Value>, Vec<Problem>> {
    let _ = (runbook, given);
    todo!()
}
