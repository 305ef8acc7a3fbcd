//! HTTP/1.1 as the proxy speaks it to clients: bytes, so that any of them can be the last.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A client's connection.
pub(super) struct Conn {
    stream: TcpStream,
    buffer: BytesMut,
    /// How many requests came before.
    pub(super) served: usize,
}

/// The head of a request.
pub(super) struct Head {
    pub(super) method: Method,
    /// Path and query exactly as they came.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
}

/// How the length of an answer's body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// By the headers as they are, or there is none.
    AsSaid,
    Chunks,
}

impl Conn {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: BytesMut::new(), served: 0 }
    }

    /// The head of the next request; `None` when the client has closed the connection.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(head) = self.parse()? {
                return Ok(Some(head));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    fn parse(&mut self) -> io::Result<Option<Head>> {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(&self.buffer).map_err(io::Error::other)? {
            httparse::Status::Complete(length) => length,
            httparse::Status::Partial => return Ok(None),
        };
        let mut map = HeaderMap::new();
        for header in request.headers.iter() {
            let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(io::Error::other)?;
            map.append(name, HeaderValue::from_bytes(header.value).map_err(io::Error::other)?);
        }
        let method = request.method.unwrap_or_default().parse().map_err(io::Error::other)?;
        let head = Head { method, target: request.path.unwrap_or("/").to_owned(), headers: map };
        self.buffer.advance(length);
        Ok(Some(head))
    }

    /// The whole body of the request whose head was read.
    pub(super) async fn body(&mut self, head: &Head) -> io::Result<Bytes> {
        let says = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if says(header::EXPECT).eq_ignore_ascii_case("100-continue") {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if says(header::TRANSFER_ENCODING).eq_ignore_ascii_case("chunked") {
            return self.chunks().await;
        }
        let length = says(header::CONTENT_LENGTH).parse().unwrap_or(0);
        self.take(length).await
    }

    async fn chunks(&mut self) -> io::Result<Bytes> {
        let mut body = BytesMut::new();
        loop {
            let line = self.line().await?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
            let length = std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text.trim(), 16).ok());
            let length = length.ok_or_else(|| io::Error::other("no length of a chunk"))?;
            if length == 0 {
                // Trailers end as a head does.
                while !self.line().await?.is_empty() {}
                return Ok(body.freeze());
            }
            body.extend_from_slice(&self.take(length).await?);
            self.line().await?;
        }
    }

    async fn line(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.buffer.split_to(end).freeze();
                self.buffer.advance(2);
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn take(&mut self, length: usize) -> io::Result<Bytes> {
        while self.buffer.len() < length {
            self.more().await?;
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Returns when the client has closed the connection, or lost it.
    pub(super) async fn gone(&mut self) {
        while matches!(self.stream.read_buf(&mut self.buffer).await, Ok(n) if n > 0) {}
    }

    /// Ends the connection with RST.
    pub(super) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// Ends the connection in order; what the client still sends is not answered by RST.
    pub(super) async fn close(mut self) {
        let _ = self.stream.shutdown().await;
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), self.gone()).await;
    }
}

/// The head of an answer as bytes.
pub(super) fn head(parts: &response::Parts, framing: Framing) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", parts.status).into_bytes();
    for (name, value) in &parts.headers {
        let chunked = framing == Framing::Chunks && *name == header::CONTENT_LENGTH;
        if chunked || [header::CONNECTION, header::TRANSFER_ENCODING].contains(name) {
            continue;
        }
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if framing == Framing::Chunks {
        bytes.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// A part of a body as it goes over the wire.
pub(super) fn framed(data: &[u8], framing: Framing) -> Vec<u8> {
    match framing {
        Framing::AsSaid => data.to_vec(),
        Framing::Chunks => [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat(),
    }
}

/// What tells that a body in chunks is whole.
pub(super) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Whether an answer has no body, whatever its headers say.
pub(super) fn bodiless(method: &Method, status: StatusCode) -> bool {
    *method == Method::HEAD || matches!(status.as_u16(), 100..=199 | 204 | 304)
}
