//! The walk over both listings, and the second look at the keys that differed.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use tokio::time::{Instant, sleep};

use super::{Comparison, VersionsCompare};
use crate::{
    compare::{Broken, Class, Difference, Filter, Merge, Rules, Scope, Stream, Tally, Told, Which},
    event::Progress,
    failure::Failure,
    human,
    site::{
        Site,
        listing::{Listing, Versions},
    },
    step::{Access, Cx, Reads},
    types::{BucketName, Moment},
    version::Page,
};

/// Beyond this many differing keys they are not kept in memory, and are looked for by walking everything again.
const KEYS_KEPT: usize = 10_000;
/// The same for differences: one key may have many versions.
const DIFFERENCES_KEPT: usize = 50_000;
const EXAMPLES: usize = 5;
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Keys that are looked at again at once.
const LOOKS_AT_ONCE: usize = 8;
/// Looking at one key costs about as much as listing this many versions.
const LOOK_COST: u64 = 100;
/// Versions of a key are rarely more, and what follows the key in the listing is of no use.
const LOOK_PAGE: u16 = 100;

/// A comparison, and the differences that it found, the first 10,000 of them.
pub(in crate::steps) struct Compared {
    pub(in crate::steps) comparison: Comparison,
    pub(in crate::steps) differences: Vec<Difference>,
}

/// Compares, waits for differences to close as long as it may, and writes what remains to an artifact.
pub(in crate::steps) async fn compare<A: Access>(
    cx: &Cx<A>,
    params: &VersionsCompare,
    artifact: &str,
) -> Result<Compared, Failure> {
    let say = |progress| cx.progress(progress);
    let task = Task::prepare(params, cx.read(&params.source)?, cx.read(&params.target)?, &say).await?;
    let settled = task.settle(if cx.waits() { params.settle.0 } else { Duration::ZERO }).await?;
    let mut file = cx.artifact(artifact)?;
    let mut differences = Vec::new();
    let comparison = task
        .tell(settled, |difference| {
            let line = serde_json::to_string(&difference).map_err(|e| Failure::Journal(e.to_string()))?;
            writeln!(file, "{line}").map_err(|e| Failure::Journal(e.to_string()))?;
            if differences.len() < KEYS_KEPT {
                differences.push(difference);
            }
            Ok(())
        })
        .await?;
    cx.keep(file)?;
    Ok(Compared { comparison, differences })
}

/// Compares outside of a run: each difference that remains is given to `take` as soon as it is known.
pub(crate) async fn compare_sites(
    params: &VersionsCompare,
    source: Site<Reads>,
    target: Site<Reads>,
    say: &(dyn Fn(Progress) + Sync),
    take: impl FnMut(Difference) -> Result<(), Failure> + Send,
) -> Result<Comparison, Failure> {
    let task = Task::prepare(params, source, target, say).await?;
    let settled = task.settle(params.settle.0).await?;
    task.tell(settled, take).await
}

/// Compares what a site holds with versions that come from elsewhere and are right, as [`compare_sites`] does; nothing
/// is waited for.
pub(crate) async fn compare_with(
    params: &VersionsCompare,
    versions: impl Stream<Error = Failure>,
    target: Site<Reads>,
    say: &(dyn Fn(Progress) + Sync),
    tell: impl FnMut(Difference) -> Result<(), Failure> + Send,
) -> Result<Comparison, Failure> {
    let before = cutoff(params, &target).await?;
    let target_exists = target.bucket_exists(params.target_bucket()).await?;
    let scope = Scope::excluding(&params.exclude).map_err(Failure::refused)?;
    let rules = Rules { before, metadata: params.metadata, scope };
    let listing = Listing {
        prefix: params.prefix.clone(),
        metadata: params.metadata,
        at_once: usize::from(params.concurrency.get()),
        ..Listing::default()
    };
    let listed = target_exists.then(|| target.versions(params.target_bucket(), listing));
    let mut telling = Telling::new(tell);
    walk(Merge::new(versions, listed, &rules), params, say, |told| telling.take(told)).await?;
    Ok(Comparison { target_bucket_missing: !target_exists, before, ..telling.end(params) })
}

