//! The sandbox: two sites in this process, on loopback ports, that behave as MinIO does. A rehearsal on them needs
//! nothing installed, and a test can make them fail in every way that was seen on real ones.
//!
//! What a real server does that a client would not expect is done here too; `tests/it/sandbox/traps.rs` has a table of
//! those traps, each with the scenario or test that shows it.

#![expect(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "answers of some kilobytes, which read best next to the documents that they are"
)]

mod admin;
mod attributes;
mod buckets;
mod data;
mod keys;
mod listing;
mod madmin;
mod multipart;
mod objects;
mod peer;
mod replication;
mod resync;
mod rules;
pub mod scenario;
mod series;
mod server;
mod site;
mod store;
mod targets;
mod walk;
mod wire;
mod xml;

use std::{io, sync::Arc};

use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

pub use self::scenario::Scenario;
use self::{
    resync::Progress,
    scenario::{After, Behaviour, Event, Lie, Which},
    server::Server,
    site::{Pace, Site, State},
};

/// Two sites that run until this is dropped.
#[derive(Debug)]
pub struct Pair {
    pub scenario: Scenario,
    pub source: Access,
    pub target: Access,
    servers: [Server; 2],
    /// Ends with the pair.
    _tasks: JoinSet<()>,
}

/// How to reach a site.
#[derive(Clone, Debug)]
pub struct Access {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
}

impl Access {
    /// The value of `MC_HOST_<alias>`.
    pub fn mc_host(&self) -> String {
        self.endpoint.replacen("://", &format!("://{}:{}@", self.access_key, self.secret_key), 1)
    }
}

/// Starts the two sites of a scenario, filled and damaged as it says.
pub async fn start(scenario: Scenario) -> io::Result<Pair> {
    let mut tasks = JoinSet::new();
    let (progress, heard) = mpsc::unbounded_channel();
    let source = site("source", &scenario, &scenario.source, scenario.resync.lie, &mut tasks);
    let target = site("target", &scenario, &scenario.target, Lie::None, &mut tasks);
    for (site, other) in [(&source, &target), (&target, &source)] {
        site.other.get_or_init(|| Arc::downgrade(other));
    }
    let source = Server::start(source, progress.clone()).await?;
    // What happens in the middle happens in the middle of the source's resyncs.
    let target = Server::start(target, mpsc::unbounded_channel().0).await?;
    data::fill(&scenario, &source.site, &target.site, Timestamp::now());
    for (server, behaviour) in [(&source, &scenario.source), (&target, &scenario.target)] {
        if behaviour.down {
            server.stop();
        }
    }
    let happenings = happen(scenario.events.clone(), [source.clone(), target.clone()], heard);
    tasks.spawn(happenings);
    let (mut first, mut second) = (access(&source), access(&target));
    if scenario.roles_swapped {
        std::mem::swap(&mut first, &mut second);
    }
    Ok(Pair { scenario, source: first, target: second, servers: [source, target], _tasks: tasks })
}

impl Pair {
    /// Takes a site away as its end does: connections break, and new ones are refused.
    pub fn stop(&self, which: Which) {
        self.server(which).stop();
    }
    /// Brings it back at its place, as a new process.
    pub async fn start_again(&self, which: Which) -> io::Result<()> {
        self.server(which).restart("Failed").await
    }
    fn server(&self, which: Which) -> &Server {
        let [source, target] = &self.servers;
        match which {
            Which::Source => source,
            Which::Target => target,
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.servers.iter().for_each(Server::stop);
    }
}

fn site(name: &str, scenario: &Scenario, behaviour: &Behaviour, lie: Lie, tasks: &mut JoinSet<()>) -> Arc<Site> {
    let resync = &scenario.resync;
    let pace = Pace { flush: resync.flush.0, retry: resync.retry.0, version: resync.version.0 };
    let state = State {
        // As if it had run for a while: a restart shows by a shorter time.
        started: Timestamp::now().checked_sub(SignedDuration::from_hours(24)).unwrap_or_default(),
        kms_keys: behaviour.kms_keys.clone(),
        skew: SignedDuration::try_from(behaviour.clock_ahead.0).unwrap_or_default(),
        delay: behaviour.slow.0,
        throttled: behaviour.throttled,
        storms: behaviour.storms,
        made: Instant::now(),
        requests: 0,
        denies_replicas: behaviour.denies_replicas,
        heals: behaviour.heals,
        lie,
        serving: None,
    };
    let keys = (format!("sandbox-{name}"), hex::encode(wire::random::<16>()));
    let (site, queue) = Site::new(keys, pace, state);
    tasks.spawn(replication::work(Arc::clone(&site), queue));
    site
}

fn access(server: &Server) -> Access {
    let site = &server.site;
    Access {
        endpoint: format!("http://{}", site.address()),
        access_key: site.access_key.clone(),
        secret_key: site.secret_key.clone(),
    }
}

/// Makes each event happen once, when a resync has come so far.
async fn happen(mut events: Vec<Event>, servers: [Server; 2], mut heard: mpsc::UnboundedReceiver<Progress>) {
    let mut under_way: Vec<JoinHandle<()>> = Vec::new();
    while let Some(Progress { done, of }) = heard.recv().await {
        let due = |event: &mut Event| event.at.resync.reached_by(done, of);
        for event in events.extract_if(.., due) {
            let [source, target] = &servers;
            let server = match event.r#do.stop {
                Which::Source => source.clone(),
                Which::Target => target.clone(),
            };
            server.stop();
            under_way.push(tokio::spawn(async move {
                sleep(event.r#do.r#for.0).await;
                let jobs = match event.r#do.jobs {
                    After::Failed => "Failed",
                    After::Completed => "Completed",
                };
                // Its port is still its own, unless something else took it meanwhile.
                if let Err(e) = server.restart(jobs).await {
                    tracing::warn!("a site of the sandbox does not come back: {e}");
                }
            }));
        }
    }
}
