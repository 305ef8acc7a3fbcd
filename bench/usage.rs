//! CPU time and memory of a process, as Linux tells them.

use std::{fs, time::Duration};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
}

impl Usage {
    pub(crate) fn own() -> Self {
        Self::read("self", 11)
    }

    /// Of a process that runs, threads that ended included.
    pub(crate) fn of(process: &str) -> Self {
        Self::read(process, 11)
    }

    /// Of all processes that this one started, and theirs, when they have ended.
    pub(crate) fn of_children() -> Self {
        Self::read("self", 13)
    }

    fn read(process: &str, from: usize) -> Self {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // After the name in parentheses: the 12th and 13th field are user and system time, in hundredths of a second,
        // the two after them the same of the children.
        let fields: Vec<u64> = stat.rsplit(')').next().map_or_else(Vec::new, |rest| {
            rest.split_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
        });
        let ticks = |at: usize| Duration::from_millis(fields.get(at).copied().unwrap_or_default() * 10);
        Self { user: ticks(from), system: ticks(from + 1) }
    }

    pub(crate) fn total(self) -> Duration {
        self.user + self.system
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }
}

/// The most memory that this process ever had, in KiB.
pub(crate) fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or_default()
}
