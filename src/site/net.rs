//! One HTTP stack for the SDK and for our own signed requests. What it guarantees, whatever the network does:
//!
//! - **Nothing is sent twice.** The SDK's retries are off, and there are none here. The client under us takes another
//!   connection only for a request of which no byte was written yet; a connection that dies later is told as broken.
//!   Reads that the server throttled are repeated above ([`Wire::patient`](super::Wire)), changes never.
//! - **Nothing waits for ever.** Connecting has its limit, and so has each request as a whole, to the last byte of its
//!   answer, however slowly they drip. Only the body of a trace may be silent.
//! - **Nothing fills the memory.** A head of more than some 400 kB and a body of more than [`LONGEST`] are no answers.
//! - **Nothing goes elsewhere.** A redirect is never followed: it would take the signature, and with it the right to
//!   repeat the request, to whoever is named there.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use aws_smithy_runtime_api::{
    client::{
        http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    shared::IntoShared,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};

use super::{
    SiteSpec,
    leave::{Leave, Obeyed, Obeying},
    tls,
};
use crate::failure::Failure;

/// A server that was idle for longer may have dropped the connection, or answer late on it: a fresh one costs less.
const IDLE: Duration = Duration::from_secs(5);

/// No answer is longer, bytes. A page of 1,000 versions with all their metadata has some ten million.
pub(super) const LONGEST: usize = 64 << 20;

/// The HTTP client of one site; cheap to clone.
#[derive(Clone)]
pub(crate) struct Net(Arc<Inner>);

struct Inner {
    client: Client<HttpsConnector<Obeying<connect::HttpConnector>>, SdkBody>,
    leave: Obeyed,
    pace: Option<Pace>,
}

/// An answer with its whole body.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// Why no answer came.
#[derive(Clone, Debug)]
pub(crate) enum Silence {
    /// No connection: nothing was sent.
    NoConnection(String),
    /// TLS did not come about: nothing was sent.
    Tls(String),
    /// The connection broke; what was asked may have been done.
    Broken(String),
    /// The answer is no end of bytes; what was asked may have been done.
    TooLong,
    TimedOut(Duration),
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConnection(why) => f.write_str(why),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::TooLong => write!(f, "its answer has more than {} MiB (is it MinIO?)", LONGEST >> 20),
            Self::TimedOut(after) => write!(f, "no answer within {after:?}"),
            Self::Tls(why) => {
                write!(f, "TLS: {}", why.strip_prefix("unexpected error: ").unwrap_or(why))?;
                let way_out = WAYS_OUT.iter().find(|(sign, _)| why.contains(sign));
                way_out.map_or(Ok(()), |(_, way_out)| write!(f, " ({way_out})"))
            }
        }
    }
}

impl Error for Silence {}

/// What helps against a failure of TLS, by a part of its text.
const WAYS_OUT: [(&str, &str); 9] = [
    ("InvalidContentType", "does the server speak plain http?"),
    ("CaUsedAsEndEntity", "a self-signed certificate that calls itself a CA is never trusted: pin its SHA-256"),
    ("UnknownIssuer", "name its issuer in a CA bundle, or pin its SHA-256"),
    (
        "BadSignature",
        "its issuer has the name of one that is trusted, and another key: put the present one into the CA bundle",
    ),
    ("certificate expired", "renew it, and check this machine's clock"),
    ("not valid yet", "check this machine's clock, and when it was issued"),
    ("not valid for name", "name the site as its certificate does, or pin its SHA-256"),
    ("is another one", "if it was renewed on purpose, pin the new one"),
    ("handshake eof", "the server closed the connection: does it want a certificate of yours?"),
];

impl Net {
    pub(crate) fn new(spec: &SiteSpec) -> Result<Self, Failure> {
        let leave = Obeyed::default();
        let mut http = connect::HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(spec.connect_timeout));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::config(spec)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Obeying { connector: http, leave: Arc::clone(&leave) });
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let pace = spec.max_requests_per_second.filter(|r| r.is_finite() && *r > 0.0).map(Pace::new);
        Ok(Self(Arc::new(Inner { client, leave, pace })))
    }

    /// From now on nothing of a change is written without this leave. The first one stays.
    pub(crate) fn obey(&self, leave: Arc<Leave>) {
        let _ = self.0.leave.set(leave);
    }

    pub(crate) fn leave(&self) -> Option<&Arc<Leave>> {
        self.0.leave.get()
    }

    /// Sends one request; the head of the answer.
    pub(crate) async fn send(&self, request: Request<SdkBody>) -> Result<Response<Incoming>, Silence> {
        if let Some(pace) = &self.0.pace {
            pace.turn().await;
        }
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match self.0.client.request(request).await {
            Ok(response) => {
                tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
                Ok(response)
            }
            Err(e) => {
                let silence = why_silent(&e, e.is_connect());
                tracing::debug!(%method, path, %silence, "not answered");
                Err(silence)
            }
        }
    }

    /// Sends one request, and reads the whole answer; both within `limit`.
    pub(crate) async fn ask(&self, request: Request<SdkBody>, limit: Duration) -> Result<Reply, Silence> {
        let ask = async {
            let (head, body) = self.send(request).await?.into_parts();
            Ok(Reply { status: head.status, headers: head.headers, body: whole(body).await? })
        };
        timeout(limit, ask).await.unwrap_or(Err(Silence::TimedOut(limit)))
    }
}

