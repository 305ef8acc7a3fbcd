//! The time: the wall clock, or, in tests, one that stands on tokio's paused clock.

use jiff::Timestamp;
use tokio::time::Instant;

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The clock of this machine.
    Wall,
    /// Starts at a moment and moves as tokio's clock does.
    Virtual { start: Timestamp, since: Instant },
}

impl Clock {
    /// A clock that starts at `start` and moves as tokio's clock does.
    pub fn starting_at(start: Timestamp) -> Self {
        Self::Virtual { start, since: Instant::now() }
    }

    pub fn now(self) -> Timestamp {
        match self {
            Self::Wall => Timestamp::now(),
            Self::Virtual { start, since } => start + since.elapsed(),
        }
    }
}

/// Seconds from one moment to another; 0 when the clock went backwards.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
