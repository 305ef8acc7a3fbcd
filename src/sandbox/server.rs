//! A site on a loopback port: s3s checks signatures and unpacks bodies, and one route answers as MinIO does.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderMap, HeaderValue, Method, Response, Uri};
use http_body_util::{BodyExt, Collected};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::{
    Body, S3, S3Request, S3Response, S3Result,
    auth::{S3Auth, SecretKey},
    route::S3Route,
    service::{S3Service, S3ServiceBuilder},
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    admin, attributes, buckets, listing, multipart, objects,
    peer::Say,
    resync::{self, Progress},
    site::Site,
    wire::{Answer, Ask, HOST_ID, Refused, Reply, http_date, is_uuid, request_id},
    xml::Element,
};

/// All that S3 knows is answered by the route: MinIO's documents would lose fields in a generic model.
struct Nothing;

impl S3 for Nothing {}

#[derive(Clone)]
struct Route {
    site: Arc<Site>,
    progress: mpsc::UnboundedSender<Progress>,
}

/// Headers of every answer.
const COMMON: [(&str, &str); 5] = [
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("vary", "Origin, Accept-Encoding"),
    ("x-amz-id-2", HOST_ID),
    ("x-content-type-options", "nosniff"),
    ("x-xss-protection", "1; mode=block"),
];

/// Admin calls whose answers come as they are found.
const STREAMED: [&str; 3] =
    ["/minio/admin/v3/replication/", "/minio/admin/v3/site-replication/", "/minio/admin/v3/trace"];

/// What an answer is to.
#[derive(Clone, Copy)]
struct Dress {
    of_head: bool,
    streamed: bool,
}

/// Knows the one account of a site.
struct Account(Arc<Site>);

#[async_trait]
impl S3Auth for Account {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.0.access_key {
            return Ok(self.0.secret_key.as_str().into());
        }
        Err(s3s::s3_error!(InvalidAccessKeyId, "The Access Key Id you provided does not exist in our records."))
    }
}

#[async_trait]
impl S3Route for Route {
    fn is_match(&self, _: &Method, _: &Uri, _: &HeaderMap, _: &mut http::Extensions) -> bool {
        true
    }

    /// Without credentials only the health calls answer.
    async fn check_access(&self, request: &mut S3Request<Body>) -> S3Result<()> {
        if request.credentials.is_some() || request.uri.path().starts_with("/minio/health/") {
            return Ok(());
        }
        Err(s3s::s3_error!(AccessDenied, "Access Denied."))
    }

    async fn call(&self, request: S3Request<Body>) -> S3Result<S3Response<Body>> {
        let S3Request { input, method, uri, mut headers, trailing_headers, .. } = request;
        let body = match input.collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) => return Err(s3s::s3_error!(IncompleteBody, "{e}")),
        };
        if let Some(trailers) = trailing_headers.and_then(|trailers| trailers.take()) {
            headers.extend(trailers);
        }
        let head = method == Method::HEAD;
        let path = uri.path().to_owned();
        let reply = match Ask::new(method, &path, uri.query().unwrap_or_default(), headers, body) {
            Err(refused) => refused.reply(None),
            Ok(ask) => {
                let answer = answer(&self.site, &ask, &self.progress).await;
                answer.unwrap_or_else(|refused| match head {
                    true => refused.of_head(),
                    false if ask.key.is_empty() => refused.reply_at(&ask.bucket, "", &path),
                    false => refused.reply(Some((&ask.bucket, &ask.key))),
                })
            }
        };
        let body = if head { Body::empty() } else { reply.body };
        let mut response = S3Response::with_status(body, reply.status);
        response.headers = reply.headers;
        Ok(response)
    }
}

async fn answer(site: &Arc<Site>, ask: &Ask, progress: &mpsc::UnboundedSender<Progress>) -> Answer {
    if ask.bucket == "minio" {
        return match ask.key.split_once('/') {
            Some(("health", call)) => admin::health(call),
            Some(("admin", call)) => admin::answer(site, ask, call).await,
            _ => Err(Refused::new(403, "AccessDenied", "Access Denied.")),
        };
    }
    if ask.bucket.is_empty() {
        return Ok(listing::buckets(site));
    }
    if ask.key.is_empty() { of_bucket(site, ask, progress).await } else { of_object(site, ask).await }
}

