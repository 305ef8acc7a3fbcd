//! Why something in the world could not be done. What merely did not hold is a finding, not a failure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The class of a failed call; `retry: {on: […]}` names these, and nothing ever looks at the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// No connection, or it broke before an answer came.
    Unreachable,
    /// No answer in time.
    TimedOut,
    /// The server asks for fewer requests (503 `SlowDown`).
    Throttled,
    /// The server understood and said no, or said something that is no answer.
    Refused,
    /// A recorded value is not to be had again (it was masked in the journal).
    Lost,
}

/// Why a step could not go on. The text reads well after "failed to run `start`: ".
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// A call to a site, or the site's answer, was of no use.
    #[error("{what}")]
    Call {
        class: Class,
        what: String,
        /// The server's error code, e.g. `NoSuchBucket`.
        code: Option<String>,
        /// The HTTP status.
        status: Option<u16>,
    },
    /// A question to a person is open.
    #[error("waiting for an answer: {0}")]
    Waiting(String),
    /// The journal could not be written: no line, no change.
    #[error("the journal cannot be written: {0}")]
    Journal(String),
    /// Another run holds what this one wants to change.
    #[error("{0}")]
    Claimed(String),
    /// What is about to be changed is not what the plan said.
    #[error("{0}")]
    Drift(String),
    /// This program did what it never should.
    #[error("{0}")]
    Defect(String),
}

impl Failure {
    pub fn unreachable(what: impl Into<String>) -> Self {
        Self::of(Class::Unreachable, what)
    }
    pub fn timed_out(what: impl Into<String>) -> Self {
        Self::of(Class::TimedOut, what)
    }
    pub fn refused(what: impl Into<String>) -> Self {
        Self::of(Class::Refused, what)
    }
    pub fn lost(what: impl Into<String>) -> Self {
        Self::of(Class::Lost, what)
    }
    pub fn of(class: Class, what: impl Into<String>) -> Self {
        Self::Call { class, what: what.into(), code: None, status: None }
    }

    /// The class of a failed call; `None` for what ends a run whatever a step says.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self::Call { class, .. } => Some(*class),
            Self::Waiting(_) | Self::Journal(_) | Self::Claimed(_) | Self::Drift(_) | Self::Defect(_) => None,
        }
    }

    /// The server's error code, e.g. `NoSuchBucket`.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Call { code, .. } => code.as_deref(),
            Self::Waiting(_) | Self::Journal(_) | Self::Claimed(_) | Self::Drift(_) | Self::Defect(_) => None,
        }
    }

    /// The HTTP status of the server's refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Call { status, .. } => *status,
            Self::Waiting(_) | Self::Journal(_) | Self::Claimed(_) | Self::Drift(_) | Self::Defect(_) => None,
        }
    }
}
