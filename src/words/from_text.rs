use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Error, Visitor};

/// Reads a value of JSON from its text, without a copy of the text.
pub(crate) struct FromText<T>(&'static str, PhantomData<T>);

impl<T> FromText<T> {
    /// `what` is the kind of value, for messages.
    pub(crate) fn new(what: &'static str) -> Self {
        Self(what, PhantomData)
    }
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a text that is a {}", self.0)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}
