//! Finds the remote target of the source's bucket that is the target site, and the rules that lead to it.

use std::collections::{BTreeMap, BTreeSet};

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    event::Finding,
    failure::Failure,
    site::{
        Site,
        minio::RemoteTarget,
        s3::{Replication, Rule},
    },
    step::{Cx, Reads, Step},
    types::{BucketName, Role},
};

/// Lists a bucket's rules and remote targets, and finds the one that is the target.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplicationTargets {
    /// The healthy site.
    #[serde(default = "Role::source")]
    source: Role,
    /// The damaged site.
    #[serde(default = "Role::target")]
    target: Role,
    /// The bucket on the source.
    bucket: BucketName,
    /// The bucket on the target. Default: the same name.
    #[serde(default)]
    target_bucket: Option<BucketName>,
    /// Takes the remote target with this ARN, whatever its endpoint: for sites that see each other under other names
    /// than you do. Empty: as if it were left out. Default: found by endpoint or deployment id.
    #[serde(default, deserialize_with = "unless_empty")]
    arn: Option<String>,
}

/// The remote targets, and the one that was looked for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Output {
    /// ARN of the remote target that is the target; empty when none or more than one fits.
    arn: String,
    /// Ids of the rules that lead to it.
    rule_ids: Vec<String>,
    /// Every remote target of the bucket, with the rules that lead to it.
    targets: Vec<Target>,
    /// The bucket exists on the source.
    bucket_exists: bool,
    /// The source's bucket has a replication configuration.
    configured: bool,
    /// Under which names (`host:port`) the target was looked for.
    target_names: Vec<String>,
    /// The name a person gave the source.
    source_alias: String,
    /// The target's deployment id; `null` when it could not be asked.
    target_deployment_id: Option<String>,
}

/// A remote target with the rules that lead to it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of what the server says")]
pub(crate) struct Target {
    /// The name of the remote target on the source.
    arn: String,
    /// Whether it is the target that was looked for.
    fits: bool,
    /// Whether the source knows the ARN; false: a rule names a remote target that is not there.
    registered: bool,
    /// `host:port` as the source sees it.
    endpoint: String,
    /// Over TLS.
    secure: bool,
    /// Bucket on the remote target.
    bucket: String,
    /// Deployment id of the remote target, as far as the source knows it.
    deployment_id: Option<String>,
    /// What the source last saw of it; false until the first traffic, so it proves nothing.
    online: bool,
    /// Average latency of the link, seconds.
    latency: f64,
    /// Bandwidth limit, bytes a second; 0 is none.
    bandwidth_limit: u64,
    /// Writes wait for the replica.
    synchronous: bool,
    /// The last reset id asked for, also by a refused start.
    reset_id: Option<String>,
    /// The rules that lead to it, by priority.
    rules: Vec<TargetRule>,
}

/// A replication rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of what the server says")]
pub(crate) struct TargetRule {
    /// Its id.
    id: String,
    /// Whether it is enabled.
    enabled: bool,
    /// Its priority; the highest one wins.
    priority: i64,
    /// Only keys with this prefix; empty: all.
    prefix: String,
    /// Only objects with all of these tags.
    tags: BTreeMap<String, String>,
    /// Replicates new delete markers.
    delete_markers: bool,
    /// Replicates removals of versions, and, on a resync, existing delete markers.
    deletes: bool,
    /// Replicates what existed before the rule: without it nothing can be resynced.
    existing_objects: bool,
    /// Replicates changes of metadata made on the replica.
    replica_modifications: bool,
}

/// An input that was left empty names nothing.
fn unless_empty<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(d)?.filter(|arn| !arn.is_empty()))
}

impl Step for ReplicationTargets {
    const USES: &'static str = "replication.targets";
    const EXAMPLE: &'static str = r#"- id: targets
  uses: replication.targets
  with: { bucket: "{{ inputs.bucket }}" }"#;
    type Access = Reads;
    type Output = Output;

    fn describe(&self) -> String {
        format!("find the remote target of {}/{} that is {}/{}", self.source, self.bucket, self.target, self.wanted())
    }

