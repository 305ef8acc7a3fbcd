//! The witnesses: what the source says, what its trace tells, and what arrives on the target.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use jiff::Timestamp;
use tokio::{
    sync::mpsc::Receiver,
    time::{sleep, timeout},
};

use super::{
    ResyncMonitor, job, may_pass,
    watch::{Signs, Total},
};
use crate::{
    failure::Failure,
    site::{
        Site,
        listing::{Listing, Versions},
        minio::{Metrics, Node, ResyncStatus, TraceLine},
    },
    step::Reads,
    types::BucketName,
};

/// The target's listing and the slower questions are asked at most this often.
const LOOK_AROUND: Duration = Duration::from_secs(30);
/// Versions of a listing that one look reads: a bounded cost, whatever the size of the bucket.
const LISTED: u64 = 5_000;
/// A target that is frozen accepts connections and never answers; the watch must not stand still with it.
const ANSWER: Duration = Duration::from_secs(5);
/// A listing makes the source queue again what the job has not come to, so that it is sent twice: a short job goes
/// without being counted.
const COUNTED_FROM: Duration = Duration::from_secs(30);
const ERRORS_KEPT: usize = 5;

/// All that is asked besides the status.
pub(super) struct Witnesses {
    source: Site<Reads>,
    target: Site<Reads>,
    bucket: BucketName,
    target_bucket: BucketName,
    arn: String,
    reset_id: String,
    look_around: Duration,
    looked: Option<Duration>,
    trace: Trace,
    traced: Option<u64>,
    errors: Vec<String>,
    sent: Option<u64>,
    arrivals: Arrivals,
    target_answers: Option<bool>,
    seen_online: bool,
    link_online: Option<bool>,
    volume: Volume,
}

/// The live trace of the source.
enum Trace {
    Closed,
    Open(Receiver<TraceLine>),
    /// The credentials do not allow it.
    Forbidden,
}

/// What newly appears in the target's listing, which the job fills in the order of the keys.
#[derive(Default)]
struct Arrivals {
    after: Option<String>,
    /// Once the end of the listing was seen, all that comes behind it is new.
    caught_up: bool,
    new: u64,
}

/// How much there is to do.
enum Volume {
    Unknown,
    Counting { listing: Box<Versions>, so_far: Total },
    Known(Total),
}

impl Witnesses {
    pub(super) fn new(params: &ResyncMonitor, source: Site<Reads>, target: Site<Reads>) -> Self {
        Self {
            source,
            target,
            bucket: params.bucket.clone(),
            target_bucket: params.target_bucket.as_ref().unwrap_or(&params.bucket).clone(),
            arn: params.arn.clone(),
            reset_id: params.reset_id.clone(),
            // A short limit for a stall needs its witnesses more often.
            look_around: LOOK_AROUND.min(params.stalled_after.0 / 4),
            looked: None,
            trace: Trace::Closed,
            traced: None,
            errors: Vec::new(),
            sent: None,
            arrivals: Arrivals::default(),
            target_answers: None,
            seen_online: false,
            link_online: None,
            volume: Volume::Unknown,
        }
    }

    pub(super) async fn job(&self) -> Result<Option<ResyncStatus>, Failure> {
        job(&self.source, &self.bucket, &self.arn).await
    }

    /// The source's nodes, unless we may not know them, and its clock.
    pub(super) async fn nodes(&self) -> Result<(Option<Vec<Node>>, Option<Timestamp>), Failure> {
        let nodes = match self.source.info().await {
            Ok(info) => Some(info.nodes),
            Err(failure) if may_pass(&failure) => return Err(failure),
            Err(_) => None,
        };
        Ok((nodes, self.source.health().await?.server_time))
    }

    /// Asks the witnesses, most of them only now and then. None of them can fail the watch.
    pub(super) async fn look_around(&mut self, at: Duration) {
        self.open_trace().await;
        let health = timeout(ANSWER, self.target.health()).await;
        self.target_answers = Some(health.is_ok_and(|answer| answer.is_ok_and(|health| health.live)));
        if self.looked.is_some_and(|last| at.saturating_sub(last) < self.look_around) {
            return;
        }
        self.looked = Some(at);
        if matches!(self.trace, Trace::Forbidden)
            && let Ok(metrics) = self.source.replication_metrics(&self.bucket).await
        {
            self.sent = of_arn(&metrics, &self.arn).map(|m| m.replicated_count + m.failed_total);
        }
        self.look_at_target().await;
        self.size_up(at).await;
    }

