//! Whether both sites answer, run `MinIO`, are well, agree on the time, and the source reaches the target.

use super::{
    checks::{Answer, CheckId, Said, Severity, fail, pass, unknown, warn},
    facts::{Fact, Facts, SiteFacts},
    need::{denied, told},
    rules::{registered, remote, rule_ids},
};
use crate::{
    failure::{Class, Failure},
    steps::site_check::bad_credentials,
};

/// Beyond this, signed requests are refused by both sites.
const SKEW_BREAKS: f64 = 15.0 * 60.0;
/// Beyond this, times of versions cannot be trusted to the second.
const SKEW_SHOWS: f64 = 5.0;

#[expect(clippy::unnecessary_wraps, reason = "the same signature as every check")]
pub(super) fn site_online(facts: &Facts) -> Answer {
    for site in [&facts.source, &facts.target] {
        let dead = match &site.health {
            Ok(health) if health.live => continue,
            Ok(_) => "it is not live".to_owned(),
            Err(why) => why.to_string(),
        };
        return Ok(fail(
            format!("{} `{}` at {} does not answer: {dead}", site.role, site.alias, site.endpoint),
            format!("start it, or correct its endpoint: `mc admin info {}`", site.alias),
        ));
    }
    Ok(pass("both sites answer"))
}

pub(super) fn source_healthy(facts: &Facts) -> Answer {
    let source = &facts.source;
    let health = told(source, &source.health, "the health")?;
    let look = format!("`mc admin info {0}`, `mc admin heal {0}`", source.alias);
    if !health.cluster {
        let status = health.server_status.as_deref().unwrap_or("the cluster has no write quorum");
        return Ok(fail(format!("source `{}` is not well: {status}", source.alias), look));
    }
    let info = told(source, &source.info, "the state of nodes and drives")?;
    let nodes = info.nodes.iter().filter(|n| n.state != "online").count();
    let healing = info.nodes.iter().map(|n| n.healing_drives).sum::<u64>().max(health.healing_drives);
    if nodes > 0 || info.offline_drives > 0 || healing > 0 {
        return Ok(warn(
            format!("{nodes} nodes and {} drives are offline, {healing} drives are healing", info.offline_drives),
            look,
        ));
    }
    Ok(pass(format!("{} drives online", info.online_drives)))
}

pub(super) fn site_writable(facts: &Facts) -> Answer {
    for site in [&facts.source, &facts.target] {
        let health = told(site, &site.health, "the health")?;
        if !health.cluster {
            let status = health.server_status.as_deref().unwrap_or("no write quorum");
            return Ok(fail(
                format!("{} `{}` cannot be written to: {status}", site.role, site.alias),
                format!("bring back its nodes and drives: `mc admin info {}`", site.alias),
            ));
        }
    }
    match &facts.replication_check {
        _ if facts.lost_bucket_is_expected() => Ok(pass("both clusters have their write quorum")),
        None => Ok(not_probed("both clusters have their write quorum; whether the target takes a write was not asked")),
        Some(Ok(())) => {
            Ok(pass("both clusters have their write quorum, and the replication check wrote to the target"))
        }
        Some(Err(why)) => Ok(warn(
            format!("both clusters have their write quorum, but the replication check did not pass: {why}"),
            "see the checks `target_online` and `target_credentials`",
        )),
    }
}

pub(super) fn minio_server(facts: &Facts) -> Answer {
    for site in [&facts.source, &facts.target] {
        told(site, &site.health, "the name of the server")?;
        let why = match (&site.info, &site.resyncs) {
            _ if site.is_not_minio() => "it does not say that it is MinIO".to_owned(),
            (Err(why), _) | (_, Err(why)) if knows_no_call(why) => format!("it does not know MinIO's calls: {why}"),
            _ => continue,
        };
        return Ok(fail(
            format!("{} `{}` cannot be resynced: {why}", site.role, site.alias),
            format!(
                "copy by mirroring instead: `mc mirror --preserve {}/{} {}/{}`",
                facts.source.alias, facts.asked.bucket, facts.target.alias, facts.asked.target_bucket
            ),
        ));
    }
    Ok(pass("both are MinIO"))
}

/// An old server, or another service, answers an unknown call with another document, 405, 426 or 501.
fn knows_no_call(failure: &Failure) -> bool {
    failure.class() == Some(Class::Refused)
        && !denied(failure)
        // An answer that is no answer to this call has no status of a refusal.
        && matches!(failure.status(), None | Some(405 | 426 | 501))
}

pub(super) fn versions_match(facts: &Facts) -> Answer {
    let here = told(&facts.source, &facts.source.info, "the release")?.releases();
    let there = told(&facts.target, &facts.target.info, "the release")?.releases();
    if here == there && here.len() == 1 {
        return Ok(pass(format!("both run {}", here.join(", "))));
    }
    Ok(fail(
        format!("source runs {}, target runs {}", here.join(" and "), there.join(" and ")),
        "bring both sites to the same release: `mc admin update ALIAS`",
    ))
}

