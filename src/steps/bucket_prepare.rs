//! Makes the target's bucket fit to be restored into: there, and with the source's settings.

pub(super) mod alignment;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Finding, Progress},
    failure::Failure,
    site::{
        Site,
        changes::{CreateBucket, SetEncryption, SetRetention, SetVersioning},
    },
    step::{Access, Changes, Cx, Step},
    types::{BucketName, Role},
};
use alignment::{Cure, Difference, Setting, Settings, differences};

/// Creates the lost bucket on the target, and aligns its settings with the source's. The settings are versioning, default
/// retention and default encryption; the lock is given when the bucket is made. Deletes nothing.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BucketPrepare {
    /// The healthy site, whose bucket is the pattern.
    #[serde(default = "Role::source")]
    source: Role,
    /// The damaged site, whose bucket is made or changed.
    #[serde(default = "Role::target")]
    target: Role,
    /// The bucket on the source.
    bucket: BucketName,
    /// The bucket on the target. Default: the same name.
    #[serde(default)]
    target_bucket: Option<BucketName>,
    /// Lower a stricter default retention or encryption of the target to the source's as well. Default: false, a
    /// stricter target is left alone and reported.
    #[serde(default)]
    allow_weaker: bool,
}

/// What was different, what was done, and what is left.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The bucket is on the source.
    source_exists: bool,
    /// The bucket was missing on the target and was created.
    created: bool,
    /// How the target differed before anything was changed; empty when its bucket was missing.
    differences: Vec<Difference>,
    /// What was changed, in this order.
    changed: Vec<Changed>,
    /// How the target still differs, read back from the server.
    left: Vec<Difference>,
}

/// A setting that was changed.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Changed {
    /// Which setting.
    what: Setting,
    /// What the target had.
    before: String,
    /// What it was set to.
    after: String,
}

impl Step for BucketPrepare {
    const USES: &'static str = "bucket.prepare";
    const EXAMPLE: &'static str = r#"- id: prepare
  uses: bucket.prepare
  with: { bucket: "{{ inputs.bucket }}" }"#;
    type Access = Changes;
    type Output = Output;

    fn describe(&self) -> String {
        format!(
            "create {target}/{there} if it is missing, and align its versioning, default retention and default \
             encryption with {source}/{here}",
            target = self.target,
            there = self.there(),
            source = self.source,
            here = self.bucket
        )
    }

    async fn run(&self, cx: &Cx<Changes>) -> Result<Output, Failure> {
        let source = cx.read(&self.source)?;
        if !source.bucket_exists(&self.bucket).await? {
            return Ok(nothing_done());
        }
        let wanted = settings(&source, &self.bucket).await?;
        let target = cx.claim(&self.target, self.there())?;
        let created = !target.bucket_exists(self.there()).await?;
        if created {
            say(cx, format!("bucket `{}` is missing on {}: creating it", self.there(), self.target));
            let (bucket, object_lock) = (self.there().clone(), wanted.lock.is_some());
            target.change("create", |_| CreateBucket { bucket, object_lock }).await?;
        }
        let before = differences(&wanted, &settings(&target, self.there()).await?);
        for difference in &before {
            let Difference { setting, source, target, .. } = difference;
            say(cx, format!("{}: {target} on {}, {source} on {}", name(*setting), self.target, self.source));
        }
        let mut changed = Vec::new();
        for difference in before.iter().filter(|d| self.may(d)) {
            self.apply(&target, &wanted, difference.setting).await?;
            changed.push(Changed {
                what: difference.setting,
                before: difference.target.clone(),
                after: difference.source.clone(),
            });
        }
        // The server's word, not ours: a setting that was taken may still not be the one in force.
        let left = differences(&wanted, &settings(&target, self.there()).await?);
        let differences = if created { Vec::new() } else { before };
        Ok(Output { source_exists: true, created, differences, changed, left })
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        if !output.source_exists {
            return vec![
                Finding::new("bucket_missing", format!("bucket `{}` is missing on {}", self.bucket, self.source))
                    .remedy("is the direction right? the source is the healthy site, and its bucket is the pattern"),
            ];
        }
        // A target that has a lock which the source has not holds what it is given; only its settings that were
        // looked for are reported.
        output
            .left
            .iter()
            .filter(|d| d.setting != Setting::ObjectLock || d.cure == Cure::Fixed)
            .map(|d| self.finding(d))
            .collect()
    }
}

impl BucketPrepare {
    fn there(&self) -> &BucketName {
        self.target_bucket.as_ref().unwrap_or(&self.bucket)
    }

    fn may(&self, difference: &Difference) -> bool {
        match difference.cure {
            Cure::Align => true,
            Cure::Stricter => self.allow_weaker && difference.setting != Setting::ObjectLock,
            Cure::Fixed | Cure::Source => false,
        }
    }

