//! `versions.count`: what both sites hold of a bucket, by listing.

use std::{collections::BTreeMap, num::NonZeroU8, time::Duration};

use futures_util::future::try_join;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::versions_compare::concurrency;
use crate::{
    compare::Inventory,
    event::{Finding, Progress},
    failure::Failure,
    human,
    site::{Site, listing::Listing},
    step::{Cx, Reads, Step},
    types::{BucketName, Role},
};

/// First-level prefixes beyond this many are counted together, as `(others)`.
const PREFIXES_KEPT: usize = 10_000;

/// Counts objects, versions, delete markers and bytes on both sites by listing them. Equal counts do not prove equal
/// data: that is what `versions.compare` is for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VersionsCount {
    /// The first site.
    #[serde(default = "Role::source")]
    pub source: Role,
    /// The second site.
    #[serde(default = "Role::target")]
    pub target: Role,
    /// Bucket on the source.
    pub bucket: BucketName,
    /// Bucket on the target. Default: the same name.
    #[serde(default)]
    pub target_bucket: Option<BucketName>,
    /// Only keys with this prefix. Default: all.
    #[serde(default)]
    pub prefix: String,
    /// Also counts by the first part of each key, up to the first `/` after the prefix. Default: false.
    #[serde(default)]
    pub per_prefix: bool,
    /// Does not hold unless all counts are equal. Default: false.
    #[serde(default)]
    pub equal: bool,
    /// Requests to each site at once, at most, 1 to 255. Default: 2.
    #[serde(default = "concurrency")]
    pub concurrency: NonZeroU8,
}

/// What both sites hold.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct Counts {
    /// What the source holds.
    pub source: Inventory,
    /// What the target holds; zeros when its bucket does not exist.
    pub target: Inventory,
    /// Whether objects, versions, delete markers and bytes are all equal, and those of every prefix when asked for.
    pub equal: bool,
    /// The target's bucket does not exist.
    pub target_bucket_missing: bool,
    /// Counts by first-level prefix, when asked for; the prefix is empty for keys without a `/`.
    pub prefixes: Vec<PrefixCounts>,
}

/// What both sites hold under one prefix.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub(crate) struct PrefixCounts {
    /// The prefix, with its `/`.
    pub prefix: String,
    /// What the source holds.
    pub source: Inventory,
    /// What the target holds.
    pub target: Inventory,
}

impl Step for VersionsCount {
    const USES: &'static str = "versions.count";
    const EXAMPLE: &'static str = "\
- id: counts
  uses: versions.count
  with: { bucket: invoices, per_prefix: true }
";
    type Access = Reads;
    type Output = Counts;

