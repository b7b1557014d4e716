//! Servers repeat in their errors what they were sent. Nothing of that may end up in a log: no
//! token, and no query of a signed address.

/// What stands for what was taken out.
const HIDDEN: &str = "…";
/// How tokens of the Hub begin, and how many characters more make one.
const TOKEN_PREFIX: &str = "hf_";
const TOKEN_MIN: usize = 16;

/// A server's words without secrets.
pub(super) fn redact(text: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut hides_next = false;
    for word in text.split_whitespace() {
        if std::mem::take(&mut hides_next) {
            words.push(HIDDEN.into());
            continue;
        }
        hides_next = is_scheme(word);
        if !hides_next {
            words.push(without_query(&without_tokens(word)));
        }
    }
    words.join(" ")
}

/// The word before the credentials in an `Authorization` header.
fn is_scheme(word: &str) -> bool {
    let name = word.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
    let name = name.rsplit([':', '=', '"', '\'']).next().unwrap_or(name);
    name.eq_ignore_ascii_case("bearer") || name.eq_ignore_ascii_case("basic")
}

/// `…?a=b&c=d` without what follows the question mark, and `a=b&c=d` without all.
fn without_query(word: &str) -> String {
    let start = word
        .find('?')
        .filter(|start| word[*start..].contains('='))
        .or_else(|| word.find('&').filter(|_| word.matches('=').count() > 1).map(|_| 0));
    start.map_or_else(|| word.to_owned(), |start| word[..start].to_owned() + HIDDEN)
}

fn without_tokens(word: &str) -> String {
    let mut rest = word;
    let mut clean = String::new();
    while let Some(start) = rest.find(TOKEN_PREFIX) {
        let body = &rest[start + TOKEN_PREFIX.len()..];
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        clean += &rest[..start];
        clean += if end >= TOKEN_MIN { HIDDEN } else { &rest[start..start + TOKEN_PREFIX.len() + end] };
        rest = &body[end..];
    }
    clean + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_queries_are_taken_out() {
        for (said, shown) in [
            ("cannot GET /a?X-Amz-Signature=1&b=2: no", "cannot GET /a… no"),
            ("authorization: Bearer hf_abcdefghijklmnop, accept: */*", "authorization: … accept: */*"),
            ("authorization:Basic dTpw", "…"),
            ("bad token \"hf_abcdefghijklmnop\"!", "bad token \"…\"!"),
            ("hf_abcdefghijklmnophf_mnopqrstuvwxyzab", "…"),
            ("GET Expires=1&Signature=2", "GET …"),
        ] {
            assert_eq!(redact(said), shown);
        }
    }

    #[test]
    fn other_words_stay() {
        for text in [
            "Repository not found. Are you logged in? Use hf_hub or hf_transfer.",
            "a=b is wrong, and so is R&D",
            "<Code>AccessDenied</Code><Message>Request has expired</Message>",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
