//! `run`, `recover` and `verify`: begins a run and drives it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::Path,
    sync::Arc,
};

use super::{
    Refusal,
    answers::Given,
    bind::{self, Bound},
    keep::Keeper,
    load::Loaded,
    print, print_json, terminal,
    third::{self, Third},
};
use crate::{
    audit::Audited,
    cli::{Bind, Go, Keep, LeaseAt, Yes},
    clock::Clock,
    digest::digest,
    engine::{self, Answers, Setup, StopSignal, plan::Frozen},
    event::{Event, Observer, RunStarted, RunbookKind, Signal, SiteRecord},
    failure::Failure,
    human,
    journal::JOURNAL,
    lease::{Holder, Lease},
    log::Log,
    replay::Phase,
    report::{self, console::Console},
    runbook::{OnFailure, Runbook},
    runs::{NoRun, Place, RunClaims, new_id},
    site::{Site, changes, leave::Leave},
    step::Claims,
    steps,
    store::Store,
    types::{BucketName, Role},
    verdict::{self, Exit},
};

/// The options of a run that changes nothing.
pub(super) fn no_go(keep: Keep) -> Go {
    let (yes, lease) = (Yes { yes: Vec::new() }, LeaseAt { lease: None });
    Go { confirm_target: None, since: None, yes, keep, lease, sandbox: None }
}

pub(super) async fn run(
    runs: &Place,
    loaded: Loaded,
    bind: &Bind,
    go: &Go,
    plan: Option<&Path>,
    json: bool,
) -> Result<Exit, Refusal> {
    if let Some(warnings) = &loaded.warnings {
        tracing::warn!("{warnings}");
    }
    let lookup = &bind.options.lookup;
    let lease = match loaded.runbook.kind {
        RunbookKind::Verify => None,
        RunbookKind::Recovery | RunbookKind::Drill => third::lease(go.lease.lease.as_deref(), lookup, &loaded.beside)?,
    };
    let bound = bind::bind(&loaded, bind).await?;
    begin(runs, loaded, bound, go, lease, plan, json).await
}

/// Begins a run of a runbook that is bound, and drives it.
pub(super) async fn begin(
    runs: &Place,
    loaded: Loaded,
    bound: Bound,
    go: &Go,
    lease: Option<Arc<Store>>,
    plan: Option<&Path>,
    json: bool,
) -> Result<Exit, Refusal> {
    let console = Arc::new(Console::stdout());
    let beginning = Beginning { id: None, lease, plan, observers: observers(&console, json) };
    start(runs, loaded, bound, go, beginning).await?.drive(json).await
}

/// What else a run begins with.
pub(super) struct Beginning<'a> {
    /// Its id, if it is not to be a new one.
    pub id: Option<&'a str>,
    /// Where its leases are.
    pub lease: Option<Arc<Store>>,
    /// The plan that it must keep to.
    pub plan: Option<&'a Path>,
    pub observers: Vec<Arc<dyn Observer>>,
}

