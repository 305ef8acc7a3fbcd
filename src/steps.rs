//! The step kinds: one file and two adjacent lines each.

use crate::step::Kind;

mod assert;
mod bucket_prepare;
mod human_confirm;
mod replication_preconditions;
mod replication_status;
mod replication_targets;
mod resync_monitor;
mod resync_recover;
mod resync_start;
mod site_check;
pub(crate) mod versions_compare;
mod versions_count;

/// Every kind, in the order of the reference.
pub const ALL: &[Kind] = &[
    Kind::of::<site_check::SiteCheck>(),
    Kind::of::<replication_targets::ReplicationTargets>(),
    Kind::of::<replication_preconditions::ReplicationPreconditions>(),
    Kind::of::<bucket_prepare::BucketPrepare>(),
    Kind::of::<resync_start::ResyncStart>(),
    Kind::of::<resync_monitor::ResyncMonitor>(),
    Kind::of::<resync_recover::ResyncRecover>(),
    Kind::of::<versions_count::VersionsCount>(),
    Kind::of::<versions_compare::VersionsCompare>(),
    Kind::of::<replication_status::ReplicationStatus>(),
    Kind::of::<human_confirm::HumanConfirm>(),
    Kind::of::<assert::Assert>(),
];
