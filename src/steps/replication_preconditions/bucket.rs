//! Whether the settings of the two buckets fit, and nothing on the target destroys what is restored.

use super::{
    checks::{Answer, CheckId, Said, fail, pass, unknown, warn},
    facts::Facts,
    need::told,
};
use crate::steps::bucket_prepare::alignment::{Cure, Difference, Setting, Settings, differences, key_name};

pub(super) fn versioning_enabled(facts: &Facts) -> Answer {
    let (source, target) = (&facts.source, &facts.target);
    let here = facts.of_bucket(source, &source.versioning, "versioning")?;
    if !here.enabled {
        return Ok(fail(
            format!("versioning is off on source bucket `{}`", facts.asked.bucket),
            format!("`mc version enable {}/{}`", source.alias, facts.asked.bucket),
        ));
    }
    if target.bucket_missing() {
        return Ok(lost(facts));
    }
    if !told(target, &target.versioning, "versioning")?.enabled {
        let remedy = format!("`bucket.prepare`, or `mc version enable {}/{}`", target.alias, facts.asked.target_bucket);
        let detail = format!("versioning is off on target bucket `{}`", facts.asked.target_bucket);
        return Ok(if facts.asked.before_prepare { warn(detail, remedy) } else { fail(detail, remedy) });
    }
    Ok(pass("on, on both sites"))
}

/// The target's bucket is missing: expected before it is prepared, a failure afterwards.
fn lost(facts: &Facts) -> Said {
    let detail = format!("target `{}` has no bucket `{}`", facts.target.alias, facts.asked.target_bucket);
    let remedy = "`bucket.prepare` creates it with the source's settings";
    if facts.asked.before_prepare { warn(detail, remedy) } else { fail(detail, remedy) }
}

pub(super) fn excluded_prefixes(facts: &Facts) -> Answer {
    let source = &facts.source;
    let versioning = facts.of_bucket(source, &source.versioning, "the excluded prefixes")?;
    if versioning.excluded_prefixes.is_empty() && !versioning.exclude_folders {
        return Ok(pass("versioning leaves nothing out"));
    }
    let mut what = versioning.excluded_prefixes.clone();
    if versioning.exclude_folders {
        what.push("folders (keys that end in `/`)".into());
    }
    let keys = match &source.inventory {
        Ok(inventory) => format!("{} keys", inventory.excluded_keys),
        Err(_) => "an unknown number of keys".into(),
    };
    Ok(warn(
        format!("versioning leaves out {}, which hold {keys}: they are never replicated", what.join(", ")),
        format!(
            "copy them by `mc mirror {}/{}/PREFIX {}/{}/PREFIX`",
            source.alias, facts.asked.bucket, facts.target.alias, facts.asked.target_bucket
        ),
    ))
}

pub(super) fn object_lock_matches(facts: &Facts) -> Answer {
    let (source, target) = (&facts.source, &facts.target);
    let here = facts.of_bucket(source, &source.lock, "object lock")?.is_some();
    if target.bucket_missing() {
        return Ok(match (facts.asked.before_prepare, here) {
            (true, true) => lost(facts),
            (true, false) => pass("off on the source, and the target's bucket is still to be made"),
            (false, _) => facts.without_bucket(target, "object lock"),
        });
    }
    let there = told(target, &target.lock, "object lock")?.is_some();
    match (here, there) {
        (true, true) => Ok(pass("on, on both sites")),
        (false, false) => Ok(pass("off, on both sites")),
        (true, false) => Ok(fail(
            format!("the source bucket has object lock, target bucket `{}` has not", facts.asked.target_bucket),
            format!(
                "a lock comes with the making of a bucket: empty and remove it (`mc rb {0}/{1}`), then `bucket.prepare`, \
                 or `mc mb --with-lock {0}/{1}`",
                target.alias, facts.asked.target_bucket
            ),
        )),
        (false, true) => Ok(warn(
            "the target bucket has object lock, the source bucket has not: what is locked there stays",
            "make both buckets alike, if that is not meant",
        )),
    }
}

pub(super) fn retention_matches(facts: &Facts) -> Answer {
    let (source, target) = settings(facts, "default retention")?;
    Ok(setting_matches(facts, &source, &target, Setting::Retention, "default retention"))
}

/// Whether one setting is equal on both sites; before `bucket.prepare`, what that will put right only warns.
pub(super) fn setting_matches(
    facts: &Facts,
    source: &Settings,
    target: &Settings,
    setting: Setting,
    name: &str,
) -> Said {
    let Some(difference) = differences(source, target).into_iter().find(|d| d.setting == setting) else {
        return pass(format!("the same {name} on both sites"));
    };
    let Difference { source: here, target: there, cure, .. } = &difference;
    let detail = format!("{name} is `{here}` on the source and `{there}` on the target");
    let place = format!("{}/{}", facts.target.alias, facts.asked.target_bucket);
    match cure {
        Cure::Align if facts.asked.before_prepare => warn(detail, "`bucket.prepare` aligns it"),
        Cure::Align => fail(detail, format!("`bucket.prepare` aligns it; by hand: {}", align(source, setting, &place))),
        Cure::Stricter => fail(
            format!("{detail}: the target is the stricter one"),
            format!("raise the source, or lower the target if that is meant: {}", align(source, setting, &place)),
        ),
        Cure::Fixed | Cure::Source => {
            fail(detail, "see the check `object_lock_matches`").because(CheckId::ObjectLockMatches)
        }
    }
}

