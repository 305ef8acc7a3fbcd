//! A page of versions: their texts in one buffer, and a row of fixed size for each.

use std::mem::size_of;

use super::{Entry, Kind, Metadata, Token};

/// Versions in the order in which a listing gave them. Nothing in it is allocated for a single version, except
/// metadata.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Keys, each once for all of its versions that follow one another; and ids and tags that are no [`Token`] bytes.
    text: String,
    rows: Vec<Row>,
    metadata: Vec<Metadata>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    modified_ms: i64,
    size: u64,
    key: Span,
    version_id: Stored,
    etag: Stored,
    metadata: Option<u32>,
    kind: Kind,
    is_latest: bool,
}

/// A part of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stored {
    Uuid([u8; 16]),
    Md5([u8; 16]),
    Text(Span),
}

/// More than four GiB of text on one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a page is longer than a page can be")]
pub struct TooLong;

impl Page {
    pub fn with_capacity(versions: usize) -> Self {
        // A key is longer, and most have several versions; what is too little grows.
        let (text, rows) = (String::with_capacity(versions * 16), Vec::with_capacity(versions));
        Self { text, rows, metadata: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory that it takes, roughly.
    pub fn memory(&self) -> usize {
        let headers = |metadata: &Metadata| {
            let pairs = metadata.headers.iter().chain(&metadata.tags);
            pairs.map(|(name, value)| name.len() + value.len() + 64).sum::<usize>() + size_of::<Metadata>()
        };
        self.text.capacity()
            + self.rows.capacity() * size_of::<Row>()
            + self.metadata.iter().map(headers).sum::<usize>()
    }

    /// The version at a place, from 0.
    #[inline]
    pub fn get(&self, at: usize) -> Option<Entry<'_>> {
        self.rows.get(at).map(|row| self.entry(row))
    }

    pub fn last(&self) -> Option<Entry<'_>> {
        self.rows.last().map(|row| self.entry(row))
    }

    pub fn iter(&self) -> impl Iterator<Item = Entry<'_>> {
        self.rows.iter().map(|row| self.entry(row))
    }

    /// Adds a version.
    pub fn push(&mut self, entry: &Entry<'_>) -> Result<(), TooLong> {
        let key = match self.rows.last() {
            Some(row) if self.text(row.key) == entry.key => row.key,
            Some(_) | None => self.add(entry.key)?,
        };
        self.push_row(key, entry)
    }

    /// Adds a version of the same key as the last one's; `entry.key` is not looked at.
    pub(crate) fn push_to_last(&mut self, entry: &Entry<'_>) -> Result<(), TooLong> {
        let key = self.rows.last().map(|row| row.key).unwrap_or_default();
        self.push_row(key, entry)
    }

    fn push_row(&mut self, key: Span, entry: &Entry<'_>) -> Result<(), TooLong> {
        let version_id = self.store(entry.version_id)?;
        let etag = self.store(entry.etag)?;
        let metadata = match entry.metadata {
            Some(metadata) => {
                self.metadata.push(metadata.clone());
                Some(u32::try_from(self.metadata.len() - 1).map_err(|_| TooLong)?)
            }
            None => None,
        };
        let (kind, is_latest, size, modified_ms) = (entry.kind, entry.is_latest, entry.size, entry.modified_ms);
        self.rows.push(Row { modified_ms, size, key, version_id, etag, metadata, kind, is_latest });
        Ok(())
    }

    /// Keeps the first so many.
    pub fn truncate(&mut self, length: usize) {
        self.rows.truncate(length);
    }

    /// How many versions at the begin have keys up to and with this one, in the order of bytes. The keys must be
    /// in order.
    pub fn up_to(&self, key: &str) -> usize {
        self.rows.partition_point(|row| self.text(row.key).as_bytes() <= key.as_bytes())
    }

    /// The first key that comes before the one it follows, in the order of bytes, and that one.
    pub fn out_of_order(&self) -> Option<(&str, &str)> {
        let mut pairs = self.rows.windows(2).filter(|pair| pair[0].key != pair[1].key);
        let wrong = pairs.find(|pair| self.text(pair[1].key).as_bytes() < self.text(pair[0].key).as_bytes())?;
        Some((self.text(wrong[1].key), self.text(wrong[0].key)))
    }

    fn entry(&self, row: &Row) -> Entry<'_> {
        Entry {
            key: self.text(row.key),
            version_id: self.token(row.version_id),
            kind: row.kind,
            is_latest: row.is_latest,
            modified_ms: row.modified_ms,
            etag: self.token(row.etag),
            size: row.size,
            metadata: row.metadata.and_then(|at| self.metadata.get(at as usize)),
        }
    }

    fn text(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text.get(start..start + span.length as usize).unwrap_or_default()
    }

    fn token(&self, stored: Stored) -> Token<'_> {
        match stored {
            Stored::Uuid(bytes) => Token::Uuid(bytes),
            Stored::Md5(bytes) => Token::Md5(bytes),
            Stored::Text(span) => Token::Text(self.text(span)),
        }
    }

    fn store(&mut self, token: Token<'_>) -> Result<Stored, TooLong> {
        Ok(match token {
            Token::Uuid(bytes) => Stored::Uuid(bytes),
            Token::Md5(bytes) => Stored::Md5(bytes),
            Token::Text(text) => Stored::Text(self.add(text)?),
        })
    }

    fn add(&mut self, text: &str) -> Result<Span, TooLong> {
        let start = u32::try_from(self.text.len()).map_err(|_| TooLong)?;
        let length = u32::try_from(text.len()).map_err(|_| TooLong)?;
        self.text.push_str(text);
        Ok(Span { start, length })
    }
}
