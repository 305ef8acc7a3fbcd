//! XML as JUnit reports have it: attributes, properties, and text that is safe in either.

use std::fmt::Write;

/// The `properties` of a suite or a case.
pub(crate) fn properties<N: AsRef<str>>(xml: &mut String, indent: usize, all: &[(N, String)]) {
    let _ = writeln!(xml, "{:indent$}<properties>", "");
    for (name, value) in all {
        let attributes = attributes(&[("name", name.as_ref().to_owned()), ("value", value.clone())]);
        let _ = writeln!(xml, "{:indent$}  <property{attributes}/>", "");
    }
    let _ = writeln!(xml, "{:indent$}</properties>", "");
}

/// Each with a space before it.
pub(crate) fn attributes(all: &[(&str, String)]) -> String {
    let written: Vec<String> = all.iter().map(|(name, value)| format!(" {name}=\"{}\"", escaped(value))).collect();
    written.concat()
}

/// Text as it may stand in an attribute or an element. What XML 1.0 forbids even as a reference becomes U+FFFD.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // In an attribute they would be read as spaces.
            '\n' | '\r' | '\t' => out.push_str(&format!("&#{};", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_escaped() {
        assert_eq!(
            escaped("a<b> & \"c\" 'd'\n\u{1b}[1m"),
            "a&lt;b&gt; &amp; &quot;c&quot; &apos;d&apos;&#10;\u{fffd}[1m"
        );
    }
}
