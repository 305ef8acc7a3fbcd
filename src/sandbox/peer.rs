//! Requests from one site to another: signed, over HTTP.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{sleep, timeout};

use super::targets::Target;

const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
pub(super) const PATH: &AsciiSet = &STRICT.remove(b'/');
/// A site that does not answer for this long is offline.
const PATIENCE: Duration = Duration::from_secs(30);
/// A busy site is waited for in steps that double up to this.
const LONGEST_WAIT: Duration = Duration::from_millis(800);

#[derive(Clone, Debug)]
pub(super) struct Peer(Client<HttpConnector, Full<Bytes>>);

/// What the other site answered, with its whole body.
#[derive(Debug)]
pub(super) struct Heard {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Heard {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
    /// The code of an error.
    pub(super) fn code(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
        code.map_or_else(|| self.status.to_string(), |(code, _)| code.to_owned())
    }
}

/// What to ask of a target: below its bucket, with headers of MinIO's replication.
#[derive(Debug, Default)]
pub(super) struct Say {
    pub method: Method,
    pub key: String,
    pub query: Vec<(&'static str, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
}

impl Peer {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_secs(3)));
        connector.set_nodelay(true);
        Self(Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(5)).build(connector))
    }

    /// Asks a target. A question that it is too busy to answer is asked again, as a server's own client does.
    pub(super) async fn ask(&self, target: &Target, say: Say) -> Result<Heard, String> {
        let mut wait = Duration::from_millis(50);
        let reads = matches!(say.method, Method::GET | Method::HEAD);
        loop {
            let heard = self.once(target, &say).await?;
            if heard.status != 503 || !reads || wait > LONGEST_WAIT {
                return Ok(heard);
            }
            sleep(wait).await;
            wait *= 2;
        }
    }

    async fn once(&self, target: &Target, say: &Say) -> Result<Heard, String> {
        let mut path = format!("/{}/{}", target.bucket, utf8_percent_encode(&say.key, PATH));
        for (i, (name, value)) in say.query.iter().enumerate() {
            let sign = if i == 0 { '?' } else { '&' };
            path += &format!("{sign}{name}={}", utf8_percent_encode(value, STRICT));
        }
        let url = format!("http://{}{path}", target.endpoint);
        let mut request = Request::builder().method(&say.method).uri(&url).header("host", &target.endpoint);
        for (name, value) in &say.headers {
            request = request.header(name.as_str(), value.as_str());
        }
        let mut request = request.body(Full::new(say.body.clone())).map_err(|e| e.to_string())?;
        let keys = Credentials::from_keys(&target.access_key, &target.secret_key, None);
        sign_request(&mut request, &url, &say.body, keys)?;
        let whole = async {
            let (head, body) = self.0.request(request).await.map_err(|e| connection(&e))?.into_parts();
            let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
            Ok(Heard { status: head.status.as_u16(), headers: head.headers, body })
        };
        timeout(PATIENCE, whole).await.unwrap_or_else(|_| Err("i/o timeout".to_owned()))
    }
}

/// As the server words it.
fn connection(error: &hyper_util::client::legacy::Error) -> String {
    if error.is_connect() { "connect: connection refused".to_owned() } else { "EOF".to_owned() }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the signature carries the time of sending, and aws-sigv4 takes no other type"
)]
fn sign_request(request: &mut Request<Full<Bytes>>, url: &str, body: &[u8], keys: Credentials) -> Result<(), String> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = keys.into();
    let params = v4::SigningParams::builder().identity(&identity).region("us-east-1").name("s3");
    let params = params.time(SystemTime::now()).settings(settings).build().map_err(|e| e.to_string())?.into();
    let headers = request.headers().iter().filter_map(|(n, v)| Some((n.as_str(), v.to_str().ok()?)));
    let signable = SignableRequest::new(request.method().as_str(), url, headers, SignableBody::Bytes(body));
    let (instructions, _) =
        sign(signable.map_err(|e| e.to_string())?, &params).map_err(|e| e.to_string())?.into_parts();
    instructions.apply_to_request_http1x(request);
    Ok(())
}
