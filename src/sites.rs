//! Finds the site that a person means by an alias: in `sites.yaml`, in `MC_HOST_<alias>`, in MinIO client's configuration.

mod file;
mod mc;

use std::{
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    problem::{Problem, Span, did_you_mean, render},
    secret::Secret,
    site::{SiteSpec, Value, folder::Address},
};

/// For how long a connection may take, unless `sites.yaml` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For how long one request may take, unless `sites.yaml` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What a MinIO server calls its region unless told otherwise.
const REGION: &str = "us-east-1";

/// Where to look.
pub struct Options<'a> {
    /// The file that `--sites` names; it must exist.
    pub file: Option<PathBuf>,
    /// Without one, the folder whose `sites.yaml` is read if there is one: the runbook's, or for an embedded runbook
    /// the working directory.
    pub beside: PathBuf,
    /// `--allow-insecure`: sites whose certificate is not checked may be used.
    pub allow_insecure: bool,
    /// The environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// All aliases that can be looked up.
pub struct Sites<'a> {
    options: Options<'a>,
    file: Option<SitesFile>,
    mc: mc::Config,
}

/// Problems of one file, and what it takes to show them.
#[derive(Clone, Debug)]
pub struct Refused {
    /// `None` when the problems are in no file.
    pub file: Option<PathBuf>,
    /// The file's text, every literal credential in it masked by as many stars.
    pub text: String,
    pub problems: Vec<Problem>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            return f.write_str(&render(&file.display().to_string(), &self.text, &self.problems, false));
        }
        let line = |problem: &Problem| match &problem.help {
            Some(help) => format!("{}: {help}", problem.what),
            None => problem.what.clone(),
        };
        f.write_str(&self.problems.iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// A `sites.yaml` that was read.
struct SitesFile {
    path: PathBuf,
    text: String,
    sites: Vec<file::Listed>,
    lease: Option<Address>,
    warnings: Vec<Problem>,
}

impl<'a> Sites<'a> {
    /// Reads `sites.yaml` and MinIO client's configuration. All problems of `sites.yaml` at once; one of MinIO
    /// client's file counts only once an alias is looked for there.
    pub fn load(options: Options<'a>) -> Result<Self, Refused> {
        let path = options.file.clone().unwrap_or_else(|| options.beside.join("sites.yaml"));
        let bytes = read(&path).map_err(Refused::bare)?;
        if bytes.is_none() && options.file.is_some() {
            return Err(Refused::bare(format!("cannot read `{}`: no such file", path.display())));
        }
        let file = bytes.map(|bytes| SitesFile::parse(&path, &bytes)).transpose()?;
        let mc = mc::Config::load(options.env);
        Ok(Self { options, file, mc })
    }

    /// The `sites.yaml` that was read, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// Where leases are, if `sites.yaml` says so.
    pub fn lease(&self) -> Option<&Address> {
        self.file.as_ref()?.lease.as_ref()
    }

    /// What is worth saying about `sites.yaml` and refuses nothing.
    pub fn warnings(&self) -> Option<Refused> {
        let file = self.file.as_ref().filter(|file| !file.warnings.is_empty())?;
        Some(file.refused(file.warnings.clone()))
    }

    /// The site with this alias.
    pub fn lookup(&self, alias: &str) -> Result<SiteSpec, Refused> {
        let listed =
            self.file.as_ref().and_then(|file| Some((file, file.sites.iter().find(|s| s.spec.alias == alias)?)));
        if let Some((file, listed)) = listed {
            if let (Some(span), false) = (listed.insecure, self.options.allow_insecure) {
                return Err(file.refused(vec![insecure(alias, span)]));
            }
            return Ok(listed.spec.clone());
        }
        let variable = format!("MC_HOST_{alias}");
        if let Some(host) = (self.options.env)(&variable) {
            return mc::host(alias, &host).map_err(|why| Refused::bare(format!("`{variable}` cannot be used: {why}")));
        }
        match self.mc.site(alias) {
            Ok(Some(spec)) => Ok(spec),
            Ok(None) => Err(self.unknown(alias)),
            Err(why) => Err(Refused::bare(why)),
        }
    }

    /// The aliases of `sites.yaml` and of MinIO client's configuration; those of the environment cannot be listed.
    pub fn known(&self) -> Vec<&str> {
        let listed = self.file.iter().flat_map(|file| &file.sites).map(|site| site.spec.alias.as_str());
        let mut known: Vec<&str> = listed.chain(self.mc.aliases()).collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    fn unknown(&self, alias: &str) -> Refused {
        let known = self.known();
        let file = match (&self.file, &self.options.file) {
            (Some(file), _) => file.path.display().to_string(),
            (None, Some(path)) => path.display().to_string(),
            (None, None) => format!("{} (not there)", self.options.beside.join("sites.yaml").display()),
        };
        let places = format!("looked in {file}, in MC_HOST_{alias}, and in {}", self.mc.place());
        let list = match (did_you_mean(alias, known.iter().copied()), known.as_slice()) {
            (_, []) => "no alias is known".to_owned(),
            (Some(near), _) => near,
            (None, names) => format!("known here: `{}`", names.join("`, `")),
        };
        let problem = Problem::error(None, format!("no site has the alias `{alias}`"));
        let problem = problem.help(format!("{places}; {list}"));
        Refused { file: None, text: String::new(), problems: vec![problem] }
    }
}

impl Refused {
    /// A problem without a place.
    fn bare(what: impl Into<String>) -> Self {
        Self { file: None, text: String::new(), problems: vec![Problem::error(None, what)] }
    }
}

impl SitesFile {
    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Refused> {
        let read = file::read(bytes, path.parent().unwrap_or(Path::new("")), world_readable(path));
        let refused = |problems| Refused { file: Some(path.to_owned()), text: read.text.clone(), problems };
        match read.sites {
            Ok((sites, warnings)) => {
                Ok(Self { path: path.to_owned(), text: read.text, sites, lease: read.lease, warnings })
            }
            Err(problems) => Err(refused(problems)),
        }
    }

    fn refused(&self, problems: Vec<Problem>) -> Refused {
        Refused { file: Some(self.path.clone()), text: self.text.clone(), problems }
    }
}

/// The bytes of a file, `None` when there is none.
fn read(path: &Path) -> Result<Option<Vec<u8>>, String> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("cannot read `{}`: {e}", path.display())),
    }
}

