//! Why a version did not reach the target, as far as it can be found out.

use std::collections::{HashMap, hash_map::Entry};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::ResyncRecover;
use crate::{
    compare::{Class, Difference},
    failure::{self, Failure},
    site::{
        Site,
        s3::{Head, Replication, Rule},
    },
    step::{Access, Cx, Reads},
    steps::versions_compare::clock,
    version::Kind,
};

/// Versions that are looked at for a reason.
const EXPLAINED: usize = 100;
const HEADS_AT_ONCE: usize = 8;

/// A version that is still missing or different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Remaining {
    /// Key of the object.
    pub key: String,
    /// Version id.
    pub version_id: String,
    /// What is wrong with it.
    pub class: Class,
    /// The reason that was found.
    pub reason: Reason,
    /// The reason in words.
    pub detail: String,
}

/// Why a version did not reach the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// It is no longer on the source.
    Gone,
    /// No rule sends it: existing objects, or deletes, are not replicated.
    NeverEligible,
    /// Its modification time is in the future, so a resync passes it over.
    FutureTime,
    /// It is encrypted with a key of the customer.
    SseC,
    /// The target cannot use the key that it is encrypted with.
    Kms,
    /// The source's bucket is locked and the target's is not.
    Lock,
    /// The target denies access.
    Permission,
    /// The source tried, failed, and does not say why.
    FailedStatus,
    /// The source still has it in its queue.
    Pending,
    /// The source calls it replicated, from before the target lost it: no resync has come to it since.
    NotReached,
    /// None of the above.
    Unknown,
}

impl Reason {
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::Gone => "compare again: it was removed on the source meanwhile",
            Self::NeverEligible => {
                "enable existing objects and deletes in the replication rule (`mc replicate update --replicate \
                 existing-objects,delete,delete-marker`), then run again"
            }
            Self::FutureTime => "correct the clock of the writer and copy these objects onto themselves",
            Self::SseC => {
                "copy these objects with their keys by a client; a replica in a bucket of another name \
                           cannot be read"
            }
            Self::Kms => "create the key on the target's KMS, then run again",
            Self::Lock => "recreate the target's bucket with object lock (`bucket.prepare`), then run again",
            Self::Permission => {
                "give the replication user on the target s3:ReplicateObject, s3:ReplicateDelete and \
                                 s3:ReplicateTags, then run again"
            }
            Self::FailedStatus => "the source's log says why (`unable to replicate for object`): `mc admin logs`",
            Self::Pending => "give it time, then compare again",
            Self::NotReached => "another resync sends it: run this runbook again when nothing keeps one from starting",
            Self::Unknown => "look at one of them with `mc stat --version-id` on both sites, and at the source's log",
        }
    }
}

/// What is known about all of the versions.
struct Facts {
    now: Timestamp,
    replication: Replication,
    arn: String,
    lock_differs: bool,
    /// KMS keys that the target was asked for, and whether it can use them.
    keys: HashMap<String, bool>,
    trace_errors: Vec<String>,
}

/// Finds the reason for the first of what remains. Extra versions have none: a resync never deletes.
pub(super) async fn explain<A: Access>(
    cx: &Cx<A>,
    params: &ResyncRecover,
    differences: &[Difference],
    trace_errors: Vec<String>,
) -> Result<Vec<Remaining>, Failure> {
    let unsent: Vec<_> = differences.iter().filter(|d| d.class != Class::Extra).take(EXPLAINED).collect();
    if unsent.is_empty() {
        return Ok(Vec::new());
    }
    let (source, target) = (cx.read(&params.source)?, cx.read(&params.target)?);
    let target_bucket = params.target_bucket.as_ref().unwrap_or(&params.bucket);
    let mut heads = Vec::with_capacity(unsent.len());
    for difference in &unsent {
        heads.push(source.head(&params.bucket, &difference.key, Some(difference.version_id.as_str())));
    }
    let heads: Vec<Option<Head>> = stream::iter(heads).buffered(HEADS_AT_ONCE).try_collect().await?;
    let source_lock = source.object_lock(&params.bucket).await?.is_some();
    let facts = Facts {
        now: clock(&source).await?,
        replication: source.replication(&params.bucket).await?.unwrap_or_default(),
        arn: params.arn.clone(),
        // A target that cannot be asked is no reason of this kind.
        lock_differs: source_lock && target.object_lock(target_bucket).await.is_ok_and(|lock| lock.is_none()),
        keys: usable_keys(&target, &heads).await,
        trace_errors,
    };
    let explained = unsent.iter().zip(&heads).map(|(difference, head)| facts.explain(difference, head.as_ref()));
    Ok(explained.collect())
}

