//! The bucket documents that a generic SDK would drop fields of: versioning, replication, lifecycle; read and
//! written raw.

use http::Method;

use super::{
    Wire,
    s3::{LifecycleRule, Replication, Rule, Versioning},
    sign::Ask,
    xml::{self, Element},
};
use crate::{failure::Failure, types::BucketName};

impl Wire {
    pub(crate) async fn versioning(&self, bucket: &BucketName) -> Result<Versioning, Failure> {
        let what = format!("tell the versioning of `{bucket}`");
        let ask = Ask::bucket(Method::GET, bucket, "versioning", what);
        let root = self.document(&ask, "VersioningConfiguration").await?;
        versioning_of(&root).map_err(|why| self.asked(&ask.what).unreadable(&why))
    }

    pub(crate) async fn set_versioning(&self, bucket: &BucketName, versioning: &Versioning) -> Result<(), Failure> {
        let ask = Ask::bucket(Method::PUT, bucket, "versioning", format!("set the versioning of `{bucket}`"))
            .with_body(versioning_document(versioning));
        self.ask(&ask).await.map(drop)
    }

    pub(crate) async fn replication(&self, bucket: &BucketName) -> Result<Option<Replication>, Failure> {
        let what = format!("tell the replication rules of `{bucket}`");
        let ask = Ask::bucket(Method::GET, bucket, "replication", what);
        match self.document(&ask, "ReplicationConfiguration").await {
            Ok(root) => Ok(Some(replication_of(&root))),
            Err(failure) if failure.code() == Some("ReplicationConfigurationNotFoundError") => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    pub(crate) async fn lifecycle(&self, bucket: &BucketName) -> Result<Vec<LifecycleRule>, Failure> {
        let what = format!("tell the lifecycle rules of `{bucket}`");
        let ask = Ask::bucket(Method::GET, bucket, "lifecycle", what);
        match self.document(&ask, "LifecycleConfiguration").await {
            Ok(root) => Ok(root.all("Rule").map(lifecycle_rule).collect()),
            Err(failure) if failure.code() == Some("NoSuchLifecycleConfiguration") => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    /// An XML answer, whose root must have this name: an unknown sub-resource is answered with a listing.
    async fn document(&self, ask: &Ask, root: &str) -> Result<Element, Failure> {
        let reply = self.ask(ask).await?;
        match Element::parse(&reply.body) {
            Ok(element) if element.name == root => Ok(element),
            Ok(_) => Err(self.asked(&ask.what).unknown_call()),
            Err(why) => Err(self.asked(&ask.what).unreadable(&why)),
        }
    }
}

fn versioning_of(root: &Element) -> Result<Versioning, String> {
    let enabled = match root.text_at(&["Status"]) {
        "Enabled" => true,
        // Never set: the document is empty.
        "Suspended" | "" => false,
        other => return Err(format!("`{other}` is no state of versioning")),
    };
    Ok(Versioning {
        enabled,
        // MinIO writes one element around each prefix, but reads several in one as well.
        excluded_prefixes: root.all("ExcludedPrefixes").flat_map(|e| e.all("Prefix")).map(|p| p.text.clone()).collect(),
        exclude_folders: root.text_at(&["ExcludeFolders"]) == "true",
    })
}

fn versioning_document(versioning: &Versioning) -> String {
    let status = if versioning.enabled { "Enabled" } else { "Suspended" };
    let mut prefixes = String::new();
    for prefix in &versioning.excluded_prefixes {
        prefixes += "<ExcludedPrefixes>";
        prefixes += &xml::element("Prefix", prefix);
        prefixes += "</ExcludedPrefixes>";
    }
    let folders = if versioning.exclude_folders { "<ExcludeFolders>true</ExcludeFolders>" } else { "" };
    format!(
        "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>{status}</Status>\
         {prefixes}{folders}</VersioningConfiguration>"
    )
}

fn replication_of(root: &Element) -> Replication {
    let role = root.text_at(&["Role"]).trim().to_owned();
    let rules = root.all("Rule").map(|rule| replication_rule(rule, &role)).collect();
    Replication { role, rules }
}

fn replication_rule(rule: &Element, old_arn: &str) -> Rule {
    let destination = rule.text_at(&["Destination", "Bucket"]).trim();
    // Old configurations name the target in `Role`, and an ARN of the AWS kind in each rule.
    let arn = if is_target(destination) || !is_target(old_arn) { destination } else { old_arn };
    let (prefix, tags) = filter(rule);
    Rule {
        id: rule.text_at(&["ID"]).to_owned(),
        enabled: rule.text_at(&["Status"]) == "Enabled",
        priority: rule.text_at(&["Priority"]).trim().parse().unwrap_or(0),
        prefix,
        tags,
        arn: arn.to_owned(),
        delete_markers: rule.enabled(&["DeleteMarkerReplication"]),
        deletes: rule.enabled(&["DeleteReplication"]),
        existing_objects: rule.enabled(&["ExistingObjectReplication"]),
        replica_modifications: rule.enabled(&["SourceSelectionCriteria", "ReplicaModifications"]),
    }
}

fn is_target(arn: &str) -> bool {
    arn.starts_with("arn:minio:replication:")
}

/// Prefix and tags that a rule asks for, wherever they stand.
fn filter(rule: &Element) -> (String, Vec<(String, String)>) {
    let places = [rule.at(&["Filter", "And"]), rule.child("Filter"), Some(rule)];
    let prefix = places.iter().flatten().map(|e| e.text_at(&["Prefix"])).find(|p| !p.is_empty()).unwrap_or_default();
    let tags = places
        .iter()
        .flatten()
        .flat_map(|e| e.all("Tag"))
        .map(|tag| (tag.text_at(&["Key"]).to_owned(), tag.text_at(&["Value"]).to_owned()))
        .collect();
    (prefix.to_owned(), tags)
}

fn lifecycle_rule(rule: &Element) -> LifecycleRule {
    let (prefix, tags) = filter(rule);
    LifecycleRule {
        id: rule.text_at(&["ID"]).to_owned(),
        enabled: rule.text_at(&["Status"]) == "Enabled",
        prefix,
        tags,
        removes: removals(rule),
        moves: moves(rule),
    }
}

fn removals(rule: &Element) -> Vec<String> {
    let mut all = Vec::new();
    for expiration in rule.all("Expiration") {
        let what = match expiration.text_at(&["ExpiredObjectAllVersions"]) {
            "true" => "all versions",
            _ => "current versions",
        };
        all.extend(when(expiration, "Days", "Date").map(|when| format!("{what} {when}")));
        if expiration.text_at(&["ExpiredObjectDeleteMarker"]) == "true" {
            all.push("delete markers with no version below them".into());
        }
    }
    for expiration in rule.all("NoncurrentVersionExpiration") {
        all.extend(noncurrent(expiration));
    }
    for expiration in rule.all("DelMarkerExpiration") {
        all.extend(when(expiration, "Days", "Date").map(|when| format!("delete markers {when}")));
    }
    for expiration in rule.all("AllVersionsExpiration") {
        all.extend(when(expiration, "Days", "Date").map(|when| format!("all versions {when}")));
    }
    all
}

fn moves(rule: &Element) -> Vec<String> {
    let current = rule.all("Transition").filter_map(|transition| {
        let when = when(transition, "Days", "Date")?;
        Some(format!("current versions {when} to {}", transition.text_at(&["StorageClass"])))
    });
    let noncurrent = rule.all("NoncurrentVersionTransition").filter_map(|transition| {
        Some(format!("{} to {}", noncurrent(transition)?, transition.text_at(&["StorageClass"])))
    });
    current.chain(noncurrent).collect()
}

fn noncurrent(action: &Element) -> Option<String> {
    let kept = Some(action.text_at(&["NewerNoncurrentVersions"])).filter(|n| !matches!(*n, "" | "0"));
    match (when(action, "NoncurrentDays", "Date"), kept) {
        (Some(when), None) => Some(format!("noncurrent versions {when}")),
        (None, Some(kept)) => Some(format!("noncurrent versions but the newest {kept}")),
        (Some(when), Some(kept)) => Some(format!("noncurrent versions but the newest {kept}, {when}")),
        (None, None) => None,
    }
}

/// `after 30 days`, `from 2026-12-01T00:00:00Z on`; a period of 0 days is none in MinIO, save for transitions.
fn when(action: &Element, days: &str, date: &str) -> Option<String> {
    let transition = action.name.ends_with("Transition");
    match (action.text_at(&[days]), action.text_at(&[date])) {
        ("0", _) if transition => Some("at once".into()),
        ("" | "0", "") => None,
        ("" | "0", date) => Some(format!("from {date} on")),
        ("1", _) => Some("after 1 day".into()),
        (days, _) => Some(format!("after {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_garbled_state_of_versioning_is_none() {
        let garbled = b"<VersioningConfiguration><Status>Enablee</Status></VersioningConfiguration>";
        assert!(versioning_of(&Element::parse(garbled).unwrap()).is_err());
        assert!(!versioning_of(&Element::parse(b"<VersioningConfiguration/>").unwrap()).unwrap().enabled);
    }

    #[test]
    fn excluded_prefixes_and_folders_survive_reading_and_writing() {
        let read = |document: &str| versioning_of(&Element::parse(document.as_bytes()).unwrap()).unwrap();
        let recorded = "<VersioningConfiguration><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix>\
                        </ExcludedPrefixes><ExcludedPrefixes><Prefix>cache/</Prefix></ExcludedPrefixes>\
                        <ExcludeFolders>true</ExcludeFolders></VersioningConfiguration>";
        let versioning = read(recorded);
        assert_eq!(
            versioning,
            Versioning {
                enabled: true,
                excluded_prefixes: vec!["tmp/".into(), "cache/".into()],
                exclude_folders: true
            }
        );
        let strange = Versioning { excluded_prefixes: vec!["a&<b>".into()], ..Versioning::default() };
        for versioning in [versioning, strange] {
            assert_eq!(read(&versioning_document(&versioning)), versioning);
        }
        assert_eq!(read("<VersioningConfiguration/>"), Versioning::default());
    }

    #[test]
    fn a_replication_rule_is_read_with_all_its_switches() {
        let recorded = "<ReplicationConfiguration><Rule><ID>dc28</ID><Status>Enabled</Status><Priority>3</Priority>\
            <DeleteMarkerReplication><Status>Enabled</Status></DeleteMarkerReplication><DeleteReplication><Status>\
            Disabled</Status></DeleteReplication><Destination><Bucket>arn:minio:replication::153e:data</Bucket>\
            </Destination><SourceSelectionCriteria><ReplicaModifications><Status>Enabled</Status>\
            </ReplicaModifications></SourceSelectionCriteria><Filter><And><Prefix>in/</Prefix><Tag><Key>k</Key>\
            <Value>v</Value></Tag></And></Filter><ExistingObjectReplication><Status>Enabled</Status>\
            </ExistingObjectReplication></Rule><Role></Role></ReplicationConfiguration>";
        let read = replication_of(&Element::parse(recorded.as_bytes()).unwrap());
        assert_eq!(read.role, "");
        assert_eq!(
            read.rules,
            [Rule {
                id: "dc28".into(),
                enabled: true,
                priority: 3,
                prefix: "in/".into(),
                tags: vec![("k".into(), "v".into())],
                arn: "arn:minio:replication::153e:data".into(),
                delete_markers: true,
                deletes: false,
                existing_objects: true,
                replica_modifications: true,
            }]
        );
    }

    #[test]
    fn an_old_configuration_gives_its_role_to_each_rule() {
        let old = b"<ReplicationConfiguration><Role>arn:minio:replication::1:data</Role><Rule><Status>Enabled</Status>\
            <Destination><Bucket>arn:aws:s3:::data</Bucket></Destination></Rule></ReplicationConfiguration>";
        let read = replication_of(&Element::parse(old).unwrap());
        assert_eq!(read.rules[0].arn, "arn:minio:replication::1:data");
    }

    #[test]
    fn every_action_that_removes_is_told() {
        let document = b"<LifecycleConfiguration><Rule><ID>a</ID><Status>Enabled</Status><Filter><Prefix>in/</Prefix>\
            </Filter><Expiration><Days>30</Days><ExpiredObjectAllVersions>true</ExpiredObjectAllVersions></Expiration>\
            <NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays><NewerNoncurrentVersions>2\
            </NewerNoncurrentVersions></NoncurrentVersionExpiration><DelMarkerExpiration><Days>7</Days>\
            </DelMarkerExpiration></Rule><Rule><Status>Disabled</Status><Expiration><Date>2026-12-01T00:00:00Z</Date>\
            <ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration><Transition><Days>0</Days>\
            <StorageClass>COLD</StorageClass></Transition></Rule></LifecycleConfiguration>";
        let root = Element::parse(document).unwrap();
        let rules: Vec<_> = root.all("Rule").map(lifecycle_rule).collect();
        assert_eq!(
            rules[0].removes,
            [
                "all versions after 30 days",
                "noncurrent versions but the newest 2, after 1 day",
                "delete markers after 7 days"
            ]
        );
        assert_eq!((rules[0].prefix.as_str(), rules[0].enabled), ("in/", true));
        assert_eq!(
            rules[1].removes,
            ["current versions from 2026-12-01T00:00:00Z on", "delete markers with no version below them"]
        );
        assert_eq!(rules[1].moves, ["current versions at once to COLD"]);
        assert!(!rules[1].enabled);
    }
}
