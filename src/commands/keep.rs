//! What becomes of a run's record when its process is done: it is signed, and stored on a third site.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::{Refusal, bind, print, run::runs_flag, terminal};
use crate::{
    audit::Audited,
    cli::{EvidencePlace, Keep, Lookup},
    event::SiteRecord,
    evidence::{self, Evidence},
    failure::{Class, Failure},
    human::plural,
    mask::Masker,
    runs::{Opened, PLAN, Place, RUNBOOK, SIGNATURE, keep_signature},
    signature::{Signed, Signer},
    site::{Wire, s3::objects::Object},
    types::{BucketName, Role},
    verdict::Exit,
};

/// What is to be done with the record of a run; tried before the run begins.
#[derive(Default)]
pub(super) struct Keeper {
    signer: Option<Signer>,
    evidence: Option<Evidence>,
}

/// How that ended. Nothing of it changes the verdict.
pub(super) struct Kept {
    run: String,
    runs_flag: String,
    signed: Option<Result<Signed, String>>,
    stored: Option<(String, Result<Vec<Object>, String>)>,
}

impl Keeper {
    /// Tries key and place, so that a slip shows before anything runs. A third site that does not answer stops nothing:
    /// it may answer when the run ends.
    pub(super) async fn new(
        runs: &Place,
        keep: &Keep,
        bound: &mut bind::Bound,
        beside: &Path,
    ) -> Result<Self, Refusal> {
        let mut keeper = Self::default();
        let asked = [("--sign-key", keep.sign_key.is_some()), ("--evidence", keep.evidence.is_some())];
        if let (Place::Site(_), Some((flag, _))) = (runs, asked.iter().find(|(_, asked)| *asked)) {
            return Err(in_no_directory(flag));
        }
        if let Some(key) = &keep.sign_key {
            let signer = Signer::new(key, terminal::env);
            signer.test().await.map_err(|why| Refusal::refused(format!("`--sign-key`: {why}")))?;
            keeper.signer = Some(signer);
        }
        if let Some(store) = &keep.evidence {
            let evidence = place(store, &bound.lookup, beside)?;
            let wire = Arc::clone(evidence.wire());
            bound.masker = bound.masker.clone().and(move || wire.secrets());
            third(store, &evidence, &bound.sites, &bound.masker).await?;
            keeper.evidence = Some(evidence);
        }
        Ok(keeper)
    }

    /// Stores what there is before the first line, which shows that more can be stored at the end.
    pub(super) async fn begin(&self, open: &Opened, masker: &Masker) -> Result<(), Refusal> {
        let (Some(evidence), Some(dir)) = (&self.evidence, open.dir()) else { return Ok(()) };
        let names: Vec<String> =
            [RUNBOOK, PLAN].into_iter().filter(|name| dir.join(name).exists()).map(str::to_owned).collect();
        match evidence.store(&open.id, dir, &names).await {
            Ok(_) => Ok(()),
            Err(failure) => refused_or_later(&failure, masker),
        }
    }

    /// Signs and stores the record as it stands. A signal ends that too: the record is on this machine in any case.
    pub(super) async fn end(&self, runs: &Place, audited: &Audited, masker: &Masker) -> Kept {
        let run = audited.state.started.run.clone();
        let dir = match runs {
            Place::Folder(folder) => folder.dir(&run),
            // Refused when the keeper was made.
            Place::Site(_) => return Kept { run, runs_flag: runs_flag(runs), signed: None, stored: None },
        };
        let head = &audited.journal.head;
        let signed = match &self.signer {
            Some(signer) => Some(stoppable(sign(signer, &dir, head)).await),
            None => None,
        };
        let stored = match &self.evidence {
            Some(evidence) => {
                let stored = stoppable(store(evidence, &dir, audited)).await;
                Some((evidence.place(&run), stored.map_err(|why| masker.text(&why).into_owned())))
            }
            None => None,
        };
        if self.signer.is_none() && dir.join(SIGNATURE).exists() {
            tracing::warn!("the signature beside the journal is of an earlier head: `--sign-key` signs this one");
        }
        let kept = Kept { run, runs_flag: runs_flag(runs), signed, stored };
        kept.warn();
        kept
    }
}

/// What is read from files is not done for runs that have none.
pub(super) fn in_no_directory(what: &str) -> Refusal {
    Refusal::refused(format!(
        "`{what}` is for runs in a directory, and `--runs` names a site: leave it out (or its variable), and note the head \
         that the run prints, for `audit verify --head`; or keep the runs in a directory, with `--lease`"
    ))
}

/// Signs the head, and puts the signature beside the journal.
pub(super) async fn sign(signer: &Signer, dir: &Path, head: &str) -> Result<Signed, String> {
    let signed = signer.sign(head).await?;
    keep_signature(dir, &signed.text).map_err(|e| format!("{}: {e}", dir.join(SIGNATURE).display()))?;
    Ok(signed)
}

/// Stores all files of the record.
pub(super) async fn store(evidence: &Evidence, dir: &Path, audited: &Audited) -> Result<Vec<Object>, String> {
    let beside = audited.files()?.into_iter().map(|file| file.name);
    let names = evidence::names(dir, beside);
    evidence.store(&audited.state.started.run, dir, &names).await.map_err(|failure| failure.to_string())
}

async fn stoppable<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let stop = || Err("stopped by a signal".to_owned());
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return work.await;
    };
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => stop(),
        _ = terminate.recv() => stop(),
    }
}