    async fn run(&self, cx: &Cx<Reads>) -> Result<Output, Failure> {
        let source = cx.read(&self.source)?;
        let target = cx.read(&self.target)?;
        let identity = async {
            // A target that is down can still be found by its endpoint.
            match target.info().await {
                Ok(info) => Ok(Some(info)),
                Err(Failure::Call { .. }) => Ok(None),
                Err(other) => Err(other),
            }
        };
        let (exists, info) = tokio::join!(source.bucket_exists(&self.bucket), identity);
        let (exists, info) = (exists?, info?);
        let (replication, remote) = if exists {
            tokio::try_join!(source.replication(&self.bucket), source.remote_targets(&self.bucket))?
        } else {
            (None, Vec::new())
        };
        let mut names = names_of(&target);
        names.extend(info.iter().flat_map(|i| &i.nodes).filter_map(|node| {
            // Nodes give `host:port` without a scheme; the endpoint's own says which port is meant without one.
            address(&node.endpoint, target.wire.spec.endpoint.scheme_str() == Some("https"))
        }));
        let deployment_id = info.map(|i| i.deployment_id);
        let configured = replication.is_some();
        let mut targets = join(&replication.unwrap_or_default(), &remote);
        for row in &mut targets {
            row.fits = self.fits(row, &names, deployment_id.as_deref());
        }
        let chosen = chosen(&targets);
        Ok(Output {
            arn: chosen.map(|t| t.arn.clone()).unwrap_or_default(),
            rule_ids: chosen.map(|t| t.rules.iter().map(|r| r.id.clone()).collect()).unwrap_or_default(),
            bucket_exists: exists,
            configured,
            targets,
            target_names: names.into_iter().collect(),
            source_alias: source.alias().to_owned(),
            target_deployment_id: deployment_id,
        })
    }

    fn findings(&self, output: &Output) -> Vec<Finding> {
        let Self { source, bucket, .. } = self;
        if !output.bucket_exists {
            return vec![
                Finding::new("bucket_missing", format!("bucket `{bucket}` is missing on {source}"))
                    .remedy(direction(source)),
            ];
        }
        if !output.configured {
            return vec![
                Finding::new(
                    "not_configured",
                    format!("bucket `{bucket}` on {source} has no replication configuration"),
                )
                .remedy(direction(source)),
            ];
        }
        match chosen(&output.targets) {
            Some(target) if target.rules.is_empty() => {
                vec![Finding::new("no_rule", format!("no rule of bucket `{bucket}` leads to {}", line(target))).remedy(
                    format!(
                        "add one: `mc replicate add {}/{bucket} --remote-bucket …`, or name another `arn:`",
                        output.source_alias
                    ),
                )]
            }
            Some(_) => Vec::new(),
            None => vec![self.not_found(output)],
        }
    }
}

impl ReplicationTargets {
    fn wanted(&self) -> &BucketName {
        self.target_bucket.as_ref().unwrap_or(&self.bucket)
    }

    fn fits(&self, row: &Target, names: &BTreeSet<String>, deployment_id: Option<&str>) -> bool {
        if !row.registered {
            return false;
        }
        match &self.arn {
            Some(arn) => {
                row.arn == *arn && self.target_bucket.as_ref().is_none_or(|bucket| bucket.as_str() == row.bucket)
            }
            None => row.bucket == self.wanted().as_str() && is_site(row, names, deployment_id),
        }
    }

