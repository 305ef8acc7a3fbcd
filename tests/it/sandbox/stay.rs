//! `firedrill sandbox`: how it is reached, that only this machine reaches it, and how it ends.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use super::until;
use crate::{
    case::{Firedrill, Running},
    client,
    pair::Server,
};

/// Started, with what it said of how to reach it.
fn started(more: &[&str]) -> (Running, Value) {
    let running = Firedrill::new().args(["sandbox", "healthy", "--output", "json"].iter().chain(more)).spawn();
    until(|| serde_json::from_str::<Value>(&running.so_far()).is_ok());
    let said = serde_json::from_str(&running.so_far()).expect("one document");
    (running, said)
}

fn site(said: &Value, role: &str) -> Server {
    let text = |name: &str| said["sites"][role][name].as_str().expect("a text");
    Server::elsewhere("elsewhere", text("endpoint"), text("access_key"), text("secret_key"))
}

#[test]
fn a_pair_that_stays_tells_how_to_reach_it() {
    let running = Firedrill::new().args(["sandbox", "healthy"]).spawn();
    until(|| running.so_far().contains("Ctrl-C"));
    let said = running.so_far();
    let host = |alias: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(&format!("export MC_HOST_{alias}=")));
        line.expect("a site").to_owned()
    };
    let verify = Firedrill::new().env("MC_HOST_source", &host("source")).env("MC_HOST_target", &host("target"));
    verify.args(["verify", "source/invoices", "target/invoices"]).run().exit(0);
    running.signal("INT");
    assert_eq!(running.wait().code, 0);
}

#[test]
fn a_script_reads_one_document_and_ends_it_with_a_signal() {
    for signal in ["TERM", "INT", "HUP"] {
        let (running, said) = started(&[]);
        assert_eq!((said["scenario"].as_str(), said["bucket"].as_str()), (Some("healthy"), Some("invoices")));
        for role in ["source", "target"] {
            assert_eq!(said["sites"][role]["region"], "us-east-1");
            let (status, body) = client::signed(&site(&said, role), "GET", "/invoices?versions=&max-keys=1");
            assert!(status == 200 && body.contains("<Version>"), "{status} {body}");
        }
        running.signal(signal);
        let ended = running.wait();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{signal}");
    }
}

/// What a process listens on, as the kernel knows it: address and port in hexadecimal.
fn listening(pid: u32) -> BTreeSet<String> {
    let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its files")
        .filter_map(|entry| {
            let link = fs::read_link(entry.ok()?.path()).ok()?;
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut found = BTreeSet::new();
    for (table, listens) in [("tcp", Some("0A")), ("tcp6", Some("0A")), ("udp", None), ("udp6", None)] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if listens.is_none_or(|state| fields[3] == state) && sockets.contains(fields[9]) {
                found.insert(format!("{table} {}", fields[1]));
            }
        }
    }
    found
}

#[test]
fn it_listens_on_this_machine_only() {
    let (running, said) = started(&[]);
    // 127.0.0.1, as it stands in memory.
    let expected = ["source", "target"].map(|role| format!("tcp 0100007F:{:04X}", site(&said, role).port));
    assert_eq!(listening(running.id()), BTreeSet::from(expected));
    running.signal("TERM");
    running.wait();
}

#[test]
fn scenarios_are_listed_with_a_line_each() {
    let list = |more: &[&str]| Firedrill::new().args(["sandbox", "--list"].iter().chain(more)).run().exit(0);
    let text = list(&[]).stdout;
    let listed = list(&["--output", "json"]).json();
    let listed = listed.as_array().expect("a list");
    let known = firedrill::sandbox::scenario::ALL.iter().map(|(name, _)| *name);
    assert!(known.eq(listed.iter().filter_map(|row| row["scenario"].as_str())), "{listed:?}");
    assert_eq!(text.lines().count(), listed.len() + 1, "{text}");
    for row in listed {
        let (name, summary) = (row["scenario"].as_str().unwrap(), row["summary"].as_str().unwrap());
        assert!(text.lines().any(|line| line.contains(name) && line.contains(summary)), "{name}");
    }
    Firedrill::new().args(["sandbox", "healthy", "--list"]).run().exit(2);
    Firedrill::new().args(["sandbox", "nowhere"]).run().exit(3).says("there is no scenario `nowhere`");
}
