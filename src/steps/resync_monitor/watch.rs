//! What a sequence of polls means: where the job is, whether anything moves, and how it ended. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    event::Progress,
    site::minio::{Node, ResyncStatus},
};

/// Times of the server are to the second, and so is a node's uptime.
const SLACK: f64 = 2.0;
/// A job that was just started may not be listed at once.
const GRACE: Duration = Duration::from_secs(10);
/// The server writes its counters about once a minute; after this long they are final.
const FINAL_COUNTERS: Duration = Duration::from_secs(65);
/// The rate is that of the last two minutes: counters move once a minute.
const PACE: Duration = Duration::from_mins(2);

/// What to watch for.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) reset_id: String,
    pub(super) stalled_after: Duration,
    pub(super) patience: Duration,
    pub(super) final_counters: bool,
}

/// What one poll saw. Times are since the watch began.
#[derive(Clone, Debug)]
pub(super) enum Poll {
    Seen(Box<Seen>),
    /// The source did not answer.
    Unreachable {
        at: Duration,
        why: String,
    },
}

#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) at: Duration,
    /// What the status says about our remote target, whosever job it is.
    pub(super) job: Option<ResyncStatus>,
    /// The source's clock.
    pub(super) now: Option<Timestamp>,
    /// `None`: we may not know.
    pub(super) nodes: Option<Vec<Node>>,
    pub(super) signs: Signs,
    pub(super) target_online: Option<bool>,
}

/// The witnesses besides the status; `None` is no news.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    /// Versions that the live trace told of.
    pub(super) traced: Option<u64>,
    /// Versions that the source's replication metrics count as sent or failed.
    pub(super) sent: Option<u64>,
    /// Versions that newly appeared in the target's listing.
    pub(super) arrived: Option<u64>,
}

/// How a job ended, or why it is watched no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// The server says `Completed`: its walk over the bucket ended, with any number of failures.
    Completed,
    /// The server says `Failed`.
    Failed,
    /// The server says `Canceled`.
    Canceled,
    /// The status no longer lists any job for the remote target.
    Vanished,
    /// The status lists a job with another reset id.
    ForeignJob,
    /// A node of the source restarted after the job began, which voids whatever the status says.
    SourceRestarted,
    /// Nothing moved for too long.
    Stalled,
}

/// What to do after a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    /// It is over; the text says why.
    End(End, String),
    /// The source did not answer for too long.
    Unreachable(String),
}

/// The state of a watch.
#[derive(Debug)]
pub(super) struct Watch {
    rules: Rules,
    at: Duration,
    pub(super) job: Option<ResyncStatus>,
    seen_ours: bool,
    uptimes: BTreeMap<String, u64>,
    pub(super) restarts: u64,
    pub(super) restarts_watched: bool,
    status: Witness<(String, u64, u64, u64, Option<String>)>,
    traced: Witness<u64>,
    sent: Witness<u64>,
    arrived: Witness<u64>,
    pub(super) target_online: Option<bool>,
    unreachable_since: Option<Duration>,
    completed_at: Option<Duration>,
    pace: VecDeque<(Duration, u64)>,
    pub(super) total: Option<Total>,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) versions: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
struct Witness<V> {
    value: Option<V>,
    moved: Duration,
}

impl<V: PartialEq> Witness<V> {
    const fn new() -> Self {
        Self { value: None, moved: Duration::ZERO }
    }
    fn observe(&mut self, at: Duration, value: Option<V>) {
        let Some(value) = value else { return };
        if self.value.as_ref().is_some_and(|old| *old != value) {
            self.moved = at;
        }
        self.value = Some(value);
    }
}

