//! The keys of a runbook's mappings: the one list that the reader, the editor's schema and the reference come from.

use schemars::{JsonSchema, Schema, schema_for};
use serde_json::{Value, json};

use super::{InputType, OnFailure};
use crate::{event::RunbookKind, failure::Class};

/// The failures that may be tried again; a refused request never is.
pub(super) const RETRIED: [Class; 3] = [Class::Unreachable, Class::TimedOut, Class::Throttled];

/// One key of a mapping.
pub struct Key {
    pub name: &'static str,
    pub required: bool,
    /// What it means, for operators.
    pub about: &'static str,
    /// The JSON schema of its value; shared types are under `#/$defs/`.
    pub schema: fn() -> Value,
}

/// The runbook itself.
pub const RUNBOOK: &[Key] = &[
    needed("format", "Version of the runbook format: 1", || json!({"const": 1})),
    needed("runbook", "The runbook's name, in `snake_case`", || shared("Name")),
    needed("summary", "What the runbook is for, in one line", text),
    needed("kind", "What the runbook may do", schema_of::<RunbookKind>),
    optional("inputs", "The values a run is given, by name", || named("Input")),
    optional("roles", "The sites a run works on, by the name that the steps use", || named("RoleEntry")),
    optional("objectives", "What the run is measured against", || shared("Objectives")),
    needed(
        "steps",
        "The steps, in order",
        || json!({"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Step"}}),
    ),
    optional(
        "finally",
        "Steps that always run at the end, also after a failure or Ctrl-C",
        || json!({"type": "array", "items": {"$ref": "#/$defs/Step"}}),
    ),
];

/// An entry of `inputs:`.
pub const INPUT: &[Key] = &[
    needed("type", "The type of the value", schema_of::<InputType>),
    needed("description", "What to give, for people", text),
    optional("default", "The value when none is given: a literal, or a template over inputs above", any),
    optional("enum", "The only values accepted", || json!({"type": "array", "minItems": 1})),
    optional("pattern", "A regular expression that must match somewhere in the text", text),
    optional("minimum", "The least value accepted; of a duration or size also written as such", limit),
    optional("maximum", "The greatest value accepted; of a duration or size also written as such", limit),
    optional("secret", "The value is never printed or journaled", || json!({"type": "boolean", "default": false})),
];

/// An entry of `roles:`.
pub const ROLE: &[Key] = &[needed("description", "What this site is in the runbook", text)];

/// `objectives:`.
pub const OBJECTIVES: &[Key] =
    &[optional("rto", "Recovery time objective: a run that takes longer is `late` (exit 8)", || shared("Period"))];

/// An entry of `steps:` or `finally:`.
pub const STEP: &[Key] = &[
    needed(
        "id",
        "Unique; later steps read the output as `steps.<id>.<field>`, and `steps.<id>.verdict` and `.ran`",
        || shared("Name"),
    ),
    needed("uses", "The step kind", text),
    optional("with", "The kind's parameters", || json!({"type": "object"})),
    optional("title", "One line for people; by default the kind describes itself", text),
    optional("when", "The step is skipped when this is false", || shared("Expression")),
    optional("retry", "When and how often a failed attempt is followed by another", || shared("Retry")),
    optional("until", "Repeat a reading step until something holds", || shared("Until")),
    optional("timeout", "The limit of one attempt; longer than the limit of one request, 30s", || shared("Period")),
    optional("deadline", "The limit of the step over all its attempts", || shared("Period")),
    optional(
        "expect",
        "What must be true of `out`, the step's output, besides the kind's own verdict",
        || json!({"type": "array", "items": {"$ref": "#/$defs/Expression"}}),
    ),
    optional("on_failure", "What a failure of this step means for those after it", schema_of::<OnFailure>),
];

/// `retry:` of a step.
pub const RETRY: &[Key] = &[
    needed(
        "attempts",
        "Attempts in all, the first one included",
        || json!({"type": "integer", "minimum": 1, "maximum": 1000}),
    ),
    optional("interval", "The wait before the second attempt (5s); it doubles each time, with jitter", || {
        shared("Period")
    }),
    optional("max_interval", "The longest wait (1m)", || shared("Period")),
    optional(
        "on",
        "The failures that are tried again; the default is all three",
        || json!({"type": "array", "minItems": 1, "items": {"enum": RETRIED}}),
    ),
];

/// `until:` of a step.
pub const UNTIL: &[Key] = &[
    needed("that", "What must become true of `out`, the step's output", || shared("Expression")),
    optional("every", "The wait between two looks (10s)", || shared("Period")),
    needed("deadline", "After this time it did not hold", || shared("Period")),
];

/// A key that must be there.
pub(crate) const fn needed(name: &'static str, about: &'static str, schema: fn() -> Value) -> Key {
    Key { name, required: true, about, schema }
}

/// A key that may be left out.
pub(crate) const fn optional(name: &'static str, about: &'static str, schema: fn() -> Value) -> Key {
    Key { name, required: false, about, schema }
}

fn text() -> Value {
    json!({"type": "string"})
}

pub(crate) fn any() -> Value {
    json!({})
}

fn limit() -> Value {
    json!({"type": ["number", "string"]})
}

pub(crate) fn shared(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

fn named(name: &str) -> Value {
    json!({
        "type": "object",
        "propertyNames": {"$ref": "#/$defs/Name"},
        "additionalProperties": {"$ref": format!("#/$defs/{name}")}
    })
}

/// The schema of an enum without what would be said twice.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let mut schema: Schema = schema_for!(T);
    for key in ["$schema", "title", "description"] {
        schema.remove(key);
    }
    schema.to_value()
}
