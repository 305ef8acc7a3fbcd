//! The forms in which a secret comes back from servers and libraries: percent-encoded, escaped for JSON or XML, in
//! base64. And what is secret by its place in an address, whoever it belongs to.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD},
};

/// Where a text has the secret next, each of its characters as it is or encoded: begin and end.
pub(super) fn find(text: &str, from: usize, secret: &str) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let first = *secret.as_bytes().first()?;
    (from..bytes.len())
        .filter(|at| bytes[*at] == first || matches!(bytes[*at], b'%' | b'\\' | b'&' | b'+'))
        .find_map(|at| Some((at, at + spelled(&bytes[at..], secret)?)))
}

/// The length of what spells the secret at the beginning of a text. Several readings are followed side by side: a `%`
/// may stand for itself, or begin an encoded character.
fn spelled(text: &[u8], secret: &str) -> Option<usize> {
    let mut ends = vec![0];
    for c in secret.chars() {
        let mut next = Vec::new();
        for end in ends {
            each(&text[end..], c, |length| {
                if !next.contains(&(end + length)) {
                    next.push(end + length);
                }
            });
        }
        if next.is_empty() {
            return None;
        }
        ends = next;
    }
    ends.into_iter().max()
}

/// Tells the length of each spelling of a character that a text begins with.
fn each(text: &[u8], c: char, mut found: impl FnMut(usize)) {
    let mut utf8 = [0; 4];
    let utf8 = c.encode_utf8(&mut utf8).as_bytes();
    if text.starts_with(utf8) {
        found(utf8.len());
    }
    match text.first() {
        Some(b'+') if c == ' ' => found(1),
        Some(b'%') => percent(text, utf8).into_iter().for_each(found),
        Some(b'\\') => backslash(text, c).into_iter().for_each(found),
        Some(b'&') => entity(text, c).into_iter().for_each(found),
        _ => {}
    }
}

/// `%2F`, and `%252F` as text that was encoded twice has it.
fn percent(text: &[u8], utf8: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    for byte in utf8 {
        let mut next = Vec::new();
        for end in ends {
            let mut at = end + 1;
            while text.get(end) == Some(&b'%') && at < text.len() {
                if hex(text.get(at..at + 2)) == Some(u32::from(*byte)) {
                    next.push(at + 2);
                }
                if !text[at..].starts_with(b"25") {
                    break;
                }
                at += 2;
            }
        }
        ends = next;
    }
    ends
}

/// `\"`, `\n` and `\u0022`, also of JSON within JSON.
fn backslash(text: &[u8], c: char) -> Vec<usize> {
    let slashes = |at: usize| text[at..].iter().take_while(|byte| **byte == b'\\').count();
    if c == '\\' {
        // Each is written as two, or as four, and others may follow.
        return (2..=slashes(0).min(8)).chain(unicode(text, c, slashes)).collect();
    }
    let short = match c {
        '\n' => Some(b'n'),
        '\r' => Some(b'r'),
        '\t' => Some(b't'),
        '"' | '\'' | '/' => u8::try_from(c).ok(),
        _ => None,
    };
    let at = slashes(0);
    let plain = short.filter(|short| text.get(at) == Some(short)).map(|_| at + 1);
    // Escaped for JSON first, and for XML after that.
    let entities = short.map(|short| entity(&text[at..], char::from(short))).unwrap_or_default();
    plain.into_iter().chain(entities.into_iter().map(|length| at + length)).chain(unicode(text, c, slashes)).collect()
}

/// `\u0022`, or two of them for what does not fit into one.
fn unicode(text: &[u8], c: char, slashes: impl Fn(usize) -> usize) -> Option<usize> {
    let mut at = 0;
    for unit in c.encode_utf16(&mut [0; 2]) {
        let before = slashes(at);
        at += before;
        if before == 0 || text.get(at) != Some(&b'u') || hex(text.get(at + 1..at + 5)) != Some(u32::from(*unit)) {
            return None;
        }
        at += 5;
    }
    Some(at)
}

/// `&amp;`, `&#38;` and `&#x26;`, and `&amp;amp;` of text that was escaped twice.
fn entity(text: &[u8], c: char) -> Vec<usize> {
    let named: Option<&[u8]> = match c {
        '&' => Some(b"amp;"),
        '<' => Some(b"lt;"),
        '>' => Some(b"gt;"),
        '"' => Some(b"quot;"),
        '\'' => Some(b"apos;"),
        _ => None,
    };
    let mut ends = Vec::new();
    if text.first() != Some(&b'&') {
        return ends;
    }
    let mut at = 1;
    loop {
        let rest = &text[at..];
        if let Some(named) = named.filter(|named| rest.starts_with(named)) {
            ends.push(at + named.len());
        }
        if let Some((code, length)) = number(rest)
            && code == u32::from(c)
        {
            ends.push(at + length);
        }
        if !rest.starts_with(b"amp;") {
            return ends;
        }
        at += 4;
    }
}

