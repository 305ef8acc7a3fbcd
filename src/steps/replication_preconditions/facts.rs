//! What the two sites say about themselves and the bucket: asked once, side by side, shared by all checks.

use std::{collections::BTreeMap, future::Future};

use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::inventory::{Inventory, Limits, Sample, Scope, count, sample};
use crate::{
    failure::Failure,
    site::{
        Site,
        minio::{Account, Health, Info, Quota, RemoteTarget, ResyncStatus},
        s3::{Encryption, LifecycleRule, ObjectLock, Replication, Versioning},
    },
    step::{Cx, Reads},
    steps::{
        bucket_prepare::alignment::key_name,
        replication_targets::{names_of, the_target},
        site_check::seconds_ahead,
    },
    types::{BucketName, Role},
};

/// Requests that are under way to one site at a time.
const AT_ONCE: usize = 8;

/// Something asked of a site, or why it could not be had.
pub(super) type Fact<T> = Result<T, Failure>;

/// What is to be checked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) source: Role,
    pub(super) target: Role,
    pub(super) bucket: BucketName,
    pub(super) target_bucket: BucketName,
    pub(super) arn: String,
    /// Nothing has been changed yet: `bucket.prepare` is still to come.
    pub(super) before_prepare: bool,
    /// How many versions are looked at for keys and SSE-C.
    pub(super) sample: u64,
}

/// All facts.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) asked: Asked,
    pub(super) source: SiteFacts,
    pub(super) target: SiteFacts,
    pub(super) replication: Fact<Option<Replication>>,
    pub(super) remote_targets: Fact<Vec<RemoteTarget>>,
    /// The server's own replication check; `None` when there was no leave to send its probe.
    pub(super) replication_check: Option<Fact<()>>,
    pub(super) sample: Fact<Sample>,
    /// For each KMS key that the source uses, whether the target has it.
    pub(super) target_keys: BTreeMap<String, Fact<()>>,
}

/// What one site says.
#[derive(Clone, Debug)]
pub(super) struct SiteFacts {
    pub(super) role: Role,
    pub(super) alias: String,
    pub(super) endpoint: String,
    /// Its names as `host:port`.
    pub(super) names: Vec<String>,
    pub(super) health: Fact<Health>,
    /// How far its clock is ahead of ours, seconds.
    pub(super) skew: Option<f64>,
    pub(super) info: Fact<Info>,
    pub(super) account: Fact<Account>,
    pub(super) site_replication: Fact<bool>,
    pub(super) exists: Fact<bool>,
    pub(super) versioning: Fact<Versioning>,
    pub(super) lock: Fact<Option<ObjectLock>>,
    pub(super) encryption: Fact<Option<Encryption>>,
    pub(super) lifecycle: Fact<Vec<LifecycleRule>>,
    pub(super) quota: Fact<Quota>,
    pub(super) resyncs: Fact<Vec<ResyncStatus>>,
    pub(super) inventory: Fact<Inventory>,
}

/// Asks everything. `Err` only for what is no answer of a site, such as a role that no site is bound to.
pub(super) async fn gather(cx: &Cx<Reads>, mut asked: Asked) -> Result<Facts, Failure> {
    let (here, there) = (cx.read(&asked.source)?, cx.read(&asked.target)?);
    let limit = Semaphore::new(AT_ONCE);
    let (mut source, mut target, replication, remote_targets, replication_check) = tokio::join!(
        site_facts(cx, &here, &asked.source, &asked.bucket),
        site_facts(cx, &there, &asked.target, &asked.target_bucket),
        ask(&limit, here.replication(&asked.bucket)),
        ask(&limit, here.remote_targets(&asked.bucket)),
        async {
            match cx.probe() {
                Some(leave) => Some(ask(&limit, here.replication_check(&asked.bucket, leave)).await),
                None => None,
            }
        },
    );

    // The step that looks for it may have broken for a reason that is named here.
    if asked.arn.is_empty() {
        asked.arn = find_arn(&asked, &target, replication.as_ref().ok(), remote_targets.as_ref().ok());
    }
    // Versions written from here on are left out of both counts, or live writes would look like a difference.
    let begin = begin(&source, cx.now());
    let scope =
        Scope::of(source.versioning.as_ref().ok(), replication.as_ref().ok().and_then(Option::as_ref), &asked.arn);
    let limits = Limits::default();
    let counted = async {
        let inventory = match present(&source) {
            Ok(()) => count(&here, &asked.bucket, &scope, begin, &limits, Stop::Never).await,
            Err(why) => Err(why),
        };
        limits.source_is(inventory.as_ref().map(|i| i.versions).ok());
        let sample = match &inventory {
            Ok(inventory) => sample(&here, &asked.bucket, &inventory.anchors, asked.sample).await,
            Err(why) => Err(why.clone()),
        };
        (inventory, sample)
    };
    let counted_there = async {
        match present(&target) {
            Ok(()) => count(&there, &asked.target_bucket, &scope, begin, &limits, Stop::PastSource).await,
            Err(why) => Err(why),
        }
    };
    let ((inventory, sample), inventory_there) = tokio::join!(counted, counted_there);
    source.inventory = inventory;
    target.inventory = inventory_there;
    let target_keys = target_keys(&there, &source, &target, &sample).await;
    Ok(Facts { asked, source, target, replication, remote_targets, replication_check, sample, target_keys })
}

/// Which listing may end early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Never,
    /// When it has more versions than the source has in all: more of them would decide nothing.
    PastSource,
}

