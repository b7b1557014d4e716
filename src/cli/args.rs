//! The flags, as clap parses them. Nothing is looked up here but the `MODELFETCH_*` variables,
//! which clap reads itself; what the flags mean together is decided in `request`, `token` and `output`.

#![allow(
    rustdoc::all,
    reason = "as the next one; cargo doc shows this module only when asked for private items"
)]
#![expect(
    clippy::doc_markdown,
    reason = "the comments on the fields are the help text, which is no Markdown"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use url::Url;

use super::{help, values};
use crate::command::cluster::Provider;
use crate::content::gguf::TensorType;
use crate::request::{Connections, Recheck, RepoKind, Revision};

/// Gets model files from the Hugging Face Hub onto a disk: complete, verified, resumable
#[derive(Debug, Parser)]
#[command(
    name = "modelfetch",
    version,
    long_about = help::ABOUT,
    after_long_help = help::after(),
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Download files of a repository, verify them and put them at their final names
    #[command(long_about = help::FETCH, after_long_help = help::after_fetch())]
    Fetch(FetchArgs),

    /// Show what `fetch` would do: files, bytes, free space
    #[command(long_about = help::PLAN)]
    Plan(JobArgs),

    /// Look up what the models of a manifest are, and write models.lock
    #[command(long_about = help::LOCK)]
    Lock(LockArgs),

    /// Fetch repositories into folders as KServe calls a storage initializer
    #[command(long_about = help::STORAGE)]
    StorageInitializer(StorageArgs),

    /// Hash the files on disk again and say which are wrong
    #[command(long_about = help::VERIFY)]
    Verify(VerifyArgs),

    /// Prove in seconds and a few MB that a fetch would work
    #[command(long_about = help::SMOKE)]
    Smoke(JobArgs),

    /// Show what a model is and what memory it needs, from its header alone: on the disk or on the Hub
    #[command(long_about = help::INSPECT)]
    Inspect(Box<InspectArgs>),

    /// Show what a directory or cache holds: verified files, and downloads that are not complete
    #[command(long_about = help::LIST)]
    List(ListArgs),

    /// Remove files that no lock file names, and unfinished downloads; without --yes only say which
    #[command(long_about = help::PRUNE)]
    Prune(PruneArgs),

    /// What the chart's Jobs do in a cluster: ask the Kubernetes API, and the server
    #[command(subcommand, long_about = help::CLUSTER)]
    Cluster(ClusterCommand),

    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page, or write all pages into a directory
    Man {
        /// Where to write one page per command; without it, the main page goes to stdout
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Create a PersistentVolumeClaim if it is absent; leave an existing one as it is
    EnsureClaim(EnsureClaimArgs),

    /// Put the load-balancer address in LB_IP on a Service
    PatchService(PatchServiceArgs),

    /// Ask a server until it answers with success; needs no service account
    CheckServer(CheckServerArgs),
}

#[derive(Debug, Args)]
pub(super) struct EnsureClaimArgs {
    /// File with the claim as JSON
    #[arg(long, value_name = "PATH", env = "MODELFETCH_CLAIM_MANIFEST", value_hint = ValueHint::FilePath)]
    pub(super) manifest: PathBuf,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct PatchServiceArgs {
    /// Name of the Service
    #[arg(long, value_name = "NAME", env = "MODELFETCH_SERVICE")]
    pub(super) service: String,

    /// What hands out the address
    #[arg(
        long,
        value_name = "WHAT",
        env = "MODELFETCH_SERVICE_PROVIDER",
        value_enum,
        default_value = "metallb"
    )]
    pub(super) provider: Provider,

    /// Annotation to set instead of the provider's usual one
    #[arg(long, value_name = "KEY", env = "MODELFETCH_SERVICE_ANNOTATION")]
    pub(super) annotation: Option<String>,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct CheckServerArgs {
    /// What is asked, one after the other, e.g. http://llamacpp-app:8080/health
    #[arg(value_name = "URL", required = true, value_parser = values::plain_url, value_hint = ValueHint::Url)]
    pub(super) urls: Vec<Url>,

    /// Give up on an address that has not answered with success for this long
    #[arg(long, value_name = "TIME", env = "MODELFETCH_GIVE_UP_AFTER", default_value = "150s",
          value_parser = values::duration)]
    pub(super) give_up_after: Duration,

    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,

    /// Only show what would be done, like `plan`
    #[arg(long, env = "MODELFETCH_DRY_RUN", value_parser = BoolishValueParser::new(),
          help_heading = "Output")]
    pub(super) dry_run: bool,
}

