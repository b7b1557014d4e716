//! What each layer of a model keeps, from its metadata, as llama.cpp b11434 reads them (`llama_model_base::load_hparams`
//! and `load_arch_hparams` of each architecture).

use super::family::{Family, Length, Recurrent, Shared, Sparse, Windows, is_judged};
use crate::content::gguf::{Header, Value};

/// llama.cpp's `LLAMA_MAX_LAYERS`.
const LAYERS_MAX: u64 = 512;

/// A model, layer by layer.
#[derive(Debug, Clone)]
pub(super) struct Layers {
    pub(super) list: Vec<Layer>,
    /// Layers that predict further tokens, at the end of the list: nothing is loaded or kept for them.
    pub(super) predicting: u64,
    /// Length of the windows, in tokens.
    pub(super) window: u64,
    /// The numbers are those of the architecture, and no upper bounds.
    pub(super) is_exact: bool,
    /// Somebody has compared them with what a server allocates.
    pub(super) is_judged: bool,
    pub(super) is_causal: bool,
    pub(super) widths: Widths,
}

/// What one layer keeps. Numbers of elements of a token, or of a sequence.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layer {
    /// Of a token: keys, and values.
    pub(super) keys: u64,
    pub(super) values: u64,
    /// It looks back through the window alone.
    pub(super) is_windowed: bool,
    /// Of a token: keys and values of an indexer.
    pub(super) index_keys: u64,
    pub(super) index_values: u64,
    /// Of a sequence, whatever its length.
    pub(super) state: u64,
}

/// Widths of what is computed, in elements of a token.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Widths {
    pub(super) embedding: u64,
    pub(super) feed_forward: u64,
    pub(super) heads: u64,
    pub(super) inner: u64,
    pub(super) experts: u64,
    /// Heads whose scores are all held, where there is no flash attention.
    pub(super) scores: u64,
}

/// The metadata of an architecture.
struct Facts<'a> {
    header: &'a Header,
    architecture: &'a str,
    layers: u64,
}

impl Facts<'_> {
    fn value(&self, key: &str) -> Option<&Value> {
        self.header.get(&format!("{}.{key}", self.architecture))
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.number()
    }

    /// One number for each layer, or the same for all; `None` if there is none, or a list without one for each.
    fn per_layer(&self, key: &str) -> Option<Vec<u64>> {
        let layers = usize::try_from(self.layers).ok()?;
        match self.value(key)? {
            Value::List { first, .. } => {
                let list: Vec<_> = first.iter().map_while(Value::number).take(layers).collect();
                (list.len() == layers).then_some(list)
            }
            value => Some(vec![value.number()?; layers]),
        }
    }

    /// The same of a list that may be shorter.
    fn listed(&self, key: &str) -> Option<Vec<u64>> {
        let Value::List { first, .. } = self.value(key)? else { return None };
        let mut list: Vec<_> = first.iter().map_while(Value::number).collect();
        list.resize(usize::try_from(self.layers).ok()?, 0);
        Some(list)
    }
}

