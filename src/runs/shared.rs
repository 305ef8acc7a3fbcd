//! Runs in a folder on a third site, which any host may go on with, and the claims of these.
//!
//! Below the folder: `<run>/journal/<number>.jsonl`, `<run>/runbook.yaml`, `<run>/plan.json`, `<run>/artifacts/…`,
//! `<run>/lease` (who is at work on it) and `.claims/<deployment>.<bucket>`.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

use super::{Left, PLAN, RUNBOOK};
use crate::{
    event::{Answer, Question},
    failure::Failure,
    human::duration,
    journal::{self, shared},
    lease::{Holder, claim_name},
    replay::{Phase, RunState},
    site::folder::Folder,
    step::Claims,
    store::Store,
};

/// A run that claimed a bucket and has no journal yet may still begin: a person is thinking, for so many seconds.
const BEGINS: f64 = 600.0;

/// A folder of runs on a site.
#[derive(Clone)]
pub struct Shared {
    store: Arc<Store>,
}

/// What a claim's object says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Claim {
    #[serde(flatten)]
    holder: Holder,
    deployment: String,
    bucket: String,
    /// Given back.
    free: bool,
    /// No two are alike, so that their `ETag`s differ.
    nonce: String,
}

impl Shared {
    pub fn new(store: Store) -> Self {
        Self { store: Arc::new(store) }
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The key under which a run says who is at work on it.
    pub fn lease(run: &str) -> String {
        format!("{run}/lease")
    }

    /// Writes the runbook and the plan of a run that begins.
    pub fn begin(&self, run: &str, runbook: &[u8], plan: Option<&[u8]>) -> Result<(), Failure> {
        for (name, content) in [(RUNBOOK, Some(runbook)), (PLAN, plan)] {
            let Some(content) = content.map(Bytes::copy_from_slice) else { continue };
            let key = format!("{run}/{name}");
            let created = self.store.call(|folder| async move { folder.create(&key, content).await });
            if created.map_err(|e| Failure::Journal(e.to_string()))?.is_none() {
                return Err(Failure::Claimed(format!("there is a run {run} already, with another {name}")));
            }
        }
        Ok(())
    }

    /// Where the journal of a run that has no line yet begins: not at 0 when somebody kept it from beginning there.
    pub fn beginning(&self, run: &str) -> Result<u64, Failure> {
        match self.bytes(run)? {
            (bytes, next) if bytes.is_empty() => Ok(next),
            (_, _) => Err(Failure::Claimed("the run has begun already".into())),
        }
    }

    /// Removes what was written of a run that has no line. Its journal stays what it is: somebody may have ended it.
    pub fn forget(&self, run: &str) {
        for key in [Self::lease(run), format!("{run}/{RUNBOOK}"), format!("{run}/{PLAN}")] {
            if let Err(failure) = self.store.call(|folder| async move { folder.remove(&key).await }) {
                tracing::debug!("{failure}");
            }
        }
    }

    /// The bytes of a run's journal, and the number of its next batch.
    pub fn bytes(&self, run: &str) -> Result<(Vec<u8>, u64), Failure> {
        let run = run.to_owned();
        self.store.call(|folder| async move { shared::read(&folder, &run).await })
    }

    /// Whether a run has begun.
    pub fn has(&self, run: &str) -> Result<bool, Failure> {
        Ok(!self.bytes(run)?.0.is_empty())
    }

    /// The ids of all runs that began, oldest first.
    pub fn ids(&self) -> Result<Vec<String>, Failure> {
        self.store.call(|folder| async move {
            let names = folder.names("").await?.into_iter();
            let runs = names.filter_map(|name| name.strip_suffix('/').map(str::to_owned));
            let began = |run: String| {
                let folder = folder.clone();
                async move {
                    let first = folder.read(&shared::batch(&run, 0)).await?;
                    Ok::<_, Failure>(first.is_some_and(|object| !object.bytes.is_empty()).then_some(run))
                }
            };
            let runs = stream::iter(runs.filter(|run| !run.starts_with('.'))).map(began).buffered(16);
            Ok(runs.try_collect::<Vec<_>>().await?.into_iter().flatten().collect())
        })
    }

    /// A file of a run; an artifact's is named with its digest.
    pub fn file(&self, run: &str, name: &str, sha256: Option<&str>) -> Result<Vec<u8>, Failure> {
        if let Some(sha256) = sha256 {
            let (run, sha256) = (run.to_owned(), sha256.to_owned());
            return self.store.call(|folder| async move { shared::read_artifact(&folder, &run, &sha256).await });
        }
        let key = format!("{run}/{name}");
        self.store.call(|folder| async move {
            let object = folder.read(&key).await?;
            let gone = || Failure::refused(format!("`{}` is not there", folder.name(&key)));
            object.map(|object| object.bytes.to_vec()).ok_or_else(gone)
        })
    }

    /// Leaves an answer for a run that another process is at; that process picks it up. The first one counts: gives
    /// back the one that was left for the same question before.
    pub fn leave_answer(
        &self,
        run: &str,
        step: &str,
        question: &Question,
        answer: &Answer,
    ) -> Result<Option<Answer>, Failure> {
        let left = Left { question: question.clone(), answer: answer.clone() };
        let content: Bytes = serde_json::to_vec(&left).map_err(|e| Failure::Defect(e.to_string()))?.into();
        let (key, question) = (format!("{run}/answers/{step}.json"), question.clone());
        self.store.call(|folder| async move {
            loop {
                if folder.create(&key, content.clone()).await?.is_some() {
                    return Ok(None);
                }
                // It may have been picked up since.
                let Some(there) = folder.read(&key).await? else { continue };
                match serde_json::from_slice::<Left>(&there.bytes) {
                    Ok(first) if first.question == question => return Ok(Some(first.answer)),
                    // It is about another question, which nobody waits for any more.
                    Ok(_) | Err(_) => {
                        if folder.replace(&key, content.clone(), &there.etag).await?.is_some() {
                            return Ok(None);
                        }
                    }
                }
            }
        })
    }

    /// The answer to a question that another process left, taken away.
    pub fn take_answer(&self, run: &str, step: &str, question: &Question) -> Option<Answer> {
        let key = format!("{run}/answers/{step}.json");
        let taken = self.store.call(|folder| async move {
            let object = folder.read(&key).await?;
            if object.is_some() {
                folder.remove(&key).await?;
            }
            Ok(object)
        });
        let left: Left = serde_json::from_slice(&taken.ok()??.bytes).ok()?;
        (left.question == *question).then_some(left.answer)
    }
}

/// The claims of one run on buckets, as objects that are created once. A claim is held until its run has ended.
pub struct SharedClaims {
    shared: Shared,
    holder: Holder,
    held: Mutex<Vec<(String, Claim, String)>>,
}

impl SharedClaims {
    pub fn new(shared: &Shared, holder: Holder) -> Self {
        Self { shared: shared.clone(), holder, held: Mutex::default() }
    }

