//! What the headers of a model say.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::weigh::Fit;
use crate::content::gguf::{self, TensorType, Value};
use crate::content::{Sha256, safetensors};
use crate::error::Error;
use crate::memory::Memory;
use crate::words::{count, tame};

/// A header, of one format or the other.
#[derive(Debug)]
pub enum Header {
    /// Of a GGUF file.
    Gguf(gguf::Header),
    /// Of a safetensors file.
    Safetensors(safetensors::Header),
}

/// How a file is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// llama.cpp's.
    Gguf,
    /// Hugging Face's.
    Safetensors,
}

impl Format {
    /// By the name of a file.
    pub fn of(name: &str) -> Option<Self> {
        let ends = |end: &str| name.len() > end.len() && name.to_ascii_lowercase().ends_with(end);
        if ends(".gguf") {
            return Some(Self::Gguf);
        }
        ends(".safetensors").then_some(Self::Safetensors)
    }
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A model, or a shard of one.
    Model,
    /// Turns pictures or sound into what a model reads (`mmproj`).
    Projector,
    /// Changes a model (`LoRA`, control vectors).
    Adapter,
    /// What a quantizer has measured.
    Imatrix,
    /// A tokenizer alone.
    Vocabulary,
}

impl Kind {
    fn of(header: &gguf::Header) -> Self {
        let has = |start: &str| header.metadata.iter().any(|(key, _)| key.starts_with(start));
        match (header.text("general.type"), header.architecture()) {
            (Some("adapter"), _) | (_, Some("controlvector")) => Self::Adapter,
            (Some("imatrix"), _) => Self::Imatrix,
            (Some("mmproj"), _) | (_, Some("clip")) => Self::Projector,
            (Some("vocab"), _) => Self::Vocabulary,
            _ if has("imatrix.") && header.architecture().is_none() => Self::Imatrix,
            _ if has("adapter.") => Self::Adapter,
            _ if header.tensor_count == 0 && header.shards().is_none() && has("tokenizer.") => {
                Self::Vocabulary
            }
            _ => Self::Model,
        }
    }
}

/// One file of a model.
#[derive(Debug, Clone, Serialize)]
pub struct File {
    /// Its name.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Length of its header in bytes.
    pub header: u64,
}

/// The tensors of one type.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Types {
    /// How many there are.
    pub tensors: u64,
    /// Their elements.
    pub parameters: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A chat template.
#[derive(Debug, Clone, Serialize)]
pub struct Template {
    /// Its name; empty for the usual one.
    pub name: String,
    /// The SHA-256 of its text.
    pub sha256: Option<Sha256>,
    /// Its first line.
    pub first_line: String,
}

/// A tensor.
#[derive(Debug, Clone, Serialize)]
pub struct Tensor {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    shape: Vec<u64>,
}

impl Tensor {
    /// Name, type and shape in a line.
    pub fn line(&self) -> String {
        let shape: Vec<_> = self.shape.iter().map(u64::to_string).collect();
        format!("{}  {}  {}", self.name, self.kind, shape.join("×"))
    }
}

/// All that is known of a model.
#[derive(Debug, Serialize)]
pub struct Facts {
    /// Its first file.
    pub name: String,
    /// How its files are laid out.
    pub format: Format,
    /// What it is for.
    pub kind: Kind,
    /// All its files.
    pub files: Vec<File>,
    /// The format's version; nought for safetensors.
    pub version: u64,
    /// Whether its numbers are in the order of bytes of s390x.
    pub big_endian: bool,
    /// `general.architecture`
    pub architecture: Option<String>,
    /// `general.name`
    pub title: Option<String>,
    /// Tokens of the longest context it was trained for.
    pub context_length: Option<u64>,
    /// Number of tensors.
    pub tensor_count: u64,
    /// Elements of all tensors.
    pub parameters: u64,
    /// Bits of an element, on average.
    pub bits_per_weight: f64,
    /// The tensors by type.
    pub types: BTreeMap<String, Types>,
    /// `tokenizer.ggml.model`, `tokenizer.ggml.pre`.
    pub tokenizer: Vec<String>,
    /// How many tokens it knows.
    pub tokens: Option<u64>,
    /// Its chat templates.
    pub chat_templates: Vec<Template>,
    /// `split.count` and how many shards are there.
    pub shards: Option<[u64; 2]>,
    /// Of safetensors what `config.json` says.
    pub config: BTreeMap<String, serde_json::Value>,
    /// The metadata, lists shortened.
    pub metadata: BTreeMap<String, Value>,
    /// The tensors.
    pub tensors: Vec<Tensor>,
    /// What a server needs for it.
    pub memory: Option<Memory>,
    /// Whether it fits into the cards that were named.
    pub fit: Option<Fit>,
    /// What is strange about it.
    pub notes: Vec<String>,
    #[serde(skip)]
    pub(super) headers: Vec<gguf::Header>,
    #[serde(skip)]
    names: BTreeMap<String, Vec<String>>,
}

