//! Checks one site: health, release, drives, clock, credentials.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Finding,
    failure::Failure,
    site::minio::{Account, Health, Info},
    step::{Cx, Reads, Step},
    types::Role,
};

/// Checks one site: that it is a MinIO with its quorum, and takes the credentials.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SiteCheck {
    /// The site to check.
    role: Role,
}

/// What the site said.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// The name a person gave the site.
    alias: String,
    /// Where it was asked, `http(s)://host[:port]`.
    endpoint: String,
    /// The process answers.
    live: bool,
    /// The cluster has its quorum for reads and writes.
    quorum: bool,
    /// What the cluster says when it is not well, e.g. `offline`.
    server_status: Option<String>,
    /// The server is MinIO.
    minio: bool,
    /// The server took the credentials; `null` when that could not be told.
    credentials_valid: Option<bool>,
    /// The account behind the credentials.
    account: Option<String>,
    /// Id of the deployment; `null` without leave to ask (`admin:ServerInfo`).
    deployment_id: Option<String>,
    /// Releases of the nodes, each once.
    releases: Vec<String>,
    /// How many nodes the deployment has.
    nodes: Option<u64>,
    /// Drives that answer.
    online_drives: Option<u64>,
    /// Drives that do not answer.
    offline_drives: Option<u64>,
    /// Drives that are being healed.
    healing_drives: u64,
    /// Raw free space, before erasure coding, bytes.
    free_bytes: Option<u64>,
    /// How far the server's clock is ahead of this machine's, seconds (to the second); negative: behind.
    clock_skew: Option<f64>,
    /// Why the server could not be asked about itself or the account, if so.
    not_told: Option<String>,
}

impl Step for SiteCheck {
    const USES: &'static str = "site.check";
    const EXAMPLE: &'static str = r"- id: target_is_well
  uses: site.check
  with: { role: target }";
    type Access = Reads;
    type Output = Output;

