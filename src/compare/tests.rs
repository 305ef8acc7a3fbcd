//! The comparison against a naive model of two sets, with random inventories.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures_util::FutureExt;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::version::{Metadata, Page, Version};

/// Pages of so many versions.
struct Listed(VecDeque<Version>, usize);

impl Stream for Listed {
    type Error = String;
    async fn next_page(&mut self) -> Result<Option<Page>, String> {
        let mut page = Page::default();
        let length = self.1.min(self.0.len());
        self.0.drain(..length).for_each(|version| page.push(&version.entry()).unwrap());
        Ok((!page.is_empty()).then_some(page))
    }
}

/// All that a comparison told.
#[derive(Debug, Default, PartialEq)]
struct All {
    tally: Tally,
    differences: Vec<Difference>,
}

fn version(key: &str, id: &str, content: u64) -> Version {
    Version {
        key: key.into(),
        version_id: id.into(),
        kind: Kind::Object,
        is_latest: false,
        last_modified: Timestamp::from_second(1_000).unwrap(),
        etag: format!("e{content}"),
        size: content,
        metadata: None,
    }
}

fn compare(source: Vec<Version>, target: Vec<Version>, rules: &Rules) -> Result<All, Broken<String>> {
    let (source, target) = (Listed(source.into(), 3), Listed(target.into(), 2));
    let mut merge = Merge::new(source, target, rules);
    let (mut all, mut of_key) = (All::default(), 0);
    while let Some(told) = merge.next().now_or_never().expect("nothing waits here")? {
        match told {
            Told::Difference(difference) => {
                of_key += 1;
                all.differences.push(difference);
            }
            Told::Key(name, tally) => {
                assert_eq!(tally.differences(), of_key, "{name}");
                all.tally += tally;
                of_key = 0;
            }
            Told::Same(tally) => {
                assert_eq!((tally.differences(), of_key), (0, 0));
                all.tally += tally;
            }
        }
    }
    Ok(all)
}

/// One row a version: key, id, content, modification second.
type Row = ((u8, u8), (u64, i64));

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let map = proptest::collection::btree_map((0u8..6, 0u8..4), (0u64..2, 990i64..1_010), 0..20);
    // Within a key the order is any: ties come in another order on another cluster.
    map.prop_map(|map| map.into_iter().collect::<Vec<_>>()).prop_shuffle()
}

fn listing(mut rows: Vec<Row>) -> Vec<Version> {
    rows.sort_by_key(|row| row.0.0);
    let of = |((key, id), (content, second)): Row| Version {
        last_modified: Timestamp::from_second(second).unwrap(),
        ..version(&format!("k{key}"), &if id == 0 { "null".to_owned() } else { format!("v{id}") }, content)
    };
    rows.into_iter().map(of).collect()
}

