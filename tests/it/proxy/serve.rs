//! Takes requests, sends them on, and does to them and their answers what was asked for.

use std::{error::Error, io, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Uri, header, response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    At, Recorded, Shared,
    fault::{Answer, Draw, Endless, Fault, Held, How, Part, Point},
    wire::{self, Conn, Framing, Head},
};

type AnyError = Box<dyn Error + Send + Sync>;
pub(super) type Upstream = Client<HttpConnector, Full<Bytes>>;

/// No connection is kept: a server that was restarted in between must not look like a fault of the proxy.
pub(super) fn upstream() -> Upstream {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http()
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted.expect("a connection"),
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A connection that breaks is nothing to tell of: that is what faults are for.
            let _ = connection(&shared, Conn::new(stream)).await;
        });
    }
}

/// One request after the other, until the connection ends.
async fn connection(shared: &Shared, mut conn: Conn) -> Result<(), AnyError> {
    while let Some(head) = conn.head().await? {
        let (n, fault) = shared.record(recorded(&head, conn.served > 0));
        let closes = head.headers.get(header::CONNECTION).is_some_and(|value| value == "close");
        conn = match exchange(shared, n, conn, &head, fault).await? {
            Some(conn) if !closes => conn,
            Some(conn) => {
                conn.close().await;
                return Ok(());
            }
            None => return Ok(()),
        };
        conn.served += 1;
    }
    Ok(())
}

fn recorded(head: &Head, reused: bool) -> Recorded {
    let user_agent = head.headers.get(header::USER_AGENT);
    Recorded {
        method: head.method.to_string(),
        path: head.target.clone(),
        user_agent: user_agent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default(),
        signed: head.headers.contains_key(header::AUTHORIZATION) || head.target.contains("X-Amz-Signature"),
        reused,
        fault: None,
        forwarded: false,
        status: None,
    }
}

/// One request and its answer; gives the connection back when it lives on.
async fn exchange(
    shared: &Shared,
    n: usize,
    mut conn: Conn,
    head: &Head,
    fault: Option<(Fault, Draw)>,
) -> Result<Option<Conn>, AnyError> {
    if let Some((Fault::Break(Point::Unread, how), _)) = fault {
        end(conn, how).await;
        return Ok(None);
    }
    let body = conn.body(head).await?;
    let forward = forward(shared, n, head, body);
    let Some((fault, mut draw)) = fault else {
        return pass(conn, head, forward.await?, None).await;
    };
    match fault {
        Fault::Hold(At::Request, gate) => {
            opened(&gate).await;
            pass(conn, head, forward.await?, None).await
        }
        Fault::Hold(At::Reply, gate) => {
            let answer = forward.await;
            opened(&gate).await;
            pass(conn, head, answer?, None).await
        }
        Fault::Delay(time) => {
            sleep(time).await;
            pass(conn, head, forward.await?, None).await
        }
        Fault::Jitter(most) => {
            sleep(Duration::from_millis(draw.below(u64::try_from(most.as_millis())? + 1))).await;
            pass(conn, head, forward.await?, None).await
        }
        Fault::Slow(from, rate) => pass(conn, head, forward.await?, Some((from, rate))).await,
        Fault::Late => {
            conn.gone().await;
            forward.await?.into_body().collect().await?;
            Ok(None)
        }
        Fault::HangUp => {
            if let Some(conn) = pass(conn, head, forward.await?, None).await? {
                conn.close().await;
            }
            Ok(None)
        }
        Fault::Garble(flips) => {
            let (mut parts, body) = whole(forward.await?).await?;
            let mut body = body.to_vec();
            for _ in 0..flips.min(body.len()) {
                let at = usize::try_from(draw.below(body.len() as u64))?;
                body[at] ^= 1 << draw.below(7);
            }
            say(&mut conn, head, &mut parts, &body).await?;
            Ok(Some(conn))
        }
        Fault::Break(point, how) => {
            let answer = forward.await?;
            broken(conn, head, answer, point, how).await?;
            Ok(None)
        }
        Fault::Answer(answer) => {
            let (mut parts, body) = own(&answer)?;
            say(&mut conn, head, &mut parts, body.as_bytes()).await?;
            Ok(Some(conn))
        }
        Fault::Endless(endless) => {
            flood(&mut conn, endless).await?;
            Ok(None)
        }
    }
}

/// Sends a request on and notes what became of it.
async fn forward(shared: &Shared, n: usize, head: &Head, body: Bytes) -> Result<Response<Incoming>, AnyError> {
    let uri = format!("{}{}", shared.upstream, head.target).parse::<Uri>()?;
    let mut request = Request::builder().method(head.method.clone()).uri(uri).body(Full::new(body))?;
    *request.headers_mut() = head.headers.clone();
    for of_the_connection in [header::CONNECTION, header::TRANSFER_ENCODING, header::EXPECT] {
        request.headers_mut().remove(of_the_connection);
    }
    shared.note(n, |request| request.forwarded = true);
    let response = shared.client.request(request).await?;
    shared.note(n, |request| request.status = Some(response.status().as_u16()));
    Ok(response)
}

