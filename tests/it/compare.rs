//! `firedrill compare`: what it prints of two buckets is what really is in them.

mod inventory;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    case::{Firedrill, Outcome},
    pair::{Pair, Rule, Server, needs_minio},
    proxy::Proxy,
    sandbox::Sandbox,
    seed,
};

/// What the two listings of an independent client come to: class, key and version id.
fn truth(source: &Server, target: &Server, bucket: &str) -> BTreeSet<(String, String, String)> {
    told(&seed::inventory(source, bucket), &seed::inventory(target, bucket))
}

fn told(source: &[seed::Entry], target: &[seed::Entry]) -> BTreeSet<(String, String, String)> {
    fn index(entries: &[seed::Entry]) -> BTreeMap<(String, String), &seed::Entry> {
        entries.iter().map(|entry| ((entry.key.clone(), entry.version_id.clone()), entry)).collect()
    }
    let (source, target) = (index(source), index(target));
    let all: BTreeSet<_> = source.keys().chain(target.keys()).collect();
    let class = |id: &(String, String)| match (source.get(id), target.get(id)) {
        (Some(_), None) => Some("missing"),
        (None, Some(_)) => Some("extra"),
        (Some(one), Some(other)) => (one != other).then_some("different"),
        (None, None) => None,
    };
    let told = |id: &(String, String)| Some((class(id)?.to_owned(), id.0.clone(), id.1.clone()));
    all.into_iter().filter_map(told).collect()
}

fn servers(sandbox: &Sandbox) -> [Server; 2] {
    let pair = &sandbox.pair;
    [Sandbox::server("source", &pair.source), Sandbox::server("target", &pair.target)]
}

fn case(servers: &[Server; 2]) -> Firedrill {
    Firedrill::new().site("src", &servers[0]).site("dst", &servers[1])
}

fn compare(servers: &[Server; 2], more: &[&str]) -> Outcome {
    case(servers).args(["compare", "src/invoices", "dst/invoices"].iter().chain(more)).run()
}

fn lines(outcome: &Outcome) -> BTreeSet<(String, String, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().expect("a text").to_owned();
    let lines = outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.map(|line| (text(&line, "class"), text(&line, "key"), text(&line, "version_id"))).collect()
}

/// Records of RFC 4180.
fn records(text: &str) -> Vec<Vec<String>> {
    let (mut records, mut record, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quoted) {
            ('"', true) if chars.peek() == Some(&'"') => field.extend(chars.next()),
            ('"', _) => quoted = !quoted,
            (',', false) => record.push(std::mem::take(&mut field)),
            ('\r', false) => {
                assert_eq!(chars.next(), Some('\n'));
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            (c, _) => field.push(c),
        }
    }
    assert!(!quoted && record.is_empty() && field.is_empty(), "the last record has no end");
    records
}

#[test]
fn every_difference_is_told_and_nothing_else() {
    for (name, code) in [("healthy", 0), ("partial_loss", 4), ("extra_versions", 4), ("different_content", 4)] {
        let sandbox = Sandbox::start(name);
        let servers = servers(&sandbox);
        let truth = truth(&servers[0], &servers[1], "invoices");
        assert_eq!(truth.is_empty(), code == 0, "{name}");
        let jsonl = compare(&servers, &["--format", "jsonl"]).exit(code);
        assert_eq!(lines(&jsonl), truth, "{name}");
        assert_eq!(jsonl.stdout.lines().count(), truth.len(), "{name}: one of them is told twice");

        let csv = records(&compare(&servers, &["--format", "csv"]).exit(code).stdout);
        assert_eq!(csv[0][..4], ["class", "key", "version_id", "detail"]);
        let told = csv[1..].iter().map(|record| (record[0].clone(), record[1].clone(), record[2].clone()));
        assert_eq!(told.collect::<BTreeSet<_>>(), truth, "{name}");

        let counts = compare(&servers, &["--output", "json"]).exit(code).json();
        let text = compare(&servers, &[]).exit(code);
        for class in ["missing", "extra", "different", "pending"] {
            let of_class = truth.iter().filter(|(told, ..)| told == class).count();
            assert_eq!(counts[class], of_class, "{name}");
            let examples = counts["examples"].as_array().unwrap().iter().filter(|one| one["class"] == class).count();
            assert_eq!(examples, of_class.min(5), "{name}");
            if of_class > 0 {
                assert!(text.stdout.contains(&format!("{of_class} {class}")), "{}", text.stdout);
            }
        }
        assert_eq!(text.stdout.contains("\nEQUAL (exit 0)\n"), code == 0, "{}", text.stdout);
        assert_eq!(text.stderr, "");
    }
}

