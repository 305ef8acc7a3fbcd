//! The recorder on disk: one JSON object a line, each line bound to the one before by its SHA-256, secrets masked.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{
    clock::Clock,
    digest::digest,
    event::{ArtifactFile, Durable, Event, FORMAT, Line, Recorder},
    failure::Failure,
    mask::Masker,
};

/// The name of the journal in a run's directory.
pub const JOURNAL: &str = "journal.jsonl";

/// What the first line names as the hash of the line before it.
pub const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// A journal as it was read.
#[derive(Debug)]
pub struct Journal {
    pub lines: Vec<Line>,
    /// SHA-256 of the last line: it stands for the whole journal.
    pub head: String,
    /// Bytes of whole lines; what follows is a line that was cut off while it was written.
    pub whole_bytes: u64,
    pub torn_bytes: u64,
}

/// Why a journal cannot be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Unsound {
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("line {line}: {what}")]
    Line { line: u64, what: String },
}

/// Reads a journal and verifies its chain. A last line without its line feed is torn, not changed.
pub fn read(path: &Path) -> Result<Journal, Unsound> {
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    parse(&bytes)
}

/// The same over the bytes of a journal.
pub fn parse(bytes: &[u8]) -> Result<Journal, Unsound> {
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
    let mut lines = Vec::new();
    let mut head = NO_LINE.to_owned();
    for (number, text) in (1..).zip(bytes[..whole].split_inclusive(|b| *b == b'\n')) {
        let text = &text[..text.len() - 1];
        let bad = |what: String| Unsound::Line { line: number, what };
        let line: Line = serde_json::from_slice(text).map_err(|e| bad(format!("is no event: {e}")))?;
        if line.v != FORMAT {
            return Err(bad(format!("has format {}, this version reads {FORMAT}", line.v)));
        }
        if line.prev != head {
            return Err(bad("does not follow the line before it: something was changed, removed or added here, \
                            or in the line before"
                .into()));
        }
        if line.seq + 1 != number {
            return Err(bad(format!("says that it is number {}", line.seq)));
        }
        head = digest(text);
        lines.push(line);
    }
    if lines.is_empty() {
        return Err(Unsound::Line { line: 1, what: "there is no whole line".into() });
    }
    Ok(Journal { lines, head, whole_bytes: whole as u64, torn_bytes: (bytes.len() - whole) as u64 })
}

/// Writes a journal, and the files beside it.
pub struct FileRecorder {
    dir: PathBuf,
    clock: Clock,
    masker: Masker,
    tail: Mutex<Tail>,
}

struct Tail {
    file: File,
    seq: u64,
    prev: String,
    /// A line could not be written: nothing is ever written after it.
    failed: Option<String>,
}

impl FileRecorder {
    /// A new journal in `dir`. `file` must be empty, and locked by the caller.
    pub fn new(dir: PathBuf, file: File, clock: Clock, masker: Masker) -> Self {
        let tail = Tail { file, seq: 0, prev: NO_LINE.to_owned(), failed: None };
        Self { dir, clock, masker, tail: Mutex::new(tail) }
    }

    /// Goes on with a journal; a torn last line is cut off.
    pub fn append(dir: PathBuf, file: File, read: &Journal, clock: Clock, masker: Masker) -> io::Result<Self> {
        file.set_len(read.whole_bytes)?;
        file.sync_data()?;
        let tail = Tail { file, seq: read.lines.len() as u64, prev: read.head.clone(), failed: None };
        Ok(Self { dir, clock, masker, tail: Mutex::new(tail) })
    }
}

impl Recorder for FileRecorder {
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &tail.failed {
            return Err(Failure::Journal(why.clone()));
        }
        line(tail.seq, &tail.prev, self.clock, &self.masker, path, event)
    }

    fn write(&self, line: &Line, durable: Durable) -> Result<(), Failure> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        match write_line(&mut tail.file, line, durable) {
            Ok(hash) => {
                tail.seq += 1;
                tail.prev = hash;
                Ok(())
            }
            Err(e) => {
                let why = format!("{}: {e}", self.dir.join(JOURNAL).display());
                tail.failed = Some(why.clone());
                Err(Failure::Journal(why))
            }
        }
    }

    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        let path = self.dir.join(name);
        let failed = |e: io::Error| Failure::Journal(format!("{}: {e}", path.display()));
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            Ok(()) | Err(_) => {}
        }
        let file = private().create_new(true).write(true).open(&path).map_err(failed)?;
        Ok(Box::new(FileArtifact { name: name.to_owned(), file, digest: Sha256::new(), bytes: 0 }))
    }
}

fn line(seq: u64, prev: &str, clock: Clock, masker: &Masker, path: &str, event: &Event) -> Result<Line, Failure> {
    let (event, masked) = masker
        .event(event)
        .map_err(|e| Failure::Journal(format!("an event with a secret in it cannot be masked: {e}")))?;
    Ok(Line { v: FORMAT, seq, at: clock.now(), prev: prev.to_owned(), path: path.to_owned(), masked, event })
}

/// Options for a file that only its owner may read.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// One write for the whole line, so that a crash tears a line but never mixes two.
fn write_line(file: &mut File, line: &Line, durable: Durable) -> io::Result<String> {
    let mut text = serde_json::to_vec(line)?;
    let hash = digest(&text);
    text.push(b'\n');
    file.write_all(&text)?;
    match durable {
        Durable::Yes => file.sync_data()?,
        Durable::No => {}
    }
    Ok(hash)
}

struct FileArtifact {
    name: String,
    file: File,
    digest: Sha256,
    bytes: u64,
}

impl Write for FileArtifact {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl ArtifactFile for FileArtifact {
    fn close(self: Box<Self>) -> Result<Event, Failure> {
        self.file.sync_data().map_err(|e| Failure::Journal(format!("{}: {e}", self.name)))?;
        Ok(Event::Artifact { name: self.name, sha256: hex::encode(self.digest.finalize()), bytes: self.bytes })
    }
}

/// Keeps lines in memory and writes no files: for `plan`, which leaves nothing behind, and for tests.
pub struct MemoryRecorder {
    clock: Clock,
    masker: Masker,
    seq: Mutex<u64>,
}

impl MemoryRecorder {
    pub fn new(clock: Clock, masker: Masker) -> Self {
        Self { clock, masker, seq: Mutex::new(0) }
    }
}

impl Recorder for MemoryRecorder {
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure> {
        let seq = *self.seq.lock().unwrap_or_else(PoisonError::into_inner);
        line(seq, NO_LINE, self.clock, &self.masker, path, event)
    }

    fn write(&self, _: &Line, _: Durable) -> Result<(), Failure> {
        *self.seq.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Ok(())
    }

    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        Ok(Box::new(NoFile { name: name.to_owned(), digest: Sha256::new(), bytes: 0 }))
    }
}

struct NoFile {
    name: String,
    digest: Sha256,
    bytes: u64,
}

impl Write for NoFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ArtifactFile for NoFile {
    fn close(self: Box<Self>) -> Result<Event, Failure> {
        Ok(Event::Artifact { name: self.name, sha256: hex::encode(self.digest.finalize()), bytes: self.bytes })
    }
}