pub(super) fn clock_skew(facts: &Facts) -> Answer {
    let mut worst: (f64, String) = (0.0, String::new());
    let skew = |site: &SiteFacts| {
        told(site, &site.health, "the time")?;
        site.skew.ok_or_else(|| {
            unknown(format!("{} `{}` does not say the time", site.role, site.alias), "check its endpoint")
        })
    };
    let (here, there) = (skew(&facts.source)?, skew(&facts.target)?);
    for (apart, between) in [
        (here, "the source and this machine"),
        (there, "the target and this machine"),
        (here - there, "source and target"),
    ] {
        if apart.abs() > worst.0 {
            worst = (apart.abs(), format!("the clocks of {between} are {:.0} s apart", apart.abs()));
        }
    }
    let remedy = "set the clocks right on all nodes (NTP, chrony)";
    let future = facts.source.inventory.as_ref().map_or(0, |i| i.future);
    if worst.0 > SKEW_BREAKS {
        return Ok(fail(format!("{}: signed requests are refused beyond 15 minutes", worst.1), remedy));
    }
    if worst.0 > SKEW_SHOWS {
        return Ok(warn(worst.1, remedy));
    }
    if future > 0 {
        return Ok(warn(
            format!("{future} versions on the source were modified in the future: a resync may skip them"),
            remedy,
        ));
    }
    Ok(pass(format!("within {SKEW_SHOWS:.0} s")))
}

pub(super) fn target_online(facts: &Facts) -> Answer {
    let check = probed(facts, "whether the source reaches the target")?;
    match check {
        Ok(()) => Ok(pass("the source reaches the target")),
        Err(why) => match blame(facts, why) {
            Blame::Connection => Ok(fail(
                format!("the source does not reach the target: {why}"),
                format!(
                    "check the network from `{}` to {}, its TLS certificates and the remote target: `mc replicate ls {}/{}`",
                    facts.source.alias, facts.target.endpoint, facts.source.alias, facts.asked.bucket
                ),
            )),
            Blame::Credentials => Ok(pass("the target answers the source, and refuses it")),
            Blame::Other(_) if target_spoke(why) => Ok(pass("the target answers the source, as far as it was asked")),
            // Whatever stood in the way kept the target from being asked, and counts where it is told.
            Blame::Other(Said { because, .. }) => {
                let remedy = "see the check `target_credentials`";
                let said = unknown(format!("the source did not ask the target: {why}"), remedy);
                Ok(match because {
                    Some(id) => said.because(id),
                    None => Said { severity: Some(Severity::Should), ..said },
                })
            }
            Blame::Unclear => Ok(unasked(facts, why)),
        },
    }
}

pub(super) fn target_credentials(facts: &Facts) -> Answer {
    let check = probed(facts, "whether the target takes the source's credentials")?;
    let renew = format!(
        "enable the user on `{}`, or give the remote target valid keys: `mc replicate update {}/{} --id {} \
         --remote-bucket \"{}\"`",
        facts.target.alias,
        facts.source.alias,
        facts.asked.bucket,
        rule_ids(facts).first().copied().unwrap_or("RULE"),
        remote(facts)
    );
    match check {
        Ok(()) => Ok(pass("the target takes the source's credentials (only a canary proves that it takes replicas)")),
        Err(why) => match blame(facts, why) {
            Blame::Connection => {
                Ok(unknown(format!("the source does not reach the target: {why}"), "see the check `target_online`")
                    .because(CheckId::TargetOnline))
            }
            Blame::Credentials => Ok(fail(format!("the target refuses the source: {why}"), renew)),
            Blame::Other(said) => Ok(said),
            Blame::Unclear => Ok(unasked(facts, why)),
        },
    }
}

/// Whether a failed replication check tells what the target said about its bucket.
fn target_spoke(why: &Failure) -> bool {
    matches!(why.code(), Some("RemoteTargetNotVersionedError" | "ReplicationDestinationMissingLockError"))
}

fn unasked(facts: &Facts, why: &Failure) -> Said {
    let said = unknown(
        format!("the replication check could not be asked: {why}"),
        "see the checks `site_online` and `permissions`",
    );
    match (&facts.source.health, denied(why) || bad_credentials(why)) {
        (Err(_), _) => said.because(CheckId::SiteOnline),
        (Ok(_), true) => said.because(CheckId::Permissions),
        (Ok(_), false) => said,
    }
}

