//! Whether what is restored fits onto the target, and how long the link takes for it.

use super::{
    checks::{Answer, Said, fail, pass, warn},
    facts::Facts,
    need::told,
    rules::{registered, remote, rule_ids},
};
use crate::types::Period;

pub(super) fn quota(facts: &Facts) -> Answer {
    let target = &facts.target;
    let quota = facts.of_bucket(target, &target.quota, "the quota")?.bytes;
    if quota == 0 {
        return Ok(pass("none"));
    }
    let needed = bytes_of_source(facts)?;
    let detail = format!("the quota of the target bucket is {}, the source holds {}", size(quota), size(needed));
    if needed <= quota {
        return Ok(pass(detail));
    }
    Ok(fail(
        detail,
        format!(
            "raise it: `mc quota set {0}/{1} --size {2}MiB`, or lift it: `mc quota clear {0}/{1}`",
            target.alias,
            facts.asked.target_bucket,
            // A quarter on top, for what is written meanwhile.
            (needed / 4).saturating_add(needed).div_ceil(1 << 20)
        ),
    ))
}

pub(super) fn free_space(facts: &Facts) -> Answer {
    let target = &facts.target;
    let info = told(target, &target.info, "the free space")?;
    // No share is negative or above one, and sizes need no more than 53 bits to be told apart here.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an estimate"
    )]
    let free = (info.free_bytes as f64 * info.usable_share.clamp(0.0, 1.0)) as u64;
    let there = target.inventory.as_ref().ok().filter(|i| i.complete).map_or(0, |i| i.bytes);
    let needed = bytes_of_source(facts)?.saturating_sub(there);
    let detail = format!("{} are to be restored, {} are free", size(needed), size(free));
    let remedy = format!("add drives or a pool, or remove what is not needed: `mc admin info {}`", target.alias);
    if needed > free {
        return Ok(fail(detail, remedy));
    }
    // A site that is nearly full slows down, and goes on being written to.
    if needed > free / 10 * 9 {
        return Ok(warn(detail, remedy));
    }
    Ok(pass(detail))
}

pub(super) fn bandwidth_limit(facts: &Facts) -> Answer {
    facts.of_bucket(&facts.source, &facts.remote_targets, "the remote target")?;
    let limit = match registered(facts) {
        Some(target) => target.bandwidth_limit,
        None => return Ok(warn("the remote target is not known", "see the check `target_registered`")),
    };
    if limit == 0 {
        return Ok(pass("none"));
    }
    let takes = bytes_of_source(facts).map_or_else(
        |_| String::new(),
        |bytes| format!(": restoring everything takes at least {}", Period::secs(bytes.div_ceil(limit))),
    );
    Ok(warn(
        format!("{} a second{takes}", size(limit)),
        format!(
            "lift it: `mc replicate update {}/{} --id {} --remote-bucket \"{}\" --bandwidth 0`",
            facts.source.alias,
            facts.asked.bucket,
            rule_ids(facts).first().copied().unwrap_or("RULE"),
            remote(facts)
        ),
    ))
}

fn bytes_of_source(facts: &Facts) -> Result<u64, Said> {
    let source = &facts.source;
    Ok(facts.of_bucket(source, &source.inventory, "the size of the bucket")?.bytes)
}

/// A size for people, e.g. `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut unit = None;
    let mut whole = bytes;
    let mut tenths = 0;
    for name in UNITS {
        if whole < 1024 {
            break;
        }
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit = Some(name);
    }
    match unit {
        None => format!("{bytes} B"),
        Some(unit) => format!("{whole}.{tenths} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, lost_target, outcome},
    };
    use super::*;
    use crate::site::minio::Quota;

    #[test]
    fn a_quota_must_hold_what_the_source_holds() {
        assert_eq!(outcome(quota, &facts()), Pass);
        for (bytes, expected) in [(999, Fail), (1_000, Pass)] {
            let mut facts = facts();
            facts.target.quota = Ok(Quota { bytes });
            assert_eq!(outcome(quota, &facts), expected, "{bytes}");
        }
        let mut silent = facts();
        silent.target.quota = Err(down());
        assert_eq!(outcome(quota, &silent), Unknown);
        assert_eq!(outcome(quota, &lost_target(true)), Warn);
    }

    #[test]
    fn what_is_missing_must_fit() {
        assert_eq!(outcome(free_space, &facts()), Pass);
        // 1,000 bytes on the source, 500 on the target, half of the raw space is usable.
        for (free_bytes, expected) in [(998, Fail), (1_002, Warn), (2_000, Pass)] {
            let mut facts = facts();
            facts.target.info.as_mut().unwrap().free_bytes = free_bytes;
            assert_eq!(outcome(free_space, &facts), expected, "{free_bytes}");
        }
        let mut silent = facts();
        silent.source.inventory = Err(down());
        assert_eq!(outcome(free_space, &silent), Unknown);
        silent.target.info = Err(down());
        assert_eq!(outcome(free_space, &silent), Unknown);
    }

    #[test]
    fn a_limit_warns_with_the_time_it_implies() {
        assert_eq!(outcome(bandwidth_limit, &facts()), Pass);
        let mut limited = facts();
        limited.remote_targets.as_mut().unwrap()[0].bandwidth_limit = 10;
        let said = bandwidth_limit(&limited).unwrap();
        assert_eq!(said.outcome, Warn);
        assert!(said.detail.contains("1m 40s"), "{}", said.detail);
        limited.remote_targets = Err(down());
        assert_eq!(outcome(bandwidth_limit, &limited), Unknown);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(size(1_000), "1000 B");
        assert_eq!(size(1_536), "1.5 KiB");
        assert_eq!(size(3 * 1024 * 1024 * 1024), "3.0 GiB");
    }
}
