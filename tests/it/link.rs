//! A bucket that is replicated through a proxy, so that a resync can be held in the middle for as long as it takes.

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    case::{Firedrill, Outcome},
    client,
    pair::{Pair, Rule, Server},
    proxy::{At, Gate, Proxy, Recorded},
    scene::next_second,
    seed,
};

/// Versions in the bucket of a link.
pub(crate) const VERSIONS: usize = 240;

/// A bucket of a pair with a proxy in front of each site: the source too sees the target only through one.
pub(crate) struct Link<'p> {
    pub(crate) pair: &'p Pair,
    pub(crate) bucket: String,
    pub(crate) arn: String,
    /// In front of the source, for the program.
    pub(crate) source: Proxy,
    /// In front of the target, for the program and for the source.
    pub(crate) target: Proxy,
}

impl<'p> Link<'p> {
    /// Two proxies, and no rule yet.
    pub(crate) fn new(pair: &'p Pair, bucket: &str) -> Self {
        let (source, target) = (Proxy::start(&pair.source.endpoint()), Proxy::start(&pair.target.endpoint()));
        Self { pair, bucket: bucket.to_owned(), arn: String::new(), source, target }
    }

    /// Adds a rule from the source to the bucket on the target, with the credentials of that handle.
    pub(crate) fn connect(mut self, target: &Server, rule: &Rule) -> Self {
        let remote = target.at(&self.target.endpoint()).remote(&self.bucket);
        self.arn = self.pair.add_rule("source", &self.bucket, &remote, rule);
        self
    }

    /// The bucket is on both sites, replicated by the rule, and empty.
    pub(crate) fn empty(pair: &'p Pair, bucket: &str, rule: &Rule) -> Self {
        pair.make_bucket("source", bucket, rule.lock);
        pair.make_bucket("target", bucket, rule.lock);
        Self::new(pair, bucket).connect(&pair.target, rule)
    }

    /// The bucket has versions on the source, and on the target it has lost all of them.
    pub(crate) fn damaged(pair: &'p Pair, bucket: &str) -> Self {
        let link = Self::empty(pair, bucket, &Rule::default());
        seed::small(&pair.source, bucket, VERSIONS);
        pair.wait_replicated(bucket);
        seed::empty(&pair.target, bucket);
        next_second();
        link
    }

    /// Holds the sending of most versions; the first ones pass.
    pub(crate) fn hold(&self) -> Gate {
        self.target.hold(At::Request, self.most())
    }

    /// Denies most versions, in place of holding them.
    pub(crate) fn deny(&self) {
        self.target.clear();
        self.target.deny(self.most());
    }

