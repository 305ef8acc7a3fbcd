//! Checks everything that a resync rests on, before anything depends on it.

mod bucket;
mod capacity;
mod checks;
mod connectivity;
mod direction;
mod encryption;
mod facts;
mod iam;
mod inventory;
#[cfg(test)]
mod made_up;
mod need;
mod permissions;
mod resync;
mod rules;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Finding,
    failure::Failure,
    step::{Cx, Reads, Step},
    types::{BucketName, Role},
};
use checks::{CheckId, Entry, Outcome, Said, Severity};
use facts::{Asked, Facts, gather};
pub(super) use need::denied;

/// Checks, side by side, that a resync from source to target can restore everything and harm nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicationPreconditions {
    /// The healthy site.
    #[serde(default = "Role::source")]
    source: Role,
    /// The damaged site.
    #[serde(default = "Role::target")]
    target: Role,
    /// The bucket on the source.
    bucket: BucketName,
    /// The bucket on the target. Default: the same name.
    #[serde(default)]
    target_bucket: Option<BucketName>,
    /// ARN of the remote target, as `replication.targets` found it. Empty: looked for by endpoint or deployment id.
    arn: String,
    /// Nothing has been changed yet: what `bucket.prepare` will put right, and what cannot be asked while the target's
    /// bucket is missing, only warns. Default: false.
    #[serde(default)]
    before_prepare: bool,
    /// Checks that are waived. They are still made and shown.
    #[serde(default)]
    ignore: Vec<CheckId>,
    /// How many versions, spread over the bucket, are looked at for their encryption keys. Default: 1000.
    #[serde(default = "default_sample")]
    #[schemars(range(min = 1))]
    sample: u64,
}

fn default_sample() -> u64 {
    1_000
}

/// Every check with its verdict.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Every check, in a fixed order.
    checks: Vec<Check>,
    /// How many passed.
    passed: u64,
    /// How many warn.
    warned: u64,
    /// How many failed and are not waived.
    failed: u64,
    /// How many could not be told and are not waived.
    unknown: u64,
    /// How many are waived.
    waived: u64,
}

/// One check.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Check {
    /// Its id.
    id: CheckId,
    /// What it came to.
    verdict: Outcome,
    /// Whether `unknown` counts as not holding.
    must: bool,
    /// What was seen.
    detail: String,
    /// What to do about it.
    remedy: Option<String>,
    /// Why it does not count, if it is waived.
    waived: Option<String>,
    /// The check that must hold before this one can.
    because: Option<CheckId>,
}

impl Step for ReplicationPreconditions {
    const USES: &'static str = "replication.preconditions";
    const EXAMPLE: &'static str = r#"- id: preconditions
  uses: replication.preconditions
  with: { bucket: "{{ inputs.bucket }}", arn: "{{ steps.targets.arn }}" }"#;
    type Access = Reads;
    type Output = Output;

    fn describe(&self) -> String {
        let when = if self.before_prepare { ", before the target's bucket is prepared" } else { "" };
        format!(
            "make {} checks on {}/{} and {}/{}{when}",
            checks::ALL.len(),
            self.source,
            self.bucket,
            self.target,
            self.there()
        )
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Output, Failure> {
        let asked = Asked {
            source: self.source.clone(),
            target: self.target.clone(),
            bucket: self.bucket.clone(),
            target_bucket: self.there().clone(),
            arn: self.arn.clone(),
            before_prepare: self.before_prepare,
            sample: self.sample,
        };
        let facts = Box::pin(gather(cx, asked)).await?;
        Ok(self.judge(&facts, cx.accepted()))
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        // What only follows from another finding would bury it.
        output
            .checks
            .iter()
            .filter(|c| c.counts() && !output.follows(c))
            .map(|c| Finding { id: c.id.as_str().to_owned(), text: c.detail.clone(), remedy: c.remedy.clone() })
            .collect()
    }
}

impl ReplicationPreconditions {
    fn there(&self) -> &BucketName {
        self.target_bucket.as_ref().unwrap_or(&self.bucket)
    }

