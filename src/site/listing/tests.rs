//! Listings of a made-up server, whose pages come late and in any order.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use futures_util::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use tokio::time::sleep;

use super::{fetch::Take, ranges::Marker, *};
use crate::{
    compare::{self, Merge, Rules, Told},
    failure::Class,
    site::page::Unusable,
};

/// Keys, each with its versions, newest first.
type Keys = BTreeMap<String, Vec<Made>>;

#[derive(Clone, Debug)]
struct Made {
    id: String,
    content: u8,
    /// Milliseconds after some time.
    ms: u8,
}

struct Bucket {
    keys: Keys,
    page: usize,
    prefix: String,
    seed: u64,
    /// One request in so many fails; 0: none.
    busy: u64,
    asked: Arc<AtomicU64>,
}

impl Server for Bucket {
    fn page<'a>(&'a self, marker: Option<&'a Marker>, take: Take<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            // Any number does, as long as another seed gives others.
            let chance = (self.seed.wrapping_add(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            sleep(Duration::from_millis(chance % 7)).await;
            if self.busy > 0 && chance.is_multiple_of(self.busy) {
                // The one is tried again by itself, the other by whoever lists.
                let class = if chance.is_multiple_of(2) { Class::Throttled } else { Class::Unreachable };
                return Err(Failure::of(class, "not now"));
            }
            let document = self.document(marker);
            let (head, rest) = document.split_at(document.find("</IsTruncated>").unwrap_or(0) + 30);
            take(head.as_bytes()).map_err(|e| self.unusable(e))?;
            sleep(Duration::from_millis(chance % 5)).await;
            take(rest.as_bytes()).map_err(|e| self.unusable(e))
        })
    }

    fn unusable(&self, unusable: Unusable) -> Failure {
        Failure::refused(format!("{unusable:?}"))
    }
}

impl Bucket {
    fn document(&self, marker: Option<&Marker>) -> String {
        let (key, id) = marker.map_or(("", ""), |m| (m.sent.as_str(), m.version_id.as_str()));
        let key = key.split("[minio_cache:v2,").next().unwrap_or_default();
        assert!(key.is_empty() || key.starts_with(&self.prefix), "MinIO refuses `{key}`");
        let keys = self.keys.iter().filter(|(k, _)| k.starts_with(&self.prefix));
        let mut versions = keys
            .flat_map(|(key, all)| all.iter().enumerate().map(move |(n, v)| (key, n, v)))
            .skip_while(|(k, n, _)| match k.as_str().cmp(key) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    id.is_empty() || self.keys[*k].iter().position(|made| made.id == id).is_some_and(|at| *n <= at)
                }
                std::cmp::Ordering::Greater => false,
            });
        let mut rows = String::new();
        let mut last = (String::new(), String::new());
        for (key, n, Made { id, content, ms }) in versions.by_ref().take(self.page) {
            last = (encoded(key), id.clone());
            write!(
                rows,
                "<Version><Key>{}</Key><LastModified>2026-11-23T18:29:22.{ms:03}Z</LastModified><ETag>&#34;e{content}&#34;\
                 </ETag><Size>{content}</Size><Owner><ID>1</ID></Owner><IsLatest>{}</IsLatest><VersionId>{id}</VersionId>\
                 </Version>",
                last.0,
                n == 0,
            )
            .unwrap();
        }
        let more = versions.next().is_some();
        let next = if more {
            let (key, id) = last;
            format!(
                "<NextKeyMarker>{key}%5Bminio_cache%3Av2%2Creturn%3A%5D</NextKeyMarker><NextVersionIdMarker>{id}\
                 </NextVersionIdMarker>"
            )
        } else {
            String::new()
        };
        format!(
            "<ListVersionsResult>{next}<IsTruncated>{more}</IsTruncated>{rows}<MaxKeys>1</MaxKeys></ListVersionsResult>"
        )
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// How a bucket is listed; none of it may matter.
#[derive(Clone, Debug)]
struct How {
    page: usize,
    at_once: usize,
    seed: u64,
    busy: u64,
}

fn how() -> impl Strategy<Value = How> {
    (1_usize..8, 1_usize..9, any::<u64>(), prop_oneof![Just(0), Just(7_u64)])
        .prop_map(|(page, at_once, seed, busy)| How { page, at_once, seed, busy })
}

fn listed(keys: &Keys, prefix: &str, after: Option<&str>, how: &How) -> Versions {
    let server = Bucket {
        keys: keys.clone(),
        page: how.page,
        prefix: prefix.to_owned(),
        seed: how.seed,
        busy: how.busy,
        asked: Arc::default(),
    };
    let page_size = u16::try_from(how.page).ok();
    let after = after.map(ToOwned::to_owned);
    let listing = Listing { prefix: prefix.into(), after, metadata: false, page_size, at_once: how.at_once };
    Versions::of(Box::new(server), listing)
}

fn waiting<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(100_000), future).await.expect("it hangs") })
}

/// What becomes of a version on its way to the other site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Same,
    Missing,
    Extra,
    Different,
}

/// What two sites have: by key and version id the content, the time, and the fate.
type History = BTreeMap<String, BTreeMap<String, (u8, u8, Fate)>>;

fn history() -> impl Strategy<Value = History> {
    let fate = prop_oneof![
        6 => Just(Fate::Same), 1 => Just(Fate::Missing), 1 => Just(Fate::Extra), 1 => Just(Fate::Different)
    ];
    let made = (0_u8..3, 0_u8..40, fate);
    let versions = prop_oneof![
        4 => proptest::collection::btree_map("[a-f]{1,2}|null", made.clone(), 1..4),
        1 => proptest::collection::btree_map("[a-f]{1,3}", made, 1..40),
    ];
    // Keys below keys, folders, and what must be encoded.
    let key = prop_oneof![
        "[ab]{1,3}(/[ab]{1,2}){0,2}/?",
        "[ab]/[0-9]{2}",
        "a[ +%&é🦀\u{ffff}-]{1,2}",
        "a\\[minio_cache:v2\\]"
    ];
    proptest::collection::btree_map(key, versions, 0..60)
}

