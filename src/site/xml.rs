//! Small XML documents, read and written with every field they came with.

use std::borrow::Cow;

use quick_xml::{
    Reader,
    escape::{escape, resolve_xml_entity},
    events::{BytesRef, Event},
};

/// Deeper than any document of S3; what is deeper still is not one.
const MAX_DEPTH: usize = 32;

/// An element with its text and its children; attributes and namespaces do not matter here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// Reads a document; the root element.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, String> {
        let mut reader = Reader::from_reader(document);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let closed = match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(tag) => {
                    if open.len() == MAX_DEPTH {
                        return Err("it is nested too deeply".into());
                    }
                    open.push(Self::named(tag.local_name().as_ref()));
                    None
                }
                Event::Empty(tag) => Some(Self::named(tag.local_name().as_ref())),
                Event::End(_) => open.pop(),
                Event::Text(text) => add_text(&mut open, &text.decode().map_err(|e| e.to_string())?),
                Event::CData(text) => add_text(&mut open, &text.decode().map_err(|e| e.to_string())?),
                Event::GeneralRef(reference) => add_text(&mut open, &resolve(&reference)?),
                Event::Eof => return Err("it is no complete XML document".into()),
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
            };
            let Some(element) = closed else { continue };
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }

    fn named(name: &[u8]) -> Self {
        Self { name: local_name(name), ..Self::default() }
    }

    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|c| c.name == name)
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |c| c.name == name)
    }

    /// The element at the end of a path of names.
    pub(crate) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text at the end of a path of names; empty when there is none.
    pub(crate) fn text_at(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |e| e.text.as_str())
    }

    /// Whether `Status` below a path of names says `Enabled`.
    pub(crate) fn enabled(&self, path: &[&str]) -> bool {
        self.at(path).is_some_and(|e| e.text_at(&["Status"]) == "Enabled")
    }
}

fn add_text(open: &mut [Element], text: &str) -> Option<Element> {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
    None
}

pub(crate) fn local_name(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The text that `&amp;`, `&#34;` and the like stand for. MinIO writes control characters as references too, which
/// XML 1.0 forbids; they are taken as they are meant.
pub(crate) fn resolve(reference: &BytesRef<'_>) -> Result<Cow<'static, str>, String> {
    if let Some(character) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(Cow::Owned(character.to_string()));
    }
    let name = reference.decode().map_err(|e| e.to_string())?;
    resolve_xml_entity(&name).map(Cow::Borrowed).ok_or_else(|| format!("it holds an unknown entity `&{name};`"))
}

/// The same, by what stands between `&` and `;`.
pub(crate) fn reference(name: &str) -> Result<Cow<'static, str>, String> {
    resolve(&BytesRef::new(name))
}

/// `<name>text</name>`, with the text escaped.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_and_character_references_become_text() {
        let root =
            Element::parse(b"<?xml version=\"1.0\"?>\n<a xmlns=\"x\"><b>&#34;q&#x1;&amp;&lt;</b><c/><b> two </b></a>")
                .unwrap();
        assert_eq!(root.name, "a");
        assert_eq!(root.text_at(&["b"]), "\"q\u{1}&<");
        assert_eq!(root.all("b").count(), 2);
        assert!(root.child("c").is_some());
        assert_eq!(root.text_at(&["c", "d"]), "");
    }

    #[test]
    fn what_is_no_document_is_an_error() {
        for bad in ["", "{}", "<a><b></a>", "<a>&custom;</a>", "<a>", &"<a>".repeat(100)] {
            assert!(Element::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn text_is_escaped_when_written() {
        assert_eq!(element("Prefix", "a<b&\"c"), "<Prefix>a&lt;b&amp;&quot;c</Prefix>");
    }
}
