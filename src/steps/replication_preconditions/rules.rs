//! Whether the source's rules and remote target are such that a resync restores everything.

use super::{
    checks::{Answer, CheckId, Said, fail, pass, unknown, warn},
    facts::Facts,
};
use crate::{
    site::{
        minio::RemoteTarget,
        s3::{Replication, Rule},
    },
    steps::replication_targets::{address, arn_of},
};

pub(super) fn replication_configured(facts: &Facts) -> Answer {
    let replication = configured(facts)?;
    Ok(pass(match replication.rules.len() {
        1 => "one rule".to_owned(),
        n => format!("{n} rules"),
    }))
}

pub(super) fn rule_enabled(facts: &Facts) -> Answer {
    let rules = rules(facts)?;
    let (on, off): (Vec<_>, Vec<_>) = rules.into_iter().partition(|r| r.enabled);
    let enable = off
        .iter()
        .map(|rule| format!("`mc replicate update {} --id {} --state enable`", place(facts), rule.id))
        .collect::<Vec<_>>()
        .join(", ");
    let enable = format!("{}{enable}", make_first(facts));
    match (on.is_empty(), off.is_empty()) {
        (true, _) => Ok(fail(format!("every rule to the target is disabled: {}", ids(&off)), enable)),
        (false, false) => Ok(warn(format!("enabled: {}; disabled: {}", ids(&on), ids(&off)), enable)),
        (false, true) => Ok(pass(format!("enabled: {}", ids(&on)))),
    }
}

pub(super) fn existing_objects_enabled(facts: &Facts) -> Answer {
    let without: Vec<_> = enabled(facts)?.into_iter().filter(|r| !r.existing_objects).collect();
    if without.is_empty() {
        return Ok(pass("existing objects are replicated"));
    }
    Ok(fail(
        format!("existing objects are not replicated by {}: a resync leaves them out", ids(&without)),
        flags(facts, &without),
    ))
}

pub(super) fn delete_replication_enabled(facts: &Facts) -> Answer {
    let rules = enabled(facts)?;
    let without: Vec<_> = rules.iter().copied().filter(|r| !r.deletes).collect();
    if without.is_empty() {
        let no_markers: Vec<_> = rules.into_iter().filter(|r| !r.delete_markers).collect();
        if no_markers.is_empty() {
            return Ok(pass("deletes and delete markers are replicated"));
        }
        return Ok(warn(
            format!("new delete markers are not replicated by {}: the sites will drift apart", ids(&no_markers)),
            flags(facts, &no_markers),
        ));
    }
    let what = format!("deletes are not replicated by {}", ids(&without));
    let markers =
        facts.of_bucket(&facts.source, &facts.source.inventory, "the number of delete markers")?.delete_markers;
    if markers > 0 {
        return Ok(fail(
            format!("{what}, and the source has {markers} delete markers: deleted objects would come back to life"),
            flags(facts, &without),
        ));
    }
    Ok(warn(format!("{what}; the source has no delete markers yet"), flags(facts, &without)))
}

pub(super) fn rule_scope(facts: &Facts) -> Answer {
    let rules = enabled(facts)?;
    if rules.iter().any(|r| r.prefix.is_empty() && r.tags.is_empty()) {
        return Ok(pass("a rule covers the whole bucket"));
    }
    let scopes: Vec<_> = rules.iter().map(|r| scope(r)).collect();
    let outside = match &facts.source.inventory {
        Ok(inventory) => format!("; {} versions are outside these prefixes", inventory.out_of_scope),
        Err(_) => String::new(),
    };
    Ok(warn(
        format!("only a part of the bucket is replicated: {}{outside}", scopes.join("; ")),
        "what is outside is not restored: add a rule for it, or copy it by `mc mirror`",
    ))
}

