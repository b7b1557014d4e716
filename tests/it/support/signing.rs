//! Models that are signed as a test asks, rightly or wrongly.

use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

pub(crate) fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Somebody with a key.
pub(crate) struct Signer {
    pub(crate) key: KeyPair,
}

impl Signer {
    pub(crate) fn new() -> Self {
        Self { key: KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key") }
    }

    /// Writes the public key where a test wants it.
    pub(crate) fn write_key(&self, path: &Path) {
        std::fs::write(path, self.key.public_key_pem()).expect("a key");
    }

    /// What receipts call the key.
    pub(crate) fn id(&self) -> String {
        // rcgen ends its lines as files in the mail do.
        let pem = self.key.public_key_pem().replace("\r\n", "\n");
        format!("key:{}", sha256(pem.as_bytes()))
    }

    /// A bundle about this statement.
    pub(crate) fn bundle(&self, statement: &Value) -> Value {
        self.bundle_of(statement.to_string().as_bytes())
    }

    /// The same about any bytes.
    pub(crate) fn bundle_of(&self, payload: &[u8]) -> Value {
        let material =
            json!({"publicKey": {"hint": self.id().trim_start_matches("key:")}, "tlogEntries": []});
        self.sealed(PAYLOAD_TYPE, payload, &material)
    }

    /// The same, with what it is to be verified by.
    pub(crate) fn sealed(&self, payload_type: &str, payload: &[u8], material: &Value) -> Value {
        let mut message =
            format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
        message.extend_from_slice(payload);
        let signature = self.key.sign(&message).expect("a signature");
        json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": BASE64_STANDARD.encode(payload),
                "payloadType": payload_type,
                "signatures": [{"sig": BASE64_STANDARD.encode(signature), "keyid": ""}]
            }
        })
    }

    /// A signature of files.
    pub(crate) fn sign(&self, files: &[(&str, &str)]) -> String {
        self.bundle(&statement(files)).to_string()
    }
}

/// What is signed of files with these names and digests.
pub(crate) fn statement(files: &[(&str, &str)]) -> Value {
    let mut files = files.to_vec();
    files.sort_unstable();
    let resource =
        |(name, digest): &(&str, &str)| json!({"name": name, "algorithm": "sha256", "digest": digest});
    let mut statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": ""}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "resources": files.iter().map(resource).collect::<Vec<_>>(),
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": false,
                "ignore_paths": ["model.sig", ".git", ".gitattributes", ".github", ".gitignore"]
            }
        }
    });
    add_up(&mut statement);
    statement
}

/// Makes the digest of the model that of its files.
pub(crate) fn add_up(statement: &mut Value) {
    let mut hasher = Sha256::new();
    for resource in statement["predicate"]["resources"].as_array().into_iter().flatten() {
        let digest = resource["digest"].as_str().unwrap_or_default();
        let digits: Vec<_> = digest.bytes().filter_map(|c| (c as char).to_digit(16)).collect();
        let bytes = digits
            .chunks(2)
            .map(|pair| u8::try_from(pair[0] * 16 + pair.get(1).unwrap_or(&0)).expect("a byte"));
        hasher.update(bytes.collect::<Vec<_>>());
    }
    statement["subject"][0]["digest"]["sha256"] = hex(hasher.finalize()).into();
}
