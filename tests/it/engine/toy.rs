//! Toy kinds, a toy world they work on, and a run of them on a paused clock.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use firedrill::{
    change::{Change, ChangeKind, Settled},
    clock::Clock,
    engine::{Answers, Setup, StopSignal},
    event::{
        Answer, ArtifactFile, Durable, Event, FORMAT, Finding, How, Line, Progress, Question, Recorder, RunStarted,
        SiteRecord,
    },
    failure::{Class, Failure},
    log::Log,
    replay::RunState,
    runbook::{self, OnFailure, Runbook},
    secret::Secret,
    site::{SiteSpec, Value, Wire},
    step::{Asks, Changes, Claims, Cx, Kind, Reads, Step},
    tree,
    types::{BucketName, Period, Role},
    verdict::{self, Exit},
};
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

pub(crate) const KINDS: &[Kind] = &[Kind::of::<Look>(), Kind::of::<Prove>(), Kind::of::<Alter>(), Kind::of::<Ask>()];
pub(crate) const CHANGES: &[ChangeKind] = &[ChangeKind::of::<Touch>()];

/// What the toy kinds look at and change; each test has its own, found by name.
#[derive(Default)]
pub(crate) struct World {
    pub state: Mutex<State>,
    /// Rung when a request makes the process die.
    pub death: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    /// Bodies of the requests that took effect, in order.
    pub touched: Vec<String>,
    /// How many requests left.
    pub sent: usize,
    /// What happens to the n-th request, from 1.
    pub fate: HashMap<usize, Fate>,
    /// How many looks there were.
    pub looks: u64,
    /// What the n-th look meets, from 1.
    pub trouble: HashMap<u64, Class>,
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes effect, and no answer comes.
    NoAnswer,
    /// It never arrives, and no answer comes.
    Lost,
    /// The server says no.
    Refused,
    /// It takes so many seconds.
    Slow(u64),
    /// The process dies before it leaves.
    DieBefore,
    /// The process dies before it leaves, but the network delivers it so many seconds later.
    DieLate(u64),
    /// The process dies after it took effect.
    DieAfter,
    /// It takes effect, no answer comes, and nobody can tell.
    Untold,
}

static WORLDS: LazyLock<Mutex<HashMap<String, Arc<World>>>> = LazyLock::new(Mutex::default);

pub(crate) fn world(name: &str) -> Arc<World> {
    Arc::clone(WORLDS.lock().unwrap().entry(name.to_owned()).or_default())
}

impl World {
    async fn die(&self) {
        self.death.notify_one();
        std::future::pending::<()>().await;
    }
}

/// Looks at the world.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Look {
    /// Name of the world.
    world: String,
    /// Seconds that a look takes.
    #[serde(default)]
    seconds: u64,
    /// Does not hold below this number of looks.
    #[serde(default)]
    at_least: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Looked {
    /// Number of this look.
    n: u64,
    /// How often the world was touched.
    touched: usize,
}

impl Step for Look {
    const USES: &'static str = "toy.look";
    const EXAMPLE: &'static str = "- id: look\n  uses: toy.look\n  with: { world: w }\n";
    type Access = Reads;
    type Output = Looked;
    fn describe(&self) -> String {
        format!("look at `{}`", self.world)
    }
    async fn run(&self, _: &Cx<Reads>) -> Result<Looked, Failure> {
        let world = world(&self.world);
        let (n, trouble) = {
            let mut state = world.state.lock().unwrap();
            state.looks += 1;
            let n = state.looks;
            (n, state.trouble.get(&n).copied())
        };
        tokio::time::sleep(Duration::from_secs(self.seconds)).await;
        match trouble {
            Some(class) => Err(Failure::of(class, format!("look {n} met trouble"))),
            None => Ok(Looked { n, touched: world.state.lock().unwrap().touched.len() }),
        }
    }
    fn findings(&self, output: &Looked) -> Vec<Finding> {
        if output.n < self.at_least {
            vec![Finding::new("few", format!("only {} looks", output.n))]
        } else {
            Vec::new()
        }
    }
}

