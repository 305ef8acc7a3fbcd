//! Replication rules of a bucket, as far as they decide what is sent where.

use super::{store::Version, wire::element, xml::Element};

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

/// A configuration as the server writes it back: in its own order, and without the empty parts that clients send.
pub(super) fn document(root: &Element) -> String {
    let rules: String = root.all("Rule").map(rule_document).collect();
    format!("<ReplicationConfiguration>{rules}{}</ReplicationConfiguration>", element("Role", root.text(&["Role"])))
}

fn rule_document(rule: &Element) -> String {
    let text = |name: &str| element(name, rule.text(&[name]));
    let switch = |path: &[&str]| {
        let status = Some(rule.at(path).map_or("", |e| e.text(&["Status"]))).filter(|status| !status.is_empty());
        element("Status", status.unwrap_or("Disabled"))
    };
    let class = match rule.text(&["Destination", "StorageClass"]) {
        "" => String::new(),
        class => element("StorageClass", class),
    };
    let modifications = switch(&["SourceSelectionCriteria", "ReplicaModifications"]);
    let priority = Some(rule.text(&["Priority"])).filter(|n| !n.is_empty()).unwrap_or("0");
    format!(
        "<Rule>{}{}{}<DeleteMarkerReplication>{}</DeleteMarkerReplication><DeleteReplication>{}</DeleteReplication>\
         <Destination>{}{class}</Destination><SourceSelectionCriteria><ReplicaModifications>{modifications}\
         </ReplicaModifications></SourceSelectionCriteria><Filter>{}</Filter><ExistingObjectReplication>{}\
         </ExistingObjectReplication></Rule>",
        text("ID"),
        text("Status"),
        element("Priority", priority),
        switch(&["DeleteMarkerReplication"]),
        switch(&["DeleteReplication"]),
        element("Bucket", rule.text(&["Destination", "Bucket"])),
        filter_document(rule),
        switch(&["ExistingObjectReplication"]),
    )
}

fn filter_document(rule: &Element) -> String {
    let tags = |place: &[&str]| -> String {
        let all = rule.at(place).into_iter().flat_map(|e| e.all("Tag")).filter(|tag| !tag.text(&["Key"]).is_empty());
        let pair =
            |tag: &Element| format!("{}{}", element("Key", tag.text(&["Key"])), element("Value", tag.text(&["Value"])));
        all.map(|tag| format!("<Tag>{}</Tag>", pair(tag))).collect()
    };
    let (both, prefix) = (tags(&["Filter", "And"]), rule.text(&["Filter", "And", "Prefix"]));
    if !both.is_empty() || !prefix.is_empty() {
        return format!("<And>{}{both}</And>", element("Prefix", prefix));
    }
    match tags(&["Filter"]) {
        tag if tag.is_empty() => element("Prefix", rule.text(&["Filter", "Prefix"])),
        tag => tag,
    }
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
    /// Whether a resync to it could send anything. A start looks at the switches first, and at this later.
    pub(super) fn resyncs(&self, arn: &str) -> bool {
        self.0.iter().any(|rule| rule.arn == arn && rule.enabled && rule.existing)
    }
    pub(super) fn existing_objects(&self, arn: &str) -> bool {
        self.0.iter().any(|rule| rule.arn == arn && rule.existing)
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
        // Clients send an empty tag when they mean none.
        let tags = places.iter().flatten().flat_map(|e| e.all("Tag")).filter(|tag| !tag.text(&["Key"]).is_empty());
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
