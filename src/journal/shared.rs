//! The recorder on a third site: each synced line is one object, created with `If-None-Match: *`.
//!
//! An object, a *batch*, holds the lines since the last synced one; the batches of a run, one after the other, are byte
//! for byte what a journal's file would be. Batches are numbered, and a number can be had once: whoever finds his taken
//! was overtaken, and writes nothing ever again. "No line, no change" is the fence. An empty batch is one that somebody
//! created only to end the writing of another process.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};

use super::{Journal, NO_LINE, line};
use crate::{
    clock::{Clock, Stamp},
    digest::digest,
    event::{ArtifactFile, Durable, Event, Line, Progress, Recorder},
    failure::Failure,
    mask::Masker,
    site::{folder::Folder, leave::Leave},
    store::Store,
};

/// Lines that need not be synced wait for the next synced one, but no longer than this.
const RIDES: Duration = Duration::from_secs(10);
/// Bytes of one object of an artifact: what is sent within a request's timeout, and read within what is read at all.
const PART: usize = 16 << 20;
/// How many batches are read at the same time.
const AT_ONCE: usize = 16;

/// The key of a run's batch.
pub fn batch(run: &str, number: u64) -> String {
    format!("{run}/journal/{number:010}.jsonl")
}

/// Where the parts of an artifact are, the first one under its name, the others numbered. Artifacts that are made anew
/// in each attempt are told apart by their digest, so that a process that was overtaken overwrites nothing.
fn artifact(run: &str, sha256: &str) -> String {
    format!("{run}/artifacts/{sha256}/")
}

/// The bytes of an artifact.
pub async fn read_artifact(folder: &Folder, run: &str, sha256: &str) -> Result<Vec<u8>, Failure> {
    let below = artifact(run, sha256);
    let mut content = Vec::new();
    for name in folder.names(&below).await? {
        let part = folder.read(&format!("{below}{name}")).await?;
        content.extend(part.map(|part| part.bytes).unwrap_or_default());
    }
    Ok(content)
}

/// The bytes of a run's journal, and the number of its next batch.
pub async fn read(folder: &Folder, run: &str) -> Result<(Vec<u8>, u64), Failure> {
    let names = folder.names(&format!("{run}/journal/")).await?;
    let keys: Vec<String> = names.iter().map(|name| format!("{run}/journal/{name}")).collect();
    let read = |key: String| async move {
        let object = folder.read(&key).await?;
        object.map(|object| object.bytes).ok_or_else(|| Failure::refused(format!("`{}` is gone", folder.name(&key))))
    };
    let batches: Vec<Bytes> = stream::iter(keys).map(read).buffered(AT_ONCE).try_collect().await?;
    let missing = (0..).zip(&names).find(|(number, name)| batch(run, *number) != format!("{run}/journal/{name}"));
    if let Some((number, _)) = missing {
        return Err(Failure::refused(format!("`{}` is missing", folder.name(&batch(run, number)))));
    }
    Ok((batches.concat(), batches.len() as u64))
}

/// Writes a journal as objects.
pub struct SharedRecorder {
    store: Arc<Store>,
    leave: Arc<Leave>,
    run: String,
    clock: Clock,
    masker: Masker,
    tail: Mutex<Tail>,
}

struct Tail {
    /// The number of the next batch.
    next: u64,
    seq: u64,
    prev: String,
    /// Lines that are in no batch yet.
    waiting: Vec<u8>,
    written: Stamp,
    /// A batch could not be written: nothing is ever written after it.
    failed: Option<Failure>,
}

impl SharedRecorder {
    /// Goes on after what was read, or begins a journal; `next` is the number of its next batch.
    pub fn new(
        store: &Arc<Store>,
        leave: &Arc<Leave>,
        run: &str,
        (read, next): (Option<&Journal>, u64),
        clock: Clock,
        masker: Masker,
    ) -> Self {
        let (seq, prev) = match read {
            Some(journal) => (journal.lines.len() as u64, journal.head.clone()),
            None => (0, NO_LINE.to_owned()),
        };
        let tail = Tail { next, seq, prev, waiting: Vec::new(), written: Stamp::now(), failed: None };
        let (store, leave) = (Arc::clone(store), Arc::clone(leave));
        Self { store, leave, run: run.to_owned(), clock, masker, tail: Mutex::new(tail) }
    }