    /// Gives all claims of the run back; done when it has ended. What cannot be given back is free all the same: its
    /// run has ended.
    pub fn release(&self) {
        for (key, claim, etag) in self.held.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let given = self.shared.store.call(|folder| async move {
                let free = Claim { free: true, nonce: nonce()?, ..claim };
                folder.replace(&key, text(&free)?, &etag).await
            });
            if let Err(failure) = given {
                tracing::debug!("a claim is not given back: {failure}");
            }
        }
    }
}

impl Claims for SharedClaims {
    fn claim(&self, deployment: &str, bucket: &str) -> Result<(), Failure> {
        let key = format!(".claims/{}", claim_name(deployment, bucket));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|(held, _, _)| *held == key) {
            return Ok(());
        }
        let (deployment, bucket) = (deployment.to_owned(), bucket.to_owned());
        let mine = Claim { holder: self.holder.clone(), deployment, bucket, free: false, nonce: nonce()? };
        let (wanted, claim) = (key.clone(), mine.clone());
        let etag = self.shared.store.call(|folder| async move { take(&folder, &wanted, &claim).await });
        let etag = etag.map_err(|failure| match failure {
            Failure::Call { what, .. } => Failure::Journal(what),
            other @ (Failure::Waiting(_)
            | Failure::Journal(_)
            | Failure::Claimed(_)
            | Failure::Drift(_)
            | Failure::Defect(_)) => other,
        })?;
        held.push((key, mine, etag));
        Ok(())
    }
}

/// Until the claim is ours, or surely that of a run which goes on.
///
/// The order is what makes it safe: a run reads its journal, then takes its claims (so that their `ETag`s change), then
/// writes its next batch. Who takes a claim from a run that has ended reads the claim, then the journal, then creates
/// an empty batch, so that the run cannot go on unnoticed, then takes the claim as it was read.
async fn take(folder: &Folder, key: &str, mine: &Claim) -> Result<String, Failure> {
    loop {
        if let Some(etag) = folder.create(key, text(mine)?).await? {
            return Ok(etag);
        }
        let Some(there) = folder.read(key).await? else { continue };
        let claim: Claim = serde_json::from_slice(&there.bytes)
            .map_err(|e| Failure::Claimed(format!("`{}` is there, and is no claim: {e}", folder.name(key))))?;
        if !claim.free && claim.holder.run != mine.holder.run {
            let run = &claim.holder.run;
            let (bytes, next) = shared::read(folder, run).await?;
            if let Some(why) = holds(&claim.holder, &bytes, next, there.age) {
                let bucket = &claim.bucket;
                return Err(Failure::Claimed(format!("bucket `{bucket}` is claimed: {why} (`{}`)", folder.name(key))));
            }
            if folder.create(&shared::batch(run, next), Bytes::new()).await?.is_none() {
                continue;
            }
        }
        if let Some(etag) = folder.replace(key, text(mine)?, &there.etag).await? {
            return Ok(etag);
        }
    }
}

/// Why the holder of a claim still holds it; `None`: its run has ended, or never began.
fn holds(holder: &Holder, bytes: &[u8], next: u64, age: f64) -> Option<String> {
    let Holder { run, user, host } = holder;
    if bytes.is_empty() {
        let begins = next == 0 && age < BEGINS;
        return begins.then(|| format!("run {run} of {user} on {host} begins, since {}", duration(age)));
    }
    let state = journal::parse(bytes).map_err(|e| e.to_string());
    match state.and_then(|journal| RunState::replay(&journal.lines).map_err(|e| e.to_string())) {
        Ok(state) if matches!(state.phase, Phase::Ended(_)) => None,
        Ok(_) => Some(format!(
            "run {run} of {user} on {host} holds it and has not ended: `firedrill resume {run}` goes on with it"
        )),
        Err(why) => Some(format!("run {run} of {user} on {host} holds it, and its journal does not verify: {why}")),
    }
}

fn nonce() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|e| Failure::Defect(e.to_string()))?;
    Ok(hex::encode(bytes))
}

fn text(claim: &Claim) -> Result<Bytes, Failure> {
    serde_json::to_vec(claim).map(Bytes::from).map_err(|e| Failure::Defect(format!("a claim cannot be written: {e}")))
}
