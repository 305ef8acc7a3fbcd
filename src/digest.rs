//! SHA-256 in hex: of lines, files and ids.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, 64 hex digits.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The size, and the SHA-256 in hex, of all that is read.
pub fn digest_of(mut reader: impl Read) -> io::Result<(u64, String)> {
    let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok((size, hex::encode(hash.finalize()))),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        hash.update(&buffer[..read]);
        size += read as u64;
    }
}
