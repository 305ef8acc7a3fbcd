//! The types of parameters that many kinds share: parsed once at the edge, trusted afterwards.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A role that the runbook names under `roles:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Role(pub String);

impl Role {
    pub fn source() -> Self {
        Self("source".into())
    }
    pub fn target() -> Self {
        Self("target".into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// By hand, so that the schema keeps its name: `check` holds every value of it against the runbook's roles.
impl JsonSchema for Role {
    fn schema_name() -> Cow<'static, str> {
        "Role".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]*$",
            "description": "A role that the runbook names under `roles:`"
        })
    }
}

/// The name of a bucket: 3 to 63 characters, as S3 and MinIO accept it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BucketName(String);

impl BucketName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const BUCKET_PATTERN: &str = "^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$";

impl TryFrom<String> for BucketName {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let bad = |why: &str| Err(format!("`{name}` is not a bucket name: {why}"));
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !(3..=63).contains(&name.len()) {
            return bad("it needs 3 to 63 characters");
        }
        if let Some(c) =
            name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-')))
        {
            return bad(&format!("`{c}` is not allowed, only a-z, 0-9, `.` and `-`"));
        }
        if !edge(name.chars().next()) || !edge(name.chars().last()) {
            return bad("it must begin and end with a letter or a digit");
        }
        Ok(Self(name))
    }
}

impl<'de> Deserialize<'de> for BucketName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(d)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for BucketName {
    fn schema_name() -> Cow<'static, str> {
        "BucketName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": BUCKET_PATTERN,
            "description": "The name of a bucket, e.g. `invoices`"
        })
    }
}

/// A length of time: written `90s`, `10m`, `4h`, `1h 30m`; in expressions and journals a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Period(pub Duration);

impl Period {
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.0.as_secs_f64())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl de::Visitor<'_> for V {
            type Value = Period;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as `90s`, `10m` or `4h`")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Period, E> {
                u64::try_from(n).map(Period::secs).map_err(|_| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Period, E> {
                Ok(Period::secs(n))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Period, E> {
                Duration::try_from_secs_f64(n)
                    .map(Period)
                    .map_err(|_| E::invalid_value(de::Unexpected::Float(n), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                parse_period(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(V)
    }
}

/// Reads `90s`, `10m`, `1h 30m`, `2d`; `None` when it is no such thing, or negative.
pub fn parse_period(text: &str) -> Option<Period> {
    // A day is 24 hours here: jiff refuses days in an absolute duration, so they are turned into hours first.
    let days = text.trim().strip_suffix('d').and_then(|n| n.trim().parse::<u64>().ok());
    if let Some(days) = days {
        return Some(Period::secs(days.checked_mul(86_400)?));
    }
    if text.trim().parse::<f64>().is_ok() {
        return None; // a bare number in text has no unit
    }
    let parsed: SignedDuration = text.trim().parse().ok()?;
    Duration::try_from(parsed).ok().map(Period)
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "minimum": 0,
            "examples": ["90s", "10m", "4h"],
            "description": "A length of time: `90s`, `10m`, `4h`, `1h 30m`, `2d`, or a number of seconds"
        })
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let duration = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        write!(f, "{duration:#}")
    }
}

/// A point in time: RFC 3339, or `now`, the moment the step begins by the source's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Now,
    At(Timestamp),
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Now => s.serialize_str("now"),
            Self::At(at) => at.serialize(s),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "now" {
            return Ok(Self::Now);
        }
        text.parse().map(Self::At).map_err(|_| {
            de::Error::custom(format!("`{text}` is not a time: write RFC 3339, e.g. `2026-11-23T18:00:00Z`, or `now`"))
        })
    }
}

impl JsonSchema for Moment {
    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["now", "2026-11-23T18:00:00Z"],
            "description": "A point in time: RFC 3339, or `now`, the moment the step begins by the source's clock"
        })
    }
}
