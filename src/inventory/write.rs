//! Writes an inventory file.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use flate2::{Compression, GzBuilder, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::{Header, Line, Trailer, last_part};
use crate::version::{Entry, Page};

/// A file that is written; without [`Writer::end`] it is none.
pub struct Writer<W: Write> {
    lines: GzEncoder<Hashed<W>>,
    versions: u64,
}

impl<W: Write> Writer<W> {
    pub fn begin(out: W, header: &Header) -> io::Result<Self> {
        let out = Hashed { out, hash: Sha256::new(), bytes: 0 };
        // 255: no operating system, so that the header of the member is always the same.
        let lines = GzBuilder::new().operating_system(255).write(out, Compression::default());
        let mut writer = Self { lines, versions: 0 };
        serde_json::to_writer(&mut writer.lines, header)?;
        writer.lines.write_all(b"\n")?;
        Ok(writer)
    }

    /// Adds versions, in the order of a listing.
    pub fn page(&mut self, page: &Page) -> io::Result<()> {
        for entry in page.iter() {
            serde_json::to_writer(&mut self.lines, &line(&entry))?;
            self.lines.write_all(b"\n")?;
            self.versions += 1;
        }
        Ok(())
    }

    /// Ends the file, and gives back what it was written to.
    pub fn end(self) -> io::Result<(W, Trailer)> {
        let Hashed { mut out, hash, bytes } = self.lines.finish()?;
        let trailer = Trailer { versions: self.versions, bytes, sha256: hex::encode(hash.finalize()) };
        out.write_all(&last_part(&trailer)?)?;
        out.flush()?;
        Ok((out, trailer))
    }
}

fn line<'l>(entry: &Entry<'l>) -> Line<'l> {
    Line {
        key: Cow::Borrowed(entry.key),
        version_id: entry.version_id.to_string().into(),
        kind: entry.kind,
        is_latest: entry.is_latest,
        last_modified: entry.last_modified(),
        etag: entry.etag.to_string().into(),
        size: entry.size,
        metadata: entry.metadata.map(Cow::Borrowed),
    }
}

struct Hashed<W> {
    out: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