pub(super) fn target_registered(facts: &Facts) -> Answer {
    let source = &facts.source;
    configured(facts)?;
    let targets = match &source.remote_targets_of(facts) {
        Ok(targets) => *targets,
        Err(said) => return Err(said.clone()),
    };
    if facts.asked.arn.is_empty() {
        return Ok(no_target_fits(facts, targets));
    }
    let Some(target) = targets.iter().find(|t| t.arn == facts.asked.arn) else {
        return Ok(fail(
            format!("source `{}` has no remote target {}", source.alias, facts.asked.arn),
            format!("see what it has: `mc replicate ls {}`; add the target again: {}", place(facts), add(facts)),
        ));
    };
    if target.target_bucket != facts.asked.target_bucket.as_str() {
        return Ok(fail(
            format!(
                "{} leads to bucket `{}` and not `{}`",
                target.arn, target.target_bucket, facts.asked.target_bucket
            ),
            format!("name another ARN, or say `target_bucket: {}`", target.target_bucket),
        ));
    }
    Ok(is_the_target(facts, target))
}

/// The step before found none, or more than one.
fn no_target_fits(facts: &Facts, targets: &[RemoteTarget]) -> Said {
    let wanted = format!("{}/{}", facts.target.alias, facts.asked.target_bucket);
    let known: Vec<_> = targets.iter().map(|t| format!("{} → {}/{}", t.arn, t.endpoint, t.target_bucket)).collect();
    let detail = if known.is_empty() {
        format!("{} has no remote target", place(facts))
    } else {
        format!("it cannot be told which remote target of {} is {wanted}: {}", place(facts), known.join("; "))
    };
    let remedy = format!(
        "are direction and bucket names right? if one of these is `{0}` under another name, add that name to the \
         `nodes:` of `{0}` in sites.yaml; otherwise add a rule: {1}",
        facts.target.alias,
        add(facts)
    );
    let said = fail(detail, remedy);
    if facts.target.is_not_minio() { said.because(CheckId::MinioServer) } else { said }
}

/// Whether a remote target is our target, as far as names and ids tell.
fn is_the_target(facts: &Facts, target: &RemoteTarget) -> Said {
    let theirs = target.deployment_id.as_deref().filter(|id| !id.is_empty());
    let ours = facts.target.info.as_ref().ok().map(|i| i.deployment_id.as_str());
    let named = address(&target.endpoint, target.secure).is_some_and(|a| facts.target.names.contains(&a));
    let detail = format!("{} → {}/{}", target.arn, target.endpoint, target.target_bucket);
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs == ours => pass(detail),
        _ if named => pass(detail),
        (Some(theirs), Some(ours)) => fail(
            format!("{detail} is deployment {theirs}, the target `{}` is {ours}", facts.target.alias),
            "bind the role `target` to the site that the ARN leads to, or name another ARN",
        ),
        _ => warn(
            format!("{detail}: the source knows the target under a name that `{}` does not have", facts.target.alias),
            "make sure that both are the same site, and add the name to its `nodes:` in sites.yaml",
        ),
    }
}

impl super::facts::SiteFacts {
    fn remote_targets_of<'a>(&self, facts: &'a Facts) -> Result<&'a Vec<RemoteTarget>, Said> {
        facts.of_bucket(self, &facts.remote_targets, "the remote targets").map_err(|said| {
            if facts.remote_targets.as_ref().err().and_then(crate::failure::Failure::status) == Some(500) {
                let detail = format!(
                    "{}; an earlier resync with an `older-than` that the server misread does this",
                    said.detail
                );
                return unknown(detail, format!("restart the source `{}`, then run this again", self.alias));
            }
            said
        })
    }
}

/// The remote target that the ARN names, if it could be had.
pub(super) fn registered(facts: &Facts) -> Option<&RemoteTarget> {
    facts.remote_targets.as_ref().ok()?.iter().find(|t| t.arn == facts.asked.arn)
}

fn configured(facts: &Facts) -> Result<&Replication, Said> {
    let source = &facts.source;
    match facts.of_bucket(source, &facts.replication, "the replication rules")? {
        Some(replication) if !replication.rules.is_empty() => Ok(replication),
        Some(_) | None => Err(fail(
            format!("bucket `{}` on source `{}` has no replication rules", facts.asked.bucket, source.alias),
            format!("is the direction right? if it is, add a rule first: {}", add(facts)),
        )
        .because(CheckId::ReplicationConfigured)),
    }
}