    fn not_found(&self, output: &Output) -> Finding {
        let fitting: Vec<_> = output.targets.iter().filter(|t| t.fits).collect();
        if fitting.len() > 1 {
            let list: Vec<_> = fitting.into_iter().map(line).collect();
            return Finding::new("ambiguous", format!("more than one remote target fits: {}", list.join("; ")))
                .remedy("name one of them with `arn:`");
        }
        let names: BTreeSet<_> = output.target_names.iter().cloned().collect();
        let other =
            output.targets.iter().find(|t| t.registered && is_site(t, &names, output.target_deployment_id.as_deref()));
        if let (None, Some(other)) = (&self.arn, other) {
            let text = format!(
                "{} is the target, but leads to bucket `{}` and not `{}`",
                other.arn,
                other.bucket,
                self.wanted()
            );
            return Finding::new("other_bucket", text)
                .remedy(format!("say `target_bucket: {}` if that is the bucket to rebuild", other.bucket));
        }
        let what = match &self.arn {
            Some(arn) => format!("no remote target of bucket `{}` fits the ARN {arn}", self.bucket),
            None => format!(
                "no remote target of bucket `{}` is {}/{}",
                self.bucket,
                output.target_names.join(" or "),
                self.wanted()
            ),
        };
        let list: Vec<_> = output.targets.iter().map(line).collect();
        let seen = if list.is_empty() { "it has none".to_owned() } else { format!("it has {}", list.join("; ")) };
        Finding::new("not_found", format!("{what}: {seen}")).remedy(format!(
            "if one of them is the target under another name, say `arn:`; otherwise {}",
            direction(&self.source)
        ))
    }
}

fn direction(source: &Role) -> String {
    format!(
        "is the direction right? {source} is the healthy site that is kept and sends; if it is, replication must be \
         set up first: `mc replicate add`"
    )
}

fn line(target: &Target) -> String {
    if target.registered {
        format!("{} → {}/{}", target.arn, target.endpoint, target.bucket)
    } else {
        format!("{} (named by a rule, unknown to the source)", target.arn)
    }
}

/// The one remote target that fits; when several do, the one that rules lead to.
fn chosen(targets: &[Target]) -> Option<&Target> {
    let fitting: Vec<_> = targets.iter().filter(|t| t.fits).collect();
    match fitting.as_slice() {
        [one] => Some(one),
        several => {
            let ruled: Vec<_> = several.iter().filter(|t| !t.rules.is_empty()).collect();
            match ruled.as_slice() {
                [one] => Some(one),
                _ => None,
            }
        }
    }
}

/// The ARN of the one remote target that is this bucket on this site.
pub(super) fn the_target(
    replication: &Replication,
    remote: &[RemoteTarget],
    bucket: &BucketName,
    names: &BTreeSet<String>,
    deployment_id: Option<&str>,
) -> Option<String> {
    let mut targets = join(replication, remote);
    for row in &mut targets {
        row.fits = row.registered && row.bucket == bucket.as_str() && is_site(row, names, deployment_id);
    }
    chosen(&targets).map(|target| target.arn.clone())
}

fn is_site(row: &Target, names: &BTreeSet<String>, deployment_id: Option<&str>) -> bool {
    let same_id = deployment_id.is_some_and(|id| !id.is_empty() && row.deployment_id.as_deref() == Some(id));
    same_id || address(&row.endpoint, row.secure).is_some_and(|a| names.contains(&a))
}

/// Rules and remote targets joined by ARN, in the order of the ARNs.
fn join(replication: &Replication, remote: &[RemoteTarget]) -> Vec<Target> {
    let mut rows: BTreeMap<&str, Target> = remote.iter().map(|t| (t.arn.as_str(), row(t))).collect();
    for rule in &replication.rules {
        let arn = arn_of(replication, rule);
        let entry = rows.entry(arn).or_insert_with(|| unregistered(arn));
        entry.rules.push(target_rule(rule));
    }
    let mut rows: Vec<_> = rows.into_values().collect();
    for row in &mut rows {
        row.rules.sort_by_key(|r| std::cmp::Reverse(r.priority));
    }
    rows
}

/// The ARN that a rule leads to: old configurations name it once for all rules.
pub(super) fn arn_of<'a>(replication: &'a Replication, rule: &'a Rule) -> &'a str {
    if replication.role.is_empty() { &rule.arn } else { &replication.role }
}

/// All names of a site that the operator gave: its endpoint and its nodes, as `host:port`.
pub(super) fn names_of(site: &Site<Reads>) -> BTreeSet<String> {
    std::iter::once(&site.wire.spec.endpoint).chain(&site.wire.spec.nodes).filter_map(uri_address).collect()
}

