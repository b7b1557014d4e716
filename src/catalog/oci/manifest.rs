//! Manifests: untrusted input, which decides what is written where.
//!
//! Read are `ModelPack` artifacts (`org.cncf.model.filepath` names the file of a layer), Docker's models, and what `oras
//! push` makes (`org.opencontainers.image.title`).

use serde_json::Value;

use crate::catalog::tree::{Facts, Listed, Refused};
use crate::content::Sha256;
use crate::request::RepoPath;

/// What a manifest may be asked for as.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Annotations that name the file of a layer, the first one first (`ModelPack` `docs/annotations.md`; OCI
/// `annotations.md`).
const NAMES: [&str; 2] = ["org.cncf.model.filepath", "org.opencontainers.image.title"];
/// What oras writes on a layer that is a folder.
const UNPACK: &str = "io.deis.oras.content.unpack";
/// A layer that stands for none (OCI `manifest.md`).
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// How the types of models begin.
const MODELS: [&str; 2] = ["application/vnd.cncf.model.", "application/vnd.docker.ai."];
/// Configurations of images that are to be run.
const IMAGES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// What a manifest says.
#[derive(Debug, PartialEq, Eq)]
pub enum Manifest {
    /// Another manifest is meant.
    Index(Sha256),
    /// These are the files.
    Files(Listed),
}

/// Why there are no files to be had.
#[derive(Debug, PartialEq, Eq)]
pub struct Unfit {
    /// What it is, in words.
    pub why: String,
    /// What to do about it.
    pub instead: &'static str,
}

