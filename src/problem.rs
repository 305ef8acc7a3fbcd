//! What is wrong in a file a person wrote: place, what, and the way out.

use serde::{Deserialize, Serialize};

/// A range of bytes in a file's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// How bad a problem is: an error refuses the run, a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Error,
    Warning,
}

/// One thing wrong in a file. `what` is a lower-case fragment; `help` says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    /// Where it stands; `None` until an outer place is known.
    pub span: Option<Span>,
    pub what: String,
    pub help: Option<String>,
}
