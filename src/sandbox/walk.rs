//! The walk of a resync: over every version that is due, with counters that lag and an end that proves nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::{
    replication::{head, send},
    resync::{Counts, Job, Progress},
    rules::Reason,
    scenario::Lie,
    site::{Cause, Sending, Site},
};

/// Versions of different keys under way at a time.
const WORKERS: usize = 10;

pub(super) struct Walk {
    pub site: Arc<Site>,
    pub bucket: String,
    pub arn: String,
    pub reset_id: String,
    pub before: Timestamp,
}

impl Walk {
    pub(super) async fn run(self, progress: mpsc::UnboundedSender<Progress>) {
        let (serving, lie) = {
            let state = self.site.state();
            (state.serving.clone(), state.lie)
        };
        let Some(serving) = serving else { return };
        self.set("Ongoing");
        let walked = async {
            if lie != Lie::NothingSent {
                self.walk(lie, &progress).await;
            }
        };
        tokio::select! {
            // A site that goes down takes its job with it; what the status then says is decided at its next start.
            () = serving.cancelled() => return,
            () = walked => {}
            () = self.write_counters(lie) => {}
        }
        self.set("Completed");
        // The last results are written with the next round of counters only.
        sleep(self.site.pace.flush).await;
        self.flush(lie, 0);
    }

    async fn walk(&self, lie: Lie, progress: &mpsc::UnboundedSender<Progress>) {
        let keys = self.versions();
        let of = keys.iter().map(|(_, ids)| ids.len()).sum();
        let done = AtomicUsize::new(0);
        let each = stream::iter(keys).for_each_concurrent(WORKERS, |(key, ids)| {
            let done = &done;
            async move {
                for id in ids {
                    self.one(&key, &id, lie, done.load(Ordering::Relaxed)).await;
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    // Nobody may be listening.
                    let _ = progress.send(Progress { done, of });
                    if lie == Lie::Stuck && done * 2 >= of {
                        std::future::pending::<()>().await;
                    }
                    sleep(self.site.pace.version).await;
                }
            }
        });
        each.await;
    }

    /// Every version that is due, by key, oldest first.
    ///
    /// MinIO asks the target for each. Of computed versions only those are asked for that the target may lack: a
    /// million answers that say what is known in this process would take minutes and show nothing. They are counted as
    /// the server counts them.
    fn versions(&self) -> Vec<(String, Vec<String>)> {
        let target = {
            let store = self.site.store();
            let bucket = store.buckets.get(&self.bucket);
            bucket.and_then(|bucket| bucket.targets.iter().find(|target| target.arn == self.arn)).cloned()
        };
        let there = target.and_then(|target| self.site.held_by(&target));
        let mut store = self.site.store();
        let Some(bucket) = store.buckets.get_mut(&self.bucket) else { return Vec::new() };
        let rules = bucket.rules();
        let (all, there_already) = bucket.keys.beyond(there.as_ref());
        let mut due = Vec::new();
        for (key, versions) in all.into_iter().filter(|(key, _)| bucket.versioned(key) && !bucket.hidden(key)) {
            let ids = versions.iter().rev().filter(|version| {
                let fresh = !version.replication.contains_key(&self.arn) && !version.replica;
                version.purge.is_none()
                    && (version.modified < self.before || fresh)
                    && version.stamps.get(&self.arn) != Some(&self.reset_id)
                    && rules.targets(&key, version, Reason::Resync).contains(&self.arn)
            });
            let ids: Vec<String> = ids.map(|version| version.id.clone()).collect();
            if !ids.is_empty() {
                due.push((key.into_owned(), ids));
            }
        }
        if let Some(job) = bucket.jobs.get_mut(&self.arn).filter(|job| job.reset_id == self.reset_id) {
            job.counted.versions += there_already;
        }
        due
    }

    async fn one(&self, key: &str, id: &str, lie: Lie, nth: usize) {
        let sending = Sending {
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            id: id.to_owned(),
            arn: self.arn.clone(),
            cause: Cause::Healed,
        };
        let begun = tokio::time::Instant::now();
        let sent = send(&self.site, &sending, Some(&self.reset_id)).await;
        let found = {
            let store = self.site.store();
            let bucket = store.buckets.get(&self.bucket);
            let target = bucket.and_then(|b| b.targets.iter().find(|t| t.arn == self.arn)).cloned();
            let size = bucket.and_then(|b| b.find(key, Some(id)).ok()).map_or(0, |v| v.body.len() as u64);
            target.map(|target| (target, size))
        };
        let Some((target, size)) = found else { return };
        // Counted by whether the target has the version, not by whether the sending went well.
        let there = head(&self.site, &target, key, id).await;
        let error = match &there {
            Ok(heard) if heard.status == 200 || heard.header("x-amz-delete-marker") == Some("true") => None,
            Ok(heard) if heard.status == 404 => Some("The specified version does not exist.".to_owned()),
            Ok(heard) => Some(heard.code()),
            Err(why) => Some(why.clone()),
        };
        if sent.is_err() {
            self.site.requeue(sending);
        }
        let mut line = json!({ "type": 2048, "nodename": self.site.address(), "funcname": format!("replication.(resyncID={})", self.reset_id),
            "time": self.site.now().to_string(), "path": format!("{}/{key} ({id})", self.bucket),
            "dur": u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), "bytes": size });
        if let Some(error) = &error {
            line["error"] = error.as_str().into();
        }
        // Lossy: only who listens hears it.
        let _ = self.site.trace.send(line.to_string());
        self.change(|job| {
            key.clone_into(&mut job.counted.object);
            match error {
                _ if lie == Lie::Miscounts && nth % 10 == 9 => {}
                None => {
                    job.counted.versions += 1;
                    job.counted.bytes += size;
                }
                Some(_) => job.counted.failed += 1,
            }
        });
    }

    /// Writes the counters again and again; never ends by itself.
    async fn write_counters(&self, lie: Lie) {
        loop {
            sleep(self.site.pace.flush).await;
            self.flush(lie, 0);
        }
    }

    fn flush(&self, lie: Lie, missing: u64) {
        if lie == Lie::FrozenCounters {
            return;
        }
        self.change(|job| {
            let counted = job.counted.clone();
            job.shown = Counts { versions: counted.versions.saturating_sub(missing), ..counted };
        });
    }

    fn set(&self, status: &'static str) {
        let now = self.site.now();
        let lie = self.site.state().lie;
        if status == "Completed" {
            self.flush(lie, 1);
        }
        self.change(|job| {
            job.status = status;
            job.changed = now;
        });
    }

    /// Changes the record of this job, unless another took its place.
    fn change(&self, change: impl FnOnce(&mut Job)) {
        let mut store = self.site.store();
        let job = store.buckets.get_mut(&self.bucket).and_then(|bucket| bucket.jobs.get_mut(&self.arn));
        if let Some(job) = job.filter(|job| job.reset_id == self.reset_id) {
            change(job);
        }
    }
}