async fn site_facts(cx: &Cx<Reads>, site: &Site<Reads>, role: &Role, bucket: &BucketName) -> SiteFacts {
    let before = cx.now();
    let health = site.health().await;
    let skew = health.as_ref().ok().and_then(|h| h.server_time).map(|t| seconds_ahead(t, before, cx.now()));
    let nothing = |why: &Failure| SiteFacts {
        names: names_of(site).into_iter().collect(),
        ..SiteFacts::silent(role, site.alias(), &site.endpoint(), why)
    };
    let health = match health {
        Ok(health) => health,
        // One answer is enough: a site that is down would only let every call run into its timeout.
        Err(why) => return nothing(&why),
    };
    let limit = Semaphore::new(AT_ONCE);
    let (info, account, site_replication, exists, quota, resyncs) = tokio::join!(
        ask(&limit, site.info()),
        ask(&limit, site.account()),
        ask(&limit, site.site_replication()),
        ask(&limit, site.bucket_exists(bucket)),
        ask(&limit, site.quota(bucket)),
        ask(&limit, site.resync_status(bucket, None)),
    );
    let (versioning, lock, encryption, lifecycle) = tokio::join!(
        ask(&limit, site.versioning(bucket)),
        ask(&limit, site.object_lock(bucket)),
        ask(&limit, site.encryption(bucket)),
        ask(&limit, site.lifecycle(bucket)),
    );
    SiteFacts {
        health: Ok(health),
        info,
        account,
        site_replication,
        exists,
        versioning,
        lock,
        encryption,
        lifecycle,
        quota,
        resyncs: no_rules_no_resync(resyncs),
        skew,
        // Counted later, when it is known what to count.
        ..nothing(&Failure::refused("its versions were not counted"))
    }
}

impl SiteFacts {
    /// A site of which nothing is known, for one reason.
    pub(super) fn silent(role: &Role, alias: &str, endpoint: &str, why: &Failure) -> Self {
        Self {
            role: role.clone(),
            alias: alias.to_owned(),
            endpoint: endpoint.to_owned(),
            names: Vec::new(),
            health: Err(why.clone()),
            skew: None,
            info: Err(why.clone()),
            account: Err(why.clone()),
            site_replication: Err(why.clone()),
            exists: Err(why.clone()),
            versioning: Err(why.clone()),
            lock: Err(why.clone()),
            encryption: Err(why.clone()),
            lifecycle: Err(why.clone()),
            quota: Err(why.clone()),
            resyncs: Err(why.clone()),
            inventory: Err(why.clone()),
        }
    }

    /// It answers, and neither says that it is `MinIO` (a proxy may have another name) nor knows its calls.
    pub(super) fn is_not_minio(&self) -> bool {
        self.health.as_ref().is_ok_and(|health| !health.is_minio) && self.info.is_err()
    }

    /// The site is known to have no such bucket.
    pub(super) fn bucket_missing(&self) -> bool {
        matches!(self.exists, Ok(false))
    }
}

/// Whether there is a bucket to list.
fn present(site: &SiteFacts) -> Result<(), Failure> {
    match &site.exists {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::refused("the bucket is missing")),
        Err(why) => Err(why.clone()),
    }
}

/// A bucket without replication rules has no resync of its own, and the server says so with an error.
fn no_rules_no_resync(resyncs: Fact<Vec<ResyncStatus>>) -> Fact<Vec<ResyncStatus>> {
    match resyncs {
        Err(why) if why.code() == Some("ReplicationConfigurationNotFoundError") => Ok(Vec::new()),
        other => other,
    }
}

/// The moment after which versions are not counted, by the source's clock, to the second above.
fn begin(source: &SiteFacts, now: Timestamp) -> Timestamp {
    let said = source.health.as_ref().ok().and_then(|h| h.server_time).unwrap_or(now);
    Timestamp::from_second(said.as_second().saturating_add(1)).unwrap_or(said)
}

/// The ARN of the target, when there is no doubt about it; empty otherwise.
fn find_arn(
    asked: &Asked,
    target: &SiteFacts,
    replication: Option<&Option<Replication>>,
    remote: Option<&Vec<RemoteTarget>>,
) -> String {
    let (Some(replication), Some(remote)) = (replication, remote) else { return String::new() };
    let replication = replication.clone().unwrap_or_default();
    let names = target.names.iter().cloned().collect();
    let id = target.info.as_ref().ok().map(|info| info.deployment_id.as_str());
    the_target(&replication, remote, &asked.target_bucket, &names, id).unwrap_or_default()
}

async fn target_keys(
    target: &Site<Reads>,
    source: &SiteFacts,
    there: &SiteFacts,
    sample: &Fact<Sample>,
) -> BTreeMap<String, Fact<()>> {
    let mut keys = sample.as_ref().map(|s| s.kms_keys.clone()).unwrap_or_default();
    if let Ok(Some(Encryption { kms_key: Some(key), .. })) = &source.encryption {
        keys.insert(key_name(key).to_owned());
    }
    let mut answers = BTreeMap::new();
    for key in keys {
        let answer = match &there.health {
            Ok(_) => target.kms_key(&key).await,
            Err(why) => Err(why.clone()),
        };
        answers.insert(key, answer);
    }
    answers
}

async fn ask<T>(limit: &Semaphore, call: impl Future<Output = Fact<T>>) -> Fact<T> {
    // The semaphore is never closed; without a permit the call would merely not be counted.
    let _permit = limit.acquire().await;
    call.await
}
