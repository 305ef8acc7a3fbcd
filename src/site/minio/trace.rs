//! The live trace of a resync: one JSON line for each version, as the server works on it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use super::TraceLine;
use crate::{
    failure::Failure,
    site::{Wire, sign::Ask},
};

/// Lines that may wait for the reader; the server drops what is not taken in time.
const WAITING: usize = 1024;
/// No line of a trace is longer.
const MAX_LINE: usize = 1 << 20;

/// Follows the trace in a task that ends with the stream, or when the receiver is dropped. There is no time limit:
/// silence is normal.
pub(super) async fn follow(wire: &Arc<Wire>) -> Result<Receiver<TraceLine>, Failure> {
    let ask = Ask::admin("trace", "trace its resyncs").with("replication-resync", "true").on_one_node();
    let body = wire.stream(&ask).await?;
    let (sender, receiver) = mpsc::channel(WAITING);
    tokio::spawn(pump(body, sender));
    Ok(receiver)
}

async fn pump(mut body: Incoming, sender: Sender<TraceLine>) {
    let mut lines = Lines::default();
    loop {
        let frame = tokio::select! {
            () = sender.closed() => return,
            frame = body.frame() => frame,
        };
        let Some(Ok(frame)) = frame else { return };
        let Ok(data) = frame.into_data() else { continue };
        for line in lines.feed(&data) {
            if sender.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// Puts lines together that come in pieces.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn feed(&mut self, data: &Bytes) -> Vec<TraceLine> {
        self.rest.extend_from_slice(data);
        let mut lines = Vec::new();
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else {
            if self.rest.len() > MAX_LINE {
                self.rest.clear();
            }
            return lines;
        };
        let rest = self.rest.split_off(end + 1);
        for line in std::mem::replace(&mut self.rest, rest).split(|b| *b == b'\n') {
            lines.extend(parse(line));
        }
        lines
    }
}

/// `None` for keep-alives and for what is not about a resync.
fn parse(line: &[u8]) -> Option<TraceLine> {
    #[derive(Deserialize)]
    struct Json {
        funcname: String,
        #[serde(default)]
        path: String,
        #[serde(default)]
        error: String,
        #[serde(default)]
        bytes: i64,
    }
    let Json { funcname, path, error, bytes } = serde_json::from_slice(line).ok()?;
    let reset_id = funcname.strip_prefix("replication.(resyncID=")?.strip_suffix(')')?.to_owned();
    let error = Some(error).filter(|e| !e.is_empty());
    Some(TraceLine { reset_id, path, error, bytes: u64::try_from(bytes).unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_keep_alives_left_out() {
        let line = r#"{"type":2048,"nodename":"n","funcname":"replication.(resyncID=drill-1)","time":"2026-11-23T18:36:05Z","path":"kk2/kms (52497d02)","dur":5046071,"error":"The specified version does not exist.","bytes":12}"#;
        let good = line.replace("The specified version does not exist.", "");
        let text = format!("  \n{line}\n\n{good}\n{{\"funcname\":\"other\"}}\n{{\"func");
        let mut lines = Lines::default();
        let mut read = Vec::new();
        for piece in text.as_bytes().chunks(7) {
            read.extend(lines.feed(&Bytes::copy_from_slice(piece)));
        }
        assert_eq!(read.len(), 2);
        assert_eq!(
            (read[0].reset_id.as_str(), read[0].path.as_str(), read[0].bytes),
            ("drill-1", "kk2/kms (52497d02)", 12)
        );
        assert_eq!(read[0].error.as_deref(), Some("The specified version does not exist."));
        assert_eq!(read[1].error, None);
    }
}