/// Where records lie, by the name that a person gives the place; nothing is sent yet.
pub(super) fn place(store: &EvidencePlace, lookup: &Lookup, beside: &Path) -> Result<Evidence, Refusal> {
    let bad = |why: String| Refusal::refused(format!("`{store}` cannot be used: {why}"));
    let bucket = BucketName::try_from(store.bucket.clone()).map_err(bad)?;
    let spec = bind::open_sites(lookup, beside)?.lookup(&store.alias).map_err(|e| Refusal::refused(e.to_string()))?;
    let wire = Wire::new(spec).map_err(|e| bad(e.to_string()))?;
    Ok(Evidence::new(wire, &store.alias, bucket, &store.prefix))
}

/// Refuses a place on one of the sites that the run is about, and one that cannot be used.
pub(super) async fn third(
    store: &EvidencePlace,
    evidence: &Evidence,
    sites: &BTreeMap<String, SiteRecord>,
    masker: &Masker,
) -> Result<(), Refusal> {
    let wires = BTreeMap::from([(Role("evidence".into()), Arc::clone(evidence.wire()))]);
    for found in bind::look(&wires).await.values() {
        for (role, site) in sites {
            let same = found.deployment_id.is_some() && found.deployment_id == site.deployment_id;
            if same || found.endpoint == site.endpoint {
                return Err(Refusal::refused(format!(
                    "`--evidence {store}`: `{}` is the {role} of the run, and must not hold the only proof of it: name a \
                     bucket of a third site",
                    store.alias
                )));
            }
        }
        if found.deployment_id.is_none() && found.unreachable.is_none() {
            tracing::warn!(
                "`{}` does not tell its deployment id (`admin:ServerInfo`): it is told from the other sites by its \
                 address only",
                store.alias
            );
        }
    }
    match evidence.check().await {
        Ok(()) => Ok(()),
        Err(failure) => refused_or_later(&failure, masker),
    }
}

/// A refusal will not go away by itself; anything else may, until the run ends.
fn refused_or_later(failure: &Failure, masker: &Masker) -> Result<(), Refusal> {
    let text = failure.to_string();
    let why = masker.text(&text);
    match failure.class() {
        Some(Class::Unreachable | Class::TimedOut | Class::Throttled) => {
            tracing::warn!("no evidence can be stored now, it is tried again when the run ends: {why}");
            Ok(())
        }
        Some(Class::Refused | Class::Lost) | None => Err(Refusal::refused(format!(
            "`--evidence`: {why}; put that right, or leave it out and store the record later: `firedrill audit store`"
        ))),
    }
}

impl Kept {
    /// The exit code of the process: a record that is demanded and not there is not green.
    pub(super) fn exit(&self, exit: Exit) -> Exit {
        let missing = matches!(self.signed, Some(Err(_))) || matches!(self.stored, Some((_, Err(_))));
        match exit {
            Exit::Held | Exit::Late if missing => Exit::Journal,
            Exit::Held
            | Exit::Defect
            | Exit::Usage
            | Exit::Refused
            | Exit::NotHeld
            | Exit::Broke
            | Exit::Journal
            | Exit::Waiting
            | Exit::Late
            | Exit::Claimed
            | Exit::HungUp
            | Exit::Interrupted
            | Exit::Terminated => exit,
        }
    }

    /// On stderr, whatever form the output has: what was demanded and is not there, and how to make up for it.
    fn warn(&self) {
        let Self { run, runs_flag, .. } = self;
        if let Some(Err(why)) = &self.signed {
            anstream::eprintln!("firedrill: THE RECORD IS NOT SIGNED: {why}");
            anstream::eprintln!(
                "  its verdict stands; sign it with: firedrill audit sign {run}{runs_flag} --sign-key FILE"
            );
        }
        if let Some((place, Err(why))) = &self.stored {
            anstream::eprintln!("firedrill: THE EVIDENCE IS NOT STORED at {place}: {why}");
            anstream::eprintln!("  its verdict stands; store it with: firedrill audit store {run}{runs_flag}");
        }
    }

    /// After the last words of a run.
    pub(super) fn print(&self) {
        if let Some(Ok(signed)) = &self.signed {
            print(&format!("  signed         {}", signed.key));
        }
        if let Some((place, Ok(stored))) = &self.stored {
            print(&format!("  evidence       {place}: {}", told(stored)));
        }
    }

    pub(super) fn add_to(&self, run: &mut Value) {
        if let Some(signed) = &self.signed {
            run["signature"] = match signed {
                Ok(signed) => json!({ "key": signed.key }),
                Err(why) => json!({ "failed": why }),
            };
        }
        if let Some((place, stored)) = &self.stored {
            run["evidence"] = match stored {
                Ok(stored) => json!({ "place": place, "files": stored.len(), "locked_until": locked(stored) }),
                Err(why) => json!({ "place": place, "failed": why }),
            };
        }
    }
}

/// How many files lie there, and for how long nobody can delete them.
pub(super) fn told(stored: &[Object]) -> String {
    let files = plural(stored.len() as u64, "file");
    match locked(stored) {
        Some(until) => format!("{files}, locked until {until}"),
        None => format!("{files}, not locked (the bucket has no default retention)"),
    }
}

/// The mode and the end of the lock that ends first; `None` when any is not locked.
pub(super) fn locked(stored: &[Object]) -> Option<String> {
    let locks: Option<Vec<_>> = stored.iter().map(|object| object.lock.as_ref()).collect();
    locks?.into_iter().min_by_key(|lock| lock.until).map(|lock| format!("{} ({})", lock.until, lock.mode))
}
