//! What differs between the settings of two buckets, and what may be done about it. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    human,
    site::s3::{Encryption, ObjectLock, Retention, Versioning},
};

/// The settings of a bucket that a replica must share.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::steps) struct Settings {
    pub(in crate::steps) versioning: Versioning,
    pub(in crate::steps) lock: Option<ObjectLock>,
    pub(in crate::steps) encryption: Option<Encryption>,
}

/// A setting that differs between source and target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(in crate::steps) struct Difference {
    /// Which setting.
    pub(in crate::steps) setting: Setting,
    /// What the source has.
    pub(in crate::steps) source: String,
    /// What the target has.
    pub(in crate::steps) target: String,
    /// What can be done about it.
    pub(in crate::steps) cure: Cure,
}

/// A setting of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::steps) enum Setting {
    Versioning,
    ObjectLock,
    Retention,
    Encryption,
}

/// What can be done about a difference: `align` it with the source; leave it, because the target is `stricter`;
/// or nothing, because it is fixed when a bucket is made (`fixed`), or because the source itself must change
/// first (`source`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::steps) enum Cure {
    Align,
    Stricter,
    Fixed,
    Source,
}

/// Everything in which the target differs from the source, in the order in which it is put right.
pub(in crate::steps) fn differences(source: &Settings, target: &Settings) -> Vec<Difference> {
    [versioning(source, target), object_lock(source, target), retention(source, target), encryption(source, target)]
        .into_iter()
        .flatten()
        .collect()
}

fn versioning(source: &Settings, target: &Settings) -> Option<Difference> {
    let (from, to) = (sorted(&source.versioning), sorted(&target.versioning));
    let cure = if from.enabled { Cure::Align } else { Cure::Source };
    // A source without versioning cannot be replicated, whatever the target has.
    (from != to || !from.enabled)
        .then(|| difference(Setting::Versioning, versioning_text(&from), versioning_text(&to), cure))
}

fn object_lock(source: &Settings, target: &Settings) -> Option<Difference> {
    let text = |on: bool| if on { "on" } else { "off" }.to_owned();
    match (source.lock.is_some(), target.lock.is_some()) {
        (true, true) | (false, false) => None,
        (true, false) => Some(difference(Setting::ObjectLock, text(true), text(false), Cure::Fixed)),
        (false, true) => Some(difference(Setting::ObjectLock, text(false), text(true), Cure::Stricter)),
    }
}

fn retention(source: &Settings, target: &Settings) -> Option<Difference> {
    let (from, to) = (default_of(source), default_of(target));
    if from.map(days) == to.map(days) && from.map(|r| &r.mode) == to.map(|r| &r.mode) {
        return None;
    }
    let cure = match (source.lock.is_some(), target.lock.is_some()) {
        // Without lock on the target there is no place for a default retention.
        (_, false) => Cure::Fixed,
        (_, true) if weaker(from, to) => Cure::Stricter,
        (_, true) => Cure::Align,
    };
    Some(difference(Setting::Retention, retention_text(from), retention_text(to), cure))
}

fn encryption(source: &Settings, target: &Settings) -> Option<Difference> {
    let (from, to) = (source.encryption.as_ref(), target.encryption.as_ref());
    let same = from.map(|e| &e.algorithm) == to.map(|e| &e.algorithm) && key_of(from) == key_of(to);
    let cure = if strength(from) < strength(to) { Cure::Stricter } else { Cure::Align };
    (!same).then(|| difference(Setting::Encryption, encryption_text(from), encryption_text(to), cure))
}

fn difference(setting: Setting, source: String, target: String, cure: Cure) -> Difference {
    Difference { setting, source, target, cure }
}

/// The name of a KMS key as the server's KMS knows it.
pub(in crate::steps) fn key_name(key: &str) -> &str {
    key.strip_prefix("arn:aws:kms:").unwrap_or(key)
}

fn key_of(encryption: Option<&Encryption>) -> Option<&str> {
    encryption.and_then(|e| e.kms_key.as_deref()).map(key_name).filter(|k| !k.is_empty())
}

fn default_of(settings: &Settings) -> Option<&Retention> {
    settings.lock.as_ref().and_then(|lock| lock.default.as_ref())
}

fn days(retention: &Retention) -> u32 {
    retention.days.unwrap_or(0).saturating_add(retention.years.unwrap_or(0).saturating_mul(365))
}

/// Whether the first protects less than the second in any way.
fn weaker(from: Option<&Retention>, to: Option<&Retention>) -> bool {
    let mode = |r: Option<&Retention>| r.map_or(0, |r| if r.mode == "COMPLIANCE" { 2 } else { 1 });
    mode(from) < mode(to) || from.map_or(0, days) < to.map_or(0, days)
}

fn strength(encryption: Option<&Encryption>) -> u8 {
    match encryption.map(|e| e.algorithm.as_str()) {
        None => 0,
        Some("AES256") => 1,
        Some(_) => 2,
    }
}

fn sorted(versioning: &Versioning) -> Versioning {
    let mut versioning = versioning.clone();
    versioning.excluded_prefixes.sort();
    versioning
}

