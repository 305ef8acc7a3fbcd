//! Run directories: one a run, with its journal, the runbook as it ran, and its artifacts; and the claims on buckets.

mod place;
mod shared;

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    event::{Answer, Question},
    failure::Failure,
    journal::{self, JOURNAL, Journal, Unsound, not_followed, read_file},
    lease::claim_name,
    replay::{Phase, RunState},
    secret::private,
    step::Claims,
};

pub use self::{
    place::{Opened, Place, RunClaims},
    shared::{Shared, SharedClaims},
};

/// The runbook's exact bytes as they ran.
pub const RUNBOOK: &str = "runbook.yaml";
/// The plan that the run must keep to.
pub const PLAN: &str = "plan.json";
/// The signature of the journal's head.
pub const SIGNATURE: &str = "head.sig";
const CLAIMS: &str = ".claims";
const ANSWERS: &str = "answers";

/// A directory of runs.
#[derive(Clone, Debug)]
pub struct Runs {
    root: PathBuf,
}

/// One run's directory, locked for this process.
pub struct OpenRun {
    pub id: String,
    pub dir: PathBuf,
    /// The journal, locked: as long as it lives no other process can go on with the run.
    pub journal: File,
}

/// Why a run could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum NoRun {
    #[error("there is no run `{id}` in {place}")]
    Unknown { id: String, place: String },
    #[error("`{id}` fits more than one run: {}", candidates.join(", "))]
    Ambiguous { id: String, candidates: Vec<String> },
    #[error("run `{0}` is at work in another process")]
    Live(String),
    /// The same, of a shared run: who is at work.
    #[error("{0}")]
    Elsewhere(String),
    /// The site where runs are kept does not do its part.
    #[error("{0}")]
    Site(Failure),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl From<Failure> for NoRun {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Claimed(who) => Self::Elsewhere(who),
            other @ (Failure::Call { .. }
            | Failure::Waiting(_)
            | Failure::Journal(_)
            | Failure::Drift(_)
            | Failure::Defect(_)) => Self::Site(other),
        }
    }
}

impl Runs {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory of a new run, with the runbook and the plan in it and an empty, locked journal.
    pub fn create(&self, id: &str, runbook: &[u8], plan: Option<&[u8]>) -> Result<OpenRun, NoRun> {
        private_dir(&self.root)?;
        let dir = self.root.join(id);
        // One that is there already may be another process's.
        let io = |source| NoRun::Io { path: dir.clone(), source };
        DirBuilder::new().mode(0o700).create(&dir).map_err(io)?;
        let made = make_run(&dir, runbook, plan);
        let journal = made.map_err(|source| {
            // Nothing half-written stays: without a first line this is no run.
            let _ = fs::remove_dir_all(&dir);
            NoRun::Io { path: dir.clone(), source }
        })?;
        Ok(OpenRun { id: id.to_owned(), dir, journal })
    }

    /// Takes away a directory that was made for a run and has no journal; a fresh one is another process's, which makes
    /// it just now.
    fn clear(&self, id: &str) -> Result<(), NoRun> {
        const FRESH: std::time::Duration = std::time::Duration::from_secs(60);
        let dir = self.root.join(id);
        let io = |source| NoRun::Io { path: dir.clone(), source };
        let made = match fs::metadata(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            made => made.map_err(io)?.modified().map_err(io)?,
        };
        if made.elapsed().is_ok_and(|age| age > FRESH) {
            return fs::remove_dir_all(&dir).map_err(io);
        }
        Err(NoRun::Live(id.to_owned()))
    }

    /// Removes a run that nobody will ask for, as that of a test that passed.
    pub fn remove(&self, id: &str) {
        let _ = fs::remove_dir_all(self.dir(id));
    }

    /// Removes the directory itself, unless it holds a run.
    pub fn tidy(&self) {
        let _ = fs::remove_dir(self.root.join(CLAIMS));
        let _ = fs::remove_dir(&self.root);
    }

    /// Takes back a run that has no line yet.
    pub fn discard(&self, run: OpenRun) {
        let OpenRun { dir, journal, .. } = run;
        drop(journal);
        let _ = fs::remove_dir_all(dir);
    }

