//! Three small kinds, one of each access, for tests of the language.

use std::collections::BTreeMap;

use firedrill::{
    failure::Failure,
    step::{Asks, Changes, Cx, Kind, Reads, Step},
    types::{BucketName, Moment, Period, Role},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) const TOYS: &[Kind] = &[Kind::of::<ToyRead>(), Kind::of::<ToyChange>(), Kind::of::<ToyAsk>()];

/// Counts what a bucket holds on two sites.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToyRead {
    /// Bucket to look at.
    bucket: BucketName,
    /// The site that is right.
    #[serde(default = "Role::source")]
    source: Role,
    /// The site that is looked at.
    #[serde(default = "Role::target")]
    target: Role,
    /// Look at no more than this many.
    #[serde(default)]
    limit: Option<u32>,
    /// Wait this long for differences to close.
    #[serde(default)]
    settle: Option<Period>,
    /// Leave out what is newer.
    #[serde(default)]
    before: Option<Moment>,
    /// How to look.
    #[serde(default)]
    mode: Mode,
    /// Leave out keys that begin so.
    #[serde(default)]
    exclude: Vec<String>,
    /// How much to look at.
    #[serde(default)]
    sample: Option<Sample>,
    /// A note for the report.
    #[serde(default)]
    note: String,
    /// A header of each request, by name.
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// How to look.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    #[default]
    Fast,
    /// Twice.
    SlowAndSafe,
}

/// How much to look at.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sample {
    /// Everything.
    All,
    /// So many.
    Count(u64),
    /// This share.
    Fraction(f64),
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Counted {
    /// Versions found.
    versions: u64,
    /// Whether both sites agree.
    equal: bool,
    /// What was looked at.
    checks: Vec<Check>,
    /// The first difference.
    first: Option<Check>,
    /// Versions by prefix.
    prefixes: BTreeMap<String, u64>,
    /// When it began.
    started_at: String,
}

/// One look.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// The key.
    key: String,
}

impl Step for ToyRead {
    const USES: &'static str = "toy.read";
    const EXAMPLE: &'static str = "id: look\nuses: toy.read\nwith: { bucket: docs, settle: 10m }\n";
    type Access = Reads;
    type Output = Counted;

    fn describe(&self) -> String {
        format!("look at {}", self.bucket)
    }
    async fn run(&self, _: &Cx<Reads>) -> Result<Counted, Failure> {
        Err(Failure::refused("toys do not run here"))
    }
}

/// Changes a bucket of the target.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToyChange {
    /// Bucket to change.
    bucket: BucketName,
    /// The site to change.
    #[serde(default = "Role::target")]
    target: Role,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// The id of the change.
    reset_id: String,
}

impl Step for ToyChange {
    const USES: &'static str = "toy.change";
    const EXAMPLE: &'static str = "id: change\nuses: toy.change\nwith: { bucket: docs }\n";
    type Access = Changes;
    type Output = Changed;

    fn describe(&self) -> String {
        format!("change {}", self.bucket)
    }
    async fn run(&self, _: &Cx<Changes>) -> Result<Changed, Failure> {
        Err(Failure::refused("toys do not run here"))
    }
}

/// Asks a person.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ToyAsk {
    /// What to ask.
    prompt: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Answered {
    /// The answer.
    yes: bool,
}

impl Step for ToyAsk {
    const USES: &'static str = "toy.ask";
    const EXAMPLE: &'static str = "id: ask\nuses: toy.ask\nwith: { prompt: Go on? }\n";
    type Access = Asks;
    type Output = Answered;

    fn describe(&self) -> String {
        self.prompt.clone()
    }
    async fn run(&self, _: &Cx<Asks>) -> Result<Answered, Failure> {
        Err(Failure::refused("toys do not run here"))
    }
}
