//! One site: what it holds, who may ask, how it behaves, and its queue of versions to send.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    peer::Peer,
    rules::Reason,
    scenario::Lie,
    store::Store,
    wire::{Ask, Refused, uuid},
};

#[derive(Debug)]
pub(super) struct Site {
    pub access_key: String,
    pub secret_key: String,
    pub deployment: String,
    pub peer: Peer,
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
    /// Of a hundred requests, how many are answered 503 `SlowDown`.
    pub throttled: u64,
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

    /// Reading a version queues it again when it is not replicated, or not by the reset that was asked for last.
    pub(super) fn heal(&self, bucket: &str, key: &str, id: Option<&str>) {
        if !self.state().heals {
            return;
        }
        let found = {
            let store = self.store();
            let Ok(found) = store.bucket(bucket) else { return };
            let rules = found.rules();
            let Ok(version) = found.find(key, id) else { return };
            if rules.is_empty() || !found.versioned(key) {
                return;
            }
            let mut arns = rules.targets(key, version, Reason::Resync);
            arns.retain(|arn| {
                let reset = found.targets.iter().find(|t| t.arn == *arn).and_then(|t| t.reset.as_ref());
                let due =
                    reset.is_some_and(|(id, before)| version.modified < *before && version.stamps.get(arn) != Some(id));
                due || matches!(version.replication.get(arn), Some(&("PENDING" | "FAILED")))
            });
            (version.id.clone(), arns, if version.purge.is_some() { Cause::Purged } else { Cause::Healed })
        };
        self.queue(bucket, key, &found.0, &found.1, found.2);
    }

    /// Heals whatever is listed.
    pub(super) fn heal_bucket(&self, bucket: &str) {
        let due: Vec<(String, String)> = {
            let store = self.store();
            let Ok(found) = store.bucket(bucket) else { return };
            if found.targets.is_empty() {
                return;
            }
            let all = found.keys.iter().flat_map(|(key, versions)| versions.iter().map(move |v| (key, v)));
            let resets = found.targets.iter().any(|t| t.reset.is_some());
            all.filter(|(_, v)| resets || v.purge.is_some() || v.replication.values().any(|s| *s != "COMPLETED"))
                .map(|(key, v)| (key.clone(), v.id.clone()))
                .collect()
        };
        for (key, id) in due {
            self.heal(bucket, &key, Some(&id));
        }
    }
}
