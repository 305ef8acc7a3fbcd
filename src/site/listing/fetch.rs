//! One page, asked for and read as it comes.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::Method;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use tokio::time::timeout;

use super::{Listing, ranges::Marker};
use crate::{
    failure::Failure,
    site::{
        Wire,
        net::{LONGEST, Silence, why_silent},
        page::Unusable,
        sign::Ask,
    },
    types::BucketName,
};

/// Takes a page piece by piece.
pub(super) type Take<'a> = &'a mut (dyn FnMut(&[u8]) -> Result<(), Unusable> + Send);

/// Who gives the pages.
pub(super) trait Server: Send + Sync {
    /// The page after a marker, piece by piece.
    fn page<'a>(&'a self, marker: Option<&'a Marker>, take: Take<'a>) -> BoxFuture<'a, Result<(), Failure>>;
    /// What it means that a page is of no use.
    fn unusable(&self, unusable: Unusable) -> Failure;
}

/// A site.
pub(super) struct Http {
    wire: Arc<Wire>,
    /// All but the marker.
    ask: Ask,
}

impl Http {
    pub(super) fn new(wire: Arc<Wire>, bucket: BucketName, listing: &Listing) -> Self {
        let what = format!("list the versions of `{bucket}`");
        let mut ask = Ask::bucket(Method::GET, &bucket, "versions", what).with("encoding-type", "url");
        if listing.metadata {
            ask = ask.with("metadata", "true");
        }
        if !listing.prefix.is_empty() {
            ask = ask.with("prefix", &listing.prefix);
        }
        if let Some(size) = listing.page_size {
            ask = ask.with("max-keys", size.max(1).to_string());
        }
        Self { wire, ask }
    }

    async fn read(&self, ask: &Ask, take: Take<'_>) -> Result<(), Failure> {
        let silent = |silence: &Silence| self.wire.asked(&ask.what).silence(silence);
        let body = self.wire.stream(ask).await?;
        // What is too long by its own account is not begun.
        if body.size_hint().lower() > LONGEST as u64 {
            return Err(silent(&Silence::TooLong));
        }
        let mut body = Limited::new(body, LONGEST);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|e| silent(&why_silent(&*e, false)))?;
            if let Some(piece) = frame.data_ref() {
                take(piece).map_err(|unusable| self.unusable(unusable))?;
            }
        }
        Ok(())
    }
}

impl Server for Http {
    fn page<'a>(&'a self, marker: Option<&'a Marker>, take: Take<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let mut ask = self.ask.clone();
            if let Some(marker) = marker {
                ask = ask.with("key-marker", &marker.sent);
                if !marker.version_id.is_empty() {
                    ask = ask.with("version-id-marker", &marker.version_id);
                }
            }
            let limit = self.wire.request_timeout();
            let silent = |_| self.wire.asked(&ask.what).silence(&Silence::TimedOut(limit));
            timeout(limit, self.read(&ask, take)).await.map_err(silent)?
        })
    }

    fn unusable(&self, unusable: Unusable) -> Failure {
        let asked = self.wire.asked(&self.ask.what);
        match unusable {
            Unusable::NotAListing => asked.unknown_call(),
            Unusable::Broken(why) => asked.unreadable(&why),
        }
    }
}
