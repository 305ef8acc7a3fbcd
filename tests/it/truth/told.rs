//! What came out of a case, as lines that are equal on every pair that behaves as MinIO does.

use std::collections::{BTreeMap, HashSet};

use regex_lite::Regex;
use serde_json::Value;

use super::Bench;
use crate::{case::Firedrill, client, pair::Server, redact::redact};

/// Fields of outputs that tell how long something took, how often it was asked, or what a server counted so far.
const MOVING: [&str; 29] = [
    "duration",
    "rate",
    "traced",
    "replicated_count",
    "replicated_bytes",
    "failed_count",
    "latency",
    "clock",
    "free_bytes",
    "uptime_seconds",
    "release",
    "releases",
    "metrics",
    "seconds",
    "settled_after",
    "online",
    "target_online",
    "trace_errors",
    "queued_count",
    "queued_bytes",
    "settled_seconds",
    "received_count",
    "received_bytes",
    "latency_average",
    "latency_max",
    "bandwidth_now",
    "failed_last_minute",
    "failed_last_hour",
    "failed_total",
];

/// The steps of the newest run: verdicts, findings, failures and outputs.
pub(super) fn journal(drill: &Firedrill, bench: &Bench<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for line in drill.journal() {
        match line["event"].as_str().unwrap_or_default() {
            "step_ended" => {
                let mut ended = line.clone();
                let path = ended["path"].as_str().unwrap_or_default().to_owned();
                lines.push(format!("  {path}: {}", ended["verdict"]));
                prune(&mut ended["output"]);
                for (name, value) in flat(&ended["output"]) {
                    lines.push(format!("    {name}: {}", masked(&value, drill, bench)));
                }
                for finding in ended["findings"].as_array().into_iter().flatten() {
                    lines.push(format!(
                        "    finding {}: {}",
                        finding["id"],
                        masked(&finding.to_string(), drill, bench)
                    ));
                }
                if !ended["failure"].is_null() {
                    lines.push(format!("    failure {}", masked(&ended["failure"].to_string(), drill, bench)));
                }
            }
            "run_ended" => lines.push(format!("  the run: {}", line["verdict"])),
            _ => {}
        }
    }
    lines
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !MOVING.contains(&name.as_str()));
            fields.values_mut().for_each(prune);
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The fields of an output, each with its JSON; lists entry by entry.
fn flat(output: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (name, value) in output.as_object().into_iter().flatten() {
        match value {
            Value::Array(all) => {
                for (n, entry) in all.iter().enumerate() {
                    let name = entry["id"].as_str().map_or_else(|| format!("{name}[{n}]"), |id| format!("{name} {id}"));
                    found.insert(name, entry.to_string());
                }
            }
            other => drop(found.insert(name.clone(), other.to_string())),
        }
    }
    found
}

pub(super) fn masked(text: &str, drill: &Firedrill, bench: &Bench<'_>) -> String {
    let keys = [&bench.pair.source, &bench.pair.target].map(|server| server.access_key.as_str());
    let text = keys.iter().fold(redact(text, drill.folder()), |text, key| text.replace(key, "[KEY]"));
    let masks = [
        (r"arn:minio:replication::\[UUID\]", "[ARN]"),
        (r"firedrill-[0-9a-z-]+", "[RESET ID]"),
        (r"\b[0-9a-v]{20}\b", "[RULE]"),
        (r"\d+(\.\d+)? [KMGT]iB are free", "[SPACE] are free"),
        // How far a listing came before it was clear that the target holds more.
        (r"(at least )?\d+ versions against", "[MORE] versions against"),
        (r"\d+(\.\d+)? ([KMGT]i)?B are to be restored", "[SIZE] are to be restored"),
        (r#"both run [^"]+"#, "both run [RELEASE]"),
    ];
    masks.iter().fold(text, |text, (pattern, mask)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *mask).into_owned()
    })
}

/// An answer of a site without ids, times, addresses, and the counters of a resync.
pub(super) fn of_answer(body: &str, bench: &Bench<'_>) -> String {
    let keys = [&bench.pair.source, &bench.pair.target].map(|server| server.access_key.as_str());
    let text = keys.iter().fold(body.to_owned(), |text, key| text.replace(key, "[KEY]"));
    let masks = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[UUID]"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "[TIME]"),
        (r"<RequestId>[^<]*</RequestId><HostId>[^<]*</HostId>", ""),
        (r#""RequestId":"[^"]*","HostId":"[^"]*""#, ""),
        (r"<ID>[^<]*</ID>", ""),
        (r"127\.0\.0\.1:\d+", "[HOST]"),
        (r"firedrill-[0-9a-z-]+", "[RESET ID]"),
        (
            r#""(completedReplicationSize|replicationCount|failedReplicationCount|latency|object)":("[^"]*"|\{[^}]*\}|\d+),?"#,
            "",
        ),
        (r#""(isOnline|lastOnline|totalDowntime|offlineCount|latency)":("[^"]*"|\{[^}]*\}|\d+|true|false),?"#, ""),
    ];
    let text = masks.iter().fold(text, |text, (pattern, mask)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *mask).into_owned()
    });
    text.replace(",}", "}")
}

/// Every version in the order of the site's own listing, without its id.
pub(super) fn inventory(bench: &Bench<'_>, server: &Server, bucket: &str) -> Vec<String> {
    let (status, listing) = client::signed(server, "GET", &format!("/{bucket}?versions=&encoding-type=url"));
    if status != 200 {
        return vec![format!("  nothing: {status}")];
    }
    assert!(listing.contains("<IsTruncated>false</IsTruncated>"), "more than a page");
    let version = Regex::new(
        "<(Version|DeleteMarker)><Key>([^<]*)</Key><LastModified>[^<]*</LastModified><ETag>([^<]*)</ETag><Size>([^<]*)</Size>.*?\
         <IsLatest>([^<]*)</IsLatest><VersionId>([^<]*)</VersionId>",
    );
    let version = version.expect("a pattern");
    let line = |found: regex_lite::Captures<'_>| {
        let null = if &found[6] == "null" { " null" } else { "" };
        let etag = match &mut *bench.sealed.borrow_mut() {
            None => found[3].to_owned(),
            Some(known) => {
                let at = known.iter().position(|etag| *etag == found[3]).unwrap_or_else(|| {
                    known.push(found[3].to_owned());
                    known.len() - 1
                });
                format!("[ETAG {at}]")
            }
        };
        format!("  {} {} {etag} {} latest {}{null}", &found[1], &found[2], &found[4], &found[5])
    };
    version.captures_iter(&listing).map(line).collect()
}

/// The lines that one has and the other has not, in their order.
pub(super) fn difference(real: &[String], ours: &[String]) -> String {
    let lines = |text: &[String]| {
        text.iter().flat_map(|t| t.lines().map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let (real, ours) = (lines(real), lines(ours));
    let (in_real, in_ours): (HashSet<_>, HashSet<_>) = (real.iter().collect(), ours.iter().collect());
    let gone = real.iter().filter(|line| !in_ours.contains(line)).map(|line| format!("- {line}"));
    let new = ours.iter().filter(|line| !in_real.contains(line)).map(|line| format!("+ {line}"));
    let all: Vec<String> = gone.chain(new).collect();
    let all: Vec<String> = all.into_iter().map(|line| line.chars().take(700).collect()).collect();
    if all.is_empty() { format!("the same lines in another order\n{real:#?}\n{ours:#?}") } else { all.join("\n") }
}
