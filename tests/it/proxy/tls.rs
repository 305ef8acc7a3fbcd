//! TLS in front of a server that speaks plain HTTP, with any certificate, and handshakes that go wrong.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, sink},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// A private certificate authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A server's certificate with its key.
pub(crate) struct Certificate {
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

/// How long a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Valid {
    Now,
    NotAnyMore,
    NotYet,
}

/// What a front does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    Whole,
    /// Closes when the client has begun.
    Cut,
    /// Never says anything.
    Silent,
    /// Answers as if the client had spoken plain HTTP.
    Plain,
}

/// Takes TLS from clients and gives plain HTTP to a server, on a thread of its own, until it is dropped.
pub(crate) struct Front {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    stop: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// What goes into a CA bundle.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, host: &str, valid: Valid) -> Certificate {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
        match valid {
            Valid::Now => {}
            Valid::NotAnyMore => params.not_after = date_time_ymd(2021, 3, 4),
            Valid::NotYet => params.not_before = date_time_ymd(2091, 3, 4),
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Certificate { der: certificate.der().clone(), key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }
}

impl Certificate {
    /// A certificate that nobody else signed.
    pub(crate) fn self_signed(host: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a host");
        let der = params.self_signed(&key).expect("a certificate").der().clone();
        Self { der, key: PrivatePkcs8KeyDer::from(key.serialize_der()).into() }
    }

    /// Its SHA-256 as `openssl x509 -fingerprint` writes it.
    pub(crate) fn fingerprint(&self) -> String {
        let pairs: Vec<String> = Sha256::digest(&self.der).iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

impl Front {
    /// `upstream` is `http://host:port`.
    pub(crate) fn start(upstream: &str, certificate: &Certificate, handshake: Handshake) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("its address");
        let upstream = upstream.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der.clone()], certificate.key.clone_key())
            .expect("a certificate with its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (stop, accepted) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
        let thread = thread::spawn({
            let (stop, accepted) = (stop.clone(), Arc::clone(&accepted));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(async {
                    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                    loop {
                        let (stream, _) = tokio::select! {
                            () = stop.cancelled() => return,
                            stream = listener.accept() => stream.expect("a connection"),
                        };
                        accepted.fetch_add(1, Ordering::SeqCst);
                        tokio::spawn(serve(stream, acceptor.clone(), handshake, upstream.clone()));
                    }
                });
            }
        });
        Self { address, accepted, stop, thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("https://{}", self.address)
    }

    /// How many connections came.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One connection. Whatever breaks is what the client is to see.
async fn serve(mut stream: TcpStream, acceptor: TlsAcceptor, handshake: Handshake, upstream: String) {
    let mut hello = [0; 4096];
    match handshake {
        Handshake::Whole => {
            let Ok(mut client) = acceptor.accept(stream).await else { return };
            let Ok(mut server) = TcpStream::connect(upstream).await else { return };
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
        Handshake::Cut => {
            let _ = stream.read(&mut hello).await;
            let _ = stream.shutdown().await;
        }
        Handshake::Silent => {
            let _ = copy(&mut stream, &mut sink()).await;
        }
        Handshake::Plain => {
            let _ = stream.read(&mut hello).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
            let _ = copy(&mut stream, &mut sink()).await;
        }
    }
}
