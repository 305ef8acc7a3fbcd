//! Streaming version listings, in MinIO's own order: keys by their bytes, within a key the newest first.

use std::{collections::VecDeque, sync::Arc};

use http::Method;

use super::{Site, Wire, page, sign::Ask};
use crate::{failure::Failure, step::Access, types::BucketName, version::Version};

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Headers and tags too (MinIO's `metadata=true`); they are left out silently without leave to read them.
    pub metadata: bool,
    /// Versions a page, 1,000 unless said.
    pub page_size: Option<u16>,
}

/// The versions of a bucket, one after the other; pages are fetched as they are needed.
pub struct Versions {
    wire: Arc<Wire>,
    bucket: BucketName,
    listing: Listing,
    page: VecDeque<Version>,
    /// Key and version id where the next page begins, as the server gave them.
    marker: Option<(String, String)>,
    done: bool,
}

impl<A: Access> Site<A> {
    /// The versions of a bucket; nothing is asked before the first [`Versions::next`].
    pub fn versions(&self, bucket: &BucketName, listing: Listing) -> Versions {
        // MinIO refuses a key to begin after that lies outside the prefix.
        let Listing { prefix, after, .. } = &listing;
        let outside = after.as_ref().filter(|a| !a.starts_with(prefix.as_str()));
        let done = outside.is_some_and(|a| a.as_bytes() > prefix.as_bytes());
        let marker = if outside.is_some() { None } else { after.clone().map(|key| (key, String::new())) };
        Versions { wire: Arc::clone(&self.wire), bucket: bucket.clone(), listing, page: VecDeque::new(), marker, done }
    }
}

impl Versions {
    /// The next version; `None` at the end of the bucket. After a failure it may be called again, and goes on where
    /// it was.
    pub async fn next(&mut self) -> Result<Option<Version>, Failure> {
        while self.page.is_empty() && !self.done {
            self.fetch().await?;
        }
        Ok(self.page.pop_front())
    }

    async fn fetch(&mut self) -> Result<(), Failure> {
        let ask = self.request();
        let reply = self.wire.ask(&ask).await?;
        let asked = self.wire.asked(&ask.what);
        let page = page::parse(&reply.body).map_err(|error| match error {
            page::Unusable::NotAListing => asked.unknown_call(),
            page::Unusable::Broken(why) => asked.unreadable(&why),
        })?;
        match page.next {
            Some(next) if Some(&next) == self.marker.as_ref() => {
                return Err(asked.unreadable("the page after this one is this one again"));
            }
            next => {
                self.done = next.is_none();
                self.marker = next;
            }
        }
        self.page = page.versions.into();
        Ok(())
    }

    fn request(&self) -> Ask {
        let what = format!("list the versions of `{}`", self.bucket);
        let mut ask = Ask::bucket(Method::GET, &self.bucket, "versions", what).with("encoding-type", "url");
        if self.listing.metadata {
            ask = ask.with("metadata", "true");
        }
        if !self.listing.prefix.is_empty() {
            ask = ask.with("prefix", &self.listing.prefix);
        }
        if let Some((key, version)) = &self.marker {
            ask = ask.with("key-marker", key);
            if !version.is_empty() {
                ask = ask.with("version-id-marker", version);
            }
        }
        if let Some(size) = self.listing.page_size {
            ask = ask.with("max-keys", size.max(1).to_string());
        }
        ask
    }
}
