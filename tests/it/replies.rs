//! Replies of a real pair of sites, recorded once (`tests/replies/`, one file a call): our own client reads every one of them,
//! and the sandbox answers the same request in the same shape. A file that nothing here covers fails.

mod decoded;
#[cfg(feature = "sandbox")]
mod embedded;
#[cfg(feature = "sandbox")]
mod shape;

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// One recorded call.
#[derive(Clone, Debug)]
struct Recorded {
    /// The file's name without its ending.
    name: String,
    method: String,
    /// With the query, as it was sent.
    path: String,
    status: u16,
    /// In lower case, in their order.
    headers: Vec<(String, String)>,
    body: String,
}

impl Recorded {
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/replies");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }

    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let name = file.file_stem().and_then(|name| name.to_str()).expect("a plain name").to_owned();
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let mut lines = head.lines();
        let request = lines.next().and_then(|line| line.strip_prefix("> ")).expect("a request");
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let mut answer = lines.map(|line| line.strip_prefix("< ").expect("a line of the answer"));
        let status = answer.next().and_then(|status| status.parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_lowercase(), value.to_owned())
        };
        Self {
            name,
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            headers: answer.map(header).collect(),
            body: body.trim_end_matches('\n').to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Gives the recorded answer to whatever is asked, on a loopback port, until it is dropped; and remembers what was asked.
struct Loopback {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
}

impl Loopback {
    fn serve(reply: &Recorded) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("its address"));
        let (asked, over) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<AtomicBool>::default());
        let mut answer = format!("HTTP/1.1 {} Recorded\r\nConnection: close\r\n", reply.status);
        // The body was recorded as it is without its compression.
        let travels = |name: &str| !matches!(name, "content-encoding" | "content-length");
        for (name, value) in reply.headers.iter().filter(|(name, _)| travels(name)) {
            answer += &format!("{name}: {value}\r\n");
        }
        let length = match (reply.method.as_str(), reply.header("content-length")) {
            ("HEAD", Some(length)) => length.to_owned(),
            _ => reply.body.len().to_string(),
        };
        answer += &format!("Content-Length: {length}\r\n\r\n{}", reply.body);
        let (noted, ended) = (Arc::clone(&asked), Arc::clone(&over));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let (mut request, mut byte) = (Vec::new(), [0]);
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                noted.lock().unwrap().push(request.lines().next().unwrap_or_default().to_owned());
                // Who asked may be gone already.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { endpoint, asked, over }
    }

    /// Method and path of every request so far.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for the next one.
        let _ = std::net::TcpStream::connect(self.endpoint.trim_start_matches("http://"));
    }
}

#[test]
fn the_recorded_replies_name_nobody() {
    for recorded in Recorded::all() {
        let text = format!("{recorded:?}");
        for host in
            text.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-'))).filter(|word| word.contains('.'))
        {
            let is_name =
                host.split('.').next_back().is_some_and(|top| top.len() > 1 && top.chars().all(char::is_alphabetic));
            let known = ["source.example", "target.example", "s3.amazonaws.com"].contains(&host)
                || ["o1.bin", "o95.bin", "o96.bin"].contains(&host);
            assert!(!is_name || known || host == "DEVELOPMENT.GOGET", "{} names {host}", recorded.name);
        }
        assert!(!text.contains("Authorization"), "{} holds a signature", recorded.name);
    }
}
