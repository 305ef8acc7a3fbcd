//! `--sandbox` and `sandbox`: the embedded pair of sites in place of real ones.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use comfy_table::Table;
use serde_json::json;

pub(super) use super::test::test;
use super::{
    Refusal,
    bind::{self, Found},
    compare::{self, Held, Right},
    load::Loaded,
    print, print_json, run,
};
use crate::{
    cli::{self, Bind, Compare, Go},
    human::plural,
    problem::Level,
    runs::Place,
    sandbox::{self, Access, Pair, Scenario},
    schema,
    secret::Secret,
    site::{SiteSpec, Value, Wire},
    testing::{
        Invalid,
        scenario::{self, NoScenario},
    },
    types::Role,
    verdict::Exit,
};

/// What both sites are called, as the roles of a recovery are.
const SOURCE: &str = "source";
pub(super) const TARGET: &str = "target";
/// The sites take any.
const REGION: &str = "us-east-1";

/// Runs a runbook against the pair of a scenario, which also gives inputs and answers; what the command line says
/// goes before it.
pub(super) async fn run(
    runs: &Place,
    loaded: Loaded,
    bind: &Bind,
    go: &Go,
    scenario: &str,
    json: bool,
) -> Result<Exit, Refusal> {
    let scenario = find(scenario)?;
    if !bind.roles.is_empty() {
        return Err(Refusal::refused("`--sandbox` brings its own sites: leave `--site` out"));
    }
    let mut bind = bind.clone();
    bind.roles = loaded.runbook.roles.iter().map(|(role, _)| (role.to_string(), role.to_string())).collect();
    let bucket = serde_json::Value::String(scenario.bucket.clone());
    let offered = [("bucket".to_owned(), bucket)].into_iter().chain(scenario.inputs.clone());
    for (name, value) in offered {
        let declared = loaded.runbook.inputs.iter().any(|input| input.name == name);
        if declared && bind.options.inputs_file.is_none() && bind.options.inputs.iter().all(|(given, _)| *given != name)
        {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            bind.options.inputs.push((name, text));
        }
    }
    let mut go = Go { sandbox: None, confirm_target: Some(TARGET.into()), ..go.clone() };
    let asks = |step: &str| loaded.runbook.steps.iter().any(|spec| spec.id == step);
    let yes = scenario.answers.iter().filter(|(step, answer)| asks(step) && answer.0);
    go.yes.yes.extend(yes.map(|(step, _)| step.clone()));
    let pair = start(scenario).await?;
    if !json {
        print(&format!("sandbox `{}`: {}", pair.scenario.scenario, pair.scenario.summary));
        print(
            "  two sites in this process, filled for this run and gone with it; sites, inputs and answers come from the scenario",
        );
    }
    let bound = bind::bind_by(&loaded, &bind, |aliases| wires(&pair, aliases)).await?;
    // Nobody else knows sites of this process: a lease would keep nobody out.
    run::begin(runs, loaded, bound, &go, None, None, json).await
}

/// Compares the bucket of a scenario on its two sites.
pub(super) async fn compare(what: &Compare, scenario: &str, json: bool) -> Result<Exit, Refusal> {
    let pair = start(find(scenario)?).await?;
    let held = |alias: &str| {
        let bucket = pair.scenario.bucket.clone();
        let wire = wire(&pair, &Role(alias.to_owned()), alias)?;
        Ok::<_, Refusal>(Held { place: cli::Place { alias: alias.to_owned(), bucket }, wire })
    };
    compare::between(Right::Site(held(SOURCE)?), held(TARGET)?, what, json).await
}

/// Starts a pair and stays until it is stopped.
pub(super) async fn stay(scenario: &str, json: bool) -> Result<Exit, Refusal> {
    let scenario = find(scenario)?;
    // Caught before anything is printed: a script may answer at once.
    let stopped = stopped().map_err(|e| Refusal::new(Exit::Defect, format!("signals cannot be caught: {e}")))?;
    let pair = start(scenario).await?;
    if json {
        print_json(&access(&pair));
    } else {
        say_how_to_reach(&pair);
    }
    stopped.await;
    Ok(Exit::Held)
}

fn access(pair: &Pair) -> serde_json::Value {
    let Pair { scenario, source, target, .. } = pair;
    let site = |access: &Access| {
        let Access { endpoint, access_key, secret_key } = access;
        json!({ "endpoint": endpoint, "region": REGION, "access_key": access_key, "secret_key": secret_key })
    };
    json!({
        "scenario": scenario.scenario, "summary": scenario.summary, "bucket": scenario.bucket,
        "sites": { SOURCE: site(source), TARGET: site(target) },
    })
}

