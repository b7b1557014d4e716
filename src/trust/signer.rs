//! Who may sign: public keys, and certificates with the chains that lead to those that are trusted (RFC 5280, 6).
//!
//! rustls-webpki verifies what is signed but not the chain: it takes no certificate of an authority for that of a
//! signer, and `certtool`, which the makers of the format use, writes such ones.

use std::fmt;
use std::time::SystemTime;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use sha2::Digest as _;
use webpki::ring::{ECDSA_P256_SHA256, ECDSA_P384_SHA384};

use crate::content::Sha256;
use crate::net::der::{BIT_STRING, BOOLEAN, Element, INTEGER, OBJECT_ID, OCTET_STRING, Reader, SEQUENCE};
use crate::request::{PemFile, Signing};
use crate::words::Invalid;

/// What a key signs with (OMS algorithm registry; ring has no P-521).
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 2] = [ECDSA_P256_SHA256, ECDSA_P384_SHA384];
/// 1.3.132.0.35, the curve P-521.
const P521: [u8; 7] = [OBJECT_ID, 5, 0x2b, 0x81, 0x04, 0x00, 0x23];
/// A bundle with more certificates is no chain that somebody made in earnest.
const CHAIN_MAX: usize = 16;
/// Signatures that are looked at to find a way to a trusted certificate.
const BUDGET: u32 = 64;

/// Tags of a certificate (RFC 5280, 4.1).
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// Version 3, which has extensions.
const V3: [u8; 3] = [INTEGER, 1, 2];
/// Extensions, below 2.5.29 (RFC 5280, 4.2.1).
const KEY_USAGE: [u8; 3] = [0x55, 0x1d, 15];
const SUBJECT_ALTERNATIVE_NAME: [u8; 3] = [0x55, 0x1d, 17];
const BASIC_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 19];
const NAME_CONSTRAINTS: [u8; 3] = [0x55, 0x1d, 30];
const EXTENDED_KEY_USAGE: [u8; 3] = [0x55, 0x1d, 37];
/// Bits of the first byte of a key usage (RFC 5280, 4.2.1.3).
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_CERT_SIGN: u8 = 0x04;
/// 1.3.6.1.5.5.7.3.3, signing of code, and 2.5.29.37.0, any purpose.
const PURPOSES: [&[u8]; 2] = [&[0x2b, 6, 1, 5, 5, 7, 3, 3], &[0x55, 0x1d, 37, 0]];

/// Who made a signature, as receipts name them: `key:` or `certificate:`, and a SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signer(String);

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everybody who may sign.
pub struct Signers {
    keys: Vec<(Sha256, Vec<u8>)>,
    certificates: Vec<CertificateDer<'static>>,
    /// Seconds since the beginning of 1970.
    now: i64,
}

impl Signers {
    /// Reads the files that the user trusts. Every one has to be of use.
    pub fn read(signing: &Signing) -> Result<Self, Invalid> {
        let mut keys = Vec::new();
        for file in &signing.keys {
            let read = |der: &SubjectPublicKeyInfoDer<'static>| {
                let mut reader = Reader::new(der);
                let key = reader.element().and_then(|info| Key::of(&info)).ok_or("it is no public key")?;
                key.algorithm().map(|_| (key_id(der), der.to_vec()))
            };
            let found: Vec<_> = pem(file, "public key", "BEGIN PUBLIC KEY")?;
            for der in &found {
                keys.push(read(der).map_err(|why| Invalid::new("trusted key", &file.name, why))?);
            }
        }
        let mut certificates = Vec::new();
        for file in &signing.certificates {
            let found: Vec<CertificateDer<'static>> = pem(file, "certificate", "BEGIN CERTIFICATE")?;
            for der in found {
                let read = Certificate::parse(&der).map(|_| ());
                read.map_err(|why| Invalid::new("trusted certificate", &file.name, why))?;
                certificates.push(der);
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self { keys, certificates, now: i64::try_from(now).unwrap_or(i64::MAX) })
    }

