//! The short way out of a check when a fact that it needs could not be had: unknown, with the reason.

use super::{
    checks::{CheckId, Said, unknown, warn},
    facts::{Fact, Facts, SiteFacts},
};
use crate::{
    failure::{Class, Failure},
    steps::site_check::bad_credentials,
};

/// A fact about a site.
pub(super) fn told<'a, T>(site: &SiteFacts, fact: &'a Fact<T>, what: &str) -> Result<&'a T, Said> {
    fact.as_ref().map_err(|why| not_told(site, what, why))
}

impl Facts {
    /// A fact about the site's bucket, which may be missing: before `bucket.prepare`, that of the target may be.
    pub(super) fn of_bucket<'a, T>(&self, site: &SiteFacts, fact: &'a Fact<T>, what: &str) -> Result<&'a T, Said> {
        if site.bucket_missing() {
            return Err(self.without_bucket(site, what));
        }
        told(site, fact, what)
    }

    pub(super) fn without_bucket(&self, site: &SiteFacts, what: &str) -> Said {
        if self.lost_bucket_is_expected() && site.role == self.asked.target {
            return warn(
                format!("{what}: not asked while target `{}` has no bucket `{}`", site.alias, self.asked.target_bucket),
                "`bucket.prepare` creates it; this is asked again afterwards",
            );
        }
        let (because, remedy) = if site.role == self.asked.target {
            (CheckId::VersioningEnabled, "`bucket.prepare` creates the target's bucket")
        } else {
            (CheckId::Direction, "see the check `direction`")
        };
        unknown(format!("{what}: the bucket is missing on {} `{}`", site.role, site.alias), remedy).because(because)
    }

    /// The target's bucket is missing, and it is the time for that.
    pub(super) fn lost_bucket_is_expected(&self) -> bool {
        self.asked.before_prepare && self.target.bucket_missing()
    }
}

fn not_told(site: &SiteFacts, what: &str, why: &Failure) -> Said {
    let detail = format!("{what} could not be told: {why}");
    if site.health.is_err() {
        return unknown(detail, format!("bring `{}` back, then run this again", site.alias))
            .because(CheckId::SiteOnline);
    }
    if site.is_not_minio() {
        return unknown(detail, "see the check `minio_server`").because(CheckId::MinioServer);
    }
    if bad_credentials(why) {
        let remedy = format!("give valid credentials for `{}`", site.alias);
        return unknown(detail, remedy).because(CheckId::Permissions);
    }
    if denied(why) {
        let remedy =
            format!("let the account of `{}` ask for it: the check `permissions` names the actions", site.alias);
        return unknown(detail, remedy).because(CheckId::Permissions);
    }
    let remedy = match why.class() {
        Some(Class::Unreachable | Class::TimedOut) => {
            format!("look at the network to `{}`, then run this again", site.alias)
        }
        Some(Class::Throttled) => format!("`{}` is busy: run this again later", site.alias),
        Some(Class::Refused | Class::Lost) | None => format!("look at the log of `{}`", site.alias),
    };
    unknown(detail, remedy)
}

/// Whether a site said that the account may not do this, while its credentials are good.
pub(in crate::steps) fn denied(failure: &Failure) -> bool {
    match failure.code() {
        Some(code) => matches!(code, "AccessDenied" | "XMinioAdminAccessDenied"),
        // The answer to a HEAD has no body that could say more.
        None => failure.status() == Some(403),
    }
}
