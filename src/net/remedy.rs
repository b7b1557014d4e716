//! What can be done about an exchange that failed below HTTP.

use rustls::{AlertDescription, CertificateError, Error as Tls, InvalidMessage};

use super::{dns, roots};
use crate::error::PROXY_LOGIN;

/// Whether only a change helps, and which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Remedy {
    /// The same exchange would fail in the same way.
    pub(super) is_permanent: bool,
    /// What to do, where that is known.
    pub(super) advice: Option<&'static str>,
}

const CLOCK: &str = "check the clock of this machine; if it is right, the server needs a new certificate";
const NAME: &str = "the certificate is for another name: check the host in --endpoint and HF_ENDPOINT, or whether something else answers in its place";
const ISSUER: &str = "name the authority that signed it in SSL_CERT_FILE: that of a private server, or of a proxy that looks into TLS";
const AUTHORITY: &str = "the server shows the certificate of an authority as its own: name that very certificate in SSL_CERT_FILE, or give the server one of its own";
const PURPOSE: &str =
    "the server's certificate is not made for servers: it needs one with the purpose serverAuth";
const BROKEN: &str =
    "the server needs another certificate; look whether a proxy that looks into TLS made this one";
const PLAIN: &str = "what answers there may speak no TLS: write http:// instead of https:// in the endpoint or the proxy variable, or pass --insecure-token for a registry, if that is meant, or use another port";
const OLD: &str = "the server offers nothing that is safe: it needs TLS 1.2 or 1.3 with a cipher of today";
const CLIENT: &str = "the server wants a certificate of its clients, which modelfetch has none of: use another endpoint, or a proxy that has one";
const UNKNOWN: &str = "the server does not know the name it was called by: check --endpoint, HF_ENDPOINT and what its name stands for";
pub(super) const TUNNEL: &str =
    "the proxy refused to open a way to that host: see its own log, or name the host in NO_PROXY";
const RESOLVE: &str = "check the spelling of the name, /etc/hosts, and the servers in /etc/resolv.conf";
const LINK_LOCAL: &str =
    "name that address itself as the endpoint if it is meant, or correct what its name stands for";

/// What the HTTP stack says of a proxy's answer to CONNECT that is no tunnel.
const NO_WAY: &str = "tunnel error: unsuccessful";

/// Whether a proxy was reached, and opened no way to a host.
pub(super) fn is_refused_way(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.to_string() == NO_WAY
}

impl Remedy {
    /// Judges by one error of a chain; `None` if it is none that tells.
    pub(super) fn of(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let (is_permanent, advice) = if let Some(tls) = cause.downcast_ref::<Tls>() {
            of_tls(tls)
        } else if let Some(trouble) = cause.downcast_ref::<dns::Trouble>() {
            match trouble {
                dns::Trouble::LinkLocal(_) => (true, Some(LINK_LOCAL)),
                _ => (false, Some(RESOLVE)),
            }
        } else {
            // The HTTP stack keeps the type to itself; a test holds its words.
            match cause.to_string().as_str() {
                "tunnel error: proxy authorization required" => (true, Some(PROXY_LOGIN)),
                NO_WAY | "tunnel error: unexpected end of file" => (false, Some(TUNNEL)),
                "tls handshake eof" => (false, Some(PLAIN)),
                _ => return None,
            }
        };
        Some(Self { is_permanent, advice })
    }
}

fn of_tls(error: &Tls) -> (bool, Option<&'static str>) {
    let advice = match error {
        error if roots::is_authority(error) => AUTHORITY,
        Tls::InvalidCertificate(why) => match why {
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => CLOCK,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => NAME,
            CertificateError::UnknownIssuer => ISSUER,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => PURPOSE,
            _ => BROKEN,
        },
        Tls::InvalidMessage(InvalidMessage::InvalidContentType) => PLAIN,
        Tls::PeerIncompatible(_)
        | Tls::AlertReceived(AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure) => OLD,
        Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA,
        ) => CLIENT,
        Tls::AlertReceived(AlertDescription::UnrecognisedName) => UNKNOWN,
        _ => return (false, None),
    };
    (matches!(error, Tls::InvalidCertificate(_)), Some(advice))
}