/// The rules that lead to the target.
fn rules(facts: &Facts) -> Result<Vec<&Rule>, Said> {
    let replication = configured(facts)?;
    let rules: Vec<_> = replication.rules.iter().filter(|r| arn_of(replication, r) == facts.asked.arn).collect();
    if rules.is_empty() {
        return Err(fail(
            format!("no rule leads to {}", if facts.asked.arn.is_empty() { "the target" } else { &facts.asked.arn }),
            format!("see what there is: `mc replicate ls {}`; add a rule: {}", place(facts), add(facts)),
        )
        .because(if facts.asked.arn.is_empty() { CheckId::TargetRegistered } else { CheckId::RuleEnabled }));
    }
    Ok(rules)
}

fn enabled(facts: &Facts) -> Result<Vec<&Rule>, Said> {
    let rules: Vec<_> = rules(facts)?.into_iter().filter(|r| r.enabled).collect();
    if rules.is_empty() {
        return Err(
            fail("no rule to the target is enabled", "see the check `rule_enabled`").because(CheckId::RuleEnabled)
        );
    }
    Ok(rules)
}

fn ids(rules: &[&Rule]) -> String {
    rules.iter().map(|r| format!("rule `{}`", r.id)).collect::<Vec<_>>().join(", ")
}

fn scope(rule: &Rule) -> String {
    let mut parts = Vec::new();
    if !rule.prefix.is_empty() {
        parts.push(format!("prefix `{}`", rule.prefix));
    }
    parts.extend(rule.tags.iter().map(|(key, value)| format!("tag `{key}={value}`")));
    if parts.is_empty() { "all".into() } else { parts.join(" and ") }
}

fn place(facts: &Facts) -> String {
    format!("{}/{}", facts.source.alias, facts.asked.bucket)
}

/// The command that adds a rule to the target.
fn add(facts: &Facts) -> String {
    let priorities = facts.replication.iter().flatten().flat_map(|r| &r.rules).map(|r| r.priority);
    format!(
        "{}`mc replicate add {} --remote-bucket \"{}\" --priority {} --replicate \
         \"delete,delete-marker,existing-objects,metadata-sync\"`, with the keys of a replication user of `{}`",
        make_first(facts),
        place(facts),
        with_keys(&facts.target.endpoint, facts.asked.target_bucket.as_str()),
        priorities.max().unwrap_or(0).saturating_add(1),
        facts.target.alias
    )
}

/// A remote bucket as `mc` wants it, with room for the keys.
fn with_keys(endpoint: &str, bucket: &str) -> String {
    format!("{}/{bucket}", endpoint.trim_end_matches('/').replacen("://", "://KEY:SECRET@", 1))
}

/// The remote target as the source knows it, as `mc` wants it.
pub(super) fn remote(facts: &Facts) -> String {
    let endpoint = registered(facts).map_or_else(
        || facts.target.endpoint.clone(),
        |target| format!("{}://{}", if target.secure { "https" } else { "http" }, target.endpoint),
    );
    with_keys(&endpoint, facts.asked.target_bucket.as_str())
}

/// The server takes no change of a rule whose bucket on the target is missing: what has to come before it.
fn make_first(facts: &Facts) -> String {
    if !facts.target.bucket_missing() {
        return String::new();
    }
    let with = if matches!(facts.source.lock, Ok(Some(_))) { "--with-lock" } else { "--with-versioning" };
    format!(
        "make the lost bucket first, or MinIO refuses to change the rule: `mc mb {with} {}/{}`, then ",
        facts.target.alias, facts.asked.target_bucket
    )
}

/// The ids of the rules that lead to the target, as far as they are known.
pub(super) fn rule_ids(facts: &Facts) -> Vec<&str> {
    rules(facts).map(|rules| rules.into_iter().map(|rule| rule.id.as_str()).collect()).unwrap_or_default()
}

