//! A YAML file as a tree that remembers where each value stands; the only file that knows the YAML crate.

mod decode;

use std::fmt;

use serde::{
    Deserialize,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number};
use serde_yaml::{Error, Spanned, budget::BudgetBreach, options::NonFiniteFloatPolicy};

pub(crate) use self::decode::how_to_write;
use crate::problem::{Problem, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    /// The place. Of text it is the text itself without its quotes, where it stands in the file as it is.
    pub span: Span,
    /// The value came out of a template.
    pub rendered: bool,
}

#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// What a file may cost before it is refused; a runbook of a thousand steps stays far below.
const MAX_NODES: usize = 20_000;
// Far more than a runbook nests, and few enough for a small stack: each level takes the parser about 40 kB of it.
const MAX_DEPTH: usize = 24;

/// Reads a file's bytes, which must be UTF-8; gives the text back with the tree. The place of the first byte that is not
/// is the same in the text that `String::from_utf8_lossy` makes of the bytes.
pub fn parse_bytes(bytes: &[u8]) -> Result<(&str, Node), Problem> {
    let text = str::from_utf8(bytes).map_err(|e| {
        let span = Span { start: e.valid_up_to(), end: e.valid_up_to() + 1 };
        Problem::error(span, "not UTF-8 text: here stand bytes that are no character").help("save the file as UTF-8")
    })?;
    Ok((text, parse(text)?))
}

/// Reads one YAML document.
pub fn parse(text: &str) -> Result<Node, Problem> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Err(Problem::error(Span::default(), "the file is empty").help("begin with `format: 1`"));
    }
    let options = serde_yaml::options! {
        strict_booleans: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: NonFiniteFloatPolicy::Reject,
        with_snippet: false,
        budget: serde_yaml::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH, flow_nesting_limit: MAX_DEPTH },
    };
    let mut node: Node = serde_yaml::from_str_with_options(text, options).map_err(|e| refusal(&e, text))?;
    node.tighten(text);
    Ok(node)
}

impl Node {
    /// The value as a type of ours; the problem has the place of what does not fit.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        T::deserialize(decode::Decoder(self)).map_err(|problem| problem.or_at(self.span))
    }

    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(known, _)| known.as_str() == Some(key)).map(|(_, value)| value)
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::Str(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries of a mapping; none of anything else.
    pub fn entries(&self) -> &[(Self, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) | Value::List(_) => &[],
        }
    }

    /// Its place to the end of the last value in it: the place of a list or mapping itself may be where it begins only.
    pub fn extent(&self) -> Span {
        let inner = match &self.value {
            Value::List(items) => items.iter().map(|item| item.extent().end).max(),
            Value::Map(entries) => entries.iter().map(|(key, value)| key.span.end.max(value.extent().end)).max(),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => None,
        };
        Span { start: self.span.start, end: self.span.end.max(inner.unwrap_or(0)) }
    }

    /// What people call a value of this sort.
    pub fn sort(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) => "a whole number",
            Value::Float(_) => "a number",
            Value::Str(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// A rendered value; all of it stands at the template it came from.
    pub fn from_json(json: serde_json::Value, span: Span) -> Self {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(yes) => Value::Bool(yes),
            Json::String(text) => Value::Str(text),
            Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::MAX)), Value::Int),
            Json::Array(items) => Value::List(items.into_iter().map(|item| Self::from_json(item, span)).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| (Self::from_json(Json::String(key), span), Self::from_json(value, span)))
                    .collect(),
            ),
        };
        Self { value, span, rendered: true }
    }

    /// The value without its places. A key that is not text is written as its text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Null => Json::Null,
            Value::Bool(yes) => Json::Bool(*yes),
            Value::Int(n) => Json::from(*n),
            Value::Float(x) => Number::from_f64(*x).map_or(Json::Null, Json::Number),
            Value::Str(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(Self::to_json).collect(),
            Value::Map(entries) => Json::Object(
                entries
                    .iter()
                    .map(|(key, value)| {
                        let name = key.as_str().map_or_else(|| key.to_json().to_string(), Into::into);
                        (name, value.to_json())
                    })
                    .collect::<Map<_, _>>(),
            ),
        }
    }

    /// Narrows the places of texts to the text between the quotes, so that a place inside of it can be pointed at.
    fn tighten(&mut self, file: &str) {
        match &mut self.value {
            Value::Str(text) if !text.is_empty() => {
                let raw = file.get(self.span.start..self.span.end).unwrap_or_default();
                if let Some(at) = raw.find(text.as_str()) {
                    let start = self.span.start + at;
                    self.span = Span { start, end: start + text.len() };
                }
            }
            Value::List(items) => items.iter_mut().for_each(|item| item.tighten(file)),
            Value::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.tighten(file);
                value.tighten(file);
            }),
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => {}
        }
    }
}

