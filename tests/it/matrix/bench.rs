//! Two embedded sites behind recorders, and processes over one run of a runbook on them: each may die at a boundary,
//! and the next one goes on with what is on disk.

use std::{
    collections::BTreeMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use firedrill::{
    check,
    clock::Clock,
    engine::{self, Answers, Setup, StopSignal},
    event::{
        Answer, ArtifactFile, Durable, Event, How, Line, Progress, Question, Recorder, RunStarted, SiteRecord,
        StepVerdict, Verdict,
    },
    failure::Failure,
    journal::{FileRecorder, Journal},
    log::Log,
    mask::Masker,
    replay::RunState,
    runbook::{self, Runbook},
    runs::{FileClaims, Runs},
    sandbox::{self, Access, Pair, Scenario},
    secret::Secret,
    site::{Site, SiteSpec, Value, Wire, changes},
    step::Claims,
    steps,
    types::Role,
    verdict::{self, Exit},
};
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use crate::proxy::Proxy;

/// How long a request may take here. A start that is not found is waited for this long, and a grace.
pub(super) const REQUEST: Duration = Duration::from_secs(2);

/// One run of a runbook on a pair of its own; all of it is gone when dropped.
pub(super) struct Bench {
    runbook: Runbook,
    text: String,
    inputs: serde_json::Map<String, serde_json::Value>,
    runs: Runs,
    pub(super) source: Proxy,
    pub(super) target: Proxy,
    specs: BTreeMap<Role, SiteSpec>,
    pub(super) pair: Pair,
    _sites: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Exit(Exit),
    Died,
    Journal(String),
}

/// What one process meets.
pub(super) struct Life {
    /// It dies when the journal has so many lines.
    pub(super) lines: Option<u64>,
    /// It dies when this is rung.
    pub(super) death: Arc<Notify>,
    pub(super) person: Option<bool>,
    /// What is written goes through this first.
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Clock,
    /// Every other line is written by a clock that is wrong by so much.
    pub(super) jump: Option<jiff::SignedDuration>,
}

/// What may go wrong between the recorder and the disk.
pub(super) trait Disk: Send + Sync {
    /// Before a line is written.
    fn line(&self, _: &Line) -> io::Result<()> {
        Ok(())
    }
    /// After it was written, when it is to be synced.
    fn sync(&self, _: &Line) -> io::Result<()> {
        Ok(())
    }
    /// Before a file beside the journal is begun.
    fn artifact(&self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) struct Sound;

impl Disk for Sound {}

impl Life {
    /// To the end, with a person who says yes.
    pub(super) fn whole() -> Self {
        let clock = Clock::Wall;
        Self { lines: None, death: Arc::default(), person: Some(true), disk: Arc::new(Sound), clock, jump: None }
    }

    pub(super) fn until_line(lines: u64) -> Self {
        Self { lines: Some(lines), ..Self::whole() }
    }
}

/// What a run comes to: the verdict on it, on each of its steps, and what took effect on the sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) exit: Exit,
    pub(super) verdict: Verdict,
    pub(super) steps: Vec<(String, Option<StepVerdict>)>,
    pub(super) effects: Vec<String>,
}

impl Bench {
    pub(super) fn start(runbook: &str, scenario: &str, inputs: &[(&str, &str)]) -> Self {
        let scenario = Scenario::read(scenario).unwrap_or_else(|problem| panic!("{problem:?}"));
        let (runbook_, _) = check::load(runbook, steps::ALL).unwrap_or_else(|problems| panic!("{problems:?}"));
        let given = std::iter::once(("bucket", scenario.bucket.as_str())).chain(inputs.iter().copied());
        let given = given.map(|(name, value)| (name.to_owned(), serde_json::Value::from(value))).collect();
        let inputs = runbook::bind_inputs(&runbook_, &given).unwrap_or_else(|problems| panic!("{problems:?}"));
        let sites =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let pair = sites.block_on(sandbox::start(scenario)).expect("a pair");
        let (source, target) = (Proxy::start(&pair.source.endpoint), Proxy::start(&pair.target.endpoint));
        let specs = BTreeMap::from([
            (Role::source(), spec("source", &pair.source, &source)),
            (Role::target(), spec("target", &pair.target, &target)),
        ]);
        let folder =
            tempfile::Builder::new().prefix("matrix-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let runs = Runs::new(folder.path().join("runs"));
        let text = runbook.to_owned();
        Self { runbook: runbook_, text, inputs, runs, source, target, specs, pair, _sites: sites, _folder: folder }
    }

    /// One process: begins the run, or goes on with it.
    pub(super) fn live(&self, life: &Life) -> End {
        let process = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ended = catch_unwind(AssertUnwindSafe(|| process.block_on(self.process(life))));
        // As the kernel does it: connections are closed, locks are given back.
        drop(process);
        match ended {
            Ok(end) => end,
            Err(payload) if payload.is::<Death>() => End::Died,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// The journal as it is on disk.
    pub(super) fn journal(&self) -> Journal {
        self.runs.read(&self.run()).expect("a sound journal")
    }

    pub(super) fn state(&self) -> RunState {
        RunState::replay(&self.journal().lines).expect("a legal journal")
    }

    pub(super) fn folder(&self) -> std::path::PathBuf {
        self.runs.dir(&self.run())
    }

    fn run(&self) -> String {
        self.runs.find("latest").expect("a run")
    }

    pub(super) fn came(&self) -> Came {
        let state = self.state();
        let (verdict, exit) = verdict::verdict(&state);
        let steps = state.in_order().map(|(id, step)| (id.to_owned(), step.verdict())).collect();
        Came { exit, verdict, steps, effects: self.effects() }
    }

    /// Every request that changed something on a site, sorted; what a server refused, or never saw, did not.
    pub(super) fn effects(&self) -> Vec<String> {
        let of = |name: &'static str, proxy: &Proxy| {
            let changing = proxy.changing().into_iter();
            let done = changing.filter(|r| r.method != "GET" && r.status.is_some_and(|status| status < 300));
            done.map(move |r| format!("{name} {} {}", r.method, without_ids(&r.path))).collect::<Vec<_>>()
        };
        let mut all = of("source", &self.source);
        all.extend(of("target", &self.target));
        all.sort();
        all
    }

    async fn process(&self, life: &Life) -> End {
        tokio::select! {
            biased;
            () = life.death.notified() => End::Died,
            ended = self.drive(life) => match ended {
                Ok(exit) => End::Exit(exit),
                Err(Failure::Journal(why)) => End::Journal(why),
                Err(other) => panic!("{other}"),
            },
        }
    }

    async fn drive(&self, life: &Life) -> Result<Exit, Failure> {
        let mut wires = BTreeMap::new();
        for (role, spec) in &self.specs {
            wires.insert(role.clone(), Wire::new(spec.clone())?);
        }
        let sites = look(&wires).await;
        let masker = Masker::new(wires.values().flat_map(|wire| wire.secrets()), []);
        let known = self.runs.find("latest").ok();
        let failed = |e: &dyn std::fmt::Display| Failure::Journal(e.to_string());
        let read = match &known {
            None => None,
            Some(id) => Some(self.runs.read(id).map_err(|e| failed(&e))?),
        };
        let open = match &known {
            None => self.runs.create("20261123-000000-0001", self.text.as_bytes(), None),
            Some(id) => self.runs.open(id),
        };
        let open = open.map_err(|e| failed(&e))?;
        let dying = |file: FileRecorder| {
            let written = AtomicU64::new(read.as_ref().map_or(0, |journal| journal.lines.len() as u64));
            let (death, disk) = (Arc::clone(&life.death), Arc::clone(&life.disk));
            Arc::new(Dying {
                file,
                jump: life.jump,
                lines: life.lines,
                written,
                death,
                disk,
                failed: AtomicU64::new(0),
            })
        };
        let log = match &read {
            None => {
                let file = FileRecorder::new(open.dir.clone(), open.journal, life.clock, masker);
                Log::begin(dying(file), Vec::new(), Event::RunStarted(Box::new(self.started(&open.id, &sites))))?
            }
            Some(journal) => {
                let file = FileRecorder::append(open.dir.clone(), open.journal, journal, life.clock, masker);
                let state = RunState::replay(&journal.lines).expect("a legal journal");
                let log = Log::go_on(dying(file.map_err(|e| failed(&e))?), Vec::new(), state);
                let resumed = Event::RunResumed {
                    tool: "matrix".into(),
                    user: "ann".into(),
                    host: "h".into(),
                    sites,
                    from: None,
                    edited: None,
                };
                log.record("", resumed, Durable::Yes)?;
                log
            }
        };
        let log = Arc::new(log);
        let claims: Arc<dyn Claims> = Arc::new(FileClaims::new(&self.runs, &open.id));
        let setup = Setup {
            runbook: self.runbook.clone(),
            kinds: steps::ALL,
            changes: changes::ALL,
            log: Arc::clone(&log),
            wires,
            inputs: self.inputs.clone(),
            answers: Arc::new(Person(life.person)),
            claims,
            stop: StopSignal::default(),
            clock: life.clock,
            frozen: None,
            probe: true,
            waits: true,
        };
        engine::run(&setup).await?;
        Ok(log.state(verdict::verdict).1)
    }

    fn started(&self, id: &str, sites: &BTreeMap<String, SiteRecord>) -> RunStarted {
        let ids = |specs: &[runbook::StepSpec]| specs.iter().map(|spec| spec.id.clone()).collect();
        let warned = self.runbook.steps.iter().filter(|spec| spec.on_failure == runbook::OnFailure::Warn);
        RunStarted {
            run: id.to_owned(),
            tool: "matrix".into(),
            runbook: self.runbook.name.clone(),
            runbook_sha256: firedrill::digest::digest(self.text.as_bytes()),
            plan_sha256: None,
            kind: self.runbook.kind,
            user: "ann".into(),
            host: "h".into(),
            inputs: self.inputs.clone(),
            sites: sites.clone(),
            sites_file: None,
            sandbox: None,
            lease: None,
            evidence: None,
            // Loopback speaks plain http, which encrypted objects should not.
            accepted: BTreeMap::from([("tls".to_owned(), "a rehearsal".to_owned())]),
            since: None,
            rto: self.runbook.rto.map(|rto| rto.0.as_secs_f64()),
            steps: ids(&self.runbook.steps),
            finally: ids(&self.runbook.finally),
            warn_only: warned.map(|spec| spec.id.clone()).collect(),
        }
    }
}

fn spec(alias: &str, site: &Access, proxy: &Proxy) -> SiteSpec {
    let literal = |text: &str| Value::Literal(Secret::new(text.to_owned()));
    SiteSpec {
        alias: alias.to_owned(),
        endpoint: proxy.endpoint().parse().expect("an address"),
        // The name under which the source knows the target. The source has none: a start goes to a node, past the recorder.
        nodes: if alias == "target" { vec![site.endpoint.parse().expect("an address")] } else { Vec::new() },
        region: "us-east-1".into(),
        path_style: true,
        access_key: literal(&site.access_key),
        secret_key: literal(&site.secret_key),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: REQUEST,
        request_timeout: REQUEST,
        max_requests_per_second: None,
        drills: true,
    }
}

async fn look(wires: &BTreeMap<Role, Arc<Wire>>) -> BTreeMap<String, SiteRecord> {
    let mut sites = BTreeMap::new();
    for (role, wire) in wires {
        let site = Site::reading(Arc::clone(wire));
        let info = site.info().await.expect("a site that answers");
        let record = SiteRecord {
            alias: site.alias().to_owned(),
            endpoint: site.endpoint(),
            deployment_id: Some(info.deployment_id.clone()),
            release: None,
            unreachable: None,
        };
        sites.insert(role.to_string(), record);
    }
    sites
}

/// The path of a request, without what differs from run to run: reset ids, and the numbers in ARNs.
pub(super) fn without_ids(path: &str) -> String {
    let id =
        regex_lite::Regex::new("firedrill-[0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").expect("a pattern");
    id.replace_all(path, "ID").into_owned()
}

/// A process that is gone: nothing of it goes on.
struct Death;

/// The recorder on disk, of a process that dies after some line.
struct Dying {
    file: FileRecorder,
    jump: Option<jiff::SignedDuration>,
    lines: Option<u64>,
    written: AtomicU64,
    death: Arc<Notify>,
    disk: Arc<dyn Disk>,
    /// 1 after a write that failed: the program must write nothing after it.
    failed: AtomicU64,
}

impl Dying {
    fn die(&self) -> ! {
        self.death.notify_one();
        resume_unwind(Box::new(Death));
    }
    fn failed(&self, why: &io::Error) -> Failure {
        self.failed.store(1, Ordering::SeqCst);
        Failure::Journal(why.to_string())
    }
}

impl Recorder for Dying {
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure> {
        if self.lines.is_some_and(|lines| self.written.load(Ordering::SeqCst) >= lines) {
            self.die();
        }
        if self.failed.load(Ordering::SeqCst) == 1 {
            return Err(Failure::Journal("nothing is written after a failure".into()));
        }
        let mut line = self.file.next(path, event)?;
        if let Some(jump) = self.jump.filter(|_| line.seq % 2 == 1) {
            line.at = line.at.checked_add(jump).expect("a time within range");
        }
        Ok(line)
    }

    fn write(&self, line: &Line, durable: Durable) -> Result<(), Failure> {
        self.disk.line(line).map_err(|e| self.failed(&e))?;
        self.file.write(line, durable)?;
        if durable == Durable::Yes {
            self.disk.sync(line).map_err(|e| self.failed(&e))?;
        }
        let written = self.written.fetch_add(1, Ordering::SeqCst) + 1;
        if self.lines == Some(written) {
            self.die();
        }
        Ok(())
    }

    fn masked(&self, progress: &Progress) -> Progress {
        self.file.masked(progress)
    }

    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        self.disk.artifact().map_err(|e| self.failed(&e))?;
        self.file.artifact(name)
    }
}

struct Person(Option<bool>);

impl Answers for Person {
    fn answer<'a>(&'a self, _: &'a str, _: &'a Question) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move { self.0.map(|yes| Answer { yes, by: "ann".into(), how: How::Terminal, comment: None }) })
    }
}

/// Runs all of these, a few at a time; the first panic is the test's.
pub(super) fn side_by_side<T: Send, R: Send>(all: Vec<T>, at_a_time: usize, one: impl Fn(T) -> R + Sync) -> Vec<R> {
    let todo = std::sync::Mutex::new(all.into_iter().enumerate());
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().expect("no panic").next();
                    let Some((n, item)) = next else { return };
                    let result = one(item);
                    done.lock().expect("no panic").push((n, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no panic");
    done.sort_by_key(|(n, _)| *n);
    done.into_iter().map(|(_, result)| result).collect()
}