fn flags(facts: &Facts, rules: &[&Rule]) -> String {
    let update = |rule: &&Rule| {
        // The server takes no delete markers in a rule that asks for tags.
        let (markers, but) = if rule.tags.is_empty() {
            ("delete-marker,", "")
        } else {
            ("", " (MinIO replicates delete markers only by rules without tags)")
        };
        format!(
            "`mc replicate update {} --id {} --replicate \"delete,{markers}existing-objects,metadata-sync\"`{but}",
            place(facts),
            rule.id
        )
    };
    format!("{}{}", make_first(facts), rules.iter().map(update).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, outcome, refused},
    };
    use super::*;

    const RESTING_ON_RULES: [fn(&Facts) -> Answer; 5] =
        [replication_configured, rule_enabled, existing_objects_enabled, delete_replication_enabled, rule_scope];

    fn with_rule(change: impl Fn(&mut Rule)) -> Facts {
        let mut facts = facts();
        change(&mut facts.replication.as_mut().unwrap().as_mut().unwrap().rules[0]);
        facts
    }

    #[test]
    fn good_rules_pass_and_unread_ones_are_unknown() {
        for check in RESTING_ON_RULES {
            assert_eq!(outcome(check, &facts()), Pass);
            assert_eq!(outcome(check, &Facts { replication: Err(down()), ..facts() }), Unknown);
            assert_eq!(outcome(check, &Facts { replication: Ok(None), ..facts() }), Fail);
        }
    }

    #[test]
    fn rules_of_other_targets_do_not_count() {
        let other = with_rule(|r| r.arn = "arn:other".into());
        assert_eq!(outcome(replication_configured, &other), Pass);
        for check in &RESTING_ON_RULES[1..] {
            assert_eq!(outcome(*check, &other), Fail);
        }
    }

    #[test]
    fn each_flag_of_a_rule_is_looked_at() {
        assert_eq!(outcome(rule_enabled, &with_rule(|r| r.enabled = false)), Fail);
        assert_eq!(outcome(existing_objects_enabled, &with_rule(|r| r.existing_objects = false)), Fail);
        assert_eq!(outcome(delete_replication_enabled, &with_rule(|r| r.delete_markers = false)), Warn);
        assert_eq!(outcome(rule_scope, &with_rule(|r| r.prefix = "a/".into())), Warn);
        assert_eq!(outcome(rule_scope, &with_rule(|r| r.tags = vec![("k".into(), "v".into())])), Warn);
        let mut second = facts();
        let rules = &mut second.replication.as_mut().unwrap().as_mut().unwrap().rules;
        rules.push(Rule { enabled: false, ..rules[0].clone() });
        assert_eq!(outcome(rule_enabled, &second), Warn);
    }

    #[test]
    fn deletes_fail_only_where_delete_markers_would_be_lost() {
        let mut off = with_rule(|r| r.deletes = false);
        assert_eq!(outcome(delete_replication_enabled, &off), Fail);
        off.source.inventory.as_mut().unwrap().delete_markers = 0;
        assert_eq!(outcome(delete_replication_enabled, &off), Warn);
        off.source.inventory = Err(down());
        assert_eq!(outcome(delete_replication_enabled, &off), Unknown);
    }

    fn with_target(change: impl Fn(&mut RemoteTarget)) -> Facts {
        let mut facts = facts();
        change(&mut facts.remote_targets.as_mut().unwrap()[0]);
        facts
    }

    #[test]
    fn the_remote_target_must_be_the_target() {
        assert_eq!(outcome(target_registered, &facts()), Pass);
        assert_eq!(outcome(target_registered, &with_target(|t| t.arn = "arn:other".into())), Fail);
        assert_eq!(outcome(target_registered, &with_target(|t| t.target_bucket = "copy".into())), Fail);
        let named_otherwise = |id: Option<&str>| {
            with_target(|t| {
                t.endpoint = "10.0.0.7:9000".into();
                t.deployment_id = id.map(Into::into);
            })
        };
        assert_eq!(outcome(target_registered, &named_otherwise(None)), Warn);
        assert_eq!(outcome(target_registered, &named_otherwise(Some("id-b"))), Pass);
        assert_eq!(outcome(target_registered, &named_otherwise(Some("id-x"))), Fail);
        let mut nameless = facts();
        nameless.asked.arn = String::new();
        assert_eq!(outcome(target_registered, &nameless), Fail);
    }

    #[test]
    fn a_poisoned_list_of_targets_is_named() {
        let mut poisoned = facts();
        poisoned.remote_targets = Err(refused("InternalError", 500));
        let said = target_registered(&poisoned).unwrap_err();
        assert_eq!(said.outcome, Unknown);
        assert!(said.detail.contains("older-than"));
    }
}
