/// Text that can never be a value of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {what} {value:?}: {why}")]
pub struct Invalid {
    /// What kind of value.
    pub what: &'static str,
    /// The text as given.
    pub value: String,
    /// What is wrong with it.
    pub why: String,
}

impl Invalid {
    /// Of a value that may be a secret, and is not shown.
    pub fn hidden(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, value: "…".into(), why: why.into() }
    }

    /// As much of `value` as is worth showing.
    pub fn new(what: &'static str, value: &str, why: impl Into<String>) -> Self {
        Self { what, value: value.chars().take(200).collect(), why: why.into() }
    }
}
