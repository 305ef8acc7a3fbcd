//! Leave to change something: a run that another one may overtake sends changes only while it surely was not.
//!
//! Servers check no fencing token, so the last moment at which this can be told is when the bytes of a request are
//! written. A connection that finds the leave gone then breaks off instead of writing.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::sync::watch;
use tower_service::Service;

use crate::{clock::Stamp, failure::Failure};

/// For how long a renewal of a lease gives leave to send changes.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The leave of one run: good as long as each lease that it rests on was renewed within the [`WINDOW`].
#[derive(Debug)]
pub struct Leave {
    state: watch::Sender<State>,
    /// Changes that are being sent.
    sending: AtomicUsize,
    before: Mutex<Option<Another>>,
}

/// Another process that held the run before.
#[derive(Clone, Copy, Debug)]
struct Another {
    until: Stamp,
    /// For how long it may still send something.
    sends: Duration,
    /// For how long something that it sent may still arrive.
    heard_of: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Of each lease, when its last renewal was asked for.
    renewed: Vec<Option<Stamp>>,
    lost: Option<String>,
    /// How often somebody could not wait for the next renewal.
    asked: u64,
}

impl State {
    /// Whether each lease was renewed after this moment.
    fn renewed_after(&self, moment: Stamp) -> bool {
        self.renewed.iter().flatten().all(|stamp| stamp.is_after(moment))
    }

    fn holds(&self) -> bool {
        self.lost.is_none() && self.renewed.iter().flatten().all(|stamp| stamp.age() < WINDOW)
    }
}

impl Another {
    /// What is left of both times.
    fn left(self) -> (Duration, Duration) {
        let age = self.until.age();
        (self.sends.saturating_sub(age), self.heard_of.saturating_sub(age))
    }
}

/// A change is being sent, until this is dropped.
#[derive(Debug)]
pub(crate) struct Sending(Arc<Leave>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Default for Leave {
    fn default() -> Self {
        Self { state: watch::Sender::default(), sending: AtomicUsize::new(0), before: Mutex::default() }
    }
}

impl Leave {
    /// Makes the leave rest on one more lease, whose taking was asked for at `stamp`; its number.
    pub fn rest_on(&self, stamp: Stamp) -> usize {
        let mut number = 0;
        self.state.send_modify(|state| {
            number = state.renewed.len();
            state.renewed.push(Some(stamp));
        });
        number
    }

    /// The lease was renewed; the request left at `stamp` or later.
    pub fn renew(&self, lease: usize, stamp: Stamp) {
        self.state.send_modify(|state| {
            if let Some(Some(renewed)) = state.renewed.get_mut(lease) {
                *renewed = stamp;
            }
        });
    }

    /// The lease was given back: from now on nothing rests on it.
    pub fn give_back(&self, lease: usize) {
        self.state.send_modify(|state| {
            if let Some(renewed) = state.renewed.get_mut(lease) {
                *renewed = None;
            }
        });
    }

    /// Somebody else has it: nothing is sent any more. The first reason stays.
    pub fn lose(&self, why: impl Into<String>) {
        self.state.send_modify(|state| {
            state.lost.get_or_insert_with(|| why.into());
        });
    }

    /// Why it is lost, once it is.
    pub async fn lost(&self) -> String {
        let mut state = self.state.subscribe();
        let lost = state.wait_for(|state| state.lost.is_some()).await;
        lost.ok().and_then(|state| state.lost.clone()).unwrap_or_default()
    }

    /// Why it is lost, if it is.
    pub fn why_lost(&self) -> Option<String> {
        self.state.borrow().lost.clone()
    }

    /// Leave for one change: waits until no process before can send anything, and until every lease was renewed. Fails with [`Failure::Claimed`] when it is
    /// lost.
    pub async fn ask(&self, patience: Duration) -> Result<(), Failure> {
        let another_sends = self.before().map_or(Duration::ZERO, |another| another.left().0);
        tokio::time::sleep(another_sends).await;
        let now = Stamp::now();
        let mut state = self.state.subscribe();
        if !state.borrow().renewed_after(now) {
            self.state.send_modify(|state| state.asked += 1);
        }
        let told = state.wait_for(|state| state.lost.is_some() || state.renewed_after(now));
        match tokio::time::timeout(patience, told).await {
            Ok(Ok(state)) => state.lost.clone().map_or(Ok(()), |why| Err(Failure::Claimed(why))),
            Ok(Err(_)) | Err(_) => Err(Failure::unreachable(format!(
                "the lease could not be renewed for {patience:?}, and without it nothing is changed"
            ))),
        }
    }

    /// Waits until somebody asks for a renewal, unless somebody did since `seen`; how often that was so far.
    pub(crate) async fn asked_since(&self, seen: u64) -> u64 {
        let mut state = self.state.subscribe();
        state.wait_for(|state| state.asked > seen).await.map_or(seen, |state| state.asked)
    }

    /// From now on requests to sites leave only while the leave holds.
    pub(crate) fn sending(self: &Arc<Self>) -> Sending {
        self.sending.fetch_add(1, Ordering::SeqCst);
        Sending(Arc::clone(self))
    }

    /// Another process held the run until now. It may send something for a time, and what it sent may arrive for a
    /// time. Nothing is sent before the first is over, and nothing it sent counts as not done before the second is.
    pub fn after_another(&self, sends: Duration, heard_of: Duration) {
        let mut before = self.before();
        let (was_sending, was_heard_of) = before.map_or_else(Default::default, Another::left);
        let (sends, heard_of) = (sends.max(was_sending), heard_of.max(was_heard_of));
        *before = Some(Another { until: Stamp::now(), sends, heard_of });
    }

    /// How long something that the process before sent may still arrive.
    pub fn left_to_another(&self) -> Duration {
        self.before().map_or(Duration::ZERO, |another| another.left().1)
    }

    fn before(&self) -> MutexGuard<'_, Option<Another>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_write(&self) -> bool {
        self.sending.load(Ordering::SeqCst) == 0 || self.state.borrow().holds()
    }
}