/// What the YAML crate refused, in our words and with a remedy.
fn refusal(error: &Error, text: &str) -> Problem {
    let span = error.location().map(|at| {
        let start = match at.span().byte_offset() {
            Some(offset) => usize::try_from(offset).unwrap_or(text.len()),
            None => byte_at(text, at.line(), at.column()),
        };
        let length = at.span().byte_len().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        Span { start, end: start + length.max(1) }
    });
    // The YAML crate reports a tab at the line before it, or as something else.
    if let Some(tab) = indenting_tab(text)
        && span.is_some_and(|span| tab + 1 >= span.start || matches!(error, Error::Message { .. }))
    {
        return Problem::error(Span { start: tab, end: tab + 1 }, "a tab indents this line")
            .help("indent with spaces: YAML allows no tabs there");
    }
    let (what, help) = match error {
        Error::Eof { .. } => ("the file ends too early".into(), "close what was opened: a quote, a bracket, a brace"),
        Error::MultipleDocuments { .. } => {
            ("a second document begins here".into(), "keep one runbook in one file, without `---` in between")
        }
        Error::DuplicateMappingKey { key, .. } => (
            key.as_ref()
                .map_or_else(|| "this key is here twice".into(), |key| format!("the key `{key}` is here twice")),
            "keep one of them",
        ),
        Error::UnknownAnchor { .. } => (
            "no anchor of this name comes before".into(),
            "define it with `&name` above, or quote text that begins with `*`",
        ),
        Error::UnsupportedTag { .. } | Error::TaggedStructFieldName { .. } => {
            ("tags (`!name`) have no meaning here".into(), "remove the tag, or quote text that begins with `!`")
        }
        Error::NonFiniteFloat { .. } => ("not a finite number".into(), "write a number, or quote it if it is text"),
        Error::MergeValueNotMapOrSeqOfMaps { .. } => {
            ("`<<` merges mappings only".into(), "give it an alias of a mapping")
        }
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            ("this value contains itself".into(), "write the value out instead of using an alias")
        }
        Error::AliasError { error, .. } => return refusal(error, text).or_at(span.unwrap_or_default()),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            ("aliases make the file too large when they are written out".into(), "use fewer aliases")
        }
        Error::Budget { breach, .. } => over_budget(breach),
        // The scanner's own limit comes without a name of its own.
        other if other.to_string().contains("recursion limit") => too_deep(),
        other => (first_line_of(other), "correct the YAML here; quoting a text with special characters often helps"),
    };
    Problem { span, ..Problem::error(None, what).help(help) }
}

fn over_budget(breach: &BudgetBreach) -> (String, &'static str) {
    match breach {
        BudgetBreach::Depth { .. } => too_deep(),
        BudgetBreach::Documents { .. } => {
            ("too many documents".into(), "keep one runbook in one file, without `---` in between")
        }
        BudgetBreach::Aliases { .. }
        | BudgetBreach::Anchors { .. }
        | BudgetBreach::AliasAnchorRatio { .. }
        | BudgetBreach::RecordedAnchorEvents { .. }
        | BudgetBreach::RecordedAnchorBytes { .. }
        | BudgetBreach::MergeKeys { .. } => ("too many aliases".into(), "write the values out"),
        _ => (
            format!("the file holds more than {MAX_NODES} values, counting those that aliases repeat"),
            "split it into several runbooks, or use fewer aliases",
        ),
    }
}

fn too_deep() -> (String, &'static str) {
    (format!("nested more than {MAX_DEPTH} levels deep"), "a runbook needs about 8 levels")
}

/// The crate's own text without its place, which we show ourselves.
fn first_line_of(error: &Error) -> String {
    let text = error.without_snippet().to_string();
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or(line);
    let line = line.rsplit_once("error: ").map_or(line, |(_, rest)| rest);
    format!("not valid YAML: {}", line.trim().trim_end_matches([':', '.']))
}

