//! `resume` and `approve`: goes on with a run from its journal.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::{
    Refusal, bind, edited,
    keep::Keeper,
    load, print,
    run::{UnderWay, answers, claim_early, observers, tool},
    terminal,
    third::{self, Third},
};
use crate::{
    audit::{self, Audited},
    change::GRACE,
    cli::{Again, Keep, Lookup},
    clock::Clock,
    digest::digest,
    engine::plan::Frozen,
    event::{Answer, Durable, Effect, Event, How, Observer, SiteRecord, StepVerdict},
    journal::Journal,
    lease::{Holder, Same},
    log::Log,
    replay::{Phase, RunState, StepPhase},
    report::console::Console,
    runs::{NoRun, Opened, PLAN, Place, RUNBOOK},
    site::leave::Leave,
    store::Store,
    types::Role,
    verdict::Exit,
};

/// How the run goes on, if not just as it was.
#[derive(Default)]
pub(super) struct Otherwise {
    /// Reading steps from this one on are done again.
    pub from: Option<String>,
    /// Another runbook takes over.
    pub edited: Option<PathBuf>,
}

pub(super) async fn resume(
    runs: &Place,
    wanted: &str,
    again: &Again,
    otherwise: Otherwise,
    json: bool,
) -> Result<Exit, Refusal> {
    let id = runs.find(wanted)?;
    let leave = Arc::new(Leave::default());
    let open = open(runs, &id, &leave, standing(again))?;
    go_on(runs, open, leave, again, otherwise, None, json).await
}

pub(super) fn open(runs: &Place, id: &str, leave: &Arc<Leave>, same: Same) -> Result<Opened, NoRun> {
    runs.open(id, &holder(id), leave, same)
}

/// Whether a process that was heard of a moment ago is overtaken.
fn standing(again: &Again) -> Same {
    if again.take_over { Same::IsOvertaken } else { Same::MayLive }
}

/// This process, at work on a run.
fn holder(id: &str) -> Holder {
    let (user, host) = terminal::who_and_where();
    Holder { run: id.to_owned(), user, host }
}

/// Answers a question. A live run picks the answer up; a dead one goes on in this process. The same answer once more
/// is no error, another one is.
pub(super) async fn approve(
    runs: &Place,
    wanted: &str,
    step: Option<&str>,
    yes: bool,
    comment: Option<String>,
    again: &Again,
    json: bool,
) -> Result<Exit, Refusal> {
    let id = runs.find(wanted)?;
    let Audited { state, .. } = read(runs, &id)?;
    let Some((step, key)) = open_question(&state, step)? else { return answered_before(&state, step, yes) };
    let (user, _) = terminal::who_and_where();
    let question = &state.steps[&step].questions[&key].question;
    if !question.who.is_empty() && !question.who.contains(&user) {
        let who = question.who.join(", ");
        return Err(Refusal::refused(format!("`{step}` may be answered by {who}, and you are {user}")));
    }
    if let Some(until) = question.until.filter(|until| *until <= Clock::Wall.now()) {
        return Err(Refusal::refused(format!(
            "`{step}` could be answered until {until}: no answer by then is a no, with which `firedrill resume {id}` \
             goes on"
        )));
    }
    let answer = Answer { yes, by: user, how: How::Approve, comment };
    let leave = Arc::new(Leave::default());
    let elsewhere = "at work a moment ago, goes on by itself, or with `firedrill resume` should its process be gone";
    let goes_on = match open(runs, &id, &leave, standing(again)) {
        Ok(open) => {
            let answer = Some((step, key, answer));
            return go_on(runs, open, leave, again, Otherwise::default(), answer, json).await;
        }
        Err(NoRun::Live(_)) => "which is at work, goes on by itself",
        Err(NoRun::Elsewhere(_)) => elsewhere,
        Err(other) => return Err(other.into()),
    };
    let left = runs.leave_answer(&id, &step, question, &answer);
    let left = left.map_err(|e| Refusal::new(Exit::Journal, format!("the answer cannot be left for the run: {e}")))?;
    match left {
        None => {
            print(&format!("answered {} to `{step}`; run {id}, {goes_on}", word(yes)));
            Ok(Exit::Held)
        }
        Some(first) => same(&step, &first, yes),
    }
}