    /// The ids of all runs, oldest first.
    pub fn ids(&self) -> io::Result<Vec<String>> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(ids),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // A symbolic link is listed too, and refused by name when it is read.
            if !name.starts_with('.') && fs::symlink_metadata(entry.path().join(JOURNAL)).is_ok() {
                ids.push(name);
            }
        }
        ids.sort();
        Ok(ids)
    }

    /// The id that a person meant: whole, its unique beginning or end, or `latest`.
    pub fn find(&self, wanted: &str) -> Result<String, NoRun> {
        let ids = self.ids().map_err(|source| NoRun::Io { path: self.root.clone(), source })?;
        choose(ids, wanted, &self.root.display().to_string())
    }

    pub fn dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// The bytes of a run's journal.
    pub fn bytes(&self, id: &str) -> io::Result<Vec<u8>> {
        self.file(id, JOURNAL)
    }

    /// The bytes of a file of a run.
    fn file(&self, id: &str, name: &str) -> io::Result<Vec<u8>> {
        real_dir(&self.dir(id))?;
        read_file(&self.dir(id).join(name))
    }

    pub fn read(&self, id: &str) -> Result<Journal, Unsound> {
        journal::parse(&self.bytes(id)?)
    }

    /// Opens a run to go on with it; refused while another process is at it.
    pub fn open(&self, id: &str) -> Result<OpenRun, NoRun> {
        let dir = self.dir(id);
        let path = dir.join(JOURNAL);
        let io = |source| NoRun::Io { path: path.clone(), source };
        real_dir(&dir).map_err(|source| NoRun::Io { path: dir.clone(), source })?;
        let journal = private().read(true).append(true).open(&path).map_err(|e| io(not_followed(&path, e)))?;
        match journal.try_lock() {
            Ok(()) => Ok(OpenRun { id: id.to_owned(), dir, journal }),
            Err(TryLockError::WouldBlock) => Err(NoRun::Live(id.to_owned())),
            Err(TryLockError::Error(e)) => Err(io(e)),
        }
    }

    /// Leaves an answer for a run that another process is at; that process picks it up. The first one counts: gives
    /// back the one that was left for the same question before.
    pub fn leave_answer(
        &self,
        id: &str,
        step: &str,
        question: &Question,
        answer: &Answer,
    ) -> io::Result<Option<Answer>> {
        let dir = self.dir(id).join(ANSWERS);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        real_dir(&dir)?;
        let (path, fresh) =
            (dir.join(format!("{step}.json")), dir.join(format!(".{step}.{}.json", std::process::id())));
        let mut file = private().create(true).truncate(true).write(true).open(&fresh)?;
        serde_json::to_writer(&mut file, &Left { question: question.clone(), answer: answer.clone() })?;
        file.sync_all()?;
        // A link is made only where no file is, so that of two answers at the same time one is the first.
        let left = match fs::hard_link(&fresh, &path) {
            Ok(()) => Ok(None),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match read_left(&path) {
                Some(first) if first.question == *question => Ok(Some(first.answer)),
                // It is about another question, which nobody waits for any more.
                Some(_) | None => fs::rename(&fresh, &path).map(|()| None),
            },
            Err(e) => Err(e),
        };
        let _ = fs::remove_file(fresh);
        left
    }
}

/// Puts a run's signature into its directory, in place of an earlier one.
pub fn keep_signature(dir: &Path, signature: &str) -> io::Result<()> {
    real_dir(dir)?;
    let fresh = dir.join(format!(".{SIGNATURE}"));
    let mut file = private().create(true).truncate(true).write(true).open(&fresh)?;
    file.write_all(signature.as_bytes())?;
    file.sync_all()?;
    fs::rename(fresh, dir.join(SIGNATURE))
}

/// The id that a person meant, among all.
fn choose(ids: Vec<String>, wanted: &str, place: &str) -> Result<String, NoRun> {
    let unknown = || NoRun::Unknown { id: wanted.to_owned(), place: place.to_owned() };
    if wanted == "latest" {
        return ids.into_iter().next_back().ok_or_else(unknown);
    }
    if ids.iter().any(|id| id == wanted) {
        return Ok(wanted.to_owned());
    }
    let fits = |id: &String| !wanted.is_empty() && (id.starts_with(wanted) || id.ends_with(wanted));
    let mut candidates: Vec<String> = ids.into_iter().filter(fits).collect();
    match candidates.len() {
        0 => Err(unknown()),
        1 => Ok(candidates.remove(0)),
        _ => Err(NoRun::Ambiguous { id: wanted.to_owned(), candidates }),
    }
}

/// An answer that waits to be picked up.
#[derive(Serialize, Deserialize)]
pub(crate) struct Left {
    pub question: Question,
    pub answer: Answer,
}

