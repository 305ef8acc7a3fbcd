//! The merge: two ordered streams of versions side by side, and what is not the same on both.
//!
//! Holds one page of each stream. Within a key the versions are matched by version id, as a set, since sites may order
//! those of one moment differently; those that found no partner yet are few, or wait on disk.

use std::{cmp::Ordering, collections::VecDeque, future::Future, io};

use futures_util::future::try_join;

use super::{
    Difference, Rules, Tally,
    classify::classify,
    unpaired::{Pairing, Unpaired},
};
use crate::version::{Entry, Page};

/// What is told at once, at most; a key has no more differences in memory than these and those of one part of it.
const TOLD: usize = 1_024;

/// Versions of one site, keys in ascending order of their bytes.
pub trait Stream: Send {
    type Error: Send;
    /// The next versions; `None` at the end.
    fn next_page(&mut self) -> impl Future<Output = Result<Option<Page>, Self::Error>> + Send;
}

/// A bucket that is not there has no versions.
impl<S: Stream> Stream for Option<S> {
    type Error = S::Error;
    async fn next_page(&mut self) -> Result<Option<Page>, S::Error> {
        match self {
            Some(stream) => stream.next_page().await,
            None => Ok(None),
        }
    }
}

/// One of the two sites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Source,
    Target,
}

/// Why a merge cannot go on.
#[derive(Debug)]
pub enum Broken<E> {
    /// A stream failed. The merge may be asked again, when the stream may.
    Stream(E),
    /// A stream's keys went backwards: merging it would be silently wrong.
    OutOfOrder { which: Which, key: String, after: String },
    /// What did not fit into memory could not be written to a temporary file, or read from it.
    Disk(io::Error),
}

/// What a merge comes to, bit by bit: all of it together is the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A version that the sites do not share; more of its key may follow.
    Difference(Difference),
    /// The end of a key that has differences, and what its versions came to.
    Key(String, Tally),
    /// Keys without a difference, and what their versions came to.
    Same(Tally),
}

/// Walks two streams side by side.
pub struct Merge<'r, S, T> {
    source: Side<S>,
    target: Side<T>,
    rules: &'r Rules,
    key: Key,
    /// The keys without a difference since the last time they were told.
    same: Tally,
    told: VecDeque<Told>,
}

struct Side<S> {
    stream: S,
    page: Page,
    at: usize,
    ended: bool,
}

/// The key that the merge is at.
#[derive(Default)]
struct Key {
    name: String,
    /// In the middle of it; else it is done.
    open: bool,
    /// Out of scope.
    outside: bool,
    tally: Tally,
    differences: u64,
    unpaired: Unpaired,
}

/// What is to be done next.
enum Step {
    /// A stream has to give its next page.
    Fill,
    /// There is something to tell.
    Tell,
    End,
}

impl<'r, S, T> Merge<'r, S, T>
where
    S: Stream,
    T: Stream<Error = S::Error>,
{
    pub fn new(source: S, target: T, rules: &'r Rules) -> Self {
        let (key, told) = (Key::default(), VecDeque::new());
        Self { source: Side::new(source), target: Side::new(target), rules, key, same: Tally::default(), told }
    }

    /// What the next keys come to; `None` at the end of both streams. Tells something at least once
    /// a page, except in the middle of a key.
    pub async fn next(&mut self) -> Result<Option<Told>, Broken<S::Error>> {
        loop {
            if let Some(told) = self.told.pop_front() {
                return Ok(Some(told));
            }
            match self.step()? {
                Step::Tell => {}
                Step::Fill | Step::End if !self.key.open && self.same != Tally::default() => {
                    return Ok(Some(Told::Same(std::mem::take(&mut self.same))));
                }
                // Both at once: each may have to wait for a page.
                Step::Fill => {
                    try_join(self.source.fill(), self.target.fill()).await.map_err(Broken::Stream)?;
                }
                Step::End => return Ok(None),
            }
        }
    }

    /// The last key that is done: a merge of what comes after it tells the rest. What has been told by then belongs
    /// to this key and those before it, once [`Told::Key`] or [`Told::Same`] was the last.
    pub fn done(&self) -> Option<&str> {
        (!self.key.open && self.told.is_empty() && !self.key.name.is_empty()).then_some(self.key.name.as_str())
    }

    /// Goes on as long as nothing is to be told or waited for.
    fn step(&mut self) -> Result<Step, Broken<S::Error>> {
        loop {
            if self.told.len() >= TOLD {
                return Ok(Step::Tell);
            }
            if self.source.is_dry() || self.target.is_dry() {
                return Ok(if self.told.is_empty() { Step::Fill } else { Step::Tell });
            }
            let (source, target) = (self.source.peek(), self.target.peek());
            if !self.key.open {
                let key = match (source, target) {
                    (Some(source), Some(target)) if target.key.as_bytes() < source.key.as_bytes() => target.key,
                    (Some(source), _) => source.key,
                    (None, Some(target)) => target.key,
                    (None, None) => return Ok(if self.told.is_empty() { Step::End } else { Step::Tell }),
                };
                if key.as_bytes() <= self.key.name.as_bytes() {
                    let which = if source.is_some_and(|s| s.key == key) { Which::Source } else { Which::Target };
                    return Err(Broken::OutOfOrder { which, key: key.to_owned(), after: self.key.name.clone() });
                }
                self.key.begin(key, self.rules);
            }
            let source = source.filter(|entry| entry.key == self.key.name);
            let target = target.filter(|entry| entry.key == self.key.name);
            let taken = self.key.take(source, target, self.rules, &mut self.told).map_err(Broken::Disk)?;
            match taken {
                Taken::Source => self.source.at += 1,
                Taken::Target => self.target.at += 1,
                Taken::Both => {
                    self.source.at += 1;
                    self.target.at += 1;
                }
                Taken::Neither => {
                    if self.key.end(self.rules, &mut self.told, &mut self.same).map_err(Broken::Disk)? {
                        self.key.open = false;
                    }
                }
            }
        }
    }
}