/// What is said to an answer when the step asks nothing any more: the last answer to it counts.
fn answered_before(state: &RunState, step: Option<&str>, yes: bool) -> Result<Exit, Refusal> {
    let run = &state.started.run;
    let answers = state.in_order().filter(|(id, _)| step.is_none_or(|step| step == *id));
    let given = answers.flat_map(|(id, step)| step.questions.values().map(move |asked| (id, asked)));
    let last =
        given.filter_map(|(id, asked)| Some((id, asked.at, asked.answer.as_ref()?))).max_by_key(|(_, at, _)| *at);
    match (last, step) {
        (Some((id, _, answer)), _) => same(id, answer, yes),
        (None, Some(step)) => Err(Refusal::refused(format!("step `{step}` of run {run} asks nothing"))),
        (None, None) => Err(Refusal::refused(format!("run {run} asks nothing"))),
    }
}

/// A second answer: nothing happens when it is the first one again.
fn same(step: &str, first: &Answer, yes: bool) -> Result<Exit, Refusal> {
    let (given, by) = (word(first.yes), &first.by);
    if first.yes == yes {
        print(&format!("`{step}` has been answered {given} already, by {by}: nothing to do"));
        return Ok(Exit::Held);
    }
    Err(Refusal::refused(format!("`{step}` has been answered already: {by} said {given}")))
}

