//! Reads an inventory file, after all of it was verified.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
};

use flate2::read::GzDecoder;
use serde::de::IgnoredAny;

use super::{FORMAT, GZIP, Header, Line, Trailer, last_part};
use crate::{
    compare::Stream,
    digest::digest_of,
    failure::Failure,
    version::{Entry, Page, Token},
};

/// A page has so many versions.
const PAGE: usize = 1_000;
/// No line is longer, in bytes: a key has 1 KiB at most, tags and metadata a few.
const LONGEST: u64 = 1 << 20;
/// A gzip member besides its data, when that is in one uncompressed block.
const AROUND: u64 = 10 + 5 + 8;

/// Why a file cannot be read, with the place.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// The versions of a file that was verified, in order.
pub struct Reader {
    pub header: Header,
    pub trailer: Trailer,
    /// Only keys with this prefix are handed out.
    pub prefix: String,
    lines: Lines,
    read: u64,
}

type Lines = BufReader<GzDecoder<BufReader<io::Take<File>>>>;

impl Reader {
    /// Verifies the whole file: nothing of it is handed out unless all of it is as it was written.
    pub fn open(mut file: File) -> Result<Self, Unreadable> {
        let trailer = verify(&mut file)?;
        let mut lines = lines(file, trailer.bytes).map_err(unreadable)?;
        let mut line = Vec::new();
        next_line(&mut lines, &mut line).map_err(unreadable)?;
        let header: Header = serde_json::from_slice(&line)
            .map_err(|e| Unreadable(format!("line 1 does not say of what this is the inventory: {e}")))?;
        if header.firedrill_inventory != FORMAT {
            let found = header.firedrill_inventory;
            return Err(Unreadable(format!("it has format {found}, and this firedrill reads format {FORMAT}")));
        }
        let prefix = header.prefix.clone();
        Ok(Self { header, trailer, prefix, lines, read: 0 })
    }

    fn page(&mut self) -> io::Result<Option<Page>> {
        let mut page = Page::with_capacity(PAGE);
        let mut text = Vec::new();
        while page.len() < PAGE && next_line(&mut self.lines, &mut text)? {
            self.read += 1;
            let line: Line<'_> = serde_json::from_slice(&text)?;
            if line.key.starts_with(&self.prefix) {
                page.push(&entry(&line)).map_err(io::Error::other)?;
            }
        }
        if page.is_empty() && self.read != self.trailer.versions {
            return Err(io::Error::other(format!("{} versions, and not {}", self.read, self.trailer.versions)));
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

impl Stream for Reader {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        let broken = |e: io::Error, line: u64| Failure::refused(format!("the inventory, line {line}: {e}"));
        self.page().map_err(|e| broken(e, self.read + 1))
    }
}

fn entry<'l>(line: &'l Line<'_>) -> Entry<'l> {
    Entry {
        key: &line.key,
        version_id: Token::of(&line.version_id),
        kind: line.kind,
        is_latest: line.is_latest,
        modified_ms: line.last_modified.as_millisecond(),
        etag: Token::of(&line.etag),
        size: line.size,
        metadata: line.metadata.as_deref(),
    }
}

fn unreadable(e: io::Error) -> Unreadable {
    Unreadable(format!("cannot be read: {e}"))
}

/// The trailer, if the file is byte for byte what was written.
fn verify(file: &mut File) -> Result<Trailer, Unreadable> {
    let length = file.metadata().map_err(unreadable)?.len();
    let mut begin = Vec::new();
    file.rewind().and_then(|()| file.take(10).read_to_end(&mut begin)).map_err(unreadable)?;
    if begin != GZIP[..begin.len()] || begin.is_empty() {
        return Err(Unreadable("it is no inventory, or damaged in its first 10 bytes".into()));
    }
    let Some((trailer, part)) = trailer(file, length).map_err(unreadable)? else {
        let whole = whole_lines(file, length);
        return Err(Unreadable(format!("it is cut off or damaged at its end, byte {length}: {whole}")));
    };
    file.rewind().map_err(unreadable)?;
    let (bytes, sha256) = digest_of((&mut *file).take(length - part)).map_err(unreadable)?;
    if (bytes, sha256.as_str()) != (trailer.bytes, trailer.sha256.as_str()) {
        let whole = whole_lines(file, length - part);
        return Err(Unreadable(format!("it is damaged within its first {bytes} bytes: {whole}")));
    }
    Ok(trailer)
}

/// The trailer, and the length of the part that it is in; `None` when the end of the file is anything else.
fn trailer(file: &mut File, length: u64) -> io::Result<Option<(Trailer, u64)>> {
    if length < AROUND {
        return Ok(None);
    }
    let mut size = [0; 4];
    file.seek(SeekFrom::Start(length - 4))?;
    file.read_exact(&mut size)?;
    let part = u64::from(u32::from_le_bytes(size)) + AROUND;
    if part > length || part > 4_096 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(length - part))?;
    file.read_to_end(&mut bytes)?;
    let line = bytes.get(15..bytes.len().saturating_sub(8)).unwrap_or_default();
    let Ok(trailer) = serde_json::from_slice::<Trailer>(line) else { return Ok(None) };
    Ok((last_part(&trailer)? == bytes).then_some((trailer, part)))
}

/// Says how far a broken file can be read.
fn whole_lines(file: &File, length: u64) -> String {
    let (mut count, mut text) = (0_u64, Vec::new());
    let failed = match file.try_clone().and_then(|file| lines(file, length)) {
        Err(e) => Some(e.to_string()),
        Ok(mut lines) => loop {
            match next_line(&mut lines, &mut text) {
                Ok(true) if serde_json::from_slice::<IgnoredAny>(&text).is_ok() => count += 1,
                Ok(true) => break Some("it is no JSON".to_owned()),
                Ok(false) => break None,
                Err(e) => break Some(e.to_string()),
            }
        },
    };
    match failed {
        Some(why) => format!("line {} cannot be read ({why})", count + 1),
        None => format!("{count} lines can be read, and nothing vouches for them"),
    }
}

/// The lines of the first so many bytes.
fn lines(mut file: File, length: u64) -> io::Result<Lines> {
    file.rewind()?;
    Ok(BufReader::new(GzDecoder::new(BufReader::new(file.take(length)))))
}

/// The next line without its end; false when there is none.
fn next_line(lines: &mut Lines, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    lines.take(LONGEST).read_until(b'\n', line)?;
    match line.pop() {
        None => Ok(false),
        Some(b'\n') => Ok(true),
        Some(_) => Err(io::Error::other("it does not end")),
    }
}
