//! Leases: objects on a third site that say who is at work on something, renewed as long as their holder lives.
//!
//! A lease is created with `If-None-Match: *`, and renewed, taken over and given back with `If-Match`. Its holder sends
//! changes only within the [`WINDOW`] after a renewal; it is taken over no earlier than that, a request's timeout and
//! some [`SLACK`] after the last one. Both are measured on one clock each, the holder's and the server's: no two clocks
//! are ever compared. Servers check no fencing token, so this narrows the window in which two could send, to what lies
//! between the check of a connection and its write.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::task::AbortHandle;

use crate::{
    clock::Stamp,
    failure::Failure,
    human::duration,
    site::{
        folder::{Folder, Object},
        leave::{Leave, WINDOW},
    },
    step::Claims,
    store::Store,
};

/// A lease is renewed this often.
const RENEW: Duration = Duration::from_secs(3);
/// A renewal that takes longer is given up; the next one finds out what became of it.
const LATE: Duration = Duration::from_secs(6);
/// Servers tell their time in whole seconds, and clocks do not run equally fast.
const SLACK: Duration = Duration::from_secs(3);

/// Who holds a lease, for those who are told that it is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub run: String,
    pub user: String,
    pub host: String,
}

/// What a lease's object says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    #[serde(flatten)]
    holder: Holder,
    /// What is claimed by it.
    of: String,
    standing: Standing,
    /// Without a renewal for so long it is nobody's.
    seconds: f64,
    /// When that is, by the holder's clock; for people.
    expires_at: Timestamp,
    /// Tells one process from the next one of the same run, and each renewal from the last.
    process: String,
    renewal: u64,
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Its holder is at work, and renews it.
    Held,
    /// Its holder waits for a person or was stopped, and no process renews it: it does not expire.
    Paused,
    /// Nobody holds it.
    Free,
}

/// How a lease is taken that another process of the same run holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Same {
    /// It is surely dead: the lease is ours.
    IsDead,
    /// It may live: as any other holder's.
    MayLive,
    /// It may live, and is to be overtaken.
    IsOvertaken,
}

/// A lease that this process holds, until it is dropped.
pub struct Lease {
    store: Arc<Store>,
    key: String,
    leave: Arc<Leave>,
    number: usize,
    current: Arc<tokio::sync::Mutex<Current>>,
    renewing: AbortHandle,
    /// What it is left as.
    left: Standing,
}

struct Current {
    note: Note,
    etag: String,
}

/// What a lease is for.
pub struct Wanted<'a> {
    pub key: String,
    pub of: String,
    pub holder: &'a Holder,
    /// The longest time a request of the holder to any site may take.
    pub request_timeout: Duration,
    pub same: Same,
    /// What it is left as when it is dropped.
    pub left: Standing,
}

/// How a lease came to be ours.
pub struct Taken {
    pub lease: Lease,
    /// Another process of this run was overtaken that may still live, and be heard of within this time.
    pub overtaken: Option<Duration>,
}

impl Lease {
    /// Takes the lease, or says who has it ([`Failure::Claimed`]).
    pub fn take(store: &Arc<Store>, leave: &Arc<Leave>, wanted: Wanted<'_>) -> Result<Taken, Failure> {
        let seconds = (WINDOW + wanted.request_timeout + SLACK).as_secs_f64();
        let mut process = [0; 8];
        getrandom::fill(&mut process).map_err(|e| Failure::Defect(e.to_string()))?;
        let note = Note {
            holder: wanted.holder.clone(),
            of: wanted.of,
            standing: Standing::Held,
            seconds,
            expires_at: Timestamp::now() + Duration::from_secs_f64(seconds),
            process: hex::encode(process),
            renewal: 0,
        };
        let (key, same, mine) = (wanted.key.clone(), wanted.same, note.clone());
        let (stamp, etag, overtaken) = store.call(|folder| async move { take(&folder, &key, &mine, same).await })?;
        let number = leave.rest_on(stamp);
        let current = Arc::new(tokio::sync::Mutex::new(Current { note, etag }));
        let renewing = store.spawn(keep(
            store.folder().clone(),
            wanted.key.clone(),
            Arc::clone(leave),
            number,
            Arc::clone(&current),
        ));
        let (store, leave) = (Arc::clone(store), Arc::clone(leave));
        let lease = Self { store, key: wanted.key, leave, number, current, renewing, left: wanted.left };
        Ok(Taken { lease, overtaken })
    }

