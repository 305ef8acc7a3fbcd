//! A change is a value: what is asked for, how it is sent, how to find out whether it happened. The ledger sees to it
//! that each is on disk before it is sent, and sent once.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    event::{Durable, Event, FailureRecord, Intent, Outcome, Progress, Question},
    failure::{Class, Failure},
    log::Log,
    replay::{Past, Unsettled},
    site::Wire,
    step::Host,
    types::{BucketName, Role},
};

/// A request that was cut off may still arrive: "not done" counts only this long after its own timeout.
pub const GRACE: Duration = Duration::from_secs(5);

/// How often a request that may still arrive is looked for.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A call that is meant to change something on a site. It is sent only through
/// [`Site::change`](crate::site::Site::change), which journals it before and after.
pub trait Change: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in the journal.
    const NAME: &'static str;
    /// Whether a run that did this is green only after a later step that proves the data.
    const NEEDS_PROOF: bool = false;
    /// What the server's answer comes down to; remembered, and given again instead of sending again.
    type Receipt: Serialize + DeserializeOwned + Send + 'static;

    /// One line for people: what would change, with which values.
    fn describe(&self) -> String;

    /// Sends it. `Class::Refused` means that the server said no and nothing happened; any other failure leaves open
    /// whether it happened.
    fn send(&self, site: &Wire) -> impl Future<Output = Result<Self::Receipt, Failure>> + Send;

    /// Finds out what became of it when no answer was recorded.
    fn settle(&self, site: &Wire) -> impl Future<Output = Result<Settled<Self::Receipt>, Failure>> + Send;
}

/// What became of a change whose answer was never recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled<R> {
    Done(R),
    NotDone,
    /// It cannot be told: a person decides.
    CannotTell(String),
}

/// The erased side of a change: enough to settle an intent that was read from a journal. All of them are listed in
/// `site/changes.rs`.
pub struct ChangeKind {
    pub name: &'static str,
    settle: for<'a> fn(Value, &'a Wire) -> Settling<'a>,
}

type Settling<'a> = BoxFuture<'a, Result<Settled<Value>, Failure>>;

impl ChangeKind {
    pub const fn of<C: Change>() -> Self {
        Self {
            name: C::NAME,
            settle: |body, site| {
                Box::pin(async move {
                    let change: C = decode(body)?;
                    Ok(match change.settle(site).await? {
                        Settled::Done(receipt) => Settled::Done(encode(&receipt)?),
                        Settled::NotDone => Settled::NotDone,
                        Settled::CannotTell(why) => Settled::CannotTell(why),
                    })
                })
            },
        }
    }
}

/// The record of one step's changes. Made by the engine only; a handle names the bucket that was claimed for it.
#[derive(Clone)]
pub struct Ledger {
    log: Arc<Log>,
    path: String,
    flight: TaskTracker,
    claimed: Option<(Role, BucketName)>,
    /// When a sending left this process, or, if an earlier one sent it, when this one first looked for it. By the
    /// monotonic clock: a wall clock that is set forward must not make a request that is under way "not done".
    left: Arc<Mutex<BTreeMap<Sending, Instant>>>,
}

/// Key and number of a sending.
type Sending = (String, u32);

impl Ledger {
    pub(crate) fn new(log: Arc<Log>, path: String) -> Self {
        Self { log, path, flight: TaskTracker::new(), claimed: None, left: Arc::default() }
    }

    /// The same ledger, for changes of one claimed bucket.
    pub(crate) fn on(&self, role: &Role, bucket: &BucketName) -> Self {
        Self { claimed: Some((role.clone(), bucket.clone())), ..self.clone() }
    }

    /// Intent (on disk), request, receipt. A receipt that is remembered under `key` is given back and nothing is sent.
    pub(crate) async fn once<C: Change>(
        &self,
        site: &Arc<Wire>,
        key: &str,
        make: impl FnOnce(u32) -> C + Send,
    ) -> Result<C::Receipt, Failure> {
        let past = self.log.state(|s| s.steps.get(&self.path).and_then(|step| step.changes.get(key).cloned()));
        let n = match past {
            None => 1,
            Some(Past::NotDone { n }) => n + 1,
            Some(Past::Done(receipt)) => return decode(receipt),
            Some(Past::Open { .. } | Past::Lost { .. }) => {
                return Err(Failure::lost(format!("`{key}` was sent and is not settled yet")));
            }
        };
        let Some((role, bucket)) = &self.claimed else {
            return Err(Failure::refused(format!("`{key}` changes a bucket that was not claimed")));
        };
        let change = make(n);
        let intent = Intent {
            key: key.to_owned(),
            n,
            change: C::NAME.to_owned(),
            role: role.to_string(),
            bucket: bucket.to_string(),
            body: encode(&change)?,
            needs_proof: C::NEEDS_PROOF,
        };
        // Without leave there is no point in an intent, which would stay open.
        drop(site.leave_to_change().await?);
        let (this, site, key) = (self.clone(), Arc::clone(site), key.to_owned());
        // A task of its own: dropping the step (timeout, Ctrl-C) never drops a request that may have left.
        let sent = self.flight.spawn(async move {
            let Self { log, path, .. } = &this;
            log.record(path, Event::Intent(Box::new(intent)), Durable::Yes)?;
            this.left().insert((key.clone(), n), Instant::now());
            // The process may have stood still in between, and have been overtaken.
            let _sending = site.leave_to_change().await?;
            let reply = change.send(&site).await;
            let outcome = match &reply {
                Ok(receipt) => Outcome::Done(encode(receipt)?),
                Err(failure) if failure.class() == Some(Class::Refused) => {
                    Outcome::Refused(FailureRecord::from(failure))
                }
                // The intent stays open: it is settled before the step is entered again.
                Err(_) => return reply,
            };
            log.record(path, Event::Receipt { key, n, outcome }, Durable::No)?;
            reply
        });
        sent.await.unwrap_or_else(|e| Err(Failure::lost(format!("sending was cut off: {e}"))))
    }

