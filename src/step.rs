//! The contract: what a step kind is, and all that it is given. See `CONTRIBUTING.md`, "Add a step kind".

use std::{collections::BTreeMap, future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    change::Ledger,
    event::{Answer, ArtifactFile, Effect, Finding, Progress, Question},
    failure::Failure,
    problem::Problem,
    site::{Site, Wire},
    tree::Node,
    types::{BucketName, Role},
};

/// A step kind. The struct is its parameters, and their doc comments are the reference that operators read.
pub trait Step: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static {
    /// What a runbook writes after `uses:`.
    const USES: &'static str;
    /// One YAML step, shown in the reference and run by the tests.
    const EXAMPLE: &'static str;
    /// What it may do: [`Reads`], [`Changes`] or [`Asks`].
    type Access: Access;
    /// What later steps read as `steps.<id>.<field>`.
    type Output: Serialize + JsonSchema + Send;
    /// Whether its holding proves the data on the target. A run that started a resync is green only after such a step.
    const PROVES: bool = false;

    /// The line that `plan` and the console print.
    fn describe(&self) -> String;

    /// Entered again from the top after a retry or a resume: changes and answers are remembered by key, reads are
    /// repeated. Cancelled by being dropped. `Err` means "could not tell"; what did not hold belongs into the output.
    fn run(&self, cx: &Cx<Self::Access>) -> impl Future<Output = Result<Self::Output, Failure>> + Send;

    /// What did not hold.
    fn findings(&self, _output: &Self::Output) -> Vec<Finding> {
        Vec::new()
    }
}

/// What a step may do to a site; the three markers are the three answers of `plan`.
pub trait Access: Sized + Send + Sync + 'static {
    const EFFECT: Effect;
    /// What a handle with this access carries: nothing to write with, unless it may write.
    type Ledger: Clone + Send + Sync;
    fn erase(step: Box<dyn Bound<Self>>) -> AnyStep;
}

/// Reads only: `plan` may run it. What would change something is not there to be called:
///
/// ```compile_fail,E0599
/// use firedrill::{site::{Site, changes::CreateBucket}, step::Reads};
///
/// async fn create(site: Site<Reads>, change: CreateBucket) {
///     let _ = site.change("create", |_| change).await;
/// }
/// ```
///
/// and no writable site is to be had:
///
/// ```compile_fail,E0599
/// use firedrill::{step::{Cx, Reads}, types::{BucketName, Role}};
///
/// fn claim(cx: &Cx<Reads>, bucket: &BucketName) {
///     let _ = cx.claim(&Role::target(), bucket);
/// }
/// ```
pub enum Reads {}
/// Changes something on a site:
///
/// ```
/// use firedrill::{site::{Site, changes::CreateBucket}, step::Changes};
///
/// async fn create(site: Site<Changes>, change: CreateBucket) {
///     let _ = site.change("create", |_| change).await;
/// }
/// ```
pub enum Changes {}
/// Waits for a person.
pub enum Asks {}

/// A step bound to its parameters, by what it may do.
pub enum AnyStep {
    Reads(Box<dyn Bound<Reads>>),
    Changes(Box<dyn Bound<Changes>>),
    Asks(Box<dyn Bound<Asks>>),
}

impl Access for Reads {
    const EFFECT: Effect = Effect::Reads;
    type Ledger = ();
    fn erase(step: Box<dyn Bound<Self>>) -> AnyStep {
        AnyStep::Reads(step)
    }
}
impl Access for Changes {
    const EFFECT: Effect = Effect::Changes;
    type Ledger = Ledger;
    fn erase(step: Box<dyn Bound<Self>>) -> AnyStep {
        AnyStep::Changes(step)
    }
}
impl Access for Asks {
    const EFFECT: Effect = Effect::Asks;
    type Ledger = Ledger;
    fn erase(step: Box<dyn Bound<Self>>) -> AnyStep {
        AnyStep::Asks(step)
    }
}

/// What a step came to.
#[derive(Clone, Debug)]
pub struct Done {
    pub output: Value,
    pub findings: Vec<Finding>,
}

/// A step kind with its types erased; implemented for every [`Step`], and for nothing else.
pub trait Bound<A: Access>: Send + Sync {
    fn describe(&self) -> String;
    fn run<'a>(&'a self, cx: &'a Cx<A>) -> BoxFuture<'a, Result<Done, Failure>>;
}

impl<S: Step> Bound<S::Access> for S {
    fn describe(&self) -> String {
        Step::describe(self)
    }
    fn run<'a>(&'a self, cx: &'a Cx<S::Access>) -> BoxFuture<'a, Result<Done, Failure>> {
        Box::pin(async move {
            let output = Step::run(self, cx).await?;
            let findings = self.findings(&output);
            let output = serde_json::to_value(output)
                .map_err(|e| Failure::lost(format!("its output cannot be written as JSON: {e}")))?;
            Ok(Done { output, findings })
        })
    }
}

