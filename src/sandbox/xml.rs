//! Small XML documents that clients send, as trees.

use quick_xml::{Reader, escape::resolve_xml_entity, events::Event};

use super::wire::Refused;

/// Deeper than any document of S3.
const MAX_DEPTH: usize = 32;

/// An element with its text and its children.
#[derive(Clone, Debug, Default)]
pub(super) struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub(super) fn parse(document: &[u8]) -> Result<Self, Refused> {
        let mut reader = Reader::from_reader(document);
        let mut open: Vec<Self> = Vec::new();
        loop {
            let closed = match reader.read_event().map_err(|_| Refused::malformed())? {
                Event::Start(tag) if open.len() < MAX_DEPTH => {
                    open.push(Self::named(tag.local_name().as_ref()));
                    None
                }
                Event::Empty(tag) => Some(Self::named(tag.local_name().as_ref())),
                Event::End(_) => open.pop(),
                Event::Text(text) => text_of(&mut open, &text.decode().map_err(|_| Refused::malformed())?),
                Event::CData(text) => text_of(&mut open, &text.decode().map_err(|_| Refused::malformed())?),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().map_err(|_| Refused::malformed())?;
                    let name = reference.decode().map_err(|_| Refused::malformed())?;
                    let text = character.map(String::from).or_else(|| resolve_xml_entity(&name).map(str::to_owned));
                    text_of(&mut open, &text.ok_or_else(Refused::malformed)?)
                }
                Event::Eof | Event::Start(_) => return Err(Refused::malformed()),
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
        Self { name: String::from_utf8_lossy(name).into_owned(), ..Self::default() }
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.children.iter().find(|child| child.name == *name))
    }

    /// The text at the end of a path of names; empty when there is none.
    pub(super) fn text(&self, path: &[&str]) -> &str {
        self.at(path).map_or("", |element| element.text.as_str())
    }

    /// Whether `Status` below a path of names says `Enabled`.
    pub(super) fn enabled(&self, path: &[&str]) -> bool {
        self.at(path).is_some_and(|element| element.text(&["Status"]) == "Enabled")
    }
}

fn text_of(open: &mut [Element], text: &str) -> Option<Element> {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
    None
}