fn uri_address(uri: &Uri) -> Option<String> {
    let secure = uri.scheme_str() == Some("https");
    address(uri.authority()?.as_str(), secure)
}

/// `host:port` in one spelling: lower case, the port always said. `None` for an empty host.
pub(super) fn address(endpoint: &str, secure: bool) -> Option<String> {
    let endpoint = endpoint.rsplit_once('@').map_or(endpoint, |(_, host)| host);
    // An IPv6 address has colons of its own, within brackets.
    let port_at = endpoint.rfind(':').filter(|at| endpoint.rfind(']').is_none_or(|end| end < *at));
    let (host, port) = match port_at {
        Some(at) => (&endpoint[..at], endpoint[at + 1..].parse::<u16>().ok()?),
        None => (endpoint, if secure { 443 } else { 80 }),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then(|| format!("{host}:{port}"))
}

fn row(target: &RemoteTarget) -> Target {
    // Latencies are far below 2^53 ns.
    #[expect(clippy::cast_precision_loss, reason = "a latency of 104 days is none")]
    let latency = target.latency.avg as f64 / 1e9;
    Target {
        arn: target.arn.clone(),
        fits: false,
        registered: true,
        endpoint: target.endpoint.clone(),
        secure: target.secure,
        bucket: target.target_bucket.clone(),
        deployment_id: target.deployment_id.clone(),
        online: target.is_online,
        latency,
        bandwidth_limit: target.bandwidth_limit,
        synchronous: target.synchronous,
        reset_id: target.reset_id.clone(),
        rules: Vec::new(),
    }
}

fn unregistered(arn: &str) -> Target {
    Target {
        arn: arn.to_owned(),
        fits: false,
        registered: false,
        endpoint: String::new(),
        secure: false,
        bucket: String::new(),
        deployment_id: None,
        online: false,
        latency: 0.0,
        bandwidth_limit: 0,
        synchronous: false,
        reset_id: None,
        rules: Vec::new(),
    }
}

fn target_rule(rule: &Rule) -> TargetRule {
    TargetRule {
        id: rule.id.clone(),
        enabled: rule.enabled,
        priority: rule.priority,
        prefix: rule.prefix.clone(),
        tags: rule.tags.iter().cloned().collect(),
        delete_markers: rule.delete_markers,
        deletes: rule.deletes,
        existing_objects: rule.existing_objects,
        replica_modifications: rule.replica_modifications,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::minio::Latency;

    fn remote(arn: &str, endpoint: &str, bucket: &str) -> RemoteTarget {
        RemoteTarget {
            arn: arn.into(),
            source_bucket: "data".into(),
            endpoint: endpoint.into(),
            target_bucket: bucket.into(),
            secure: false,
            deployment_id: None,
            synchronous: false,
            bandwidth_limit: 0,
            is_online: false,
            reset_id: None,
            proxy_disabled: false,
            latency: Latency::default(),
        }
    }

    fn rules(arns: &[&str]) -> Replication {
        let rule = |(n, arn): (usize, &&str)| Rule { id: format!("r{n}"), arn: (*arn).into(), ..Rule::default() };
        Replication { role: String::new(), rules: arns.iter().enumerate().map(rule).collect() }
    }

    fn found(with: serde_json::Value, replication: &Replication, remote: &[RemoteTarget]) -> (Output, Vec<String>) {
        let step: ReplicationTargets = serde_json::from_value(with).unwrap();
        let names: BTreeSet<_> = ["dr.example:9000".to_owned()].into();
        let mut targets = join(replication, remote);
        for row in &mut targets {
            row.fits = step.fits(row, &names, Some("id-dr"));
        }
        let one = chosen(&targets).cloned();
        let output = Output {
            arn: one.as_ref().map(|t| t.arn.clone()).unwrap_or_default(),
            rule_ids: one.map(|t| t.rules.into_iter().map(|r| r.id).collect()).unwrap_or_default(),
            targets,
            bucket_exists: true,
            configured: true,
            target_names: names.into_iter().collect(),
            source_alias: "primary".into(),
            target_deployment_id: Some("id-dr".into()),
        };
        let ids = step.findings(&output).into_iter().map(|f| f.id).collect();
        (output, ids)
    }

    #[test]
    fn addresses_have_one_spelling() {
        for (endpoint, secure, expected) in [
            ("DR.example:9000", false, Some("dr.example:9000")),
            ("dr.example.", true, Some("dr.example:443")),
            ("dr.example", false, Some("dr.example:80")),
            ("[::1]:9000", false, Some("[::1]:9000")),
            ("[FE80::1]", true, Some("[fe80::1]:443")),
            (":9000", false, None),
            ("dr.example:no", false, None),
        ] {
            assert_eq!(address(endpoint, secure).as_deref(), expected, "{endpoint}");
        }
    }

    #[test]
    fn the_endpoint_finds_the_target_among_others() {
        let remote = [remote("a", "other.example:9000", "data"), remote("b", "DR.example:9000", "data")];
        let (output, ids) = found(serde_json::json!({"bucket": "data"}), &rules(&["a", "b", "b"]), &remote);
        assert_eq!((output.arn.as_str(), ids.len()), ("b", 0));
        assert_eq!(output.rule_ids, ["r1", "r2"]);
    }

    #[test]
    fn the_deployment_id_finds_a_target_with_another_name() {
        let mut one = remote("a", "10.0.0.7:9000", "data");
        one.deployment_id = Some("id-dr".into());
        let (output, ids) = found(serde_json::json!({"bucket": "data"}), &rules(&["a"]), &[one]);
        assert_eq!((output.arn.as_str(), ids.len()), ("a", 0));
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_candidates() {
        let data = serde_json::json!({"bucket": "data"});
        let other = [remote("a", "10.0.0.7:9000", "data")];
        assert_eq!(found(data.clone(), &rules(&["a"]), &other).1, ["not_found"]);
        assert_eq!(found(data.clone(), &rules(&["a"]), &[]).1, ["not_found"]);
        let copy = [remote("a", "dr.example:9000", "copy")];
        assert_eq!(found(data.clone(), &rules(&["a"]), &copy).1, ["other_bucket"]);
        let two = [remote("a", "dr.example:9000", "data"), remote("b", "dr.example:9000", "data")];
        assert_eq!(found(data.clone(), &rules(&["a", "b"]), &two).1, ["ambiguous"]);
        assert_eq!(found(data.clone(), &rules(&["b"]), &two).0.arn, "b");
        assert_eq!(found(data, &rules(&[]), &two[..1]).1, ["no_rule"]);
    }

    #[test]
    fn an_arn_and_a_bucket_name_override() {
        let remote = [remote("a", "10.0.0.7:9000", "copy")];
        let by_arn = found(serde_json::json!({"bucket": "data", "arn": "a"}), &rules(&["a"]), &remote);
        assert_eq!((by_arn.0.arn.as_str(), by_arn.1.len()), ("a", 0));
        let wrong = serde_json::json!({"bucket": "data", "arn": "a", "target_bucket": "data"});
        assert_eq!(found(wrong, &rules(&["a"]), &remote).1, ["not_found"]);
    }

    #[test]
    fn an_old_configuration_names_the_arn_once() {
        let old = Replication { role: "a".into(), ..rules(&["arn:aws:s3:::data"]) };
        let (output, _) = found(serde_json::json!({"bucket": "data"}), &old, &[remote("a", "dr.example:9000", "data")]);
        assert_eq!(output.rule_ids, ["r0"]);
    }

    #[test]
    fn a_missing_bucket_or_configuration_asks_about_the_direction() {
        let step: ReplicationTargets = serde_json::from_value(serde_json::json!({"bucket": "data"})).unwrap();
        let (mut output, _) = found(serde_json::json!({"bucket": "data"}), &rules(&[]), &[]);
        output.configured = false;
        assert_eq!(step.findings(&output)[0].id, "not_configured");
        output.bucket_exists = false;
        assert_eq!(step.findings(&output)[0].id, "bucket_missing");
        assert!(step.findings(&output)[0].remedy.as_ref().unwrap().contains("direction"));
    }
}
