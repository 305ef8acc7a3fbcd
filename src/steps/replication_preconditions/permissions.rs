//! Whether the accounts may do what a recovery does: by their policies, and by what was refused to us already.

use super::{
    checks::{Answer, CheckId, Said, fail, pass, unknown, warn},
    facts::{Fact, Facts, SiteFacts},
    iam::{On, Ruling, ruling},
    need::denied,
};
use crate::steps::site_check::bad_credentials;

/// An action that a recovery needs.
#[derive(Clone, Copy, Debug)]
struct Need {
    action: &'static str,
    on: Scope,
    /// This one will do as well.
    or: Option<&'static str>,
    kind: Want,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Bucket,
    Objects,
    Deployment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Needed,
    /// Something is left out without it.
    Better,
}

const fn bucket(action: &'static str) -> Need {
    Need { action, on: Scope::Bucket, or: None, kind: Want::Needed }
}
const fn objects(action: &'static str) -> Need {
    Need { action, on: Scope::Objects, or: None, kind: Want::Needed }
}
const fn admin(action: &'static str) -> Need {
    Need { action, on: Scope::Deployment, or: None, kind: Want::Needed }
}
const fn better(need: Need) -> Need {
    Need { kind: Want::Better, ..need }
}

/// On both sites.
const BOTH: &[Need] = &[
    bucket("s3:ListBucket"),
    Need { or: Some("s3:ListBucket"), ..bucket("s3:ListBucketVersions") },
    bucket("s3:GetBucketVersioning"),
    bucket("s3:GetBucketObjectLockConfiguration"),
    bucket("s3:GetEncryptionConfiguration"),
    bucket("s3:GetLifecycleConfiguration"),
    // On the target too: the queue of its own rules is looked at.
    bucket("s3:GetReplicationConfiguration"),
    // There is no action that only reads the status of a resync.
    bucket("s3:ResetBucketReplicationState"),
    objects("s3:GetObject"),
    objects("s3:GetObjectTagging"),
    admin("admin:ServerInfo"),
    better(admin("admin:SiteReplicationInfo")),
];
const SOURCE: &[Need] = &[admin("admin:GetBucketTarget"), better(admin("admin:ServerTrace"))];
const TARGET: &[Need] = &[admin("admin:GetBucketQuota")];
/// On the target, for a bucket that is still to be made or aligned.
const PREPARING: &[Need] = &[
    bucket("s3:CreateBucket"),
    bucket("s3:PutBucketVersioning"),
    bucket("s3:PutBucketObjectLockConfiguration"),
    bucket("s3:PutEncryptionConfiguration"),
];
/// On the target, when objects are encrypted with keys of a KMS.
const KEYS: &[Need] = &[admin("admin:KMSKeyStatus")];

#[expect(clippy::unnecessary_wraps, reason = "the same signature as every check")]
pub(super) fn permissions(facts: &Facts) -> Answer {
    let mut all = Lacks::default();
    for (site, bucket, lists) in [
        (&facts.source, facts.asked.bucket.as_str(), vec![BOTH, SOURCE]),
        (&facts.target, facts.asked.target_bucket.as_str(), target_lists(facts)),
    ] {
        for need in lists.into_iter().flatten() {
            all.judge(site, need, bucket);
        }
        for (action, seen) in refusals(facts, site) {
            if seen {
                all.missing(site, action);
            }
        }
    }
    Ok(all.said(facts))
}

fn target_lists(facts: &Facts) -> Vec<&'static [Need]> {
    let mut lists = vec![BOTH, TARGET];
    if facts.asked.before_prepare {
        lists.push(PREPARING);
    }
    if !facts.target_keys.is_empty() {
        lists.push(KEYS);
    }
    lists
}