fn word(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// The question meant: of the step, or the only one there is; `None`: nothing is asked.
fn open_question(state: &RunState, step: Option<&str>) -> Result<Option<(String, String)>, Refusal> {
    let open: Vec<_> = state.open_questions().filter(|(id, _, _)| step.is_none_or(|step| step == *id)).collect();
    match open.as_slice() {
        [(id, key, _)] => Ok(Some(((*id).to_owned(), (*key).to_owned()))),
        [] => Ok(None),
        several => {
            let ids: Vec<_> = several.iter().map(|(id, _, _)| *id).collect();
            Err(Refusal::refused(format!("several steps ask: name one of {}", ids.join(", "))))
        }
    }
}

/// A run's journal, verified and folded.
pub(super) fn read(runs: &Place, id: &str) -> Result<Audited, Refusal> {
    Ok(read_on(runs, id)?.0)
}

/// The same, and the number of its next batch.
fn read_on(runs: &Place, id: &str) -> Result<(Audited, u64), Refusal> {
    let unsound =
        |what: String| Refusal::new(Exit::Journal, format!("the journal of run {id} does not verify: {what}"));
    let (bytes, next) = runs.bytes(id).map_err(|e| unsound(format!("cannot be read: {e}")))?;
    Ok((audit::journal(&bytes, None).map_err(unsound)?, next))
}

async fn go_on(
    runs: &Place,
    open: Opened,
    leave: Arc<Leave>,
    again: &Again,
    otherwise: Otherwise,
    answer: Option<(String, String, Answer)>,
    json: bool,
) -> Result<Exit, Refusal> {
    // Read under the lock: nobody else can write any more. Of a shared run somebody might, and then what is written
    // next here finds its place taken.
    let (Audited { journal, state }, next) = read_on(runs, &open.id)?;
    if let Phase::Ended(crate::event::Verdict::Held | crate::event::Verdict::Late) = state.phase {
        return Err(Refusal::refused(format!("run {} has ended, and holds: there is nothing to go on with", open.id)));
    }
    if let Some(scenario) = &state.started.sandbox {
        return Err(Refusal::refused(format!(
            "run {} was on the sandbox (`{scenario}`), whose sites are gone with the process that began it: it cannot be \
             resumed, begin a new one",
            open.id
        )));
    }
    let saved = saved(runs, &state)?;
    let loaded = match &otherwise.edited {
        None => load::text(&saved.name, &saved.text, ".".into())?,
        Some(file) => edited::load(file, &saved.text, &state)?,
    };
    if let Some(from) = &otherwise.from {
        may_begin_from(from, &loaded, &state)?;
    }
    let frozen = plan(runs, &open.id, &state)?;
    let mut bound = bind_again(&loaded, &journal, &state, again).await?;
    let keeper = Box::pin(Keeper::new(runs, &keep(&again.keep, &state)?, &mut bound, &loaded.beside)).await?;
    let (user, _) = terminal::who_and_where();
    let given = answers(&loaded.runbook, again.confirm_target.as_deref(), &again.yes, &bound.sites, &user)?;
    let lease = lease_again(&loaded, &state, again, &bound)?;
    let console = Arc::new(Console::stdout());
    if !json {
        console.begin(&state);
    }
    let stopped = Stopped { journal, next, state, loaded, otherwise, frozen, bound, keeper, given, lease };
    let under_way = take_up(runs, open, leave, stopped, observers(&console, json))?;
    if let Some((step, key, answer)) = answer {
        let answered = under_way.log.record(&step, Event::Answered { key, answer }, Durable::Yes);
        answered.map_err(|failure| bind::broken(&failure, &under_way.bound.masker))?;
    }
    under_way.drive(json).await
}

/// A run as it was left, bound again.
pub(super) struct Stopped {
    pub journal: Journal,
    /// The number of the next batch.
    pub next: u64,
    pub state: RunState,
    pub loaded: load::Loaded,
    pub otherwise: Otherwise,
    pub frozen: Option<Frozen>,
    pub bound: bind::Bound,
    pub keeper: Keeper,
    pub given: super::answers::Given,
    pub lease: Option<Arc<Store>>,
}

/// Takes a run up: claims its buckets again, and says on the record that this process goes on with it.
pub(super) fn take_up(
    runs: &Place,
    open: Opened,
    leave: Arc<Leave>,
    stopped: Stopped,
    observers: Vec<Arc<dyn Observer>>,
) -> Result<UnderWay, Refusal> {
    let Stopped { journal, next, state, loaded, otherwise, frozen, mut bound, keeper, given, lease } = stopped;
    let holder = holder(&open.id);
    let third = Third { runs, lease, leave: Arc::clone(&leave) };
    third.apart_from(&bound.sites)?;
    bound.masker = bound.masker.and(third.secrets());
    let patience = bound.obey(&leave);
    open.reckon_with(patience)?;
    if let Place::Site(_) = runs {
        // The intents' times are by another host's clock, perhaps.
        leave.after_another(Duration::ZERO, patience + GRACE);
    }
    let claims = Arc::new(runs.claims(&holder, third.leases(&holder, patience)));
    claim_early(&loaded.runbook, &bound, &*claims).map_err(|f| bind::broken(&f, &bound.masker))?;
    let clock = Clock::Wall;
    let failed = |failure| bind::broken(&failure, &bound.masker);
    let id = open.id.clone();
    let (recorder, lease) =
        open.recorder(runs, Some((&journal, next)), &leave, clock, bound.masker.clone()).map_err(failed)?;
    let log = Log::go_on(recorder, observers, state);
    let Holder { user, host, .. } = holder;
    let edited = match &otherwise.edited {
        None => None,
        Some(_) => Some(Box::new(edited::keep(&loaded, &log).map_err(failed)?)),
    };
    let (sites, from) = (bound.sites.clone(), otherwise.from);
    let resumed = Event::RunResumed { tool: tool(), user, host, sites, from, edited };
    log.record("", resumed, Durable::Yes).map_err(failed)?;
    Ok(UnderWay {
        runs: runs.clone(),
        runbook: loaded.runbook,
        bound,
        log: Arc::new(log),
        claims,
        leave,
        lease,
        answers: Arc::new(super::answers::Given { run: Some((runs.clone(), id)), ..given }),
        frozen,
        keeper,
    })
}

/// The runbook that the run goes on with.
struct Saved {
    name: String,
    text: Vec<u8>,
}

/// The runbook beside the journal, which must be the one that the journal names.
fn saved(runs: &Place, state: &RunState) -> Result<Saved, Refusal> {
    let run = &state.started.run;
    let (file, wanted, sha256) = match &state.edited {
        None => (RUNBOOK, &state.started.runbook_sha256, None),
        Some(edited) => (edited.file.as_str(), &edited.sha256, Some(edited.sha256.as_str())),
    };
    let name = runs.name(run, file);
    let text = runs.file(run, file, sha256).map_err(|e| Refusal::new(Exit::Journal, format!("{name}: {e}")))?;
    if digest(&text) != *wanted {
        return Err(Refusal::refused(format!(
            "{name} was edited since the run began: it is evidence, and is not run. Put it back as it was; an edited \
             copy elsewhere is given by `--use-edited FILE`"
        )));
    }
    Ok(Saved { name, text })
}

/// Steps can be repeated only up to where the run goes on anyhow.
fn may_begin_from(from: &str, loaded: &load::Loaded, state: &RunState) -> Result<(), Refusal> {
    let run = &state.started.run;
    if state.finishing() {
        let text = format!("run {run} is in its `finally`: resume it to its end first, then begin from `{from}`");
        return Err(Refusal::refused(text));
    }
    let ids: Vec<&str> = loaded.runbook.steps.iter().map(|spec| spec.id.as_str()).collect();
    if !ids.contains(&from) {
        let help = crate::problem::did_you_mean(from, ids.iter().copied());
        let help = help.unwrap_or_else(|| format!("its steps are {}", ids.join(", ")));
        return Err(Refusal::refused(format!("`--from {from}`: run {run} has no such step ({help})")));
    }
    let stands = |id: &str| match state.steps.get(id).map(|step| &step.phase) {
        Some(StepPhase::Skipped(_)) => true,
        Some(StepPhase::Ended(end)) => {
            end.verdict == StepVerdict::Held || state.started.warn_only.iter().any(|warned| warned == id)
        }
        Some(StepPhase::Pending | StepPhase::Running) | None => false,
    };
    let next = ids.iter().find(|id| !stands(id));
    let after_next = next.is_some_and(|next| ids.iter().take_while(|id| *id != next).all(|id| *id != from));
    if let Some(next) = next.filter(|next| after_next && **next != from) {
        return Err(Refusal::refused(format!(
            "`--from {from}`: the run goes on with `{next}`, which comes before it, and leaves no step out"
        )));
    }
    let begun = state.steps.get(from).and_then(|step| step.begun.as_ref());
    if stands(from) && begun.is_some_and(|begun| begun.effect != Effect::Reads) {
        return Err(Refusal::refused(format!(
            "`--from {from}`: that step held and does more than read, so it is not done again; name a reading step"
        )));
    }
    Ok(())
}

/// The plan that the run must keep to, as it was when the run began.
fn plan(runs: &Place, id: &str, state: &RunState) -> Result<Option<Frozen>, Refusal> {
    let Some(wanted) = &state.started.plan_sha256 else { return Ok(None) };
    let unsound = |what: String| Refusal::new(Exit::Journal, format!("{}: {what}", runs.name(id, PLAN)));
    let text = runs.file(id, PLAN, None).map_err(unsound)?;
    if digest(&text) != *wanted {
        return Err(unsound("is not the plan that the run began with".into()));
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| unsound(format!("is no plan: {e}")))
}

/// The evidence that the run began with is stored again unless another place is given.
fn keep(given: &Keep, state: &RunState) -> Result<Keep, Refusal> {
    let evidence = match (&given.evidence, &state.started.evidence) {
        (Some(given), _) => Some(given.clone()),
        (None, Some(began)) => Some(began.parse().map_err(|why| Refusal::refused(format!("`{began}`: {why}")))?),
        (None, None) => None,
    };
    Ok(Keep { evidence, sign_key: given.sign_key.clone() })
}

/// The place of the leases: the run's own, unless another one is named now.
fn lease_again(
    loaded: &load::Loaded,
    state: &RunState,
    again: &Again,
    bound: &bind::Bound,
) -> Result<Option<Arc<Store>>, Refusal> {
    let Some(named) = again.lease.lease.as_ref().or(state.started.lease.as_ref()) else { return Ok(None) };
    let lookup = Lookup { sites: bound.sites_file.clone(), ..again.lookup.clone() };
    third::lease(Some(named), &lookup, &loaded.beside)
}

/// The same sites as before, and the journal's inputs; those that were masked must be given again.
async fn bind_again(
    loaded: &load::Loaded,
    journal: &Journal,
    state: &RunState,
    again: &Again,
) -> Result<bind::Bound, Refusal> {
    let masked = |name: &str| {
        let pointers = journal.lines.iter().take(1).flat_map(|first| &first.masked);
        let inputs = pointers.filter_map(|pointer| pointer.strip_prefix("/inputs/")?.split('/').next());
        inputs.into_iter().any(|input| input == name)
    };
    let declared = |name: &str| loaded.runbook.inputs.iter().any(|input| input.name == name && input.secret);
    let secret = |name: &str| declared(name) || masked(name);
    let mut values = state.started.inputs.clone();
    values.retain(|name, _| !secret(name));
    if let Some((name, _)) = again.inputs.iter().find(|(name, _)| !secret(name)) {
        return Err(Refusal::refused(format!("`{name}` is no secret input: the run keeps the value it began with")));
    }
    let lost = state.started.inputs.keys().find(|name| masked(name) && again.inputs.iter().all(|(n, _)| n != *name));
    if let Some(name) = lost {
        return Err(Refusal::refused(format!("`{name}` was masked in the journal: give it again, `-i {name}=…`")));
    }
    bind::overlay(&mut values, &again.inputs);
    let inputs = bind::checked(&loaded.runbook, &values)?;
    let aliases: BTreeMap<Role, String> =
        state.started.sites.iter().map(|(role, site)| (Role(role.clone()), site.alias.clone())).collect();
    let file = again.lookup.sites.clone().or_else(|| state.started.sites_file.as_ref().map(PathBuf::from));
    let lookup = Lookup { sites: file, allow_insecure: again.lookup.allow_insecure };
    let found = bind::wires(&aliases, &lookup, &loaded.beside)?;
    let mut sites = bind::look(&found.wires).await;
    same_deployments(&state.started.sites, &sites)?;
    // A site that is down now is held against the id that it had when it comes back.
    for (role, site) in &mut sites {
        if site.deployment_id.is_none() {
            site.deployment_id = state.started.sites.get(role).and_then(|before| before.deployment_id.clone());
        }
    }
    let masker = bind::masker(&loaded.runbook, &found.wires, &inputs);
    Ok(bind::Bound {
        wires: found.wires,
        sites,
        inputs,
        accepted: state.started.accepted.clone(),
        masker,
        sites_file: found.file,
        sandbox: None,
        lookup,
    })
}

pub(super) fn same_deployments(
    before: &BTreeMap<String, SiteRecord>,
    now: &BTreeMap<String, SiteRecord>,
) -> Result<(), Refusal> {
    for (role, was) in before {
        let is = now.get(role).and_then(|site| site.deployment_id.as_ref());
        if let (Some(was_id), Some(is_id)) = (&was.deployment_id, is)
            && was_id != is_id
        {
            return Err(Refusal::refused(format!(
                "`{}` was deployment {was_id} when the run began and is {is_id} now: begin a new run",
                was.alias
            )));
        }
    }
    Ok(())
}
