//! How fast and how lean two sites are listed and compared: `cargo bench --bench listing -- WHAT`, see README.md beside.
#![expect(clippy::disallowed_methods, reason = "it runs servers and other programs, and reads the environment")]
#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a measurement that goes wrong is none")]
#![expect(clippy::cast_precision_loss, reason = "figures are rounded anyway")]

mod proxy;
mod real;
mod synthetic;
mod usage;

use std::{
    env,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use firedrill::{
    compare::{Merge, Rules, Stream, Tally, Told},
    failure::Failure,
    secret::Secret,
    site::{
        Site, SiteSpec, Value, Wire,
        listing::{Listing, Versions},
    },
    step::Reads,
    types::BucketName,
    version::Page,
};

use crate::usage::{Usage, peak_kib};

const HELP: &str = "\
usage: cargo bench --bench listing -- WHAT [VERSIONS] [AT_ONCE]

  synthetic   both sites from a server that serves from memory: versions a second, CPU time, peak memory
  merge       the merge alone, its pages from memory: versions a second, peak memory
  one-key     one key with that many versions on both sites, listed the other way round on one of them
  latency     20 ms added to each request to a server that serves from memory, beside `mc ls`
  real        two real MinIO servers, beside `mc ls` (FIREDRILL_TEST_MINIO, FIREDRILL_TEST_MC)";

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let number =
        |at: usize, default| arguments.get(at).map_or(default, |n| n.replace('_', "").parse().expect("a number"));
    let at_once = |default| usize::try_from(number(2, default)).expect("a small number");
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match arguments.first().map(String::as_str) {
        Some("serve") => synthetic::serve(number(1, 1_000_000), number(2, 1)),
        Some("synthetic") => runtime().block_on(synthetic(number(1, 1_000_000), at_once(8))),
        Some("merge") => runtime().block_on(merge(number(1, 10_000_000))),
        Some("one-key") => runtime().block_on(one_key(number(1, 1_000_000))),
        Some("latency") => runtime().block_on(real::latency(number(1, 200_000), at_once(32))),
        Some("real") => runtime().block_on(real::run(number(1, 50_000), at_once(2))),
        Some(_) | None => {
            println!("{HELP}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// A site at an address, with credentials that any server of this bench takes.
pub(crate) fn site(endpoint: &str, key: &str, secret: &str) -> Site<Reads> {
    let spec = SiteSpec {
        alias: "bench".into(),
        endpoint: endpoint.parse().unwrap(),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new(key)),
        secret_key: Value::Literal(Secret::new(secret)),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(120),
        max_requests_per_second: None,
        drills: false,
    };
    let wire: Arc<Wire> = Wire::new(spec).unwrap();
    Site::reading(wire)
}

pub(crate) fn bucket(name: &str) -> BucketName {
    BucketName::try_from(name.to_owned()).unwrap()
}

struct Listed(Versions);

impl Stream for Listed {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        self.0.next_page().await
    }
}

/// Compares a bucket on two sites completely.
pub(crate) async fn compare(source: &Site<Reads>, target: &Site<Reads>, name: &str, at_once: usize) -> Tally {
    let rules = Rules::default();
    let listed = |site: &Site<Reads>| Listed(site.versions(&bucket(name), Listing { at_once, ..Listing::default() }));
    whole(Merge::new(listed(source), listed(target), &rules)).await
}

async fn whole<S: Stream, T: Stream<Error = S::Error>>(mut merge: Merge<'_, S, T>) -> Tally
where
    S::Error: std::fmt::Debug,
{
    let mut tally = Tally::default();
    while let Some(told) = merge.next().await.unwrap() {
        match told {
            Told::Difference(_) => {}
            Told::Key(_, sum) | Told::Same(sum) => tally += sum,
        }
    }
    tally
}

fn report(what: &str, versions: u64, wall: Duration, used: Usage) {
    let each = |time: Duration| time.as_secs_f64() * 1e6 / versions as f64;
    println!(
        "{what}: {versions} versions listed in {:.2} s, {:.0}/s; CPU {:.2} s ({:.3} µs a version: user {:.3}, system {:.3})",
        wall.as_secs_f64(),
        versions as f64 / wall.as_secs_f64(),
        used.total().as_secs_f64(),
        each(used.total()),
        each(used.user),
        each(used.system),
    );
    let on_two_cores = versions as f64 / used.total().as_secs_f64() * 2.0;
    println!(
        "  by its own CPU time on 2 cores: {on_two_cores:.0}/s; peak memory {:.1} MiB",
        peak_kib() as f64 / 1024.0
    );
}

/// Both sites from one server in a process of its own, so that its share is not in ours.
async fn synthetic(versions: u64, at_once: usize) {
    let server = synthetic::Server::start(versions, 3);
    let (source, target) = (site(&server.endpoint, "key", "secret"), site(&server.endpoint, "key", "secret"));
    let (begin, before) = (Instant::now(), Usage::own());
    let tally = compare(&source, &target, "data", at_once).await;
    assert_eq!((tally.same, tally.differences()), (versions, 0));
    report("listed and compared", versions * 2, begin.elapsed(), Usage::own().since(before));
}

/// Pages from memory.
struct Pages {
    page: Page,
    left: u64,
    number: u64,
}

impl Stream for Pages {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        if self.left == 0 {
            return Ok(None);
        }
        let mut page = Page::with_capacity(1_000);
        for entry in self.page.iter() {
            if self.left == 0 {
                break;
            }
            let key = format!("data/{:09}", self.number / 3);
            self.number += 1;
            self.left -= 1;
            page.push(&firedrill::version::Entry { key: &key, ..entry }).unwrap();
        }
        Ok(Some(page))
    }
}

/// A page whose keys do not matter.
fn sample() -> Page {
    let mut page = Page::default();
    for n in 0..999_u32 {
        let version = firedrill::version::Version {
            key: n.to_string(),
            version_id: format!("{n:08x}-0000-4000-8000-0123456789ab"),
            kind: firedrill::version::Kind::Object,
            is_latest: n % 3 == 0,
            last_modified: "2026-11-23T18:29:22.573Z".parse().unwrap(),
            etag: format!("{n:032x}"),
            size: u64::from(n),
            metadata: None,
        };
        page.push(&version.entry()).unwrap();
    }
    page
}

async fn merge(versions: u64) {
    let pages = || Pages { page: sample(), left: versions, number: 0 };
    let (begin, before) = (Instant::now(), Usage::own());
    while pages().next_page().await.unwrap().is_none() {}
    let mut alone = pages();
    while alone.next_page().await.unwrap().is_some() {}
    let making = (begin.elapsed() * 2, Usage::own().since(before));
    let (begin, before) = (Instant::now(), Usage::own());
    let rules = Rules::default();
    let tally = whole(Merge::new(pages(), pages(), &rules)).await;
    assert_eq!((tally.same, tally.differences()), (versions, 0));
    let used = Usage::own().since(before);
    report("merged, the making of the pages included", versions * 2, begin.elapsed(), used);
    report("the making alone", versions * 2, making.0, Usage { user: making.1.user * 2, system: making.1.system * 2 });
}

/// Versions of one key, from the newest or from the oldest.
struct OneKey {
    next: u64,
    left: u64,
    falling: bool,
}

impl Stream for OneKey {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        let mut page = Page::with_capacity(1_000);
        for _ in 0..self.left.min(1_000) {
            let n = self.next;
            let version = firedrill::version::Version {
                key: "the one".into(),
                version_id: format!("{n:08x}-0000-4000-8000-0123456789ab"),
                kind: firedrill::version::Kind::Object,
                is_latest: false,
                last_modified: jiff::Timestamp::from_millisecond(i64::try_from(n).unwrap()).unwrap(),
                etag: format!("{n:032x}"),
                size: n,
                metadata: None,
            };
            page.push(&version.entry()).unwrap();
            self.next = if self.falling { n.wrapping_sub(1) } else { n + 1 };
        }
        self.left -= page.len() as u64;
        Ok((!page.is_empty()).then_some(page))
    }
}

async fn one_key(versions: u64) {
    let rules = Rules::default();
    for falling in [true, false] {
        let source = OneKey { next: versions - 1, left: versions, falling: true };
        let target = OneKey { next: if falling { versions - 1 } else { 0 }, left: versions, falling };
        let (begin, before) = (Instant::now(), Usage::own());
        let tally = whole(Merge::new(source, target, &rules)).await;
        assert_eq!((tally.same, tally.differences()), (versions, 0));
        let what = if falling { "one key, both newest first" } else { "one key, one of them oldest first" };
        report(what, versions * 2, begin.elapsed(), Usage::own().since(before));
    }
}