async fn of_bucket(site: &Arc<Site>, ask: &Ask, progress: &mpsc::UnboundedSender<Progress>) -> Answer {
    if let Some(answer) = buckets::document(site, ask) {
        return answer;
    }
    match ask.method {
        Method::HEAD => buckets::exists(site, ask),
        Method::PUT if ask.has("replication-reset") => resync::start(site, ask, progress).await,
        // An unknown sub-resource tries to create the bucket.
        Method::PUT => buckets::create(site, ask),
        Method::DELETE => buckets::delete(site, ask),
        Method::POST if ask.has("delete") => buckets::delete_many(site, ask),
        Method::GET if ask.has("location") => buckets::location(site, ask),
        Method::GET if ask.has("uploads") => multipart::uploads(site, ask),
        Method::GET if ask.has("replication-reset-status") => resync::status(site, ask),
        Method::GET if ask.has("replication-metrics") => admin::metrics(site, ask),
        Method::GET if ask.has("replication-check") => admin::check_targets(site, ask).await,
        Method::GET if ask.has("versions") => listing::versions(site, ask),
        // And lists it.
        Method::GET => listing::objects(site, ask, ask.query("list-type") == Some("2")),
        _ => Err(not_allowed()),
    }
}

async fn of_object(site: &Arc<Site>, ask: &Ask) -> Answer {
    if ask.version().is_some_and(|id| id != "null" && !is_uuid(id)) {
        return Err(Refused::new(400, "InvalidArgument", "Invalid version id specified"));
    }
    for name in ["tagging", "retention", "legal-hold"] {
        if ask.has(name) {
            return attributes::attribute(site, ask, name);
        }
    }
    match ask.method {
        Method::GET if ask.has("uploadId") => multipart::parts(site, ask),
        Method::GET | Method::HEAD => match objects::get(site, ask) {
            Err(refused) if refused.status == 404 => from_peer(site, ask).await.unwrap_or(Err(refused)),
            answer => answer,
        },
        Method::PUT if ask.has("uploadId") => multipart::put_part(site, ask),
        Method::PUT => objects::put(site, ask),
        Method::POST if ask.has("uploads") => multipart::begin(site, ask),
        Method::POST if ask.has("uploadId") => multipart::complete(site, ask),
        Method::DELETE if ask.has("uploadId") => multipart::abort(site, ask),
        Method::DELETE => objects::delete(site, ask),
        _ => Err(not_allowed()),
    }
}

/// A site that replicates back answers with the other site's object, unless asked not to.
async fn from_peer(site: &Site, ask: &Ask) -> Option<Answer> {
    if ask.header("x-minio-source-proxy-request") == Some("false") {
        return None;
    }
    let target = {
        let store = site.store();
        let bucket = store.buckets.get(&ask.bucket)?;
        let arn = bucket.rules().arns().first().map(|arn| (*arn).to_owned())?;
        bucket.targets.iter().find(|target| target.arn == arn && !target.proxy_disabled).cloned()?
    };
    let headers = vec![("x-minio-source-proxy-request".to_owned(), "false".to_owned())];
    let query = ask.version().map(|id| ("versionId", id.to_owned())).into_iter().collect();
    let say = Say { method: ask.method.clone(), key: ask.key.clone(), query, headers, ..Say::default() };
    let heard = site.peer.ask(&target, say).await.ok().filter(|heard| heard.status == 200)?;
    let mut reply = Reply::ok().body(heard.body);
    reply.headers = heard.headers;
    reply.headers.remove("date");
    reply.headers.remove("connection");
    Some(Ok(reply))
}

fn not_allowed() -> Refused {
    Refused::new(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
}

/// A site and its place on the network, which can be taken away and given back.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub site: Arc<Site>,
    address: SocketAddr,
    service: Arc<S3Service>,
}

impl Server {
    /// Takes a free loopback port and serves the site there.
    pub(super) async fn start(site: Arc<Site>, progress: mpsc::UnboundedSender<Progress>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        site.address.get_or_init(|| address.to_string());
        let mut builder = S3ServiceBuilder::new(Nothing);
        builder.set_auth(Account(Arc::clone(&site)));
        builder.set_route(Route { site: Arc::clone(&site), progress });
        let server = Self { site, address, service: Arc::new(builder.build()) };
        server.listen(listener);
        Ok(server)
    }

    /// Goes away at once: connections break, and new ones are refused.
    pub(super) fn stop(&self) {
        if let Some(serving) = self.site.state().serving.take() {
            serving.cancel();
        }
    }

    /// Comes back at its place as a process that has just begun. What became of its resyncs is its own opinion.
    pub(super) async fn restart(&self, jobs: &'static str) -> io::Result<()> {
        let listener = TcpListener::bind(self.address).await?;
        let now = self.site.now();
        self.site.state().started = now;
        let mut store = self.site.store();
        for target in store.buckets.values_mut().flat_map(|bucket| &mut bucket.targets) {
            target.unwritable = false;
        }
        for job in store.buckets.values_mut().flat_map(|bucket| bucket.jobs.values_mut()) {
            if matches!(job.status, "Pending" | "Ongoing") {
                job.status = jobs;
                job.changed = now;
            }
        }
        drop(store);
        self.listen(listener);
        Ok(())
    }

