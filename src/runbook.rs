//! A runbook as plain data. No I/O: the tree comes in, the model comes out, and every problem with its place.

mod inputs;
pub mod keys;
mod read;

use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "sandbox")]
pub(crate) use self::read::{expression, field, mapping};
pub use self::{inputs::bind_inputs, read::read};
pub(crate) use self::{inputs::value_of, read::gather};
use crate::{
    event::RunbookKind,
    failure::Class,
    problem::Span,
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
    /// `enum`: nothing else is accepted.
    pub one_of: Vec<Node>,
    /// A regular expression that must match somewhere in the value.
    pub pattern: Option<String>,
    /// Seconds of a duration, bytes of a size.
    pub minimum: Option<f64>,
    /// Seconds of a duration, bytes of a size.
    pub maximum: Option<f64>,
    pub secret: bool,
    pub span: Span,
}

/// The type of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InputType {
    /// Text
    String,
    /// A whole number
    Integer,
    /// A number
    Number,
    /// `true` or `false`
    Boolean,
    /// A length of time such as `90s` or `4h`; in expressions a number of seconds
    Duration,
    /// An amount of data such as `10MiB`; in expressions a number of bytes
    Size,
    /// The name of a bucket
    Bucket,
    /// A list of texts; on the command line it is given by repeating it
    List,
}

/// One step: the envelope, which is the same for every kind, and the kind's own parameters.
#[derive(Clone, Debug)]
pub struct StepSpec {
    pub id: String,
    pub span: Span,
    pub uses: String,
    pub uses_span: Span,
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
    pub span: Span,
    /// In all, the first one included.
    pub attempts: u32,
    pub interval: Period,
    pub max_interval: Period,
    pub on: Vec<Class>,
}

/// Repeat a reading step until something holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Until {
    pub span: Span,
    pub that: Expr,
    pub every: Period,
    pub deadline: Period,
}

/// What the end of a step that failed means for those after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Skip to `finally`
    #[default]
    Stop,
    /// Go on; the verdict stays failed
    Continue,
    /// Go on; the verdict is not touched, and every report shows the warning
    Warn,
}
