//! How much memory llama.cpp's server will want for a model: arithmetic on headers, as its release b11434 does it.
//!
//! Weights, caches and states are what it allocates; buffers for computing are bounded from above.

mod family;
mod layers;

use serde::Serialize;

use crate::content::gguf::{Header, Tensor, TensorType};
use layers::Layers;

/// The release whose sources this follows, and whose server judges it (`docs/memory.md`).
pub const RELEASE: &str = "b11434";

/// Cells of a cache are allocated in so many (llama.cpp `GGML_PAD(…, 256)`).
const CELLS: u64 = 256;
/// What the server does without `--parallel`: so many slots, which share one cache.
const SLOTS: u64 = 4;
/// llama.cpp's `--batch-size`.
const BATCH: u64 = 2048;

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Setup {
    /// `--ctx-size`: tokens of all slots together; that of the model without it.
    pub context: Option<u64>,
    /// `--parallel`: slots with a cache each; without it four that share one.
    pub slots: Option<u64>,
    /// `--kv-unified`: the slots share one cache.
    pub unified: bool,
    /// `--cache-type-k`
    pub keys: TensorType,
    /// `--cache-type-v`
    pub values: TensorType,
    /// `--ubatch-size`
    pub ubatch: u64,
    /// Sizes of the cards in bytes; empty where only one is thought of, of unknown size.
    pub cards: Vec<u64>,
    /// `--tensor-split`: the share of each card; as their sizes are without it.
    pub split: Vec<f64>,
    /// `--n-cpu-moe`: the experts of so many layers stay in main memory.
    pub cpu_experts: u64,
    /// `--n-gpu-layers`: so many of the last layers are on cards, of which the output is one; all without it.
    pub gpu_layers: Option<u64>,
    /// `--swa-full`: windows have as many cells as the context.
    pub full_windows: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let half = TensorType::of_name("f16").expect("it is in the list");
        Self {
            context: None,
            slots: None,
            unified: false,
            keys: half,
            values: half,
            ubatch: 512,
            cards: Vec::new(),
            split: Vec::new(),
            cpu_experts: 0,
            gpu_layers: None,
            full_windows: false,
        }
    }
}

/// What one device, or main memory, has to hold, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Tensors of the model.
    pub weights: u64,
    /// Keys and values of the tokens.
    pub cache: u64,
    /// States of layers that keep no tokens.
    pub state: u64,
    /// Buffers for computing: an upper bound.
    pub compute_at_most: u64,
}

impl Share {
    /// All of it.
    pub fn total(&self) -> u64 {
        let exact = self.weights.saturating_add(self.cache).saturating_add(self.state);
        exact.saturating_add(self.compute_at_most)
    }
}

/// What a model needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Memory {
    /// Tokens of all slots together.
    pub context: u64,
    /// Number of slots.
    pub slots: u64,
    /// Each card.
    pub cards: Vec<Share>,
    /// Main memory, where all layers are on cards.
    pub main: Share,
    /// Caches and states are upper bounds: it is not known how this architecture remembers.
    pub at_most: bool,
    /// A model of this architecture was loaded, and the server allocated as much (docs/memory.md).
    pub judged: bool,
}

/// A model of which all shards were looked at.
pub struct Model<'a> {
    header: &'a Header,
    tensors: Vec<&'a Tensor>,
    layers: Layers,
}