/// Looks, and proves something by it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Prove {
    /// Name of the world.
    world: String,
}

impl Step for Prove {
    const USES: &'static str = "toy.prove";
    const EXAMPLE: &'static str = "- id: prove\n  uses: toy.prove\n  with: { world: w }\n";
    const PROVES: bool = true;
    type Access = Reads;
    type Output = Looked;
    fn describe(&self) -> String {
        format!("prove `{}`", self.world)
    }
    async fn run(&self, _: &Cx<Reads>) -> Result<Looked, Failure> {
        Ok(Looked { n: 0, touched: world(&self.world).state.lock().unwrap().touched.len() })
    }
}

/// Changes the world, several times.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alter {
    /// Name of the world.
    world: String,
    /// How many changes, one after the other.
    #[serde(default = "one")]
    times: u32,
    /// Whether only a later proof makes it green.
    #[serde(default)]
    bucket: Option<BucketName>,
}

fn one() -> u32 {
    1
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Altered {
    /// What the world answered, one each.
    receipts: Vec<String>,
}

impl Step for Alter {
    const USES: &'static str = "toy.alter";
    const EXAMPLE: &'static str = "- id: alter\n  uses: toy.alter\n  with: { world: w }\n";
    type Access = Changes;
    type Output = Altered;
    fn describe(&self) -> String {
        format!("alter `{}`", self.world)
    }
    async fn run(&self, cx: &Cx<Changes>) -> Result<Altered, Failure> {
        let bucket = self.bucket.clone().unwrap_or(BucketName::try_from("data".to_owned()).unwrap());
        let site = cx.claim(&Role::source(), &bucket)?;
        let mut receipts = Vec::new();
        for time in 1..=self.times {
            let key = format!("touch-{time}");
            let make = |n| Touch { world: self.world.clone(), id: cx.mint(&key, n) };
            receipts.push(site.change(&key, make).await?);
        }
        Ok(Altered { receipts })
    }
}

/// One request to the world.
#[derive(Serialize, Deserialize)]
pub(crate) struct Touch {
    world: String,
    id: String,
}

impl Change for Touch {
    const NAME: &'static str = "touch";
    const NEEDS_PROOF: bool = true;
    type Receipt = String;
    fn describe(&self) -> String {
        format!("touch `{}`", self.world)
    }
    async fn send(&self, _: &Wire) -> Result<String, Failure> {
        let world = world(&self.world);
        let fate = {
            let mut state = world.state.lock().unwrap();
            state.sent += 1;
            let n = state.sent;
            state.fate.get(&n).copied()
        };
        let take_effect = || world.state.lock().unwrap().touched.push(self.id.clone());
        match fate {
            None => take_effect(),
            Some(Fate::NoAnswer | Fate::Untold) => {
                take_effect();
                return Err(Failure::unreachable("the connection broke"));
            }
            Some(Fate::Lost) => return Err(Failure::timed_out("no answer")),
            Some(Fate::Refused) => return Err(Failure::refused("the world says no")),
            Some(Fate::Slow(seconds)) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                take_effect();
            }
            Some(Fate::DieBefore) => world.die().await,
            Some(Fate::DieLate(seconds)) => {
                // The network goes on by itself: a task of the next process delivers it.
                LATE.lock().unwrap().push((self.world.clone(), self.id.clone(), seconds));
                world.die().await;
            }
            Some(Fate::DieAfter) => {
                take_effect();
                world.die().await;
            }
        }
        Ok(self.id.clone())
    }
    async fn settle(&self, _: &Wire) -> Result<Settled<String>, Failure> {
        let world = world(&self.world);
        let state = world.state.lock().unwrap();
        if state.fate.get(&state.sent) == Some(&Fate::Untold) {
            return Ok(Settled::CannotTell("the world forgot".into()));
        }
        let done = state.touched.contains(&self.id);
        Ok(if done { Settled::Done(self.id.clone()) } else { Settled::NotDone })
    }
}