proptest! {
    #[test]
    fn agrees_with_a_comparison_of_sets(source in rows(), target in rows(), cut in proptest::option::of(990i64..1_010)) {
        let rules = Rules { before: cut.map(|s| Timestamp::from_second(s).unwrap()), ..Rules::default() };
        let s: BTreeMap<_, _> = source.iter().copied().collect();
        let t: BTreeMap<_, _> = target.iter().copied().collect();
        let (mut expected, mut left_out, mut same) = (BTreeSet::new(), 0, 0);
        for id in s.keys().chain(t.keys()).collect::<BTreeSet<_>>() {
            let decides = s.get(id).or(t.get(id)).unwrap();
            if cut.is_some_and(|cut| decides.1 > cut) {
                left_out += 1;
                continue;
            }
            match (s.get(id), t.get(id)) {
                (Some(a), Some(b)) if a == b => same += 1,
                (Some(_), Some(_)) => { expected.insert((Class::Different, *id)); }
                (Some(_), None) => { expected.insert((Class::Missing, *id)); }
                (None, _) => { expected.insert((Class::Extra, *id)); }
            }
        }
        let got = compare(listing(source.clone()), listing(target.clone()), &rules).unwrap();
        let id = |d: &Difference| {
            let number = d.version_id.trim_start_matches('v').parse().unwrap_or(0);
            (d.class, (d.key[1..].parse::<u8>().unwrap(), number))
        };
        prop_assert_eq!(got.differences.iter().map(id).collect::<BTreeSet<_>>(), expected.clone());
        prop_assert_eq!(got.differences.len(), expected.len());
        prop_assert_eq!((got.tally.same, got.tally.left_out), (same, left_out));
        for class in Class::ALL {
            let n = got.differences.iter().filter(|d| d.class == class).count();
            prop_assert_eq!(got.tally.of(class), n as u64);
        }
        prop_assert_eq!(got.tally.source.versions, source.len() as u64);
        prop_assert_eq!(got.tally.target.versions, target.len() as u64);
    }

    #[test]
    fn every_listed_version_is_counted_once(source in rows(), target in rows(), cut in 990i64..1_010) {
        let rules = Rules {
            before: Some(Timestamp::from_second(cut).unwrap()),
            scope: Scope { excluded_prefixes: vec!["k2".into()], ..Scope::default() },
            ..Rules::default()
        };
        let ids: BTreeSet<_> = source.iter().chain(&target).map(|row| row.0).collect();
        let tally = compare(listing(source), listing(target), &rules).unwrap().tally;
        prop_assert_eq!(tally.compared() + tally.left_out + tally.out_of_scope, ids.len() as u64);
        prop_assert_eq!(tally.out_of_scope, ids.iter().filter(|id| id.0 == 2).count() as u64);
    }
}

#[test]
fn keys_that_go_backwards_are_an_error_and_no_result() {
    let target = vec![version("b", "1", 1), version("a", "1", 1)];
    let broken = compare(vec![version("a", "1", 1)], target, &Rules::default());
    let Err(Broken::OutOfOrder { which: Which::Target, key, after }) = broken else { panic!("{broken:?}") };
    assert_eq!((key.as_str(), after.as_str()), ("a", "b"));
}

#[test]
fn keys_are_ordered_by_bytes() {
    // U+FFFF sorts before U+10000 in UTF-8 and after it in UTF-16.
    let keys = ["Z", "a", "a b", "a/b", "ä", "\u{ffff}", "\u{10000}"];
    let all: Vec<_> = keys.iter().map(|key| version(key, "1", 1)).collect();
    let key = compare(all.clone(), all, &Rules::default()).unwrap();
    assert_eq!((key.tally.same, key.tally.differences()), (7, 0));
}

#[test]
fn a_key_that_a_page_repeated_counts_once() {
    let repeated = vec![version("a", "1", 1), version("a", "2", 2), version("a", "1", 1)];
    let key = compare(repeated, vec![version("a", "1", 1)], &Rules::default()).unwrap();
    assert_eq!((key.tally.source.versions, key.tally.same, key.tally.missing), (2, 1, 1));
}

#[test]
fn modification_times_are_compared_to_the_millisecond() {
    let at = |ms| Version { last_modified: Timestamp::from_millisecond(ms).unwrap(), ..version("a", "1", 1) };
    assert_eq!(compare(vec![at(1_001)], vec![at(1_001)], &Rules::default()).unwrap().tally.same, 1);
    let key = compare(vec![at(1_001)], vec![at(1_002)], &Rules::default()).unwrap();
    assert_eq!(key.differences[0].detail, "modification time");
}

#[test]
fn which_one_is_latest_is_a_note() {
    let latest = |id: &str| Version { is_latest: true, ..version("a", id, 1) };
    let source = vec![latest("1"), version("a", "2", 1)];
    let key = compare(source, vec![latest("2"), version("a", "1", 1)], &Rules::default()).unwrap();
    assert_eq!((key.tally.latest_differs, key.tally.differences()), (1, 0));
}

