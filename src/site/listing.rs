//! Streaming version listings, in MinIO's own order: keys by their bytes, within a key the newest first.
//!
//! Listed one page after the other, or several at once: then the keys are cut into ranges, each of which is listed on
//! its own, and the pages are handed out in order all the same. What is read ahead is bounded, so memory does not grow
//! with the bucket.

mod fetch;
mod keys;
mod pace;
mod ranges;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::{
    fetch::{Http, Server},
    pace::Window,
    ranges::{Job, Popped, Ranges},
};
use super::{Site, page, spread};
use crate::{
    failure::{Class, Failure},
    step::Access,
    types::BucketName,
    version::{Page, Version},
};

/// Pages that are read ahead are not more than this, in bytes; one page always may be.
const READ_AHEAD: usize = 8 << 20;
/// How often a page that a server was too busy for is asked for again: over some ten seconds in all.
const THROTTLED: u32 = 6;

/// What to list.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Only keys after this one.
    pub after: Option<String>,
    /// Headers and tags too (MinIO's `metadata=true`); they are left out silently without leave to read them.
    pub metadata: bool,
    /// Versions a page, 1,000 unless said.
    pub page_size: Option<u16>,
    /// Requests under way at once, at most; fewer when the site slows down or asks for it. Up to 1: a page is asked
    /// for when it is needed, and not before. 2: also while the one before it is read. More: in ranges of keys.
    pub at_once: usize,
}

/// The versions of a bucket, in order; nothing is asked before the first of them is wanted.
pub struct Versions {
    shared: Arc<Shared>,
    workers: JoinSet<()>,
    /// The page that [`Versions::next`] is at, and where.
    page: Page,
    at: usize,
}

impl<A: Access> Site<A> {
    /// The versions of a bucket; nothing is asked before the first one is wanted.
    pub fn versions(&self, bucket: &BucketName, listing: Listing) -> Versions {
        let server = Http::new(Arc::clone(&self.wire), bucket.clone(), &listing);
        Versions::of(Box::new(server), listing)
    }
}

impl Versions {
    fn of(server: Box<dyn Server>, listing: Listing) -> Self {
        let window = Window::new(listing.at_once);
        let state = State { ranges: Ranges::new(listing, READ_AHEAD), window, failure: None, paused: false };
        let shared = Shared { server, state: Mutex::new(state), work: Notify::new(), news: Notify::new() };
        Self { shared: Arc::new(shared), workers: JoinSet::new(), page: Page::default(), at: 0 }
    }

    /// The next version; `None` at the end of the bucket. After a failure it may be called again, and goes on where
    /// it was.
    pub async fn next(&mut self) -> Result<Option<Version>, Failure> {
        loop {
            if let Some(entry) = self.page.get(self.at) {
                self.at += 1;
                return Ok(Some(entry.to_version()));
            }
            match self.next_page().await? {
                Some(page) => (self.page, self.at) = (page, 0),
                None => return Ok(None),
            }
        }
    }

    /// The next page, which holds one version at least; `None` at the end. Not to be mixed with [`Versions::next`],
    /// which may be in the middle of a page. After a failure it may be called again, and goes on where it was.
    pub async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        self.shared.go_on();
        let workers = self.shared.state().ranges.at_once();
        while workers > 1 && self.workers.len() < workers {
            let shared = Arc::clone(&self.shared);
            self.workers.spawn(async move { shared.work().await });
        }
        loop {
            let news = self.shared.news.notified();
            match self.shared.pop()? {
                Popped::Page(page) => return Ok(Some(page)),
                Popped::End => return Ok(None),
                Popped::Wait if workers > 1 => news.await,
                Popped::Wait => self.shared.work_once().await,
            }
        }
    }
}

/// What the workers share with the one who wants the pages.
struct Shared {
    server: Box<dyn Server>,
    state: Mutex<State>,
    /// There may be something to ask for.
    work: Notify,
    /// There may be a page, or a failure.
    news: Notify,
}

