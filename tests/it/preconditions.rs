//! Every precondition of `steps.md` that two real servers can be made to fail: the check is named with its remedy, the
//! run ends with exit code 4, and nothing was changed on either server.
//!
//! Held by unit tests alone, because one machine with one binary and one clock, without TLS, cannot be made to fail them:
//! `versions_match`, `clock_skew`, `free_space`, `source_healthy` and `sse_c` (which MinIO takes over TLS only).

mod access;
mod buckets;
mod capacity;
mod encryption;
mod rules;
mod sites;
mod waivers;

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    case::{Firedrill, Outcome},
    client,
    pair::{Pair, Rule, Server},
    seed,
};

/// A bucket on two sites, as the operator names them.
struct Bench<'a> {
    pair: &'a Pair,
    /// As the operator sees it; his account or his way to it may be others than the pair's own.
    source: Server,
    target: Server,
    bucket: String,
    target_bucket: String,
}

/// One check, as it is expected.
#[derive(Default)]
struct Expected<'a> {
    id: &'a str,
    /// What stands in its detail or its remedy.
    says: &'a [&'a str],
    /// Other findings that follow from the same cause.
    with: &'a [&'a str],
}

/// What a call of the program said about the preconditions.
struct Seen {
    drill: Firedrill,
    outcome: Outcome,
    /// The end of the step `preconditions` in the journal.
    step: Value,
}

impl<'a> Bench<'a> {
    /// A bucket name that may or may not exist yet.
    fn new(pair: &'a Pair, bucket: &str) -> Self {
        let same = |server: &Server| server.at(&server.endpoint());
        Self {
            pair,
            source: same(&pair.source),
            target: same(&pair.target),
            bucket: bucket.into(),
            target_bucket: bucket.into(),
        }
    }

    /// A bucket that is replicated by the rule and holds three versions, all replicated.
    fn stocked(pair: &'a Pair, bucket: &str, rule: &Rule) -> Self {
        pair.replicate(bucket, rule);
        stock(&pair.source, bucket);
        pair.wait_replicated(bucket);
        Self::new(pair, bucket)
    }

    fn place(&self, alias: &str) -> String {
        format!("{alias}/{}", if alias == "target" { &self.target_bucket } else { &self.bucket })
    }

    /// The id of the only rule.
    fn rule_id(&self) -> String {
        self.pair.rules("source", &self.bucket)[0]["rule"]["ID"].as_str().expect("its id").to_owned()
    }

    /// `mc replicate update` of the only rule.
    fn update_rule(&self, arguments: &[&str]) {
        let (place, id) = (self.place("source"), self.rule_id());
        self.pair.mc(&[&["replicate", "update", place.as_str(), "--id", id.as_str()], arguments].concat());
    }

    /// Everything that is in the bucket and set on it, on both sites.
    fn state(&self) -> String {
        let of = |server: &Server, bucket: &str| {
            let (status, _) = client::signed(server, "GET", &format!("/{bucket}?location="));
            match status {
                200 => format!("{}\n{:#?}", seed::bucket_fingerprint(server, bucket), seed::inventory(server, bucket)),
                other => format!("{bucket}: {other}"),
            }
        };
        let (source, target) = (of(&self.pair.source, &self.bucket), of(&self.pair.target, &self.target_bucket));
        format!("source: {source}\ntarget: {target}")
    }

    fn verify(&self, more: &[&str]) -> Seen {
        self.call(&[&["verify", "-i", "settle=1s"], more].concat())
    }

    fn recover(&self, more: &[&str]) -> Seen {
        self.call(&[&["recover", "--confirm-target", "target"], more].concat())
    }

    fn call(&self, arguments: &[&str]) -> Seen {
        let (source, target) = (self.place("source"), self.place("target"));
        let drill = Firedrill::new().site("source", &self.source).site("target", &self.target);
        let drill = drill.args([&arguments[..1], &[&source, &target], &arguments[1..]].concat());
        let outcome = drill.run();
        drill.assert_no_secrets(&[&outcome], &self.pair.secrets());
        let step = drill.events("step_ended").into_iter().find(|line| line["path"] == "preconditions");
        let step = step.unwrap_or_else(|| panic!("no preconditions\n{}\n{}", outcome.stdout, outcome.stderr));
        Seen { drill, outcome, step }
    }

