//! Looks into JSON schemas as schemars writes them: what a place in a value may hold.

use std::collections::BTreeSet;

use serde_json::Value;

/// A part of a schema, with the whole that its references point into.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a> {
    pub(crate) schema: &'a Value,
    root: &'a Value,
}

/// The JSON types a value may have; none means that any is possible.
pub(crate) type Types = BTreeSet<&'static str>;

/// A text that is one of a few names: text may fill it, a number may not.
const NAME: &str = "name";

const TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

impl<'a> Shape<'a> {
    pub(crate) fn root(schema: &'a Value) -> Self {
        Self { schema, root: schema }
    }

    pub(crate) fn at(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// The part of a key of this schema, e.g. `items`.
    pub(crate) fn key(self, key: &str) -> Option<Self> {
        self.schema.get(key).map(|schema| self.at(schema))
    }

    /// The name of the shared type that this is, e.g. `Role`.
    pub(crate) fn name(self) -> Option<&'a str> {
        self.schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next())
    }

    /// Itself, or what it refers to.
    pub(crate) fn resolved(self) -> Self {
        let mut shape = self;
        // A chain of references ends soon; a circle must not hang the check.
        for _ in 0..16 {
            let Some(path) = shape.schema.get("$ref").and_then(Value::as_str) else { break };
            let Some(target) = shape.root.pointer(path.trim_start_matches('#')) else { break };
            shape = shape.at(target);
        }
        shape
    }

    /// The alternatives; none when it is one shape.
    pub(crate) fn alternatives(self) -> Vec<Self> {
        ["anyOf", "oneOf"]
            .iter()
            .filter_map(|key| self.schema.get(key).and_then(Value::as_array))
            .flatten()
            .map(|schema| self.at(schema))
            .collect()
    }

    /// The texts it consists of, when it is an enumeration or one name of it.
    pub(crate) fn names(self) -> Vec<&'a str> {
        match (self.schema.get("const"), self.schema.get("enum")) {
            (Some(name), _) => name.as_str().into_iter().collect(),
            (None, Some(names)) => names.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
            (None, None) => Vec::new(),
        }
    }

    /// The variant of an enum that carries a value: a mapping of one key, the variant's name.
    pub(crate) fn variant(self) -> Option<(&'a str, Self)> {
        let shape = self.resolved();
        let properties = shape.schema.get("properties")?.as_object()?;
        let name = properties.keys().next().filter(|_| properties.len() == 1)?;
        Some((name, shape))
    }

    pub(crate) fn types(self) -> Types {
        let shape = self.resolved();
        let alternatives = shape.alternatives();
        if !alternatives.is_empty() {
            let all: Vec<Types> = alternatives.into_iter().map(Self::types).collect();
            return if all.iter().any(BTreeSet::is_empty) { Types::new() } else { all.into_iter().flatten().collect() };
        }
        if !shape.names().is_empty() {
            return Types::from([NAME]);
        }
        let known = |name: &str| TYPES.into_iter().find(|known| *known == name);
        match shape.schema.get("type") {
            Some(Value::String(name)) => known(name).into_iter().collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter_map(known).collect(),
            _ if shape.schema.get("properties").is_some() => Types::from(["object"]),
            _ => Types::new(),
        }
    }

    /// What stands under a path of fields. `Err` has the field that is not there and the fields that are.
    pub(crate) fn field<'p>(self, path: &[&'p str]) -> Result<Option<Self>, Missing<'a, 'p>> {
        let Some((first, rest)) = path.split_first() else { return Ok(Some(self)) };
        let shape = self.resolved();
        let mut missing: Option<Missing<'a, 'p>> = None;
        let alternatives = shape.alternatives();
        for alternative in &alternatives {
            match alternative.field(path) {
                Ok(found) => return Ok(found),
                Err(other) => {
                    missing = Some(missing.filter(|one| one.known.len() >= other.known.len()).unwrap_or(other));
                }
            }
        }
        if let Some(properties) = shape.schema.get("properties").and_then(Value::as_object) {
            if let Some(schema) = properties.get(*first) {
                return shape.at(schema).field(rest);
            }
            if alternatives.is_empty() && !shape.schema.get("additionalProperties").is_some_and(Value::is_object) {
                return Err(Missing { field: first, known: properties.keys().map(String::as_str).collect() });
            }
        }
        if let Some(missing) = missing {
            return Err(missing);
        }
        if let Some(others) = shape.schema.get("additionalProperties").filter(|others| others.is_object()) {
            return shape.at(others).field(rest);
        }
        let types = shape.types();
        if types.is_empty() || types.contains("object") {
            return Ok(None);
        }
        Err(Missing { field: first, known: Vec::new() })
    }
}

/// A field that is not there.
pub(crate) struct Missing<'a, 'p> {
    pub(crate) field: &'p str,
    /// The fields that are there; none when the value has no fields at all.
    pub(crate) known: Vec<&'a str>,
}

/// Whether a value of these types may stand where those are wanted. Any number or boolean may fill text.
pub(crate) fn fits(given: &Types, wanted: &Types) -> bool {
    let number = |types: &Types| types.contains("integer") || types.contains("number");
    let text = |types: &Types| types.contains("string") || types.contains(NAME);
    given.is_empty()
        || (text(given) && text(wanted))
        || wanted.is_empty()
        || given.intersection(wanted).any(|name| *name != "null")
        || (number(given) && number(wanted))
        || (wanted.contains("string") && (number(given) || given.contains("boolean")))
}

/// The types in the words of people.
pub(crate) fn called(types: &Types) -> String {
    let integer_too = types.contains("number");
    let words: Vec<&str> = types
        .iter()
        .filter(|name| match **name {
            "null" => types.len() == 1,
            "integer" => !integer_too,
            _ => true,
        })
        .map(|name| match *name {
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "text",
            NAME => "one of a few names",
            "array" => "a list",
            "object" => "a mapping",
            _ => "nothing",
        })
        .collect();
    words.join(" or ")
}
