//! The step kinds: one file and two adjacent lines each.

use crate::step::Kind;

mod assert;
mod bucket_prepare;
mod human_confirm;
mod replication_preconditions;
mod replication_status;
mod replication_targets;
mod site_check;

/// Every kind, in the order of the reference.
pub const ALL: &[Kind] = &[
    Kind::of::<replication_targets::ReplicationTargets>(),
    Kind::of::<replication_preconditions::ReplicationPreconditions>(),
    Kind::of::<bucket_prepare::BucketPrepare>(),
    Kind::of::<replication_status::ReplicationStatus>(),
    Kind::of::<human_confirm::HumanConfirm>(),
    Kind::of::<assert::Assert>(),
    Kind::of::<site_check::SiteCheck>(),
];