/// Which files of a repository, beside their names.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct ChoiceArgs {
    /// Take files that match this glob, or have this name: of shards this one alone (repeatable)
    #[arg(long, value_name = "GLOB", env = "MODELFETCH_INCLUDE", value_delimiter = '\n')]
    pub(super) include: Vec<String>,

    /// Leave out files that match this glob (repeatable)
    #[arg(long, value_name = "GLOB", env = "MODELFETCH_EXCLUDE", value_delimiter = '\n')]
    pub(super) exclude: Vec<String>,

    /// Take one GGUF model of this quantization, such as Q4_K_M, as llama.cpp's -hf chooses it
    ///
    /// All its shards and the projector that suits it best; `latest` is Q4_K_M, else Q8_0, else the
    /// first model. --exclude 'mmproj*' leaves out the projector.
    #[arg(long, value_name = "NAME", env = "MODELFETCH_QUANT")]
    pub(super) quant: Option<String>,

    /// Branch, tag, refs/pr/N, ~parquet or commit [default: main]
    ///
    /// A full commit hash never moves: once its files are there, no request is made any more. In a registry it is a tag
    /// (latest, if none is named) or the digest of a manifest.
    #[arg(long, env = "MODELFETCH_REVISION", value_parser = values::revision)]
    pub(super) revision: Option<Revision>,

    /// Kind of the repository
    #[arg(long, value_name = "KIND", env = "MODELFETCH_REPO_TYPE", value_enum, default_value_t)]
    pub(super) repo_type: RepoKind,
}