    /// The longest time a request of the holder may take is this from now on. Others know it when this returns.
    pub fn reckon_with(&self, request_timeout: Duration) -> Result<(), Failure> {
        let seconds = (WINDOW + request_timeout + SLACK).as_secs_f64();
        let (key, current) = (self.key.clone(), Arc::clone(&self.current));
        let lost = self.store.call(|folder| async move {
            let mut current = current.lock().await;
            if current.note.seconds >= seconds {
                return Ok(None);
            }
            current.note.seconds = seconds;
            renew(&folder, &key, &mut current).await
        })?;
        match lost {
            None => Ok(()),
            Some(why) => {
                self.leave.lose(why.clone());
                Err(Failure::Claimed(why))
            }
        }
    }

    /// Gives it back.
    pub fn release(mut self) {
        self.left = Standing::Free;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
        self.leave.give_back(self.number);
        if self.leave.why_lost().is_some() {
            return;
        }
        let (key, current, left) = (self.key.clone(), Arc::clone(&self.current), self.left);
        let given = self.store.call(|folder| async move {
            let mut current = current.lock().await;
            current.note.standing = left;
            current.note.renewal += 1;
            let given = tokio::time::timeout(LATE, folder.replace(&key, text(&current.note)?, &current.etag)).await;
            given.map_err(|_| Failure::timed_out("it took too long"))?
        });
        if let Err(why) = given {
            tracing::warn!("{} is not given back, and expires by itself: {why}", self.store.folder().name(&self.key));
        }
    }
}

/// Until it is ours, or surely somebody else's.
async fn take(
    folder: &Folder,
    key: &str,
    mine: &Note,
    same: Same,
) -> Result<(Stamp, String, Option<Duration>), Failure> {
    loop {
        let stamp = Stamp::now();
        if let Some(etag) = folder.create(key, text(mine)?).await? {
            return Ok((stamp, etag, None));
        }
        let Some(there) = folder.read(key).await? else { continue };
        let name = folder.name(key);
        let note: Note = serde_json::from_slice(&there.bytes)
            .map_err(|e| Failure::Claimed(format!("`{name}` is there, and is no lease ({e}): name another key")))?;
        let overtaken =
            may_take(&note, &there, mine, same).map_err(|who| Failure::Claimed(format!("{who} (`{name}`)")))?;
        let stamp = Stamp::now();
        if let Some(etag) = folder.replace(key, text(mine)?, &there.etag).await? {
            return Ok((stamp, etag, overtaken));
        }
    }
}

/// Whether the lease may be taken, and for how long its holder may be heard of then; else who has it.
fn may_take(note: &Note, there: &Object, mine: &Note, same: Same) -> Result<Option<Duration>, String> {
    let ours = note.holder.run == mine.holder.run;
    let left = note.seconds - there.age;
    match note.standing {
        Standing::Free => Ok(None),
        Standing::Paused if ours => Ok(None),
        Standing::Held if ours && same == Same::IsDead => Ok(None),
        Standing::Held if left <= 0.0 => Ok(None),
        Standing::Held if ours && same == Same::IsOvertaken => Ok(Some(Duration::from_secs_f64(note.seconds))),
        Standing::Held | Standing::Paused => Err(taken(note, there.age)),
    }
}

fn taken(note: &Note, age: f64) -> String {
    let Note { holder: Holder { run, user, host }, of, standing, seconds, .. } = note;
    match standing {
        Standing::Paused => format!(
            "{of} is claimed: run {run} of {user} on {host} has not ended, and goes on there with `firedrill resume \
             {run}`; if it is given up, remove the lease's object"
        ),
        Standing::Held | Standing::Free => format!(
            "{of} is claimed: run {run} of {user} on {host} is at work, last heard of {} ago; without a sign of it the \
             lease is free in {}",
            duration(age),
            duration((seconds - age).max(1.0))
        ),
    }
}

/// Renews the lease until it is lost.
async fn keep(
    folder: Folder,
    key: String,
    leave: Arc<Leave>,
    number: usize,
    current: Arc<tokio::sync::Mutex<Current>>,
) {
    let mut seen = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            asked = leave.asked_since(seen) => seen = asked,
        }
        let mut current = current.lock().await;
        let stamp = Stamp::now();
        match tokio::time::timeout(LATE, renew(&folder, &key, &mut current)).await {
            Ok(Ok(None)) => leave.renew(number, stamp),
            Ok(Ok(Some(why))) => return leave.lose(why),
            Ok(Err(failure)) => tracing::debug!("{} was not renewed: {failure}", folder.name(&key)),
            Err(_) => tracing::debug!("{} was not renewed in time", folder.name(&key)),
        }
    }
}

