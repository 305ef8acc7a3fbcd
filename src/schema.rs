//! What is generated from the types: the editor's schema of runbooks, the schema of journals, and the reference.

mod reference;

use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value, json};

pub use self::reference::{kind_reference, overview, reference};
#[cfg(feature = "sandbox")]
use crate::testing;
use crate::{
    event::{Effect, Line},
    report::facts::Report,
    runbook::keys::{self, Key},
    step::Kind,
    types::{BucketName, Moment, Period, Role},
};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The JSON schema of runbooks (draft 2020-12), for editors. Every parameter but free text may also be a template.
pub fn runbook_schema(kinds: &[Kind]) -> Value {
    let mut shared = Map::new();
    shared.insert("Name".into(), name());
    shared.insert("Expression".into(), expression());
    shared.insert("Period".into(), part::<Period>());
    shared.insert("BucketName".into(), part::<BucketName>());
    shared.insert("Moment".into(), part::<Moment>());
    shared.insert("Role".into(), part::<Role>());
    for (name, keys, about) in [
        ("Input", keys::INPUT, "A value that a run is given"),
        ("RoleEntry", keys::ROLE, "A site of the runbook"),
        ("Objectives", keys::OBJECTIVES, "What the run is measured against"),
        ("Retry", keys::RETRY, "When and how often a failed attempt is followed by another"),
        ("Until", keys::UNTIL, "Repeat a reading step until something holds"),
    ] {
        shared.insert(name.into(), object(keys, about));
    }
    let step = step(kinds, &mut shared);
    shared.insert("Step".into(), step);
    let mut schema = object(keys::RUNBOOK, "A runbook of firedrill");
    schema["$schema"] = DRAFT.into();
    schema["title"] = "Runbook".into();
    schema["$defs"] = Value::Object(shared);
    schema
}

/// The JSON schema of files of tests, for editors.
#[cfg(feature = "sandbox")]
pub fn test_schema() -> Value {
    let mut scenario = scenario_schema();
    let mut shared = Map::new();
    if let Some(entries) = scenario.as_object_mut() {
        entries.remove("$schema");
        // A scenario that stands in a test needs no name of its own.
        entries.remove("required");
        if let Some(Value::Object(types)) = entries.remove("$defs") {
            shared = types;
        }
    }
    shared.insert("Scenario".into(), scenario);
    shared.insert("Name".into(), name());
    shared.insert("Expression".into(), expression());
    for (name, keys, about) in [
        ("Test", testing::keys::TEST, "A run of the runbook on the sandbox, and what it must come to"),
        ("Expect", testing::keys::EXPECT, "What a run must come to"),
    ] {
        shared.insert(name.into(), object(keys, about));
    }
    let mut schema = object(testing::keys::FILE, "Tests of a runbook, for `firedrill test`");
    schema["$schema"] = DRAFT.into();
    schema["title"] = "Tests".into();
    schema["$defs"] = Value::Object(shared);
    schema
}

/// The JSON schema of scenarios of the sandbox, for editors.
#[cfg(feature = "sandbox")]
pub fn scenario_schema() -> Value {
    let mut schema = schema_for!(crate::sandbox::Scenario).to_value();
    describe(&mut schema);
    schema
}

/// The JSON schema of one line of a journal.
pub fn journal_schema() -> Value {
    document::<Line>("Line of a journal")
}

/// The JSON schema of `firedrill report --format json`.
pub fn report_schema() -> Value {
    document::<Report>("Report of a run")
}

fn document<T: JsonSchema>(title: &str) -> Value {
    let mut schema = part::<T>();
    describe(&mut schema);
    let mut whole = json!({"$schema": DRAFT, "title": title});
    if let (Some(whole), Value::Object(entries)) = (whole.as_object_mut(), schema) {
        whole.extend(entries);
    }
    whole
}

/// Says of every variant's own words what the variant says.
fn describe(schema: &mut Value) {
    match schema {
        Value::Object(entries) => {
            if let Some(Value::Object(name)) = entries.get_mut("properties").and_then(|p| p.get_mut("event"))
                && name.contains_key("const")
            {
                name.insert("description".into(), "The name of the event.".into());
            }
            // Whatever may stand there is `true`, which holds no words.
            for property in
                entries.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
            {
                if *property == Value::Bool(true) {
                    *property = json!({});
                }
            }
            describe_variant(entries);
            entries.values_mut().for_each(describe);
        }
        Value::Array(items) => items.iter_mut().for_each(describe),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn name() -> Value {
    json!({
        "type": "string",
        "pattern": "^[a-z][a-z0-9_]*$",
        "maxLength": 64,
        "description": "A name in `snake_case`"
    })
}

fn expression() -> Value {
    json!({
        "type": "string",
        "minLength": 1,
        "not": {"pattern": r"\{\{|\{%"},
        "description": "A bare expression, without braces, that is true or false"
    })
}

/// The schema of one of the envelope's mappings.
fn object(keys: &[Key], about: &str) -> Value {
    let properties: Map<String, Value> = keys
        .iter()
        .map(|key| {
            let mut schema = (key.schema)();
            schema["description"] = key.about.into();
            (key.name.into(), schema)
        })
        .collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
        "additionalProperties": false
    })
}

