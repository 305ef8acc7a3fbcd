//! One version of an object, as a version listing tells of it, and pages of them in one piece of memory.

mod page;

use std::{fmt, str};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::page::{Page, TooLong};

/// One object version or delete marker, on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub key: String,
    /// `null` for what was written before the bucket was versioned.
    pub version_id: String,
    pub kind: Kind,
    pub is_latest: bool,
    /// To the millisecond, as listings give it.
    pub last_modified: Timestamp,
    /// Without quotes; empty for a delete marker.
    pub etag: String,
    pub size: u64,
    /// Headers and tags, when the listing was asked for them.
    pub metadata: Option<Metadata>,
}

/// One object version or delete marker on a [`Page`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'p> {
    pub key: &'p str,
    /// `null` for what was written before the bucket was versioned.
    pub version_id: Token<'p>,
    pub kind: Kind,
    pub is_latest: bool,
    /// Modification time in milliseconds since 1970.
    pub modified_ms: i64,
    /// Without quotes; empty for a delete marker.
    pub etag: Token<'p>,
    pub size: u64,
    /// Headers and tags, when the listing was asked for them.
    pub metadata: Option<&'p Metadata>,
}

/// A version id or an `ETag`: in 16 bytes when it is written as a UUID or as an MD5, else as it stands. The same text
/// always becomes the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Token<'p> {
    Uuid([u8; 16]),
    Md5([u8; 16]),
    Text(&'p str),
}

/// What a key's version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Object,
    DeleteMarker,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::DeleteMarker => "delete_marker",
        }
    }
}

/// Headers and tags of a version (`metadata=true` of a listing): names in lower case, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    pub headers: Vec<(String, String)>,
    /// Key and value of each tag, sorted.
    pub tags: Vec<(String, String)>,
}

impl Metadata {
    /// The value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

impl Version {
    /// The same, as if it stood on a page.
    pub fn entry(&self) -> Entry<'_> {
        Entry {
            key: &self.key,
            version_id: Token::of(&self.version_id),
            kind: self.kind,
            is_latest: self.is_latest,
            modified_ms: self.last_modified.as_millisecond(),
            etag: Token::of(&self.etag),
            size: self.size,
            metadata: self.metadata.as_ref(),
        }
    }
}

impl Entry<'_> {
    /// The modification time, to the millisecond.
    pub fn last_modified(&self) -> Timestamp {
        // Pages are made from times that are ones.
        Timestamp::from_millisecond(self.modified_ms).unwrap_or_default()
    }

    /// A copy that stands on its own.
    pub fn to_version(&self) -> Version {
        Version {
            key: self.key.to_owned(),
            version_id: self.version_id.to_string(),
            kind: self.kind,
            is_latest: self.is_latest,
            last_modified: self.last_modified(),
            etag: self.etag.to_string(),
            size: self.size,
            metadata: self.metadata.cloned(),
        }
    }
}

impl<'p> Token<'p> {
    pub fn of(text: &'p str) -> Self {
        match text.len() {
            32 => md5(text.as_bytes()).map_or(Self::Text(text), Self::Md5),
            36 => uuid(text.as_bytes()).map_or(Self::Text(text), Self::Uuid),
            _ => Self::Text(text),
        }
    }

    pub fn is_null(self) -> bool {
        self == Self::Text("null")
    }
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let (bytes, hyphens) = match self {
            Self::Text(text) => return f.write_str(text),
            Self::Md5(bytes) => (bytes, &[][..]),
            Self::Uuid(bytes) => (bytes, &[4, 6, 8, 10][..]),
        };
        let (mut text, mut length) = ([b'-'; 36], 0);
        for (at, byte) in bytes.iter().enumerate() {
            length += usize::from(hyphens.contains(&at));
            text[length] = DIGITS[usize::from(byte >> 4)];
            text[length + 1] = DIGITS[usize::from(byte & 15)];
            length += 2;
        }
        f.write_str(str::from_utf8(&text[..length]).unwrap_or_default())
    }
}

/// 32 hexadecimal digits in lower case.
pub(crate) fn md5(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 32] = text.try_into().ok()?;
    let mut bytes = [0; 16];
    let mut wrong = 0;
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (HEX[usize::from(pair[0])], HEX[usize::from(pair[1])]);
        wrong |= high | low;
        *byte = high << 4 | low & 15;
    }
    (wrong < 16).then_some(bytes)
}

/// A UUID as it is always written: in lower case, with its hyphens.
pub(crate) fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.try_into().ok()?;
    if [text[8], text[13], text[18], text[23]] != [b'-'; 4] {
        return None;
    }
    let mut digits = [0; 32];
    digits[..8].copy_from_slice(&text[..8]);
    digits[8..12].copy_from_slice(&text[9..13]);
    digits[12..16].copy_from_slice(&text[14..18]);
    digits[16..20].copy_from_slice(&text[19..23]);
    digits[20..].copy_from_slice(&text[24..]);
    md5(&digits)
}

/// The value of a lower-case hexadecimal digit; 255 for any other byte.
const HEX: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        let digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        table[digit as usize] = value;
        value += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_is_its_text(text in "[0-9a-f]{32}|[0-9a-fA-F-]{36}|[0-9a-f]{32}-[0-9]{1,5}|null||.{0,40}") {
            prop_assert_eq!(Token::of(&text).to_string(), text);
        }
    }

    #[test]
    fn only_what_is_written_back_the_same_becomes_bytes() {
        let id = "80269a05-3453-429d-8c88-660369a11457";
        assert!(matches!(Token::of(id), Token::Uuid([0x80, 0x26, ..])));
        assert!(matches!(Token::of("e7891c01b93e2dbb2d52274c7e9c7f53"), Token::Md5([0xe7, ..])));
        for text in [&id.to_uppercase(), "E7891C01B93E2DBB2D52274C7E9C7F53", "80269a05-3453-429d-8c88-660369a1145g", ""]
        {
            assert_eq!(Token::of(text), Token::Text(text));
        }
    }
}
