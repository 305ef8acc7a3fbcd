//! One site: what may be asked of it, and, with leave, changed on it.

pub mod changes;
mod credentials;
mod documents;
mod error;
pub mod folder;
pub mod leave;
pub mod listing;
pub mod minio;
pub mod net;
mod page;
pub mod s3;
mod sign;
mod tls;
mod xml;

use std::{future::Future, sync::Arc, time::Duration};

use aws_smithy_types::body::SdkBody;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use self::{
    credentials::Keyring,
    error::Asked,
    leave::{Leave, Sending},
    net::{Net, Reply, Silence},
    sign::Ask,
};
use crate::{
    change::Change,
    failure::{Class, Failure},
    secret::Secret,
    step::{Access, Changes, Reads},
};

/// How to reach a site; comes from `sites.yaml`, `MC_HOST_<alias>` or MinIO client's `config.json`.
#[derive(Clone, Debug)]
pub struct SiteSpec {
    /// The name a person gives it.
    pub alias: String,
    /// `http(s)://host[:port]`, no path.
    pub endpoint: http::Uri,
    /// Addresses of single nodes behind the endpoint; the first one is asked where one and the same node matters.
    pub nodes: Vec<http::Uri>,
    pub region: String,
    pub path_style: bool,
    pub access_key: Value,
    pub secret_key: Value,
    pub session_token: Option<Value>,
    /// PEM file with certificates to trust besides the system's.
    pub ca_bundle: Option<std::path::PathBuf>,
    /// SHA-256 of the server's certificate (hex); nothing else is trusted then.
    pub pin: Option<String>,
    /// Trust any certificate.
    pub insecure: bool,
    pub connect_timeout: Duration,
    /// For one request, from the first byte sent to the last one received.
    pub request_timeout: Duration,
    pub max_requests_per_second: Option<f64>,
    /// Whether drills may run here.
    pub drills: bool,
}

/// Where a credential comes from; `env` and `file` are read again when the server calls it expired.
#[derive(Clone, Debug)]
pub enum Value {
    Literal(Secret),
    Env(String),
    File(std::path::PathBuf),
}

/// The connection to one site; steps see it through [`Site`].
pub struct Wire {
    pub(crate) spec: SiteSpec,
    net: Net,
    keys: Arc<Keyring>,
    s3: s3::Sdk,
}

/// How often a throttled read is repeated: over some ten seconds in all.
const THROTTLED: u32 = 6;

/// Refusals that newer credentials may turn into an answer.
const OUTDATED: [&str; 4] = ["ExpiredToken", "InvalidAccessKeyId", "InvalidTokenId", "ExpiredTokenException"];

