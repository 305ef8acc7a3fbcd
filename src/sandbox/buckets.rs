//! Buckets and their documents, which are kept and given back as they were sent.

use http::Method;

use super::{
    attributes,
    objects::remove,
    rules,
    site::Site,
    store::Bucket,
    wire::{Answer, Ask, DECLARATION, NAMESPACE, Refused, Reply, element},
    xml::Element,
};

/// A document of a bucket: its sub-resource, and the answer when there is none.
struct Document {
    name: &'static str,
    code: &'static str,
    message: &'static str,
}

const DOCUMENTS: &[Document] = &[
    Document { name: "versioning", code: "", message: "" },
    Document { name: "notification", code: "", message: "" },
    Document {
        name: "replication",
        code: "ReplicationConfigurationNotFoundError",
        message: "The replication configuration was not found",
    },
    Document {
        name: "lifecycle",
        code: "NoSuchLifecycleConfiguration",
        message: "The lifecycle configuration does not exist",
    },
    Document {
        name: "encryption",
        code: "ServerSideEncryptionConfigurationNotFoundError",
        message: "The server side encryption configuration was not found",
    },
    Document {
        name: "object-lock",
        code: "ObjectLockConfigurationNotFoundError",
        message: "Object Lock configuration does not exist for this bucket",
    },
    Document { name: "policy", code: "NoSuchBucketPolicy", message: "The bucket policy does not exist" },
    Document { name: "tagging", code: "NoSuchTagSet", message: "The TagSet does not exist" },
    Document { name: "cors", code: "NoSuchCORSConfiguration", message: "The CORS configuration does not exist" },
];

/// Whether the request is about a document, and the answer.
pub(super) fn document(site: &Site, ask: &Ask) -> Option<Answer> {
    let document = DOCUMENTS.iter().find(|document| ask.has(document.name))?;
    match ask.method {
        Method::GET => Some(read(site, ask, document)),
        Method::PUT => Some(write(site, ask, document)),
        Method::DELETE => Some(clear(site, ask, document)),
        _ => None,
    }
}

fn read(site: &Site, ask: &Ask, document: &Document) -> Answer {
    let store = site.store();
    let bucket = store.bucket(&ask.bucket).map_err(|refused| match document.name {
        // The server asks for the document before the bucket.
        "object-lock" => Refused::new(404, document.code, document.message),
        _ => refused,
    })?;
    match (bucket.documents.get(document.name), document.name) {
        (Some(text), "policy") => Ok(Reply::ok().with("content-type", "application/json").body(text.clone())),
        (Some(text), _) => Ok(Reply::xml(text.clone())),
        (None, "versioning") => Ok(Reply::xml(
            "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></VersioningConfiguration>",
        )),
        (None, "notification") => Ok(Reply::xml(
            "<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></NotificationConfiguration>",
        )),
        (None, _) => Err(Refused::new(404, document.code, document.message)),
    }
}

fn write(site: &Site, ask: &Ask, document: &Document) -> Answer {
    let text = String::from_utf8(ask.body.to_vec()).map_err(|_| Refused::malformed())?;
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    if document.name == "policy" {
        serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|_| Refused::new(400, "MalformedPolicy", "Policy has invalid resource."))?;
        bucket.documents.insert("policy".to_owned(), text);
        return Ok(Reply::new(204));
    }
    let root = Element::parse(text.as_bytes())?;
    match document.name {
        "cors" => {
            return Err(Refused::new(
                501,
                "NotImplemented",
                "A header you provided implies functionality that is not implemented",
            ));
        }
        "versioning" => versioning_fits(bucket, &root)?,
        "object-lock" if !bucket.lock => {
            return Err(Refused::new(
                409,
                "InvalidBucketState",
                "Object Lock configuration cannot be enabled on existing buckets",
            ));
        }
        "replication" => replication_fits(bucket, &root)?,
        _ => {}
    }
    let kept = match document.name {
        "replication" => rules::document(&root),
        "tagging" => tagging(&root),
        "encryption" => encryption(&root),
        _ => without_header(&text),
    };
    bucket.documents.insert(document.name.to_owned(), kept);
    Ok(Reply::ok())
}

fn versioning_fits(bucket: &Bucket, root: &Element) -> Result<(), Refused> {
    let suspends = root.text(&["Status"]) != "Enabled";
    if suspends && bucket.lock {
        return Err(Refused::new(
            400,
            "InvalidBucketState",
            "An Object Lock configuration is present on this bucket, versioning cannot be suspended.",
        ));
    }
    if suspends && !bucket.rules().is_empty() {
        return Err(Refused::new(
            400,
            "InvalidBucketState",
            "A replication configuration is present on this bucket, bucket wide versioning cannot be suspended.",
        ));
    }
    Ok(())
}