/// What a failed replication check is to be blamed on.
enum Blame {
    Connection,
    Credentials,
    /// Something else stands in the way, and was found before the target was asked for a write.
    Other(Said),
    /// The source did not answer, or did not let us ask.
    Unclear,
}

/// The server has one code for a target that is down and for refused credentials; the cause stands in its text.
fn blame(facts: &Facts, why: &Failure) -> Blame {
    if why.class() != Some(Class::Refused) || denied(why) || bad_credentials(why) {
        return Blame::Unclear;
    }
    match why.code() {
        Some("RemoteDestinationNotFoundError" | "XMinioAdminReplicationRemoteConnectionError") => {}
        _ => return Blame::Other(in_the_way(facts, why)),
    }
    let text = why.to_string().to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["access key", "access denied", "signature", "credential", "accessdenied", "disabled", "token"]) {
        return Blame::Credentials;
    }
    let seen_online = registered(facts).is_some_and(|target| target.is_online);
    let down = facts.target.health.as_ref().map_or(true, |h| !h.live);
    if seen_online
        && !down
        && !says(&["refused", "timeout", "timed out", "offline", "connect", "no such host", "x509", "tls"])
    {
        return Blame::Credentials;
    }
    Blame::Connection
}

/// What kept the replication check from asking the target for a write.
fn in_the_way(facts: &Facts, why: &Failure) -> Said {
    let detail = format!("the replication check did not pass: {why}");
    match why.code() {
        Some("ReplicationConfigurationNotFoundError") => {
            unknown(detail, "see the check `replication_configured`").because(CheckId::ReplicationConfigured)
        }
        Some("RemoteTargetNotVersionedError" | "ReplicationSourceNotVersionedError") if facts.asked.before_prepare => {
            warn(detail, "`bucket.prepare` turns versioning on; this is asked again afterwards")
        }
        Some("RemoteTargetNotVersionedError" | "ReplicationSourceNotVersionedError") => {
            unknown(detail, "see the check `versioning_enabled`").because(CheckId::VersioningEnabled)
        }
        Some("ReplicationDestinationMissingLockError") => {
            unknown(detail, "see the check `object_lock_matches`").because(CheckId::ObjectLockMatches)
        }
        // The server's words for a source without versioning have a code that says nothing.
        _ if matches!(&facts.source.versioning, Ok(versioning) if !versioning.enabled) => {
            unknown(detail, "see the check `versioning_enabled`").because(CheckId::VersioningEnabled)
        }
        _ => fail(detail, "put right what it names, then run this again"),
    }
}

fn probed<'a>(facts: &'a Facts, what: &str) -> Result<&'a Fact<()>, Said> {
    for site in [&facts.source, &facts.target] {
        if site.bucket_missing() {
            return Err(facts.without_bucket(site, what));
        }
    }
    facts.replication_check.as_ref().ok_or_else(|| not_probed(&format!("{what} was not asked")))
}