/// A kind in the registry (`steps.rs`): from it come the schema, the reference, the plan line and the static checks.
pub struct Kind {
    pub uses: &'static str,
    pub example: &'static str,
    pub effect: Effect,
    pub proves: bool,
    pub params: fn() -> Schema,
    pub output: fn() -> Schema,
    pub bind: fn(&Node) -> Result<AnyStep, Problem>,
}

impl Kind {
    pub const fn of<S: Step>() -> Self {
        Self {
            uses: S::USES,
            example: S::EXAMPLE,
            effect: S::Access::EFFECT,
            proves: S::PROVES,
            params: || schema_for!(S),
            output: || schema_for!(S::Output),
            bind: |node| Ok(S::Access::erase(Box::new(node.decode::<S>()?))),
        }
    }
}

/// Leave to let the server write a probe, which some reading calls need. `plan` gives none.
#[derive(Clone, Copy, Debug)]
pub struct Probe(pub(crate) ());

/// Sees to it that one run at a time works on a bucket.
pub trait Claims: Send + Sync {
    /// Claims a bucket of a deployment for the run until it has ended; claiming it again is harmless.
    fn claim(&self, deployment: &str, bucket: &str) -> Result<(), Failure>;
}

/// What the engine gives to a step; a step sees it through [`Cx`].
pub(crate) trait Host: Send + Sync {
    fn wire(&self, role: &Role) -> Result<Arc<Wire>, Failure>;
    fn claim(&self, role: &Role, bucket: &BucketName) -> Result<(), Failure>;
    fn progress(&self, progress: Progress);
    fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure>;
    fn keep(&self, file: Box<dyn ArtifactFile>) -> Result<(), Failure>;
    fn mint(&self, key: &str, n: u32) -> String;
    fn now(&self) -> Timestamp;
    fn accepted(&self) -> &BTreeMap<String, String>;
    fn probe(&self) -> Option<Probe>;
    fn waits(&self) -> bool;
    fn rto_left(&self) -> Option<f64>;
    /// Tries to get an answer: from the journal, a flag, a person at the terminal, `approve`.
    fn ask<'a>(&'a self, key: &'a str, question: Question) -> BoxFuture<'a, Result<Answer, Failure>>;
}

/// All that a step sees of the run.
pub struct Cx<A: Access> {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) ledger: A::Ledger,
}

impl<A: Access> Cx<A> {
    /// The site that is bound to a role, for reading. Fails when the run bound no site to it.
    pub fn read(&self, role: &Role) -> Result<Site<Reads>, Failure> {
        Ok(Site { wire: self.host.wire(role)?, ledger: () })
    }
    /// Says how far the step has come: live on the console, and into the journal now and then.
    pub fn progress(&self, progress: Progress) {
        self.host.progress(progress);
    }
    /// A file of the run, e.g. `differences.jsonl`; give it back with [`Cx::keep`].
    pub fn artifact(&self, name: &str) -> Result<Box<dyn ArtifactFile>, Failure> {
        self.host.artifact(name)
    }
    /// Closes an artifact and journals its name, size and SHA-256.
    pub fn keep(&self, file: Box<dyn ArtifactFile>) -> Result<(), Failure> {
        self.host.keep(file)
    }
    /// An id that is unique to this run, step, key and sending, and the same after a resume.
    pub fn mint(&self, key: &str, n: u32) -> String {
        self.host.mint(key, n)
    }
    /// The time by the clock of the machine that runs the tool.
    pub fn now(&self) -> Timestamp {
        self.host.now()
    }
    /// Checks waived on the command line (`--accept id="reason"`).
    pub fn accepted(&self) -> &BTreeMap<String, String> {
        self.host.accepted()
    }
    /// Leave to let a server write a probe; `None` under `plan` without `--probe`.
    pub fn probe(&self) -> Option<Probe> {
        self.host.probe()
    }
    /// Whether waiting for something to change is worth it; `plan` looks once.
    pub fn waits(&self) -> bool {
        self.host.waits()
    }
    /// Seconds left until the recovery time objective is missed; `None` without one.
    pub fn rto_left(&self) -> Option<f64> {
        self.host.rto_left()
    }
}

impl Cx<Changes> {
    /// The one door to a writable site: claims the bucket for this run first.
    pub fn claim(&self, role: &Role, bucket: &BucketName) -> Result<Site<Changes>, Failure> {
        self.host.claim(role, bucket)?;
        let wire = self.host.wire(role)?;
        Ok(Site { wire, ledger: self.ledger.on(role, bucket) })
    }
}

impl Cx<Asks> {
    /// The answer to a question: the recorded one, or a new one. `Failure::Waiting` when nobody is there to ask.
    pub async fn ask(&self, key: &str, question: Question) -> Result<Answer, Failure> {
        self.host.ask(key, question).await
    }
}
