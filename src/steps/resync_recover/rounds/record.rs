//! What is told of an attempt.

use std::time::Duration;

use super::super::Attempt;
use crate::{failure::Failure, site::changes::ResyncStarted, steps::resync_monitor::Monitored};

pub(super) fn attempt(
    number: u32,
    started: &ResyncStarted,
    watched: Option<&Monitored>,
    took: Duration,
    unsent: u64,
    nudged: u64,
) -> Attempt {
    Attempt {
        number,
        reset_id: Some(started.reset_id.clone()),
        started_at: Some(started.started_at),
        status: watched.map(|watched| watched.status.clone()).unwrap_or_default(),
        end: watched.map(|watched| watched.end),
        detail: watched.map_or_else(|| "the deadline passed".to_owned(), |watched| watched.detail.clone()),
        replicated_count: watched.map_or(0, |watched| watched.replicated_count),
        failed_count: watched.map_or(0, |watched| watched.failed_count),
        seconds: took.as_secs_f64(),
        missing_after: Some(unsent),
        nudged,
    }
}

pub(super) fn refused(number: u32, failure: &Failure, took: Duration) -> Attempt {
    Attempt {
        number,
        reset_id: None,
        started_at: None,
        status: "refused".into(),
        end: None,
        detail: failure.to_string(),
        replicated_count: 0,
        failed_count: 0,
        seconds: took.as_secs_f64(),
        missing_after: None,
        nudged: 0,
    }
}
