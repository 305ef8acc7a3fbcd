//! Binds a runbook: roles to sites, inputs to values.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

use super::{Refusal, load::Loaded, terminal};
use crate::{
    cli::{Bind, Lookup},
    event::SiteRecord,
    failure::{Class, Failure},
    mask::Masker,
    problem,
    runbook::{self, Runbook},
    secret::Secret,
    site::{Site, Wire, leave::Leave},
    sites::{self, Sites},
    steps, tree,
    types::Role,
    verdict::Exit,
};

/// A runbook bound to sites and values.
pub(super) struct Bound {
    pub wires: BTreeMap<Role, Arc<Wire>>,
    pub sites: BTreeMap<String, SiteRecord>,
    pub inputs: Map<String, Value>,
    pub accepted: BTreeMap<String, String>,
    pub masker: Masker,
    /// The sites file that was used, so that `resume` finds the same sites.
    pub sites_file: Option<PathBuf>,
    /// The scenario, when the sites are those of the sandbox.
    pub sandbox: Option<String>,
    /// Where further aliases are looked up.
    pub lookup: Lookup,
}

impl Bound {
    /// Changes are sent only by this leave; the longest time that a request may take.
    pub(super) fn obey(&self, leave: &Arc<Leave>) -> Duration {
        self.wires.values().for_each(|wire| wire.obey(leave));
        self.wires.values().map(|wire| wire.request_timeout()).max().unwrap_or_default()
    }
}

pub(super) async fn bind(loaded: &Loaded, bind: &Bind) -> Result<Bound, Refusal> {
    bind_by(loaded, bind, |aliases| wires(aliases, &bind.options.lookup, &loaded.beside)).await
}

/// As [`bind`], with the connections made by whoever knows the sites.
pub(super) async fn bind_by(
    loaded: &Loaded,
    bind: &Bind,
    wires: impl FnOnce(&BTreeMap<Role, String>) -> Result<Found, Refusal>,
) -> Result<Bound, Refusal> {
    let runbook = &loaded.runbook;
    let inputs = inputs(runbook, &bind.options.inputs, bind.options.inputs_file.as_deref()).await?;
    let accepted = accepted(runbook, &bind.options.accept)?;
    let aliases = aliases(runbook, &bind.roles)?;
    let bound = bound(runbook, inputs, accepted, wires(&aliases)?).await?;
    Ok(Bound { lookup: bind.options.lookup.clone(), ..bound })
}

/// Asks the sites who they are, and binds the runbook to them.
pub(super) async fn bound(
    runbook: &Runbook,
    inputs: Map<String, Value>,
    accepted: BTreeMap<String, String>,
    found: Found,
) -> Result<Bound, Refusal> {
    let Found { wires, file, sandbox } = found;
    let sites = look(&wires).await;
    distinct(&sites)?;
    let masker = masker(runbook, &wires, &inputs);
    Ok(Bound { wires, sites, inputs, accepted, masker, sites_file: file, sandbox, lookup: Lookup::default() })
}

/// The checks that are waived, each with its reason.
pub(super) fn accepted(runbook: &Runbook, given: &[(String, String)]) -> Result<BTreeMap<String, String>, Refusal> {
    let known = waivable(runbook);
    let mut wrong = Vec::new();
    for (id, reason) in given {
        if known.is_empty() {
            wrong.push(format!("`--accept {id}=…`: `{}` has no step whose checks can be waived", runbook.name));
        } else if !known.contains(id) {
            let help = problem::did_you_mean(id, known.iter().map(String::as_str)).unwrap_or_default();
            wrong.push(format!("`--accept {id}=…`: there is no check `{id}` ({help})"));
        } else if reason.trim().is_empty() {
            wrong.push(format!("`--accept {id}=`: say why, e.g. `--accept {id}=\"known, see ticket 17\"`"));
        }
    }
    if wrong.is_empty() { Ok(given.iter().cloned().collect()) } else { Err(Refusal::refused(wrong.join("\n"))) }
}

