//! Which access token is used, and which Hub it is for.

use std::io::ErrorKind;

use super::args::HubArgs;
use super::given::{Given, Side};
use super::request::Noted;
use super::{Environment, netrc, registry};
use crate::error::Error;
use crate::request::{Endpoint, Endpoints, IdToken, Identity, Proxies, RepoRef, Token, TokenSource};

/// The endpoints with their token, and notes for the user where a token or a password stays at home. `pasted` is a
/// repository whose text may name an endpoint.
pub(super) fn endpoints(
    hub: HubArgs,
    pasted: Option<&RepoRef>,
    given: &Given<'_>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<Endpoints>, Error> {
    let endpoint = given.lines("endpoint", hub.endpoint);
    let token_endpoint = given.lines("token_endpoint", hub.token_endpoint);
    let (token_file, id_token_file) = given.at_most_one(
        &Side { id: "token_file", label: "--token-file", set: hub.token_file.is_some() },
        &Side { id: "id_token_file", label: "--id-token-file", set: hub.id_token_file.is_some() },
    )?;
    let hub = HubArgs {
        endpoint,
        token_endpoint,
        token_file: hub.token_file.filter(|_| token_file),
        id_token_file: hub.id_token_file.filter(|_| id_token_file),
        ..hub
    };
    choose(&hub, pasted, environment, proxies)
}

fn choose(
    hub: &HubArgs,
    pasted: Option<&RepoRef>,
    environment: &Environment,
    proxies: &Proxies,
) -> Result<Noted<Endpoints>, Error> {
    let parse = |urls: &[String]| urls.iter().map(|url| Endpoint::parse(url)).collect::<Result<Vec<_>, _>>();
    let token_for = parse(&hub.token_endpoint)?;
    if let Some(registry) = token_for.iter().find(|endpoint| endpoint.registry().is_some()) {
        let why = "a registry gets its own login, from docker's config.json or auth.json, and never the Hub's token";
        return Err(Error::invalid("token endpoint", &registry.to_string(), why));
    }
    let mut token = find(hub, environment)?;
    let mut notes = Vec::new();
    let place = pasted.and_then(|pasted| pasted.endpoint.as_deref());
    let mut only_pasted = false;
    let mut list = match (environment.text("HF_ENDPOINT"), place) {
        _ if !hub.endpoint.is_empty() => parse(&hub.endpoint)?,
        (Some(url), _) => vec![Endpoint::parse(url.trim())?],
        (None, Some(url)) => {
            only_pasted = true;
            vec![Endpoint::parse(url)?]
        }
        (None, None) => vec![Endpoint::parse(Endpoint::DEFAULT)?],
    };
    if let Some(login) = pasted.and_then(|pasted| pasted.login.as_ref()) {
        let home = Endpoint::parse(place.unwrap_or(Endpoint::DEFAULT))?;
        let is_home = |endpoint: &Endpoint| endpoint.url().origin() == home.url().origin();
        if !list.iter().any(is_home) {
            notes.push(format!(
                "the user name and password in the address are those of {home}, which is not asked, and are not used"
            ));
        }
        list = list
            .into_iter()
            .map(|endpoint| {
                let own = is_home(&endpoint).then(|| login.clone());
                endpoint.or_login(|_| own)
            })
            .collect();
    }
    let list = with_logins(list, token.is_some() && !only_pasted, &token_for, environment)?;
    // A pasted URL names any host at all; a token is not given to one by accident.
    if only_pasted && token_for.is_empty() {
        notes.extend(token.take().map(|token| token.stays_from(&list[0].to_string())));
    }
    let endpoints = Endpoints::new(list, token, token_for, hub.insecure_token, proxies)?;
    Ok((endpoints.with_registry_logins(registry::logins(environment)), notes))
}

/// The endpoints with what `.netrc` has for them: mirrors alone, and those alone that get no token.
fn with_logins(
    list: Vec<Endpoint>,
    has_token: bool,
    token_for: &[Endpoint],
    environment: &Environment,
) -> Result<Vec<Endpoint>, Error> {
    let (path, is_named) = match (environment.path("NETRC"), environment.path("HOME")) {
        (Some(path), _) => (path, true),
        (None, Some(home)) => (home.join(".netrc"), false),
        (None, None) => return Ok(list),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(why) if is_named => {
            return Err(Error::invalid("NETRC", &path.to_string_lossy(), why.to_string()));
        }
        Err(_) => return Ok(list),
    };
    let first = list.iter().position(|endpoint| endpoint.registry().is_none());
    let gets_token = |index: usize, endpoint: &Endpoint| {
        has_token && if token_for.is_empty() { Some(index) == first } else { token_for.contains(endpoint) }
    };
    let logged_in = list.into_iter().enumerate().map(|(index, endpoint)| {
        if endpoint.is_hub() || endpoint.registry().is_some() || gets_token(index, &endpoint) {
            return endpoint;
        }
        endpoint.or_login(|host| netrc::login(&text, host))
    });
    Ok(logged_in.collect())
}