/// Requests that arrive after the death of the process that sent them: world, body, delay in seconds.
pub(crate) static LATE: Mutex<Vec<(String, String, u64)>> = Mutex::new(Vec::new());

/// Asks a person.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// The question.
    prompt: String,
    /// No answer after this long is a no.
    #[serde(default)]
    deadline: Option<Period>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Said {
    /// Whether the answer was yes.
    yes: bool,
}

impl Step for Ask {
    const USES: &'static str = "toy.ask";
    const EXAMPLE: &'static str = "- id: ask\n  uses: toy.ask\n  with: { prompt: go? }\n";
    type Access = Asks;
    type Output = Said;
    fn describe(&self) -> String {
        self.prompt.clone()
    }
    async fn run(&self, cx: &Cx<Asks>) -> Result<Said, Failure> {
        let until = self.deadline.map(|deadline| cx.now() + deadline.0);
        let question = Question { prompt: self.prompt.clone(), typed: None, who: Vec::new(), until };
        Ok(Said { yes: cx.ask("confirm", question).await?.yes })
    }
    fn findings(&self, output: &Said) -> Vec<Finding> {
        if output.yes { Vec::new() } else { vec![Finding::new("no", "the answer was no")] }
    }
}

/// Keeps lines in memory, as a disk would, and can refuse from some line on.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub lines: Arc<Mutex<Vec<Line>>>,
    /// Number of lines that fit.
    pub room: Option<usize>,
    clock: Option<Clock>,
}

impl Recorder for Disk {
    fn next(&self, path: &str, event: &Event) -> Result<Line, Failure> {
        Ok(Line {
            v: FORMAT,
            seq: self.lines.lock().unwrap().len() as u64,
            at: self.clock.map_or_else(jiff::Timestamp::now, Clock::now),
            prev: String::new(),
            path: path.to_owned(),
            masked: Vec::new(),
            event: event.clone(),
        })
    }
    fn write(&self, line: &Line, _: Durable) -> Result<(), Failure> {
        let mut lines = self.lines.lock().unwrap();
        if self.room.is_some_and(|room| lines.len() >= room) {
            return Err(Failure::Journal("the disk is full".into()));
        }
        lines.push(line.clone());
        Ok(())
    }
    fn artifact(&self, _: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        Err(Failure::Journal("toy runs have no files".into()))
    }
    fn masked(&self, progress: &Progress) -> Progress {
        progress.clone()
    }
}

/// Says the same to every question; nothing when nobody is there.
pub(crate) struct Person(pub Option<bool>);

impl Answers for Person {
    fn answer<'a>(&'a self, _: &'a str, question: &'a Question) -> BoxFuture<'a, Option<Answer>> {
        Box::pin(async move {
            if self.0.is_none() && question.until.is_some() {
                std::future::pending::<()>().await;
            }
            self.0.map(|yes| Answer { yes, by: "ann".into(), how: How::Terminal, comment: None })
        })
    }
}

struct Free;

