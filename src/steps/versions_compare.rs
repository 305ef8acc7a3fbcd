//! `versions.compare`: whether the target has every version that the source has, and nothing else.

mod walk;

use std::num::NonZeroU8;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::walk::{Compared, clock, compare};
pub(crate) use self::walk::{compare_sites, compare_with, now};
use crate::{
    compare::{Class, Difference, Inventory, KeyGlob, Tally},
    event::Finding,
    failure::Failure,
    human,
    step::{Cx, Reads, Step},
    types::{BucketName, Moment, Period, Role},
};

/// Compares a bucket on both sites, version by version, and names every difference. Which versions the source's
/// replication rules and its versioning can replicate at all is looked up, and the rest is counted apart.
/// All differences are written to `differences.jsonl`, one JSON object a line. Holds when there is none.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionsCompare {
    /// The site that is right.
    #[serde(default = "Role::source")]
    pub source: Role,
    /// The site that is compared with it.
    #[serde(default = "Role::target")]
    pub target: Role,
    /// Bucket on the source.
    pub bucket: BucketName,
    /// Bucket on the target. Default: the same name.
    #[serde(default)]
    pub target_bucket: Option<BucketName>,
    /// Leaves out versions that are newer than this moment, on either site, and counts them as `left_out`. `now` is
    /// the begin of this step by the source's clock. Without it every version is compared, so that writes during
    /// the comparison are differences.
    #[serde(default)]
    pub before: Option<Moment>,
    /// Only keys with this prefix. Default: all.
    #[serde(default)]
    pub prefix: String,
    /// Patterns over keys to leave out, e.g. `tmp/*`; counted as `out_of_scope`. Default: none.
    #[serde(default)]
    pub exclude: Vec<KeyGlob>,
    /// ARN of the remote target whose rules say what is in scope. Default: every enabled rule of the bucket.
    #[serde(default)]
    pub arn: Option<String>,
    /// How long differences may take to close: only the keys that differ are looked at again, at growing intervals,
    /// until they are the same or this time is up. Default: 0s.
    #[serde(default = "no_time")]
    pub settle: Period,
    /// Classes that do not count against the verdict: `missing`, `extra`, `different`, `pending`. They are still
    /// counted, and shown as waived. Default: none.
    #[serde(default)]
    pub accept: Vec<Class>,
    /// Compares tags and metadata of every version too, and tells `pending` from `missing`. Default: false.
    #[serde(default)]
    pub metadata: bool,
    /// Requests to each site at once, at most, 1 to 255; fewer when a site slows down or asks for it. From 3 on ranges
    /// of keys are listed side by side: faster over a distance, and more work for the sites, the more so the more
    /// versions keys have. Default: 2.
    #[serde(default = "concurrency")]
    pub concurrency: NonZeroU8,
}

/// The source is the only healthy copy: what costs it least.
pub(crate) fn concurrency() -> NonZeroU8 {
    const { NonZeroU8::new(2).unwrap() }
}

fn no_time() -> Period {
    Period::secs(0)
}