impl Facts {
    /// Of the headers of all its files, in their order. Fails if they are not of one model.
    pub(super) fn new(name: String, files: Vec<(String, u64, Header)>) -> Result<Self, Error> {
        let format = Format::of(&name).unwrap_or(Format::Gguf);
        let mut facts = Self {
            format,
            kind: Kind::Model,
            files: Vec::new(),
            version: 0,
            big_endian: false,
            architecture: None,
            title: None,
            context_length: None,
            tensor_count: 0,
            parameters: 0,
            bits_per_weight: 0.0,
            types: BTreeMap::new(),
            tokenizer: Vec::new(),
            tokens: None,
            chat_templates: Vec::new(),
            shards: None,
            config: BTreeMap::new(),
            metadata: BTreeMap::new(),
            tensors: Vec::new(),
            memory: None,
            fit: None,
            notes: Vec::new(),
            headers: Vec::new(),
            names: BTreeMap::new(),
            name,
        };
        for (path, size, header) in files {
            match header {
                Header::Gguf(header) => {
                    facts.files.push(File { path, size, header: header.length });
                    facts.headers.push(header);
                }
                Header::Safetensors(header) => {
                    facts.files.push(File { path: path.clone(), size, header: header.length });
                    for (kind, [tensors, parameters, bytes]) in header.types {
                        facts.add(kind, &Types { tensors, parameters, bytes });
                    }
                    facts.names.insert(path, header.names);
                }
            }
        }
        facts.read_metadata()?;
        facts.read_tensors();
        let bytes: u64 = facts.types.values().map(|types| types.bytes).fold(0, u64::saturating_add);
        if facts.parameters > 0 {
            #[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
            let bits = 8.0 * bytes as f64 / facts.parameters as f64;
            facts.bits_per_weight = bits;
        }
        Ok(facts)
    }

