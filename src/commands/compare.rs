//! `compare`: the buckets of two places, version by version, outside of any run.

mod file;
mod rows;

use std::{collections::BTreeMap, io, path::Path, sync::Arc};

use indicatif::{ProgressBar, ProgressStyle};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use self::rows::Rows;
use super::{Refusal, bind, print, print_json};
use crate::{
    cli::{Compare, Place},
    event::Progress,
    failure::Failure,
    inventory::{Header, Reader},
    mask::Masker,
    report::console,
    site::{Site, Wire},
    steps::versions_compare::{Comparison, VersionsCompare, compare_sites, compare_with, concurrency},
    types::{BucketName, Role},
    verdict::Exit,
};

/// A bucket, and the connection to the site that has it.
pub(super) struct Held {
    pub place: Place,
    pub wire: Arc<Wire>,
}

/// What is right.
pub(super) enum Right {
    Site(Held),
    File { name: String, versions: Box<Reader> },
}

/// Compares two places whose sites are looked up by their aliases.
pub(super) async fn compare(source: &Place, target: &Place, what: &Compare, json: bool) -> Result<Exit, Refusal> {
    between(Right::Site(held(source, what)?), held(target, what)?, what, json).await
}

/// Saves the listing of one place, or compares it with a file.
pub(super) async fn with_file(place: &Place, what: &Compare, json: bool) -> Result<Exit, Refusal> {
    match (&what.save, &what.against) {
        (Some(save), _) => file::save(place, save, what, json).await,
        (None, Some(against)) => file::against(against, place, what, json).await,
        (None, None) => Err(Refusal::new(Exit::Usage, "compare with what? name a second place, or `--against FILE`")),
    }
}

fn held(place: &Place, what: &Compare) -> Result<Held, Refusal> {
    let aliases = BTreeMap::from([(Role::target(), place.alias.clone())]);
    let found = bind::wires(&aliases, &what.lookup, Path::new("."))?.wires.remove(&Role::target());
    let wire = found.ok_or_else(|| Refusal::new(Exit::Defect, "a site was looked up, and is not there"))?;
    Ok(Held { place: place.clone(), wire })
}

/// Compares a place whose site is known with what is right.
pub(super) async fn between(right: Right, target: Held, what: &Compare, json: bool) -> Result<Exit, Refusal> {
    if what.rows.is_some() && json {
        return Err(Refusal::new(
            Exit::Usage,
            "`--format` prints differences, `--output json` counts: give one of them",
        ));
    }
    let params = params(&right, &target.place, what)?;
    let heading = heading(&right, &target.place);
    let mut wires = BTreeMap::from([(Role::target(), Arc::clone(&target.wire))]);
    if let Right::Site(source) = &right {
        wires.insert(Role::source(), Arc::clone(&source.wire));
        if source.place.bucket == target.place.bucket {
            distinct(&wires).await?;
        }
    }
    let masker = Masker::new([], []).and(move || wires.values().flat_map(|wire| wire.secrets()).collect());
    let bar = spinner();
    let say = |progress: Progress| bar.set_message(console::describe(&progress));
    let mut rows = what.rows.map(Rows::stdout);
    let take = |difference| rows.as_mut().map_or(Ok(()), |rows| rows.row(&difference));
    let site = Site::reading(target.wire);
    let compared = match right {
        Right::Site(source) => compare_sites(&params, Site::reading(source.wire), site, &say, take).await,
        Right::File { versions, .. } => compare_with(&params, *versions, site, &say, take).await,
    };
    bar.finish_and_clear();
    match rows.map_or(Ok(()), Rows::end) {
        // Whoever reads them has had enough; how the rest compares is not known.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Broke),
        Err(e) => return Err(Refusal::new(Exit::Broke, format!("the differences cannot be written: {e}"))),
        Ok(()) => {}
    }
    let comparison = match compared {
        Ok(comparison) => comparison,
        // There is no journal: what did not fit into memory could not be kept in a temporary file.
        Err(Failure::Journal(why)) => return Err(Refusal::new(Exit::Broke, why)),
        Err(failure) => return Err(bind::broken(&failure, &masker)),
    };
    if json {
        print_json(&comparison);
    } else {
        let text = text(heading, &comparison);
        // What is on stdout may be read by a program.
        if what.rows.is_some() { anstream::eprintln!("{text}") } else { print(&text) }
    }
    // A comparison of nothing proves nothing.
    Ok(if comparison.holds() && comparison.versions > 0 { Exit::Held } else { Exit::NotHeld })
}