    /// Creates the next batch from the lines that wait.
    fn flush(&self, tail: &mut Tail) -> Result<(), Failure> {
        let (key, content) = (batch(&self.run, tail.next), Bytes::from(tail.waiting.clone()));
        let wanted = key.clone();
        let created = self.store.call(|folder| async move { folder.create(&wanted, content).await });
        let failed = match created {
            Ok(Some(_)) => {
                tail.next += 1;
                tail.waiting.clear();
                tail.written = Stamp::now();
                return Ok(());
            }
            Ok(None) => {
                let why = format!("{}: run {} goes on there, and nothing more is sent here", self.who(&key), self.run);
                self.leave.lose(why.clone());
                Failure::Claimed(why)
            }
            Err(failure) => Failure::Journal(format!("{}: {failure}", self.store.folder().name(&key))),
        };
        tail.failed = Some(failed.clone());
        Err(failed)
    }

    /// Who took the number of a batch.
    fn who(&self, key: &str) -> String {
        let wanted = key.to_owned();
        let there = self.store.call(|folder| async move { folder.read(&wanted).await });
        let first = there.ok().flatten().and_then(|object| {
            let line = object.bytes.split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
            serde_json::from_slice::<Line>(&line).ok()
        });
        match first.map(|line| line.event) {
            Some(Event::RunResumed { user, host, .. }) => format!("overtaken by {user} on {host}"),
            Some(_) | None => "overtaken by another process".to_owned(),
        }
    }
}

impl Recorder for SharedRecorder {
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failed) = &tail.failed {
            return Err(failed.clone());
        }
        line(tail.seq, &tail.prev, self.clock, &self.masker, path, event)
    }

    fn write(&self, line: &Line, durable: Durable) -> Result<(), Failure> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let text = serde_json::to_vec(line).map_err(|e| Failure::Journal(e.to_string()))?;
        tail.prev = digest(&text);
        tail.seq += 1;
        tail.waiting.extend(text);
        tail.waiting.push(b'\n');
        match durable {
            Durable::No if tail.written.age() < RIDES => Ok(()),
            Durable::No | Durable::Yes => self.flush(&mut tail),
        }
    }

    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        let (store, run, name) = (Arc::clone(&self.store), self.run.clone(), name.to_owned());
        Ok(Box::new(SharedArtifact { store, run, name, content: Vec::new() }))
    }

    fn masked(&self, progress: &Progress) -> Progress {
        Progress { what: self.masker.text(&progress.what).into_owned(), ..progress.clone() }
    }
}

/// Kept in memory until it is closed: its key has its digest in it.
struct SharedArtifact {
    store: Arc<Store>,
    run: String,
    name: String,
    content: Vec<u8>,
}

impl Write for SharedArtifact {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.content.extend(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ArtifactFile for SharedArtifact {
    fn close(self: Box<Self>) -> Result<Event, Failure> {
        let (sha256, bytes) = (hex::encode(Sha256::digest(&self.content)), self.content.len() as u64);
        let first = format!("{}{}", artifact(&self.run, &sha256), self.name);
        let (content, key) = (Bytes::from(self.content), first.clone());
        let written = self.store.call(|folder| async move {
            folder.write(&key, content.slice(..content.len().min(PART))).await?;
            for (number, start) in (1..).zip((PART..content.len()).step_by(PART)) {
                let part = content.slice(start..content.len().min(start + PART));
                folder.write(&format!("{key}.{number:05}"), part).await?;
            }
            Ok(())
        });
        written.map_err(|e| Failure::Journal(format!("{}: {e}", self.store.folder().name(&first))))?;
        Ok(Event::Artifact { name: self.name, sha256, bytes })
    }
}
