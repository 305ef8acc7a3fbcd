//! The one entry for programs: brings a run to its end, whether it begins, goes on, or has ended already.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use super::{
    Refusal,
    answers::Given,
    bind::{self, Bound, Found},
    keep::Keeper,
    load::{self, Loaded},
    resume::{self, Otherwise, Stopped},
    run::{self, Beginning, UnderWay},
    terminal,
};
use crate::{
    audit::{self, Audited},
    cli::{Go, Keep, LeaseAt, Yes},
    digest::digest,
    engine::StopSignal,
    event::{Line, Observer, Progress, RunbookKind, Signal, Verdict},
    lease::Same,
    replay::{Phase, RunState},
    runbook::Runbook,
    runs::Place,
    site::{SiteSpec, Wire, leave::Leave},
    store::Store,
    types::Role,
    verdict::{self, Exit},
};

/// The beat comes at least this often while a run is at work.
const BEAT: Duration = Duration::from_secs(10);

/// A run that is to be brought to its end: what it does, and on what.
#[derive(Clone)]
pub struct Spec {
    /// Its id: whoever comes with the same one goes on with the same run. Letters, digits, `-` and `_`, 64 at most.
    pub run: String,
    /// The runbook's text.
    pub runbook: String,
    /// The sites by role.
    pub sites: BTreeMap<String, SiteSpec>,
    /// The values of the runbook's inputs.
    pub inputs: Map<String, Value>,
    /// Checks that are waived, each with its reason.
    pub accept: BTreeMap<String, String>,
    /// The alias of the site that is rebuilt; a recovery is refused without.
    pub confirm_target: Option<String>,
    /// Steps whose question is answered with yes. Another question leaves the run waiting.
    pub yes: Vec<String>,
    /// When the damage began, for the recovery time.
    pub since: Option<Timestamp>,
    /// Where leases are, for hosts that share no place of runs.
    pub lease: Option<Arc<Store>>,
}

