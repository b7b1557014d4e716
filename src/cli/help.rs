//! The prose of `--help`.

use std::fmt::Write;

use crate::error::EXITS;

pub(super) const ABOUT: &str = "\
modelfetch gets model files from the Hugging Face Hub onto a disk.

It downloads with several connections, continues where an earlier run was cut off, hashes while the \
bytes arrive, and gives a file its final name only when its SHA256 is right. Run it again and it \
is done at once: what is there and verified is not fetched again.";

pub(super) const FETCH: &str = "\
Download files of a repository, verify them and put them at their final names.

An interrupted run is continued by the same command. A run that finds every file in place ends at \
once; with a full commit hash as revision, or a pin, it asks nobody.";

pub(super) const PLAN: &str = "\
Show what `fetch` would do with the same arguments: every file with its size and what would be done \
about it, the bytes to fetch and the free space. Nothing is downloaded or changed.";

pub(super) const VERIFY: &str = "\
Hash the files on disk again and compare them with the receipts of the runs that fetched them, or \
with --sha256. Needs no network and changes nothing unless --repair is given. A wrong or missing \
file is named, and the exit number is 20.

With --trust-key or --trust-cert the folder is compared with its signature, whoever put both there: every file \
that is signed has to be right, and every file there has to be signed.";

pub(super) const LOCK: &str = "\
Look up what the models of a manifest are, and write commit, sizes and digests of their files into a \
lock file beside it. Keep both under version control, as Cargo.toml and Cargo.lock are.

A manifest, models.toml:
  [[model]]
  name = \"chat\"                            # optional
  repo = \"ggml-org/gpt-oss-20b-GGUF\"       # whatever `fetch` takes
  files = [\"gpt-oss-20b-mxfp4.gguf\"]       # names and globs; or quant, include, exclude
  revision = \"main\"                        # optional
  dir = \"gpt-oss\"                          # optional, below --dir
  sha256 = { \"FILE\" = \"HEX\" }            # optional
  trust_key = \"keys/acme.pub\"             # optional, beside the manifest: it must be signed; also trust_cert

What is locked already stays as it is, unless --update names it. `fetch --manifest models.toml --locked` \
brings exactly what is locked.";

pub(super) const STORAGE: &str = "\
Fetch repositories into folders, called as KServe calls a storage initializer: pairs of a source and a folder. All pairs \
are one run. Without a revision it is main. Flags are best given as MODELFETCH_* variables of the container.";

pub(super) const INSPECT: &str = "\
Show what a model is, from the headers of its files alone: format, architecture, parameters, types of its tensors, context, \
tokenizer, chat templates, shards. On the Hub a header is read by ranges, of 256 KiB at first and of 64 MiB at most; nothing is \
written. --json has all metadata and tensors.

How much memory llama.cpp's server would want is computed as its release b11434 does it; buffers for computing are an \
upper bound, and so are the caches of an architecture that is not known here. --fits fails (exit 24) with the longest \
context that fits, and which other models of the repository would.

  modelfetch inspect ggml-org/gpt-oss-20b-GGUF gpt-oss-20b-mxfp4.gguf --fits 24GiB --ctx 65536 --parallel 4";

pub(super) const LIST: &str = "\
Show what a directory or cache holds, from the receipts of the runs that fetched it: each file with its size, age, \
digest, repository, revision and commit, and each download that is not complete. Asks nobody and hashes nothing; a file \
that was changed since it was verified is called so, by its size, times and inode.";

pub(super) const PRUNE: &str = "\
Remove published files that no lock file names, and unfinished downloads. Without --yes nothing goes: it is only said \
what would, and how much space that frees. Never a file without a receipt, one that was changed, or one that a branch, \
tag or kept lock file of a cache names; and nothing while another process holds the directory (exit 23).";

pub(super) const SMOKE: &str = "\
Prove in seconds and a few MB that `fetch` would work with the same arguments, for CI: repository, \
revision and files exist, the token is enough, the pin agrees with the Hub, ranges arrive as asked, \
the GGUF header is valid and the target has room. The exit numbers are those of `fetch`. With --manifest \
each model is tried, and compared with the lock file.";

pub(super) const CLUSTER: &str = "\
What the chart's Jobs do in a cluster: no kubectl, no curl, no shell, no second image. They run in a pod; those \
that ask the Kubernetes API do so with its service account, in the namespace of POD_NAMESPACE. No proxy is used.";

const EXAMPLES: &str = "\
Examples:
  One file into a directory:
    modelfetch fetch ggml-org/gpt-oss-20b-GGUF gpt-oss-20b-mxfp4.gguf --dir /models

  The file that llama.cpp's `-hf owner/name:Q4_K_M` would take, all shards of it:
    modelfetch fetch unsloth/Qwen3-32B-GGUF:Q4_K_M --dir /models

  Everything but the PyTorch weights, into the cache that transformers and vLLM read:
    modelfetch fetch Qwen/Qwen3-0.6B --exclude '*.bin' --cache

  A model that was pushed into a registry, with the login that docker or podman keeps:
    modelfetch fetch oci://registry.example/models/chat:v1 --dir /models

  Exactly this file, or nothing:
    modelfetch fetch owner/name model.gguf --revision COMMIT --sha256 DIGEST --dir /models

  Only what is signed with this key:
    modelfetch fetch owner/name model.gguf --trust-key acme.pub --dir /models

  Is what is on disk still right?
    modelfetch verify --dir /models";

/// A variable that is read beside the `MODELFETCH_*` ones.
#[derive(Debug, Clone, Copy)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
}

const fn variable(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, meaning }
}