    /// Who of the trusted keys has signed this. `hint` is what the signature says of its key.
    pub(super) fn of_key(&self, hint: &str, message: &[u8], signature: &[u8]) -> Result<Signer, String> {
        if self.keys.is_empty() {
            return Err("it was made with a key, and no key is trusted: name one with --trust-key".into());
        }
        for (id, der) in &self.keys {
            let key = Reader::new(der).element().and_then(|info| Key::of(&info));
            if key.is_some_and(|key| key.has_signed(message, signature)) {
                return Ok(Signer(format!("key:{id}")));
            }
        }
        if self.keys.iter().any(|(id, _)| id.to_string() == hint) {
            return Err(format!("it is not what key {hint} signed: it was changed, or is broken"));
        }
        let trusted: Vec<_> = self.keys.iter().map(|(id, _)| id.to_string()).collect();
        let said = if hint.is_empty() { String::new() } else { format!(" (it names {hint:?})") };
        Err(format!("none of the trusted keys has made it{said}; trusted: {}", trusted.join(", ")))
    }

    /// Whether the first of these certificates is trusted, may sign, and has signed this.
    pub(super) fn of_chain(
        &self,
        chain: &[Vec<u8>],
        message: &[u8],
        signature: &[u8],
    ) -> Result<Signer, String> {
        if self.certificates.is_empty() {
            let why = "it was made with a certificate, and none is trusted: name one with --trust-cert";
            return Err(why.into());
        }
        if chain.len() > CHAIN_MAX {
            return Err(format!("it has {} certificates", chain.len()));
        }
        let parse = |(at, der)| Certificate::parse(der).map_err(|why| format!("its certificate {at}: {why}"));
        let chain = chain.iter().map(Vec::as_slice).enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        let trusted: Result<Vec<_>, _> =
            self.certificates.iter().map(|der| Certificate::parse(der)).collect();
        let (trusted, (leaf, others)) = (trusted?, chain.split_first().ok_or("it has no certificate")?);
        let algorithm = leaf.key.algorithm().map_err(|why| format!("its certificate: {why}"))?;
        leaf.check_may_sign()?;
        let mut search = Search { others, trusted: &trusted, now: self.now, budget: BUDGET, obstacle: None };
        search.check_time(leaf)?;
        if !trusted.iter().any(|trusted| trusted.der == leaf.der) && !search.leads_home(leaf, &mut Vec::new())
        {
            let obstacle = search.obstacle.map_or_else(String::new, |why| format!(" ({why})"));
            return Err(format!("its certificate does not lead to one that is trusted{obstacle}"));
        }
        if !leaf.key.verifies(algorithm, message, signature) {
            return Err("it is not what its certificate's key signed: it was changed, or is broken".into());
        }
        Ok(Signer(format!("certificate:{}", sha256(leaf.der))))
    }
}

/// What a PEM file holds of a kind; at least one.
fn pem<T: PemObject>(file: &PemFile, what: &'static str, expected: &str) -> Result<Vec<T>, Invalid> {
    let found: Result<Vec<_>, _> = T::pem_slice_iter(&file.text).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Invalid::new(
            if what == "certificate" { "trusted certificate" } else { "trusted key" },
            &file.name,
            format!("it holds no {what} as PEM (-----{expected}-----)"),
        )),
    }
}

fn sha256(bytes: &[u8]) -> Sha256 {
    Sha256::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// The name of a key: the SHA-256 of its usual PEM text, which is `model-signing`'s `publicKey.hint`.
fn key_id(der: &[u8]) -> Sha256 {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let mut hasher = sha2::Sha256::new();
    hasher.update("-----BEGIN PUBLIC KEY-----\n");
    for line in text.as_bytes().chunks(64) {
        hasher.update(line);
        hasher.update("\n");
    }
    hasher.update("-----END PUBLIC KEY-----\n");
    Sha256::from_bytes(hasher.finalize().into())
}

/// A public key (RFC 5280, 4.1.2.7).
#[derive(Debug, Clone, Copy)]
struct Key<'a> {
    algorithm: &'a [u8],
    bits: &'a [u8],
}

impl<'a> Key<'a> {
    fn of(info: &Element<'a>) -> Option<Self> {
        let mut fields = info.inner();
        let algorithm = fields.expect(SEQUENCE)?.content;
        let bits = fields.expect(BIT_STRING)?.bits()?;
        fields.is_at_end().then_some(Self { algorithm, bits })
    }

    /// How it signs models.
    fn algorithm(&self) -> Result<&'static dyn SignatureVerificationAlgorithm, &'static str> {
        let known = ALGORITHMS.into_iter().find(|known| known.public_key_alg_id().as_ref() == self.algorithm);
        known.ok_or(if self.algorithm.ends_with(&P521) {
            "its key is of the curve P-521, whose signatures cannot be verified here: P-256 and P-384 can"
        } else {
            "its key is none of the curves P-256 and P-384, with which models are signed"
        })
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        self.algorithm().is_ok_and(|algorithm| self.verifies(algorithm, message, signature))
    }