/// What `fetch`, `plan` and `smoke` share, so that one word turns one into another.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) manifest: ManifestArgs,
    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) destination: DestinationArgs,
    #[command(flatten)]
    pub(super) freshness: FreshnessArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct LockArgs {
    /// The file that names the models
    #[arg(long, value_name = "FILE", env = "MODELFETCH_MANIFEST", default_value = "models.toml",
          value_hint = ValueHint::FilePath)]
    pub(super) manifest: PathBuf,

    /// Where what they are is written [default: the manifest's name with .lock at its end]
    #[arg(long, value_name = "FILE", env = "MODELFETCH_LOCKFILE", value_hint = ValueHint::FilePath)]
    pub(super) lockfile: Option<PathBuf>,

    /// Look up these models again, or all: what the Hub has now
    #[arg(long, value_name = "NAME", num_args = 0.., env = "MODELFETCH_UPDATE", value_delimiter = '\n')]
    pub(super) update: Option<Vec<String>>,

    /// Write nothing: fail (exit 12) with the differences if the Hub has something else now
    #[arg(long, env = "MODELFETCH_CHECK", value_parser = BoolishValueParser::new())]
    pub(super) check: bool,

    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct StorageArgs {
    /// What to fetch, hf://owner/name[:revision][/path] or url:https://host/file#sha256=HEX, and its folder; repeatable
    #[arg(value_names = ["SRC", "DEST"], required = true, num_args = 2..)]
    pub(super) pairs: Vec<String>,

    #[command(flatten)]
    pub(super) trust: TrustArgs,
    #[command(flatten)]
    pub(super) freshness: FreshnessArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) destination: DestinationArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct InspectArgs {
    /// A file or folder on the disk, or a repository: owner/name
    ///
    /// What is there on the disk is meant before a repository of that name.
    #[arg(value_name = "WHAT", env = "MODELFETCH_REPO")]
    pub(super) repo: String,

    /// Files of the repository, by name or glob; one shard stands for its whole set
    #[arg(value_name = "FILE", env = "MODELFETCH_FILES", value_delimiter = '\n')]
    pub(super) files: Vec<String>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,
    #[command(flatten)]
    pub(super) server: MemoryArgs,

    /// List each tensor with its type and shape
    #[arg(long, env = "MODELFETCH_TENSORS", value_parser = BoolishValueParser::new(), help_heading = "Output")]
    pub(super) tensors: bool,

    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// How llama.cpp's server would be started: flags as it calls them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Memory, as llama.cpp's server would be started")]
pub(super) struct MemoryArgs {
    /// Fail (exit 24) unless the model fits into a card of this size, such as 24GiB (repeatable: several cards)
    ///
    /// What the card has free counts, not what is printed on it. All layers are taken to be on cards.
    #[arg(long, value_name = "SIZE", env = "MODELFETCH_FITS", value_delimiter = '\n', value_parser = values::size)]
    pub(super) fits: Vec<u64>,

    /// Tokens of the context, of all slots together [default: that of the model]
    #[arg(long, value_name = "N", env = "MODELFETCH_CTX")]
    pub(super) ctx: Option<u64>,

    /// Slots, each with a cache of its part of the context [default: 4 that share one]
    #[arg(long, value_name = "N", env = "MODELFETCH_PARALLEL", value_parser = clap::value_parser!(u64).range(1..=256))]
    pub(super) parallel: Option<u64>,

    /// The slots share one cache
    #[arg(long, env = "MODELFETCH_KV_UNIFIED", value_parser = BoolishValueParser::new())]
    pub(super) kv_unified: bool,

    /// Type of the cached keys [default: f16]
    #[arg(long, value_name = "TYPE", env = "MODELFETCH_CACHE_TYPE_K", value_parser = values::cache_type)]
    pub(super) cache_type_k: Option<TensorType>,

    /// Type of the cached values [default: f16]
    #[arg(long, value_name = "TYPE", env = "MODELFETCH_CACHE_TYPE_V", value_parser = values::cache_type)]
    pub(super) cache_type_v: Option<TensorType>,

    /// Tokens that are computed at once [default: 512]
    #[arg(long, value_name = "N", env = "MODELFETCH_UBATCH_SIZE")]
    pub(super) ubatch_size: Option<u64>,

    /// Caches of sliding windows as long as the context
    #[arg(long, env = "MODELFETCH_SWA_FULL", value_parser = BoolishValueParser::new())]
    pub(super) swa_full: bool,

    /// So many layers on cards, the output counts as one [default: all]
    #[arg(long, value_name = "N", env = "MODELFETCH_N_GPU_LAYERS")]
    pub(super) n_gpu_layers: Option<u64>,

    /// Share of each card, such as 3,1 [default: by their sizes]
    #[arg(long, value_name = "N,N,…", env = "MODELFETCH_TENSOR_SPLIT", value_delimiter = ',')]
    pub(super) tensor_split: Vec<f64>,

    /// Keep the experts of the first N layers in main memory [default: 0]
    #[arg(long, value_name = "N", env = "MODELFETCH_N_CPU_MOE")]
    pub(super) n_cpu_moe: Option<u64>,

    /// All arguments of llama-server, as the last option: what changes its memory is taken from them
    ///
    /// Each is a word; in the variable each has a line. The flags above win over them.
    #[arg(long, value_name = "WORD", env = "MODELFETCH_SERVER_ARGS", num_args = 0.., allow_hyphen_values = true,
          value_delimiter = '\n')]
    pub(super) server_args: Vec<String>,

    /// Fail (exit 25) unless the model is of one of these architectures, separated by commas
    #[arg(long, value_name = "NAMES", env = "MODELFETCH_ARCHITECTURES", value_delimiter = ',')]
    pub(super) architectures: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PruneArgs {
    /// Lock files whose files stay; all other files that this program fetched go (repeatable)
    ///
    /// In a cache the snapshots that branches and tags name stay too. What was changed since it was verified stays.
    #[arg(long, value_name = "FILE", env = "MODELFETCH_KEEP", num_args = 1.., value_delimiter = '\n',
          value_hint = ValueHint::FilePath)]
    pub(super) keep: Vec<PathBuf>,

    /// Unfinished downloads go
    #[arg(long, env = "MODELFETCH_PARTIALS", value_parser = BoolishValueParser::new())]
    pub(super) partials: bool,

    /// Of them only those that nothing was added to for this long, such as 12h or 7d
    #[arg(long, value_name = "TIME", env = "MODELFETCH_OLDER_THAN", value_parser = values::duration)]
    pub(super) older_than: Option<Duration>,

    /// Do it
    #[arg(long, env = "MODELFETCH_YES", value_parser = BoolishValueParser::new())]
    pub(super) yes: bool,

    #[command(flatten)]
    pub(super) destination: DestinationArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct ManifestArgs {
    /// The models of this file instead of one REPO: see `modelfetch lock --help`
    #[arg(long, value_name = "FILE", env = "MODELFETCH_MANIFEST", value_hint = ValueHint::FilePath)]
    pub(super) manifest: Option<PathBuf>,

    /// Exactly what the lock file says, without a question to anybody
    ///
    /// Without this flag the Hub is asked whether it is still so, and for models that are not locked.
    #[arg(long, env = "MODELFETCH_LOCKED", value_parser = BoolishValueParser::new())]
    pub(super) locked: bool,

    /// The manifest's lock file [default: its name with .lock at its end]
    #[arg(long, value_name = "FILE", env = "MODELFETCH_LOCKFILE", value_hint = ValueHint::FilePath)]
    pub(super) lockfile: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Only these files: paths on disk or in the repository [default: every file with a receipt]
    #[arg(value_name = "PATH", env = "MODELFETCH_PATHS", value_delimiter = '\n', value_hint = ValueHint::FilePath)]
    pub(super) paths: Vec<PathBuf>,

    #[command(flatten)]
    pub(super) pins: PinArgs,

    #[command(flatten)]
    pub(super) trust: TrustArgs,

    /// Fetch again what is wrong or missing
    #[arg(long, env = "MODELFETCH_REPAIR", value_parser = BoolishValueParser::new(),
          help_heading = "Selection")]
    pub(super) repair: bool,

    #[command(flatten)]
    pub(super) destination: DestinationArgs,
    #[command(flatten)]
    pub(super) hub: HubArgs,
    #[command(flatten)]
    pub(super) transfer: TransferArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct SelectionArgs {
    /// The repository: owner/name; required without --manifest
    ///
    /// Also understood: owner/name@revision, owner/name:QUANT as in llama.cpp's -hf, datasets/owner/name,
    /// hf://owner/name[@revision][/path], and a URL copied from the browser. A `/` in the name of a branch
    /// is written %2F where a path follows. oci://REGISTRY/NAME[:TAG|@DIGEST] is a model in an OCI registry.
    /// url:https://HOST/FILE is a file on no Hub, which needs a --sha256, and file:///FOLDER/FILE one of this machine; file:///FOLDER/ is all of it.
    #[arg(env = "MODELFETCH_REPO", help_heading = None, required_unless_present = "manifest")]
    pub(super) repo: Option<String>,

    /// Files, by name or glob; one shard stands for its whole set [default: all files]
    ///
    /// A glob's `*` matches folders too, as in huggingface_hub: quote it from the shell. Where a file is
    /// called exactly as a glob is written, that file is meant.
    #[arg(value_name = "FILE", env = "MODELFETCH_FILES", value_delimiter = '\n', help_heading = None)]
    pub(super) files: Vec<String>,

    #[command(flatten)]
    pub(super) choice: ChoiceArgs,

    #[command(flatten)]
    pub(super) pins: PinArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct PinArgs {
    /// The SHA256 a file must have; FILE= may be left out for a single file (repeatable)
    ///
    /// It must agree with what the Hub announces: if not, nothing is fetched (exit 12).
    #[arg(long, value_name = "[FILE=]HEX", env = "MODELFETCH_SHA256", value_delimiter = '\n')]
    pub(super) sha256: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Signatures")]
pub(super) struct TrustArgs {
    /// A public key, or a folder of them: the model must be signed with one that is trusted (repeatable)
    ///
    /// OpenSSF Model Signing 1.0, with ECDSA keys of the curves P-256 and P-384 as PEM. The signature is verified before
    /// anything else is fetched, and its digests are pins.
    #[arg(long, value_name = "FILE|DIR", env = "MODELFETCH_TRUST_KEY", value_delimiter = '\n',
          value_hint = ValueHint::AnyPath)]
    pub(super) trust_key: Vec<PathBuf>,

    /// A certificate, or a folder of them: the same for signers whose certificate leads to it (repeatable)
    #[arg(long, value_name = "FILE|DIR", env = "MODELFETCH_TRUST_CERT", value_delimiter = '\n',
          value_hint = ValueHint::AnyPath)]
    pub(super) trust_cert: Vec<PathBuf>,

    /// The signature: a file of the repository, for `verify` one on disk [default: model.sig]
    #[arg(long, value_name = "FILE", env = "MODELFETCH_SIGNATURE", value_hint = ValueHint::FilePath)]
    pub(super) signature: Option<String>,

    /// Take files that match this glob although the signature does not name them (repeatable)
    #[arg(long, value_name = "GLOB", env = "MODELFETCH_ALLOW_UNSIGNED", value_delimiter = '\n')]
    pub(super) allow_unsigned: Vec<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Destination")]
