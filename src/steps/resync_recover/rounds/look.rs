//! What the data says after a job, and what heals without another one.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::Rounds;
use crate::{
    compare::{Class, Difference},
    failure::Failure,
    site::changes::Nudge,
    steps::{
        resync_monitor::patiently,
        versions_compare::{Compared, Comparison, VersionsCompare, compare},
    },
    types::{Moment, Period},
};

/// Versions that are queued again by one change.
const BATCH: usize = 1_000;
/// As many differences as a comparison gives back.
const NUDGED: u64 = 10_000;
/// How long versions are given that both sites have and that are not the same: neither time nor a HEAD changes them,
/// and another resync does.
const DIFFERENT: Duration = Duration::from_secs(15);

impl Rounds<'_> {
    /// Looks at the data: at once, then with time for what heals by itself, then after queueing a few again.
    pub(super) async fn look(
        &self,
        number: u32,
        before: Timestamp,
        completed: bool,
    ) -> Result<(Compared, u64), Failure> {
        let name = format!("differences-attempt-{number}.jsonl");
        let mut compared = self.compare(before, Duration::ZERO, &name).await?;
        let few = |compared: &Compared| {
            let queued = compared.comparison.missing + compared.comparison.pending;
            queued > 0 && queued <= self.params.nudge_up_to.min(NUDGED)
        };
        // After a job that is void nothing is worth waiting for: the next one sends it all again.
        if completed && !few(&compared) && waiting_helps(&compared.comparison) {
            let name = format!("differences-attempt-{number}-settled.jsonl");
            compared = self.settled(before, &compared.comparison, &name).await?;
        }
        let mut nudged = 0;
        if few(&compared) && waiting_helps(&compared.comparison) {
            nudged = self.nudge(number, &compared.differences).await?;
            let name = format!("differences-attempt-{number}-nudged.jsonl");
            compared = self.settled(before, &compared.comparison, &name).await?;
        }
        Ok((compared, nudged))
    }

    /// Asks the source for each version that is not on the target, which queues it again.
    async fn nudge(&self, number: u32, differences: &[Difference]) -> Result<u64, Failure> {
        let versions: Vec<_> = differences
            .iter()
            .filter(|difference| queueable(difference.class))
            .map(|difference| (difference.key.clone(), difference.version_id.clone()))
            .collect();
        self.say(format!("queueing {} versions again", versions.len()));
        for (batch, versions) in versions.chunks(BATCH).enumerate() {
            // Part of the key, so that another set of versions after a resume is another change.
            let key = format!("nudge-{number}-{batch}-{}", digest(versions));
            let bucket = self.params.bucket.clone();
            self.source.change(&key, |_| Nudge { bucket, versions: versions.to_vec() }).await?;
        }
        Ok(versions.len() as u64)
    }

    /// Compares, with time for differences to close: little of it for what is merely different.
    async fn settled(&self, before: Timestamp, seen: &Comparison, artifact: &str) -> Result<Compared, Failure> {
        if !only_different(seen, &self.params.accept) {
            let accept = [self.params.accept.as_slice(), &[Class::Different]].concat();
            let compared = self.compare_accepting(accept, before, self.settle(), artifact).await?;
            if compared.comparison.different == 0 {
                return Ok(compared);
            }
        }
        self.compare(before, self.settle().min(DIFFERENT), artifact).await
    }

    /// Compares what is older than `before`. A site that is away for a while is waited for.
    pub(super) async fn compare(
        &self,
        before: Timestamp,
        settle: Duration,
        artifact: &str,
    ) -> Result<Compared, Failure> {
        self.compare_accepting(self.params.accept.clone(), before, settle, artifact).await
    }

    async fn compare_accepting(
        &self,
        accept: Vec<Class>,
        before: Timestamp,
        settle: Duration,
        artifact: &str,
    ) -> Result<Compared, Failure> {
        let params = self.params;
        let comparison = VersionsCompare {
            source: params.source.clone(),
            target: params.target.clone(),
            bucket: params.bucket.clone(),
            target_bucket: params.target_bucket.clone(),
            before: Some(Moment::At(before)),
            prefix: String::new(),
            exclude: params.exclude.clone(),
            arn: Some(params.arn.clone()),
            settle: Period(settle),
            accept,
            metadata: params.metadata,
            concurrency: params.concurrency,
        };
        patiently(params.patience.0, || compare(self.cx, &comparison, artifact)).await
    }

    /// Whether sending something can put right what does not hold.
    pub(super) fn sending_helps(&self, comparison: &Comparison) -> bool {
        open(comparison, &self.params.accept).any(sendable)
    }

    fn settle(&self) -> Duration {
        self.left().map_or(self.params.settle.0, |left| left.min(self.params.settle.0))
    }
}

/// Extra versions may go as well, when the source has removed them and the target has yet to.
fn waiting_helps(comparison: &Comparison) -> bool {
    !comparison.holds() && !comparison.target_bucket_missing
}

/// The classes that count against the verdict.
fn open(comparison: &Comparison, accept: &[Class]) -> impl Iterator<Item = Class> {
    Class::ALL.into_iter().filter(|class| comparison.of(*class) > 0 && !accept.contains(class))
}

fn only_different(comparison: &Comparison, accept: &[Class]) -> bool {
    open(comparison, accept).all(|class| class == Class::Different)
}

/// Whether another resync sends it again.
const fn sendable(class: Class) -> bool {
    match class {
        Class::Missing | Class::Different | Class::Pending => true,
        Class::Extra => false,
    }
}

/// Whether a HEAD on the source queues it again.
const fn queueable(class: Class) -> bool {
    match class {
        Class::Missing | Class::Pending => true,
        Class::Different | Class::Extra => false,
    }
}

/// Versions that the source has and the target has not, or not the same.
pub(super) const fn unsent(comparison: &Comparison) -> u64 {
    comparison.missing + comparison.different + comparison.pending
}

fn digest(versions: &[(String, String)]) -> String {
    let mut sha = Sha256::new();
    for (key, id) in versions {
        sha.update(key.as_bytes());
        sha.update([0]);
        sha.update(id.as_bytes());
        sha.update([0]);
    }
    hex::encode(&sha.finalize()[..4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Tally;

    #[test]
    fn what_is_merely_different_is_told_apart() {
        let only = |tally: Tally, accept: &[Class]| only_different(&tally.into(), accept);
        let different = Tally { different: 2, ..Tally::default() };
        assert!(only(different, &[]));
        assert!(!only(Tally { missing: 1, ..different }, &[]));
        assert!(!only(Tally { extra: 1, ..different }, &[]));
        assert!(only(Tally { extra: 1, ..different }, &[Class::Extra]));
        let helps = |tally: Tally, accept: &[Class]| open(&tally.into(), accept).any(sendable);
        assert!(helps(different, &[]));
        assert!(!helps(different, &[Class::Different]));
        assert!(!helps(Tally { extra: 1, ..Tally::default() }, &[]));
    }

    #[test]
    fn another_set_of_versions_is_another_change() {
        let set = |pairs: &[(&str, &str)]| {
            digest(&pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(set(&[("a", "1")]), set(&[("a", "1")]));
        assert_ne!(set(&[("a", "1")]), set(&[("a", "2")]));
        assert_ne!(set(&[("ab", "c")]), set(&[("a", "bc")]));
    }
}
