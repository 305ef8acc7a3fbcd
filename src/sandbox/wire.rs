//! What a site is asked, and what it answers: requests taken apart, replies and refusals put together as MinIO does.

use std::borrow::Cow;

use bytes::Bytes;
use getrandom::fill;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::Body;
use serde_json::Value;

/// One request, its signature checked and its body read.
#[derive(Debug)]
pub(super) struct Ask {
    pub method: Method,
    /// Empty for the site itself.
    pub bucket: String,
    /// Empty for the bucket itself.
    pub key: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

pub(super) type Answer = Result<Reply, Refused>;

#[derive(Debug)]
pub(super) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

/// An error: its code and status are what clients look at.
#[derive(Debug)]
pub(super) struct Refused {
    pub status: u16,
    pub code: String,
    pub message: String,
    /// Admin calls, and some extensions late in their work, answer in JSON.
    pub json: bool,
    pub headers: Vec<(&'static str, String)>,
    /// What a document of an error has besides, at its end.
    pub more: Vec<(&'static str, String)>,
}

impl Ask {
    pub(super) fn new(
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Self, Refused> {
        let path = decode(path.trim_start_matches('/'))?;
        let (bucket, key) = path.split_once('/').unwrap_or((&path, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(&name.replace('+', " "))?, decode(&value.replace('+', " "))?))
        });
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Ok(Self { query: pairs.collect::<Result<_, _>>()?, method, bucket, key, headers, body })
    }
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
    pub(super) fn has(&self, name: &str) -> bool {
        self.query(name).is_some()
    }
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
    /// The version asked for, when one is named.
    pub(super) fn version(&self) -> Option<&str> {
        self.query("versionId").filter(|id| !id.is_empty())
    }
    /// Sent by another site's replication.
    pub(super) fn is_replica(&self) -> bool {
        self.header("x-minio-source-replication-request") == Some("true")
    }
}

fn decode(text: &str) -> Result<String, Refused> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Cow::into_owned).map_err(|_| Refused::new(400, "InvalidArgument", "The name is not UTF-8"))
}

impl Reply {
    pub(super) fn new(status: u16) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers: HeaderMap::new(), body: Body::empty() }
    }
    pub(super) fn ok() -> Self {
        Self::new(200)
    }
    pub(super) fn xml(document: impl Into<String>) -> Self {
        Self::ok().with("content-type", "application/xml").body(document.into())
    }
    pub(super) fn json(value: &Value) -> Self {
        Self::ok().with("content-type", "application/json").body(value.to_string())
    }
    /// A header that cannot be sent is left out.
    pub(super) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value.as_ref())) {
            self.headers.insert(name, value);
        }
        self
    }
    pub(super) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Body::from(body.into());
        self
    }
}