    /// Finds out what became of every change of the step whose receipt is not there. Done before every entry into it.
    pub(crate) async fn settle(
        &self,
        kinds: &[ChangeKind],
        wires: &BTreeMap<Role, Arc<Wire>>,
        host: &dyn Host,
    ) -> Result<(), Failure> {
        let unsettled: Vec<Unsettled> =
            self.log.state(|s| s.steps.get(&self.path).map(|step| step.unsettled().collect()).unwrap_or_default());
        for Unsettled { intent, readable, done } in unsettled {
            if !readable {
                let outcome = self.let_a_person_decide(&intent, "its record is masked in the journal", host).await?;
                self.receipt(intent, outcome)?;
                continue;
            }
            let kind = kinds.iter().find(|kind| kind.name == intent.change).ok_or_else(|| {
                Failure::lost(format!("this version knows no change `{}`, which is open", intent.change))
            })?;
            let wire = wires
                .get(&Role(intent.role.clone()))
                .ok_or_else(|| Failure::lost(format!("no site is bound to role `{}`", intent.role)))?;
            let left = *self.left().entry((intent.key.clone(), intent.n)).or_insert_with(Instant::now);
            let patience = wire.request_timeout() + GRACE;
            let outcome = loop {
                match (kind.settle)(intent.body.clone(), wire).await? {
                    Settled::Done(receipt) => break Outcome::Done(receipt),
                    Settled::NotDone if done => {
                        let why = "it was done, its answer is masked in the journal, and the site shows no trace of it";
                        break self.let_a_person_decide(&intent, why, host).await?;
                    }
                    Settled::NotDone => {
                        let wait = patience.saturating_sub(left.elapsed()).max(wire.left_to_another());
                        if wait.is_zero() {
                            break Outcome::NotDone("the site shows no trace of it".into());
                        }
                        let what = format!("waits {} s, in case `{}` still arrives", wait.as_secs(), intent.key);
                        host.progress(Progress { what, ..Progress::default() });
                        tokio::time::sleep(wait.min(LOOK_AGAIN)).await;
                    }
                    Settled::CannotTell(why) => {
                        let wait = wire.left_to_another();
                        if wait.is_zero() {
                            break self.let_a_person_decide(&intent, &why, host).await?;
                        }
                        tokio::time::sleep(wait.min(LOOK_AGAIN)).await;
                    }
                }
            };
            self.receipt(intent, outcome)?;
        }
        Ok(())
    }

    fn receipt(&self, intent: Intent, outcome: Outcome) -> Result<(), Failure> {
        let event = Event::Receipt { key: intent.key, n: intent.n, outcome };
        self.log.record(&self.path, event, Durable::Yes)
    }

    async fn let_a_person_decide(&self, intent: &Intent, why: &str, host: &dyn Host) -> Result<Outcome, Failure> {
        let question = Question {
            prompt: format!(
                "`{}` ({} on `{}`) was sent, and it cannot be told whether it took effect: {why}. Yes sends it \
                 again, no ends the step",
                intent.key, intent.change, intent.bucket
            ),
            typed: None,
            who: Vec::new(),
            until: None,
        };
        let answer = host.ask(&format!("settle:{}#{}", intent.key, intent.n), question).await?;
        if answer.yes {
            Ok(Outcome::NotDone(format!("{} said to send it again", answer.by)))
        } else {
            Err(Failure::refused(format!("{} decided not to go on: {why}", answer.by)))
        }
    }

    fn left(&self) -> MutexGuard<'_, BTreeMap<Sending, Instant>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no request is in flight; each is bounded by its own request timeout.
    pub(crate) async fn drain(&self) {
        self.flight.close();
        self.flight.wait().await;
        self.flight.reopen();
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|e| Failure::lost(format!("cannot be written as JSON: {e}")))
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| Failure::lost(format!("the journal holds an unexpected value: {e}")))
}
