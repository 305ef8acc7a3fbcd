//! MinIO client's own ways to name a site: `MC_HOST_<alias>`, and the aliases in its `config.json`.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;

use super::{endpoint, plain, read};
use crate::site::SiteSpec;

/// The aliases of MinIO client's configuration.
pub(super) struct Config {
    /// `None` when the environment does not say where it would be.
    path: Option<PathBuf>,
    /// `None` when there is no such file.
    aliases: Result<Option<BTreeMap<String, Alias>>, String>,
}

/// The file has more keys than these, and each release of MinIO client may add some.
#[derive(Deserialize)]
struct File {
    #[serde(default)]
    aliases: BTreeMap<String, Alias>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alias {
    url: String,
    #[serde(default)]
    access_key: String,
    #[serde(default)]
    secret_key: String,
    #[serde(default)]
    session_token: String,
    #[serde(default)]
    api: String,
    #[serde(default)]
    path: String,
}

impl Config {
    /// Reads `$MC_CONFIG_DIR/config.json`, else `~/.mc/config.json`.
    pub(super) fn load(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let folder = env("MC_CONFIG_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let path =
            folder.or_else(|| Some(PathBuf::from(env("HOME")?).join(".mc"))).map(|folder| folder.join("config.json"));
        let parse = |bytes: Vec<u8>| match serde_json::from_slice::<File>(&bytes) {
            Ok(file) => Ok(file.aliases),
            // Only the place: the words of the error may quote a value.
            Err(e) => Err(format!("it is not what MinIO client writes (line {}, column {})", e.line(), e.column())),
        };
        let aliases = path.as_deref().map_or(Ok(None), |path| read(path)?.map(parse).transpose());
        Self { path, aliases }
    }

    /// The site with this alias; `None` when it is not there.
    pub(super) fn site(&self, alias: &str) -> Result<Option<SiteSpec>, String> {
        let aliases = self.aliases.as_ref().map_err(|why| format!("{} cannot be used: {why}", self.place()))?;
        let Some(entry) = aliases.as_ref().and_then(|aliases| aliases.get(alias)) else { return Ok(None) };
        let bad = |why: &str| format!("the alias `{alias}` in {} cannot be used: {why}", self.place());
        if entry.access_key.is_empty() || entry.secret_key.is_empty() {
            return Err(bad("it has no credentials"));
        }
        if entry.api.eq_ignore_ascii_case("s3v2") {
            return Err(bad("it asks for signatures of version 2, only version 4 is supported"));
        }
        let uri = endpoint(&entry.url).map_err(|why| bad(&why))?;
        let token = Some(entry.session_token.as_str()).filter(|token| !token.is_empty());
        let site = plain(alias, uri, &entry.access_key, &entry.secret_key, token);
        // `dns` is what older releases wrote for `off`.
        Ok(Some(SiteSpec { path_style: !matches!(entry.path.as_str(), "off" | "dns"), ..site }))
    }

    pub(super) fn aliases(&self) -> impl Iterator<Item = &str> {
        self.aliases.iter().flatten().flat_map(BTreeMap::keys).map(String::as_str)
    }

    /// The file's path, and whether it is there, for people.
    pub(super) fn place(&self) -> String {
        let Some(path) = &self.path else {
            return "MinIO client's config.json (neither HOME nor MC_CONFIG_DIR is set)".into();
        };
        let missing = if matches!(self.aliases, Ok(None)) { " (not there)" } else { "" };
        format!("{}{missing}", path.display())
    }
}

/// Reads `http(s)://ACCESS:SECRET@HOST` or `http(s)://ACCESS:SECRET:TOKEN@HOST`. As in MinIO client the three stand as
/// they are, without percent-encoding: the last `@` ends them, and two colons before it make a token.
pub(super) fn host(alias: &str, text: &str) -> Result<SiteSpec, String> {
    // Never quotes any of it: a mistake may put the secret anywhere.
    const FORM: &str =
        "expected `https://ACCESS_KEY:SECRET_KEY@HOST[:PORT]` or `https://ACCESS_KEY:SECRET_KEY:TOKEN@HOST[:PORT]`";
    let (scheme, rest) = text.trim().split_once("://").ok_or(FORM)?;
    let (credentials, address) = rest.rsplit_once('@').ok_or(FORM)?;
    let uri = endpoint(&format!("{scheme}://{address}")).map_err(|_| FORM)?;
    let mut parts = credentials.splitn(3, ':');
    let (access_key, secret_key, token) = (parts.next(), parts.next(), parts.next());
    let given = |part: Option<&'_ str>| part.is_some_and(|part| !part.is_empty());
    if !given(access_key) || !given(secret_key) || token == Some("") {
        return Err(FORM.to_owned());
    }
    Ok(plain(alias, uri, access_key.unwrap_or_default(), secret_key.unwrap_or_default(), token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::Value;

    fn shown(value: &Value) -> &str {
        match value {
            Value::Literal(secret) => secret.expose(),
            Value::Env(_) | Value::File(_) => panic!("not literal"),
        }
    }

    #[test]
    fn a_host_variable_is_read_as_mc_reads_it() {
        let site = host("a", "https://KEY:se/cr+et%2F@x@minio.example:9000").unwrap();
        assert_eq!(site.endpoint.to_string(), "https://minio.example:9000/");
        assert_eq!((shown(&site.access_key), shown(&site.secret_key)), ("KEY", "se/cr+et%2F@x"));
        assert!(site.session_token.is_none() && site.path_style && !site.drills);
        let site = host("a", "http://KEY:secret:to:ken==@127.0.0.1:9000/").unwrap();
        assert_eq!(shown(&site.session_token.unwrap()), "to:ken==");
    }

    #[test]
    fn a_bad_host_variable_is_refused_without_showing_it() {
        let bad = [
            "",
            "hunter22",
            "https://minio.example",
            "ftp://k:hunter22@a",
            "http://hunter22@a",
            "http://:hunter22@a",
            "http://k:@a",
            "http://k:hunter22:@a",
            "http://k:hunter22@a/bucket",
            "http://k:hunter22@",
        ];
        for text in bad {
            let why = host("a", text).unwrap_err();
            assert!(why.starts_with("expected `https://ACCESS_KEY:"), "{text}: {why}");
            assert!(!why.contains("hunter22"));
        }
    }

    #[test]
    fn a_config_is_used_only_where_it_can_be() {
        let aliases = r#"{"s3":{"url":"https://s3.amazonaws.com","accessKey":"","secretKey":"","api":"S3v4","path":"dns"},
            "old":{"url":"http://a","accessKey":"k","secretKey":"s","api":"S3v2","path":"auto"},
            "deep":{"url":"http://a/b","accessKey":"k","secretKey":"s","api":"S3v4","path":"auto"},
            "fine":{"url":"http://a","accessKey":"k","secretKey":"s","sessionToken":"t","api":"s3v4","path":"dns","src":"x"}}"#;
        let config = Config { path: Some("/c".into()), aliases: Ok(Some(serde_json::from_str(aliases).unwrap())) };
        let why = |alias| config.site(alias).unwrap_err();
        assert!(why("s3").ends_with("it has no credentials"));
        assert!(why("old").contains("version 2"));
        assert!(why("deep").ends_with("with nothing behind it"));
        assert!(config.site("none").unwrap().is_none());
        let fine = config.site("fine").unwrap().unwrap();
        assert!(fine.session_token.is_some() && !fine.path_style);

        let broken = Config { path: Some("/c".into()), aliases: Err("it is not what MinIO client writes".into()) };
        assert_eq!(broken.site("any").unwrap_err(), "/c cannot be used: it is not what MinIO client writes");
        let homeless = Config::load(&|_| None);
        assert!(homeless.site("any").unwrap().is_none());
    }
}