/// What is newer is left out. By the clock of the site that is right, if it is one.
async fn cutoff(params: &VersionsCompare, site: &Site<Reads>) -> Result<Option<Timestamp>, Failure> {
    match params.before {
        None => Ok(None),
        Some(Moment::At(at)) => Ok(Some(at)),
        Some(Moment::Now) => now(site).await.map(Some),
    }
}

/// Walks two streams side by side, and gives what it comes to to `take`.
async fn walk<S: Stream<Error = Failure>, T: Stream<Error = Failure>>(
    mut merge: Merge<'_, S, T>,
    params: &VersionsCompare,
    say: &(dyn Fn(Progress) + Sync),
    mut take: impl FnMut(Told) -> Result<(), Failure> + Send,
) -> Result<(), Failure> {
    let (mut seen, mut differences, mut said) = (Tally::default(), 0, Instant::now());
    while let Some(told) = merge.next().await.map_err(|broken| failure(params, broken))? {
        match &told {
            Told::Difference(_) => differences += 1,
            Told::Key(_, tally) | Told::Same(tally) => seen += *tally,
        }
        if said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            let what = format!("comparing, {} so far", human::plural(differences, "difference"));
            say(Progress {
                what,
                done: Some(seen.compared() + seen.left_out + seen.out_of_scope),
                bytes: Some(seen.source.bytes),
                ..Progress::default()
            });
        }
        take(told)?;
    }
    Ok(())
}

/// What has been told so far: the numbers, and examples.
struct Telling<F> {
    tally: Tally,
    examples: BTreeMap<Class, Vec<Difference>>,
    tell: F,
}

impl<F: FnMut(Difference) -> Result<(), Failure>> Telling<F> {
    fn new(tell: F) -> Self {
        Self { tally: Tally::default(), examples: BTreeMap::new(), tell }
    }

    fn take(&mut self, told: Told) -> Result<(), Failure> {
        let difference = match told {
            Told::Key(_, sum) | Told::Same(sum) => {
                self.tally += sum;
                return Ok(());
            }
            Told::Difference(difference) => difference,
        };
        let examples = self.examples.entry(difference.class).or_default();
        if examples.len() < EXAMPLES {
            examples.push(difference.clone());
        }
        (self.tell)(difference)
    }

    fn end(self, params: &VersionsCompare) -> Comparison {
        let tally = self.tally;
        let waived = Class::ALL.into_iter().filter(|c| tally.of(*c) > 0 && params.accept.contains(c)).collect();
        Comparison { waived, examples: self.examples.into_values().flatten().collect(), ..tally.into() }
    }
}

fn failure(params: &VersionsCompare, broken: Broken<Failure>) -> Failure {
    match broken {
        Broken::Stream(failure) => failure,
        Broken::OutOfOrder { which, key, after } => {
            let role = match which {
                Which::Source => &params.source,
                Which::Target => &params.target,
            };
            Failure::refused(format!("{role} lists key `{key}` after `{after}`, so nothing can be compared"))
        }
        Broken::Disk(why) => Failure::Journal(format!(
            "versions of one key that do not fit into memory could not be kept in a temporary file: {why}"
        )),
    }
}

/// What the source's rules and its versioning can replicate, and what the runbook excludes.
async fn scope(
    source: &Site<Reads>,
    bucket: &BucketName,
    arn: Option<&str>,
    mut scope: Scope,
) -> Result<Scope, Failure> {
    let versioning = source.versioning(bucket).await?;
    let replication = source.replication(bucket).await?.unwrap_or_default();
    let ours = |rule_arn: &str| {
        let rule_arn = if rule_arn.is_empty() { replication.role.as_str() } else { rule_arn };
        arn.is_none_or(|arn| arn == rule_arn)
    };
    scope.filters = replication
        .rules
        .iter()
        .filter(|rule| rule.enabled && ours(&rule.arn))
        .map(|rule| Filter { prefix: rule.prefix.clone(), tags: rule.tags.clone() })
        .collect();
    scope.excluded_prefixes = versioning.excluded_prefixes;
    scope.exclude_folders = versioning.exclude_folders;
    Ok(scope)
}

