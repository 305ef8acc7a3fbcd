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
use crate::{failure::Class, site::page::Unusable};

/// Keys, each with its versions: id and content.
type Keys = BTreeMap<String, Vec<(String, u8)>>;

struct Bucket {
    keys: Keys,
    page: usize,
    prefix: String,
    seed: u64,
    /// One request in so many is refused; 0: none.
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
                return Err(Failure::of(Class::Throttled, "too busy"));
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
        let mut versions = keys.flat_map(|(key, all)| all.iter().enumerate().map(move |(n, v)| (key, n, v))).skip_while(
            |(k, n, _)| match k.as_str().cmp(key) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => {
                    id.is_empty() || self.keys[*k].iter().position(|(i, _)| i == id).is_some_and(|at| *n <= at)
                }
                std::cmp::Ordering::Greater => false,
            },
        );
        let mut rows = String::new();
        let mut last = (String::new(), String::new());
        for (key, n, (id, content)) in versions.by_ref().take(self.page) {
            last = (encoded(key), id.clone());
            write!(
                rows,
                "<Version><Key>{}</Key><LastModified>2026-11-23T18:29:22.{:03}Z</LastModified><ETag>&#34;e{content}&#34;\
                 </ETag><Size>{content}</Size><Owner><ID>1</ID></Owner><IsLatest>{}</IsLatest><VersionId>{id}</VersionId>\
                 </Version>",
                last.0,
                999 - n,
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
        format!("<ListVersionsResult>{next}<IsTruncated>{more}</IsTruncated>{rows}<MaxKeys>1</MaxKeys></ListVersionsResult>")
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

fn keys() -> impl Strategy<Value = Keys> {
    let versions = prop_oneof![
        4 => proptest::collection::btree_map("[a-f]{1,2}|null", 0_u8..3, 1..4),
        1 => proptest::collection::btree_map("[a-f]{1,3}", 0_u8..3, 1..40),
    ];
    // Keys below keys, folders, and what must be encoded.
    let key = prop_oneof!["[ab]{1,3}(/[ab]{1,2}){0,2}/?", "[ab]/[0-9]{2}", "a[ +%&é🦀\u{ffff}-]{1,2}", "a\\[minio_cache:v2\\]"];
    proptest::collection::btree_map(key, versions.prop_map(|v| v.into_iter().collect()), 0..60)
}

/// Key and version id of everything.
fn all(keys: &Keys, prefix: &str, after: &str) -> Vec<(String, String)> {
    let keys = keys.iter().filter(|(key, _)| key.starts_with(prefix) && (after.is_empty() || key.as_str() > after));
    keys.flat_map(|(key, versions)| versions.iter().map(|(id, _)| (key.clone(), id.clone()))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn all_versions_are_listed_once_and_in_order(
        keys in keys(), how in how(), prefix in prop_oneof![Just(""), Just("a"), Just("b/")], after in "|[ab]{1,2}/?",
    ) {
        let mut versions = listed(&keys, prefix, Some(after.as_str()).filter(|a| !a.is_empty()), &how);
        let listed = waiting(async {
            let mut listed = Vec::new();
            while let Some(version) = versions.next().await.unwrap() {
                listed.push((version.key, version.version_id));
            }
            listed
        });
        prop_assert_eq!(listed, all(&keys, prefix, &after));
    }
}