    fn verifies(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        algorithm.public_key_alg_id().as_ref() == self.algorithm
            && algorithm.verify_signature(self.bits, message, signature).is_ok()
    }
}

/// What counts of a certificate (RFC 5280, 4.1).
struct Certificate<'a> {
    der: &'a [u8],
    /// What is signed of it, how, and the signature.
    signed: (&'a [u8], &'a [u8], &'a [u8]),
    issuer: &'a [u8],
    subject: &'a [u8],
    /// From and until when it is good, in seconds since the beginning of 1970.
    validity: (i64, i64),
    key: Key<'a>,
    is_authority: bool,
    /// How many authorities may stand between it and a signer.
    path_len_max: Option<u64>,
    usage: Option<u8>,
    purposes: Option<Reader<'a>>,
}

impl<'a> Certificate<'a> {
    fn parse(der: &'a [u8]) -> Result<Self, &'static str> {
        const BROKEN: &str = "it is no X.509 certificate of version 3";
        let mut reader = Reader::new(der);
        let mut outer = reader.expect(SEQUENCE).filter(|_| reader.is_at_end()).ok_or(BROKEN)?.inner();
        let (mut read, extensions) = Self::fields(der, &mut outer).ok_or(BROKEN)?;
        let mut seen: Vec<&[u8]> = Vec::new();
        let mut extensions = extensions.inner();
        while let Some(extension) = extensions.element() {
            let mut fields = extension.inner();
            let id = fields.expect(OBJECT_ID).ok_or(BROKEN)?.content;
            let is_critical = fields.optional(BOOLEAN).is_some_and(|critical| critical.content != [0]);
            let value = fields.expect(OCTET_STRING).filter(|_| fields.is_at_end()).ok_or(BROKEN)?;
            if seen.contains(&id) {
                return Err("it has an extension twice");
            }
            seen.push(id);
            read.learn(id, value.inner(), is_critical)?;
        }
        if extensions.is_at_end() { Ok(read) } else { Err(BROKEN) }
    }

    /// All but the extensions, which come last.
    fn fields(der: &'a [u8], outer: &mut Reader<'a>) -> Option<(Self, Element<'a>)> {
        let body = outer.expect(SEQUENCE)?;
        let algorithm = outer.expect(SEQUENCE)?;
        let signature = outer.expect(BIT_STRING)?.bits()?;
        let mut fields = body.inner();
        let version = fields.expect(VERSION)?;
        let number = fields.expect(INTEGER)?;
        let announced = fields.expect(SEQUENCE)?;
        let issuer = fields.expect(SEQUENCE)?;
        let mut validity = fields.expect(SEQUENCE)?.inner();
        let validity = (validity.element()?.time()?, validity.element()?.time()?);
        let subject = fields.expect(SEQUENCE)?;
        let key = Key::of(&fields.expect(SEQUENCE)?)?;
        let mut extensions = fields.expect(EXTENSIONS)?.inner();
        let all = extensions.expect(SEQUENCE)?;
        let is_sound = outer.is_at_end()
            && fields.is_at_end()
            && extensions.is_at_end()
            && version.content == V3
            && !number.content.is_empty()
            && announced.content == algorithm.content;
        let signed = (body.whole, algorithm.content, signature);
        let (issuer, subject) = (issuer.content, subject.content);
        let read = Self {
            der,
            signed,
            issuer,
            subject,
            validity,
            key,
            is_authority: false,
            path_len_max: None,
            usage: None,
            purposes: None,
        };
        is_sound.then_some((read, all))
    }

    /// Takes an extension in. One that is critical and not understood makes a certificate useless.
    fn learn(&mut self, id: &[u8], mut value: Reader<'a>, is_critical: bool) -> Result<(), &'static str> {
        const BROKEN: &str = "one of its extensions is broken";
        if id == BASIC_CONSTRAINTS {
            let mut fields = value.expect(SEQUENCE).ok_or(BROKEN)?.inner();
            self.is_authority = fields.optional(BOOLEAN).is_some_and(|is| is.content != [0]);
            if let Some(most) = fields.optional(INTEGER) {
                let &[most] = most.content else { return Err(BROKEN) };
                self.path_len_max = Some(most.into());
            }
            return if fields.is_at_end() { Ok(()) } else { Err(BROKEN) };
        }
        if id == KEY_USAGE {
            let bits = value.expect(BIT_STRING).ok_or(BROKEN)?.content;
            self.usage = Some(*bits.get(1).ok_or(BROKEN)?);
            return Ok(());
        }
        if id == EXTENDED_KEY_USAGE {
            self.purposes = Some(value.expect(SEQUENCE).ok_or(BROKEN)?.inner());
            return Ok(());
        }
        if id == NAME_CONSTRAINTS {
            return Err("it is limited to certain names, and models have none");
        }
        if is_critical && id != SUBJECT_ALTERNATIVE_NAME {
            return Err("it has a critical extension that is not known here");
        }
        Ok(())
    }

    /// Whether a purpose is among those that it is limited to; it may be limited to none.
    fn is_for_code(&self) -> Option<bool> {
        let mut purposes = self.purposes?;
        let purposes = std::iter::from_fn(|| purposes.element());
        Some(purposes.into_iter().any(|purpose| PURPOSES.contains(&purpose.content)))
    }

    /// A signer's certificate says that it is for signatures, or for code, and nothing against it.
    fn check_may_sign(&self) -> Result<(), String> {
        let for_signatures = self.usage.map(|usage| usage & DIGITAL_SIGNATURE > 0);
        match (for_signatures, self.is_for_code()) {
            (Some(false), _) => Err("its certificate is not for signatures (keyUsage)".into()),
            (_, Some(false)) => Err("its certificate is not for signing code (extendedKeyUsage)".into()),
            (None, None) => Err("its certificate does not say that it is for signatures".into()),
            _ => Ok(()),
        }
    }

    /// Whether it may stand above others, of which `below` are authorities.
    fn may_issue(&self, below: usize) -> bool {
        self.is_authority
            && self.usage.is_none_or(|usage| usage & KEY_CERT_SIGN > 0)
            && self.is_for_code() != Some(false)
            && self.path_len_max.is_none_or(|most| below as u64 <= most)
    }

    fn has_issued(&self, other: &Self) -> bool {
        let (body, algorithm, signature) = other.signed;
        let mut fitting = webpki::ALL_VERIFICATION_ALGS
            .iter()
            .filter(|known| known.signature_alg_id().as_ref() == algorithm);
        fitting.any(|known| self.key.verifies(*known, body, signature))
    }
}

/// A way from a signer's certificate to one that is trusted.
struct Search<'a, 'b> {
    /// What came with the signature, in any order: nobody vouches for it.
    others: &'b [Certificate<'a>],
    trusted: &'b [Certificate<'a>],
    now: i64,
    budget: u32,
    /// What stood in the way.
    obstacle: Option<String>,
}

