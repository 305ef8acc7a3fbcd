//! Shares, times and answers, as scenarios write them.

use std::{borrow::Cow, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// A share, e.g. `30%` or `0.1%`; down to a thousandth of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Percent {
    /// Of a hundred thousand.
    parts: u32,
}

/// A length of time, e.g. `500ms`, `3s`, `2m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// A person's answer: `yes` or `no`, `true` or `false`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yes(pub bool);

/// The schema of a text that is read by hand.
macro_rules! text_schema {
    ($type:ident, $about:literal, $pattern:literal, $example:literal) => {
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $about, "pattern": $pattern, "examples": [$example] })
            }
        }
    };
}

text_schema!(
    Percent,
    "A share, `0%` to `100%`, down to a thousandth of a percent",
    "^(100(\\.0{1,3})?|[0-9]{1,2}(\\.[0-9]{1,3})?)%$",
    "30%"
);
text_schema!(Wait, "A length of time: `500ms`, `3s` or `2m`", "^[0-9]{1,9}(ms|s|m)$", "3s");

impl JsonSchema for Yes {
    fn schema_name() -> Cow<'static, str> {
        "Yes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A person's answer: `yes` or `no`, `true` or `false`",
            "anyOf": [{ "type": "boolean" }, { "enum": ["yes", "no"] }],
        })
    }
}

const WHOLE: u64 = 100_000;

impl Percent {
    /// Whether one of many falls into the share: spread evenly, the same in every run, and exact for each hundred
    /// thousand in a row.
    pub(in crate::sandbox) const fn takes(self, number: u64) -> bool {
        // Near the golden section, so that neighbours are spread; it has no factor in common with the whole.
        (number + 1) % WHOLE * 61_803 % WHOLE < self.parts as u64
    }

    /// Whether so many are at least this share of all.
    pub(in crate::sandbox) const fn reached_by(self, done: usize, of: usize) -> bool {
        done as u64 * WHOLE >= of as u64 * self.parts as u64
    }

    /// How many of so many it is.
    pub(in crate::sandbox) const fn of(self, count: u64) -> u64 {
        count / WHOLE * self.parts as u64 + count % WHOLE * self.parts as u64 / WHOLE
    }

    pub(in crate::sandbox) const fn of_hundred(percent: u32) -> Self {
        Self { parts: percent * 1000 }
    }
}

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = || {
            let (whole, fraction) = text.strip_suffix('%')?.split_once('.').unwrap_or((text.strip_suffix('%')?, "0"));
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || whole.len() > 3 || fraction.len() > 3 {
                return None;
            }
            let parts = whole.parse::<u32>().ok()? * 1000 + format!("{fraction:0<3}").parse::<u32>().ok()?;
            Some(parts).filter(|parts| u64::from(*parts) <= WHOLE)
        };
        number()
            .map(|parts| Self { parts })
            .ok_or_else(|| format!("expected a share like `30%` or `0.1%`, found `{text}`"))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}.{:03}%", self.parts / 1000, self.parts % 1000))
    }
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}ms", self.0.as_millis()))
    }
}

impl Serialize for Yes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(self.0)
    }
}

impl<'de> Deserialize<'de> for Yes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Bool(yes) => Ok(Self(yes)),
            Value::String(word) if word == "yes" || word == "no" => Ok(Self(word == "yes")),
            other => Err(de::Error::custom(format!("expected `yes` or `no`, found `{other}`"))),
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let units = [("ms", 1_u64), ("s", 1000), ("m", 60_000)];
        let millis = units.iter().find_map(|(unit, each)| {
            let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
            number.checked_mul(*each)
        });
        let wait = millis.map(|millis| Self(Duration::from_millis(millis)));
        wait.ok_or_else(|| de::Error::custom(format!("expected a time like `500ms`, `3s` or `2m`, found `{text}`")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_takes_as_many_as_it_says() {
        for (text, parts) in [("0%", 0), ("0.1%", 100), ("0.25%", 250), ("33%", 33_000), ("100%", 100_000)] {
            let share: Percent = text.parse().unwrap();
            for from in [0, 12_345] {
                assert_eq!((from..from + WHOLE).filter(|n| share.takes(*n)).count(), parts, "{text}");
            }
        }
        let few = (0..188).filter(|n| "40%".parse::<Percent>().unwrap().takes(*n)).count();
        assert!((70..=80).contains(&few), "{few}");
    }

    #[test]
    fn what_is_no_share_is_refused() {
        for text in ["", "%", "1", "-1%", "+1%", "1.%", ".5%", "0.0001%", "100.001%", "1e2%"] {
            assert!(text.parse::<Percent>().is_err(), "{text}");
        }
    }
}