    fn judge(&self, facts: &Facts, accepted: &BTreeMap<String, String>) -> Output {
        let checks: Vec<_> = checks::ALL.iter().map(|entry| self.check(entry, facts, accepted)).collect();
        let count = |verdict, waived| {
            checks.iter().filter(|c: &&Check| c.verdict == verdict && (waived || c.waived.is_none())).count() as u64
        };
        Output {
            passed: count(Outcome::Pass, true),
            warned: count(Outcome::Warn, true),
            failed: count(Outcome::Fail, false),
            unknown: count(Outcome::Unknown, false),
            waived: checks.iter().filter(|c| c.waived.is_some()).count() as u64,
            checks,
        }
    }

    fn check(&self, entry: &Entry, facts: &Facts, accepted: &BTreeMap<String, String>) -> Check {
        let Said { outcome, detail, remedy, severity, because } =
            (entry.check)(facts).unwrap_or_else(|way_out| way_out);
        // What holds needs no waiver.
        let waivable = matches!(outcome, Outcome::Fail | Outcome::Unknown);
        let waived = accepted
            .get(entry.id.as_str())
            .cloned()
            .or_else(|| self.ignore.contains(&entry.id).then(|| "ignored by the runbook".to_owned()))
            .filter(|_| waivable);
        Check {
            id: entry.id,
            verdict: outcome,
            must: severity.unwrap_or(entry.severity) == Severity::Must,
            detail,
            remedy: remedy.filter(|_| outcome != Outcome::Pass),
            waived,
            // No check follows from itself.
            because: because.filter(|id| *id != entry.id),
        }
    }
}

impl Output {
    /// Whether a check follows, over others or at once, from one that counts.
    fn follows(&self, check: &Check) -> bool {
        let mut at = check;
        // A chain is no longer than the list, or it would be a circle.
        for _ in &self.checks {
            let Some(root) = at.because.and_then(|id| self.checks.iter().find(|c| c.id == id)) else { return false };
            if root.because.is_none() {
                return root.counts();
            }
            at = root;
        }
        false
    }
}

impl Check {
    /// Whether it keeps the step from holding.
    fn counts(&self) -> bool {
        self.waived.is_none()
            && match self.verdict {
                Outcome::Pass | Outcome::Warn => false,
                Outcome::Fail => true,
                Outcome::Unknown => self.must,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use made_up::{down, facts, lost_target, refused};

    fn step(with: serde_json::Value) -> ReplicationPreconditions {
        let mut all = serde_json::json!({"bucket": "data", "arn": "arn:b"});
        all.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn found(step: &ReplicationPreconditions, facts: &Facts, accepted: &[(&str, &str)]) -> Vec<String> {
        let accepted = accepted.iter().map(|(id, why)| ((*id).into(), (*why).into())).collect();
        let output = step.judge(facts, &accepted);
        step.findings(&output).into_iter().map(|f| f.id).collect()
    }

    #[test]
    fn a_good_pair_passes_every_check() {
        let output = step(serde_json::json!({})).judge(&facts(), &BTreeMap::new());
        let others: Vec<_> = output.checks.iter().filter(|c| c.verdict != Outcome::Pass).collect();
        assert!(others.is_empty(), "{others:?}");
        assert_eq!((output.passed, output.failed, output.unknown), (30, 0, 0));
    }

    #[test]
    fn every_verdict_but_pass_says_what_to_do() {
        let mut silent = facts();
        silent.source = facts::SiteFacts::silent(&Role::source(), "a", "https://a.example", &down());
        silent.replication = Err(down());
        silent.remote_targets = Err(down());
        silent.sample = Err(down());
        for facts in [silent, lost_target(true), lost_target(false)] {
            for check in step(serde_json::json!({})).judge(&facts, &BTreeMap::new()).checks {
                assert_eq!(check.remedy.is_none(), check.verdict == Outcome::Pass, "{check:?}");
            }
        }
    }

    #[test]
    fn nothing_passes_on_a_site_that_says_nothing() {
        let mut silent = facts();
        for site in [&mut silent.source, &mut silent.target] {
            *site = facts::SiteFacts::silent(&site.role, &site.alias, &site.endpoint, &down());
        }
        silent.replication = Err(down());
        silent.remote_targets = Err(down());
        silent.replication_check = Some(Err(down()));
        silent.sample = Err(down());
        let output = step(serde_json::json!({})).judge(&silent, &BTreeMap::new());
        assert_eq!((output.passed, output.warned, output.failed, output.unknown), (0, 0, 1, 29));
        // One finding, not thirty: the site is down.
        assert_eq!(found(&step(serde_json::json!({})), &silent, &[]), ["site_online"]);
        let accepted = found(&step(serde_json::json!({})), &silent, &[("site_online", "known")]);
        assert!(accepted.contains(&"direction".to_owned()) && !accepted.contains(&"quota".to_owned()), "{accepted:?}");
    }

    #[test]
    fn a_lost_bucket_is_no_obstacle_before_it_is_prepared() {
        let before = step(serde_json::json!({"before_prepare": true}));
        assert_eq!(found(&before, &lost_target(true), &[]), Vec::<String>::new());
        let after = found(&step(serde_json::json!({})), &lost_target(false), &[]);
        assert_eq!(after, ["versioning_enabled"]);
    }

    #[test]
    fn what_follows_from_a_finding_is_not_one_itself() {
        let bare = Facts { replication: Ok(None), ..facts() };
        assert_eq!(found(&step(serde_json::json!({})), &bare, &[]), ["replication_configured"]);
        let waived = found(&step(serde_json::json!({})), &bare, &[("replication_configured", "by hand")]);
        assert_eq!(waived.len(), 5, "{waived:?}");
    }

    #[test]
    fn what_follows_over_another_is_no_finding_either() {
        // No ARN, because the remote targets may not be listed: no rule can be held against it.
        let mut blind = facts();
        blind.asked.arn = String::new();
        blind.remote_targets = Err(refused("AccessDenied", 403));
        assert_eq!(found(&step(serde_json::json!({})), &blind, &[]), ["permissions"]);
        let waived = found(&step(serde_json::json!({})), &blind, &[("permissions", "by hand")]);
        assert!(waived.contains(&"target_registered".to_owned()), "{waived:?}");
    }

    #[test]
    fn waived_checks_are_shown_and_do_not_count() {
        let mut mixed = facts();
        mixed.target.info.as_mut().unwrap().nodes[0].release = "older".into();
        mixed.replication_check = Some(Err(refused("InvalidRequest", 400)));
        let plain = step(serde_json::json!({}));
        assert_eq!(found(&plain, &mixed, &[]), ["versions_match", "target_credentials"]);
        let ignoring = step(serde_json::json!({"ignore": ["versions_match"]}));
        assert_eq!(found(&ignoring, &mixed, &[("target_credentials", "seen by hand")]), Vec::<String>::new());
        let output = ignoring.judge(&mixed, &BTreeMap::new());
        let waived: Vec<_> = output.checks.iter().filter(|c| c.waived.is_some()).map(|c| c.id).collect();
        assert_eq!((waived.as_slice(), output.waived, output.failed), ([CheckId::VersionsMatch].as_slice(), 1, 1));
        assert!(
            serde_json::from_value::<ReplicationPreconditions>(
                serde_json::json!({"bucket": "data", "arn": "a", "ignore": ["no_such_check"]})
            )
            .is_err()
        );
    }

    #[test]
    fn what_rests_on_a_probe_does_not_count_without_leave() {
        let plan = Facts { replication_check: None, ..facts() };
        let step = step(serde_json::json!({}));
        assert_eq!(found(&step, &plan, &[]), Vec::<String>::new());
        assert_eq!(step.judge(&plan, &BTreeMap::new()).unknown, 3);
    }
}
