//! What it means when a site gives no answer, or one that is of no use: one mapping for the SDK and for our own
//! requests.
//!
//! | what came | class |
//! | --- | --- |
//! | nothing: no connection, TLS, broken in the middle, no end of it | unreachable |
//! | nothing in time; 408, 499, 504 | timed out |
//! | 429; any code `SlowDown…` | throttled |
//! | 5xx without a code that says more (500 `InternalError`, 502, 503 of a proxy) | unreachable: it may have been done |
//! | all else, also 3xx, 5xx with a code of MinIO's own (`XMinio…`), 501 and 507 | refused: surely not done |

use std::{error::Error, time::Duration};

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use serde::Deserialize;

use super::{
    net::{Reply, Silence, why_silent},
    xml::Element,
};
use crate::failure::{Class, Failure};

/// Codes of MinIO's own that tell of its state and not of the request.
const NOT_NOW: [&str; 3] = ["XMinioServerNotInitialized", "XMinioBackendDown", "XMinioServerTimedOut"];

/// How a server that speaks TLS answers a request that does not.
const WRONG_SCHEME: &[u8] = b"Client sent an HTTP request to an HTTPS server";

/// What was asked of which site, to say what failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) alias: &'a str,
    /// An infinitive: "site `dr` refused to …".
    pub(crate) what: &'a str,
}

/// What the server said went wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    code: Option<String>,
    message: Option<String>,
}

impl Asked<'_> {
    /// No answer came.
    pub(crate) fn silence(self, silence: &Silence) -> Failure {
        let Self { alias, what } = self;
        let class = match silence {
            Silence::NoConnection(_) | Silence::Tls(_) | Silence::Broken(_) | Silence::TooLong => Class::Unreachable,
            Silence::TimedOut(_) => Class::TimedOut,
        };
        Failure::of(class, format!("site `{alias}` could not be asked to {what}: {silence}"))
    }

    /// The answer is an error.
    pub(crate) fn error_reply(self, reply: &Reply) -> Failure {
        let header = |name| reply.header(name).map(|v| v.trim_matches('"').to_owned());
        let mut said = parse(&reply.body);
        said.code = said.code.or_else(|| header("x-minio-error-code"));
        said.message = said.message.or_else(|| header("x-minio-error-desc"));
        self.error(reply.status.as_u16(), said.redirected(reply.status.as_u16(), reply.header("location")))
    }

    /// The answer leaves out what matters: there is no such bucket.
    pub(crate) fn no_such_bucket(self) -> Failure {
        let message = Some("The specified bucket does not exist".into());
        self.error(404, Said { code: Some("NoSuchBucket".into()), message })
    }

    /// The answer says no, in words of its own.
    pub(crate) fn refused(self, why: &str) -> Failure {
        let Self { alias, what } = self;
        Failure::refused(format!("site `{alias}` refused to {what}: {}", one_line(why)))
    }

    /// The answer is not of the kind that the call gives.
    pub(crate) fn unknown_call(self) -> Failure {
        let Self { alias, what } = self;
        Failure::refused(format!("site `{alias}` does not know the call to {what} (is it MinIO?)"))
    }

    /// The answer should be one to this call, and cannot be read.
    pub(crate) fn unreadable(self, why: &str) -> Failure {
        let Self { alias, what } = self;
        Failure::refused(format!("site `{alias}` gave an answer that cannot be read when asked to {what}: {why}"))
    }

    /// The SDK's failures.
    pub(crate) fn sdk<E>(self, error: &SdkError<E, HttpResponse>, limit: Duration) -> Failure
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => self.silence(&Silence::TimedOut(limit)),
            SdkError::DispatchFailure(e) => match e.as_connector_error().and_then(|e| silence_within(e)) {
                Some(silence) => self.silence(&silence),
                None => self.silence(&Silence::NoConnection("the request could not be sent".into())),
            },
            SdkError::ServiceError(e) => {
                let raw = e.raw();
                let header = |name| raw.headers().get(name).map(|v| v.trim_matches('"').to_owned());
                // MinIO's headers first: without a body the SDK makes up `NotFound` for any 404.
                let said = Said {
                    code: header("x-minio-error-code").or_else(|| e.err().code().map(str::to_owned)),
                    message: header("x-minio-error-desc").or_else(|| e.err().message().map(str::to_owned)),
                };
                let status = raw.status().as_u16();
                self.error(status, said.redirected(status, raw.headers().get("location")))
            }
            SdkError::ResponseError(e) => match e.raw().status().as_u16() {
                // It may have been done: the answer broke off, or is not this call's.
                200..=299 => self.silence(&match why_silent(error, false) {
                    known @ (Silence::TooLong | Silence::TimedOut(_)) => known,
                    Silence::NoConnection(_) | Silence::Tls(_) | Silence::Broken(_) => {
                        Silence::Broken("the answer cannot be read".into())
                    }
                }),
                status => self.error(status, Said::default()),
            },
            SdkError::ConstructionFailure(_) => self.not_sendable("it cannot be put into a request"),
            _ => self.silence(&Silence::Broken("no answer that could be read".into())),
        }
    }

    /// Nothing was sent, as no request can say it.
    pub(crate) fn not_sendable(self, why: &str) -> Failure {
        let Self { alias, what } = self;
        Failure::refused(format!("site `{alias}` cannot be asked to {what}: {why}"))
    }

    fn error(self, status: u16, said: Said) -> Failure {
        let Self { alias, what } = self;
        let code = said.code.as_deref().unwrap_or_default();
        if matches!(code, "XMinioAdminVersionMismatch" | "BucketAlreadyOwnedByYou" | "BucketAlreadyExists")
            && !what.starts_with("create ")
        {
            // An unknown sub-resource of a PUT is ignored, and the server tries to create the bucket.
            return with(self.unknown_call(), said.code, status);
        }
        let told = match (&said.code, &said.message) {
            (Some(code), Some(message)) => format!("{code} ({status}): {}", one_line(message)),
            (Some(code), None) => format!("{code} ({status})"),
            (None, Some(message)) => format!("HTTP {status}: {}", one_line(message)),
            (None, None) => format!("HTTP {status}"),
        };
        let (class, verb) = match class_of(status, code) {
            Class::Throttled => (Class::Throttled, "is too busy to"),
            Class::TimedOut => (Class::TimedOut, "took too long to"),
            Class::Unreachable => (Class::Unreachable, "failed to"),
            class @ (Class::Refused | Class::Lost) => (class, "refused to"),
        };
        with(Failure::of(class, format!("site `{alias}` {verb} {what}: {told}")), said.code, status)
    }
}