#[test]
fn the_document_is_the_output_of_the_step() {
    let sandbox = Sandbox::start("extra_versions");
    let servers = servers(&sandbox);
    let counts = compare(&servers, &["--output", "json", "--before", "now"]).exit(4).json();
    let run = case(&servers);
    run.clone().args(["verify", "src/invoices", "dst/invoices", "-i", "settle=0s"]).run().exit(4);
    let ended = run.events("step_ended").into_iter().find(|line| line["path"] == "compare").expect("a comparison");
    // When it was, and how long it took, is each one's own.
    let shared = |output: &Value| {
        let mut output = output.clone();
        output["before"] = json!(output["before"].is_string());
        output["settled_seconds"] = json!(output["settled_seconds"].is_number());
        output
    };
    assert_eq!(shared(&counts), shared(&ended["output"]));
}

#[test]
fn options_narrow_it_as_they_do_in_the_step() {
    let sandbox = Sandbox::start("extra_versions");
    let servers = servers(&sandbox);
    let truth = truth(&servers[0], &servers[1], "invoices");
    let under = |prefix: &str| truth.iter().filter(|one| one.1.starts_with(prefix)).cloned().collect::<BTreeSet<_>>();
    let jsonl = |more: &[&str]| compare(&servers, &[&["--format", "jsonl"], more].concat());
    assert_eq!(lines(&jsonl(&["--prefix", "stray/"]).exit(4)), under("stray/"));
    let without = jsonl(&["--exclude", "stray/*"]).exit(4);
    assert_eq!(lines(&without), truth.difference(&under("stray/")).cloned().collect());
    compare(&servers, &["--prefix", "stray/", "--accept", "extra"]).exit(0).says("but for what is accepted: extra");
    compare(&servers, &["--accept", "extra"]).exit(4).says("NOT EQUAL");
    compare(&servers, &["--before", "2000-01-01T00:00:00Z"]).exit(4).says("NOTHING TO COMPARE");
    compare(&servers, &["--prefix", "no such prefix"]).exit(4).says("NOTHING TO COMPARE");
    for concurrency in ["1", "8"] {
        assert_eq!(lines(&jsonl(&["--concurrency", concurrency, "--settle", "1s"]).exit(4)), truth);
    }
}

#[test]
fn strange_keys_come_as_they_are() {
    let sandbox = Sandbox::start("healthy");
    let servers = servers(&sandbox);
    let own = ["=1+1", "@SUM(A1)", "a,b", "line\nbreak", "return\r\nboth", "\"quoted\"", "tab\there", "bell\u{7}"];
    let keys: BTreeSet<String> = seed::STRANGE.iter().chain(&own).map(|key| (*key).to_owned()).collect();
    for key in &keys {
        seed::put(&servers[1], "invoices", key, b"x");
    }
    let jsonl = compare(&servers, &["--format", "jsonl"]).exit(4);
    assert_eq!(lines(&jsonl).into_iter().map(|(_, key, _)| key).collect::<BTreeSet<_>>(), keys);
    let csv = records(&compare(&servers, &["--format", "csv"]).exit(4).stdout);
    assert!(csv.iter().all(|record| record.len() == 12), "{csv:?}");
    assert_eq!(csv[1..].iter().map(|record| record[1].clone()).collect::<BTreeSet<_>>(), keys);
    // For people, what would move the cursor is escaped.
    let text = compare(&servers, &["--prefix", "bell"]).exit(4);
    assert!(text.stdout.contains("bell\\u{7}") && !text.stdout.contains('\u{7}'), "{}", text.stdout);
}

#[test]
fn what_cannot_be_told_is_not_equal() {
    let sandbox = Sandbox::start("target_lost");
    let there = servers(&sandbox);
    let lost = compare(&there, &["--output", "json"]).exit(4).json();
    assert_eq!((&lost["target_bucket_missing"], &lost["missing"]), (&json!(true), &json!(188)));
    case(&there).args(["compare", "src/absent", "dst/invoices"]).run().exit(5).says("does not exist on src");
    let offline = Sandbox::start("target_offline");
    compare(&servers(&offline), &["--format", "jsonl"]).exit(5);
}