/// `--token-file`; else, unless implicit tokens are switched off, the variables and the file that
/// `huggingface_hub` reads (`_auth.py`).
fn find(hub: &HubArgs, environment: &Environment) -> Result<Option<Token>, Error> {
    if let Some(path) = &hub.token_file {
        let text = std::fs::read_to_string(path)
            .map_err(|why| Error::invalid("token file", &path.to_string_lossy(), why.to_string()))?;
        let token = Token::new(&text, TokenSource::File(path.clone()))?;
        return token
            .map(Some)
            .ok_or_else(|| Error::invalid("token file", &path.to_string_lossy(), "it is empty"));
    }
    if let Some(token) = in_exchange(hub, environment)? {
        return Ok(Some(token));
    }
    if environment.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN") {
        return Ok(None);
    }
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(text) = environment.text(name) {
            return Ok(Token::new(text, TokenSource::Variable(name))?);
        }
    }
    from_default_file(environment)
}

/// What the Hub gives for an identity token. That comes before a token that is there: who names a resource means it
/// (`huggingface_hub` 2.4, `utils/_auth.py`).
fn in_exchange(hub: &HubArgs, environment: &Environment) -> Result<Option<Token>, Error> {
    let is_off = environment.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN");
    let resource = environment.text("HF_OIDC_RESOURCE");
    let variable = || {
        let text = environment.text("HF_OIDC_ID_TOKEN").map(str::trim);
        text.map(|text| IdToken::Variable("HF_OIDC_ID_TOKEN", text.to_owned()))
    };
    let token = match (&hub.id_token_file, resource) {
        (Some(path), None) => {
            let why = "set HF_OIDC_RESOURCE too: the user or the repository that the access token is to be for";
            return Err(Error::invalid("id token file", &path.to_string_lossy(), why));
        }
        (Some(path), Some(_)) => IdToken::File(path.clone()),
        (None, None) => return Ok(None),
        (None, Some(_)) if is_off => return Ok(None),
        (None, Some(resource)) => variable().ok_or_else(|| {
            let why = "there is no id token: set HF_OIDC_ID_TOKEN to what the CI has given, or name a file with --id-token-file";
            Error::invalid("HF_OIDC_RESOURCE", resource, why)
        })?,
    };
    Ok(Some(Token::in_exchange(Identity::new(resource.unwrap_or_default(), token)?)))
}

