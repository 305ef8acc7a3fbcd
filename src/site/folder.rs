//! A folder of plain objects on a site: where runs keep leases and shared journals. Never one of a run's own sites.
//!
//! Held against a real server: a PUT with `If-None-Match: *` or `If-Match: ETAG` has one winner among many, the others
//! get 412 (404 when `If-Match` finds nothing). An `ETag` is a digest of the content, so contents that must be told apart
//! have to differ. DELETE takes no condition: `If-Match` on it is ignored.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Method,
    header::{self, HeaderName},
};
use jiff::{Timestamp, fmt::rfc2822};
use tokio::time::{Instant, sleep};

use super::{Site, Wire, sign::Ask, xml::Element};
use crate::{
    clock::seconds_between,
    failure::{Class, Failure},
    step::Reads,
    types::BucketName,
};

/// How long a write is tried again that got no answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place on a site: the keys below a prefix of a bucket.
#[derive(Clone)]
pub struct Folder {
    wire: Arc<Wire>,
    bucket: BucketName,
    /// Empty, or ending in `/`.
    prefix: String,
}

/// `ALIAS/BUCKET[/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub alias: String,
    pub bucket: BucketName,
    /// Empty, or ending in `/`.
    pub prefix: String,
}

/// An object as it was read.
#[derive(Clone, Debug)]
pub struct Object {
    pub bytes: Bytes,
    pub etag: String,
    /// Seconds since it was written, by the server's own clock.
    pub age: f64,
}

impl std::str::FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let form = "write ALIAS/BUCKET/PREFIX, e.g. `ops/locks/firedrill`";
        let (alias, rest) = text.split_once('/').filter(|(alias, _)| !alias.is_empty()).ok_or(form)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let bucket = BucketName::try_from(bucket.to_owned()).map_err(|why| format!("{form}: {why}"))?;
        let prefix = prefix.trim_matches('/');
        if prefix.chars().any(char::is_control) || prefix.split('/').any(|part| matches!(part, "." | "..")) {
            return Err(format!("{form}, with no `.`, `..` or control characters in it"));
        }
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(Self { alias: alias.to_owned(), bucket, prefix })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alias, bucket, prefix } = self;
        write!(f, "{alias}/{bucket}/{prefix}")
    }
}

impl Folder {
    pub fn new(wire: Arc<Wire>, address: &Address) -> Self {
        Self { wire, bucket: address.bucket.clone(), prefix: address.prefix.clone() }
    }

    /// The site it is on.
    pub fn site(&self) -> Site<Reads> {
        Site::reading(Arc::clone(&self.wire))
    }

    /// What people find it under.
    pub fn name(&self, key: &str) -> String {
        format!("{}/{}/{}{key}", self.wire.spec.alias, self.bucket, self.prefix)
    }

    /// Creates an object; its `ETag`. `None`: there is one already, and it is another one. When no answer came it is
    /// looked at: what is there with the same content was created by this very call.
    pub async fn create(&self, key: &str, content: Bytes) -> Result<Option<String>, Failure> {
        self.conditional(key, content, header::IF_NONE_MATCH, "*").await
    }

    /// Writes an object in place of the one with this `ETag`; the new `ETag`. `None`: there is another one by now.
    pub async fn replace(&self, key: &str, content: Bytes, etag: &str) -> Result<Option<String>, Failure> {
        self.conditional(key, content, header::IF_MATCH, &format!("\"{etag}\"")).await
    }

    /// Writes an object, whatever was there.
    pub async fn write(&self, key: &str, content: Bytes) -> Result<(), Failure> {
        self.unheard(|| async {
            let reply = self.wire.ask(&self.object(Method::PUT, key, "write").with_body(content.clone())).await;
            reply.map(drop)
        })
        .await
    }

