//! Scenarios: what the two sites hold, how they behave, and what happens when. One YAML file each.

pub(super) mod fit;
mod values;

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::values::{Percent, Wait, Yes};
use crate::{
    problem::Problem,
    tree::{self, Node},
};

/// The scenarios that come with the program: name and text.
pub const ALL: &[(&str, &str)] = &[
    ("active_active", include_str!("scenarios/active_active.yaml")),
    ("all_shapes", include_str!("scenarios/all_shapes.yaml")),
    ("check_passes", include_str!("scenarios/check_passes.yaml")),
    ("clock_skew", include_str!("scenarios/clock_skew.yaml")),
    ("completed_with_nothing", include_str!("scenarios/completed_with_nothing.yaml")),
    ("counters_wrong", include_str!("scenarios/counters_wrong.yaml")),
    ("different_content", include_str!("scenarios/different_content.yaml")),
    ("excluded_prefixes", include_str!("scenarios/excluded_prefixes.yaml")),
    ("extra_versions", include_str!("scenarios/extra_versions.yaml")),
    ("frozen_counter", include_str!("scenarios/frozen_counter.yaml")),
    ("healthy", include_str!("scenarios/healthy.yaml")),
    ("kms_key_missing", include_str!("scenarios/kms_key_missing.yaml")),
    ("lock_mismatch", include_str!("scenarios/lock_mismatch.yaml")),
    ("markers_not_sent", include_str!("scenarios/markers_not_sent.yaml")),
    ("million_versions", include_str!("scenarios/million_versions.yaml")),
    ("null_versions", include_str!("scenarios/null_versions.yaml")),
    ("partial_loss", include_str!("scenarios/partial_loss.yaml")),
    ("purge_pending", include_str!("scenarios/purge_pending.yaml")),
    ("reset_id_flips", include_str!("scenarios/reset_id_flips.yaml")),
    ("resync_running", include_str!("scenarios/resync_running.yaml")),
    ("roles_swapped", include_str!("scenarios/roles_swapped.yaml")),
    ("rules_lost", include_str!("scenarios/rules_lost.yaml")),
    ("slow_down", include_str!("scenarios/slow_down.yaml")),
    ("slow_site", include_str!("scenarios/slow_site.yaml")),
    ("source_restarts", include_str!("scenarios/source_restarts.yaml")),
    ("source_restarts_completed", include_str!("scenarios/source_restarts_completed.yaml")),
    ("stuck", include_str!("scenarios/stuck.yaml")),
    ("target_lost", include_str!("scenarios/target_lost.yaml")),
    ("target_offline", include_str!("scenarios/target_offline.yaml")),
    ("target_stops_at_end", include_str!("scenarios/target_stops_at_end.yaml")),
    ("target_stops_midway", include_str!("scenarios/target_stops_midway.yaml")),
    ("wrong_credentials", include_str!("scenarios/wrong_credentials.yaml")),
];

/// What the two sites hold and how they behave.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name.
    pub scenario: String,
    /// One line about it.
    pub summary: String,
    /// The bucket on both sites.
    #[serde(default = "bucket")]
    pub bucket: String,
    /// What the source holds.
    #[serde(default)]
    pub data: Data,
    /// How the source replicates to the target.
    #[serde(default)]
    pub rule: Rule,
    /// What the target lacks of it, or has besides.
    #[serde(default)]
    pub damage: Damage,
    /// How the source behaves.
    #[serde(default)]
    pub source: Behaviour,
    /// How the target behaves.
    #[serde(default)]
    pub target: Behaviour,
    /// How resyncs on the source go.
    #[serde(default)]
    pub resync: Resync,
    /// What happens in the middle of a resync.
    #[serde(default)]
    pub events: Vec<Event>,
    /// The role `source` is bound to the damaged site, and `target` to the healthy one.
    #[serde(default)]
    pub roles_swapped: bool,
    /// Inputs for the runbook, besides `bucket`.
    #[serde(default)]
    pub inputs: BTreeMap<String, Value>,
    /// Answers to people's questions, by step.
    #[serde(default)]
    pub answers: BTreeMap<String, Yes>,
}

