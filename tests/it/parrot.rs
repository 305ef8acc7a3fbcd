//! A server on loopback that refuses everything and repeats what it was told, credentials included.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// One request as it came.
pub(crate) struct Heard {
    pub(crate) path: String,
    /// All header lines, the `Authorization` among them.
    pub(crate) headers: String,
}

/// An error to answer with: its code, and its message as the XML body has it.
pub(crate) struct Said {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Runs on threads of its own until it is dropped.
pub(crate) struct Parrot {
    address: SocketAddr,
    heard: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Parrot {
    pub(crate) fn start(answer: impl Fn(&Heard) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (heard, stop) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, ended, answer) = (Arc::clone(&heard), Arc::clone(&stop), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (count, answer) = (Arc::clone(&count), Arc::clone(&answer));
                thread::spawn(move || {
                    // A client that goes away is nothing to tell of.
                    let _ = serve(stream.expect("a connection"), &count, &*answer);
                });
            }
        });
        Self { address, heard, stop }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came.
    pub(crate) fn heard(&self) -> usize {
        self.heard.load(Ordering::SeqCst)
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(stream: TcpStream, count: &AtomicUsize, answer: &dyn Fn(&Heard) -> Said) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            headers.push_str(&line);
        }
        reader.read_exact(&mut vec![0; length])?;
        let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
        let Said { code, message } = answer(&Heard { path, headers });
        count.fetch_add(1, Ordering::SeqCst);
        let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>");
        // A HEAD has no body: what is said stands in MinIO's headers then.
        let sent = if first.starts_with("HEAD ") { "" } else { &body };
        write!(
            &stream,
            "HTTP/1.1 403 Forbidden\r\ncontent-type: application/xml\r\ncontent-length: {}\r\n\
             x-minio-error-code: {code}\r\nx-minio-error-desc: \"{message}\"\r\n\r\n{sent}",
            body.len(),
        )?;
    }
}