    fn listen(&self, listener: TcpListener) {
        let serving = CancellationToken::new();
        self.site.state().serving = Some(serving.clone());
        tokio::spawn(self.clone().accept(listener, serving));
    }

    async fn accept(self, listener: TcpListener, serving: CancellationToken) {
        loop {
            let stream = tokio::select! {
                () = serving.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(_) => continue,
                },
            };
            // Small answers should not wait; a socket that cannot be told so still works.
            let _ = stream.set_nodelay(true);
            let (server, serving) = (self.clone(), serving.clone());
            tokio::spawn(async move {
                let each = service_fn(|request| server.serve(request));
                let connection =
                    http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), each);
                tokio::select! {
                    () = serving.cancelled() => {}
                    // The client hung up, or sent what is no HTTP: nobody is left to tell.
                    _ = connection => {}
                }
            });
        }
    }

    async fn serve(&self, request: http::Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (delay, throttled) = {
            let mut state = self.site.state();
            state.requests += 1;
            let stormy = state.storms.is_none_or(|storms| storms.rage(state.made.elapsed()));
            (state.delay, stormy && state.throttled.takes(state.requests))
        };
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        let path = request.uri().path().to_owned();
        // What the server writes as a stream goes without some headers.
        let streamed = request.uri().query().is_some_and(|query| query.starts_with("replication-metrics"))
            || STREAMED.iter().any(|call| path.starts_with(call));
        let head = request.method() == Method::HEAD;
        let response = if throttled && !path.starts_with("/minio/") {
            let refused =
                Refused::new(503, "SlowDown", "Resource requested is unreadable, please reduce your request rate");
            whole(refused.reply(None))
        } else {
            match self.service.call(request.map(Body::from)).await {
                Ok(response) => response,
                Err(_) => whole(
                    Refused::new(500, "InternalError", "We encountered an internal error, please try again.")
                        .reply(None),
                ),
            }
        };
        Ok(self.dress(response, &path, Dress { of_head: head, streamed }).await)
    }

    /// Headers that every answer carries; errors that s3s gave are worded and written as the server does.
    async fn dress(&self, response: Response<Body>, path: &str, how: Dress) -> Response<Body> {
        let (mut head, mut body) = response.into_parts();
        let xml = head.headers.get("content-type").is_some_and(|t| t.as_bytes().starts_with(b"application/xml"));
        if xml && !head.status.is_success() {
            let bytes = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            let root = Element::parse(&bytes).unwrap_or_default();
            // Our own errors name a host, or answer a HEAD and have no body.
            if root.text(&["HostId"]).is_empty() && !bytes.is_empty() {
                (head, body) = whole(checked_by_s3s(head.status.as_u16(), &root, path, how.of_head)).into_parts();
            } else {
                body = Body::from(bytes);
            }
        }
        let headers = &mut head.headers;
        for (name, value) in [("server", "MinIO"), ("accept-ranges", "bytes")] {
            if !how.streamed {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        for (name, value) in COMMON {
            headers.insert(name, HeaderValue::from_static(value));
        }
        for (name, value) in [("x-amz-request-id", request_id()), ("date", http_date(self.site.now()))] {
            if let Ok(value) = HeaderValue::try_from(value) {
                headers.insert(name, value);
            }
        }
        Response::from_parts(head, body)
    }
}

/// What s3s refused before the request came to us: mostly signatures.
fn checked_by_s3s(status: u16, root: &Element, path: &str, of_head: bool) -> Reply {
    let message = match root.text(&["Code"]) {
        "SignatureDoesNotMatch" => {
            "The request signature we calculated does not match the signature you provided. Check your key and signing \
             method."
        }
        "RequestTimeTooSkewed" => "The difference between the request time and the server's time is too large.",
        _ => root.text(&["Message"]),
    };
    let refused = Refused::new(status, root.text(&["Code"]), message);
    if of_head {
        return refused.of_head();
    }
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if root.text(&["Code"]) == "InvalidBucketName" {
        // Refused before anything is looked at.
        return Refused { message: "The specified bucket is not valid.".into(), ..refused }.reply_at(
            "",
            "",
            &format!("/{bucket}"),
        );
    }
    let refused = if path.starts_with("/minio/admin/") { refused.in_json() } else { refused };
    refused.reply(Some((bucket, key)))
}

fn whole(reply: Reply) -> Response<Body> {
    let mut response = Response::new(reply.body);
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}
