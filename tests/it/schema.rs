//! What is generated from the types: the editor's schema accepts what the reader accepts, nothing is undocumented, and
//! the files under `schemas/` are what the source says. `UPDATE=1` writes them anew.

use std::{env, fs, path::Path};

use firedrill::{
    check::load,
    schema::{journal_schema, kind_reference, reference, report_schema, runbook_schema},
    step::Kind,
    steps::ALL,
    tree::{Node, parse},
};
use serde_json::{Value, json};

use crate::toys::TOYS;

fn both() -> [&'static [Kind]; 2] {
    [TOYS, ALL]
}

/// The schemas besides that of runbooks.
fn others() -> Vec<(&'static str, Value)> {
    vec![
        ("journal", journal_schema()),
        ("report", report_schema()),
        #[cfg(feature = "sandbox")]
        ("test", firedrill::schema::test_schema()),
        #[cfg(feature = "sandbox")]
        ("scenario", firedrill::schema::scenario_schema()),
    ]
}

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = entries
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()));
    // Their tests are checked by `testing`.
    let mut all: Vec<_> = read.filter(|(name, _)| !name.ends_with(".test.yaml")).collect();
    all.sort();
    assert!(all.len() >= 3, "{all:?}");
    all
}

/// The first thing that the schema finds wrong: where, and by which keyword.
fn refused(schema: &Value, text: &str) -> Vec<String> {
    let json = parse(text).unwrap().to_json();
    let validator = jsonschema::validator_for(schema).unwrap();
    validator.iter_errors(&json).map(|e| format!("{} {}", e.instance_path(), e.kind().keyword())).collect()
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
    for (name, schema) in others() {
        walk(&schema, name, &mut missing);
    }
    assert!(missing.is_empty(), "without a description: {missing:#?}");
}

#[test]
fn the_generated_files_are_fresh() {
    let pretty = |schema: &Value| serde_json::to_string_pretty(schema).unwrap() + "\n";
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let others = others().into_iter().map(|(name, schema)| (format!("{name}.schema.json"), pretty(&schema)));
    let runbooks = ("runbook.schema.json".to_owned(), pretty(&runbook_schema(ALL)));
    for (name, text) in others.chain([runbooks, ("steps.md".to_owned(), reference(ALL))]) {
        let path = folder.join(&name);
        if env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "schemas/{name} is not what the source says: `UPDATE=1 cargo test --test it schema`");
    }
}

#[test]
fn every_shipped_runbook_names_the_schema_and_fits_it() {
    let schema = runbook_schema(ALL);
    for (name, text) in shipped() {
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, "# yaml-language-server: $schema=../schemas/runbook.schema.json", "{name}");
        assert_eq!(refused(&schema, &text), [""; 0], "{name}");
        if let Err(problems) = load(&text, ALL) {
            panic!("{}", firedrill::problem::render(&name, &text, &problems, false));
        }
    }
}

#[test]
fn the_schema_says_where_and_by_which_keyword_it_refuses() {
    let schema = runbook_schema(ALL);
    let (_, good) = shipped().into_iter().find(|(name, _)| name == "recover_bucket.yaml").expect("it is shipped");
    for (from, to, wanted) in [
        ("format: 1", "format: 2", "/format const"),
        ("runbook: recover_bucket", "runbook: Recover", "/runbook pattern"),
        ("kind: recovery", "kind: recover", "/kind oneOf"),
        ("summary:", "sumary:", " additionalProperties"),
        ("type: duration", "type: time", "/inputs/settle/type oneOf"),
        ("uses: bucket.prepare", "uses: bucket.prepair", "/steps/3/uses oneOf"),
        ("- id: ready", "- id: Ready", "/steps/4/id pattern"),
        ("on_failure: warn", "on_failure: ignore", "/steps/2/on_failure oneOf"),
        ("before_prepare: true", "before_prepare: 7", "/steps/1/with/before_prepare anyOf"),
        ("before_prepare: true", "before_prepaer: true", "/steps/1/with additionalProperties"),
        ("    expect: [\"out.versions > 0\"]", "    expect: \"out.versions > 0\"", "/steps/6/expect type"),
    ] {
        assert!(good.contains(from), "{from}");
        let said = refused(&schema, &good.replacen(from, to, 1));
        assert!(said.iter().any(|one| one == wanted), "{to}: wanted `{wanted}`, found {said:?}");
    }
}

