//! The time: the wall clock, or, in tests, one that stands on tokio's paused clock.

use std::time::Duration;

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

/// A moment by two clocks: one stands still while a machine sleeps, the other one can be set.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    steady: std::time::Instant,
    wall: Timestamp,
}

impl Stamp {
    pub fn now() -> Self {
        Self { steady: std::time::Instant::now(), wall: Timestamp::now() }
    }

    pub fn is_after(self, other: Self) -> bool {
        self.steady > other.steady
    }

    /// How long ago it was, by the clock that says longer.
    pub fn age(self) -> Duration {
        let wall = Duration::try_from(Timestamp::now().duration_since(self.wall)).unwrap_or_default();
        self.steady.elapsed().max(wall)
    }

    /// A moment in the past.
    #[cfg(test)]
    pub fn ago(time: Duration) -> Self {
        let now = Self::now();
        Self { wall: now.wall - time, ..now }
    }
}

/// Seconds from one moment to another; 0 when the clock went backwards.
pub fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}
