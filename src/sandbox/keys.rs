//! The keys of a bucket and their versions: those that are kept, and below them those that are computed.

use std::{borrow::Cow, collections::BTreeMap, iter::Peekable, sync::Arc};

use super::{
    series::Computed,
    store::{Totals, Version},
};

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Newest first. A key that is computed as well stands here once it was changed, without versions when they were
    /// all removed.
    kept: BTreeMap<String, Vec<Version>>,
    below: Option<Below>,
}

/// What is computed, and which keys of it count no longer because they were changed.
#[derive(Clone, Debug)]
pub(super) struct Below {
    computed: Computed,
    changed: Arc<std::collections::BTreeSet<u64>>,
}

/// A key and its versions, newest first; never none.
pub(super) type Entry<'a> = (Cow<'a, str>, Cow<'a, [Version]>);

impl Keys {
    pub(super) fn of(computed: Computed) -> Self {
        Self { kept: BTreeMap::new(), below: Some(Below { computed, changed: Arc::default() }) }
    }

    pub(super) fn below(&self) -> Option<&Below> {
        self.below.as_ref()
    }

    pub(super) fn computed(&self) -> Option<&Computed> {
        self.below.as_ref().map(|below| &below.computed)
    }

    pub(super) fn get(&self, key: &str) -> Option<Cow<'_, [Version]>> {
        if let Some(versions) = self.kept.get(key) {
            return Some(Cow::Borrowed(versions.as_slice())).filter(|versions| !versions.is_empty());
        }
        let below = self.below.as_ref()?;
        let versions = below.computed.versions(below.computed.number(key)?);
        (!versions.is_empty()).then_some(Cow::Owned(versions))
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The versions of a key to be changed; of a new one there are none.
    pub(super) fn change(&mut self, key: &str) -> &mut Vec<Version> {
        if !self.kept.contains_key(key) {
            let mut versions = Vec::new();
            if let Some(below) = &mut self.below
                && let Some(number) = below.computed.number(key)
            {
                versions = below.computed.versions(number);
                Arc::make_mut(&mut below.changed).insert(number);
            }
            self.kept.insert(key.to_owned(), versions);
        }
        self.kept.entry(key.to_owned()).or_default()
    }

    pub(super) fn find_mut(&mut self, key: &str, id: &str) -> Option<&mut Version> {
        if !self.get(key)?.iter().any(|version| version.id == id) {
            return None;
        }
        self.change(key).iter_mut().find(|version| version.id == id)
    }

    pub(super) fn remove(&mut self, key: &str, id: &str) {
        if self.find_mut(key, id).is_none() {
            return;
        }
        let versions = self.change(key);
        versions.retain(|version| version.id != id);
        let computed = self.below.as_ref().is_some_and(|below| below.computed.number(key).is_some());
        if !computed && self.kept.get(key).is_some_and(Vec::is_empty) {
            self.kept.remove(key);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.range("").next().is_none()
    }

    /// From a key on, in the order of bytes; it takes no longer to begin late.
    pub(super) fn range(&self, from: &str) -> impl Iterator<Item = Entry<'_>> {
        let kept = self.kept.range::<str, _>((std::ops::Bound::Included(from), std::ops::Bound::Unbounded));
        let kept = kept.map(|(key, versions)| (Cow::Borrowed(key.as_str()), Cow::Borrowed(versions.as_slice())));
        let computed = self.below.iter().flat_map(|below| {
            let numbers = below.computed.from(from)..below.computed.keys();
            let untouched = numbers.filter(|number| !below.changed.contains(number));
            untouched.map(|number| (Cow::Owned(Computed::key(number)), Cow::Owned(below.computed.versions(number))))
        });
        let both = Both { one: kept.peekable(), other: computed.peekable() };
        both.filter(|(_, versions)| !versions.is_empty())
    }

    /// What another site may lack: all but the computed keys that it holds as they are here; and how many versions
    /// were left out so.
    pub(super) fn beyond(&self, there: Option<&Below>) -> (Vec<Entry<'_>>, u64) {
        let (Some(here), Some(there)) = (&self.below, there) else { return (self.range("").collect(), 0) };
        let (mut left_out, mut all) = (0, Vec::new());
        for (key, versions) in self.kept.iter().filter(|(_, versions)| !versions.is_empty()) {
            all.push((Cow::Borrowed(key.as_str()), Cow::Borrowed(versions.as_slice())));
        }
        for number in (0..here.computed.keys()).filter(|number| !here.changed.contains(number)) {
            if there.holds(number, here) {
                let totals = here.computed.totals_of(number);
                left_out += totals.versions + totals.markers;
            } else {
                all.push((Cow::Owned(Computed::key(number)), Cow::Owned(here.computed.versions(number))));
            }
        }
        (all, left_out)
    }