impl Watch {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            at: Duration::ZERO,
            job: None,
            seen_ours: false,
            uptimes: BTreeMap::new(),
            restarts: 0,
            restarts_watched: false,
            status: Witness::new(),
            traced: Witness::new(),
            sent: Witness::new(),
            arrived: Witness::new(),
            target_online: None,
            unreachable_since: None,
            completed_at: None,
            pace: VecDeque::new(),
            total: None,
        }
    }

    pub(super) fn observe(&mut self, poll: Poll) -> Next {
        match poll {
            Poll::Unreachable { at, why } => {
                self.at = at;
                let since = *self.unreachable_since.get_or_insert(at);
                if at.saturating_sub(since) >= self.rules.patience {
                    return Next::Unreachable(why);
                }
                Next::Again
            }
            Poll::Seen(seen) => {
                self.at = seen.at;
                self.unreachable_since = None;
                self.seen(*seen)
            }
        }
    }

    fn seen(&mut self, seen: Seen) -> Next {
        let at = seen.at;
        if seen.target_online.is_some() {
            self.target_online = seen.target_online;
        }
        self.traced.observe(at, seen.signs.traced);
        self.sent.observe(at, seen.signs.sent);
        self.arrived.observe(at, seen.signs.arrived);
        let ours = seen.job.as_ref().filter(|job| job.reset_id == self.rules.reset_id).cloned();
        let restarted = self.restarted(seen.nodes.as_deref(), seen.now, ours.as_ref());

        let Some(job) = ours else {
            if !self.seen_ours && at < GRACE {
                return Next::Again;
            }
            return match seen.job {
                Some(other) => {
                    let text = format!("the source now lists resync `{}` ({})", other.reset_id, other.status);
                    self.job = Some(other);
                    Next::End(End::ForeignJob, text)
                }
                None => Next::End(End::Vanished, "the source no longer lists any resync to this target".into()),
            };
        };
        self.seen_ours = true;
        let signs =
            (job.status.clone(), job.replicated_count, job.failed_count, job.replicated_bytes, job.object.clone());
        self.status.observe(at, Some(signs));
        let status = job.status.clone();
        self.job = Some(job);
        self.keep_pace();

        if let Some(text) = restarted {
            return Next::End(End::SourceRestarted, format!("{text}; the source calls the job `{status}`"));
        }
        match status.as_str() {
            "Completed" => {
                let since = *self.completed_at.get_or_insert(at);
                if self.rules.final_counters && at.saturating_sub(since) < FINAL_COUNTERS {
                    return Next::Again;
                }
                Next::End(End::Completed, "the source walked over the whole bucket".into())
            }
            "Failed" => Next::End(End::Failed, "the source gave the job up".into()),
            "Canceled" => Next::End(End::Canceled, "the job was cancelled".into()),
            _ if at.saturating_sub(self.last_sign()) >= self.rules.stalled_after => {
                Next::End(End::Stalled, self.standstill())
            }
            _ => Next::Again,
        }
    }

    /// Which node restarted after the job began and before it was complete: by its uptime against the job's age, or
    /// because its uptime fell.
    fn restarted(
        &mut self,
        nodes: Option<&[Node]>,
        now: Option<Timestamp>,
        job: Option<&ResyncStatus>,
    ) -> Option<String> {
        let nodes = nodes?;
        self.restarts_watched = true;
        let since = |at: Timestamp| now.map(|now| now.duration_since(at).as_secs_f64());
        let age = job.and_then(|job| since(job.start_time));
        let ended = job.filter(|job| job.status == "Completed").and_then(|job| since(job.end_time));
        let mut found = None;
        for node in nodes.iter().filter(|node| node.state == "online") {
            #[expect(clippy::cast_precision_loss, reason = "an uptime in seconds is far below 2^52")]
            let uptime = node.uptime_seconds as f64;
            let fell = self.uptimes.get(&node.endpoint).is_some_and(|before| node.uptime_seconds < *before);
            let began_before = age.is_some_and(|age| uptime + SLACK < age);
            // A job that a restart completes, or seems to, has its end after it.
            let ended_before = ended.is_some_and(|ended| uptime + SLACK < ended);
            if (fell || began_before) && !ended_before {
                self.restarts += 1;
                let what =
                    format!("node {} of the source restarted {uptime:.0} s ago, after the job began", node.endpoint);
                found.get_or_insert(what);
            }
            self.uptimes.insert(node.endpoint.clone(), node.uptime_seconds);
        }
        found
    }

    fn last_sign(&self) -> Duration {
        self.status.moved.max(self.traced.moved).max(self.sent.moved).max(self.arrived.moved)
    }

    /// Which witness stood still since when.
    fn standstill(&self) -> String {
        let said = |name: &str, known: bool, moved: Duration| {
            let quiet = self.at.saturating_sub(moved).as_secs();
            if known { format!("{name} stood still for {quiet} s") } else { format!("{name} was not to be had") }
        };
        let mut parts = vec![
            said("the status", self.status.value.is_some(), self.status.moved),
            said("the live trace", self.traced.value.is_some(), self.traced.moved),
        ];
        if self.traced.value.is_none() {
            parts.push(said("the replication metrics", self.sent.value.is_some(), self.sent.moved));
        }
        parts.push(said("the target's listing", self.arrived.value.is_some(), self.arrived.moved));
        if self.target_online == Some(false) {
            parts.push("the target is offline".into());
        }
        if self.status.value.as_ref().is_some_and(|status| status.0 == "Pending") {
            parts.push("the job still waits for its turn (a node runs 10 at once)".into());
        }
        parts.join(", ")
    }

    fn keep_pace(&mut self) {
        let done = self.done();
        self.pace.push_back((self.at, done));
        while self.pace.len() > 2 && self.pace.get(1).is_some_and(|(at, _)| self.at.saturating_sub(*at) >= PACE) {
            self.pace.pop_front();
        }
    }

    /// Versions done, by the witness that saw most.
    fn done(&self) -> u64 {
        let counted = self.job.as_ref().map_or(0, |job| job.replicated_count + job.failed_count);
        counted.max(self.traced.value.unwrap_or(0)).max(self.arrived.value.unwrap_or(0))
    }

    /// Versions a second, over the last two minutes.
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first, before), (last, now)) = (self.pace.front()?, self.pace.back()?);
        let seconds = last.saturating_sub(*first).as_secs_f64();
        (seconds > 0.0 && now > before).then(|| (now - before) as f64 / seconds)
    }

    #[expect(clippy::cast_precision_loss, reason = "an estimate, for people")]
    fn eta(&self) -> Option<f64> {
        let left = self.total?.versions.saturating_sub(self.done());
        Some(left as f64 / self.rate()?)
    }

    /// What to show. `rto_left`: seconds until the recovery time objective is missed.
    pub(super) fn progress(&self, rto_left: Option<f64>) -> Progress {
        let mut what = match (&self.job, self.unreachable_since) {
            (_, Some(since)) => {
                format!("the source does not answer since {} s", self.at.saturating_sub(since).as_secs())
            }
            (Some(job), None) => job.status.clone(),
            (None, None) => "waiting for the job to be listed".to_owned(),
        };
        let eta = self.eta();
        if let (Some(eta), Some(left)) = (eta, rto_left)
            && eta > left
        {
            what = format!("{what}; ETA {}, RTO {}: will miss", minutes(eta), minutes(left));
        }
        if self.target_online == Some(false) {
            what.push_str("; the target is offline");
        }
        let total = self.total.map(|total| total.versions).filter(|versions| *versions > 0);
        Progress {
            what,
            done: Some(total.map_or(self.done(), |total| self.done().min(total))),
            total,
            bytes: self.job.as_ref().map(|job| job.replicated_bytes).filter(|bytes| *bytes > 0),
            total_bytes: self.total.map(|total| total.bytes).filter(|bytes| *bytes > 0),
            failed: self.job.as_ref().map(|job| job.failed_count).filter(|failed| *failed > 0),
            rate: self.rate(),
            eta_seconds: eta,
            target_online: self.target_online,
            quiet_seconds: Some(self.at.saturating_sub(self.last_sign()).as_secs_f64()),
        }
    }
}

fn minutes(seconds: f64) -> String {
    if seconds < 90.0 { format!("{:.0} s", seconds.max(0.0)) } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests;
