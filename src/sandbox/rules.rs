//! Replication rules of a bucket, as far as they decide what is sent where.

use super::{store::Version, xml::Element};

#[derive(Clone, Debug, Default)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    enabled: bool,
    prefix: String,
    tags: Vec<(String, String)>,
    arn: String,
    delete_markers: bool,
    deletes: bool,
    existing: bool,
    replicas: bool,
}

/// Why a version would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Written,
    /// A delete marker was made.
    Marked,
    /// A version was removed for good.
    Purged,
    /// A resync walks by.
    Resync,
}

impl Rules {
    pub(super) fn of(root: &Element) -> Self {
        let role = root.text(&["Role"]).trim();
        Self(root.all("Rule").map(|rule| Rule::of(rule, role)).collect())
    }
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(super) fn names(&self, arn: &str) -> bool {
        self.0.iter().any(|rule| rule.arn == arn)
    }
    /// The first ARN, for calls that need any.
    pub(super) fn arns(&self) -> Vec<&str> {
        self.0.iter().filter(|rule| rule.enabled).map(|rule| rule.arn.as_str()).collect()
    }
    pub(super) fn existing_objects(&self, arn: &str) -> bool {
        self.0.iter().any(|rule| rule.arn == arn && rule.enabled && rule.existing)
    }
    /// The ARNs that a version goes to.
    pub(super) fn targets(&self, key: &str, version: &Version, reason: Reason) -> Vec<String> {
        let mut arns: Vec<_> =
            self.0.iter().filter(|rule| rule.sends(key, version, reason)).map(|rule| rule.arn.clone()).collect();
        arns.sort();
        arns.dedup();
        arns
    }
}

impl Rule {
    fn of(rule: &Element, role: &str) -> Self {
        let destination = rule.text(&["Destination", "Bucket"]).trim();
        let arn = if destination.starts_with("arn:minio:") || role.is_empty() { destination } else { role };
        let places = [rule.at(&["Filter", "And"]), rule.at(&["Filter"]), Some(rule)];
        let prefix = places.iter().flatten().map(|e| e.text(&["Prefix"])).find(|p| !p.is_empty()).unwrap_or_default();
        let tags = places.iter().flatten().flat_map(|e| e.all("Tag"));
        Self {
            enabled: rule.text(&["Status"]) == "Enabled",
            prefix: prefix.to_owned(),
            tags: tags.map(|tag| (tag.text(&["Key"]).to_owned(), tag.text(&["Value"]).to_owned())).collect(),
            arn: arn.to_owned(),
            delete_markers: rule.enabled(&["DeleteMarkerReplication"]),
            deletes: rule.enabled(&["DeleteReplication"]),
            existing: rule.enabled(&["ExistingObjectReplication"]),
            replicas: rule.enabled(&["SourceSelectionCriteria", "ReplicaModifications"]),
        }
    }

    fn sends(&self, key: &str, version: &Version, reason: Reason) -> bool {
        let fits =
            key.starts_with(&self.prefix) && (version.marker || self.tags.iter().all(|t| version.tags.contains(t)));
        let wanted = match reason {
            Reason::Written => !version.replica,
            Reason::Marked => self.delete_markers && !version.replica,
            Reason::Purged => self.deletes,
            // Existing delete markers come back only with `DeleteReplication`, whatever the other switch says.
            Reason::Resync => self.existing && (!version.marker || self.deletes) && (!version.replica || self.replicas),
        };
        self.enabled && fits && wanted
    }
}