impl Manifest {
    /// Reads a manifest or an index.
    pub fn parse(json: &[u8]) -> Result<Self, Unfit> {
        let unfit = |why: &str| Unfit { why: why.into(), instead: "look at it with `oras manifest fetch`" };
        let value: Value =
            serde_json::from_slice(json).map_err(|why| unfit(&format!("its manifest is no JSON ({why})")))?;
        if let Some(manifests) = value["manifests"].as_array() {
            return choose(manifests).map(Self::Index);
        }
        let Some(layers) = value["layers"].as_array() else {
            return Err(unfit("its manifest has no list of layers: it is of a form that models do not have"));
        };
        let listed = files(layers);
        let is_image =
            value["artifactType"].is_null() && IMAGES.contains(&text(&value["config"]["mediaType"]));
        if is_image && layers.iter().all(|layer| name(layer).is_none()) {
            return Err(Unfit {
                why: "it is a container image: its layers are file systems, and none is called like a file"
                    .into(),
                instead: "name a model artifact; a file in an image is for `volumes: image:` in Kubernetes, or pushed by itself with `oras push`",
            });
        }
        if listed.entries.is_empty() && listed.refused.is_empty() {
            return Err(unfit("there is no file in it"));
        }
        Ok(Self::Files(listed))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The digest of what a descriptor describes; `None` if it is none of SHA-256.
fn digest(descriptor: &Value) -> Option<Sha256> {
    text(&descriptor["digest"]).strip_prefix("sha256:")?.parse().ok()
}

/// What an index means: its only manifest, or the only one of a model. Signatures and attestations are about the others.
fn choose(manifests: &[Value]) -> Result<Sha256, Unfit> {
    let is_about_another = |child: &&Value| child["annotations"]["vnd.docker.reference.type"].is_string();
    let children: Vec<_> = manifests.iter().filter(|child| !is_about_another(child)).collect();
    let is_model = |child: &&&Value| MODELS.iter().any(|kind| text(&child["artifactType"]).starts_with(kind));
    let models: Vec<_> = children.iter().filter(is_model).collect();
    let only = match (&children[..], &models[..]) {
        ([only], _) => digest(only),
        (_, [only]) => digest(only),
        _ => None,
    };
    only.ok_or_else(|| {
        let shown = children.iter().take(8).map(|child| {
            let platform = &child["platform"];
            let platform = format!("{}/{}", text(&platform["os"]), text(&platform["architecture"]));
            let kind = [text(&child["artifactType"]), platform.trim_matches('/')].join(" ");
            format!("{} ({})", text(&child["digest"]), kind.trim())
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let more = if children.len() > 8 { ", …" } else { "" };
        Unfit {
            why: format!("it is an index of {} manifests: {shown}{more}", children.len()),
            instead: "name the one that is meant, as REPOSITORY@sha256:…",
        }
    })
}

fn files(layers: &[Value]) -> Listed {
    let mut listed = Listed::default();
    for (at, layer) in layers.iter().enumerate() {
        let kind = text(&layer["mediaType"]);
        let named = name(layer).map(str::to_owned);
        if kind == EMPTY && named.is_none() {
            continue;
        }
        let named = named.or_else(|| name_of_docker(kind, at, layers));
        let (sha256, size) = (digest(layer), layer["size"].as_u64());
        let fault = fault(layer, kind, named.as_deref(), sha256);
        let name = named.unwrap_or_else(|| text(&layer["digest"]).to_owned());
        match fault {
            None => listed.add(&name, Facts { size, blob: None, sha256, xet_hash: None }),
            // Without a digest nobody takes it for a file.
            Some(why) => listed.refused.push(Refused {
                name: name.into(),
                why: why.into(),
                facts: Facts { size, blob: None, sha256: None, xet_hash: None },
            }),
        }
    }
    listed.set_twins_aside();
    listed
}

fn name(layer: &Value) -> Option<&str> {
    let annotations = &layer["annotations"];
    NAMES.iter().find_map(|key| annotations[*key].as_str()).filter(|name| !name.is_empty())
}

/// What Docker's model runner calls a layer when it unpacks one without a name (`pkg/distribution/internal/bundle`).
fn name_of_docker(kind: &str, at: usize, layers: &[Value]) -> Option<String> {
    let rest = kind.strip_prefix("application/vnd.docker.ai.")?;
    let end = match rest {
        "license" => "LICENSE",
        "mmproj" => "model.mmproj",
        "chat.template.jinja" => "template.jinja",
        "dduf" => "model.dduf",
        "safetensors" => "safetensors",
        _ if rest.starts_with("gguf.") || rest.ends_with("+gguf") => "gguf",
        _ => return None,
    };
    let is_same = |layer: &&Value| text(&layer["mediaType"]) == kind && name(layer).is_none();
    let (number, total) =
        (layers[..=at].iter().filter(is_same).count(), layers.iter().filter(is_same).count());
    Some(match end {
        "gguf" | "safetensors" if total == 1 => format!("model.{end}"),
        "gguf" | "safetensors" => format!("model-{number:05}-of-{total:05}.{end}"),
        _ if number == 1 => end.to_owned(),
        _ => format!("{end}.{number}"),
    })
}

/// Why a layer is not a file that can be had.
fn fault(layer: &Value, kind: &str, name: Option<&str>, sha256: Option<Sha256>) -> Option<String> {
    let is_elsewhere = kind.contains("nondistributable") || kind.contains(".foreign.");
    if is_elsewhere || layer["urls"].as_array().is_some_and(|urls| !urls.is_empty()) {
        let why = format!(
            "it is a foreign layer (type {kind}), whose bytes the registry does not have; push it as a layer of its own"
        );
        return Some(why);
    }
    if is_archive(kind, name) || text(&layer["annotations"][UNPACK]) == "true" {
        let why = format!(
            "it is an archive (type {kind}), and its digest is not that of the files in it; unpack it with `oras pull` \
             or `modctl pull`, or have the files pushed one by one (`oras push … FILE`, `modctl build --raw`)"
        );
        return Some(why);
    }
    if sha256.is_none() {
        return Some(format!("its digest {:?} is no SHA-256", text(&layer["digest"])));
    }
    if name.is_none() {
        let why = format!(
            "the layer (type {kind}) has no name: neither annotation {} nor {}; push it with `oras push`, which writes one",
            NAMES[0], NAMES[1]
        );
        return Some(why);
    }
    name?.parse::<RepoPath>().err().map(|why| why.to_string())
}

/// Whether the type says that a layer is an archive of what its name says. An `oras push` without a type calls every file
/// a layer of an image, and a file may be an archive itself.
fn is_archive(kind: &str, name: Option<&str>) -> bool {
    let is_of_image = kind.starts_with("application/vnd.oci.image.layer.");
    let base = kind.split('+').next().unwrap_or_default();
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let is_itself =
        [".tar", ".tgz", ".tar.gz", ".tar.zst", ".tar.xz", ".tar.bz2"].iter().any(|end| name.ends_with(end));
    base.ends_with(".tar") && !is_of_image && !is_itself
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest_of(digit: &str) -> String {
        format!("sha256:{}", digit.repeat(64))
    }

    fn layer(kind: &str, annotations: Value) -> Value {
        let mut layer = json!({"mediaType": kind, "digest": digest_of("a"), "size": 5});
        layer["annotations"] = annotations;
        layer
    }

    fn artifact(layers: &[Value]) -> Value {
        json!({"schemaVersion": 2, "artifactType": "application/vnd.cncf.model.manifest.v1+json",
               "config": {"mediaType": "application/vnd.cncf.model.config.v1+json"}, "layers": layers})
    }

    fn parse(value: &Value) -> Result<Manifest, Unfit> {
        Manifest::parse(value.to_string().as_bytes())
    }

    fn listed(layers: &[Value]) -> Listed {
        match parse(&artifact(layers)) {
            Ok(Manifest::Files(listed)) => listed,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_layer_is_a_file_under_the_name_that_it_is_given() {
        for (kind, annotations, name) in [
            (
                "application/vnd.cncf.model.weight.v1.raw",
                json!({"org.cncf.model.filepath": "d/m.gguf"}),
                "d/m.gguf",
            ),
            (
                "application/vnd.cncf.model.weight.v1.raw",
                json!({"org.cncf.model.filepath": "a", "org.opencontainers.image.title": "b"}),
                "a",
            ),
            (
                "application/vnd.oci.image.layer.v1.tar",
                json!({"org.opencontainers.image.title": "m.gguf"}),
                "m.gguf",
            ),
            ("application/x", json!({"org.opencontainers.image.title": "x.tar.gz"}), "x.tar.gz"),
            ("application/x.tar", json!({"org.opencontainers.image.title": "x.tar"}), "x.tar"),
            ("application/vnd.docker.ai.gguf.v3", Value::Null, "model.gguf"),
            ("application/vnd.docker.ai.safetensors", Value::Null, "model.safetensors"),
            ("application/vnd.docker.ai.mmproj", Value::Null, "model.mmproj"),
            ("application/vnd.docker.ai.chat.template.jinja", Value::Null, "template.jinja"),
            ("application/vnd.docker.ai.license", Value::Null, "LICENSE"),
            ("application/vnd.docker.ai.gguf.v3", json!({"org.cncf.model.filepath": "q.gguf"}), "q.gguf"),
        ] {
            let listed = listed(&[layer(kind, annotations), json!({"mediaType": EMPTY, "size": 2})]);
            assert_eq!(listed.names(), [name]);
            assert_eq!((listed.entries.len(), listed.entries[0].file.size()), (1, 5), "{name}");
        }
    }

    #[test]
    fn layers_of_docker_without_names_are_the_shards_of_one_model() {
        let mut layers = Vec::new();
        for digit in ["1", "2"] {
            let kind = "application/vnd.docker.ai.gguf.v3";
            layers.push(json!({"mediaType": kind, "digest": digest_of(digit), "size": 5}));
            let kind = "application/vnd.docker.ai.license";
            layers.push(json!({"mediaType": kind, "digest": digest_of(digit), "size": 5}));
        }
        let names = ["model-00001-of-00002.gguf", "LICENSE", "model-00002-of-00002.gguf", "LICENSE.2"];
        assert_eq!(listed(&layers).names(), names);
    }

    #[test]
    fn what_is_no_file_is_set_aside_with_the_reason() {
        let named = || json!({"org.cncf.model.filepath": "m"});
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let mut elsewhere = layer("application/x", named());
        elsewhere["urls"] = json!(["https://elsewhere.example/m"]);
        let mut odd = layer("application/x", named());
        odd["digest"] = json!("sha512:ab");
        for (layer, why) in [
            (layer("application/vnd.cncf.model.weight.v1.tar", named()), "an archive"),
            (layer("application/vnd.cncf.model.weight.v1.tar+zstd", named()), "`modctl pull`"),
            (layer("application/vnd.docker.ai.dir.tar", Value::Null), "an archive"),
            (
                layer("application/x", json!({"org.opencontainers.image.title": "d", UNPACK: "true"})),
                "an archive",
            ),
            (layer(foreign, named()), "foreign layer"),
            (layer("application/vnd.oci.image.layer.nondistributable.v1.tar", named()), "foreign layer"),
            (elsewhere, "foreign layer"),
            (odd, "no SHA-256"),
            (layer("application/x", Value::Null), "has no name"),
            (layer("application/x", json!({"org.opencontainers.image.title": ""})), "has no name"),
            (layer("application/x", json!({"org.opencontainers.image.title": "../m"})), "`..`"),
            (layer("application/x", json!({"org.opencontainers.image.title": "/m"})), "absolute"),
            (json!(3), "no SHA-256"),
        ] {
            let listed = listed(std::slice::from_ref(&layer));
            assert!(listed.entries.is_empty() && listed.refused.len() == 1, "{layer}");
            assert!(listed.refused[0].why.contains(why), "{layer}: {}", listed.refused[0].why);
        }
    }

    #[test]
    fn an_index_means_its_only_manifest_or_the_only_model() {
        let child = |digit: &str, kind: &str| json!({"digest": digest_of(digit), "artifactType": kind});
        let attestation = json!({"digest": digest_of("9"), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}});
        let model = "application/vnd.cncf.model.manifest.v1+json";
        let meant = |children: Vec<Value>| parse(&json!({"manifests": children}));
        for children in [
            vec![child("1", "")],
            vec![child("1", ""), attestation.clone()],
            vec![child("2", "x"), child("1", model), child("3", "")],
        ] {
            assert_eq!(meant(children), Ok(Manifest::Index("1".repeat(64).parse().expect("a digest"))));
        }
        let mut platform = child("2", "");
        platform["platform"] = json!({"os": "linux", "architecture": "arm64"});
        for children in [
            vec![],
            vec![child("1", model), platform.clone(), child("3", model)],
            vec![child("1", ""), platform],
        ] {
            let count = children.len();
            let unfit = meant(children).expect_err("several or none");
            assert!(unfit.why.contains(&format!("an index of {count}")), "{}", unfit.why);
            assert!(count == 0 || unfit.why.contains("(linux/arm64)"), "{}", unfit.why);
        }
    }

    #[test]
    fn an_image_and_what_is_no_manifest_are_told_apart() {
        let image = json!({"config": {"mediaType": IMAGES[0]}, "layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip", Value::Null)]});
        for (value, why) in [
            (image, "a container image"),
            (json!({"schemaVersion": 1, "fsLayers": []}), "no list of layers"),
            (artifact(&[]), "no file in it"),
            (artifact(&[json!({"mediaType": EMPTY})]), "no file in it"),
            (json!([]), "no list of layers"),
        ] {
            let unfit = parse(&value).expect_err(why);
            assert!(unfit.why.contains(why), "{value}: {}", unfit.why);
        }
        assert!(Manifest::parse(b"<html>").expect_err("a page").why.contains("no JSON"));
    }
}
