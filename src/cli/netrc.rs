//! User names and passwords from the file that curl, git and Python read too (`netrc`(5)).

use crate::request::Login;

/// What the text of a `.netrc` has for a host, without its port. The entry `default` is for every host, and so for
/// none that was meant.
pub(super) fn login(text: &str, host: &str) -> Option<Login> {
    let mut words = text.lines().map(|line| line.split(" #").next().unwrap_or_default());
    let mut words =
        words.by_ref().filter(|line| !line.trim_start().starts_with('#')).flat_map(str::split_whitespace);
    let (mut is_host, mut user, mut password) = (false, None, None);
    while let Some(word) = words.next() {
        match word {
            "machine" | "default" => {
                if is_host && password.is_some() {
                    break;
                }
                is_host =
                    word == "machine" && words.next().is_some_and(|name| name.eq_ignore_ascii_case(host));
                (user, password) = (None, None);
            }
            "login" => user = words.next(),
            "password" => password = words.next(),
            "account" => drop(words.next()),
            _ => {}
        }
    }
    password.filter(|_| is_host).map(|password| Login::new(user.unwrap_or_default(), password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_the_host_is_found_and_no_other() {
        let text = "# machine commented.example login x password y\nmachine a.example login ann password one\n\
                    machine b.example\n  login bob\n  account z\n  password two\n\
                    default login any password three\n";
        let found =
            |host| login(text, host).map(|login| (login.user().to_owned(), login.expose().to_owned()));
        assert_eq!(found("a.example"), Some(("ann".into(), "one".into())));
        assert_eq!(found("B.example"), Some(("bob".into(), "two".into())));
        assert_eq!(found("c.example"), None);
        assert_eq!(found("commented.example"), None);
    }
}
