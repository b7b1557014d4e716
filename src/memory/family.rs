//! What each architecture keeps per layer, as llama.cpp b11434 has it (`src/models/*.cpp`, `llama_model::create_memory`).

/// How the layers of an architecture remember.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Family {
    pub(super) windows: Windows,
    pub(super) recurrent: Recurrent,
    pub(super) sparse: Sparse,
    /// Only the first so many layers have a cache of their own, or all but those that the metadata call shared.
    pub(super) shared: Shared,
    /// Nothing is kept between tokens: it reads a text as a whole.
    pub(super) is_cacheless: bool,
}

/// Which layers look back only through a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Windows {
    /// None.
    None,
    /// Those that a list in the metadata names.
    Listed,
    /// All that attend, where the metadata have a window.
    AllAttending,
    /// All but every so-manyth, unless the metadata have a list or another number.
    Pattern {
        every: u64,
        /// The first one of each group is the one that sees all, not the last.
        dense_first: bool,
        length: Length,
    },
}

/// How long a window is, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Length {
    /// As the metadata say; no window without that, or with nought.
    Said,
    /// As the metadata say, or this.
    Or(u64),
    /// This, unless the metadata say nought.
    UnlessNought(u64),
    /// This, if the metadata have a window.
    IfSaid(u64),
    /// The same as `Or`, in a model of so many layers alone.
    OrInLayers(u64, u64),
}

/// Which layers keep a state of fixed size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Recurrent {
    None,
    /// Every layer, and none attends.
    All,
    /// Every layer, and each attends too.
    Both,
    /// Those without heads for keys.
    Headless,
    /// The same, and those with a feed-forward part do neither.
    HeadlessWithoutFeedForward,
    /// Those of a list in the metadata, or all but every so-manyth.
    Interval(u64),
}

/// Keys of an indexer beside the cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sparse {
    None,
    /// In every layer.
    Keys,
    /// The same in every layer unless the metadata have a list, and the model is of the kind whose list is built in.
    ListedKeys,
    /// Keys and values, in every layer but the first ones that the metadata call dense.
    KeysAndValues,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shared {
    None,
    From(u64),
    Said,
}

const PLAIN: Family = Family {
    windows: Windows::None,
    recurrent: Recurrent::None,
    sparse: Sparse::None,
    shared: Shared::None,
    is_cacheless: false,
};

const fn pattern(every: u64, dense_first: bool, length: Length) -> Family {
    Family { windows: Windows::Pattern { every, dense_first, length }, ..PLAIN }
}

const LISTED: Family = Family { windows: Windows::Listed, ..PLAIN };

const fn recurrent(recurrent: Recurrent) -> Family {
    Family { recurrent, ..PLAIN }
}

const fn sparse(sparse: Sparse) -> Family {
    Family { sparse, ..PLAIN }
}

impl Family {
    /// By `general.architecture`; `None` if it is not known how it remembers.
    pub(super) fn of(architecture: &str) -> Option<Self> {
        if CACHELESS.contains(&architecture) {
            return Some(Self { is_cacheless: true, ..PLAIN });
        }
        if ATTENDING.contains(&architecture) {
            return Some(PLAIN);
        }
        Some(match architecture {
            "afmoe" | "mellum" | "olmo2" | "cohere2" | "muse-glimmer" => pattern(4, false, Length::Said),
            "cohere2moe" | "laguna" => pattern(4, true, Length::Said),
            "exaone-moe" => pattern(4, false, Length::Or(128)),
            "exaone4" => pattern(4, false, Length::OrInLayers(4096, 64)),
            "gemma2" => pattern(2, false, Length::Or(4096)),
            "gemma3" => pattern(6, false, Length::Said),
            "gemma3n" => Self { shared: Shared::From(20), ..pattern(5, false, Length::Said) },
            "gemma4" => Self { shared: Shared::Said, ..LISTED },
            "gpt-oss" => pattern(2, false, Length::Said),
            "llama4" => pattern(4, false, Length::UnlessNought(8192)),
            "plamo3" => pattern(8, false, Length::Said),
            "smallthinker" => pattern(4, true, Length::IfSaid(4096)),
            "granite_swa" | "maple" | "mimo2" | "spark2_5" | "step35" => LISTED,
            "mamba" | "mamba2" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => recurrent(Recurrent::All),
            "falcon-h1" => recurrent(Recurrent::Both),
            "jamba" | "granitehybrid" | "plamo2" | "kimi-linear" | "bailingmoe3" | "lfm2moe" => {
                recurrent(Recurrent::Headless)
            }
            "lfm2" => Self { windows: Windows::AllAttending, ..recurrent(Recurrent::Headless) },
            "nemotron_h" | "nemotron_h_moe" => recurrent(Recurrent::HeadlessWithoutFeedForward),
            "qwen3next" | "qwen35" | "qwen35moe" => recurrent(Recurrent::Interval(4)),
            "minimax-01" => recurrent(Recurrent::Interval(8)),
            "deepseek32" => sparse(Sparse::Keys),
            "glm-dsa" => sparse(Sparse::ListedKeys),
            "minimax-m3" => sparse(Sparse::KeysAndValues),
            _ => return None,
        })
    }
}

