//! Values that must never be shown, and files that only their owner may read.

use std::{fmt, fs::OpenOptions, os::unix::fs::OpenOptionsExt};

/// A secret value; it is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }
    /// The value itself; only for signing and encrypting.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Options for a file that only its owner may read, and that is no symbolic link: whoever may write beside a run must
/// not make this process read or write elsewhere. Opening a pipe does not wait for its other side.
pub fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}