#[test]
fn a_line_of_a_journal_fits_the_schema_of_journals() {
    let validator = jsonschema::validator_for(&journal_schema()).unwrap();
    let line = json!({"v": 1, "seq": 1, "at": "2026-11-23T18:00:00Z", "prev": "0", "path": "look",
        "event": "receipt", "key": "start", "n": 1, "outcome": {"done": {"reset_id": "x"}}});
    assert!(validator.is_valid(&line));
    // A run that rebuilt a bucket on real servers: what version 1 of the format wrote is read for ever.
    let recorded = include_str!("../cases/journals/recovered.jsonl");
    for line in recorded.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let errors: Vec<String> = validator.iter_errors(&line).map(|e| e.to_string()).collect();
        assert_eq!(errors, [""; 0], "{line}");
    }
    let journal = firedrill::journal::parse(recorded.as_bytes()).unwrap();
    let state = firedrill::replay::RunState::replay(&journal.lines).unwrap();
    assert_eq!(firedrill::verdict::verdict(&state).1, firedrill::verdict::Exit::Held);
    for (field, bad) in
        [("event", json!("recipe")), ("n", json!("one")), ("outcome", json!({"did": 1})), ("prev", json!(0))]
    {
        let mut line = line.clone();
        line[field] = bad;
        assert!(!validator.is_valid(&line), "{line}");
    }
}

#[test]
fn the_schema_itself_is_valid() {
    for schema in both().map(runbook_schema).into_iter().chain(others().into_iter().map(|(_, schema)| schema)) {
        jsonschema::meta::validate(&schema).unwrap();
        jsonschema::validator_for(&schema).unwrap();
    }
}

#[test]
fn the_schema_accepts_a_good_runbook_and_refuses_what_it_can() {
    let schema = runbook_schema(TOYS);
    let good = include_str!("../cases/ok/language.yaml");
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/ok");
    for case in fs::read_dir(cases).unwrap().map(|entry| entry.unwrap().path()) {
        if case.extension().is_some_and(|extension| extension == "yaml") {
            assert_eq!(refused(&schema, &fs::read_to_string(&case).unwrap()), [""; 0], "{}", case.display());
        }
    }
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
        "| `target` | role | `target` | The site that is looked at. |\n",
        "| `limit` | integer |  | Look at no more than this many. |\n",
        "| `pause` | duration | `10m` | Wait this long between looks. |\n",
        "| `settle` | duration |  | Wait this long for differences to close. |\n",
        "| `mode` | `fast` or `slow_and_safe` | `fast` | How to look. |\n",
        "| `exclude` | list of text |  | Leave out keys that begin so. |\n",
        "| `sample` | `all` or `{count: …}` with integer or `{fraction: …}` with number |  | How much to look at. |\n",
        "| `headers` | mapping to text |  | A header of each request, by name. |\n",
        "| `checks` | list of mapping | What was looked at. |\n",
        "| `checks[].key` | text | The key. |\n",
        "| `first.key` | text | The key. |\n",
        "```yaml\nid: look\n",
    ] {
        assert!(page.contains(row), "{row}\nis not in\n{page}");
    }
}

/// What an example refers to is put in front of it: inputs and steps that only the whole runbook has.
#[test]
fn every_example_is_one_step_that_checks() {
    for kinds in both() {
        for kind in kinds {
            let text = around(kind);
            if let Err(problems) = load(&text, kinds) {
                panic!("{}", firedrill::problem::render(kind.uses, &text, &problems, false));
            }
            assert_eq!(refused(&runbook_schema(kinds), &text), [""; 0], "{}", kind.uses);
        }
    }
}

/// The smallest runbook that an example can stand in.
fn around(kind: &Kind) -> String {
    let example = kind.example.trim();
    let indent = if example.starts_with("- ") { "\n  " } else { "\n    " };
    let example = example.trim_start_matches("- ").replace('\n', indent);
    let mut inputs = String::new();
    for (name, sort) in [("bucket", "bucket"), ("max_attempts", "integer")] {
        if example.contains(&format!("inputs.{name}")) {
            inputs.extend(["  ", name, ": { type: ", sort, ", description: Given }\n"]);
        }
    }
    let inputs = if inputs.is_empty() { inputs } else { format!("inputs:\n{inputs}") };
    let mut before = String::new();
    for (id, step) in [
        ("targets", "{ id: targets, uses: replication.targets, with: { bucket: invoices } }"),
        ("compare", "{ id: compare, uses: versions.compare, with: { bucket: invoices } }"),
        ("damage", "{ id: damage, uses: versions.compare, with: { bucket: invoices } }"),
        (
            "start",
            "{ id: start, uses: resync.start, with: { bucket: invoices, arn: \"arn:minio:replication::1:invoices\" } }",
        ),
    ] {
        if example.contains(&format!("steps.{id}.")) {
            before.extend(["  - ", step, "\n"]);
        }
    }
    format!(
        "format: 1\nrunbook: example\nsummary: An example\nkind: recovery\n{inputs}roles:\n  \
         source: {{ description: Healthy }}\n  target: {{ description: Damaged }}\nsteps:\n{before}  - {example}\n"
    )
}