struct Task<'a> {
    params: &'a VersionsCompare,
    source: Site<Reads>,
    target: Site<Reads>,
    target_exists: bool,
    rules: Rules,
    /// Told of the progress, at most once a second.
    say: &'a (dyn Fn(Progress) + Sync),
}

/// What the time for differences to close came to.
struct Settled {
    /// The keys that still differ; `None` when everything is to be walked, once more or for the first time.
    kept: Option<Kept>,
    waited: Duration,
}

/// One walk over everything, with the keys that differ kept in memory.
enum Round {
    Kept(Kept),
    /// More keys differ than are kept; only the numbers.
    TooMany(Tally),
}

/// A key that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Key {
    tally: Tally,
    differences: Vec<Difference>,
}

#[derive(Default)]
struct Kept {
    /// The keys without a difference.
    clean: Tally,
    open: BTreeMap<String, Key>,
}

impl Kept {
    /// Whether looking at each key again is less work than walking everything again.
    fn few(&self) -> bool {
        let tally = self.tally();
        self.open.len() as u64 * LOOK_COST < tally.source.versions + tally.target.versions
    }

    fn tally(&self) -> Tally {
        self.open.values().fold(self.clean, |mut sum, key| {
            sum += key.tally;
            sum
        })
    }
}

/// Keeps the keys that differ, until they are too many: from then on only the numbers.
struct Collected {
    kept: Kept,
    keys_kept: usize,
    /// Those of the key that is not at its end yet.
    differences: Vec<Difference>,
    count: usize,
    too_many: bool,
}

impl Collected {
    fn new(keys_kept: usize) -> Self {
        Self { kept: Kept::default(), keys_kept, differences: Vec::new(), count: 0, too_many: false }
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Same(tally) => self.kept.clean += tally,
            Told::Key(_, tally) if self.too_many => self.kept.clean += tally,
            Told::Difference(_) if self.too_many => {}
            Told::Difference(difference) => {
                self.count += 1;
                self.differences.push(difference);
            }
            Told::Key(name, tally) => {
                let differences = std::mem::take(&mut self.differences);
                self.kept.open.insert(name, Key { tally, differences });
            }
        }
        if self.kept.open.len() > self.keys_kept || self.count > DIFFERENCES_KEPT {
            self.too_many = true;
            self.differences = Vec::new();
            for key in std::mem::take(&mut self.kept.open).into_values() {
                self.kept.clean += key.tally;
            }
        }
    }

    fn end(self) -> Round {
        if self.too_many { Round::TooMany(self.kept.clean) } else { Round::Kept(self.kept) }
    }
}

impl Round {
    fn tally(&self) -> Tally {
        match self {
            Self::Kept(kept) => kept.tally(),
            Self::TooMany(tally) => *tally,
        }
    }

    fn is_open(&self, accept: &[Class]) -> bool {
        let tally = self.tally();
        Class::ALL.iter().any(|class| tally.of(*class) > 0 && !accept.contains(class))
    }

    fn progress(&self, left: Duration) -> Progress {
        let tally = self.tally();
        let what = format!(
            "{} missing, {} extra, {} different, {} pending; waiting for them to close, {} s left",
            tally.missing,
            tally.extra,
            tally.different,
            tally.pending,
            left.as_secs()
        );
        Progress { what, done: Some(tally.same), total: Some(tally.compared()), ..Progress::default() }
    }
}