    /// Waits until the target's bucket holds as many versions, where not all are replicated.
    fn wait_target(&self, versions: usize) {
        let end = Instant::now() + Duration::from_mins(2);
        while seed::inventory(&self.pair.target, &self.target_bucket).len() != versions {
            assert!(Instant::now() < end, "{} has not {versions} versions", self.target_bucket);
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Does what the check's remedy says, word by word. Then the check passes.
    #[track_caller]
    fn paste_remedy(&self, id: &str) {
        let seen = self.verify(&[]);
        let remedy = seen.check(id)["remedy"].as_str().unwrap_or_default();
        let keys = format!("{}:{}", self.pair.target.access_key, self.pair.target.secret_key);
        let commands: Vec<&str> = remedy.split('`').filter(|text| text.starts_with("mc ")).collect();
        assert!(!commands.is_empty(), "no command: {remedy}");
        for command in commands {
            let command = command.replace("KEY:SECRET", &keys).replace('"', "");
            self.pair.mc(&command.split(' ').skip(1).collect::<Vec<_>>());
        }
        let seen = self.verify(&[]);
        assert_eq!(seen.check(id)["verdict"], "pass", "after {remedy}: {}", seen.outcome.stdout);
    }

    /// `verify` refuses, for this reason, and changes nothing.
    #[track_caller]
    fn verify_refuses(&self, expected: &Expected<'_>) {
        let before = self.state();
        self.verify(&[]).refused(expected);
        assert_eq!(self.state(), before, "{}: verify changed something", expected.id);
    }

    /// `verify` and `recover` refuse, for this reason, and change nothing.
    #[track_caller]
    fn both_refuse(&self, expected: &Expected<'_>) {
        let before = self.state();
        self.verify(&[]).refused(expected);
        self.recover(&[]).refused(expected).sent_nothing();
        assert_eq!(self.state(), before, "{}: something was changed", expected.id);
    }

    /// `verify` warns, with these words, and this does not keep the preconditions from holding.
    #[track_caller]
    fn verify_warns(&self, expected: &Expected<'_>) {
        let before = self.state();
        let seen = self.verify(&[]);
        assert_eq!(seen.step["verdict"], "held", "{}\n{}", seen.step, seen.outcome.stdout);
        seen.has("warn", expected);
        assert_eq!(self.state(), before, "{}: verify changed something", expected.id);
    }
}

impl Seen {
    /// The check, as the journal has it.
    #[track_caller]
    fn check(&self, id: &str) -> &Value {
        let checks = self.step["output"]["checks"].as_array();
        let checks = checks.unwrap_or_else(|| panic!("no checks: {}\n{}", self.step, self.outcome.stdout));
        checks.iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check `{id}`"))
    }

    #[track_caller]
    fn has(&self, verdict: &str, expected: &Expected<'_>) {
        let check = self.check(expected.id);
        assert_eq!(check["verdict"], verdict, "{check:#}\n{}", self.outcome.stdout);
        let [detail, remedy] = ["detail", "remedy"].map(|name| check[name].as_str().unwrap_or_default());
        assert!(!remedy.is_empty(), "no remedy: {check:#}");
        for text in expected.says {
            assert!(detail.contains(text) || remedy.contains(text), "nothing about `{text}`: {check:#}");
        }
        assert!(self.outcome.stdout.contains(detail), "the detail is not printed\n{}", self.outcome.stdout);
    }

    fn findings(&self) -> Vec<String> {
        let findings = self.step["findings"].as_array().cloned().unwrap_or_default();
        findings.iter().map(|finding| finding["id"].as_str().expect("its id").to_owned()).collect()
    }

    /// Refused with exit code 4 by a check that fails, and by nothing that is not expected beside it.
    #[track_caller]
    fn refused(&self, expected: &Expected<'_>) -> &Self {
        self.stopped_by("fail", expected)
    }

    /// As [`Seen::refused`], by a check that came to `verdict`.
    #[track_caller]
    fn stopped_by(&self, verdict: &str, expected: &Expected<'_>) -> &Self {
        let said = &self.outcome;
        assert_eq!(self.step["verdict"], "not_held", "{:#}\n{}", self.step, said.stdout);
        self.outcome.clone().exit(4);
        self.has(verdict, expected);
        let findings = self.findings();
        assert!(
            findings.contains(&expected.id.to_owned()),
            "no finding {}: {findings:?}\n{}",
            expected.id,
            said.stdout
        );
        let strange: Vec<_> =
            findings.iter().filter(|id| *id != expected.id && !expected.with.contains(&id.as_str())).collect();
        assert!(strange.is_empty(), "also found: {strange:?}\n{}", said.stdout);
        let remedy = self.check(expected.id)["remedy"].as_str().unwrap_or_default();
        assert!(said.stdout.contains(&format!("remedy: {remedy}")), "the remedy is not printed\n{}", said.stdout);
        self
    }

    /// No change was as much as intended.
    #[track_caller]
    fn sent_nothing(&self) {
        let intents = self.drill.events("intent");
        assert!(intents.is_empty(), "{intents:#?}");
    }
}

/// Three versions of two keys.
fn stock(server: &Server, bucket: &str) {
    for (key, body) in [("a", "first"), ("a", "second"), ("deep/b", "third")] {
        seed::put(server, bucket, key, body.as_bytes());
    }
}
