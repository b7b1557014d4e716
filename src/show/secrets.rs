//! What must never be shown, whoever says it: a server may repeat in any header and any body what it was sent, in
//! whatever form. So it is taken out by its value, at the end of the way, from everything that is shown.

use std::borrow::Cow;
use std::sync::{PoisonError, RwLock};

use crate::words::escape_bidi;

/// What stands for what was taken out.
const HIDDEN: &str = "…";
/// Shorter texts may be in other words, as `pass` is: they are taken out only where they are words of their own.
const LENGTH_MIN: usize = 8;

/// One process shows, as there is one stderr.
static KEPT: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Takes note of secrets, in every form in which a server may repeat them.
pub fn keep(secrets: impl IntoIterator<Item = String>) {
    let mut kept = KEPT.write().unwrap_or_else(PoisonError::into_inner);
    kept.extend(secrets.into_iter().flat_map(|secret| forms(&secret)));
    longest_first(&mut kept);
}

fn forms(secret: &str) -> impl Iterator<Item = String> + use<> {
    let json = serde_json::to_string(secret).unwrap_or_default();
    let json = json.trim_start_matches('"').strip_suffix('"').unwrap_or_default().to_owned();
    let encoded = percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC);
    let decoded = percent_encoding::percent_decode_str(secret).decode_utf8_lossy().into_owned();
    let url_safe: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let forms = [secret.to_owned(), json, encoded.to_string(), decoded, url_safe];
    forms.into_iter().filter(|form| is_worth_hiding(form))
}

/// One character alone protects nothing, nor do a few digits, and both would be missed where they mean something else.
fn is_worth_hiding(form: &str) -> bool {
    form.len() > 3 || form.len() > 1 && !form.bytes().all(|byte| byte.is_ascii_digit())
}

/// A text without these secrets; `None` if it holds none of them.
pub fn hide(text: &str, secrets: impl IntoIterator<Item = String>) -> Option<String> {
    let mut all: Vec<_> = secrets.into_iter().flat_map(|secret| forms(&secret)).collect();
    longest_first(&mut all);
    match without(text, &all) {
        Cow::Borrowed(_) => None,
        Cow::Owned(text) => Some(text),
    }
}

/// A secret may be a part of another one.
fn longest_first(secrets: &mut Vec<String>) {
    secrets.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    secrets.dedup();
}

/// A text as it may be shown: without secrets, and without orders to show it in another direction.
pub fn fit(text: &str) -> Cow<'_, str> {
    match without(text, &KEPT.read().unwrap_or_else(PoisonError::into_inner)) {
        Cow::Borrowed(text) => escape_bidi(text),
        Cow::Owned(text) => escape_bidi(&text).into_owned().into(),
    }
}

fn without<'a>(text: &'a str, secrets: &[String]) -> Cow<'a, str> {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        let shown = if secret.len() < LENGTH_MIN {
            without_word(&text, secret)
        } else {
            text.contains(secret.as_str()).then(|| text.replace(secret.as_str(), HIDDEN))
        };
        if let Some(shown) = shown {
            text = shown.into();
        }
    }
    text
}

fn without_word(text: &str, word: &str) -> Option<String> {
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let mut shown = String::new();
    let mut end = 0;
    for (at, _) in text.match_indices(word) {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        if !is_part(before.chars().next_back()) && !is_part(after.chars().next()) {
            shown = shown + &text[end..at] + HIDDEN;
            end = at + word.len();
        }
    }
    (end > 0).then(|| shown + &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_taken_out_in_every_form() {
        let mut secrets: Vec<String> = forms("s3cr:et/\"+").collect();
        secrets.extend(forms("p%40ssword"));
        for said in ["s3cr:et/\"+", "s3cr:et/\\\"+", "s3cr%3Aet%2F%22%2B", "p%40ssword", "p@ssword"] {
            assert_eq!(without(&format!("it was {said}."), &secrets), "it was ….", "{said}");
        }
    }

    #[test]
    fn a_short_one_is_a_word_of_its_own() {
        let short: Vec<String> = ["a:c", "pass", "b", "10"].into_iter().flat_map(forms).collect();
        let said = "a:c, (a:c) xa:c a:cx pass user:pass@ password b 10 %";
        assert_eq!(without(said, &short), "…, (…) xa:c a:cx … user:…@ password b 10 %");
        assert_eq!(hide("a b", ["c".to_owned()]), None);
    }
}