impl Claims for Free {
    fn claim(&self, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// One process over a journal: begins a run, or goes on with one.
pub(crate) struct Process<'a> {
    pub text: &'a str,
    pub disk: Disk,
    pub person: Option<bool>,
    pub stop: StopSignal,
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(Exit),
    Journal,
    Died,
}

impl<'a> Process<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, disk: Disk::default(), person: None, stop: StopSignal::default() }
    }

    /// Runs until the run ends, waits or the process dies. The clock is paused: a wait takes no time.
    pub(crate) fn run(&self) -> End {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let end = runtime.block_on(self.live());
        runtime.shutdown_background();
        end
    }

    pub(crate) fn state(&self) -> RunState {
        RunState::replay(&*self.disk.lines.lock().unwrap()).expect("a legal journal")
    }

    async fn live(&self) -> End {
        let runbook = runbook::read(&tree::parse(self.text).unwrap()).unwrap();
        let name = runbook.summary.clone();
        let lines = self.disk.lines.lock().unwrap().clone();
        let start = lines.last().map_or_else(jiff::Timestamp::now, |line| line.at + Duration::from_millis(1));
        let clock = Clock::starting_at(start);
        let disk = Arc::new(Disk { clock: Some(clock), ..self.disk.clone() });
        for (world_name, id, seconds) in LATE.lock().unwrap().extract_if(.., |(world, _, _)| *world == name) {
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                world(&world_name).state.lock().unwrap().touched.push(id);
            });
        }
        let begun = match RunState::replay(&lines) {
            Err(_) => Log::begin(disk, Vec::new(), Event::RunStarted(Box::new(started(&runbook)))),
            Ok(state) => {
                let log = Log::go_on(disk, Vec::new(), state);
                let sites = started(&runbook).sites;
                let resumed = Event::RunResumed {
                    tool: "toy".into(),
                    user: "ann".into(),
                    host: "h".into(),
                    sites,
                    from: None,
                    edited: None,
                };
                log.record("", resumed, Durable::Yes).map(|()| log)
            }
        };
        let log = match begun {
            Ok(log) => Arc::new(log),
            Err(Failure::Journal(_)) => return End::Journal,
            Err(other) => panic!("{other}"),
        };
        let setup = Setup {
            runbook,
            kinds: KINDS,
            changes: CHANGES,
            log: Arc::clone(&log),
            wires: BTreeMap::from([(Role::source(), nowhere())]),
            inputs: serde_json::Map::new(),
            answers: Arc::new(Person(self.person)),
            claims: Arc::new(Free),
            stop: self.stop.clone(),
            clock,
            frozen: None,
            probe: true,
            waits: true,
        };
        let world = world(&name);
        tokio::select! {
            ended = firedrill::engine::run(&setup) => match ended {
                Ok(()) => End::Exit(log.state(verdict::verdict).1),
                Err(Failure::Journal(_)) => End::Journal,
                Err(other) => panic!("{other}"),
            },
            () = world.death.notified() => End::Died,
        }
    }
}

fn started(runbook: &Runbook) -> RunStarted {
    let ids = |specs: &[runbook::StepSpec]| specs.iter().map(|spec| spec.id.clone()).collect();
    let record = SiteRecord {
        alias: "nowhere".into(),
        endpoint: "http://127.0.0.1:1".into(),
        deployment_id: Some("d".into()),
        release: None,
        unreachable: None,
    };
    RunStarted {
        run: "20261123-000000-0000".into(),
        tool: "toy".into(),
        runbook: runbook.name.clone(),
        runbook_sha256: String::new(),
        plan_sha256: None,
        kind: runbook.kind,
        user: "ann".into(),
        host: "h".into(),
        inputs: serde_json::Map::new(),
        sites: BTreeMap::from([("source".to_owned(), record)]),
        sandbox: None,
        sites_file: None,
        evidence: None,
        lease: None,
        accepted: BTreeMap::new(),
        since: None,
        rto: runbook.rto.map(|rto| rto.0.as_secs_f64()),
        steps: ids(&runbook.steps),
        finally: ids(&runbook.finally),
        warn_only: runbook
            .steps
            .iter()
            .filter(|spec| spec.on_failure == OnFailure::Warn)
            .map(|spec| spec.id.clone())
            .collect(),
    }
}

/// A connection that nothing is ever sent over.
fn nowhere() -> Arc<Wire> {
    Wire::new(SiteSpec {
        alias: "nowhere".into(),
        endpoint: http::Uri::from_static("http://127.0.0.1:1"),
        nodes: Vec::new(),
        region: "us-east-1".into(),
        path_style: true,
        access_key: Value::Literal(Secret::new("a")),
        secret_key: Value::Literal(Secret::new("b")),
        session_token: None,
        ca_bundle: None,
        pin: None,
        insecure: false,
        connect_timeout: Duration::from_secs(5),
        request_timeout: Duration::from_secs(30),
        max_requests_per_second: None,
        drills: false,
    })
    .expect("a connection is built without a network")
}
