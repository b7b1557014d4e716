//! Logins for registries, where docker, podman and oras keep them.

use std::io::ErrorKind;
use std::path::PathBuf;

use super::Environment;
use crate::request::{LoginFile, RegistryLogins};

/// The logins of all files that these programs read, the nearest first: `REGISTRY_AUTH_FILE` and `config.json` in
/// `DOCKER_CONFIG`; if neither is named, podman's `auth.json` (`containers-auth.json`(5)) and docker's `config.json` at
/// their usual places. A file that somebody named is missed when it is needed.
pub(super) fn logins(environment: &Environment) -> RegistryLogins {
    let named = [
        environment.path("REGISTRY_AUTH_FILE"),
        environment.path("DOCKER_CONFIG").map(|folder| folder.join("config.json")),
    ];
    let named: Vec<PathBuf> = named.into_iter().flatten().collect();
    let is_named = !named.is_empty();
    let home = |folder: &str| environment.path("HOME").map(|home| home.join(folder));
    let config = environment.path("XDG_CONFIG_HOME").or_else(|| home(".config"));
    let usual = [
        environment.path("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json")),
        config.map(|folder| folder.join("containers/auth.json")),
        home(".docker/config.json"),
    ];
    let paths = if is_named { named } else { usual.into_iter().flatten().collect() };
    let files = paths.into_iter().filter_map(|path| {
        let name = path.to_string_lossy().into_owned();
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(LoginFile::parse(name, &text)),
            Err(why) if why.kind() == ErrorKind::NotFound && !is_named => None,
            Err(why) => Some(LoginFile::unreadable(name, &why)),
        }
    });
    RegistryLogins::new(files.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{RepoKind, RepoRef};

    #[test]
    fn logins_are_found_where_docker_and_podman_keep_them_and_a_named_file_stands_alone() {
        let dir = std::env::temp_dir().join(format!("modelfetch-logins-{}", std::process::id()));
        let write = |place: &str, password: &str| {
            let path = dir.join(place);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("directory");
            let auths = format!(r#"{{"auths": {{"r": {{"username": "u", "password": "{password}"}}}}}}"#);
            std::fs::write(&path, auths).expect("file");
            path.to_str().expect("UTF-8").to_owned()
        };
        let at = |place: &str| dir.join(place).to_str().expect("UTF-8").to_owned();
        write("home/.docker/config.json", "docker");
        let repo = RepoRef::parse("oci://r/n", RepoKind::Model).expect("a repository").repo;
        let found = |pairs: &[(&str, &str)]| {
            let logins = logins(&Environment::from_pairs(pairs.iter().copied()));
            logins
                .of(&repo)
                .map(|(_, path)| path.strip_prefix(dir.to_str().expect("UTF-8")).expect("below").to_owned())
        };
        let (home, run, config) = (at("home"), at("run"), at("config"));
        let home = ("HOME", home.as_str());
        assert_eq!(found(&[home]).as_deref(), Some("/home/.docker/config.json"));
        write("run/containers/auth.json", "podman");
        assert_eq!(found(&[home, ("XDG_RUNTIME_DIR", &run)]).as_deref(), Some("/run/containers/auth.json"));
        write("home/.config/containers/auth.json", "podman");
        assert_eq!(found(&[home]).as_deref(), Some("/home/.config/containers/auth.json"));
        write("config/config.json", "named");
        assert_eq!(found(&[home, ("DOCKER_CONFIG", &config)]).as_deref(), Some("/config/config.json"));
        let file = write("secret/.dockerconfigjson", "named");
        let named = [home, ("DOCKER_CONFIG", &config), ("REGISTRY_AUTH_FILE", &file)];
        assert_eq!(found(&named).as_deref(), Some("/secret/.dockerconfigjson"));
        let absent = logins(&Environment::from_pairs([home, ("REGISTRY_AUTH_FILE", &at("absent"))]));
        assert!(absent.of(&repo).is_none() && absent.absence(&repo).contains("cannot be read"));
        std::fs::remove_dir_all(dir).expect("cleaned");
    }
}
