//! Whether source and target are the right way round.

use super::{
    checks::{Answer, fail, pass},
    facts::Facts,
    need::told,
};

/// The way out of a wrong direction.
const ROUND: &str = "is the direction right? the source is the healthy site and is kept, the target is rebuilt from \
                     it: bind them with `--site source=ALIAS --site target=ALIAS`";

pub(super) fn direction(facts: &Facts) -> Answer {
    let (source, target) = (&facts.source, &facts.target);
    let (here, there) = (&facts.asked.bucket, &facts.asked.target_bucket);
    if !*told(source, &source.exists, "whether the bucket exists")? {
        return Ok(fail(format!("bucket `{here}` is missing on source `{}`", source.alias), ROUND));
    }
    if let (Ok(one), Ok(other)) = (&source.info, &target.info)
        && one.deployment_id == other.deployment_id
        && here == there
    {
        return Ok(fail(format!("source `{}` and target `{}` are the same site", source.alias, target.alias), ROUND));
    }
    let held = facts.of_bucket(source, &source.inventory, "the number of versions")?;
    if held.versions + held.left_out == 0 {
        return Ok(fail(format!("bucket `{here}` on source `{}` is empty", source.alias), ROUND));
    }
    if !*told(target, &target.exists, "whether the bucket exists")? {
        return Ok(pass(format!("{} versions on the source, the target has no bucket `{there}`", held.versions)));
    }
    let lost = told(target, &target.inventory, "the number of versions")?;
    if lost.versions > held.versions {
        let least = if lost.complete { "" } else { "at least " };
        return Ok(fail(
            format!(
                "the target holds more than the source: {least}{} versions against {}",
                lost.versions, held.versions
            ),
            ROUND,
        ));
    }
    Ok(pass(format!("{} versions on the source, {} on the target", held.versions, lost.versions)))
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome,
        made_up::{down, facts, outcome},
    };
    use super::*;

    #[test]
    fn a_source_with_more_is_the_source() {
        assert_eq!(outcome(direction, &facts()), Outcome::Pass);
        let mut lost = facts();
        lost.target.exists = Ok(false);
        lost.target.inventory = Err(down());
        assert_eq!(outcome(direction, &lost), Outcome::Pass);
    }

    #[test]
    fn a_swapped_pair_fails() {
        let mut missing = facts();
        missing.source.exists = Ok(false);
        assert_eq!(outcome(direction, &missing), Outcome::Fail);
        let mut empty = facts();
        empty.source.inventory = Ok(super::super::inventory::Inventory::default());
        assert_eq!(outcome(direction, &empty), Outcome::Fail);
        let mut fewer = facts();
        fewer.target.inventory.as_mut().unwrap().versions = 101;
        assert_eq!(outcome(direction, &fewer), Outcome::Fail);
        let mut same = facts();
        same.target.info = same.source.info.clone();
        assert_eq!(outcome(direction, &same), Outcome::Fail);
    }

    #[test]
    fn a_source_written_to_just_now_is_not_empty() {
        let mut fresh = facts();
        *fresh.source.inventory.as_mut().unwrap() =
            super::super::inventory::Inventory { left_out: 3, complete: true, ..Default::default() };
        fresh.target.inventory.as_mut().unwrap().versions = 0;
        assert_eq!(outcome(direction, &fresh), Outcome::Pass);
    }

    #[test]
    fn what_could_not_be_listed_is_unknown() {
        let mut here = facts();
        here.source.inventory = Err(down());
        assert_eq!(outcome(direction, &here), Outcome::Unknown);
        let mut there = facts();
        there.target.inventory = Err(down());
        assert_eq!(outcome(direction, &there), Outcome::Unknown);
        there.target.exists = Err(down());
        assert_eq!(outcome(direction, &there), Outcome::Unknown);
    }
}
