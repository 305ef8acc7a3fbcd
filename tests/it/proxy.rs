//! A recording reverse proxy in front of a site, which can hold, delay or lose what passes through it.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type AnyError = Box<dyn Error + Send + Sync>;
type Body = BoxBody<Bytes, AnyError>;

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

#[derive(Clone)]
enum Fault {
    /// Wait for the gate. The request goes on even if its client is gone by then.
    Hold(At, watch::Sender<Held>),
    Delay(Duration),
    /// Close the connection without an answer.
    Cut(At),
    /// Answer with this status and error in the server's place.
    Refuse(u16, &'static str),
}

type Matcher = Box<dyn Fn(&Recorded) -> bool + Send + Sync>;

struct Rule {
    matches: Matcher,
    /// How many more requests it is good for.
    left: usize,
    fault: Fault,
}

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Body>,
    requests: Mutex<Vec<Recorded>>,
    rules: Mutex<Vec<Rule>>,
}

#[derive(Clone, Copy, Default)]
struct Held {
    arrived: usize,
    released: bool,
}

/// Holds requests until [`Gate::release`], or until it is dropped.
pub(crate) struct Gate(watch::Sender<Held>);

impl Proxy {
    /// `upstream` is `http://host:port`.
    pub(crate) fn start(upstream: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("its address");
        // No connection is kept: a server that was restarted in between must not look like a fault of the proxy.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        let shared = Arc::new(Shared {
            upstream: upstream.trim_end_matches('/').to_owned(),
            client,
            requests: Mutex::default(),
            rules: Mutex::default(),
        });
        let stop = CancellationToken::new();
        let thread = thread::spawn({
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(serve(listener, shared, stop));
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

    /// Holds every matching request until the gate is opened.
    pub(crate) fn hold(&self, at: At, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Gate {
        let (gate, _) = watch::channel(Held::default());
        self.rule(matches, usize::MAX, Fault::Hold(at, gate.clone()));
        Gate(gate)
    }

    /// Sends every matching request on only after this time.
    pub(crate) fn delay(&self, time: Duration, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.rule(matches, usize::MAX, Fault::Delay(time));
    }

    /// Closes the connection of the next `times` matching requests without an answer.
    pub(crate) fn cut(&self, at: At, times: usize, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.rule(matches, times, Fault::Cut(at));
    }

    /// Answers the next `times` matching requests with 503 `SlowDown`; the server never sees them.
    pub(crate) fn refuse(&self, times: usize, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.rule(matches, times, Fault::Refuse(503, "SlowDown"));
    }

    /// Answers every matching request with 403 `AccessDenied`, after which no client tries again.
    pub(crate) fn deny(&self, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) {
        self.rule(matches, usize::MAX, Fault::Refuse(403, "AccessDenied"));
    }

    /// Takes back all faults: from here on everything passes. What is held stays held until its gate is opened.
    pub(crate) fn clear(&self) {
        self.shared.rules.lock().unwrap().clear();
    }

    fn rule(&self, matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static, left: usize, fault: Fault) {
        self.shared.rules.lock().unwrap().push(Rule { matches: Box::new(matches), left, fault });
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

async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.expect("a connection"),
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| handle(Arc::clone(&shared), request));
            // A closed connection is nothing to tell of: that is what cuts are for.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn handle(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Body>, AnyError> {
    let recorded = Recorded {
        method: request.method().to_string(),
        path: request.uri().path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        user_agent: request
            .headers()
            .get(header::USER_AGENT)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
            .unwrap_or_default(),
        status: None,
    };
    let fault = shared.fault(&recorded);
    let n = {
        let mut requests = shared.requests.lock().unwrap();
        requests.push(recorded);
        requests.len() - 1
    };
    let Some(fault) = fault else {
        return forward(&shared, n, request.map(|body| body.map_err(AnyError::from).boxed())).await;
    };
    let (head, body) = request.into_parts();
    let body: Body = Full::new(body.collect().await?.to_bytes()).map_err(unreachable).boxed();
    let request = Request::from_parts(head, body);
    // In a task of its own: when the client dies, hyper drops this future, and the request must still go its way.
    tokio::spawn(async move { faulty(&shared, n, request, fault).await }).await?
}

async fn faulty(shared: &Shared, n: usize, request: Request<Body>, fault: Fault) -> Result<Response<Body>, AnyError> {
    match fault {
        Fault::Hold(At::Request, gate) => {
            pass(&gate).await;
            forward(shared, n, request).await
        }
        Fault::Hold(At::Reply, gate) => {
            let response = forward(shared, n, request).await;
            pass(&gate).await;
            response
        }
        Fault::Delay(time) => {
            tokio::time::sleep(time).await;
            forward(shared, n, request).await
        }
        Fault::Cut(At::Request) => Err(cut()),
        Fault::Cut(At::Reply) => {
            forward(shared, n, request).await?.into_body().collect().await?;
            Err(cut())
        }
        Fault::Refuse(status, code) => {
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
            );
            let body = Full::new(Bytes::from(text)).map_err(unreachable).boxed();
            Ok(Response::builder().status(status).header(header::CONTENT_TYPE, "application/xml").body(body)?)
        }
    }
}

async fn forward(shared: &Shared, n: usize, mut request: Request<Body>) -> Result<Response<Body>, AnyError> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = format!("{}{path}", shared.upstream).parse::<Uri>()?;
    let response = shared.client.request(request).await?;
    shared.requests.lock().unwrap()[n].status = Some(response.status().as_u16());
    Ok(response.map(|body| body.map_err(AnyError::from).boxed()))
}

async fn pass(gate: &watch::Sender<Held>) {
    let mut opened = gate.subscribe();
    gate.send_modify(|held| held.arrived += 1);
    // An error means that the gate is gone, which opens it too.
    let _ = opened.wait_for(|held| held.released).await;
}

fn cut() -> AnyError {
    io::Error::from(io::ErrorKind::ConnectionAborted).into()
}

fn unreachable(never: Infallible) -> AnyError {
    match never {}
}

impl Shared {
    fn fault(&self, request: &Recorded) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.matches)(request))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}