/// Begins a run of a runbook that is bound.
pub(super) async fn start(
    runs: &Place,
    loaded: Loaded,
    mut bound: Bound,
    go: &Go,
    beginning: Beginning<'_>,
) -> Result<UnderWay, Refusal> {
    let Beginning { id, lease, plan, observers } = beginning;
    let keeper = Box::pin(Keeper::new(runs, &go.keep, &mut bound, &loaded.beside)).await?;
    let leave = Arc::new(Leave::default());
    let third = Third { runs, lease, leave: Arc::clone(&leave) };
    third.apart_from(&bound.sites)?;
    bound.masker = bound.masker.and(third.secrets());
    let kept = plan.map(|path| kept(path, &loaded, &bound)).transpose()?;
    let (user, host) = terminal::who_and_where();
    let given = answers(&loaded.runbook, go.confirm_target.as_deref(), &go.yes, &bound.sites, &user)?;
    let clock = Clock::Wall;
    let holder = |run: &str| Holder { run: run.to_owned(), user: user.clone(), host: host.clone() };
    let frozen_text = kept.as_ref().map(|kept| kept.text.as_slice());
    let (id, open) = loop {
        let new = id.map_or_else(|| new_id(clock.now()), |id| Ok(id.to_owned()))?;
        match runs.create(&new, loaded.text.as_bytes(), frozen_text, &holder(&new), &leave) {
            // Another run began in the same second.
            Err(NoRun::Io { path, source })
                if id.is_none() && path.ends_with(&new) && source.kind() == ErrorKind::AlreadyExists => {}
            created => break (new, created?),
        }
    };
    let holder = holder(&open.id);
    let patience = bound.obey(&leave);
    open.reckon_with(patience)?;
    let claims = Arc::new(runs.claims(&holder, third.leases(&holder, patience)));
    let claimed = claim_early(&loaded.runbook, &bound, &*claims).map_err(|f| bind::broken(&f, &bound.masker));
    let cleared = match claimed {
        Ok(()) => confirm(&loaded.runbook, &bound, go.confirm_target.as_deref()).await,
        Err(refusal) => Err(refusal),
    };
    let cleared = match cleared {
        Ok(()) => keeper.begin(&open, &bound.masker).await,
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = cleared {
        claims.release();
        runs.discard(open);
        return Err(refusal);
    }
    let mut first = started(&loaded, &bound, &open.id, go, user, host);
    first.evidence = go.keep.evidence.as_ref().map(ToString::to_string);
    first.lease = third.lease.as_ref().map(|store| store.address().to_string());
    first.plan_sha256 = kept.as_ref().map(|kept| digest(&kept.text));
    let first = Event::RunStarted(Box::new(first));
    let recorder = open.recorder(runs, None, &leave, clock, bound.masker.clone());
    let begun = recorder.and_then(|(recorder, lease)| Ok((Log::begin(recorder, observers, first)?, lease)));
    let (log, lease) = match begun {
        Ok(begun) => begun,
        Err(failure) => {
            claims.release();
            runs.forget(&id);
            return Err(bind::broken(&failure, &bound.masker));
        }
    };
    tracing::debug!(run = id, "begins");
    Ok(UnderWay {
        runs: runs.clone(),
        runbook: loaded.runbook,
        bound,
        log: Arc::new(log),
        claims,
        leave,
        lease,
        answers: Arc::new(Given { run: Some((runs.clone(), id)), ..given }),
        frozen: kept.map(|kept| kept.frozen),
        keeper,
    })
}

/// A run that has begun, or was read again.
pub(super) struct UnderWay {
    pub runs: Place,
    pub runbook: Runbook,
    pub bound: Bound,
    pub log: Arc<Log>,
    pub claims: Arc<RunClaims>,
    /// Leave to send changes; it is lost when another host takes over.
    pub leave: Arc<Leave>,
    /// Says that a shared run is at work here, as long as it lives.
    pub lease: Option<Lease>,
    pub answers: Arc<dyn Answers>,
    pub frozen: Option<Frozen>,
    pub keeper: Keeper,
}

impl UnderWay {
    /// Drives the run, prints its last words, and gives its exit code.
    pub(super) async fn drive(mut self, json: bool) -> Result<Exit, Refusal> {
        let stop = StopSignal::default();
        listen(&stop)?;
        // The last words come from what was written, where secrets are masked.
        let audited = match self.finish(stop).await {
            Ok(audited) => audited,
            Err(refusal) => {
                // What there is of the record is kept all the same.
                if let Place::Folder(_) = self.runs
                    && let Ok(audited) = super::resume::read(&self.runs, &self.id())
                {
                    Box::pin(self.keeper.end(&self.runs, &audited, &self.bound.masker)).await;
                }
                return Err(refusal);
            }
        };
        let kept = Box::pin(self.keeper.end(&self.runs, &audited, &self.bound.masker)).await;
        let Audited { journal: written, state } = &audited;
        let journal = self.runs.name(&state.started.run, JOURNAL);
        if json {
            let mut said =
                serde_json::json!(report::facts::Report::new(&written.lines, state, &journal, &written.head));
            kept.add_to(&mut said);
            print_json(&said);
        } else {
            print(&report::summary::summary(state, &journal, &written.head, &runs_flag(&self.runs)));
            kept.print();
        }
        Ok(kept.exit(verdict::verdict(state).1))
    }

    /// The same, and says nothing: what the journal says then, where secrets are masked.
    pub(super) async fn finish(&mut self, stop: StopSignal) -> Result<Audited, Refusal> {
        let ended = self.run_through(stop).await;
        // Not before the end is on the record: until then the run goes on, and the buckets are its own.
        if ended.is_ok() && self.log.state(|state| matches!(state.phase, Phase::Ended(_))) {
            self.claims.release();
        }
        drop(self.lease.take());
        ended?;
        super::resume::read(&self.runs, &self.id())
    }

    fn id(&self) -> String {
        self.log.state(|state| state.started.run.clone())
    }

    /// Drives the run to its end, to an open question or to a second signal, and says nothing.
    pub(super) async fn run_through(&mut self, stop: StopSignal) -> Result<(), Refusal> {
        let setup = Setup {
            runbook: self.runbook.clone(),
            kinds: steps::ALL,
            changes: changes::ALL,
            log: Arc::clone(&self.log),
            wires: self.bound.wires.clone(),
            inputs: self.bound.inputs.clone(),
            answers: Arc::clone(&self.answers),
            claims: Arc::clone(&self.claims) as Arc<dyn Claims>,
            stop,
            clock: Clock::Wall,
            frozen: self.frozen.take(),
            probe: true,
            waits: true,
        };
        let ended = tokio::select! {
            biased;
            why = self.leave.lost() => Err(Failure::Claimed(why)),
            ended = engine::run(&setup) => ended,
        };
        ended.map_err(|failure| bind::broken(&failure, &self.bound.masker))
    }
}

/// What a command needs after it to find the same runs.
pub(super) fn runs_flag(runs: &Place) -> String {
    let root = runs.to_string();
    if root == ".firedrill/runs" { String::new() } else { format!(" --runs {root}") }
}

pub(super) fn observers(console: &Arc<Console>, json: bool) -> Vec<Arc<dyn Observer>> {
    if json { Vec::new() } else { vec![Arc::clone(console) as _] }
}

/// Hands SIGINT, SIGTERM and SIGHUP on.
pub(super) fn listen(stop: &StopSignal) -> Result<(), Refusal> {
    use tokio::signal::unix::{SignalKind, signal};
    let deaf = |e| Refusal::new(Exit::Defect, format!("signals cannot be caught: {e}"));
    for (kind, which) in [
        (SignalKind::interrupt(), Signal::Interrupt),
        (SignalKind::terminate(), Signal::Terminate),
        (SignalKind::hangup(), Signal::HangUp),
    ] {
        if which == Signal::HangUp && terminal::ignores_hang_up() {
            continue;
        }
        let (mut signals, stop) = (signal(kind).map_err(deaf)?, stop.clone());
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.send(which);
            }
        });
    }
    Ok(())
}

