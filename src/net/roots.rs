//! Certificate authorities: Mozilla's, built in, and the ones the environment names.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` add to the built-in roots, so that a company's proxy works
//! without a system-wide bundle in a scratch image.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{Certificate, ExtraRoots};
use crate::error::Error;

/// Whom to trust.
pub(super) struct Roots {
    store: RootCertStore,
    /// The certificates that were named, as they are.
    named: Vec<CertificateDer<'static>>,
}

/// The built-in roots and the extra ones. A file that cannot be read or holds no certificate is
/// an error: to go on without it would only fail later, less clearly.
pub(super) fn load(extra: &ExtraRoots) -> Result<Roots, Error> {
    let store = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut roots = Roots { store, named: Vec::new() };
    if let Some(file) = &extra.file {
        let pem = std::fs::read(file).map_err(Error::io("read certificates from SSL_CERT_FILE", file))?;
        if roots.add(&pem) == 0 {
            return Err(Error::invalid(
                "SSL_CERT_FILE",
                &file.to_string_lossy(),
                "it holds no usable PEM certificate",
            ));
        }
    }
    for dir in &extra.dirs {
        // As OpenSSL does with a list, of which not every system has all.
        if extra.dirs.iter().any(|dir| dir.exists()) && !dir.exists() {
            continue;
        }
        let io = || Error::io("read certificates from SSL_CERT_DIR", dir.clone());
        for entry in std::fs::read_dir(dir).map_err(io())? {
            // As OpenSSL does: what is no certificate there is passed over.
            if let Ok(pem) = std::fs::read(entry.map_err(io())?.path()) {
                roots.add(&pem);
            }
        }
    }
    Ok(roots)
}

/// One authority and no other.
pub(super) fn only(authority: &[u8]) -> Result<Roots, Error> {
    let mut roots = Roots { store: RootCertStore::empty(), named: Vec::new() };
    if roots.add(authority) == 0 {
        return Err(Error::invalid("certificate authority", "ca.crt", "it holds no usable PEM certificate"));
    }
    Ok(roots)
}

impl Roots {
    /// Adds the certificates of a PEM file; says how many of them can be used.
    fn add(&mut self, pem: &[u8]) -> usize {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok).collect();
        self.named.extend(certificates.iter().cloned());
        self.store.add_parsable_certificates(certificates).0
    }

    /// TLS that trusts them, and remembers whom it trusted.
    pub(super) fn tls(self) -> Result<(ClientConfig, Trusted), Error> {
        let setup = |why: String| Error::Internal(format!("TLS setup: {why}"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let usual =
            WebPkiServerVerifier::builder_with_provider(Arc::new(self.store), Arc::clone(&provider)).build();
        let usual = usual.map_err(|why| setup(why.to_string()))?;
        let trusted = Trusted::default();
        let verifier = Arc::new(NamedServers { usual, named: self.named, trusted: trusted.clone() });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|why| setup(why.to_string()))?;
        let config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Ok((config, trusted))
    }
}

/// The certificates of the servers that were trusted so far, by the names they were called by.
#[derive(Debug, Clone, Default)]
pub(super) struct Trusted(Arc<Mutex<BTreeMap<String, CertificateDer<'static>>>>);

impl Trusted {
    fn note(&self, name: &ServerName<'_>, server: &CertificateDer<'_>) {
        self.lock().insert(name.to_str().into_owned(), server.clone().into_owned());
    }

    /// Each with its name, as far as it can be read.
    pub(super) fn list(&self) -> Vec<(String, Certificate)> {
        let read =
            |(name, der): (&String, &CertificateDer<'_>)| Some((name.clone(), Certificate::parse(der)?));
        self.lock().iter().filter_map(read).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CertificateDer<'static>>> {
        self.0.lock().expect("nothing panics while it holds the certificates")
    }
}

/// Trusts as usual, and also a server whose very certificate was named, though it is one of an authority: `openssl
/// req -x509` makes such ones, and OpenSSL accepts them. Its time and its name must be right all the same.
#[derive(Debug)]
struct NamedServers {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    trusted: Trusted,
}

impl ServerCertVerifier for NamedServers {
    fn verify_server_cert(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = match self.usual.verify_server_cert(server, intermediates, name, ocsp, now) {
            // Found out after its time was found to be right, and before anything else.
            Err(why) if is_authority(&why) && self.named.iter().any(|named| named == server) => {
                verify_server_name(&ParsedCertificate::try_from(server)?, name)
                    .or_else(|why| if has_common_name(server, name, &why) { Ok(()) } else { Err(why) })?;
                ServerCertVerified::assertion()
            }
            result => result?,
        };
        self.trusted.note(name, server);
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Whether a certificate that names its server in no other way does so by its common name, as OpenSSL reads it. It
/// is one that the user has named: nobody else had a say in its bytes.
fn has_common_name(server: &CertificateDer<'_>, name: &ServerName<'_>, why: &rustls::Error) -> bool {
    /// 2.5.4.3, as DER has it (X.520, 6.2.2).
    const COMMON_NAME: [u8; 5] = [6, 3, 0x55, 4, 3];
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) = why
    else {
        return false;
    };
    let at = server.windows(COMMON_NAME.len()).position(|bytes| bytes == COMMON_NAME);
    let text = at.and_then(|at| server.get(at + COMMON_NAME.len()..)).and_then(|value| {
        // A type, a length, the text.
        value.get(2..2 + usize::from(*value.get(1)?))
    });
    presented.is_empty() && text.is_some_and(|text| text.eq_ignore_ascii_case(name.to_str().as_bytes()))
}

/// Whether a server shows the certificate of an authority as its own.
pub(super) fn is_authority(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else { return false };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}
