//! Versions that are computed from their number and kept nowhere: a bucket of a million of them takes no memory.

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};

use super::{
    scenario::{Data, Percent, fit::CONTENTS},
    store::{Totals, Version},
};

const PREFIX: &str = "archive/";
const SUFFIX: &str = ".pdf";
/// Keys of one folder.
const FOLDER: u64 = 1000;
/// All keys are of one length, so that they are in the order of their numbers.
const DIGITS: usize = 8;
/// Over how long the versions were written.
const WRITTEN: i64 = 27 * 24 * 3_600_000;

/// What the numbers stand for; both sites of a pair share one.
#[derive(Debug)]
pub(super) struct Series {
    keys: u64,
    /// Of each key, without its delete marker.
    versions: u64,
    /// Keys, spread over all, whose newest version is a delete marker.
    markers: u64,
    begun: Timestamp,
    /// Milliseconds from one version to the next.
    step: i64,
    /// The remote target that all of them went to.
    arn: String,
    contents: Vec<(Bytes, String)>,
}

/// The part of a series that one site holds.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    series: Arc<Series>,
    /// This share of the versions is not there.
    lacks: Percent,
    replicas: bool,
    totals: Totals,
}

impl Series {
    pub(super) fn new(data: &Data, begun: Timestamp, arn: &str) -> Self {
        let (keys, versions, markers) = (data.objects.into(), data.versions.into(), data.delete_markers.into());
        let contents = (0..CONTENTS).map(|n| {
            let body = super::data::content(n, 0, data.size);
            let etag = hex::encode(Md5::digest(&body));
            (body, etag)
        });
        let count = i64::try_from(keys * versions + markers).unwrap_or(i64::MAX);
        let step = (WRITTEN / count.max(1)).max(1);
        Self { keys, versions, markers, begun, step, arn: arn.to_owned(), contents: contents.collect() }
    }

    /// How many of the keys before this one end with a delete marker.
    fn markers_before(&self, key: u64) -> u64 {
        key * self.markers / self.keys.max(1)
    }

    /// The numbers of a key's versions, and whether the last of them is a delete marker.
    fn numbers(&self, key: u64) -> (std::ops::Range<u64>, bool) {
        let first = |key| key * self.versions + self.markers_before(key);
        (first(key)..first(key + 1), self.markers_before(key) < self.markers_before(key + 1))
    }

    fn content(&self, number: u64) -> Option<&(Bytes, String)> {
        self.contents.get(usize::try_from(number % u64::from(CONTENTS)).ok()?)
    }

    fn version(&self, number: u64, replica: bool, marker: bool) -> Version {
        let millis = i64::try_from(number).unwrap_or(0).saturating_mul(self.step);
        let at = self.begun.checked_add(SignedDuration::from_millis(millis)).unwrap_or(self.begun);
        let mut version = match self.content(number).filter(|_| !marker) {
            None => Version::marker(id(number), at),
            Some((body, etag)) => {
                let mut version = Version::object(id(number), at, body.clone(), etag.clone());
                version.headers.insert("content-type".to_owned(), "application/pdf".to_owned());
                version
            }
        };
        if replica {
            version.replica = true;
        } else {
            version.replication.insert(self.arn.clone(), "COMPLETED");
        }
        version
    }
}

impl Computed {
    pub(super) fn whole(series: Arc<Series>) -> Self {
        Self::of(series, Percent::default(), false)
    }

    /// The replicas of a series, without a share of them.
    pub(super) fn replicas(&self, lacks: Percent) -> Self {
        Self::of(Arc::clone(&self.series), lacks, true)
    }

    fn of(series: Arc<Series>, lacks: Percent, replicas: bool) -> Self {
        let mut computed = Self { series, lacks, replicas, totals: Totals::default() };
        let mut totals = Totals::default();
        for key in 0..computed.series.keys {
            totals += computed.totals_of(key);
        }
        computed.totals = totals;
        computed
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn totals_of(&self, key: u64) -> Totals {
        let (numbers, marked) = self.series.numbers(key);
        let mut totals = Totals::default();
        for number in numbers.clone().filter(|number| !self.lacks.takes(*number)) {
            let marker = marked && number + 1 == numbers.end;
            totals.objects = u64::from(!marker);
            totals.versions += u64::from(!marker);
            totals.markers += u64::from(marker);
            if !marker {
                totals.bytes += self.series.content(number).map_or(0, |(body, _)| body.len() as u64);
            }
        }
        totals
    }

    pub(super) fn keys(&self) -> u64 {
        self.series.keys
    }

    pub(super) fn key(number: u64) -> String {
        let folder = number / FOLDER;
        format!("{PREFIX}{folder:05}/{number:0DIGITS$}{SUFFIX}")
    }

    /// The number of a key of the series.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        let (_, rest) = key.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('/')?;
        let number = rest.parse().ok().filter(|number| *number < self.series.keys)?;
        (Self::key(number) == key).then_some(number)
    }

