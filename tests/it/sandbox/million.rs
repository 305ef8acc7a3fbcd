//! Versions that are computed and not kept: as many as a bucket of an archive has, in little memory.

use std::{fs, thread, time::Duration};

use firedrill::sandbox::scenario;

use crate::case::{Firedrill, Outcome, Running};

/// How many: all of them in an optimised build, a twenty-fifth in others, which take some 25 µs for each.
const SHARE: u32 = if cfg!(debug_assertions) { 25 } else { 1 };
const MEMORY: u64 = 200 << 10;

fn text() -> String {
    let (_, text) = scenario::ALL.iter().find(|(name, _)| *name == "million_versions").expect("a scenario");
    let fewer = [("objects", 240_000), ("delete_markers", 40_000)];
    fewer.iter().fold((*text).to_owned(), |text, (field, all)| {
        let (before, after) = (format!("{field}: {all}"), format!("{field}: {}", all / SHARE));
        assert!(text.contains(&before), "{text}");
        text.replace(&before, &after)
    })
}

fn count(of: u32) -> String {
    let digits = (of / SHARE).to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Waits for its end; gives the most memory that it ever held as well, in KiB.
fn measured(running: Running) -> (Outcome, u64) {
    let mut most = 0;
    // A process that has ended, and waits to be asked for its exit code, has no memory any more.
    while let Some(now) = high_water(running.id()) {
        most = now;
        thread::sleep(Duration::from_millis(20));
    }
    (running.wait(), most)
}

fn high_water(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[test]
fn very_many_versions_are_compared_in_little_memory() {
    let runbook = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/verify_replica.yaml");
    let args = ["run", runbook, "--sandbox=many.yaml", "-i", "settle=1s"];
    let (verified, most) = measured(Firedrill::new().file("many.yaml", &text()).args(args).spawn());
    verified.exit(4).says(&format!("{} versions compared: {} missing", count(1_000_000), count(1_000)));
    assert!(most > 0 && most < MEMORY, "{most} KiB");
}

#[test]
fn what_is_missing_among_very_many_is_restored() {
    let args = ["recover", "--sandbox=many.yaml", "-i", "settle=10s"];
    let (recovered, most) = measured(Firedrill::new().file("many.yaml", &text()).args(args).spawn());
    let recovered = recovered.exit(0);
    let recovered = recovered.says(&format!("{} versions compared: {} missing", count(1_000_000), count(1_000)));
    recovered.says(&format!("{} versions compared: no difference", count(1_000_000)));
    assert!(most > 0 && most < MEMORY, "{most} KiB");
}