const CACHELESS: [&str; 15] = [
    "bert",
    "clef",
    "dream",
    "eurobert",
    "gemma-embedding",
    "jina-bert-v2",
    "jina-bert-v3",
    "llada",
    "llada-moe",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "rnd1",
    "wavtokenizer-dec",
];

/// Those whose every layer keeps keys and values of all tokens, or what MLA makes of them.
const ATTENDING: [&str; 79] = [
    "apertus",
    "arcee",
    "arctic",
    "baichuan",
    "bailingmoe",
    "bailingmoe2",
    "bitnet",
    "bloom",
    "chameleon",
    "chatglm",
    "codeshell",
    "cogvlm",
    "command-r",
    "dbrx",
    "deci",
    "deepseek",
    "deepseek2",
    "deepseek2-ocr",
    "dots1",
    "ernie4_5",
    "ernie4_5-moe",
    "exaone",
    "falcon",
    "gemma",
    "glm4",
    "glm4moe",
    "gpt2",
    "gptneox",
    "granite",
    "granitemoe",
    "grok",
    "grovemoe",
    "hunyuan-dense",
    "hunyuan-moe",
    "hunyuan_vl",
    "hy_v3",
    "internlm2",
    "jais",
    "jais2",
    "llama",
    "llama-embed",
    "maincoder",
    "minicpm",
    "minicpm3",
    "minimax-m2",
    "mistral3",
    "mistral4",
    "mpt",
    "nemotron",
    "olmo",
    "olmoe",
    "openelm",
    "orion",
    "paddleocr",
    "pangu-embedded",
    "phi2",
    "phi3",
    "phimoe",
    "plamo",
    "plm",
    "qwen",
    "qwen2",
    "qwen2moe",
    "qwen2vl",
    "qwen3",
    "qwen3moe",
    "qwen3tts",
    "qwen3vl",
    "qwen3vlmoe",
    "refact",
    "seed_oss",
    "smollm3",
    "stablelm",
    "starcoder",
    "starcoder2",
    "talkie",
    "xverse",
    "hrm_text",
    "gptj",
];

/// Those of which only llama.cpp's source was read: no model of them was loaded to compare (docs/memory.md).
const UNJUDGED: [&str; 25] = [
    "apertus",
    "arwkv7",
    "bert",
    "bitnet",
    "chameleon",
    "clef",
    "deepseek2-ocr",
    "eurobert",
    "gemma-embedding",
    "gemma3n",
    "gemma4",
    "gptj",
    "jina-bert-v2",
    "jina-bert-v3",
    "llama-embed",
    "modern-bert",
    "neo-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "plm",
    "rwkv6",
    "rwkv6qwen2",
    "rwkv7",
    "step35",
    "wavtokenizer-dec",
];

/// Whether llama-server was seen to allocate what is computed for this architecture.
pub(super) fn is_judged(architecture: &str) -> bool {
    Family::of(architecture).is_some() && !UNJUDGED.contains(&architecture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_compared_is_what_the_documentation_says() {
        let page = include_str!("../../docs/memory.md");
        let names: Vec<_> = UNJUDGED.iter().map(|name| format!("`{name}`")).collect();
        assert!(page.contains(&format!("and not judged: {}.", names.join(", "))), "{names:?}");
        assert!(UNJUDGED.iter().all(|name| Family::of(name).is_some()));
    }

    #[test]
    fn an_architecture_is_in_one_list_alone() {
        for name in ATTENDING {
            assert!(!CACHELESS.contains(&name), "{name}");
            assert_eq!(ATTENDING.iter().filter(|other| **other == name).count(), 1, "{name}");
            assert_eq!(Family::of(name), Some(PLAIN), "{name}");
        }
        assert_eq!(Family::of("of-tomorrow"), None);
    }
}