/// The standard variables that are honoured, with `huggingface_hub`'s meaning.
pub const VARIABLES: [Variable; 23] = [
    variable("HF_TOKEN", "access token (older name: HUGGING_FACE_HUB_TOKEN)"),
    variable("HF_TOKEN_PATH", "file with the token; default $HF_HOME/token"),
    variable("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1: use a token from --token-file only"),
    variable(
        "HF_OIDC_RESOURCE",
        "user or repository that the Hub gives an access token for, in exchange for an id token",
    ),
    variable("HF_OIDC_ID_TOKEN", "that id token; a file of --id-token-file comes before it"),
    variable("HF_ENDPOINT", "base URL of the Hub or a mirror"),
    variable("HF_HUB_CACHE", "place of --cache; default $HF_HOME/hub"),
    variable("HF_HOME", "default $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface"),
    variable("HF_HUB_OFFLINE", "1: like --offline"),
    variable("TRANSFORMERS_OFFLINE", "1: like --offline"),
    variable("HF_HUB_DOWNLOAD_TIMEOUT", "seconds; default of --stall-timeout"),
    variable("HF_HUB_ETAG_TIMEOUT", "seconds; the same for questions about files"),
    variable("HF_HUB_DISABLE_PROGRESS_BARS", "1: lines instead of bars"),
    variable("HTTPS_PROXY", "proxy for https://; itself http://, https:// or socks5://"),
    variable("HTTP_PROXY", "proxy for http://"),
    variable("ALL_PROXY", "proxy for both"),
    variable("NO_PROXY", "hosts that are reached without a proxy, as curl reads it"),
    variable("NETRC", "file with user names and passwords of mirrors; default ~/.netrc"),
    variable("DOCKER_CONFIG", "folder whose config.json has logins for registries; default ~/.docker"),
    variable("REGISTRY_AUTH_FILE", "file with such logins, as podman's auth.json"),
    variable("SSL_CERT_FILE", "PEM file with certificate authorities beside the built-in ones"),
    variable("SSL_CERT_DIR", "directories of such files, with `:` in between"),
    variable("NO_COLOR", "anything: no colour"),
];

/// What follows the flags of `modelfetch --help`.
pub(super) fn after() -> String {
    let mut text = String::from(EXAMPLES);
    text.push_str("\n\nEvery flag has a variable MODELFETCH_<FLAG>; lists hold one value per line, switches true or false.");
    text.push_str(
        "\nA flag wins over its variable, that over the ones below. An empty variable counts as absent.\n",
    );
    text.push_str("\nVariables:\n");
    for Variable { name, meaning } in VARIABLES {
        line(&mut text, name, 31, meaning);
    }
    text.push('\n');
    text.push_str(&exits());
    text
}

/// What follows the flags of `modelfetch fetch --help`.
pub(super) fn after_fetch() -> String {
    format!("{EXAMPLES}\n\n{}\n\n`modelfetch --help` explains the HF_* variables.", exits())
}

fn exits() -> String {
    let mut text = String::from("Exit numbers:\n");
    for exit in EXITS {
        line(&mut text, &exit.number.to_string(), 5, exit.meaning);
    }
    text.push_str("Trying again helps after 1, 23, 30, 31, 32, 130 and 143.");
    text
}

fn line(text: &mut String, term: &str, width: usize, meaning: &str) {
    let _ = writeln!(text, "  {term:width$}{meaning}");
}
