//! The step kinds: one file and two adjacent lines each.

use crate::step::Kind;

/// Every kind, in the order of the reference.
pub const ALL: &[Kind] = &[];