impl Refused {
    pub(super) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), json: false, headers: Vec::new(), more: Vec::new() }
    }
    pub(super) fn in_json(self) -> Self {
        Self { json: true, ..self }
    }
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
    pub(super) fn no_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist")
    }
    pub(super) fn no_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }
    pub(super) fn no_version() -> Self {
        Self::new(404, "NoSuchVersion", "The specified version does not exist.")
    }
    pub(super) fn malformed() -> Self {
        let message = "The XML you provided was not well-formed or did not validate against our published schema";
        Self::new(400, "MalformedXML", message)
    }

    /// A HEAD has no body to say it in.
    pub(super) fn of_head(&self) -> Reply {
        let reply = self.headers.iter().fold(Reply::new(self.status), |reply, (name, value)| reply.with(name, value));
        let reply = reply.with("content-length", "0");
        reply.with("x-minio-error-code", &self.code).with("x-minio-error-desc", format!("\"{}\"", self.message))
    }

    pub(super) fn reply(&self, ask: Option<(&str, &str)>) -> Reply {
        let (bucket, key) = ask.unwrap_or_default();
        let resource = if key.is_empty() { format!("/{bucket}") } else { format!("/{bucket}/{key}") };
        self.reply_at(bucket, key, &resource)
    }

    /// With the path as it came, which may end in a slash.
    pub(super) fn reply_at(&self, bucket: &str, key: &str, resource: &str) -> Reply {
        let id = request_id();
        let Self { code, message, .. } = self;
        let mut reply = Reply::new(self.status);
        for (name, value) in &self.headers {
            reply = reply.with(name, value);
        }
        if self.json {
            let mut body = serde_json::json!({ "Code": code, "Message": message });
            // Admin calls have no bucket in their path.
            if !bucket.is_empty() && bucket != "minio" {
                body["BucketName"] = bucket.into();
            }
            body["Resource"] = resource.into();
            body["RequestId"] = id.into();
            body["HostId"] = HOST_ID.into();
            return reply.with("content-type", "application/json").body(format!("{body}\n"));
        }
        let mut body = format!("{DECLARATION}<Error>{}{}", element("Code", code), element("Message", message));
        if !key.is_empty() {
            body += &element("Key", key);
        }
        if !bucket.is_empty() {
            body += &element("BucketName", bucket);
        }
        body += &element("Resource", resource);
        body += &format!("<RequestId>{id}</RequestId><HostId>{HOST_ID}</HostId>");
        body.extend(self.more.iter().map(|(name, text)| element(name, text)));
        body += "</Error>";
        reply.with("content-type", "application/xml").body(body)
    }
}

/// Which node answered: the digest of a name on a real site.
pub(super) const HOST_ID: &str = "73616e64626f780073616e64626f780073616e64626f780073616e64626f7800";
pub(super) const NAMESPACE: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
pub(super) const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// An element with a text, escaped as Go's encoder does; control characters too, which XML 1.0 forbids.
pub(super) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => escaped += "&#34;",
            '\'' => escaped += "&#39;",
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            c if c < ' ' => escaped += &format!("&#x{:X};", u32::from(c)),
            c => escaped.push(c),
        }
    }
    escaped
}

/// All but RFC 3986's unreserved characters.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Pairs as a query writes them.
pub(super) fn query_text(pairs: &[(String, String)]) -> String {
    let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
    pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

pub(super) fn request_id() -> String {
    hex::encode_upper(random::<8>())
}

pub(super) fn uuid() -> String {
    uuid_of(random::<16>())
}

/// Written as a random id is.
pub(super) fn uuid_of(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

pub(super) fn is_uuid(text: &str) -> bool {
    let parts = text.split('-').map(|part| part.bytes().all(|b| b.is_ascii_hexdigit()).then_some(part.len()));
    parts.eq([8, 4, 4, 4, 12].map(Some))
}

/// A machine without random bytes gets zeros: nothing here is kept secret by them.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let _ = fill(&mut bytes);
    bytes
}

/// As listings write times.
pub(super) fn millis(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// As headers write times.
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// As Go writes times in JSON.
pub(super) fn nanos(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_apart() {
        let ask = Ask::new(Method::GET, "/data/a%20b/%2Bc", "versions&prefix=x%2Fy+z", HeaderMap::new(), Bytes::new());
        let ask = ask.unwrap();
        assert_eq!((ask.bucket.as_str(), ask.key.as_str()), ("data", "a b/+c"));
        assert!(ask.has("versions") && ask.query("prefix") == Some("x/y z"));
        assert!(Ask::new(Method::GET, "/data/%ff", "", HeaderMap::new(), Bytes::new()).is_err());
    }

    #[test]
    fn times_and_texts_are_written_as_the_server_does() {
        let at: Timestamp = "2026-11-23T18:29:24.074123456Z".parse().unwrap();
        assert_eq!(millis(at), "2026-11-23T18:29:24.074Z");
        assert_eq!(http_date(at), "Mon, 23 Nov 2026 18:29:24 GMT");
        assert_eq!(nanos(None), "0001-01-01T00:00:00Z");
        assert_eq!(escape("\"a\"&<\u{1}"), "&#34;a&#34;&amp;&lt;&#x1;");
        assert!(is_uuid(&uuid()) && !is_uuid("not-a-version"));
    }
}
