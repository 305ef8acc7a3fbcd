//! Compares two version inventories: a streaming merge, and the class of every difference. Pure, and flat in memory.

mod classify;
mod merge;
mod scope;
mod unpaired;

use std::{fmt, ops::AddAssign};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    merge::{Broken, Merge, Stream, Told, Which},
    scope::{Filter, KeyGlob, OutOfScope, Scope},
};
use crate::version::{Entry, Kind};

/// What is wrong with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// On the source, and not on the target.
    Missing,
    /// On the target, and not on the source.
    Extra,
    /// On both, and not the same: kind, `ETag`, size, modification time, or (when asked for) tags and metadata.
    Different,
    /// Not on the target, and the source says that it has yet to be replicated. Told from `missing` only when
    /// metadata is compared.
    Pending,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::Different, Self::Pending];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Different => "different",
            Self::Pending => "pending",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A version that the two sites do not share: one line of `differences.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Difference {
    /// What is wrong.
    pub class: Class,
    /// Key of the object.
    pub key: String,
    /// Version id; `null` for what was written before the bucket was versioned.
    pub version_id: String,
    /// What differs, or what the source says about it.
    pub detail: String,
    /// The version as the source has it; `null` when it has not.
    pub source: Option<Side>,
    /// The version as the target has it; `null` when it has not.
    pub target: Option<Side>,
}

/// A version as one site has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Side {
    /// Object or delete marker.
    pub kind: Kind,
    /// `ETag` without quotes; empty for a delete marker.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Modification time, to the millisecond.
    #[schemars(with = "String")]
    pub last_modified: Timestamp,
}

impl From<&Entry<'_>> for Side {
    fn from(version: &Entry<'_>) -> Self {
        Self {
            kind: version.kind,
            etag: version.etag.to_string(),
            size: version.size,
            last_modified: version.last_modified(),
        }
    }
}

/// What a site holds, by listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Inventory {
    /// Keys whose latest version is an object.
    pub objects: u64,
    /// Object versions and delete markers together.
    pub versions: u64,
    /// Delete markers.
    pub delete_markers: u64,
    /// Bytes of all object versions.
    pub bytes: u64,
}

impl Inventory {
    /// Counts one more version.
    pub fn count(&mut self, version: &Entry<'_>) {
        self.versions += 1;
        self.bytes += version.size;
        match version.kind {
            Kind::Object => self.objects += u64::from(version.is_latest),
            Kind::DeleteMarker => self.delete_markers += 1,
        }
    }
}

impl AddAssign for Inventory {
    fn add_assign(&mut self, other: Self) {
        self.objects += other.objects;
        self.versions += other.versions;
        self.delete_markers += other.delete_markers;
        self.bytes += other.bytes;
    }
}

/// What a comparison came to, in numbers. A version that both sites have counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub same: u64,
    pub missing: u64,
    pub extra: u64,
    pub different: u64,
    pub pending: u64,
    /// What the rules of the source cannot replicate, or was excluded from the comparison.
    pub out_of_scope: u64,
    /// Newer than the cutoff.
    pub left_out: u64,
    /// Keys of which the sites call different versions the latest.
    pub latest_differs: u64,
    /// Pairs whose metadata was asked for and not given.
    pub metadata_unreadable: u64,
    /// Bytes of the versions that are missing or pending.
    pub missing_bytes: u64,
    /// Everything that was listed, in scope or not.
    pub source: Inventory,
    pub target: Inventory,
}

impl Tally {
    /// Versions compared: what is the same and what is not.
    pub fn compared(&self) -> u64 {
        self.same + self.differences()
    }
    /// Versions in all four classes.
    pub fn differences(&self) -> u64 {
        Class::ALL.iter().map(|class| self.of(*class)).sum()
    }
    pub fn of(&self, class: Class) -> u64 {
        match class {
            Class::Missing => self.missing,
            Class::Extra => self.extra,
            Class::Different => self.different,
            Class::Pending => self.pending,
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.same += other.same;
        self.missing += other.missing;
        self.extra += other.extra;
        self.different += other.different;
        self.pending += other.pending;
        self.out_of_scope += other.out_of_scope;
        self.left_out += other.left_out;
        self.latest_differs += other.latest_differs;
        self.metadata_unreadable += other.metadata_unreadable;
        self.missing_bytes += other.missing_bytes;
        self.source += other.source;
        self.target += other.target;
    }
}

/// What to compare, and what to leave out.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Versions newer than this are left out.
    pub before: Option<Timestamp>,
    /// Compare tags and metadata too, and tell `pending` from `missing`.
    pub metadata: bool,
    pub scope: Scope,
}

#[cfg(test)]
mod tests;
