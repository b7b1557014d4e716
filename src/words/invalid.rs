/// Text that can never be a value of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {value:?}: {why}")]
pub struct Invalid {
    /// What kind of value.
    pub what: &'static str,
    /// The text as given, without what may be a secret in it.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

impl Invalid {
    /// Of a value that may be a secret, and is not shown.
    pub fn hidden(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, value: HIDDEN.into(), why: why.into() }
    }

    /// As much of `value` as is worth showing.
    pub fn new(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self { what, value: without_credentials(value).chars().take(200).collect(), why: why.into() }
    }
}

/// What stands for what is not shown.
const HIDDEN: &str = "…";

/// An address without user name, password, query and fragment, also one that is written wrongly; other text as it
/// is. Where it cannot be told what is what, too much is hidden: a password may hold any of `@`, `?` and `#`.
fn without_credentials(text: &str) -> String {
    if super::is_token(text) {
        return HIDDEN.into();
    }
    let is_address = text.contains("//") || text.contains('@') && text.contains(':');
    if !is_address {
        return text.to_owned();
    }
    let (scheme, rest) = match text.split_once("//") {
        Some((scheme, rest)) if !scheme.contains(['@', '?', '#']) => (format!("{scheme}//"), rest),
        _ => (String::new(), text),
    };
    // `scheme:user:password@host` has no slashes, but all the rest.
    let scheme = if scheme.contains(':') && scheme.trim_end_matches("//").matches(':').count() > 1 {
        String::new()
    } else {
        scheme
    };
    let secret = rest.find(['?', '#']);
    match rest.rfind('@') {
        Some(at) if secret.is_none_or(|secret| at < secret) && !rest[..at].contains('/') => {
            let end = secret.unwrap_or(rest.len());
            let cut = if secret.is_some() { HIDDEN } else { "" };
            format!("{scheme}{HIDDEN}@{}{cut}", &rest[at + 1..end])
        }
        Some(_) => format!("{scheme}{HIDDEN}"),
        // What follows a colon is a port, or a password whose host was cut off.
        None if has_no_port(rest) => format!("{scheme}{HIDDEN}"),
        None => match secret {
            Some(secret) => format!("{scheme}{}{HIDDEN}", &rest[..secret]),
            None => format!("{scheme}{rest}"),
        },
    }
}

fn has_no_port(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after = authority.rsplit_once(':').map_or("", |(_, after)| after);
    !after.chars().all(|c| c.is_ascii_digit() || c == ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_an_address_shows_its_secrets() {
        for address in [
            "https://user:SECRET@host/x",
            "https://user:SE/CRET@host",
            "https://user:SE?CRET@host",
            "https://user:SE#CRET@host",
            "https://user:SE@CRET@host",
            "https://host/?token=SECRET",
            "https://host/?token=SE@CRET",
            "https://host/#SECRET",
            "https://user:x@host/?token=SECRET",
            "https:user:SECRET@host",
            "https:/user:SECRET@host",
            "//user:SECRET@host",
            "user:SECRET@host",
            "HTTPS://user:SECRET@host",
            "ftp://SECRET@host",
            "https://user:SECRET",
            "https://user:1SECRET#x@host",
            "hf_SECRET",
        ] {
            let shown = without_credentials(address);
            assert!(!shown.contains("SE") && !shown.contains("CRET"), "{address}: {shown}");
        }
        for other in [
            "https://host/o/n",
            "owner/name",
            "a b@c",
            "Q4_K_M",
            "what?",
            "*.gguf",
            "refs/pr/1#x",
            "hf_quant_config.json",
            "",
        ] {
            assert_eq!(without_credentials(other), other);
        }
        assert_eq!(without_credentials("https://u:p@host:1/x?y"), "https://…@host:1/x…");
    }
}