/// The answer as it comes, all of it or from its body on at so many bytes a second.
async fn pass(
    mut conn: Conn,
    head: &Head,
    answer: Response<Incoming>,
    slow: Option<(Part, u32)>,
) -> Result<Option<Conn>, AnyError> {
    let (parts, mut body) = answer.into_parts();
    let bodiless = wire::bodiless(&head.method, parts.status);
    let told = bodiless || parts.headers.contains_key(header::CONTENT_LENGTH);
    let framing = if told { Framing::AsSaid } else { Framing::Chunks };
    let rate = |part| slow.filter(|(from, _)| part == Part::Body || *from == Part::Head).map(|(_, rate)| rate);
    paced(&mut conn, &wire::head(&parts, framing), rate(Part::Head)).await?;
    if bodiless {
        return Ok(Some(conn));
    }
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            // An answer may never end by itself: a trace.
            () = conn.gone() => return Ok(None),
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame?.into_data() else { continue };
        if !data.is_empty() {
            paced(&mut conn, &wire::framed(&data, framing), rate(Part::Body)).await?;
        }
    }
    if framing == Framing::Chunks {
        conn.write(wire::LAST_CHUNK).await?;
    }
    Ok(Some(conn))
}

async fn paced(conn: &mut Conn, bytes: &[u8], rate: Option<u32>) -> io::Result<()> {
    let Some(rate) = rate else { return conn.write(bytes).await };
    // Twenty pieces a second, or a byte at a time.
    let piece = (rate / 20).max(1);
    let pause = Duration::from_secs_f64(f64::from(piece) / f64::from(rate));
    let mut next = tokio::time::Instant::now();
    for piece in bytes.chunks(piece as usize) {
        conn.write(piece).await?;
        next += pause;
        sleep_until(next).await;
    }
    Ok(())
}

/// A part of the answer, and then the end.
async fn broken(mut conn: Conn, head: &Head, answer: Response<Incoming>, at: Point, how: How) -> Result<(), AnyError> {
    let (mut parts, body) = whole(answer).await?;
    let framing = if at == Point::Chunks { Framing::Chunks } else { Framing::AsSaid };
    measured(head, &mut parts, &body);
    let said = wire::head(&parts, framing);
    match at {
        Point::Unread | Point::Forwarded => {}
        Point::Head => conn.write(&said[..said.len() / 2]).await?,
        Point::Body | Point::Chunks if body.is_empty() => {
            // There is no middle: all but the last byte of the head.
            conn.write(&said[..said.len() - 1]).await?;
        }
        Point::Body | Point::Chunks => {
            conn.write(&said).await?;
            let half = &body[..body.len() / 2];
            if !half.is_empty() {
                conn.write(&wire::framed(half, framing)).await?;
            }
        }
    }
    end(conn, how).await;
    Ok(())
}

async fn end(mut conn: Conn, how: How) {
    match how {
        How::Close => conn.close().await,
        How::Reset => conn.reset(),
        How::Silence => conn.gone().await,
    }
}

async fn whole(answer: Response<Incoming>) -> Result<(response::Parts, Bytes), AnyError> {
    let (parts, body) = answer.into_parts();
    Ok((parts, body.collect().await?.to_bytes()))
}

/// Tells the length of the body, unless it is that of an answer to HEAD.
fn measured(head: &Head, parts: &mut response::Parts, body: &[u8]) {
    if head.method != Method::HEAD {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
}

async fn say(conn: &mut Conn, head: &Head, parts: &mut response::Parts, body: &[u8]) -> Result<(), AnyError> {
    measured(head, parts, body);
    conn.write(&wire::head(parts, Framing::AsSaid)).await?;
    if !wire::bodiless(&head.method, parts.status) {
        conn.write(body).await?;
    }
    Ok(())
}

fn own(answer: &Answer) -> Result<(response::Parts, String), AnyError> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    Ok((response.body(())?.into_parts().0, answer.body.clone()))
}

/// Writes until the client has enough.
async fn flood(conn: &mut Conn, endless: Endless) -> Result<(), AnyError> {
    let filler = "x".repeat(64 << 10);
    let (head, again) = match endless {
        Endless::Head => ("HTTP/1.1 200 OK\r\n".to_owned(), format!("x-filler: {}\r\n", &filler[..4 << 10])),
        Endless::Chunks => (
            "HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(),
            format!("{:x}\r\n{filler}\r\n", filler.len()),
        ),
        Endless::Length(length) => (
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/xml\r\ncontent-length: {length}\r\n\r\n"),
            filler.clone(),
        ),
    };
    conn.write(head.as_bytes()).await?;
    loop {
        conn.write(again.as_bytes()).await?;
    }
}

async fn opened(gate: &watch::Sender<Held>) {
    let mut opened = gate.subscribe();
    gate.send_modify(|held| held.arrived += 1);
    // An error means that the gate is gone, which opens it too.
    let _ = opened.wait_for(|held| held.released).await;
}