/// The ids that the runbook's steps let a person waive: what their parameter `ignore` takes.
fn waivable(runbook: &Runbook) -> BTreeSet<String> {
    let steps = runbook.steps.iter().chain(&runbook.finally);
    let kinds = steps.filter_map(|spec| steps::ALL.iter().find(|kind| kind.uses == spec.uses));
    let ids = kinds.flat_map(|kind| {
        let schema = (kind.params)().to_value();
        let name = schema.pointer("/properties/ignore/items/$ref").and_then(Value::as_str).unwrap_or_default();
        let ids = schema.pointer(&format!("{}/enum", name.trim_start_matches('#'))).and_then(Value::as_array).cloned();
        ids.unwrap_or_default()
    });
    ids.filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

/// Which alias each role is bound to.
fn aliases(runbook: &Runbook, given: &[(String, String)]) -> Result<BTreeMap<Role, String>, Refusal> {
    let mut wrong = Vec::new();
    let known = |name: &str| runbook.roles.iter().any(|(role, _)| role.as_str() == name);
    for (name, _) in given.iter().filter(|(name, _)| !known(name)) {
        let roles: Vec<_> = runbook.roles.iter().map(|(role, _)| role.as_str()).collect();
        wrong.push(format!("`{}` has no role `{name}`: its roles are {}", runbook.name, roles.join(", ")));
    }
    let mut bound = BTreeMap::new();
    for (role, description) in &runbook.roles {
        let mut said = given.iter().filter(|(name, _)| name == role.as_str());
        match (said.next(), said.next()) {
            (Some((_, alias)), None) => {
                bound.insert(role.clone(), alias.clone());
            }
            (Some(_), Some(_)) => wrong.push(format!("role `{role}` is bound twice")),
            (None, _) => wrong.push(format!("role `{role}` ({description}) is not bound: give `--site {role}=ALIAS`")),
        }
    }
    if wrong.is_empty() { Ok(bound) } else { Err(Refusal::refused(wrong.join("\n"))) }
}

pub(super) struct Found {
    pub wires: BTreeMap<Role, Arc<Wire>>,
    pub file: Option<PathBuf>,
    /// The scenario of the sandbox, if it is that.
    pub sandbox: Option<String>,
}

/// Looks the aliases up and builds the connections; nothing is sent yet.
pub(super) fn wires(aliases: &BTreeMap<Role, String>, lookup: &Lookup, beside: &Path) -> Result<Found, Refusal> {
    let sites = open_sites(lookup, beside)?;
    let mut wires = BTreeMap::new();
    let mut wrong = Vec::new();
    for (role, alias) in aliases {
        match sites.lookup(alias).map_err(|e| e.to_string()).and_then(|spec| Wire::new(spec).map_err(|e| e.to_string()))
        {
            Ok(wire) => {
                wires.insert(role.clone(), wire);
            }
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() {
        Ok(Found { wires, file: sites.file().map(Path::to_owned), sandbox: None })
    } else {
        Err(Refusal::refused(wrong.join("\n")))
    }
}

/// The sites that can be looked up; what is worth saying about their file is said.
pub(super) fn open_sites(lookup: &Lookup, beside: &Path) -> Result<Sites<'static>, Refusal> {
    let sites = known_sites(lookup, beside)?;
    if let Some(warnings) = sites.warnings() {
        tracing::warn!("{warnings}");
    }
    Ok(sites)
}

/// The same, for what is looked up besides.
pub(super) fn known_sites(lookup: &Lookup, beside: &Path) -> Result<Sites<'static>, Refusal> {
    let options = sites::Options {
        file: lookup.sites.clone(),
        beside: beside.to_owned(),
        allow_insecure: lookup.allow_insecure,
        env: &terminal::env,
    };
    Sites::load(options).map_err(|e| Refusal::refused(e.to_string()))
}

/// Asks every site who it is. One that does not answer is recorded as unreachable: the steps say what that means.
pub(super) async fn look(wires: &BTreeMap<Role, Arc<Wire>>) -> BTreeMap<String, SiteRecord> {
    let asked = wires.iter().map(|(role, wire)| async move {
        let site = Site::reading(Arc::clone(wire));
        let record = |deployment_id, release, unreachable| SiteRecord {
            alias: site.alias().to_owned(),
            endpoint: site.endpoint(),
            deployment_id,
            release,
            unreachable,
        };
        let record = match site.info().await {
            Ok(info) => record(Some(info.deployment_id.clone()), Some(info.releases().join(", ")), None),
            // It answers, and does not tell: without leave to ask it is there all the same.
            Err(failure) if failure.class() == Some(Class::Refused) => record(None, None, None),
            Err(failure) => record(None, None, Some(failure.to_string())),
        };
        (role.to_string(), record)
    });
    futures_util::future::join_all(asked).await.into_iter().collect()
}

/// Two roles on one deployment are a slip of the hand, and a dangerous one.
fn distinct(sites: &BTreeMap<String, SiteRecord>) -> Result<(), Refusal> {
    let all: Vec<_> = sites.iter().collect();
    for (i, (role, site)) in all.iter().enumerate() {
        for (other, twin) in &all[i + 1..] {
            let same = site.deployment_id.is_some() && site.deployment_id == twin.deployment_id;
            if same || site.endpoint == twin.endpoint {
                return Err(Refusal::refused(format!(
                    "roles `{role}` and `{other}` are bound to the same site ({} and {}, {}): bind two different ones",
                    site.alias, twin.alias, site.endpoint
                )));
            }
        }
    }
    Ok(())
}

/// What must be masked from now on.
pub(super) fn masker(runbook: &Runbook, wires: &BTreeMap<Role, Arc<Wire>>, inputs: &Map<String, Value>) -> Masker {
    let secret_inputs: Vec<&str> = runbook.inputs.iter().filter(|i| i.secret).map(|i| i.name.as_str()).collect();
    let values = secret_inputs.iter().filter_map(|name| inputs.get(*name)).map(|value| match value {
        Value::String(text) => Secret::new(text.clone()),
        other => Secret::new(other.to_string()),
    });
    let masker = Masker::new(values, secret_inputs.iter().map(|name| (*name).to_owned()));
    let wires: Vec<_> = wires.values().cloned().collect();
    masker.and(move || wires.iter().flat_map(|wire| wire.secrets()).collect())
}

/// The values of the inputs: from the file, then from the command line, then asked for, then the defaults.
async fn inputs(
    runbook: &Runbook,
    given: &[(String, String)],
    file: Option<&Path>,
) -> Result<Map<String, Value>, Refusal> {
    let mut values = match file {
        Some(path) => from_file(path)?,
        None => Map::new(),
    };
    overlay(&mut values, given);
    if terminal::has_person() {
        for input in &runbook.inputs {
            if input.default.is_none() && !values.contains_key(&input.name) && !input.secret {
                let prompt = format!("{} ({}): ", input.name, input.description);
                if let Some(answer) = terminal::ask(&prompt).await.filter(|answer| !answer.is_empty()) {
                    values.insert(input.name.clone(), Value::String(answer));
                }
            }
        }
    }
    checked(runbook, &values)
}

/// The values held against the runbook's declarations.
pub(super) fn checked(runbook: &Runbook, values: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    runbook::bind_inputs(runbook, values).map_err(|problems| {
        let lines: Vec<_> = problems
            .iter()
            .map(|p| match &p.help {
                Some(help) => format!("{}: {help}", p.what),
                None => p.what.clone(),
            })
            .collect();
        Refusal::refused(lines.join("\n"))
    })
}

/// What was said on the command line; a name that is said again makes a list.
pub(super) fn overlay(values: &mut Map<String, Value>, given: &[(String, String)]) {
    let mut said: Map<String, Value> = Map::new();
    for (name, value) in given {
        let value = Value::String(value.clone());
        match said.get_mut(name) {
            None => {
                said.insert(name.clone(), value);
            }
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    values.extend(said);
}

fn from_file(path: &Path) -> Result<Map<String, Value>, Refusal> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|e| Refusal::refused(format!("{name}: cannot be read: {e}")))?;
    let (_, node) = tree::parse_bytes(&bytes).map_err(|p| {
        Refusal::refused(problem::render(&name, &String::from_utf8_lossy(&bytes), std::slice::from_ref(&p), false))
    })?;
    match node.to_json() {
        Value::Object(values) => Ok(values),
        Value::Null => Ok(Map::new()),
        _ => Err(Refusal::refused(format!("{name}: expected a mapping of inputs, e.g. `bucket: invoices`"))),
    }
}

/// A failure that no verdict covers.
pub(super) fn broken(failure: &Failure, masker: &Masker) -> Refusal {
    let refusal = Refusal::from(failure.clone());
    let hint = if refusal.exit == Exit::Defect { " (this is a defect of firedrill: please report it)" } else { "" };
    Refusal::new(refusal.exit, format!("{}{hint}", masker.text(&refusal.text)))
}