impl<'a> Task<'a> {
    async fn prepare(
        params: &'a VersionsCompare,
        source: Site<Reads>,
        target: Site<Reads>,
        say: &'a (dyn Fn(Progress) + Sync),
    ) -> Result<Self, Failure> {
        // The cutoff comes first: what is written from here on is newer.
        let before = cutoff(params, &source).await?;
        if !source.bucket_exists(&params.bucket).await? {
            return Err(Failure::refused(format!("bucket `{}` does not exist on {}", params.bucket, params.source)));
        }
        let target_exists = target.bucket_exists(params.target_bucket()).await?;
        let base = Scope::excluding(&params.exclude).map_err(Failure::refused)?;
        let scope = scope(&source, &params.bucket, params.arn.as_deref(), base).await?;
        let rules = Rules { before, metadata: params.metadata, scope };
        Ok(Self { params, source, target, target_exists, rules, say })
    }

    /// Looks again and again, until nothing differs that counts or the time is up.
    async fn settle(&self, time: Duration) -> Result<Settled, Failure> {
        // Nothing closes by itself while the target has no bucket.
        if time.is_zero() || !self.target_exists {
            return Ok(Settled { kept: None, waited: Duration::ZERO });
        }
        let mut round = self.collect().await?;
        let begin = Instant::now();
        let mut pause = FIRST_PAUSE;
        while round.is_open(&self.params.accept) && begin.elapsed() < time {
            (self.say)(round.progress(time.saturating_sub(begin.elapsed())));
            sleep(pause.min(time.saturating_sub(begin.elapsed()))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            round = match round {
                Round::Kept(kept) if kept.few() => Round::Kept(self.look_again(kept).await?),
                Round::Kept(_) | Round::TooMany(_) => self.collect().await?,
            };
        }
        let kept = match round {
            Round::Kept(kept) => Some(kept),
            Round::TooMany(_) => None,
        };
        Ok(Settled { kept, waited: begin.elapsed() })
    }

    /// Walks everything and gives what it comes to to `take`.
    async fn walk(&self, take: impl FnMut(Told) -> Result<(), Failure> + Send) -> Result<(), Failure> {
        let listing = Listing { at_once: usize::from(self.params.concurrency.get()), ..self.listing() };
        let target = self.target_exists.then(|| self.target.versions(self.params.target_bucket(), listing.clone()));
        let merge = Merge::new(self.source.versions(&self.params.bucket, listing), target, &self.rules);
        walk(merge, self.params, self.say, take).await
    }

    async fn collect(&self) -> Result<Round, Failure> {
        let mut collected = Collected::new(KEYS_KEPT);
        self.walk(|told| {
            collected.take(told);
            Ok(())
        })
        .await?;
        Ok(collected.end())
    }

    /// Looks at every key again that differed.
    async fn look_again(&self, mut kept: Kept) -> Result<Kept, Failure> {
        let open: Vec<_> = std::mem::take(&mut kept.open).into_iter().collect();
        let looks: Vec<(String, Key)> = stream::iter(open.into_iter().map(|(name, _)| self.look(name)))
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect()
            .await?;
        for (name, key) in looks {
            if key.differences.is_empty() {
                kept.clean += key.tally;
            } else {
                kept.open.insert(name, key);
            }
        }
        Ok(kept)
    }

    async fn look(&self, name: String) -> Result<(String, Key), Failure> {
        let listing = Listing { prefix: name.clone(), page_size: Some(LOOK_PAGE), ..self.listing() };
        let of_key = |versions| OneKey { key: name.clone(), versions: Some(versions) };
        let source = of_key(self.source.versions(&self.params.bucket, listing.clone()));
        let target = self.target_exists.then(|| of_key(self.target.versions(self.params.target_bucket(), listing)));
        let mut merge = Merge::new(source, target, &self.rules);
        let mut key = Key::default();
        while let Some(told) = merge.next().await.map_err(|broken| failure(self.params, broken))? {
            match told {
                Told::Difference(difference) => key.differences.push(difference),
                Told::Key(_, tally) | Told::Same(tally) => key.tally += tally,
            }
        }
        Ok((name, key))
    }

    /// Tells what remains, from memory or by walking everything once more.
    async fn tell(
        &self,
        settled: Settled,
        tell: impl FnMut(Difference) -> Result<(), Failure> + Send,
    ) -> Result<Comparison, Failure> {
        let mut telling = Telling::new(tell);
        match settled.kept {
            Some(kept) => {
                telling.take(Told::Same(kept.tally()))?;
                let differences = kept.open.into_values().flat_map(|key| key.differences);
                differences.map(Told::Difference).try_for_each(|told| telling.take(told))?;
            }
            None => self.walk(|told| telling.take(told)).await?,
        }
        Ok(Comparison {
            target_bucket_missing: !self.target_exists,
            before: self.rules.before,
            settled_seconds: settled.waited.as_secs_f64(),
            ..telling.end(self.params)
        })
    }

    fn listing(&self) -> Listing {
        Listing {
            prefix: self.params.prefix.clone(),
            metadata: self.params.metadata || self.rules.scope.needs_tags(),
            ..Listing::default()
        }
    }
}

/// The site's clock, to the second.
pub(in crate::steps) async fn clock<A: Access>(site: &Site<A>) -> Result<Timestamp, Failure> {
    let time = site.health().await?.server_time;
    time.ok_or_else(|| Failure::refused(format!("{} does not tell its time (no `Date` header)", site.alias())))
}

/// This moment by the site's clock. It tells whole seconds, so the turn to the next one is waited for: all that was
/// written before is older than it.
pub(crate) async fn now<A: Access>(site: &Site<A>) -> Result<Timestamp, Failure> {
    let first = clock(site).await?;
    for _ in 0..20 {
        sleep(Duration::from_millis(100)).await;
        let time = clock(site).await?;
        if time > first {
            return Ok(time);
        }
    }
    Ok(first)
}

/// The versions of one key, of a listing with this key as its prefix: it comes first among those keys.
struct OneKey {
    key: String,
    /// None when its last version was there.
    versions: Option<Versions>,
}

impl Stream for OneKey {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        let Some(versions) = &mut self.versions else { return Ok(None) };
        let page = versions.next_page().await?.map(|mut page| {
            let length = page.up_to(&self.key);
            if length < page.len() {
                self.versions = None;
            }
            page.truncate(length);
            page
        });
        Ok(page)
    }
}