/// Asks the target for every key once. The empty key stands for its default one (SSE-S3).
async fn usable_keys(target: &Site<Reads>, heads: &[Option<Head>]) -> HashMap<String, bool> {
    let mut keys = HashMap::new();
    for head in heads.iter().flatten().filter(|head| head.sse.is_some()) {
        if let Entry::Vacant(entry) = keys.entry(key_name(head)) {
            let answer = target.kms_key(entry.key()).await;
            entry.insert(!answer.is_err_and(|failure| clear_no(&failure)));
        }
    }
    keys
}

/// A target that is down, or that does not let us ask, has not said no.
fn clear_no(failure: &Failure) -> bool {
    failure.class() == Some(failure::Class::Refused) && failure.status() != Some(403)
}

/// The name of the key; empty for the default one.
fn key_name(head: &Head) -> String {
    head.kms_key.clone().unwrap_or_default()
}

impl Facts {
    fn explain(&self, difference: &Difference, head: Option<&Head>) -> Remaining {
        let (reason, detail) = self.reason(difference, head);
        Remaining {
            key: difference.key.clone(),
            version_id: difference.version_id.clone(),
            class: difference.class,
            reason,
            detail,
        }
    }

    fn reason(&self, difference: &Difference, head: Option<&Head>) -> (Reason, String) {
        let side = difference.source.as_ref();
        let marker = side.is_some_and(|side| side.kind == Kind::DeleteMarker);
        let Some(head) = head else {
            return (Reason::Gone, "no longer on the source".into());
        };
        match self.rule(&difference.key) {
            None => return (Reason::NeverEligible, "no enabled rule covers it".into()),
            Some(rule) if !rule.existing_objects => {
                return (Reason::NeverEligible, format!("rule `{}` does not replicate existing objects", rule.id));
            }
            Some(rule) if marker && !rule.deletes => {
                return (Reason::NeverEligible, format!("rule `{}` does not replicate deletes", rule.id));
            }
            Some(_) => {}
        }
        if let Some(side) = side.filter(|side| side.last_modified > self.now) {
            return (Reason::FutureTime, format!("modified in the future, at {}", side.last_modified));
        }
        if head.sse_c {
            return (Reason::SseC, "encrypted with a key of the customer (SSE-C)".into());
        }
        let key = key_name(head);
        if head.sse.is_some() && self.keys.get(&key) == Some(&false) {
            let key = if key.is_empty() { "a default key".to_owned() } else { format!("KMS key `{key}`") };
            return (Reason::Kms, format!("encrypted, and the target cannot use {key}"));
        }
        if self.lock_differs {
            return (Reason::Lock, "the source's bucket has object lock and the target's has not".into());
        }
        let of_this = |error: &&String| error.contains(&difference.key) && error.contains(&difference.version_id);
        let told = self.trace_errors.iter().find(of_this);
        if let Some(error) = told.filter(|error| error.contains("Access Denied")) {
            return (Reason::Permission, format!("the target denies access ({error})"));
        }
        match head.replication_status.as_deref() {
            Some("FAILED") => (Reason::FailedStatus, "the source calls its replication FAILED".into()),
            Some("PENDING") => (Reason::Pending, "the source calls its replication PENDING".into()),
            Some("COMPLETED") => {
                (Reason::NotReached, "no resync has come to it: the source believes it arrived".into())
            }
            Some(status) => (Reason::Unknown, format!("reason unknown; the source calls its replication {status}")),
            None => (Reason::Unknown, "reason unknown; the source never queued it".into()),
        }
    }

