//! Certificate authorities: Mozilla's, built in, and the ones the environment names.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` add to the built-in roots, so that a company's proxy works
//! without a system-wide bundle in a scratch image.

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::ExtraRoots;
use crate::error::Error;

/// The built-in roots and the extra ones. A file that cannot be read or holds no certificate is
/// an error: to go on without it would only fail later, less clearly.
pub(super) fn load(extra: &ExtraRoots) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &extra.file {
        let pem = std::fs::read(file).map_err(Error::io("read certificates from SSL_CERT_FILE", file))?;
        if add(&mut roots, &pem) == 0 {
            return Err(Error::invalid(
                "SSL_CERT_FILE",
                &file.to_string_lossy(),
                "it holds no usable PEM certificate",
            ));
        }
    }
    if let Some(dir) = &extra.dir {
        let io = || Error::io("read certificates from SSL_CERT_DIR", dir.clone());
        for entry in std::fs::read_dir(dir).map_err(io())? {
            // As OpenSSL does: what is no certificate there is passed over.
            if let Ok(pem) = std::fs::read(entry.map_err(io())?.path()) {
                add(&mut roots, &pem);
            }
        }
    }
    Ok(roots)
}

/// One authority and no other.
pub(super) fn only(authority: &[u8]) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    if add(&mut roots, authority) == 0 {
        return Err(Error::invalid("certificate authority", "ca.crt", "it holds no usable PEM certificate"));
    }
    Ok(roots)
}

fn add(roots: &mut RootCertStore, pem: &[u8]) -> usize {
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    roots.add_parsable_certificates(certificates).0
}
