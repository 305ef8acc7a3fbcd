//! A listing that is kept: `--save` writes one, `--against` reads it.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::Path,
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::NamedTempFile;
use tokio::signal::unix::{SignalKind, signal};

use super::{Right, between, bucket, held, spinner};
use crate::{
    cli::{Compare, Place},
    commands::{Refusal, bind, print, print_json},
    event::Progress,
    failure::Failure,
    human,
    inventory::{Header, Reader, Trailer, Writer},
    mask::Masker,
    report::console,
    site::{Site, listing::Listing},
    step::Reads,
    steps::versions_compare::{concurrency, now},
    types::BucketName,
    verdict::Exit,
};

/// Writes the listing of one place to a file that is not there yet.
pub(in crate::commands) async fn save(place: &Place, file: &Path, what: &Compare, json: bool) -> Result<Exit, Refusal> {
    let bucket = bucket(place)?;
    let wire = held(place, what)?.wire;
    let name = file.display();
    if fs::symlink_metadata(file).is_ok() {
        return Err(Refusal::refused(format!("{name} is there already: name a file that is not")));
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It gets its name when it is whole.
    let mut out =
        NamedTempFile::new_in(folder).map_err(|e| Refusal::refused(format!("{name} cannot be written: {e}")))?;
    let deaf = |e| Refusal::new(Exit::Defect, format!("signals cannot be caught: {e}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
    let masker = Masker::new(wire.secrets(), []);
    let site = Site::reading(wire);
    let written = tokio::select! {
        written = list(&site, &bucket, what, out.as_file_mut()) => written,
        _ = interrupt.recv() => return Ok(Exit::Interrupted),
        _ = terminate.recv() => return Ok(Exit::Terminated),
    };
    let (header, trailer) = written.map_err(|unwritten| match unwritten {
        Unwritten::Listing(failure) => bind::broken(&failure, &masker),
        Unwritten::File(e) => Refusal::new(Exit::Broke, format!("{name} cannot be written: {e}")),
    })?;
    out.persist_noclobber(file).map_err(|e| Refusal::new(Exit::Broke, format!("{name} cannot be written: {e}")))?;
    if json {
        print_json(&json!({ "file": file, "header": header, "trailer": trailer }));
    } else {
        let versions = human::plural(trailer.versions, "version");
        print(&format!("{versions} of {}/{bucket} at {} saved to {name}", place.alias, header.taken_at));
    }
    Ok(Exit::Held)
}

enum Unwritten {
    Listing(Failure),
    File(std::io::Error),
}

impl From<Failure> for Unwritten {
    fn from(failure: Failure) -> Self {
        Self::Listing(failure)
    }
}

impl From<std::io::Error> for Unwritten {
    fn from(e: std::io::Error) -> Self {
        Self::File(e)
    }
}

async fn list(
    site: &Site<Reads>,
    bucket: &BucketName,
    what: &Compare,
    out: &mut File,
) -> Result<(Header, Trailer), Unwritten> {
    let taken_at = now(site).await?;
    if !site.bucket_exists(bucket).await? {
        return Err(Failure::refused(format!("bucket `{bucket}` does not exist on {}", site.alias())).into());
    }
    let header = Header {
        metadata: what.metadata,
        ..Header::new(
            site.alias(),
            site.endpoint(),
            bucket.as_str(),
            what.prefix.as_deref().unwrap_or_default(),
            taken_at,
        )
    };
    let listing = Listing {
        prefix: header.prefix.clone(),
        metadata: what.metadata,
        at_once: usize::from(what.concurrency.unwrap_or_else(concurrency).get()),
        ..Listing::default()
    };
    let (bar, mut listed, mut said) = (spinner(), 0, Instant::now());
    let mut writer = Writer::begin(BufWriter::new(out), &header)?;
    let mut versions = site.versions(bucket, listing);
    while let Some(page) = versions.next_page().await? {
        writer.page(&page)?;
        listed += page.len() as u64;
        if said.elapsed() >= Duration::from_secs(1) {
            said = Instant::now();
            let progress = Progress { what: "listing".into(), done: Some(listed), ..Progress::default() };
            bar.set_message(console::describe(&progress));
        }
    }
    let (mut out, trailer) = writer.end()?;
    out.flush()?;
    out.get_ref().sync_all()?;
    Ok((header, trailer))
}

/// Holds one place against a file.
pub(in crate::commands) async fn against(
    file: &Path,
    place: &Place,
    what: &Compare,
    json: bool,
) -> Result<Exit, Refusal> {
    let name = file.display().to_string();
    let refused = |why: &dyn std::fmt::Display| Refusal::refused(format!("{name}: {why}"));
    let opened = File::open(file).map_err(|e| refused(&format!("cannot be read: {e}")))?;
    let mut versions = Reader::open(opened).map_err(|unreadable| refused(&unreadable))?;
    if what.metadata && !versions.header.metadata {
        return Err(refused(&"it has no tags and metadata: leave `--metadata` out"));
    }
    if let Some(prefix) = &what.prefix {
        if !prefix.starts_with(&versions.header.prefix) {
            let all = &versions.header.prefix;
            return Err(refused(&format!("it has only keys with the prefix `{all}`")));
        }
        versions.prefix.clone_from(prefix);
    }
    between(Right::File { name, versions: Box::new(versions) }, held(place, what)?, what, json).await
}
