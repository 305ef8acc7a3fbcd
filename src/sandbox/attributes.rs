//! What belongs to a version besides its bytes: tags, locks, encryption; its own, or its bucket's default.

use super::{
    objects::until,
    rules::Reason,
    site::{Cause, Site},
    store::{Bucket, Version},
    wire::{Answer, Ask, DECLARATION, NAMESPACE, Refused, Reply, element, millis},
    xml::Element,
};

/// `tagging`, `retention` and `legal-hold` of one version.
pub(super) fn attribute(site: &Site, ask: &Ask, name: &str) -> Answer {
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    let found = bucket.find(&ask.key, ask.version())?;
    let (id, marker) = (found.id.clone(), found.marker);
    if marker {
        return Err(Refused::new(
            405,
            "MethodNotAllowed",
            "The specified method is not allowed against this resource.",
        ));
    }
    if name != "tagging" && !bucket.lock {
        return Err(Refused::new(400, "InvalidRequest", "Bucket is missing ObjectLockConfiguration"));
    }
    let rules = bucket.rules();
    let version = bucket.find_mut(&ask.key, &id).ok_or_else(Refused::no_version)?;
    if ask.method == http::Method::GET {
        let reply = read_attribute(version, name)?;
        return Ok(if name == "tagging" && ask.version().is_some() && id != "null" {
            reply.with("x-amz-version-id", id)
        } else {
            reply
        });
    }
    if ask.method == http::Method::DELETE {
        version.tags.clear();
    } else {
        let root = Element::parse(&ask.body)?;
        let mut set = |header: &str, value: &str| match value {
            "" => drop(version.headers.remove(header)),
            value => drop(version.headers.insert(header.to_owned(), value.to_owned())),
        };
        match name {
            "retention" => {
                set("x-amz-object-lock-mode", root.text(&["Mode"]));
                set("x-amz-object-lock-retain-until-date", &until(root.text(&["RetainUntilDate"])));
            }
            "legal-hold" => set("x-amz-object-lock-legal-hold", root.text(&["Status"])),
            _ => version.tags = tags_of(&root),
        }
    }
    let arns = rules.targets(&ask.key, version, Reason::Written);
    version.replication.extend(arns.iter().map(|arn| (arn.clone(), "PENDING")));
    drop(store);
    site.queue(&ask.bucket, &ask.key, &id, &arns, Cause::Written);
    let reply = Reply::new(if ask.method == http::Method::DELETE { 204 } else { 200 });
    Ok(if name == "tagging" && id != "null" { reply.with("x-amz-version-id", id) } else { reply })
}

fn read_attribute(version: &Version, name: &str) -> Answer {
    let header = |name: &str| version.header(name).unwrap_or_default();
    let none = || {
        Refused::new(
            404,
            "NoSuchObjectLockConfiguration",
            "The specified object does not have a ObjectLock configuration",
        )
    };
    match name {
        "retention" if header("x-amz-object-lock-mode").is_empty() => Err(none()),
        "retention" => {
            let (mode, until) = (header("x-amz-object-lock-mode"), header("x-amz-object-lock-retain-until-date"));
            Ok(Reply::xml(format!(
                "{DECLARATION}<Retention {NAMESPACE}>{}{}</Retention>",
                element("Mode", mode),
                element("RetainUntilDate", until)
            )))
        }
        "legal-hold" if header("x-amz-object-lock-legal-hold").is_empty() => Err(none()),
        "legal-hold" => Ok(Reply::xml(format!(
            "{DECLARATION}<LegalHold {NAMESPACE}>{}</LegalHold>",
            element("Status", header("x-amz-object-lock-legal-hold"))
        ))),
        _ => {
            // Kept as they came, and told in the order of their keys.
            let mut tags = version.tags.clone();
            tags.sort();
            let tags: String = tags
                .iter()
                .map(|(key, value)| format!("<Tag>{}{}</Tag>", element("Key", key), element("Value", value)))
                .collect();
            Ok(Reply::xml(format!("{DECLARATION}<Tagging><TagSet>{tags}</TagSet></Tagging>")))
        }
    }
}

/// The bucket's default retention, and what came with the request.
pub(super) fn retain(site: &Site, bucket: &Bucket, version: &mut Version) {
    let Some(root) = bucket.document("object-lock").filter(|_| version.header("x-amz-object-lock-mode").is_none())
    else {
        return;
    };
    let rule = |name| root.text(&["Rule", "DefaultRetention", name]).to_owned();
    let days = rule("Days").parse::<i64>().ok().or_else(|| rule("Years").parse::<i64>().ok().map(|years| years * 365));
    if let Some(until) = days.and_then(|days| site.now().checked_add(jiff::SignedDuration::from_hours(24 * days)).ok())
    {
        version.headers.insert("x-amz-object-lock-mode".to_owned(), rule("Mode"));
        version.headers.insert("x-amz-object-lock-retain-until-date".to_owned(), millis(until));
    }
}

/// The bucket's default encryption; a key that the site lacks refuses the write.
pub(super) fn encrypt(site: &Site, bucket: &Bucket, version: &mut Version, new: bool) -> Result<(), Refused> {
    const KEY: &str = "x-amz-server-side-encryption-aws-kms-key-id";
    const ALGORITHM: &str = "x-amz-server-side-encryption";
    if let (None, Some(root)) = (version.header(ALGORITHM), bucket.document("encryption")) {
        let default = |name| root.text(&["Rule", "ApplyServerSideEncryptionByDefault", name]).to_owned();
        version.headers.insert(ALGORITHM.to_owned(), default("SSEAlgorithm"));
        if !default("KMSMasterKeyID").is_empty() {
            version.headers.insert(KEY.to_owned(), default("KMSMasterKeyID"));
        }
    }
    let Some(algorithm) = version.header(ALGORITHM).map(str::to_owned) else { return Ok(()) };
    let keys = site.kms_keys();
    let Some(first) = keys.first() else {
        return Err(Refused::new(501, "NotImplemented", "Server side encryption specified but KMS is not configured"));
    };
    if algorithm == "aws:kms" {
        let key = version.header(KEY).map_or(first.as_str(), |key| key.trim_start_matches("arn:aws:kms:")).to_owned();
        if !keys.contains(&key) {
            return Err(Refused::new(
                400,
                "kms:KeyNotFoundException",
                format!("key with given key ID {key} does not exist"),
            ));
        }
        version.headers.insert(KEY.to_owned(), key);
        if new && version.parts.is_empty() {
            // Of what the key encrypted, which is other bytes each time.
            version.etag = hex::encode(super::wire::random::<16>());
        }
    }
    Ok(())
}

pub(super) fn tags_of(root: &Element) -> Vec<(String, String)> {
    let all = root.at(&["TagSet"]).into_iter().flat_map(|set| set.all("Tag"));
    let mut all: Vec<_> = all.map(|tag| (tag.text(&["Key"]).to_owned(), tag.text(&["Value"]).to_owned())).collect();
    all.sort();
    all
}