/// The answer to a question that another process left in a run's directory, taken away.
pub fn take_answer(dir: &Path, step: &str, question: &Question) -> Option<Answer> {
    let dir = dir.join(ANSWERS);
    real_dir(&dir).ok()?;
    let path = dir.join(format!("{step}.json"));
    let left = read_left(&path)?;
    let _ = fs::remove_file(path);
    (left.question == *question).then_some(left.answer)
}

fn read_left(path: &Path) -> Option<Left> {
    serde_json::from_slice(&read_file(path).ok()?).ok()
}

fn private_dir(path: &Path) -> Result<(), NoRun> {
    let io = |source| NoRun::Io { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io)
}

/// Refuses a symbolic link in the place of one of our directories.
pub fn real_dir(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() {
        return Ok(());
    }
    Err(not_followed(path, io::Error::other("is no directory")))
}

fn make_run(dir: &Path, runbook: &[u8], plan: Option<&[u8]>) -> io::Result<File> {
    for (name, bytes) in [(RUNBOOK, Some(runbook)), (PLAN, plan)] {
        let Some(bytes) = bytes else { continue };
        let mut copy = private().create_new(true).write(true).open(dir.join(name))?;
        copy.write_all(bytes)?;
        copy.sync_all()?;
    }
    let journal = private().create_new(true).read(true).append(true).open(dir.join(JOURNAL))?;
    journal.try_lock().map_err(|e| io::Error::other(e.to_string()))?;
    File::open(dir)?.sync_all()?;
    Ok(journal)
}

/// The id of a new run. Ids sort by time: `20261123-210405-9f3a`.
pub fn new_id(now: Timestamp) -> Result<String, Failure> {
    let mut tail = [0; 2];
    getrandom::fill(&mut tail).map_err(|e| Failure::Defect(e.to_string()))?;
    let time = now.strftime("%Y%m%d-%H%M%S").to_string();
    Ok(format!("{time}-{}", hex::encode(tail)))
}

/// The claims of one run on buckets, in the directory of runs. A claim outlives the process: without its lock it means
/// a run that is paused.
pub struct FileClaims {
    runs: Runs,
    run: String,
    held: std::sync::Mutex<Vec<(PathBuf, File)>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    run: String,
    deployment: String,
    bucket: String,
}

impl FileClaims {
    pub fn new(runs: &Runs, run: &str) -> Self {
        Self { runs: runs.clone(), run: run.to_owned(), held: std::sync::Mutex::default() }
    }

    /// Gives all claims of the run back; done when it has ended.
    pub fn release(&self) {
        for (path, file) in self.lock().drain(..) {
            let _ = fs::remove_file(path);
            drop(file);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, File)>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn take(&self, path: &Path, claim: &Claim) -> io::Result<Result<File, String>> {
        loop {
            let mut file = private()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .open(path)
                .map_err(|e| not_followed(path, e))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let holder = read_claim(&mut file).map_or_else(|| "another run".into(), |c| c.run);
                    return Ok(Err(format!("run {holder} is at work on it")));
                }
                Err(TryLockError::Error(e)) => return Err(e),
            }
            // Between opening and locking the last holder may have removed the file: then this one is a ghost.
            let same = fs::metadata(path).is_ok_and(|m| file.metadata().is_ok_and(|f| m.ino() == f.ino()));
            if !same {
                continue;
            }
            if let Some(old) = read_claim(&mut file)
                && old.run != self.run
                && self.runs.goes_on(&old.run)
            {
                return Ok(Err(format!(
                    "run {run} holds it and has not ended: `firedrill resume {run}` goes on with it",
                    run = old.run
                )));
            }
            file.set_len(0)?;
            io::Seek::rewind(&mut file)?;
            serde_json::to_writer(&mut file, claim)?;
            file.sync_all()?;
            return Ok(Ok(file));
        }
    }
}

