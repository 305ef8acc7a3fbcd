//! A scanner of just as much XML as listings are made of: elements, text with references, and what is passed over.

use std::{borrow::Cow, str};

use jiff::Timestamp;
use memchr::{memchr, memmem};

use crate::{site::xml, version::TooLong};

/// Why scanning does not go on.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stop {
    #[error("it ends in the middle")]
    More,
    #[error("it is no listing")]
    NotAListing,
    #[error("{0}")]
    Broken(String),
}

impl Stop {
    pub(super) fn broken(why: &str) -> Self {
        Self::Broken(why.to_owned())
    }
}

impl From<TooLong> for Stop {
    fn from(error: TooLong) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A tag by its local name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag<'a> {
    Open(&'a [u8]),
    /// `<a/>`
    Empty(&'a [u8]),
    Close(&'a [u8]),
}

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes that were gone past.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The next tag; text, comments and declarations before it are passed over.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<Tag<'a>, Stop> {
        loop {
            if self.bytes.get(self.at) != Some(&b'<') {
                self.at += memchr(b'<', self.rest()).ok_or(Stop::More)?;
            }
            let inside = self.at + 1;
            match *self.bytes.get(inside).ok_or(Stop::More)? {
                b'!' if self.begins(b"<!--")? => self.past(b"-->")?,
                b'!' if self.begins(b"<![CDATA[")? => self.past(b"]]>")?,
                b'!' => self.past(b">")?,
                b'?' => self.past(b"?>")?,
                b'/' => {
                    self.at = inside + 1;
                    let name = self.until_end()?;
                    return Ok(Tag::Close(local(name.trim_ascii_end())));
                }
                _ => {
                    self.at = inside;
                    return self.open();
                }
            }
        }
    }

    /// An opening tag from after its `<`.
    fn open(&mut self) -> Result<Tag<'a>, Stop> {
        let rest = self.rest();
        let ends = |byte: &u8| matches!(byte, b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n');
        let length = rest.iter().position(ends).ok_or(Stop::More)?;
        let name = local(&rest[..length]);
        if name.is_empty() {
            return Err(Stop::broken("an element has no name"));
        }
        self.at += length;
        if rest[length] == b'>' {
            self.at += 1;
            return Ok(Tag::Open(name));
        }
        let attributes = self.until_end()?;
        Ok(if attributes.ends_with(b"/") { Tag::Empty(name) } else { Tag::Open(name) })
    }

    /// What stands before the `>` of a tag, which is gone past; one in quotes is part of an attribute.
    fn until_end(&mut self) -> Result<&'a [u8], Stop> {
        let rest = self.rest();
        let mut quote = None;
        for (at, byte) in rest.iter().enumerate() {
            match (byte, quote) {
                (b'>', None) => {
                    self.at += at + 1;
                    return Ok(&rest[..at]);
                }
                (b'"' | b'\'', None) => quote = Some(byte),
                (byte, Some(open)) if byte == open => quote = None,
                (_, _) => {}
            }
        }
        Err(Stop::More)
    }

    /// The text of the element just opened, which is gone past; elements inside are skipped.
    #[inline]
    pub(super) fn text(&mut self, name: &[u8]) -> Result<Cow<'a, [u8]>, Stop> {
        let rest = self.rest();
        let length = memchr(b'<', rest).ok_or(Stop::More)?;
        let (text, close) = rest.split_at(length);
        // `</name>` with nothing to resolve before it, as nearly always.
        if close.len() > name.len() + 2
            && close[1] == b'/'
            && close[2..].starts_with(name)
            && close[2 + name.len()] == b'>'
            && memchr(b'&', text).is_none()
        {
            self.at += length + name.len() + 3;
            return Ok(Cow::Borrowed(text));
        }
        self.long_text()
    }

    /// The same, as a text.
    pub(super) fn string(&mut self, name: &[u8]) -> Result<Cow<'a, str>, Stop> {
        let not_text = |_| Stop::broken("it is not UTF-8");
        match self.text(name)? {
            Cow::Borrowed(bytes) => str::from_utf8(bytes).map(Cow::Borrowed).map_err(not_text),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|e| not_text(e.utf8_error())),
        }
    }

    fn long_text(&mut self) -> Result<Cow<'a, [u8]>, Stop> {
        let mut text = Vec::new();
        loop {
            let rest = self.rest();
            let length = memchr(b'<', rest).ok_or(Stop::More)?;
            resolve(&rest[..length], &mut text)?;
            self.at += length;
            if self.begins(b"<![CDATA[")? {
                let from = self.at + 9;
                self.past(b"]]>")?;
                text.extend_from_slice(&self.bytes[from..self.at - 3]);
            } else if self.begins(b"<!")? {
                self.past(if self.begins(b"<!--")? { b"-->" } else { b">" })?;
            } else if self.begins(b"<?")? {
                self.past(b"?>")?;
            } else {
                match self.tag()? {
                    Tag::Open(_) => self.skip()?,
                    Tag::Empty(_) => {}
                    Tag::Close(_) => return Ok(Cow::Owned(text)),
                }
            }
        }
    }

    /// An `ETag` without its quotes.
    pub(super) fn etag(&mut self, name: &[u8]) -> Result<Cow<'a, [u8]>, Stop> {
        const QUOTE: &[u8] = b"&#34;";
        const END: &[u8] = b"&#34;</ETag>";
        let rest = self.rest();
        // As MinIO writes the one of an object that came in one piece.
        if let Some(rest) = rest.strip_prefix(QUOTE)
            && let Some((md5, rest)) = rest.split_at_checked(32)
            && rest.starts_with(END)
            && memchr(b'&', md5).is_none()
        {
            self.at += QUOTE.len() + md5.len() + END.len();
            return Ok(Cow::Borrowed(md5));
        }
        Ok(match self.text(name)? {
            Cow::Borrowed(text) => Cow::Borrowed(unquoted(text)),
            Cow::Owned(text) => Cow::Owned(unquoted(&text).to_vec()),
        })
    }

    /// Goes past the end of the element just opened.
    pub(super) fn skip(&mut self) -> Result<(), Stop> {
        let mut depth = 1_u32;
        while depth > 0 {
            match self.tag()? {
                Tag::Open(_) => depth = depth.saturating_add(1),
                Tag::Empty(_) => {}
                Tag::Close(_) => depth -= 1,
            }
        }
        Ok(())
    }

    /// The same, for an element that is often written the same again: `before` is how it was last.
    pub(super) fn skip_again(&mut self, before: &mut Vec<u8>) -> Result<(), Stop> {
        if !before.is_empty() && self.rest().starts_with(before) {
            self.at += before.len();
            return Ok(());
        }
        let from = self.at;
        self.skip()?;
        before.clear();
        before.extend_from_slice(&self.bytes[from..self.at]);
        Ok(())
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn begins(&self, with: &[u8]) -> Result<bool, Stop> {
        let rest = self.rest();
        if rest.len() < with.len() && with.starts_with(rest) { Err(Stop::More) } else { Ok(rest.starts_with(with)) }
    }

    fn past(&mut self, end: &[u8]) -> Result<(), Stop> {
        self.at += memmem::find(self.rest(), end).ok_or(Stop::More)? + end.len();
        Ok(())
    }
}

