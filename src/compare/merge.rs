//! The merge: two ordered streams of versions become one stream of keys, each with its versions of both sites.

use std::{cmp::Ordering, future::Future};

use futures_util::future::try_join;

use crate::version::Version;

/// Versions of one site, keys in ascending order of their bytes.
pub trait Stream: Send {
    type Error: Send;
    fn next(&mut self) -> impl Future<Output = Result<Option<Version>, Self::Error>> + Send;
}

/// A bucket that is not there has no versions.
impl<S: Stream> Stream for Option<S> {
    type Error = S::Error;
    async fn next(&mut self) -> Result<Option<Version>, S::Error> {
        match self {
            Some(stream) => stream.next().await,
            None => Ok(None),
        }
    }
}

/// One of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Source,
    Target,
}

/// Why a merge cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken<E> {
    /// A stream failed.
    Stream(E),
    /// A stream's keys went backwards: merging it would be silently wrong.
    OutOfOrder { which: Which, key: String, after: String },
}

/// All versions of one key, on both sites.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyVersions {
    pub key: String,
    pub source: Vec<Version>,
    pub target: Vec<Version>,
}

/// Walks two streams side by side; holds one key's versions of each.
pub struct Merge<S, T> {
    source: Side<S>,
    target: Side<T>,
}

struct Side<S> {
    which: Which,
    stream: S,
    /// The first version of the key after the group.
    ahead: Option<Version>,
    group: Option<(String, Vec<Version>)>,
    begun: bool,
}

impl<S, T> Merge<S, T>
where
    S: Stream,
    T: Stream<Error = S::Error>,
{
    pub fn new(source: S, target: T) -> Self {
        let source = Side { which: Which::Source, stream: source, ahead: None, group: None, begun: false };
        let target = Side { which: Which::Target, stream: target, ahead: None, group: None, begun: false };
        Self { source, target }
    }

    /// The next key in order; `None` at the end of both streams.
    pub async fn next(&mut self) -> Result<Option<KeyVersions>, Broken<S::Error>> {
        // Both at once: each may have to fetch a page.
        try_join(self.source.fill(), self.target.fill()).await?;
        let order = match (&self.source.group, &self.target.group) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((a, _)), Some((b, _))) => a.as_bytes().cmp(b.as_bytes()),
        };
        let source = if order.is_le() { self.source.group.take() } else { None };
        let target = if order.is_ge() { self.target.group.take() } else { None };
        let (source_key, source) = source.unwrap_or_default();
        let (target_key, target) = target.unwrap_or_default();
        let key = if order.is_le() { source_key } else { target_key };
        Ok(Some(KeyVersions { key, source, target }))
    }
}

impl<S: Stream> Side<S> {
    async fn fill(&mut self) -> Result<(), Broken<S::Error>> {
        if self.group.is_some() {
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            self.ahead = self.stream.next().await.map_err(Broken::Stream)?;
        }
        let Some(first) = self.ahead.take() else { return Ok(()) };
        let key = first.key.clone();
        let mut versions = vec![first];
        while let Some(version) = self.stream.next().await.map_err(Broken::Stream)? {
            match version.key.as_bytes().cmp(key.as_bytes()) {
                Ordering::Equal => versions.push(version),
                Ordering::Greater => {
                    self.ahead = Some(version);
                    break;
                }
                Ordering::Less => {
                    return Err(Broken::OutOfOrder { which: self.which, key: version.key, after: key });
                }
            }
        }
        self.group = Some((key, versions));
        Ok(())
    }
}