/// Whether a call was refused for want of the action that it needs.
fn refusals<'a>(facts: &'a Facts, site: &'a SiteFacts) -> Vec<(&'static str, bool)> {
    fn refused<T>(fact: &Fact<T>) -> bool {
        fact.as_ref().is_err_and(denied)
    }
    let mut seen = vec![
        ("admin:ServerInfo", refused(&site.info)),
        ("s3:ListBucket", refused(&site.exists)),
        ("s3:GetBucketVersioning", refused(&site.versioning)),
        ("s3:GetBucketObjectLockConfiguration", refused(&site.lock)),
        ("s3:GetEncryptionConfiguration", refused(&site.encryption)),
        ("s3:GetLifecycleConfiguration", refused(&site.lifecycle)),
        ("s3:ResetBucketReplicationState", refused(&site.resyncs)),
        ("s3:ListBucketVersions", refused(&site.inventory)),
    ];
    if site.role == facts.asked.source {
        seen.push(("s3:GetReplicationConfiguration", refused(&facts.replication)));
        seen.push(("s3:GetReplicationConfiguration", facts.replication_check.as_ref().is_some_and(refused)));
        seen.push(("admin:GetBucketTarget", refused(&facts.remote_targets)));
        seen.push(("s3:GetObject", matches!(&facts.sample, Ok(sample) if sample.blind > 0)));
    } else {
        seen.push(("admin:GetBucketQuota", refused(&site.quota)));
        seen.push(("admin:KMSKeyStatus", facts.target_keys.values().any(refused)));
    }
    seen
}

/// What the accounts lack, with the role each.
#[derive(Default)]
struct Lacks {
    missing: Vec<String>,
    better: Vec<String>,
    depends: Vec<String>,
    not_told: Option<Said>,
}

impl Lacks {
    fn judge(&mut self, site: &SiteFacts, need: &Need, bucket: &str) {
        let account = match &site.account {
            Ok(account) => account,
            Err(why) => {
                self.not_told.get_or_insert_with(|| {
                    if bad_credentials(why) {
                        return fail(
                            format!("{} `{}` does not take the credentials: {why}", site.role, site.alias),
                            format!("give valid credentials, and try them: `mc admin info {}`", site.alias),
                        );
                    }
                    let said = unknown(
                        format!("what the account of {} `{}` may do could not be had: {why}", site.role, site.alias),
                        format!("check the credentials of `{0}`: `mc admin info {0}`", site.alias),
                    );
                    match (site.health.is_err(), site.is_not_minio()) {
                        (true, _) => said.because(CheckId::SiteOnline),
                        (false, true) => said.because(CheckId::MinioServer),
                        (false, false) => said,
                    }
                });
                return;
            }
        };
        let on = match need.on {
            Scope::Bucket => On::Bucket(bucket),
            Scope::Objects => On::Objects(bucket),
            Scope::Deployment => On::Deployment,
        };
        let asked = |action| ruling(&account.policy, &account.name, action, on);
        let mut answer = asked(need.action);
        if let (Ruling::Denied | Ruling::Depends(_), Some(other)) = (&answer, need.or) {
            answer = asked(other);
        }
        match (answer, need.kind) {
            (Ruling::Allowed, _) => {}
            (Ruling::Denied, Want::Needed) => self.missing(site, need.action),
            (Ruling::Denied, Want::Better) => self.better.push(named(site, need.action)),
            (Ruling::Depends(why), _) => self.depends.push(format!("{} ({why})", named(site, need.action))),
        }
    }

    fn missing(&mut self, site: &SiteFacts, action: &str) {
        let name = named(site, action);
        if !self.missing.contains(&name) {
            self.missing.push(name);
        }
    }

    fn said(self, facts: &Facts) -> Said {
        let grant = grant(facts, if self.missing.is_empty() { &self.better } else { &self.missing });
        if !self.missing.is_empty() {
            return fail(format!("missing: {}", self.missing.join(", ")), grant);
        }
        if let Some(said) = self.not_told {
            return said;
        }
        if !self.depends.is_empty() {
            return unknown(
                format!("only a request can tell: {}", self.depends.join(", ")),
                "simplify the policy, or accept it",
            );
        }
        if !self.better.is_empty() {
            return warn(format!("not needed, but something is left out without: {}", self.better.join(", ")), grant);
        }
        pass(format!("`{}` and `{}` allow all that is needed", facts.source.alias, facts.target.alias))
    }
}