impl Layers {
    /// Of a model; `None` if its metadata do not say how many layers it has, or more than there can be.
    pub(super) fn of(header: &Header) -> Option<Self> {
        let architecture = header.architecture()?;
        let mut facts = Facts { header, architecture, layers: 0 };
        facts.layers = facts.number("block_count").filter(|layers| (1..=LAYERS_MAX).contains(layers))?;
        let family = Family::of(architecture);
        let layers = facts.layers;
        let predicting = facts.number("nextn_predict_layers").unwrap_or(0).min(layers);
        // A model that is nothing but such layers is loaded as a whole.
        let predicting = if predicting == layers { 0 } else { predicting };

        let nought = vec![0; usize::try_from(layers).ok()?];
        let heads = facts.per_layer("attention.head_count").unwrap_or_else(|| nought.clone());
        let key_heads = facts.per_layer("attention.head_count_kv").unwrap_or_else(|| heads.clone());
        let feed_forward = facts.per_layer("feed_forward_length").unwrap_or_else(|| nought.clone());
        let embedding = facts.number("embedding_length").unwrap_or(0);
        let length = |key: &str, otherwise: u64| facts.number(key).unwrap_or(otherwise);
        let per_head = heads[0];
        let usual = embedding.checked_div(per_head).unwrap_or(0);
        let of_heads = |key: &str| if per_head > 0 { length(key, usual) } else { 0 };
        let (key_length, value_length) =
            (of_heads("attention.key_length"), of_heads("attention.value_length"));
        let windowed = [
            length("attention.key_length_swa", key_length),
            length("attention.value_length_swa", value_length),
        ];
        let is_latent = family.is_some()
            && IS_LATENT.contains(&architecture)
            && length("attention.key_length_mla", 0) > 0
            && length("attention.value_length_mla", 0) > 0;

        let is_known = family.is_some();
        let family = family.unwrap_or(UNKNOWN);
        let (window, is_windowed) = windows(&facts, &family, predicting);
        let state = state(&facts, embedding, per_head, key_length);
        let indexed = indexed(&facts, &family);
        let own = match family.shared {
            Shared::None => layers,
            Shared::From(first) => first,
            Shared::Said => layers.saturating_sub(length("attention.shared_kv_layers", 0)),
        };
        let list = (0..layers).zip(&key_heads).zip(&feed_forward).map(|((at, key_heads), feed_forward)| {
            let index = usize::try_from(at).unwrap_or_default();
            let (attends, remembers) =
                kinds(&facts, &family, at, *key_heads, *feed_forward, layers - predicting);
            if family.is_cacheless || at >= layers - predicting {
                return Layer::default();
            }
            let attends = attends && at < own;
            let is_windowed = window > 0 && is_windowed[index];
            let [keys, values] = if is_windowed { windowed } else { [key_length, value_length] };
            let mut layer = Layer { is_windowed, ..Layer::default() };
            if attends {
                layer.keys = keys.saturating_mul(*key_heads);
                layer.values = if is_latent { 0 } else { values.saturating_mul(*key_heads) };
            }
            if attends && indexed[index] {
                layer.index_keys = length("attention.indexer.key_length", 0);
                layer.index_values = if family.sparse == Sparse::KeysAndValues { value_length } else { 0 };
            }
            layer.state = if remembers { state } else { 0 };
            layer
        });
        let is_exact = is_known
            && !(family.sparse == Sparse::ListedKeys
                && facts.value("attention.indexer.types").is_none()
                && length("context_length", 0) >= 1 << 20);
        let most = |list: &[u64]| list.iter().copied().max().unwrap_or(0);
        let used = length("expert_used_count", 0);
        let experts = length("expert_feed_forward_length", 0).saturating_mul(used);
        Some(Self {
            list: list.collect(),
            predicting,
            window,
            is_exact,
            is_judged: is_judged(architecture),
            is_causal: facts.number("attention.causal") != Some(0),
            widths: Widths {
                embedding,
                feed_forward: most(&feed_forward),
                heads: most(&heads).saturating_mul(key_length.saturating_add(value_length).max(1)),
                inner: length("ssm.inner_size", 0),
                experts: experts.saturating_add(used.saturating_mul(embedding)),
                // llama.cpp forces flash attention off for it.
                scores: if architecture == "grok" { most(&heads) } else { 0 },
            },
        })
    }
}

/// Of an architecture that is not known every layer is taken to keep all that it can.
const UNKNOWN: Family = Family {
    windows: Windows::None,
    recurrent: Recurrent::Both,
    sparse: Sparse::KeysAndValues,
    shared: Shared::None,
    is_cacheless: false,
};

/// Architectures whose layers can keep one latent instead of keys and values of each head (MLA).
const IS_LATENT: [&str; 6] = ["deepseek2", "mistral4", "deepseek32", "glm-dsa", "kimi-linear", "bailingmoe3"];

/// Whether a layer attends, and whether it keeps a state.
fn kinds(
    facts: &Facts<'_>,
    family: &Family,
    at: u64,
    key_heads: u64,
    feed_forward: u64,
    layers: u64,
) -> (bool, bool) {
    match family.recurrent {
        Recurrent::None => (true, false),
        Recurrent::All => (false, true),
        Recurrent::Both => (true, true),
        Recurrent::Headless => (key_heads > 0, key_heads == 0),
        Recurrent::HeadlessWithoutFeedForward => {
            (feed_forward == 0 && key_heads > 0, feed_forward == 0 && key_heads == 0)
        }
        Recurrent::Interval(every) => {
            let listed = facts.per_layer("attention.recurrent_layers");
            let every = facts.number("full_attention_interval").unwrap_or(every).max(1);
            let remembers = match listed.and_then(|list| list.get(usize::try_from(at).ok()?).copied()) {
                Some(is_recurrent) => is_recurrent != 0,
                None => at < layers && !(at + 1).is_multiple_of(every),
            };
            (!remembers, remembers)
        }
    }
}