/// What the source's bucket holds. The keys of `multipart` and those below it are besides `objects`, and have as many
/// versions each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Keys; the first four of them have names that trip up clients.
    pub objects: u32,
    /// Versions of each key.
    pub versions: u32,
    /// Keys, the last ones, whose newest version is a delete marker, on top of `versions`.
    pub delete_markers: u32,
    /// Bytes of each version; some have up to six more.
    pub size: u32,
    /// Prefixes that the keys are spread over.
    pub prefixes: u32,
    /// Share of the keys whose versions have a tag, `year=2026`.
    pub tagged: Percent,
    /// Versions are computed when they are asked for, and not kept: a million of them take no memory. They are all of
    /// one shape, so only `objects`, `versions`, `delete_markers` and `size` go with it.
    pub computed: bool,
    /// Keys `multipart/…` whose versions were uploaded in two parts.
    pub multipart: u32,
    /// Keys `empty/…` whose versions have no bytes.
    pub empty: u32,
    /// Keys `early/…` whose oldest version was written before the bucket had versions, and has the id `null`.
    pub null_versions: u32,
    /// Keys `nested/…` that have another key below them, as `a` has `a/b`: no listing shows the lower one.
    pub nested: u32,
    /// Keys `held/…` whose versions are under legal hold; needs `lock`.
    pub legal_holds: u32,
    /// Keys `purged/…` whose oldest version was deleted by its id and waits for the target to do so too: the source
    /// hides it, the target still has it.
    pub purge_pending: u32,
    /// Prefixes that versioning leaves out, as MinIO's `ExcludedPrefixes`; one may begin with `*`.
    pub excluded_prefixes: Vec<String>,
    /// Keys below each excluded prefix; they are never replicated.
    pub excluded_objects: u32,
    /// Made with object lock.
    pub lock: bool,
    /// Default retention, under which all versions were written; needs `lock`.
    pub retention: Option<Retention>,
    /// Encrypted with this KMS key by default.
    pub kms_key: Option<String>,
}

/// A bucket's default retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How strict it is.
    pub mode: Mode,
    /// From the moment a version is written.
    pub days: u32,
}

/// How strict a retention is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Some may lift it.
    Governance,
    /// Nobody may lift it.
    Compliance,
}

impl Mode {
    /// As S3 writes it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

/// The source's rule, with all its switches.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the rule")]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// New delete markers are sent (`DeleteMarkerReplication`).
    pub delete_markers: bool,
    /// Purges are sent, and existing delete markers by a resync (`DeleteReplication`).
    pub deletes: bool,
    /// Resyncs may send what was there before (`ExistingObjectReplication`); without it none can be started.
    pub existing_objects: bool,
    /// Only keys with this prefix are replicated; empty: all.
    pub prefix: String,
    /// The target no longer accepts the credentials of the remote target.
    pub wrong_credentials: bool,
    /// The target replicates back.
    pub two_way: bool,
}

/// What happened to the target.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Damage {
    /// Its bucket is gone.
    pub bucket_lost: bool,
    /// Its bucket is there again, without object lock.
    pub lock_lost: bool,
    /// Its own rule back to the source is gone.
    pub rules_lost: bool,
    /// This share of its versions and delete markers is gone, spread evenly.
    pub missing: Percent,
    /// So many versions, the first ones, have other bytes.
    pub different: u32,
    /// So many versions, at keys `stray/…`, that the source never had.
    pub extra: u32,
}

/// How a site behaves.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Behaviour {
    /// Does not answer at all.
    pub down: bool,
    /// Waits so long before each answer.
    pub slow: Wait,
    /// Answers this share of the S3 requests with 503 `SlowDown`.
    pub throttled: Percent,
    /// When `throttled` applies; always without.
    pub storms: Option<Storms>,
    /// How far its clock is ahead of this machine's.
    pub clock_ahead: Wait,
    /// Names of the keys that its key service holds.
    pub kms_keys: Vec<String>,
    /// The account for replication may write and delete, but not replicate.
    pub denies_replicas: bool,
    /// Queues what is not replicated when it is listed or read, as MinIO does.
    pub heals: bool,
}

/// Times of too many requests, which come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storms {
    /// From the end of one to the next.
    pub every: Wait,
    /// How long one lasts.
    pub lasting: Wait,
}

impl Storms {
    /// Whether one is under way, so long after the site began; it begins in calm.
    pub(super) fn rage(self, after: Duration) -> bool {
        let round = (self.every.0 + self.lasting.0).as_millis().max(1);
        after.as_millis() % round >= self.every.0.as_millis()
    }
}