/// Reads the whole body of an answer.
pub(crate) async fn whole(body: Incoming) -> Result<Bytes, Silence> {
    // What is too long by its own account is not begun.
    if body.size_hint().lower() > LONGEST as u64 {
        return Err(Silence::TooLong);
    }
    Ok(Limited::new(body, LONGEST).collect().await.map_err(|e| why_silent(&*e, false))?.to_bytes())
}

// The client and its connections have nothing to show, and requests have headers that must not be shown.
impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Net")
    }
}

impl HttpConnector for Net {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let net = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|e| ConnectorError::user(e.into()))?;
            let response = net.send(request).await.map_err(|e| ConnectorError::other(e.into(), None))?;
            HttpResponse::try_from(response.map(|body| SdkBody::from_body_1_x(Limited::new(body, LONGEST))))
                .map_err(|e| ConnectorError::other(e.into(), None))
        })
    }
}

impl HttpClient for Net {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

/// The innermost cause is the one that tells; those around it say "client error" and the like.
pub(super) fn why_silent(error: &(dyn Error + 'static), connecting: bool) -> Silence {
    let mut causes = vec![error];
    while let Some(next) = causes.last().and_then(|e| inner(*e)) {
        causes.push(next);
    }
    if let Some(silence) = causes.iter().find_map(|e| e.downcast_ref::<Silence>()) {
        return silence.clone();
    }
    if causes.iter().any(|e| e.is::<LengthLimitError>()) {
        return Silence::TooLong;
    }
    let text = causes.last().map_or_else(String::new, ToString::to_string);
    let tls = causes.iter().any(|e| e.is::<rustls::Error>()) || text == "tls handshake eof";
    let late = causes.iter().filter_map(|e| e.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::TimedOut);
    let no_http = causes.iter().filter_map(|e| e.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse);
    match (tls, connecting) {
        (true, _) => Silence::Tls(text),
        (false, true) if late => Silence::NoConnection("it took no connection in time".to_owned()),
        (false, true) => Silence::NoConnection(text),
        (false, false) if no_http => Silence::Broken(format!("{text} (is it another protocol, or https?)")),
        (false, false) => Silence::Broken(text),
    }
}

/// The cause of an error; an [`io::Error`] hides the one that it wraps.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    wrapped.map(|e| e as &(dyn Error + 'static)).or_else(|| error.source())
}

/// Spreads requests evenly: each waits for its turn.
struct Pace {
    gap: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    fn new(per_second: f64) -> Self {
        let gap = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Self { gap, next: Mutex::new(Instant::now()) }
    }

    async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn.checked_add(self.gap).unwrap_or(turn);
            turn
        };
        sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_their_turn() {
        let pace = Pace::new(4.0);
        let start = Instant::now();
        for _ in 0..5 {
            pace.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(1));
    }

    #[test]
    fn tls_troubles_come_with_a_way_out() {
        let told = |why: &str| Silence::Tls(why.into()).to_string();
        assert_eq!(told("unexpected error: bad record"), "TLS: bad record");
        assert!(
            told("unexpected error: it is another one").ends_with("if it was renewed on purpose, pin the new one)")
        );
        assert!(told("invalid peer certificate: Other(CaUsedAsEndEntity)").ends_with("pin its SHA-256)"));
        assert!(told("invalid peer certificate: UnknownIssuer").contains("CA bundle"));
        assert!(told("received corrupt message of type InvalidContentType").contains("plain http"));
    }

    #[test]
    fn the_innermost_cause_is_told() {
        let tls = io::Error::other(rustls::Error::General("bad".into()));
        assert!(matches!(why_silent(&tls, true), Silence::Tls(why) if why.contains("bad")));
        let broken = io::Error::from(io::ErrorKind::ConnectionReset);
        assert!(matches!(why_silent(&broken, false), Silence::Broken(_)));
        let late = io::Error::other(Silence::TimedOut(Duration::from_secs(1)));
        assert!(matches!(why_silent(&late, false), Silence::TimedOut(_)));
    }
}