    /// The first key that does not come before a text.
    pub(super) fn from(&self, text: &str) -> u64 {
        let (mut low, mut high) = (0, self.series.keys);
        while low < high {
            let middle = low.midpoint(high);
            if Self::key(middle).as_str() < text {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The versions of a key that this site holds, newest first.
    pub(super) fn versions(&self, key: u64) -> Vec<Version> {
        let (numbers, marked) = self.series.numbers(key);
        let newest = numbers.end;
        let held = numbers.rev().filter(|number| !self.lacks.takes(*number));
        held.map(|number| self.series.version(number, self.replicas, marked && number + 1 == newest)).collect()
    }

    /// Whether it holds all versions of a key of the other's series.
    pub(super) fn holds_all_of(&self, key: u64, other: &Self) -> bool {
        Arc::ptr_eq(&self.series, &other.series) && !self.series.numbers(key).0.any(|number| self.lacks.takes(number))
    }
}

/// A version id that looks as random as others.
fn id(number: u64) -> String {
    let mixed = (u128::from(mix(number)) << 64) | u128::from(mix(number ^ u64::MAX));
    super::wire::uuid_of(mixed.to_be_bytes())
}

/// The finalizer of splitmix64: one to one, so no two numbers share an id.
const fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn computed(objects: u32, versions: u32, delete_markers: u32) -> Computed {
        let data = Data { objects, versions, delete_markers, ..Data::default() };
        Computed::whole(Arc::new(Series::new(&data, Timestamp::UNIX_EPOCH, "arn")))
    }

    #[test]
    fn keys_are_in_the_order_of_their_numbers_and_found_again() {
        let all = computed(2500, 2, 7);
        let keys: Vec<String> = (0..all.keys()).map(Computed::key).collect();
        assert!(keys.is_sorted());
        for (number, key) in (0..).zip(&keys) {
            assert_eq!(
                (all.number(key), all.from(key), all.from(&format!("{key}\0"))),
                (Some(number), number, number + 1)
            );
        }
        assert_eq!((all.from(""), all.from("z"), all.number("archive/00000/1.pdf")), (0, 2500, None));
        assert_eq!(all.number(&Computed::key(2500)), None);
    }

    #[test]
    fn totals_are_those_of_the_versions_and_ids_are_unique() {
        for lacks in ["0%", "0.1%", "33%", "100%"] {
            let all = computed(2500, 3, 700).replicas(lacks.parse().unwrap());
            let mut totals = Totals::default();
            let (mut ids, mut times) = (BTreeSet::new(), Vec::new());
            for key in 0..all.keys() {
                let versions = all.versions(key);
                totals += Totals::of(&versions);
                assert!(versions.is_sorted_by(|one, other| one.modified > other.modified));
                times.extend(versions.iter().rev().map(|version| version.modified));
                ids.extend(versions.into_iter().map(|version| version.id));
            }
            assert_eq!(totals, all.totals(), "{lacks}");
            assert_eq!(ids.len() as u64, totals.versions + totals.markers, "{lacks}");
            assert!(times.is_sorted());
        }
        let all = computed(2500, 3, 700).totals();
        assert_eq!((all.versions, all.markers, all.objects), (7500, 700, 1800));
    }

    #[test]
    fn a_share_of_a_thousandth_is_exact() {
        let all = computed(24_000, 4, 4000);
        assert_eq!((all.totals().versions, all.totals().markers), (96_000, 4000));
        let some = all.replicas("0.1%".parse().unwrap());
        let left = some.totals();
        assert_eq!(left.versions + left.markers, 100_000 - 100);
        let whole = (0..all.keys()).filter(|key| some.holds_all_of(*key, &all)).count();
        assert!((23_900..24_000).contains(&whole), "{whole}");
    }
}
