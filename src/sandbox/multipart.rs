//! Multipart uploads, kept in memory until they are complete.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use md5::{Digest, Md5};
use percent_encoding::utf8_percent_encode;

use super::{
    objects::{self, kept, query_pairs},
    peer::PATH,
    site::Site,
    store::{Part, Upload, Version},
    wire::{Answer, Ask, DECLARATION, NAMESPACE, Refused, Reply, element, millis, uuid},
    xml::Element,
};

const NO_PART: &str = "One or more of the specified parts could not be found.  The part may not have been uploaded, \
                       or the specified entity tag may not match the part's entity tag.";
/// Whose an upload is: the id of every owner.
const OWNER: &str = "02d6176db174dc93cb1b899f7c6078f08654445fe8cf1b6ce98d8855f66bdbf4";
/// Uploads and parts on one page.
const PAGE: usize = 10_000;

pub(super) fn begin(site: &Site, ask: &Ask) -> Answer {
    site.may_write(ask)?;
    let upload = Upload {
        key: ask.key.clone(),
        begun: site.now(),
        headers: kept(&ask.headers),
        tags: query_pairs(ask.header("x-amz-tagging").unwrap_or_default()),
        parts: std::collections::BTreeMap::new(),
    };
    let id = format!("{}.{}x{}", site.deployment, uuid(), upload.begun.as_nanosecond());
    let id = BASE64_URL_SAFE_NO_PAD.encode(id);
    site.store().bucket_mut(&ask.bucket)?.uploads.insert(id.clone(), upload);
    Ok(Reply::xml(format!(
        "{DECLARATION}<InitiateMultipartUploadResult {NAMESPACE}>{}{}<UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
        element("Bucket", &ask.bucket),
        element("Key", &ask.key)
    )))
}

pub(super) fn put_part(site: &Site, ask: &Ask) -> Answer {
    let number = ask.query("partNumber").and_then(|n| n.parse().ok()).filter(|n| (1..=10_000).contains(n));
    let number =
        number.ok_or_else(|| Refused::new(400, "InvalidArgument", "Part number must be between 1 and 10000"))?;
    let etag = hex::encode(Md5::digest(&ask.body));
    let mut store = site.store();
    let upload = find(store.bucket_mut(&ask.bucket)?, ask)?;
    let body = match ask.header("x-amz-copy-source") {
        None => ask.body.clone(),
        Some(_) => return Err(Refused::new(501, "NotImplemented", "The sandbox does not copy parts")),
    };
    let given = kept(&ask.headers).into_iter();
    let checksums: Vec<_> =
        given.filter(|(name, _)| name.starts_with("x-amz-checksum-") && name != "x-amz-checksum-type").collect();
    let reply = Reply::ok().with("etag", format!("\"{etag}\""));
    let reply = checksums.iter().fold(reply, |reply, (name, value)| reply.with(name, value));
    upload.parts.insert(number, Part { etag, body, checksums });
    Ok(reply)
}

pub(super) fn parts(site: &Site, ask: &Ask) -> Answer {
    let mut store = site.store();
    let upload = find(store.bucket_mut(&ask.bucket)?, ask)?;
    let begun = millis(upload.begun);
    let parts: String = upload.parts.iter().map(|(number, Part { etag, body, checksums })| {
        let checksums: String = checksums.iter().map(|(name, value)| {
            let algorithm = name.trim_start_matches("x-amz-checksum-").to_uppercase();
            element(&format!("Checksum{algorithm}"), value)
        }).collect();
        format!("<Part><PartNumber>{number}</PartNumber><LastModified>{begun}</LastModified><ETag>&#34;{etag}&#34;</ETag>\
                 <Size>{}</Size>{checksums}</Part>", body.len())
    }).collect();
    let owner = format!("<ID>{OWNER}</ID><DisplayName>{OWNER}</DisplayName>");
    Ok(Reply::xml(format!(
        "{DECLARATION}<ListPartsResult {NAMESPACE}>{}{}{}<Initiator>{owner}</Initiator><Owner>{owner}</Owner>\
         <StorageClass>STANDARD</StorageClass><PartNumberMarker>0</PartNumberMarker>\
         <NextPartNumberMarker>0</NextPartNumberMarker><MaxParts>{PAGE}</MaxParts><IsTruncated>false</IsTruncated>\
         <ChecksumAlgorithm></ChecksumAlgorithm><ChecksumType></ChecksumType>{parts}</ListPartsResult>",
        element("Bucket", &ask.bucket),
        element("Key", &ask.key),
        element("UploadId", ask.query("uploadId").unwrap_or_default())
    )))
}