/// The first tab in the indentation of a line.
fn indenting_tab(text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(at) = line[..indent].find('\t')
            && !line.trim().is_empty()
        {
            return Some(start + at);
        }
        start += line.len();
    }
    None
}

fn byte_at(text: &str, line: u64, column: u64) -> usize {
    let line = usize::try_from(line).unwrap_or(usize::MAX).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text[start..].lines().next().unwrap_or_default();
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(d)?;
        let at = spanned.referenced.span();
        let bytes = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let start = bytes(at.byte_offset());
        let span = Span { start, end: start + bytes(at.byte_len()) };
        Ok(Self { value: spanned.value, span, rendered: false })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, yes: bool) -> Result<Value, E> {
        Ok(Value::Bool(yes))
    }
    fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
        Ok(Value::Int(n))
    }
    fn visit_u64<E: de::Error>(self, n: u64) -> Result<Value, E> {
        i64::try_from(n).map(Value::Int).map_err(|_| E::custom("the number is too large; quote it if it is text"))
    }
    fn visit_f64<E>(self, x: f64) -> Result<Value, E> {
        Ok(Value::Float(x))
    }
    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Str(text.into()))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_some<D: de::Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        d.deserialize_any(Self)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::line_and_column;

    fn refused(text: &str) -> (String, Option<(usize, usize)>) {
        let problem = parse(text).unwrap_err();
        assert!(problem.help.is_some(), "no remedy: {problem:?}");
        (problem.what, problem.span.map(|span| line_and_column(text, span.start)))
    }

    #[test]
    fn what_yaml_refuses_has_a_place_and_a_remedy() {
        let case = |text: &str, what: &str, line: usize, column: usize| {
            assert_eq!(refused(text), (what.to_owned(), Some((line, column))), "{text:.60}");
        };
        case("", "the file is empty", 1, 1);
        case("# only a comment\n\n", "the file is empty", 1, 1);
        case("a: 1\nb: 2\na: 3\n", "the key `a` is here twice", 3, 1);
        case("a:\n\tb: 1\n", "a tab indents this line", 2, 1);
        case("a: 1\n---\nb: 2\n", "a second document begins here", 3, 1);
        case("a: *nowhere\n", "no anchor of this name comes before", 1, 4);
        case("a: !secret x\n", "tags (`!name`) have no meaning here", 1, 12);
        case("a: .nan\n", "not a finite number", 1, 4);
        case(&"[".repeat(20_000), "nested more than 24 levels deep", 1, 25);
        case("a: \"x\n", "not valid YAML: unclosed quote", 1, 4);
        case("a: b: c\n", "not valid YAML: mapping values are not allowed in this context", 1, 5);
    }

    #[test]
    fn text_is_placed_without_its_quotes_and_columns_survive_other_alphabets() {
        let text = "ключ: 'знач'\nb: [\"x y\", plain]\n";
        let node = parse(text).unwrap();
        let at = |node: &Node| &text[node.span.start..node.span.end];
        assert_eq!(at(node.get("ключ").unwrap()), "знач");
        let Value::List(items) = &node.get("b").unwrap().value else { panic!("a list") };
        assert_eq!((at(&items[0]), at(&items[1])), ("x y", "plain"));
    }

    #[test]
    fn booleans_are_strict_and_json_comes_back_as_it_went() {
        let node = parse("{a: NO, b: true, c: 1.5, d: [1, ~], e: {f: x}}").unwrap();
        let json = serde_json::json!({"a": "NO", "b": true, "c": 1.5, "d": [1, null], "e": {"f": "x"}});
        assert_eq!(node.to_json(), json);
        assert_eq!(Node::from_json(json.clone(), Span::default()).to_json(), json);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let levels = (1..9).map(|level| {
            let inner = vec![format!("*a{}", level - 1); 10].join(", ");
            format!("a{level}: &a{level} [{inner}]\n")
        });
        let text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned() + &levels.collect::<String>();
        let (what, place) = refused(&text);
        assert!(what.contains("alias") || what.contains("values"), "{what}");
        assert!(place.is_some());
    }

    #[test]
    fn bytes_must_be_utf_8() {
        let problem = parse_bytes(b"a: 1\nb: \xff\n").unwrap_err();
        assert_eq!(problem.span, Some(Span { start: 8, end: 9 }));
        assert!(parse_bytes("a: ü".as_bytes()).is_ok());
    }
}