impl Said {
    /// With the place that a redirect names, without path and query: these may hold a signature.
    fn redirected(mut self, status: u16, location: Option<&str>) -> Self {
        let Some(location) = location.filter(|_| (300..=399).contains(&status)) else { return self };
        let place = location.parse::<http::Uri>().ok().and_then(|uri| {
            let scheme = uri.scheme_str().filter(|scheme| ["http", "https"].contains(scheme))?;
            Some(format!(
                "{scheme}://{}:{}",
                uri.host()?,
                uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 })
            ))
        });
        let place = place.map_or_else(|| "another path".to_owned(), |place| format!("`{place}`"));
        self.message = Some(format!(
            "it sends us to {place}, where no credentials are taken; if that is the site itself, name it as the endpoint"
        ));
        self
    }
}

fn class_of(status: u16, code: &str) -> Class {
    match status {
        429 => Class::Throttled,
        _ if code.starts_with("SlowDown") => Class::Throttled,
        501 | 507 => Class::Refused,
        // 499 is MinIO's word for a client that went away before it was done.
        408 | 499 | 504 => Class::TimedOut,
        500..=599 if code.starts_with("XMinio") && !NOT_NOW.contains(&code) => Class::Refused,
        500..=599 => Class::Unreachable,
        _ => Class::Refused,
    }
}

fn with(failure: Failure, said: Option<String>, answered: u16) -> Failure {
    match failure {
        Failure::Call { class, what, .. } => Failure::Call { class, what, code: said, status: Some(answered) },
        other @ (Failure::Waiting(_)
        | Failure::Journal(_)
        | Failure::Claimed(_)
        | Failure::Drift(_)
        | Failure::Defect(_)) => other,
    }
}

/// Our own reason inside the SDK's error.
fn silence_within(error: &(dyn Error + 'static)) -> Option<Silence> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(silence) = error.downcast_ref::<Silence>() {
            return Some(silence.clone());
        }
        next = error.source();
    }
    None
}

