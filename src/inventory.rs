//! Inventory files: the version listing of a bucket as a file, that another listing can be held against. Written and
//! read one version after the other, so that memory does not grow with it; `docs/inventory.md` describes the format.

mod read;
mod write;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    read::{Reader, Unreadable},
    write::Writer,
};
use crate::version::{Kind, Metadata};

/// The version of the format, and what tells the file from others.
const FORMAT: u32 = 1;
/// A gzip header without a name and a time (RFC 1952, 2.3): no two files of one content differ in it.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The first line: what was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub firedrill_inventory: u32,
    pub site: String,
    pub endpoint: String,
    pub bucket: String,
    /// Only keys with this prefix were listed.
    pub prefix: String,
    /// Tags and metadata are in it.
    pub metadata: bool,
    /// By the site's clock, before the first page was asked for.
    pub taken_at: Timestamp,
}

/// The last line: what the file has to be, to be whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trailer {
    /// Versions and delete markers.
    pub versions: u64,
    /// So many bytes of the file come before the part with this line.
    pub bytes: u64,
    /// SHA-256 of these bytes, in hex.
    pub sha256: String,
}

/// A line between the two.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'l> {
    key: Cow<'l, str>,
    version_id: Cow<'l, str>,
    kind: Kind,
    is_latest: bool,
    last_modified: Timestamp,
    etag: Cow<'l, str>,
    size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<Cow<'l, Metadata>>,
}

impl Header {
    pub fn new(site: &str, endpoint: String, bucket: &str, prefix: &str, taken_at: Timestamp) -> Self {
        let [site, bucket, prefix] = [site, bucket, prefix].map(str::to_owned);
        Self { firedrill_inventory: FORMAT, site, endpoint, bucket, prefix, metadata: false, taken_at }
    }
}

/// The last part of a file: the trailer in a gzip member of its own, uncompressed, so that the same trailer always
/// becomes the same bytes and no bit of it can be another one (RFC 1952, 2.2; RFC 1951, 3.2.4).
fn last_part(trailer: &Trailer) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(trailer)?;
    line.push(b'\n');
    let mut checksum = flate2::Crc::new();
    checksum.update(&line);
    // Some 120 bytes.
    let length = u16::try_from(line.len()).unwrap_or(u16::MAX);
    let mut part = GZIP.to_vec();
    part.push(1);
    part.extend(length.to_le_bytes());
    part.extend((!length).to_le_bytes());
    part.extend(&line);
    part.extend(checksum.sum().to_le_bytes());
    part.extend(u32::from(length).to_le_bytes());
    Ok(part)
}

#[cfg(test)]
mod tests;
