//! Whom to trust: the system's certificates, a bundle of one's own, one pinned certificate, or anyone.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};

use super::SiteSpec;
use crate::failure::Failure;

/// The TLS settings of a site.
pub(crate) fn config(spec: &SiteSpec) -> Result<ClientConfig, Failure> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(spec, &format!("TLS cannot be set up: {e}")))?;
    let trust = match (&spec.pin, spec.insecure) {
        (Some(pin), _) => Some(Trust::Pinned(parse_pin(pin).map_err(|why| refused(spec, &why))?)),
        (None, true) => Some(Trust::Anyone),
        (None, false) => None,
    };
    let config = match trust {
        Some(trust) => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { trust, provider }))
            .with_no_client_auth(),
        None => builder.with_root_certificates(roots(spec)?).with_no_client_auth(),
    };
    Ok(config)
}

fn refused(spec: &SiteSpec, why: &str) -> Failure {
    Failure::refused(format!("site `{}` cannot be used: {why}", spec.alias))
}

fn roots(spec: &SiteSpec) -> Result<RootCertStore, Failure> {
    let mut roots = match spec.endpoint.scheme_str() {
        Some("https") => system_roots().clone(),
        _ => RootCertStore::empty(),
    };
    if let Some(path) = &spec.ca_bundle {
        let certificates =
            bundle(path).map_err(|why| refused(spec, &format!("the CA bundle `{}`: {why}", path.display())))?;
        for certificate in certificates {
            roots.add(certificate).map_err(|e| refused(spec, &format!("the CA bundle `{}`: {e}", path.display())))?;
        }
    }
    Ok(roots)
}

fn bundle(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate".into()),
        Ok(certificates) => Ok(certificates),
        Err(e) => Err(e.to_string()),
    }
}

/// Read once in a process; what the system has and we cannot read is left out.
fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots
    })
}

fn parse_pin(pin: &str) -> Result<[u8; 32], String> {
    let digits: String = pin.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
    hex::decode(digits)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| "its pin is no SHA-256 of a certificate: 64 hexadecimal digits are needed".into())
}

#[derive(Debug)]
enum Trust {
    Anyone,
    Pinned([u8; 32]),
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.trust {
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pin) => {
                let digest = Sha256::digest(certificate);
                if digest[..] == pin {
                    return Ok(ServerCertVerified::assertion());
                }
                Err(rustls::Error::General(format!(
                    "the server's certificate is another one, SHA-256 {}",
                    hex::encode(digest)
                )))
            }
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_64_digits_with_or_without_colons() {
        let digits = "AB".repeat(32);
        assert_eq!(parse_pin(&digits).unwrap(), [0xab; 32]);
        assert_eq!(parse_pin(&vec!["ab"; 32].join(":")).unwrap(), [0xab; 32]);
        assert!(parse_pin("ab:cd").is_err());
        assert!(parse_pin(&"zz".repeat(32)).is_err());
    }
}
