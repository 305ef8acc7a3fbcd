//! A change is a value: what is asked for, how it is sent, how to find out whether it happened.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio_util::task::TaskTracker;

use crate::{failure::Failure, site::Wire};

/// A call that is meant to change something on a site. It is sent only through
/// [`Site::change`](crate::site::Site::change), which journals it before and after.
pub trait Change: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The name in the journal.
    const NAME: &'static str;
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
    pub settle: for<'a> fn(Value, &'a Wire) -> BoxFuture<'a, Result<Settled<Value>, Failure>>,
}

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

/// The record of one step's changes. Made by the engine only; a handle to it names the bucket it was claimed for.
#[derive(Clone)]
pub struct Ledger {
    inner: Arc<Inner>,
}

struct Inner {}

impl Ledger {
    /// The same ledger, for changes of one claimed bucket.
    pub(crate) fn on(&self, _role: &crate::types::Role, _bucket: &crate::types::BucketName) -> Self {
        self.clone()
    }

    /// Intent (on disk), request, receipt. A receipt that is remembered under `key` is given back and nothing is sent.
    pub(crate) async fn once<C: Change>(
        &self,
        _site: &Arc<Wire>,
        _key: &str,
        _make: impl FnOnce(u32) -> C + Send,
    ) -> Result<C::Receipt, Failure> {
        todo!()
    }
}

fn encode<T: Serialize>(value: &T) -> Result<Value, Failure> {
    serde_json::to_value(value).map_err(|e| Failure::Journal(e.to_string()))
}

fn decode<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| Failure::Journal(e.to_string()))
}
