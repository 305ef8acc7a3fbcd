//! The proxy is tried by itself: what passes is unchanged, each fault is what its name says, a seed repeats itself.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use super::{Fault, How, Mix, On, Part, Point, Proxy, fault::Endless};

/// What the server behind the proxy says to everything.
const SAID: &str = "0123456789abcdef";

/// A server that answers every request on its own connection; ends with the test process.
fn server() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nx-of: server\r\ncontent-length: {}\r\n\r\n{SAID}", SAID.len());
        }
    });
    format!("http://{address}")
}

/// All that comes for one request, up to 100 kB or 150 ms of silence, and how it ended: `closed`, `reset` or `open`.
fn ask(proxy: &Proxy, path: &str) -> (String, &'static str) {
    ask_with(proxy, path, "")
}

fn ask_with(proxy: &Proxy, path: &str, header: &str) -> (String, &'static str) {
    let mut stream = TcpStream::connect(proxy.endpoint().trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n{header}\r\n").unwrap();
    let (mut said, mut piece) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut piece) {
            Ok(0) => break "closed",
            Ok(_) if said.len() > 100_000 => break "open",
            Ok(n) => said.extend_from_slice(&piece[..n]),
            Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => break "reset",
            Err(_) => break "open",
        }
    };
    (String::from_utf8_lossy(&said).into_owned(), end)
}

fn body(said: &str) -> &str {
    said.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn each_fault_is_what_its_name_says() {
    let proxy = Proxy::start(&server());
    let (said, end) = ask(&proxy, "/");
    assert!(said.contains("x-of: server") && said.ends_with(SAID), "{said}");
    assert_eq!(end, "open");

    for how in [How::Close, How::Reset, How::Silence] {
        let ends = match how {
            How::Close => "closed",
            How::Reset => "reset",
            How::Silence => "open",
        };
        let forwarded = proxy.count(|request| request.forwarded);
        for point in [Point::Unread, Point::Forwarded, Point::Head, Point::Body, Point::Chunks] {
            proxy.clear();
            proxy.fault(Fault::Break(point, how), On::every());
            let (said, end) = ask(&proxy, "/");
            assert_eq!(end, ends, "{point:?} {how:?}");
            // What was sent just before a reset may be lost with it.
            match point {
                _ if how == How::Reset => {}
                Point::Unread | Point::Forwarded => assert_eq!(said, ""),
                Point::Head => assert!(said.starts_with("HTTP/1.1 200") && !said.contains("\r\n\r\n"), "{said}"),
                Point::Body => assert!(said.contains("content-length: 16") && body(&said) == "01234567", "{said}"),
                Point::Chunks => assert!(body(&said) == "8\r\n01234567\r\n", "{said}"),
            }
        }
        assert_eq!(proxy.count(|request| request.forwarded) - forwarded, 4, "only what is broken unread stays away");
    }

    proxy.clear();
    proxy.fault(Fault::Garble(3), On::every());
    let (said, _) = ask(&proxy, "/");
    assert!(body(&said) != SAID && body(&said).len() == SAID.len(), "{said}");

    proxy.clear();
    proxy.fault(Fault::HangUp, On::every());
    let (said, end) = ask(&proxy, "/");
    assert!(said.ends_with(SAID) && !said.contains("connection: close") && end == "closed", "{said}");

    proxy.clear();
    proxy.fault(Fault::Slow(Part::Body, 1), On::every());
    let (said, _) = ask(&proxy, "/");
    assert_eq!(body(&said), "0");

    for endless in [Endless::Head, Endless::Chunks, Endless::Length(1 << 50)] {
        proxy.clear();
        proxy.fault(Fault::Endless(endless), On::every());
        let (said, _) = ask(&proxy, "/");
        assert!(said.len() > 90_000, "{endless:?}: {}", said.len());
        assert_eq!(body(&said).is_empty(), endless == Endless::Head);
    }
}

#[test]
fn what_is_late_arrives_when_the_client_is_gone() {
    let proxy = Proxy::start(&server());
    proxy.fault(Fault::Late, On::every());
    assert_eq!(ask(&proxy, "/"), (String::new(), "open"));
    let end = std::time::Instant::now() + Duration::from_secs(10);
    while proxy.count(|request| request.status == Some(200)) == 0 {
        assert!(std::time::Instant::now() < end, "it does not arrive");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn faults_are_for_the_requests_that_were_chosen() {
    let proxy = Proxy::start(&server());
    proxy.fault(Fault::page(502), On::call("GET", "/a").nth(2));
    proxy.fault(Fault::slow_down(Some(7)), On::call("GET", "/b").times(1));
    proxy.fault(Fault::redirect(307, "http://elsewhere/"), On::call("PUT", "/"));
    let status = |path: &str| ask(&proxy, path).0.get(9..12).unwrap_or_default().to_owned();
    assert_eq!(["/a", "/c", "/a?x", "/a", "/b", "/b"].map(status), ["200", "200", "502", "200", "503", "200"]);
    let faults: Vec<_> = proxy.requests().iter().filter_map(|request| request.fault).collect();
    assert_eq!(faults, ["answered", "answered"]);
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let upstream = server();
    let drawn = |seed| {
        let proxy = Proxy::start(&upstream);
        let faults = vec![Fault::page(500), Fault::Garble(2), Fault::redirect(301, "http://elsewhere/"), Fault::HangUp];
        proxy.mix(Mix::new(seed, 40, faults, On::every()));
        let said: Vec<String> =
            (0..40).map(|n| ask_with(&proxy, &format!("/{n}"), "connection: close\r\n").0).collect();
        let faults: Vec<_> = proxy.requests().iter().map(|request| request.fault).collect();
        (said, faults)
    };
    let first = drawn(1);
    assert_eq!(first, drawn(1));
    assert_ne!(first.1, drawn(2).1);
    let hit = first.1.iter().flatten().count();
    assert!((8..=24).contains(&hit), "{hit} of 40");
}