    fn describe(&self) -> String {
        format!("check the health and the credentials of {}", self.role)
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Output, Failure> {
        let site = cx.read(&self.role)?;
        let before = cx.now();
        let health = site.health().await?;
        let skew = health.server_time.map(|theirs| seconds_ahead(theirs, before, cx.now()));
        let (info, account) = tokio::join!(site.info(), site.account());
        let output = judged(&health, info, account)?;
        Ok(Output { alias: site.alias().to_owned(), endpoint: site.endpoint(), clock_skew: skew, ..output })
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut found = |id: &str, text: String, remedy: String| {
            findings.push(Finding::new(id, text).remedy(remedy));
        };
        let Output { alias, endpoint, .. } = output;
        if !output.minio {
            found(
                "not_minio",
                format!("`{alias}` at {endpoint} does not say that it is MinIO"),
                "check the endpoint; for another S3 service use `mc mirror` instead of a resync".into(),
            );
        }
        if !output.live {
            found(
                "not_live",
                format!("`{alias}` at {endpoint} is not live"),
                format!("look at the server's log, and at `mc admin info {alias}`"),
            );
        }
        if !output.quorum {
            let status = output.server_status.as_deref().unwrap_or("no quorum");
            found(
                "no_quorum",
                format!("the cluster of `{alias}` is not well: {status}"),
                format!("bring back its nodes and drives: `mc admin info {alias}`"),
            );
        }
        match output.credentials_valid {
            Some(true) => {}
            Some(false) => found(
                "credentials",
                format!("`{alias}` does not take the credentials: {}", reason(output)),
                format!("give the site valid credentials, and try them: `mc admin info {alias}`"),
            ),
            None => found(
                "credentials",
                format!("whether `{alias}` takes the credentials could not be told: {}", reason(output)),
                format!("try `mc admin info {alias}`"),
            ),
        }
        findings
    }
}

fn reason(output: &Output) -> &str {
    output.not_told.as_deref().unwrap_or("no reason given")
}

/// How far a server's clock is ahead of ours, in seconds, when it answered between two of our times.
pub(super) fn seconds_ahead(theirs: Timestamp, before: Timestamp, after: Timestamp) -> f64 {
    let middle = before.as_millisecond().midpoint(after.as_millisecond());
    // `Date` has cut off part of a second, half of one on average.
    let theirs = theirs.as_millisecond() + 500;
    // No clock is off by so much that the difference does not fit a number of 53 bits.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds between two clocks")]
    let ahead = (theirs - middle) as f64 / 1000.0;
    ahead
}

/// Whether a failure says that the credentials themselves are bad.
pub(super) fn bad_credentials(failure: &Failure) -> bool {
    matches!(
        failure.code(),
        Some("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidTokenId" | "XMinioInvalidToken")
    )
}

fn judged(health: &Health, info: Result<Info, Failure>, account: Result<Account, Failure>) -> Result<Output, Failure> {
    let mut not_told = None;
    let (credentials_valid, name) = match account {
        Ok(account) => (Some(true), Some(account.name)),
        // Every account may ask about itself, so a denial here still means that it was recognised.
        Err(failure) if super::replication_preconditions::denied(&failure) => {
            not_told = Some(failure.to_string());
            (Some(true), None)
        }
        Err(failure @ Failure::Call { .. }) => {
            not_told = Some(failure.to_string());
            (bad_credentials(&failure).then_some(false), None)
        }
        Err(other) => return Err(other),
    };
    let info = match info {
        Ok(info) => Some(info),
        Err(failure @ Failure::Call { .. }) => {
            not_told.get_or_insert(failure.to_string());
            None
        }
        Err(other) => return Err(other),
    };
    Ok(Output {
        alias: String::new(),
        endpoint: String::new(),
        live: health.live,
        quorum: health.cluster,
        server_status: health.server_status.clone(),
        minio: health.is_minio,
        credentials_valid,
        account: name,
        deployment_id: info.as_ref().map(|i| i.deployment_id.clone()),
        releases: info.as_ref().map(Info::releases).unwrap_or_default(),
        nodes: info.as_ref().map(|i| i.nodes.len() as u64),
        online_drives: info.as_ref().map(|i| i.online_drives),
        offline_drives: info.as_ref().map(|i| i.offline_drives),
        healing_drives: health.healing_drives,
        free_bytes: info.as_ref().map(|i| i.free_bytes),
        clock_skew: None,
        not_told,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn well() -> Health {
        Health { live: true, cluster: true, server_status: None, healing_drives: 0, is_minio: true, server_time: None }
    }

    fn ids(health: &Health, account: Result<Account, Failure>) -> Vec<String> {
        let output = judged(health, Err(denied("AccessDenied")), account).unwrap();
        SiteCheck { role: Role::target() }.findings(&output).into_iter().map(|f| f.id).collect()
    }

    fn denied(code: &str) -> Failure {
        Failure::Call { class: Class::Refused, what: "no".into(), code: Some(code.into()), status: Some(403) }
    }

    fn account() -> Result<Account, Failure> {
        Ok(Account { name: "ada".into(), policy: serde_json::Value::Null })
    }

    #[test]
    fn a_well_site_holds_even_without_leave_to_see_its_drives() {
        assert_eq!(ids(&well(), account()), Vec::<String>::new());
    }

    #[test]
    fn each_trouble_is_named() {
        let ill = Health { live: false, cluster: false, is_minio: false, ..well() };
        assert_eq!(ids(&ill, account()), ["not_minio", "not_live", "no_quorum"]);
        assert_eq!(ids(&well(), Err(denied("InvalidAccessKeyId"))), ["credentials"]);
        assert_eq!(ids(&well(), Err(Failure::timed_out("no answer in 10 s"))), ["credentials"]);
        assert_eq!(ids(&well(), Err(denied("AccessDenied"))), Vec::<String>::new());
    }

    #[test]
    fn skew_is_measured_against_the_middle_of_the_request() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let ahead = seconds_ahead(at("2026-11-23T18:00:10Z"), at("2026-11-23T18:00:00Z"), at("2026-11-23T18:00:01Z"));
        assert!((ahead - 10.0).abs() < 0.001, "{ahead}");
    }
}
