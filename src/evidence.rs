//! The record of a run on a third site, so that neither of the sites it is about holds the only proof.

use std::{io, path::Path, sync::Arc};

use crate::{
    digest::digest_of,
    failure::Failure,
    journal::{JOURNAL, not_followed},
    runs::SIGNATURE,
    secret::private,
    site::{Wire, s3::objects::Object},
    types::BucketName,
};

/// A bucket of a third site, and the prefix below which records lie.
#[derive(Clone)]
pub struct Evidence {
    wire: Arc<Wire>,
    alias: String,
    bucket: BucketName,
    prefix: String,
}

impl Evidence {
    pub fn new(wire: Arc<Wire>, alias: &str, bucket: BucketName, prefix: &str) -> Self {
        Self { wire, alias: alias.to_owned(), bucket, prefix: prefix.trim_matches('/').to_owned() }
    }

    /// The connection, to mask its secrets and to tell which site it is.
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Where the record of a run lies, as `audit verify` takes it.
    pub fn place(&self, run: &str) -> String {
        format!("site:{}/{}/{}", self.alias, self.bucket, self.key(&[run]))
    }

    /// Whether the bucket is there.
    pub async fn check(&self) -> Result<(), Failure> {
        if self.wire.bucket_exists(&self.bucket).await? {
            return Ok(());
        }
        Err(Failure::refused(format!("there is no bucket `{}` on `{}`", self.bucket, self.alias)))
    }

    /// Stores files of a run's directory, in this order: what was sent is checked by the server, read back, and
    /// compared. Stops at the first that cannot be stored.
    pub async fn store(&self, run: &str, dir: &Path, names: &[String]) -> Result<Vec<Object>, Failure> {
        let mut stored = Vec::new();
        for name in names {
            stored.push(Box::pin(self.store_one(run, &dir.join(name), name)).await?);
        }
        Ok(stored)
    }

    async fn store_one(&self, run: &str, path: &Path, name: &str) -> Result<Object, Failure> {
        let file = private().read(true).open(path).map_err(|e| not_followed(path, e));
        let (bytes, sha256) = file
            .and_then(digest_of)
            .map_err(|e| Failure::refused(format!("{} cannot be read: {e}", path.display())))?;
        let key = self.key(&[run, name]);
        let version = self.wire.put_file(&self.bucket, &key, path, bytes, &sha256).await?;
        let found = self.wire.get_object(&self.bucket, &key, version.as_deref(), &mut io::sink()).await?;
        match found {
            Some(object) if object.sha256 == sha256 => Ok(object),
            Some(_) => Err(Failure::refused(format!("what {} gives back is not what was stored", self.place(run)))),
            None => Err(Failure::refused(format!("{}/{name} was stored, and is not there", self.place(run)))),
        }
    }

    /// The bytes of a journal or a signature; `None` when it is not there.
    pub async fn read(&self, run: &str, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut bytes = Vec::new();
        let found = self.wire.get_object(&self.bucket, &self.key(&[run, name]), None, &mut bytes).await?;
        Ok(found.map(|_| bytes))
    }

    /// Reads a file of any size to tell its SHA-256; `None` when it is not there.
    pub async fn look(&self, run: &str, name: &str) -> Result<Option<Object>, Failure> {
        self.wire.get_object(&self.bucket, &self.key(&[run, name]), None, &mut io::sink()).await
    }

    fn key(&self, parts: &[&str]) -> String {
        std::iter::once(self.prefix.as_str())
            .filter(|prefix| !prefix.is_empty())
            .chain(parts.iter().copied())
            .collect::<Vec<_>>()
            .join("/")
    }
}

/// The files of a run's record in the order in which they are stored: what the journal names, then the journal, then
/// its signature, so that who finds the last one finds all.
pub fn names(dir: &Path, beside: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = beside.into_iter().collect();
    names.push(JOURNAL.to_owned());
    if dir.join(SIGNATURE).exists() {
        names.push(SIGNATURE.to_owned());
    }
    names
}