    fn describe(&self) -> String {
        format!("count the versions of `{}` on {} and {}", self.bucket, self.source, self.target)
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Counts, Failure> {
        let (source, target) = (cx.read(&self.source)?, cx.read(&self.target)?);
        let target_bucket = self.target_bucket.as_ref().unwrap_or(&self.bucket);
        if !source.bucket_exists(&self.bucket).await? {
            return Err(Failure::refused(format!("bucket `{}` does not exist on {}", self.bucket, self.source)));
        }
        let there = target.bucket_exists(target_bucket).await?;
        let (on_source, on_target) = try_join(self.count(cx, &source, &self.bucket, &self.source), async {
            if there { self.count(cx, &target, target_bucket, &self.target).await } else { Ok(Counted::default()) }
        })
        .await?;
        Ok(counts(on_source, on_target, !there))
    }

    fn findings(&self, output: &Counts) -> Vec<Finding> {
        let mut findings = Vec::new();
        if !self.equal {
            return findings;
        }
        if output.target_bucket_missing {
            let finding = Finding::new("target_bucket_missing", "the bucket does not exist on the target");
            findings.push(finding.remedy("create it with `bucket.prepare`"));
        }
        if !output.equal {
            let (source, target) = (&output.source, &output.target);
            let differs: Vec<_> =
                output.prefixes.iter().filter(|p| p.source != p.target).map(|p| format!("`{}`", p.prefix)).collect();
            let mut text = format!("the source holds {}, the target {}", held(source), held(target));
            match differs.as_slice() {
                [] => {}
                [only] => text = format!("{text}; the prefix {only} differs"),
                [first, ..] => text = format!("{text}; {} prefixes differ, e.g. {first}", differs.len()),
            }
            findings.push(Finding::new("counts_differ", text).remedy("see which versions with `versions.compare`"));
        }
        findings
    }
}

/// `604 versions (4 delete markers, 60.3 MiB)`.
fn held(inventory: &Inventory) -> String {
    let (versions, markers) = (inventory.versions, inventory.delete_markers);
    let bytes = human::bytes(inventory.bytes);
    format!("{} ({}, {bytes})", human::plural(versions, "version"), human::plural(markers, "delete marker"))
}

#[derive(Default)]
struct Counted {
    all: Inventory,
    prefixes: BTreeMap<String, Inventory>,
}

impl Counted {
    fn under(&mut self, prefix: &str) -> &mut Inventory {
        let full = self.prefixes.len() >= PREFIXES_KEPT && !self.prefixes.contains_key(prefix);
        self.prefixes.entry(if full { "(others)" } else { prefix }.to_owned()).or_default()
    }
}

impl VersionsCount {
    async fn count(
        &self,
        cx: &Cx<Reads>,
        site: &Site<Reads>,
        bucket: &BucketName,
        role: &Role,
    ) -> Result<Counted, Failure> {
        let (prefix, at_once) = (self.prefix.clone(), usize::from(self.concurrency.get()));
        let mut listing = site.versions(bucket, Listing { prefix, at_once, ..Listing::default() });
        let mut counted = Counted::default();
        let mut said = Instant::now();
        while let Some(page) = listing.next_page().await? {
            for version in page.iter() {
                counted.all.count(&version);
                if self.per_prefix {
                    counted.under(first_level(version.key, &self.prefix)).count(&version);
                }
            }
            if said.elapsed() >= Duration::from_secs(1) {
                said = Instant::now();
                cx.progress(Progress {
                    what: format!("counting on {role}"),
                    done: Some(counted.all.versions),
                    bytes: Some(counted.all.bytes),
                    ..Progress::default()
                });
            }
        }
        Ok(counted)
    }
}

fn counts(source: Counted, target: Counted, target_bucket_missing: bool) -> Counts {
    let mut prefixes: BTreeMap<String, PrefixCounts> = BTreeMap::new();
    for (prefix, inventory) in source.prefixes {
        prefixes.entry(prefix).or_default().source = inventory;
    }
    for (prefix, inventory) in target.prefixes {
        prefixes.entry(prefix).or_default().target = inventory;
    }
    let prefixes: Vec<_> = prefixes.into_iter().map(|(prefix, counts)| PrefixCounts { prefix, ..counts }).collect();
    Counts {
        source: source.all,
        target: target.all,
        equal: source.all == target.all && prefixes.iter().all(|p| p.source == p.target),
        target_bucket_missing,
        prefixes,
    }
}

/// The key up to and with the first `/` after `prefix`; just the prefix when there is none.
fn first_level<'k>(key: &'k str, prefix: &str) -> &'k str {
    let rest = key.get(prefix.len()..).unwrap_or_default();
    match rest.find('/') {
        Some(at) => &key[..=prefix.len() + at],
        None => key.get(..prefix.len()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(equal: bool) -> VersionsCount {
        serde_json::from_value(serde_json::json!({ "bucket": "abc", "equal": equal })).unwrap()
    }

    fn counted(prefix: &str, versions: u64) -> Counted {
        let all = Inventory { versions, ..Inventory::default() };
        Counted { all, prefixes: BTreeMap::from([(prefix.to_owned(), all)]) }
    }

    #[test]
    fn prefixes_end_at_the_first_slash() {
        assert_eq!(first_level("a/b/c", ""), "a/");
        assert_eq!(first_level("a/b/c", "a/"), "a/b/");
        assert_eq!(first_level("ä/b", ""), "ä/");
        assert_eq!(first_level("plain", ""), "");
        assert_eq!(first_level("a/plain", "a/"), "a/");
    }

    #[test]
    fn equal_sums_of_different_prefixes_are_not_equal() {
        let counts = counts(counted("a/", 2), counted("b/", 2), false);
        assert!(!counts.equal);
        assert_eq!(counts.prefixes.len(), 2);
        assert_eq!(params(true).findings(&counts)[0].id, "counts_differ");
        assert!(params(false).findings(&counts).is_empty());
    }
}