/// `#38;` and `#x26;`, and how long it is.
fn number(text: &[u8]) -> Option<(u32, usize)> {
    let end = text.iter().take(12).position(|byte| *byte == b';')?;
    let number = text[..end].strip_prefix(b"#")?;
    let code = match number.strip_prefix(b"x").or_else(|| number.strip_prefix(b"X")) {
        Some(digits) => hex(Some(digits))?,
        None => std::str::from_utf8(number).ok()?.parse().ok()?,
    };
    Some((code, end + 1))
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What a secret looks like inside of base64: a longer text has it at one of three offsets, and the characters at its
/// ends depend on its neighbours, so that they are left out.
pub(super) fn base64(secret: &str) -> Vec<String> {
    let mut cores = Vec::new();
    for before in 0..3 {
        let padded = [&b"xx"[..before], secret.as_bytes()].concat();
        let (begin, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for text in [BASE64_STANDARD_NO_PAD.encode(&padded), BASE64_URL_SAFE_NO_PAD.encode(&padded)] {
            let core = text[begin..end].to_owned();
            if !cores.contains(&core) {
                cores.push(core);
            }
        }
    }
    cores
}

/// What is secret by its place: the value of a signature or of a session token in a presigned address or an
/// `Authorization` header, and user and password of an address. Begin and end.
pub(super) fn placed(text: &str) -> Vec<(usize, usize)> {
    const NAMES: [&str; 2] = ["signature", "x-amz-security-token"];
    const SHORTEST: usize = 16;
    /// Stands for credentials in the commands of remedies.
    const PLACEHOLDER: &str = "KEY:SECRET";
    let lower = text.to_ascii_lowercase();
    let mut found = Vec::new();
    for name in NAMES {
        for (at, _) in lower.match_indices(name) {
            let after = at + name.len();
            let equals = ["=", "%3d", "%253d"].into_iter().find(|equals| lower[after..].starts_with(equals));
            let Some(begin) = equals.map(|equals| after + equals.len()) else { continue };
            let in_value = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '+' | '/' | '_' | '-' | '.' | '~');
            let length = text[begin..].find(|c| !in_value(c)).unwrap_or(text.len() - begin);
            if length >= SHORTEST {
                found.push((begin, begin + length));
            }
        }
    }
    for (at, _) in text.match_indices("://") {
        let begin = at + 3;
        let ends = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '`');
        let authority = &text[begin..begin + text[begin..].find(ends).unwrap_or(text.len() - begin)];
        if let Some((user, _)) = authority.rsplit_once('@')
            && user.contains(':')
            && user != PLACEHOLDER
        {
            found.push((begin, begin + user.len()));
        }
    }
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    fn xml(secret: &str) -> String {
        secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
    }

    fn all_forms(secret: &str) -> Vec<String> {
        let json = serde_json::to_string(secret).unwrap();
        let percent = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
        let each = |form: &dyn Fn(char) -> String| secret.chars().map(form).collect::<Vec<_>>().concat();
        let lower = secret.bytes().map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => char::from(byte).to_string(),
            other => format!("%{other:02x}"),
        });
        let lower = lower.collect();
        let units = secret.encode_utf16().map(|unit| format!("\\u{unit:04X}"));
        vec![
            secret.to_owned(),
            lower,
            utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(),
            percent.replace("%20", "+"),
            percent,
            json[1..json.len() - 1].to_owned(),
            json[1..json.len() - 1].replace('/', "\\/"),
            units.collect(),
            xml(secret),
            xml(&xml(secret)),
            xml(&json[1..json.len() - 1]),
            each(&|c| format!("&#{};", u32::from(c))),
            each(&|c| format!("&#x{:X};", u32::from(c))),
        ]
    }

    #[test]
    fn every_form_is_found_whole() {
        for secret in ["hunter22", "wr/ong+secret=%41 &\"x\"", "%25%25\\n", "pässwörd 🔑", "a&amp;b\\\\c'", "<&>%2F"]
        {
            for form in all_forms(secret) {
                let text = format!("before {form} after");
                assert_eq!(find(&text, 0, secret), Some((7, 7 + form.len())), "{secret} as {form}");
            }
            assert_eq!(find("nothing of it % \\ & +", 0, secret), None);
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_missed_in_any_form_and_nothing_panics(secret in "[!-~]{4,40}", noise in ".{0,40}") {
            for form in all_forms(&secret) {
                let text = format!("{noise}{form}{noise}");
                prop_assert!(find(&text, 0, &secret).is_some(), "{} as {}", secret, form);
            }
            find(&noise, 0, &secret);
            placed(&noise);
        }

        #[test]
        fn base64_is_found_wherever_in_a_longer_text_it_is(
            secret in "[!-~]{4,40}", before in "[!-~]{0,5}", after in "[!-~]{0,5}",
        ) {
            let whole = format!("{before}{secret}{after}");
            for text in [BASE64_STANDARD_NO_PAD.encode(&whole), BASE64_URL_SAFE_NO_PAD.encode(&whole)] {
                prop_assert!(base64(&secret).iter().any(|core| text.contains(core)), "{} in {}", secret, text);
            }
        }
    }

    #[test]
    fn what_is_secret_by_its_place_is_found() {
        let cut = |text: &str| {
            let mut text = text.to_owned();
            for (begin, end) in placed(&text).into_iter().rev() {
                text.replace_range(begin..end, "#");
            }
            text
        };
        let hex = "0123456789abcdef0123456789abcdef";
        for (text, wanted) in [
            (format!("GET /b/k?X-Amz-Signature={hex}&x=1"), "GET /b/k?X-Amz-Signature=#&x=1"),
            (format!("u%3FX-Amz-Signature%3D{hex} gone"), "u%3FX-Amz-Signature%3D# gone"),
            (
                format!("AWS4-HMAC-SHA256 Credential=k/d/r, Signature={hex}"),
                "AWS4-HMAC-SHA256 Credential=k/d/r, Signature=#",
            ),
            (format!("?X-Amz-Security-Token={hex}%2B%3D&y"), "?X-Amz-Security-Token=#&y"),
            ("to https://me:hunter22@host:9000/x and http://a@b".into(), "to https://#@host:9000/x and http://a@b"),
            ("https://me:p@ss@host".into(), "https://#@host"),
            ("http://KEY:SECRET@host/b".into(), "http://KEY:SECRET@host/b"),
            ("the signature=ok, https://host/a:b@c".into(), "the signature=ok, https://host/a:b@c"),
        ] {
            assert_eq!(cut(&text), wanted);
        }
    }
}