    fn most(&self) -> impl Fn(&Recorded) -> bool + Send + Sync + 'static {
        let prefix = format!("/{}/data/", self.bucket);
        move |request| {
            let key = request.path.strip_prefix(&prefix).filter(|_| request.method == "PUT");
            key.is_some_and(|key| key >= "0060")
        }
    }

    /// The program, with both sites named.
    pub(crate) fn firedrill(&self) -> Firedrill {
        let (source, target) = (&self.pair.source, &self.pair.target);
        Firedrill::new()
            .site("src", &source.at(&self.source.endpoint()))
            .site("dst", &target.at(&self.target.endpoint()))
    }

    /// `firedrill recover`, as a person would call it.
    pub(crate) fn recover(&self, options: &[&str]) -> Firedrill {
        let (source, target) = (format!("src/{}", self.bucket), format!("dst/{}", self.bucket));
        let mut args = vec!["recover", &source, &target, "--confirm-target", "dst"];
        args.extend(options);
        self.firedrill().args(args)
    }

    /// A runbook of a test's own over this bucket: `BUCKET` and `ARN` in the steps stand for it.
    pub(crate) fn run(&self, steps: &str) -> Firedrill {
        let steps = steps.replace("BUCKET", &self.bucket).replace("ARN", &self.arn);
        let text = format!(
            "format: 1\nrunbook: own\nsummary: Steps of a test\nkind: recovery\n\
             roles:\n  source: {{ description: Healthy site }}\n  target: {{ description: Damaged site }}\n\
             steps:\n{steps}"
        );
        let sites = ["--site", "source=src", "--site", "target=dst", "--confirm-target", "dst"];
        self.firedrill().file("own.yaml", &text).args(["run", "own.yaml"].into_iter().chain(sites))
    }

    /// Starts a resync as another client would, past the program.
    pub(crate) fn start(&self, reset_id: &str) -> (u16, String) {
        let arn = self.arn.replace(':', "%3A");
        let path = format!("/{}?replication-reset=&arn={arn}&reset-id={reset_id}", self.bucket);
        client::signed(&self.pair.source, "PUT", &path)
    }

    /// What the source says of the last resync.
    pub(crate) fn status(&self) -> Value {
        let path = format!("/{}?replication-reset-status=", self.bucket);
        let (_, text) = client::signed(&self.pair.source, "GET", &path);
        let mut status: Value = serde_json::from_str(&text).expect("a status");
        status["target"][0].take()
    }

    /// Waits until that resync is over.
    pub(crate) fn wait_over(&self, reset_id: &str) -> Value {
        let mut status = Value::Null;
        wait_until(&format!("resync {reset_id} does not end"), || {
            status = self.status();
            let running = ["Pending", "Ongoing"].iter().any(|word| status["resyncStatus"] == *word);
            status["resetid"] == reset_id && !running
        });
        status
    }

    /// Waits until the source has failed to answer the program.
    pub(crate) fn wait_unanswered(&self) {
        let unanswered = |requests: &[Recorded]| requests.iter().filter(|request| request.status.is_none()).count();
        wait_until("the source is not asked", || unanswered(&self.source.requests()) > 2);
    }

    /// How often the program asked the source to start a resync.
    pub(crate) fn starts(&self) -> usize {
        self.source.count(Recorded::starts_resync)
    }

    /// Green, and by an independent listing both sites have the same versions.
    #[track_caller]
    pub(crate) fn assert_rebuilt(&self, outcome: Outcome) {
        outcome.exit(0);
        self.assert_same();
    }

    #[track_caller]
    pub(crate) fn assert_same(&self) {
        assert!(seed::inventory(&self.pair.source, &self.bucket).len() >= VERSIONS.min(3), "nothing to compare");
        seed::assert_same(&self.pair.source, &self.pair.target, &self.bucket);
    }

    /// Whatever came of it: never green while the sites differ. Both servers must be up.
    #[track_caller]
    pub(crate) fn assert_honest(&self, outcome: &Outcome) {
        if outcome.code == 0 {
            self.assert_same();
        }
    }
}

fn wait_until(complaint: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !done() {
        assert!(Instant::now() < end, "{complaint}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The reset ids of all starts that a run meant to send, in order.
pub(crate) fn reset_ids(run: &Firedrill) -> Vec<String> {
    let starts = run.events("intent").into_iter().filter(|line| line["change"] == "StartResync");
    starts.map(|line| line["body"]["reset_id"].as_str().expect("a reset id").to_owned()).collect()
}

/// How the last entry into a step ended.
#[track_caller]
pub(crate) fn step_end(run: &Firedrill, step: &str) -> Value {
    let ends = run.events("step_ended");
    ends.into_iter().rfind(|line| line["path"] == step).unwrap_or_else(|| panic!("`{step}` has not ended"))
}

/// The finding of a step's end.
#[track_caller]
pub(crate) fn finding(end: &Value, id: &str) -> (String, String) {
    let found = end["findings"].as_array().and_then(|all| all.iter().find(|finding| finding["id"] == id));
    let found = found.unwrap_or_else(|| panic!("no finding `{id}`: {end:#}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    (text("text"), text("remedy"))
}