impl VersionsCompare {
    pub(crate) fn target_bucket(&self) -> &BucketName {
        self.target_bucket.as_ref().unwrap_or(&self.bucket)
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Comparison {
    /// Versions compared: those in scope and not left out; one that both sites have counts once.
    pub versions: u64,
    /// Versions that are the same on both sites.
    pub same: u64,
    /// Versions that the target lacks.
    pub missing: u64,
    /// Versions that only the target has.
    pub extra: u64,
    /// Versions that both sites have, and that are not the same.
    pub different: u64,
    /// Versions that the target lacks and the source says it has yet to replicate (only with `metadata: true`).
    pub pending: u64,
    /// Versions that the source's rules cannot replicate, or that `exclude` names.
    pub out_of_scope: u64,
    /// Versions newer than `before`.
    pub left_out: u64,
    /// Keys of which the two sites call different versions the latest: a note, not a difference.
    pub latest_differs: u64,
    /// Bytes of the versions that are missing or pending.
    pub missing_bytes: u64,
    /// Versions whose metadata was to be compared and may not be read on one of the sites.
    pub metadata_unreadable: u64,
    /// Everything that the source's listing holds under the prefix.
    pub source: Inventory,
    /// Everything that the target's listing holds under the prefix.
    pub target: Inventory,
    /// The target's bucket does not exist.
    pub target_bucket_missing: bool,
    /// The cutoff by the source's clock, when there was one.
    #[schemars(with = "Option<String>")]
    pub before: Option<Timestamp>,
    /// Classes with differences that `accept` waives.
    pub waived: Vec<Class>,
    /// Seconds that were spent waiting for differences to close.
    pub settled_seconds: f64,
    /// Up to 5 differences of each class.
    pub examples: Vec<Difference>,
}

impl Comparison {
    /// Versions of a class.
    pub(super) fn of(&self, class: Class) -> u64 {
        match class {
            Class::Missing => self.missing,
            Class::Extra => self.extra,
            Class::Different => self.different,
            Class::Pending => self.pending,
        }
    }

    /// Whether it holds.
    pub(crate) fn holds(&self) -> bool {
        self.findings().is_empty()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.target_bucket_missing {
            let text = format!("the bucket does not exist on the target, which lacks {}", versions(self.missing));
            findings.push(Finding::new("target_bucket_missing", text).remedy("create it with `bucket.prepare`"));
        }
        for class in Class::ALL {
            if self.of(class) > 0 && !self.waived.contains(&class) {
                findings.push(self.finding(class));
            }
        }
        if self.metadata_unreadable > 0 {
            let text = format!("the metadata of {} may not be read", versions(self.metadata_unreadable));
            let remedy = "allow s3:GetObjectVersion, s3:GetObject and s3:GetObjectTagging on both sites";
            findings.push(Finding::new("metadata_unreadable", text).remedy(remedy));
        }
        findings
    }

    fn finding(&self, class: Class) -> Finding {
        let count = versions(self.of(class));
        let (text, remedy) = match class {
            Class::Missing => (
                format!("{count} missing on the target, {} in all", human::bytes(self.missing_bytes)),
                "run `resync.recover`; the file of differences beside the journal names each",
            ),
            Class::Extra => (
                format!("{count} only on the target"),
                "a resync never deletes: remove them on the target, or accept them with `accept: [extra]`",
            ),
            Class::Different => (
                format!("{count} not the same on both sites"),
                "the file of differences beside the journal says what differs: find out who wrote to the target",
            ),
            Class::Pending => (
                format!("{count} waiting to be replicated"),
                "give it time with `settle`, and look at the target's state; `resync.recover` queues them again",
            ),
        };
        // Which ones: the output's `examples`.
        Finding::new(class.as_str(), text).remedy(remedy)
    }
}

impl From<Tally> for Comparison {
    fn from(tally: Tally) -> Self {
        Self {
            versions: tally.compared(),
            same: tally.same,
            missing: tally.missing,
            extra: tally.extra,
            different: tally.different,
            pending: tally.pending,
            out_of_scope: tally.out_of_scope,
            left_out: tally.left_out,
            latest_differs: tally.latest_differs,
            missing_bytes: tally.missing_bytes,
            metadata_unreadable: tally.metadata_unreadable,
            source: tally.source,
            target: tally.target,
            target_bucket_missing: false,
            before: None,
            waived: Vec::new(),
            settled_seconds: 0.0,
            examples: Vec::new(),
        }
    }
}

fn versions(n: u64) -> String {
    human::plural(n, "version")
}

impl Step for VersionsCompare {
    const USES: &'static str = "versions.compare";
    const PROVES: bool = true;
    const EXAMPLE: &'static str = "\
- id: validate
  uses: versions.compare
  with: { bucket: invoices, before: now, settle: 10m }
";
    type Access = Reads;
    type Output = Comparison;

    fn describe(&self) -> String {
        let prefix = if self.prefix.is_empty() { String::new() } else { format!(" under `{}`", self.prefix) };
        format!("compare every version of `{}` on {} and {}{prefix}", self.bucket, self.source, self.target)
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Comparison, Failure> {
        Ok(compare(cx, self, "differences.jsonl").await?.comparison)
    }

    fn findings(&self, output: &Comparison) -> Vec<Finding> {
        output.findings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(class: Class) -> Difference {
        let (key, version_id) = ("a".to_owned(), "1".to_owned());
        Difference { class, key, version_id, detail: String::new(), source: None, target: None }
    }

    #[test]
    fn each_class_is_a_finding_unless_it_is_waived() {
        let examples = Class::ALL.map(difference).to_vec();
        let tally = Tally { missing: 1, extra: 2, different: 3, pending: 4, ..Tally::default() };
        let mut comparison = Comparison { examples, ..tally.into() };
        let ids = |c: &Comparison| c.findings().into_iter().map(|f| f.id).collect::<Vec<_>>();
        assert_eq!(ids(&comparison), ["missing", "extra", "different", "pending"]);
        comparison.waived = vec![Class::Extra, Class::Pending];
        assert_eq!(ids(&comparison), ["missing", "different"]);
        // The console prints the examples, each once.
        assert_eq!(comparison.findings()[1].text, "3 versions not the same on both sites");
        assert_eq!(comparison.versions, 10);
    }

    #[test]
    fn a_bucket_that_is_not_there_does_not_hold_even_when_missing_is_accepted() {
        let tally = Tally { missing: 1, ..Tally::default() };
        let waived = vec![Class::Missing];
        let comparison = Comparison { target_bucket_missing: true, waived, ..tally.into() };
        assert!(!comparison.holds());
        assert_eq!(comparison.findings()[0].text, "the bucket does not exist on the target, which lacks 1 version");
    }
}