#[test]
fn what_is_not_valid_is_refused_before_anything_is_asked() {
    let sandbox = Sandbox::start("healthy");
    let servers = servers(&sandbox);
    for (more, why) in [
        (&["--accept", "lost"][..], "`--accept`: unknown variant `lost`"),
        (&["--settle", "10 minutes"], "`--settle`"),
        (&["--before", "yesterday"], "`--before`: `yesterday` is not a time"),
        (&["--exclude", "[z"], "`--exclude`: `[z` is not a pattern"),
    ] {
        compare(&servers, more).exit(3).says(why);
    }
    compare(&servers, &["--format", "csv", "--output", "json"]).exit(2).says("one of them");
    compare(&servers, &["--concurrency", "0"]).exit(2);
    case(&servers).args(["compare", "src/invoices"]).run().exit(2);
    case(&servers).env("MC_CONFIG_DIR", "mc").args(["compare", "src/invoices", "nobody/invoices"]).run().exit(3);
    case(&servers).args(["compare", "src/invoices", "src/invoices"]).run().exit(3).says("src and src are one site");
    let twin = case(&servers).site("twin", &servers[0]);
    twin.args(["compare", "src/invoices", "twin/invoices"]).run().exit(3).says("one site");
}

#[test]
fn a_reader_that_has_gone_away_ends_it_quietly() {
    let sandbox = Sandbox::start("target_lost");
    let servers = servers(&sandbox);
    for form in ["csv", "jsonl"] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_firedrill"))
            .args(["compare", "src/invoices", "dst/invoices", "--format", form])
            .env("MC_HOST_src", servers[0].mc_host())
            .env("MC_HOST_dst", servers[1].mc_host())
            .stdout(writer)
            .output()
            .expect("it runs");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(5), ""), "{form}");
    }
}

#[test]
fn it_compares_the_pair_of_a_scenario() {
    let told = Firedrill::new().args(["compare", "--sandbox=partial_loss", "--format", "jsonl"]).run().exit(4);
    assert_eq!(told.stdout.lines().count(), 62);
    Firedrill::new().args(["compare", "--sandbox"]).run().exit(4).says("the bucket does not exist on the target");
    Firedrill::new().args(["compare", "--sandbox=healthy"]).run().exit(0).says("EQUAL (exit 0)");
    Firedrill::new().args(["compare", "--sandbox=no_such"]).run().exit(3);
    Firedrill::new().args(["compare", "--sandbox", "a/b", "c/d"]).run().exit(2);
}

#[test]
fn a_real_pair_is_compared_without_a_change_or_a_journal() {
    needs_minio!();
    let pair = Pair::shared();
    let bucket = "compare-alone";
    pair.replicate(bucket, &Rule::default());
    seed::fill(&pair.source, bucket, 7);
    pair.wait_replicated(bucket);
    let proxies = [&pair.source, &pair.target].map(|server| Proxy::start(&server.endpoint()));
    let behind = [pair.source.at(&proxies[0].endpoint()), pair.target.at(&proxies[1].endpoint())];
    let drill = case(&behind);
    let places = [format!("src/{bucket}"), format!("dst/{bucket}")];
    let run = |more: &[&str]| {
        let args = ["compare", &places[0], &places[1]];
        drill.clone().args(args.iter().chain(more)).run()
    };
    run(&["--metadata"]).exit(0).says("EQUAL (exit 0)");

    let before = seed::inventory(&pair.target, bucket);
    drill.clone().args(["compare", &places[1], "--save", "before", "--metadata"]).run().exit(0);
    for entry in before.iter().step_by(9) {
        seed::delete_version(&pair.target, bucket, &entry.key, &entry.version_id);
    }
    seed::put(&pair.target, bucket, "=stray \"quoted\", only here", b"x");
    let truth = truth(&pair.source, &pair.target, bucket);
    assert!(truth.len() > 20, "{truth:?}");
    let jsonl = run(&["--format", "jsonl"]).exit(4);
    assert_eq!(lines(&jsonl), truth);
    let text = run(&[]).exit(4);
    let file = ["compare", &places[1], "--against", "before", "--format", "jsonl"];
    let since = drill.clone().args(file).run().exit(4);
    assert_eq!(lines(&since), told(&before, &seed::inventory(&pair.target, bucket)));
    assert_eq!(proxies.iter().flat_map(Proxy::changing).count(), 0);
    assert!(!drill.folder().join("runs").exists(), "a run was left behind");
    drill.assert_no_secrets(&[&jsonl, &text, &since], &pair.secrets());
}