/// The command that gives the target what the source has.
fn align(source: &Settings, setting: Setting, place: &str) -> String {
    let retention = source.lock.as_ref().and_then(|lock| lock.default.as_ref());
    let command = match (setting, retention, &source.encryption) {
        (Setting::Retention, Some(retention), _) => {
            let period = match (retention.days, retention.years) {
                (None, Some(years)) => format!("{years}y"),
                (days, _) => format!("{}d", days.unwrap_or_default()),
            };
            format!("mc retention set --default {} {period} {place}", retention.mode)
        }
        (Setting::Retention, None, _) => format!("mc retention clear --default {place}"),
        (Setting::Encryption, _, None) => format!("mc encrypt clear {place}"),
        (Setting::Encryption, _, Some(encryption)) => match &encryption.kms_key {
            Some(key) => format!("mc encrypt set sse-kms {} {place}", key_name(key)),
            None => format!("mc encrypt set sse-s3 {place}"),
        },
        (Setting::Versioning, _, _) => format!("mc version enable {place}"),
        (Setting::ObjectLock, _, _) => format!("mc mb --with-lock {place}"),
    };
    format!("`{command}`")
}

/// Settings of both buckets.
pub(super) fn settings(facts: &Facts, what: &str) -> Result<(Settings, Settings), Said> {
    let of = |site: &super::facts::SiteFacts| {
        Ok::<_, Said>(Settings {
            versioning: facts.of_bucket(site, &site.versioning, what)?.clone(),
            lock: facts.of_bucket(site, &site.lock, what)?.clone(),
            encryption: facts.of_bucket(site, &site.encryption, what)?.clone(),
        })
    };
    Ok((of(&facts.source)?, of(&facts.target)?))
}

pub(super) fn null_versions(facts: &Facts) -> Answer {
    let source = &facts.source;
    let nulls = facts.of_bucket(source, &source.inventory, "the number of `null` versions")?.nulls;
    let there = facts.target.inventory.as_ref().map_or(0, |i| i.nulls);
    if nulls == 0 && there == 0 {
        return Ok(pass("every version has an id"));
    }
    Ok(warn(
        format!(
            "{nulls} `null` versions on the source, {there} on the target: a newer one on the target is overwritten, a \
             newer one on the source is not sent"
        ),
        "compare their content afterwards (`versions.compare`), and copy what differs by `mc cp`",
    ))
}

