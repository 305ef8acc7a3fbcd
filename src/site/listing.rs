//! Streaming version listings, in MinIO's own order: keys by their bytes, within a key the newest first.

use std::{collections::VecDeque, sync::Arc};

use super::{Site, Wire};
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
    marker: Option<(String, String)>,
    done: bool,
}

impl<A: Access> Site<A> {
    pub fn versions(&self, bucket: &BucketName, listing: Listing) -> Versions {
        Versions {
            wire: Arc::clone(&self.wire),
            bucket: bucket.clone(),
            listing,
            page: VecDeque::new(),
            marker: None,
            done: false,
        }
    }
}

impl Versions {
    /// The next version; `None` at the end of the bucket.
    pub async fn next(&mut self) -> Result<Option<Version>, Failure> {
        todo!()
    }
}
