//! Which page is asked for next: the keys as a row of ranges, each a chain of pages, handed out in order.
//!
//! A range is a part of the keys between two bounds; its pages follow one another, as each says where the next begins.
//! Who has nothing to do cuts off the far part of a range that goes on far enough. Bounds lie between keys, so the
//! versions of one key are always in one range. Plain data: nothing is asked here.

use std::collections::VecDeque;

use super::{
    Listing,
    keys::{Cut, Density, Letters},
};
use crate::{
    site::page::{Head, Next},
    version::Page,
};

/// The server's note to itself at the end of a marker.
const NOTE: &str = "[minio_cache:";
/// One chain of pages can make use of so many requests at once: a page is asked for while the one before it is read. It
/// is also what costs the server least: without the note that only a chain can use it looks at 1,000 keys for each page,
/// however few of them fit on it with all their versions.
const CHAIN: usize = 2;
/// Pages of a range, roughly, at least and at most: so few that all that are listed at once can be read ahead whole, and
/// not too few, since the last page of a range is cut off somewhere.
const SHORT: usize = 3;
const LONG: usize = 8;
/// What is shorter is not cut.
const WORTH_A_CUT: f64 = 3.0;
/// No more ranges at once.
const RANGES: usize = 512;
/// Keys of a page that are looked at for the letters in them.
const LOOKS: usize = 8;

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    /// The key that the page comes after.
    key: String,
    /// The key as it is sent.
    pub(super) sent: String,
    /// The version of the key that it comes after; empty: all of them.
    pub(super) version_id: String,
}

/// A page to ask for.
#[derive(Clone, Debug)]
pub(super) struct Job {
    range: u64,
    /// Number of the page in its range.
    number: u64,
    pub(super) marker: Option<Marker>,
    /// How often the server was too busy for it.
    pub(super) tries: u32,
}

pub(super) enum Popped {
    Page(Page),
    /// It is not there yet.
    Wait,
    End,
}

pub(super) struct Ranges {
    listing: Listing,
    /// In order; together they are all that is left to hand out.
    row: VecDeque<Range>,
    /// Pages to ask for once more.
    again: VecDeque<Job>,
    letters: Letters,
    numbers: u64,
    under_way: usize,
    read_ahead: usize,
    /// Bytes of the pages that are here.
    held: usize,
    /// Bytes of a page, by the last one.
    page: usize,
    /// Cuts that gained little, of late.
    vain: u32,
    /// Pages to come before the next cut.
    cut_after: u32,
}

struct Range {
    number: u64,
    /// The last key that belongs to it, if there is one of that name; none: all that follow.
    until: Option<String>,
    chain: Chain,
    /// Pages that were asked for and not handed out, with their size; none while they are not here.
    pages: VecDeque<Option<(Page, usize)>>,
    /// Number of the first of them.
    first: u64,
    /// Everything up to this key is here, or was asked for.
    reached: String,
    density: Option<Density>,
    versions: usize,
    /// It was cut off another one.
    cut_off: bool,
}

enum Chain {
    /// The page after this marker may be asked for; none: the first one.
    Ready(Option<Marker>),
    /// The last page that was asked for has yet to say what follows.
    Asked,
    Ended,
}

impl Ranges {
    pub(super) fn new(listing: Listing, read_ahead: usize) -> Self {
        let mut row = VecDeque::new();
        // MinIO refuses a key to begin after that lies outside the prefix.
        let outside = listing.after.as_ref().filter(|after| !after.starts_with(&listing.prefix));
        if outside.is_none_or(|after| after.as_bytes() <= listing.prefix.as_bytes()) {
            let marker = listing.after.clone().filter(|_| outside.is_none()).map(Marker::after);
            row.push_back(Range::new(0, Chain::Ready(marker), None));
        }
        Self {
            listing,
            row,
            again: VecDeque::new(),
            letters: Letters::default(),
            numbers: 1,
            under_way: 0,
            read_ahead,
            held: 0,
            page: 0,
            vain: 0,
            cut_after: 0,
        }
    }

    pub(super) fn at_once(&self) -> usize {
        self.listing.at_once
    }