pub(super) fn lifecycle_safe(facts: &Facts) -> Answer {
    let (source, target) = (&facts.source, &facts.target);
    let rules = facts.of_bucket(target, &target.lifecycle, "the lifecycle rules")?;
    let removing: Vec<_> = rules.iter().filter(|r| r.enabled && !r.removes.is_empty()).collect();
    if removing.is_empty() {
        return Ok(pass("no rule on the target removes anything"));
    }
    let line = |rule: &crate::site::s3::LifecycleRule| {
        let prefix = if rule.prefix.is_empty() { String::new() } else { format!(" below `{}`", rule.prefix) };
        format!("rule `{}` removes {}{prefix}", rule.id, rule.removes.join(", "))
    };
    let list = removing.iter().map(|r| line(r)).collect::<Vec<_>>().join("; ");
    let edit = |rule: &&crate::site::s3::LifecycleRule| {
        format!("`mc ilm rule edit --id \"{}\" --disable {}/{}`", rule.id, target.alias, facts.asked.target_bucket)
    };
    let disable =
        format!("disable for the time of the recovery: {}", removing.iter().map(edit).collect::<Vec<_>>().join(", "));
    let ours = source.lifecycle.as_ref().map_err(|_| ());
    let shared = |rule: &crate::site::s3::LifecycleRule| {
        ours.is_ok_and(|all| {
            all.iter().any(|r| {
                r.enabled
                    && r.prefix == rule.prefix
                    && r.tags == rule.tags
                    && rule.removes.iter().all(|what| r.removes.contains(what))
            })
        })
    };
    match (removing.iter().all(|r| shared(r)), ours.is_err()) {
        (true, _) => Ok(warn(format!("on the target, as on the source, {list}"), disable)),
        (false, true) => {
            Ok(unknown(format!("on the target {list}; whether the source does the same could not be had"), disable))
        }
        (false, false) => Ok(fail(format!("on the target, and not on the source, {list}"), disable)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, lost_target, outcome},
    };
    use super::*;
    use crate::site::s3::{LifecycleRule, ObjectLock, Retention};

    #[test]
    fn versioning_must_be_on_at_both_ends() {
        assert_eq!(outcome(versioning_enabled, &facts()), Pass);
        let mut here = facts();
        here.source.versioning.as_mut().unwrap().enabled = false;
        assert_eq!(outcome(versioning_enabled, &here), Fail);
        let mut there = facts();
        there.target.versioning.as_mut().unwrap().enabled = false;
        assert_eq!(outcome(versioning_enabled, &there), Fail);
        there.asked.before_prepare = true;
        assert_eq!(outcome(versioning_enabled, &there), Warn);
        there.target.versioning = Err(down());
        assert_eq!(outcome(versioning_enabled, &there), Unknown);
        assert_eq!(outcome(versioning_enabled, &lost_target(true)), Warn);
        assert_eq!(outcome(versioning_enabled, &lost_target(false)), Fail);
    }

    #[test]
    fn excluded_prefixes_warn_with_their_keys() {
        assert_eq!(outcome(excluded_prefixes, &facts()), Pass);
        let mut some = facts();
        some.source.versioning.as_mut().unwrap().excluded_prefixes = vec!["tmp/".into()];
        some.source.inventory.as_mut().unwrap().excluded_keys = 7;
        let said = excluded_prefixes(&some).unwrap();
        assert_eq!(said.outcome, Warn);
        assert!(said.detail.contains("tmp/") && said.detail.contains("7 keys"), "{}", said.detail);
        some.source.versioning = Err(down());
        assert_eq!(outcome(excluded_prefixes, &some), Unknown);
    }

    fn lock(mode: &str, days: u32) -> Option<ObjectLock> {
        Some(ObjectLock { default: Some(Retention { mode: mode.into(), days: Some(days), years: None }) })
    }

    #[test]
    fn a_lock_on_the_source_needs_one_on_the_target() {
        assert_eq!(outcome(object_lock_matches, &facts()), Pass);
        let mut locked = facts();
        locked.source.lock = Ok(lock("GOVERNANCE", 7));
        assert_eq!(outcome(object_lock_matches, &locked), Fail);
        // What is fixed for good cannot be prepared either.
        locked.asked.before_prepare = true;
        assert_eq!(outcome(object_lock_matches, &locked), Fail);
        locked.target.lock = Ok(lock("GOVERNANCE", 7));
        assert_eq!(outcome(object_lock_matches, &locked), Pass);
        locked.source.lock = Ok(None);
        assert_eq!(outcome(object_lock_matches, &locked), Warn);
        locked.source.lock = Err(down());
        assert_eq!(outcome(object_lock_matches, &locked), Unknown);
        let mut lost = lost_target(true);
        assert_eq!(outcome(object_lock_matches, &lost), Pass);
        lost.source.lock = Ok(lock("GOVERNANCE", 7));
        assert_eq!(outcome(object_lock_matches, &lost), Warn);
    }

    #[test]
    fn retention_is_equal_or_prepared() {
        assert_eq!(outcome(retention_matches, &facts()), Pass);
        let mut weaker = facts();
        weaker.source.lock = Ok(lock("GOVERNANCE", 7));
        weaker.target.lock = Ok(lock("GOVERNANCE", 1));
        assert_eq!(outcome(retention_matches, &weaker), Fail);
        weaker.asked.before_prepare = true;
        assert_eq!(outcome(retention_matches, &weaker), Warn);
        let mut stricter = weaker.clone();
        stricter.target.lock = Ok(lock("COMPLIANCE", 7));
        assert_eq!(outcome(retention_matches, &stricter), Fail);
        stricter.target.lock = Err(down());
        assert_eq!(outcome(retention_matches, &stricter), Unknown);
        assert_eq!(outcome(retention_matches, &lost_target(true)), Warn);
    }

    #[test]
    fn null_versions_warn() {
        assert_eq!(outcome(null_versions, &facts()), Pass);
        let mut some = facts();
        some.source.inventory.as_mut().unwrap().nulls = 1;
        assert_eq!(outcome(null_versions, &some), Warn);
        some.source.inventory = Err(down());
        assert_eq!(outcome(null_versions, &some), Unknown);
    }

    #[test]
    fn expiry_on_the_target_fails_unless_the_source_does_the_same() {
        assert_eq!(outcome(lifecycle_safe, &facts()), Pass);
        let rule = LifecycleRule {
            id: "old".into(),
            enabled: true,
            prefix: String::new(),
            removes: vec!["current versions after 30 days".into()],
            ..LifecycleRule::default()
        };
        let mut expiring = facts();
        expiring.target.lifecycle = Ok(vec![rule.clone()]);
        assert_eq!(outcome(lifecycle_safe, &expiring), Fail);
        expiring.source.lifecycle = Ok(vec![rule.clone()]);
        assert_eq!(outcome(lifecycle_safe, &expiring), Warn);
        expiring.source.lifecycle = Err(down());
        assert_eq!(outcome(lifecycle_safe, &expiring), Unknown);
        expiring.target.lifecycle = Ok(vec![LifecycleRule { enabled: false, ..rule }]);
        assert_eq!(outcome(lifecycle_safe, &expiring), Pass);
        expiring.target.lifecycle = Err(down());
        assert_eq!(outcome(lifecycle_safe, &expiring), Unknown);
    }
}
