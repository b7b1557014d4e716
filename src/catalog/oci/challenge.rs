//! What a 401 asks for (RFC 9110, 11.6.1; token authentication of the distribution project).

/// One way to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// `Bearer`, `Basic` or another word.
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Reads the ways of one `WWW-Authenticate` header; a header may name several. What cannot be read is left out.
    pub fn parse(header: &str) -> Vec<Self> {
        let mut challenges: Vec<Self> = Vec::new();
        for part in parts(header) {
            // `Bearer realm="…"` begins a way, `service="…"` goes on with it, and a word alone is a way without more.
            let (word, value) =
                part.split_once('=').map_or((part, None), |(word, value)| (word, Some(value)));
            let (scheme, key) = match word.trim().split_once(char::is_whitespace) {
                Some((scheme, key)) => (Some(scheme), key.trim()),
                None if value.is_none() => (Some(word.trim()), ""),
                None => (None, word.trim()),
            };
            if let Some(scheme) = scheme.filter(|scheme| !scheme.is_empty()) {
                challenges.push(Self { scheme: scheme.to_owned(), parameters: Vec::new() });
            }
            if let (Some(challenge), Some(value)) = (challenges.last_mut(), value) {
                challenge.parameters.push((key.to_ascii_lowercase(), unquoted(value.trim())));
            }
        }
        challenges
    }

    /// Whether it is of this scheme, in whatever case.
    pub fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The scheme, as it was written.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// A parameter, by its name in small letters.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// What to ask a token endpoint for: what the registry says it wants, if that is nothing but to read, else to read
    /// this repository.
    pub fn scope(&self, name: &str) -> String {
        let is_reading = |scope: &str| scope.starts_with("repository:") && scope.ends_with(":pull");
        let asked = self.get("scope").filter(|scope| scope.split(' ').all(is_reading));
        asked.map_or_else(|| format!("repository:{name}:pull"), str::to_owned)
    }
}

/// The parts between commas that are in no quotes.
fn parts(header: &str) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in header.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let (mut text, mut is_escaped) = (String::new(), false);
    for c in inner.chars() {
        match c {
            '"' if !is_escaped => break,
            '\\' if !is_escaped => is_escaped = true,
            c => {
                is_escaped = false;
                text.push(c);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(header: &str) -> Vec<String> {
        let one = |challenge: Challenge| format!("{}{:?}", challenge.scheme, challenge.parameters);
        Challenge::parse(header).into_iter().map(one).collect()
    }

    #[test]
    fn a_challenge_is_read_in_the_forms_that_registries_write() {
        let usual = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:ai/n:pull,push""#;
        let [challenge] = &Challenge::parse(usual)[..] else { panic!("one") };
        assert!(challenge.is("bearer"));
        assert_eq!(challenge.get("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(challenge.get("service"), Some("registry.docker.io"));
        assert_eq!(challenge.scope("ai/n"), "repository:ai/n:pull", "nothing but to read is asked for");
        for (header, expected) in [
            ("Basic", vec!["Basic[]"]),
            (r#"Basic realm="a, b""#, vec![r#"Basic[("realm", "a, b")]"#]),
            (r#"BEARER  Realm = "x" , Service=y"#, vec![r#"BEARER[("realm", "x"), ("service", "y")]"#]),
            (
                r#"Bearer realm="x", Basic realm="y\"z""#,
                vec![r#"Bearer[("realm", "x")]"#, r#"Basic[("realm", "y\"z")]"#],
            ),
            ("Negotiate, Basic realm=r", vec!["Negotiate[]", r#"Basic[("realm", "r")]"#]),
            ("", vec![]),
            (",,", vec![]),
        ] {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn what_is_asked_for_is_to_read_and_nothing_else() {
        let scope = |text: &str| Challenge::parse(&format!("Bearer scope=\"{text}\""))[0].scope("o/n");
        for text in ["repository:o/n:pull", "repository:p/o/n:pull", "repository:a:pull repository:b:pull"] {
            assert_eq!(scope(text), text);
        }
        for text in [
            "repository:o/n:pull,push",
            "repository:o/n:*",
            "registry:catalog:*",
            "repository:x:pull registry:catalog:*",
            "",
        ] {
            assert_eq!(scope(text), "repository:o/n:pull", "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_the_reader_panic(header in "\\PC{0,80}|([a-z \",=\\\\]){0,40}") {
            for challenge in Challenge::parse(&header) {
                let _ = challenge.scope("n");
            }
        }
    }
}