/// Whether everybody on this machine may read the file.
fn world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}

fn insecure(alias: &str, span: Span) -> Problem {
    Problem::error(span, format!("`{alias}` is `insecure`: nothing would prove that it is the right server")).help(
        "name its certificate authority in `ca_bundle` or its certificate in `pin`, or give `--allow-insecure` too",
    )
}

/// Reads `http(s)://host[:port]`, with nothing behind it.
fn endpoint(text: &str) -> Result<http::Uri, String> {
    let form = "expected `http://HOST[:PORT]` or `https://HOST[:PORT]`";
    let uri: http::Uri = text.parse().map_err(|_| form.to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(form.to_owned());
    }
    let authority = uri.authority().ok_or(form)?;
    if authority.as_str().contains('@') {
        return Err(format!("{form}: credentials do not belong into an address"));
    }
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if authority.host().is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
        return Err(form.to_owned());
    }
    if !matches!(uri.path(), "" | "/") || uri.query().is_some() || text.contains('#') {
        return Err(format!("{form}, with nothing behind it"));
    }
    Ok(uri)
}

/// A site as MinIO client describes one: the rest is as usual.
fn plain(alias: &str, endpoint: http::Uri, access_key: &str, secret_key: &str, token: Option<&str>) -> SiteSpec {
    let literal = |text: &str| Value::Literal(Secret::new(text));
    SiteSpec {
        alias: alias.to_owned(),
        endpoint,
        nodes: Vec::new(),
        region: REGION.to_owned(),
        path_style: true,
        access_key: literal(access_key),
        secret_key: literal(secret_key),
        session_token: token.map(literal),
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        max_requests_per_second: None,
        // Drills destroy data on purpose: only an entry in `sites.yaml` can allow them.
        drills: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "sites:\n  primary: { endpoint: \"https://minio.primary.example\", access_key: { env: K }, secret_key: { env: S } }\n  rough: { endpoint: \"https://minio.rough.example\", access_key: a, secret_key: { file: key }, insecure: true }\n";

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("firedrill-sites-{name}-{}", std::process::id()));
            fs::create_dir_all(folder.join(".mc")).unwrap();
            Self(folder)
        }
        fn options<'a>(&self, env: &'a dyn Fn(&str) -> Option<String>) -> Options<'a> {
            Options { file: None, beside: self.0.clone(), allow_insecure: false, env }
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_three_places_are_asked_in_order() {
        let folder = Folder::new("order");
        let config = r#"{"version":"10","aliases":{
            "primary":{"url":"http://from-mc:9000","accessKey":"a","secretKey":"b","api":"S3v4","path":"auto"},
            "dr":{"url":"http://from-mc:9000/","accessKey":"a","secretKey":"b","api":"S3v4","path":"auto"},
            "third":{"url":"http://third:9000","accessKey":"a","secretKey":"b","api":"S3v4","path":"off"}}}"#;
        fs::write(folder.0.join(".mc/config.json"), config).unwrap();
        fs::write(folder.0.join("sites.yaml"), FILE).unwrap();
        let home = folder.0.display().to_string();
        let env = |name: &str| match name {
            "HOME" => Some(home.clone()),
            "MC_HOST_primary" | "MC_HOST_dr" => Some("http://k:s@from-env:9000".into()),
            _ => None,
        };
        let sites = Sites::load(folder.options(&env)).unwrap();
        let host = |alias| sites.lookup(alias).unwrap().endpoint.host().unwrap().to_owned();
        assert_eq!(host("primary"), "minio.primary.example");
        assert_eq!(host("dr"), "from-env");
        assert_eq!(host("third"), "third");
        assert!(!sites.lookup("third").unwrap().path_style);
        assert!(sites.warnings().is_none());
        assert_eq!(sites.known(), ["dr", "primary", "rough", "third"]);
    }

    #[test]
    fn an_unknown_alias_is_answered_with_the_known_ones_and_the_places() {
        let folder = Folder::new("unknown");
        fs::write(folder.0.join("sites.yaml"), FILE).unwrap();
        let env = |name: &str| (name == "MC_CONFIG_DIR").then(|| "/nowhere".to_owned());
        let sites = Sites::load(folder.options(&env)).unwrap();
        let problem = sites.lookup("primry").unwrap_err().problems.remove(0);
        assert_eq!(problem.what, "no site has the alias `primry`");
        let path = folder.0.join("sites.yaml");
        let help = format!(
            "looked in {}, in MC_HOST_primry, and in /nowhere/config.json (not there); did you mean `primary`?",
            path.display()
        );
        assert_eq!(problem.help.unwrap(), help);
    }

    #[test]
    fn an_insecure_site_needs_the_flag() {
        let folder = Folder::new("insecure");
        fs::write(folder.0.join("sites.yaml"), FILE).unwrap();
        let env = |_: &str| None;
        let refused = Sites::load(folder.options(&env)).unwrap().lookup("rough").unwrap_err();
        let problem = &refused.problems[0];
        let span = problem.span.unwrap();
        assert_eq!(&refused.text[span.start..span.end], "true");
        assert!(problem.help.as_ref().unwrap().contains("--allow-insecure"));
        let allowed = Options { allow_insecure: true, ..folder.options(&env) };
        let spec = Sites::load(allowed).unwrap().lookup("rough").unwrap();
        assert!(spec.insecure);
        assert!(matches!(spec.secret_key, Value::File(path) if path == folder.0.join("key")));
    }

    #[test]
    fn a_named_file_must_be_there_and_an_unnamed_one_need_not() {
        let folder = Folder::new("missing");
        let env = |_: &str| None;
        assert!(Sites::load(folder.options(&env)).is_ok());
        let named = Options { file: Some(folder.0.join("other.yaml")), ..folder.options(&env) };
        let refused = Sites::load(named).err().unwrap();
        assert!(refused.problems[0].what.ends_with("other.yaml`: no such file"), "{refused:?}");
        fs::create_dir(folder.0.join("sites.yaml")).unwrap();
        assert!(Sites::load(folder.options(&env)).is_err());
    }

    #[test]
    fn a_file_for_everybody_with_a_secret_in_it_is_a_warning() {
        use std::os::unix::fs::PermissionsExt;
        let folder = Folder::new("mode");
        let path = folder.0.join("sites.yaml");
        fs::write(&path, "sites:\n  a: { endpoint: \"http://a:9000\", access_key: k, secret_key: hunter22 }\n")
            .unwrap();
        let env = |_: &str| None;
        for (mode, count) in [(0o644, 2), (0o600, 1)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = Sites::load(folder.options(&env)).unwrap().warnings().unwrap();
            assert_eq!(refused.problems.len(), count, "{:?}", refused.problems);
            assert!(!format!("{refused:?}").contains("hunter22"));
        }
    }

    #[test]
    fn an_endpoint_is_a_host_and_nothing_else() {
        for good in ["http://a", "https://minio.example:9000", "http://127.0.0.1:9000/", "http://[::1]:9000"] {
            assert!(endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "minio.example:9000",
            "ftp://a",
            "http://a/b",
            "http://a?b",
            "http://k:s@a",
            "http://",
            "http://a:99999",
            "http://a/#x",
            "",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }
}
