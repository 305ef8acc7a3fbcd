//! Where runs are kept: in a directory, or in a folder on a third site.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use super::{FileClaims, NoRun, OpenRun, Runs, Shared, SharedClaims, choose, take_answer};
use crate::{
    clock::Clock,
    event::{Answer, Question, Recorder},
    failure::Failure,
    journal::{FileRecorder, JOURNAL, Journal, shared::SharedRecorder},
    lease::{Holder, Lease, Leases, Same, Standing, Taken, Wanted},
    mask::Masker,
    site::leave::Leave,
    step::Claims,
};

/// Where runs are kept.
#[derive(Clone)]
pub enum Place {
    /// A directory of this machine.
    Folder(Runs),
    /// A folder on a site, for all machines.
    Site(Shared),
}

/// A run that is this process's to go on with.
pub struct Opened {
    pub id: String,
    at: At,
}

enum At {
    Folder(OpenRun),
    Site {
        /// Who is at work on it, as long as this lives.
        lease: Lease,
        /// What is written when it begins.
        begins: Option<Begins>,
    },
}

struct Begins {
    /// The number of the first batch.
    next: u64,
    runbook: Vec<u8>,
    plan: Option<Vec<u8>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(runs) => write!(f, "{}", runs.root().display()),
            Self::Site(shared) => write!(f, "site:{}", shared.store().address()),
        }
    }
}

impl Place {
    /// A new run. Nothing that is seen by others is written before its first line, but for its claims.
    pub fn create(
        &self,
        id: &str,
        runbook: &[u8],
        plan: Option<&[u8]>,
        who: &Holder,
        leave: &Arc<Leave>,
    ) -> Result<Opened, NoRun> {
        let at = match self {
            Self::Folder(runs) => At::Folder(runs.create(id, runbook, plan)?),
            Self::Site(shared) => {
                let lease = take(shared, who, leave, Same::MayLive)?;
                let (next, plan) = (shared.beginning(id)?, plan.map(<[u8]>::to_vec));
                At::Site { lease, begins: Some(Begins { next, runbook: runbook.to_vec(), plan }) }
            }
        };
        Ok(Opened { id: id.to_owned(), at })
    }

    /// Whether a run has begun. What is left of a run that was about to begin, and did not, is taken away.
    pub fn has(&self, id: &str) -> Result<bool, NoRun> {
        let runs = match self {
            Self::Folder(runs) => runs,
            Self::Site(shared) => return shared.has(id).map_err(NoRun::from),
        };
        match runs.bytes(id) {
            Ok(text) if text.contains(&b'\n') => Ok(true),
            Ok(_) => {
                runs.discard(runs.open(id)?);
                Ok(false)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => runs.clear(id).map(|()| false),
            Err(source) => Err(NoRun::Io { path: runs.dir(id).join(JOURNAL), source }),
        }
    }

    /// A run to go on with; refused while another process is at it, unless that one is to be overtaken.
    pub fn open(&self, id: &str, who: &Holder, leave: &Arc<Leave>, same: Same) -> Result<Opened, NoRun> {
        let at = match self {
            Self::Folder(runs) => At::Folder(runs.open(id)?),
            Self::Site(shared) => At::Site { lease: take(shared, who, leave, same)?, begins: None },
        };
        Ok(Opened { id: id.to_owned(), at })
    }

    /// Takes back a run that has no line yet.
    pub fn discard(&self, run: Opened) {
        let Opened { id, at } = run;
        match (self, at) {
            (Self::Folder(runs), At::Folder(open)) => runs.discard(open),
            (Self::Site(shared), At::Site { lease, .. }) => {
                drop(lease);
                shared.forget(&id);
            }
            (Self::Folder(_), At::Site { .. }) | (Self::Site(_), At::Folder(_)) => {}
        }
    }

    /// Takes back a run whose journal could not take its first line: nothing half-written stays.
    pub fn forget(&self, id: &str) {
        match self {
            Self::Folder(runs) => {
                let _ = std::fs::remove_dir_all(runs.dir(id));
            }
            Self::Site(shared) => shared.forget(id),
        }
    }

    /// The ids of all runs, oldest first.
    pub fn ids(&self) -> Result<Vec<String>, NoRun> {
        match self {
            Self::Folder(runs) => runs.ids().map_err(|source| NoRun::Io { path: runs.root().to_owned(), source }),
            Self::Site(shared) => shared.ids().map_err(NoRun::from),
        }
    }

    /// The id that a person meant: whole, its unique beginning or end, or `latest`.
    pub fn find(&self, wanted: &str) -> Result<String, NoRun> {
        choose(self.ids()?, wanted, &self.to_string())
    }

    /// The bytes of a run's journal, and the number of its next batch (a directory has none).
    pub fn bytes(&self, id: &str) -> io::Result<(Vec<u8>, u64)> {
        match self {
            Self::Folder(runs) => Ok((runs.bytes(id)?, 0)),
            Self::Site(shared) => shared.bytes(id).map_err(|failure| io::Error::other(failure.to_string())),
        }
    }

    /// A file of a run; `sha256` is that of an artifact.
    pub fn file(&self, id: &str, name: &str, sha256: Option<&str>) -> Result<Vec<u8>, String> {
        match self {
            Self::Folder(runs) => runs.file(id, name).map_err(|e| e.to_string()),
            Self::Site(shared) => shared.file(id, name, sha256).map_err(|e| e.to_string()),
        }
    }

    /// What people call a file of a run.
    pub fn name(&self, id: &str, name: &str) -> String {
        match self {
            Self::Folder(runs) => runs.dir(id).join(name).display().to_string(),
            Self::Site(shared) => match name {
                JOURNAL => format!("site:{}", shared.store().folder().name(&format!("{id}/journal/"))),
                _ => format!("site:{}", shared.store().folder().name(&format!("{id}/{name}"))),
            },
        }
    }

    /// Leaves an answer for a run that another process is at. The first one counts: gives back the one that was left
    /// for the same question before.
    pub fn leave_answer(
        &self,
        id: &str,
        step: &str,
        question: &Question,
        answer: &Answer,
    ) -> Result<Option<Answer>, String> {
        match self {
            Self::Folder(runs) => runs.leave_answer(id, step, question, answer).map_err(|e| e.to_string()),
            Self::Site(shared) => shared.leave_answer(id, step, question, answer).map_err(|e| e.to_string()),
        }
    }

    /// The answer to a question that another process left, taken away.
    pub fn take_answer(&self, id: &str, step: &str, question: &Question) -> Option<Answer> {
        match self {
            Self::Folder(runs) => take_answer(&runs.dir(id), step, question),
            Self::Site(shared) => shared.take_answer(id, step, question),
        }
    }

    /// The claims of a run on buckets, and the leases that come with them.
    pub fn claims(&self, who: &Holder, leases: Option<Leases>) -> RunClaims {
        let kept = match self {
            Self::Folder(runs) => Kept::Files(FileClaims::new(runs, &who.run)),
            Self::Site(shared) => Kept::Objects(SharedClaims::new(shared, who.clone())),
        };
        RunClaims { kept, leases }
    }
}

fn take(shared: &Shared, who: &Holder, leave: &Arc<Leave>, same: Same) -> Result<Lease, NoRun> {
    let wanted = Wanted {
        key: Shared::lease(&who.run),
        of: format!("run {}", who.run),
        holder: who,
        // Known only once the run's sites are: see `Opened::reckon_with`.
        request_timeout: Duration::ZERO,
        same,
        // Whoever goes on with it creates the next batch: the journal itself keeps two apart.
        left: Standing::Free,
    };
    let Taken { lease, overtaken } = Lease::take(shared.store(), leave, wanted).map_err(NoRun::from)?;
    if let Some(patience) = overtaken {
        leave.after_another(patience, patience);
    }
    Ok(lease)
}

impl Opened {
    /// Where its files are, if it is kept in a directory.
    pub fn dir(&self) -> Option<&Path> {
        match &self.at {
            At::Folder(open) => Some(&open.dir),
            At::Site { .. } => None,
        }
    }