/// `Some`: it is another's, and whose.
async fn renew(folder: &Folder, key: &str, current: &mut Current) -> Result<Option<String>, Failure> {
    loop {
        current.note.renewal += 1;
        current.note.expires_at = Timestamp::now() + Duration::from_secs_f64(current.note.seconds);
        if let Some(etag) = folder.replace(key, text(&current.note)?, &current.etag).await? {
            current.etag = etag;
            return Ok(None);
        }
        let of = &current.note.of;
        let Some(there) = folder.read(key).await? else {
            return Ok(Some(format!("the lease of {of} is gone: `{}` was removed", folder.name(key))));
        };
        match serde_json::from_slice::<Note>(&there.bytes) {
            // A renewal that was given up has arrived late.
            Ok(note) if note.process == current.note.process => current.etag = there.etag,
            Ok(Note { holder: Holder { run, user, host }, .. }) => {
                let who = format!("run {run} of {user} on {host} has taken over");
                return Ok(Some(format!("{who}: the lease of {of} is lost, and nothing more is sent")));
            }
            Err(_) => return Ok(Some(format!("the lease of {of} was overwritten: nothing more is sent"))),
        }
    }
}

fn text(note: &Note) -> Result<Bytes, Failure> {
    serde_json::to_vec(note).map(Bytes::from).map_err(|e| Failure::Defect(format!("a lease cannot be written: {e}")))
}

/// The name of a claim in files and objects: of the bucket on the deployment, whichever direction a run works in.
pub fn claim_name(deployment: &str, bucket: &str) -> String {
    let name: String = deployment.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    format!("{name}.{bucket}")
}

/// The claims of one run as leases below one address, one a bucket of a deployment.
pub struct Leases {
    store: Arc<Store>,
    leave: Arc<Leave>,
    holder: Holder,
    request_timeout: Duration,
    held: Mutex<Vec<Lease>>,
}

impl Leases {
    pub fn new(store: Arc<Store>, leave: Arc<Leave>, holder: Holder, request_timeout: Duration) -> Self {
        Self { store, leave, holder, request_timeout, held: Mutex::default() }
    }

    /// Gives all of them back. Those that are not stay the run's, which goes on in another process.
    pub fn release(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(Lease::release);
    }
}

impl Claims for Leases {
    fn claim(&self, deployment: &str, bucket: &str) -> Result<(), Failure> {
        let key = claim_name(deployment, bucket);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.iter().any(|lease| lease.key == key) {
            return Ok(());
        }
        let wanted = Wanted {
            key,
            of: format!("bucket `{bucket}` of {deployment}"),
            holder: &self.holder,
            request_timeout: self.request_timeout,
            // The run's own directory is locked, or its own lease is held.
            same: Same::IsDead,
            left: Standing::Paused,
        };
        held.push(Lease::take(&self.store, &self.leave, wanted)?.lease);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(run: &str, standing: Standing) -> Note {
        let holder = Holder { run: run.into(), user: "u".into(), host: "h".into() };
        let at = Timestamp::UNIX_EPOCH;
        let (of, process) = ("bucket `docs` of d".into(), String::new());
        Note { holder, of, standing, seconds: 43.0, expires_at: at, process, renewal: 1 }
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_ours_or_expired() {
        use Same::{IsDead, IsOvertaken, MayLive};
        use Standing::{Free, Held, Paused};
        let mine = note("mine", Held);
        for (run, standing, age, same, wanted) in [
            ("other", Free, 0.0, IsDead, Some(None)),
            ("other", Held, 42.0, IsOvertaken, None),
            ("other", Held, 43.0, IsDead, Some(None)),
            ("other", Paused, 1e9, IsOvertaken, None),
            ("mine", Held, 1.0, IsDead, Some(None)),
            ("mine", Held, 1.0, MayLive, None),
            ("mine", Held, 43.0, MayLive, Some(None)),
            ("mine", Held, 1.0, IsOvertaken, Some(Some(Duration::from_secs(43)))),
            ("mine", Paused, 1.0, MayLive, Some(None)),
        ] {
            let there = Object { bytes: Bytes::new(), etag: String::new(), age };
            let taken = may_take(&note(run, standing), &there, &mine, same);
            assert_eq!(taken.ok(), wanted, "{run} {standing:?} {age} {same:?}");
        }
        let there = Object { bytes: Bytes::new(), etag: String::new(), age: 3.0 };
        assert_eq!(
            may_take(&note("other", Held), &there, &mine, IsDead).unwrap_err(),
            "bucket `docs` of d is claimed: run other of u on h is at work, last heard of 3.0s ago; without a sign of it \
             the lease is free in 40s"
        );
    }

    #[test]
    fn both_directions_claim_the_same_names() {
        assert_eq!(claim_name("53ee287b-4566", "docs"), "53ee287b-4566.docs");
        assert_eq!(claim_name("http://h:9000", "docs"), "http---h-9000.docs");
    }
}
