//! `sites.yaml`: one entry a site, all problems at once, and no literal credential in any text about it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};

use super::{CONNECT_TIMEOUT, REGION, REQUEST_TIMEOUT, endpoint};
use crate::{
    problem::{Problem, Span, did_you_mean},
    secret::Secret,
    site::{self, SiteSpec, folder::Address},
    tree::{self, Node, Value},
    types::Period,
};

/// The keys whose value may be a credential.
const CREDENTIALS: [&str; 3] = ["access_key", "secret_key", "session_token"];

/// A file that was read.
pub(super) struct Read {
    /// The text with stars for every literal credential; spans fit it as they fit the file.
    pub(super) text: String,
    /// The sites and the warnings, or all problems.
    pub(super) sites: Result<(Vec<Listed>, Vec<Problem>), Vec<Problem>>,
    /// Where leases are, unless the command line names another place.
    pub(super) lease: Option<Address>,
}

/// One site of the file.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) spec: SiteSpec,
    /// Where it says `insecure: true`.
    pub(super) insecure: Option<Span>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    endpoint: Endpoint,
    #[serde(default)]
    nodes: Vec<Endpoint>,
    #[serde(default = "region")]
    region: String,
    #[serde(default = "path_style")]
    path_style: bool,
    access_key: Credential,
    secret_key: Credential,
    #[serde(default)]
    session_token: Option<Credential>,
    #[serde(default)]
    ca_bundle: Option<PathBuf>,
    #[serde(default)]
    pin: Option<Pin>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    timeouts: Timeouts,
    #[serde(default)]
    max_requests_per_second: Option<Rate>,
    #[serde(default)]
    drills: Drills,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Timeouts {
    #[serde(default = "connect")]
    connect: Period,
    #[serde(default = "request")]
    request: Period,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Drills {
    Allowed,
    #[default]
    Forbidden,
}

struct Endpoint(http::Uri);

/// The SHA-256 of a certificate, 64 hex digits.
struct Pin(String);

/// More than none a second.
struct Rate(f64);

struct Credential(site::Value);

/// The key of a credential that stands elsewhere.
enum Origin {
    Env,
    File,
}

/// Reads the file. `folder` is where it stands: paths in it start there. `open` says that everybody may read it.
pub(super) fn read(bytes: &[u8], folder: &Path, open: bool) -> Read {
    let (text, root) = match tree::parse_bytes(bytes) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let text = starred_by_key(&String::from_utf8_lossy(bytes));
            return Read { text, sites: Err(vec![problem]), lease: None };
        }
    };
    let mut problems = Vec::new();
    let mut literals = Vec::new();
    let mut sites = Vec::new();
    for (alias, entry) in entries(&root, &mut problems) {
        literals.extend(literal_spans(entry));
        match alias_of(alias).and_then(|alias| listed(alias, entry, folder)) {
            Ok(site) => sites.push(site),
            Err(problem) => problems.push(problem),
        }
        problems.extend(warnings(entry));
    }
    let secrets = problems.iter().any(|problem| problem.level == crate::problem::Level::Warning);
    if open && secrets {
        let what = "everybody on this machine may read this file, and there is a secret in it";
        problems.push(Problem::warning(root.span, what).help("`chmod 600` it, or take the secret out"));
    }
    let lease = root.get("lease").and_then(|node| {
        let read = node.as_str().ok_or_else(|| "expected text".to_owned()).and_then(str::parse);
        read.map_err(|why: String| problems.push(Problem::error(node.span, why))).ok()
    });
    let text = starred(text, &literals);
    let refused = problems.iter().any(|problem| problem.level == crate::problem::Level::Error);
    Read { text, sites: if refused { Err(problems) } else { Ok((sites, problems)) }, lease }
}

/// The entries under `sites:`.
fn entries<'a>(root: &'a Node, problems: &mut Vec<Problem>) -> Vec<(&'a Node, &'a Node)> {
    let Value::Map(keys) = &root.value else {
        problems.push(Problem::error(root.span, "expected a mapping with the key `sites`"));
        return Vec::new();
    };
    for (key, _) in keys.iter().filter(|(key, _)| !matches!(key.as_str(), Some("sites" | "lease"))) {
        let name = key.as_str().unwrap_or("?");
        problems.push(
            Problem::error(key.span, format!("unknown key `{name}`"))
                .maybe_help(did_you_mean(name, ["sites", "lease"])),
        );
    }
    match root.get("sites") {
        Some(Node { value: Value::Map(entries), .. }) => entries.iter().map(|(alias, entry)| (alias, entry)).collect(),
        Some(other) => {
            problems.push(Problem::error(other.span, "expected a mapping from aliases to sites"));
            Vec::new()
        }
        None => {
            problems.push(Problem::error(root.span, "missing key `sites`"));
            Vec::new()
        }
    }
}

