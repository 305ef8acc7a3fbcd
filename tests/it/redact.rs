//! The one place that masks what differs from run to run in outputs that are compared with a golden text.

use std::path::Path;

use jiff::{Timestamp, civil};

/// Masks times, run ids, UUIDs, hashes, measured durations, ports of this machine and the case's folder.
pub(crate) fn redact(text: &str, folder: &Path) -> String {
    let text = text.replace(&folder.display().to_string(), "[FOLDER]");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    // Where in `out` the last word began, if it may be the first part of a duration: `4m 10s`, `2h 03m`.
    let mut open = None;
    while let Some(start) = rest.find(in_word) {
        let (before, from) = rest.split_at(start);
        let (word, after) = from.split_at(from.find(|c| !in_word(c)).unwrap_or(from.len()));
        // Punctuation at the end of a sentence is no part of the word.
        let bare = word.trim_end_matches(['.', ':', '-', '+']);
        let first = open.take().filter(|_| before == " ");
        if is_part(bare) || is_duration(bare) {
            let begin = first.unwrap_or(out.len() + before.len());
            open = (bare == word).then_some(begin);
            out.push_str(before);
            if first.is_some() {
                out.truncate(begin);
            }
            out.push_str(if first.is_some() || is_duration(bare) { "[DURATION]" } else { bare });
        } else {
            out.push_str(before);
            out.push_str(&mask(bare).unwrap_or_else(|| bare.to_owned()));
        }
        out.push_str(&word[bare.len()..]);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn in_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '+' | 'µ')
}

fn mask(word: &str) -> Option<String> {
    let masked = if is_hex(word) && word.len() == 64 {
        "[SHA256]"
    } else if is_hex(word) && matches!(word.len(), 8..=63) && is_mixed(word) {
        "[HEX]"
    } else if is_uuid(word) {
        "[UUID]"
    } else if is_run_id(word) {
        "[RUN]"
    } else if word.parse::<Timestamp>().is_ok() || (word.contains(':') && word.parse::<civil::Time>().is_ok()) {
        "[TIME]"
    } else if word.len() == 10 && word.parse::<civil::Date>().is_ok() {
        "[DATE]"
    } else {
        let port = word.strip_prefix("127.0.0.1:").or_else(|| word.strip_prefix("localhost:"));
        if port.is_some_and(|port| port.parse::<u16>().is_ok()) {
            return Some("127.0.0.1:[PORT]".to_owned());
        }
        // An ARN, for one, is several words in one.
        let parts =
            word.contains(':').then(|| word.split(':').map(|part| mask(part).unwrap_or_else(|| part.to_owned())));
        return parts.map(|parts| parts.collect::<Vec<_>>().join(":"));
    };
    Some(masked.to_owned())
}

fn is_hex(word: &str) -> bool {
    word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A digest has letters; a number of bytes has not, and stays.
fn is_mixed(word: &str) -> bool {
    word.contains(|c: char| c.is_ascii_digit()) && word.contains(|c: char| c.is_ascii_alphabetic())
}

fn is_uuid(word: &str) -> bool {
    let lengths: Vec<usize> = word.split('-').map(str::len).collect();
    lengths == [8, 4, 4, 4, 12] && word.split('-').all(is_hex)
}

/// Run ids begin with the time, to the second at least, without punctuation: `20261123T211400Z-…`, `20261123-211400-…`.
fn is_run_id(word: &str) -> bool {
    let digits = |text: Option<&str>| text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits(word.get(..8)) && matches!(word.as_bytes().get(8), Some(b'T' | b't' | b'-')) && digits(word.get(9..15))
}

/// What may be one part of a duration of two: `4m`, `2h`, `3d`.
fn is_part(word: &str) -> bool {
    let number = word.strip_suffix(['m', 'h', 'd']);
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A measured duration, `0.123s`, `15ms`, `42s`. Written ones (`10m`, `4h`) stay: they come from the runbook.
fn is_duration(word: &str) -> bool {
    ["ms", "µs", "ns", "s"].iter().any(|unit| {
        let number = word.strip_suffix(unit);
        number.is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()) && n.parse::<f64>().is_ok())
    })
}

#[test]
fn what_differs_is_masked_and_the_rest_stays() {
    let folder = Path::new("/somewhere/case-1");
    let hash = "0123456789abcdef".repeat(4);
    let uuid = "551bad9e-e3fc-42f1-b2ba-47e2c91532e9";
    let text = format!(
        "run 20261123T211400Z-4f2a: started 2026-11-23T21:14:00.123Z, took 1.52s. rto 4h, settle 10m\n\
         http://127.0.0.1:12345/bucket in /somewhere/case-1/runs, head {hash}\n\
         arn:minio:replication::{uuid}:data {uuid} at 21:14:09, 240 versions, 10485760 bytes, id 18eac027396ff3a5, 15ms 3s; 4m 10s, 2h 03m, 3d 4h. 5m"
    );
    let masked = "run [RUN]: started [TIME], took [DURATION]. rto 4h, settle 10m\n\
         http://127.0.0.1:[PORT]/bucket in [FOLDER]/runs, head [SHA256]\n\
         arn:minio:replication::[UUID]:data [UUID] at [TIME], 240 versions, 10485760 bytes, id [HEX], [DURATION]; [DURATION], [DURATION], [DURATION]. 5m";
    assert_eq!(redact(&text, folder), masked);
}
