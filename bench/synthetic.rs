//! A server that lists versions from memory, in a process of its own: as many as it is told, three or so of each key.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
};

use crate::usage::Usage;

const PAGE: u64 = 1_000;

/// The process; gone when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
}

impl Server {
    /// Serves so many versions, so many of each key.
    pub(crate) fn start(versions: u64, each: u64) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["serve", &versions.to_string(), &each.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, endpoint: line.trim().to_owned() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let used = Usage::of(&self.child.id().to_string());
        println!("  the server's own CPU time, which is not counted: {:.2} s", used.total().as_secs_f64());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until it is killed, or until whoever started it is gone.
pub(crate) fn serve(versions: u64, each: u64) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("http://{}", listener.local_addr().unwrap());
    let parent = std::os::unix::process::parent_id();
    thread::spawn(move || {
        loop {
            thread::sleep(std::time::Duration::from_millis(500));
            if std::os::unix::process::parent_id() != parent {
                std::process::exit(0);
            }
        }
    });
    for connection in listener.incoming().flatten() {
        thread::spawn(move || answer(connection, versions, each));
    }
}

fn answer(connection: TcpStream, versions: u64, each: u64) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut writer = connection.try_clone().ok()?;
    let mut reader = BufReader::new(connection);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let query = line.split_whitespace().nth(1)?.to_owned();
        while line.trim() != "" {
            line.clear();
            reader.read_line(&mut line).ok()?;
        }
        body.clear();
        page(&mut body, &query, versions, each);
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n", body.len());
        writer.write_all(head.as_bytes()).ok()?;
        writer.write_all(&body).ok()?;
    }
}

/// The key of a version by its number.
fn key(number: u64, each: u64) -> String {
    let key = number / each;
    format!("invoices/{:03}/{:09}.pdf", key / 1_000_000, key)
}

fn page(body: &mut Vec<u8>, query: &str, versions: u64, each: u64) {
    let value = |name: &str| {
        query.split(['?', '&']).find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    if query.contains("location") {
        body.extend_from_slice(
            b"<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></LocationConstraint>",
        );
        return;
    }
    let marker = value("key-marker").replace("%2F", "/").replace("%5B", "[");
    let marker = marker.split("[minio").next().unwrap_or_default();
    let id = value("version-id-marker");
    let from = if marker.is_empty() {
        0
    } else if id.is_empty() {
        // Binary search: the first version of a key after this one.
        let (mut low, mut high) = (0, versions.div_ceil(each));
        while low < high {
            let middle = u64::midpoint(low, high);
            if key(middle * each, each).as_str() <= marker { low = middle + 1 } else { high = middle }
        }
        low * each
    } else {
        u64::from_str_radix(&id[..8], 16).unwrap_or(0) + 1
    };
    let size = value("max-keys").parse().unwrap_or(PAGE).min(PAGE);
    let to = (from + size).min(versions);
    body.extend_from_slice(
        b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListVersionsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
          <Name>data</Name><Prefix></Prefix><KeyMarker></KeyMarker>",
    );
    if to < versions {
        let (key, id) = (key(to - 1, each), to - 1);
        write!(
            body,
            "<NextKeyMarker>{key}[minio_cache:v2,return:]</NextKeyMarker>\
             <NextVersionIdMarker>{id:08x}-9ce1-4f2b-8d0e-5b7a91c3d2e4</NextVersionIdMarker>"
        )
        .unwrap();
    }
    write!(
        body,
        "<VersionIdMarker></VersionIdMarker><MaxKeys>1000</MaxKeys><IsTruncated>{}</IsTruncated>",
        to < versions
    )
    .unwrap();
    for number in from..to {
        row(body, number, each);
    }
    body.extend_from_slice(b"<EncodingType>url</EncodingType></ListVersionsResult>");
}

/// One version, as MinIO writes it; by hand, as the server shall not be what is measured.
fn row(body: &mut Vec<u8>, number: u64, each: u64) {
    const ROW: &[u8] = b"<Version><Key>invoices/000/000000000.pdf</Key><LastModified>2026-11-23T18:29:22.573Z</LastModified>\
        <ETag>&#34;00000000e7891c01b93e2dbb2d52274c&#34;</ETag><Size>0000000074</Size><Owner><ID>02d6176db174dc93cb1b899f\
        7c6078f08654445fe8cf1b6ce98d8855f66bdbf4</ID><DisplayName>minio</DisplayName></Owner><StorageClass>STANDARD\
        </StorageClass><IsLatest>false</IsLatest><VersionId>00000000-9ce1-4f2b-8d0e-5b7a91c3d2e4</VersionId></Version>";
    let start = body.len();
    body.extend_from_slice(ROW);
    let row = &mut body[start..];
    decimal(&mut row[23..26], number / each / 1_000_000);
    decimal(&mut row[27..36], number / each);
    // Newer versions come first.
    decimal(&mut row[80..83], 999 - number % each);
    hexadecimal(&mut row[110..118], number);
    decimal(&mut row[160..170], number % 100_000);
    let id = row.len() - 58;
    hexadecimal(&mut row[id..id + 8], number);
}

fn decimal(to: &mut [u8], mut number: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn hexadecimal(to: &mut [u8], mut number: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}