fn alias_of(node: &Node) -> Result<&str, Problem> {
    let fits = |alias: &&str| {
        alias.starts_with(|c: char| c.is_ascii_alphanumeric())
            && alias.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    node.as_str().filter(fits).ok_or_else(|| {
        Problem::error(node.span, "this is no alias")
            .help("use letters, digits, `-`, `_` and `.`, a letter or digit first")
    })
}

fn listed(alias: &str, node: &Node, folder: &Path) -> Result<Listed, Problem> {
    let entry: Entry = node.decode()?;
    let here = |credential: Credential| match credential.0 {
        site::Value::File(path) => site::Value::File(folder.join(path)),
        value @ (site::Value::Literal(_) | site::Value::Env(_)) => value,
    };
    let spec = SiteSpec {
        alias: alias.to_owned(),
        endpoint: entry.endpoint.0,
        nodes: entry.nodes.into_iter().map(|node| node.0).collect(),
        region: entry.region,
        path_style: entry.path_style,
        access_key: here(entry.access_key),
        secret_key: here(entry.secret_key),
        session_token: entry.session_token.map(here),
        ca_bundle: entry.ca_bundle.map(|path| folder.join(path)),
        pin: entry.pin.map(|pin| pin.0),
        insecure: entry.insecure,
        connect_timeout: entry.timeouts.connect.0,
        request_timeout: entry.timeouts.request.0,
        max_requests_per_second: entry.max_requests_per_second.map(|rate| rate.0),
        drills: entry.drills == Drills::Allowed,
    };
    let insecure = entry.insecure.then(|| node.get("insecure").map_or(node.span, |node| node.span));
    Ok(Listed { spec, insecure })
}

/// A literal secret is no reason to refuse, but one to speak up.
fn warnings(entry: &Node) -> Vec<Problem> {
    let literal = |key: &&str| entry.get(key).filter(|node| node.as_str().is_some());
    let secrets = ["secret_key", "session_token"];
    let warn = |key: &str, node: &Node| {
        Problem::warning(node.span, format!("`{key}` is written out in this file"))
            .help("say where it comes from: `{ env: NAME }` or `{ file: PATH }`")
    };
    secrets.iter().filter_map(|key| Some(warn(key, literal(key)?))).collect()
}

/// Where literal credentials stand, those of a wrong form too.
fn literal_spans(entry: &Node) -> Vec<Span> {
    let mut spans = Vec::new();
    for node in CREDENTIALS.iter().filter_map(|key| entry.get(key)) {
        collect_literals(node, &mut spans);
    }
    spans
}

fn collect_literals(node: &Node, spans: &mut Vec<Span>) {
    match &node.value {
        Value::Null => {}
        Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Str(_) => spans.push(node.span),
        Value::List(items) => items.iter().for_each(|item| collect_literals(item, spans)),
        Value::Map(entries) => {
            // The name of a variable or a file is no secret.
            let others = entries.iter().filter(|(key, _)| !matches!(key.as_str(), Some("env" | "file")));
            others.for_each(|(_, value)| collect_literals(value, spans));
        }
    }
}

/// The text with stars in these places; it stays as long as it was.
fn starred(text: &str, spans: &[Span]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for span in spans {
        let end = span.end.min(bytes.len());
        for byte in &mut bytes[span.start.min(end)..end] {
            if !matches!(*byte, b'\n' | b' ') {
                *byte = b'*';
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The same for a text that is no YAML and so has no known places: the rest of each line that has such a key, and
/// the lines below that are indented deeper.
fn starred_by_key(text: &str) -> String {
    let mut spans = Vec::new();
    let mut start = 0;
    let mut deeper_than = None;
    for line in text.split_inclusive('\n') {
        let indent = line.len() - line.trim_start().len();
        let key = CREDENTIALS.iter().filter_map(|key| Some(line.find(key)? + key.len())).min();
        if let Some(key) = key {
            spans.push(Span { start: start + key, end: start + line.len() });
            deeper_than = Some(indent);
        } else if deeper_than.is_some_and(|outer| indent > outer || line.trim().is_empty()) {
            spans.push(Span { start, end: start + line.len() });
        } else {
            deeper_than = None;
        }
        start += line.len();
    }
    starred(text, &spans)
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: connect(), request: request() }
    }
}

fn connect() -> Period {
    Period(CONNECT_TIMEOUT)
}

fn request() -> Period {
    Period(REQUEST_TIMEOUT)
}

fn region() -> String {
    REGION.to_owned()
}

fn path_style() -> bool {
    true
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        endpoint(&String::deserialize(d)?).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        // `openssl x509 -fingerprint` writes colons and capitals.
        let digits = String::deserialize(d)?.replace(':', "").to_ascii_lowercase();
        if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Self(digits));
        }
        Err(de::Error::custom("expected the SHA-256 of a certificate, 64 hex digits"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let rate = f64::deserialize(d)?;
        if rate > 0.0 && rate.is_finite() {
            Ok(Self(rate))
        } else {
            Err(de::Error::custom("expected a number above 0"))
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match String::deserialize(d)?.as_str() {
            "env" => Ok(Self::Env),
            "file" => Ok(Self::File),
            other => Err(de::Error::unknown_field(other, &["env", "file"])),
        }
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Forms;

        impl<'de> Visitor<'de> for Forms {
            type Value = site::Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`{ env: NAME }`, `{ file: PATH }` or text in quotes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<site::Value, E> {
                if text.is_empty() {
                    Err(E::custom("it is empty"))
                } else {
                    Ok(site::Value::Literal(Secret::new(text)))
                }
            }
            // The usual errors would quote the value.
            fn visit_i64<E: de::Error>(self, _: i64) -> Result<site::Value, E> {
                Err(E::custom("expected text, found a number: quote it"))
            }
            fn visit_u64<E: de::Error>(self, _: u64) -> Result<site::Value, E> {
                Err(E::custom("expected text, found a number: quote it"))
            }
            fn visit_f64<E: de::Error>(self, _: f64) -> Result<site::Value, E> {
                Err(E::custom("expected text, found a number: quote it"))
            }
            fn visit_bool<E: de::Error>(self, _: bool) -> Result<site::Value, E> {
                Err(E::custom("expected text, found true or false: quote it"))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<site::Value, A::Error> {
                let value = match map.next_key()? {
                    Some(Origin::Env) => site::Value::Env(map.next_value()?),
                    Some(Origin::File) => site::Value::File(map.next_value()?),
                    None => return Err(de::Error::custom("expected `env: NAME` or `file: PATH`")),
                };
                if map.next_key::<Origin>()?.is_some() {
                    return Err(de::Error::custom("expected one of `env` and `file`, found more"));
                }
                Ok(value)
            }
        }

        d.deserialize_any(Forms).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Read {
        read(text.as_bytes(), Path::new("/etc/firedrill"), false)
    }

    fn first(text: &str) -> Problem {
        read_text(text).sites.unwrap_err().remove(0)
    }

    #[test]
    fn every_field_is_read() {
        let text = r#"
sites:
  dr:
    endpoint: https://minio.dr.example
    nodes: ["https://dr-1.example:9000", "https://dr-2.example:9000"]
    region: eu-west-1
    path_style: false
    access_key: { env: DR_KEY }
    secret_key: { file: secrets/dr }
    session_token: { file: /run/token }
    ca_bundle: ca.pem
    pin: "AA:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33:44:55:66:77:88:99"
    timeouts: { connect: 2s, request: 1m }
    max_requests_per_second: 50
    drills: allowed
"#;
        let (mut sites, warnings) = read_text(text).sites.unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        let SiteSpec { nodes, region, path_style, access_key, secret_key, session_token, ca_bundle, pin, .. } =
            sites[0].spec.clone();
        assert_eq!(nodes.len(), 2);
        assert_eq!(region, "eu-west-1");
        assert!(!path_style);
        assert!(matches!(access_key, site::Value::Env(name) if name == "DR_KEY"));
        assert!(matches!(secret_key, site::Value::File(path) if path == Path::new("/etc/firedrill/secrets/dr")));
        assert!(matches!(session_token, Some(site::Value::File(path)) if path == Path::new("/run/token")));
        assert_eq!(ca_bundle.unwrap(), Path::new("/etc/firedrill/ca.pem"));
        assert!(pin.unwrap().starts_with("aabbcc"));
        let spec = sites.remove(0).spec;
        assert_eq!((spec.connect_timeout.as_secs(), spec.request_timeout.as_secs()), (2, 60));
        assert_eq!(spec.max_requests_per_second, Some(50.0));
        assert!(spec.drills && !spec.insecure);
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let (sites, _) =
            read_text("sites: { a: { endpoint: http://a, access_key: { env: K }, secret_key: { env: S } } }")
                .sites
                .unwrap();
        let spec = &sites[0].spec;
        assert_eq!((spec.region.as_str(), spec.path_style, spec.drills), ("us-east-1", true, false));
        assert_eq!((spec.connect_timeout, spec.request_timeout), (CONNECT_TIMEOUT, REQUEST_TIMEOUT));
    }

    #[test]
    fn all_problems_come_at_once_each_with_its_place() {
        let text = "sitse: 1\nsites:\n  a: { endpoint: http://a/b, access_key: k, secret_key: hunter22 }\n  b: { endpoint: http://b, acces_key: { env: K }, secret_key: { env: S } }\n  c: { endpoint: http://c, access_key: { envv: K }, secret_key: 22222222 }\n  a b: {}\n";
        let read = read_text(text);
        let problems = read.sites.unwrap_err();
        let places: Vec<&str> =
            problems.iter().map(|p| p.span.map_or("", |span| &text[span.start..span.end])).collect();
        assert_eq!(places[..4], ["sitse", "http://a/b", "hunter22", "acces_key"], "{problems:?}");
        assert_eq!(places[4..], ["envv", "a b"], "{problems:?}");
        assert_eq!(problems[3].help.as_deref(), Some("did you mean `access_key`?"));
        assert!(!read.text.contains("hunter22") && !read.text.contains("22222222"), "{}", read.text);
        assert_eq!(read.text.len(), text.len());
    }

    #[test]
    fn a_credential_of_the_wrong_type_is_not_quoted() {
        for value in
            ["77777777", "7777.7777", "true", "[hunter22]", "{ file: a, env: b }", "{ nev: hunter22 }", "{}", "''"]
        {
            let text = format!("sites: {{ a: {{ endpoint: http://a, access_key: k, secret_key: {value} }} }}");
            let problem = first(&text);
            assert!(!problem.what.contains("7777") && !problem.what.contains("hunter22"), "{problem:?}");
            let read = read_text(&text);
            assert!(!read.text.contains("7777") && !read.text.contains("hunter22"), "{}", read.text);
        }
    }

    #[test]
    fn a_literal_over_many_lines_is_masked_whole() {
        let text = "sites:\n  a:\n    endpoint: http://a\n    access_key: k\n    secret_key: |\n      hunter22\n      hunter23\n    session_token: >-\n      hunter24\n\n      hunter25\n    drills: allowed\n";
        let read = read_text(text);
        assert_eq!(read.sites.unwrap().1.len(), 2);
        assert!(!read.text.contains("hunter") && read.text.ends_with("    drills: allowed\n"), "{}", read.text);
    }

    #[test]
    fn a_file_that_is_no_yaml_shows_no_secret() {
        let text = "sites:\n  a:\n    endpoint: [http://a\n    secret_key: hunter22\n    session_token: |\n      hunter22\n    access_key: { env: K }\n  b: x\n";
        let read = read_text(text);
        assert!(read.sites.is_err());
        assert!(!read.text.contains("hunter22"), "{}", read.text);
        assert!(read.text.contains("endpoint: [http://a\n") && read.text.ends_with("  b: x\n"), "{}", read.text);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let site = |field: &str| {
            format!(
                "sites: {{ a: {{ endpoint: http://a, access_key: {{ env: K }}, secret_key: {{ env: S }}, {field} }} }}"
            )
        };
        for (field, what) in [
            ("max_requests_per_second: 0", "expected a number above 0"),
            ("pin: abc", "expected the SHA-256 of a certificate, 64 hex digits"),
            ("lease: x", "unknown key `lease`"),
            ("drills: maybe", "unknown value `maybe`"),
            ("timeouts: { conect: 5s }", "unknown key `conect`"),
            ("nodes: [a:9000]", "expected `http://HOST[:PORT]` or `https://HOST[:PORT]`"),
        ] {
            assert_eq!(first(&site(field)).what, what, "{field}");
        }
        assert_eq!(first("sites: []").what, "expected a mapping from aliases to sites");
        assert_eq!(first("- a").what, "expected a mapping with the key `sites`");
        assert_eq!(first("{}").what, "missing key `sites`");
    }
}