/// The parameters that a step would have.
fn params(right: &Right, target: &Place, what: &Compare) -> Result<VersionsCompare, Refusal> {
    let (name, bucket_name, prefix) = match right {
        Right::Site(source) => (&source.place.alias, bucket(&source.place)?, what.prefix.clone().unwrap_or_default()),
        Right::File { name, versions } => (name, bucket(target)?, versions.prefix.clone()),
    };
    let text = |text: &String| Value::String(text.clone());
    let list = |texts: &[String]| Value::Array(texts.iter().map(text).collect());
    Ok(VersionsCompare {
        // Failures name the places as the command line does.
        source: Role(name.clone()),
        target: Role(target.alias.clone()),
        bucket: bucket_name,
        target_bucket: Some(bucket(target)?),
        before: what.before.as_ref().map(|time| option("--before", text(time))).transpose()?,
        prefix,
        exclude: option("--exclude", list(&what.exclude))?,
        arn: None,
        settle: option("--settle", text(&what.settle))?,
        accept: option("--accept", list(&what.accept))?,
        metadata: what.metadata,
        concurrency: what.concurrency.unwrap_or_else(concurrency),
    })
}

fn bucket(place: &Place) -> Result<BucketName, Refusal> {
    BucketName::try_from(place.bucket.clone()).map_err(|why| Refusal::refused(format!("`{}`: {why}", place.bucket)))
}

/// The value of an option, as a parameter of the step is read.
fn option<T: DeserializeOwned>(name: &str, value: Value) -> Result<T, Refusal> {
    serde_json::from_value(value).map_err(|e| Refusal::refused(format!("`{name}`: {e}")))
}

/// A bucket that is compared with itself is always equal: two names for one site are a slip of the hand.
async fn distinct(wires: &BTreeMap<Role, Arc<Wire>>) -> Result<(), Refusal> {
    let sites = bind::look(wires).await;
    let [one, other] = sites.values().collect::<Vec<_>>()[..] else { return Ok(()) };
    let same = one.deployment_id.is_some() && one.deployment_id == other.deployment_id;
    if !same && one.endpoint != other.endpoint {
        return Ok(());
    }
    let (one, other) = (&one.alias, &other.alias);
    Err(Refusal::refused(format!(
        "{one} and {other} are one site, and both name the same bucket: name two different ones"
    )))
}

/// Drawn on stderr when that is a terminal, and nowhere else.
fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message("comparing");
    match ProgressStyle::with_template("{spinner} {elapsed:>4}  {wide_msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn heading(right: &Right, target: &Place) -> String {
    let right = match right {
        Right::Site(source) => format!("{}/{}", source.place.alias, source.place.bucket),
        Right::File { name, versions } => {
            let Header { site, bucket, taken_at, .. } = &versions.header;
            format!("{name} ({site}/{bucket} at {taken_at})")
        }
    };
    format!("{right} → {}/{}", target.alias, target.bucket)
}

/// What a person wants to know: the counts, examples, what does not hold, and the verdict.
fn text(heading: String, comparison: &Comparison) -> String {
    let mut lines = vec![heading];
    let rows = console::comparison(&json!(comparison));
    lines.extend(rows.into_iter().map(|row| format!("  {row}")));
    let findings = comparison.findings();
    lines.extend(findings.iter().map(|finding| format!("  {}: {}", finding.id, finding.text)));
    let waived: Vec<_> = comparison.waived.iter().map(|class| class.as_str()).collect();
    lines.push(match (findings.is_empty(), waived.is_empty()) {
        (false, _) => "NOT EQUAL (exit 4)".into(),
        (true, _) if comparison.versions == 0 => "NOTHING TO COMPARE, which proves nothing (exit 4)".into(),
        (true, false) => format!("EQUAL, but for what is accepted: {} (exit 0)", waived.join(", ")),
        (true, true) => "EQUAL (exit 0)".into(),
    });
    lines.join("\n")
}