/// How to let the accounts do it, on each site that lacks something.
fn grant(facts: &Facts, lacking: &[String]) -> String {
    let sites = [&facts.source, &facts.target].into_iter();
    let sites = sites.filter(|site| lacking.iter().any(|name| name.ends_with(&format!(" on {}", site.role))));
    let commands = sites.map(|site| {
        format!(
            "`mc admin policy create {0} firedrill FILE`, `mc admin policy attach {0} firedrill --user ACCOUNT`",
            site.alias
        )
    });
    let commands = commands.collect::<Vec<_>>().join(", ");
    format!("write a policy that allows them into FILE, and give it to the account: {commands}")
}

fn named(site: &SiteFacts, action: &str) -> String {
    format!("{action} on {}", site.role)
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, outcome, refused},
    };
    use super::*;
    use serde_json::{Value, json};

    fn with_source_policy(statements: Value) -> Facts {
        let mut facts = facts();
        facts.source.account.as_mut().unwrap().policy = json!({"Statement": statements});
        facts
    }

    #[test]
    fn an_administrator_may_do_all() {
        assert_eq!(outcome(permissions, &facts()), Pass);
    }

    #[test]
    fn missing_actions_are_named_with_their_role() {
        let reader = with_source_policy(json!([
            {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "arn:aws:s3:::data/*"},
            {"Effect": "Allow", "Action": ["admin:*"]}
        ]));
        let said = permissions(&reader).unwrap();
        assert_eq!(said.outcome, Fail);
        assert_eq!(said.detail, "missing: s3:ResetBucketReplicationState on source");
    }

    #[test]
    fn a_trace_that_may_not_be_read_only_warns() {
        let quiet = with_source_policy(json!([
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {"Effect": "Allow", "Action": ["admin:ServerInfo", "admin:GetBucketTarget", "admin:SiteReplicationInfo"]}
        ]));
        let said = permissions(&quiet).unwrap();
        assert_eq!(said.outcome, Warn);
        assert!(said.detail.ends_with("admin:ServerTrace on source"), "{}", said.detail);
    }

    #[test]
    fn a_refusal_seen_beats_a_policy_that_allows() {
        let mut refusing = facts();
        refusing.target.lifecycle = Err(refused("AccessDenied", 403));
        let said = permissions(&refusing).unwrap();
        assert_eq!(said.outcome, Fail);
        assert_eq!(said.detail, "missing: s3:GetLifecycleConfiguration on target");
    }

    #[test]
    fn preparing_needs_more() {
        let mut reader = facts();
        reader.target.account.as_mut().unwrap().policy = json!({"Statement": [
            {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*", "s3:ResetBucketReplicationState"], "Resource": "*"},
            {"Effect": "Allow", "Action": ["admin:*"]}
        ]});
        assert_eq!(outcome(permissions, &reader), Pass);
        reader.asked.before_prepare = true;
        let said = permissions(&reader).unwrap();
        assert!(said.outcome == Fail && said.detail.contains("s3:CreateBucket on target"), "{}", said.detail);
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let conditional = with_source_policy(json!([
            {"Effect": "Allow", "Action": ["s3:*", "admin:*"], "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
        ]));
        assert_eq!(outcome(permissions, &conditional), Unknown);
        let mut silent = facts();
        silent.target.account = Err(down());
        assert_eq!(outcome(permissions, &silent), Unknown);
        silent.target.account = Err(refused("SignatureDoesNotMatch", 403));
        assert_eq!(outcome(permissions, &silent), Fail);
    }
}