/// How a run stands now.
#[derive(Debug)]
pub struct Outcome {
    /// The verdict. `Verdict::Waiting`: a question is open; `Verdict::Cancelled`: it was told to stop.
    pub verdict: Verdict,
    /// What the command line would have ended with.
    pub exit: Exit,
    /// SHA-256 of the journal's last line.
    pub head: String,
    /// All that the journal says.
    pub state: RunState,
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum NoOutcome {
    /// The journal or a lease cannot be reached, or another process holds the run or a bucket: worth another try.
    #[error("{0}")]
    TryAgain(String),
    /// Another try would end the same.
    #[error("{text}")]
    Refused {
        /// What the command line would have ended with.
        exit: Exit,
        text: String,
    },
}

/// Brings a run to its end. It is begun when there is none with its id, gone on with when it was left in the middle, and
/// looked at when it has ended. However often this is called, and wherever it dies, no change is sent twice.
///
/// Every verdict is an `Ok`. Only [`NoOutcome::TryAgain`] is worth another try: the journal could not be reached, or
/// another process holds the run or one of its buckets. With runs on a third site ([`Place::Site`]) any host may try.
///
/// `beat` is told what goes on: at every line of the journal, at every progress, and every 10 seconds. `cancel` stops
/// the run as SIGTERM does: no new step, then `finally`, then the verdict `cancelled`, from which a next call goes on.
/// Dropping the future is a crash, which is survived.
///
/// ```no_run
/// use std::{sync::Arc, time::Duration};
///
/// use firedrill::{NoOutcome, Outcome, Spec, runs::{Place, Runs}, run_or_resume};
/// use tokio_util::sync::CancellationToken;
///
/// async fn to_the_end(spec: Spec) -> Result<Outcome, NoOutcome> {
///     let runs = Place::Folder(Runs::new("/var/lib/drills"));
///     let cancel = CancellationToken::new();
///     loop {
///         match run_or_resume(&spec, &runs, |what| println!("{what}"), cancel.clone()).await {
///             Err(NoOutcome::TryAgain(why)) => eprintln!("again in a minute: {why}"),
///             other => return other,
///         }
///         tokio::time::sleep(Duration::from_secs(60)).await;
///     }
/// }
/// ```
pub async fn run_or_resume(
    spec: &Spec,
    runs: &Place,
    beat: impl Fn(&str) + Send + Sync + 'static,
    cancel: CancellationToken,
) -> Result<Outcome, NoOutcome> {
    let beat: Arc<dyn Observer> = Arc::new(Beat(beat));
    let named = (1..=64).contains(&spec.run.len())
        && spec.run.starts_with(|c: char| c.is_ascii_alphanumeric())
        && spec.run.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    if !named {
        return Err(refused(format!("`{}` is no id of a run: letters, digits, `-` and `_`, 64 at most", spec.run)));
    }
    let loaded = load::text("the runbook", spec.runbook.as_bytes(), ".".into()).map_err(NoOutcome::from)?;
    let has = runs.has(&spec.run).map_err(|no| NoOutcome::from(Refusal::from(no)))?;
    let under_way = if has {
        let (audited, _) = read(runs, &spec.run)?;
        same(spec, &loaded, &audited.state)?;
        if let Phase::Ended(verdict) = audited.state.phase
            && verdict != Verdict::Cancelled
        {
            same_sites(spec, &audited.state)?;
            return Ok(outcome(audited));
        }
        go_on(spec, runs, loaded, Arc::clone(&beat)).await
    } else {
        begin(spec, runs, loaded, Arc::clone(&beat)).await
    };
    let stop = StopSignal::default();
    let mut under_way = under_way?;
    let mut end = pin!(under_way.finish(stop.clone()));
    let mut every = tokio::time::interval(BEAT);
    let mut stopped = false;
    let audited = loop {
        tokio::select! {
            ended = &mut end => break ended.map_err(NoOutcome::from)?,
            _ = every.tick() => beat.progress("", &Progress { what: "at work".into(), ..Progress::default() }),
            () = cancel.cancelled(), if !stopped => {
                stopped = true;
                stop.send(Signal::Terminate);
            }
        }
    };
    Ok(outcome(audited))
}

async fn begin(spec: &Spec, runs: &Place, loaded: Loaded, beat: Arc<dyn Observer>) -> Result<UnderWay, NoOutcome> {
    if loaded.runbook.kind == RunbookKind::Recovery && spec.confirm_target.is_none() {
        return Err(refused("a recovery needs the alias of the site that is rebuilt in `confirm_target`".into()));
    }
    let inputs = bind::checked(&loaded.runbook, &spec.inputs)?;
    let bound = bound(spec, &loaded, inputs).await?;
    let go = Go {
        confirm_target: spec.confirm_target.clone(),
        since: spec.since,
        yes: Yes { yes: spec.yes.clone() },
        keep: Keep::default(),
        lease: LeaseAt { lease: None },
        sandbox: None,
    };
    let lease = lease(spec, &loaded);
    let beginning = Beginning { id: Some(&spec.run), lease, plan: None, observers: vec![beat] };
    let mut under_way = run::start(runs, loaded, bound, &go, beginning).await?;
    let given = given(spec, &under_way.runbook, &under_way.bound)?;
    under_way.answers = Arc::new(Given { run: Some((runs.clone(), spec.run.clone())), ..given });
    Ok(under_way)
}

async fn go_on(spec: &Spec, runs: &Place, loaded: Loaded, beat: Arc<dyn Observer>) -> Result<UnderWay, NoOutcome> {
    let leave = Arc::new(Leave::default());
    let open = resume::open(runs, &spec.run, &leave, Same::MayLive).map_err(Refusal::from)?;
    // Read again: nobody else can go on with it now.
    let (Audited { journal, state }, next) = read(runs, &spec.run)?;
    let inputs = same(spec, &loaded, &state)?;
    let bound = bound(spec, &loaded, inputs).await?;
    resume::same_deployments(&state.started.sites, &bound.sites)?;
    let given = given(spec, &loaded.runbook, &bound)?;
    let lease = lease(spec, &loaded);
    let (keeper, otherwise) = (Keeper::default(), Otherwise::default());
    let stopped = Stopped { journal, next, state, loaded, otherwise, frozen: None, bound, keeper, given, lease };
    Ok(resume::take_up(runs, open, leave, stopped, vec![beat])?)
}

/// The answers of the spec. Nobody is asked, even at a terminal.
fn given(spec: &Spec, runbook: &Runbook, bound: &Bound) -> Result<Given, Refusal> {
    let (user, _) = terminal::who_and_where();
    let yes = Yes { yes: spec.yes.clone() };
    let given = run::answers(runbook, spec.confirm_target.as_deref(), &yes, &bound.sites, &user)?;
    Ok(Given { person: false, ..given })
}

/// The inputs of a run that began with this very spec: a verdict on something else is none.
fn same(spec: &Spec, loaded: &Loaded, state: &RunState) -> Result<Map<String, Value>, NoOutcome> {
    // The runbook that the run goes on with: an edited one may have taken over.
    let now = state.edited.as_ref().map_or(&state.started.runbook_sha256, |edited| &edited.sha256);
    if digest(loaded.text.as_bytes()) != *now {
        return Err(other(spec, "another runbook"));
    }
    let inputs = bind::checked(&loaded.runbook, &spec.inputs)?;
    let mut compared = loaded.runbook.inputs.iter().filter(|input| !input.secret);
    if compared.any(|input| inputs.get(&input.name) != state.started.inputs.get(&input.name)) {
        return Err(other(spec, "other inputs"));
    }
    Ok(inputs)
}

/// The sites of a run that is not asked any more who they are.
fn same_sites(spec: &Spec, state: &RunState) -> Result<(), NoOutcome> {
    let now = spec.sites.iter().map(|(role, site)| (role, site.endpoint.to_string().trim_end_matches('/').to_owned()));
    let then = state.started.sites.iter().map(|(role, site)| (role, site.endpoint.clone()));
    if now.eq(then) { Ok(()) } else { Err(other(spec, "other sites")) }
}

fn other(spec: &Spec, what: &str) -> NoOutcome {
    refused(format!("run {} began with {what}: choose another id", spec.run))
}

fn lease(spec: &Spec, loaded: &Loaded) -> Option<Arc<Store>> {
    match loaded.runbook.kind {
        RunbookKind::Verify => None,
        RunbookKind::Recovery | RunbookKind::Drill => spec.lease.clone(),
    }
}

/// The runbook bound to the sites and inputs of the spec.
async fn bound(spec: &Spec, loaded: &Loaded, inputs: Map<String, Value>) -> Result<Bound, Refusal> {
    let runbook = &loaded.runbook;
    let roles: Vec<String> = runbook.roles.iter().map(|(role, _)| role.to_string()).collect();
    if let Some(unknown) = spec.sites.keys().find(|name| !roles.contains(name)) {
        return Err(Refusal::refused(format!("`{}` has no role `{unknown}`", runbook.name)));
    }
    let mut wires = BTreeMap::new();
    for role in roles {
        let site = spec.sites.get(&role);
        let site = site.ok_or_else(|| Refusal::refused(format!("role `{role}` has no site in `sites`")))?;
        wires.insert(Role(role), Wire::new(site.clone())?);
    }
    let accept: Vec<_> = spec.accept.iter().map(|(check, reason)| (check.clone(), reason.clone())).collect();
    let accepted = bind::accepted(runbook, &accept)?;
    bind::bound(runbook, inputs, accepted, Found { wires, file: None, sandbox: None }).await
}

/// A run's journal, and the number of its next batch; one that cannot be reached now is worth another try, one that does
/// not verify is not.
fn read(runs: &Place, run: &str) -> Result<(Audited, u64), NoOutcome> {
    let bytes = runs.bytes(run);
    let (bytes, next) =
        bytes.map_err(|e| NoOutcome::TryAgain(format!("the journal of run {run} cannot be read: {e}")))?;
    let audited = audit::journal(&bytes, None).map_err(|what| NoOutcome::Refused {
        exit: Exit::Journal,
        text: format!("the journal of run {run} does not verify: {what}"),
    })?;
    Ok((audited, next))
}

fn outcome(Audited { journal, state }: Audited) -> Outcome {
    let (verdict, exit) = verdict::verdict(&state);
    Outcome { verdict, exit, head: journal.head, state }
}

fn refused(text: String) -> NoOutcome {
    NoOutcome::Refused { exit: Exit::Refused, text }
}

impl From<Refusal> for NoOutcome {
    fn from(Refusal { exit, text }: Refusal) -> Self {
        match exit {
            // Before a run is at work, what could not be done is to reach a place on a third site.
            Exit::Journal | Exit::Claimed | Exit::Broke => Self::TryAgain(text),
            Exit::Held
            | Exit::Defect
            | Exit::Usage
            | Exit::Refused
            | Exit::NotHeld
            | Exit::Waiting
            | Exit::Late
            | Exit::HungUp
            | Exit::Interrupted
            | Exit::Terminated => Self::Refused { exit, text },
        }
    }
}

/// Tells of what goes on.
struct Beat<F>(F);

impl<F: Fn(&str) + Send + Sync> Observer for Beat<F> {
    fn line(&self, line: &Line) {
        let event = serde_json::to_value(&line.event).ok();
        let event = event.as_ref().and_then(|event| event["event"].as_str()).unwrap_or_default();
        self.0(format!("{} {event}", line.path).trim());
    }
    fn progress(&self, path: &str, progress: &Progress) {
        self.0(format!("{path} {}", progress.what).trim());
    }
}