pub(super) struct DestinationArgs {
    /// Directory for plain files: DIR/<path in the repository> [default: .]
    #[arg(long, env = "MODELFETCH_DIR", value_hint = ValueHint::DirPath)]
    pub(super) dir: Option<PathBuf>,

    /// The same, with the metadata of `hf download --local-dir`, which then finds the files
    #[arg(long, value_name = "DIR", env = "MODELFETCH_LOCAL_DIR", value_hint = ValueHint::DirPath)]
    pub(super) local_dir: Option<PathBuf>,

    /// Write into huggingface_hub's cache instead, where transformers, vLLM and llama.cpp look
    ///
    /// Without DIR it is HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub. The
    /// variable may also be `true` for that place, or `false`.
    #[arg(long, value_name = "DIR", env = "MODELFETCH_CACHE", num_args = 0..=1, require_equals = true,
          value_hint = ValueHint::DirPath)]
    #[expect(clippy::option_option, reason = "absent, without a value, with one")]
    pub(super) cache: Option<Option<PathBuf>>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Hub")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct FreshnessArgs {
    /// Make no request; succeed only with what is on disk [also: HF_HUB_OFFLINE]
    #[arg(long, env = "MODELFETCH_OFFLINE", value_parser = BoolishValueParser::new())]
    pub(super) offline: bool,

    /// Ask the Hub only if a file is missing; verified files will do even if a branch has moved
    #[arg(long, env = "MODELFETCH_PREFER_OFFLINE", value_parser = BoolishValueParser::new())]
    pub(super) prefer_offline: bool,

    /// Fail unless the Hub says what it has now, even when verified files are on disk
    #[arg(long, env = "MODELFETCH_REQUIRE_FRESH", value_parser = BoolishValueParser::new())]
    pub(super) require_fresh: bool,

    /// Copy nothing from older files on the disk: fetch all of a file that has changed
    #[arg(long, help_heading = "Transfer", env = "MODELFETCH_NO_DELTA", value_parser = BoolishValueParser::new())]
    pub(super) no_delta: bool,

    /// How a file that is already there is checked
    ///
    /// `receipt` trusts the proof of an earlier run while size, times and inode agree with it; `mtime` while size and time
    /// of the last modification do, for volumes that are given other owners or inode numbers at every start; `full`
    /// hashes the file again.
    #[arg(
        long,
        value_name = "HOW",
        env = "MODELFETCH_VERIFY",
        value_enum,
        default_value_t,
        help_heading = "Destination"
    )]
    pub(super) verify: Recheck,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Hub")]
