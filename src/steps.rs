//! The step kinds: one file and two adjacent lines each.

use crate::step::Kind;

mod resync_monitor;
mod resync_recover;
mod resync_start;
mod versions_compare;
mod versions_count;

/// Every kind, in the order of the reference.
pub const ALL: &[Kind] = &[
    Kind::of::<resync_start::ResyncStart>(),
    Kind::of::<resync_monitor::ResyncMonitor>(),
    Kind::of::<resync_recover::ResyncRecover>(),
    Kind::of::<versions_count::VersionsCount>(),
    Kind::of::<versions_compare::VersionsCompare>(),
];