impl Search<'_, '_> {
    fn check_time(&self, certificate: &Certificate<'_>) -> Result<(), String> {
        let (from, until) = certificate.validity;
        if self.now < from {
            return Err("a certificate is not good yet: is the clock right?".into());
        }
        if self.now > until {
            let days = (self.now - until) / 86400;
            return Err(format!("a certificate ran out {days} days ago: have the model signed anew"));
        }
        Ok(())
    }

    /// Whether somebody who is trusted issued it, or somebody for whom that is so. `above` are those it passed.
    fn leads_home(&mut self, certificate: &Certificate<'_>, above: &mut Vec<*const u8>) -> bool {
        let (trusted, others) = (self.trusted, self.others);
        for (issuer, is_trusted) in
            trusted.iter().map(|one| (one, true)).chain(others.iter().map(|one| (one, false)))
        {
            if issuer.subject != certificate.issuer || above.contains(&issuer.der.as_ptr()) {
                continue;
            }
            if self.budget == 0 {
                return false;
            }
            self.budget -= 1;
            if !issuer.has_issued(certificate) {
                continue;
            }
            if !issuer.may_issue(above.len()) {
                self.obstacle = Some("a certificate on the way may not issue others".into());
                continue;
            }
            if let Err(why) = self.check_time(issuer) {
                self.obstacle = Some(why);
                continue;
            }
            if is_trusted {
                return true;
            }
            above.push(issuer.der.as_ptr());
            let leads_home = self.leads_home(issuer, above);
            above.pop();
            if leads_home {
                return true;
            }
        }
        false
    }
}
