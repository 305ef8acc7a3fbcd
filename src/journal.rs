//! The recorder on disk: one JSON object a line, each line bound to the one before by its SHA-256, secrets masked.

pub mod shared;

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{
    clock::Clock,
    digest::digest,
    event::{ArtifactFile, Durable, Event, FORMAT, Line, Progress, Recorder},
    failure::Failure,
    mask::Masker,
    secret::private,
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
    parse(&read_file(path)?)
}

/// Reads a file of a run; a symbolic link in its place is not followed.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = private().read(true).open(path).map_err(|e| not_followed(path, e))?;
    // A pipe or a device in its place would never end.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("is no file"));
    }
    (&file).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says it when what could not be opened is a symbolic link: the system's words do not.
pub fn not_followed(path: &Path, error: io::Error) -> io::Error {
    let link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    if link { io::Error::other("is a symbolic link, which is not followed") } else { error }
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

    fn masked(&self, progress: &Progress) -> Progress {
        Progress { what: self.masker.text(&progress.what).into_owned(), ..progress.clone() }
    }
}

fn line(seq: u64, prev: &str, clock: Clock, masker: &Masker, path: &str, event: &Event) -> Result<Line, Failure> {
    let (event, masked) = masker
        .event(event)
        .map_err(|e| Failure::Journal(format!("an event with a secret in it cannot be masked: {e}")))?;
    Ok(Line { v: FORMAT, seq, at: clock.now(), prev: prev.to_owned(), path: path.to_owned(), masked, event })
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

    fn masked(&self, progress: &Progress) -> Progress {
        Progress { what: self.masker.text(&progress.what).into_owned(), ..progress.clone() }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::RunStarted, secret::Secret};

    fn started(secret: &str) -> Event {
        let started = serde_json::json!({
            "run": "r", "tool": "firedrill", "runbook": "look", "runbook_sha256": "0", "kind": "verify", "user": "u",
            "host": "h", "inputs": {"bucket": "docs", "token": secret}, "sites": {}, "steps": ["look"], "finally": [],
        });
        Event::RunStarted(Box::new(serde_json::from_value::<RunStarted>(started).unwrap()))
    }

    /// A journal of three lines in a folder, with the recorder that wrote it.
    fn written() -> (tempfile::TempDir, FileRecorder) {
        let dir = tempfile::tempdir().unwrap();
        let file = private().create_new(true).append(true).open(dir.path().join(JOURNAL)).unwrap();
        let masker = Masker::new([Secret::new("hunter22")], ["token".to_owned()]);
        let recorder = FileRecorder::new(dir.path().to_owned(), file, Clock::Wall, masker);
        record(&recorder, "", &started("x"));
        record(&recorder, "look", &Event::StepSkipped { why: "no hunter22".into() });
        record(&recorder, "", &Event::Finishing { why: crate::event::Stop::LastStep });
        (dir, recorder)
    }

    fn record(recorder: &FileRecorder, path: &str, event: &Event) -> Line {
        let line = recorder.next(path, event).unwrap();
        recorder.write(&line, Durable::Yes).unwrap();
        line
    }

    fn bytes(dir: &tempfile::TempDir) -> Vec<u8> {
        std::fs::read(dir.path().join(JOURNAL)).unwrap()
    }

    #[test]
    fn a_journal_is_read_as_it_was_written_without_its_secrets() {
        let (dir, _recorder) = written();
        let journal = read(&dir.path().join(JOURNAL)).unwrap();
        assert_eq!((journal.lines.len(), journal.torn_bytes), (3, 0));
        assert_eq!(journal.whole_bytes, bytes(&dir).len() as u64);
        assert_eq!(journal.lines[0].prev, NO_LINE);
        assert_eq!(journal.lines[0].masked, ["/inputs/token"]);
        assert_eq!(journal.lines[1].masked, ["/why"]);
        let text = String::from_utf8(bytes(&dir)).unwrap();
        assert!(text.contains("\"why\":\"no ***\"") && text.contains("\"token\":\"***\""), "{text}");
        assert_eq!(journal.head, digest(text.lines().last().unwrap().as_bytes()));
    }

    #[test]
    fn a_flipped_byte_is_found_wherever_it_is() {
        let (dir, _recorder) = written();
        let good = bytes(&dir);
        let head = parse(&good).unwrap().head;
        let last = good[..good.len() - 1].iter().rposition(|b| *b == b'\n').unwrap();
        for at in 0..good.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                match parse(&bad) {
                    Err(_) => {}
                    Ok(journal) => {
                        assert!(at > last, "byte {at} ^ {flip:#x} is before the last line, and was not found");
                        assert_ne!(journal.head, head, "byte {at} ^ {flip:#x} leaves the head as it was");
                    }
                }
            }
        }
    }

    #[test]
    fn lines_that_are_removed_added_or_moved_are_found() {
        let (dir, _recorder) = written();
        let text = String::from_utf8(bytes(&dir)).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for order in [&[1, 2][..], &[0, 2], &[0, 2, 1], &[0, 1, 1, 2], &[0, 0, 1, 2]] {
            let changed: String = order.iter().map(|at| lines[*at]).collect();
            assert!(matches!(parse(changed.as_bytes()), Err(Unsound::Line { .. })), "{order:?}");
        }
        let foreign = text.replacen("\"v\":1", "\"v\":2", 1);
        assert_eq!(parse(foreign.as_bytes()).unwrap_err().to_string(), "line 1: has format 2, this version reads 1");
        assert_eq!(parse(b"").unwrap_err().to_string(), "line 1: there is no whole line");
    }

    #[test]
    fn a_line_torn_anywhere_is_cut_off_and_nothing_else() {
        let (dir, recorder) = written();
        drop(recorder);
        let good = bytes(&dir);
        let begin = good[..good.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
        for end in begin..good.len() {
            let journal = parse(&good[..end]).unwrap();
            assert_eq!((journal.lines.len(), journal.whole_bytes), (2, begin as u64), "torn at {end}");
            assert_eq!(journal.torn_bytes, (end - begin) as u64);
        }
        let path = dir.path().join(JOURNAL);
        std::fs::write(&path, &good[..good.len() - 3]).unwrap();
        let torn = read(&path).unwrap();
        let file = private().append(true).open(&path).unwrap();
        let recorder =
            FileRecorder::append(dir.path().to_owned(), file, &torn, Clock::Wall, Masker::default()).unwrap();
        record(&recorder, "", &Event::Finishing { why: crate::event::Stop::Failed });
        let journal = read(&path).unwrap();
        assert_eq!((journal.lines.len(), journal.torn_bytes), (3, 0));
        assert!(matches!(journal.lines[2].event, Event::Finishing { why: crate::event::Stop::Failed }));
    }

    #[test]
    fn nothing_is_written_after_a_line_that_could_not_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(JOURNAL);
        std::fs::write(&path, "").unwrap();
        let read_only = File::open(&path).unwrap();
        let recorder = FileRecorder::new(dir.path().to_owned(), read_only, Clock::Wall, Masker::default());
        let line = recorder.next("", &started("x")).unwrap();
        assert!(matches!(recorder.write(&line, Durable::No), Err(Failure::Journal(_))));
        assert!(matches!(recorder.next("", &started("x")), Err(Failure::Journal(_))));
        assert_eq!(std::fs::read(path).unwrap(), b"");
    }

    #[test]
    fn an_artifact_is_made_anew_and_journaled_with_its_digest() {
        let (dir, recorder) = written();
        for text in ["first, and longer", "second"] {
            let mut file = recorder.artifact("look.txt").unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let Event::Artifact { name, sha256, bytes } = file.close().unwrap() else { panic!("no artifact") };
            assert_eq!((name.as_str(), sha256, bytes), ("look.txt", digest(text.as_bytes()), text.len() as u64));
        }
        assert_eq!(std::fs::read(dir.path().join("look.txt")).unwrap(), b"second");
    }
}
