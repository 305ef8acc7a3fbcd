//! The tests' own way to a server, apart from the library's: what it says is the independent truth.

use std::{panic, thread, time::SystemTime};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
        retry::RetryConfig,
    },
};
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client as Hyper, connect::HttpConnector as Tcp},
    rt::TokioExecutor,
};

use crate::pair::Server;

/// Runs async work to its end on a thread and a runtime of its own, so that it may be called from everywhere.
pub(crate) fn block_on<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(work())
    };
    thread::scope(|scope| scope.spawn(run).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// An S3 client for one server. It belongs to the runtime that first uses it.
pub(crate) fn s3(server: &Server) -> Client {
    s3_at(&server.endpoint(), &server.access_key, &server.secret_key)
}

/// The same for any site.
pub(crate) fn s3_at(endpoint: &str, access_key: &str, secret_key: &str) -> Client {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "tests"))
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        // A loaded test machine answers 503 SlowDown now and then.
        .retry_config(RetryConfig::standard().with_max_attempts(6))
        .http_client(plain())
        .build();
    Client::from_conf(config)
}

/// Sends one signed request without a body. `path_and_query` is percent-encoded, e.g. `/bucket?replication=`.
pub(crate) fn signed(server: &Server, method: &str, path_and_query: &str) -> (u16, String) {
    signed_with(server, method, path_and_query, &[])
}

/// The same with headers, which are not part of the signature.
pub(crate) fn signed_with(
    server: &Server,
    method: &str,
    path_and_query: &str,
    headers: &[(&'static str, &str)],
) -> (u16, String) {
    let (status, _, body) = whole(server, method, path_and_query, headers, "");
    (status, body)
}

/// The same with a body.
pub(crate) fn signed_body(server: &Server, method: &str, path_and_query: &str, body: &str) -> (u16, String) {
    let (status, _, body) = whole(server, method, path_and_query, &[], body);
    (status, body)
}

/// The same with the headers of the answer.
#[cfg(feature = "sandbox")]
pub(crate) fn signed_whole(server: &Server, method: &str, path_and_query: &str) -> (u16, HeaderMap, String) {
    whole(server, method, path_and_query, &[], "")
}

fn whole(
    server: &Server,
    method: &str,
    path_and_query: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> (u16, HeaderMap, String) {
    let uri = format!("{}{path_and_query}", server.endpoint());
    let identity = Credentials::new(&server.access_key, &server.secret_key, None, None, "tests").into();
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region("us-east-1")
        .name("s3")
        .time(SystemTime::now())
        .settings(settings)
        .build()
        .expect("signing parameters")
        .into();
    let host = format!("127.0.0.1:{}", server.port);
    let signable =
        SignableRequest::new(method, &uri, [("host", host.as_str())].into_iter(), SignableBody::Bytes(body.as_bytes()))
            .expect("a request that can be signed");
    let (instructions, _) = sign(signable, &params).expect("a signature").into_parts();
    let mut request = http::Request::builder()
        .method(method)
        .uri(&uri)
        .header("host", &host)
        .body(Full::<Bytes>::from(body.to_owned()))
        .unwrap();
    instructions.apply_to_request_http1x(&mut request);
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    block_on(async || {
        let client: Hyper<Tcp, Full<Bytes>> = Hyper::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.expect("a whole answer").to_bytes();
        (status, headers, String::from_utf8_lossy(&body).into_owned())
    })
}

/// The SDK's door to the network: plain HTTP is all that loopback needs.
#[derive(Clone, Debug)]
struct Plain(Hyper<Tcp, SdkBody>);

fn plain() -> SharedHttpClient {
    Plain(Hyper::builder(TokioExecutor::new()).build_http()).into_shared()
}

impl HttpClient for Plain {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

impl HttpConnector for Plain {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let response = client.request(request).await.map_err(|e| ConnectorError::io(e.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x)).map_err(|e| ConnectorError::user(e.into()))
        })
    }
}
