//! What a JSON text says, whatever its spelling: stores may space and order it in their own way.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

/// The kinds of values, as seeds of their hashes: 1 and "1" are not the same.
#[derive(Clone, Copy)]
enum Kind {
    Null = 1,
    Bool,
    Integer,
    Fraction,
    Text,
    Array,
    Object,
}

/// The greatest whole number that a fraction holds exactly.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// What a JSON text says, as a hash: equal for texts that differ only in spaces, in the order of
/// keys, and in how they write numbers and characters.
///
/// Any deserializer of JSON gives it, such as `serde_json::from_str::<JsonSense>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonSense {
    hash: u128,
    has_nul: bool,
}

impl JsonSense {
    /// The hash.
    #[must_use]
    pub fn hash(self) -> u128 {
        self.hash
    }

    /// Whether a text in it has a NUL character, which not every store can keep.
    #[must_use]
    pub fn has_nul(self) -> bool {
        self.has_nul
    }

    fn leaf(kind: Kind, bytes: &[u8]) -> Self {
        Self {
            hash: xxh3_128_with_seed(bytes, kind as u64),
            has_nul: false,
        }
    }

    fn integer(number: i128) -> Self {
        Self::leaf(Kind::Integer, &number.to_le_bytes())
    }
}

/// A JSON text as it is stored, with what it says.
#[derive(Clone, Debug)]
pub struct StoredJson {
    text: String,
    sense: JsonSense,
}

impl StoredJson {
    /// A text, with what a deserializer made of it.
    #[must_use]
    pub fn new(text: String, sense: JsonSense) -> Self {
        Self { text, sense }
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says.
    #[must_use]
    pub fn sense(&self) -> JsonSense {
        self.sense
    }
}

impl<'de> Deserialize<'de> for JsonSense {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SenseVisitor)
    }
}

struct SenseVisitor;

impl<'de> Visitor<'de> for SenseVisitor {
    type Value = JsonSense;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<JsonSense, E> {
        Ok(JsonSense::leaf(Kind::Null, &[]))
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonSense, E> {
        Ok(JsonSense::leaf(Kind::Bool, &[u8::from(value)]))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonSense, E> {
        Ok(JsonSense::integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonSense, E> {
        Ok(JsonSense::integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<JsonSense, E> {
        if value.fract() == 0.0 && value.abs() <= EXACT_MAX {
            // A store may write 1e2 as 100.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "it is whole and fits, as was just looked at"
            )]
            return Ok(JsonSense::integer(value as i128));
        }
        Ok(JsonSense::leaf(
            Kind::Fraction,
            &value.to_bits().to_le_bytes(),
        ))
    }

    fn visit_str<E>(self, value: &str) -> Result<JsonSense, E> {
        Ok(JsonSense {
            has_nul: value.contains('\0'),
            ..JsonSense::leaf(Kind::Text, value.as_bytes())
        })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<JsonSense, A::Error> {
        let mut sense = JsonSense::leaf(Kind::Array, &[]);
        while let Some(entry) = entries.next_element::<JsonSense>()? {
            sense.hash = chained(sense.hash, entry.hash);
            sense.has_nul |= entry.has_nul;
        }
        Ok(sense)
    }

    /// A sum, which does not depend on the order of the keys.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<JsonSense, A::Error> {
        let mut sense = JsonSense::leaf(Kind::Object, &[]);
        let mut sum = 0_u128;
        while let Some((key, value)) = entries.next_entry::<JsonSense, JsonSense>()? {
            sum = sum.wrapping_add(chained(key.hash, value.hash));
            sense.has_nul |= key.has_nul | value.has_nul;
        }
        sense.hash = chained(sense.hash, sum);
        Ok(sense)
    }
}

/// The hash of a sequence that ends with `next`.
pub(super) fn chained(before: u128, next: u128) -> u128 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&before.to_le_bytes());
    bytes[16..].copy_from_slice(&next.to_le_bytes());
    xxh3_128(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sense(text: &str) -> JsonSense {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn texts_that_say_the_same_have_one_sense() {
        for (one, other) in [
            (
                r#"{"a":1,"b":[true,null]}"#,
                r#"{ "b": [true, null], "a": 1 }"#,
            ),
            (r#""é\n\/""#, r#""\u00e9\u000a/""#),
            ("1e2", "100"),
            ("100.0", "100"),
            ("18446744073709551615", "18446744073709551615"),
            ("0.1", "1e-1"),
        ] {
            assert_eq!(sense(one), sense(other), "{one} and {other}");
        }
    }

    #[test]
    fn texts_that_say_another_thing_have_another_sense() {
        let texts = [
            "1",
            "2",
            "-1",
            "0.5",
            "\"1\"",
            "true",
            "false",
            "null",
            "[]",
            "{}",
            "[1]",
            "[1,2]",
            "[2,1]",
            "[[1],2]",
            "{\"1\":2}",
            "{\"2\":1}",
            "{\"a\":{\"b\":1}}",
            "{\"a\":1,\"b\":1}",
            "{\"a\":null}",
            "[null]",
            "\"\"",
            "\"a\"",
        ];
        for (at, one) in texts.iter().enumerate() {
            for other in &texts[at + 1..] {
                assert_ne!(sense(one).hash(), sense(other).hash(), "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_nul_is_found_wherever_it_is() {
        for (text, has_nul) in [
            (r#"{"a":["b\u0000"]}"#, true),
            (r#"{"\u0000":1}"#, true),
            (r#"{"a":"\\u0000"}"#, false),
        ] {
            assert_eq!(sense(text).has_nul(), has_nul, "{text}");
        }
    }
}
