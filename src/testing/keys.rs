//! The keys of a file of tests: the one list that the reader and the editor's schema come from.

use serde_json::json;

use crate::{
    event::Verdict,
    runbook::keys::{Key, any, needed, optional, schema_of, shared},
    verdict::Exit,
};

/// The file itself.
pub const FILE: &[Key] = &[
    needed("format", "Version of the format of tests: 1", || json!({"const": 1})),
    needed(
        "runbook",
        "The runbook that is tested: a path from the folder of this file",
        || json!({"type": "string", "minLength": 1}),
    ),
    needed(
        "tests",
        "The tests; each one has two sites of its own",
        || json!({"type": "array", "minItems": 1, "items": shared("Test")}),
    ),
];

/// An entry of `tests:`.
pub const TEST: &[Key] = &[
    needed(
        "name",
        "What is tested, in a few words; unique in the file",
        || json!({"type": "string", "minLength": 1, "pattern": "^[^\\n\\r]*$"}),
    ),
    needed(
        "scenario",
        "What the two sites hold and how they behave: the name of a scenario, the path of one from the folder of this file, \
         or the scenario itself",
        || json!({"anyOf": [{"type": "string", "minLength": 1}, shared("Scenario")]}),
    ),
    optional(
        "inputs",
        "Inputs of the runbook, besides those that the scenario gives",
        || json!({"type": "object", "propertyNames": shared("Name"), "additionalProperties": any()}),
    ),
    optional(
        "answers",
        "A person's answers by the step that asks, over those of the scenario; a question that nobody answers leaves the run \
         waiting",
        || json!({"type": "object", "propertyNames": shared("Name"), "additionalProperties": {"anyOf": [{"type": "boolean"}, {"enum": ["yes", "no", "nobody"]}]}}),
    ),
    optional(
        "accept",
        "Preconditions that are waived, by id, each with its reason: as `--accept` does",
        || json!({"type": "object", "additionalProperties": {"type": "string", "minLength": 1}}),
    ),
    needed("expect", "What the run must come to", || shared("Expect")),
];

/// `expect:` of a test.
pub const EXPECT: &[Key] = &[
    needed("verdict", "The verdict on the run", schema_of::<Verdict>),
    optional("exit", "The exit code that `firedrill run` would have", || json!({"enum": Exit::ALL.map(Exit::code)})),
    optional(
        "failed",
        "The steps that do not hold or broke, without those that only warn: a list, or one step",
        || json!({"anyOf": [shared("Name"), {"type": "array", "items": shared("Name")}]}),
    ),
    optional(
        "checks",
        "What preconditions come to, by id; of several steps that make the check the last one counts",
        || json!({"type": "object", "additionalProperties": {"enum": OUTCOMES}}),
    ),
    optional(
        "that",
        "What is true when the run has ended: expressions over `steps`, `inputs`, `roles` and `run`",
        || json!({"type": "array", "items": shared("Expression")}),
    ),
];

/// What a check comes to.
pub(super) const OUTCOMES: [&str; 4] = ["pass", "warn", "fail", "unknown"];
