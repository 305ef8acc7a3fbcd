//! Whether something else is at work on the bucket or the deployment already.

use super::{
    checks::{Answer, fail, pass},
    facts::Facts,
    need::told,
};

pub(super) fn no_resync_running(facts: &Facts) -> Answer {
    for site in [&facts.source, &facts.target] {
        // A bucket that is not there cannot be resynced from.
        if site.bucket_missing() {
            continue;
        }
        let resyncs = told(site, &site.resyncs, "the status of resyncs")?;
        let Some(running) = resyncs.iter().find(|r| r.running()) else { continue };
        let bucket = if site.role == facts.asked.source { &facts.asked.bucket } else { &facts.asked.target_bucket };
        return Ok(fail(
            format!(
                "a resync is {} on {} `{}`: ARN {}, reset id {}, since {}",
                running.status, site.role, site.alias, running.arn, running.reset_id, running.start_time
            ),
            format!(
                "wait for its end: `mc replicate resync status {}/{bucket}`; `resync.start` can take it over with \
                 `when_running: adopt`; one that stands still for good ends with a restart of the source's nodes",
                site.alias
            ),
        ));
    }
    Ok(pass("no resync is running on either site"))
}

pub(super) fn site_replication(facts: &Facts) -> Answer {
    for site in [&facts.source, &facts.target] {
        if *told(site, &site.site_replication, "whether it is under site replication")? {
            return Ok(fail(
                format!(
                    "{} `{}` is under site replication: it is resynced as a whole, not by the bucket",
                    site.role, site.alias
                ),
                format!("`mc admin replicate resync start {} {}`", facts.source.alias, facts.target.alias),
            ));
        }
    }
    Ok(pass("neither site is under site replication"))
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown},
        made_up::{down, facts, outcome},
    };
    use super::*;
    use crate::site::minio::ResyncStatus;

    fn job(status: &str) -> ResyncStatus {
        ResyncStatus {
            arn: "other-arn".into(),
            reset_id: "r1".into(),
            start_time: "2026-11-23T18:00:00Z".parse().unwrap(),
            end_time: "2026-11-23T18:00:00Z".parse().unwrap(),
            status: status.into(),
            replicated_bytes: 0,
            replicated_count: 0,
            failed_count: 0,
            object: None,
        }
    }

    #[test]
    fn a_running_resync_on_either_site_and_any_arn_fails() {
        let mut ended = facts();
        ended.source.resyncs = Ok(vec![job("Completed"), job("Failed")]);
        assert_eq!(outcome(no_resync_running, &ended), Pass);
        let mut here = facts();
        here.source.resyncs = Ok(vec![job("Completed"), job("Ongoing")]);
        assert_eq!(outcome(no_resync_running, &here), Fail);
        let mut there = facts();
        there.target.resyncs = Ok(vec![job("Pending")]);
        assert_eq!(outcome(no_resync_running, &there), Fail);
    }

    #[test]
    fn a_status_that_could_not_be_asked_is_unknown_unless_the_bucket_is_gone() {
        let mut silent = facts();
        silent.target.resyncs = Err(down());
        assert_eq!(outcome(no_resync_running, &silent), Unknown);
        silent.target.exists = Ok(false);
        assert_eq!(outcome(no_resync_running, &silent), Pass);
    }

    #[test]
    fn site_replication_is_not_resynced_by_the_bucket() {
        assert_eq!(outcome(site_replication, &facts()), Pass);
        let mut under = facts();
        under.target.site_replication = Ok(true);
        assert_eq!(outcome(site_replication, &under), Fail);
        under.target.site_replication = Err(down());
        assert_eq!(outcome(site_replication, &under), Unknown);
    }
}
