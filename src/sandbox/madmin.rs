//! How clients of the admin interface encrypt what is secret: `salt[32] || id[1] || nonce[8] || fragments`.

use aes_gcm::{
    Aes256Gcm,
    aead::{Aead, AeadInPlace, KeyInit, Payload},
};
use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::ChaCha20Poly1305;

/// Plain bytes in a fragment; every fragment carries a tag of 16 more.
const FRAGMENT: usize = 16_384;
const TAG: usize = 16;

/// The plain text; nothing when it was encrypted with another password or changed on its way.
pub(super) fn decrypt(password: &str, data: &[u8]) -> Option<Vec<u8>> {
    let (salt, rest) = data.split_at_checked(32)?;
    let (id, rest) = rest.split_first()?;
    let (nonce, fragments) = rest.split_at_checked(8)?;
    let params = Params::new(65_536, 1, 4, Some(32)).ok()?;
    let mut key = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut key)
        .ok()?;
    match id {
        0 => open(&Aes256Gcm::new_from_slice(&key).ok()?, nonce, fragments),
        1 => open(&ChaCha20Poly1305::new_from_slice(&key).ok()?, nonce, fragments),
        _ => None,
    }
}

fn open<C>(cipher: &C, nonce: &[u8], fragments: &[u8]) -> Option<Vec<u8>>
where
    C: Aead + AeadInPlace,
{
    let nonce = |sequence: u32| {
        let mut whole = aes_gcm::aead::Nonce::<C>::default();
        whole[..8].copy_from_slice(nonce);
        whole[8..].copy_from_slice(&sequence.to_le_bytes());
        whole
    };
    // A tag that is never sent binds all fragments together.
    let tag = cipher.encrypt(&nonce(0), Payload { msg: b"", aad: b"" }).ok()?;
    let mut plain = Vec::new();
    let mut fragments = fragments.chunks(FRAGMENT + TAG).peekable();
    let mut sequence = 1;
    while let Some(fragment) = fragments.next() {
        let last = fragments.peek().is_none();
        let aad = [&[if last { 0x80 } else { 0 }], tag.as_slice()].concat();
        plain.extend(cipher.decrypt(&nonce(sequence), Payload { msg: fragment, aad: &aad }).ok()?);
        sequence += 1;
    }
    (sequence > 1).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_ciphers_sealed_is_opened_with_the_password_only() {
        let numbered = |to: u8| hex::encode((0..to).collect::<Vec<u8>>());
        let (salt, nonce) = (numbered(32), numbered(8));
        for (id, sealed) in [
            ("00", "0a72345d5ec3236614d67729a93d36444769604f7fc4419f5f3ba5642dbc12ec06"),
            ("01", "99b7172754bc434762e20cf5018fc7e2f718791d1a0da86c7405087846964b7087"),
        ] {
            let data = hex::decode(format!("{salt}{id}{nonce}{sealed}")).unwrap();
            assert_eq!(decrypt("rootsecret123", &data).unwrap(), b"{\"hello\":\"world\"}");
            assert_eq!(decrypt("rootsecret124", &data), None);
            assert_eq!(decrypt("rootsecret123", &data[..data.len() - 1]), None);
            assert_eq!(decrypt("rootsecret123", &data[..20]), None);
        }
    }
}