/// A step: the envelope, and for each kind its own parameters.
fn step(kinds: &[Kind], shared: &mut Map<String, Value>) -> Value {
    let mut step = object(keys::STEP, "One step");
    let mut names = Vec::new();
    let mut cases = Vec::new();
    for kind in kinds {
        let mut with = (kind.params)().to_value();
        names.push(json!({"const": kind.uses, "description": about(kind, &with)}));
        share(kind, &mut with, shared);
        let needs = with.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty());
        let mut then = json!({"properties": {"with": with}});
        if needs {
            then["required"] = json!(["with"]);
        }
        cases.push(json!({"if": {"properties": {"uses": {"const": kind.uses}}, "required": ["uses"]}, "then": then}));
    }
    // A list of alternatives may not be empty.
    if !kinds.is_empty() {
        step["properties"]["uses"] = json!({"description": step["properties"]["uses"]["description"], "oneOf": names});
        step["allOf"] = Value::Array(cases);
    }
    step
}

/// What a kind does, with its effect in front.
fn about(kind: &Kind, params: &Value) -> String {
    let text = params.get("description").and_then(Value::as_str).unwrap_or_default();
    format!("{}. {text}", effect(kind.effect))
}

fn effect(effect: Effect) -> &'static str {
    match effect {
        Effect::Reads => "Reads only",
        Effect::Changes => "Changes something",
        Effect::Asks => "Asks a person",
    }
}

/// Moves the types that a kind defines to those that all share, and lets templates stand wherever a value may. When one
/// of its names is taken by something else, all of its types get names of their own.
fn share(kind: &Kind, with: &mut Value, shared: &mut Map<String, Value>) {
    let mut own = Map::new();
    if let Some(with) = with.as_object_mut() {
        with.remove("$schema");
        with.remove("title");
        if let Some(Value::Object(types)) = with.remove("$defs") {
            own = types;
        }
    }
    own.retain(|name, _| !["Period", "BucketName", "Moment", "Role"].contains(&name.as_str()));
    own.values_mut().for_each(open);
    open(with);
    let taken = own.iter().any(|(name, schema)| shared.get(name).is_some_and(|known| known != schema));
    if taken {
        let names: Vec<(String, String)> =
            own.keys().map(|name| (name.clone(), format!("{name}_of_{}", kind.uses.replace('.', "_")))).collect();
        for (from, to) in &names {
            let (from, to) = (format!("#/$defs/{from}"), format!("#/$defs/{to}"));
            rename(with, &from, &to);
            own.values_mut().for_each(|schema| rename(schema, &from, &to));
        }
        own = own.into_iter().zip(names).map(|((_, schema), (_, name))| (name, schema)).collect();
    }
    shared.extend(own);
}

fn rename(schema: &mut Value, from: &str, to: &str) {
    match schema {
        Value::String(text) if text == from => to.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, from, to)),
        Value::Object(entries) => entries.values_mut().for_each(|value| rename(value, from, to)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Lets a template stand in place of every value inside, except free text, which may hold one anyway.
fn open(schema: &mut Value) {
    let Some(entries) = schema.as_object_mut() else { return };
    describe_variant(entries);
    bound(entries);
    if let Some(Value::Object(properties)) = entries.get_mut("properties") {
        properties.values_mut().for_each(or_template);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = entries.get_mut(key).filter(|inner| inner.is_object()) {
            or_template(inner);
        }
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(Value::Array(alternatives)) = entries.get_mut(key) {
            alternatives.iter_mut().for_each(open);
        }
    }
}

fn or_template(schema: &mut Value) {
    open(schema);
    let free = ["pattern", "enum", "const", "minLength"].iter().all(|key| schema.get(key).is_none());
    // Which roles a step works on is proven before the run.
    let role = schema.get("$ref").is_some_and(|name| name == "#/$defs/Role");
    if role || (schema.get("type").is_some_and(|name| name == "string") && free) {
        return;
    }
    let Some(entries) = schema.as_object_mut() else { return };
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = entries.remove(key) {
            outer.insert(key.into(), value);
        }
    }
    outer.insert(
        "anyOf".into(),
        json!([Value::Object(std::mem::take(entries)), {"type": "string", "pattern": r"\{\{"}]),
    );
    *schema = Value::Object(outer);
}

/// A variant that carries a value is documented on the variant: its one property says the same.
fn describe_variant(entries: &mut Map<String, Value>) {
    let about = entries.get("description").cloned();
    if let (Some(about), Some(Value::Object(properties))) = (about, entries.get_mut("properties"))
        && properties.len() == 1
    {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.entry("description").or_insert_with(|| about.clone());
        }
    }
}

/// The range of an integer's type, which its format only names.
fn bound(entries: &mut Map<String, Value>) {
    let most: u64 = match entries.get("format").and_then(Value::as_str) {
        Some("uint8") => u8::MAX.into(),
        Some("uint16") => u16::MAX.into(),
        Some("uint32") => u32::MAX.into(),
        Some("uint64" | "uint" | "int64" | "int") => i64::MAX.unsigned_abs(),
        _ => return,
    };
    entries.entry("maximum").or_insert_with(|| most.into());
}

/// The schema of a shared type as it stands among the definitions.
fn part<T: JsonSchema>() -> Value {
    let mut schema = schema_for!(T);
    schema.remove("$schema");
    schema.remove("title");
    schema.to_value()
}