    /// Versions that are kept, by key.
    pub(super) fn kept(&self) -> impl Iterator<Item = (&String, &Version)> {
        self.kept.iter().flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)))
    }

    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        if let Some(below) = &self.below {
            totals = below.computed.totals();
            for number in below.changed.iter() {
                totals -= below.computed.totals_of(*number);
            }
        }
        for versions in self.kept.values() {
            totals += Totals::of(versions);
        }
        totals
    }
}

impl Below {
    /// Whether a key is here as it was computed, with all the versions that the other site was given of it.
    fn holds(&self, number: u64, other: &Self) -> bool {
        !self.changed.contains(&number) && self.computed.holds_all_of(number, &other.computed)
    }

    /// Whether both sites hold a key unchanged.
    pub(super) fn alike(&self, there: &Self, key: &str) -> bool {
        self.computed.number(key).is_some_and(|number| !self.changed.contains(&number) && there.holds(number, self))
    }
}

/// Two sequences in the order of keys, merged; no key is in both.
struct Both<A: Iterator, B: Iterator> {
    one: Peekable<A>,
    other: Peekable<B>,
}

impl<'a, A, B> Iterator for Both<A, B>
where
    A: Iterator<Item = Entry<'a>>,
    B: Iterator<Item = Entry<'a>>,
{
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match (self.one.peek(), self.other.peek()) {
            (Some((one, _)), Some((other, _))) if other < one => self.other.next(),
            (Some(_), _) => self.one.next(),
            (None, _) => self.other.next(),
        }
    }
}

impl FromIterator<(String, Vec<Version>)> for Keys {
    fn from_iter<I: IntoIterator<Item = (String, Vec<Version>)>>(all: I) -> Self {
        let kept = all.into_iter().filter(|(_, versions)| !versions.is_empty()).collect();
        Self { kept, below: None }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::sandbox::{scenario::Data, series::Series};

    /// 50 keys with two versions each, ten of them with a marker.
    fn whole() -> Computed {
        let data = Data { objects: 50, versions: 2, delete_markers: 10, ..Data::default() };
        Computed::whole(Arc::new(Series::new(&data, Timestamp::UNIX_EPOCH, "arn")))
    }

    fn listed(keys: &Keys, from: &str) -> Vec<String> {
        keys.range(from).map(|(key, _)| key.into_owned()).collect()
    }

    #[test]
    fn what_is_changed_stands_before_what_is_computed() {
        let mut keys = Keys::of(whole());
        let (first, second) = (Computed::key(0), Computed::key(1));
        let marker = Version::marker("new".to_owned(), Timestamp::UNIX_EPOCH);
        for key in ["archive", &second, "zebra"] {
            keys.change(key).insert(0, marker.clone());
        }
        for version in keys.get(&first).unwrap().into_owned() {
            keys.remove(&first, &version.id);
        }
        let all = listed(&keys, "");
        assert_eq!(all.len(), 51);
        assert!(all.is_sorted() && !all.contains(&first) && all[0] == "archive" && all[50] == "zebra");
        assert_eq!(keys.get(&second).unwrap()[0].id, "new");
        assert!(!keys.contains(&first) && keys.find_mut(&first, "new").is_none());
        assert_eq!(listed(&keys, &format!("{second}\0")).len(), 49);
        keys.remove("zebra", "new");
        assert!(!keys.contains("zebra"));
        let counted = keys.range("").fold(Totals::default(), |mut sum, (_, versions)| {
            sum += Totals::of(&versions);
            sum
        });
        assert_eq!(keys.totals(), counted);
    }

    #[test]
    fn only_what_the_other_site_may_lack_is_looked_at() {
        let series = whole();
        let mut target = Keys::of(series.replicas("10%".parse().unwrap()));
        let source = Keys::of(series);
        let (due, left_out) = source.beyond(target.below());
        let versions: usize = due.iter().map(|(_, versions)| versions.len()).sum();
        assert_eq!(versions as u64 + left_out, 110);
        assert!(due.len() >= 5 && due.len() <= 11, "{}", due.len());
        let key = (0..50).map(Computed::key).find(|key| source.below().unwrap().alike(target.below().unwrap(), key));
        let (key, before) = (key.unwrap(), due.len());
        target.change(&key).clear();
        assert_eq!(source.beyond(target.below()).0.len(), before + 1);
        assert!(!source.below().unwrap().alike(target.below().unwrap(), &key));
        assert_eq!(source.beyond(None).0.len(), 50);
    }
}