impl Wire {
    /// Makes the connection without using it: nothing is sent, no credential is read.
    pub fn new(spec: SiteSpec) -> Result<Arc<Self>, Failure> {
        let bad = |why: &str| Failure::refused(format!("site `{}` cannot be used: {why}", spec.alias));
        for uri in std::iter::once(&spec.endpoint).chain(&spec.nodes) {
            if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.authority().is_none() {
                return Err(bad(&format!("`{uri}` is not of the form http(s)://host[:port]")));
            }
        }
        if !spec.region.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(bad(&format!("`{}` is not a region", spec.region)));
        }
        let net = Net::new(&spec)?;
        let keys = Keyring::new(&spec);
        let s3 = s3::Sdk::new(&spec, net.clone(), Arc::clone(&keys));
        Ok(Arc::new(Self { spec, net, keys, s3 }))
    }

    /// How long one request may take.
    pub fn request_timeout(&self) -> Duration {
        self.spec.request_timeout
    }

    /// The values to mask: access key, secret key and session token.
    pub fn secrets(&self) -> Vec<Secret> {
        self.keys.secrets()
    }

    /// From now on changes are sent only by this leave.
    pub fn obey(&self, leave: &Arc<Leave>) {
        self.net.obey(Arc::clone(leave));
    }

    /// Leave to send what changes something, as long as it is kept; asked for just before.
    pub(crate) async fn leave_to_change(&self) -> Result<Option<Sending>, Failure> {
        let Some(leave) = self.net.leave() else { return Ok(None) };
        leave.ask(self.request_timeout()).await?;
        Ok(Some(leave.sending()))
    }

    /// How long something may still arrive that another process of this run sent.
    pub(crate) fn left_to_another(&self) -> Duration {
        self.net.leave().map_or(Duration::ZERO, |leave| leave.left_to_another())
    }

    pub(crate) fn asked<'a>(&'a self, what: &'a str) -> Asked<'a> {
        Asked { alias: &self.spec.alias, what }
    }

    /// Sends a request of our own. `Ok` is any answer, also one that is an error.
    pub(crate) async fn reply(&self, ask: &Ask) -> Result<Reply, Failure> {
        let request = self.request(ask)?;
        self.net.ask(request, self.spec.request_timeout).await.map_err(|s| self.asked(&ask.what).silence(&s))
    }

    /// Sends a request of our own; an answer that is an error is a failure.
    pub(crate) async fn ask(&self, ask: &Ask) -> Result<Reply, Failure> {
        let once = || async {
            let reply = self.reply(ask).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            Err(self.asked(&ask.what).error_reply(&reply))
        };
        if ask.method.is_safe() { self.patient(once).await } else { self.fresh(once).await }
    }

    /// Opens a stream; only its head has to come in time.
    pub(crate) async fn stream(&self, ask: &Ask) -> Result<Incoming, Failure> {
        self.fresh(|| async {
            let limit = self.spec.request_timeout;
            let silent = |silence| self.asked(&ask.what).silence(&silence);
            let answer = timeout(limit, self.net.send(self.request(ask)?)).await;
            let (head, body) = answer.unwrap_or(Err(Silence::TimedOut(limit))).map_err(silent)?.into_parts();
            if head.status.is_success() {
                return Ok(body);
            }
            let body = timeout(limit, net::whole(body)).await.ok().and_then(Result::ok);
            let reply = Reply { status: head.status, headers: head.headers, body: body.unwrap_or_default() };
            Err(self.asked(&ask.what).error_reply(&reply))
        })
        .await
    }

    /// Reads something, at a growing distance as long as the server asks for fewer requests, and at no other failure.
    /// A change is never sent again by itself: whether it took effect is for the ledger to find out. `Retry-After` is
    /// left aside: MinIO says 60 seconds with every 503, whatever its load.
    pub(crate) async fn patient<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let mut pause = Duration::from_millis(200);
        for _ in 0..THROTTLED {
            match self.fresh(&attempt).await {
                Err(failure) if failure.class() == Some(Class::Throttled) => sleep(pause.mul_f64(spread())).await,
                other => return other,
            }
            pause *= 2;
        }
        self.fresh(&attempt).await
    }

    /// Does something a second time when the server calls the credentials outdated and newer ones are to be had.
    pub(crate) async fn fresh<T, F>(&self, attempt: impl Fn() -> F + Send) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        // What cannot be read is told here; the SDK would say something else.
        self.keys.current()?;
        let first = attempt().await;
        match &first {
            Err(failure) if failure.code().is_some_and(|c| OUTDATED.contains(&c)) && self.keys.read_again()? => {
                attempt().await
            }
            _ => first,
        }
    }

    fn request(&self, ask: &Ask) -> Result<http::Request<SdkBody>, Failure> {
        let base = if ask.one_node { self.spec.nodes.first() } else { None }.unwrap_or(&self.spec.endpoint);
        let credentials = if ask.signed { Some(self.keys.current()?) } else { None };
        ask.request(base, self.spec.path_style, &self.spec.region, credentials)
            .map_err(|why| self.asked(&ask.what).not_sendable(&why))
    }
}

/// Between 0.5 and 1.0, so that readers who were refused together do not come back together.
fn spread() -> f64 {
    let mut byte = [0_u8; 1];
    match getrandom::fill(&mut byte) {
        Ok(()) => 0.5 + 0.5 * f64::from(byte[0]) / 255.0,
        Err(_) => 1.0,
    }
}

/// A handle on one site, with the calls that its access allows.
pub struct Site<A: Access> {
    pub(crate) wire: Arc<Wire>,
    pub(crate) ledger: A::Ledger,
}

impl Site<Reads> {
    /// A handle for reading, of which anyone may make one.
    pub fn reading(wire: Arc<Wire>) -> Self {
        Self { wire, ledger: () }
    }
}

impl<A: Access> Site<A> {
    /// The name a person gave the site.
    pub fn alias(&self) -> &str {
        &self.wire.spec.alias
    }
    /// `http(s)://host[:port]`.
    pub fn endpoint(&self) -> String {
        self.wire.spec.endpoint.to_string().trim_end_matches('/').to_owned()
    }
}

impl Site<Changes> {
    /// Sends a change once: intent, request, receipt. `make` gets the number of this sending, from 1; what was done
    /// under the same key before is remembered and given back.
    pub async fn change<C: Change>(
        &self,
        key: &str,
        make: impl FnOnce(u32) -> C + Send,
    ) -> Result<C::Receipt, Failure> {
        self.ledger.once(&self.wire, key, make).await
    }
}
