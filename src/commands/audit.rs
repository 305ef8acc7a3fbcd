//! `audit`: verifies the record of a run, here or on a third site; signs it and stores it later.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{Refusal, bind, keep, look::verdict_word, print, print_json, terminal};
use crate::{
    audit::{self, Audited, Named},
    cli::{EvidencePlace, Lookup},
    digest::{digest, digest_of},
    evidence::Evidence,
    human::{bytes, plural},
    journal::{JOURNAL, Journal, not_followed, read_file},
    mask::Masker,
    runs::{PLAN, Place, RUNBOOK, Runs, SIGNATURE},
    secret::private,
    signature::{self, Signer, Who},
    site::s3::objects::Object,
    verdict::Exit,
};

/// What is asked of a record besides its chain.
pub(super) struct Demands {
    pub head: Option<String>,
    pub allowed_signers: Option<PathBuf>,
    pub lookup: Lookup,
}

/// Where a record lies.
enum Record {
    /// A journal, and the directory with the files beside it, if it is that of a run.
    Here { journal: PathBuf, dir: Option<PathBuf> },
    /// That of a run which is kept on a site.
    Shared { runs: Place, id: String },
    /// A copy that was stored as evidence.
    There { evidence: Evidence, run: String },
}

pub(super) async fn verify(runs: &Place, wanted: &str, demands: &Demands, json: bool) -> Result<Exit, Refusal> {
    let record = Record::find(runs, wanted, &demands.lookup)?;
    let name = record.name();
    let unsound = |what: String| Refusal::new(Exit::Journal, format!("{name} does not verify: {what}"));
    let bytes = record.journal().await?;
    let audited = audit::journal(&bytes, demands.head.as_deref()).map_err(unsound)?;
    let files = audited.files().map_err(unsound)?;
    let found = record.hold(&files).await?.map_err(unsound)?;
    let signature = record.signature().await?;
    let who = match (&demands.allowed_signers, &signature) {
        (None, _) => None,
        (Some(_), None) => return Err(unsound("it is not signed".into())),
        (Some(allowed), Some(signature)) => Some(signed(&audited, signature, allowed).await?.map_err(unsound)?),
    };
    let locked = keep::locked(&found);
    let verdict = verdict_word(&audited.state);
    let Journal { lines, head, torn_bytes, .. } = &audited.journal;
    let count = if record.has_files() { files.len() } else { 0 };
    if json {
        print_json(&json!({
            "journal": name, "run": audited.state.started.run, "lines": lines.len(), "files": count,
            "torn_bytes": torn_bytes, "head": head, "verdict": verdict, "locked_until": locked,
            "signed_by": who.map(|Who { principal, key }| json!({ "principal": principal, "key": key })),
        }));
        return Ok(Exit::Held);
    }
    print(&format!(
        "{name} verifies: {}, {} beside it, verdict {verdict}{}\n  head  {head}",
        plural(lines.len() as u64, "line"),
        plural(count as u64, "file"),
        torn(*torn_bytes),
    ));
    match (who, signature) {
        (Some(Who { principal, key }), _) => print(&format!("  signed by {principal}, {key}")),
        (None, Some(_)) => print("  signed by whom was not asked: `--allowed-signers FILE` tells"),
        (None, None) => {}
    }
    if let Some(until) = locked {
        print(&format!("  locked until {until}"));
    }
    Ok(Exit::Held)
}

/// Who signed the head. Outer errors are those of the question, inner ones those of the record.
async fn signed(audited: &Audited, signature: &[u8], allowed: &Path) -> Result<Result<Who, String>, Refusal> {
    if let Err(e) = std::fs::metadata(allowed) {
        return Err(Refusal::refused(format!("{}: cannot be read: {e}", allowed.display())));
    }
    if audited.journal.torn_bytes > 0 {
        return Ok(Err(format!("after the line that is signed come {} bytes more", audited.journal.torn_bytes)));
    }
    let verified = signature::verify(signature, &audited.journal.head, allowed, terminal::env).await;
    Ok(verified.map_err(|why| format!("its signature is not one of this head by an allowed signer: {why}")))
}

