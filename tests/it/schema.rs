//! What is generated from the types: the editor's schema accepts what the reader accepts, and nothing is undocumented.

use firedrill::{
    check::load,
    schema::{journal_schema, kind_reference, reference, runbook_schema},
    step::Kind,
    steps::ALL,
    tree::{Node, parse},
};
use serde_json::{Value, json};

use crate::toys::TOYS;

fn both() -> [&'static [Kind]; 2] {
    [TOYS, ALL]
}

fn accepts(schema: &Value, text: &str) -> bool {
    parse(text).is_ok_and(|node| jsonschema::is_valid(schema, &node.to_json()))
}

#[test]
fn every_property_has_a_description() {
    fn walk(schema: &Value, path: &str, missing: &mut Vec<String>) {
        match schema {
            Value::Object(entries) => {
                // The conditions of kinds name a property to look at it, not to define it.
                for (name, property) in entries.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    let known = path.ends_with("/if") || (path.ends_with("/then") && name == "with");
                    if !known
                        && property.get("description").is_none_or(|about| about.as_str().is_none_or(str::is_empty))
                    {
                        missing.push(format!("{path}/{name}"));
                    }
                }
                entries.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), missing));
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(at, item)| walk(item, &format!("{path}/{at}"), missing));
            }
            _ => {}
        }
    }
    let mut missing = Vec::new();
    for kinds in both() {
        walk(&runbook_schema(kinds), "", &mut missing);
        for kind in kinds {
            walk(&(kind.output)().to_value(), kind.uses, &mut missing);
        }
    }
    assert!(missing.is_empty(), "without a description: {missing:#?}");
}

#[test]
fn the_schema_itself_is_valid() {
    for schema in both().map(runbook_schema).into_iter().chain([journal_schema()]) {
        jsonschema::meta::validate(&schema).unwrap();
        jsonschema::validator_for(&schema).unwrap();
    }
}

#[test]
fn the_schema_accepts_a_good_runbook_and_refuses_what_it_can() {
    let schema = runbook_schema(TOYS);
    let good = include_str!("../cases/ok/language.yaml");
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = parse(good).unwrap().to_json();
    let errors: Vec<String> = validator.iter_errors(&json).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
    for (from, to) in [
        ("format: 1", "format: 2"),
        ("kind: recovery", "kind: recover"),
        ("title: \"Look", "titel: \"Look"),
        ("uses: toy.ask", "uses: toy.aks"),
        ("settle: \"{{ inputs.wait }}\"", "settle: 4 hours"),
        ("sample: { fraction: 0.5 }", "sample: { fractoin: 0.5 }"),
        ("when: \"not steps.look.equal\"", "when: \"{{ steps.look.equal }}\""),
        ("on_failure: warn", "on_failure: ignore"),
        ("type: bucket,", "type: buckets,"),
        ("- id: look", "- id: Look"),
        ("with: { bucket: \"{{ inputs.bucket }}\" }", "with: { }"),
        ("attempts: 3", "attempts: 0"),
        ("on: [unreachable]", "on: [refused]"),
    ] {
        assert!(good.contains(from), "{from}");
        let bad = good.replacen(from, to, 1);
        assert!(!accepts(&schema, &bad), "the schema accepts {to}");
        assert!(load(&bad, TOYS).is_err(), "the check accepts {to}");
    }
}

/// The parameters that the schema accepts are those that can be decoded.
#[test]
fn the_schema_accepts_exactly_what_decodes() {
    let values = [
        "7",
        "0",
        "-1",
        "4294967295",
        "4294967296",
        "0.5",
        "true",
        "~",
        "text",
        "\"\"",
        "90s",
        "4h 30m",
        "4 hours",
        "-1s",
        "10",
        "docs",
        "My_Docs",
        "ab",
        "a..b",
        "10.0.0.1",
        "a.b-c",
        "now",
        "2026-11-23T18:00:00Z",
        "2026-11-23",
        "fast",
        "slow_and_safe",
        "slow",
        "all",
        "{ count: 3 }",
        "{ count: -3 }",
        "{ fraction: 0.5 }",
        "{ fraction: x }",
        "{ count: 1, fraction: 1 }",
        "[]",
        "[a]",
        "[1]",
        "[[a]]",
        "{}",
        "{ a: b }",
        "{ a: 1 }",
        "source",
        "Source",
    ];
    let keys =
        ["bucket", "source", "limit", "settle", "before", "mode", "exclude", "sample", "note", "headers", "unknown"];
    let schema = runbook_schema(TOYS);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut different = Vec::new();
    let mut accepted = 0;
    for key in keys {
        for value in values {
            let bucket = if key == "bucket" { "" } else { "bucket: docs, " };
            let with: Node = parse(&format!("{{ {bucket}{key}: {value} }}")).unwrap();
            let decodes = (TOYS[0].bind)(&with).is_ok();
            let runbook = json!({
                "format": 1, "runbook": "toy", "summary": "A toy", "kind": "verify",
                "steps": [{"id": "look", "uses": "toy.read", "with": with.to_json()}]
            });
            let valid = validator.is_valid(&runbook);
            accepted += usize::from(valid);
            if valid != decodes {
                different.push(format!("{key}: {value}: the schema says {valid}, decoding says {decodes}"));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
    assert!(accepted > 30, "only {accepted} accepted");
}

#[test]
fn the_reference_names_every_kind_parameter_and_field() {
    for kinds in both() {
        let all = reference(kinds);
        for kind in kinds {
            assert!(all.contains(&kind_reference(kind)), "{}", kind.uses);
        }
    }
    let page = kind_reference(&TOYS[0]);
    for row in [
        "## `toy.read`\n\nReads only.\n\nCounts what a bucket holds on two sites.\n",
        "| `bucket` | bucket | required | Bucket to look at. |\n",
        "| `target` | role | `\"target\"` | The site that is looked at. |\n",
        "| `limit` | integer |  | Look at no more than this many. |\n",
        "| `settle` | duration |  | Wait this long for differences to close. |\n",
        "| `mode` | `fast` or `slow_and_safe` | `\"fast\"` | How to look. |\n",
        "| `exclude` | list of text | `[]` | Leave out keys that begin so. |\n",
        "| `sample` | `all` or `{count: …}` with integer or `{fraction: …}` with number |  | How much to look at. |\n",
        "| `headers` | mapping to text | `{}` | A header of each request, by name. |\n",
        "| `checks` | list of mapping | What was looked at. |\n",
        "| `checks[].key` | text | The key. |\n",
        "| `first.key` | text | The key. |\n",
        "```yaml\nid: look\n",
    ] {
        assert!(page.contains(row), "{row}\nis not in\n{page}");
    }
}

#[test]
fn every_example_is_one_step_that_checks() {
    for kinds in both() {
        for kind in kinds {
            let example = kind.example.trim().trim_start_matches("- ").replace('\n', "\n    ");
            let text = format!(
                "format: 1\nrunbook: example\nsummary: An example\nkind: recovery\nroles:\n  source: {{ description: Healthy }}\n  \
                 target: {{ description: Damaged }}\nsteps:\n  - {example}\n"
            );
            if example.contains("{{") {
                continue; // it needs steps and inputs that an example does not show
            }
            if let Err(problems) = load(&text, kinds) {
                panic!("{}", firedrill::problem::render(kind.uses, &text, &problems, false));
            }
        }
    }
}