    /// The longest time a request to one of the run's sites may take; said before anything is sent to them.
    pub fn reckon_with(&self, request_timeout: Duration) -> Result<(), Failure> {
        match &self.at {
            At::Folder(_) => Ok(()),
            At::Site { lease, .. } => lease.reckon_with(request_timeout),
        }
    }

    /// What writes the journal, from its beginning or after what was read (with the number of its next batch); and what
    /// must live as long as it.
    pub fn recorder(
        self,
        place: &Place,
        read: Option<(&Journal, u64)>,
        leave: &Arc<Leave>,
        clock: Clock,
        masker: Masker,
    ) -> Result<(Arc<dyn Recorder>, Option<Lease>), Failure> {
        match (self.at, place) {
            (At::Folder(OpenRun { dir, journal: file, .. }), _) => {
                let recorder = match read {
                    None => FileRecorder::new(dir, file, clock, masker),
                    Some((read, _)) => FileRecorder::append(dir.clone(), file, read, clock, masker)
                        .map_err(|e| Failure::Journal(format!("{}: {e}", dir.join(JOURNAL).display())))?,
                };
                Ok((Arc::new(recorder), None))
            }
            (At::Site { lease, begins }, Place::Site(shared)) => {
                let mut next = read.map_or(0, |(_, next)| next);
                if let Some(begins) = begins {
                    shared.begin(&self.id, &begins.runbook, begins.plan.as_deref())?;
                    next = begins.next;
                }
                let journal = read.map(|(journal, _)| journal);
                let recorder = SharedRecorder::new(shared.store(), leave, &self.id, (journal, next), clock, masker);
                Ok((Arc::new(recorder), Some(lease)))
            }
            (At::Site { .. }, Place::Folder(_)) => {
                Err(Failure::Defect(format!("run {} is not kept in a directory", self.id)))
            }
        }
    }
}

/// The claims of a run: those beside its journal, and leases if it has a place for them.
pub struct RunClaims {
    kept: Kept,
    leases: Option<Leases>,
}

enum Kept {
    Files(FileClaims),
    Objects(SharedClaims),
}

impl RunClaims {
    /// Gives everything back: the run has ended, or never began. Otherwise all of it stays the run's.
    pub fn release(&self) {
        match &self.kept {
            Kept::Files(claims) => claims.release(),
            Kept::Objects(claims) => claims.release(),
        }
        if let Some(leases) = &self.leases {
            leases.release();
        }
    }
}

impl Claims for RunClaims {
    fn claim(&self, deployment: &str, bucket: &str) -> Result<(), Failure> {
        match &self.kept {
            Kept::Files(claims) => claims.claim(deployment, bucket)?,
            Kept::Objects(claims) => claims.claim(deployment, bucket)?,
        }
        self.leases.as_ref().map_or(Ok(()), |leases| leases.claim(deployment, bucket))
    }
}
