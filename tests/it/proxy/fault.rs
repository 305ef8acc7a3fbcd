//! What can be done to a request and its answer, and which requests it is done to.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{At, Recorded};

/// What is done to one request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Wait for the gate. The request goes on even if its client is gone by then.
    Hold(At, watch::Sender<Held>),
    /// Latency before the server sees it.
    Delay(Duration),
    /// The same, between nothing and this, drawn anew for each request.
    Jitter(Duration),
    /// The answer comes at so many bytes a second, its head in time when only the body is slow.
    Slow(Part, u32),
    /// The connection ends at this point, or goes silent there.
    Break(Point, How),
    /// So many bytes of the answer's body have a bit flipped each.
    Garble(usize),
    /// The server gets it only after the client is gone.
    Late,
    /// The answer is whole, and the connection is closed after it without a word, as an idle one is.
    HangUp,
    /// Answered in the server's place, which never sees it.
    Answer(Arc<Answer>),
    /// An answer in the server's place that never ends, as fast as it is read.
    Endless(Endless),
}

/// A part of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Head,
    Body,
}

/// Where a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// When the head of the request is there: its body is never read, and the server sees nothing.
    Unread,
    /// When the server has done it; no byte of the answer comes.
    Forwarded,
    /// In the middle of the answer's head.
    Head,
    /// In the middle of the answer's body, whose whole length was told.
    Body,
    /// The same, in chunks whose end never comes.
    Chunks,
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// In order (FIN).
    Close,
    /// RST.
    Reset,
    /// Not at all: it stays open, and nothing more comes until the client is gone.
    Silence,
}

/// What never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endless {
    Head,
    Chunks,
    /// A body that is said to be so many bytes long.
    Length(u64),
}

/// An answer of the proxy's own.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(super) arrived: usize,
    pub(super) released: bool,
}

impl Fault {
    /// An error as S3 says it.
    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
        );
        Self::Answer(Arc::new(Answer { status, headers: vec![("content-type", "application/xml".into())], body }))
    }

    /// 503 `SlowDown`, with a time to come back after or without.
    pub(crate) fn slow_down(seconds: Option<u32>) -> Self {
        let Self::Answer(answer) = Self::error(503, "SlowDown") else { unreachable!() };
        let mut answer = Arc::unwrap_or_clone(answer);
        answer.headers.extend(seconds.map(|seconds| ("retry-after", seconds.to_string())));
        Self::Answer(Arc::new(answer))
    }

    /// A page in HTML, as a load balancer answers for a server that is away.
    pub(crate) fn page(status: u16) -> Self {
        let headers = vec![("content-type", "text/html".into())];
        Self::Answer(Arc::new(Answer { status, headers, body: format!("<html><body>{status}</body></html>") }))
    }

    pub(crate) fn redirect(status: u16, location: &str) -> Self {
        let headers = vec![("location", location.to_owned())];
        Self::Answer(Arc::new(Answer { status, headers, body: String::new() }))
    }

    /// One word for the record.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Hold(..) => "held",
            Self::Delay(_) => "delayed",
            Self::Jitter(_) => "jittered",
            Self::Slow(..) => "slow",
            Self::Break(point, how) => broken(*point, *how),
            Self::Garble(_) => "garbled",
            Self::Late => "late",
            Self::HangUp => "hung up",
            Self::Answer(answer) => match answer.status {
                300..=399 => "redirected",
                _ => "answered",
            },
            Self::Endless(_) => "endless",
        }
    }
}

fn broken(point: Point, how: How) -> &'static str {
    match (how, point) {
        (How::Close, Point::Unread) => "closed unread",
        (How::Close, Point::Forwarded) => "closed unanswered",
        (How::Close, Point::Head) => "closed in the head",
        (How::Close, Point::Body) => "closed in the body",
        (How::Close, Point::Chunks) => "closed in the chunks",
        (How::Reset, Point::Unread) => "reset unread",
        (How::Reset, Point::Forwarded) => "reset unanswered",
        (How::Reset, Point::Head) => "reset in the head",
        (How::Reset, Point::Body) => "reset in the body",
        (How::Reset, Point::Chunks) => "reset in the chunks",
        (How::Silence, Point::Unread) => "silent unread",
        (How::Silence, Point::Forwarded) => "silent unanswered",
        (How::Silence, Point::Head) => "silent in the head",
        (How::Silence, Point::Body) => "silent in the body",
        (How::Silence, Point::Chunks) => "silent in the chunks",
    }
}

type Matcher = Box<dyn Fn(&Recorded) -> bool + Send + Sync>;

/// Which requests meet a fault.
pub(crate) struct On {
    matches: Matcher,
    /// How many matching requests pass first.
    skip: usize,
    /// How many more requests it is good for.
    left: usize,
}

impl On {
    pub(crate) fn matching(matches: impl Fn(&Recorded) -> bool + Send + Sync + 'static) -> Self {
        Self { matches: Box::new(matches), skip: 0, left: usize::MAX }
    }

    pub(crate) fn every() -> Self {
        Self::matching(|_| true)
    }

    /// By method, and by a part of path and query.
    pub(crate) fn call(method: &'static str, part: &'static str) -> Self {
        Self::matching(move |request| request.method == method && request.path.contains(part))
    }

    /// Requests that would change something.
    pub(crate) fn changes() -> Self {
        Self::matching(Recorded::changes)
    }

    /// Only so many of them.
    pub(crate) fn times(self, left: usize) -> Self {
        Self { left, ..self }
    }

    /// Only the nth of them, counted from 1.
    pub(crate) fn nth(self, n: usize) -> Self {
        Self { skip: n - 1, left: 1, ..self }
    }

    pub(super) fn takes(&mut self, request: &Recorded) -> bool {
        if self.left == 0 || !(self.matches)(request) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.left -= 1;
        true
    }
}

pub(super) struct Rule {
    pub(super) on: On,
    pub(super) fault: Fault,
}

/// Faults at random, the same ones for the same seed and the same sequence of requests.
pub(crate) struct Mix {
    seed: u64,
    /// How many requests of 100 meet a fault.
    percent: u64,
    faults: Vec<Fault>,
    on: On,
    seen: usize,
}

impl Mix {
    pub(crate) fn new(seed: u64, percent: u64, faults: Vec<Fault>, on: On) -> Self {
        Self { seed, percent, faults, on, seen: 0 }
    }

    pub(super) fn takes(&mut self, request: &Recorded) -> bool {
        self.on.takes(request)
    }

    /// For the next request that it takes.
    pub(super) fn draw(&mut self) -> Option<(Fault, Draw)> {
        let mut draw = Draw::new(self.seed, self.seen);
        self.seen += 1;
        if draw.below(100) >= self.percent {
            return None;
        }
        let n = usize::try_from(draw.below(self.faults.len() as u64)).expect("a small number");
        Some((self.faults[n].clone(), draw))
    }
}

/// Numbers by a seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub(crate) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64, n: usize) -> Self {
        let mut draw = Self(seed ^ (n as u64).wrapping_mul(0xd134_2543_de82_ef95));
        draw.next();
        draw
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