/// A name without its namespace.
fn local(name: &[u8]) -> &[u8] {
    match memchr(b':', name) {
        Some(at) => &name[at + 1..],
        None => name,
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    text.strip_suffix(b"\"").unwrap_or(text)
}

/// Adds a text with its references resolved.
fn resolve(text: &[u8], to: &mut Vec<u8>) -> Result<(), Stop> {
    let mut rest = text;
    while let Some(at) = memchr(b'&', rest) {
        to.extend_from_slice(&rest[..at]);
        let end = memchr(b';', &rest[at..]).ok_or_else(|| Stop::broken("a `&` in it is no reference"))?;
        let name = str::from_utf8(&rest[at + 1..at + end]).map_err(|_| Stop::broken("it is not UTF-8"))?;
        to.extend_from_slice(xml::reference(name).map_err(Stop::Broken)?.as_bytes());
        rest = &rest[at + end + 1..];
    }
    to.extend_from_slice(rest);
    Ok(())
}

pub(super) fn size(text: &[u8]) -> Result<u64, Stop> {
    let digits = text.trim_ascii();
    let mut size = 0_u64;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        let more = size.checked_mul(10).and_then(|size| size.checked_add(u64::from(value)));
        size = more.filter(|_| value < 10).ok_or_else(|| not_a(text, "size"))?;
    }
    if digits.is_empty() { Err(not_a(text, "size")) } else { Ok(size) }
}

/// Milliseconds since 1970.
pub(super) fn time(text: &[u8]) -> Result<i64, Stop> {
    if let Some(time) = usual_time(text) {
        return Ok(time);
    }
    let time = str::from_utf8(text).ok().and_then(|text| text.parse::<Timestamp>().ok());
    time.map(Timestamp::as_millisecond).ok_or_else(|| not_a(text, "time"))
}

/// `2026-11-23T18:29:22.573Z`, as MinIO writes it.
fn usual_time(text: &[u8]) -> Option<i64> {
    let t: &[u8; 24] = text.try_into().ok()?;
    if [t[4], t[7], t[10], t[13], t[16], t[19], t[23]] != *b"--T::.Z" {
        return None;
    }
    let mut wrong = 0;
    let mut number = |digits: &[u8]| {
        digits.iter().fold(0_i64, |number, digit| {
            let value = digit.wrapping_sub(b'0');
            wrong |= u8::from(value > 9);
            number * 10 + i64::from(value)
        })
    };
    let (year, month, day) = (number(&t[..4]), number(&t[5..7]), number(&t[8..10]));
    let (hour, minute, second) = (number(&t[11..13]), number(&t[14..16]), number(&t[17..19]));
    let milliseconds = number(&t[20..23]);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let in_calendar = year >= 1970 && (1..=12).contains(&month) && (1..=days_of_month).contains(&day);
    if wrong != 0 || !in_calendar || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, counted in years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + second * 1_000 + milliseconds)
}

fn not_a(text: &[u8], what: &str) -> Stop {
    Stop::Broken(format!("`{}` is not a {what}", String::from_utf8_lossy(text)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn times_are_those_of_the_calendar(ms in 0_i64..253_402_300_799_999) {
            let text = format!("{:.3}", Timestamp::from_millisecond(ms).unwrap());
            prop_assert_eq!(time(text.as_bytes()), Ok(ms), "{}", text);
        }
    }

    #[test]
    fn what_is_no_time_or_size_is_told() {
        for text in ["2026-02-30T00:00:00.000Z", "2026-13-01T00:00:00.000Z", "2026-01-01T24:00:00.000Z", "", "now"] {
            assert_eq!(time(text.as_bytes()), Err(Stop::Broken(format!("`{text}` is not a time"))));
        }
        assert_eq!(time(b"2026-11-23T19:29:22.573+01:00"), time(b"2026-11-23T18:29:22.573Z"));
        assert_eq!(size(b" 18446744073709551615 "), Ok(u64::MAX));
        for text in ["", "-1", "1x", "18446744073709551616"] {
            assert!(size(text.as_bytes()).is_err(), "{text}");
        }
    }
}