fn torn(torn_bytes: u64) -> String {
    match torn_bytes {
        0 => String::new(),
        n => {
            format!("; after the last whole line a torn one of {}, as a crash leaves it, counts for nothing", bytes(n))
        }
    }
}

impl Record {
    fn find(runs: &Place, wanted: &str, lookup: &Lookup) -> Result<Self, Refusal> {
        if let Some(place) = wanted.strip_prefix("site:") {
            let form = || Refusal::refused(format!("`{wanted}`: write site:ALIAS/BUCKET/PREFIX/RUN"));
            let (store, run) = place.trim_end_matches('/').rsplit_once('/').ok_or_else(form)?;
            let store: EvidencePlace = store.parse().map_err(|_| form())?;
            let evidence = keep::place(&store, lookup, Path::new("."))?;
            return Ok(Self::There { evidence, run: run.to_owned() });
        }
        match runs.find(wanted) {
            Ok(id) => Ok(match runs {
                Place::Folder(runs) => Self::Here { journal: runs.dir(&id).join(JOURNAL), dir: Some(runs.dir(&id)) },
                Place::Site(_) => Self::Shared { runs: runs.clone(), id },
            }),
            Err(no) => {
                let path = PathBuf::from(wanted);
                let journal = if path.is_dir() { path.join(JOURNAL) } else { path };
                if !journal.is_file() {
                    return Err(no.into());
                }
                let dir = journal.parent().filter(|dir| dir.join(RUNBOOK).is_file()).map(Path::to_owned);
                Ok(Self::Here { journal, dir })
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Here { journal, .. } => journal.display().to_string(),
            Self::Shared { runs, id } => runs.name(id, JOURNAL),
            Self::There { evidence, run } => evidence.place(run),
        }
    }

    fn has_files(&self) -> bool {
        match self {
            Self::Here { dir, .. } => dir.is_some(),
            Self::Shared { .. } | Self::There { .. } => true,
        }
    }

    async fn journal(&self) -> Result<Vec<u8>, Refusal> {
        let unsound = |e: std::io::Error| {
            Refusal::new(Exit::Journal, format!("{} does not verify: cannot be read: {e}", self.name()))
        };
        match self {
            Self::Here { journal, dir } => {
                if let Some(dir) = dir {
                    crate::runs::real_dir(dir).map_err(unsound)?;
                }
                read_file(journal).map_err(unsound)
            }
            Self::Shared { runs, id } => Ok(runs.bytes(id).map_err(unsound)?.0),
            Self::There { evidence, run } => {
                let found = evidence.read(run, JOURNAL).await.map_err(|e| masked(evidence, e))?;
                found.ok_or_else(|| Refusal::refused(format!("there is no journal at {}", self.name())))
            }
        }
    }

    async fn signature(&self) -> Result<Option<Vec<u8>>, Refusal> {
        match self {
            Self::Here { journal, .. } => Ok(read_file(&journal.with_file_name(SIGNATURE)).ok()),
            // Nothing signs one.
            Self::Shared { .. } => Ok(None),
            Self::There { evidence, run } => evidence.read(run, SIGNATURE).await.map_err(|e| masked(evidence, e)),
        }
    }

    /// Holds the files against what the journal names. The objects, when it lies on a site.
    async fn hold(&self, files: &[Named]) -> Result<Result<Vec<Object>, String>, Refusal> {
        let mut objects = Vec::new();
        match self {
            Self::Here { dir: None, .. } => {}
            Self::Here { dir: Some(dir), .. } => {
                for file in files {
                    let path = dir.join(&file.name);
                    let opened = private().read(true).open(&path).map_err(|e| not_followed(&path, e));
                    let held = opened.and_then(digest_of).map_err(|e| format!("{}: {e}", file.name));
                    if let Err(why) = held.and_then(|(_, sha256)| file.is(&sha256)) {
                        return Ok(Err(why));
                    }
                }
            }
            Self::Shared { runs, id } => {
                for file in files {
                    let artifact = ![RUNBOOK, PLAN].contains(&file.name.as_str());
                    let content = runs.file(id, &file.name, artifact.then_some(&file.sha256));
                    let held = content.map_err(|e| format!("{}: {e}", file.name));
                    if let Err(why) = held.and_then(|content| file.is(&digest(&content))) {
                        return Ok(Err(why));
                    }
                }
            }
            Self::There { evidence, run } => {
                for file in files {
                    let found = evidence.look(run, &file.name).await.map_err(|e| masked(evidence, e))?;
                    let Some(object) = found else { return Ok(Err(format!("{} is not there", file.name))) };
                    if let Err(why) = file.is(&object.sha256) {
                        return Ok(Err(why));
                    }
                    objects.push(object);
                }
                let journal = evidence.look(run, JOURNAL).await.map_err(|e| masked(evidence, e))?;
                objects.extend(journal);
            }
        }
        Ok(Ok(objects))
    }
}

fn masked(evidence: &Evidence, failure: crate::failure::Failure) -> Refusal {
    bind::broken(&failure, &Masker::new(evidence.wire().secrets(), []))
}

/// Signs the record of a run that nobody is at work on.
pub(super) async fn sign(runs: &Runs, wanted: &str, key: &Path, json: bool) -> Result<Exit, Refusal> {
    let open = runs.open(&runs.find(wanted)?)?;
    let audited = read(&open.dir)?;
    let signed = keep::sign(&Signer::new(key, terminal::env), &open.dir, &audited.journal.head).await;
    let signed = signed.map_err(Refusal::refused)?;
    let (head, path) = (&audited.journal.head, open.dir.join(SIGNATURE).display().to_string());
    if json {
        print_json(&json!({ "run": open.id, "head": head, "signature": path, "key": signed.key }));
    } else {
        print(&format!("signed run {} with {}\n  head       {head}\n  signature  {path}", open.id, signed.key));
    }
    Ok(Exit::Held)
}

/// Stores the record of a run that nobody is at work on.
pub(super) async fn store(
    runs: &Runs,
    wanted: &str,
    given: Option<EvidencePlace>,
    lookup: &Lookup,
    json: bool,
) -> Result<Exit, Refusal> {
    let open = runs.open(&runs.find(wanted)?)?;
    let audited = read(&open.dir)?;
    let started = &audited.state.started;
    let store = match (given, &started.evidence) {
        (Some(given), _) => given,
        (None, Some(began)) => began.parse().map_err(|why| Refusal::refused(format!("`{began}`: {why}")))?,
        (None, None) => {
            return Err(Refusal::refused("the run began without one: give `--evidence ALIAS/BUCKET/PREFIX`"));
        }
    };
    let file = lookup.sites.clone().or_else(|| started.sites_file.as_ref().map(PathBuf::from));
    let lookup = Lookup { sites: file, ..lookup.clone() };
    let evidence = keep::place(&store, &lookup, Path::new("."))?;
    let masker = Masker::new(evidence.wire().secrets(), []);
    keep::third(&store, &evidence, &started.sites, &masker).await?;
    let place = evidence.place(&open.id);
    let stored = keep::store(&evidence, &open.dir, &audited).await.map_err(|why| {
        Refusal::new(Exit::Broke, format!("the evidence is not stored at {place}: {}", masker.text(&why)))
    })?;
    if json {
        print_json(&json!({
            "run": open.id, "place": place, "files": stored.len(), "locked_until": keep::locked(&stored),
        }));
    } else {
        print(&format!("stored run {} at {place}: {}", open.id, keep::told(&stored)));
    }
    Ok(Exit::Held)
}

fn read(dir: &Path) -> Result<Audited, Refusal> {
    let path = dir.join(JOURNAL);
    let unsound = |what: String| Refusal::new(Exit::Journal, format!("{} does not verify: {what}", path.display()));
    let bytes = read_file(&path).map_err(|e| unsound(e.to_string()))?;
    audit::journal(&bytes, None).map_err(unsound)
}
