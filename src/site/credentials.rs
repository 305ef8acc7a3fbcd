//! The credentials of one site: read when they are first needed, and again when the server calls them out of date.

use std::{
    env, fmt, fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use aws_credential_types::{
    Credentials,
    provider::{self, ProvideCredentials, error::CredentialsError, future},
};

use super::{SiteSpec, Value};
use crate::{failure::Failure, secret::Secret};

/// Where the credentials of a site come from, and what they last were.
pub(crate) struct Keyring {
    alias: String,
    access_key: Value,
    secret_key: Value,
    session_token: Option<Value>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    current: Option<Credentials>,
    /// Every value that was ever read, to be masked.
    all: Vec<Secret>,
}

impl Keyring {
    pub(crate) fn new(spec: &SiteSpec) -> Arc<Self> {
        Arc::new(Self {
            alias: spec.alias.clone(),
            access_key: spec.access_key.clone(),
            secret_key: spec.secret_key.clone(),
            session_token: spec.session_token.clone(),
            known: Mutex::default(),
        })
    }

    /// The credentials, read now if they were not yet.
    pub(crate) fn current(&self) -> Result<Credentials, Failure> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = &known.current {
            return Ok(current.clone());
        }
        let (read, values) = self.read()?;
        known.remember(read.clone(), values);
        Ok(read)
    }

    /// Reads them once more; whether they are others now.
    pub(crate) fn read_again(&self) -> Result<bool, Failure> {
        let (read, values) = self.read()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let new = known.current.as_ref() != Some(&read);
        known.remember(read, values);
        Ok(new)
    }

    /// All values to mask: access key, secret key and session token, also outdated ones.
    pub(crate) fn secrets(&self) -> Vec<Secret> {
        // What cannot be read cannot leak; the first request will say so.
        let _ = self.current();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.all.clone()
    }

    fn read(&self) -> Result<(Credentials, Vec<Secret>), Failure> {
        let access = self.value(&self.access_key, "access key")?;
        let secret = self.value(&self.secret_key, "secret key")?;
        let token = self.session_token.as_ref().map(|v| self.value(v, "session token")).transpose()?;
        let credentials =
            Credentials::from_keys(access.expose(), secret.expose(), token.as_ref().map(|t| t.expose().to_owned()));
        Ok((credentials, [Some(access), Some(secret), token].into_iter().flatten().collect()))
    }

    fn value(&self, value: &Value, what: &str) -> Result<Secret, Failure> {
        let read = match value {
            Value::Literal(secret) => Ok(secret.clone()),
            Value::Env(name) => from_env(name),
            Value::File(path) => from_file(path),
        };
        let fit = |secret: Secret| {
            let fits = secret.expose().bytes().all(|b| (b' '..=b'~').contains(&b));
            if fits { Ok(secret) } else { Err("it holds characters that no credential has".into()) }
        };
        read.and_then(fit)
            .map_err(|why| Failure::refused(format!("the {what} of site `{}` cannot be read: {why}", self.alias)))
    }
}

impl Known {
    fn remember(&mut self, current: Credentials, values: Vec<Secret>) {
        self.current = Some(current);
        for value in values {
            if !self.all.contains(&value) {
                self.all.push(value);
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a secret source: `env: NAME` is read again when refused as expired")]
fn from_env(name: &str) -> Result<Secret, String> {
    match env::var(name) {
        Ok(value) if value.is_empty() => Err(format!("the environment variable `{name}` is empty")),
        Ok(value) => Ok(Secret::new(value)),
        Err(env::VarError::NotPresent) => Err(format!("the environment variable `{name}` is not set")),
        Err(env::VarError::NotUnicode(_)) => Err(format!("the environment variable `{name}` is not UTF-8")),
    }
}

fn from_file(path: &Path) -> Result<Secret, String> {
    let text = fs::read_to_string(path).map_err(|e| format!("file `{}`: {e}", path.display()))?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() {
        return Err(format!("file `{}` is empty", path.display()));
    }
    Ok(Secret::new(value))
}

// By hand, so that no value can reach a log through a `{:?}`.
impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("alias", &self.alias).finish_non_exhaustive()
    }
}

/// The keyring as the SDK asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Provider(pub(crate) Arc<Keyring>);

impl ProvideCredentials for Provider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let result: provider::Result = self.0.current().map_err(CredentialsError::not_loaded);
        future::ProvideCredentials::ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Class;

    fn keyring(access_key: Value, secret_key: Value) -> Keyring {
        Keyring { alias: "dr".into(), access_key, secret_key, session_token: None, known: Mutex::default() }
    }

    #[test]
    fn a_missing_variable_is_named_with_its_site() {
        let ring = keyring(Value::Env("FIREDRILL_NOT_THERE".into()), Value::Literal(Secret::new("s")));
        let failure = ring.current().unwrap_err();
        assert_eq!(failure.class(), Some(Class::Refused));
        assert_eq!(
            failure.to_string(),
            "the access key of site `dr` cannot be read: the environment variable `FIREDRILL_NOT_THERE` is not set"
        );
        assert!(ring.secrets().is_empty());
    }

    #[test]
    fn a_value_that_fits_no_header_is_refused_without_showing_it() {
        let ring = keyring(Value::Literal(Secret::new("two\nlines")), Value::Literal(Secret::new("s")));
        assert_eq!(
            ring.current().unwrap_err().to_string(),
            "the access key of site `dr` cannot be read: it holds characters that no credential has"
        );
    }

    #[test]
    fn a_file_is_read_again_on_demand_and_the_old_value_stays_masked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "first\n").unwrap();
        let ring = keyring(Value::Literal(Secret::new("key")), Value::File(path.clone()));
        assert_eq!(ring.current().unwrap().secret_access_key(), "first");
        assert!(!ring.read_again().unwrap());
        fs::write(&path, "second").unwrap();
        assert_eq!(ring.current().unwrap().secret_access_key(), "first");
        assert!(ring.read_again().unwrap());
        assert_eq!(ring.current().unwrap().secret_access_key(), "second");
        let masked: Vec<_> = ring.secrets().iter().map(|s| s.expose().to_owned()).collect();
        assert_eq!(masked, ["key", "first", "second"]);
    }
}
