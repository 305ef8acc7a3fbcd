//! One site: what may be asked of it, and, with leave, changed on it.

pub mod changes;
pub mod listing;
pub mod minio;
pub mod net;
pub mod s3;
mod xml;

use std::{sync::Arc, time::Duration};

use crate::{
    change::Change,
    failure::Failure,
    secret::Secret,
    step::{Access, Changes},
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
}

/// A handle on one site, with the calls that its access allows.
pub struct Site<A: Access> {
    pub(crate) wire: Arc<Wire>,
    pub(crate) ledger: A::Ledger,
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

impl Wire {
    /// How long one request may take.
    pub fn request_timeout(&self) -> Duration {
        self.spec.request_timeout
    }
}