fn replication_fits(bucket: &Bucket, root: &Element) -> Result<(), Refused> {
    if bucket.versioning() != "Enabled" {
        return Err(Refused::new(
            400,
            "ReplicationSourceNotVersionedError",
            "The replication source does not have versioning enabled",
        ));
    }
    let named = rules::Rules::of(root);
    match named.arns().iter().find(|arn| !bucket.targets.iter().any(|target| target.arn == **arn)) {
        Some(_) => Err(Refused::new(404, "XMinioAdminRemoteTargetNotFoundError", "The remote target does not exist")),
        None => Ok(()),
    }
}

fn clear(site: &Site, ask: &Ask, document: &Document) -> Answer {
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    bucket.documents.remove(document.name);
    if document.name == "replication" {
        bucket.targets.clear();
        return Ok(Reply::ok());
    }
    Ok(Reply::new(204))
}

/// Tags as the server writes them, in the order of their keys.
fn tagging(root: &Element) -> String {
    let tags: String = attributes::tags_of(root)
        .iter()
        .map(|(key, value)| format!("<Tag>{}{}</Tag>", element("Key", key), element("Value", value)))
        .collect();
    format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")
}

/// A default encryption as the server writes it.
fn encryption(root: &Element) -> String {
    let default = |name| root.text(&["Rule", "ApplyServerSideEncryptionByDefault", name]);
    let key = Some(default("KMSMasterKeyID")).filter(|key| !key.is_empty()).map(|key| element("KMSMasterKeyID", key));
    format!(
        "<ServerSideEncryptionConfiguration {NAMESPACE}><Rule><ApplyServerSideEncryptionByDefault>{}{}\
         </ApplyServerSideEncryptionByDefault></Rule></ServerSideEncryptionConfiguration>",
        element("SSEAlgorithm", default("SSEAlgorithm")),
        key.unwrap_or_default()
    )
}

/// The server keeps no XML declaration.
fn without_header(text: &str) -> String {
    match text.strip_prefix("<?xml").and_then(|rest| rest.split_once("?>")) {
        Some((_, rest)) => rest.trim_start().to_owned(),
        None => text.to_owned(),
    }
}

pub(super) fn create(site: &Site, ask: &Ask) -> Answer {
    let name = &ask.bucket;
    let well_formed = (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if !well_formed {
        return Err(Refused::new(400, "InvalidBucketName", "The specified bucket is not valid."));
    }
    let mut store = site.store();
    if store.buckets.contains_key(name) {
        let message = "Your previous request to create the named bucket succeeded and you already own it.";
        return Err(Refused::new(409, "BucketAlreadyOwnedByYou", message));
    }
    let lock = ask.header("x-amz-bucket-object-lock-enabled").is_some_and(|v| v.eq_ignore_ascii_case("true"));
    store.buckets.insert(name.clone(), Bucket::new(site.now(), lock));
    Ok(Reply::ok().with("location", format!("/{name}")))
}

pub(super) fn exists(site: &Site, ask: &Ask) -> Answer {
    site.store().bucket(&ask.bucket)?;
    Ok(Reply::ok().with("content-type", "application/xml").with("content-length", "0"))
}

pub(super) fn location(site: &Site, ask: &Ask) -> Answer {
    site.store().bucket(&ask.bucket)?;
    Ok(Reply::xml(format!(
        "{DECLARATION}<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></LocationConstraint>"
    )))
}

pub(super) fn delete(site: &Site, ask: &Ask) -> Answer {
    let mut store = site.store();
    let forced = ask.header("x-minio-force-delete") == Some("true");
    if !store.bucket(&ask.bucket)?.keys.is_empty() && !forced {
        return Err(Refused::new(
            409,
            "BucketNotEmpty",
            "The bucket you tried to delete is not empty. You must delete all versions in the bucket.",
        ));
    }
    store.buckets.remove(&ask.bucket);
    Ok(Reply::new(204))
}

/// Deletes a list of versions in one request.
pub(super) fn delete_many(site: &Site, ask: &Ask) -> Answer {
    site.store().bucket(&ask.bucket)?;
    let root = Element::parse(&ask.body)?;
    let quiet = root.text(&["Quiet"]) == "true";
    let bypass = ask.header("x-amz-bypass-governance-retention") == Some("true");
    let mut answer = format!("{DECLARATION}<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for object in root.all("Object") {
        let key = object.text(&["Key"]);
        let id = Some(object.text(&["VersionId"])).filter(|id| !id.is_empty());
        let version = id.map(|id| element("VersionId", id)).unwrap_or_default();
        match remove(site, ask, key, id, bypass) {
            Ok(_) if quiet => {}
            Ok(deleted) => {
                answer += &format!("<Deleted>{}{version}", element("Key", key));
                if deleted.marker {
                    answer += "<DeleteMarker>true</DeleteMarker>";
                    answer += &deleted.id.map(|id| element("DeleteMarkerVersionId", &id)).unwrap_or_default();
                }
                answer += "</Deleted>";
            }
            Err(refused) => {
                let (code, message) = (element("Code", &refused.code), element("Message", &refused.message));
                answer += &format!("<Error>{code}{message}{}{version}</Error>", element("Key", key));
            }
        }
    }
    Ok(Reply::xml(answer + "</DeleteResult>"))
}