/// What one site has of it. Versions of one moment come in another order on another site.
fn site(history: &History, has: [Fate; 3], more: u8) -> Keys {
    let versions = |all: &BTreeMap<String, (u8, u8, Fate)>| {
        let mut versions: Vec<Made> = all
            .iter()
            .filter(|(_, (_, _, fate))| has.contains(fate))
            .map(|(id, (content, ms, fate))| {
                let content = if *fate == Fate::Different { content + more } else { *content };
                Made { id: id.clone(), content, ms: *ms }
            })
            .collect();
        if more > 0 {
            versions.reverse();
        }
        versions.sort_by_key(|made| std::cmp::Reverse(made.ms));
        versions
    };
    history.iter().map(|(key, all)| (key.clone(), versions(all))).filter(|(_, all)| !all.is_empty()).collect()
}

fn source(history: &History) -> Keys {
    site(history, [Fate::Same, Fate::Missing, Fate::Different], 0)
}

fn target(history: &History) -> Keys {
    site(history, [Fate::Same, Fate::Extra, Fate::Different], 1)
}

/// Key and version id of everything.
fn all(keys: &Keys, prefix: &str, after: &str) -> Vec<(String, String)> {
    let keys = keys.iter().filter(|(key, _)| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after));
    keys.flat_map(|(key, versions)| versions.iter().map(|made| (key.clone(), made.id.clone()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn all_versions_are_listed_once_and_in_order(
        history in history(), how in how(), prefix in prop_oneof![Just(""), Just("a"), Just("b/")], after in "|[ab]{1,2}/?",
    ) {
        let keys = source(&history);
        let mut versions = listed(&keys, prefix, Some(after.as_str()).filter(|a| !a.is_empty()), &how);
        let listed = waiting(async {
            let mut listed = Vec::new();
            loop {
                match versions.next().await {
                    Ok(Some(version)) => listed.push((version.key, version.version_id)),
                    Ok(None) => break,
                    Err(failure) => assert_eq!(failure.class(), Some(Class::Unreachable)),
                }
            }
            listed
        });
        prop_assert_eq!(listed, all(&keys, prefix, &after));
    }

    #[test]
    fn a_comparison_finds_exactly_the_differences(
        history in history(), on_source in how(), on_target in how(), prefix in prop_oneof![Just(""), Just("a")],
    ) {
        let rules = Rules::default();
        let (source, target) = (source(&history), target(&history));
        let (found, tally) = waiting(async {
            let source = listed(&source, prefix, None, &on_source);
            let target = listed(&target, prefix, None, &on_target);
            let mut merge = Merge::new(source, Some(target), &rules);
            let (mut found, mut tally) = (Vec::new(), compare::Tally::default());
            loop {
                let told = match merge.next().await {
                    Ok(Some(told)) => told,
                    Ok(None) => break,
                    Err(_) => continue,
                };
                match told {
                    Told::Difference(difference) => {
                        let fate = match difference.class {
                            compare::Class::Missing | compare::Class::Pending => Fate::Missing,
                            compare::Class::Extra => Fate::Extra,
                            compare::Class::Different => Fate::Different,
                        };
                        found.push((difference.key, difference.version_id, fate));
                    }
                    Told::Key(_, sum) | Told::Same(sum) => tally += sum,
                }
            }
            (found, tally)
        });
        let under = history.iter().filter(|(key, _)| key.starts_with(prefix));
        let all: Vec<_> = under
            .flat_map(|(key, all)| all.iter().map(|(id, (_, _, fate))| (key.clone(), id.clone(), *fate)))
            .collect();
        let differ = |fate: &Fate| *fate != Fate::Same;
        let expected: Vec<_> = all.iter().filter(|(_, _, fate)| differ(fate)).cloned().collect();
        prop_assert!(found.is_sorted_by_key(|(key, _, _)| key.as_bytes().to_vec()));
        let mut found = found;
        found.sort();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(tally.same, all.iter().filter(|(_, _, fate)| !differ(fate)).count() as u64);
    }
}

/// A bucket of so many keys, listed; how many requests that took.
fn requests(keys: u32, how: &How) -> u64 {
    let made = || vec![Made { id: "a".into(), content: 1, ms: 1 }];
    let keys: Keys = (0..keys).map(|n| (format!("{}/{:03}/k{n:06}", n % 7, n % 200), made())).collect();
    let server =
        Bucket { keys, page: how.page, prefix: String::new(), seed: how.seed, busy: how.busy, asked: Arc::default() };
    let asked = Arc::clone(&server.asked);
    let page_size = u16::try_from(how.page).ok();
    let mut versions =
        Versions::of(Box::new(server), Listing { page_size, at_once: how.at_once, ..Listing::default() });
    waiting(async { while versions.next_page().await.unwrap().is_some() {} });
    asked.load(Ordering::Relaxed)
}

#[test]
fn ranges_cost_few_requests_more_than_one_page_after_the_other() {
    let how = |at_once| How { page: 10, at_once, seed: 7, busy: 0 };
    let alone = requests(10_000, &how(1));
    assert_eq!(alone, 1_000);
    for at_once in [2, 4, 16] {
        let together = requests(10_000, &how(at_once));
        assert!((alone..alone * 5 / 4).contains(&together), "{at_once} at once: {together}");
    }
}