struct State {
    ranges: Ranges,
    window: Window,
    failure: Option<Failure>,
    /// Nothing is asked after a failure, until somebody wants to go on.
    paused: bool,
}

enum Next<'a> {
    Job(Claimed<'a>),
    /// Nothing is to be asked before.
    Hold(Instant),
    Nothing,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn go_on(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.paused) {
            self.work.notify_waiters();
        }
    }

    /// The next page in order. What failed is told when nothing before it is left to hand out.
    fn pop(&self) -> Result<Popped, Failure> {
        let mut state = self.state();
        let popped = state.ranges.pop();
        match (&popped, state.failure.take_if(|_| matches!(popped, Popped::Wait))) {
            (_, Some(failure)) => return Err(failure),
            // There is room for another one now.
            (Popped::Page(_), None) => self.work.notify_one(),
            (Popped::Wait | Popped::End, None) => {}
        }
        Ok(popped)
    }

    /// Asks for page after page, until it is dropped.
    async fn work(&self) {
        loop {
            let work = self.work.notified();
            tokio::pin!(work);
            // What changes from here on wakes it.
            work.as_mut().enable();
            match self.next() {
                Next::Job(job) => self.run(job).await,
                Next::Hold(until) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = work => {}
                    }
                }
                Next::Nothing => work.await,
            }
        }
    }

    /// Asks for the page that is wanted.
    async fn work_once(&self) {
        match self.next() {
            Next::Job(job) => self.run(job).await,
            Next::Hold(until) => sleep_until(until).await,
            Next::Nothing => {}
        }
    }

    fn next(&self) -> Next<'_> {
        let mut state = self.state();
        if state.paused || !state.window.has_room(state.ranges.under_way()) {
            return Next::Nothing;
        }
        if let Some(until) = state.window.holds(Instant::now()) {
            return Next::Hold(until);
        }
        match state.ranges.take() {
            Some(job) => Next::Job(Claimed { shared: self, job: Some(job) }),
            None => Next::Nothing,
        }
    }

    async fn run(&self, mut claimed: Claimed<'_>) {
        let Some(job) = claimed.job.clone() else { return };
        let (begun, mut told) = (Instant::now(), false);
        let mut reader = page::Reader::new(self.state().ranges.page_size());
        let mut take = |chunk: &[u8]| {
            reader.feed(chunk)?;
            if let (false, Some(head)) = (told, reader.head()) {
                told = true;
                let mut state = self.state();
                state.window.answered(begun.elapsed());
                state.ranges.head(&job, head);
                drop(state);
                self.work.notify_waiters();
            }
            Ok(())
        };
        let answer = self.server.page(job.marker.as_ref(), &mut take).await;
        let page = match answer {
            Ok(()) => reader.end().map_err(|unusable| self.server.unusable(unusable)),
            Err(failure) => Err(failure),
        };
        claimed.job = None;
        let mut state = self.state();
        match page {
            Ok((page, head)) => {
                if let Err(why) = state.ranges.page(&job, page, &head) {
                    state.failed(job, self.server.unusable(page::Unusable::Broken(why)));
                }
            }
            Err(failure) => state.failed(job, failure),
        }
        drop(state);
        self.work.notify_waiters();
        self.news.notify_one();
    }
}

impl State {
    fn failed(&mut self, mut job: Job, failure: Failure) {
        let busy = failure.class() == Some(Class::Throttled);
        job.tries += 1;
        let again = busy && job.tries <= THROTTLED;
        if busy {
            self.window.throttled(Instant::now(), job.tries, spread());
        }
        if !again {
            job.tries = 0;
            self.fail(failure);
        }
        self.ranges.again(job);
    }

    fn fail(&mut self, failure: Failure) {
        self.paused = true;
        self.failure.get_or_insert(failure);
    }
}

/// A page that somebody asks for; it is to be asked for again when they stop in the middle.
struct Claimed<'a> {
    shared: &'a Shared,
    job: Option<Job>,
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            self.shared.state().ranges.again(job);
        }
    }
}

#[cfg(test)]
mod tests;