pub(super) struct HubArgs {
    /// Base URL of the Hub or a mirror; the next is tried when one fails or lacks what is wanted (repeatable)
    ///
    /// oci://REGISTRY/NAME is a mirror, too, of files whose SHA256 is known: from the Hub, --sha256 or a lock file.
    ///
    /// [default: HF_ENDPOINT, else a pasted URL's own host, else https://huggingface.co]
    #[arg(long, value_name = "URL", env = "MODELFETCH_ENDPOINT", value_delimiter = '\n', value_hint = ValueHint::Url)]
    pub(super) endpoint: Vec<String>,

    /// File that holds the access token [default: HF_TOKEN, else huggingface_hub's token file]
    ///
    /// There is no flag for the token itself: every user of the machine could read it in the
    /// process list.
    #[arg(long, value_name = "PATH", env = "MODELFETCH_TOKEN_FILE", value_hint = ValueHint::FilePath)]
    pub(super) token_file: Option<PathBuf>,

    /// File with an id token, to be exchanged for an access token to HF_OIDC_RESOURCE [default: HF_OIDC_ID_TOKEN]
    ///
    /// It is read again for each exchange: something else may renew it, as the kubelet does with a projected token.
    #[arg(long, value_name = "PATH", env = "MODELFETCH_ID_TOKEN_FILE", value_hint = ValueHint::FilePath)]
    pub(super) id_token_file: Option<PathBuf>,