    pub(super) fn page_size(&self) -> usize {
        usize::from(self.listing.page_size.unwrap_or(1_000)).clamp(1, 1_000)
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether the keys are cut into ranges.
    fn in_ranges(&self) -> bool {
        self.listing.at_once > CHAIN
    }

    /// The next page in order.
    pub(super) fn pop(&mut self) -> Popped {
        while let Some(front) = self.row.front_mut() {
            match (front.pages.pop_front(), &front.chain) {
                (Some(Some((page, size))), _) => {
                    front.first += 1;
                    self.held = self.held.saturating_sub(size);
                    if !page.is_empty() {
                        return Popped::Page(page);
                    }
                }
                (Some(None), _) => {
                    front.pages.push_front(None);
                    return Popped::Wait;
                }
                (None, Chain::Ended) => {
                    self.row.pop_front();
                }
                (None, Chain::Ready(_) | Chain::Asked) => return Popped::Wait,
            }
        }
        Popped::End
    }

    /// A page to ask for now; it is under way then.
    pub(super) fn take(&mut self) -> Option<Job> {
        let job = self.job()?;
        self.under_way += 1;
        Some(job)
    }

    fn job(&mut self) -> Option<Job> {
        while let Some(job) = self.again.pop_front() {
            if self.waits_for(&job).is_some() {
                return Some(job);
            }
        }
        let room = self.held + self.under_way * self.page < self.read_ahead;
        let mut front = true;
        for range in &mut self.row {
            // Somebody waits for the first page of all.
            let urgent = front && range.pages.is_empty();
            if !room && !urgent {
                return None;
            }
            if let Some(job) = range.ask() {
                return Some(job);
            }
            front = false;
        }
        if self.in_ranges() { self.cut()?.ask() } else { None }
    }

    /// Pages of a range, roughly.
    fn length(&self) -> f64 {
        let pages = self.read_ahead / self.page.max(1) / self.listing.at_once.max(1);
        f64::from(u32::try_from(pages.clamp(SHORT, LONG)).unwrap_or(u32::MAX))
    }

    /// Cuts off the far part of a range: of the first one that is long, else of the longest.
    fn cut(&mut self) -> Option<&mut Range> {
        if self.cut_after > 0 || self.row.len() >= RANGES {
            return None;
        }
        let (prefix, length) = (self.listing.prefix.len(), self.length());
        let mut longest: Option<(usize, Cut)> = None;
        for (at, range) in self.row.iter().enumerate() {
            if matches!(range.chain, Chain::Ended) {
                continue;
            }
            let Some(density) = &range.density else { continue };
            let bounds = (range.reached.as_str(), range.until.as_deref());
            let Some(cut) = self.letters.cut(prefix, density, bounds, length) else { continue };
            if cut.key.contains(NOTE) {
                continue;
            }
            let pages = cut.pages.unwrap_or(f64::INFINITY);
            if pages > 1.5 * length {
                longest = Some((at, cut));
                break;
            }
            let before = longest.as_ref().and_then(|(_, cut)| cut.pages).unwrap_or(WORTH_A_CUT);
            if pages > before {
                longest = Some((at, cut));
            }
        }
        let (at, Cut { key, .. }) = longest?;
        let number = self.numbers;
        self.numbers += 1;
        let near = self.row.get_mut(at)?;
        let chain = Chain::Ready(Some(Marker::after(key.clone())));
        let mut far = Range::new(number, chain, near.until.replace(key.clone()));
        far.density.clone_from(&near.density);
        far.reached = key;
        far.cut_off = true;
        self.row.insert(at + 1, far);
        self.row.get_mut(at + 1)
    }

    /// The begin of a page says where the next one begins, so that may be asked for at once.
    pub(super) fn head(&mut self, job: &Job, head: &Head) {
        let Head::More(next) = head else { return };
        let marker = self.marker(next);
        if self.listing.at_once < CHAIN || job.marker.as_ref() == Some(&marker) {
            return;
        }
        let Some(range) = self.waits_for(job) else { return };
        // Whether more follows in this range when the page goes beyond it, the page itself will say.
        if range.is_last(job) && range.until.as_ref().is_none_or(|until| marker.key <= *until) {
            if marker.key > range.reached {
                range.reached.clone_from(&marker.key);
            }
            range.chain = Chain::Ready(Some(marker));
        }
    }

    /// A page is here; it is under way no longer, unless something is wrong with it.
    pub(super) fn page(&mut self, job: &Job, mut page: Page, head: &Head) -> Result<(), String> {
        let (in_ranges, full) = (self.in_ranges(), self.page_size());
        let next = match head {
            Head::Last => None,
            Head::More(next) => Some(self.marker(next)),
        };
        if next.is_some() && next == job.marker {
            return Err("the page after this one is this one again".into());
        }
        if in_ranges && let Err(why) = check(job.marker.as_ref(), &page, next.as_ref()) {
            return Err(why);
        }
        self.under_way = self.under_way.saturating_sub(1);
        self.cut_after = self.cut_after.saturating_sub(1);
        for at in (0..page.len()).step_by(full.div_ceil(LOOKS)) {
            page.get(at).into_iter().for_each(|entry| self.letters.learn(entry.key));
        }
        let Some(range) = self.waits_for(job) else { return Ok(()) };
        if let (Some(first), Some(last)) = (page.get(0), page.last())
            && first.key != last.key
        {
            #[expect(clippy::cast_precision_loss, reason = "pages are short")]
            let pages = page.len() as f64 / full as f64;
            range.density = Some(Density { first: first.key.to_owned(), last: last.key.to_owned(), pages });
        }
        let mut ended = next.is_none();
        let mut beyond = None;
        if let Some(until) = &range.until {
            let within = page.up_to(until);
            beyond = page.get(within).map(|entry| entry.key.to_owned());
            ended |= beyond.is_some();
            page.truncate(within);
        }
        if let Some(last) = page.last()
            && last.key > range.reached.as_str()
        {
            last.key.clone_into(&mut range.reached);
        }
        range.versions += page.len();
        if ended {
            range.chain = Chain::Ended;
            // What was asked for after it belongs to others.
            range.pages.truncate(usize::try_from(job.number - range.first).map_or(usize::MAX, |at| at + 1));
        } else if range.is_last(job) {
            range.chain = Chain::Ready(next);
        }
        let vain = range.cut_off.then_some(range.versions < full / 4).filter(|_| ended);
        let memory = page.memory();
        if let Some(slot) = range.slot(job) {
            *slot = Some((page, memory));
        }
        self.held += memory;
        self.page = memory;
        if let Some(beyond) = beyond {
            self.nothing_before(job.range, &beyond);
        }
        match vain {
            Some(true) => {
                self.vain = (self.vain + 1).min(6);
                self.cut_after = 1 << self.vain;
            }
            Some(false) => self.vain = self.vain.saturating_sub(1),
            None => {}
        }
        Ok(())
    }

    /// A page is to be asked for again.
    pub(super) fn again(&mut self, job: Job) {
        self.under_way = self.under_way.saturating_sub(1);
        self.again.push_back(job);
    }

    /// No key lies between the end of a range and this one: ranges in between need not be asked for.
    fn nothing_before(&mut self, range: u64, key: &str) {
        let after = self.row.iter_mut().skip_while(|r| r.number != range).skip(1);
        for range in after {
            if range.until.as_deref().is_some_and(|until| until < key) {
                if range.is_untouched() {
                    range.chain = Chain::Ended;
                }
                continue;
            }
            if key > range.reached.as_str() {
                key.clone_into(&mut range.reached);
            }
            break;
        }
    }

    /// The range that a page belongs to, when it is still to come there.
    fn waits_for(&mut self, job: &Job) -> Option<&mut Range> {
        let range = self.row.iter_mut().find(|range| range.number == job.range)?;
        if range.slot(job)?.is_none() { Some(range) } else { None }
    }

    fn marker(&self, next: &Next) -> Marker {
        let key = bare(&next.key);
        // Its note makes the server list all that follows to the end of the bucket, and keep it: good for one chain of
        // pages, and a waste for many short ones. A key that itself looks like a note needs one.
        let sent = if self.in_ranges() && !key.contains(NOTE) { key } else { &next.key };
        Marker { key: key.to_owned(), sent: sent.to_owned(), version_id: next.version_id.clone() }
    }
}

/// A marker without the server's note to itself.
fn bare(marker: &str) -> &str {
    marker.rfind(NOTE).filter(|_| marker.ends_with(']')).map_or(marker, |at| &marker[..at])
}

/// Whether a page is what was asked for; where it is cut off depends on it.
fn check(marker: Option<&Marker>, page: &Page, next: Option<&Marker>) -> Result<(), String> {
    if let Some((key, before)) = page.out_of_order() {
        return Err(format!("it lists key `{key}` after `{before}`"));
    }
    let (Some(first), Some(last)) = (page.get(0), page.last()) else { return Ok(()) };
    if let Some(marker) = marker {
        let later =
            if marker.version_id.is_empty() { first.key > marker.key.as_str() } else { first.key >= &*marker.key };
        if !later {
            return Err(format!("asked for what follows key `{}`, it begins with `{}`", marker.key, first.key));
        }
    }
    match next {
        Some(next) if next.key != last.key => {
            Err(format!("it ends with key `{}`, and the next page is to begin after `{}`", last.key, next.key))
        }
        Some(_) | None => Ok(()),
    }
}

impl Marker {
    /// All versions of a key, and those of the keys before it.
    fn after(key: String) -> Self {
        Self { sent: key.clone(), key, version_id: String::new() }
    }
}

impl Range {
    fn new(number: u64, chain: Chain, until: Option<String>) -> Self {
        Self {
            number,
            until,
            chain,
            pages: VecDeque::new(),
            first: 0,
            reached: String::new(),
            density: None,
            versions: 0,
            cut_off: false,
        }
    }

    /// The next page, if it is known where it begins.
    fn ask(&mut self) -> Option<Job> {
        let Chain::Ready(marker) = &mut self.chain else { return None };
        let marker = marker.take();
        self.chain = Chain::Asked;
        self.pages.push_back(None);
        Some(Job { range: self.number, number: self.first + self.pages.len() as u64 - 1, marker, tries: 0 })
    }

    fn slot(&mut self, job: &Job) -> Option<&mut Option<(Page, usize)>> {
        let at = usize::try_from(job.number.checked_sub(self.first)?).ok()?;
        self.pages.get_mut(at)
    }

    /// Whether nothing was asked for after this page.
    fn is_last(&self, job: &Job) -> bool {
        matches!(self.chain, Chain::Asked) && job.number + 1 == self.first + self.pages.len() as u64
    }

    fn is_untouched(&self) -> bool {
        matches!(self.chain, Chain::Ready(_)) && self.first == 0 && self.pages.is_empty()
    }
}
