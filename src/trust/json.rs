//! JSON that says each thing once: what is signed must not mean one thing here and another elsewhere, and of two
//! members with one name each reader may take another one.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

/// A value. Texts without escapes lie where they were read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl<'a> Json<'a> {
    /// Reads a document.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|why| format!("it is no JSON that can be relied on: {why}"))
    }

    /// A member of a map; `None` if there is none, or if it is `null`, as protobuf's JSON writes it.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Map(members) = self else { return None };
        members
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
            .filter(|value| **value != Self::Null)
    }

    /// The text of a member.
    pub(super) fn text(&self, key: &str) -> Result<&str, String> {
        match self.get(key) {
            Some(Self::Text(text)) => Ok(text),
            _ => Err(format!("`{key}` is no text, or missing")),
        }
    }

    /// The values of a member that is a list.
    pub(super) fn list(&self, key: &str) -> Result<&[Self], String> {
        match self.get(key) {
            Some(Self::List(values)) => Ok(values),
            _ => Err(format!("`{key}` is no list, or missing")),
        }
    }

    /// The member that is a map with no other members than these.
    pub(super) fn map(&self, key: &str, known: &[&str]) -> Result<&Self, String> {
        let map = self.get(key).ok_or_else(|| format!("`{key}` is missing"))?;
        map.check_keys(known).map_err(|why| format!("`{key}`: {why}"))?;
        Ok(map)
    }

    /// Fails unless it is a map with no other members than these.
    pub(super) fn check_keys(&self, known: &[&str]) -> Result<(), String> {
        let Self::Map(members) = self else { return Err("it is no object".into()) };
        match members.iter().find(|(name, _)| !known.contains(&&**name)) {
            Some((name, _)) => Err(format!("`{name}` has no meaning there")),
            None => Ok(()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Values)
    }
}

/// A name in a map: a text.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Json::deserialize(deserializer)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(de::Error::custom("a name that is no text")),
        }
    }
}

struct Values;

impl<'de> Visitor<'de> for Values {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Number(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = values.next_entry()? {
            members.push((name, value));
        }
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(de::Error::custom(format_args!("`{}` is there twice", pair[0]))),
            None => Ok(Json::Map(members)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_refused_however_it_is_written_and_wherever() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":[],"c":0,"b":null}}]"#] {
            let why = Json::parse(text.as_bytes()).expect_err(text);
            assert!(why.contains("twice"), "{why}");
        }
        assert!(Json::parse(br#"{"a":{"a":1},"b":{"a":1},"A":1}"#).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for text in [&b""[..], b"{", b"{} {}", b"{'a':1}", b"{\"a\":\"\xff\"}"] {
            assert!(Json::parse(text).is_err(), "{text:?}");
        }
        assert!(Json::parse(&vec![b'['; 100_000]).is_err());
    }

    #[test]
    fn members_are_found_by_their_names() {
        let json = Json::parse(br#"{"t":"x\n","l":[1,true],"m":{"k":-1.5},"n":null}"#).expect("JSON");
        assert_eq!(json.text("t"), Ok("x\n"));
        assert_eq!(json.list("l"), Ok(&[Json::Number(1.0), Json::Bool(true)][..]));
        assert_eq!(json.map("m", &["k"]).expect("a map").get("k"), Some(&Json::Number(-1.5)));
        assert!(json.map("m", &["l"]).is_err());
        assert!(json.get("n").is_none() && json.text("l").is_err() && json.list("t").is_err());
    }
}
