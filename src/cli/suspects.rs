//! What on a command line is a secret, though nobody is asked for one there: a token in the place of something else,
//! an address with a password. Every user of the machine can read it in the process list; no log need have it too.

use std::ffi::OsString;

use super::Environment;
use crate::show::secrets;
use crate::words::is_token;

/// Tokens of the Hub have 37 characters. What is much shorter may be a name.
const TOKEN_MIN: usize = 20;
/// Where the environment has secrets.
pub(super) const VARIABLES: [&str; 4] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN", "LB_IP"];

/// What is surely a secret, wherever it stands.
pub(super) fn certain(arguments: &[OsString], environment: &Environment) -> Vec<String> {
    let variables = VARIABLES.into_iter().filter_map(|name| environment.text(name)).map(str::trim);
    let given = values(arguments, environment).flat_map(|value| {
        let token = is_token(value).then_some(value).filter(|token| token.len() >= TOKEN_MIN);
        [token, password(value)]
    });
    variables.chain(given.flatten()).map(str::to_owned).collect()
}

/// And what may be one: for an error about the command line itself, which needs none of it.
pub fn possible(arguments: &[OsString], environment: &Environment) -> Vec<String> {
    let more = values(arguments, environment).flat_map(|value| {
        let query = value.split_once('?').filter(|(address, _)| address.contains("//"));
        [Some(value).filter(|value| is_token(value)), query.map(|(_, query)| query)]
    });
    certain(arguments, environment).into_iter().chain(more.flatten().map(str::to_owned)).collect()
}

/// clap's words without them.
pub(super) fn hide(error: clap::Error, arguments: &[OsString], environment: &Environment) -> clap::Error {
    let text = error.to_string();
    match secrets::hide(&text, possible(arguments, environment)) {
        Some(text) => clap::Error::raw(error.kind(), text.trim_start_matches("error: ")),
        None => error,
    }
}

/// The values of all arguments (what follows the `=` of a flag, the letter of a short one, and all others), and of the
/// variables that stand for some.
fn values<'a>(arguments: &'a [OsString], environment: &'a Environment) -> impl Iterator<Item = &'a str> {
    let texts = arguments.iter().skip(1).filter_map(|argument| argument.to_str());
    texts
        .flat_map(|text| match text.strip_prefix('-') {
            None => [Some(text), None],
            Some(flag) => {
                let short = flag.char_indices().nth(1).filter(|_| !flag.starts_with('-'));
                [flag.split_once('=').map(|(_, value)| value), short.map(|(at, _)| &flag[at..])]
            }
        })
        .flatten()
        .chain(environment.own())
}

/// The password of an address, with a scheme or without.
fn password(value: &str) -> Option<&str> {
    let address = value.split_once("//").map_or(value, |(_, rest)| rest);
    let (login, _) = address.rsplit_once('@')?;
    let (user, password) = login.split_once(':')?;
    // oci://HOST:PORT/NAME@sha256:… has a colon and an `@`, too.
    let is_name = value.starts_with("oci://") && login.contains('/');
    Some(password).filter(|_| !user.contains('/') && !is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Vec<String>, Vec<String>) {
        let arguments: Vec<_> = ["modelfetch", text].into_iter().map(OsString::from).collect();
        let environment = Environment::default();
        let certain = certain(&arguments, &environment);
        (possible(&arguments, &environment).split_off(certain.len()), certain)
    }

    #[test]
    fn tokens_and_passwords_are_found_where_nobody_asked_for_them() {
        let token = "hf_abcdefghijklmnopqrstuvwxyz";
        for argument in [token.to_owned(), format!("--insecure-token={token}"), format!("-t{token}")] {
            assert_eq!(all(&argument).1, [token], "{argument}");
        }
        for address in
            ["https://user:SECRET@host/o/n", "user:SECRET@host/o/n", "--endpoint=//user:SECRET@host"]
        {
            assert_eq!(all(address).1, ["SECRET"], "{address}");
        }
        assert_eq!(all("hf_short").0, ["hf_short"]);
        assert_eq!(all("https://host/o/n?token=SECRET").0, ["token=SECRET"]);
        for other in [
            "owner/name@v1:Q8_0",
            "oci://h:5000/n@sha256:ab",
            "hf_quant_config.json",
            "hf_cache/x",
            "--dir=/hf_x/y",
            "o/n:Q4@x",
            "a?b",
        ] {
            assert_eq!(all(other), (vec![], vec![]), "{other}");
        }
    }
}