/// XML or JSON, by what it looks like: some calls answer with either.
fn parse(body: &[u8]) -> Said {
    #[derive(Deserialize)]
    struct Json {
        #[serde(rename = "Code", alias = "code")]
        code: Option<String>,
        #[serde(rename = "Message", alias = "message")]
        message: Option<String>,
    }
    let some = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    match body.trim_ascii_start().first() {
        Some(b'{') => serde_json::from_slice(body)
            .map_or_else(|_| Said::default(), |Json { code, message }| Said { code, message }),
        Some(b'<') => match Element::parse(body) {
            Ok(error) if error.name == "Error" => {
                Said { code: some(error.text_at(&["Code"])), message: some(error.text_at(&["Message"])) }
            }
            Ok(_) | Err(_) => Said::default(),
        },
        Some(_) if body.starts_with(WRONG_SCHEME) => {
            Said { code: None, message: Some("the server speaks https, and was asked by plain http".into()) }
        }
        Some(_) | None => Said::default(),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue, StatusCode};

    use super::*;

    fn reply(status: u16, body: &'static str) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }
    const ASKED: Asked<'static> = Asked { alias: "dr", what: "tell the versioning of `invoices`" };

    #[test]
    fn a_refusal_in_xml_is_told_with_code_status_and_message() {
        let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>AccessDenied</Code><Message>Access \
                    Denied.</Message><Resource>/x</Resource></Error>";
        let failure = ASKED.error_reply(&reply(403, body));
        assert_eq!(
            failure.to_string(),
            "site `dr` refused to tell the versioning of `invoices`: AccessDenied (403): Access Denied."
        );
        assert_eq!(
            (failure.class(), failure.code(), failure.status()),
            (Some(Class::Refused), Some("AccessDenied"), Some(403))
        );
    }

    #[test]
    fn a_dead_link_behind_a_503_is_a_refusal_and_its_message_one_line() {
        let body = r#"{"Code":"XMinioAdminReplicationRemoteConnectionError","Message":"Remote service connection error (offline \n\tGet \"http://target.example:9000/data/?location=\": refused)"}"#;
        let failure = ASKED.error_reply(&reply(503, body));
        assert_eq!(failure.class(), Some(Class::Refused));
        assert!(failure.to_string().contains("(offline Get \"http://target.example:9000"), "{failure}");
    }

    #[test]
    fn the_class_follows_from_status_and_code() {
        for (status, code, class) in [
            (503, "SlowDown", Class::Throttled),
            (503, "SlowDownRead", Class::Throttled),
            (429, "TooManyRequests", Class::Throttled),
            (503, "", Class::Unreachable),
            (503, "XMinioServerNotInitialized", Class::Unreachable),
            (500, "InternalError", Class::Unreachable),
            (502, "", Class::Unreachable),
            (504, "", Class::TimedOut),
            (408, "", Class::TimedOut),
            (499, "ClientDisconnected", Class::TimedOut),
            (307, "", Class::Refused),
            (501, "NotImplemented", Class::Refused),
            (507, "XMinioStorageFull", Class::Refused),
            (404, "NoSuchBucket", Class::Refused),
        ] {
            assert_eq!(class_of(status, code), class, "{status} {code}");
        }
    }

    #[test]
    fn a_head_without_body_is_told_by_its_headers() {
        let mut reply = reply(403, "");
        reply.headers.insert("x-minio-error-code", HeaderValue::from_static("SignatureDoesNotMatch"));
        reply.headers.insert("x-minio-error-desc", HeaderValue::from_static("\"Check your key.\""));
        let failure = ASKED.error_reply(&reply);
        assert!(failure.to_string().ends_with("SignatureDoesNotMatch (403): Check your key."), "{failure}");
    }

    #[test]
    fn a_put_that_turns_into_the_creation_of_a_bucket_is_an_unknown_call() {
        let body = "<Error><Code>BucketAlreadyOwnedByYou</Code><Message>x</Message></Error>";
        let failure = Asked { alias: "dr", what: "start a resync of `a-b`" }.error_reply(&reply(409, body));
        assert!(failure.to_string().contains("does not know the call to start a resync"), "{failure}");
        let failure = Asked { alias: "dr", what: "create `a-b`" }.error_reply(&reply(409, body));
        assert!(failure.to_string().contains("refused to create"), "{failure}");
    }

    #[test]
    fn plain_http_to_an_https_server_is_explained() {
        let failure = ASKED.error_reply(&reply(400, "Client sent an HTTP request to an HTTPS server.\n"));
        assert!(
            failure.to_string().ends_with("HTTP 400: the server speaks https, and was asked by plain http"),
            "{failure}"
        );
    }

    #[test]
    fn a_redirect_is_told_with_its_place_alone() {
        let told = |location: &'static str| {
            let mut reply = reply(307, "");
            reply.headers.insert("location", HeaderValue::from_static(location));
            ASKED.error_reply(&reply).to_string()
        };
        let text = told("https://u:p@other.example/bucket?X-Amz-Signature=0123");
        assert!(text.contains("HTTP 307: it sends us to `https://other.example:443`, where no credentials"), "{text}");
        assert!(told("/login?next=1").contains("to another path,"), "{}", told("/login?next=1"));
    }

    #[test]
    fn a_page_of_a_proxy_is_not_shown() {
        let failure = ASKED.error_reply(&reply(502, "<html><body>secret stuff</body></html>"));
        assert_eq!(failure.to_string(), "site `dr` failed to tell the versioning of `invoices`: HTTP 502");
    }
}
