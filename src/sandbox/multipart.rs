//! Multipart uploads, kept in memory until they are complete.

use md5::{Digest, Md5};

use super::{
    objects::{self, kept, query_pairs},
    site::Site,
    store::{Upload, Version},
    wire::{Answer, Ask, DECLARATION, Refused, Reply, element, millis, uuid},
    xml::Element,
};

pub(super) fn begin(site: &Site, ask: &Ask) -> Answer {
    site.may_write(ask)?;
    let upload = Upload {
        key: ask.key.clone(),
        begun: site.now(),
        headers: kept(&ask.headers),
        tags: query_pairs(ask.header("x-amz-tagging").unwrap_or_default()),
        parts: std::collections::BTreeMap::new(),
    };
    let id = uuid();
    site.store().bucket_mut(&ask.bucket)?.uploads.insert(id.clone(), upload);
    Ok(Reply::xml(format!(
        "{DECLARATION}<InitiateMultipartUploadResult>{}{}<UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
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
    upload.parts.insert(number, (etag.clone(), body));
    Ok(Reply::ok().with("etag", format!("\"{etag}\"")))
}

pub(super) fn parts(site: &Site, ask: &Ask) -> Answer {
    let mut store = site.store();
    let upload = find(store.bucket_mut(&ask.bucket)?, ask)?;
    let begun = millis(upload.begun);
    let parts: String = upload.parts.iter().map(|(number, (etag, body))| {
        format!("<Part><PartNumber>{number}</PartNumber><LastModified>{begun}</LastModified><ETag>&#34;{etag}&#34;</ETag>\
                 <Size>{}</Size></Part>", body.len())
    }).collect();
    Ok(Reply::xml(format!(
        "{DECLARATION}<ListPartsResult>{}{}{}<IsTruncated>false</IsTruncated>{parts}</ListPartsResult>",
        element("Bucket", &ask.bucket),
        element("Key", &ask.key),
        element("UploadId", ask.query("uploadId").unwrap_or_default())
    )))
}

pub(super) fn uploads(site: &Site, ask: &Ask) -> Answer {
    let store = site.store();
    let prefix = ask.query("prefix").unwrap_or_default();
    let uploads = store.bucket(&ask.bucket)?.uploads.iter().filter(|(_, upload)| upload.key.starts_with(prefix));
    let uploads: String = uploads
        .map(|(id, upload)| {
            format!(
                "<Upload>{}<UploadId>{id}</UploadId><Initiated>{}</Initiated></Upload>",
                element("Key", &upload.key),
                millis(upload.begun)
            )
        })
        .collect();
    Ok(Reply::xml(format!(
        "{DECLARATION}<ListMultipartUploadsResult>{}<IsTruncated>false</IsTruncated>{uploads}</ListMultipartUploadsResult>",
        element("Bucket", &ask.bucket)
    )))
}

pub(super) fn abort(site: &Site, ask: &Ask) -> Answer {
    let mut store = site.store();
    let bucket = store.bucket_mut(&ask.bucket)?;
    find(bucket, ask)?;
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
        let (etag, bytes) = found.filter(|(etag, _)| etag == wanted).ok_or_else(|| {
            Refused::new(400, "InvalidPart", "One or more of the specified parts could not be found.")
        })?;
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
        "{DECLARATION}<CompleteMultipartUploadResult><Location>/{0}/{1}</Location><Bucket>{0}</Bucket><Key>{1}</Key>\
         <ETag>&#34;{etag}&#34;</ETag></CompleteMultipartUploadResult>",
        ask.bucket,
        super::wire::escape(&ask.key)
    ));
    reply.headers.extend(headers.into_iter().filter(|(name, _)| name.as_ref().is_some_and(|n| n != "etag")));
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
