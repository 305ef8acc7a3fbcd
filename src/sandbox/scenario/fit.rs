//! What of a scenario does not go together, or would take more memory than a machine has to spare.

use super::{Data, Scenario};

/// Versions that are kept in memory at most, and computed at most.
const MOST_KEPT: u64 = 200_000;
const MOST_COMPUTED: u64 = 10_000_000;
/// Bytes of contents in memory.
const MOST_BYTES: u64 = 1 << 30;
/// Contents that computed versions share: few enough to be digested once.
pub(in crate::sandbox) const CONTENTS: u32 = 97;

impl Scenario {
    /// What does not fit, and the field it stands in.
    pub(super) fn misfit(&self) -> Option<(&'static str, &'static str)> {
        let (data, damage) = (&self.data, &self.damage);
        let count = data.count();
        let contents = if data.computed { u64::from(CONTENTS) } else { count };
        let lost = if damage.bucket_lost { count } else { damage.missing.of(count) };
        let wrong = [
            (data.versions == 0, "data", "`versions` is at least 1"),
            (
                data.computed && data.delete_markers > data.objects,
                "data",
                "there are more `delete_markers` than `objects` that could have one",
            ),
            (
                data.computed && *data != data.plain(),
                "data",
                "`computed` goes with `objects`, `versions`, `delete_markers` and `size` only",
            ),
            (
                !data.computed && count > MOST_KEPT,
                "data",
                "more than 200,000 versions would be kept in memory: set `computed: true`",
            ),
            (count > MOST_COMPUTED, "data", "there are more than 10,000,000 versions"),
            (contents.saturating_mul(data.size.into()) > MOST_BYTES, "data", "more than 1 GiB would be kept in memory"),
            (
                !data.lock && (data.retention.is_some() || data.legal_holds > 0),
                "data",
                "`retention` and `legal_holds` need `lock: true`",
            ),
            (
                data.excluded_prefixes.is_empty() && data.excluded_objects > 0,
                "data",
                "`excluded_objects` need `excluded_prefixes`",
            ),
            (lost > MOST_KEPT, "damage", "more than 200,000 versions would be lost: restored ones are kept in memory"),
            (
                u64::from(damage.extra) + u64::from(damage.different) > MOST_KEPT,
                "damage",
                "more than 200,000 versions would be `extra` or `different`: they are kept in memory",
            ),
            (
                data.computed && !self.rule.prefix.is_empty(),
                "rule",
                "`computed` versions are all replicated: leave `prefix` out",
            ),
        ];
        wrong.into_iter().find(|(is, ..)| *is).map(|(_, field, what)| (field, what))
    }
}

impl Data {
    /// Versions and delete markers.
    fn count(&self) -> u64 {
        let besides = [
            self.multipart,
            self.empty,
            self.null_versions,
            self.nested,
            self.nested,
            self.legal_holds,
            self.purge_pending,
        ];
        let keys = u64::from(self.objects) + besides.into_iter().map(u64::from).sum::<u64>();
        let excluded = self.excluded_prefixes.len() as u64 * u64::from(self.excluded_objects);
        keys.saturating_mul(self.versions.into())
            .saturating_add(u64::from(self.delete_markers))
            .saturating_add(excluded)
    }

    /// The same without all that versions of one shape cannot have.
    fn plain(&self) -> Self {
        let Self { objects, versions, delete_markers, size, computed, .. } = *self;
        Self { objects, versions, delete_markers, size, computed, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused_where_it_stands() {
        for (more, what) in [
            ("data: { versions: 0 }", "at least 1"),
            ("data: { computed: true, objects: 3 }", "more `delete_markers`"),
            ("data: { computed: true, tagged: 30% }", "goes with"),
            ("data: { objects: 4000000000 }", "`computed: true`"),
            ("data: { multipart: 100000 }", "`computed: true`"),
            ("data: { objects: 4000000000, versions: 4000000000, computed: true }", "10,000,000"),
            ("data: { size: 4000000000 }", "1 GiB"),
            ("data: { nested: 4000000000, versions: 4000000000, size: 4000000000 }", "`computed: true`"),
            ("data: { legal_holds: 1 }", "need `lock: true`"),
            ("data: { excluded_objects: 1 }", "need `excluded_prefixes`"),
            ("data: { computed: true, objects: 1000000 }\ndamage: { bucket_lost: true }", "would be lost"),
            ("data: { computed: true, objects: 1000000 }\ndamage: { missing: 50% }", "would be lost"),
            ("damage: { extra: 4000000000 }", "`extra` or `different`"),
            ("data: { computed: true }\nrule: { prefix: a/ }", "leave `prefix` out"),
        ] {
            let text = format!("scenario: own\nsummary: My own\n{more}\n");
            let problem = Scenario::read(&text).expect_err(more);
            assert!(problem.what.contains(what), "{more}: {problem:?}");
            assert!(problem.span.is_some_and(|span| span.start > 0), "{more}: {problem:?}");
        }
        let text =
            "scenario: own\nsummary: My own\ndata: { computed: true, objects: 1000000 }\ndamage: { missing: 6% }";
        assert!(Scenario::read(text).is_ok());
    }
}
