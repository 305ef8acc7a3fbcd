//! One site: what it holds, who may ask, how it behaves, and its queue of versions to send.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{broadcast, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    keys::Below,
    peer::Peer,
    rules::Reason,
    scenario::{Lie, Percent, Storms},
    store::Store,
    targets::Target,
    wire::{Ask, Refused, uuid},
};

#[derive(Debug)]
pub(super) struct Site {
    pub access_key: String,
    pub secret_key: String,
    pub deployment: String,
    pub peer: Peer,
    /// The other site of the pair.
    pub other: OnceLock<Weak<Site>>,
    pub pace: Pace,
    /// Lines of the live trace.
    pub trace: broadcast::Sender<String>,
    /// `127.0.0.1:PORT`, once it listens.
    pub address: OnceLock<String>,
    store: Mutex<Store>,
    state: Mutex<State>,
    queue: mpsc::UnboundedSender<Sending>,
    under_way: Mutex<HashSet<Sending>>,
}

/// How fast things happen, in place of the minutes that they take on a real site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between two writes of a resync's counters: a minute on a real site.
    pub flush: Duration,
    /// Until what failed is sent again: five minutes on a real site.
    pub retry: Duration,
    /// For each version of a resync, on top of what it takes.
    pub version: Duration,
}

/// What changes while a site runs.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub started: Timestamp,
    pub kms_keys: Vec<String>,
    /// How far its clock is off.
    pub skew: SignedDuration,
    /// Before each answer.
    pub delay: Duration,
    /// The share of the requests that is answered 503 `SlowDown`.
    pub throttled: Percent,
    pub storms: Option<Storms>,
    /// When it was made; restarts do not change it.
    pub made: Instant,
    pub requests: u64,
    /// Its user for replication may write, but not replicate.
    pub denies_replicas: bool,
    /// Whether listings and HEADs queue what is not replicated.
    pub heals: bool,
    pub lie: Lie,
    /// Ends when the site is stopped.
    pub serving: Option<CancellationToken>,
}

/// One version to send to one target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sending {
    pub bucket: String,
    pub key: String,
    pub id: String,
    pub arn: String,
    pub cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cause {
    Written,
    Purged,
    /// Found not replicated when it was listed or read.
    Healed,
}

impl Site {
    pub(super) fn new(
        keys: (String, String),
        pace: Pace,
        state: State,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<Sending>) {
        let (queue, sendings) = mpsc::unbounded_channel();
        let site = Self {
            access_key: keys.0,
            secret_key: keys.1,
            deployment: uuid(),
            peer: Peer::new(),
            other: OnceLock::new(),
            pace,
            trace: broadcast::channel(4096).0,
            address: OnceLock::new(),
            store: Mutex::default(),
            state: Mutex::new(state),
            queue,
            under_way: Mutex::default(),
        };
        (Arc::new(site), sendings)
    }

    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    pub(super) fn address(&self) -> &str {
        self.address.get().map_or("", String::as_str)
    }
    pub(super) fn now(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.state().skew).unwrap_or(now)
    }
    pub(super) fn kms_keys(&self) -> Vec<String> {
        self.state().kms_keys.clone()
    }

    /// Replicas need rights that the replication check never asks for.
    pub(super) fn may_write(&self, ask: &Ask) -> Result<(), Refused> {
        if ask.is_replica() && self.state().denies_replicas {
            return Err(Refused::new(403, "AccessDenied", "Access Denied."));
        }
        Ok(())
    }

    /// Queues a version for its targets, each once at a time.
    pub(super) fn queue(&self, bucket: &str, key: &str, id: &str, arns: &[String], cause: Cause) {
        for arn in arns {
            let sending =
                Sending { bucket: bucket.to_owned(), key: key.to_owned(), id: id.to_owned(), arn: arn.clone(), cause };
            self.requeue(sending);
        }
    }

    pub(super) fn requeue(&self, sending: Sending) {
        if self.under_way().insert(sending.clone()) {
            // A site that is going down sends nothing more.
            let _ = self.queue.send(sending);
        }
    }

    pub(super) fn sent(&self, sending: &Sending) {
        self.under_way().remove(sending);
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<Sending>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the other site of the pair holds of a bucket's computed versions, when a target leads there.
    pub(super) fn held_by(&self, target: &Target) -> Option<Below> {
        let other = self.other.get()?.upgrade().filter(|other| other.address() == target.endpoint)?;
        let store = other.store();
        store.buckets.get(&target.bucket)?.keys.below().cloned()
    }

    /// Reading a version queues it again when it is not replicated, or not by the reset that was asked for last.
    pub(super) fn heal(&self, bucket: &str, key: &str, id: Option<&str>) {
        let latest = || Some(self.store().bucket(bucket).ok()?.find(key, None).ok()?.id.clone());
        if let Some(id) = id.map(str::to_owned).or_else(latest) {
            self.heal_all(bucket, &[(key.to_owned(), id)]);
        }
    }

    /// The same for all that a listing shows.
    pub(super) fn heal_all(&self, bucket: &str, listed: &[(String, String)]) {
        if !self.state().heals {
            return;
        }
        let targets = self.store().buckets.get(bucket).map(|bucket| bucket.targets.clone()).unwrap_or_default();
        // Asked before our own store is locked: the other site may be asking us.
        let reset: Vec<_> =
            targets.iter().filter_map(|target| Some((target, target.reset.as_ref()?, self.held_by(target)))).collect();
        let mut due = Vec::new();
        {
            let store = self.store();
            let Ok(found) = store.bucket(bucket) else { return };
            let rules = found.rules();
            for (key, id) in listed {
                let Ok(version) = found.find(key, Some(id)) else { continue };
                let of_reset = |arn: &str| {
                    reset.iter().any(|(target, (id, before), there)| {
                        let alike = |there| found.keys.below().is_some_and(|here| here.alike(there, key));
                        target.arn == arn
                            && version.modified < *before
                            && version.stamps.get(arn) != Some(id)
                            // A computed version has no stamp, and needs none where it is.
                            && !there.as_ref().is_some_and(alike)
                    })
                };
                // What was there before the rule, or before the bucket was versioned, was never tried.
                let untried = |status: Option<&&str>| status.is_none() && !version.replica;
                let purged = version.purge.is_some();
                if reset.is_empty()
                    && !purged
                    && (version.replica || !version.replication.is_empty())
                    && version.replication.values().all(|s| *s == "COMPLETED")
                {
                    continue;
                }
                if rules.is_empty() || !found.versioned(key) {
                    continue;
                }
                let (reason, cause) =
                    if purged { (Reason::Purged, Cause::Purged) } else { (Reason::Resync, Cause::Healed) };
                let mut arns = rules.targets(key, &version, reason);
                arns.retain(|arn| {
                    let status = version.replication.get(arn);
                    purged || of_reset(arn) || untried(status) || matches!(status, Some(&("PENDING" | "FAILED")))
                });
                due.push((key, id, arns, cause));
            }
        }
        for (key, id, arns, cause) in due {
            self.queue(bucket, key, id, &arns, cause);
        }
    }
}