fn say_how_to_reach(pair: &Pair) {
    let Pair { scenario, source, target, .. } = pair;
    print(&format!("sandbox `{}`: {}", scenario.scenario, scenario.summary));
    print(&format!("  bucket `{}` on both sites, for mc and firedrill:\n", scenario.bucket));
    for (alias, site) in [(SOURCE, source), (TARGET, target)] {
        print(&format!("export MC_HOST_{alias}={}", site.mc_host()));
    }
    for (alias, site) in [(SOURCE, source), (TARGET, target)] {
        let Access { endpoint, access_key, secret_key } = site;
        print(&format!(
            "\n# {alias}, for aws\nexport AWS_ACCESS_KEY_ID={access_key} AWS_SECRET_ACCESS_KEY={secret_key} \
             AWS_REGION={REGION} AWS_ENDPOINT_URL={endpoint}"
        ));
    }
    print("\nThe sites run until this is interrupted (Ctrl-C).");
}

/// Lists the scenarios that come with the program.
pub(super) fn list(json: bool) -> Result<Exit, Refusal> {
    let mut rows = Vec::new();
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["scenario", "what happens"]);
    for (name, _) in sandbox::scenario::ALL {
        let Scenario { scenario, summary, .. } = find(name)?;
        table.add_row([&scenario, &summary]);
        rows.push(json!({ "scenario": scenario, "summary": summary }));
    }
    if json {
        print_json(&rows);
    } else {
        print(&table.to_string());
    }
    Ok(Exit::Held)
}

/// Waits for the first signal that stops a command; caught from now on.
fn stopped() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

pub(super) async fn start(scenario: Scenario) -> Result<Pair, Refusal> {
    let started = sandbox::start(scenario).await;
    started.map_err(|e| Refusal::new(Exit::Broke, format!("the sandbox cannot listen on this machine: {e}")))
}

/// A scenario by its name, or from a file.
fn find(name: &str) -> Result<Scenario, Refusal> {
    scenario::find(name, Path::new("")).map_err(|no| match no {
        NoScenario::Unknown(problem) => {
            Refusal::refused(problem.help.map_or(problem.what.clone(), |help| format!("{}: {help}", problem.what)))
        }
        NoScenario::Invalid(invalid) => refuse(&[invalid]),
    })
}

/// All problems of files, as `check` prints them.
pub(super) fn refuse(files: &[Invalid]) -> Refusal {
    let errors = files.iter().flat_map(|file| &file.problems).filter(|problem| problem.level == Level::Error).count();
    let rendered: Vec<String> = files.iter().map(Invalid::render).collect();
    Refusal::refused(format!("{}\n\n{}", plural(errors as u64, "error"), rendered.join("\n").trim_end()))
}

pub(super) fn test_schema() -> Result<serde_json::Value, Refusal> {
    Ok(schema::test_schema())
}

pub(super) fn scenario_schema() -> Result<serde_json::Value, Refusal> {
    Ok(schema::scenario_schema())
}

/// The connections to the pair: a role is bound to the site of its name.
pub(super) fn wires(pair: &Pair, aliases: &BTreeMap<Role, String>) -> Result<Found, Refusal> {
    let mut wires = BTreeMap::new();
    for (role, alias) in aliases {
        wires.insert(role.clone(), wire(pair, role, alias)?);
    }
    Ok(Found { wires, file: None, sandbox: Some(pair.scenario.scenario.clone()) })
}

fn wire(pair: &Pair, role: &Role, alias: &str) -> Result<Arc<Wire>, Refusal> {
    let site = match alias {
        SOURCE => &pair.source,
        TARGET => &pair.target,
        _ => {
            let text = format!("the sandbox has a source and a target, and the runbook has a role `{role}`");
            return Err(Refusal::refused(text));
        }
    };
    let spec = spec(alias, site).ok_or_else(|| Refusal::new(Exit::Defect, "the sandbox has no usable address"))?;
    Ok(Wire::new(spec)?)
}

fn spec(alias: &str, site: &Access) -> Option<SiteSpec> {
    let literal = |text: &str| Value::Literal(Secret::new(text.to_owned()));
    Some(SiteSpec {
        alias: alias.to_owned(),
        endpoint: site.endpoint.parse().ok()?,
        nodes: Vec::new(),
        region: REGION.to_owned(),
        path_style: true,
        access_key: literal(&site.access_key),
        secret_key: literal(&site.secret_key),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        max_requests_per_second: None,
        drills: true,
    })
}
