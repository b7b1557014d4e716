//! What must never be shown, whoever says it: a server may repeat in any header and any body what it was sent, in
//! whatever form. So it is taken out by its value, at the end of the way, from everything that is shown.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::words::escape_bidi;

/// What stands for what was taken out.
const HIDDEN: &str = "…";
/// Shorter texts are in too many words to be taken out of them.
const LENGTH_MIN: usize = 4;

/// One process shows, as there is one stderr.
static KEPT: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Takes note of secrets, in every form in which a server may repeat them.
pub fn keep(secrets: impl IntoIterator<Item = String>) {
    let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
    kept.extend(secrets.into_iter().flat_map(|secret| forms(&secret)));
    // A secret may be a part of another one.
    kept.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    kept.dedup();
}

fn forms(secret: &str) -> impl Iterator<Item = String> + use<> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
    let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy().into_owned();
    let url_safe: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let forms = [secret.to_owned(), json, encoded.to_string(), decoded, url_safe];
    forms.into_iter().filter(|form| form.len() >= LENGTH_MIN)
}

/// A text as it may be shown: without secrets, and without orders to show it in another direction.
pub fn fit(text: &str) -> Cow<'_, str> {
    match hide(text, &KEPT.read().unwrap_or_else(PoisonError::into_inner)) {
        Cow::Borrowed(text) => escape_bidi(text),
        Cow::Owned(text) => escape_bidi(&text).into_owned().into(),
    }
}

fn hide<'a>(text: &'a str, secrets: &[String]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = text.replace(secret.as_str(), HIDDEN).into();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_form() {
        let mut secrets: Vec<String> = forms("s3cr:et/\"+").collect();
        secrets.extend(forms("p%40ssword"));
        for said in ["s3cr:et/\"+", "s3cr:et/\\\"+", "s3cr%3Aet%2F%22%2B", "p%40ssword", "p@ssword"] {
            assert_eq!(hide(&format!("it was {said}."), &secrets), "it was ….", "{said}");
        }
        assert_eq!(forms("abc").count(), 0);
    }
}