impl<'a> Model<'a> {
    /// Of its shards, the first one first. `None` where the metadata do not say how many layers there are.
    pub fn new(shards: &[&'a Header]) -> Option<Self> {
        let header = shards.first()?;
        let layers = Layers::of(header)?;
        let tensors = shards.iter().flat_map(|shard| &shard.tensors).collect();
        Some(Self { header, tensors, layers })
    }

    /// The longest context it was trained for.
    pub fn context_trained(&self) -> Option<u64> {
        let architecture = self.header.architecture()?;
        self.header.number(&format!("{architecture}.context_length"))
    }

    /// What it needs as it is set up.
    pub fn memory(&self, setup: &Setup) -> Memory {
        let count = setup.cards.len().max(setup.split.len()).max(1);
        let layout = Layout::new(count, setup, self.layers.list.len());
        let mut cards = vec![Share::default(); count];
        let mut main = Share::default();
        for (tensor, place) in self.tensors.iter().flat_map(|tensor| self.places(tensor, setup, &layout)) {
            let share = place.map_or(&mut main, |card| &mut cards[card]);
            share.weights = share.weights.saturating_add(tensor.size().unwrap_or(0));
        }
        let cells = Cells::new(setup, self.context_trained(), self.layers.window, self.layers.is_causal);
        for (at, layer) in self.layers.list.iter().enumerate() {
            let share = layout.card_of(at).map_or(&mut main, |card| &mut cards[card]);
            let of_layer = if layer.is_windowed { cells.windowed } else { cells.all };
            let bytes =
                |kind: TensorType, elements: u64, cells: u64| row(kind, elements).saturating_mul(cells);
            let cache = bytes(setup.keys, layer.keys, of_layer)
                .saturating_add(bytes(setup.values, layer.values, of_layer))
                .saturating_add(bytes(setup.keys, layer.index_keys, cells.all))
                .saturating_add(bytes(setup.values, layer.index_values, cells.all));
            share.cache = share.cache.saturating_add(cache);
            share.state =
                share.state.saturating_add(layer.state.saturating_mul(4).saturating_mul(cells.slots));
        }
        let compute = self.compute(&cells);
        for share in cards.iter_mut().chain([&mut main]) {
            share.compute_at_most = compute;
        }
        Memory {
            context: cells.context,
            slots: cells.slots,
            cards,
            main,
            at_most: !self.layers.is_exact,
            judged: self.layers.is_judged,
        }
    }

    /// The longest context with which every card holds its share, in steps in which caches grow; `None` if there is none.
    pub fn longest_context(&self, setup: &Setup) -> Option<u64> {
        let fits = |steps: u64| {
            let context = Some(steps.saturating_mul(CELLS));
            self.memory(&Setup { context, ..setup.clone() }).fits(&setup.cards)
        };
        let most = self.context_trained().unwrap_or(1 << 20).max(CELLS).div_ceil(CELLS);
        if !fits(1) {
            return None;
        }
        let (mut good, mut bad) = (1, most + 1);
        while bad - good > 1 {
            let middle = good.midpoint(bad);
            if fits(middle) { good = middle } else { bad = middle }
        }
        Some(good * CELLS)
    }

    /// Where a tensor is loaded: on a card, in main memory (`None`), in both, or nowhere.
    fn places<'t>(
        &self,
        tensor: &'t Tensor,
        setup: &Setup,
        layout: &Layout,
    ) -> Vec<(&'t Tensor, Option<usize>)> {
        let name = tensor.name.as_str();
        let Some((layer, rest)) = layer_of(name) else {
            if !INPUTS.iter().any(|input| name.starts_with(input)) {
                return vec![(tensor, layout.output())];
            }
            // Where there is no output of its own, the input is loaded once more as the output.
            let is_output = name == "token_embd.weight" && !self.has("output.weight");
            let twice = is_output.then_some((tensor, layout.output())).filter(|(_, place)| place.is_some());
            return [(tensor, None)].into_iter().chain(twice).collect();
        };
        let all = self.layers.list.len() as u64;
        if layer >= all - self.layers.predicting {
            return Vec::new();
        }
        let is_expert = EXPERTS.iter().any(|expert| rest.starts_with(expert));
        let place = layout.card_of(usize::try_from(layer).unwrap_or_default());
        vec![(tensor, place.filter(|_| !is_expert || layer >= setup.cpu_experts))]
    }

    fn has(&self, name: &str) -> bool {
        self.tensors.iter().any(|tensor| tensor.name == name)
    }

    /// A bound of the buffers for computing on one device. The graph of one batch has a few rows of each width alive at
    /// the same time; the mask of what a token sees is as long as the cache.
    fn compute(&self, cells: &Cells) -> u64 {
        // The judges of `docs/memory.md` have seen up to four rows, and masks of one and a half floats for a cell.
        const ROWS: u64 = 6;
        let widths = self.layers.widths;
        let vocabulary = self.tensors.iter().find(|tensor| tensor.name.starts_with("token_embd."));
        let vocabulary = vocabulary.and_then(|tensor| tensor.shape.last().copied()).unwrap_or(0);
        let row = [widths.embedding, widths.feed_forward, widths.heads, widths.inner, widths.experts]
            .into_iter()
            .fold(0u64, u64::saturating_add)
            .saturating_mul(ROWS);
        // An indexer weighs every cell for every token, in several steps; those that are not known do so for each slot.
        let is_sparse = self.layers.list.iter().any(|layer| layer.index_keys > 0);
        let mask = match (self.layers.is_exact, is_sparse) {
            (true, false) => cells.all.saturating_mul(5) / 2,
            (true, true) => cells.all.saturating_mul(12),
            (false, _) => cells.seen.saturating_mul(12),
        };
        let scores = cells.all.saturating_mul(widths.scores).saturating_mul(4);
        let of_token = row.saturating_add(vocabulary).saturating_add(mask).saturating_add(scores);
        let floats = of_token.saturating_mul(cells.ubatch);
        let states = self.layers.list.iter().map(|layer| layer.state).max().unwrap_or(0);
        let states = states.saturating_mul(4 * cells.slots);
        floats.saturating_add(states).saturating_mul(4).saturating_add(16 << 20)
    }
}