fn versioning_text(versioning: &Versioning) -> String {
    let mut parts = vec![if versioning.enabled { "enabled" } else { "off" }.to_owned()];
    if !versioning.excluded_prefixes.is_empty() {
        parts.push(format!("without the prefixes {}", versioning.excluded_prefixes.join(", ")));
    }
    if versioning.exclude_folders {
        parts.push("without folders".to_owned());
    }
    parts.join(", ")
}

fn retention_text(retention: Option<&Retention>) -> String {
    let Some(retention) = retention else { return "none".into() };
    match (retention.days, retention.years) {
        (_, Some(years)) => format!("{}, {}", retention.mode, human::plural(u64::from(years), "year")),
        (Some(days), None) => format!("{}, {}", retention.mode, human::plural(u64::from(days), "day")),
        (None, None) => retention.mode.clone(),
    }
}

fn encryption_text(encryption: Option<&Encryption>) -> String {
    match (encryption, key_of(encryption)) {
        (None, _) => "none".into(),
        (Some(e), None) => e.algorithm.clone(),
        (Some(e), Some(key)) => format!("{} with key {key}", e.algorithm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Settings {
        Settings { versioning: Versioning { enabled: true, ..Versioning::default() }, lock: None, encryption: None }
    }

    fn locked(default: Option<(&str, u32)>) -> Settings {
        let default = default.map(|(mode, days)| Retention { mode: mode.into(), days: Some(days), years: None });
        Settings { lock: Some(ObjectLock { default }), ..plain() }
    }

    fn encrypted(algorithm: &str, key: Option<&str>) -> Settings {
        let kms_key = key.map(Into::into);
        Settings { encryption: Some(Encryption { algorithm: algorithm.into(), kms_key }), ..plain() }
    }

    fn cures(source: &Settings, target: &Settings) -> Vec<(Setting, Cure)> {
        differences(source, target).into_iter().map(|d| (d.setting, d.cure)).collect()
    }

    #[test]
    fn equal_settings_do_not_differ() {
        let all = [plain(), locked(None), locked(Some(("GOVERNANCE", 7))), encrypted("aws:kms", Some("k"))];
        for settings in &all {
            assert_eq!(cures(settings, settings), []);
        }
        assert_eq!(cures(&encrypted("aws:kms", Some("arn:aws:kms:k")), &all[3]), []);
    }

    #[test]
    fn versioning_follows_the_source_with_its_exclusions() {
        let mut off = plain();
        off.versioning.enabled = false;
        assert_eq!(cures(&plain(), &off), [(Setting::Versioning, Cure::Align)]);
        assert_eq!(cures(&off, &plain()), [(Setting::Versioning, Cure::Source)]);
        let mut excluding = plain();
        excluding.versioning.excluded_prefixes = vec!["tmp/".into(), "cache/".into()];
        assert_eq!(cures(&excluding, &plain()), [(Setting::Versioning, Cure::Align)]);
        let mut other_order = excluding.clone();
        other_order.versioning.excluded_prefixes.reverse();
        assert_eq!(cures(&excluding, &other_order), []);
    }

    #[test]
    fn a_lock_cannot_be_added_to_a_bucket_and_is_never_lost() {
        assert_eq!(cures(&locked(None), &plain()), [(Setting::ObjectLock, Cure::Fixed)]);
        assert_eq!(cures(&plain(), &locked(None)), [(Setting::ObjectLock, Cure::Stricter)]);
        let both = [(Setting::ObjectLock, Cure::Fixed), (Setting::Retention, Cure::Fixed)];
        assert_eq!(cures(&locked(Some(("GOVERNANCE", 7))), &plain()), both);
    }

    #[test]
    fn retention_is_raised_but_not_lowered() {
        let (week, month) = (locked(Some(("GOVERNANCE", 7))), locked(Some(("GOVERNANCE", 30))));
        assert_eq!(cures(&month, &week), [(Setting::Retention, Cure::Align)]);
        assert_eq!(cures(&week, &month), [(Setting::Retention, Cure::Stricter)]);
        assert_eq!(cures(&week, &locked(None)), [(Setting::Retention, Cure::Align)]);
        assert_eq!(cures(&locked(None), &week), [(Setting::Retention, Cure::Stricter)]);
        let strict = locked(Some(("COMPLIANCE", 1)));
        assert_eq!(cures(&week, &strict), [(Setting::Retention, Cure::Stricter)]);
        let year = locked(Some(("GOVERNANCE", 365)));
        let years = Retention { mode: "GOVERNANCE".into(), days: None, years: Some(1) };
        assert_eq!(cures(&year, &Settings { lock: Some(ObjectLock { default: Some(years) }), ..plain() }), []);
    }

    #[test]
    fn encryption_is_raised_but_not_lowered() {
        let (s3, kms) = (encrypted("AES256", None), encrypted("aws:kms", Some("a")));
        assert_eq!(cures(&s3, &plain()), [(Setting::Encryption, Cure::Align)]);
        assert_eq!(cures(&plain(), &s3), [(Setting::Encryption, Cure::Stricter)]);
        assert_eq!(cures(&s3, &kms), [(Setting::Encryption, Cure::Stricter)]);
        assert_eq!(cures(&encrypted("aws:kms", Some("b")), &kms), [(Setting::Encryption, Cure::Align)]);
    }
}
