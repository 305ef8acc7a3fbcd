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
    let task = Task::prepare(cx, params).await?;
    // Nothing closes by itself while the target has no bucket.
    let settle = if cx.waits() && task.target_exists { params.settle.0 } else { Duration::ZERO };
    if settle.is_zero() {
        return task.write(cx, artifact, None, Duration::ZERO).await;
    }
    let mut round = task.collect(cx).await?;
    let begin = Instant::now();
    let mut pause = FIRST_PAUSE;
    while round.is_open(&params.accept) && begin.elapsed() < settle {
        cx.progress(round.progress(settle.saturating_sub(begin.elapsed())));
        sleep(pause.min(settle.saturating_sub(begin.elapsed()))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        round = match round {
            Round::Kept(kept) if kept.few() => Round::Kept(task.look_again(kept).await?),
            Round::Kept(_) | Round::TooMany(_) => task.collect(cx).await?,
        };
    }
    match round {
        Round::Kept(kept) => task.write(cx, artifact, Some(kept), begin.elapsed()).await,
        Round::TooMany(_) => task.write(cx, artifact, None, begin.elapsed()).await,
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
    async fn prepare<A: Access>(cx: &Cx<A>, params: &'a VersionsCompare) -> Result<Self, Failure> {
        let source = cx.read(&params.source)?;
        let target = cx.read(&params.target)?;
        // The cutoff comes first: what is written from here on is newer.
        let before = match params.before {
            None => None,
            Some(Moment::At(at)) => Some(at),
            Some(Moment::Now) => Some(now(&source).await?),
        };
        if !source.bucket_exists(&params.bucket).await? {
            return Err(Failure::refused(format!("bucket `{}` does not exist on {}", params.bucket, params.source)));
        }
        let target_exists = target.bucket_exists(params.target_bucket()).await?;
        let base = Scope::excluding(&params.exclude).map_err(Failure::refused)?;
        let scope = scope(&source, &params.bucket, params.arn.as_deref(), base).await?;
        let rules = Rules { before, metadata: params.metadata, scope };
        Ok(Self { params, source, target, target_exists, rules })
    }

    /// Walks everything and gives what it comes to to `take`.
    async fn walk<A: Access>(
        &self,
        cx: &Cx<A>,
        mut take: impl FnMut(Told) -> Result<(), Failure> + Send,
    ) -> Result<(), Failure> {
        let listing = Listing { at_once: usize::from(self.params.concurrency.get()), ..self.listing() };
        let target = self.target_exists.then(|| self.target.versions(self.params.target_bucket(), listing.clone()));
        let mut merge = Merge::new(self.source.versions(&self.params.bucket, listing), target, &self.rules);
        let (mut seen, mut differences, mut said) = (Tally::default(), 0, Instant::now());
        while let Some(told) = merge.next().await.map_err(|broken| self.failure(broken))? {
            match &told {
                Told::Difference(_) => differences += 1,
                Told::Key(_, tally) | Told::Same(tally) => seen += *tally,
            }
            if said.elapsed() >= Duration::from_secs(1) {
                said = Instant::now();
                let what = format!("comparing, {} so far", human::plural(differences, "difference"));
                cx.progress(Progress {
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

    async fn collect<A: Access>(&self, cx: &Cx<A>) -> Result<Round, Failure> {
        let mut collected = Collected::new(KEYS_KEPT);
        self.walk(cx, |told| {
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
        while let Some(told) = merge.next().await.map_err(|broken| self.failure(broken))? {
            match told {
                Told::Difference(difference) => key.differences.push(difference),
                Told::Key(_, tally) | Told::Same(tally) => key.tally += tally,
            }
        }
        Ok((name, key))
    }

    /// Writes what remains, from memory or by walking everything once more.
    async fn write<A: Access>(
        &self,
        cx: &Cx<A>,
        artifact: &str,
        kept: Option<Kept>,
        settled: Duration,
    ) -> Result<Compared, Failure> {
        let mut file = cx.artifact(artifact)?;
        let mut tally = Tally::default();
        let mut examples: BTreeMap<Class, Vec<Difference>> = BTreeMap::new();
        let mut differences = Vec::new();
        let mut take = |told: Told| -> Result<(), Failure> {
            let difference = match told {
                Told::Key(_, sum) | Told::Same(sum) => {
                    tally += sum;
                    return Ok(());
                }
                Told::Difference(difference) => difference,
            };
            let line = serde_json::to_string(&difference).map_err(|e| Failure::Journal(e.to_string()))?;
            writeln!(file, "{line}").map_err(|e| Failure::Journal(e.to_string()))?;
            let examples = examples.entry(difference.class).or_default();
            if examples.len() < EXAMPLES {
                examples.push(difference.clone());
            }
            if differences.len() < KEYS_KEPT {
                differences.push(difference);
            }
            Ok(())
        };
        match kept {
            Some(kept) => {
                take(Told::Same(kept.tally()))?;
                let differences = kept.open.into_values().flat_map(|key| key.differences);
                differences.map(Told::Difference).try_for_each(&mut take)?;
            }
            None => self.walk(cx, take).await?,
        }
        cx.keep(file)?;
        let waived = Class::ALL.into_iter().filter(|c| tally.of(*c) > 0 && self.params.accept.contains(c)).collect();
        let comparison = Comparison {
            target_bucket_missing: !self.target_exists,
            before: self.rules.before,
            waived,
            settled_seconds: settled.as_secs_f64(),
            examples: examples.into_values().flatten().collect(),
            ..tally.into()
        };
        Ok(Compared { comparison, differences })
    }

    fn listing(&self) -> Listing {
        Listing {
            prefix: self.params.prefix.clone(),
            metadata: self.params.metadata || self.rules.scope.needs_tags(),
            ..Listing::default()
        }
    }

    fn failure(&self, broken: Broken<Failure>) -> Failure {
        match broken {
            Broken::Stream(failure) => failure,
            Broken::OutOfOrder { which, key, after } => {
                let role = match which {
                    Which::Source => &self.params.source,
                    Which::Target => &self.params.target,
                };
                Failure::refused(format!("{role} lists key `{key}` after `{after}`, so nothing can be compared"))
            }
            Broken::Disk(why) => Failure::Journal(format!(
                "versions of one key that do not fit into memory could not be kept in a temporary file: {why}"
            )),
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
pub(in crate::steps) async fn now<A: Access>(site: &Site<A>) -> Result<Timestamp, Failure> {
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
