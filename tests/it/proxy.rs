//! A recording reverse proxy in front of a site, which does to what passes through it all that a network can do.
//!
//! It speaks HTTP by itself on the client's side ([`wire`]), so that an answer can be broken at any byte, and takes one
//! connection for each request on the server's side. Which request meets which [`Fault`] is said by [`On`], or drawn by
//! [`Mix`] from a seed: the same seed and the same sequence of requests give the same faults. TLS stands in front of it
//! ([`tls`]).

pub(crate) mod fault;
mod serve;
pub(crate) mod tls;
mod tries;
mod wire;

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::fault::{Draw, Held, Rule};
pub(crate) use self::fault::{Fault, How, Mix, On, Part, Point};

/// Forwards every request to one server, on a thread of its own, until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

/// One request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    /// Path and query exactly as they came.
    pub(crate) path: String,
    pub(crate) user_agent: String,
    /// Whether it carried a signature.
    pub(crate) signed: bool,
    /// Whether an earlier request came on the same connection.
    pub(crate) reused: bool,
    /// What was done to it.
    pub(crate) fault: Option<&'static str>,
    /// Whether it was sent on to the server.
    pub(crate) forwarded: bool,
    /// What the server answered; `None` while it has not, or when the request never reached it.
    pub(crate) status: Option<u16>,
}

/// On which side of the server's work something happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Before the server sees it.
    Request,
    /// When the server has done it and before the client hears of it.
    Reply,
}

struct Shared {
    upstream: String,
    client: serve::Upstream,
    requests: Mutex<Vec<Recorded>>,
    rules: Mutex<Vec<Rule>>,
    mixes: Mutex<Vec<Mix>>,
}

/// Holds requests until [`Gate::release`], or until it is dropped.
pub(crate) struct Gate(watch::Sender<Held>);

impl Proxy {
    /// `upstream` is `http://host:port`.
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client: serve::upstream(),
            requests: Mutex::default(),
            rules: Mutex::default(),
            mixes: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let thread = thread::spawn({
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(serve::serve(listener, shared, stop));
            }
        });
        Self { address, shared, stop, thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, matches: impl Fn(&Recorded) -> bool) -> usize {
        self.requests().iter().filter(|request| matches(request)).count()
    }

    /// The requests that would change something.
    pub(crate) fn changing(&self) -> Vec<Recorded> {
        self.requests().into_iter().filter(Recorded::changes).collect()
    }

    /// Does this to the requests that are chosen. Of several rules for one request the first counts.
    pub(crate) fn fault(&self, fault: Fault, on: On) {
        self.shared.rules.lock().unwrap().push(Rule { on, fault });
    }

    /// Draws for each request that no rule is for whether it meets a fault, and which. Of several mixes for one request
    /// the first counts.
    pub(crate) fn mix(&self, mix: Mix) {
        self.shared.mixes.lock().unwrap().push(mix);
    }

    /// Holds every matching request until the gate is opened.
    pub(crate) fn hold(&self, at: At, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Gate {
        let (gate, _) = watch::channel(Held::default());
        self.fault(Fault::Hold(at, gate.clone()), On::matching(matches));
        Gate(gate)
    }

    /// Sends every matching request on only after this time.
    pub(crate) fn delay(&self, time: Duration, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.fault(Fault::Delay(time), On::matching(matches));
    }

    /// Closes the connection of the next `times` matching requests without an answer.
    pub(crate) fn cut(&self, at: At, times: usize, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        let point = match at {
            At::Request => Point::Unread,
            At::Reply => Point::Forwarded,
        };
        self.fault(Fault::Break(point, How::Close), On::matching(matches).times(times));
    }

    /// Answers the next `times` matching requests with 503 `SlowDown`; the server never sees them.
    pub(crate) fn refuse(&self, times: usize, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.fault(Fault::slow_down(None), On::matching(matches).times(times));
    }

    /// Answers every matching request with 403 `AccessDenied`, after which no client tries again.
    pub(crate) fn deny(&self, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.fault(Fault::error(403, "AccessDenied"), On::matching(matches));
    }

    /// Takes back all faults: from here on everything passes. What is held stays held until its gate is opened.
    pub(crate) fn clear(&self) {
        self.shared.rules.lock().unwrap().clear();
        self.shared.mixes.lock().unwrap().clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Gate {
    /// Waits until a request is held.
    pub(crate) fn wait_arrived(&self) {
        let end = Instant::now() + Duration::from_mins(2);
        while self.0.borrow().arrived == 0 {
            assert!(Instant::now() < end, "no such request came");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn arrived(&self) -> usize {
        self.0.borrow().arrived
    }

    /// Lets all held requests go on, and later ones pass.
    pub(crate) fn release(&self) {
        self.0.send_modify(|held| held.released = true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.release();
    }
}

impl Recorded {
    /// Whether it would change something on the server. The replication check does, though it is a GET: it writes
    /// probes; and reading the retry file deletes it.
    pub(crate) fn changes(&self) -> bool {
        let reading_post = self.method == "POST" && self.path.starts_with("/minio/admin/v3/replication/diff");
        let writing_get = self.has_query("replication-check") || self.path.contains("/replication/mrf");
        match self.method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => writing_get,
            _ => !reading_post,
        }
    }

    /// Whether this is a start of a resync.
    pub(crate) fn starts_resync(&self) -> bool {
        self.method == "PUT" && self.has_query("replication-reset")
    }

    /// Whether the query has this key, with a value or without.
    pub(crate) fn has_query(&self, key: &str) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|pair| pair.split('=').next() == Some(key))
    }
}

impl Shared {
    /// Writes the request down, with the fault that it meets.
    fn record(&self, mut request: Recorded) -> (usize, Option<(Fault, Draw)>) {
        let mut requests = self.requests.lock().unwrap();
        let n = requests.len();
        let mut rules = self.rules.lock().unwrap();
        let ruled = rules.iter_mut().find_map(|rule| rule.on.takes(&request).then(|| rule.fault.clone()));
        let chosen = match ruled {
            Some(fault) => Some((fault, Draw::new(0, n))),
            None => {
                let mut mixes = self.mixes.lock().unwrap();
                mixes.iter_mut().find_map(|mix| mix.takes(&request).then(|| mix.draw())).flatten()
            }
        };
        request.fault = chosen.as_ref().map(|(fault, _)| fault.name());
        requests.push(request);
        (n, chosen)
    }

    fn note(&self, n: usize, what: impl FnOnce(&mut Recorded)) {
        what(&mut self.requests.lock().unwrap()[n]);
    }
}