/// Where the leave of a site's run will be, once it has one.
pub(super) type Obeyed = Arc<OnceLock<Arc<Leave>>>;

/// Makes connections that obey a leave.
#[derive(Clone)]
pub(super) struct Obeying<C> {
    pub(super) connector: C,
    pub(super) leave: Obeyed,
}

impl<C> Service<Uri> for Obeying<C>
where
    C: Service<Uri>,
    C::Future: Send + 'static,
    C::Response: Send,
{
    type Response = Obedient<C::Response>;
    type Error = C::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.connector.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, leave) = (self.connector.call(uri), Arc::clone(&self.leave));
        Box::pin(async move { Ok(Obedient { stream: connecting.await?, leave }) })
    }
}

/// A connection that writes nothing of a change without leave.
pub(super) struct Obedient<S> {
    stream: S,
    leave: Obeyed,
}

impl<S> Obedient<S> {
    fn check(&self) -> io::Result<()> {
        if self.leave.get().is_none_or(|leave| leave.may_write()) {
            return Ok(());
        }
        Err(io::Error::other("nothing was written: the lease has run out"))
    }
}

impl<S: Connection> Connection for Obedient<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: Read + Unpin> Read for Obedient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: Write + Unpin> Write for Obedient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn leave_is_given_when_every_lease_was_renewed_and_never_again_once_lost() {
        let leave = Arc::new(Leave::default());
        leave.ask(Duration::ZERO).await.unwrap();
        let (first, second) = (leave.rest_on(Stamp::now()), leave.rest_on(Stamp::ago(WINDOW)));
        assert_eq!(leave.ask(Duration::ZERO).await.unwrap_err().class(), Some(crate::failure::Class::Unreachable));
        assert!(leave.may_write(), "nothing is being sent");
        let keeper = Arc::clone(&leave);
        tokio::spawn(async move {
            for seen in 1.. {
                keeper.asked_since(seen).await;
                for lease in [first, second] {
                    keeper.renew(lease, Stamp::now());
                }
            }
        });
        let sending = leave.sending();
        assert!(!leave.may_write());
        drop(sending);
        assert!(leave.may_write());
        leave.ask(WINDOW).await.unwrap();
        assert!(leave.state.borrow().holds());
        leave.renew(first, Stamp::ago(WINDOW));
        assert!(!leave.state.borrow().holds());
        leave.give_back(first);
        leave.ask(WINDOW).await.unwrap();
        leave.lose("run b has it");
        leave.lose("run c has it");
        leave.renew(second, Stamp::now());
        assert!(matches!(leave.ask(WINDOW).await, Err(Failure::Claimed(why)) if why == "run b has it"));
        assert_eq!(leave.lost().await, "run b has it");
    }

    #[tokio::test]
    async fn what_the_process_before_sent_may_arrive_for_a_time() {
        let leave = Leave::default();
        assert_eq!(leave.left_to_another(), Duration::ZERO);
        let (short, long) = (Duration::from_millis(10), Duration::from_secs(60));
        leave.after_another(short, long);
        leave.after_another(Duration::ZERO, short);
        assert!(leave.left_to_another() > long / 2, "the longer one counts");
        let began = Stamp::now();
        leave.ask(long).await.unwrap();
        assert!(began.age() >= short / 2);
    }
}