#[test]
fn a_delete_marker_in_place_of_an_object_is_different() {
    let marker = Version { kind: Kind::DeleteMarker, etag: String::new(), size: 0, ..version("a", "1", 0) };
    let key = compare(vec![marker], vec![version("a", "1", 0)], &Rules::default()).unwrap();
    assert_eq!(key.differences[0].detail, "kind, etag");
    assert_eq!((key.tally.source.delete_markers, key.tally.target.delete_markers), (1, 0));
}

fn with_headers(headers: &[(&str, &str)]) -> Version {
    let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Version { metadata: Some(Metadata { headers, tags: Vec::new() }), ..version("a", "1", 1) }
}

#[test]
fn what_the_source_says_is_used_only_when_asked_for() {
    let failed = with_headers(&[("content-type", "text/plain"), ("x-amz-replication-status", "FAILED")]);
    let plain = compare(vec![failed.clone()], vec![], &Rules::default()).unwrap();
    assert_eq!((plain.tally.missing, plain.tally.pending), (1, 0));
    let asked = compare(vec![failed], vec![], &Rules { metadata: true, ..Rules::default() }).unwrap();
    assert_eq!((asked.tally.missing, asked.tally.pending), (0, 1));
    assert_eq!(asked.differences[0].detail, "the source says FAILED");
}

#[test]
fn metadata_is_compared_without_what_belongs_to_one_site() {
    let rules = Rules { metadata: true, ..Rules::default() };
    let source = with_headers(&[("x-amz-meta-a", "1"), ("x-amz-replication-status", "COMPLETED")]);
    let replica = with_headers(&[("x-amz-meta-a", "1"), ("x-amz-replication-status", "REPLICA")]);
    assert_eq!(compare(vec![source.clone()], vec![replica], &rules).unwrap().tally.same, 1);
    let other = with_headers(&[("x-amz-meta-a", "2")]);
    let key = compare(vec![source.clone()], vec![other], &rules).unwrap();
    assert_eq!(key.differences[0].detail, "metadata `x-amz-meta-a`");
    let unreadable = compare(vec![source], vec![with_headers(&[])], &rules).unwrap();
    assert_eq!(unreadable.tally.metadata_unreadable, 1);
}

#[test]
fn a_null_version_that_was_overwritten_after_the_cutoff_is_left_out() {
    let at = |second| Version { last_modified: Timestamp::from_second(second).unwrap(), ..version("a", "null", 1) };
    let rules = Rules { before: Some(Timestamp::from_second(1_005).unwrap()), ..Rules::default() };
    assert_eq!(compare(vec![at(1_006)], vec![at(1_000)], &rules).unwrap().tally.left_out, 1);
    // The other way round it is no live write of the source, but a foreign one on the target.
    assert_eq!(compare(vec![at(1_000)], vec![at(1_006)], &rules).unwrap().tally.different, 1);
}

#[test]
fn very_many_versions_of_one_key_are_matched_on_disk() {
    // Nothing meets its partner soon: one side lists the newest first, the other the oldest.
    let many = |n: i64| Version {
        last_modified: Timestamp::from_millisecond(n).unwrap(),
        ..version("a", &format!("{n:08}-0000-4000-8000-000000000000"), n.unsigned_abs())
    };
    let mut source: Vec<_> = (0..60_000).rev().map(many).collect();
    let mut target: Vec<_> = (100..60_100).map(many).collect();
    target[7].etag = "other".into();
    source.push(version("b", "1", 1));
    target.push(version("b", "1", 1));
    let all = compare(source, target, &Rules::default()).unwrap();
    assert_eq!((all.tally.missing, all.tally.extra, all.tally.different, all.tally.same), (100, 100, 1, 59_900));
    assert_eq!(all.differences.len(), 201);
    assert_eq!((all.tally.source.versions, all.tally.target.versions), (60_001, 60_001));
}