    fn add(&mut self, kind: String, more: &Types) {
        let Types { tensors, parameters, bytes } = *more;
        let sums = self.types.entry(kind).or_default();
        for (sum, more) in [
            (&mut sums.tensors, tensors),
            (&mut sums.parameters, parameters),
            (&mut sums.bytes, bytes),
            (&mut self.tensor_count, tensors),
            (&mut self.parameters, parameters),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    fn read_metadata(&mut self) -> Result<(), Error> {
        const TEMPLATE: &str = "tokenizer.chat_template";
        let Some(first) = self.headers.first() else { return Ok(()) };
        self.version = first.version.into();
        self.big_endian = first.big_endian;
        self.kind = Kind::of(first);
        self.architecture = first.architecture().map(str::to_owned);
        self.title = first.text("general.name").map(str::to_owned);
        let number =
            |key: &str| self.architecture.as_ref().and_then(|name| first.number(&format!("{name}.{key}")));
        self.context_length = number("context_length");
        let keys = ["tokenizer.ggml.model", "tokenizer.ggml.pre"];
        self.tokenizer = keys.iter().filter_map(|key| first.text(key)).map(str::to_owned).collect();
        self.tokens = match first.get("tokenizer.ggml.tokens") {
            Some(Value::List { length, .. }) => Some(*length),
            _ => number("vocab_size"),
        };
        for (key, value) in &first.metadata {
            let Some(name) = key.strip_prefix(TEMPLATE) else { continue };
            let (Value::Text { text, length }, true) = (value, name.is_empty() || name.starts_with('.'))
            else {
                continue;
            };
            self.chat_templates.push(Template {
                name: name.trim_start_matches('.').to_owned(),
                sha256: (text.len() as u64 == *length).then(|| Sha256::of(text.as_bytes())),
                first_line: text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned(),
            });
        }
        let broken = |path: &str, why: String| super::broken(path, why);
        if let Some(total) = first.shards() {
            self.shards = Some([total, self.headers.len() as u64]);
            if total != self.headers.len() as u64 {
                self.notes.push(format!("it has {} of {}", self.headers.len(), count(total, "shard")));
            }
        }
        for (at, (file, header)) in self.files.iter().zip(&self.headers).enumerate() {
            let same = |key: &str| header.get(key) == first.get(key);
            if !same("split.count") || !same("split.tensors.count") || header.big_endian != first.big_endian {
                let why = format!("it is not of the same set as {}", self.name);
                return Err(broken(&file.path, why));
            }
            let number = header.number("split.no").filter(|_| header.shards().is_some_and(|total| total > 1));
            let named = crate::request::Shard::parse(&file.path).map(|shard| u64::from(shard.index));
            if let (Some(number), Some(named)) = (number, named)
                && number + 1 != named
            {
                return Err(broken(
                    &file.path,
                    format!("its name says shard {named}, its header {}", number + 1),
                ));
            }
            if at > 0 && header.architecture().is_some() && !same("general.architecture") {
                return Err(broken(&file.path, format!("it is of another architecture than {}", self.name)));
            }
        }
        let wanted = first.number("split.tensors.count");
        let there: u64 = self.headers.iter().map(|header| header.tensor_count).sum();
        if let Some(wanted) = wanted.filter(|wanted| *wanted != there)
            && self.shards.is_some_and(|[total, present]| total == present)
        {
            let why = format!("its shards hold {}, should hold {wanted}", count(there, "tensor"));
            return Err(broken(&self.name, why));
        }
        self.metadata = first.metadata.iter().cloned().collect();
        Ok(())
    }

    fn read_tensors(&mut self) {
        let mut seen = BTreeSet::new();
        let mut unknown = BTreeSet::new();
        let mut all = Vec::new();
        for tensor in self.headers.iter().flat_map(|header| &header.tensors) {
            let known = TensorType::of_number(tensor.kind);
            let kind = known.map_or_else(|| format!("type {}", tensor.kind), |known| known.name.to_owned());
            if tensor.size().is_none() {
                unknown.insert(kind.clone());
            }
            if !seen.insert(&tensor.name) {
                self.notes.push(format!("the tensor `{}` is in more than one shard", tame(&tensor.name)));
            }
            let sums = Types {
                tensors: 1,
                parameters: tensor.elements().unwrap_or(0),
                bytes: tensor.size().unwrap_or(0),
            };
            all.push((kind, sums, tensor.name.clone(), tensor.shape.clone()));
        }
        for (kind, sums, name, shape) in all {
            self.add(kind.clone(), &sums);
            self.tensors.push(Tensor { name, kind, shape });
        }
        for kind in unknown {
            self.notes.push(format!("how long tensors of {kind} are is not known: sums are without them"));
        }
    }
}

/// What a `config.json` says that a person asks for.
pub(super) fn config(bytes: &[u8]) -> BTreeMap<String, serde_json::Value> {
    const KEYS: [&str; 12] = [
        "architectures",
        "hidden_size",
        "max_position_embeddings",
        "model_type",
        "num_attention_heads",
        "num_experts",
        "num_hidden_layers",
        "num_key_value_heads",
        "quantization_config",
        "sliding_window",
        "torch_dtype",
        "vocab_size",
    ];
    let all: BTreeMap<String, serde_json::Value> = serde_json::from_slice(bytes).unwrap_or_default();
    all.into_iter().filter(|(key, _)| KEYS.contains(&key.as_str())).collect()
}

/// Compares an index with the models that it names.
pub(super) fn complete(
    models: &mut [Facts],
    path: &str,
    bytes: &[u8],
    is_there: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let Index { weight_map } = serde_json::from_slice(bytes)
        .map_err(|why| super::broken(path, format!("it is no index: {}", tame(&why.to_string()))))?;
    let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let mut missing = BTreeSet::new();
    let mut lacking = BTreeMap::new();
    let mut owner = None;
    for (tensor, shard) in &weight_map {
        let shard = format!("{folder}{shard}");
        let names = models.iter().enumerate().find_map(|(at, model)| Some((at, model.names.get(&shard)?)));
        match names {
            Some((at, names)) => {
                owner.get_or_insert(at);
                if names.binary_search(tensor).is_err() {
                    *lacking.entry(shard).or_insert(0u64) += 1;
                }
            }
            None if !is_there(&shard) => {
                missing.insert(shard);
            }
            None => {}
        }
    }
    let Some(model) = models.get_mut(owner.unwrap_or(0)) else { return Ok(()) };
    let named = weight_map.len() as u64;
    if missing.is_empty() && lacking.is_empty() {
        model.notes.push(format!("{path} names {}, and all are there", count(named, "tensor")));
    }
    let shown: Vec<_> = missing.iter().take(5).map(String::as_str).collect();
    if !missing.is_empty() {
        model.notes.push(format!(
            "{path} names {} that are not there: {}",
            count(missing.len() as u64, "file"),
            shown.join(", ")
        ));
    }
    for (shard, tensors) in lacking {
        model
            .notes
            .push(format!("{path} says that {shard} has {} that it has not", count(tensors, "tensor")));
    }
    Ok(())
}