    async fn apply(&self, target: &Site<Changes>, wanted: &Settings, setting: Setting) -> Result<(), Failure> {
        let bucket = self.there().clone();
        match setting {
            Setting::Versioning => {
                let versioning = wanted.versioning.clone();
                target.change("versioning", |_| SetVersioning { bucket, versioning }).await
            }
            Setting::Retention => {
                let retention = wanted.lock.as_ref().and_then(|lock| lock.default.clone());
                target.change("retention", |_| SetRetention { bucket, retention }).await
            }
            Setting::Encryption => {
                let encryption = wanted.encryption.clone();
                target.change("encryption", |_| SetEncryption { bucket, encryption }).await
            }
            // `may` never lets it through: a lock comes with the bucket.
            Setting::ObjectLock => Ok(()),
        }
    }

    fn finding(&self, difference: &Difference) -> Finding {
        let Difference { setting, source, target, cure } = difference;
        let there = self.there();
        let text = format!(
            "{} of bucket `{there}` is `{target}` on {} and `{source}` on {}",
            name(*setting),
            self.target,
            self.source
        );
        let remedy = match (cure, setting) {
            (Cure::Align, _) => {
                format!("it was set and did not stay: look at the target's log, then at the settings of `{there}`")
            }
            (Cure::Stricter, _) => "the target is the stricter one and was left alone: lower it by hand, raise the \
                                    source, or say `allow_weaker: true`"
                .into(),
            (Cure::Fixed, _) => format!(
                "a lock can only be given to a bucket when it is made: move what is in it away, remove it with `mc rb \
                 ALIAS/{there}`, and run this again, or make it with `mc mb --with-lock ALIAS/{there}`"
            ),
            (Cure::Source, _) => {
                format!("replication needs versioning on the source: `mc version enable ALIAS/{}`", self.bucket)
            }
        };
        Finding::new(name(*setting).replace(' ', "_"), text).remedy(remedy)
    }
}

fn say(cx: &Cx<Changes>, what: String) {
    cx.progress(Progress { what, ..Progress::default() });
}

/// The settings of a bucket that a replica must share.
async fn settings<A: Access>(site: &Site<A>, bucket: &BucketName) -> Result<Settings, Failure> {
    let (versioning, lock, encryption) =
        tokio::try_join!(site.versioning(bucket), site.object_lock(bucket), site.encryption(bucket))?;
    Ok(Settings { versioning, lock, encryption })
}

fn name(setting: Setting) -> &'static str {
    match setting {
        Setting::Versioning => "versioning",
        Setting::ObjectLock => "object lock",
        Setting::Retention => "default retention",
        Setting::Encryption => "default encryption",
    }
}

fn nothing_done() -> Output {
    Output { source_exists: false, created: false, differences: Vec::new(), changed: Vec::new(), left: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(allow_weaker: bool) -> BucketPrepare {
        serde_json::from_value(serde_json::json!({"bucket": "data", "allow_weaker": allow_weaker})).unwrap()
    }

    fn one(setting: Setting, cure: Cure) -> Difference {
        Difference { setting, source: "a".into(), target: "b".into(), cure }
    }

    fn left(left: Vec<Difference>) -> Output {
        Output { source_exists: true, left, ..nothing_done() }
    }

    #[test]
    fn only_what_does_not_weaken_is_changed_unless_allowed() {
        assert!(step(false).may(&one(Setting::Retention, Cure::Align)));
        assert!(!step(false).may(&one(Setting::Retention, Cure::Stricter)));
        assert!(step(true).may(&one(Setting::Retention, Cure::Stricter)));
        assert!(!step(true).may(&one(Setting::ObjectLock, Cure::Stricter)));
        assert!(!step(true).may(&one(Setting::ObjectLock, Cure::Fixed)));
    }

    #[test]
    fn what_is_left_is_found_with_a_way_out() {
        let found = step(false).findings(&left(vec![
            one(Setting::ObjectLock, Cure::Fixed),
            one(Setting::ObjectLock, Cure::Stricter),
            one(Setting::Retention, Cure::Stricter),
        ]));
        let ids: Vec<_> = found.iter().map(|f| f.id.as_str()).collect();
        assert_eq!(ids, ["object_lock", "default_retention"]);
        assert!(found[0].remedy.as_ref().unwrap().contains("mc mb --with-lock"));
        assert!(step(false).findings(&left(Vec::new())).is_empty());
    }

    #[test]
    fn a_missing_source_asks_about_the_direction() {
        assert_eq!(step(false).findings(&nothing_done())[0].id, "bucket_missing");
    }
}
