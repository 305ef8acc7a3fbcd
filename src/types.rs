//! The types of parameters that many kinds share: parsed once at the edge, trusted afterwards.

use std::{borrow::Cow, fmt, time::Duration};

use jiff::{SignedDuration, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A role that the runbook names under `roles:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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

impl<'de> Deserialize<'de> for Role {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        if is_name(&name) {
            Ok(Self(name))
        } else {
            Err(de::Error::custom(format!("`{name}` is not the name of a role")))
        }
    }
}

/// Whether text is a name as ids, inputs and roles have it: `snake_case`, 64 characters at most.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        && text.len() <= 64
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
            "maxLength": 64,
            "description": "A role that the runbook names under `roles:`"
        })
    }
}

/// The name of a bucket: 3 to 63 characters, as every S3 service accepts it.
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

const BUCKET_PATTERN: &str = r"^(?!.*\.\.)(?!([0-9]+\.){3}[0-9]+$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$";

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
        if name.contains("..") {
            return bad("it holds two dots in a row");
        }
        if name.split('.').count() == 4 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
            return bad("it has the form of an address");
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
                u64::try_from(n)
                    .ok()
                    .and_then(|n| within(Duration::from_secs(n)))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Signed(n), &self))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Period, E> {
                within(Duration::from_secs(n)).ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(n), &self))
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Period, E> {
                Duration::try_from_secs_f64(n)
                    .ok()
                    .and_then(within)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Float(n), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Period, E> {
                parse_period(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        d.deserialize_any(V)
    }
}

fn within(duration: Duration) -> Option<Period> {
    (duration <= LONGEST).then_some(Period(duration))
}

/// How long one request to a site may take, unless the site's entry says otherwise.
pub const REQUEST_TIMEOUT: Period = Period::secs(30);

// Longer than any recovery, and short enough that adding it to a clock cannot overflow.
const LONGEST: Duration = Duration::from_hours(3650 * 24);

const PERIOD_PATTERN: &str = r"^[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d)( ?[0-9]{1,9}(\.[0-9]{1,3})?(ms|s|m|h|d))*$";

/// Reads `90s`, `10m`, `1h 30m`, `1.5h`, `2d`; `None` when it is no such thing, or longer than ten years.
pub fn parse_period(text: &str) -> Option<Period> {
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() || text.is_empty() {
        let (thousandths, after) = split_number(rest)?;
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let microseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total = total.checked_add(Duration::from_micros(thousandths.checked_mul(microseconds)?))?;
        rest = match after.strip_prefix(' ') {
            Some("") => return None,
            Some(next) => next,
            None => after,
        };
    }
    within(total)
}

/// Reads `10MiB`, `1.5 GB`, `512 B` exactly into bytes; `None` when it is no such thing, not whole, or too large.
pub fn parse_size(text: &str) -> Option<u64> {
    let (thousandths, unit) = split_number(text)?;
    let factor: u64 = match unit.strip_prefix(' ').unwrap_or(unit) {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    let bytes = u128::from(thousandths) * u128::from(factor);
    // What is not a whole number of bytes, or would not fit the integers of expressions, is no size.
    (bytes % 1000 == 0).then(|| i64::try_from(bytes / 1000).ok())?.map(i64::unsigned_abs)
}

/// The number at the beginning in thousandths, and what follows: at most 9 digits and 3 decimals, as the pattern says.
fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (whole, rest) = text.split_at(digits(text));
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("0", rest),
    };
    if !(1..=9).contains(&whole.len()) || !(1..=3).contains(&fraction.len()) {
        return None;
    }
    let thousandths = whole.parse::<u64>().ok()? * 1000 + format!("{fraction:0<3}").parse::<u64>().ok()?;
    Some((thousandths, rest))
}

impl JsonSchema for Period {
    fn schema_name() -> Cow<'static, str> {
        "Period".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "number"],
            "pattern": PERIOD_PATTERN,
            "minimum": 0,
            "maximum": LONGEST.as_secs(),
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

const MOMENT_PATTERN: &str =
    r"^(now|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2}))$";

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
            "pattern": MOMENT_PATTERN,
            "examples": ["now", "2026-11-23T18:00:00Z"],
            "description": "A point in time: RFC 3339, or `now`, the moment the step begins by the source's clock"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let period = |text| parse_period(text).map(|period| period.0.as_secs_f64());
        for (text, seconds) in [
            ("90s", 90.0),
            ("10m", 600.0),
            ("1h 30m", 5400.0),
            ("1h30m", 5400.0),
            ("2d", 172_800.0),
            ("1.5h", 5400.0),
            ("250ms", 0.25),
        ] {
            assert_eq!(period(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "90",
            "-1s",
            "1 h",
            "4 hours",
            "1h ",
            " 1h",
            "1h  2m",
            "1.s",
            ".5s",
            "9999999999s",
            "4000d",
            "1M",
            "PT90S",
            "ä",
        ] {
            assert_eq!(period(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_exact() {
        for (text, bytes) in [("0B", 0), ("1kB", 1000), ("10MiB", 10 << 20), ("1.5 GB", 1_500_000_000), ("0.5KiB", 512)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "10", "MiB", "1.5B", "-1MB", "10mb", "1  MB", "999999999TiB", "1 MB "] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn bucket_names_say_what_is_wrong() {
        let why = |name: &str| BucketName::try_from(name.to_owned()).unwrap_err();
        assert!(why("ab").contains("3 to 63"));
        assert!(why("Invoices").contains("`I` is not allowed"));
        assert!(why("-abc").contains("begin and end"));
        assert!(why("a..b").contains("two dots"));
        assert!(why("10.0.0.1").contains("address"));
        assert!(BucketName::try_from("invoices.2026-11".to_owned()).is_ok());
    }

    #[test]
    fn a_moment_is_now_or_rfc_3339() {
        let moment = |text: &str| serde_json::from_value::<Moment>(text.into());
        assert_eq!(moment("now").unwrap(), Moment::Now);
        assert!(matches!(moment("2026-11-23T18:00:00Z").unwrap(), Moment::At(_)));
        assert!(moment("yesterday").unwrap_err().to_string().contains("RFC 3339"));
    }
}