enum Taken {
    Source,
    Target,
    Both,
    Neither,
}

impl Key {
    fn begin(&mut self, name: &str, rules: &Rules) {
        self.name.clear();
        self.name.push_str(name);
        self.outside = rules.scope.key(name).is_some();
        self.open = true;
        self.tally = Tally::default();
        self.differences = 0;
        self.unpaired.begin();
    }

    /// Takes the next version of one side, or of both: the newer one first, as both sites list them.
    fn take(
        &mut self,
        source: Option<Entry<'_>>,
        target: Option<Entry<'_>>,
        rules: &Rules,
        told: &mut VecDeque<Told>,
    ) -> io::Result<Taken> {
        let taken = match (source, target) {
            (None, None) => return Ok(Taken::Neither),
            (Some(source), Some(target)) if source.version_id == target.version_id => {
                // One of them may have been there before, and then the other has its partner already.
                match (self.unpaired.source.is_new(&source), self.unpaired.target.is_new(&target)) {
                    (true, true) => {
                        self.tally.source.count(&source);
                        self.tally.target.count(&target);
                        self.classify(Some(&source), Some(&target), rules, told);
                    }
                    (true, false) => self.one(Which::Source, &source, true, rules, told)?,
                    (false, true) => self.one(Which::Target, &target, true, rules, told)?,
                    (false, false) => {}
                }
                return Ok(Taken::Both);
            }
            (Some(source), Some(target)) => match source.modified_ms.cmp(&target.modified_ms) {
                Ordering::Less => Taken::Target,
                Ordering::Equal => Taken::Both,
                Ordering::Greater => Taken::Source,
            },
            (Some(_), None) => Taken::Source,
            (None, Some(_)) => Taken::Target,
        };
        let both = source.is_some() && target.is_some();
        if let (Some(source), Taken::Source | Taken::Both) = (source, &taken)
            && self.unpaired.source.is_new(&source)
        {
            self.one(Which::Source, &source, both, rules, told)?;
        }
        if let (Some(target), Taken::Target | Taken::Both) = (target, &taken)
            && self.unpaired.target.is_new(&target)
        {
            self.one(Which::Target, &target, both, rules, told)?;
        }
        Ok(taken)
    }

    /// A version of one side, which may have its partner among those that wait for theirs.
    fn one(
        &mut self,
        which: Which,
        entry: &Entry<'_>,
        others_follow: bool,
        rules: &Rules,
        told: &mut VecDeque<Told>,
    ) -> io::Result<()> {
        match which {
            Which::Source => self.tally.source.count(entry),
            Which::Target => self.tally.target.count(entry),
        }
        match (which, self.unpaired.pair(which, entry, others_follow)?) {
            (_, Pairing::Waits) => {}
            (Which::Source, Pairing::Found(target)) => self.classify(Some(entry), Some(&target.entry()), rules, told),
            (Which::Target, Pairing::Found(source)) => self.classify(Some(&source.entry()), Some(entry), rules, told),
            (Which::Source, Pairing::Alone) => self.classify(Some(entry), None, rules, told),
            (Which::Target, Pairing::Alone) => self.classify(None, Some(entry), rules, told),
        }
        Ok(())
    }

    fn classify(
        &mut self,
        source: Option<&Entry<'_>>,
        target: Option<&Entry<'_>>,
        rules: &Rules,
        told: &mut VecDeque<Told>,
    ) {
        if let Some(mut difference) = classify(source, target, self.outside, rules, &mut self.tally) {
            // What waited has lost its key.
            difference.key.clone_from(&self.name);
            self.differences += 1;
            told.push_back(Told::Difference(difference));
        }
    }

    /// Both sides have no more versions of it: those that still wait have no partner. False when there are more of
    /// these than can be told at once.
    fn end(&mut self, rules: &Rules, told: &mut VecDeque<Told>, same: &mut Tally) -> io::Result<bool> {
        if let Some(part) = self.unpaired.next_part()? {
            for (source, target) in part {
                let (source, target) = (source.as_ref().map(|v| v.entry()), target.as_ref().map(|v| v.entry()));
                self.classify(source.as_ref(), target.as_ref(), rules, told);
            }
            return Ok(false);
        }
        if !self.outside && self.tally.left_out == 0 && self.unpaired.latest_differs() {
            self.tally.latest_differs = 1;
        }
        if self.differences == 0 {
            *same += self.tally;
        } else {
            told.push_back(Told::Key(self.name.clone(), self.tally));
            if *same != Tally::default() {
                told.push_back(Told::Same(std::mem::take(same)));
            }
        }
        Ok(true)
    }
}

impl<S: Stream> Side<S> {
    fn new(stream: S) -> Self {
        Self { stream, page: Page::default(), at: 0, ended: false }
    }

    /// Its next page is needed.
    fn is_dry(&self) -> bool {
        !self.ended && self.at >= self.page.len()
    }

    fn peek(&self) -> Option<Entry<'_>> {
        self.page.get(self.at)
    }

    async fn fill(&mut self) -> Result<(), S::Error> {
        while self.is_dry() {
            match self.stream.next_page().await? {
                Some(page) => (self.page, self.at) = (page, 0),
                None => self.ended = true,
            }
        }
        Ok(())
    }
}