pub(super) fn uploads(site: &Site, ask: &Ask) -> Answer {
    let store = site.store();
    let prefix = ask.query("prefix").unwrap_or_default();
    let uploads = store.bucket(&ask.bucket)?.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
    let nobody = "<ID></ID><DisplayName></DisplayName>";
    let uploads: String = uploads
        .map(|(id, upload)| {
            format!(
                "<Upload>{}<UploadId>{id}</UploadId><Initiator>{nobody}</Initiator><Owner>{nobody}</Owner>\
                 <StorageClass></StorageClass><Initiated>{}</Initiated></Upload>",
                element("Key", &upload.key),
                millis(upload.begun)
            )
        })
        .collect();
    Ok(Reply::xml(format!(
        "{DECLARATION}<ListMultipartUploadsResult {NAMESPACE}>{}<KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker>\
         <NextKeyMarker></NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>{}<MaxUploads>{PAGE}</MaxUploads>\
         <IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>",
        element("Bucket", &ask.bucket),
        element("Prefix", prefix),
    )))
}

pub(super) fn abort(site: &Site, ask: &Ask) -> Answer {
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    // One that is not there is none any more.
    bucket.uploads.remove(ask.query("uploadId").unwrap_or_default());
    Ok(Reply::new(204))
}

pub(super) fn complete(site: &Site, ask: &Ask) -> Answer {
    let root = Element::parse(&ask.body)?;
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    let upload = find(bucket, ask)?;
    let (mut body, mut digests, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for part in root.all("Part") {
        let wanted = part.text(&["ETag"]).trim_matches('"');
        let found = part.text(&["PartNumber"]).parse::<u32>().ok().and_then(|n| upload.parts.get(&n));
        let Part { etag, body: bytes, .. } =
            found.filter(|part| part.etag == wanted).ok_or_else(|| Refused::new(400, "InvalidPart", NO_PART))?;
        body.extend_from_slice(bytes);
        digests.extend(hex::decode(etag).unwrap_or_default());
        sizes.push(bytes.len());
    }
    if sizes.is_empty() {
        return Err(Refused::malformed());
    }
    let etag = format!("{}-{}", hex::encode(Md5::digest(&digests)), sizes.len());
    let mut version = Version::object(String::new(), site.now(), body.into(), etag.clone());
    version.headers.clone_from(&upload.headers);
    version.tags.clone_from(&upload.tags);
    version.parts = sizes;
    bucket.uploads.remove(ask.query("uploadId").unwrap_or_default());
    drop(store);
    let Reply { headers, .. } = objects::store(site, ask, version)?;
    let mut reply = Reply::xml(format!(
        "{DECLARATION}<CompleteMultipartUploadResult {NAMESPACE}><Location>http://{}/{}/{}</Location>{}{}\
         <ETag>&#34;{etag}&#34;</ETag></CompleteMultipartUploadResult>",
        site.address(),
        ask.bucket,
        utf8_percent_encode(&ask.key, PATH),
        element("Bucket", &ask.bucket),
        element("Key", &ask.key),
    ));
    reply.headers.extend(headers);
    Ok(reply)
}

fn find<'a>(bucket: &'a mut super::store::Bucket, ask: &Ask) -> Result<&'a mut Upload, Refused> {
    let id = ask.query("uploadId").unwrap_or_default();
    let none = || {
        Refused::new(
            404,
            "NoSuchUpload",
            "The specified multipart upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.",
        )
    };
    bucket.uploads.get_mut(id).filter(|upload| upload.key == ask.key).ok_or_else(none)
}