/// The length of the windows, and which layers have one.
fn windows(facts: &Facts<'_>, family: &Family, predicting: u64) -> (u64, Vec<bool>) {
    let layers = facts.layers;
    let said = facts.number("attention.sliding_window");
    let none = || (0, vec![false; usize::try_from(layers).unwrap_or_default()]);
    let listed = || facts.listed("attention.sliding_window_pattern");
    let as_listed = |list: Vec<u64>| list.into_iter().map(|is_windowed| is_windowed != 0).collect();
    match family.windows {
        Windows::None => none(),
        Windows::AllAttending => (said.unwrap_or(0), none().1.iter().map(|_| true).collect()),
        Windows::Listed => match (said, listed()) {
            (Some(length), Some(list)) => (length, as_listed(list)),
            _ => none(),
        },
        Windows::Pattern { every, dense_first, length } => {
            let length = match length {
                Length::Said => said.unwrap_or(0),
                Length::Or(usual) => said.unwrap_or(usual),
                Length::UnlessNought(usual) => {
                    if said == Some(0) {
                        0
                    } else {
                        usual
                    }
                }
                Length::IfSaid(usual) => {
                    if said.unwrap_or(0) > 0 {
                        usual
                    } else {
                        0
                    }
                }
                Length::OrInLayers(usual, of) if layers - predicting == of => said.unwrap_or(usual),
                Length::OrInLayers(..) => 0,
            };
            if let Some(list) = listed() {
                return (length, as_listed(list));
            }
            let every = facts.number("attention.sliding_window_pattern").unwrap_or(every);
            let is_windowed = |at: u64| match every {
                _ if at >= layers - predicting => false,
                0 => true,
                _ if dense_first => !at.is_multiple_of(every),
                _ => at % every < every - 1,
            };
            (length, (0..layers).map(is_windowed).collect())
        }
    }
}

/// Which layers have an indexer.
fn indexed(facts: &Facts<'_>, family: &Family) -> Vec<bool> {
    let all = |is_indexed: bool| vec![is_indexed; usize::try_from(facts.layers).unwrap_or_default()];
    match family.sparse {
        Sparse::None => all(false),
        Sparse::Keys => all(true),
        Sparse::ListedKeys => match facts.listed("attention.indexer.types") {
            Some(list) => list.into_iter().map(|is_full| is_full != 0).collect(),
            None => all(true),
        },
        Sparse::KeysAndValues => {
            let dense = facts.number("leading_dense_block_count").unwrap_or(0);
            (0..facts.layers).map(|at| at >= dense).collect()
        }
    }
}

/// Elements of the state of a layer that keeps one: of the convolution, and of the recurrence (`llama_hparams::n_embd_r`
/// and `n_embd_s`).
fn state(facts: &Facts<'_>, embedding: u64, heads: u64, key_length: u64) -> u64 {
    let number = |key: &str| facts.number(key).unwrap_or(0);
    let (inner, size, groups) =
        (number("ssm.inner_size"), number("ssm.state_size"), number("ssm.group_count"));
    let kernel = number("ssm.conv_kernel");
    let (wkv, short, kda) = (number("wkv.head_size"), number("shortconv.l_cache"), number("kda.head_dim"));
    let scan = size.saturating_mul(inner);
    let convolution = if wkv > 0 {
        facts.number("token_shift_count").unwrap_or(2).saturating_mul(embedding)
    } else if short > 0 {
        embedding.saturating_mul(short - 1)
    } else if kda > 0 {
        let steps = if kernel > 0 { kernel - 1 } else { 3 };
        heads.saturating_mul(kda).saturating_mul(3).saturating_mul(steps)
    } else {
        let width = groups.saturating_mul(2).saturating_mul(size).saturating_add(inner);
        kernel.saturating_sub(1).saturating_mul(width)
    };
    let recurrence = if wkv > 0 {
        embedding.saturating_mul(wkv)
    } else if kda > 0 {
        kda.saturating_mul(kda).saturating_mul(heads)
    } else if facts.architecture == "minimax-01" {
        key_length.saturating_mul(key_length).saturating_mul(heads)
    } else {
        scan
    };
    convolution.saturating_add(recurrence)
}
