//! SHA-256 in hex: of lines, files and ids.

use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, 64 hex digits.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
