//! What the source's rules can replicate at all, and what a runbook leaves out of a comparison.

use std::borrow::Cow;

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::version::Entry;

/// What belongs into a comparison.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Prefixes that the source's versioning leaves out (`ExcludedPrefixes`; `*` stands for anything).
    pub excluded_prefixes: Vec<String>,
    /// The source's versioning leaves out keys that end in `/` (`ExcludeFolders`).
    pub exclude_folders: bool,
    /// What the enabled rules replicate; empty: everything.
    pub filters: Vec<Filter>,
    pub(super) exclude: GlobSet,
}

/// What one rule replicates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only keys with this prefix.
    pub prefix: String,
    /// Only objects with all of these tags.
    pub tags: Vec<(String, String)>,
}

/// Why a version is out of scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfScope {
    /// Under a prefix that the source's versioning excludes.
    ExcludedPrefix,
    /// A folder, and the source's versioning excludes those.
    Folder,
    /// No enabled rule has a prefix and tags that fit.
    Filter,
    /// Excluded by the runbook.
    Excluded,
}

impl Scope {
    /// A scope without any rule, with the runbook's own exclusions.
    pub fn excluding(globs: &[KeyGlob]) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(glob.0.clone());
        }
        let exclude = set.build().map_err(|e| e.to_string())?;
        Ok(Self { exclude, ..Self::default() })
    }

    /// Whether tags are needed to decide.
    pub fn needs_tags(&self) -> bool {
        self.filters.iter().any(|filter| !filter.tags.is_empty())
    }

    /// Why no version of a key is in scope.
    pub fn key(&self, key: &str) -> Option<OutOfScope> {
        if self.exclude_folders && key.ends_with('/') {
            return Some(OutOfScope::Folder);
        }
        if self.excluded_prefixes.iter().any(|prefix| has_prefix(key, prefix)) {
            return Some(OutOfScope::ExcludedPrefix);
        }
        if !self.filters.is_empty() && !self.filters.iter().any(|filter| key.starts_with(&filter.prefix)) {
            return Some(OutOfScope::Filter);
        }
        self.exclude.is_match(key).then_some(OutOfScope::Excluded)
    }

    /// Why one version of a key that is in scope is not. Tags that nobody let us read leave it in scope: better a
    /// difference too many than one too few.
    pub fn version(&self, version: &Entry<'_>) -> Option<OutOfScope> {
        if !self.needs_tags() {
            return None;
        }
        let tags = &version.metadata?.tags;
        let fits = |filter: &Filter| {
            version.key.starts_with(&filter.prefix) && filter.tags.iter().all(|tag| tags.contains(tag))
        };
        (!self.filters.iter().any(fits)).then_some(OutOfScope::Filter)
    }
}

/// The server's own matching: the prefix and then anything, where `*` in the prefix stands for any text.
fn has_prefix(key: &str, prefix: &str) -> bool {
    let mut parts = prefix.split('*');
    let Some(mut rest) = key.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A pattern over whole keys: `*` any text (`/` too), `?` one character, `[a-z]`, `{a,b}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyGlob(Glob);

impl KeyGlob {
    pub fn new(pattern: &str) -> Result<Self, String> {
        Glob::new(pattern).map(Self).map_err(|e| format!("`{pattern}` is not a pattern: {}", e.kind()))
    }
}

impl Serialize for KeyGlob {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.0.glob())
    }
}

impl<'de> Deserialize<'de> for KeyGlob {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(d)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for KeyGlob {
    fn schema_name() -> Cow<'static, str> {
        "KeyGlob".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["tmp/*", "*.part"],
            "description": "A pattern over whole keys: `*` any text (`/` too), `?` one character, `[a-z]`, `{a,b}`"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::{Kind, Metadata, Version};

    fn tagged(key: &str, tags: &[(&str, &str)]) -> Version {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Version {
            key: key.into(),
            version_id: "1".into(),
            kind: Kind::Object,
            is_latest: true,
            last_modified: jiff::Timestamp::UNIX_EPOCH,
            etag: String::new(),
            size: 0,
            metadata: Some(Metadata { headers: Vec::new(), tags }),
        }
    }

    #[test]
    fn prefixes_match_as_in_minio() {
        assert!(has_prefix("tmp/a", "tmp/"));
        assert!(has_prefix("app/7/tmp/a", "app/*/tmp/"));
        assert!(!has_prefix("app/7/data/a", "app/*/tmp/"));
        assert!(!has_prefix("a/tmp/", "tmp/"));
        assert!(has_prefix("anything", ""));
    }

    #[test]
    fn keys_outside_are_named_with_their_reason() {
        let scope = Scope {
            excluded_prefixes: vec!["tmp/".into()],
            exclude_folders: true,
            filters: vec![
                Filter { prefix: "in/".into(), tags: vec![] },
                Filter { prefix: "tmp/".into(), tags: vec![] },
            ],
            ..Scope::excluding(&[KeyGlob::new("in/*.part").unwrap()]).unwrap()
        };
        assert_eq!(scope.key("in/a"), None);
        assert_eq!(scope.key("in/b/"), Some(OutOfScope::Folder));
        assert_eq!(scope.key("tmp/a"), Some(OutOfScope::ExcludedPrefix));
        assert_eq!(scope.key("out/a"), Some(OutOfScope::Filter));
        assert_eq!(scope.key("in/x/y.part"), Some(OutOfScope::Excluded));
    }

    #[test]
    fn all_tags_of_one_rule_must_fit() {
        let filter = |prefix: &str, tags: &[(&str, &str)]| Filter {
            prefix: prefix.into(),
            tags: tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        };
        let filters = vec![filter("", &[("keep", "yes"), ("tier", "1")]), filter("all/", &[])];
        let scope = Scope { filters, ..Scope::default() };
        assert_eq!(scope.version(&tagged("a", &[("keep", "yes"), ("tier", "1"), ("x", "y")]).entry()), None);
        assert_eq!(scope.version(&tagged("a", &[("keep", "yes")]).entry()), Some(OutOfScope::Filter));
        assert_eq!(scope.version(&tagged("all/a", &[]).entry()), None);
        assert_eq!(scope.version(&Version { metadata: None, ..tagged("a", &[]) }.entry()), None);
    }

    #[test]
    fn a_bad_pattern_is_refused() {
        assert!(KeyGlob::new("[z").unwrap_err().contains("`[z` is not a pattern"));
    }
}
