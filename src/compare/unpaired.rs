//! The versions of one key that have not met their partner on the other site: a few in memory, and when they become
//! many, in a file that has no name.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, BufRead, BufReader, BufWriter, Seek, Write},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Which;
use crate::version::{Entry, Kind, Metadata, Token, Version};

/// So many of both sites wait in memory.
const IN_MEMORY: usize = 20_000;
/// What is on disk is in so many parts, each of which is matched in memory.
const PARTS: usize = 64;
/// So many version ids of a key are remembered, to know those that a listing repeats.
const REMEMBERED: usize = 100_000;
/// More than these are looked up, and not looked through.
const FEW: usize = 32;

#[derive(Default)]
pub(super) struct Unpaired {
    pub(super) source: Seen,
    pub(super) target: Seen,
    waiting: Waiting,
    disk: Option<Disk>,
    /// The key has ended; parts of the disk are handed out from here on.
    part: Option<usize>,
}

/// By version id.
#[derive(Default)]
struct Waiting {
    source: HashMap<String, Version>,
    target: HashMap<String, Version>,
}

/// What became of a version that is looking for its partner.
pub(super) enum Pairing {
    Found(Version),
    /// Its partner may still come.
    Waits,
    /// It has none.
    Alone,
}

/// Versions, each with its partner, or without.
pub(super) type Part = Vec<(Option<Version>, Option<Version>)>;

impl Unpaired {
    /// The next key begins.
    pub(super) fn begin(&mut self) {
        self.source.begin();
        self.target.begin();
        self.part = None;
    }

    /// Looks for the partner of a version.
    pub(super) fn pair(&mut self, which: Which, entry: &Entry<'_>, others_follow: bool) -> io::Result<Pairing> {
        let Waiting { source, target } = &mut self.waiting;
        let (own, others) = match which {
            Which::Source => (source, target),
            Which::Target => (target, source),
        };
        if !others.is_empty()
            && let Some(partner) = others.remove(&entry.version_id.to_string())
        {
            return Ok(Pairing::Found(partner));
        }
        if !others_follow && self.disk.is_none() {
            return Ok(Pairing::Alone);
        }
        // All of them have one key, which the caller knows.
        let version = Entry { key: "", ..*entry }.to_version();
        own.insert(version.version_id.clone(), version);
        if self.waiting.source.len() + self.waiting.target.len() > IN_MEMORY {
            self.write()?;
        }
        Ok(Pairing::Waits)
    }

    /// Some of those that waited until the end of the key: `None` when all were handed out.
    pub(super) fn next_part(&mut self) -> io::Result<Option<Part>> {
        if self.disk.is_none() {
            let part = self.waiting.drain();
            return Ok((!part.is_empty()).then_some(part));
        }
        if self.part.is_none() {
            self.write()?;
        }
        let at = self.part.unwrap_or_default();
        self.part = Some(at + 1);
        let Some(file) = self.disk.as_mut().and_then(|disk| disk.parts.get_mut(at)) else {
            self.disk = None;
            return Ok(None);
        };
        read(file).map(Some)
    }

    /// Whether the sites call different versions the latest.
    pub(super) fn latest_differs(&self) -> bool {
        match (&self.source.latest, &self.target.latest) {
            (Some(source), Some(target)) => source != target,
            (None, _) | (_, None) => false,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        if self.disk.is_none() {
            self.disk = Some(Disk::new()?);
        }
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let Waiting { source, target } = &mut self.waiting;
        for version in source.drain() {
            disk.write(Which::Source, &version.1)?;
        }
        for version in target.drain() {
            disk.write(Which::Target, &version.1)?;
        }
        Ok(())
    }
}

impl Waiting {
    /// All of them, the newest first.
    fn drain(&mut self) -> Part {
        let source = self.source.drain().map(|(_, version)| (Some(version), None));
        let target = self.target.drain().map(|(_, version)| (None, Some(version)));
        sorted(source.chain(target).collect())
    }
}

fn sorted(mut part: Part) -> Part {
    part.sort_by(|a, b| order(a).cmp(&order(b)));
    part
}

/// Newest first; what is on the source comes first among those of one moment.
fn order(pair: &(Option<Version>, Option<Version>)) -> (std::cmp::Reverse<Timestamp>, bool, &str) {
    let (version, on_target) = match pair {
        (Some(version), _) => (Some(version), false),
        (None, version) => (version.as_ref(), true),
    };
    let (time, id) = version.map_or((Timestamp::MIN, ""), |v| (v.last_modified, v.version_id.as_str()));
    (std::cmp::Reverse(time), on_target, id)
}

/// The ids of one key on one site, so far.
#[derive(Default)]
pub(super) struct Seen {
    ids: Vec<Id>,
    /// The same, when it had to be looked into them.
    set: HashSet<Id>,
    /// In milliseconds.
    oldest: Option<i64>,
    latest: Option<Id>,
}

/// A version id that stands on its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Id {
    Null,
    Bytes([u8; 16]),
    Text(Box<str>),
}