/// A file nobody named may be missing or belong to somebody else.
fn from_default_file(environment: &Environment) -> Result<Option<Token>, Error> {
    let Some(path) = environment.token_path() else { return Ok(None) };
    let is_named = environment.text("HF_TOKEN_PATH").is_some();
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Token::new(&text, TokenSource::File(path))?),
        Err(why) if is_named && why.kind() != ErrorKind::NotFound => {
            Err(Error::invalid("HF_TOKEN_PATH", &path.to_string_lossy(), why.to_string()))
        }
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RepoKind;

    fn hub() -> HubArgs {
        HubArgs {
            endpoint: vec![],
            token_file: None,
            id_token_file: None,
            token_endpoint: vec![],
            insecure_token: false,
        }
    }

    fn source(hub: &HubArgs, pairs: &[(&str, &str)]) -> Option<TokenSource> {
        let environment = Environment::from_pairs(pairs.iter().copied());
        find(hub, &environment).expect("token").map(|token| token.source().clone())
    }

    fn file(name: &str, text: &str) -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("modelfetch-token-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("directory");
        std::fs::write(dir.join("token"), text).expect("file");
        dir
    }

    #[test]
    fn the_nearest_token_wins() {
        let dir = file("nearest", "hf_file\n");
        let home = ("HF_HOME", dir.to_str().expect("UTF-8"));
        let (new, old) = (("HF_TOKEN", "hf_a"), ("HUGGING_FACE_HUB_TOKEN", "hf_b"));
        assert_eq!(source(&hub(), &[new, old, home]), Some(TokenSource::Variable("HF_TOKEN")));
        assert_eq!(source(&hub(), &[old, home]), Some(TokenSource::Variable("HUGGING_FACE_HUB_TOKEN")));
        assert_eq!(source(&hub(), &[home]), Some(TokenSource::File(dir.join("token"))));
        let named = HubArgs { token_file: Some(dir.join("token")), ..hub() };
        assert_eq!(source(&named, &[new]), Some(TokenSource::File(dir.join("token"))));
        std::fs::remove_dir_all(dir).expect("cleaned");
    }

    #[test]
    fn implicit_tokens_can_be_switched_off_and_an_explicit_one_still_counts() {
        let dir = file("implicit", "hf_file");
        let off = ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        assert_eq!(
            source(&hub(), &[off, ("HF_TOKEN", "hf_a"), ("HF_HOME", dir.to_str().expect("UTF-8"))]),
            None
        );
        let named = HubArgs { token_file: Some(dir.join("token")), ..hub() };
        assert!(source(&named, &[off]).is_some());
        std::fs::remove_dir_all(dir).expect("cleaned");
    }

    #[test]
    fn a_token_file_that_was_named_must_hold_a_token() {
        let dir = file("empty", " \n");
        for path in [dir.join("token"), dir.join("absent")] {
            let error = find(&HubArgs { token_file: Some(path), ..hub() }, &Environment::default());
            assert_eq!(error.expect_err("no token").exit_number(), 2);
        }
        std::fs::remove_dir_all(dir).expect("cleaned");
    }

    fn pasted(hub: &HubArgs, address: &str, environment: &Environment) -> (Endpoints, Vec<String>) {
        let reference = RepoRef::parse(address, RepoKind::Model).expect("a repository");
        choose(hub, Some(&reference), environment, &Proxies::default()).expect("endpoints")
    }

    #[test]
    fn the_password_of_an_address_is_for_its_own_host() {
        let address = "https://user:pa%40ss@other.example:8443/below/o/n/resolve/main/f";
        let login = |hub: &HubArgs, address| {
            let (list, notes) = pasted(hub, address, &Environment::default());
            let logins = list.iter().map(|endpoint| endpoint.login().map(|login| login.expose().to_owned()));
            (logins.collect::<Vec<_>>(), notes)
        };
        let password = || Some("pa@ss".to_owned());
        assert_eq!(login(&hub(), address), (vec![password()], vec![]));
        let at = |endpoints: &[&str]| HubArgs {
            endpoint: endpoints.iter().map(ToString::to_string).collect(),
            ..hub()
        };
        let named = at(&["https://another.example", "https://other.example:8443/x"]);
        assert_eq!(login(&named, address), (vec![None, password()], vec![]));
        let (logins, notes) = login(&at(&["https://another.example"]), address);
        assert_eq!(logins, [None]);
        assert!(notes[0].contains("other.example:8443") && !notes[0].contains("ss@"), "{notes:?}");
        let own = at(&["https://me:mine@other.example:8443"]);
        assert_eq!(login(&own, address).0, [Some("mine".into())]);
    }

    #[test]
    fn a_pasted_host_gets_no_token_unless_it_is_named() {
        let environment = Environment::from_pairs([("HF_TOKEN", "hf_a")]);
        let url = "https://other.example";
        let address = format!("{url}/o/n");
        let (list, notes) = pasted(&hub(), &address, &environment);
        assert!(list.token().is_none());
        assert!(notes[0].contains("--token-endpoint"), "{notes:?}");
        let named = HubArgs { token_endpoint: vec![url.into()], ..hub() };
        let (list, notes) = pasted(&named, &address, &environment);
        assert!(list.token().is_some() && notes.is_empty());
    }

    #[test]
    fn endpoints_come_from_the_flag_then_the_variable_then_the_pasted_url() {
        let environment = Environment::from_pairs([("HF_ENDPOINT", "https://variable.example/")]);
        let first = |hub: &HubArgs, address, environment: &Environment| {
            pasted(hub, address, environment).0.iter().next().expect("one").to_string()
        };
        let address = "https://pasted.example/o/n";
        let flag = HubArgs { endpoint: vec!["https://flag.example".into()], ..hub() };
        assert_eq!(first(&flag, address, &environment), "https://flag.example");
        assert_eq!(first(&hub(), address, &environment), "https://variable.example");
        assert_eq!(first(&hub(), address, &Environment::default()), "https://pasted.example");
        assert_eq!(first(&hub(), "o/n", &Environment::default()), Endpoint::DEFAULT);
    }
}