    /// An endpoint that may see the token (repeatable) [default: the first endpoint]
    #[arg(long, value_name = "URL", env = "MODELFETCH_TOKEN_ENDPOINT", value_delimiter = '\n',
          value_hint = ValueHint::Url)]
    pub(super) token_endpoint: Vec<String>,

    /// Allow plain http to another machine for the token, and for registries
    ///
    /// A registry is asked for TLS first all the same; on this machine it may always do without.
    #[arg(long, env = "MODELFETCH_INSECURE_TOKEN", value_parser = BoolishValueParser::new())]
    pub(super) insecure_token: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Transfer")]
pub(super) struct TransferArgs {
    /// Parallel connections: a number up to 64, or `auto` for as many as help, up to 16
    #[arg(long, value_name = "auto|N", env = "MODELFETCH_CONNECTIONS", default_value = "auto",
          value_parser = values::connections)]
    pub(super) connections: Connections,

    /// Bytes per second over all connections, such as 25M or 25MiB [default: unlimited]
    #[arg(long, value_name = "BYTES/s", env = "MODELFETCH_LIMIT_RATE", value_parser = values::rate)]
    pub(super) limit_rate: Option<u64>,

    /// End the whole run after this long, such as 90s, 10m or 1h30m; what has arrived is kept
    #[arg(long, value_name = "TIME", env = "MODELFETCH_DEADLINE", value_parser = values::duration)]
    pub(super) deadline: Option<Duration>,

    /// Replace a connection that brings no byte for this long
    ///
    /// A host that has not even begun by then gets 3 times as long, and then 12 times: a cache may have to fetch
    /// the file first. Meanwhile one connection alone asks for it.
    #[arg(long, value_name = "TIME", env = "MODELFETCH_STALL_TIMEOUT", default_value = "10s",
          value_parser = values::duration)]
    pub(super) stall_timeout: Duration,

    /// Give up when retrying has brought no byte for this long
    #[arg(long, value_name = "TIME", env = "MODELFETCH_GIVE_UP_AFTER", default_value = "5m",
          value_parser = values::duration)]
    pub(super) give_up_after: Duration,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProgressMode {
    /// Bars on a terminal, lines elsewhere
    Auto,
    /// Bars; on what is no terminal, lines
    Bars,
    /// Lines for a log
    Lines,
    /// One JSON object per line
    Json,
    /// Warnings only
    None,
}

/// When colour is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ColorMode {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct OutputArgs {
    /// Print the result as JSON on stdout
    #[arg(long, env = "MODELFETCH_JSON", value_parser = BoolishValueParser::new())]
    pub(super) json: bool,

    /// How progress is shown, on stderr
    #[arg(long, value_name = "HOW", env = "MODELFETCH_PROGRESS", value_enum, default_value = "auto")]
    pub(super) progress: ProgressMode,

    /// Print errors only
    #[arg(long, short, env = "MODELFETCH_QUIET", value_parser = BoolishValueParser::new())]
    pub(super) quiet: bool,

    /// Print what is decided and why, for bug reports
    #[arg(long, short, env = "MODELFETCH_VERBOSE", value_parser = BoolishValueParser::new())]
    pub(super) verbose: bool,

    /// When to use colour
    #[arg(long, value_name = "WHEN", env = "MODELFETCH_COLOR", value_enum, default_value = "auto")]
    pub(super) color: ColorMode,

    /// File for a summary of at most 4 KiB [default: /dev/termination-log, where it exists]
    #[arg(long, value_name = "PATH", env = "MODELFETCH_TERMINATION_MESSAGE", value_hint = ValueHint::FilePath)]
    pub(super) termination_message: Option<PathBuf>,

    /// File for the result as Prometheus metrics, for node_exporter's textfile collector
    #[arg(long, value_name = "PATH", env = "MODELFETCH_METRICS_FILE", value_hint = ValueHint::FilePath)]
    pub(super) metrics_file: Option<PathBuf>,
}
