//! Our own requests: how they are addressed, percent-encoded and signed (Signature Version 4, service `s3` for all).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{
    Method, Request, Uri,
    header::{HOST, HeaderName, USER_AGENT},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::types::BucketName;

/// All but RFC 3986's unreserved characters, as the signature wants it: an ARN's `:` and a key's `+` too.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &STRICT.remove(b'/');

/// One request of ours, before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// What is asked for, as in "refused to …".
    pub(crate) what: String,
    pub(crate) method: Method,
    pub(crate) bucket: Option<BucketName>,
    /// Below the bucket or the endpoint, with a leading `/`, not encoded.
    path: String,
    query: Vec<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
    pub(crate) body: Bytes,
    /// To the first named node instead of the endpoint.
    pub(crate) one_node: bool,
    /// Health calls are asked without a signature.
    pub(crate) signed: bool,
}

impl Ask {
    fn new(method: Method, path: &str, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            method,
            bucket: None,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            one_node: false,
            signed: true,
        }
    }
    /// A sub-resource of a bucket.
    pub(crate) fn bucket(method: Method, bucket: &BucketName, sub_resource: &'static str, what: String) -> Self {
        Self { bucket: Some(bucket.clone()), ..Self::new(method, "/", what) }.with(sub_resource, "")
    }
    /// An object of a bucket.
    pub(crate) fn object(method: Method, bucket: &BucketName, key: &str, what: String) -> Self {
        Self { bucket: Some(bucket.clone()), ..Self::new(method, &format!("/{key}"), what) }
    }
    /// A call of MinIO's admin interface.
    pub(crate) fn admin(call: &str, what: impl Into<String>) -> Self {
        Self::new(Method::GET, &format!("/minio/admin/v3/{call}"), what)
    }
    /// A call that anyone may make.
    pub(crate) fn unsigned(path: &str, what: impl Into<String>) -> Self {
        Self { signed: false, ..Self::new(Method::GET, path, what) }
    }
    /// Adds to the query; a name that is there already gets the new value.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.retain(|(n, _)| *n != name);
        self.query.push((name, value.into()));
        self
    }
    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
    pub(crate) fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
    pub(crate) fn on_one_node(self) -> Self {
        Self { one_node: true, ..self }
    }

    /// Path and query as they are sent.
    fn target(&self, path_style: bool) -> String {
        let mut target = String::new();
        if let (Some(bucket), true) = (&self.bucket, path_style) {
            target.push('/');
            target.push_str(bucket.as_str());
        }
        if !(self.path == "/" && self.bucket.is_some() && path_style) {
            target.extend(utf8_percent_encode(&self.path, PATH));
        }
        for (i, (name, value)) in self.query.iter().enumerate() {
            target.push(if i == 0 { '?' } else { '&' });
            target.extend(utf8_percent_encode(name, STRICT));
            target.push('=');
            target.extend(utf8_percent_encode(value, STRICT));
        }
        target
    }

    /// The request, signed when it is to be.
    pub(crate) fn request(
        &self,
        base: &Uri,
        path_style: bool,
        region: &str,
        credentials: Option<Credentials>,
    ) -> Result<Request<SdkBody>, String> {
        let mut authority = base.authority().map(ToString::to_string).unwrap_or_default();
        if let (Some(bucket), false) = (&self.bucket, path_style) {
            authority = format!("{bucket}.{authority}");
        }
        let scheme = base.scheme_str().unwrap_or("http");
        let uri = format!("{scheme}://{authority}{}", self.target(path_style));
        let builder = Request::builder()
            .method(self.method.clone())
            .uri(&uri)
            .header(HOST, &authority)
            .header(USER_AGENT, concat!("firedrill/", env!("CARGO_PKG_VERSION")));
        let mut request = self
            .headers
            .iter()
            .fold(builder, |builder, (name, value)| builder.header(name, value))
            .body(SdkBody::from(self.body.clone()))
            .map_err(|e| e.to_string())?;
        if let Some(credentials) = credentials {
            sign_request(&mut request, &uri, &self.body, region, credentials)?;
        }
        Ok(request)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the signature carries the time of sending, and aws-sigv4 takes no other type"
)]
fn sign_request(
    request: &mut Request<SdkBody>,
    uri: &str,
    body: &[u8],
    region: &str,
    credentials: Credentials,
) -> Result<(), String> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .map_err(|e| e.to_string())?
        .into();
    let headers = request.headers().iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
    let signable = SignableRequest::new(request.method().as_str(), uri, headers, SignableBody::Bytes(body))
        .map_err(|e| e.to_string())?;
    let (instructions, _) = sign(signable, &params).map_err(|e| e.to_string())?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> BucketName {
        BucketName::try_from("data".to_owned()).unwrap()
    }

    #[test]
    fn query_values_are_encoded_strictly_and_valueless_names_keep_their_equals_sign() {
        let ask = Ask::bucket(Method::PUT, &bucket(), "replication-reset", String::new())
            .with("arn", "arn:minio:replication::1:data")
            .with("key-marker", "a b/ü+%2F?.txt[minio_cache:v2,return:]");
        assert_eq!(
            ask.target(true),
            "/data?replication-reset=&arn=arn%3Aminio%3Areplication%3A%3A1%3Adata\
             &key-marker=a%20b%2F%C3%BC%2B%252F%3F.txt%5Bminio_cache%3Av2%2Creturn%3A%5D"
        );
    }

    #[test]
    fn the_bucket_moves_into_the_host_without_path_style() {
        let ask = Ask::bucket(Method::GET, &bucket(), "versioning", String::new());
        let base: Uri = "https://s3.example:9000".parse().unwrap();
        let request = ask.request(&base, false, "us-east-1", None).unwrap();
        assert_eq!(request.uri().to_string(), "https://data.s3.example:9000/?versioning=");
        assert_eq!(request.headers()[HOST], "data.s3.example:9000");
    }

    #[test]
    fn a_signed_request_carries_the_hash_of_its_body_and_the_session_token() {
        let credentials = Credentials::from_keys("key", "secret", Some("token".into()));
        let base: Uri = "http://127.0.0.1:9000".parse().unwrap();
        let request = Ask::admin("info", "x").request(&base, true, "us-east-1", Some(credentials)).unwrap();
        let headers = request.headers();
        assert_eq!(headers["x-amz-content-sha256"], "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(headers["x-amz-security-token"], "token");
        assert!(headers["authorization"].to_str().unwrap().contains("/us-east-1/s3/aws4_request"));
    }
}