pub(super) fn started(loaded: &Loaded, bound: &Bound, id: &str, go: &Go, user: String, host: String) -> RunStarted {
    let runbook = &loaded.runbook;
    let ids = |specs: &[crate::runbook::StepSpec]| specs.iter().map(|spec| spec.id.clone()).collect();
    let warn_only = runbook.steps.iter().chain(&runbook.finally).filter(|s| s.on_failure == OnFailure::Warn);
    RunStarted {
        run: id.to_owned(),
        tool: tool(),
        runbook: runbook.name.clone(),
        runbook_sha256: digest(loaded.text.as_bytes()),
        plan_sha256: None,
        kind: runbook.kind,
        user,
        host,
        inputs: bound.inputs.clone(),
        sites: bound.sites.clone(),
        sandbox: bound.sandbox.clone(),
        lease: None,
        sites_file: bound.sites_file.as_ref().map(|path| path.display().to_string()),
        evidence: None,
        accepted: bound.accepted.clone(),
        since: go.since,
        rto: runbook.rto.map(|rto| rto.0.as_secs_f64()),
        steps: ids(&runbook.steps),
        finally: ids(&runbook.finally),
        warn_only: warn_only.map(|spec| spec.id.clone()).collect(),
    }
}

pub(super) fn tool() -> String {
    concat!("firedrill ", env!("CARGO_PKG_VERSION")).to_owned()
}

/// Claims the buckets that the inputs name, on every site: so the opposite direction is excluded too.
pub(super) fn claim_early(runbook: &Runbook, bound: &Bound, claims: &dyn Claims) -> Result<(), Failure> {
    if runbook.kind == RunbookKind::Verify {
        return Ok(());
    }
    // In one order for all, so that of two that begin at the same time one gets everything.
    let mut wanted = BTreeSet::new();
    for input in runbook.inputs.iter().filter(|input| input.r#type == crate::runbook::InputType::Bucket) {
        let Some(bucket) = bound.inputs.get(&input.name).and_then(|value| value.as_str()) else { continue };
        let sites = bound.sites.values();
        wanted.extend(sites.map(|site| (site.deployment_id.as_deref().unwrap_or(&site.endpoint), bucket)));
    }
    wanted.into_iter().try_for_each(|(deployment, bucket)| claims.claim(deployment, bucket))
}

/// The answers that flags give. Bare `--yes` in a recovery needs the target's name beside it.
pub(super) fn answers(
    runbook: &Runbook,
    confirmed: Option<&str>,
    yes: &Yes,
    sites: &BTreeMap<String, SiteRecord>,
    user: &str,
) -> Result<Given, Refusal> {
    let all = yes.yes.iter().any(String::is_empty);
    if all && runbook.kind == RunbookKind::Recovery && confirmed.is_none() {
        return Err(Refusal::refused(
            "`--yes` for every question of a recovery needs `--confirm-target ALIAS` beside it; \
             `--yes=STEP` answers a single one",
        ));
    }
    let ids: Vec<&str> = runbook.steps.iter().map(|spec| spec.id.as_str()).collect();
    for step in yes.yes.iter().filter(|step| !step.is_empty()) {
        if !ids.contains(&step.as_str()) {
            return Err(Refusal::refused(format!("`--yes={step}`: `{}` has no such step", runbook.name)));
        }
    }
    if let Some(alias) = confirmed {
        named_target(alias, sites)?;
    }
    Ok(Given {
        all,
        steps: yes.yes.iter().filter(|step| !step.is_empty()).cloned().collect(),
        user: user.to_owned(),
        person: terminal::has_person(),
        run: None,
    })
}