/// Without leave to probe nothing can be told, and it does not count.
fn not_probed(detail: &str) -> Said {
    Said {
        severity: Some(Severity::Should),
        ..unknown(format!("{detail}: plan sends no probe"), "`firedrill plan --probe` asks; a run always does")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        checks::Outcome::{Fail, Pass, Unknown, Warn},
        made_up::{down, facts, outcome, refused},
    };
    use super::*;

    #[test]
    fn a_site_that_does_not_answer_is_offline() {
        assert_eq!(outcome(site_online, &facts()), Pass);
        let mut off = facts();
        off.target.health = Err(down());
        assert_eq!(outcome(site_online, &off), Fail);
        let mut dead = facts();
        dead.source.health.as_mut().unwrap().live = false;
        assert_eq!(outcome(site_online, &dead), Fail);
    }

    #[test]
    fn drives_warn_and_quorum_fails() {
        assert_eq!(outcome(source_healthy, &facts()), Pass);
        let mut healing = facts();
        healing.source.health.as_mut().unwrap().healing_drives = 1;
        assert_eq!(outcome(source_healthy, &healing), Warn);
        let mut offline = facts();
        offline.source.info.as_mut().unwrap().offline_drives = 1;
        assert_eq!(outcome(source_healthy, &offline), Warn);
        let mut lost = facts();
        lost.source.health.as_mut().unwrap().cluster = false;
        assert_eq!(outcome(source_healthy, &lost), Fail);
        let mut silent = facts();
        silent.source.info = Err(down());
        assert_eq!(outcome(source_healthy, &silent), Unknown);
    }

    #[test]
    fn writable_rests_on_quorum_and_the_probe() {
        assert_eq!(outcome(site_writable, &facts()), Pass);
        let mut lost = facts();
        lost.target.health.as_mut().unwrap().cluster = false;
        assert_eq!(outcome(site_writable, &lost), Fail);
        let mut plan = facts();
        plan.replication_check = None;
        let said = site_writable(&plan).unwrap();
        assert_eq!((said.outcome, said.severity), (Unknown, Some(Severity::Should)));
        let mut silent = facts();
        silent.target.health = Err(down());
        assert_eq!(outcome(site_writable, &silent), Unknown);
        let mut broken = facts();
        broken.replication_check = Some(Err(refused("RemoteDestinationNotFoundError", 404)));
        assert_eq!(outcome(site_writable, &broken), Warn);
    }

    #[test]
    fn another_service_is_told_to_mirror() {
        assert_eq!(outcome(minio_server, &facts()), Pass);
        let mut other = facts();
        // A proxy in front of MinIO has a name of its own.
        other.target.health.as_mut().unwrap().is_minio = false;
        assert_eq!(outcome(minio_server, &other), Pass);
        other.target.info = Err(Failure::refused("it does not know the call"));
        let said = minio_server(&other).unwrap();
        assert_eq!(said.outcome, Fail);
        assert!(said.remedy.unwrap().contains("mc mirror --preserve a/data b/data"));
        let mut old = facts();
        old.source.resyncs = Err(refused("XMinioAdminVersionMismatch", 426));
        assert_eq!(outcome(minio_server, &old), Fail);
        let mut shy = facts();
        shy.source.info = Err(refused("AccessDenied", 403));
        assert_eq!(outcome(minio_server, &shy), Pass);
        let mut silent = facts();
        silent.source.health = Err(down());
        assert_eq!(outcome(minio_server, &silent), Unknown);
    }

    #[test]
    fn releases_must_be_one() {
        assert_eq!(outcome(versions_match, &facts()), Pass);
        let mut mixed = facts();
        mixed.target.info.as_mut().unwrap().nodes[0].release = "2024-01-01T00:00:00Z".into();
        assert_eq!(outcome(versions_match, &mixed), Fail);
        mixed.target.info = Err(down());
        assert_eq!(outcome(versions_match, &mixed), Unknown);
    }

    #[test]
    fn clocks_warn_then_fail() {
        assert_eq!(outcome(clock_skew, &facts()), Pass);
        for (skew, expected) in [(6.0, Warn), (-6.0, Warn), (901.0, Fail)] {
            let mut apart = facts();
            apart.target.skew = Some(skew);
            assert_eq!(outcome(clock_skew, &apart), expected, "{skew}");
        }
        let mut future = facts();
        future.source.inventory.as_mut().unwrap().future = 2;
        assert_eq!(outcome(clock_skew, &future), Warn);
        let mut silent = facts();
        silent.target.skew = None;
        assert_eq!(outcome(clock_skew, &silent), Unknown);
    }

    fn checked(why: Result<(), Failure>) -> Facts {
        Facts { replication_check: Some(why), ..facts() }
    }

    fn said(text: &str) -> Failure {
        Failure::Call {
            class: Class::Refused,
            what: text.into(),
            code: Some("RemoteDestinationNotFoundError".into()),
            status: Some(404),
        }
    }

    #[test]
    fn the_replication_check_tells_connection_from_credentials() {
        let both = |facts: &Facts| (outcome(target_online, facts), outcome(target_credentials, facts));
        assert_eq!(both(&checked(Ok(()))), (Pass, Pass));
        assert_eq!(both(&checked(Err(said("dial tcp: connection refused")))), (Fail, Unknown));
        assert_eq!(both(&checked(Err(said("The Access Key Id you provided does not exist")))), (Pass, Fail));
        assert_eq!(both(&checked(Err(refused("RemoteTargetNotVersionedError", 400)))), (Pass, Unknown));
        assert_eq!(both(&checked(Err(refused("InvalidRequest", 400)))), (Unknown, Fail));
        let mut before = checked(Err(refused("RemoteTargetNotVersionedError", 400)));
        before.asked.before_prepare = true;
        assert_eq!(both(&before), (Pass, Warn));
        assert_eq!(both(&checked(Err(down()))), (Unknown, Unknown));
        assert_eq!(both(&checked(Err(refused("AccessDenied", 403)))), (Unknown, Unknown));
    }

    #[test]
    fn without_a_probe_the_target_is_unknown_and_does_not_count() {
        let plan = Facts { replication_check: None, ..facts() };
        for check in [target_online, target_credentials] {
            let said = check(&plan).unwrap_err();
            assert_eq!((said.outcome, said.severity), (Unknown, Some(Severity::Should)));
        }
        let mut lost = facts();
        lost.asked.before_prepare = true;
        lost.target.exists = Ok(false);
        lost.replication_check = Some(Err(refused("RemoteDestinationNotFoundError", 404)));
        assert_eq!(outcome(target_online, &lost), Warn);
        assert_eq!(outcome(target_credentials, &lost), Warn);
    }
}