/// How resyncs go: seconds here stand for minutes there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Resync {
    /// Between two writes of the counters.
    pub flush: Wait,
    /// Until what failed is sent again by itself.
    pub retry: Wait,
    /// For each version, on top of what it takes.
    pub version: Wait,
    /// What it does in place of its work.
    pub lie: Lie,
    /// Another one is under way from the beginning, and does not end.
    pub running: bool,
}

/// Something that happens once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at: At,
    /// What.
    pub r#do: Do,
}

/// When.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// When the first resync has worked on this share of its versions.
    pub resync: Percent,
}

/// What.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Do {
    /// The site that goes away and comes back as a new process.
    pub stop: Which,
    /// How long it is away.
    pub r#for: Wait,
    /// What its unfinished resyncs say afterwards.
    #[serde(default)]
    pub jobs: After,
}

/// One of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// The one that has the data.
    Source,
    /// The one that is damaged.
    Target,
}

/// The status of a resync whose server was restarted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum After {
    /// As it is: a new start is needed.
    #[default]
    Failed,
    /// A lie, also told by real servers.
    Completed,
}

/// What a resync does in place of its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// It works.
    #[default]
    None,
    /// Ends `Completed` and sends nothing.
    NothingSent,
    /// Sends everything and never writes its counters.
    FrozenCounters,
    /// Counts nine versions of ten.
    Miscounts,
    /// Stays `Ongoing` at half the way.
    Stuck,
    /// The status names two reset ids in turn.
    Flips,
}

impl Scenario {
    /// One that comes with the program.
    pub fn named(name: &str) -> Option<Result<Self, Problem>> {
        let (_, text) = ALL.iter().find(|(known, _)| *known == name)?;
        Some(Self::read(text))
    }
    pub fn read(text: &str) -> Result<Self, Problem> {
        Self::of(&tree::parse(text)?)
    }
    /// The same from a file that was read, or a part of one.
    pub fn of(node: &Node) -> Result<Self, Problem> {
        let scenario: Self = node.decode()?;
        match scenario.misfit() {
            Some((field, what)) => Err(Problem::error(node.get(field).unwrap_or(node).span, what)),
            None => Ok(scenario),
        }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self {
            objects: 60,
            versions: 3,
            delete_markers: 8,
            size: 300,
            prefixes: 12,
            tagged: Percent::of_hundred(20),
            computed: false,
            multipart: 0,
            empty: 0,
            null_versions: 0,
            nested: 0,
            legal_holds: 0,
            purge_pending: 0,
            excluded_prefixes: Vec::new(),
            excluded_objects: 0,
            lock: false,
            retention: None,
            kms_key: None,
        }
    }
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            delete_markers: true,
            deletes: true,
            existing_objects: true,
            prefix: String::new(),
            wrong_credentials: false,
            two_way: false,
        }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            down: false,
            slow: Wait::default(),
            throttled: Percent::default(),
            storms: None,
            clock_ahead: Wait::default(),
            kms_keys: vec!["my-minio-key".to_owned()],
            denies_replicas: false,
            heals: true,
        }
    }
}

impl Default for Resync {
    fn default() -> Self {
        let millis = |n| Wait(Duration::from_millis(n));
        Self { flush: millis(500), retry: millis(1000), version: millis(20), lie: Lie::None, running: false }
    }
}

fn bucket() -> String {
    "invoices".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_read_and_named_as_its_file() {
        for (name, text) in ALL {
            let scenario = Scenario::read(text).unwrap_or_else(|problem| panic!("{name}: {problem:?}"));
            assert_eq!(scenario.scenario, *name);
            assert!(text.starts_with('#'), "{name} does not say what it is for");
        }
        assert!(ALL.is_sorted());
        assert!(Scenario::named("nothing").is_none());
    }

    #[test]
    fn what_is_no_scenario_is_told_with_its_place() {
        for (text, what) in [
            ("scenario: a", "summary"),
            ("scenario: a\nsummary: b\nloss: 1", "loss"),
            ("scenario: a\nsummary: b\ndamage: { missing: 120% }", "30%"),
            ("scenario: a\nsummary: b\ntarget: { slow: 3 days }", "500ms"),
            ("scenario: a\nsummary: b\nresync: { lie: badly }", "badly"),
        ] {
            let problem = Scenario::read(text).unwrap_err();
            assert!(problem.what.contains(what), "{problem:?}");
        }
    }
}
