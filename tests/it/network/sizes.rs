//! Answers that never end: none fills the memory.

use std::{fs, thread, time::Duration};

use firedrill::{
    failure::Class,
    site::{Site, SiteSpec, Wire},
    step::Reads,
    types::BucketName,
};

use super::{BUCKET, Scene, compare, lists, spec};
use crate::{
    client::block_on,
    proxy::{Fault, On, fault::Endless},
};

/// More than any of these runs needs, and far less than what the proxy would send, bytes.
const ENOUGH: u64 = 400 << 20;

#[test]
fn an_answer_without_an_end_is_none_and_memory_stays_flat() {
    for (endless, says) in [
        (Endless::Chunks, "its answer has more than 64 MiB"),
        (Endless::Length(8 << 40), "its answer has more than 64 MiB"),
        (Endless::Head, "message head is too large"),
    ] {
        let scene = Scene::start("healthy");
        scene.source.fault(Fault::Endless(endless), On::matching(lists));
        let drill = scene.firedrill("timeouts: { request: 20s }");
        let mut running = compare(drill).spawn();
        let mut most = 0;
        while running.runs() {
            most = most.max(peak(running.id()).unwrap_or(0));
            thread::sleep(Duration::from_millis(5));
        }
        running.wait().exit(5).says(says);
        assert!((1..ENOUGH).contains(&most), "{endless:?}: {most} bytes at its peak");
        println!("{endless:?}: {} MiB at its peak", most >> 20);
        assert_eq!(scene.source.count(lists), 1, "{endless:?} was asked for again");
    }
}

/// The SDK reads its answers by itself.
#[test]
fn an_answer_to_the_sdk_is_bounded_too() {
    let scene = Scene::start("healthy");
    for endless in [Endless::Chunks, Endless::Length(8 << 40)] {
        scene.source.clear();
        scene.source.fault(Fault::Endless(endless), On::every());
        let patient = SiteSpec {
            request_timeout: Duration::from_secs(20),
            ..spec(&scene.source.endpoint(), &scene.sandbox.pair.source)
        };
        let bucket = BucketName::try_from(BUCKET.to_owned()).unwrap();
        let failures = block_on(async || {
            let site: Site<Reads> = Site::reading(Wire::new(patient).unwrap());
            [site.object_lock(&bucket).await.unwrap_err(), site.encryption(&bucket).await.unwrap_err()]
        });
        for failure in failures {
            assert!(failure.to_string().contains("more than 64 MiB"), "{endless:?}: {failure}");
            assert_eq!(failure.class(), Some(Class::Unreachable));
        }
    }
}

/// The most memory that a process ever had, bytes; `None` when it is gone.
fn peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}