    async fn open_trace(&mut self) {
        if !matches!(self.trace, Trace::Closed) {
            return;
        }
        match self.source.resync_trace().await {
            Ok(lines) => {
                self.trace = Trace::Open(lines);
                self.traced.get_or_insert(0);
            }
            Err(failure) if may_pass(&failure) => {}
            Err(_) => self.trace = Trace::Forbidden,
        }
    }

    async fn look_at_target(&mut self) {
        if let Ok(targets) = self.source.remote_targets(&self.bucket).await {
            let online = targets.iter().any(|target| target.arn == self.arn && target.is_online);
            self.seen_online |= online;
            // False also means that there was no traffic yet.
            self.link_online = self.seen_online.then_some(online);
        }
        if self.target_answers == Some(false) {
            return;
        }
        let listing = Listing { after: self.arrivals.after.clone(), ..Listing::default() };
        // It may freeze in the midst of a listing; what was read by then counts, and the next look goes on from there.
        let _ = timeout(ANSWER, self.arrivals.read(self.target.versions(&self.target_bucket, listing))).await;
    }

    /// What the scanner counted, else what a listing counts, bit by bit.
    async fn size_up(&mut self, at: Duration) {
        if matches!(self.volume, Volume::Unknown) {
            let usage = self.source.usage(&self.bucket).await.ok().flatten();
            // Its versions include the delete markers.
            self.volume = match usage.filter(|usage| usage.versions > 0) {
                Some(usage) => Volume::Known(Total { versions: usage.versions, bytes: usage.bytes }),
                None if at < COUNTED_FROM => return,
                None => Volume::Counting {
                    listing: Box::new(self.source.versions(&self.bucket, Listing::default())),
                    so_far: Total::default(),
                },
            };
        }
        let Volume::Counting { listing, so_far } = &mut self.volume else { return };
        for _ in 0..LISTED {
            match listing.next().await {
                Ok(Some(version)) => {
                    so_far.versions += 1;
                    so_far.bytes += version.size;
                }
                Ok(None) => {
                    self.volume = Volume::Known(*so_far);
                    return;
                }
                Err(_) => {
                    self.volume = Volume::Unknown;
                    return;
                }
            }
        }
    }

    /// Waits, and takes what the trace tells meanwhile.
    pub(super) async fn listen_for(&mut self, time: Duration) {
        let mut over = pin!(sleep(time));
        loop {
            let line = match &mut self.trace {
                Trace::Open(lines) => tokio::select! {
                    () = &mut over => return,
                    line = lines.recv() => line,
                },
                Trace::Closed | Trace::Forbidden => {
                    over.await;
                    return;
                }
            };
            match line {
                Some(line) => self.take(line),
                None => self.trace = Trace::Closed,
            }
        }
    }

    fn take(&mut self, line: TraceLine) {
        if line.reset_id != self.reset_id {
            return;
        }
        self.traced = Some(self.traced.unwrap_or(0) + 1);
        if let Some(error) = line.error
            && self.errors.len() < ERRORS_KEPT
        {
            self.errors.push(format!("{}: {error}", line.path));
        }
    }

    pub(super) fn signs(&self) -> Signs {
        let arrived = self.arrivals.caught_up.then_some(self.arrivals.new);
        Signs { traced: self.traced, sent: self.sent, arrived }
    }

    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }

    /// Offline when it does not answer us, or the source lost it after having had it.
    pub(super) fn target_online(&self) -> Option<bool> {
        match (self.target_answers, self.link_online) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), _) | (None, Some(true)) => Some(true),
            (None, None) => None,
        }
    }

    pub(super) fn total(&self) -> Option<Total> {
        match &self.volume {
            Volume::Known(total) => Some(*total),
            Volume::Unknown | Volume::Counting { .. } => None,
        }
    }
}

impl Arrivals {
    /// Reads on from the last key; a listing that fails is no news.
    async fn read(&mut self, mut listing: Versions) {
        for _ in 0..LISTED {
            match listing.next().await {
                Ok(Some(version)) => {
                    self.after = Some(version.key);
                    self.new += u64::from(self.caught_up);
                }
                Ok(None) => {
                    self.caught_up = true;
                    return;
                }
                Err(_) => return,
            }
        }
    }
}

fn of_arn<'m>(metrics: &'m BTreeMap<String, Metrics>, arn: &str) -> Option<&'m Metrics> {
    metrics.get(arn).or_else(|| metrics.get(""))
}