impl From<Token<'_>> for Id {
    fn from(token: Token<'_>) -> Self {
        match token {
            Token::Text("null") => Self::Null,
            Token::Uuid(bytes) => Self::Bytes(bytes),
            // What looks like an MD5 is no UUID, and must not be taken for one.
            Token::Md5(_) => Self::Text(token.to_string().into()),
            Token::Text(text) => Self::Text(text.into()),
        }
    }
}

impl Seen {
    fn begin(&mut self) {
        self.ids.clear();
        self.oldest = None;
        self.latest = None;
        if !self.set.is_empty() {
            self.set = HashSet::new();
        }
        // A key with very many versions is rare; its memory is not kept for the next one.
        if self.ids.capacity() > 10_000 {
            self.ids = Vec::new();
        }
    }

    /// Whether a version was not there before. A listing repeats versions of a key when one was deleted between two
    /// pages, and the first of each id counts.
    pub(super) fn is_new(&mut self, entry: &Entry<'_>) -> bool {
        let id = Id::from(entry.version_id);
        // Versions come newest first, so one that is older than all before is surely new.
        let newer = self.oldest.is_some_and(|oldest| entry.modified_ms >= oldest);
        if newer && self.contains(&id) {
            return false;
        }
        self.oldest = Some(self.oldest.map_or(entry.modified_ms, |oldest| oldest.min(entry.modified_ms)));
        if entry.is_latest && self.latest.is_none() {
            self.latest = Some(id.clone());
        }
        if self.ids.len() < REMEMBERED {
            if !self.set.is_empty() {
                self.set.insert(id.clone());
            }
            self.ids.push(id);
        }
        true
    }

    fn contains(&mut self, id: &Id) -> bool {
        if self.ids.len() <= FEW {
            return self.ids.contains(id);
        }
        if self.set.is_empty() {
            self.set.extend(self.ids.iter().cloned());
        }
        self.set.contains(id)
    }
}

/// Files that nobody but this process can open, and that are gone with it.
struct Disk {
    parts: Vec<BufWriter<File>>,
}

/// A version as it is written to disk, one JSON object a line.
#[derive(Serialize, Deserialize)]
struct Line {
    on_target: bool,
    id: String,
    kind: Kind,
    is_latest: bool,
    ms: i64,
    etag: String,
    size: u64,
    metadata: Option<Metadata>,
}

impl Disk {
    fn new() -> io::Result<Self> {
        let parts = (0..PARTS).map(|_| tempfile::tempfile().map(BufWriter::new));
        Ok(Self { parts: parts.collect::<io::Result<_>>()? })
    }

    fn write(&mut self, which: Which, version: &Version) -> io::Result<()> {
        let mut hasher = DefaultHasher::new();
        version.version_id.hash(&mut hasher);
        let part = usize::try_from(hasher.finish() % PARTS as u64).unwrap_or(0);
        let Some(file) = self.parts.get_mut(part) else { return Ok(()) };
        let line = Line {
            on_target: which == Which::Target,
            id: version.version_id.clone(),
            kind: version.kind,
            is_latest: version.is_latest,
            ms: version.last_modified.as_millisecond(),
            etag: version.etag.clone(),
            size: version.size,
            metadata: version.metadata.clone(),
        };
        serde_json::to_writer(&mut *file, &line)?;
        file.write_all(b"\n")
    }
}

/// The versions of one part, each with its partner if it has one.
fn read(file: &mut BufWriter<File>) -> io::Result<Part> {
    file.flush()?;
    let file = file.get_mut();
    file.rewind()?;
    let mut pairs: HashMap<String, (Option<Version>, Option<Version>)> = HashMap::new();
    for line in BufReader::new(file).lines() {
        let Line { on_target, id, kind, is_latest, ms, etag, size, metadata } = serde_json::from_str(&line?)?;
        let last_modified = Timestamp::from_millisecond(ms).map_err(io::Error::other)?;
        let version_id = id.clone();
        let version = Version { key: String::new(), version_id, kind, is_latest, last_modified, etag, size, metadata };
        let pair = pairs.entry(id).or_default();
        let side = if on_target { &mut pair.1 } else { &mut pair.0 };
        side.get_or_insert(version);
    }
    Ok(sorted(pairs.into_values().collect()))
}
