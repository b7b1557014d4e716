//! Secrets that must never turn up anywhere.

/// The access token of the tests that look for it.
pub(crate) const TOKEN: &str = "hf_CANARYxCANARYxCANARYxCANARYxCAN";

/// The text holds neither the token nor the signature of a CDN address.
#[track_caller]
pub(crate) fn assert_no_secret(text: &str) {
    if let Some(found) = secret_in(text) {
        panic!("{found}");
    }
}

/// The first secret in a text, with what stands around it.
pub(crate) fn secret_in(text: &str) -> Option<String> {
    ["CANARY", "Signature=", "Key-Pair-Id=", "Bearer"].into_iter().find_map(|secret| {
        let at = text.find(secret)?;
        let start = text.floor_char_boundary(at.saturating_sub(200));
        let end = text.ceil_char_boundary((at + 100).min(text.len()));
        Some(format!("{secret} in …{}…", &text[start..end]))
    })
}