impl Claims for FileClaims {
    fn claim(&self, deployment: &str, bucket: &str) -> Result<(), Failure> {
        let dir = self.runs.root.join(CLAIMS);
        let path = dir.join(claim_name(deployment, bucket));
        if self.lock().iter().any(|(held, _)| *held == path) {
            return Ok(());
        }
        let failed = |e: io::Error| Failure::Journal(format!("{}: {e}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(failed)?;
        real_dir(&dir).map_err(|e| Failure::Journal(format!("{}: {e}", dir.display())))?;
        let claim = Claim { run: self.run.clone(), deployment: deployment.to_owned(), bucket: bucket.to_owned() };
        match self.take(&path, &claim).map_err(failed)? {
            Ok(file) => {
                self.lock().push((path, file));
                Ok(())
            }
            Err(who) => Err(Failure::Claimed(format!("bucket `{bucket}` is claimed: {who}"))),
        }
    }
}

impl Runs {
    /// Whether a run has not come to its end; one that cannot be read any more has.
    fn goes_on(&self, id: &str) -> bool {
        let Ok(journal) = self.read(id) else { return false };
        RunState::replay(&journal.lines).is_ok_and(|state| !matches!(state.phase, Phase::Ended(_)))
    }
}

fn read_claim(file: &mut File) -> Option<Claim> {
    let mut text = String::new();
    io::Seek::rewind(file).ok()?;
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::How;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn made() -> (tempfile::TempDir, Runs) {
        let dir = tempfile::tempdir().unwrap();
        let runs = Runs::new(dir.path().join("runs"));
        (dir, runs)
    }

    /// A run whose journal has these events; it is not at work.
    fn journal(runs: &Runs, id: &str, events: &[serde_json::Value]) {
        let dir = runs.dir(id);
        fs::create_dir_all(&dir).unwrap();
        let (mut text, mut prev) = (String::new(), journal::NO_LINE.to_owned());
        for (seq, event) in events.iter().enumerate() {
            let mut line = serde_json::json!({"v": 1, "seq": seq, "at": "2026-11-23T18:00:00Z", "prev": prev});
            line.as_object_mut().unwrap().extend(event.as_object().unwrap().clone());
            let line = line.to_string();
            prev = crate::digest::digest(line.as_bytes());
            text.extend([line.as_str(), "\n"]);
        }
        fs::write(dir.join(JOURNAL), text).unwrap();
    }

    fn started(id: &str) -> serde_json::Value {
        serde_json::json!({
            "event": "run_started", "run": id, "tool": "t", "runbook": "b", "runbook_sha256": "0", "kind": "recovery",
            "user": "u", "host": "h", "inputs": {}, "sites": {}, "steps": [], "finally": [],
        })
    }

    #[test]
    fn a_new_run_has_its_runbook_and_a_locked_journal_and_only_its_owner_reads_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_dir, runs) = made();
        let id = new_id(at("2026-11-23T21:04:05Z")).unwrap();
        let run = runs.create(&id, b"format: 1\n", Some(b"{}")).unwrap();
        assert!(run.id.starts_with("20261123-210405-") && run.id.len() == 20, "{}", run.id);
        assert_eq!(fs::read(run.dir.join(RUNBOOK)).unwrap(), b"format: 1\n");
        assert_eq!(fs::read(run.dir.join(PLAN)).unwrap(), b"{}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&run.dir), mode(&run.dir.join(JOURNAL)), mode(&run.dir.join(RUNBOOK))), (0o700, 0o600, 0o600));
        assert!(matches!(runs.open(&run.id), Err(NoRun::Live(_))));
        let id = run.id.clone();
        drop(run);
        let again = runs.open(&id).unwrap();
        runs.discard(again);
        assert_eq!(runs.ids().unwrap(), [""; 0]);
    }

    #[test]
    fn a_run_is_found_by_what_is_unique_of_its_id() {
        let (_dir, runs) = made();
        assert!(matches!(runs.find("latest"), Err(NoRun::Unknown { .. })), "there is no directory yet");
        for id in ["20261123-210405-9f3a", "20261123-210406-0b1c", "20261124-000000-9f3b"] {
            journal(&runs, id, &[started(id)]);
        }
        fs::create_dir_all(runs.dir("no-journal")).unwrap();
        fs::create_dir_all(runs.dir(".claims")).unwrap();
        assert_eq!(runs.ids().unwrap().len(), 3);
        assert_eq!(runs.find("latest").unwrap(), "20261124-000000-9f3b");
        assert_eq!(runs.find("0b1c").unwrap(), "20261123-210406-0b1c");
        assert_eq!(runs.find("20261124").unwrap(), "20261124-000000-9f3b");
        assert_eq!(runs.find("20261123-210405-9f3a").unwrap(), "20261123-210405-9f3a");
        let Err(NoRun::Ambiguous { candidates, .. }) = runs.find("20261123") else { panic!("it fits two") };
        assert_eq!(candidates.len(), 2);
        for absent in ["", "210405", "no-journal", "../runs"] {
            assert!(matches!(runs.find(absent), Err(NoRun::Unknown { .. })), "{absent}");
        }
    }

    #[test]
    fn a_bucket_has_one_run_at_a_time() {
        let (_dir, runs) = made();
        let (first, second) = (FileClaims::new(&runs, "first"), FileClaims::new(&runs, "second"));
        first.claim("d1", "docs").unwrap();
        first.claim("d1", "docs").unwrap();
        second.claim("d2", "docs").unwrap();
        second.claim("d1", "other").unwrap();
        let refused = second.claim("d1", "docs").unwrap_err();
        assert_eq!(refused.to_string(), "bucket `docs` is claimed: run first is at work on it");
        first.release();
        second.claim("d1", "docs").unwrap();
    }

    #[test]
    fn a_paused_run_keeps_its_claim_and_one_that_ended_does_not() {
        let (_dir, runs) = made();
        let finishing = serde_json::json!({"event": "finishing", "why": "last_step"});
        let ended = serde_json::json!({
            "event": "run_ended", "verdict": "held", "exit": 0, "seconds": 1.0, "waited_seconds": 0.0, "rto": null,
        });
        journal(&runs, "paused", &[started("paused")]);
        journal(&runs, "ended", &[started("ended"), finishing, ended]);
        for (holder, bucket) in [("paused", "a"), ("ended", "b"), ("gone", "c")] {
            // Dropped without release, as when its process dies.
            FileClaims::new(&runs, holder).claim("d", bucket).unwrap();
        }
        let mine = FileClaims::new(&runs, "mine");
        let refused = mine.claim("d", "a").unwrap_err().to_string();
        assert!(refused.contains("run paused holds it and has not ended: `firedrill resume paused`"), "{refused}");
        mine.claim("d", "b").unwrap();
        mine.claim("d", "c").unwrap();
        FileClaims::new(&runs, "paused").claim("d", "a").unwrap();
    }

    #[test]
    fn a_claim_on_a_file_that_was_removed_meanwhile_is_no_claim() {
        let (_dir, runs) = made();
        let (holder, other) = (FileClaims::new(&runs, "holder"), FileClaims::new(&runs, "other"));
        holder.claim("d", "docs").unwrap();
        let path = runs.root().join(CLAIMS).join("d.docs");
        // The lock of a file that is not there any more holds nobody off, and a new file is made and locked.
        fs::remove_file(&path).unwrap();
        other.claim("d", "docs").unwrap();
        let (claimed, seen) =
            (read_claim(&mut File::open(&path).unwrap()).unwrap(), fs::read_dir(runs.root().join(CLAIMS)));
        assert_eq!((claimed.run.as_str(), claimed.bucket.as_str(), seen.unwrap().count()), ("other", "docs", 1));
        assert!(matches!(FileClaims::new(&runs, "third").claim("d", "docs"), Err(Failure::Claimed(_))));
    }

    #[test]
    fn a_claim_that_is_a_symbolic_link_is_refused_and_not_written_through() {
        let (dir, runs) = made();
        let precious = dir.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        let claims = FileClaims::new(&runs, "first");
        claims.claim("d", "other").unwrap();
        std::os::unix::fs::symlink(&precious, runs.root().join(CLAIMS).join("d.docs")).unwrap();
        let refused = claims.claim("d", "docs").unwrap_err();
        assert!(refused.to_string().ends_with("d.docs: is a symbolic link, which is not followed"), "{refused}");
        assert_eq!(fs::read_to_string(&precious).unwrap(), "precious");
    }

    #[test]
    fn an_answer_is_taken_once() {
        let (_dir, runs) = made();
        journal(&runs, "r", &[started("r")]);
        let answer = Answer { yes: false, by: "me".into(), how: How::Approve, comment: Some("not yet".into()) };
        let asks = |prompt: &str| Question { prompt: prompt.into(), typed: None, who: Vec::new(), until: None };
        let (question, take) = (asks("go?"), |step, question| take_answer(&runs.dir("r"), step, question));
        assert_eq!(take("ask", &question), None);
        assert_eq!(runs.leave_answer("r", "ask", &question, &answer).unwrap(), None);
        // The first one counts.
        let other = Answer { yes: !answer.yes, ..answer.clone() };
        assert_eq!(runs.leave_answer("r", "ask", &question, &other).unwrap(), Some(answer.clone()));
        assert_eq!(take("other", &question), None);
        assert_eq!(take("ask", &question), Some(answer.clone()));
        assert_eq!(take("ask", &question), None);
        // One about another question is none, and in nobody's way.
        assert_eq!(runs.leave_answer("r", "ask", &asks("gone?"), &answer).unwrap(), None);
        assert_eq!(runs.leave_answer("r", "ask", &question, &other).unwrap(), None);
        assert_eq!(take("ask", &question), Some(other));
        runs.leave_answer("r", "ask", &asks("gone?"), &answer).unwrap();
        assert_eq!((take("ask", &question), take("ask", &asks("gone?"))), (None, None));
    }
}