    /// `None` when it is not there.
    pub async fn read(&self, key: &str) -> Result<Option<Object>, Failure> {
        let reply = match self.wire.ask(&self.object(Method::GET, key, "read")).await {
            Ok(reply) => reply,
            Err(failure) if failure.code() == Some("NoSuchKey") => return Ok(None),
            Err(failure) => return Err(failure),
        };
        let moment =
            |name| reply.header(name).and_then(|text| rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
        let modified: Option<Timestamp> = moment("last-modified");
        let age = modified.zip(moment("date")).map_or(0.0, |(modified, now)| seconds_between(modified, now));
        let etag = reply.header("etag").unwrap_or_default().trim_matches('"').to_owned();
        Ok(Some(Object { bytes: reply.body, etag, age }))
    }

    /// Removes an object; one that is not there is no error.
    pub async fn remove(&self, key: &str) -> Result<(), Failure> {
        self.wire.ask(&self.object(Method::DELETE, key, "remove")).await.map(drop)
    }

    /// The names right below `below` (empty, or ending in `/`), sorted; those of folders end in `/`.
    pub async fn names(&self, below: &str) -> Result<Vec<String>, Failure> {
        let prefix = format!("{}{below}", self.prefix);
        let what = format!("list `{}/{prefix}`", self.bucket);
        let ask = Ask::bucket(Method::GET, &self.bucket, "list-type", what)
            .with("list-type", "2")
            .with("delimiter", "/")
            .with("encoding-type", "url")
            .with("prefix", prefix.clone());
        let mut names = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let page = next.iter().fold(ask.clone(), |ask, token| ask.with("continuation-token", token));
            let reply = self.wire.ask(&page).await?;
            let page = Element::parse(&reply.body).map_err(|why| self.wire.asked(&ask.what).unreadable(&why))?;
            let keys = page.all("Contents").map(|entry| entry.text_at(&["Key"]));
            let folders = page.all("CommonPrefixes").map(|entry| entry.text_at(&["Prefix"]));
            for key in keys.chain(folders) {
                let key = percent_encoding::percent_decode_str(key).decode_utf8_lossy();
                names.extend(key.strip_prefix(prefix.as_str()).filter(|name| !name.is_empty()).map(str::to_owned));
            }
            next = Some(page.text_at(&["NextContinuationToken"]).to_owned()).filter(|token| !token.is_empty());
            if next.is_none() {
                names.sort_unstable();
                return Ok(names);
            }
        }
    }

    fn object(&self, method: Method, key: &str, verb: &str) -> Ask {
        let key = format!("{}{key}", self.prefix);
        let what = format!("{verb} `{}/{key}`", self.bucket);
        Ask::object(method, &self.bucket, &key, what)
    }

    async fn conditional(
        &self,
        key: &str,
        content: Bytes,
        condition: HeaderName,
        etag: &str,
    ) -> Result<Option<String>, Failure> {
        let ask = self.object(Method::PUT, key, "write").with_header(condition, etag).with_body(content.clone());
        self.unheard(|| async {
            let refused = match self.wire.ask(&ask).await {
                Ok(reply) => return Ok(Some(reply.header("etag").unwrap_or_default().trim_matches('"').to_owned())),
                Err(failure) => failure,
            };
            match (refused.status(), refused.code()) {
                // An earlier attempt whose answer was lost looks just like this.
                (Some(412), _) | (Some(404), Some("NoSuchKey")) => {
                    let there = self.read(key).await?;
                    Ok(there.filter(|object| object.bytes == content).map(|object| object.etag))
                }
                _ => Err(refused),
            }
        })
        .await
    }

    /// Tries again while no answer comes: each of these writes may be sent twice.
    async fn unheard<T, F>(&self, attempt: impl Fn() -> F + Send + Sync) -> Result<T, Failure>
    where
        T: Send,
        F: Future<Output = Result<T, Failure>> + Send,
    {
        let end = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(100);
        loop {
            let failure = match attempt().await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            // 409: another conditional write was under way.
            let again = failure.status() == Some(409)
                || matches!(failure.class(), Some(Class::Unreachable | Class::TimedOut | Class::Throttled));
            if !again || Instant::now() + pause > end {
                return Err(failure);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_alias_a_bucket_and_a_prefix() {
        let read = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("ops/locks").unwrap(), "ops/locks/");
        assert_eq!(read("ops/locks/a/b").unwrap(), "ops/locks/a/b/");
        assert_eq!(read("ops/locks//a/").unwrap(), "ops/locks/a/");
        for bad in ["", "ops", "/locks", "ops/", "ops/No", "ops/locks/../x", "ops/locks/a\n"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