    /// The enabled rule of our remote target that covers a key, the most important one.
    fn rule(&self, key: &str) -> Option<&Rule> {
        let ours = |rule: &&Rule| {
            let arn = if rule.arn.is_empty() { &self.replication.role } else { &rule.arn };
            rule.enabled && *arn == self.arn && key.starts_with(&rule.prefix)
        };
        self.replication.rules.iter().filter(ours).max_by_key(|rule| rule.priority)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compare::Side;

    fn difference(kind: Kind, at: &str) -> Difference {
        let last_modified = at.parse().unwrap();
        Difference {
            class: Class::Missing,
            key: "a/b".into(),
            version_id: "v1".into(),
            detail: String::new(),
            source: Some(Side { kind, etag: String::new(), size: 1, last_modified }),
            target: None,
        }
    }

    fn head() -> Head {
        Head {
            delete_marker: false,
            etag: String::new(),
            size: 1,
            last_modified: None,
            version_id: None,
            replication_status: None,
            sse: None,
            kms_key: None,
            sse_c: false,
            purge: None,
            content_type: None,
            user_metadata: BTreeMap::new(),
        }
    }

    fn facts() -> Facts {
        let rule = Rule {
            id: "r1".into(),
            enabled: true,
            arn: "arn:1".into(),
            existing_objects: true,
            deletes: true,
            ..Rule::default()
        };
        Facts {
            now: "2026-11-23T20:00:00Z".parse().unwrap(),
            replication: Replication { role: String::new(), rules: vec![rule] },
            arn: "arn:1".into(),
            lock_differs: false,
            keys: HashMap::new(),
            trace_errors: Vec::new(),
        }
    }

    #[test]
    fn each_reason_is_found_from_its_sign() {
        let object = difference(Kind::Object, "2026-11-23T19:00:00Z");
        let marker = difference(Kind::DeleteMarker, "2026-11-23T19:00:00Z");
        let future = difference(Kind::Object, "2027-01-01T00:00:00Z");
        let says = |status: &str| Head { replication_status: Some(status.into()), ..head() };
        let reason = |facts: &Facts, d: &Difference, head: Option<Head>| facts.reason(d, head.as_ref()).0;

        assert_eq!(reason(&facts(), &object, None), Reason::Gone);
        assert_eq!(reason(&facts(), &future, Some(head())), Reason::FutureTime);
        assert_eq!(reason(&facts(), &object, Some(Head { sse_c: true, ..head() })), Reason::SseC);
        assert_eq!(reason(&facts(), &object, Some(says("FAILED"))), Reason::FailedStatus);
        assert_eq!(reason(&facts(), &object, Some(says("PENDING"))), Reason::Pending);
        assert_eq!(reason(&facts(), &object, Some(says("COMPLETED"))), Reason::NotReached);
        assert_eq!(reason(&facts(), &object, Some(head())), Reason::Unknown);

        let mut other = facts();
        other.replication.rules[0].deletes = false;
        assert_eq!(reason(&other, &marker, Some(head())), Reason::NeverEligible);
        assert_eq!(reason(&other, &object, Some(head())), Reason::Unknown);
        other.replication.rules[0].existing_objects = false;
        assert_eq!(reason(&other, &object, Some(head())), Reason::NeverEligible);

        let locked = Facts { lock_differs: true, ..facts() };
        assert_eq!(reason(&locked, &object, Some(says("FAILED"))), Reason::Lock);
        let denied = Facts { trace_errors: vec!["bucket/a/b (v1): Access Denied.".into()], ..facts() };
        assert_eq!(reason(&denied, &object, Some(says("FAILED"))), Reason::Permission);
    }

    #[test]
    fn a_key_that_the_target_cannot_use_is_named() {
        let encrypted = Head { sse: Some("aws:kms".into()), kms_key: Some("my-key".into()), ..head() };
        let object = difference(Kind::Object, "2026-11-23T19:00:00Z");
        let facts = Facts { keys: HashMap::from([("my-key".to_owned(), false)]), ..facts() };
        let (reason, detail) = facts.reason(&object, Some(&encrypted));
        assert_eq!(reason, Reason::Kms);
        assert!(detail.contains("`my-key`"));
    }
}