impl Stream for Versions {
    type Error = Failure;
    async fn next_page(&mut self) -> Result<Option<Page>, Failure> {
        Versions::next_page(self).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(missing: usize) -> Round {
        let mut collected = Collected::new(3);
        for n in 0..missing {
            let (key, version_id, detail) = (format!("missing-{n}"), "v".to_owned(), String::new());
            let class = Class::Missing;
            let difference = Difference { class, key: key.clone(), version_id, detail, source: None, target: None };
            collected.take(Told::Difference(difference));
            collected.take(Told::Key(key, Tally { missing: 1, ..Tally::default() }));
            collected.take(Told::Same(Tally { same: 1, ..Tally::default() }));
        }
        collected.end()
    }

    #[test]
    fn beyond_a_limit_differing_keys_are_counted_and_not_kept() {
        let Round::Kept(kept) = collected(3) else { panic!("three keys are not too many") };
        assert_eq!((kept.open.len(), kept.tally().missing, kept.tally().same), (3, 3, 3));
        for missing in [4, 5, 100] {
            let round = collected(missing);
            assert!(matches!(round, Round::TooMany(_)), "{missing}");
            let n = missing as u64;
            assert_eq!((round.tally().missing, round.tally().same), (n, n));
            assert!(round.is_open(&[]) && !round.is_open(&[Class::Missing]));
            assert!(round.progress(Duration::ZERO).what.starts_with(&format!("{missing} missing, ")));
        }
    }
}