fn named_target(alias: &str, sites: &BTreeMap<String, SiteRecord>) -> Result<(), Refusal> {
    match sites.get("target") {
        Some(target) if target.alias != alias => Err(Refusal::refused(format!(
            "`--confirm-target {alias}`, but the site that would be rebuilt is `{}`: is the direction right?",
            target.alias
        ))),
        Some(_) | None => Ok(()),
    }
}

/// A recovery begins by showing what is kept and what is rebuilt, and by having the target named.
async fn confirm(runbook: &Runbook, bound: &Bound, confirmed: Option<&str>) -> Result<(), Refusal> {
    let (Some(source), Some(target)) = (bound.sites.get("source"), bound.sites.get("target")) else { return Ok(()) };
    if runbook.kind != RunbookKind::Recovery || confirmed.is_some() {
        return Ok(());
    }
    if !terminal::has_person() {
        return Err(Refusal::refused(format!(
            "a recovery rebuilds `{target}` from `{source}` and nobody is at a terminal to confirm it: \
             give `--confirm-target {target}`",
            target = target.alias,
            source = source.alias
        )));
    }
    for (role, site, fate) in [("source", source, "kept"), ("target", target, "rebuilt")] {
        let count = counted(bound, role).await;
        let id = site.deployment_id.as_deref().unwrap_or("unreachable");
        print(&format!("  {role:<7} {} ({fate})  {}  {id}  {count}", site.alias, site.endpoint));
    }
    print(&format!("  {} (kept) → {} (rebuilt)", source.alias, target.alias));
    let prompt = format!("Type the alias of the site that is rebuilt, `{}`, to go on: ", target.alias);
    match terminal::ask(&prompt).await {
        Some(typed) if typed == target.alias => Ok(()),
        Some(_) | None => Err(Refusal::refused("not confirmed: nothing was changed")),
    }
}

/// What the site's scanner last counted in the bucket.
async fn counted(bound: &Bound, role: &str) -> String {
    let name = if role == "target" { bound.inputs.get("target_bucket") } else { None };
    let bucket = name.or_else(|| bound.inputs.get("bucket")).and_then(|value| value.as_str());
    let bucket = bucket.and_then(|name| BucketName::try_from(name.to_owned()).ok());
    let (Some(bucket), Some(wire)) = (bucket, bound.wires.get(&Role(role.to_owned()))) else { return String::new() };
    let site = Site::reading(Arc::clone(wire));
    match site.usage(&bucket).await {
        Ok(Some(usage)) => format!(
            "about {}, {} among them, {}",
            human::plural(usage.versions, "version"),
            human::plural(usage.delete_markers, "delete marker"),
            human::bytes(usage.bytes)
        ),
        Ok(None) => "not counted yet".into(),
        Err(_) => "cannot be counted".into(),
    }
}

/// A plan as `plan --out` kept it.
struct Kept {
    text: Vec<u8>,
    frozen: Frozen,
}

/// Reads a kept plan and holds the runbook, the inputs and the sites against it.
fn kept(path: &Path, loaded: &Loaded, bound: &Bound) -> Result<Kept, Refusal> {
    let name = path.display();
    let text = std::fs::read(path).map_err(|e| Refusal::refused(format!("{name}: cannot be read: {e}")))?;
    let frozen: Frozen =
        serde_json::from_slice(&text).map_err(|e| Refusal::refused(format!("{name}: is no plan: {e}")))?;
    let differs = |what: String| Refusal::refused(format!("{name} does not fit: {what}; plan again"));
    if frozen.runbook_sha256 != digest(loaded.text.as_bytes()) {
        return Err(differs("the runbook was edited since".into()));
    }
    for (input, planned) in &frozen.inputs {
        if bound.inputs.get(input) != Some(planned) {
            return Err(differs(format!("input `{input}` was {planned}")));
        }
    }
    for (role, planned) in &frozen.deployments {
        let now = bound.sites.get(role).and_then(|site| site.deployment_id.as_ref());
        if now != planned.as_ref() {
            return Err(differs(format!("role `{role}` is another deployment now")));
        }
    }
    Ok(Kept { text, frozen })
}