impl Memory {
    /// Whether each card holds its share.
    pub fn fits(&self, cards: &[u64]) -> bool {
        self.cards.iter().zip(cards).all(|(share, size)| share.total() <= *size)
    }
}

/// How names of tensors begin that are looked up by token, and stay in main memory (`LLM_TENSOR_LAYER_INPUT`).
const INPUTS: [&str; 5] =
    ["token_embd.", "position_embd.", "token_types.", "per_layer_token_embd.", "masked_embd_"];
/// What follows the layer in the names of experts (`LLM_FFN_EXPS_REGEX`).
const EXPERTS: [&str; 8] = [
    "ffn_up_exps",
    "ffn_down_exps",
    "ffn_gate_exps",
    "ffn_gate_up_exps",
    "ffn_up_chexps",
    "ffn_down_chexps",
    "ffn_gate_chexps",
    "ffn_gate_up_chexps",
];

/// The layer of a tensor, and what follows it in the name.
fn layer_of(name: &str) -> Option<(u64, &str)> {
    let (number, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// Bytes of a row; a last block that is not full counts as one.
fn row(kind: TensorType, elements: u64) -> u64 {
    elements.div_ceil(kind.elements.into()).saturating_mul(kind.bytes.into())
}

/// Which card has which layer (llama.cpp `load_tensors`, split mode `layer`).
struct Layout {
    /// Where the share of each card ends, as a part of all.
    ends: Vec<f32>,
    layers: usize,
    /// The first layer on a card; the output counts as the last one.
    first: usize,
}

impl Layout {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "as llama.cpp does it")]
    fn new(count: usize, setup: &Setup, layers: usize) -> Self {
        let mut shares: Vec<f32> = setup.split.iter().map(|share| *share as f32).collect();
        if shares.iter().all(|share| *share == 0.0) {
            shares = setup.cards.iter().map(|size| *size as f32).collect();
        }
        shares.resize(count, if shares.is_empty() { 1.0 } else { 0.0 });
        let sum: f32 = shares.iter().sum();
        let mut end = 0.0;
        let ends = shares.iter().map(|share| {
            end += share;
            end / sum
        });
        let on_cards =
            setup.gpu_layers.map_or(usize::MAX, |layers| usize::try_from(layers).unwrap_or(usize::MAX));
        Self { ends: ends.collect(), layers, first: (layers + 1).saturating_sub(on_cards) }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few hundred layers")]
    fn card_of(&self, layer: usize) -> Option<usize> {
        let part = layer.checked_sub(self.first)? as f32 / (self.layers + 1 - self.first) as f32;
        let card = self.ends.iter().position(|end| part < *end);
        Some(card.unwrap_or(self.ends.len() - 1))
    }

    fn output(&self) -> Option<usize> {
        self.card_of(self.layers)
    }
}

/// How many cells the caches have, over all streams (`llama_context`, `llama_kv_cache_iswa`).
struct Cells {
    context: u64,
    slots: u64,
    all: u64,
    /// Those of each slot, over all slots.
    seen: u64,
    windowed: u64,
    ubatch: u64,
}

impl Cells {
    fn new(setup: &Setup, trained: Option<u64>, window: u64, is_causal: bool) -> Self {
        let slots = setup.slots.unwrap_or(SLOTS).max(1);
        let unified = setup.unified || setup.slots.is_none();
        let pad = |cells: u64| cells.checked_next_multiple_of(CELLS).unwrap_or(u64::MAX);
        let asked = setup.context.filter(|context| *context > 0).or(trained).unwrap_or(CELLS);
        let context = pad(asked);
        let streams = if unified { 1 } else { slots };
        let each = if unified { context } else { pad((context / slots).max(1)) };
        let batch = if is_causal { asked.min(BATCH) } else { BATCH };
        let ubatch = setup.ubatch.min(batch);
        let in_window = window.saturating_mul(if unified { slots } else { 1 }).saturating_add(ubatch);
        Self {
            context: each.saturating_mul(streams),
            slots,
            all: each.saturating_mul(streams),
            seen: each.saturating_mul(slots),
            windowed: if setup.full_windows { each } else { pad(each.min(in_window)) }
                .saturating_mul(streams),
            ubatch,
        }
    }
}
